# SPDX-License-Identifier: Apache-2.0
"""What the conductor makes of what hosts report, and what its reconcilers put right."""

from __future__ import annotations

import datetime
import threading
from typing import Any

import pytest
import sqlalchemy as sa

from aerie_common import flow as F
from aerie_common.db import utcnow
from aerie_common.flow_runner import FlowRunner
from aerie_compute import reconcile, states
from aerie_compute.db import hosts, placement, records, servers, tables
from aerie_compute.db.servers import Usage
from aerie_compute.drivers.base import PowerState
from aerie_compute.flows import all_flows
from aerie_compute.flows.server_create import SERVER_CREATE

SERVER = "21111111-2222-3333-4444-555555555555"


@pytest.fixture
def built(world: Any) -> Any:
    """A world with one ACTIVE server."""
    facts = world.facts()
    row = {
        "id": SERVER, "project_id": world.ctx.project_id, "user_id": "u1", "name": "s", "hostname": "s",
        "vm_state": states.BUILDING, "task_state": states.SCHEDULING, "power_state": 0, "flavor_id": "f1",
        "image_id": facts["image"]["id"], "reservation_id": "r-1", "launch_index": 0, "spec": facts, "metadata": {},
        "tags": [], "network_info": [], "fault": None, "created_at": utcnow(),
    }  # fmt: skip
    with world.svc.db.write() as conn:
        assert servers.claim_usage(conn, row["project_id"], Usage(1, 1, 64), Usage(10, 20, 51200))
        servers.insert_many(conn, [row])
        F.start(conn, SERVER_CREATE, SERVER, {"networks": facts["networks"], "attempt": 1}, world.ctx)
    drain(world)
    assert show(world).vm_state == states.ACTIVE
    return world


def drain(world: Any) -> None:
    FlowRunner(world.svc.db, all_flows(), world.svc).drain(20)


def show(world: Any) -> servers.Server:
    with world.svc.db.read() as conn:
        found = servers.get(conn, SERVER, deleted=True)
    assert found is not None
    return found


def backdate(world: Any, table: sa.Table, minutes: int, database: str = "db", **more: Any) -> None:
    past = utcnow() - datetime.timedelta(minutes=minutes)
    with getattr(world.svc, database).write() as conn:
        conn.execute(sa.update(table).values(created_at=past, updated_at=past, **more))


def test_the_story_is_told_to_the_world(built: Any) -> None:
    events = built.rows(tables.OUTBOX, "event_type", "payload")
    [(_, payload)] = [e for e in events if e[0] == "compute.instance.create.end"]
    assert payload["instance_id"] == SERVER and payload["tenant_id"] == built.ctx.project_id
    assert payload["state"] == "active" and payload["host"] == "h1" and payload["hostname"] == "s"
    [address] = payload["fixed_ips"]
    assert address["version"] == 4 and address["label"] == "net" and address["port_id"] == built.ports()[0][0]


def test_a_guest_that_dies_is_shown_as_stopped(built: Any) -> None:
    built.driver.crash(SERVER)
    built.beat()
    assert show(built).vm_state == states.STOPPED
    built.conductor.power_changed("h1", SERVER, str(PowerState.RUNNING))
    assert (show(built).vm_state, show(built).power_state) == (states.ACTIVE, states.RUNNING)
    built.conductor.power_changed("elsewhere", SERVER, None)
    assert show(built).vm_state == states.ACTIVE, "another host has no say"


def test_power_is_left_alone_while_something_is_done(built: Any) -> None:
    with built.svc.db.write() as conn:
        assert servers.begin(conn, SERVER, states.VERBS["hard_reboot"])
    built.conductor.power_changed("h1", SERVER, str(PowerState.SHUTDOWN))
    assert (show(built).vm_state, show(built).task_state) == (states.ACTIVE, "rebooting_hard")


