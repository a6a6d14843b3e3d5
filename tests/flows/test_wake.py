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


def seconds_until_done(world: sample.World) -> float:
    began = time.monotonic()
    _, flow_id = sample.store(world)
    while sample.record(world, flow_id).active:
        assert time.monotonic() - began < 10
        time.sleep(0.005)
    return time.monotonic() - began


def test_runner_in_another_process(world: sample.World) -> None:
    conf = config.load(config.new(), [], {(None, "transport_url"): f"fake://{new_id()}"})
    rpc = Rpc(conf)
    runners_db = Database(str(world.db.url))  # another Database hears nothing of this one's commits
    runner = FlowRunner(runners_db, [sample.STORE], world, poll=2.0)
    runner.start()
    server = rpc.serve("storekeeper", [FlowEndpoint(runner)])
    waker = FlowWaker(world.db, rpc, "storekeeper")
    try:
        time.sleep(0.3)  # past the first poll
        assert seconds_until_done(world) > 0.5, "nobody told it, the period did"
        waker.start()
        assert min(seconds_until_done(world) for _ in range(3)) < 0.3
    finally:
        waker.stop()
        runner.stop()
        server.stop()
        rpc.stop()
