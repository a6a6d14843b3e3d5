# SPDX-License-Identifier: Apache-2.0
"""Free ports for servers that are started by hand: by `aerie all-in-one --any-port`, and in tests.

A port which the kernel chooses (bind to 0) may be taken again before the server listens: the kernel gives the same ones
to any connection that goes out. Invariant: the ports given here are none of those, and no two calls on this machine
give the same one while both processes live.
"""

from __future__ import annotations

import contextlib
import errno
import random
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

FIRST, LAST, BLOCK = 20000, 65000, 50
_LOCAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_lock = threading.Lock()


def free_port(host: str = "127.0.0.1") -> int:
    """A port, free for TCP and UDP, that nobody else is given while this process lives."""
    with _lock:
        return next(port for port in _mine if _bindable(host, port))


def _given() -> Iterator[int]:
    """Ports of one block after the other, each block this process's alone."""
    claims = []  # a claim lasts as long as its socket, and goes with the process however that ends
    blocks = _blocks()
    random.SystemRandom().shuffle(blocks)  # a port that was in use a moment ago is not the next to be given
    for block in blocks:
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0aerie-ports-{block.start}")  # a name of the network namespace, as the ports are
        except OSError as error:
            claim.close()
            if error.errno != errno.EADDRINUSE:
                raise
            continue
        claims.append(claim)
        yield from block
    raise OSError(errno.EADDRNOTAVAIL, "no port is free")


def _blocks() -> list[range]:
    """All blocks that have no port the kernel gives to connections; all there are if it gives any."""
    low, high = map(int, _LOCAL_RANGE.read_text().split())
    every = [range(first, first + BLOCK) for first in range(FIRST, LAST, BLOCK)]
    return [block for block in every if block.stop <= low or block.start > high] or every


def _bindable(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.ExitStack() as stack:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            try:
                stack.enter_context(socket.socket(family, kind)).bind((host, port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                return False
    return True


_mine = _given()
