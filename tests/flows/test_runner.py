# SPDX-License-Identifier: Apache-2.0
"""The flow runner under everything that happens to daemons: crashes, hangs, cancels, a lost database, many runners."""

from __future__ import annotations

import dataclasses
import datetime
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from aerie_common import flow as F
from aerie_common.db import count_queries, utcnow
from aerie_common.errors import Conflict
from aerie_common.flow import Flow, Run, Step
from aerie_common.flow_runner import FlowRunner
from flows import sample
from flows.sample import DELETE, STORE, World, crate, record, store


@pytest.fixture
def world(any_database_url: str) -> Iterator[World]:
    world = sample.make_world(any_database_url)
    yield world
    world.db.dispose()


Start = Callable[..., FlowRunner[Any]]


@pytest.fixture
def runner(world: World) -> Iterator[Start]:
    """Starts runners and stops them at the end."""
    started: list[FlowRunner[Any]] = []

    def start(*flows: Flow, **options: Any) -> FlowRunner[Any]:
        made = FlowRunner(world.db, flows or (STORE, DELETE), world, **options)
        made.start()
        started.append(made)
        return made

    yield start
    for made in started:
        made.stop(timeout=2.0)


def until(what: Callable[[], Any], seconds: float = 60.0) -> Any:
    end = time.monotonic() + seconds
    while not (value := what()):
        assert time.monotonic() < end, "did not come true in time"
        time.sleep(0.005)
    return value


def ended(world: World, flow_id: str, seconds: float = 60.0) -> F.FlowRecord:
    until(lambda: not record(world, flow_id).active, seconds)
    return record(world, flow_id)


def with_step(step: Step, flow: Flow = STORE) -> Flow:
    return dataclasses.replace(flow, steps=tuple(step if s.name == step.name else s for s in flow.steps))


def waits_for_event(run: Run[World]) -> str:
    run.services.called("label", run)
    if not run.services.ready.is_set():
        raise F.Pending(3000.0, "nobody has a pen")
    return sample.label(run)


PATIENT = with_step(Step("label", do=waits_for_event, undo=sample.unlabel, timeout=3000))


def test_done(world: World, runner: Start) -> None:
    runner()
    crate_id, flow_id = store(world)
    done = ended(world, flow_id)
    assert (done.state, done.lease_owner, done.due_at, done.fault) == (F.DONE, None, None, None)
    assert done.results == {"claim": {"amount": 3}, "label": "fragile"}
    assert done.context["user_id"] == "u1" and done.project_id == "p1"
    assert tuple(crate(world, crate_id)) == (crate_id, "stored", None, 3)
    assert world.calls == ["claim", "shelve", "check_weather", "label"]


def test_failed_step_is_undone_with_all_before_it(world: World, runner: Start) -> None:
    def refuse(run: Run[World]) -> None:
        raise Conflict("It rains.")

    world.hooks["check_weather"] = refuse
    runner()
    crate_id, flow_id = store(world)
    failed = ended(world, flow_id)
    assert failed.state == F.FAILED
    assert failed.fault is not None
    assert failed.fault.to_dict() == {
        "message": "It rains.", "code": "conflict", "step": "check_weather", "details": {}, "internal": False,
    }  # fmt: skip
    assert world.calls == ["claim", "shelve", "check_weather", "unshelve", "unclaim"]
    assert tuple(crate(world, crate_id)) == (crate_id, "error", "It rains.", None)


def test_many_flows_many_runners_each_step_once(world: World, runner: Start) -> None:
    for _ in range(3):
        runner(workers=3)
    flows = [store(world)[1] for _ in range(30)]
    for flow_id in flows:
        assert ended(world, flow_id).state == F.DONE
    assert sorted(world.calls) == sorted(["claim", "shelve", "check_weather", "label"] * 30)


