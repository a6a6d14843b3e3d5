# SPDX-License-Identifier: Apache-2.0
"""Image data: up, down, in parts, and what is refused on the way."""

from __future__ import annotations

import hashlib
import io
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from aerie_common.testing.api import Api, Caller
from aerie_image import reconcile
from hostile_images import qcow2

DATA = {"Content-Type": "application/octet-stream"}


@pytest.fixture
def member(api: Api) -> Caller:
    return api.caller("member")


def make(api: Api, by: Caller, disk_format: str = "raw") -> str:
    body = {"name": "i", "disk_format": disk_format, "container_format": "bare"}
    return str(api.call("POST", "/v2/images", body, by=by, expect=201).json["id"])


def upload(api: Api, by: Caller, image_id: str, data: bytes, expect: int = 204, **headers: str) -> Any:
    return api.call("PUT", f"/v2/images/{image_id}/file", data, by=by, headers={**DATA, **headers}, expect=expect)


def status(api: Api, by: Caller, image_id: str) -> str:
    return str(api.call("GET", f"/v2/images/{image_id}", by=by).json["status"])


def files(api: Api) -> list[str]:
    return os.listdir(api.svc.conf.file.filesystem_store_datadir) if hasattr(api.svc, "store") else []


def test_up_and_down(api: Api, member: Caller) -> None:
    image_id, data = make(api, member), os.urandom(3 << 20) + b"tail"
    api.call("GET", f"/v2/images/{image_id}/file", by=member, expect=204)
    upload(api, member, image_id, data)
    image = api.call("GET", f"/v2/images/{image_id}", by=member).json
    assert (image["status"], image["size"], image["virtual_size"]) == ("active", len(data), len(data))
    assert image["checksum"] == hashlib.md5(data).hexdigest() and image["os_hash_algo"] == "sha512"
    assert image["os_hash_value"] == hashlib.sha512(data).hexdigest()
    reply = api.call("GET", f"/v2/images/{image_id}/file", by=member, expect=200)
    assert reply.body == data and reply.headers["Content-MD5"] == image["checksum"]
    upload(api, member, image_id, b"again", expect=409)
    api.call("DELETE", f"/v2/images/{image_id}", by=member, expect=204)
    assert files(api) == []


@pytest.mark.parametrize(
    ("header", "first", "end"),
    [("bytes=0-9", 0, 10), ("bytes=5-", 5, 100), ("bytes=-7", 93, 100), ("bytes=90-999", 90, 100)],
)
def test_ranges(api: Api, member: Caller, header: str, first: int, end: int) -> None:
    image_id, data = make(api, member), os.urandom(100)
    upload(api, member, image_id, data)
    reply = api.call("GET", f"/v2/images/{image_id}/file", by=member, headers={"Range": header}, expect=206)
    assert reply.body == data[first:end] and reply.headers["Content-Range"] == f"bytes {first}-{end - 1}/100"


def test_a_range_may_be_asked_for_as_the_first_clients_did(api: Api, member: Caller) -> None:
    """By Content-Range. What is no such range is not looked at, as ever."""
    image_id = make(api, member)
    upload(api, member, image_id, b"0123456789")
    path = f"/v2/images/{image_id}/file"
    for text, status, data in (("bytes 2-4/10", 206, b"234"), ("bytes 9-20/*", 206, b"9"), ("2-4", 200, b"0123456789"),
                               ("bytes 10-11/12", 416, None)):  # fmt: skip
        reply = api.call("GET", path, by=member, headers={"Content-Range": text}, expect=status)
        assert data is None or reply.body == data


def test_ranges_outside_are_refused(api: Api, member: Caller) -> None:
    image_id = make(api, member)
    upload(api, member, image_id, b"x" * 100)
    for header in ("bytes=100-", "bytes=9-5", "bytes=-", "lines=1-2"):
        api.call("GET", f"/v2/images/{image_id}/file", by=member, headers={"Range": header}, expect=416)


