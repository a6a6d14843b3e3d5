# SPDX-License-Identifier: Apache-2.0
"""The HTTP server on the wire: what it answers, what it refuses, and which connections it keeps."""

from __future__ import annotations

import http.client
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from aerie_common import serving, wire
from aerie_common.http import FileSlice
from aerie_common.serving import HttpServer

seen: list[dict[str, Any]] = []


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    seen.append(environ)
    path = environ["PATH_INFO"]
    if path == "/echo":
        body = environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]
    if path == "/lines":
        start_response("200 OK", [])
        return list(environ["wsgi.input"])
    if path == "/pieces":
        start_response("200 OK", [("X-Kind", "pieces")])
        return iter([b"a" * 10, b"", b"b" * 100_000])
    if path == "/none":
        start_response("204 No Content", [])
        return []
    if path == "/breaks":
        raise RuntimeError("a mistake of the application")
    if path == "/injects":
        start_response("200 OK", [("X-Name", "a\r\nSet-Cookie: b")])
        return [b""]
    if path == "/short":
        start_response("200 OK", [("Content-Length", "10")])
        return [b"12345"]
    if path.startswith("/file/"):
        size = int(path.removeprefix("/file/"))
        file = tempfile.TemporaryFile(buffering=0)
        file.write(b"0123456789")
        start_response("200 OK", [("Content-Length", str(size))])
        return FileSlice(file, 2, size)
    if path == "/slow":
        time.sleep(0.3)
    start_response("200 OK", [("Content-Length", "2")])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [b"ok"]


@pytest.fixture(scope="module")
def shared() -> Iterator[HttpServer]:
    made = HttpServer(application, ("127.0.0.1", 0), threads=4)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def server(shared: HttpServer) -> HttpServer:
    seen.clear()
    return shared


def talk(server: HttpServer, sent: bytes) -> bytes:
    """Everything the server says to these bytes, until it closes or has been silent for a moment."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as s:
        s.sendall(sent)
        s.settimeout(0.5)
        got = b""
        try:
            while piece := s.recv(65536):
                got += piece
        except (TimeoutError, ConnectionResetError):
            pass
        return got


def status(reply: bytes) -> int:
    return int(reply.split(b" ", 2)[1]) if reply else 0


def test_many_requests_on_one_connection(server: HttpServer) -> None:
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    for number in range(20):
        client.request("POST", "/echo", b"x" * number)
        reply = client.getresponse()
        assert (reply.status, reply.read()) == (200, b"x" * number)
        assert reply.headers["Date"].endswith("GMT") and reply.headers["Server"] == "Aerie"
    time.sleep(serving.LINGER * 3)  # handed back to the watch by now
    client.request("GET", "/")
    assert client.getresponse().read() == b"ok"
    client.close()


def test_requests_sent_at_once_are_answered_in_order(server: HttpServer) -> None:
    first = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\none"
    second = b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n"
    last = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    reply = talk(server, first + second + last)
    assert reply.count(b"HTTP/1.1 200 OK") == 3
    assert reply.index(b"one") < reply.index(b"two") < reply.index(b"ok")
    assert b"Connection: close" in reply


def test_files_of_any_length_keep_the_connection(server: HttpServer) -> None:
    """An empty one too, which the kernel is not asked to send."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    for size in (0, 3, 0, 8):
        connection.request("GET", f"/file/{size}")
        assert connection.getresponse().read() == b"23456789"[:size]
    connection.close()


def test_bodies(server: HttpServer) -> None:
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    big = bytes(range(256)) * 4000
    client.request("POST", "/echo", iter([big[:10], big[10:70000], big[70000:]]), encode_chunked=True,
                   headers={"Transfer-Encoding": "chunked"})  # fmt: skip
    assert client.getresponse().read() == big
    client.request("POST", "/lines", b"one\ntwo\nthree")
    assert client.getresponse().read() == b"one\ntwo\nthree"
    client.request("GET", "/pieces")
    reply = client.getresponse()
    assert reply.headers["Transfer-Encoding"] == "chunked" and reply.read() == b"a" * 10 + b"b" * 100_000
    client.request("POST", "/none", b"unread" * 1000)
    reply = client.getresponse()
    assert reply.status == 204 and reply.read() == b"" and "Transfer-Encoding" not in reply.headers
    client.request("HEAD", "/pieces")
    assert client.getresponse().read() == b""
    client.request("GET", "/")
    assert client.getresponse().read() == b"ok"
    client.close()


