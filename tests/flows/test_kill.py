# SPDX-License-Identifier: Apache-2.0
"""Daemons die by SIGKILL in the middle of work, again and again: every flow still ends as it should."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from aerie_common import flow as F
from flows import sample

WORKER = Path(__file__).with_name("worker.py")


def test_killed_daemons_lose_nothing(mariadb_url: str) -> None:
    world = sample.make_world(mariadb_url)

    def spawn() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, str(WORKER), mariadb_url], stderr=subprocess.DEVNULL)

    daemons = [spawn(), spawn()]
    try:
        started: list[tuple[str, str]] = []
        for number in range(1, 181):
            started.append(sample.store(world))
            time.sleep(0.02)
            if number % 60 == 0:
                victim = daemons.pop(0)
                victim.kill()
                victim.wait(60)
                daemons.append(spawn())
        end = time.monotonic() + 120
        while True:
            with world.db.read() as conn:
                left = F.list_flows(conn, states=F.ACTIVE)
            if not left:
                break
            if time.monotonic() > end:
                pytest.fail(f"still active: {left}")
            time.sleep(0.1)
        with world.db.read() as conn:
            flows = F.list_flows(conn, limit=1000)
        assert {flow.state for flow in flows} == {F.DONE} and len(flows) == 180
        assert {sample.crate(world, crate_id).state for crate_id, _ in started} == {"stored"}
    finally:
        for daemon in daemons:
            daemon.kill()
            daemon.wait(60)
