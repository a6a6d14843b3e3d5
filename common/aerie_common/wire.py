# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.1 on one connection: a request's bytes to a WSGI environ, a WSGI reply to bytes.

A request is read by few large reads and a reply sent by one write where it is small: each of them is a moment at which
the threads of a process contend for the interpreter. What is ambiguous (two lengths, a length beside chunks, bare line
ends, folded headers) is refused, so that no proxy in front can see other requests in the same bytes.

Invariant: however a request ends, either all of its body has been read or the connection is closed.
"""

from __future__ import annotations

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

from aerie_common.http import FileSlice

LOG = logging.getLogger(__name__)
WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

DRAINED = 64 << 20
"""Bytes of a refused request's body that are read and dropped, so that its client gets to read the answer."""
HEAD_LIMIT = 64 << 10
PIECE = 64 << 10
KNOWN_NAMES = 1000

_REQUEST = re.compile(r"([A-Z]+) (/[!\"$-~\x80-\xff]*|\*) HTTP/1\.([01])")
_VERSION = re.compile(r"\S+ \S+ HTTP/\d\.\d")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SIZE = re.compile(rb"[0-9a-fA-F]{1,15}")
_SLASH = re.compile("(?i)%2f")
_NO_BODY = ("1", "204", "304")


class Malformed(Exception):
    """A request that is refused before any application sees it."""

    def __init__(self, status: str, text: str) -> None:
        super().__init__(text)
        self.status = status


class Reader:
    """What has been received and not been looked at yet. Waits `patience` seconds for more, whatever the socket's own
    (shorter) limit of a read is."""

    def __init__(self, sock: socket.socket, patience: float) -> None:
        self._socket, self._patience = sock, patience
        self.data = b""
        self.closed = False

    def has_data(self) -> bool:
        return bool(self.data)

    def close(self) -> None:
        self.data, self.closed = b"", True

    def _wait(self) -> None:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        if not poll.poll(self._patience * 1000):
            raise TimeoutError("the client sends nothing")

    def receive(self, size: int = PIECE) -> bytes:
        """What comes next, at least one byte; empty when the client hung up."""
        while True:
            try:
                return self._socket.recv(size)
            except BlockingIOError:
                self._wait()

    def receive_into(self, view: memoryview) -> int:
        while True:
            try:
                return self._socket.recv_into(view)
            except BlockingIOError:
                self._wait()

    def take(self, size: int) -> bytes:
        """Up to that many bytes of what is here already."""
        taken, self.data = self.data[:size], self.data[size:]
        return taken

    def head(self) -> str | None:
        """A request's line and headers; None when there is no further request."""
        end = self.data.find(b"\r\n\r\n")
        deadline = None
        while end < 0:
            if len(self.data) > HEAD_LIMIT:
                raise Malformed("431 Request Header Fields Too Large", f"The limit is {HEAD_LIMIT} bytes.")
            now = time.monotonic()
            deadline = deadline or now + self._patience
            piece = self.receive() if now < deadline else None
            if piece is None:
                raise TimeoutError("the client sends too slowly")
            if not piece:
                return None
            self.data += piece
            end = self.data.find(b"\r\n\r\n")
        if end > HEAD_LIMIT:
            raise Malformed("431 Request Header Fields Too Large", f"The limit is {HEAD_LIMIT} bytes.")
        text, self.data = self.data[:end].decode("latin-1"), self.data[end + 4 :]
        return text[2:] if text.startswith("\r\n") else text  # one empty line before a request is forgiven

    def line(self) -> bytes:
        """A line within a chunked body, without its end."""
        while (end := self.data.find(b"\r\n")) < 0:
            piece = b"" if len(self.data) > HEAD_LIMIT else self.receive()
            if not piece:
                raise ConnectionError("the request's body is malformed")
            self.data += piece
        found, self.data = self.data[:end], self.data[end + 2 :]
        return found


class Body:
    """A request body of known length. Never holds more than it was asked for."""

    def __init__(self, reader: Reader, length: int) -> None:
        self._reader, self.remaining = reader, length

    def read(self, size: int | None = None) -> bytes:
        """That many bytes, fewer only at the end of the body (or of a connection that broke)."""
        wanted = self.remaining if size is None or size < 0 else min(size, self.remaining)
        here = self._reader.take(wanted) if wanted else b""
        have = len(here)
        self.remaining -= have
        if have == wanted:
            return here
        data = bytearray(wanted)
        data[:have] = here
        view = memoryview(data)
        while have < wanted:
            got = self._reader.receive_into(view[have:])
            if not got:
                self.remaining = 0
                return bytes(view[:have])
            have += got
            self.remaining -= got
        return bytes(data)

    def readline(self, size: int | None = None) -> bytes:
        return _readline(self, size)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")

    def drain(self, most: int) -> bool:
        """Read and drop what is left, if it is not more than that. False when it is."""
        if self.remaining > most:
            return False
        while self.remaining and self.read(PIECE):
            pass
        return True


