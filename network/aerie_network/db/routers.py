# SPDX-License-Identifier: Apache-2.0
"""Routers and floating IPs."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from aerie_network import states
from aerie_network.db import tables
from aerie_network.db.query import Store, load_tags, only_tags
from aerie_network.errors import FloatingIPNotFound, PortForwardingNotFound, RouterNotFound

_R, _F, _P, _A = tables.routers.c, tables.floatingips.c, tables.ports.c, tables.ip_allocations.c
_W = tables.port_forwardings.c


@dataclass(frozen=True)
class Router:
    """A router; `gateway_ips` are the addresses of its gateway port."""

    id: str
    project_id: str
    name: str
    description: str
    admin_state_up: bool
    status: str
    gw_network_id: str | None
    gw_port_id: str | None
    enable_snat: bool
    host: str
    routes: list[dict[str, str]]
    availability_zone_hints: list[str]
    revision_number: int
    created_at: datetime.datetime
    updated_at: datetime.datetime
    gateway_ips: tuple[tuple[str, str], ...] = ()
    availability_zones: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class FloatingIp:
    """A floating IP."""

    id: str
    project_id: str
    description: str
    floating_network_id: str
    floating_ip_address: str
    floating_port_id: str
    port_id: str | None
    fixed_ip_address: str | None
    router_id: str | None
    status: str
    dns_name: str
    dns_domain: str
    revision_number: int
    created_at: datetime.datetime
    updated_at: datetime.datetime
    port_details: dict[str, Any] | None = None
    port_forwardings: tuple[PortForwarding, ...] = ()
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class PortForwarding:
    """One port of a floating IP and where it leads."""

    id: str
    floatingip_id: str
    internal_port_id: str
    internal_ip_address: str
    protocol: str
    internal_port: int
    external_port: int
    description: str
    revision_number: int
    created_at: datetime.datetime
    updated_at: datetime.datetime


def _children(conn: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    addresses: dict[str, list[tuple[str, str]]] = {}
    gateways = [row["gw_port_id"] for row in rows if row["gw_port_id"]]
    if gateways:
        query = sa.select(_A.port_id, _A.subnet_id, _A.ip_address).where(_A.port_id.in_(gateways))
        for port_id, subnet_id, address in conn.execute(query.order_by(_A.position)):
            addresses.setdefault(port_id, []).append((subnet_id, address))
    hosts = {row["host"] for row in rows if row["host"]}
    zones: dict[str, str] = {}
    if hosts:
        a = tables.agents.c
        query_zones = sa.select(a.host, a.availability_zone).where(a.host.in_(hosts), a.role == "l3")
        zones = {host: zone for host, zone in conn.execute(query_zones) if zone}
    tags = load_tags(conn, [row["id"] for row in rows])
    return [
        {
            "gateway_ips": tuple(addresses.get(row["gw_port_id"], ())),
            "availability_zones": (zones[row["host"]],) if row["host"] in zones else (),
            "tags": tuple(tags.get(row["id"], ())),
        }
        for row in rows
    ]


STORE = Store(
    tables.routers, Router, RouterNotFound, aliases={"external_gateway_info": "gw_network_id"}, children=_children
)


def _floating_children(conn: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    details: dict[str, dict[str, Any]] = {}
    wanted = {row["port_id"] for row in rows if row["port_id"]}
    if wanted:
        columns = (
            _P.id, _P.name, _P.network_id, _P.mac_address, _P.admin_state_up, _P.status, _P.device_id, _P.device_owner,
        )  # fmt: skip
        for row in conn.execute(sa.select(*columns).where(_P.id.in_(wanted))):
            values = dict(row._mapping)
            details[values.pop("id")] = values
    forwardings: dict[str, list[PortForwarding]] = {}
    query = sa.select(tables.port_forwardings).where(_W.floatingip_id.in_([row["id"] for row in rows]))
    for row in conn.execute(query.order_by(_W.external_port, _W.id)):
        forwardings.setdefault(row.floatingip_id, []).append(PortForwarding(**row._mapping))
    tags = only_tags(conn, rows)
    return [
        {
            **more,
            "port_details": details.get(row["port_id"]),
            "port_forwardings": tuple(forwardings.get(row["id"], ())),
        }
        for row, more in zip(rows, tags, strict=True)
    ]


FLOATING_IPS = Store(tables.floatingips, FloatingIp, FloatingIPNotFound, children=_floating_children)
FORWARDINGS = Store(tables.port_forwardings, PortForwarding, PortForwardingNotFound)


def interfaces(conn: sa.Connection, router_id: str) -> list[tuple[str, str, str, str]]:
    """(port, network, subnet, address) for each address of the router's internal interfaces."""
    query = (
        sa.select(_P.id, _P.network_id, _A.subnet_id, _A.ip_address)
        .join(tables.ip_allocations, _A.port_id == _P.id)
        .where(_P.device_id == router_id, _P.device_owner == states.ROUTER_INTERFACE)
        .order_by(_P.created_at, _P.id, _A.position)
    )
    return [(port, network, subnet, address) for port, network, subnet, address in conn.execute(query)]