def test_unexpected_error_is_retried_as_often_as_declared(world: World) -> None:
    def trips(run: Run[World]) -> None:
        world.called("trips", run)
        if run.attempt < 2:
            raise OSError("stumbles")

    flow = with_step(Step("label", do=trips, retries=2))
    _, flow_id = store(world, flow)
    FlowRunner(world.db, [flow], world).drain()
    assert record(world, flow_id).state == F.DONE
    flow = with_step(Step("label", do=trips, retries=1))
    _, flow_id = store(world, flow)
    FlowRunner(world.db, [flow], world).drain()
    failed = record(world, flow_id)
    assert failed.state == F.FAILED and failed.fault is not None
    assert (failed.fault.message, failed.fault.code, failed.fault.internal) == ("stumbles", "OSError", True)
    assert world.calls.count("trips") == 5


def test_backoff_delays_the_retry(world: World, runner: Start) -> None:
    times: list[float] = []

    def trips(run: Run[World]) -> None:
        times.append(time.monotonic())
        if len(times) == 1:
            raise OSError("stumbles")

    runner(with_step(Step("label", do=trips, retries=1)))
    _, flow_id = store(world)
    assert ended(world, flow_id).state == F.DONE
    assert times[1] - times[0] > 0.9


def test_pending_waits_for_a_wake(world: World, runner: Start) -> None:
    runner(PATIENT)
    crate_id, flow_id = store(world)
    until(lambda: record(world, flow_id).reason == "nobody has a pen")
    parked = record(world, flow_id)
    assert parked.lease_owner is None and parked.state == F.RUNNING
    world.ready.set()
    with world.db.write() as conn:
        F.wake(conn, crate_id)
    assert ended(world, flow_id).state == F.DONE  # long before it would have looked again


def test_wake_during_the_step_is_not_lost(world: World, runner: Start) -> None:
    """The event comes after the step looked, before it parks."""

    def comes_late(run: Run[World]) -> None:
        if world.calls.count("label") == 1:
            with world.db.write() as conn:
                F.wake(conn, run.subject_id)

    world.hooks["label"] = comes_late
    _, flow_id = store(world, PATIENT)
    runner(PATIENT)
    until(lambda: world.calls.count("label") >= 2)
    assert record(world, flow_id).state == F.RUNNING


def test_pending_polls(world: World, runner: Start) -> None:
    """When the step wants it, not when the runner looks for work anyhow."""

    def tenth_time(run: Run[World]) -> None:
        world.called("tenth", run)
        if world.calls.count("tenth") < 10:
            raise F.Pending(0.02)

    runner(with_step(Step("label", do=tenth_time)), poll=30.0)
    _, flow_id = store(world)
    assert ended(world, flow_id, 25.0).state == F.DONE


def test_step_that_waits_too_long_fails(world: World, runner: Start) -> None:
    def never(run: Run[World]) -> None:
        raise F.Pending(0.1, "no pen ever")

    runner(with_step(Step("label", do=never, timeout=0.5)))
    crate_id, flow_id = store(world)
    failed = ended(world, flow_id)
    assert failed.state == F.FAILED and failed.fault is not None
    assert failed.fault.code == "timeout" and "no pen ever" in failed.fault.message
    assert crate(world, crate_id).shelf is None


def test_deadline_of_the_flow(world: World, runner: Start) -> None:
    def never(run: Run[World]) -> None:
        raise F.Retry(0.1)

    runner(dataclasses.replace(with_step(Step("label", do=never, timeout=500)), deadline=0.5))
    _, flow_id = store(world)
    failed = ended(world, flow_id)
    assert failed.state == F.FAILED and failed.fault is not None and failed.fault.code == "timeout"


def test_failing_undo_is_retried_and_visible(world: World, runner: Start) -> None:
    def stuck(run: Run[World]) -> None:
        if not world.ready.is_set():
            raise OSError("the shelf is locked")

    def refuse(run: Run[World]) -> None:
        raise F.Fail("no")

    world.hooks |= {"unshelve": stuck, "label": refuse}
    runner()
    crate_id, flow_id = store(world)
    until(lambda: "the shelf is locked" in (record(world, flow_id).reason or ""))
    assert record(world, flow_id).state == F.UNDOING
    world.ready.set()
    with world.db.write() as conn:
        F.wake_flow(conn, flow_id)
    assert ended(world, flow_id).state == F.FAILED
    assert crate(world, crate_id).state == "error"


