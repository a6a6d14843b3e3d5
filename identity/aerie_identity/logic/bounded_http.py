# SPDX-License-Identifier: Apache-2.0
"""Questions over HTTP to addresses that others have chosen.

Invariants: whatever the other side does, an answer is here or given up within `seconds` in all, from the connection to
the last byte; nothing larger than MAX_BYTES is read; redirects are not followed.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

MAX_BYTES = 1 << 20


class _Deadline:
    """Ends the connections of one question when its time is up: time-outs of sockets bound single reads only."""

    def __init__(self, seconds: float) -> None:
        self.passed = False
        self._lock = threading.Lock()
        self._guards: list[socket.socket] = []
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def __enter__(self) -> _Deadline:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._lock:
            for guard in self._guards:
                guard.close()
            self._guards.clear()

    def watch(self, sock: socket.socket) -> None:
        """A second handle of the connection: TLS takes the first one away."""
        with self._lock:
            self._guards.append(socket.socket(fileno=os.dup(sock.fileno())))
            if self.passed:
                self._shut()

    def _end(self) -> None:
        with self._lock:
            self.passed = True
            self._shut()

    def _shut(self) -> None:
        for guard in self._guards:
            with contextlib.suppress(OSError):  # ended already, which is what is wanted
                guard.shutdown(socket.SHUT_RDWR)


class _Adapter(HTTPAdapter):
    """Connections that a deadline watches."""

    def __init__(self, deadline: _Deadline) -> None:
        self._deadline = deadline
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        deadline = self._deadline

        class Plain(HTTPConnection):
            def _new_conn(self) -> socket.socket:
                sock = super()._new_conn()
                deadline.watch(sock)
                return sock

        class Secure(HTTPSConnection):
            def _new_conn(self) -> socket.socket:
                sock = super()._new_conn()
                deadline.watch(sock)
                return sock

        class PlainPool(HTTPConnectionPool):
            ConnectionCls = Plain

        class SecurePool(HTTPSConnectionPool):
            ConnectionCls = Secure

        self.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}


def ask(method: str, url: str, *, seconds: float, **options: Any) -> tuple[int, str, bytes]:
    """Status, content type and body. requests.RequestException or OSError when there is no answer within the bounds."""
    with _Deadline(seconds) as deadline, requests.Session() as session:
        for scheme in ("http://", "https://"):
            session.mount(scheme, _Adapter(deadline))
        try:
            with session.request(
                method, url, timeout=seconds, allow_redirects=False, stream=True, **options
            ) as reply:  # fmt: skip
                raw = reply.raw.read(MAX_BYTES + 1, decode_content=True)
        except Exception as e:
            if deadline.passed:
                raise requests.Timeout(f"no whole answer within {seconds} s") from e
            raise
        if deadline.passed:  # what ended the body may have been the deadline
            raise requests.Timeout(f"no whole answer within {seconds} s")
        if len(raw) > MAX_BYTES:
            raise requests.RequestException(f"more than {MAX_BYTES} bytes")
        return reply.status_code, reply.headers.get("Content-Type", ""), raw
