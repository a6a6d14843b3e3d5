# SPDX-License-Identifier: Apache-2.0
"""How much memory this process takes."""

from __future__ import annotations

import re
from pathlib import Path


class Memory:
    """The growth of this process since then, at its highest."""

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")
        self._before = self._peak()

    @staticmethod
    def _peak() -> int:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        assert found
        return int(found[1]) << 10

    def growth(self) -> int:
        return self._peak() - self._before
