# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.1 on one connection: a request's bytes to a WSGI environ, a WSGI reply to bytes.

Bytes are parsed by llhttp (the parser of Node.js, through httptools), which refuses what is ambiguous: two lengths, a
length beside chunks, bare line ends, folded headers. What it lets through and another server might read differently is
refused or dropped here: a missing or second Host, an underscore in a header's name. So no proxy in front sees other
requests in the same bytes.
A request is read by few large reads and a reply sent by one write where it is small: each of them is a moment at which
the threads of a process contend for the interpreter.

Invariants. However a request ends, either all of its body has been read or the connection is closed. A refusal of this
module is an AerieError like any other, told in the dialect of the API.
"""

from __future__ import annotations

import collections
import email.utils
import logging
import re
import select
import ssl
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, Protocol
from urllib.parse import unquote_to_bytes

import httptools

from aerie_common.dialects import title
from aerie_common.errors import AerieError, BadRequest, RequestTimeout
from aerie_common.http import FileSlice

LOG = logging.getLogger(__name__)
WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Socket(Protocol):
    """What is needed of a connection's socket. Reads wait a moment only and raise BlockingIOError when nothing came;
    writes wait for a patient while and raise BlockingIOError or TimeoutError after it."""

    def fileno(self) -> int: ...

    def recv(self, size: int) -> bytes: ...

    def sendall(self, data: bytes) -> None: ...

    def sendfile(self, file: IO[bytes], offset: int, count: int) -> int: ...


class ClientGone(ConnectionError):
    """The client does not take what it is sent. (What is not this or an AerieError is a mistake of the application.)"""


DRAINED, DRAIN_SECONDS, DRAIN_PAUSE = 64 << 20, 10.0, 1.0
"""Bytes of a refused request's body that are read and dropped, so that its client gets to read the answer and may go on
with the connection; for how long in all; and how long nothing of it may come."""
HEAD_LIMIT = 64 << 10
TARGET_LIMIT = 32 << 10
HEADERS_LIMIT = 256
"""Header lines of one request."""
PIECE = 64 << 10
LARGE_PIECE = 1 << 20
KNOWN_NAMES = 1000

_SLASH = re.compile(b"(?i)%2f")
_NO_BODY = ("1", "204", "304")
HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%!$&'()*+,;=-]+)(:[0-9]*)?")
_ABSOLUTE = re.compile(rb"(?i)https?://([^/?#]+)")


class Malformed(BadRequest):
    """A request that is refused before any application sees it."""

    code = "malformed_request"

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


class BrokenBody(BadRequest):
    """A body that nobody can make sense of. There is no telling where the next request begins: the connection ends."""

    code = "broken_body"


# ---------------------------------------------------------------------------------------------------------- requests

_known_names: dict[bytes, str] = {}


def _key(name: bytes) -> str:
    """A header's name in the environ. Clients send the same few: they are remembered."""
    plain = name.decode("latin-1").upper().replace("-", "_")
    key = plain if plain in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + plain
    if len(_known_names) < KNOWN_NAMES:
        _known_names[name] = key
    return key


