# SPDX-License-Identifier: Apache-2.0
"""The HTTP server on the wire: what it answers, what it refuses, and which connections it keeps."""

from __future__ import annotations

import contextlib
import http.client
import os
import resource
import socket
import threading
import time
from collections.abc import Iterator

import pytest

import http_corpus
from aerie_common import serving, wire
from aerie_common.serving import HttpServer
from wsgi_sample import application, seen


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


def talk(server: HttpServer, sent: bytes, last: bool = False) -> bytes:
    """What the server says to these bytes until it closes, of its own accord or because they were the `last`."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as s:
        s.sendall(sent)
        if last:
            s.shutdown(socket.SHUT_WR)
        got = b""
        try:
            while piece := s.recv(65536):
                got += piece
        except ConnectionResetError:
            pass
        return got


def status(reply: bytes) -> int:
    return int(reply.split(b" ", 2)[1]) if reply else 0


def test_many_requests_on_one_connection(server: HttpServer) -> None:
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
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
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    for size in (0, 3, 0, 8):
        connection.request("GET", f"/file/{size}")
        assert connection.getresponse().read() == b"23456789"[:size]
    connection.close()


def test_bodies(server: HttpServer) -> None:
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
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
    """It gets it when the application wants the body, and not before."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as s:
        s.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        assert s.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        s.sendall(b"hello")
        assert s.recv(1000).endswith(b"hello")


def test_no_leave_for_a_body_that_nobody_wants(server: HttpServer) -> None:
    """As the client may send it all the same or not, the connection ends."""
    sent = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    found, got, closed = http_corpus.exchange(server.port, sent, 1)
    assert (found, closed) == ([200], True) and b" 100 " not in got


