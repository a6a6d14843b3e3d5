# SPDX-License-Identifier: Apache-2.0
"""Security advisories of OpenStack's image service: each is a test named after it."""

from __future__ import annotations

import contextlib
import gc
import gzip
import io
import ipaddress
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aerie_common.flow_runner import FlowRunner
from aerie_common.testing.api import Api, Caller
from aerie_image import errors, plugins, remote
from aerie_image.flows import FLOWS
from aerie_image.logic import content, image_data
from aerie_image.remote import RefusedUrl, Rules
from hostile_images import MIB, SECRET, corpus, qcow2
from memory import Memory
from webserver import Site

DATA = {"Content-Type": "application/octet-stream"}
PATCH = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
LOOPBACK = ipaddress.ip_network("127.0.0.1/32")


@pytest.fixture
def member(api: Api) -> Caller:
    return api.caller("member")


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.stop()


def make(api: Api, by: Caller, disk_format: str = "raw", expect: int = 201, **more: Any) -> str:
    body = {"name": "i", "disk_format": disk_format, "container_format": "bare", **more}
    return str(api.call("POST", "/v2/images", body, by=by, expect=expect).json.get("id"))


def upload(
    api: Api, by: Caller, image_id: str, data: bytes, expect: int = 204, place: str = "file", **headers: str
) -> Any:
    return api.call("PUT", f"/v2/images/{image_id}/{place}", data, by=by, headers={**DATA, **headers}, expect=expect)


def start(api: Api, by: Caller, image_id: str, method: str, expect: int = 202, **how: Any) -> Any:
    body = {"method": {"name": method, **how}}
    reply = api.call("POST", f"/v2/images/{image_id}/import", body, by=by, expect=expect)
    FlowRunner(api.svc.db, FLOWS, api.svc).drain(30)
    return reply


def image(api: Api, by: Caller, image_id: str) -> Any:
    return api.call("GET", f"/v2/images/{image_id}", by=by, expect=200).json


def stored(api: Api) -> list[str]:
    """Every file of every store and of the staging folder."""
    stores = [*api.svc.stores.values(), api.svc.staging]  # type: ignore[attr-defined]
    return [location for store in stores for _, location, _ in store.list_()]


# ---------------------------------------------------------------------------------------------------- 1: import SSRF

INSIDE = [
    "http://127.0.0.1/", "http://localhost/", "http://2130706433/", "http://0x7f000001/", "http://0177.0.0.1/",
    "http://127.1/", "http://0/", "http://10.1.2.3/", "http://172.31.0.1/", "http://192.168.1.1/", "http://169.254.169.254/",
    "http://0xa9fea9fe/", "http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://[::ffff:a9fe:a9fe]/", "http://[::7f00:1]/",
    "http://[64:ff9b::7f00:1]/", "http://[2002:7f00:1::]/", "http://[fe80::1]/", "http://[fd00::1]/", "http://[::]/",
    "http://100.64.0.1/", "http://224.0.0.1/", "http://127.0.0.1./",
]  # fmt: skip
NO_URLS = [
    "file:///etc/passwd", "ftp://192.0.2.1/", "gopher://192.0.2.1/", "http://", "//192.0.2.1/",
    "http://user:pw@192.0.2.1/", "http://192.0.2.1:99999/", "http://192.0.2.1\\@127.0.0.1/",
    "http://192.0.2.1/\r\nX: y", "http://192.0.2.1/" + "a" * 3000,
]  # fmt: skip


@pytest.mark.parametrize("url", INSIDE + NO_URLS)
def test_ossa_2026_004_import_ssrf(url: str) -> None:
    """No spelling of an inside address is asked for anything."""
    with pytest.raises(RefusedUrl):
        remote.open_url(url, Rules())


