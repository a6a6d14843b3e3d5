# SPDX-License-Identifier: Apache-2.0
"""Floating IPs: an address of an external network that leads to an address of a port behind a router."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import sqlalchemy as sa
from oslo_db import exception as db_exc

from aerie_common.context import Context
from aerie_common.db import new_id, retried, utcnow
from aerie_common.errors import BadRequest
from aerie_common.listing import Listing
from aerie_network import states
from aerie_network.container import NetworkService
from aerie_network.db import networks as networks_db
from aerie_network.db import ports as ports_db
from aerie_network.db import routers as db
from aerie_network.db import subnets as subnets_db
from aerie_network.db import tables
from aerie_network.db.networks import Network
from aerie_network.db.ports import Port
from aerie_network.db.query import Page
from aerie_network.db.routers import FloatingIp
from aerie_network.errors import (
    ExternalGatewayForFloatingIPNotFound,
    FipInUseByPortForwarding,
    FloatingIPPortAlreadyAssociated,
    InvalidIpForNetwork,
    IpAddressGenerationFailure,
    PortHasPortForwarding,
    PortNotFound,
)
from aerie_network.logic import guard, ports, security_groups
from aerie_network.logic.work import Work, change, owned, privileged, scope
from aerie_network.schemas.routers import FLOATING_IP


def _scope(ctx: Context) -> tuple[Any, ...]:
    return owned(ctx, tables.floatingips.c.project_id)


def page(svc: NetworkService, ctx: Context, listing: Listing) -> Page[FloatingIp]:
    """The floating IPs of the caller's project."""
    with svc.db.read() as conn:
        return db.FLOATING_IPS.page(conn, listing, *_scope(ctx))


def show(svc: NetworkService, ctx: Context, floatingip_id: str) -> FloatingIp:
    """One floating IP. Raises FloatingIPNotFound."""
    with svc.db.read() as conn:
        return db.FLOATING_IPS.get(conn, floatingip_id, *_scope(ctx))


def _payload(floating: FloatingIp) -> dict[str, Any]:
    return FLOATING_IP.show(floating, guard.EVERYTHING)


# ------------------------------------------------------------------------------------------------- where it leads


def target(work: Work, ctx: Context, network_id: str, port_id: str, wanted: str | None) -> dict[str, Any]:
    """port_id, fixed_ip_address and router_id for a port: one of its IPv4 addresses, reachable from the network."""
    conn = work.conn
    visible = scope(ctx, ports_db.visible(ctx.project_id))
    port = ports_db.STORE.find(conn, port_id, *visible)
    if port is None:
        raise PortNotFound(id=port_id)
    if port.project_id != ctx.project_id and not privileged(ctx):
        raise BadRequest(
            f"Cannot process floating IP association with Port {port_id}, since that port is owned by a different "
            "project."
        )
    addresses = [pair for pair in port.fixed_ips if ":" not in pair[1]]
    if wanted is not None:
        addresses = [pair for pair in addresses if pair[1] == wanted]
        if not addresses:
            raise BadRequest(f"Port {port_id} does not have fixed ip {wanted}.")
    if not addresses:
        raise BadRequest(f"Port {port_id} does not have a fixed IPv4 address to associate with a floating IP.")
    if len(addresses) > 1:
        raise BadRequest(
            f"Port {port_id} has multiple fixed IPv4 addresses. Must provide a specific IPv4 address when assigning a "
            "floating IP"
        )
    [(subnet_id, address)] = addresses
    routers = db.routers_of_subnet(conn, subnet_id, network_id)
    if not routers:
        raise ExternalGatewayForFloatingIPNotFound(network=network_id, subnet=subnet_id, port=port_id)
    return {"port_id": port_id, "fixed_ip_address": address, "router_id": routers[0]}


def _check_free(conn: sa.Connection, floating: dict[str, Any]) -> None:
    """No other floating IP of the network leads to this address."""
    f = tables.floatingips.c
    query = sa.select(f.id).where(
        f.floating_network_id == floating["floating_network_id"],
        f.port_id == floating["port_id"],
        f.fixed_ip_address == floating["fixed_ip_address"],
        f.id != floating["id"],
    )
    if conn.execute(query).first() is not None:
        raise _taken(floating)
    if any(
        item.internal_ip_address == floating["fixed_ip_address"]
        for item in db.forwardings_of_ports(conn, [floating["port_id"]])
    ):
        raise PortHasPortForwarding(
            address=floating["floating_ip_address"],
            id=floating["id"],
            port=floating["port_id"],
            fixed_ip=floating["fixed_ip_address"],
        )