def test_after_a_boot_of_the_host_its_servers_run_again(built: Any) -> None:
    built.driver.stop(SERVER, 0)
    resources = built.driver.host_resources().to_document()
    built.conductor.heartbeat("h1", resources, {SERVER: "shutdown"}, "1", "another-boot")
    assert show(built).task_state == "rebooting_hard"
    drain(built)
    assert (show(built).vm_state, show(built).task_state) == (states.ACTIVE, None)
    assert built.driver.power_state(SERVER) == PowerState.RUNNING


def test_a_heartbeat_tells_who_belongs_where(built: Any) -> None:
    answer = built.conductor.heartbeat("h1", built.driver.host_resources().to_document(), {}, "1", "boot")
    assert answer == {"servers": [SERVER]}
    assert built.conductor.confirm_orphan("h1", SERVER) is False
    assert built.conductor.confirm_orphan("h2", SERVER) is True
    assert built.conductor.confirm_orphan("h1", "nobody") is True


def test_inventories_follow_the_host(world: Any) -> None:
    resources = world.driver.host_resources().to_document()
    before = {i[0]: i[1] for i in world.rows(tables.INVENTORIES, "resource_class", "capacity")}
    assert before["MEMORY_MB"] == resources["memory_mib"] - resources["reserved_memory_mib"]
    assert before["VCPU"] == (resources["vcpus"] - resources["reserved_vcpus"]) * 16
    world.conductor.heartbeat("h1", {**resources, "memory_mib": 4096, "reserved_memory_mib": 96}, {}, "1", "boot")
    after = {i[0]: i[1] for i in world.rows(tables.INVENTORIES, "resource_class", "capacity")}
    assert after == {**before, "MEMORY_MB": 4000}
    with world.svc.db.read() as conn:
        [agent] = hosts.services(conn, binary=hosts.AGENT_BINARY)
    assert agent.up(60)


def test_a_claim_never_passes_the_capacity(world: Any) -> None:
    with world.svc.api_db.read() as conn:
        [provider] = placement.providers(conn)
        capacity = {i.resource_class: i.capacity for i in placement.inventories(conn)}
    half = capacity["MEMORY_MB"] // 2 + 1
    with world.svc.api_db.write() as conn:
        assert placement.allocate(conn, "c1", provider.id, {"MEMORY_MB": half, "VCPU": 1}, project_id="p", user_id="u")
        assert placement.allocate(conn, "c1", provider.id, {"MEMORY_MB": half, "VCPU": 1}, project_id="p", user_id="u")
    with world.svc.api_db.write() as conn:
        assert not placement.allocate(
            conn, "c2", provider.id, {"MEMORY_MB": half, "VCPU": 1}, project_id="p", user_id="u"
        )
        conn.rollback()
    used = dict(world.rows(tables.INVENTORIES, "resource_class", "used"))
    assert (used["MEMORY_MB"], used["VCPU"]) == (half, 1)


def test_promises_to_nobody_are_taken_back(built: Any) -> None:
    with built.svc.api_db.write() as conn:
        [provider] = placement.providers(conn)
        assert placement.allocate(conn, "ghost", provider.id, {"VCPU": 1}, project_id="p", user_id="u")
    reconcile.stale_allocations(built.svc)
    assert len(built.rows(tables.CONSUMERS, "id")) == 2, "what is new may belong to something that is just beginning"
    backdate(built, tables.CONSUMERS, 10, "api_db")
    reconcile.stale_allocations(built.svc)
    assert built.rows(tables.CONSUMERS, "id") == [[SERVER]]
    assert dict(built.rows(tables.INVENTORIES, "resource_class", "used"))["VCPU"] == 1


@pytest.mark.parametrize(
    ("vm_state", "task_state", "expected"),
    [
        (states.BUILDING, states.SPAWNING, (states.ERROR, None)),
        (states.ACTIVE, "powering-off", (states.ACTIVE, None)),
        (states.ACTIVE, states.DELETING, (states.DELETED, None)),
    ],
)
def test_nothing_stays_in_a_state_nobody_works_on(built: Any, vm_state: str, task_state: str, expected: Any) -> None:
    backdate(built, tables.SERVERS, 10, vm_state=vm_state, task_state=task_state)
    reconcile.stuck_servers(built.svc)
    drain(built)
    assert (show(built).vm_state, show(built).task_state) == expected


