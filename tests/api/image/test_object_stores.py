# SPDX-License-Identifier: Apache-2.0
"""Stores of kind s3 and swift, on a real Swift that speaks both: up, down, in parts, in constant memory, and whatever
goes wrong leaves the image `queued` and nothing in the store."""

from __future__ import annotations

import io
import itertools
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aerie_common.auth import fill
from aerie_common.context import Context
from aerie_common.serving import HttpServer
from aerie_common.testing.api import Api, Caller
from aerie_image import commands, db, errors, reconcile
from aerie_image.logic import image_data
from aerie_image.stores import base, s3
from aerie_image.stores import swift as swift_store
from image_stores import (
    MIB,
    Content,
    begin_import,
    change,
    image,
    image_api,
    locations,
    make,
    restart,
    s3_options,
    swift_options,
    upload,
    work,
)  # fmt: skip
from servers import Swift, free_port, wait_for
from tls_front import TlsFront

SMALL, LARGE = Content(os.urandom(100_000)), Content(os.urandom(13 * MIB) + b"tail")
_numbers = itertools.count(1)


@pytest.fixture(params=["s3", "swift"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def place(kind: str) -> str:
    """The bucket or container of this test."""
    return f"images-{kind}-{next(_numbers)}"


@pytest.fixture
def api(swift: Swift, kind: str, place: str, tmp_path: Path) -> Iterator[Api]:
    options = s3_options(swift, place) if kind == "s3" else swift_options(swift, place)
    with image_api(tmp_path, {"far": kind}, {"far": options}) as made:
        yield made


@pytest.fixture
def member(api: Api) -> Caller:
    return api.caller("member")


@pytest.fixture
def left(swift: Swift, place: str) -> Callable[[], list[str]]:
    """What is in the store, parts of unfinished uploads and segments too."""
    return lambda: [name for name in swift.objects(place) if name.startswith((f"{place}/", f"{place}+segments/"))]


def context(api: Api, by: Caller) -> Context:
    ctx = Context()
    fill(ctx, by.token, api.tokens.validate(by.token) or {})
    return ctx


class Breaking(io.BytesIO):
    """A body that breaks off after so many bytes."""

    def __init__(self, data: bytes, after: int) -> None:
        super().__init__(data)
        self._after = after

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() >= self._after:
            raise ConnectionResetError("the client went away")
        return super().read(size)


# ---- up and down


@pytest.mark.parametrize("content", [SMALL, LARGE, Content(b"")], ids=["small", "large", "empty"])
def test_up_and_down_and_gone(
    api: Api, member: Caller, place: str, kind: str, left: Callable[[], list[str]], content: Content
) -> None:
    image_id = make(api, member)
    upload(api, member, image_id, content.data)
    content.check(api, member, image_id)
    [location] = locations(api, image_id).values()
    assert location.startswith(f"{kind}://{place}/{image_id}") and image(api, member, image_id)["stores"] == "far"
    assert api.svc.stores["far"].size(location) == len(content.data)
    assert len(left()) > 1 if content is LARGE else len(left()) == 1
    api.call("DELETE", f"/v2/images/{image_id}", by=member, expect=204)
    assert left() == []


def test_data_of_unknown_size(api: Api, member: Caller, left: Callable[[], list[str]]) -> None:
    for content in (SMALL, LARGE, Content(b"")):
        image_id = make(api, member)
        image_data.upload(api.svc, context(api, member), image_id, io.BytesIO(content.data), None)
        content.check(api, member, image_id)
        api.call("DELETE", f"/v2/images/{image_id}", by=member, expect=204)
    assert left() == []


def test_ranges_are_asked_of_the_store(api: Api, member: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    image_id, asked = make(api, member), []
    upload(api, member, image_id, LARGE.data)
    real = base.pieces

    def watched(open_: Any, offset: int, length: int) -> Any:
        asked.append((offset, length))
        return real(open_, offset, length)

    for module in (s3, swift_store):
        monkeypatch.setattr(module, "pieces", watched)
    size = len(LARGE.data)
    for header, first, end in (
        ("bytes=0-9", 0, 10),
        (f"bytes={5 * MIB - 3}-{5 * MIB + 2}", 5 * MIB - 3, 5 * MIB + 3),
        ("bytes=-7", size - 7, size),
        (f"bytes={10 * MIB}-", 10 * MIB, size),
    ):
        reply = api.call("GET", f"/v2/images/{image_id}/file", by=member, headers={"Range": header}, expect=206)
        assert reply.body == LARGE.data[first:end] and asked[-1] == (first, end - first)
        assert reply.headers["Content-Range"] == f"bytes {first}-{end - 1}/{size}"


def test_a_download_that_breaks_off_goes_on_where_it_was(
    api: Api, member: Caller, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    image_id = make(api, member)
    upload(api, member, image_id, LARGE.data)
    body, broken = (s3 if kind == "s3" else swift_store)._Body, []
    real = body.read

    def read(self: Any, size: int) -> bytes:
        if len(broken) < 3 and not (len(broken) and broken[-1] is self):
            piece = real(self, 1000)
            broken.append(self)
            return piece
        if broken and broken[-1] is self and len(broken) < 3:
            raise base.StoreUnavailable("broke off")
        return real(self, size)

    monkeypatch.setattr(body, "read", read)
    assert api.call("GET", f"/v2/images/{image_id}/file", by=member, expect=200).body == LARGE.data
    assert len(broken) == 3


def test_an_upload_needs_little_memory(api: Api, member: Caller) -> None:
    """128 MiB through less than 64: parts and segments are sent as they come."""

    class Endless(io.RawIOBase):
        left = 128 * MIB

        def read(self, size: int = -1) -> bytes:
            size = min(size, self.left)
            self.left -= size
            return bytes(size)

    ctx = context(api, member)
    upload(api, member, make(api, member), SMALL.data)  # so that everything is loaded
    Path("/proc/self/clear_refs").write_text("5")
    before = _peak()
    image_id = make(api, member)
    image_data.upload(api.svc, ctx, image_id, Endless(), None)  # type: ignore[arg-type]
    got = 0
    for piece in image_data.download(api.svc, ctx, image_id, None)[3] or ():
        got += len(piece)
    assert got == 128 * MIB and _peak() - before < 64 * MIB
    api.call("DELETE", f"/v2/images/{image_id}", by=member, expect=204)


def _peak() -> int:
    [line] = [x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM")]
    return int(line.split()[1]) << 10


# ---- what breaks


def test_a_broken_upload_leaves_nothing_and_can_be_tried_again(
    api: Api, member: Caller, left: Callable[[], list[str]]
) -> None:
    image_id = make(api, member)
    for announced in (None, len(LARGE.data)):
        with pytest.raises(ConnectionResetError):
            image_data.upload(api.svc, context(api, member), image_id, Breaking(LARGE.data, 12 * MIB), announced)
        assert image(api, member, image_id)["status"] == "queued" and left() == []
    upload(api, member, image_id, LARGE.data[: 12 * MIB], expect=400, X_OpenStack_Image_Size="5", Content_Length="5")
    assert left() == []
    upload(api, member, image_id, LARGE.data)
    LARGE.check(api, member, image_id)


def test_the_limit_cuts_off_in_mid_stream(api: Api, member: Caller, left: Callable[[], list[str]]) -> None:
    api.svc.conf.set_override("image_size_cap", 12 * MIB)
    image_id = make(api, member)
    with pytest.raises(errors.ImageTooLarge):
        image_data.upload(api.svc, context(api, member), image_id, io.BytesIO(LARGE.data), None)
    assert image(api, member, image_id)["status"] == "queued" and left() == []


def test_delete_wins_over_an_upload(api: Api, member: Caller, left: Callable[[], list[str]]) -> None:
    image_id = make(api, member)

    class Deleting(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() == 12 * MIB:
                api.call("DELETE", f"/v2/images/{image_id}", by=member, expect=204)
            return super().read(size)

    with pytest.raises(errors.ImageNotFound):
        image_data.upload(api.svc, context(api, member), image_id, Deleting(LARGE.data), None)
    assert left() == []


def test_ossa_2024_001_hostile_images_are_refused_by_stores_that_have_no_file_to_look_at(
    api: Api, member: Caller, tmp_path: Path, left: Callable[[], list[str]]
) -> None:
    path, good = tmp_path / "b.qcow2", tmp_path / "a.qcow2"
    create = ["qemu-img", "create", "-q", "-f", "qcow2"]
    subprocess.run([*create, "-u", "-F", "raw", "-b", "/etc/passwd", path, "1M"], check=True)
    subprocess.run([*create, good, "1M"], check=True)
    for declared, data in (("qcow2", path.read_bytes()), ("raw", good.read_bytes()), ("vmdk", SMALL.data)):
        image_id = make(api, member, declared)
        upload(api, member, image_id, data, expect=415)
        assert image(api, member, image_id)["status"] == "queued" and left() == [], declared
    image_id = make(api, member, "qcow2")
    upload(api, member, image_id, good.read_bytes())
    assert image(api, member, image_id)["virtual_size"] == MIB


# ---- the store's own trouble


def test_wrong_credentials_are_a_503_and_the_image_stays_queued(
    api: Api, member: Caller, kind: str, swift: Swift, left: Callable[[], list[str]]
) -> None:
    image_id, wanted = make(api, member), make(api, member)
    upload(api, member, image_id, SMALL.data)
    secret = "s3_store_secret_key" if kind == "s3" else "swift_store_key"
    change(api.svc.conf, "far", **{secret: "wrong"})
    restart(api)
    for data in (SMALL.data, LARGE.data):
        reply = upload(api, member, wanted, data, expect=503)
        assert "far" in reply.json["message"] and "wrong" not in reply.text and str(swift.port) not in reply.text
    api.call("GET", f"/v2/images/{image_id}/file", by=member, expect=503)
    assert image(api, member, wanted)["status"] == "queued"
    api.call("DELETE", f"/v2/images/{image_id}", by=member, expect=204)  # the data waits for the reconciler
    assert len(left()) == 1
    change(api.svc.conf, "far", **{secret: swift.password})
    restart(api)
    upload(api, member, wanted, SMALL.data)


def test_a_place_that_is_gone_is_a_410(api: Api, member: Caller, kind: str, place: str, swift: Swift) -> None:
    image_id, wanted = make(api, member), make(api, member)
    upload(api, member, image_id, SMALL.data)
    for name in [n for n in swift.objects(place) if n.startswith(f"{place}/")]:
        swift.call("DELETE", f"/{name}")
    api.call("GET", f"/v2/images/{image_id}/file", by=member, expect=410)
    swift.call("DELETE", f"/{place}")
    option = "s3_store_create_bucket_on_put" if kind == "s3" else "swift_store_create_container_on_put"
    change(api.svc.conf, "far", **{option: False})
    restart(api)
    upload(api, member, wanted, SMALL.data, expect=410)
    api.call("GET", f"/v2/images/{image_id}/file", by=member, expect=410)
    assert image(api, member, wanted)["status"] == "queued"
    api.call("DELETE", f"/v2/images/{image_id}", by=member, expect=204)


def test_a_store_that_does_not_answer_is_a_503(api: Api, member: Caller, kind: str) -> None:
    host = f"http://127.0.0.1:{free_port()}"
    change(api.svc.conf, "far", **({"s3_store_host": host} if kind == "s3" else {"swift_store_auth_address": host}))
    image_id = make(api, member)
    upload(api, member, image_id, SMALL.data, expect=503)
    assert image(api, member, image_id)["status"] == "queued"
    reconcile.everything(api.svc)  # says so and goes on


def test_an_import_into_a_store_that_does_not_answer_ends(api: Api, member: Caller, kind: str) -> None:
    host = f"http://127.0.0.1:{free_port()}"
    change(api.svc.conf, "far", **({"s3_store_host": host} if kind == "s3" else {"swift_store_auth_address": host}))
    image_id = make(api, member)
    api.call("PUT", f"/v2/images/{image_id}/stage", SMALL.data, by=member,
             headers={"Content-Type": "application/octet-stream"}, expect=204)  # fmt: skip
    begin_import(api, member, image_id, "glance-direct")
    work(api)
    found = image(api, member, image_id)
    assert (found["status"], found["os_glance_failed_import"]) == ("queued", "far")


def test_a_store_that_dies_on_the_way(
    kind: str, servers_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The image is `queued` again, downloads break off, and what could not be removed is removed by the reconciler."""
    server = Swift(servers_dir / f"dying-{kind}")
    server.start()
    options = s3_options(server, "dying") if kind == "s3" else swift_options(server, "dying")

    class Killing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() == 12 * MIB:
                server.kill()
            return super().read(size)

    try:
        with image_api(tmp_path, {"far": kind}, {"far": options}) as api:
            member = api.caller("member")
            ctx, image_id, kept = context(api, member), make(api, member), make(api, member)
            upload(api, member, kept, LARGE.data)
            with pytest.raises(errors.StoreUnavailable):
                image_data.upload(api.svc, ctx, image_id, Killing(LARGE.data), None)
            assert image(api, member, image_id)["status"] == "queued"
            api.call("GET", f"/v2/images/{kept}/file", by=member, expect=503)
            server.start()
            monkeypatch.setattr(reconcile, "GRACE_SECONDS", -1)
            reconcile.files(api.svc)
            assert all(kept in name for name in server.objects())
            pieces = iter(image_data.download(api.svc, ctx, kept, None)[3] or ())
            assert next(pieces) == LARGE.data[:MIB]
            server.kill()
            with pytest.raises(base.StoreUnavailable):
                for _ in pieces:
                    pass
            server.start()
            upload(api, member, image_id, LARGE.data)
            LARGE.check(api, member, image_id)
    finally:
        server.stop()


def test_a_client_that_goes_away_leaves_nothing(api: Api, member: Caller, left: Callable[[], list[str]]) -> None:
    image_id = make(api, member)
    server = HttpServer(api.app, ("127.0.0.1", 0))
    server.start()
    try:
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:
            head = (
                f"PUT /v2/images/{image_id}/file HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {member.token}\r\n"
                f"Content-Type: application/octet-stream\r\nContent-Length: {len(LARGE.data)}\r\n\r\n"
            )
            client.sendall(head.encode() + LARGE.data[: 12 * MIB])
            wait_for("the parts", lambda: len(left()) > 0)
            assert image(api, member, image_id)["status"] == "saving"
        wait_for("the end of the upload", lambda: image(api, member, image_id)["status"] == "queued")
        assert left() == []
    finally:
        server.stop()


# ---- upkeep


def test_what_dead_uploads_left_is_removed_and_nothing_else(
    api: Api, member: Caller, place: str, swift: Swift, left: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, small, dead = make(api, member), make(api, member), make(api, member)
    upload(api, member, kept, LARGE.data)
    upload(api, member, small, SMALL.data)
    before = left()
    store = api.svc.stores["far"]
    swift.call("PUT", f"/{place}/somebody-elses", b"x")
    for image_id in (dead, kept):  # an upload that died without a word, and one that nobody refers to
        writer = store.create(image_id)
        writer.write(LARGE.data)
        if image_id == kept:
            writer.commit()
        elif isinstance(writer, swift_store.SwiftWriter) and writer._put:
            writer._put.break_off()
    with api.svc.db.write() as conn:
        assert db.images.set_status(conn, dead, ("queued",), "saving")
    assert len(left()) > len(before) + 3
    reconcile.files(api.svc)  # what is young is left alone
    assert len(left()) > len(before) + 3
    monkeypatch.setattr(reconcile, "GRACE_SECONDS", -1)
    reconcile.files(api.svc)
    assert sorted(left()) == sorted([*before, f"{place}/somebody-elses"])
    assert image(api, member, dead)["status"] == "queued"
    LARGE.check(api, member, kept)
    SMALL.check(api, member, small)


def test_slow_uploads_show_that_they_live(api: Api, member: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_data, "BEAT_SECONDS", 0.0)
    image_id, seen = make(api, member), set()

    class Watching(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            seen.add(image(api, member, image_id)["updated_at"])
            with api.svc.db.read() as conn:
                found = db.images.get(conn, image_id)
            assert found is not None
            generations.append(found.generation)
            return super().read(size)

    generations: list[int] = []
    image_data.upload(api.svc, context(api, member), image_id, Watching(b"x" * 3 * MIB), None)
    assert generations == sorted(set(generations)) and len(generations) == 4


def test_scrub_reads_the_store(
    api: Api, member: Caller, swift: Swift, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    image_id = make(api, member)
    upload(api, member, image_id, SMALL.data)
    assert commands.scrub(api.svc.conf, []) == 0
    [name] = [n for n in swift.objects(place) if n.startswith(f"{place}/{image_id}")]
    swift.call("PUT", f"/{name}", b"y" * len(SMALL.data))
    assert commands.scrub(api.svc.conf, []) == 1 and f"{image_id} in far" in capsys.readouterr().err
    swift.call("DELETE", f"/{name}")
    assert commands.scrub(api.svc.conf, []) == 1


def test_one_of_two_uploads_wins(api: Api, member: Caller) -> None:
    image_id, ready, go = make(api, member), threading.Event(), threading.Event()

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            ready.set()
            assert go.wait(60)
            return super().read(size)

    first = threading.Thread(
        target=image_data.upload, args=(api.svc, context(api, member), image_id, Slow(SMALL.data), None)
    )
    first.start()
    assert ready.wait(60)
    upload(api, member, image_id, b"second", expect=409)
    go.set()
    first.join()
    SMALL.check(api, member, image_id)


GLANCE = {
    "s3": ("s3://key:se/cr+et@{host}/{place}/{name}", "s3+http://key:secret@{host}/{place}/{name}"),
    "swift": (
        "swift+http://project%3Auser:secret@{host}/auth/v1.0/{place}/{name}",
        "swift+https://project%3Auser:secret@{host}/v3/{place}/{name}",
        "swift+config://ref1/{place}/{name}",
    ),
}


def test_locations_as_glance_wrote_them(
    api: Api, member: Caller, swift: Swift, kind: str, place: str, left: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Data is where Glance's database says, read with our own credentials; nobody is told those in the location."""
    for form in GLANCE[kind]:
        image_id = make(api, member)
        upload(api, member, image_id, SMALL.data)
        name = locations(api, image_id)["far"].rpartition("/")[2]
        url = form.format(host=swift.url.removeprefix("http://"), place=place, name=name)
        move(api, image_id, url)
        SMALL.check(api, member, image_id)
        service = api.caller("service")
        shown = api.call("GET", f"/v2/images/{image_id}/locations", by=service, expect=200).text
        assert f"{place}/{name}" in shown and "cret" not in shown
        for wrong in (url.replace(place, "elsewhere"), url.replace("127.0.0.1", "127.0.0.9")):
            if wrong != url:
                move(api, image_id, wrong)
                reply = api.call("GET", f"/v2/images/{image_id}/file", by=member, expect=410)
                assert "cret" not in reply.text
        move(api, image_id, url)
        api.call("DELETE", f"/v2/images/{image_id}", by=member, expect=204)
        assert left() == []
    assert "is not of this store" in caplog.text and "cret@" not in caplog.text


def move(api: Api, image_id: str, url: str) -> None:
    with api.svc.db.write() as conn:
        found = db.images.get(conn, image_id)
        assert found is not None and db.images.change(conn, found, {"locations": {"far": url}})


def test_a_store_behind_tls(swift: Swift, tmp_path: Path, place: str, kind: str) -> None:
    """Whose certificate is of an authority of one's own: trusted where the configuration names it, else refused."""
    front = TlsFront(tmp_path, swift.port)
    url = f"https://127.0.0.1:{front.port}"
    options = (
        s3_options(swift, place, s3_store_host=url, s3_store_cacert=str(front.certificate))
        if kind == "s3"
        else swift_options(
            swift,
            place,
            swift_store_auth_address=f"{url}/auth/v1.0",
            swift_store_endpoint=f"{url}/v1/AUTH_test",
            swift_store_cacert=str(front.certificate),
        )
    )
    try:
        with image_api(tmp_path, {"far": kind}, {"far": options}) as api:
            member = api.caller("member")
            for content in (SMALL, LARGE):
                image_id = make(api, member)
                upload(api, member, image_id, content.data)
                content.check(api, member, image_id)
            assert front.connections
            change(api.svc.conf, "far", **{f"{kind}_store_cacert": ""})
            restart(api)
            upload(api, member, make(api, member), SMALL.data, expect=503)
            api.call("GET", f"/v2/images/{image_id}/file", by=member, expect=503)
    finally:
        front.stop()
