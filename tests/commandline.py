# SPDX-License-Identifier: Apache-2.0
"""The unmodified `openstack` command, as tests use it: a process for each command, or one for many.

Run as a program, this file is the one for many: a command line as JSON on each line it reads, its outcome as JSON on
each line it writes.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import subprocess
import sys
import threading
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

    def run(self, *args: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
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


class Session(OpenStack):
    """The same, with all commands run one after the other by one process: importing the clients takes longer than most
    commands. Options, output, exit status and requests are the command's own."""

    def __init__(self, cloud: str, clouds_yaml: Path) -> None:
        super().__init__(cloud, clouds_yaml)
        self._process = subprocess.Popen(
            [sys.executable, __file__], env=self._env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, *args: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        assert self._process.stdin is not None and self._process.stdout is not None
        killer = threading.Timer(timeout, self._process.kill)
        killer.start()
        try:
            self._process.stdin.write(json.dumps(args) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        finally:
            killer.cancel()
        assert line, f"openstack {' '.join(args)}: no answer within {timeout} s"
        return subprocess.CompletedProcess([self._command, *args], **json.loads(line))

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


def _serve() -> None:
    """Run the command lines that come on standard input."""
    from openstackclient import shell

    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what bypasses sys.stdout is no reply
    for line in sys.stdin:
        logging.getLogger().handlers.clear()  # each command sets up its own
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                status = int(shell.OpenStackShell().run(json.loads(line)) or 0)
            except SystemExit as e:
                status = e.code if isinstance(e.code, int) else 1
        reply = {"returncode": status, "stdout": out.getvalue(), "stderr": err.getvalue()}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def wait(what: str, check: Callable[[], object], seconds: float = 120) -> None:
    """Until check() is true; fails with `what` when it is not in that time."""
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(0.3)


if __name__ == "__main__":
    _serve()
