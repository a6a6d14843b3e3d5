# SPDX-License-Identifier: Apache-2.0
"""The image cache: copies of what lies in stores elsewhere, fetched once for all, and their API."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aerie_common import config
from aerie_common.flow_runner import FlowRunner
from aerie_common.testing.api import Api, Caller
from aerie_image import commands
from aerie_image.container import ImageService
from aerie_image.db.tables import METADATA
from aerie_image.flows import FLOWS
from aerie_image.image_cache import ImageCache
from aerie_image.logic import cached_images
from aerie_image.options import OPTIONS
from webserver import Site

DATA = {"Content-Type": "application/octet-stream"}
CONTENT = os.urandom(5 << 20) + b"end"
MIB = 1 << 20


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.stop()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def api(tmp_path: Path, folder: Path) -> Iterator[Api]:
    conf = config.load(config.new(OPTIONS), [])
    conf.set_override("connection", f"sqlite:///{tmp_path / 'test.sqlite'}", group="database")
    conf.set_override("filesystem_store_datadir", str(tmp_path / "images"), group="file")
    conf.set_override("staging_datadir", str(tmp_path / "staging"), group="file")
    conf.set_override("enabled_backends", {"file": "file", "web": "http"})
    conf.set_override("allowed_networks", ["127.0.0.1/32"], group="import_filtering_opts")
    conf.set_override("image_cache_dir", str(folder))
    svc = ImageService(conf)
    svc.db.create_all(METADATA)
    yield Api(svc)
    svc.db.dispose()


@pytest.fixture
def admin(api: Api) -> Caller:
    return api.caller("admin")


def elsewhere(api: Api, by: Caller, site: Site, data: bytes = CONTENT, path: str = "/image") -> str:
    """An active image whose data lies on the web server."""
    body = {"name": "i", "disk_format": "raw", "container_format": "bare"}
    image_id = str(api.call("POST", "/v2/images", body, by=by, expect=201).json["id"])
    url = site.put(path, data)
    api.call("POST", f"/v2/images/{image_id}/locations", {"url": url}, by=by, expect=202)
    FlowRunner(api.svc.db, FLOWS, api.svc).drain(30)
    site.asked.clear()
    return image_id


def here(api: Api, by: Caller, data: bytes = b"x" * 1000) -> str:
    """An active image of the file store."""
    body = {"name": "i", "disk_format": "raw", "container_format": "bare"}
    image_id = str(api.call("POST", "/v2/images", body, by=by, expect=201).json["id"])
    api.call("PUT", f"/v2/images/{image_id}/file", data, by=by, headers=DATA, expect=204)
    return image_id


def download(api: Api, by: Caller, image_id: str, **headers: str) -> bytes:
    reply = api.call("GET", f"/v2/images/{image_id}/file", by=by, headers=headers, expect=206 if headers else 200)
    return bytes(reply.body)


def cache(api: Api) -> ImageCache:
    found = api.svc.cache  # type: ignore[attr-defined]
    assert isinstance(found, ImageCache)
    return found


def listed(api: Api, by: Caller) -> Any:
    return api.call("GET", "/v2/cache", by=by, expect=200).json


def eventually(check: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_what_was_read_once_is_here(api: Api, admin: Caller, site: Site) -> None:
    image_id = elsewhere(api, admin, site)
    assert download(api, admin, image_id) == CONTENT
    eventually(lambda: listed(api, admin)["cached_images"])
    for _ in range(2):
        assert download(api, admin, image_id) == CONTENT
    assert download(api, admin, image_id, Range="bytes=7-9") == CONTENT[7:10]
    assert site.gets("/image") == 1
    [copy] = listed(api, admin)["cached_images"]
    assert (copy["image_id"], copy["size"], copy["hits"]) == (image_id, len(CONTENT), 3)
    assert abs(copy["last_accessed"] - time.time()) < 60 and copy["last_modified"] <= copy["last_accessed"]
    api.call("DELETE", f"/v2/images/{image_id}", by=admin, expect=204)
    assert listed(api, admin) == {"cached_images": [], "queued_images": []}


def test_a_part_of_what_is_not_here_makes_no_copy(api: Api, admin: Caller, site: Site) -> None:
    image_id = elsewhere(api, admin, site)
    assert download(api, admin, image_id, Range="bytes=7-9") == CONTENT[7:10]
    assert site.asked == [("GET", "/image", "bytes=7-9")] and listed(api, admin)["cached_images"] == []
    api.call("HEAD", f"/v2/images/{image_id}/file", by=admin, expect=200)
    assert listed(api, admin)["cached_images"] == [] and site.gets("/image") == 1


def test_images_of_local_stores_are_not_copied_by_reading(api: Api, admin: Caller) -> None:
    assert download(api, admin, here(api, admin)) and listed(api, admin)["cached_images"] == []


def test_many_readers_at_a_time_fetch_once(api: Api, admin: Caller, site: Site, folder: Path) -> None:
    """In one process and in several (a second cache on the same folder): the others follow the one that writes."""
    image_id = elsewhere(api, admin, site)
    other = ImageCache(folder, 10 << 30, 86400)
    image, (store, location) = _source(api, image_id)
    site.hold = 2 * MIB
    got: list[bytes] = []
    readers = [threading.Thread(target=lambda: got.append(download(api, admin, image_id))) for _ in range(4)]
    for reader in readers:
        reader.start()
    eventually(lambda: cache(api).being_fetched(image_id))
    readers += [
        threading.Thread(target=lambda: got.append(b"".join(other.through(image, store, location)))) for _ in range(2)
    ]
    for reader in readers[4:]:
        reader.start()
    followed = other.through(image, store, location)
    early = next(iter(followed))  # before the store has given all
    assert CONTENT.startswith(early) and early
    site.go.set()
    for reader in readers:
        reader.join(120)
    assert early + b"".join(followed) == CONTENT
    assert got == [CONTENT] * 6 and site.gets("/image") == 1


def _source(api: Api, image_id: str) -> Any:
    from aerie_image import db
    from aerie_image.logic import image_data

    with api.svc.db.read() as conn:
        image = db.images.get(conn, image_id)
    assert image is not None
    return image, image_data.source(api.svc, image)  # type: ignore[arg-type]


def test_readers_go_on_by_themselves_when_the_writer_breaks_off(api: Api, admin: Caller, site: Site) -> None:
    image_id = elsewhere(api, admin, site)
    image, (store, location) = _source(api, image_id)
    site.break_off = 2 * MIB + 5
    reader = iter(cache(api).through(image, store, location))
    first = next(reader)
    eventually(lambda: not cache(api).being_fetched(image_id))
    site.break_off = None
    assert first + b"".join(reader) == CONTENT
    assert listed(api, admin)["cached_images"] == [] and site.gets("/image") == 2


def test_wrong_data_is_not_kept(api: Api, admin: Caller, site: Site) -> None:
    image_id = elsewhere(api, admin, site)
    site.put("/image", CONTENT[:-3] + b"bad")
    download(api, admin, image_id)  # what the web server says; Content-MD5 tells the client
    eventually(lambda: not cache(api).being_fetched(image_id))
    assert listed(api, admin)["cached_images"] == []


def test_queue_fetch_and_clear(api: Api, admin: Caller, site: Site) -> None:
    image_id, local = elsewhere(api, admin, site), here(api, admin)
    woken: list[bool] = []
    cache(api).wake = lambda: woken.append(True)
    api.call("PUT", f"/v2/cache/{image_id}", by=admin, expect=202)
    api.call("PUT", f"/v2/cache/{local}", by=admin, expect=202)
    assert listed(api, admin) == {"cached_images": [], "queued_images": [image_id, local]} and len(woken) == 2
    cached_images.keep(api.svc)  # type: ignore[arg-type]
    found = listed(api, admin)
    assert {c["image_id"] for c in found["cached_images"]} == {image_id, local} and found["queued_images"] == []
    assert download(api, admin, image_id) == CONTENT and site.gets("/image") == 1
    api.call("PUT", f"/v2/cache/{image_id}", by=admin, expect=202)
    assert listed(api, admin)["queued_images"] == []  # it is here
    api.call("DELETE", f"/v2/cache/{image_id}", by=admin, expect=204)
    api.call("DELETE", f"/v2/cache/{image_id}", by=admin, expect=204)
    assert [c["image_id"] for c in listed(api, admin)["cached_images"]] == [local]
    api.call("PUT", f"/v2/cache/{image_id}", by=admin, expect=202)
    clear = {"x-image-cache-clear-target": "queue"}
    api.call("DELETE", "/v2/cache", by=admin, headers=clear, expect=204)
    assert (len(listed(api, admin)["cached_images"]), listed(api, admin)["queued_images"]) == (1, [])
    api.call("PUT", f"/v2/cache/{image_id}", by=admin, expect=202)
    api.call("DELETE", "/v2/cache", by=admin, headers={"x-image-cache-clear-target": "Cache"}, expect=204)
    assert listed(api, admin) == {"cached_images": [], "queued_images": [image_id]}
    api.call("DELETE", "/v2/cache", by=admin, expect=204)
    assert listed(api, admin) == {"cached_images": [], "queued_images": []}


def test_an_image_of_no_bytes_is_kept_too(api: Api, admin: Caller) -> None:
    body = {"name": "i", "disk_format": "raw", "container_format": "bare"}
    image_id = str(api.call("POST", "/v2/images", body, by=admin, expect=201).json["id"])
    api.call("PUT", f"/v2/images/{image_id}/file", b"", by=admin, headers=DATA, expect=204)
    api.call("PUT", f"/v2/cache/{image_id}", by=admin, expect=202)
    cached_images.keep(api.svc)  # type: ignore[arg-type]
    [copy] = listed(api, admin)["cached_images"]
    assert (copy["image_id"], copy["size"]) == (image_id, 0)


def test_refusals(api: Api, admin: Caller) -> None:
    image_id = here(api, admin)
    queued = api.call("POST", "/v2/images", {"name": "no data"}, by=admin, expect=201).json["id"]
    api.call("PUT", f"/v2/cache/{queued}", by=admin, expect=400)
    api.call("PUT", "/v2/cache/no-such-image", by=admin, expect=404)
    api.call("DELETE", "/v2/cache/no-such-image", by=admin, expect=404)
    api.call("DELETE", "/v2/cache", by=admin, headers={"x-image-cache-clear-target": "all"}, expect=400)
    api.call("GET", f"/v2/cache/nodes/{image_id}", by=admin, expect=409)
    member = api.caller("member")
    for method, path in (("GET", ""), ("DELETE", ""), ("PUT", f"/{image_id}"), ("DELETE", f"/{image_id}"),
                         ("POST", "/clean"), ("POST", "/prune")):  # fmt: skip
        api.call(method, f"/v2/cache{path}", by=member, expect=403)


def test_versions_tell_whether_there_is_a_cache(api: Api, admin: Caller) -> None:
    def ids() -> list[str]:
        return [v["id"] for v in api.call("GET", "/versions", expect=200).json["versions"]]

    assert ids() == [f"v2.{minor}" for minor in range(18, -1, -1)]
    api.svc.__dict__["cache"] = None
    assert ids() == [f"v2.{minor}" for minor in (17, 15, *range(13, -1, -1))]
    api.call("GET", "/v2/cache", by=admin, expect=404)
    api.call("DELETE", "/v2/cache", by=admin, headers={"x-image-cache-clear-target": "all"}, expect=404)
    api.call("PUT", f"/v2/cache/{here(api, admin)}", by=admin, expect=404)


def test_the_copies_read_longest_ago_go_first(api: Api, admin: Caller) -> None:
    ids = [here(api, admin, bytes([n]) * MIB) for n in range(4)]
    for image_id in ids:
        api.call("PUT", f"/v2/cache/{image_id}", by=admin, expect=202)
    cached_images.keep(api.svc)  # type: ignore[arg-type]
    for age, image_id in enumerate(ids):
        then = time.time() - 1000 + age
        os.utime(cache(api)._hits / image_id, (then, then))
    assert download(api, admin, ids[0])
    cache(api).max_size = 2 * MIB
    reply = api.call("POST", "/v2/cache/prune", by=admin, expect=200).json
    assert reply == {"total_files_pruned": 2, "total_bytes_pruned": 2 * MIB}
    assert {c["image_id"] for c in listed(api, admin)["cached_images"]} == {ids[0], ids[3]}
    cache(api).max_size = MIB - 1
    cached_images.keep(api.svc)  # type: ignore[arg-type]
    assert listed(api, admin)["cached_images"] == []
    assert download(api, admin, ids[1]) == b"\x01" * MIB


def test_what_nobody_writes_any_more_goes(api: Api, admin: Caller, folder: Path) -> None:
    for name, age in (("stalled", 90_000), ("young", 10)):
        (folder / "incomplete").mkdir(parents=True, exist_ok=True)
        path = folder / "incomplete" / name
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age,) * 2)
    (folder / "deleted-image").write_bytes(b"copy")
    api.call("POST", "/v2/cache/clean", by=admin, expect=200)
    assert os.listdir(folder / "incomplete") == ["young"]
    cached_images.keep(api.svc)  # type: ignore[arg-type]
    assert listed(api, admin)["cached_images"] == []


def test_deactivated_images_are_not_read_from_the_cache(api: Api, admin: Caller) -> None:
    member = api.caller("member")
    image_id = here(api, member)
    api.call("PUT", f"/v2/cache/{image_id}", by=admin, expect=202)
    cached_images.keep(api.svc)  # type: ignore[arg-type]
    api.call("POST", f"/v2/images/{image_id}/actions/deactivate", by=admin, expect=204)
    api.call("GET", f"/v2/images/{image_id}/file", by=member, expect=403)


def test_scrub_reads_copies_elsewhere_and_in_the_cache(
    api: Api, admin: Caller, site: Site, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image_id = elsewhere(api, admin, site)
    api.call("PUT", f"/v2/cache/{image_id}", by=admin, expect=202)
    cached_images.keep(api.svc)  # type: ignore[arg-type]
    assert commands.scrub(api.svc.conf, []) == 0 and "2 copies examined, 0 bad" in capsys.readouterr().out
    (folder / image_id).write_bytes(CONTENT[:-3] + b"rot")
    site.put("/image", CONTENT[:-1])
    assert commands.scrub(api.svc.conf, []) == 1
    said = capsys.readouterr().err
    assert f"{image_id} in the image cache: its md5" in said and f"{image_id} in web: it has" in said
    site.files.clear()
    assert commands.scrub(api.svc.conf, ["--store", "web", image_id]) == 1
    assert "cannot be read" in capsys.readouterr().err and commands.scrub(api.svc.conf, ["no-such-image"]) == 1
    assert listed(api, admin)["cached_images"][0]["hits"] == 0
