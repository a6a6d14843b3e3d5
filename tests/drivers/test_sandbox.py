# SPDX-License-Identifier: Apache-2.0
"""The sandbox keeps its promises: nothing gets out, nothing outside is seen, everything ends with it."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from servers import SANDBOX, wait_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and mounts are for root")


def run(script: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SANDBOX, "bash", "-c", script], capture_output=True, text=True, timeout=600, env={**os.environ, **env}
    )


def test_what_is_written_vanishes_and_artefacts_stay(tmp_path: Path) -> None:
    script = f"touch /etc/aerie-was-here && rm /usr/bin/env && echo kept > {tmp_path}/out/note"
    done = run(script, SANDBOX_OUT=f"{tmp_path}/out")
    assert done.returncode == 0, done.stderr
    assert not Path("/etc/aerie-was-here").exists()
    assert Path("/usr/bin/env").exists()
    assert (tmp_path / "out/note").read_text() == "kept\n"


def test_processes_and_network_are_apart() -> None:
    done = run("ip -o link | wc -l; ps -e --no-headers | wc -l; ip netns add inside; hostname")
    links, processes, name = done.stdout.split()
    assert int(links) <= 3  # the loopback, and pseudo devices some kernels put into every namespace
    assert int(processes) <= 5
    assert name == "aerie-sandbox"
    assert "inside" not in subprocess.run(["ip", "netns"], capture_output=True, text=True).stdout


def test_exit_status_is_passed_on() -> None:
    assert run("exit 7").returncode == 7


def test_daemons_end_when_the_time_is_up(tmp_path: Path) -> None:
    beat = tmp_path / "out/beat"
    script = f"date > {beat}; setsid bash -c 'while sleep .1; do date +%s%N > {beat}; done' & sleep 600"
    assert run(script, SANDBOX_OUT=f"{tmp_path}/out", SANDBOX_TIMEOUT="3").returncode == 124
    last = beat.read_text()
    time.sleep(0.5)
    assert beat.read_text() == last


def test_it_ends_with_the_process_that_called_it(tmp_path: Path) -> None:
    beat = tmp_path / "out/beat"
    env = {**os.environ, "SANDBOX_OUT": f"{tmp_path}/out"}
    caller = subprocess.Popen([SANDBOX, "bash", "-c", f"while sleep .1; do date +%s%N > {beat}; done"], env=env)
    wait_for("the sandbox", beat.exists)
    caller.kill()
    caller.wait(60)

    def silent() -> bool:
        last = beat.read_text()
        time.sleep(1)
        return beat.read_text() == last

    wait_for("the end of the sandbox", silent)


def test_standard_databases_start_empty() -> None:
    done = run(
        "install -d -o mysql /run/mysqld; mariadbd --user=mysql >/dev/null 2>&1 & "
        "for i in $(seq 100); do mysqladmin ping >/dev/null 2>&1 && break; sleep .1; done; mysql -Ne 'show databases'"
    )
    assert set(done.stdout.split()) == {"information_schema", "mysql", "performance_schema", "sys"}, done.stderr
