# SPDX-License-Identifier: Apache-2.0
"""Every flow of the compute service, by brute force: whatever step fails, is cancelled or runs twice, nothing is left
behind and nothing is made twice."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from aerie_common import flow as F
from aerie_common.db import utcnow
from aerie_common.flow import Flow
from aerie_common.flow_runner import FlowRunner
from aerie_common.testing.flows import Case, Scenario, _sabotage, check, scenarios
from aerie_compute import states
from aerie_compute.db import records, servers
from aerie_compute.db.servers import Usage
from aerie_compute.drivers.base import HostExhausted, InvalidGuestState
from aerie_compute.fields import isoformat_micros
from aerie_compute.flows import all_flows
from aerie_compute.flows.server_create import SERVER_CREATE
from aerie_compute.flows.server_delete import SERVER_DELETE
from aerie_compute.flows.server_interfaces import SERVER_ATTACH
from aerie_compute.flows.server_operate import SERVER_OPERATE
from aerie_compute.flows.server_resize import SERVER_RESIZE
from aerie_compute.flows.server_snapshot import SERVER_SNAPSHOT
from aerie_compute.logic import interfaces

SERVER = "11111111-2222-3333-4444-555555555555"


def write_server(world: Any, **spec: Any) -> None:
    """The row of a new server, counted against its project."""
    facts = {**world.facts(), **spec}
    row = {
        "id": SERVER, "project_id": world.ctx.project_id, "user_id": "u1", "name": "s", "hostname": "s",
        "vm_state": states.BUILDING, "task_state": states.SCHEDULING, "power_state": 0, "flavor_id": "f1",
        "image_id": facts["image"]["id"], "reservation_id": "r-1", "launch_index": 0, "spec": facts, "metadata": {},
        "tags": [], "network_info": [], "fault": None, "created_at": utcnow(),
    }  # fmt: skip
    with world.svc.db.write() as conn:
        assert servers.claim_usage(conn, row["project_id"], Usage(1, 1, 64), Usage(10, 20, 51200))
        servers.insert_many(conn, [row])


def start(world: Any, flow: Flow, **given: Any) -> str:
    with world.svc.db.write() as conn:
        return F.start(conn, flow, SERVER, given, world.ctx)


def build(world: Any) -> None:
    """A server that is ACTIVE, by the flow."""
    write_server(world)
    start(world, SERVER_CREATE, networks=world.facts()["networks"], attempt=1)
    FlowRunner(world.svc.db, all_flows(), world.svc).drain(20)
    assert show(world).vm_state == states.ACTIVE


def show(world: Any) -> servers.Server:
    with world.svc.db.read() as conn:
        found = servers.get(conn, SERVER, deleted=True)
    assert found is not None
    return found


def begin(world: Any, verb: str) -> None:
    with world.svc.db.write() as conn:
        assert servers.begin(conn, SERVER, states.VERBS[verb])


@pytest.mark.parametrize("scenario", scenarios(SERVER_CREATE), ids=str)
def test_create(world: Any, scenario: Any) -> None:
    write_server(world)
    networks = world.facts()["networks"]
    check(
        scenario,
        Case(world.svc.db, world.svc, lambda flow: start(world, flow, networks=networks, attempt=3), world.snapshot),
    )
    server = show(world)
    if scenario.mishap in (None, "runs twice"):
        assert (server.vm_state, server.task_state) == (states.ACTIVE, None)
        assert len(world.ports()) == 1 and list(world.driver.list_guests()) == [SERVER]
    elif "cancel" not in scenario.mishap:
        assert (server.vm_state, server.task_state) == (states.ERROR, None) and server.fault is not None


@pytest.mark.parametrize("scenario", scenarios(SERVER_RESIZE), ids=str)
def test_resize(world: Any, scenario: Any) -> None:
    build(world)
    begin(world, "resize")
    old = show(world).flavor
    new = {**old, "id": "f2", "name": "big", "vcpus": 2, "memory_mb": 128, "root_gb": 2}
    with world.svc.db.write() as conn:
        assert servers.claim_usage(conn, world.ctx.project_id, Usage(0, 1, 64), Usage(10, 20, 51200))
        migration_id = records.add_migration(
            conn, server_id=SERVER, project_id=world.ctx.project_id, user_id="u1", type="resize", status="migrating",
            source_host="h1", dest_host="h1", old_flavor=old, new_flavor=new,
        )  # fmt: skip
    given = {"migration_id": migration_id, "old_flavor": old, "new_flavor": new, "was_active": True,
             "project_id": world.ctx.project_id, "user_id": "u1"}  # fmt: skip

    def snapshot() -> dict[str, Any]:
        found: dict[str, Any] = world.snapshot()
        del found["usage"]  # given back by the last callbacks
        return found

    check(scenario, Case(world.svc.db, world.svc, lambda flow: start(world, flow, **given), snapshot))
    ended_well = scenario.mishap in (None, "runs twice")
    assert show(world).vm_state == (states.RESIZED if ended_well else states.ACTIVE)
    [usage] = world.snapshot()["usage"]
    assert usage[1:] == ([1, 2, 128] if ended_well else [1, 1, 64])


@pytest.mark.parametrize("scenario", scenarios(SERVER_SNAPSHOT), ids=str)
def test_snapshot(world: Any, scenario: Any) -> None:
    build(world)
    begin(world, "createImage")
    check(scenario, Case(world.svc.db, world.svc, lambda flow: start(world, flow, image_id="image-1"), world.snapshot))
    if scenario.mishap != "is cancelled after its effect":
        assert (show(world).vm_state, show(world).task_state) == (states.ACTIVE, None)


@pytest.mark.parametrize("scenario", scenarios(SERVER_ATTACH), ids=str)
def test_attach(world: Any, scenario: Any) -> None:
    build(world)
    before = world.snapshot()
    server = show(world)
    entry = interfaces._plug(world.svc, world.ctx, server, {"network_id": world.network_id})
    with world.svc.db.write() as conn:
        servers.replace(conn, server, network_info=[*server.network_info, entry])

    def snapshot() -> Any:
        """What the API call made belongs to the flow: a flow that is undone takes it away."""
        return world.snapshot()

    given = {"entry": entry, "asked_at": isoformat_micros(utcnow())}
    if scenario.mishap in (None, "runs twice"):
        check(scenario, Case(world.svc.db, world.svc, lambda flow: start(world, flow, **given), snapshot))
        assert len(show(world).network_info) == 2 and len(world.driver._guests[SERVER].nics) == 2
    else:
        taken = iter([before])
        check(
            scenario,
            Case(
                world.svc.db,
                world.svc,
                lambda flow: start(world, flow, **given),
                lambda: next(taken, None) or world.snapshot(),
            ),
        )


@pytest.mark.parametrize("step", [None, *(step.name for step in SERVER_DELETE.steps)])
@pytest.mark.parametrize("mishap", ["fails before its effect", "fails after its effect", "runs twice"])
def test_delete_always_ends_in_nothing(world: Any, step: str | None, mishap: str) -> None:
    """A delete is never undone: when a step fails for good the server is ERROR, and deleting it again ends it."""
    build(world)
    with world.svc.db.write() as conn:
        assert servers.begin_delete(conn, SERVER)
    case = Case(world.svc.db, world.svc, lambda flow: "", world.snapshot)
    flow = _sabotage(Scenario(SERVER_DELETE, step, mishap if step else None), case)
    start(world, flow, asked_at=isoformat_micros(utcnow()))
    FlowRunner(world.svc.db, [flow], world.svc).drain(20)
    assert not case.failed, case.failed
    if step and mishap.startswith("fails"):
        assert (show(world).vm_state, show(world).task_state) == (states.ERROR, None)
        with world.svc.db.write() as conn:
            assert servers.begin_delete(conn, SERVER)
        start(world, SERVER_DELETE, asked_at=isoformat_micros(utcnow()))
        FlowRunner(world.svc.db, [SERVER_DELETE], world.svc).drain(20)
    assert show(world).deleted
    left = world.snapshot()
    assert left["guests"] == {} and left["ports"] == [] and left["allocations"] == [] and left["consumers"] == []
    assert {used for _, used in left["used"]} == {0} and left["usage"] == [[world.ctx.project_id, 0, 0, 0]]


@pytest.mark.parametrize("step", [step.name for step in SERVER_CREATE.steps])
def test_delete_wins_over_a_build(world: Any, step: str) -> None:
    """The owner deletes the server while a step of its build is under way."""
    write_server(world)

    def interrupted(real: Any) -> Any:
        def do(run: Any) -> Any:
            result = real(run)
            with world.svc.db.write() as conn:
                if servers.begin_delete(conn, SERVER):
                    after = F.cancel(conn, SERVER)
                    F.start(
                        conn, SERVER_DELETE, SERVER, {"asked_at": isoformat_micros(utcnow())}, world.ctx, after=after
                    )
            return result

        return do

    steps = [dataclasses.replace(s, do=interrupted(s.do)) if s.name == step else s for s in SERVER_CREATE.steps]
    flow = dataclasses.replace(SERVER_CREATE, steps=tuple(steps))
    start(world, flow, networks=world.facts()["networks"], attempt=1)
    FlowRunner(world.svc.db, [flow, SERVER_DELETE], world.svc).drain(20)
    assert show(world).deleted
    left = world.snapshot()
    assert left["guests"] == {} and left["ports"] == [] and left["allocations"] == []
    assert left["usage"] == [[world.ctx.project_id, 0, 0, 0]]


def test_a_host_that_fails_is_left_out_next_time(world: Any) -> None:
    """The only host refuses the guest: the second attempt finds no host, and the fault says so."""
    write_server(world)
    for _ in range(5):
        world.driver.fail_next("prepare", HostExhausted("full"))
    start(world, SERVER_CREATE, networks=world.facts()["networks"], attempt=1)
    FlowRunner(world.svc.db, all_flows(), world.svc).drain(30)
    server = show(world)
    assert server.vm_state == states.ERROR and server.fault is not None
    assert "have failed to build it" in server.fault["message"]
    left = world.snapshot()
    assert left["guests"] == {} and left["ports"] == [] and left["allocations"] == []


@pytest.mark.parametrize("verb", ["stop", "pause", "suspend", "reboot", "hard_reboot", "rebuild"])
def test_operations(world: Any, verb: str) -> None:
    build(world)
    begin(world, verb)
    args = {"timeout": 0, "kind": "hard", "power": "running"}
    start(world, SERVER_OPERATE, verb=verb, args=args)
    FlowRunner(world.svc.db, all_flows(), world.svc).drain(20)
    wanted = states.VERBS[verb].done
    assert (show(world).vm_state, show(world).task_state) == (wanted, None)


def test_a_failed_operation_leaves_the_server_as_it_was(world: Any) -> None:
    build(world)
    begin(world, "pause")
    world.driver.fail_next("pause", InvalidGuestState("no"))
    start(world, SERVER_OPERATE, verb="pause", args={})
    FlowRunner(world.svc.db, all_flows(), world.svc).drain(20)
    assert (show(world).vm_state, show(world).task_state) == (states.ACTIVE, None)
