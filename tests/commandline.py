# SPDX-License-Identifier: Apache-2.0
"""The unmodified `openstack` command, as tests use it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


class OpenStack:
    """The unmodified `openstack` command, as one user of one cloud."""

    def __init__(self, cloud: str, clouds_yaml: Path) -> None:
        self.cloud = cloud
        self._env = {**{k: v for k, v in os.environ.items() if not k.startswith("OS_")},
                     "OS_CLIENT_CONFIG_FILE": str(clouds_yaml), "OS_CLOUD": cloud}  # fmt: skip
        self._command = str(Path(sys.executable).with_name("openstack"))

    def run(self, *args: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """One command, whatever comes of it."""
        return subprocess.run([self._command, *args], env=self._env, capture_output=True, text=True, timeout=timeout)

    def __call__(self, *args: str) -> str:
        """One command that must succeed; what it printed."""
        done = self.run(*args)
        assert done.returncode == 0, f"openstack {' '.join(args)}: {done.stderr[-2000:]}"
        return done.stdout

    def json(self, *args: str) -> Any:
        """The same, asked for JSON."""
        return json.loads(self(*args, "-f", "json"))

    def refused(self, *args: str) -> str:
        """One command that must fail; its words."""
        done = self.run(*args)
        assert done.returncode != 0, f"openstack {' '.join(args)} succeeded: {done.stdout[-500:]}"
        return done.stderr


def wait(what: str, check: Callable[[], object], seconds: float = 30) -> None:
    """Until check() is true; fails with `what` when it is not in that time."""
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(0.3)
