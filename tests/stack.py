# SPDX-License-Identifier: Apache-2.0
"""A host on which `devstack/stack.sh` has made a whole cloud: a sandbox of its own, entered command by command."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from servers import SANDBOX, die_with_parent

TREE = Path(__file__).resolve().parent.parent


class StackHost:
    """The host. `start()` installs the cloud; everything in it ends with `stop()`."""

    def __init__(self, out: Path, *arguments: str, lifetime: int = 7200) -> None:
        self.out, self._arguments, self._lifetime = out, arguments, lifetime
        self._sandbox: subprocess.Popen[bytes] | None = None
        self._init = 0

    def start(self) -> None:
        """Run stack.sh and wait for its end. AssertionError with the end of its output when it fails."""
        self.out.mkdir(parents=True, exist_ok=True)
        venv = Path(sys.executable).parent.parent
        env = {
            **os.environ,
            "SANDBOX_OUT": str(self.out),
            "SANDBOX_TIMEOUT": str(self._lifetime),
            "AERIE_VENV": str(venv),
        }
        script = (
            f"cd {TREE} && devstack/stack.sh --no-client {shlex.join(self._arguments)} >{self.out}/stack.log 2>&1;"
            f" echo $? >{self.out}/status; exec sleep infinity"
        )
        (self.out / "status").unlink(missing_ok=True)
        self._sandbox = subprocess.Popen([str(SANDBOX), "bash", "-c", script], env=env, preexec_fn=die_with_parent)
        end = time.monotonic() + 1200
        while not (self.out / "status").exists() or not (self.out / "status").read_text().strip():
            assert self._sandbox.poll() is None, f"the sandbox ended:\n{self.log()}"
            assert time.monotonic() < end, f"stack.sh takes too long:\n{self.log()}"
            time.sleep(0.5)
        self._init = self._find_init(self._sandbox.pid)
        assert (self.out / "status").read_text().strip() == "0", f"stack.sh failed:\n{self.log()}"

    def stop(self) -> None:
        """Keep the daemons' logs, then end everything."""
        if self._sandbox is None:
            return
        if self._init:
            self.run(f"cp -r /var/log/aerie /var/log/libvirt/qemu {self.out}/ 2>/dev/null; true")
        os.killpg(self._sandbox.pid, signal.SIGKILL)
        self._sandbox.wait(30)
        self._sandbox = None

    def log(self) -> str:
        """The end of what stack.sh printed."""
        path = self.out / "stack.log"
        return path.read_text()[-6000:] if path.exists() else "(nothing printed)"

    @staticmethod
    def _find_init(root: int) -> int:
        """The process that is number 1 inside the sandbox."""
        todo = [root]
        while todo:
            pid = todo.pop()
            status = Path(f"/proc/{pid}/status").read_text()
            inner = next(line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:"))
            if len(inner) > 1 and inner[-1] == "1":
                return pid
            todo += [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        raise AssertionError("the sandbox has no init process")

    def run(self, script: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        """A shell script as root on the host, whatever comes of it."""
        enter = ["nsenter", "-t", str(self._init), "-m", "-n", "-p", "-u", "-i", "-C"]
        # From /: the place we are at does not exist in there under this name.
        return subprocess.run(
            [*enter, "bash", "-c", f"cd {TREE}\n{script}"], cwd="/", capture_output=True, text=True, timeout=timeout
        )

    def sh(self, script: str, timeout: float = 600) -> str:
        """A shell script that must succeed; what it printed."""
        done = self.run(script, timeout)
        assert done.returncode == 0, f"{script}\n{done.stdout[-1500:]}\n{done.stderr[-2500:]}"
        return done.stdout

    def openstack(self, *args: str, cloud: str = "devstack") -> str:
        """The `openstack` command as the demo user; must succeed."""
        return self.sh(f"{self.client_environment(cloud)}\nopenstack {shlex.join(args)}")

    @staticmethod
    def client_environment(cloud: str = "devstack") -> str:
        """Shell lines after which `openstack` is that user of this cloud."""
        programs = Path(sys.executable).parent
        return f"export PATH={programs}:$PATH OS_CLIENT_CONFIG_FILE={TREE}/devstack/clouds.yaml OS_CLOUD={cloud}"

    def json(self, *args: str, cloud: str = "devstack") -> Any:
        """The same, asked for JSON."""
        return json.loads(self.openstack(*args, "-f", "json", cloud=cloud))

    def pids(self, daemon: str) -> list[int]:
        """Processes of a daemon, by their numbers on the host."""
        rows = json.loads(self.run("aerie status --json 2>/dev/null").stdout)
        return [pid for row in rows if row["name"] == daemon for pid in row["pids"]]


def wait(what: str, check: Any, seconds: float = 180, every: float = 0.5) -> None:
    """Until check() is true; fails with `what` when it is not in that time."""
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(every)
