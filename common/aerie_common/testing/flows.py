# SPDX-License-Identifier: Apache-2.0
"""Proof by brute force that a flow compensates and converges, the same for every flow of every service.

For each step: it fails before its effect, fails after its effect, is cancelled after its effect, fails and every undo
runs twice, and runs twice itself. After each failure and cancel the snapshot must equal the one taken before the flow
ran; a step done twice must leave the same snapshot as done once. A test module is a few lines:

    @pytest.mark.parametrize("scenario", scenarios(SERVER_BUILD), ids=str)
    def test_server_build(scenario, database_url):
        check(scenario, make_case(database_url))
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from aerie_common import flow as F
from aerie_common.db import Database
from aerie_common.flow import Fail, Flow, Run, Step
from aerie_common.flow_runner import FlowRunner

FAIL_BEFORE = "fails before its effect"
FAIL_AFTER = "fails after its effect"
UNDO_TWICE = "fails and each undo runs twice"
CANCEL = "is cancelled after its effect"
TWICE = "runs twice"
MISHAPS = (FAIL_BEFORE, FAIL_AFTER, UNDO_TWICE, CANCEL, TWICE)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One mishap at one step; step None means that nothing goes wrong."""

    flow: Flow
    step: str | None
    mishap: str | None

    def __str__(self) -> str:
        return f"{self.flow.kind}: {self.step} {self.mishap}" if self.step else f"{self.flow.kind}: nothing happens"


def scenarios(flow: Flow) -> list[Scenario]:
    """Everything `check` can do to a flow, for pytest's parametrize."""
    cases = [Scenario(flow, None, None)]
    cases += [Scenario(flow, step.name, mishap) for step in flow.steps for mishap in MISHAPS]
    return cases


@dataclass(slots=True)
class Case:
    """A fresh world for one scenario.

    `start(flow)` writes the subject and starts `flow` (the very object it is given), and returns the flow's id.
    `snapshot()` returns everything the flow's steps may touch, in the database and in fakes, comparable by ==; it
    leaves out times, the flow table itself, and what the last callbacks change (the subject's state and fault).
    `also` are flows which the callbacks may start.
    """

    db: Database
    services: Any
    start: Callable[[Flow], str]
    snapshot: Callable[[], Any]
    also: Sequence[Flow] = ()
    timeout: float = 30.0
    failed: list[str] = field(default_factory=list)


def check(scenario: Scenario, case: Case) -> None:
    """Run the scenario and assert that the flow ended as it must."""
    flow = _sabotage(scenario, case)
    flow_id = case.start(flow)
    before = case.snapshot()
    FlowRunner(case.db, [flow, *case.also], case.services).drain(case.timeout)
    with case.db.read() as conn:
        record = F.show(conn, flow_id)
    assert record is not None
    assert not case.failed, "; ".join(case.failed)
    expected = {None: F.DONE, TWICE: F.DONE, CANCEL: F.CANCELLED}.get(scenario.mishap, F.FAILED)
    assert record.state == expected, f"ended as {record.state}, not {expected}: {record.fault}"
    if expected == F.DONE:
        return
    after = case.snapshot()
    assert after == before, f"{scenario}: left behind\n{after}\nwhere it found\n{before}"
    if scenario.mishap != CANCEL:
        assert record.fault is not None and record.fault.step == scenario.step


def _sabotage(scenario: Scenario, case: Case) -> Flow:
    steps = []
    for step in scenario.flow.steps:
        changed = step
        if step.name == scenario.step:
            changed = dataclasses.replace(changed, do=_mishap(step, str(scenario.mishap), case), retries=0)
        if scenario.mishap == UNDO_TWICE and step.undo is not None:
            changed = dataclasses.replace(changed, undo=_twice(step.undo))
        steps.append(changed)
    return dataclasses.replace(scenario.flow, steps=tuple(steps))


def _mishap(step: Step, mishap: str, case: Case) -> Callable[[Run[Any]], Any]:
    def do(run: Run[Any]) -> Any:
        if mishap == FAIL_BEFORE:
            raise Fail("injected before")
        result = step.do(run)
        if mishap in (FAIL_AFTER, UNDO_TWICE):
            raise Fail("injected after")
        if mishap == CANCEL:
            with case.db.write() as conn:
                F.cancel(conn, run.subject_id, [run.kind])
        elif mishap == TWICE:
            once = case.snapshot()
            result = step.do(run)
            twice = case.snapshot()
            if once != twice:
                case.failed.append(f"{step.name} done twice leaves\n{twice}\nand done once\n{once}")
        return result

    return do


def _twice(undo: Callable[[Run[Any]], None]) -> Callable[[Run[Any]], None]:
    def again(run: Run[Any]) -> None:
        undo(run)
        undo(run)

    return again
