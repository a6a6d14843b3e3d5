# SPDX-License-Identifier: Apache-2.0
"""Daemons and hypervisor hosts as they report themselves."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import sqlalchemy as sa

from aerie_common.db import insert_if_absent, new_id, utcnow
from aerie_compute.db.tables import NODES, SERVICES

AGENT_BINARY = "nova-compute"
"""What the API calls the compute agent: clients ask for it by this name."""


@dataclass(frozen=True, slots=True)
class ServiceRow:
    """A daemon on a host."""

    id: str
    host: str
    binary: str
    disabled: bool
    disabled_reason: str | None
    forced_down: bool
    last_seen_up: datetime.datetime | None
    version: str
    created_at: datetime.datetime
    updated_at: datetime.datetime | None

    def up(self, down_after: float) -> bool:
        """Has it been heard of within `down_after` seconds, and has nobody said it is down?"""
        if self.forced_down or self.last_seen_up is None:
            return False
        return (utcnow() - self.last_seen_up).total_seconds() <= down_after


@dataclass(frozen=True, slots=True)
class Node:
    """A hypervisor host: what it has in all. `resources` is `drivers.base.HostResources` as it came."""

    id: str
    host: str
    hypervisor_hostname: str
    hypervisor_type: str
    hypervisor_version: int
    host_ip: str
    vcpus: int
    memory_mb: int
    disk_gb: int
    disk_available_least_gb: int
    resources: dict[str, Any]
    boot_id: str
    created_at: datetime.datetime
    updated_at: datetime.datetime | None


_SERVICE = sa.select(*(SERVICES.c[f.name] for f in fields(ServiceRow)))
_NODE = sa.select(*(NODES.c[f.name] for f in fields(Node)))


def services(conn: sa.Connection, *, host: str | None = None, binary: str | None = None) -> list[ServiceRow]:
    query = _SERVICE.order_by(SERVICES.c.binary, SERVICES.c.host)
    if host is not None:
        query = query.where(SERVICES.c.host == host)
    if binary is not None:
        query = query.where(SERVICES.c.binary == binary)
    return [ServiceRow(*row) for row in conn.execute(query)]


def closed(conn: sa.Connection) -> dict[str, tuple[bool, bool]]:
    """host -> (disabled, called down) of agents that an administrator has taken out of use."""
    c = SERVICES.c
    query = sa.select(c.host, c.disabled, c.forced_down).where(
        c.binary == AGENT_BINARY, sa.or_(c.disabled == sa.true(), c.forced_down == sa.true())
    )
    return {host: (bool(disabled), bool(down)) for host, disabled, down in conn.execute(query)}


def service(conn: sa.Connection, service_id: str) -> ServiceRow | None:
    row = conn.execute(_SERVICE.where(SERVICES.c.id == service_id)).first()
    return None if row is None else ServiceRow(*row)


def seen(conn: sa.Connection, host: str, binary: str, version: str) -> None:
    """A daemon says that it lives."""
    values = {"last_seen_up": utcnow(), "version": version}
    key = (SERVICES.c.host == host, SERVICES.c.binary == binary)
    if conn.execute(sa.update(SERVICES).where(*key).values(values)).rowcount == 0:
        new = {"id": new_id(), "host": host, "binary": binary, "disabled": False, "forced_down": False}
        insert_if_absent(conn, SERVICES, {**new, **values, "created_at": utcnow()})


def update_service(conn: sa.Connection, service_id: str, **values: Any) -> None:
    conn.execute(sa.update(SERVICES).where(SERVICES.c.id == service_id).values(values))


def delete_service(conn: sa.Connection, service_id: str) -> None:
    conn.execute(sa.delete(SERVICES).where(SERVICES.c.id == service_id))


def nodes(conn: sa.Connection, *, host: str | None = None) -> list[Node]:
    query = _NODE.order_by(NODES.c.hypervisor_hostname)
    if host is not None:
        query = query.where(NODES.c.host == host)
    return [Node(*row) for row in conn.execute(query)]


def node(conn: sa.Connection, node_id: str) -> Node | None:
    row = conn.execute(_NODE.where(NODES.c.id == node_id)).first()
    return None if row is None else Node(*row)


def report_node(conn: sa.Connection, host: str, resources: Mapping[str, Any], boot_id: str) -> Node:
    """Write down what a host says it has. The node keeps its id."""
    values = {
        "hypervisor_hostname": resources["hostname"],
        "hypervisor_type": resources["hypervisor_type"],
        "hypervisor_version": resources["hypervisor_version"],
        "host_ip": resources.get("host_ip", ""),
        "vcpus": resources["vcpus"],
        "memory_mb": resources["memory_mib"],
        "disk_gb": resources["disk_gib"],
        "disk_available_least_gb": resources["disk_available_least_gib"],
        "resources": dict(resources),
        "boot_id": boot_id,
    }
    if conn.execute(sa.update(NODES).where(NODES.c.host == host).values(values)).rowcount == 0:
        insert_if_absent(conn, NODES, {"id": new_id(), "host": host, **values, "created_at": utcnow()})
    return Node(*conn.execute(_NODE.where(NODES.c.host == host)).one())


def delete_node(conn: sa.Connection, host: str) -> None:
    conn.execute(sa.delete(NODES).where(NODES.c.host == host))
