# SPDX-License-Identifier: Apache-2.0
"""Facts remembered for a few seconds in this process. Invariant: what is remembered is never older than `seconds`, and
only what was found is remembered, so that a thing just made is seen at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Cache(Generic[K, V]):
    """At most `size` facts, each for `seconds`."""

    def __init__(self, seconds: float, size: int = 2000) -> None:
        self._seconds, self._size = seconds, size
        self._found: dict[K, tuple[float, V]] = {}
        self._lock = threading.Lock()

    def get(self, key: K, find: Callable[[], V]) -> V:
        """The fact, asked for by `find` when it is not known. What `find` raises is passed on."""
        hit = self._found.get(key)
        if hit is not None and hit[0] > time.monotonic():
            return hit[1]
        value = find()
        with self._lock:
            if len(self._found) >= self._size:
                self._found.clear()
            self._found[key] = (time.monotonic() + self._seconds, value)
        return value

    def forget(self, key: K | None = None) -> None:
        """Forget one fact, or all."""
        with self._lock:
            if key is None:
                self._found.clear()
            else:
                self._found.pop(key, None)
