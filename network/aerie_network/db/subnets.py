# SPDX-License-Identifier: Apache-2.0
"""Subnets."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

import sqlalchemy as sa

from aerie_network import states
from aerie_network.db import networks, tables
from aerie_network.db.query import Condition, Store, Values, load_tags
from aerie_network.errors import SubnetNotFound

_S, _A, _P = tables.subnets.c, tables.ip_allocations.c, tables.ports.c


@dataclass(frozen=True)
class Subnet:
    """A subnet; `external` is its network's."""

    id: str
    project_id: str
    network_id: str
    name: str
    description: str
    ip_version: int
    cidr: str
    gateway_ip: str | None
    enable_dhcp: bool
    ipv6_ra_mode: str | None
    ipv6_address_mode: str | None
    dns_nameservers: list[str]
    host_routes: list[dict[str, str]]
    allocation_pools: list[dict[str, str]]
    subnetpool_id: str | None
    service_types: list[str]
    dns_publish_fixed_ip: bool
    revision_number: int
    created_at: datetime.datetime
    updated_at: datetime.datetime
    external: bool = False
    tags: tuple[str, ...] = ()

    @cached_property
    def network(self) -> IPv4Network | IPv6Network:
        return ip_network(self.cidr)

    @property
    def auto_address(self) -> bool:
        """Do hosts make their addresses from their MACs here?"""
        return self.ipv6_address_mode in ("slaac", "dhcpv6-stateless")


def _children(conn: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    tags = load_tags(conn, [row["id"] for row in rows])
    n = tables.networks.c
    wanted = {row["network_id"] for row in rows}
    external = dict(conn.execute(sa.select(n.id, n.external).where(n.id.in_(wanted))).tuples().all())
    return [
        {"tags": tuple(tags.get(row["id"], ())), "external": external.get(row["network_id"], False)} for row in rows
    ]


def _of_shared_networks(values: Values) -> Condition:
    n = tables.networks.c
    shared = _S.network_id.in_(sa.select(n.id).where(n.shared.is_(sa.true())))
    return shared if values[-1].lower() in ("true", "1", "yes") else sa.not_(shared)


def _of_external_networks(values: Values) -> Condition:
    n = tables.networks.c
    external = _S.network_id.in_(sa.select(n.id).where(n.external.is_(sa.true())))
    return external if values[-1].lower() in ("true", "1", "yes") else sa.not_(external)


STORE = Store(
    tables.subnets,
    Subnet,
    SubnetNotFound,
    filters={"shared": _of_shared_networks, "router:external": _of_external_networks},
    children=_children,
)


def visible(project_id: str | None) -> Condition:
    """Subnets a project may see: its own, and those of networks it may use."""
    n = tables.networks.c
    usable = sa.select(n.id).where(
        sa.or_(
            n.project_id == (project_id or ""),
            n.shared.is_(sa.true()),
            n.id.in_(networks.granted("network", "access_as_shared", project_id)),
            n.id.in_(networks.granted("network", "access_as_external", project_id)),
        )
    )
    return sa.or_(_S.project_id == (project_id or ""), _S.network_id.in_(usable))


def plain(conn: sa.Connection, *where: Condition) -> list[Subnet]:
    """Subnets in order of creation, by one query (without tags)."""
    rows = conn.execute(sa.select(tables.subnets).where(*where).order_by(_S.created_at, _S.id))
    return [Subnet(**row._mapping) for row in rows]


def of_network(conn: sa.Connection, network_id: str) -> list[Subnet]:
    return plain(conn, _S.network_id == network_id)


def by_ids(conn: sa.Connection, ids: Iterable[str]) -> dict[str, Subnet]:
    wanted = set(ids)
    return {s.id: s for s in plain(conn, _S.id.in_(wanted))} if wanted else {}


def in_use(conn: sa.Connection, subnet: Subnet) -> bool:
    """Does a port that will not go with the subnet have an address of it?"""
    ignored = [states.DHCP] if not subnet.auto_address else None
    query = sa.select(_A.port_id).join(tables.ports, _P.id == _A.port_id).where(_A.subnet_id == subnet.id)
    if ignored is None:  # addresses made from MACs go with the subnet; routers' interfaces do not
        query = query.where(_P.device_owner.in_([states.ROUTER_INTERFACE, states.ROUTER_GATEWAY]))
    else:
        query = query.where(_P.device_owner.not_in(ignored))
    return conn.execute(query.limit(1)).first() is not None


def holder(conn: sa.Connection, subnet_id: str, address: str) -> tuple[str, str] | None:
    """(port id, device owner) of the port with this address."""
    query = (
        sa.select(_P.id, _P.device_owner)
        .join(tables.ip_allocations, _A.port_id == _P.id)
        .where(_A.subnet_id == subnet_id, _A.ip_address == address)
    )
    row = conn.execute(query).first()
    return (row[0], row[1]) if row else None


def usage(conn: sa.Connection, subnet_ids: Iterable[str]) -> dict[str, int]:
    """Addresses given out, by subnet."""
    query = sa.select(_A.subnet_id, sa.func.count()).where(_A.subnet_id.in_(list(subnet_ids))).group_by(_A.subnet_id)
    return dict(conn.execute(query).tuples().all())
