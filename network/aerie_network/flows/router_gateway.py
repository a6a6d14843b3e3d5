# SPDX-License-Identifier: Apache-2.0
"""Giving a router its external side: address, host, and the word of the agent that it works.

The request that sets a gateway books the address itself (its reply shows it); the flow finds that done, or does it.
A host that does not answer is no failure: the gateway stays booked, its port DOWN, and comes up with the next host.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from aerie_common.flow import Fail, Fault, Flow, Pending, Run, Step
from aerie_network.container import NetworkService
from aerie_network.db import networks as networks_db
from aerie_network.db import routers as db
from aerie_network.db import tables
from aerie_network.db.routers import Router
from aerie_network.errors import IpAddressGenerationFailure
from aerie_network.logic import routers
from aerie_network.logic.routers import Gateway
from aerie_network.logic.work import Work, change

POLL = 5.0
PATIENCE = 24
"""Polls until the flow ends although no agent has answered; reports that come later are heard all the same."""


def _router(work: Work, run: Run[NetworkService]) -> Router | None:
    return db.STORE.find(work.conn, run.subject_id, lock=True)


def allocate_address(run: Run[NetworkService]) -> dict[str, Any]:
    """Book an address of the external network on a port of the router."""
    with change(run.services, run.ctx) as work:
        router = _router(work, run)
        if router is None:
            raise Fail("The router is gone.", code="router_gone")
        network = networks_db.STORE.find(work.conn, run.input["network_id"])
        if network is None:
            raise Fail("The external network is gone.", code="network_gone")
        wanted = Gateway(network.id, tuple(run.input["fixed_ips"]) if run.input.get("fixed_ips") else None)
        try:
            router = routers.plug_gateway(work, router, network, wanted)
        except IpAddressGenerationFailure as e:
            raise Fail(str(e), code=e.code) from e
        return {"port_id": router.gw_port_id}


def release_address(run: Run[NetworkService]) -> None:
    """Give the address back, unless the router has another gateway by now."""
    with change(run.services, run.ctx) as work:
        router = _router(work, run)
        mine = (run.results.get("allocate_address") or {}).get("port_id") or run.input.get("port_id")
        if router is None or router.gw_port_id is None:
            return
        if mine is None or router.gw_port_id == mine:
            routers.unplug_gateway(work, router)


def choose_host(run: Run[NetworkService]) -> dict[str, Any]:
    """See to it that the router is on a host."""
    with change(run.services, run.ctx) as work:
        router = _router(work, run)
        if router is None:
            raise Fail("The router is gone.", code="router_gone")
        had = bool(router.host)
        return {"host": routers.schedule(work, router).host, "had": had}


def leave_host(run: Run[NetworkService]) -> None:
    """A router that came to its host only for this gateway, and has nothing else there, leaves it."""
    with change(run.services, run.ctx) as work:
        router = _router(work, run)
        if router is None or not router.host or run.input.get("had_host"):
            return
        if not db.interfaces(work.conn, router.id):
            routers.schedule(work, router, host="")


def await_agent(run: Run[NetworkService]) -> dict[str, Any]:
    """Wait until the host's agent says that the gateway works."""
    with run.services.db.read() as conn:
        router = db.STORE.find(conn, run.subject_id)
        if router is None or router.gw_port_id is None:
            raise Fail("The gateway is gone.", code="gateway_gone")
        v = tables.provisioning.c
        waiting = conn.execute(sa.select(v.party).where(v.port_id == router.gw_port_id)).first()
        ready = bool(router.host) and waiting is None
    if not ready and run.attempt < PATIENCE:
        raise Pending(POLL, f"waits for the network agent of {router.host or 'some host'}")
    return {"ready": ready}


def ready(conn: sa.Connection, run: Run[NetworkService]) -> None:
    """The gateway is in place: the rest of the cloud hears of it."""
    router = db.STORE.find(conn, run.subject_id)
    if router is not None:
        work = Work(run.services, run.ctx, conn)
        work.notify("router.update.end", {"router": routers.payload(router)})
        work.finish()


def failed(conn: sa.Connection, run: Run[NetworkService], fault: Fault) -> None:
    """The router has no gateway; what the caller asked for is taken back."""
    router = db.STORE.find(conn, run.subject_id)
    if router is not None and router.gw_port_id is None and router.gw_network_id == run.input["network_id"]:
        db.STORE.update(conn, router.id, {"gw_network_id": None})


ROUTER_GATEWAY = Flow(
    "router_gateway",
    version=1,
    deadline=900,
    steps=(
        Step("allocate_address", do=allocate_address, undo=release_address, retries=2),
        Step("choose_host", do=choose_host, undo=leave_host, retries=2),
        Step("await_agent", do=await_agent, timeout=300),
    ),
    on_done=ready,
    on_failed=failed,
)
