# SPDX-License-Identifier: Apache-2.0
"""The flow that gives a router its gateway, by brute force."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import sqlalchemy as sa

from aerie_common import flow as F
from aerie_common.context import admin_context
from aerie_common.flow import Flow
from aerie_common.testing.flows import Case, Scenario, check, scenarios
from aerie_network.db import tables
from aerie_network.flows import router_gateway
from aerie_network.flows.router_gateway import ROUTER_GATEWAY
from network_bench import Bench, make_bench


def snapshot(bench: Bench, router_id: str) -> Any:
    """What the flow may touch: the router's place and gateway, ports, addresses, quota. No ids of what comes anew."""
    r, p, a = tables.routers.c, tables.ports.c, tables.ip_allocations.c
    with bench.svc.db.read() as conn:
        router = conn.execute(sa.select(r.host, r.enable_snat, r.gw_port_id.is_(None)).where(r.id == router_id)).one()
        ports = conn.execute(sa.select(p.device_owner, p.host, p.vif_type).where(p.device_id == router_id)).all()
        addresses = conn.execute(
            sa.select(sa.func.count()).select_from(tables.ip_allocations).join(tables.ports, p.id == a.port_id)
            .where(p.device_id == router_id)
        ).scalar()  # fmt: skip
        used = conn.execute(sa.select(tables.quota_usages).where(tables.quota_usages.c.used != 0)).all()
        return tuple(router), sorted(map(tuple, ports)), addresses, sorted(map(tuple, used))


@pytest.mark.parametrize("scenario", scenarios(ROUTER_GATEWAY), ids=str)
def test_router_gateway(scenario: Scenario, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = make_bench(f"sqlite:///{tmp_path}/test.sqlite")
    external, router = bench.outside(), bench.make("router")

    def start(flow: Flow) -> str:
        with bench.svc.db.write() as conn:
            r = tables.routers
            conn.execute(sa.update(r).where(r.c.id == router["id"]).values(gw_network_id=external["id"]))
            return F.start(conn, flow, router["id"], {"network_id": external["id"]}, admin_context())

    monkeypatch.setattr(router_gateway, "POLL", 0.05)
    worker = Hasty(bench)
    worker.start()
    try:
        check(scenario, Case(bench.svc.db, bench.svc, start, lambda: snapshot(bench, router["id"])))
    finally:
        worker.stop()
    shown = bench.get(f"/routers/{router['id']}")["router"]["external_gateway_info"]
    if scenario.mishap in (None, "runs twice"):
        assert shown["external_fixed_ips"]
        [port] = bench.get(f"/ports?device_id={router['id']}", by=bench.admin)["ports"]
        assert port["status"] == "ACTIVE" and port["binding:host_id"] == "host-1"
    elif scenario.mishap != "is cancelled after its effect":
        assert shown is None
    bench.svc.db.dispose()


class Hasty:
    """The host's agent, at work beside the flow."""

    def __init__(self, bench: Bench) -> None:
        self._bench, self._done = bench, threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)

    def _loop(self) -> None:
        while not self._done.wait(0.02):
            self._bench.host.work()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._done.set()
        self._thread.join(5)


def test_the_request_books_and_the_flow_waits(database_url: str) -> None:
    bench = make_bench(database_url)
    router = bench.make("router", external_gateway_info={"network_id": bench.outside()["id"]})
    [fixed] = router["external_gateway_info"]["external_fixed_ips"]
    bench.host.work()
    bench.runner.drain(10)
    with bench.svc.db.read() as conn:
        [record] = F.list_flows(conn, subject_id=router["id"])
    assert record.state == F.DONE and record.results["await_agent"] == {"ready": True}
    assert bench.get(f"/routers/{router['id']}")["router"]["external_gateway_info"]["external_fixed_ips"] == [fixed]
    bench.svc.db.dispose()


def test_clearing_the_gateway_wins_over_the_flow(database_url: str) -> None:
    bench = make_bench(database_url)
    router = bench.make("router", external_gateway_info={"network_id": bench.outside()["id"]})
    bench.change("router", router["id"], external_gateway_info=None)
    bench.runner.drain(10)
    with bench.svc.db.read() as conn:
        [record] = F.list_flows(conn, subject_id=router["id"])
    assert record.state == F.CANCELLED
    assert bench.get(f"/ports?device_id={router['id']}", by=bench.admin)["ports"] == []
    again = bench.change("router", router["id"], external_gateway_info={"network_id": bench.outside()["id"]})
    bench.host.work()
    bench.runner.drain(10)
    assert bench.get(f"/routers/{router['id']}")["router"]["external_gateway_info"] == again["external_gateway_info"]
    bench.remove("router", router["id"])
    bench.runner.drain(10)
    bench.svc.db.dispose()