def test_ossa_2026_004_refused_addresses_are_a_400(api: Api, member: Caller) -> None:
    api.svc.conf.set_override("enabled_backends", {"file": "file", "web": "http"})
    image_id = make(api, member)
    for url in ("http://127.0.0.1/x", "http://0x7f000001/x", "file:///etc/passwd"):
        reply = start(api, member, image_id, "web-download", uri=url, expect=400)
        assert "does not pass filtering" in reply.json["message"]
        location = {"url": url}
        api.call("POST", f"/v2/images/{image_id}/locations", location, by=member, expect=403 if url[0] == "f" else 400)
    assert image(api, member, image_id)["status"] == "queued"


@pytest.mark.parametrize("target", ["http://169.254.169.254/latest/meta-data", "http://0x7f.1:{port}/inside"])
def test_ossa_2026_004_redirects_are_judged_too(site: Site, target: str) -> None:
    rules = Rules(allowed_networks=(ipaddress.ip_network("198.51.100.0/24"),))
    site.put("/inside", b"secret")
    site.redirects["/away"] = target.format(port=site.url.rpartition(":")[2])
    with answers_once("198.51.100.1", site), pytest.raises(RefusedUrl):
        remote.open_url("http://outside.example/away", rules)
    assert [path for _, path, _ in site.asked] == ["/away"]


@contextlib.contextmanager
def answers_once(address: str, site: Site) -> Iterator[None]:
    """The web server stands for an outside host: connections to that address reach it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remote.socket, "getaddrinfo", lambda host, port, **kw: [(2, 1, 6, "", (address, port))])
        real = remote.socket.socket.connect
        port = int(site.url.rpartition(":")[2])

        class Outside(remote.socket.socket):
            def connect(self, to: Any) -> None:
                real(self, ("127.0.0.1", port) if to[0] == address else to)

        patch.setattr(remote.socket, "socket", Outside)
        yield


@contextlib.contextmanager
def answers(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> Iterator[list[str]]:
    """Every name resolves to these addresses, one set after another; the names that were asked for."""
    asked: list[str] = []

    def getaddrinfo(host: str, port: int, *args: Any, **kw: Any) -> Any:
        asked.append(host)
        address = addresses[min(len(asked), len(addresses)) - 1]
        return [(2, 1, 6, "", (a, port)) for a in address.split(",")]

    with monkeypatch.context() as patch:
        patch.setattr(remote.socket, "getaddrinfo", getaddrinfo)
        yield asked


def test_ossa_2026_004_names_are_judged_by_all_their_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    with answers(monkeypatch, "198.51.100.1,127.0.0.1"), pytest.raises(RefusedUrl):
        remote.open_url("http://two-faced.example/", Rules())


def test_ossa_2026_004_a_name_cannot_change_its_mind(monkeypatch: pytest.MonkeyPatch, site: Site) -> None:
    """The name is asked for once; the connection goes to the address that was judged."""
    site.put("/", b"x" * 100)
    with answers(monkeypatch, "127.0.0.1", "127.0.0.2") as asked:
        port = site.url.rpartition(":")[2]
        with remote.open_url(f"http://rebinding.example:{port}/", Rules(allowed_networks=(LOOPBACK,))) as source:
            assert source.read(100)
        assert asked == ["rebinding.example"]


# ------------------------------------------------------------- 2, 3: images that lead to files of the host, or lie


def ways(api: Api, member: Caller, site: Site, declared: str, data: bytes) -> Iterator[tuple[str, str]]:
    """Every way for data to become an image's, tried: (name, image id)."""
    image_id = make(api, member, declared)
    upload(api, member, image_id, data, expect=415)
    yield "upload", image_id
    image_id = make(api, member, declared)
    upload(api, member, image_id, data, place="stage")
    start(api, member, image_id, "glance-direct")
    yield "glance-direct", image_id
    url = site.put("/hostile", data)
    image_id = make(api, member, declared)
    start(api, member, image_id, "web-download", uri=url)
    yield "web-download", image_id
    image_id = make(api, member, declared)
    api.call("POST", f"/v2/images/{image_id}/locations", {"url": url}, by=member, expect=202)
    FlowRunner(api.svc.db, FLOWS, api.svc).drain(30)
    yield "location", image_id