def test_old_clients(server: HttpServer) -> None:
    reply = talk(server, b"GET /pieces HTTP/1.0\r\n\r\n")
    assert b"Transfer-Encoding" not in reply and reply.endswith(b"\r\n\r\n" + b"a" * 10 + b"b" * 100_000)
    assert b"Connection: close" in reply
    assert b"Connection: keep-alive" in talk(server, b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", last=True)


@pytest.mark.parametrize("case", http_corpus.ALL, ids=lambda case: case.name)
def test_corpus(server: HttpServer, case: http_corpus.Case) -> None:
    """Each is answered as it has to be; a refused one, and what follows it, never reaches the application; and the
    answer arrives however much the client sends behind what was refused."""
    found, got, closed = http_corpus.exchange(server.port, case.sent, len(case.answers))
    assert (tuple(found), closed) == (case.answers, case.closes), got[-500:]
    assert tuple(environ["PATH_INFO"] for environ in seen) == case.seen
    assert not case.closes or got.count(b"Connection: close\r\n") == 1


def test_a_request_byte_by_byte(server: HttpServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello":
            s.sendall(bytes([byte]))
        assert s.recv(1000).endswith(b"hello")


def test_headers_are_what_they_seem(server: HttpServer) -> None:
    http_corpus.exchange(server.port, http_corpus.get(b"X_User_Id: root", b"X-User-Id: me", b"Content_Length: 5"), 1)
    assert seen[0]["HTTP_X_USER_ID"] == "me" and "CONTENT_LENGTH" not in seen[0]
    http_corpus.exchange(server.port, http_corpus.get(target=b"http://real/x"), 1)
    assert (seen[1]["HTTP_HOST"], seen[1]["PATH_INFO"]) == ("real", "/x")


def test_paths_and_headers(server: HttpServer) -> None:
    talk(server, b"GET /a%20b%2fc/%C3%A9?x=%20&y HTTP/1.1\r\nHost: h\r\nX-One: 1\r\nx-one: 2\r\nCookie: a\r\n"
                 b"Cookie: b\r\nContent-Type:  text/plain \r\n\r\n", last=True)  # fmt: skip
    environ = seen[0]
    assert environ["PATH_INFO"].encode("latin-1").decode() == "/a b%2Fc/é"
    assert (environ["QUERY_STRING"], environ["HTTP_X_ONE"], environ["HTTP_COOKIE"]) == ("x=%20&y", "1, 2", "a; b")
    assert environ["CONTENT_TYPE"] == "text/plain" and environ["REMOTE_ADDR"] == "127.0.0.1"


@pytest.mark.parametrize("path", ["/breaks", "/injects"])
def test_mistakes_of_an_application(server: HttpServer, path: str) -> None:
    reply = talk(server, f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode(), last=True)
    assert status(reply) == 500 and b"Set-Cookie" not in reply
    assert talk(server, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", last=True).endswith(b"ok")


def test_a_reply_shorter_than_said_ends_its_connection(server: HttpServer) -> None:
    reply = talk(server, b"GET /short HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\n\r\n")
    assert reply.endswith(b"12345") and reply.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nHost:",
        b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc",
        b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + b"x" * 70_000,
    ],
)
def test_a_client_that_stops_within_a_request(server: HttpServer, monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(serving, "PATIENCE", 0.3)
    found, got, closed = http_corpus.exchange(server.port, sent, 2)
    assert (found, closed) == ([408], True) and b"in time" in got


def test_a_trickling_client_has_as_long_and_no_longer(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes within its time does not prolong it."""
    monkeypatch.setattr(serving, "PATIENCE", 1.0)
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as s:
        s.sendall(b"GET / HTTP/1.1\r\n")
        began = time.monotonic()
        s.settimeout(0.1)
        while time.monotonic() - began < 20:
            s.sendall(b"X-A: 1\r\n")
            try:
                assert http_corpus.statuses(s.recv(1000)) == [408]
                break
            except TimeoutError:
                continue
        assert 1.0 <= time.monotonic() - began < 20


def test_silent_and_slow_clients_hold_no_thread(server: HttpServer) -> None:
    """Of four threads: those who say nothing, half a head or half a small body, and those who never come to the end of
    a refused upload, leave all to the others."""
    halves = [
        b"",
        b"GET / HTTP/1.1\r\nHo",
        b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\nabc",
        b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc",
    ]
    slow = []
    for number in range(40):
        s = socket.create_connection(("127.0.0.1", server.port), timeout=20)
        s.sendall(halves[number % len(halves)])
        slow.append(s)
    try:
        began = time.monotonic()
        for _ in range(20):
            assert http_corpus.exchange(server.port, http_corpus.get(b"Connection: close"), 1)[0] == [200]
        assert time.monotonic() - began < serving.PATIENCE / 2
        slow[1].sendall(b"st: a\r\n\r\n")
        assert http_corpus.statuses(slow[1].recv(1000)) == [200]
        slow[3].sendall(b"\r\n0\r\n\r\n")
        assert slow[3].recv(1000).endswith(b"abc")
    finally:
        for s in slow:
            s.close()


def test_data_is_taken_as_it_comes(server: HttpServer) -> None:
    """However little: an upload of data may be watched by others."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as s:
        s.sendall(http_corpus.post(b"Content-Type: application/octet-stream", b"Content-Length: 6", body=b"abc"))
        end = time.monotonic() + 20
        while not seen:
            assert time.monotonic() < end
            time.sleep(0.01)
        s.sendall(b"def")
        assert s.recv(1000).endswith(b"abcdef")


def test_a_refused_upload_that_does_not_end(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its client gets the answer; the thread does not wait for all of it."""
    monkeypatch.setattr(wire, "DRAIN_PAUSE", 0.5)
    sent = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\n" + b"x" * 70_000
    found, _, closed = http_corpus.exchange(server.port, sent, 2)
    assert (found, closed) == ([200], True)


def test_a_refused_client_that_never_stops_sending(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has had its answer, and is not listened to for ever."""
    monkeypatch.setattr(serving, "LEAVE", 0.5)
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as s:
        s.sendall(b"nonsense\r\n\r\n")
        assert http_corpus.statuses(s.recv(1000)) == [400]
        end = time.monotonic() + 30
        with pytest.raises(ConnectionError):
            while time.monotonic() < end:
                s.sendall(b"x" * 10_000)


def test_idle_connections_end_in_time(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "IDLE", 0.5)
    found, _, closed = http_corpus.exchange(server.port, http_corpus.get(), 2)
    assert (found, closed) == ([200], True)


def test_a_request_that_comes_as_an_idle_connection_ends(server: HttpServer) -> None:
    """What has come when the watch loses its patience is answered, not thrown away."""
    inner = server._server
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as s:
        s.sendall(http_corpus.get())
        assert http_corpus.statuses(s.recv(1000)) == [200]
        end = time.monotonic() + 20
        while not inner._watched and time.monotonic() < end:
            time.sleep(0.005)
        [conn] = inner._watched.values()
        inner._watched.pop(conn.fd)  # the watch has looked, and is slow to act
        s.sendall(http_corpus.get(target=b"/late"))
        time.sleep(0.05)
        inner._watched[conn.fd] = conn
        inner._late(conn)
        assert http_corpus.statuses(s.recv(1000)) == [200] and seen[-1]["PATH_INFO"] == "/late"
        s.sendall(http_corpus.get())
        assert http_corpus.statuses(s.recv(1000)) == [200]


@pytest.mark.parametrize("kind", [TimeoutError, ConnectionResetError, BlockingIOError, OSError])
def test_an_application_that_lets_network_errors_through(server: HttpServer, kind: type[Exception]) -> None:
    """They are its own mistakes, not its client's going away: nobody is left without an answer."""
    found, _, _ = http_corpus.exchange(server.port, http_corpus.get(target=f"/raises/{kind.__name__}".encode()), 1)
    assert found == [500]


def closed_by_server(sock: socket.socket) -> bool:
    sock.settimeout(0)
    try:
        return sock.recv(100) == b""
    except BlockingIOError:
        return False


def test_no_more_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """When a process may open no more, the connections that have been idle for longest make room."""
    server = HttpServer(application, ("127.0.0.1", 0), threads=4)
    server.start()
    idle = [socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in range(30)]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        for s in idle:
            s.sendall(http_corpus.get())
            assert http_corpus.statuses(s.recv(1000)) == [200]
        late = socket.socket()
        idle.append(late)
        used = max(int(fd) for fd in os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 1, hard))
        fillers = []
        with contextlib.suppress(OSError):
            while True:
                fillers.append(os.dup(0))
        try:
            late.settimeout(20)
            late.connect(("127.0.0.1", server.port))
            late.sendall(http_corpus.get())
            assert http_corpus.statuses(late.recv(1000)) == [200]
        finally:
            for fd in fillers:
                os.close(fd)
        closed = [number for number, s in enumerate(idle[:30]) if closed_by_server(s)]
        # The first may still have had a thread with them for the moment in which another request may come.
        assert len(closed) == 16 and max(closed) < 25
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for s in idle:
            s.close()
        server.stop()


def test_more_connections_than_threads(server: HttpServer) -> None:
    """All are kept and all are answered, also while idle ones are open."""
    clients = [http.client.HTTPConnection("127.0.0.1", server.port, timeout=60) for _ in range(30)]
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
            thread.join(120)
        assert not failed
    for client in clients:
        client.close()


def test_stop_finishes_the_requests_at_hand() -> None:
    """Those being answered, and those that have come on connections which nobody had looked at yet."""
    server = HttpServer(application, ("127.0.0.1", 0), threads=2)
    server.start()
    clients = [socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in range(6)]
    for client in clients:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.recv(1000).endswith(b"ok")
    time.sleep(serving.LINGER * 5)
    for client in clients:
        client.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
    time.sleep(0.1)
    server.stop()
    for client in clients:
        assert client.recv(1000).endswith(b"ok") and client.recv(1000) == b""
        client.close()


def test_the_names_of_headers_are_remembered_within_bounds() -> None:
    for number in range(2 * wire.KNOWN_NAMES):
        wire.Request().add_header(b"X-%d" % number, b"1")
    assert len(wire._known_names) <= wire.KNOWN_NAMES
