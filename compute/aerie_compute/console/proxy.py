# SPDX-License-Identifier: Apache-2.0
"""The console proxy: noVNC's files, and a WebSocket that leads to a guest's screen or serial line.

Invariants: a WebSocket is opened only for a page of an allowed origin and a token that was valid once, and the token is
never logged. Files come from one folder; there are no redirects and no listings.
"""

from __future__ import annotations

import logging
import mimetypes
import select
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

# websockify unmasks what a client sends with numpy where it can be imported, and says so where it can not. Key strokes
# do not need it, and it would cost every daemon of the host some 9 MiB.
sys.modules.setdefault("numpy", None)  # type: ignore[arg-type]
with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "no 'numpy' module", UserWarning)
    from websockify.websocket import WebSocketWantReadError, WebSocketWantWriteError
    from websockify.websocketserver import HttpWebSocket, WebSocketRequestHandlerMixIn

LOG = logging.getLogger(__name__)
CHUNK = 1 << 16
HANDSHAKE_SECONDS = 15.0
CONNECT_SECONDS = 10.0


class Refused(Exception):
    """The console is not opened; ``status`` and the text go to the client."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class Target:
    """Where a token leads. ``secret`` is sent first, where the other side wants one."""

    host: str
    port: int
    secret: str = ""
    server_id: str = ""


Open = Callable[[str], Target]
"""``open(token)`` redeems a token. Raises Refused."""


class _WebSocket(HttpWebSocket):  # type: ignore[misc]
    """Speaks the subprotocol of noVNC and of serial console clients."""

    def select_subprotocol(self, protocols: list[str]) -> str:
        return "binary" if "binary" in protocols else ""


class _Handler(WebSocketRequestHandlerMixIn, BaseHTTPRequestHandler):  # type: ignore[misc]
    """One connection."""

    SocketClass = _WebSocket
    protocol_version = "HTTP/1.1"
    server_version = "Aerie"
    sys_version = ""
    timeout = HANDSHAKE_SECONDS
    server: ConsoleProxy

    # -- files -------------------------------------------------------------------------------------------------------

    def do_GET(self) -> None:
        path = self.server.file(self.path)
        if path is None:
            self._say(HTTPStatus.NOT_FOUND, "There is nothing here.")
            return
        data = path.read_bytes()
        kind = "text/javascript" if path.suffix == ".js" else mimetypes.guess_type(path.name)[0]
        self._head(HTTPStatus.OK, kind or "application/octet-stream", len(data))
        if self.command != "HEAD":
            self.wfile.write(data)

    do_HEAD = do_GET  # noqa: N815 - the name the base class wants

    def _say(self, status: HTTPStatus, text: str) -> None:
        data = f"{text}\n".encode()
        self.close_connection = True
        self._head(status, "text/plain; charset=utf-8", len(data))
        if self.command != "HEAD":
            self.wfile.write(data)

    def _head(self, status: HTTPStatus, kind: str, length: int) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    # -- consoles ----------------------------------------------------------------------------------------------------

    def handle_upgrade(self) -> None:
        try:
            if not self.server.origin_allowed(self.headers.get("Origin"), self.headers.get("Host")):
                raise Refused(HTTPStatus.FORBIDDEN, "This page may not open consoles here.")
            self._target = self.server.redeem(self.path)
            self._console = self.server.connect(self._target)
        except Refused as exc:
            LOG.info("console refused to %s: %s", self.client_address[0], exc)
            self._say(exc.status, str(exc))
            return
        with self._console:
            super().handle_upgrade()

    def handle_websocket(self) -> None:
        LOG.info("console of server %s opened by %s", self._target.server_id, self.client_address[0])
        websocket: Any = self.request
        websocket.socket.settimeout(None)
        try:
            shuttle(websocket, self._console)
        except OSError as exc:
            LOG.info("console of server %s broke off: %s", self._target.server_id, exc)
        else:
            LOG.info("console of server %s closed", self._target.server_id)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Without the query, in which tokens travel."""
        LOG.debug('%s "%s %s" %s', self.client_address[0], self.command, urlsplit(self.path).path, code)

    def log_message(self, format: str, *args: Any) -> None:
        LOG.debug("%s: a malformed request", self.client_address[0])


