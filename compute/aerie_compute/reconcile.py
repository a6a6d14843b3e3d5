# SPDX-License-Identifier: Apache-2.0
"""Convergers without input: each compares two things that shall be equal and makes them so. Safe to run at any time, by
any conductor."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aerie_common import flow as F
from aerie_common.clients import RemoteError
from aerie_common.context import admin_context
from aerie_common.db import retried, utcnow
from aerie_common.errors import ServiceUnavailable
from aerie_compute import network_info, states
from aerie_compute.db import hosts, placement, records, servers
from aerie_compute.db.servers import Filter, Server
from aerie_compute.fields import isoformat_micros
from aerie_compute.flows import agent
from aerie_compute.flows.server_delete import SERVER_DELETE

if TYPE_CHECKING:
    from aerie_compute.container import Compute

LOG = logging.getLogger(__name__)
GRACE = datetime.timedelta(minutes=2)
REPORTS_KEPT = datetime.timedelta(hours=6)


def refresh_networks(svc: Compute, server_ids: Sequence[str]) -> None:
    """Read the ports and addresses of servers from the network service, and remember them."""
    found = _servers(svc, server_ids)
    if not found:
        return
    api = svc.networks
    try:
        ports: dict[str, list[dict[str, object]]] = {}
        for port in api.ports_of_many([s.id for s in found]):
            ports.setdefault(port["device_id"], []).append(port)
        floating = api.floating_ips([p["id"] for items in ports.values() for p in items])  # type: ignore[misc]
        for server in found:
            _remember(svc, server, ports.get(server.id, []), floating)
    except (RemoteError, ServiceUnavailable) as e:
        LOG.warning("Addresses of %d servers cannot be read now: %s", len(found), e)


@retried
def _servers(svc: Compute, server_ids: Sequence[str]) -> list[Server]:
    with svc.db.read() as conn:
        return servers.get_many(conn, list(server_ids))


def _remember(
    svc: Compute, server: Server, ports: list[dict[str, object]], floating: dict[str, list[dict[str, str]]]
) -> None:
    old = {e["port_id"]: e for e in server.network_info}
    brought = {w.get("port_id") for w in server.spec.get("networks", ())}
    # Anybody may write any server's id into a port: of other projects' only what was put into this server counts.
    known = old.keys() | brought
    by_id = {str(p["id"]): p for p in ports if p["project_id"] == server.project_id or p["id"] in known}
    order = [e["port_id"] for e in server.network_info if e["port_id"] in by_id]
    order += [i for i in by_id if i not in order]
    info = []
    for port_id in order:
        port = by_id[port_id]
        network_id = str(port["network_id"])
        created = old[port_id]["created"] if port_id in old else port_id not in brought
        info.append(
            network_info.entry(
                port, svc.networks.describe(network_id), svc.networks.subnets(network_id), created=created,
                floating=floating.get(port_id, ()), tag=old.get(port_id, {}).get("tag"),
            )
        )  # fmt: skip
    _write(svc, server, info)


@retried
def _write(svc: Compute, server: Server, info: list[dict[str, object]]) -> None:
    with svc.db.write() as conn:
        if info == server.network_info:
            servers.fresh_network(conn, server.id)
        elif servers.replace(conn, server, network_info=info, network_stale=False):
            changed = servers.get(conn, server.id)
            if changed is not None:
                agent.notify(conn, "update", changed, admin_context())


def stale_networks(svc: Compute) -> None:
    """Servers whose addresses changed while nobody listened."""
    with svc.db.read() as conn:
        wanted = servers.stale_networks(conn)
    if wanted:
        refresh_networks(svc, wanted)


def stale_allocations(svc: Compute) -> None:
    """Promises to servers that are not there are taken back; so are claims of resizes that are over."""
    with svc.api_db.read() as conn:
        consumers = placement.consumer_ids(conn, utcnow() - GRACE)
    for i in range(0, len(consumers), 500):
        some = consumers[i : i + 500]
        with svc.db.read() as conn:
            alive = {s.id for s in servers.get_many(conn, some)}
            resizing = {
                m.uuid for m in records.migrations(conn) if m.status in ("migrating", "finished") and m.server_id
            }
            gone = [c for c in some if c not in alive and c not in resizing]
            gone = [c for c in gone if not F.list_flows(conn, states=F.ACTIVE, subject_id=c, limit=1)]
        for consumer_id in gone:
            LOG.warning("Allocation of %s, which is not there, is taken back", consumer_id)
            with svc.api_db.write() as conn:
                placement.release(conn, consumer_id)
                records.drop_decision(conn, consumer_id)


def stuck_servers(svc: Compute) -> None:
    """No server stays in a task state that no flow works on: a build becomes ERROR, a delete is done again, anything
    else is over."""
    with svc.db.read() as conn:
        busy = servers.list_(conn, Filter(task_states=_TASKS))
        stuck = [
            s
            for s in busy
            if s.changed_at < utcnow() - GRACE and not F.list_flows(conn, states=F.ACTIVE, subject_id=s.id, limit=1)
        ]
    for server in stuck:
        LOG.warning("Server %s is in %s, on which nobody works", server.id, server.task_state)
        _unstick(svc, server)


_TASKS = (
    states.SCHEDULING,
    states.NETWORKING,
    states.SPAWNING,
    states.DELETING,
    *(v.task_state for v in states.VERBS.values()),
)


@retried
def _unstick(svc: Compute, server: Server) -> None:
    ctx = admin_context()
    with svc.db.write() as conn:
        if server.task_state == states.DELETING:
            asked = {"asked_at": isoformat_micros(utcnow())}
            F.start(conn, SERVER_DELETE, server.id, asked, ctx, project_id=server.project_id)
        elif server.vm_state == states.BUILDING:
            message = "The build was given up: nobody works on it any more."
            fault = {"code": 500, "message": message, "details": f"task state {server.task_state}",
                     "created": isoformat_micros(utcnow())}  # fmt: skip
            servers.settle(conn, server.id, of=(server.task_state,), vm_state=states.ERROR, fault=fault)
        else:
            servers.settle(conn, server.id, of=(server.task_state,))


def old_records(svc: Compute) -> None:
    """Reports of agents that nobody will ask for any more go."""
    with svc.db.write() as conn:
        records.prune_reports(conn, utcnow() - REPORTS_KEPT)


@retried
def seen(svc: Compute, binary: str, version: str) -> None:
    """This daemon lives."""
    with svc.db.write() as conn:
        hosts.seen(conn, svc.conf.host, binary, version)


def converge(svc: Compute) -> None:
    """All of them."""
    stale_networks(svc)
    stuck_servers(svc)
    stale_allocations(svc)
    old_records(svc)
