# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.1 on one connection: a request's bytes to a WSGI environ, a WSGI reply to bytes.

Bytes are parsed by llhttp (the parser of Node.js, through httptools), which refuses what is ambiguous: two lengths, a
length beside chunks, bare line ends, folded headers. So no proxy in front sees other requests in the same bytes.
A request is read by few large reads and a reply sent by one write where it is small: each of them is a moment at which
the threads of a process contend for the interpreter.

Invariant: however a request ends, either all of its body has been read or the connection is closed.
"""

from __future__ import annotations

import collections
import email.utils
import logging
import re
import select
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import unquote_to_bytes

import httptools

from aerie_common.http import FileSlice

LOG = logging.getLogger(__name__)
WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

DRAINED = 64 << 20
"""Bytes of a refused request's body that are read and dropped, so that its client gets to read the answer."""
HEAD_LIMIT = 64 << 10
PIECE = 64 << 10
LARGE_PIECE = 1 << 20
KNOWN_NAMES = 1000

_SLASH = re.compile(b"(?i)%2f")
_NO_BODY = ("1", "204", "304")
_UNIQUE = ("HTTP_HOST", "CONTENT_TYPE")


class Malformed(Exception):
    """A request that is refused before any application sees it."""

    def __init__(self, status: str, text: str) -> None:
        super().__init__(text)
        self.status = status


class BrokenBody(ConnectionError):
    """A body that nobody can make sense of; there is no telling where the next request begins, so nobody is told."""


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

    __slots__ = ("_size", "_target", "complete", "environ", "pieces", "whole_head")

    def __init__(self) -> None:
        self.environ: dict[str, Any] = {}
        self.pieces: collections.deque[bytes] = collections.deque()
        """What of the body is here and has not been asked for."""
        self.whole_head = self.complete = False
        self._target = b""
        self._size = 0

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > HEAD_LIMIT:
            raise Malformed("431 Request Header Fields Too Large", f"The limit is {HEAD_LIMIT} bytes.")

    def add_target(self, piece: bytes) -> None:
        self._grow(len(piece))
        self._target += piece

    def add_header(self, name: bytes, value: bytes) -> None:
        if self.whole_head:
            return  # a trailer: nobody here has use for one
        self._grow(len(name) + len(value) + 4)
        key = _known_names.get(name) or _key(name)
        text = value.decode("latin-1").strip(" \t")
        if key in self.environ:
            text = self._again(key, text)
        self.environ[key] = text

    def _again(self, key: str, value: str) -> str:
        """What a header means that was sent twice."""
        before: str = self.environ[key]
        if key in _UNIQUE:
            if before != value:
                raise Malformed("400 Bad Request", "A header that must be unique was sent twice.")
            return value
        return f"{before}; {value}" if key == "HTTP_COOKIE" else f"{before}, {value}"

    def end_head(self, method: bytes, version: str) -> None:
        """All headers are here."""
        target, environ = self._target, self.environ
        if version not in ("1.0", "1.1"):
            raise Malformed("505 HTTP Version Not Supported", "This is an HTTP/1.1 server.")
        if b"#" in target or not (target.startswith(b"/") or target == b"*"):
            raise Malformed("400 Bad Request", "The request's target must be a path.")
        coding = environ.get("HTTP_TRANSFER_ENCODING")
        if coding is not None and (coding.lower() != "chunked" or version == "1.0"):
            raise Malformed("501 Not Implemented", "The only transfer coding is chunked.")
        path, _, query = target.partition(b"?")
        if b"%" in path:  # an encoded slash is no separator and stays as it is
            path = b"%2F".join(unquote_to_bytes(part) for part in _SLASH.split(path))
        environ["REQUEST_METHOD"], environ["SERVER_PROTOCOL"] = method.decode("ascii"), f"HTTP/{version}"
        environ["PATH_INFO"], environ["QUERY_STRING"] = path.decode("latin-1"), query.decode("latin-1")
        environ["REQUEST_URI"] = target.decode("latin-1")
        self.whole_head = True