def test_ossa_2024_001_ossa_2023_002_ossa_2015_014_hostile_images(one_api: Api, site: Site, tmp_path: Path) -> None:
    """Whatever the way, the image stays without data and nothing of it is stored."""
    one_api.svc.conf.set_override("enabled_backends", {"file": "file", "web": "http"})
    one_api.svc.conf.set_override("allowed_networks", [str(LOOPBACK)], group="import_filtering_opts")
    member = one_api.caller("member")
    for declared, what, data in corpus(tmp_path):
        for way, image_id in ways(one_api, member, site, declared, data):
            assert image(one_api, member, image_id)["status"] == "queued", (declared, what, way)
    assert stored(one_api) == []


@pytest.mark.parametrize("declared", ["qcow2", "vmdk", "vhd", "iso"])
def test_ossa_2024_001_content_must_be_what_it_says(api: Api, member: Caller, declared: str) -> None:
    upload(api, member, make(api, member, declared), b"not what it says" * 100, expect=415)


def test_ossa_2026_002_a_header_in_a_raw_disk_is_honoured_by_nobody(
    api: Api, member: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a guest wrote at the beginning of its raw disk is refused, not converted: its format is never guessed."""
    data = qcow2(tmp_path / "b", "-u", "-F", "raw", "-b", SECRET)
    conf = api.svc.conf
    conf.set_override("image_import_plugins", ["image_conversion"], group="image_import_opts")
    conf.set_override("output_format", "qcow2", group="image_conversion")
    ran: list[list[str]] = []
    real = subprocess.run
    monkeypatch.setattr(plugins.subprocess, "run", lambda command, **kw: ran.append(command) or real(command, **kw))
    image_id = make(api, member)
    upload(api, member, image_id, data, place="stage")
    start(api, member, image_id, "glance-direct")
    assert image(api, member, image_id)["status"] == "queued" and ran == [] and stored(api) == []
    image_id = make(api, member)
    upload(api, member, image_id, os.urandom(MIB), place="stage")
    start(api, member, image_id, "glance-direct")
    assert image(api, member, image_id)["disk_format"] == "qcow2"
    assert ran[0][ran[0].index("convert") :][:5] == ["convert", "-f", "raw", "-O", "qcow2"]


# -------------------------------------------------------------------------------------------------------- 4: bombs


def test_ossa_2016_012_bombs_do_not_go_off(api: Api, member: Caller, tmp_path: Path) -> None:
    conf = api.svc.conf
    conf.set_override("image_size_cap", 8 * MIB)
    conf.set_override("image_import_plugins", ["image_decompression", "image_conversion"], group="image_import_opts")
    for kind, data in (("raw", gzip.compress(bytes(64 * MIB), 1)), ("qcow2", qcow2(tmp_path / "huge", size="1T"))):
        image_id = make(api, member, kind)
        upload(api, member, image_id, data, place="stage")
        start(api, member, image_id, "glance-direct")
        assert image(api, member, image_id)["status"] == "queued" and stored(api) == [], kind


def test_ossa_2016_012_other_programs_run_under_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processor time, memory and size of files: a converter that wants more is ended, and says so."""
    tool = tmp_path / "qemu-img"
    tool.write_text("#!/bin/sh\nfor last; do :; done\nexec head -c 100000000 /dev/zero >$last\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (tmp_path / "in").write_bytes(bytes(MIB))
    with pytest.raises(plugins.PluginFailure):
        plugins._convert("raw", "bare", "qcow2", tmp_path / "in", tmp_path / "out", 8 * MIB)
    assert (tmp_path / "out").stat().st_size <= 8 * MIB


def test_ossa_2016_012_looking_at_a_file_takes_little_memory(tmp_path: Path) -> None:
    memory = Memory()
    for declared, _, data in corpus(tmp_path):
        (tmp_path / "image").write_bytes(data)
        with contextlib.suppress(errors.UnsafeImage, errors.FormatMismatch):
            content.inspect(str(tmp_path / "image"), declared, "bare", len(data))
        with contextlib.suppress(errors.UnsafeImage, errors.FormatMismatch):
            content.inspect_pieces(iter([data[i : i + 4096] for i in range(0, len(data), 4096)]), declared, "bare", 1)
    assert memory.growth() < 64 * MIB


# ---------------------------------------------------------------------------------------- 5: locations by users

FILES = ["file:///etc/passwd", "filesystem:///etc/passwd", "filesystem:////etc/passwd", "FILE:///etc/passwd",
         "file:../../../etc/passwd", "swift+config://x", "rbd://a/b/c/d", "/etc/passwd"]  # fmt: skip


@pytest.mark.parametrize("url", FILES)
def test_ossa_2014_041_ossa_2015_002_users_reach_no_files_by_locations(api: Api, member: Caller, url: str) -> None:
    """Services neither."""
    api.svc.conf.set_override("enabled_backends", {"file": "file", "copies": "file", "web": "http"})
    image_id, location = make(api, member), [{"url": url, "metadata": {}}]
    api.call("POST", f"/v2/images/{image_id}/locations", {"url": url}, by=member, expect=403)
    api.call("POST", f"/v2/images/{image_id}/locations", {"url": url}, by=api.caller("service"), expect=400)
    for path, value in (("/locations", location), ("/locations/-", location[0]), ("/locations/0", location[0]),
                        ("/direct_url", url)):  # fmt: skip
        for verb in ("add", "replace"):
            reply = api.call("PATCH", f"/v2/images/{image_id}", [{"op": verb, "path": path, "value": value}], by=member,
                             headers=PATCH)  # fmt: skip
            assert reply.status_int == 403, (path, reply.text)
    make(api, member, expect=400, locations=location)
    make(api, member, expect=403, direct_url=url)
    assert image(api, member, image_id)["status"] == "queued"
    api.call("GET", f"/v2/images/{image_id}/file", by=member, expect=204)


def test_ossa_2014_041_a_services_location_is_no_other_images_file(api: Api, member: Caller) -> None:
    """Two images on one file: to delete one would take the other's data."""
    other, image_id = make(api, member), make(api, member)
    upload(api, member, other, b"other")
    [location] = stored(api)
    api.call("POST", f"/v2/images/{image_id}/locations", {"url": location}, by=api.caller("service"), expect=400)


# ------------------------------------------------------------------------------- 6: status and content are ours


def test_ossa_2015_019_ossa_2016_006_active_content_is_never_replaced(api: Api, member: Caller) -> None:
    image_id, one = make(api, member), "/v2/images/{}"
    upload(api, member, image_id, b"first")
    headers = {"X-Image-Meta-Status": "queued", "X-Image-Meta-Property-Status": "queued", "X-Status": "queued"}
    for place in ("file", "stage"):
        upload(api, member, image_id, b"second", expect=409, place=place, **headers)
    start(api, member, image_id, "glance-direct", expect=409)
    start(api, member, image_id, "web-download", uri="http://192.0.2.1/", expect=409)
    api.call("POST", one.format(image_id) + "/locations", {"url": "http://192.0.2.1/"}, by=member, expect=409)
    for name in ("status", "checksum", "os_hash_value", "os_hash_algo", "size", "locations", "stores", "id"):
        for change in ({"op": "replace", "value": "queued"}, {"op": "add", "value": "queued"}, {"op": "remove"}):
            body = [{**change, "path": f"/{name}"}]
            api.call("PATCH", one.format(image_id), body, by=member, headers=PATCH, expect=403)
    for name in ("disk_format", "container_format"):
        body = [{"op": "replace", "path": f"/{name}", "value": "ami"}]
        api.call("PATCH", one.format(image_id), body, by=member, headers=PATCH, expect=403)
    api.call("DELETE", f"/v2/stores/file/{image_id}", by=api.caller("admin"), expect=403)
    make(api, member, expect=403, status="active")
    make(api, member, expect=409, id=image_id)
    api.call("POST", one.format(image_id) + "/actions/deactivate", by=member, expect=204)
    upload(api, member, image_id, b"second", expect=409)
    api.call("POST", one.format(image_id) + "/actions/reactivate", by=member, expect=204)
    assert api.call("GET", one.format(image_id) + "/file", by=member, expect=200).body == b"first"


# ------------------------------------------------------------------------------------------ 24: files of our own


def test_ossa_2016_007_ossa_2014_001_nobody_else_on_the_host_reads_images(api: Api, member: Caller) -> None:
    image_id = make(api, member)
    upload(api, member, image_id, b"secret", place="stage")
    upload(api, member, make(api, member), b"secret")
    for location in stored(api):
        path = Path(location.removeprefix("file://"))
        assert path.parent.stat().st_mode & 0o007 == 0 and path.stat().st_mode & 0o007 == 0, path


# ------------------------------------------------------------------------------- 25: memory, and limits on storage


def test_ossa_2021_006_junk_requests_leave_nothing_in_memory(one_api: Api) -> None:
    """Fewer than one object for a hundred requests, which are all different: a million would leave nothing to see."""
    member, seen = one_api.caller("member"), set()

    def junk(count: int) -> None:
        for _ in range(count):
            path = f"/v2/{os.urandom(20).hex()}/{os.urandom(6).hex()}"
            environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "QUERY_STRING": f"{os.urandom(9).hex()}=1",
                       "wsgi.input": io.BytesIO(), "SERVER_NAME": "x", "SERVER_PORT": "1", "wsgi.url_scheme": "http",
                       "HTTP_X_AUTH_TOKEN": member.token, "SERVER_PROTOCOL": "HTTP/1.1"}  # fmt: skip
            list(one_api.app(environ, lambda status, headers, exc_info=None: seen.add(status[:3])))

    junk(3_000)
    gc.collect()
    memory, blocks = Memory(), sys.getallocatedblocks()
    junk(150_000)
    gc.collect()
    assert sys.getallocatedblocks() - blocks < 1_500
    assert memory.growth() < 6 * MIB and seen == {"404"}


def test_ossa_2014_028_the_quota_cuts_off_in_mid_stream(api: Api, member: Caller) -> None:
    """The body tells no size: no more of it is taken than the project may keep."""
    api.svc.conf.set_override("user_storage_quota", 3 * MIB)
    upload(api, member, make(api, member), b"x" * (2 * MIB))
    second, stream = make(api, member), io.BytesIO(b"x" * (9 * MIB))
    with pytest.raises(errors.ImageTooLarge):
        image_data.upload(api.svc, context(api, member), second, stream, None)  # type: ignore[arg-type]
    assert stream.tell() <= 3 * MIB and image(api, member, second)["status"] == "queued" and len(stored(api)) == 1


def test_ossa_2015_003_an_upload_ends_soon_after_its_image_was_deleted(api: Api, member: Caller) -> None:
    """Otherwise uploads of images that are gone would fill the disk past any quota."""
    image_id = make(api, member)

    class Endless(io.RawIOBase):
        given = 0

        def read(self, size: int | None = -1) -> bytes:
            self.given += 1
            assert self.given < 200, "nobody ends this upload"
            if self.given == 3:
                api.call("DELETE", f"/v2/images/{image_id}", by=member, expect=204)
            return b"x" * 1000

    with pytest.raises(errors.ImageNotFound):
        image_data.upload(api.svc, context(api, member), image_id, Endless(), None)  # type: ignore[arg-type]
    assert stored(api) == []


def test_ossa_2015_003_uploads_at_the_same_time_share_the_quota(api: Api, member: Caller) -> None:
    api.svc.conf.set_override("user_storage_quota", 3 * MIB)
    first, second = make(api, member), make(api, member)

    class Overtaken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() == 0:
                upload(api, member, second, b"x" * (2 * MIB))
            return super().read(size)

    with pytest.raises(errors.ImageTooLarge):
        image_data.upload(api.svc, context(api, member), first, Overtaken(b"x" * (2 * MIB)), None)  # type: ignore[arg-type]
    assert image(api, member, first)["status"] == "queued" and len(stored(api)) == 1


def context(api: Api, by: Caller) -> Any:
    from aerie_common.auth import fill
    from aerie_common.context import Context

    ctx = Context()
    fill(ctx, by.token, api.tokens.validate(by.token) or {})
    return ctx
