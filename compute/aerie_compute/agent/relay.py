# SPDX-License-Identifier: Apache-2.0
"""A way for the console proxy to a serial console that is a unix socket on this host: one connection, made within a
minute.

Invariant: who connects must first send the secret that was handed out with the address; the port closes after the
first comer.
"""

from __future__ import annotations

import logging
import secrets
import selectors
import socket
import threading
from hmac import compare_digest
from typing import Any

from aerie_compute.drivers.base import Endpoint

LOG = logging.getLogger(__name__)
WAIT_SECONDS = 60.0
CHUNK = 1 << 16


def offer(endpoint: Endpoint, address: str) -> dict[str, Any]:
    """``{"host", "port", "secret"}`` at which ``endpoint`` can be reached once."""
    secret = secrets.token_hex(16)
    listener = socket.create_server((address, 0), backlog=1)
    port = listener.getsockname()[1]
    threading.Thread(
        target=_serve, args=(listener, secret.encode(), endpoint), name=f"relay-{port}", daemon=True
    ).start()
    return {"host": address, "port": port, "secret": secret}


def _serve(listener: socket.socket, secret: bytes, endpoint: Endpoint) -> None:
    try:
        with listener:
            listener.settimeout(WAIT_SECONDS)
            outside, _ = listener.accept()
    except TimeoutError:
        return
    with outside:
        try:
            outside.settimeout(10)
            if not compare_digest(_exactly(outside, len(secret)), secret):
                LOG.warning("a connection to a serial console without its secret was refused")
                return
            with connect(endpoint) as inside:
                pump(outside, inside)
        except OSError as exc:
            LOG.info("a serial console's connection ended: %s", exc)


def connect(endpoint: Endpoint) -> socket.socket:
    """Open a console's endpoint."""
    if endpoint.path:
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(endpoint.path)
        except OSError:
            sock.close()
            raise
        return sock
    return socket.create_connection((endpoint.host, endpoint.port), timeout=10)


def pump(left: socket.socket, right: socket.socket) -> None:
    """Copy both ways until one side ends."""
    other = {left: right, right: left}
    with selectors.DefaultSelector() as selector:
        for sock in other:
            sock.settimeout(None)
            selector.register(sock, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                data = key.fileobj.recv(CHUNK)  # type: ignore[union-attr]
                if not data:
                    return
                other[key.fileobj].sendall(data)  # type: ignore[index]


def _exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = sock.recv(count - len(data))
        if not part:
            break
        data += part
    return data
