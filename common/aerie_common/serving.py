# SPDX-License-Identifier: Apache-2.0
"""Serving a WSGI application over HTTP: the one module that knows the server (cheroot, a pool of native threads).

Several processes may serve one port (SO_REUSEPORT), so workers need nothing from one another.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterable
from typing import Any

from cheroot import wsgi

LOG = logging.getLogger(__name__)
WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


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
