# SPDX-License-Identifier: Apache-2.0
"""An API process starts flows, another process runs them: it is told at once, and finds them without being told."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from aerie_common import config
from aerie_common.db import Database, new_id
from aerie_common.flow_runner import FlowRunner
from aerie_common.flow_wake import FlowEndpoint, FlowWaker
from aerie_common.rpc import Rpc
from flows import sample


@pytest.fixture
def world(tmp_path: Any) -> Iterator[sample.World]:
    world = sample.make_world(f"sqlite:///{tmp_path / 'x.sqlite'}")
    yield world
    world.db.dispose()


def ends(world: sample.World, flow_id: str, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while sample.record(world, flow_id).active:
        if time.monotonic() > until:
            return False
        time.sleep(0.005)
    return True


def test_runner_that_nobody_tells_finds_its_work(world: sample.World) -> None:
    runner = FlowRunner(Database(str(world.db.url)), [sample.STORE], world, poll=0.2)
    runner.start()
    try:
        time.sleep(0.3)  # past the first poll
        assert ends(world, sample.store(world)[1], 60)
    finally:
        runner.stop()


def test_runner_in_another_process_is_told(world: sample.World) -> None:
    conf = config.load(config.new(), [], {(None, "transport_url"): f"fake://{new_id()}"})
    rpc = Rpc(conf)
    runners_db = Database(str(world.db.url))  # another Database hears nothing of this one's commits
    runner = FlowRunner(runners_db, [sample.STORE], world, poll=3600.0)
    runner.start()
    server = rpc.serve("storekeeper", [FlowEndpoint(runner)])
    waker = FlowWaker(world.db, rpc, "storekeeper")
    try:
        time.sleep(0.3)  # past the first poll
        _, untold = sample.store(world)
        assert not ends(world, untold, 1), "nobody has told it"
        waker.start()
        for _ in range(3):
            assert ends(world, sample.store(world)[1], 60)
        assert ends(world, untold, 60)
    finally:
        waker.stop()
        runner.stop()
        server.stop()
        rpc.stop()
