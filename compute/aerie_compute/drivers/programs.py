# SPDX-License-Identifier: Apache-2.0
"""The host's programs: run without input, never for longer than was said."""

from __future__ import annotations

import os
import subprocess

from aerie_compute.drivers.base import DriverError


def run(name: str, command: list[str], seconds: float, **environ: str) -> tuple[int, str]:
    """Exit status, and the end of what it said on stderr. `name` is for messages. DriverError after `seconds`."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env={**os.environ, **environ},
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise DriverError(f"{name} did not end within {seconds} s") from exc
    return done.returncode, done.stderr.strip()[-500:]