def test_on_done_that_refuses_undoes_everything(world: World) -> None:
    def refuses(conn: sa.Connection, run: Run[World]) -> None:
        sample.stored(conn, run)
        raise Conflict("changed meanwhile")

    flow = dataclasses.replace(STORE, on_done=refuses)
    crate_id, flow_id = store(world, flow)
    FlowRunner(world.db, [flow], world).drain()
    assert record(world, flow_id).state == F.FAILED
    assert tuple(crate(world, crate_id)) == (crate_id, "error", "changed meanwhile", None)
    assert world.labels == {}


# ------------------------------------------------------------------------------------------------------------- cancel


def delete(world: World, crate_id: str) -> str:
    with world.db.write() as conn:
        waits_for = F.cancel(conn, crate_id, ["crate_store"])
        return F.start(conn, DELETE, crate_id, {}, sample.CTX, after=waits_for)


def test_delete_wins_over_a_waiting_flow(world: World, runner: Start) -> None:
    runner(PATIENT, DELETE)
    crate_id, flow_id = store(world)
    until(lambda: record(world, flow_id).reason)
    delete_id = delete(world, crate_id)
    assert ended(world, delete_id).state == F.DONE  # long before the other would have looked again
    assert record(world, flow_id).state == F.CANCELLED
    assert world.calls == ["claim", "shelve", "check_weather", "label", "unlabel", "unshelve", "unclaim", "drop"]
    assert crate(world, crate_id) is None


def test_delete_wins_over_a_running_step(world: World, runner: Start) -> None:
    entered, leave = threading.Event(), threading.Event()

    def busy(run: Run[World]) -> None:
        entered.set()
        assert leave.wait(60)

    world.hooks["shelve"] = busy
    runner()
    crate_id, flow_id = store(world)
    assert entered.wait(60)
    delete_id = delete(world, crate_id)
    time.sleep(0.2)
    assert record(world, delete_id).state == F.PENDING, "began before the other was undone"
    leave.set()
    assert ended(world, delete_id).state == F.DONE
    assert record(world, flow_id).state == F.CANCELLED
    assert world.calls == ["claim", "shelve", "unshelve", "unclaim", "drop"]


def test_long_step_hears_of_the_cancel(world: World, runner: Start) -> None:
    def long(run: Run[World]) -> None:
        for _ in range(6000):
            run.check()
            time.sleep(0.01)

    world.hooks["shelve"] = long
    runner(lease=1.0)
    crate_id, flow_id = store(world)
    until(lambda: "shelve" in world.calls)
    delete_id = delete(world, crate_id)
    assert ended(world, delete_id, 30.0).state == F.DONE
    assert record(world, flow_id).state == F.CANCELLED


def test_cancel_of_a_flow_that_has_not_begun(world: World) -> None:
    crate_id, flow_id = store(world)
    delete_id = delete(world, crate_id)
    FlowRunner(world.db, [STORE, DELETE], world).drain()
    assert record(world, flow_id).state == F.CANCELLED
    assert record(world, delete_id).state == F.DONE
    assert world.calls == ["drop"]


def test_cancel_after_the_end_does_nothing(world: World) -> None:
    crate_id, flow_id = store(world)
    FlowRunner(world.db, [STORE], world).drain()
    with world.db.write() as conn:
        assert F.cancel(conn, crate_id) == []
    assert record(world, flow_id).state == F.DONE


