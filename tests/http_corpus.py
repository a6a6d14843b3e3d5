# SPDX-License-Identifier: Apache-2.0
"""Well-formed, malformed and hostile HTTP/1.x, each with what has to come of it.

Every case ends in a question for /smuggled where a careless reader would see one. `Case.seen` are the paths that the
application is asked for; `Case.closes` says whether the server has to end the connection.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass

H = b"Host: a\r\n"
NEXT = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"
HIDDEN = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


@dataclass(frozen=True)
class Case:
    name: str
    sent: bytes
    answers: tuple[int, ...]
    seen: tuple[str, ...] = ()
    closes: bool = True


def ok(name: str, sent: bytes, *paths: str) -> Case:
    """All of it is answered, and the connection stays."""
    return Case(name, sent, (200,) * len(paths), paths, closes=False)


def bad(name: str, sent: bytes, status: int = 400) -> Case:
    """Refused, and what follows is not looked at."""
    return Case(name, sent + HIDDEN, (status,))


def get(*lines: bytes, target: bytes = b"/", host: bytes = H, version: bytes = b"HTTP/1.1") -> bytes:
    return b"GET " + target + b" " + version + b"\r\n" + host + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def post(*lines: bytes, body: bytes = b"", version: bytes = b"HTTP/1.1") -> bytes:
    return b"POST /echo " + version + b"\r\n" + H + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


CHUNKED = b"Transfer-Encoding: chunked"

WELL_FORMED = [
    ok("two at once", get() + NEXT, "/", "/next"),
    ok("empty lines before a request", b"\r\n\r\n" + get(), "/"),
    ok("an empty header", get(b"X-A:", b"X-B: 1"), "/"),
    ok("a length of zero", post(b"Content-Length: 0") + NEXT, "/echo", "/next"),
    ok("a length with leading zeros", post(b"Content-Length: 0003", body=b"abc") + NEXT, "/echo", "/next"),
    ok("a body in a GET", get(b"Content-Length: 3") + b"abc" + NEXT, "/", "/next"),
    ok("chunks", post(CHUNKED, body=b"3\r\nabc\r\n0\r\n\r\n") + NEXT, "/echo", "/next"),
    ok("chunks with extensions", post(CHUNKED, body=b"3;a=b\r\nabc\r\n0\r\n\r\n") + NEXT, "/echo", "/next"),
    ok("trailers", post(CHUNKED, body=b"3\r\nabc\r\n0\r\nHost: b\r\nX-A: 1\r\n\r\n") + NEXT, "/echo", "/next"),
    ok("a request in a body", post(b"Content-Length: %d" % len(HIDDEN), body=HIDDEN) + NEXT, "/echo", "/next"),
    ok("a request in a chunk", post(CHUNKED, body=b"%x\r\n" % len(HIDDEN) + HIDDEN + b"\r\n0\r\n\r\n"), "/echo"),
    ok("HEAD", b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n" + NEXT, "/", "/next"),
    ok("a whole address", get(target=b"http://b/x?y=1") + NEXT, "/x", "/next"),
    ok("a whole address without a path", get(target=b"http://b"), "/"),
    ok("a host with a port", get(host=b"Host: [::1]:80\r\n"), "/"),
    ok("two spaces in the request line", b"GET  / HTTP/1.1\r\n" + H + b"\r\n", "/"),
    ok("an encoded slash", get(target=b"/a%2Fb%2fc"), "/a%2Fb%2Fc"),
    ok("an underscore that would pass for a dash", get(b"X_User_Id: root", b"Content_Length: 5"), "/"),
    ok("HTTP/1.0 that stays", get(b"Connection: keep-alive", version=b"HTTP/1.0") + NEXT, "/", "/next"),
    ok("an offer to upgrade", get(b"Connection: Upgrade", b"Upgrade: h2c") + NEXT, "/", "/next"),
    ok(
        "an offer to upgrade, with a body",
        post(b"Connection: Upgrade", b"Upgrade: h2c", b"Content-Length: %d" % len(HIDDEN), body=HIDDEN) + NEXT,
        "/echo",
        "/next",
    ),
    ok(
        "an offer to upgrade, with chunks",
        post(b"Connection: Upgrade", b"Upgrade: h2c", CHUNKED, body=b"3\r\nabc\r\n0\r\n\r\n") + NEXT,
        "/echo",
        "/next",
    ),
    Case("204", get(target=b"/none") + NEXT, (204, 200), ("/none", "/next"), closes=False),
    Case("304", get(target=b"/unchanged") + NEXT, (304, 200), ("/unchanged", "/next"), closes=False),
    Case("the client's wish to close", get(b"Connection: close") + HIDDEN, (200,), ("/",)),
    Case("HTTP/1.0", get(version=b"HTTP/1.0") + HIDDEN, (200,), ("/",)),
    Case("HTTP/1.0 without a host", get(host=b"", version=b"HTTP/1.0") + HIDDEN, (200,), ("/",)),
    Case(
        "a body that waits for leave",
        post(b"Expect: 100-continue", b"Content-Length: 3", body=b"abc") + NEXT,
        (200, 200),
        ("/echo", "/next"),
        closes=False,
    ),
]

MALFORMED = [
    bad("no host", get(host=b"")),
    bad("an empty host", get(host=b"Host: \r\n")),
    bad("two hosts", get(b"Host: b")),
    bad("the same host twice", get(b"Host: a")),
    bad("a host that is none", get(host=b"Host: a/b@c\r\n")),
    bad("two lengths", post(b"Content-Length: 3", b"Content-Length: 4", body=b"abcd")),
    bad("the same length twice", post(b"Content-Length: 3", b"Content-Length: 3", body=b"abc")),
    bad("a list of lengths", post(b"Content-Length: 3, 3", body=b"abc")),
    bad("a length beside chunks", post(b"Content-Length: 6", CHUNKED, body=b"0\r\n\r\n")),
    bad("chunks beside a length", post(CHUNKED, b"Content-Length: 6", body=b"0\r\n\r\n")),
    bad("a signed length", post(b"Content-Length: +3", body=b"abc")),
    bad("a negative length", post(b"Content-Length: -3", body=b"abc")),
    bad("a length in hexadecimal", post(b"Content-Length: 0x3", body=b"abc")),
    bad("no length", post(b"Content-Length: ", body=b"")),
    bad("a length beyond all numbers", post(b"Content-Length: 99999999999999999999999", body=b"abc")),
    bad("a length of two words", post(b"Content-Length: 3 3", body=b"abc")),
    bad("another coding", post(b"Transfer-Encoding: gzip", body=b"abc"), 501),
    bad("chunks last, another coding before", post(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"), 501),
    bad("chunked twice", post(CHUNKED, CHUNKED, body=b"0\r\n\r\n")),
    bad("chunked, then identity", post(CHUNKED, b"Transfer-Encoding: identity", body=b"0\r\n\r\n")),
    bad("a coding like chunked", post(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n"), 501),
    bad("a coding with a vertical tab", post(b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n")),
    bad("a space before the colon of the coding", post(b"Transfer-Encoding : chunked", body=b"0\r\n\r\n")),
    bad("chunks in HTTP/1.0", post(CHUNKED, body=b"0\r\n\r\n", version=b"HTTP/1.0")),
    bad("a folded header", get(b"X-A: b", b" c")),
    bad("a folded coding", post(b"Transfer-Encoding:", b" chunked", body=b"0\r\n\r\n")),
    bad("a fold before all headers", b"GET / HTTP/1.1\r\n X: y\r\n" + H + b"\r\n"),
    bad("a space before the colon", get(b"X-A : b")),
    bad("a header without a colon", get(b"X-A")),
    bad("a header without a name", get(b": b")),
    bad("a space in a name", get(b"X A: b")),
    bad("NUL in a name", get(b"X\0A: b")),
    bad("NUL in a value", get(b"X-A: \0")),
    bad("NUL in the target", get(target=b"/\0")),
    bad("NUL in the path", get(target=b"/a%00b")),
    bad("a bare CR in a value", get(b"X-A: b\rX-C: d")),
    bad("a bare CR for a line end", get(b"X-A: b\r" + CHUNKED)),
    bad("a bare LF in the headers", get(b"X-A: b\nContent-Length: 5")),
    bad("bare LFs throughout", b"GET / HTTP/1.1\nHost: a\n\n"),
    bad("a space in the target", get(target=b"/a b")),
    bad("a fragment", get(target=b"/#a")),
    bad("a target that is no path", get(target=b"a")),
    bad("another scheme", get(target=b"ftp://a/")),
    bad("no version", b"GET /\r\n" + H + b"\r\n", 505),
    bad("a version like 1.1", get(version=b"HTTP/1.10")),
    bad("HTTP/0.9", b"GET /\r\n"),
    bad("HTTP/2", get(version=b"HTTP/2.0"), 505),
    bad("HTTP/3.1", get(version=b"HTTP/3.1")),
    bad("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    bad("a TLS greeting", bytes.fromhex("16030100f8010000f4030300") + b"\0" * 60),
    bad("a method in lower case", b"get / HTTP/1.1\r\n" + H + b"\r\n"),
    bad("an unknown method", b"WHAT / HTTP/1.1\r\n" + H + b"\r\n"),
    bad("TRACE", b"TRACE / HTTP/1.1\r\n" + H + b"\r\n", 501),
    bad("CONNECT", b"CONNECT a:80 HTTP/1.1\r\n" + H + b"\r\n", 501),
    bad("an expectation nobody knows", post(b"Expect: wonders", b"Content-Length: 0"), 417),
    bad("a long target", get(target=b"/" + b"x" * (40 << 10)), 414),
    bad("a target without end", b"GET /" + b"x" * (200 << 10), 414),
    bad("a long header", get(b"X-A: " + b"x" * (65 << 10)), 431),
    bad("a header without end", b"GET / HTTP/1.1\r\nX-A: " + b"x" * (200 << 10), 431),
    bad("many headers", get(*[b"X-%d: 1" % number for number in range(300)]), 431),
    bad("nonsense", b"nonsense\r\n\r\n"),
]

BROKEN_BODIES = [
    Case(name, post(CHUNKED, body=chunks) + HIDDEN, (400,), ("/echo",))
    for name, chunks in (
        ("a size that is no number", b"zz\r\nabc\r\n0\r\n\r\n"),
        ("a negative size", b"-1\r\n\r\n"),
        ("a size with a prefix", b"0x3\r\nabc\r\n0\r\n\r\n"),
        ("a space before the size", b" 3\r\nabc\r\n0\r\n\r\n"),
        ("a space after the size", b"3 \r\nabc\r\n0\r\n\r\n"),
        ("no size", b"\r\nabc\r\n0\r\n\r\n"),
        ("a size beyond all numbers", b"fffffffffffffffff\r\nabc\r\n0\r\n\r\n"),
        ("a chunk longer than said", b"3\r\nabcd\r\n0\r\n\r\n"),
        ("a chunk that ends in LF", b"3\r\nabc\n0\r\n\r\n"),
        ("a size that ends in LF", b"3\nabc\r\n0\r\n\r\n"),
        ("a size that ends in CR", b"3\rabc\r\n0\r\n\r\n"),
        ("a bare LF in an extension", b"3;a\nb\r\nabc\r\n0\r\n\r\n"),
        ("a last chunk that ends in LF", b"3\r\nabc\r\n0\n\r\n"),
        ("a folded trailer", b"0\r\nX-A: b\r\n c\r\n\r\n"),
    )
]

ALL = WELL_FORMED + MALFORMED + BROKEN_BODIES


def exchange(
    port: int, sent: bytes, expected: int, timeout: float = 20.0, quiet: float = 0.2
) -> tuple[list[int], bytes, bool]:
    """Send, then read until the server closes, or until that many answers are here and no more come in `quiet` seconds.

    The statuses (100 left out), all that was received, and whether the server closed.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as s:
        s.sendall(sent)
        got = b""
        while True:
            s.settimeout(quiet if len(statuses(got)) >= expected else timeout)
            try:
                piece = s.recv(1 << 16)
            except TimeoutError:
                return statuses(got), got, False
            except ConnectionResetError:
                raise AssertionError(f"the connection was reset after {got!r}") from None
            if not piece:
                return statuses(got), got, True
            got += piece


def statuses(got: bytes) -> list[int]:
    """Of every answer whose head is whole. (No body of the application looks like one.)"""
    heads = [head for head in got.split(b"HTTP/1.1 ")[1:] if b"\r\n\r\n" in head]
    return [status for head in heads if (status := int(head[:3])) != 100]
