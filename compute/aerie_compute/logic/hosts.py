# SPDX-License-Identifier: Apache-2.0
"""The cloud as its administrators see it: daemons, hypervisors, aggregates and zones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from oslo_db import exception as db_exc

from aerie_common.context import Context
from aerie_common.db import retried
from aerie_common.errors import BadRequest, Conflict
from aerie_compute import errors
from aerie_compute.db import aggregates, hosts, placement, servers
from aerie_compute.db.aggregates import Aggregate
from aerie_compute.db.hosts import Node, ServiceRow
from aerie_compute.scheduler.select import DISK, MEMORY, VCPU

if TYPE_CHECKING:
    from aerie_compute.container import Compute


# ------------------------------------------------------------------------------------------------------------ services


@retried
def services(
    svc: Compute, ctx: Context, *, host: str | None = None, binary: str | None = None
) -> tuple[list[ServiceRow], dict[str, str]]:
    """Daemons, and the zone of each compute host."""
    with svc.db.read() as conn:
        found = hosts.services(conn, host=host, binary=binary)
    with svc.api_db.read() as conn:
        zones = aggregates.zones(conn)
    return found, zones


@retried
def agents(svc: Compute) -> list[ServiceRow]:
    """The agents of compute hosts."""
    with svc.db.read() as conn:
        return hosts.services(conn, binary=hosts.AGENT_BINARY)


@retried
def update_service(
    svc: Compute,
    ctx: Context,
    service_id: str,
    *,
    status: str | None = None,
    reason: str | None = None,
    forced_down: bool | None = None,
) -> ServiceRow:
    """Enable, disable or call down. ServiceNotFound."""
    with svc.db.write() as conn:
        found = _service(conn, service_id)
        values: dict[str, Any] = {}
        if status is not None:
            if found.binary != hosts.AGENT_BINARY:
                raise BadRequest(
                    f"Updating a {found.binary} service is not supported. Only nova-compute services can be updated."
                )
            if reason is not None and status == "enabled":
                raise BadRequest("Specifying disabled_reason with status enabled is invalid.")
            values |= {"disabled": status == "disabled", "disabled_reason": reason if status == "disabled" else None}
        elif reason is not None:
            raise BadRequest("A disabled_reason needs the status disabled.")
        if forced_down is not None:
            values["forced_down"] = forced_down
        hosts.update_service(conn, found.id, **values)
        return _service(conn, service_id)


@retried
def update_service_by_host(svc: Compute, ctx: Context, host: str, binary: str, **values: Any) -> ServiceRow:
    """The same, addressed as microversions before 2.53 do."""
    with svc.db.read() as conn:
        found = hosts.services(conn, host=host, binary=binary)
    if not found:
        raise errors.HostNotFound(f"Could not find binary {binary} on host {host}.")
    return update_service(svc, ctx, found[0].id, **values)


@retried
def delete_service(svc: Compute, ctx: Context, service_id: str) -> None:
    """Forget a daemon; of a compute host everything, if no server is on it."""
    with svc.db.write() as conn:
        found = _service(conn, service_id)
        if found.binary == hosts.AGENT_BINARY:
            if servers.ids_on_host(conn, found.host):
                raise Conflict(
                    "Unable to delete compute service that is hosting instances. Migrate or delete them first."
                )
            nodes = hosts.nodes(conn, host=found.host)
            hosts.delete_node(conn, found.host)
        else:
            nodes = []
        hosts.delete_service(conn, found.id)
    with svc.api_db.write() as conn:
        for node in nodes:
            placement.delete_provider(conn, node.id)
        aggregates.forget_host(conn, found.host)


def _service(conn: Any, service_id: str) -> ServiceRow:
    found = hosts.service(conn, service_id)
    if found is None:
        raise errors.ServiceNotFound(service_id=service_id)
    return found


# --------------------------------------------------------------------------------------------------------- hypervisors


@dataclass(frozen=True)
class Hypervisor:
    """A node with what is known around it."""

    node: Node
    service: ServiceRow | None
    up: bool
    used: Mapping[str, int]
    servers: tuple[tuple[str, str], ...]
    running: int
    busy: int


@retried
def hypervisors(
    svc: Compute, ctx: Context, *, pattern: str | None = None, with_servers: bool = False
) -> list[Hypervisor]:
    """All hypervisors whose name contains `pattern`, in a fixed number of statements."""
    with svc.db.read() as conn:
        nodes = [n for n in hosts.nodes(conn) if pattern is None or pattern.lower() in n.hypervisor_hostname.lower()]
        agents = {s.host: s for s in hosts.services(conn, binary=hosts.AGENT_BINARY)}
        counts = servers.count_by_host(conn)
        on_hosts: dict[str, list[tuple[str, str]]] = {}
        if with_servers:
            for server in servers.list_(conn, servers.Filter(equal={"host": [n.host for n in nodes] or ["-"]})):
                on_hosts.setdefault(str(server.host), []).append((server.id, server.name))
    with svc.api_db.read() as conn:
        used: dict[str, dict[str, int]] = {}
        for i in placement.inventories(conn):
            used.setdefault(i.provider_id, {})[i.resource_class] = i.used
    found = []
    for node in nodes:
        agent = agents.get(node.host)
        many, busy = counts.get(node.host, (0, 0))
        found.append(
            Hypervisor(
                node, agent, agent is not None and agent.up(svc.conf.service_down_time), used.get(node.id, {}),
                tuple(on_hosts.get(node.host, ())), many, busy,
            )
        )  # fmt: skip
    return found


def hypervisor(svc: Compute, ctx: Context, hypervisor_id: str, *, with_servers: bool = False) -> Hypervisor:
    """One of them, by id. HypervisorNotFound."""
    for found in hypervisors(svc, ctx, with_servers=with_servers):
        if hypervisor_id in (found.node.id, str(number(found.node))):
            return found
    raise errors.HypervisorNotFound(hypervisor_id=hypervisor_id)


@retried
def check_host(svc: Compute, ctx: Context, host: str) -> None:
    """HostNotFound when no agent ever reported from there."""
    with svc.db.read() as conn:
        if not hosts.nodes(conn, host=host):
            raise errors.HostNotFound(host=host)


@retried
def usage_of_host(svc: Compute, ctx: Context, host: str) -> dict[str, tuple[int, int, int]]:
    """CPUs, MiB of memory and GiB of disk: what the host has, what is claimed, what its servers may use at most, and
    that by project. HostNotFound."""
    with svc.db.read() as conn:
        nodes = hosts.nodes(conn, host=host)
        if not nodes:
            raise errors.HostNotFound(host=host)
        there = servers.on_host(conn, host)
    with svc.api_db.read() as conn:
        used = {i.resource_class: i.used for i in placement.inventories(conn) if i.provider_id == nodes[0].id}
    node = nodes[0]
    usage = {
        "(total)": (node.vcpus, node.memory_mb, node.disk_gb),
        "(used_now)": (used.get(VCPU, 0), used.get(MEMORY, 0), used.get(DISK, 0)),
        "(used_max)": (0, 0, 0),
    }
    for server in there:
        flavor = server.flavor
        for who in ("(used_max)", server.project_id):
            cpu, memory, disk = usage.get(who, (0, 0, 0))
            size = flavor["root_gb"] + flavor["ephemeral_gb"]
            usage[who] = (cpu + flavor["vcpus"], memory + flavor["memory_mb"], disk + size)
    return usage


def number(node: Node) -> int:
    """The whole number by which microversions before 2.53 know a hypervisor."""
    return int(node.id.replace("-", "")[:7], 16)


def statistics(svc: Compute, ctx: Context) -> dict[str, int]:
    """Sums over all hypervisors that are not disabled."""
    total = dict.fromkeys(
        ("count", "vcpus", "vcpus_used", "memory_mb", "memory_mb_used", "free_ram_mb", "local_gb", "local_gb_used",
         "free_disk_gb", "running_vms", "current_workload", "disk_available_least"), 0
    )  # fmt: skip
    for h in hypervisors(svc, ctx):
        if h.service is None or h.service.disabled:
            continue
        figures = {
            "count": 1, "vcpus": h.node.vcpus, "vcpus_used": h.used.get(VCPU, 0), "memory_mb": h.node.memory_mb,
            "memory_mb_used": h.used.get(MEMORY, 0), "free_ram_mb": h.node.memory_mb - h.used.get(MEMORY, 0),
            "local_gb": h.node.disk_gb, "local_gb_used": h.used.get(DISK, 0),
            "free_disk_gb": h.node.disk_gb - h.used.get(DISK, 0), "running_vms": h.running,
            "current_workload": h.busy, "disk_available_least": h.node.disk_available_least_gb,
        }  # fmt: skip
        for name, value in figures.items():
            total[name] += value
    return total


# --------------------------------------------------------------------------------------------------- aggregates, zones


@retried
def aggregate_list(svc: Compute, ctx: Context) -> list[Aggregate]:
    with svc.api_db.read() as conn:
        return aggregates.list_(conn)


@retried
def aggregate(svc: Compute, ctx: Context, key: str) -> Aggregate:
    """AggregateNotFound."""
    with svc.api_db.read() as conn:
        return _aggregate(conn, key)


def _aggregate(conn: Any, key: str) -> Aggregate:
    found = aggregates.get(conn, int(key)) if key.isascii() and key.isdigit() and len(key) < 10 else None
    if found is None:
        raise errors.AggregateNotFound(aggregate_id=key)
    return found


@retried
def create_aggregate(svc: Compute, ctx: Context, name: str, zone: str | None) -> Aggregate:
    """AggregateExists when the name is taken."""
    try:
        with svc.api_db.write() as conn:
            key = aggregates.insert(conn, name, {aggregates.ZONE: zone} if zone else {})
            return _aggregate(conn, str(key))
    except db_exc.DBDuplicateEntry as e:
        raise errors.AggregateExists(name=name) from e


@retried
def update_aggregate(
    svc: Compute, ctx: Context, key: str, *, name: str | None = None, zone: str | None = None
) -> Aggregate:
    """Rename, or change the zone."""
    try:
        with svc.api_db.write() as conn:
            found = _aggregate(conn, key)
            values: dict[str, Any] = {}
            if name is not None:
                values["name"] = name
            if zone is not None:
                _check_zone(conn, found, found.hosts, zone)
                values["metadata"] = {**found.metadata, aggregates.ZONE: zone}
            aggregates.update(conn, found.id, **values)
            return _aggregate(conn, key)
    except db_exc.DBDuplicateEntry as e:
        raise errors.AggregateExists(name=name) from e


@retried
def set_aggregate_metadata(svc: Compute, ctx: Context, key: str, items: Mapping[str, str | None]) -> Aggregate:
    """Add or change items; None removes one."""
    with svc.api_db.write() as conn:
        found = _aggregate(conn, key)
        if items.get(aggregates.ZONE):
            _check_zone(conn, found, found.hosts, str(items[aggregates.ZONE]))
        merged = {k: v for k, v in {**found.metadata, **items}.items() if v is not None}
        aggregates.update(conn, found.id, metadata=merged)
        return _aggregate(conn, key)


def _check_zone(conn: Any, changed: Aggregate, members: tuple[str, ...], zone: str) -> None:
    """A host is in one zone only."""
    for other in aggregates.list_(conn):
        if other.id != changed.id and other.zone and other.zone != zone and set(other.hosts) & set(members):
            raise Conflict(
                f"Cannot update aggregate {changed.id}. Reason: a host of it is in another availability zone."
            )


@retried
def delete_aggregate(svc: Compute, ctx: Context, key: str) -> None:
    """AggregateInUse while it has hosts."""
    with svc.api_db.write() as conn:
        found = _aggregate(conn, key)
        if found.hosts:
            raise errors.AggregateInUse(aggregate_id=key)
        aggregates.delete(conn, found.id)


@retried
def add_host(svc: Compute, ctx: Context, key: str, host: str) -> Aggregate:
    """HostNotFound, AggregateHostExists, Conflict when the host is in another zone."""
    with svc.db.read() as conn:
        if not hosts.nodes(conn, host=host):
            raise errors.HostNotFound(host=host)
    with svc.api_db.write() as conn:
        found = _aggregate(conn, key)
        if host in found.hosts:
            raise errors.AggregateHostExists(aggregate_id=key, host=host)
        if found.zone:
            _check_zone(conn, found, (host,), found.zone)
        aggregates.add_host(conn, found.id, host)
        return _aggregate(conn, key)


@retried
def remove_host(svc: Compute, ctx: Context, key: str, host: str) -> Aggregate:
    """AggregateHostNotFound."""
    with svc.api_db.write() as conn:
        found = _aggregate(conn, key)
        if not aggregates.remove_host(conn, found.id, host):
            raise errors.AggregateHostNotFound(aggregate_id=key, host=host)
        return _aggregate(conn, key)


@dataclass(frozen=True)
class Zone:
    """An availability zone with its compute hosts: host -> (enabled, up, last seen)."""

    name: str
    services: tuple[ServiceRow, ...]
    available: bool


@retried
def zones(svc: Compute, ctx: Context) -> list[Zone]:
    """Every zone. One is available while a host of it is enabled."""
    with svc.db.read() as conn:
        found = hosts.services(conn, binary=hosts.AGENT_BINARY)
    with svc.api_db.read() as conn:
        of_host = aggregates.zones(conn)
    members: dict[str, list[ServiceRow]] = {}
    for service in found:
        members.setdefault(of_host.get(service.host, svc.conf.default_availability_zone), []).append(service)
    members.setdefault(svc.conf.default_availability_zone, [])
    return [
        Zone(name, tuple(rows), not rows or any(not row.disabled for row in rows))
        for name, rows in sorted(members.items())
    ]