def test_cancel_of_a_flow_that_is_being_undone(world: World) -> None:
    """It failed by itself before: it ends as cancelled, and does not put the subject into error."""

    def refuse(run: Run[World]) -> None:
        raise F.Fail("no")

    def cancels(run: Run[World]) -> None:
        with world.db.write() as conn:
            F.cancel(conn, run.subject_id)

    world.hooks |= {"label": refuse, "unshelve": cancels}
    crate_id, flow_id = store(world)
    FlowRunner(world.db, [STORE], world).drain()
    assert record(world, flow_id).state == F.CANCELLED
    assert crate(world, crate_id).state == "new"


# ------------------------------------------------------------------------------------------------ crashes and hangs


def test_flow_of_a_dead_worker_is_taken_over(world: World, runner: Start) -> None:
    """The row as a killed daemon leaves it: leased, with a step begun whose result was never recorded."""
    crate_id, flow_id = store(world)
    with world.db.write() as conn:
        values = {
            "state": F.RUNNING, "step": 1, "lease_owner": "dead", "results": {"claim": {"amount": 3}},
            "due_at": utcnow() + datetime.timedelta(seconds=300), "step_started_at": utcnow(),
            "deadline_at": utcnow() + datetime.timedelta(seconds=600),
        }  # fmt: skip
        conn.execute(sa.update(F.FLOWS).where(F.FLOWS.c.id == flow_id).values(values))
    runner(poll=0.1)
    time.sleep(0.5)
    assert world.calls == []
    with world.db.write() as conn:  # the lease runs out
        conn.execute(sa.update(F.FLOWS).where(F.FLOWS.c.id == flow_id).values(due_at=utcnow()))
    assert ended(world, flow_id).state == F.DONE
    assert world.calls == ["shelve", "check_weather", "label"]
    assert crate(world, crate_id).shelf == 3


def test_step_that_kills_its_workers_is_given_up(world: World) -> None:
    crate_id, flow_id = store(world)
    with world.db.write() as conn:
        values = {
            "state": F.RUNNING, "step": 1, "lease_owner": "dead", "takeovers": 3, "step_started_at": utcnow(),
            "deadline_at": utcnow() + datetime.timedelta(seconds=60), "results": {"claim": {"amount": 3}},
        }  # fmt: skip
        conn.execute(sa.update(F.FLOWS).where(F.FLOWS.c.id == flow_id).values(values))
    FlowRunner(world.db, [STORE], world).drain()
    failed = record(world, flow_id)
    assert failed.state == F.FAILED and failed.fault is not None and failed.fault.code == "hangs"
    assert world.calls == ["unshelve", "unclaim"]


def test_long_step_keeps_its_lease(world: World, runner: Start) -> None:
    """It is renewed, and so no other runner takes the flow, for as long as the step works."""

    def until_renewed_twice(run: Run[World]) -> None:
        ends = {record(world, run.flow_id).due_at}
        while len(ends) < 3:
            run.check()
            time.sleep(0.1)
            ends.add(record(world, run.flow_id).due_at)

    world.hooks["shelve"] = until_renewed_twice
    runner(lease=6.0)
    runner(lease=6.0)
    _, flow_id = store(world)
    done = ended(world, flow_id)
    assert done.state == F.DONE
    assert world.calls == ["claim", "shelve", "check_weather", "label"]


def test_frozen_worker_changes_nothing_any_more(world: World, runner: Start) -> None:
    """Its lease is taken while its step runs; when it comes back it must not record anything."""
    frozen, thaw = threading.Event(), threading.Event()

    def freeze(run: Run[World]) -> None:
        if not frozen.is_set():
            frozen.set()
            assert thaw.wait(60)

    world.hooks["shelve"] = freeze
    first = runner()
    first._renew = lambda held: None  # type: ignore[method-assign]  # a frozen process renews nothing
    _, flow_id = store(world)
    assert frozen.wait(60)
    with world.db.write() as conn:
        conn.execute(sa.update(F.FLOWS).where(F.FLOWS.c.id == flow_id).values(due_at=utcnow()))
    runner()
    assert ended(world, flow_id).state == F.DONE
    before = record(world, flow_id)
    thaw.set()
    until(lambda: first.busy() == 0)
    assert record(world, flow_id) == before
    assert world.calls.count("label") == 1