class Reader:
    """The requests of one connection. Waits `patience` seconds for more, whatever the socket's own (shorter) limit of a
    read is. Methods named on_... are the parser's callbacks."""

    def __init__(self, sock: socket.socket, patience: float) -> None:
        self._socket, self._patience = sock, patience
        self._parser = httptools.HttpRequestParser(self)
        self._parsed = Request()
        self._waiting: collections.deque[Request] = collections.deque()
        self.refused: Malformed | None = None
        """Why nothing that comes after the requests that wait is looked at."""
        self.closed = False

    def on_message_begin(self) -> None:
        self._parsed = Request()

    def on_url(self, piece: bytes) -> None:
        self._parsed.add_target(piece)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._parsed.add_header(name, value)

    def on_headers_complete(self) -> None:
        self._parsed.end_head(self._parser.get_method(), self._parser.get_http_version())
        self._waiting.append(self._parsed)

    def on_body(self, piece: bytes) -> None:
        self._parsed.pieces.append(piece)

    def on_message_complete(self) -> None:
        self._parsed.complete = True

    def has_data(self) -> bool:
        """Is there something to do without another read?"""
        return bool(self._waiting or self.refused)

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
        return len(data)

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # We change to no other protocol. What follows the head is not known to be HTTP, so it ends the connection.
            self.refused = Malformed("400 Bad Request", "Nothing may follow a request to upgrade.")
            if (
                "HTTP_TRANSFER_ENCODING" in self._parsed.environ
                or self._parsed.environ.get("CONTENT_LENGTH", "0") != "0"
            ):
                self._waiting.pop()
        except httptools.HttpParserCallbackError as e:
            cause = e.__context__
            self.refused = cause if isinstance(cause, Malformed) else Malformed("400 Bad Request", str(e))
        except httptools.HttpParserError as e:
            self.refused = Malformed("400 Bad Request", f"{e}.")

    def wait(self, size: int = PIECE) -> int:
        """The same, but wait for it."""
        while True:
            try:
                return self.receive(size)
            except BlockingIOError:
                poll = select.poll()
                poll.register(self._socket, select.POLLIN)
                if not poll.poll(self._patience * 1000):
                    raise TimeoutError("the client sends nothing") from None

    def next(self) -> Request | None:
        """The next request, as soon as its head is here; None when there is none. Malformed says what is wrong."""
        deadline = 0.0
        received = 0
        while not self._waiting:
            if self.refused:
                raise self.refused
            now = time.monotonic()
            deadline = deadline or now + self._patience
            if now >= deadline:
                raise TimeoutError("the client sends too slowly")
            if received > HEAD_LIMIT:
                raise Malformed("431 Request Header Fields Too Large", f"The limit is {HEAD_LIMIT} bytes.")
            size = self.wait()
            if not size:
                return None
            received += size
        return self._waiting.popleft()


class Body:
    """A request's body. Receives more only when it is asked for more than is here."""

    def __init__(self, reader: Reader, request: Request) -> None:
        self._reader, self._request = reader, request
        length = request.environ.get("CONTENT_LENGTH")
        self._left = int(length) if length else None
        """Bytes until the end, where the client said so."""

    def _receive(self, wanted: int) -> bool:
        """Take in more of the body. False when there is no more."""
        request = self._request
        while not request.pieces and not request.complete:
            if self._reader.refused:
                raise BrokenBody("the request's body is malformed")
            if not self._reader.wait(min(max(wanted, PIECE), LARGE_PIECE)):
                if self._left is None:
                    raise BrokenBody("the request's body broke off")
                request.complete = True
        return bool(request.pieces)

    def read(self, size: int | None = None) -> bytes:
        """That many bytes, fewer only at the end of the body, or of a connection that broke before the length that was
        announced. BrokenBody when a body in chunks breaks off."""
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
        """Read and drop what is left, if it is not more than that. False when it is."""
        if self._left is not None and self._left > most:
            return False
        while most > 0 and (piece := self.read(PIECE)):
            most -= len(piece)
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


def plain(status: str, text: str) -> bytes:
    """A whole reply after which the connection is closed."""
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(text)}\r\nConnection: close\r\n"
        f"Date: {_now()}\r\nServer: Aerie\r\n\r\n{text}"
    ).encode("latin-1")


class Exchange:
    """One request and its reply."""

    def __init__(self, sock: socket.socket, environ: dict[str, Any], body: Body, patience: float) -> None:
        self._socket, self._patience = sock, patience
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
        except BlockingIOError:
            raise TimeoutError("the client takes nothing") from None

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
        self._socket.settimeout(self._patience)  # sendfile waits by itself, by this limit
        try:
            sent = self._socket.sendfile(response.file, response.offset, response.length)
        finally:
            self._socket.settimeout(None)
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
