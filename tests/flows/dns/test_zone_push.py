# SPDX-License-Identifier: Apache-2.0
"""zone_push, by brute force: whatever goes wrong at whichever step, the record is what was asked for, and the next run
brings it to the servers."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from aerie_common import config
from aerie_common.context import Context
from aerie_common.flow import ACTIVE, Flow, list_flows
from aerie_common.flow_runner import FlowRunner
from aerie_common.testing.flows import CANCEL, TWICE, Case, Scenario, check, scenarios
from aerie_dns import logic, states
from aerie_dns.caller import Caller
from aerie_dns.container import Dns
from aerie_dns.daemons import SPEC
from aerie_dns.db import recordsets as db_recordsets
from aerie_dns.db import zones as db_zones
from aerie_dns.db.tables import METADATA
from aerie_dns.drivers import fake
from aerie_dns.flows import zone_push
from aerie_dns.flows.zone_push import ZONE_PUSH
from aerie_dns.reconcile import Recovery

OWNER = Caller(Context(project_id="p1", user_id="u1"), "p1")
NUMBERS = itertools.count(1)


@pytest.fixture
def svc(database_url: str) -> Iterator[Dns]:
    conf = config.load(SPEC.new_conf(), [])
    conf.set_override("connection", database_url, group="database")
    conf.set_override("driver", "fake", group="pool")
    conf.set_override("recovery_interval", -1, group="dns")
    made = Dns(conf)
    made.db.create_all(METADATA)
    fake._pools.pop("default", None)
    yield made
    made.db.dispose()


def content(svc: Dns) -> Any:
    """What is asked for: everything but how far it has got."""
    with svc.db.read() as conn:
        zones = [(z.name, z.ttl, z.serial, z.record_count) for z in db_zones.NOUN.all(conn)]
        sets = [(s.name, s.type, tuple(s.records), s.ttl, s.serial) for s in db_recordsets.NOUN.all(conn)]
        return sorted(zones), sorted(sets), sorted(db_zones.usages(conn).items())


def settle(svc: Dns) -> None:
    Recovery(svc).converge()
    FlowRunner(svc.db, [ZONE_PUSH], svc).drain(20)


def prepare(svc: Dns, what: str) -> Any:
    """A world in which `what` can be asked for, and the function that asks; it returns the zone's id."""
    name = f"z{next(NUMBERS)}.example."

    def create() -> str:
        return logic.zones.create(svc, OWNER, name=name, email="a@example.org").id

    if what == "create":
        return create
    zone_id = create()
    added = logic.recordsets.create(svc, OWNER, zone_id, name=f"a.{name}", type="A", records=["192.0.2.1"])
    settle(svc)

    def update() -> str:
        return logic.recordsets.update(svc, OWNER, zone_id, added.id, records=["192.0.2.2"]).zone_id

    def delete() -> str:
        return logic.zones.delete(svc, OWNER, zone_id).id

    return update if what == "update" else delete


def is_served(svc: Dns, zone_id: str) -> None:
    """The servers hold exactly what the database says, or nothing of a zone that is gone."""
    server = fake.server("default")
    with svc.db.read() as conn:
        zone = db_zones.NOUN.get(conn, id=zone_id)
        sets = db_recordsets.in_zone(conn, zone_id)
    if zone is None:
        assert server.zones == {} and sets == []
        return
    assert (zone.status, zone.action, zone.served_serial) == (states.ACTIVE, states.NONE, zone.serial)
    assert {s.status for s in sets} == {states.ACTIVE}
    assert server.serials[zone.name] == zone.serial
    wanted = {(s.name, s.type): zone_push.served_rrset(zone, s) for s in sets}
    assert server.zones[zone.name] == wanted


@pytest.mark.parametrize("what", ["create", "update", "delete"])
@pytest.mark.parametrize("scenario", scenarios(ZONE_PUSH), ids=str)
def test_zone_push(svc: Dns, scenario: Scenario, what: str) -> None:
    ask, asked = prepare(svc, what), []

    def start(flow: Flow) -> str:
        asked.append(ask())
        with svc.db.read() as conn:
            [record] = list_flows(conn, states=ACTIVE, subject_id=asked[0])
        return record.id  # of the same kind and version as `flow`: the runner takes that one for it

    check(scenario, Case(svc.db, svc, start, lambda: content(svc)))
    if scenario.mishap not in (None, TWICE):
        with svc.db.read() as conn:
            zone = db_zones.NOUN.get(conn, id=asked[0])
        assert zone is not None and zone.status in (states.ERROR, states.PENDING)
        assert scenario.mishap == CANCEL or "injected" in (zone.fault or "")
    settle(svc)
    is_served(svc, asked[0])


def test_a_hard_delete_forgets_a_zone_whose_servers_are_dead(svc: Dns) -> None:
    zone_id = prepare(svc, "update")()
    settle(svc)
    server = fake.server("default")
    server.fail = "dead"
    try:
        logic.zones.delete(svc, dataclasses.replace(OWNER, hard_delete=True), zone_id)
        steps = tuple(dataclasses.replace(step, timeout=0.1) for step in ZONE_PUSH.steps)
        FlowRunner(svc.db, [dataclasses.replace(ZONE_PUSH, steps=steps)], svc).drain(10)
    finally:
        server.fail = None
    assert content(svc)[:2] == ([], [])
