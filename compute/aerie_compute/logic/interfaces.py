# SPDX-License-Identifier: Apache-2.0
"""Cards of servers: what is plugged in, plugging in and taking out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aerie_common import flow as F
from aerie_common.context import Context
from aerie_common.db import retried, utcnow
from aerie_common.errors import AerieError, BadRequest, ServiceUnavailable
from aerie_common.flow import Fail, Retry
from aerie_compute import errors, states
from aerie_compute.db import actions, servers
from aerie_compute.db.servers import Server
from aerie_compute.fields import isoformat_micros
from aerie_compute.flows import ports
from aerie_compute.flows.server_interfaces import SERVER_ATTACH, SERVER_DETACH
from aerie_compute.logic import servers as logic

if TYPE_CHECKING:
    from aerie_compute.container import Compute

MAY_PLUG = (states.ACTIVE, states.PAUSED, states.STOPPED)


def list_(svc: Compute, ctx: Context, server_id: str) -> list[dict[str, Any]]:
    """The entries of the server's network information."""
    return logic.show(svc, ctx, server_id).network_info


def show(svc: Compute, ctx: Context, server_id: str, port_id: str) -> dict[str, Any]:
    """One of them. InterfaceNotFound."""
    return _entry(logic.show(svc, ctx, server_id), port_id)


def _entry(server: Server, port_id: str) -> dict[str, Any]:
    for entry in server.network_info:
        if entry["port_id"] == port_id:
            return entry
    raise errors.InterfaceNotFound(port_id=port_id, server_id=server.id)


def attach(
    svc: Compute,
    ctx: Context,
    server_id: str,
    *,
    port_id: str | None,
    network_id: str | None,
    fixed_ip: str | None,
    tag: str | None,
) -> dict[str, Any]:
    """Make or take a port, bind it to the server's host, and start to plug it in; the new entry."""
    server = logic.show(svc, ctx, server_id)
    logic.check_unlocked(ctx, server)
    if server.vm_state not in MAY_PLUG or server.task_state is not None or server.host is None:
        raise errors.InvalidState(
            action="attach_interface", server_id=server_id, attribute="vm_state", state=server.vm_state
        )
    if port_id is not None:
        wanted = {"port_id": port_id, "network_id": svc.networks.port(ctx, port_id)["network_id"], "tag": tag}
    elif network_id is not None:
        svc.networks.network(ctx, network_id)
        wanted = {"network_id": network_id, "fixed_ip": fixed_ip, "tag": tag}
    else:
        available = svc.networks.available(ctx)
        if len(available) != 1:
            raise errors.NetworkAmbiguous() if available else BadRequest("No network is available.")
        wanted = {"network_id": available[0]["id"], "tag": tag}
    entry = _plug(svc, ctx, server, wanted)
    try:
        _begin_attach(svc, ctx, server, entry)
    except AerieError:
        if entry["created"]:
            svc.networks.delete_port(entry["port_id"])
        else:
            svc.networks.release_port(entry["port_id"])
        raise
    return entry


def _plug(svc: Compute, ctx: Context, server: Server, wanted: dict[str, Any]) -> dict[str, Any]:
    body = ports.new_port(server, wanted, str(server.host), server.availability_zone)
    try:
        return ports.plug_one(svc, ctx, wanted, body)
    except Fail as e:
        raise BadRequest(e.message) from e
    except Retry as e:
        raise ServiceUnavailable(str(e)) from e


@retried
def _begin_attach(svc: Compute, ctx: Context, server: Server, entry: dict[str, Any]) -> None:
    with svc.db.write() as conn:
        for _ in range(20):
            now = logic.find(conn, ctx, server.id)
            if now.task_state == states.DELETING:
                raise errors.ServerNotFound(server_id=server.id)
            if servers.replace(conn, now, network_info=[*now.network_info, entry]):
                break
        else:
            raise errors.ServerNotReady(server_id=server.id)
        actions.start(conn, [server.id], "attach_interface", ctx)
        given = {"entry": entry, "asked_at": isoformat_micros(utcnow())}
        F.start(conn, SERVER_ATTACH, server.id, given, ctx, project_id=server.project_id)


@retried
def detach(svc: Compute, ctx: Context, server_id: str, port_id: str) -> None:
    """Start to take a card out. InterfaceNotFound, InvalidState."""
    with svc.db.write() as conn:
        server = logic.find(conn, ctx, server_id)
        logic.check_unlocked(ctx, server)
        entry = _entry(server, port_id)
        if server.vm_state not in MAY_PLUG or server.task_state is not None:
            raise errors.InvalidState(
                action="detach_interface", server_id=server_id, attribute="vm_state", state=server.vm_state
            )
        actions.start(conn, [server.id], "detach_interface", ctx)
        F.start(conn, SERVER_DETACH, server.id, {"entry": entry}, ctx, project_id=server.project_id)
