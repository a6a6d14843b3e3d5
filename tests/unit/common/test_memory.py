# SPDX-License-Identifier: Apache-2.0
"""Freed memory goes back to the system."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aerie_common.memory import Trimmer

PIECES, SIZE = 4000, 8000


def private_mib() -> float:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty:")) / 1024


@pytest.fixture
def trimmer() -> Iterator[Trimmer]:
    made = Trimmer(period=0.1)
    yield made
    made.stop()


def test_what_a_burst_took_is_given_back(trimmer: Trimmer) -> None:
    """Too small for a mapping of its own each, and a piece at the end of the heap keeps the rest from shrinking."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    pieces = [libc.malloc(SIZE) for _ in range(PIECES)]
    for piece in pieces:
        ctypes.memset(piece, 1, SIZE)
    last = libc.malloc(SIZE)
    full = private_mib()
    for piece in pieces:
        libc.free(piece)
    before = time.process_time()
    while time.process_time() - before < 0.2:  # a daemon that has done nothing is left alone
        pass
    trimmer.start()
    end = time.monotonic() + 60
    while private_mib() > full - PIECES * SIZE / (1 << 20) / 2 and time.monotonic() < end:
        time.sleep(0.05)
    libc.free(last)
    assert private_mib() <= full - PIECES * SIZE / (1 << 20) / 2