class ChunkedBody:
    """A request body that comes in chunks."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._left = 0
        self._begun = self._ended = False

    def _next(self) -> None:
        """Go to the next chunk; past the trailers when there is none."""
        if self._begun and self._reader.line():
            raise ConnectionError("the request's body is malformed")
        self._begun = True
        size = self._reader.line().partition(b";")[0].strip()
        if not _SIZE.fullmatch(size):
            raise ConnectionError("the request's body is malformed")
        self._left = int(size, 16)
        if not self._left:
            for _ in range(100):
                if not self._reader.line():
                    break
            else:
                raise ConnectionError("the request's body is malformed")
            self._ended = True

    def read(self, size: int | None = None) -> bytes:
        """That many bytes, fewer only at the end of the body. ConnectionError when it breaks off."""
        found = bytearray()
        wanted = sys.maxsize if size is None or size < 0 else size
        while len(found) < wanted and not self._ended:
            if not self._left:
                self._next()
                continue
            piece = self._reader.take(min(self._left, wanted - len(found)))
            if not piece:
                piece = self._reader.receive(min(self._left, wanted - len(found), 1 << 20))
                if not piece:
                    raise ConnectionError("the request's body broke off")
            self._left -= len(piece)
            found += piece
        return bytes(found)

    def readline(self, size: int | None = None) -> bytes:
        return _readline(self, size)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")

    def drain(self, most: int) -> bool:
        """Read and drop what is left. False when that is more than `most`."""
        while not self._ended and most > 0:
            most -= len(self.read(PIECE))
        return self._ended


def _readline(body: Body | ChunkedBody, size: int | None) -> bytes:
    """Byte by byte: only those who read forms without saying so read lines, and they come with small bodies."""
    found = bytearray()
    while (size is None or size < 0 or len(found) < size) and (byte := body.read(1)):
        found += byte
        if byte == b"\n":
            break
    return bytes(found)


# ---------------------------------------------------------------------------------------------------------- requests

_known_names: dict[str, str] = {}


def _key(name: str) -> str:
    """A header's name in the environ; Malformed when it is none. Clients send the same few: they are remembered."""
    if not _NAME.fullmatch(name):
        raise Malformed("400 Bad Request", "Illegal header line.")
    plain = name.upper().replace("-", "_")
    key = plain if plain in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + plain
    if len(_known_names) < KNOWN_NAMES:
        _known_names[name] = key
    return key


def parse(head: str, environ: dict[str, Any]) -> None:
    """Put a request's line and headers into the environ. Malformed says what is wrong with them."""
    lines = head.split("\r\n")
    ends = len(lines) - 1
    if head.count("\n") != ends or head.count("\r") != ends or "\0" in head:
        raise Malformed("400 Bad Request", "Lines must end with CRLF and hold no control characters.")
    match = _REQUEST.fullmatch(lines[0])
    if match is None:
        if _VERSION.fullmatch(lines[0]) and not lines[0].endswith(("HTTP/1.0", "HTTP/1.1")):
            raise Malformed("505 HTTP Version Not Supported", "This is an HTTP/1.1 server.")
        raise Malformed("400 Bad Request", "Malformed request line.")
    method, target, minor = match.groups()
    path, _, query = target.partition("?")
    if "%" in path:  # an encoded slash is no separator and stays as it is
        path = "%2F".join(unquote_to_bytes(part.encode("latin-1")).decode("latin-1") for part in _SLASH.split(path))
    environ["REQUEST_METHOD"], environ["PATH_INFO"], environ["QUERY_STRING"] = method, path, query
    environ["REQUEST_URI"], environ["SERVER_PROTOCOL"] = target, "HTTP/1.1" if minor == "1" else "HTTP/1.0"
    known = _known_names
    for i in range(1, len(lines)):
        name, colon, value = lines[i].partition(":")
        key = known.get(name) or _key(name)
        if not colon:
            raise Malformed("400 Bad Request", "Illegal header line.")
        value = value.strip(" \t")
        if key in environ:
            value = _again(key, environ[key], value)
        environ[key] = value


def _again(key: str, before: str, value: str) -> str:
    """What a header means that was sent twice."""
    if key in ("CONTENT_LENGTH", "HTTP_HOST", "CONTENT_TYPE"):
        if before != value:
            raise Malformed("400 Bad Request", "A header that must be unique was sent twice.")
        return value
    return f"{before}; {value}" if key == "HTTP_COOKIE" else f"{before}, {value}"


def body_of(environ: dict[str, Any], reader: Reader) -> Body | ChunkedBody:
    """The request's body, as its headers announce it."""
    coding = environ.get("HTTP_TRANSFER_ENCODING")
    length = environ.get("CONTENT_LENGTH")
    if coding is not None:
        if length is not None:
            raise Malformed("400 Bad Request", "A request has a length or is chunked, not both.")
        if coding.lower() != "chunked" or environ["SERVER_PROTOCOL"] == "HTTP/1.0":
            raise Malformed("501 Not Implemented", "The only transfer coding is chunked.")
        return ChunkedBody(reader)
    if length is None or length == "":
        return Body(reader, 0)
    if not (length.isascii() and length.isdigit()) or len(length) > 18:
        raise Malformed("400 Bad Request", "Malformed Content-Length header.")
    return Body(reader, int(length))


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

    def __init__(self, sock: socket.socket, environ: dict[str, Any], body: Body | ChunkedBody, patience: float) -> None:
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
        if self._bodiless:
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
