# SPDX-License-Identifier: Apache-2.0
"""A server goes: guest, ports, allocation, in this order, and its row last. Delete wins over every other flow."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import sqlalchemy as sa

from aerie_common.db import retried, utcnow
from aerie_common.flow import Fault, Flow, Pending, Run, Step
from aerie_compute import states
from aerie_compute.db import actions, groups, placement, records, servers
from aerie_compute.flows import agent, ports
from aerie_compute.flows.server_create import fault_document, story

if TYPE_CHECKING:
    from aerie_compute.container import Compute

PATIENCE = 120.0
"""Seconds after which a host that does not remove the guest is not waited for any more: what it keeps is found and
removed when it compares its guests with the servers that belong on it."""

Deleting: TypeAlias = "Run[Compute]"


def remove_guest(run: Deleting) -> dict[str, Any]:
    """Have the host forget the server."""
    began = utcnow()
    server = agent.load(run.services, run.subject_id)
    if server is not None and server.host is not None:
        try:
            agent.remove_guest(run, server.host, name="guest")
        except Pending:
            if utcnow() - datetime.datetime.fromisoformat(run.input["asked_at"]) < datetime.timedelta(seconds=PATIENCE):
                raise
    return agent.timed(run, "guest", began)


def drop_ports(run: Deleting) -> dict[str, Any]:
    """Delete the ports made for the server, give back those that were brought."""
    began = utcnow()
    server = agent.load(run.services, run.subject_id)
    if server is not None:
        if server.network_info or server.spec.get("networks"):
            ports.unplug(run.services, run.ctx, server.id, ports.brought_ports(server))
    return agent.timed(run, "ports", began)


@retried
def release(run: Deleting) -> None:
    """Give back what the cloud had promised it."""
    server = agent.load(run.services, run.subject_id)
    resize = server.spec.get("resize") if server else None
    with run.services.api_db.write() as conn:
        placement.release(conn, run.subject_id)
        if resize:
            placement.release(conn, resize["migration_id"])
        records.drop_decision(conn, run.subject_id)
        groups.remove_member(conn, run.subject_id)


def gone(conn: sa.Connection, run: Deleting) -> None:
    """The server is gone."""
    server = servers.get(conn, run.subject_id)
    if server is None or not servers.mark_deleted(conn, server):
        return
    records.drop_events(conn, server.id)
    records.drop_console_tokens(conn, server.id)
    actions.finish(conn, server.id, run.ctx.request_id, story(run, None, EVENT_NAMES))
    agent.notify(conn, "delete.end", server, run.ctx, state=states.DELETED, deleted_at=utcnow().isoformat())


def stuck(conn: sa.Connection, run: Deleting, fault: Fault) -> None:
    """Something refuses for good: the server is ERROR and says what; it may be deleted again."""
    shown = fault_document(fault)
    servers.settle(conn, run.subject_id, of=(states.DELETING,), vm_state=states.ERROR, fault=shown)
    actions.finish(conn, run.subject_id, run.ctx.request_id, story(run, fault, EVENT_NAMES))


EVENT_NAMES = {"guest": "compute_terminate_instance", "ports": "network_deallocate_for_instance"}

SERVER_DELETE = Flow(
    "server_delete",
    version=1,
    deadline=86400,
    steps=(
        Step("guest", do=remove_guest, timeout=600, retries=10),
        Step("ports", do=drop_ports, timeout=43200, retries=10),
        Step("release", do=release, timeout=3600, retries=10),
    ),
    on_done=gone,
    on_failed=stuck,
)