def _taken(floating: dict[str, Any]) -> FloatingIPPortAlreadyAssociated:
    return FloatingIPPortAlreadyAssociated(
        address=floating["floating_ip_address"],
        id=floating["id"],
        port=floating["port_id"],
        fixed_ip=floating["fixed_ip_address"],
        network=floating["floating_network_id"],
    )


def touch(work: Work, floating: FloatingIp) -> None:
    """The router and the server concerned hear of a change."""
    if floating.router_id:
        router = db.STORE.find(work.conn, floating.router_id)
        if router is not None:
            work.router(router.id, router.host)
    if floating.port_id:
        port = ports_db.STORE.find(work.conn, floating.port_id)
        if port is not None:
            work.tell_compute("network-changed", port)


# ------------------------------------------------------------------------------------------------------ changes


@retried
def create(svc: NetworkService, ctx: Context, values: dict[str, Any], sent: dict[str, Any]) -> FloatingIp:
    """Take an address of an external network, and let it lead to a port where one is named."""
    values = dict(values)
    with change(svc, ctx) as work:
        conn = work.conn
        network_id = values["floating_network_id"]
        network = networks_db.STORE.get(conn, network_id, *scope(ctx, networks_db.visible(ctx.project_id)))
        if not network.external:
            raise BadRequest(f"Network {network_id} is not a valid external network.")
        caller = {"project_id": ctx.project_id, "tenant_id": ctx.project_id}
        guard.check_fields(svc, ctx, FLOATING_IP, sent, caller, new=True)
        security_groups.ensure_default(work, values["project_id"])
        subnets = [s for s in subnets_db.of_network(conn, network_id) if s.ip_version == 4]
        address, subnet_id = values.pop("floating_ip_address", None), values.pop("subnet_id", None)
        if subnet_id:
            subnets = [s for s in subnets if s.id == subnet_id]
            if not subnets:
                raise BadRequest(f"Subnet {subnet_id} is not an IPv4 subnet of network {network_id}.")
        if not subnets:
            raise BadRequest(f"Network {network_id} does not contain any IPv4 subnet")
        if address is not None:
            subnets = [s for s in subnets if _inside(s, address)]
            if not subnets:
                raise InvalidIpForNetwork(ip=address)
        else:
            subnets = [s for s in subnets if not s.service_types or states.FLOATING in s.service_types]
        floating_id, now = new_id(), utcnow()
        port = ports.make_own(
            work,
            network,
            device_owner=states.FLOATING,
            device_id=floating_id,
            project_id="",
            choices=[(tuple(subnets), address)],
        )
        if not port.fixed_ips:
            raise IpAddressGenerationFailure(network=network_id)
        row: dict[str, Any] = {
            "fixed_ip_address": None,
            "router_id": None,
            **values,
            "id": floating_id,
            "floating_ip_address": port.fixed_ips[0][1],
            "floating_port_id": port.id,
            "status": states.DOWN,
            "revision_number": 0,
            "created_at": now,
            "updated_at": now,
        }
        if row.get("port_id"):
            row |= target(work, ctx, network_id, row["port_id"], row["fixed_ip_address"])
            _check_free(conn, row)
        elif row["fixed_ip_address"]:
            raise BadRequest("fixed_ip_address cannot be specified without a port_id")
        try:
            db.FLOATING_IPS.insert(conn, row)
        except db_exc.DBDuplicateEntry:
            raise _taken(row) from None
        floating = db.FLOATING_IPS.get(conn, floating_id)
        touch(work, floating)
        work.charge(floating.project_id, "floatingip")
        work.notify("floatingip.create.end", {"floatingip": _payload(floating)})
    return floating


def _inside(subnet: subnets_db.Subnet, address: str) -> bool:
    try:
        return ip_address(address) in subnet.network
    except ValueError:
        return False