def test_addresses_are_read_anew_when_they_change(built: Any) -> None:
    with built.svc.db.write() as conn:
        server = servers.get(conn, SERVER)
        assert server is not None
        wrong = [{**server.network_info[0], "mac": "00:00:00:00:00:00"}]
        servers.update(conn, SERVER, network_info=wrong)
        servers.mark_network_stale(conn, [SERVER])
    reconcile.stale_networks(built.svc)
    assert show(built).network_info == server.network_info
    with built.svc.db.read() as conn:
        assert servers.stale_networks(conn) == []


def test_a_port_of_strangers_that_claims_a_server_is_none_of_its_cards(built: Any) -> None:
    """Anybody may write any server's id into a port: its address, network and groups are not the server's for that."""
    stranger, network = built.network.caller("member"), {"network": {"name": "theirs"}}
    theirs = built.network.call("POST", "/v2.0/networks", network, by=stranger, expect=201).json["network"]["id"]
    subnet = {"network_id": theirs, "cidr": "10.66.0.0/24", "ip_version": 4}
    built.network.call("POST", "/v2.0/subnets", {"subnet": subnet}, by=stranger, expect=201)
    claim = {"network_id": theirs, "device_id": SERVER, "device_owner": "compute:nova"}
    port = built.network.call("POST", "/v2.0/ports", {"port": claim}, by=stranger, expect=201).json["port"]
    before = show(built).network_info
    assert len(before) == 1
    reconcile.refresh_networks(built.svc, [SERVER])
    assert show(built).network_info == before
    project_id = built.owner.project_id
    assert [p["id"] for p in built.svc.networks.ports_of(SERVER, project_id=project_id)] == [before[0]["port_id"]]
    assert port["id"] in {p["id"] for p in built.svc.networks.ports_of(SERVER)}


def test_console_tokens_open_one_console_once(built: Any) -> None:
    def remember(token: str, seconds: int, host: str = "h1") -> None:
        with built.svc.db.write() as conn:
            records.add_console_token(
                conn, token, server_id=SERVER, host=host, protocol="vnc", type="novnc", seconds=seconds
            )

    remember("good", 60)
    assert "good" not in str(built.rows(tables.CONSOLE_TOKENS, "token_hash")), "only its hash is kept"
    opened = built.conductor.validate_console("good")
    assert opened == {"server_id": SERVER, "host": "h1", "protocol": "vnc", "type": "novnc"}
    assert built.conductor.validate_console("good") is None
    remember("old", -1)
    assert built.conductor.validate_console("old") is None
    remember("moved", 60, host="h2")
    assert built.conductor.validate_console("moved") is None, "the server is elsewhere now"


def test_reports_are_kept_until_nobody_asks(world: Any) -> None:
    world.conductor.report("h1", SERVER, "op-1", "done", "running", None, {})
    world.conductor.report("h1", SERVER, "op-1", "failed", None, {"code": "x"}, {})
    with world.svc.db.read() as conn:
        kept = records.report(conn, "op-1")
    assert kept is not None and kept.outcome == "done", "the first report of an operation counts"
    with world.svc.db.write() as conn:
        past = utcnow() - datetime.timedelta(hours=7)
        conn.execute(sa.update(tables.AGENT_REPORTS).values(created_at=past))
    reconcile.old_records(world.svc)
    assert world.rows(tables.AGENT_REPORTS, "op_id") == []


def test_quota_holds_when_many_ask_at_once(world: Any) -> None:
    granted: list[bool] = []

    def ask() -> None:
        with world.svc.db.write() as conn:
            granted.append(servers.claim_usage(conn, "p", Usage(1, 2, 64), Usage(5, -1, 51200)))

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(granted) == 5
    with world.svc.db.read() as conn:
        assert servers.usage(conn, "p") == Usage(5, 10, 320)