def test_refused_uploads_leave_the_image_queued_and_nothing_stored(api: Api, member: Caller) -> None:
    image_id = make(api, member)
    api.svc.conf.set_override("image_size_cap", 1000)
    upload(api, member, image_id, b"x" * 1001, expect=413)
    api.call("PUT", f"/v2/images/{image_id}/file", b"x", by=member, expect=415)
    assert status(api, member, image_id) == "queued" and files(api) == []
    upload(api, member, image_id, b"x" * 1000)
    bare = api.call("POST", "/v2/images", {"name": "no format"}, by=member).json["id"]
    upload(api, member, bare, b"x", expect=400)


def context(api: Api, by: Caller) -> Any:
    from aerie_common.auth import fill
    from aerie_common.context import Context

    ctx = Context()
    fill(ctx, by.token, api.tokens.validate(by.token) or {})
    return ctx


def test_one_of_two_uploads_wins(api: Api, member: Caller) -> None:
    image_id, ready, go = make(api, member), threading.Event(), threading.Event()

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            ready.set()
            assert go.wait(60)
            return super().read(size)

    from aerie_image.logic import image_data

    first = threading.Thread(
        target=image_data.upload, args=(api.svc, context(api, member), image_id, Slow(b"first"), None)
    )
    first.start()
    assert ready.wait(60)
    upload(api, member, image_id, b"second", expect=409)
    go.set()
    first.join()
    assert api.call("GET", f"/v2/images/{image_id}/file", by=member).body == b"first"


def test_delete_wins_over_an_upload(api: Api, member: Caller) -> None:
    image_id = make(api, member)

    class Deleting(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            api.call("DELETE", f"/v2/images/{image_id}", by=member)
            return super().read(size)

    from aerie_image.errors import ImageNotFound
    from aerie_image.logic import image_data

    with pytest.raises(ImageNotFound):
        image_data.upload(api.svc, context(api, member), image_id, Deleting(b"data"), None)
    assert files(api) == []


def test_qcow2_tells_its_virtual_size(api: Api, member: Caller, tmp_path: Path) -> None:
    image_id = make(api, member, "qcow2")
    upload(api, member, image_id, qcow2(tmp_path / "a.qcow2"))
    assert api.call("GET", f"/v2/images/{image_id}", by=member).json["virtual_size"] == 1 << 20


def test_deactivated_images_are_not_downloaded(api: Api, member: Caller) -> None:
    image_id, admin = make(api, member), api.caller("admin")
    upload(api, member, image_id, b"x")
    change, kind = [{"op": "replace", "path": "/visibility", "value": "public"}], "openstack-images-v2.1-json-patch"
    api.call(
        "PATCH", f"/v2/images/{image_id}", change, by=admin, headers={"Content-Type": f"application/{kind}"}, expect=200
    )
    api.call("POST", f"/v2/images/{image_id}/actions/deactivate", by=api.caller("member"), expect=403)
    api.call("POST", f"/v2/images/{image_id}/actions/deactivate", by=member, expect=204)
    api.call("GET", f"/v2/images/{image_id}/file", by=member, expect=403)
    api.call("POST", f"/v2/images/{image_id}/actions/reactivate", by=admin, expect=204)
    api.call("GET", f"/v2/images/{image_id}/file", by=member, expect=200)


def test_files_without_an_image_go_and_others_stay(api: Api, member: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = make(api, member)
    upload(api, member, kept, b"kept")
    folder = Path(api.svc.conf.file.filesystem_store_datadir)
    (folder / "orphan").write_bytes(b"x")
    reconcile.files(api.svc)  # young files are left alone
    assert sorted(files(api)) == sorted([kept, "orphan"])
    monkeypatch.setattr(reconcile, "GRACE_SECONDS", -1)
    reconcile.files(api.svc)
    assert files(api) == [kept]
