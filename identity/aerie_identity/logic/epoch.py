# SPDX-License-Identifier: Apache-2.0
"""The revocation epoch: a number in the database that moves on with every change after which something remembered
about tokens may be wrong, in the same transaction as the change.

Everything this service remembers (validated tokens, role graph, catalog) is remembered for one epoch. The process that
made a change sees it at once; others on this host too, through a shared page; other hosts within POLL_SECONDS.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import sqlalchemy as sa

from aerie_common.db import Database, on_commit
from aerie_identity.db import tables as t
from aerie_identity.logic.files import give_to_service, private_folder

T = TypeVar("T")
POLL_SECONDS = 0.3
_COUNT = struct.Struct("<Q")


class SharedCounter:
    """Eight bytes in a file that all workers of this host map: a doorbell, not a value. Races only ring it twice."""

    def __init__(self, path: Path) -> None:
        private_folder(path.parent)
        if not path.exists():
            path.touch(mode=0o600)
            give_to_service(path)
        fd = os.open(path, os.O_RDWR)
        try:
            if os.fstat(fd).st_size < _COUNT.size:
                os.ftruncate(fd, _COUNT.size)
            self._map = mmap.mmap(fd, _COUNT.size)
        finally:
            os.close(fd)

    def read(self) -> bytes:
        return self._map[: _COUNT.size]

    def ring(self) -> None:
        self._map[: _COUNT.size] = _COUNT.pack(time.monotonic_ns() & (2**64 - 1))


class Epoch:
    """The epoch as this process knows it."""

    def __init__(self, db: Database, bell: SharedCounter) -> None:
        self._db, self._bell = db, bell
        self._lock = threading.Lock()
        self._value = -1
        self._read_at = float("-inf")
        self._heard = b""

    def current(self) -> int:
        """The epoch; reads the database when the bell rang, else at most every POLL_SECONDS."""
        heard = self._bell.read()
        if heard == self._heard and time.monotonic() - self._read_at < POLL_SECONDS:
            return self._value
        with self._lock:
            heard = self._bell.read()
            began = time.monotonic()
            if heard != self._heard or began - self._read_at >= POLL_SECONDS:
                with self._db.read() as conn:
                    self._value = conn.execute(sa.select(t.epoch.c.value).where(t.epoch.c.id == 1)).scalar() or 0
                self._heard, self._read_at = heard, began
            return self._value

    def bump(self, conn: sa.Connection) -> None:
        """Move the epoch on with this write transaction. The row lock makes two such transactions wait in turn."""
        moved = conn.execute(sa.update(t.epoch).where(t.epoch.c.id == 1).values(value=t.epoch.c.value + 1)).rowcount
        if not moved:
            conn.execute(sa.insert(t.epoch).values(id=1, value=1))
        on_commit(conn, self._bell.ring)


class ByEpoch(Generic[T]):
    """Something read from the database that holds for one epoch."""

    def __init__(self, epoch: Epoch, load: Callable[[], T]) -> None:
        self._epoch, self._load = epoch, load
        self._held: tuple[int, T] | None = None

    def get(self) -> T:
        now = self._epoch.current()
        held = self._held
        if held is None or held[0] != now:
            held = self._held = (now, self._load())
        return held[1]
