# SPDX-License-Identifier: Apache-2.0
"""Giving memory back: what a burst of work took and freed, the C library keeps for the next one unless it is told."""

from __future__ import annotations

import ctypes
import threading
import time

PERIOD = 10.0
WORKED = 0.1
"""Seconds of processor time since the last time, below which nothing worth a look can have been freed."""


class Trimmer:
    """Returns freed memory to the system some seconds after a daemon has worked. Does nothing without glibc."""

    def __init__(self, period: float = PERIOD) -> None:
        self._period = period
        self._over = threading.Event()
        self._trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        self._thread = threading.Thread(target=self._run, name="memory", daemon=True)

    def start(self) -> None:
        if self._trim is not None:
            self._thread.start()

    def _run(self) -> None:
        worked = 0.0
        while not self._over.wait(self._period):
            if time.process_time() - worked >= WORKED and self._trim is not None:
                self._trim(0)
                worked = time.process_time()

    def stop(self) -> None:
        self._over.set()
