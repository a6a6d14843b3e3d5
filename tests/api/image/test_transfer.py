# SPDX-License-Identifier: Apache-2.0
"""Image data through a real server: in constant memory, up and down, also when it is refused."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from aerie_common.serving import HttpServer
from aerie_common.testing.api import Api, Caller
from memory import Memory

SIZE, HUGE, GROWTH = 256 << 20, 2 << 30, 64 << 20
DATA = {"Content-Type": "application/octet-stream"}
CLIENT = """
import hashlib, http.client, json, os, sys
method, port, path, size, chunked = sys.argv[1:]
port, size, chunked = int(port), int(size), chunked == "chunked"
headers = {"Content-Type": "application/octet-stream", "X-Auth-Token": os.environ["TOKEN"]}
piece, md5, sent = os.urandom(1 << 20), hashlib.md5(), 0
def body():
    for _ in range(size >> 20):
        md5.update(piece)
        yield piece
c = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
if method == "PUT" and not chunked:
    headers["Content-Length"] = str(size)
try:
    c.request(method, path, body() if method == "PUT" else None, headers, encode_chunked=chunked)
    broken = False
except (BrokenPipeError, ConnectionResetError):
    broken = True
try:
    r = c.getresponse()
    status, got = r.status, 0
    while data := r.read(1 << 20):
        got += len(data)
        if method == "GET":
            md5.update(data)
except (http.client.HTTPException, OSError):
    status, got = 0, 0
print(json.dumps({"status": status, "md5": md5.hexdigest(), "got": got, "broken": broken}))
"""


@pytest.fixture
def port(api: Api) -> Iterator[int]:
    server = HttpServer(api.app, ("127.0.0.1", 0))
    server.start()
    yield server.port
    server.stop()


def client(token: str, *arguments: object) -> dict[str, object]:
    """What another process saw."""
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, *map(str, arguments)],
        env={**os.environ, "TOKEN": token}, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    found: dict[str, object] = json.loads(done.stdout)
    return found


def make(api: Api, by: Caller) -> str:
    body = {"name": "i", "disk_format": "raw", "container_format": "bare"}
    return str(api.call("POST", "/v2/images", body, by=by, expect=201).json["id"])


@pytest.mark.parametrize(("how", "size"), [("known", SIZE), ("chunked", HUGE)])
def test_large_images_pass_through_little_memory(one_api: Api, how: str, size: int) -> None:
    api, member = one_api, one_api.caller("member")
    server = HttpServer(api.app, ("127.0.0.1", 0))
    server.start()
    try:
        image_id, memory = make(api, member), Memory()
        path = f"/v2/images/{image_id}/file"
        sent = client(member.token, "PUT", server.port, path, size, how)
        assert sent["status"] == 204
        image = api.call("GET", f"/v2/images/{image_id}", by=member).json
        assert (image["size"], image["checksum"], image["status"]) == (size, sent["md5"], "active")
        got = client(member.token, "GET", server.port, path, 0, "-")
        assert (got["status"], got["got"], got["md5"]) == (200, size, sent["md5"])
        assert memory.growth() < GROWTH
    finally:
        server.stop()
        api.call("DELETE", f"/v2/images/{image_id}", by=member, expect=204)  # the disk is not only ours


def test_an_upload_that_broke_off_can_be_done_again(api: Api, port: int) -> None:
    """Whether the client had told the size or not, and not before it is over."""
    member = api.caller("member")
    for form in ("Content-Length: 1000000", "Transfer-Encoding: chunked"):
        image_id = make(api, member)
        path = f"/v2/images/{image_id}"
        with socket.create_connection(("127.0.0.1", port), timeout=120) as broken:
            head = f"PUT {path}/file HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {member.token}\r\n{form}\r\n"
            broken.sendall(f"{head}Content-Type: application/octet-stream\r\n\r\n".encode())
            broken.sendall((b"400\r\n" if "chunked" in form else b"") + b"x" * 1024 + b"\r\n")
            eventually(lambda path=path: api.call("GET", path, by=member).json["status"] == "saving")
            again = api.call("PUT", f"{path}/file", b"y", by=member, headers=DATA, expect=409)
            assert again.json["code"].startswith("409")
        eventually(lambda path=path: api.call("GET", path, by=member).json["status"] == "queued")
        assert os.listdir(api.svc.conf.file.filesystem_store_datadir) == [], form
        api.call("PUT", f"{path}/file", b"whole", by=member, headers=DATA, expect=204)
        assert api.call("GET", f"{path}/file", by=member).body == b"whole"
        api.call("DELETE", path, by=member, expect=204)


def eventually(check: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_of_many_uploads_at_a_time_one_wins(api: Api, port: int) -> None:
    member, found = api.caller("member"), []
    image_id = make(api, member)

    def upload(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        headers = {**DATA, "X-Auth-Token": member.token}
        connection.request("PUT", f"/v2/images/{image_id}/file", bytes([number]) * 3_000_000, headers)
        found.append((connection.getresponse().status, number))
        connection.close()

    threads = [threading.Thread(target=upload, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    [winner] = [number for status, number in found if status == 204]
    assert sorted(status for status, _ in found) == [204] + [409] * 5
    assert api.call("GET", f"/v2/images/{image_id}/file", by=member).body == bytes([winner]) * 3_000_000


@pytest.mark.parametrize("how", ["known", "chunked"])
def test_bodies_of_refused_requests_are_not_held(api: Api, port: int, how: str) -> None:
    """Whoever has no token cannot fill the server's memory with an announced body either."""
    memory = Memory()
    seen = client("nobody", "PUT", port, "/v2/images/x/file", SIZE, how)
    assert seen["status"] in (401, 0) and (seen["status"] or seen["broken"])
    assert memory.growth() < GROWTH


def test_small_refused_bodies_leave_the_connection_usable(api: Api, port: int) -> None:
    member = api.caller("member")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    headers = {"Content-Type": "application/octet-stream", "X-Auth-Token": member.token}
    for chunked in (False, True):
        body = iter([b"x" * 100_000] * 20) if chunked else b"x" * 2_000_000
        connection.request("PUT", "/v2/images/none/file", body, headers, encode_chunked=chunked)
        reply = connection.getresponse()
        assert reply.status == 404 and reply.read()
        connection.request("GET", "/v2/images", headers=headers)
        reply = connection.getresponse()
        assert reply.status == 200 and json.loads(reply.read())["images"] == []
    connection.close()


def test_ranges_and_heads_over_the_wire(api: Api, port: int) -> None:
    member = api.caller("member")
    image_id, data = make(api, member), os.urandom(300_000)
    api.call("PUT", f"/v2/images/{image_id}/file", data, by=member,
             headers={"Content-Type": "application/octet-stream"}, expect=204)  # fmt: skip
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    for text, first, end in (("bytes=0-9", 0, 10), ("bytes=100000-", 100_000, 300_000), ("bytes=-5", 299_995, 300_000)):
        connection.request("GET", f"/v2/images/{image_id}/file", headers={"X-Auth-Token": member.token, "Range": text})
        reply = connection.getresponse()
        assert reply.status == 206 and reply.read() == data[first:end]
    connection.request("HEAD", f"/v2/images/{image_id}/file", headers={"X-Auth-Token": member.token})
    reply = connection.getresponse()
    assert reply.status == 200 and reply.headers["Content-Length"] == "300000" and reply.read() == b""
    connection.close()