def test_a_client_that_waits_for_leave_to_send(server: HttpServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as s:
        s.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        assert s.recv(100).startswith(b"HTTP/1.1 100 ")
        s.sendall(b"hello")
        assert s.recv(1000).endswith(b"hello")


def test_old_clients(server: HttpServer) -> None:
    reply = talk(server, b"GET /pieces HTTP/1.0\r\n\r\n")
    assert b"Transfer-Encoding" not in reply and reply.endswith(b"\r\n\r\n" + b"a" * 10 + b"b" * 100_000)
    assert b"Connection: close" in reply
    assert b"Connection: keep-alive" in talk(server, b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"GET / HTTP/1.1\nHost: a\n\r\n\r\n", 400),
        (b"get / HTTP/1.1\r\n\r\n", 400),
        (b"GET http://a/ HTTP/1.1\r\n\r\n", 400),
        (b"GET /#a HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 505),
        (b"GET /a b HTTP/1.1\r\n\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: \0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: b\rC: d\r\n\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
        (b"POST /echo HTTP/1.1\r\nContent-Length: +3\r\n\r\nabc", 400),
        (b"POST /echo HTTP/1.1\r\nContent-Length: -3\r\n\r\nabc", 400),
        (b"POST /echo HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * (65 << 10) + b"\r\n\r\n", 431),
    ],
)
def test_what_is_refused(server: HttpServer, sent: bytes, expected: int) -> None:
    """Nothing of it reaches the application, and the connection ends."""
    reply = talk(server, sent + b"GET / HTTP/1.1\r\nHost: smuggled\r\n\r\n")
    assert status(reply) in (expected, 0) and reply.count(b"Server: ") <= 1 and not seen
    assert reply == b"" or b"Connection: close" in reply


def test_an_offer_to_upgrade_is_not_taken(server: HttpServer) -> None:
    """The request is answered as it stands, and what follows is not taken for another one."""
    offer = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n"
    reply = talk(server, offer + b"GET /echo HTTP/1.1\r\nHost: smuggled\r\n\r\n")
    assert status(reply) == 200 and len(seen) == 1


def test_a_request_byte_by_byte(server: HttpServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello":
            s.sendall(bytes([byte]))
        assert s.recv(1000).endswith(b"hello")


@pytest.mark.parametrize("chunks", [b"zz\r\nabc\r\n0\r\n\r\n", b"3\r\nabcd\r\n0\r\n\r\n", b"-1\r\n\r\n"])
def test_broken_chunks_end_the_connection(server: HttpServer, chunks: bytes) -> None:
    sent = b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"GET / HTTP/1.1\r\n\r\n"
    assert b" 200 " not in talk(server, sent)


def test_paths_and_headers(server: HttpServer) -> None:
    talk(server, b"GET /a%20b%2fc/%C3%A9?x=%20&y HTTP/1.1\r\nHost: h\r\nX-One: 1\r\nx-one: 2\r\nCookie: a\r\n"
                 b"Cookie: b\r\nContent-Type:  text/plain \r\n\r\n")  # fmt: skip
    environ = seen[0]
    assert environ["PATH_INFO"].encode("latin-1").decode() == "/a b%2Fc/é"
    assert (environ["QUERY_STRING"], environ["HTTP_X_ONE"], environ["HTTP_COOKIE"]) == ("x=%20&y", "1, 2", "a; b")
    assert environ["CONTENT_TYPE"] == "text/plain" and environ["REMOTE_ADDR"] == "127.0.0.1"


@pytest.mark.parametrize("path", ["/breaks", "/injects"])
def test_mistakes_of_an_application(server: HttpServer, path: str) -> None:
    reply = talk(server, f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    assert status(reply) == 500 and b"Set-Cookie" not in reply
    assert talk(server, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").endswith(b"ok")


def test_a_reply_shorter_than_said_ends_its_connection(server: HttpServer) -> None:
    reply = talk(server, b"GET /short HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\n\r\n")
    assert reply.endswith(b"12345") and reply.count(b"HTTP/1.1 ") == 1


def test_a_client_that_stops_within_a_request(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "PATIENCE", 0.2)
    assert status(talk(server, b"GET / HTTP/1.1\r\nHost:")) == 408
    assert talk(server, b"POST /echo HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc") == b""


def test_more_connections_than_threads(server: HttpServer) -> None:
    """All are kept and all are answered, also while idle ones are open."""
    clients = [http.client.HTTPConnection("127.0.0.1", server.port, timeout=10) for _ in range(30)]
    failed: list[BaseException] = []

    def use(client: http.client.HTTPConnection) -> None:
        try:
            for _ in range(20):
                client.request("GET", "/")
                reply = client.getresponse()
                assert reply.read() == b"ok" and "Connection" not in reply.headers
        except BaseException as e:
            failed.append(e)

    for _ in range(2):
        threads = [threading.Thread(target=use, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert not failed
    for client in clients:
        client.close()


def test_stop_finishes_the_request_at_hand() -> None:
    server = HttpServer(application, ("127.0.0.1", 0), threads=4)
    server.start()
    found: list[bytes] = []
    request = b"GET /slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    thread = threading.Thread(target=lambda: found.append(talk(server, request)))
    thread.start()
    time.sleep(0.1)
    server.stop()
    thread.join(5)
    assert found[0].endswith(b"ok")


def test_the_names_of_headers_are_remembered_within_bounds() -> None:
    for number in range(2 * wire.KNOWN_NAMES):
        wire.Request().add_header(b"X-%d" % number, b"1")
    assert len(wire._known_names) <= wire.KNOWN_NAMES
