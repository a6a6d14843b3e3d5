# SPDX-License-Identifier: Apache-2.0
"""Port forwardings: single ports of a floating IP lead to ports of fixed addresses behind one router.

Invariant: a floating IP either leads to one port as a whole or has port forwardings, never both.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from oslo_db import exception as db_exc

from aerie_common.context import Context
from aerie_common.db import new_id, retried, utcnow
from aerie_common.errors import BadRequest
from aerie_common.listing import Listing
from aerie_network import states
from aerie_network.container import NetworkService
from aerie_network.db import routers as db
from aerie_network.db import tables
from aerie_network.db.query import Page
from aerie_network.db.routers import FloatingIp, PortForwarding
from aerie_network.errors import FloatingIPPortAlreadyAssociated, PortForwardingNotFound, PortHasBindingFloatingIP
from aerie_network.logic import floatingips, guard
from aerie_network.logic.work import Work, change, changed, owned
from aerie_network.schemas.routers import PORT_FORWARDING

PROTOCOLS = ("tcp", "udp", "sctp")
_W = tables.port_forwardings.c


def _floating(work_or_conn: Any, ctx: Context, floatingip_id: str, *, lock: bool = False) -> FloatingIp:
    conn = work_or_conn.conn if isinstance(work_or_conn, Work) else work_or_conn
    return db.FLOATING_IPS.get(conn, floatingip_id, *owned(ctx, tables.floatingips.c.project_id), lock=lock)


def page(svc: NetworkService, ctx: Context, floatingip_id: str, listing: Listing) -> Page[PortForwarding]:
    """The port forwardings of a floating IP."""
    with svc.db.read() as conn:
        _floating(conn, ctx, floatingip_id)
        return db.FORWARDINGS.page(conn, listing, _W.floatingip_id == floatingip_id)


def show(svc: NetworkService, ctx: Context, floatingip_id: str, forwarding_id: str) -> PortForwarding:
    """One port forwarding. Raises PortForwardingNotFound."""
    with svc.db.read() as conn:
        _floating(conn, ctx, floatingip_id)
        return db.FORWARDINGS.get(conn, forwarding_id, _W.floatingip_id == floatingip_id)


def _check(work: Work, ctx: Context, floating: FloatingIp, row: dict[str, Any]) -> str:
    """Where it leads exists and is reached through one router; returns that router."""
    if row["protocol"] not in PROTOCOLS:
        raise BadRequest(f"Port forwardings are for {', '.join(PROTOCOLS)}, not for {row['protocol']}.")
    wanted = floatingips.target(
        work, ctx, floating.floating_network_id, row["internal_port_id"], row.get("internal_ip_address")
    )
    row["internal_ip_address"] = wanted["fixed_ip_address"]
    for bound in db.floating_of_port(work.conn, [row["internal_port_id"]]):
        if bound.fixed_ip_address == row["internal_ip_address"]:
            raise PortHasBindingFloatingIP(
                address=floating.floating_ip_address,
                id=floating.id,
                port=row["internal_port_id"],
                fixed_ip=row["internal_ip_address"],
            )
    if floating.router_id is not None and floating.port_forwardings and wanted["router_id"] != floating.router_id:
        raise BadRequest(f"Floating IP {floating.id} forwards through router {floating.router_id} already.")
    return str(wanted["router_id"])


def _duplicate(row: dict[str, Any]) -> BadRequest:
    return BadRequest(
        "A duplicate port forwarding entry with same attributes already exists, conflicting values are "
        f"external_port {row['external_port']} or internal_port {row['internal_port']}, protocol {row['protocol']}"
    )


@retried
def create(svc: NetworkService, ctx: Context, floatingip_id: str, values: dict[str, Any]) -> PortForwarding:
    """Let one port of a floating IP lead somewhere."""
    now = utcnow()
    row = {**values, "id": new_id(), "floatingip_id": floatingip_id, "revision_number": 0, "created_at": now,
           "updated_at": now}  # fmt: skip
    with change(svc, ctx) as work:
        floating = _floating(work, ctx, floatingip_id, lock=True)
        guard.check_owner(svc, ctx, "create_floatingip_port_forwarding", floating)
        if floating.port_id is not None:
            raise FloatingIPPortAlreadyAssociated(
                address=floating.floating_ip_address,
                id=floating.id,
                port=floating.port_id,
                fixed_ip=floating.fixed_ip_address,
                network=floating.floating_network_id,
            )
        router_id = _check(work, ctx, floating, row)
        try:
            db.FORWARDINGS.insert(work.conn, row)
        except db_exc.DBDuplicateEntry:
            raise _duplicate(row) from None
        db.FLOATING_IPS.update(work.conn, floatingip_id, {"router_id": router_id, "status": states.ACTIVE})
        floatingips.touch(work, db.FLOATING_IPS.get(work.conn, floatingip_id))
        made = PortForwarding(**row)
        work.notify("port_forwarding.create.end", {"port_forwarding": PORT_FORWARDING.show(made, guard.EVERYTHING)})
    return made


@retried
def update(
    svc: NetworkService, ctx: Context, floatingip_id: str, forwarding_id: str, values: dict[str, Any]
) -> PortForwarding:
    """Change a port forwarding."""
    with change(svc, ctx) as work:
        floating = _floating(work, ctx, floatingip_id, lock=True)
        guard.check_owner(svc, ctx, "update_floatingip_port_forwarding", floating)
        before = db.FORWARDINGS.get(work.conn, forwarding_id, _W.floatingip_id == floatingip_id)
        new = changed(before, values)
        row = {name: getattr(before, name) for name in PORT_FORWARDING.fields} | new
        if "internal_port_id" in new and "internal_ip_address" not in new:
            row["internal_ip_address"] = None
        _check(work, ctx, floating, row)
        if new:
            try:
                db.FORWARDINGS.update(work.conn, forwarding_id, {k: v for k, v in row.items() if k != "id"})
            except db_exc.DBDuplicateEntry:
                raise _duplicate(row) from None
            floatingips.touch(work, floating)
        after = db.FORWARDINGS.get(work.conn, forwarding_id)
        work.notify("port_forwarding.update.end", {"port_forwarding": PORT_FORWARDING.show(after, guard.EVERYTHING)})
    return after


@retried
def delete(svc: NetworkService, ctx: Context, floatingip_id: str, forwarding_id: str) -> None:
    """Take a port forwarding away; the last one frees the floating IP for another use."""
    with change(svc, ctx) as work:
        floating = _floating(work, ctx, floatingip_id, lock=True)
        guard.check_owner(svc, ctx, "delete_floatingip_port_forwarding", floating)
        found = next((item for item in floating.port_forwardings if item.id == forwarding_id), None)
        if found is None:
            raise PortForwardingNotFound(id=forwarding_id)
        drop(work, [found])


def drop(work: Work, gone: Collection[PortForwarding]) -> None:
    """Port forwardings go, within a transaction."""
    for item in gone:
        floating = db.FLOATING_IPS.get(work.conn, item.floatingip_id)
        floatingips.touch(work, floating)
        db.FORWARDINGS.delete(work.conn, item.id)
        last = len(floating.port_forwardings) <= 1
        values = {"router_id": None, "status": states.DOWN} if last and floating.port_id is None else {}
        db.FLOATING_IPS.update(work.conn, floating.id, values)
        work.notify("port_forwarding.delete.end", {"port_forwarding_id": item.id})


def port_changed(work: Work, port_ids: Collection[str], addresses: Collection[str] | None = None) -> None:
    """Ports go, or lose addresses: what was forwarded to them is forwarded no longer."""
    drop(
        work,
        [
            item
            for item in db.forwardings_of_ports(work.conn, port_ids)
            if addresses is None or item.internal_ip_address in addresses
        ],
    )