class Request:
    """One request as far as it has been received."""

    __slots__ = ("_lines", "_size", "_target", "complete", "environ", "expects", "pieces", "received", "whole_head")

    def __init__(self) -> None:
        self.environ: dict[str, Any] = {}
        self.pieces: collections.deque[bytes] = collections.deque()
        """What of the body is here and has not been asked for."""
        self.whole_head = self.complete = False
        self.received = 0
        """Bytes of the body so far."""
        self.expects = False
        """Does the client wait for leave to send the body?"""
        self._target = b""
        self._size = self._lines = 0

    def add_target(self, piece: bytes) -> None:
        if self.whole_head:
            return  # see Reader._decline
        self._target += piece
        if len(self._target) > TARGET_LIMIT:
            raise Malformed(f"The address is too long. The limit is {TARGET_LIMIT} bytes.", 414)

    def add_header(self, name: bytes, value: bytes) -> None:
        if self.whole_head:
            return  # a trailer: nobody here has use for one
        self._size += len(name) + len(value) + 4
        self._lines += 1
        if self._size > HEAD_LIMIT or self._lines > HEADERS_LIMIT:
            raise head_too_large()
        if b"_" in name:
            return  # in the environ it would pass for the name with a dash, which a proxy may have checked or removed
        key = _known_names.get(name) or _key(name)
        text = value.decode("latin-1").strip(" \t")
        if key in self.environ:
            text = self._again(key, text)
        self.environ[key] = text

    def _again(self, key: str, value: str) -> str:
        """What a header means that was sent twice."""
        before: str = self.environ[key]
        if key == "HTTP_HOST" or (key == "CONTENT_TYPE" and before != value):
            raise Malformed("A header that must be unique was sent twice.")
        if key == "CONTENT_TYPE":
            return value
        return f"{before}; {value}" if key == "HTTP_COOKIE" else f"{before}, {value}"

    def end_head(self, method: bytes, version: str) -> None:
        """All headers are here."""
        environ = self.environ
        if version not in ("1.0", "1.1"):
            raise Malformed("This is an HTTP/1.1 server.", 505)
        if method in (b"CONNECT", b"TRACE"):
            raise Malformed(f"{method.decode()} is not offered.", 501)
        target = self._origin_form()
        host = environ.get("HTTP_HOST")
        if not HOST.fullmatch(host or "") and (version == "1.1" or host is not None):
            raise Malformed("The request must name its host.")
        coding = environ.get("HTTP_TRANSFER_ENCODING")
        if coding is not None and version == "1.0":
            raise Malformed("HTTP/1.0 has no transfer codings.")
        if coding is not None and coding.lower() != "chunked":
            raise Malformed("The only transfer coding is chunked.", 501)
        expected = environ.get("HTTP_EXPECT")
        if expected is not None and version == "1.1":
            if expected.lower() != "100-continue":
                raise Malformed("The only expectation that can be met is 100-continue.", 417)
            self.expects = True
        path, _, query = target.partition(b"?")
        if b"%" in path:  # an encoded slash is no separator and stays as it is
            path = b"%2F".join(unquote_to_bytes(part) for part in _SLASH.split(path))
        if b"\0" in path:
            raise Malformed("A path holds no NUL.")
        environ["REQUEST_METHOD"], environ["SERVER_PROTOCOL"] = method.decode("ascii"), f"HTTP/{version}"
        environ["PATH_INFO"], environ["QUERY_STRING"] = path.decode("latin-1"), query.decode("latin-1")
        environ["REQUEST_URI"] = target.decode("latin-1")
        self.whole_head = True

    def _origin_form(self) -> bytes:
        """The target as a path. The host of a whole address overrides the header's (RFC 9112, 3.2.2)."""
        target = self._target
        whole = _ABSOLUTE.match(target)
        if whole:
            if "HTTP_HOST" in self.environ:
                self.environ["HTTP_HOST"] = whole[1].decode("latin-1")
            target = target[whole.end() :]
            if not target.startswith(b"/"):
                target = b"/" + target
        if b"#" in target or not (target.startswith(b"/") or target == b"*"):
            raise Malformed("The request's target must be a path.")
        return target

    @property
    def has_body(self) -> bool:
        return "HTTP_TRANSFER_ENCODING" in self.environ or self.environ.get("CONTENT_LENGTH", "0").strip("0") != ""

    @property
    def ready(self) -> bool:
        """May the application begin? Not before a small body is here: no thread waits for a slow client then. Data is
        taken as it comes, as somebody may want to see it grow."""
        if self.complete or self.expects or self.received > PIECE:
            return True
        if self.environ.get("CONTENT_TYPE", "").startswith("application/octet-stream"):
            return True
        length = self.environ.get("CONTENT_LENGTH")
        return length is not None and int(length) > PIECE


def head_too_large() -> Malformed:
    return Malformed(
        f"The request's head is too large. The limits are {HEAD_LIMIT} bytes and {HEADERS_LIMIT} lines.", 431
    )


