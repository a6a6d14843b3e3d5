# SPDX-License-Identifier: Apache-2.0
"""Serving a WSGI application over HTTP: the one module that knows the server (cheroot's pool of native threads and its
watch over idle connections; what is said on a connection is wire.py's).

Several processes may serve one port (SO_REUSEPORT), so workers need nothing from one another. No request makes the
server hold more of a body than the application asked for, whatever its length and however it was answered.
"""

from __future__ import annotations

import logging
import socket
import struct
import sys
import threading
from typing import Any

from cheroot import server, wsgi

from aerie_common.wire import Body, Exchange, Malformed, Reader, WsgiApp, plain

__all__ = ["HttpServer", "WsgiApp", "free_port"]
LOG = logging.getLogger(__name__)
PATIENCE = 75.0
"""Seconds a client may let pass within a request, or between two."""
LINGER = 0.02
"""Seconds a thread stays with a connection for its next request. Handing it back to the watch and to another thread
costs more than answering a small request does."""


def _timeval(seconds: float) -> bytes:
    return struct.pack("ll", int(seconds), int(seconds % 1 * 1_000_000))


class _Connection(server.HTTPConnection):
    """One client's connection."""

    def __init__(self, owner: _Server, sock: socket.socket, makefile: Any = None) -> None:
        self.server, self.socket = owner, sock
        # Limits of the kernel: Python's own would cost a poll() before each call.
        sock.settimeout(None)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(LINGER))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(PATIENCE))
        self.rfile = Reader(sock, PATIENCE)
        self._environ: dict[str, Any] = {}

    def communicate(self) -> bool:
        """Answer requests for as long as they follow at once. True: keep the connection and watch it."""
        slot = self.server.lingering.acquire(blocking=False)
        try:
            while self._answer():
                if self.rfile.has_data():
                    continue
                if not slot or self.server.busy:
                    return True
                try:
                    if not self.rfile.receive():
                        return False
                except BlockingIOError:
                    return True
            return False
        except OSError as e:
            LOG.debug("a client went away: %s", e)
            return False
        finally:
            if slot:
                self.server.lingering.release()

    def _answer(self) -> bool:
        """Read one request and answer it. True when there may be another."""
        exchange = None
        try:
            request = self.rfile.next()
            if request is None:
                return False
            environ = self._base() | request.environ
            body = environ["wsgi.input"] = Body(self.rfile, request)
            environ["wsgi.input_terminated"] = "HTTP_TRANSFER_ENCODING" in environ
            if environ.get("HTTP_EXPECT", "").lower() == "100-continue":
                self.socket.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            exchange = Exchange(self.socket, environ, body, PATIENCE)
            exchange.close = exchange.close or not self.server.ready
            exchange.run(self.server.wsgi_app)
            return not exchange.close
        except Malformed as e:
            self._give_up(e.status, str(e))
        except TimeoutError:
            if exchange is None:
                self._give_up("408 Request Timeout", "The request did not come to its end.")
        except ConnectionError:
            raise
        except Exception:  # whatever the application lets through
            LOG.exception("a request failed")
            if exchange is None or not exchange.begun:
                self._give_up("500 Internal Server Error", "")
        return False

    def _give_up(self, status: str, text: str) -> None:
        self.socket.sendall(plain(status, text))

    def _base(self) -> dict[str, Any]:
        """What the environ of every request of this connection holds."""
        if not self._environ:
            host, port = self.server.bind_addr[:2]
            self._environ = {
                "REMOTE_ADDR": self.remote_addr or "",
                "REMOTE_PORT": str(self.remote_port or ""),
                "SCRIPT_NAME": "",
                "SERVER_NAME": host,
                "SERVER_PORT": str(port),
                "SERVER_SOFTWARE": "Aerie",
                "wsgi.errors": sys.stderr,
                "wsgi.multiprocess": False,
                "wsgi.multithread": True,
                "wsgi.run_once": False,
                "wsgi.url_scheme": "http",
                "wsgi.version": (1, 0),
            }
        return self._environ


class _Server(wsgi.Server):
    version = "Aerie"
    ConnectionClass = _Connection

    def __init__(self, address: tuple[str, int], app: WsgiApp, threads: int) -> None:
        super().__init__(
            address, app, numthreads=threads, timeout=int(PATIENCE), request_queue_size=512, shutdown_timeout=10
        )
        self.keep_alive_conn_limit = sys.maxsize  # idle ones cost a socket; the watch closes them in time
        # Some threads never linger, so that a newcomer is served whoever else is here.
        self.lingering = threading.Semaphore(threads - max(1, threads // 4))

    @property
    def busy(self) -> bool:
        """Do connections wait for a thread?"""
        return bool(self.requests.qsize)

    def error_log(self, msg: str = "", level: int = 20, traceback: bool = False) -> None:
        LOG.log(level, "%s", msg, exc_info=traceback)


class HttpServer:
    """Listens when made (so that a taken port is reported at once), serves from start() to stop().

    address: (host, port); port 0 picks a free one, `.port` tells which.
    """

    def __init__(self, app: WsgiApp, address: tuple[str, int], *, threads: int = 16, reuse_port: bool = False) -> None:
        self._server = _Server(address, app, threads)
        self._server.reuse_port = reuse_port
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
