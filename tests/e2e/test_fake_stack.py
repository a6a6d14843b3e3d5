# SPDX-License-Identifier: Apache-2.0
"""`stack.sh --hypervisor fake`: all is real but the guests. What it costs, and that it can be measured."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aerie_common import memory
from stack import StackHost

IDLE_MIB = 500
"""All daemons together (PSS), after the demo project was made; OpenStack's take 3,161."""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackHost]:
    out = Path(os.environ.get("ARTIFACTS", tmp_path_factory.mktemp("stack"))) / "fake_stack"
    stack = StackHost(out, "--hypervisor", "fake", lifetime=3600)
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()


@pytest.mark.timeout(1500)
def test_idle_daemons_are_small(host: StackHost) -> None:
    """The bound holds after a cloud has been set up and used, not only for daemons that nobody has called yet."""
    time.sleep(2 * memory.PERIOD)
    shown = host.sh("aerie status")
    total = float(shown.splitlines()[-1].split()[-1])
    assert total < IDLE_MIB, shown


@pytest.mark.timeout(600)
def test_the_operators_commands_find_nothing_amiss(host: StackHost) -> None:
    """A fresh cloud is healthy in the eyes of `aerie doctor`, and nothing waits in the broker for nobody."""
    found = host.run("aerie doctor -v")
    assert found.returncode == 0 and "BROKEN" not in found.stdout, found.stdout + found.stderr
    queues = host.sh("aerie bus list")
    assert "conductor" in queues, queues
    host.sh("aerie flow list")


@pytest.mark.timeout(1500)
def test_the_benchmark_measures_every_service(host: StackHost) -> None:
    """It ends without an error and leaves nothing of its own behind."""
    shown = host.sh(
        "set +u; source devstack/admin-openrc > /dev/null\n"
        "python3 tests/bench/bench.py --only groups,zones,guests --dns 127.0.0.1:5300",
        timeout=1200,
    )
    assert "server create -> ACTIVE" in shown, shown
    for kind in ("server", "zone", "image", "network"):
        assert "bench-" not in host.openstack(kind, "list", cloud="devstack-admin"), kind