class Reader:
    """The requests of one connection. Methods named on_... are the parser's callbacks."""

    def __init__(self, sock: Socket, patience: float) -> None:
        """sock: its reads wait a moment only, and raise BlockingIOError then. patience: seconds that wait() waits."""
        self._socket, self._patience = sock, patience
        self._parser = httptools.HttpRequestParser(self)
        self._parsed = Request()
        self._waiting: collections.deque[Request] = collections.deque()
        self._declined = False
        self._head_size = 0
        self._in_head = False
        self.refused: Malformed | None = None
        """Why nothing that comes after the requests that wait is looked at."""
        self.closed = False
        """The client sends no more."""

    def on_message_begin(self) -> None:
        if not self._declined:
            self._parsed, self._in_head, self._head_size = Request(), True, 0

    def on_url(self, piece: bytes) -> None:
        self._parsed.add_target(piece)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._parsed.add_header(name, value)

    def on_headers_complete(self) -> None:
        if self._declined:
            self._declined = False
            return
        self._parsed.end_head(self._parser.get_method(), self._parser.get_http_version())
        self._in_head = False
        self._waiting.append(self._parsed)

    def on_body(self, piece: bytes) -> None:
        self._parsed.pieces.append(piece)
        self._parsed.received += len(piece)

    def on_message_complete(self) -> None:
        self._parsed.complete = True

    @property
    def begun(self) -> bool:
        """Has any of a request come that was not taken?"""
        return self._in_head or bool(self._waiting)

    def has_data(self) -> bool:
        """Can a request be answered (if only with a refusal) without another read?"""
        if self._waiting:
            return self._waiting[0].ready or self.refused is not None or self.closed
        return self.refused is not None

    def close(self) -> None:
        self.closed = True

    def receive(self, size: int = PIECE) -> int:
        """Take in what is there now: its length, 0 when the client hung up. BlockingIOError when nothing came in the
        socket's own time."""
        data = self._socket.recv(size)
        if not data:
            self.closed = True
        elif self.refused is None:
            self._parse(data)
            if self._in_head and self.refused is None:
                self._head_size += len(data)
                if self._head_size > HEAD_LIMIT + TARGET_LIMIT:
                    self.refused = head_too_large()
        return len(data)

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as e:
            self._decline(data[e.args[0] :])
        except httptools.HttpParserCallbackError as e:
            cause = e.__context__
            self.refused = cause if isinstance(cause, Malformed) else Malformed(str(e))
        except httptools.HttpParserError as e:
            self.refused = Malformed(f"{e}.")

    def _decline(self, rest: bytes) -> None:
        """We change to no other protocol, so the request stands as it is. Its parser would take what follows the head
        for that protocol; another one goes on instead, told which kind of body to expect."""
        self._parser, request = httptools.HttpRequestParser(self), self._parsed
        if request.has_body:
            request.complete, self._declined = False, True
            length = request.environ.get("CONTENT_LENGTH")
            body = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
            rest = f"POST / HTTP/1.1\r\n{body}\r\n\r\n".encode("latin-1") + rest
        if rest:
            self._parse(rest)

    def wait(self, size: int = PIECE, patience: float | None = None) -> int:
        """As receive(), but wait for it. TimeoutError when nothing comes in `patience` seconds."""
        while True:
            try:
                return self.receive(size)
            except BlockingIOError:
                poll = select.poll()
                poll.register(self._socket.fileno(), select.POLLIN)
                if not poll.poll((self._patience if patience is None else patience) * 1000):
                    raise TimeoutError("the client sends nothing") from None

    def next(self) -> Request:
        """The request that can be answered (see has_data). Malformed says what is wrong."""
        if not self._waiting and self.refused:
            raise self.refused
        return self._waiting.popleft()