@retried
def update(
    svc: NetworkService, ctx: Context, floatingip_id: str, values: dict[str, Any], revision: int | None
) -> FloatingIp:
    """Let it lead to another port at once, or to none; without port_id only the description changes, and a change of
    nothing at all is how the first clients of this API took it off its port."""
    with change(svc, ctx) as work:
        conn = work.conn
        before = db.FLOATING_IPS.get(conn, floatingip_id, *_scope(ctx), lock=True)
        guard.check_owner(svc, ctx, "update_floatingip", before)
        guard.check_revision(before, revision)
        row: dict[str, Any] = {}
        values = values or {"port_id": None}
        if "description" in values:
            row["description"] = values["description"]
        # As in the upstream API a missing port_id beside other changes of the association disassociates nothing.
        if "port_id" in values or "fixed_ip_address" in values:
            port_id = values.get("port_id", before.port_id)
            if port_id is None:
                if values.get("fixed_ip_address"):
                    raise BadRequest("fixed_ip_address cannot be specified without a port_id")
                none = {"port_id": None, "fixed_ip_address": None}
                row |= none if before.port_forwardings else {**none, "router_id": None, "status": states.DOWN}
            else:
                if before.port_forwardings:
                    raise FipInUseByPortForwarding(id=floatingip_id)
                row |= target(work, ctx, before.floating_network_id, port_id, values.get("fixed_ip_address"))
                _check_free(
                    conn,
                    {"floating_network_id": before.floating_network_id, "id": before.id,
                     "floating_ip_address": before.floating_ip_address, **row},
                )  # fmt: skip
                if (row["port_id"], row["fixed_ip_address"], row["router_id"]) != (
                    before.port_id, before.fixed_ip_address, before.router_id,
                ):  # fmt: skip
                    row["status"] = states.DOWN
        if row:
            try:
                db.FLOATING_IPS.update(conn, floatingip_id, row)
            except db_exc.DBDuplicateEntry:
                raise _taken({**row, "id": before.id, "floating_network_id": before.floating_network_id,
                              "floating_ip_address": before.floating_ip_address}) from None  # fmt: skip
        after = db.FLOATING_IPS.get(conn, floatingip_id)
        if "port_id" in row:
            touch(work, before)
            touch(work, after)
        work.notify("floatingip.update.end", {"floatingip": _payload(after)})
    return after


def disassociate(work: Work, floating: FloatingIp) -> None:
    """Its port goes, or loses the address: it leads nowhere from now on."""
    row = {"port_id": None, "fixed_ip_address": None, "router_id": None, "status": states.DOWN}
    db.FLOATING_IPS.update(work.conn, floating.id, row)
    touch(work, floating)
    after = db.FLOATING_IPS.get(work.conn, floating.id)
    work.notify("floatingip.update.end", {"floatingip": _payload(after)})


@retried
def delete(svc: NetworkService, ctx: Context, floatingip_id: str) -> None:
    """Give the address back."""
    with change(svc, ctx) as work:
        conn = work.conn
        floating = db.FLOATING_IPS.get(conn, floatingip_id, *_scope(ctx), lock=True)
        guard.check_owner(svc, ctx, "delete_floatingip", floating)
        if floating.port_forwardings:
            raise FipInUseByPortForwarding(id=floatingip_id)
        _give_back(work, floating, networks_db.STORE.get(conn, floating.floating_network_id))


def _give_back(work: Work, floating: FloatingIp, network: Network) -> None:
    touch(work, floating)
    work.conn.execute(sa.delete(tables.tags).where(tables.tags.c.resource_id == floating.id))
    db.FLOATING_IPS.delete(work.conn, floating.id)
    own: Port | None = ports_db.STORE.find(work.conn, floating.floating_port_id)
    if own is not None:
        ports.remove(work, [own], network)
    work.charge(floating.project_id, "floatingip", -1)
    work.notify("floatingip.delete.end", {"floatingip_id": floating.id, "floatingip": _payload(floating)})


def give_back_unused(work: Work, network: Network) -> None:
    """The network goes, and with it the floating IPs of it that lead nowhere."""
    f = tables.floatingips.c
    for floating in db.FLOATING_IPS.all(
        work.conn, f.floating_network_id == network.id, f.port_id.is_(None), f.router_id.is_(None)
    ):
        _give_back(work, floating, network)