def routers_of_subnet(conn: sa.Connection, subnet_id: str, external_network: str) -> list[str]:
    """Routers that join this subnet with this external network, the one with the subnet's gateway address first."""
    subnet = tables.subnets.c
    query = (
        sa.select(_R.id)
        .join(tables.ports, _P.device_id == _R.id)
        .join(tables.ip_allocations, _A.port_id == _P.id)
        .join(tables.subnets, subnet.id == _A.subnet_id)
        .where(
            _P.device_owner == states.ROUTER_INTERFACE,
            _A.subnet_id == subnet_id,
            _R.gw_network_id == external_network,
        )
        .order_by(sa.case((_A.ip_address == subnet.gateway_ip, 0), else_=1), _R.id)
    )
    return [router_id for (router_id,) in conn.execute(query)]


def gateway_of_subnet(conn: sa.Connection, subnet_ids: Iterable[str]) -> dict[str, str]:
    """Subnet -> router whose interface has an address in it."""
    query = (
        sa.select(_A.subnet_id, _P.device_id)
        .join(tables.ports, _P.id == _A.port_id)
        .where(_P.device_owner == states.ROUTER_INTERFACE, _A.subnet_id.in_(list(subnet_ids)))
    )
    return dict(conn.execute(query).tuples().all())


def floating_in_use_on_subnet(conn: sa.Connection, router_id: str, subnet_id: str) -> bool:
    """Does a floating IP lead through this router to an address of the subnet?"""
    query = (
        sa.select(_F.id)
        .join(tables.ip_allocations, sa.and_(_A.port_id == _F.port_id, _A.ip_address == _F.fixed_ip_address))
        .where(_F.router_id == router_id, _A.subnet_id == subnet_id)
    )
    forwarded = (
        sa.select(_W.id)
        .join(tables.floatingips, _F.id == _W.floatingip_id)
        .join(
            tables.ip_allocations, sa.and_(_A.port_id == _W.internal_port_id, _A.ip_address == _W.internal_ip_address)
        )
        .where(_F.router_id == router_id, _A.subnet_id == subnet_id)
    )
    return any(conn.execute(wanted.limit(1)).first() is not None for wanted in (query, forwarded))


def floating_in_use(conn: sa.Connection, router_id: str) -> bool:
    return conn.execute(sa.select(_F.id).where(_F.router_id == router_id).limit(1)).first() is not None


def floating_of_port(conn: sa.Connection, port_ids: Iterable[str]) -> list[FloatingIp]:
    """Floating IPs that lead to these ports."""
    return FLOATING_IPS.all(conn, _F.port_id.in_(list(port_ids)))


def forwardings_of_ports(conn: sa.Connection, port_ids: Iterable[str]) -> list[PortForwarding]:
    """Port forwardings that lead to these ports."""
    return FORWARDINGS.all(conn, _W.internal_port_id.in_(list(port_ids)))