class Body:
    """A request's body. Receives more only when it is asked for more than is here."""

    def __init__(self, reader: Reader, request: Request, allow: Callable[[], None]) -> None:
        """allow: tells a client to send the body, which waits for that."""
        self._reader, self._request, self._allow = reader, request, allow
        self._asked = not request.expects
        length = request.environ.get("CONTENT_LENGTH")
        self._left = int(length) if length else None
        """Bytes until the end, where the client said so."""
        self._deadline: float | None = None

    def _receive(self, wanted: int) -> bool:
        """Take in more of the body. False when there is no more."""
        request = self._request
        while not request.pieces and not request.complete:
            if self._reader.refused:
                raise BrokenBody("The request's body is malformed.")
            if not self._asked:
                self._asked = True
                self._allow()
            if self._reader.closed or not self._wait(wanted):
                if self._left is None:
                    raise BrokenBody("The request's body broke off.")
                request.complete = True
        return bool(request.pieces)

    def _wait(self, wanted: int) -> int:
        left = None if self._deadline is None else self._deadline - time.monotonic()
        patience = None if left is None else max(0.0, min(left, DRAIN_PAUSE))
        try:
            return self._reader.wait(min(max(wanted, PIECE), LARGE_PIECE), patience)
        except TimeoutError:
            raise RequestTimeout() from None

    def read(self, size: int | None = None) -> bytes:
        """That many bytes, fewer only at the end of the body, or of a connection that broke before the length that was
        announced. BrokenBody when a body in chunks breaks off, RequestTimeout when nothing more comes."""
        wanted = sys.maxsize if size is None or size < 0 else size
        pieces, found, have = self._request.pieces, [], 0
        while have < wanted and (pieces or self._receive(wanted - have)):
            while pieces and have < wanted:
                piece = pieces.popleft()
                if len(piece) > wanted - have:
                    pieces.appendleft(piece[wanted - have :])
                    piece = piece[: wanted - have]
                found.append(piece)
                have += len(piece)
        if self._left is not None:
            self._left -= have
        return found[0] if len(found) == 1 else b"".join(found)

    def readline(self, size: int | None = None) -> bytes:
        """Byte by byte: only those who read forms without saying so read lines, and they come with small bodies."""
        found = bytearray()
        while (size is None or size < 0 or len(found) < size) and (byte := self.read(1)):
            found += byte
            if byte == b"\n":
                break
        return bytes(found)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")

    def drain(self, most: int) -> bool:
        """Read and drop what is left, if it is not more than that and comes in time. False when it is or does not."""
        if self.complete:
            return True
        if (self._left is not None and self._left > most) or not self._asked:
            return False
        self._deadline = time.monotonic() + DRAIN_SECONDS
        try:
            while most > 0 and (piece := self.read(PIECE)):
                most -= len(piece)
                if time.monotonic() > self._deadline:
                    return False
        except AerieError:
            return False
        return self.complete

    @property
    def complete(self) -> bool:
        """Has all of it been read?"""
        return self._request.complete and not self._request.pieces


# ----------------------------------------------------------------------------------------------------------- replies

_date: tuple[int, str] = (0, "")


def _now() -> str:
    """The Date header's value, made once a second."""
    global _date
    second = int(time.time())
    known = _date
    if known[0] != second:
        known = _date = (second, email.utils.formatdate(second, usegmt=True))
    return known[1]


Refusal = Callable[[AerieError], tuple[list[tuple[str, str]], bytes]]
"""Headers and body of the answer to a request that is refused before any application sees it."""


def plain(error: AerieError) -> tuple[list[tuple[str, str]], bytes]:
    """A Refusal for those who are no API."""
    return [("Content-Type", "text/plain; charset=utf-8")], error.message.encode()


def last_words(status: int, headers: list[tuple[str, str]], body: bytes) -> bytes:
    """A whole reply after which the connection is closed."""
    told = "".join(f"{name}: {value}\r\n" for name, value in headers)
    head = (
        f"HTTP/1.1 {status} {title(status)}\r\n{told}Content-Length: {len(body)}\r\nConnection: close\r\n"
        f"Date: {_now()}\r\nServer: Aerie\r\n\r\n"
    )
    return head.encode("latin-1") + body