def shuttle(websocket: Any, console: socket.socket) -> None:
    """Copy between a WebSocket and a console until one of them ends."""
    raw = websocket.socket
    while True:
        ready, _, _ = select.select([raw, console], [], [])
        if raw in ready and not _from_client(websocket, console):
            console.shutdown(socket.SHUT_RDWR)
            return
        if console in ready:
            data = console.recv(CHUNK)
            if not data:
                websocket.shutdown(socket.SHUT_RDWR, 1000, "the console ended")
                return
            _send(websocket, data)


def _from_client(websocket: Any, console: socket.socket) -> bool:
    """Hand on what has arrived from the client; False when it closed the WebSocket."""
    while True:
        try:
            message = websocket.recvmsg()
        except WebSocketWantReadError:
            return True
        except WebSocketWantWriteError:
            continue
        if message is None:
            return False
        console.sendall(message)
        if not websocket.pending():
            return True


def _send(websocket: Any, data: bytes) -> None:
    while True:
        try:
            websocket.sendmsg(data)
            return
        except WebSocketWantWriteError:
            select.select([], [websocket.socket], [])


class ConsoleProxy(ThreadingHTTPServer):
    """Listens when made, serves from ``start`` to ``stop`` in threads of this process."""

    daemon_threads = True
    request_queue_size = 128
    allow_reuse_address = True

    def __init__(
        self,
        address: tuple[str, int],
        *,
        web: Path,
        open_console: Open,
        allowed_origins: Collection[str] = (),
        max_connections: int = 512,
    ) -> None:
        self._web = web.resolve()
        self._open = open_console
        self._allowed = {origin.rstrip("/").lower() for origin in allowed_origins}
        self._free = threading.BoundedSemaphore(max_connections)
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(address, _Handler)
        self.port: int = self.server_address[1]
        self._thread = threading.Thread(target=self.serve_forever, name=f"console-{self.port}", daemon=True)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def stop(self) -> None:
        """Close every console and end."""
        self.shutdown()
        self.server_close()
        with self._lock:
            sockets = list(self._sockets)
        for sock in sockets:
            _hang_up(sock)
        self._thread.join(10)

    # -- what a connection asks ----------------------------------------------------------------------------------------

    def file(self, target: str) -> Path | None:
        """The regular file below the web folder that a request names, or None."""
        path = unquote(target.partition("?")[0].partition("#")[0])
        parts = path.split("/")[1:]
        if not path.startswith("/") or any(part in ("", ".", "..") or "\0" in part for part in parts):
            return None
        found = self._web.joinpath(*parts).resolve()
        return found if found.is_relative_to(self._web) and found.is_file() else None

    def origin_allowed(self, origin: str | None, host: str | None) -> bool:
        """May a page of that origin open a console? Programs that are no browsers send none."""
        if origin is None:
            return True
        own = urlsplit(origin).netloc.lower()
        return bool(own) and (own == (host or "").lower() or origin.rstrip("/").lower() in self._allowed)

    def redeem(self, target: str) -> Target:
        """Where the token in a request leads. Raises Refused."""
        tokens = parse_qs(urlsplit(target).query).get("token", [])
        if len(tokens) != 1:
            raise Refused(HTTPStatus.FORBIDDEN, "A console needs a token.")
        return self._open(tokens[0])

    @staticmethod
    def connect(target: Target) -> socket.socket:
        """A connection to the console. Raises Refused."""
        try:
            console = socket.create_connection((target.host, target.port), timeout=CONNECT_SECONDS)
            console.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            console.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            console.sendall(target.secret.encode())
            console.settimeout(None)
        except OSError as exc:
            LOG.warning("console of server %s at %s:%s: %s", target.server_id, target.host, target.port, exc)
            raise Refused(HTTPStatus.BAD_GATEWAY, "The console does not answer.") from exc
        return console

    # -- connections ---------------------------------------------------------------------------------------------------

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            LOG.warning("too many connections: one of %s is closed", client_address[0])
            self.shutdown_request(request)
            return
        with self._lock:
            self._sockets.add(request)
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        request.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._sockets.discard(request)
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            LOG.info("the connection of %s broke off: %s", client_address[0], error)
        else:
            LOG.error("the connection of %s ended", client_address[0], exc_info=error)


def _hang_up(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError as exc:
        LOG.debug("it was gone already: %s", exc)