def test_hanging_step_is_abandoned_and_its_thread_replaced(world: World, runner: Start) -> None:
    leave = threading.Event()

    def hang(run: Run[World]) -> None:
        if world.calls.count("label") == 1:
            leave.wait(120)

    world.hooks["label"] = hang
    flow = with_step(Step("label", do=sample.label, undo=sample.unlabel, timeout=1.0))
    runner(flow, workers=1, lease=0.6)
    try:
        _, flow_id = store(world)
        done = ended(world, flow_id)
        assert done.state == F.DONE
        assert world.calls.count("label") == 2
    finally:
        leave.set()


def test_stop_hands_over_at_once(world: World, runner: Start) -> None:
    entered = threading.Event()

    def busy(run: Run[World]) -> None:
        entered.set()
        time.sleep(0.3)

    world.hooks["claim"] = busy
    first = runner()
    _, flow_id = store(world)
    assert entered.wait(60)
    first.stop()
    handed = record(world, flow_id)
    assert (handed.state, handed.step, handed.lease_owner) == (F.RUNNING, 1, None)
    runner()
    assert ended(world, flow_id, 10.0).state == F.DONE, "not before the lease would have run out"
    assert world.calls == ["claim", "shelve", "check_weather", "label"]


def test_other_version_is_left_alone(world: World, runner: Start) -> None:
    newer = dataclasses.replace(STORE, version=2)
    _, flow_id = store(world, newer)
    runner()
    time.sleep(0.3)
    assert record(world, flow_id).state == F.PENDING
    runner(newer)
    assert ended(world, flow_id).state == F.DONE


def test_overdue_and_prune(world: World) -> None:
    _, flow_id = store(world)
    with world.db.write() as conn:
        long_ago = utcnow() - datetime.timedelta(seconds=300)
        conn.execute(sa.update(F.FLOWS).where(F.FLOWS.c.id == flow_id).values(due_at=long_ago))
    with world.db.read() as conn:
        assert [f.id for f in F.overdue(conn)] == [flow_id]
    FlowRunner(world.db, [STORE], world).drain()
    with world.db.write() as conn:
        assert F.overdue(conn) == []
        assert F.prune(conn, datetime.timedelta(days=1)) == 0
        assert F.prune(conn, datetime.timedelta(0)) == 1
        assert F.list_flows(conn) == []


def test_start_that_is_rolled_back_starts_nothing(world: World, runner: Start) -> None:
    runner()
    with pytest.raises(Conflict), world.db.write() as conn:
        F.start(conn, STORE, "x", {"amount": 1}, sample.CTX)
        raise Conflict("never mind")
    time.sleep(0.1)
    with world.db.read() as conn:
        assert F.list_flows(conn) == []
    assert world.calls == []


def test_idle_runner_costs_one_query_a_second(world: World, runner: Start) -> None:
    runner(workers=8)
    time.sleep(0.3)
    began = time.monotonic()
    with count_queries(world.db) as queries:
        time.sleep(3.0)
    assert 2 <= queries.count <= time.monotonic() - began + 2


def test_lost_database(mariadb: Any, mariadb_url: str) -> None:
    """The server goes down in the middle of a step and comes back: the flow ends, nothing is lost or done halfway."""
    world = sample.make_world(mariadb_url)
    runner = FlowRunner(world.db, [STORE], world, lease=2.0)

    def strike(run: Run[World]) -> None:
        if world.calls.count("shelve") == 1:
            mariadb.kill()

    world.hooks["shelve"] = strike
    runner.start()
    try:
        crate_id, flow_id = store(world)
        until(lambda: not mariadb.running)
        time.sleep(1.0)
        mariadb.start()
        assert ended(world, flow_id).state == F.DONE
        assert crate(world, crate_id).state == "stored"
    finally:
        runner.stop()