class Exchange:
    """One request and its reply."""

    def __init__(self, sock: Socket, environ: dict[str, Any], body: Body) -> None:
        self._socket = sock
        self._environ, self._body = environ, body
        self._status = ""
        self._headers: list[tuple[str, str]] = []
        self._left: int | None = None
        self._chunked = False
        self._bodiless = False
        self.begun = False
        wish = environ.get("HTTP_CONNECTION", "").lower()
        self.close = "close" in wish or (environ["SERVER_PROTOCOL"] == "HTTP/1.0" and "keep-alive" not in wish)
        """Will the connection be closed after this reply?"""

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[..., None]:
        """WSGI's: says what write() and the pieces of the reply will be preceded by."""
        if exc_info is not None and self.begun:
            raise exc_info[1].with_traceback(exc_info[2])
        if exc_info is None and self._status:
            raise RuntimeError("start_response was called twice")
        self._status, self._headers = status, headers
        return self.write

    def _head(self) -> bytes:
        """The reply's head. How its end is known is decided here."""
        if not self._body.drain(DRAINED):
            self.close = True
        self.begun = True
        status, old = self._status, self._environ["SERVER_PROTOCOL"] == "HTTP/1.0"
        if not status:
            raise RuntimeError("the application did not call start_response")
        lines, names = [f"HTTP/1.1 {status}\r\n"], set()
        for name, value in self._headers:
            lines.append(f"{name}: {value}\r\n")
            names.add(name.lower())
            if name.lower() == "content-length":
                self._left = int(value)
        self._bodiless = self._environ["REQUEST_METHOD"] == "HEAD" or status.startswith(_NO_BODY)
        if self._left is None and not self._bodiless:
            if old:
                self.close = True
            else:
                self._chunked = True
                lines.append("Transfer-Encoding: chunked\r\n")
        if status.startswith("413"):
            self.close = True
        if "connection" not in names and (self.close or old):
            lines.append("Connection: close\r\n" if self.close else "Connection: keep-alive\r\n")
        if "date" not in names:
            lines.append(f"Date: {_now()}\r\n")
        if "server" not in names:
            lines.append("Server: Aerie\r\n")
        text = "".join(lines)
        if text.count("\n") != len(lines) or text.count("\r") != len(lines):
            self.begun = False
            raise ValueError("a header of the reply holds a line end")
        return (text + "\r\n").encode("latin-1")

    def _send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except (BlockingIOError, TimeoutError):
            raise ClientGone("the client takes nothing") from None
        except OSError as e:
            raise ClientGone(str(e)) from e

    def write(self, piece: bytes) -> None:
        """Send a piece of the body; the head goes before the first one."""
        head = b"" if self.begun else self._head()
        if self._bodiless:
            piece = b""
        elif self._chunked:
            piece = b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""
        elif self._left is not None:
            if len(piece) > self._left:
                LOG.error("%s: the reply is longer than it was said to be", self._environ["PATH_INFO"])
                piece, self.close = piece[: self._left], True
            self._left -= len(piece)
        if len(piece) <= PIECE:
            if head or piece:
                self._send(head + piece)
        else:
            if head:
                self._send(head)
            self._send(piece)

    def _send_file(self, response: FileSlice) -> None:
        """Let the kernel send it."""
        self._send(self._head())
        if self._bodiless or not response.length:  # sendfile takes no zero
            return
        try:
            sent = self._socket.sendfile(response.file, response.offset, response.length)
        except (BlockingIOError, TimeoutError, ConnectionError, ssl.SSLError) as e:
            raise ClientGone(str(e)) from e
        if sent != response.length:
            self.close = True
            LOG.error("%s is shorter than it was said to be", response.file.name)

    def run(self, app: WsgiApp) -> None:
        """Have the application answer, and send what it says."""
        response = app(self._environ, self.start_response)
        try:
            if isinstance(response, FileSlice):
                self._send_file(response)
                return
            for piece in response:
                if piece:
                    self.write(piece)
            if not self.begun:
                self.write(b"")
            if self._chunked:
                self._send(b"0\r\n\r\n")
            elif self._left and not self._bodiless:
                self.close = True
                LOG.error("%s: the reply is shorter than it was said to be", self._environ["PATH_INFO"])
        finally:
            if hasattr(response, "close"):
                response.close()
