# SPDX-License-Identifier: Apache-2.0
"""Serving a WSGI application over HTTP: the one module that knows the server (cheroot, a pool of native threads).

Several processes may serve one port (SO_REUSEPORT), so workers need nothing from one another. No request makes the
server hold more of a body than the application asked for, whatever its length and however it was answered.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from cheroot import wsgi

from aerie_common.http import FileSlice

LOG = logging.getLogger(__name__)
WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


DRAINED = 64 << 20
"""Bytes of a refused request's body that are read and dropped, so that its client gets to read the answer."""


class _Body:
    """A request body of known length, read from the socket itself once the buffer behind the headers is empty."""

    def __init__(self, connection: Any, length: int) -> None:
        self._socket, self._buffered = connection.socket, connection.rfile
        self.remaining = length

    def read(self, size: int | None = None) -> bytes:
        """That many bytes, fewer only at the end of the body (or of a connection that broke)."""
        wanted = self.remaining if size is None or size < 0 else min(size, self.remaining)
        data = bytearray(wanted)
        view, have = memoryview(data), 0
        while have < wanted:
            if self._buffered.has_data():
                piece = self._buffered.read1(wanted - have)
                got = len(piece)
                view[have : have + got] = piece
            else:
                got = self._socket.recv_into(view[have:])
            if not got:
                self.remaining = 0
                return bytes(view[:have])
            have += got
            self.remaining -= got
        return bytes(data)

    def readline(self, size: int | None = None) -> bytes:
        line: bytes = self._buffered.readline(self.remaining if size is None else min(size, self.remaining))
        self.remaining -= len(line)
        return line

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")

    def drain(self, most: int) -> bool:
        """Read and drop what is left, if it is not more than that. False when it is."""
        if self.remaining > most:
            return False
        while self.read(1 << 16):
            pass
        return True


class _Gateway(wsgi.Gateway_10):
    """Reads bodies by _Body, and lets the kernel send files."""

    def get_environ(self) -> Any:
        request = self.req
        if not request.chunked_read and not request.conn.ssl_env and isinstance(request.conn.socket, socket.socket):
            request.rfile = _Body(request.conn, request.rfile.remaining)
        return super().get_environ()  # type: ignore[no-untyped-call]

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        request = self.req
        if not (request.rfile.drain(DRAINED) if isinstance(request.rfile, _Body) else self._drain_chunks()):
            request.close_connection = True
        return super().start_response(status, headers, exc_info)

    def _drain_chunks(self) -> bool:
        """The same for a body that comes in chunks: False when it has not ended."""
        body, left = self.req.rfile, DRAINED
        while self.req.chunked_read and left > 0 and (piece := body.read(1 << 16)):
            left -= len(piece)
        return not self.req.chunked_read or bool(body.closed)

    def respond(self) -> None:
        response = self.req.server.wsgi_app(self.env, self.start_response)
        connection = self.req.conn
        try:
            if isinstance(response, FileSlice) and isinstance(connection.socket, socket.socket):
                self.req.ensure_headers_sent()
                if connection.socket.sendfile(response.file, response.offset, response.length) != response.length:
                    self.req.close_connection = True
                    LOG.error("%s is shorter than it was said to be", response.file.name)
                return
            for piece in filter(None, response):
                self.write(piece)
        finally:
            self.req.ensure_headers_sent()
            if hasattr(response, "close"):
                response.close()


class _Server(wsgi.Server):
    version = "Aerie"

    def error_log(self, msg: str = "", level: int = 20, traceback: bool = False) -> None:
        LOG.log(level, "%s", msg, exc_info=traceback)


class HttpServer:
    """Listens when made (so that a taken port is reported at once), serves from start() to stop().

    address: (host, port); port 0 picks a free one, `.port` tells which.
    """

    def __init__(self, app: WsgiApp, address: tuple[str, int], *, threads: int = 16, reuse_port: bool = False) -> None:
        self._server = _Server(
            address, app, numthreads=threads, timeout=75, request_queue_size=512, shutdown_timeout=10
        )
        self._server.gateway = _Gateway
        self._server.reuse_port = reuse_port
        self._server.max_request_header_size = 64 << 10
        self._server.nodelay = True
        self._server.prepare()
        self.port: int = self._server.bind_addr[1]
        self._thread = threading.Thread(target=self._server.serve, name=f"http-{self.port}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Finish the requests at hand (at most ten seconds), then end."""
        self._server.stop()
        if self._thread.is_alive():
            self._thread.join(15)


def free_port(host: str = "127.0.0.1") -> int:
    """A port nobody listens on at this moment."""
    with socket.socket() as s:
        s.bind((host, 0))
        return int(s.getsockname()[1])
