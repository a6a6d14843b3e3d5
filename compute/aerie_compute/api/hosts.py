# SPDX-License-Identifier: Apache-2.0
"""Handlers of daemons, hypervisors, aggregates, zones, server groups, migrations and external events."""

from __future__ import annotations

import time
from typing import Any

import orjson

from aerie_common import schema
from aerie_common.errors import BadRequest, NotFound
from aerie_common.http import Reply, Request
from aerie_compute.db.aggregates import Aggregate
from aerie_compute.db.groups import ServerGroup
from aerie_compute.db.hosts import ServiceRow
from aerie_compute.db.records import Migration
from aerie_compute.errors import HypervisorNotFound
from aerie_compute.fields import isoformat_micros
from aerie_compute.logic import actions, events, groups, hosts, servers
from aerie_compute.logic.hosts import Hypervisor
from aerie_compute.scheduler.select import DISK, MEMORY, VCPU

# ------------------------------------------------------------------------------------------------------------ services

SERVICE_FILTERS = frozenset({"host", "binary"})
_NAME = schema.name(1, 255)
SERVICE_UPDATE = schema.obj(
    {
        "status": schema.enum("enabled", "disabled"),
        "disabled_reason": schema.string(1, 255),
        "forced_down": schema.boolean(text=True),
    }
)
SERVICE_OLD = schema.obj({"host": _NAME, "binary": _NAME, "disabled_reason": schema.string(1, 255),
                          "forced_down": schema.boolean(text=True)}, ["host", "binary"])  # fmt: skip


def _service(req: Request, service: ServiceRow, zones: dict[str, str]) -> dict[str, Any]:
    agent = service.binary == "nova-compute"
    shown: dict[str, Any] = {
        "id": service.id if req.version >= (2, 53) else int(service.id.replace("-", "")[:7], 16),
        "binary": service.binary,
        "host": service.host,
        "zone": zones.get(service.host, req.svc.conf.default_availability_zone) if agent else "internal",
        "status": "disabled" if service.disabled else "enabled",
        "state": "up" if service.up(req.svc.conf.service_down_time) else "down",
        "updated_at": isoformat_micros(service.last_seen_up),
        "disabled_reason": service.disabled_reason,
    }
    return {**shown, "forced_down": service.forced_down} if req.version >= (2, 11) else shown


def service_list(req: Request) -> dict[str, Any]:
    """List daemons."""
    one = req.listing.one
    found, zones = hosts.services(req.svc, req.ctx, host=one("host"), binary=one("binary"))
    return {"services": [_service(req, service, zones) for service in found]}


def service_update(req: Request, service_id: str) -> dict[str, Any]:
    """Enable, disable or call down a daemon."""
    given = req.body
    if not given:
        raise BadRequest("No updates were requested. Fields 'status' or 'forced_down' should be specified.")
    found = hosts.update_service(
        req.svc, req.ctx, service_id, status=given.get("status"), reason=given.get("disabled_reason"),
        forced_down=schema.to_bool(given["forced_down"]) if "forced_down" in given else None,
    )  # fmt: skip
    _, zones = hosts.services(req.svc, req.ctx, host=found.host)
    return {"service": _service(req, found, zones)}


def service_action(req: Request, service_id: str) -> dict[str, Any]:
    """Enable, disable or call down a daemon (microversions before 2.53)."""
    given = req.body
    verb = service_id
    values: dict[str, Any]
    if verb == "enable":
        values = {"status": "enabled"}
    elif verb in ("disable", "disable-log-reason"):
        values = {"status": "disabled", "reason": given.get("disabled_reason")}
        if verb == "disable-log-reason" and not given.get("disabled_reason"):
            raise BadRequest("Missing disabled reason field")
    elif verb == "force-down" and req.version >= (2, 11):
        values = {"forced_down": schema.to_bool(given.get("forced_down", False))}
    else:
        raise NotFound("Unknown action")
    found = hosts.update_service_by_host(req.svc, req.ctx, given["host"], given["binary"], **values)
    shown: dict[str, Any] = {"host": found.host, "binary": found.binary}
    if verb == "force-down":
        return {"service": {**shown, "forced_down": found.forced_down}}
    shown["status"] = "disabled" if found.disabled else "enabled"
    if verb == "disable-log-reason":
        shown["disabled_reason"] = found.disabled_reason
    return {"service": shown}


def service_delete(req: Request, service_id: str) -> None:
    """Forget a daemon that is no more."""
    hosts.delete_service(req.svc, req.ctx, service_id)


# --------------------------------------------------------------------------------------------------------- hypervisors

HYPERVISOR_FILTERS = frozenset({"hypervisor_hostname_pattern", "with_servers"})


def _id(found: Hypervisor, version: tuple[int, int]) -> str | int:
    return found.node.id if version >= (2, 53) else hosts.number(found.node)


def _short(found: Hypervisor, version: tuple[int, int], with_servers: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": _id(found, version),
        "hypervisor_hostname": found.node.hypervisor_hostname,
        "state": "up" if found.up else "down",
        "status": "disabled" if found.service is None or found.service.disabled else "enabled",
    }
    if with_servers and (found.servers or version >= (2, 75)):
        shown["servers"] = [{"uuid": server_id, "name": name} for server_id, name in found.servers]
    return shown


def _full(found: Hypervisor, version: tuple[int, int], with_servers: bool) -> dict[str, Any]:
    node, used, service = found.node, found.used, found.service
    shown = _short(found, version, with_servers)
    service_id: str | int | None = None if service is None else service.id
    if service is not None and version < (2, 53):
        service_id = int(service.id.replace("-", "")[:7], 16)
    shown |= {
        "hypervisor_type": node.hypervisor_type,
        "hypervisor_version": node.hypervisor_version,
        "host_ip": node.host_ip or None,
        "service": {
            "id": service_id,
            "host": node.host,
            "disabled_reason": service.disabled_reason if service else None,
        },
    }
    if version >= (2, 88):
        shown["uptime"] = _uptime(found)
        return shown
    cpu_info = node.resources.get("cpu_info") or {}
    if version < (2, 28):
        cpu_info = orjson.dumps(cpu_info).decode()
    free_memory, free_disk = node.memory_mb - used.get(MEMORY, 0), node.disk_gb - used.get(DISK, 0)
    shown |= {
        "vcpus": node.vcpus, "vcpus_used": used.get(VCPU, 0), "memory_mb": node.memory_mb,
        "memory_mb_used": used.get(MEMORY, 0), "free_ram_mb": free_memory, "local_gb": node.disk_gb,
        "local_gb_used": used.get(DISK, 0), "free_disk_gb": free_disk, "cpu_info": cpu_info,
        "current_workload": found.busy, "running_vms": found.running,
        "disk_available_least": node.disk_available_least_gb,
    }  # fmt: skip
    return shown


def _hypervisors(req: Request) -> tuple[list[Hypervisor], bool]:
    one = req.listing.one
    pattern = one("hypervisor_hostname_pattern") if req.version >= (2, 53) else None
    with_servers = req.version >= (2, 53) and (one("with_servers") or "").lower() in ("true", "1", "yes")
    found = hosts.hypervisors(req.svc, req.ctx, pattern=pattern, with_servers=with_servers)
    if pattern and not found:
        raise HypervisorNotFound(f"No hypervisor matching '{pattern}' could be found.")
    listing = req.listing
    if req.version >= (2, 33) and pattern is None:
        ids = [str(_id(h, req.version)) for h in found]
        if listing.marker is not None:
            if listing.marker not in ids:
                raise BadRequest(f"marker [{listing.marker}] not found")
            found = found[ids.index(listing.marker) + 1 :]
        if listing.limit is not None:
            found = found[: listing.limit]
    return found, with_servers


def _hypervisor_page(req: Request, shown: list[dict[str, Any]]) -> dict[str, Any]:
    body: dict[str, Any] = {"hypervisors": shown}
    limit = req.listing.limit
    if req.version >= (2, 33) and limit is not None and shown and len(shown) >= limit:
        body["hypervisors_links"] = [{"rel": "next", "href": req.next_url(str(shown[-1]["id"]))}]
    return body


def hypervisor_list(req: Request) -> dict[str, Any]:
    """List hypervisors."""
    found, with_servers = _hypervisors(req)
    return _hypervisor_page(req, [_short(h, req.version, with_servers) for h in found])


def hypervisor_detail(req: Request) -> dict[str, Any]:
    """List hypervisors with everything about them."""
    found, with_servers = _hypervisors(req)
    return _hypervisor_page(req, [_full(h, req.version, with_servers) for h in found])


def hypervisor_show(req: Request, hypervisor_id: str) -> dict[str, Any]:
    """Show a hypervisor."""
    with_servers = req.version >= (2, 53) and (req.query_one("with_servers") or "").lower() in ("true", "1", "yes")
    found = hosts.hypervisor(req.svc, req.ctx, hypervisor_id, with_servers=with_servers)
    return {"hypervisor": _full(found, req.version, with_servers)}


def hypervisor_statistics(req: Request) -> dict[str, Any]:
    """Sums over all hypervisors."""
    return {"hypervisor_statistics": hosts.statistics(req.svc, req.ctx)}


def hypervisor_uptime(req: Request, hypervisor_id: str) -> dict[str, Any]:
    """Show how long a hypervisor runs."""
    found = hosts.hypervisor(req.svc, req.ctx, hypervisor_id)
    return {"hypervisor": {**_short(found, req.version, False), "uptime": _uptime(found)}}


def _uptime(found: Hypervisor) -> str | None:
    """Since when the host is up, in the words of the command of that name."""
    booted_at = found.node.resources.get("booted_at")
    if not booted_at:
        return None
    minutes = int(time.time() - booted_at) // 60
    days, rest = divmod(minutes, 24 * 60)
    return f"up {days} days, {rest // 60:2}:{rest % 60:02}"


def hypervisor_search(req: Request, hypervisor_id: str) -> dict[str, Any]:
    """List hypervisors by part of their name (microversions before 2.53)."""
    found = hosts.hypervisors(req.svc, req.ctx, pattern=hypervisor_id)
    if not found:
        raise HypervisorNotFound(f"No hypervisor matching '{hypervisor_id}' could be found.")
    return {"hypervisors": [_short(h, req.version, False) for h in found]}


def hypervisor_servers(req: Request, hypervisor_id: str) -> dict[str, Any]:
    """List servers on hypervisors by part of their name (microversions before 2.53)."""
    found = hosts.hypervisors(req.svc, req.ctx, pattern=hypervisor_id, with_servers=True)
    if not found:
        raise HypervisorNotFound(f"No hypervisor matching '{hypervisor_id}' could be found.")
    return {"hypervisors": [_short(h, req.version, True) for h in found]}


# ---------------------------------------------------------------------------------------------------------- aggregates

_ZONE = schema.name(1, 255, nullable=True)
AGGREGATE_CREATE = schema.obj(
    {"aggregate": schema.obj({"name": _NAME, "availability_zone": _ZONE}, ["name"])}, ["aggregate"]
)
AGGREGATE_UPDATE = schema.obj({"aggregate": schema.obj({"name": _NAME, "availability_zone": _ZONE})}, ["aggregate"])
_HOST = schema.obj({"host": _NAME}, ["host"])
ADD_HOST = schema.obj({"add_host": _HOST}, ["add_host"])
REMOVE_HOST = schema.obj({"remove_host": _HOST}, ["remove_host"])
SET_METADATA = schema.obj(
    {"set_metadata": schema.obj({"metadata": schema.obj(extra=schema.string(0, 255, nullable=True))}, ["metadata"])},
    ["set_metadata"],
)


def _aggregate(aggregate: Aggregate, version: tuple[int, int]) -> dict[str, Any]:
    shown = {
        "id": aggregate.id,
        "name": aggregate.name,
        "availability_zone": aggregate.zone,
        "hosts": list(aggregate.hosts),
        "metadata": aggregate.metadata,
        "created_at": isoformat_micros(aggregate.created_at),
        "updated_at": isoformat_micros(aggregate.updated_at),
        "deleted": False,
        "deleted_at": None,
    }
    return {**shown, "uuid": aggregate.uuid} if version >= (2, 41) else shown


def _one_aggregate(req: Request, aggregate: Aggregate) -> dict[str, Any]:
    return {"aggregate": _aggregate(aggregate, req.version)}


def aggregate_list(req: Request) -> dict[str, Any]:
    """List host aggregates."""
    return {"aggregates": [_aggregate(a, req.version) for a in hosts.aggregate_list(req.svc, req.ctx)]}


def aggregate_create(req: Request) -> dict[str, Any]:
    """Create a host aggregate."""
    given = req.body["aggregate"]
    made = hosts.create_aggregate(req.svc, req.ctx, given["name"].strip(), given.get("availability_zone"))
    shown = _aggregate(made, req.version)
    del shown["hosts"], shown["metadata"]
    return {"aggregate": shown}


def aggregate_show(req: Request, aggregate_id: str) -> dict[str, Any]:
    """Show a host aggregate."""
    return _one_aggregate(req, hosts.aggregate(req.svc, req.ctx, aggregate_id))


def aggregate_update(req: Request, aggregate_id: str) -> dict[str, Any]:
    """Change a host aggregate's name or zone."""
    given = req.body["aggregate"]
    if not given:
        raise BadRequest("A name or an availability_zone is needed.")
    return _one_aggregate(
        req,
        hosts.update_aggregate(
            req.svc, req.ctx, aggregate_id, name=given.get("name"), zone=given.get("availability_zone")
        ),
    )


def aggregate_delete(req: Request, aggregate_id: str) -> None:
    """Delete a host aggregate."""
    hosts.delete_aggregate(req.svc, req.ctx, aggregate_id)


def aggregate_add_host(req: Request, aggregate_id: str) -> dict[str, Any]:
    """Add a host to an aggregate."""
    return _one_aggregate(req, hosts.add_host(req.svc, req.ctx, aggregate_id, req.body["add_host"]["host"]))


def aggregate_remove_host(req: Request, aggregate_id: str) -> dict[str, Any]:
    """Remove a host from an aggregate."""
    return _one_aggregate(req, hosts.remove_host(req.svc, req.ctx, aggregate_id, req.body["remove_host"]["host"]))


def aggregate_metadata(req: Request, aggregate_id: str) -> dict[str, Any]:
    """Change an aggregate's metadata."""
    items = req.body["set_metadata"]["metadata"]
    return _one_aggregate(req, hosts.set_aggregate_metadata(req.svc, req.ctx, aggregate_id, items))


def zone_list(req: Request) -> dict[str, Any]:
    """List availability zones."""
    found = hosts.zones(req.svc, req.ctx)
    shown = [{"zoneName": z.name, "zoneState": {"available": z.available}, "hosts": None} for z in found]
    return {"availabilityZoneInfo": shown}


def zone_detail(req: Request) -> dict[str, Any]:
    """List availability zones with their hosts."""
    shown = []
    for zone in hosts.zones(req.svc, req.ctx):
        members = {
            s.host: {
                s.binary: {
                    "available": s.up(req.svc.conf.service_down_time), "active": not s.disabled,
                    "updated_at": isoformat_micros(s.last_seen_up),
                }
            }
            for s in zone.services
        }  # fmt: skip
        shown.append({"zoneName": zone.name, "zoneState": {"available": zone.available}, "hosts": members})
    return {"availabilityZoneInfo": shown}


# ------------------------------------------------------------------------------------------------------- server groups

_POLICIES = ("anti-affinity", "affinity", "soft-anti-affinity", "soft-affinity")
GROUP_CREATE = schema.obj(
    {
        "server_group": schema.obj(
            {"name": _NAME, "policies": schema.array(schema.enum(*_POLICIES), 1, 1)}, ["name", "policies"]
        )
    },
    ["server_group"],
)
GROUP_CREATE_264 = schema.obj(
    {
        "server_group": schema.obj(
            {
                "name": _NAME,
                "policy": schema.enum(*_POLICIES),
                "rules": schema.obj({"max_server_per_host": schema.integer(1, text=True)}),
            },
            ["name", "policy"],
        )
    },
    ["server_group"],
)


def _group(group: ServerGroup, version: tuple[int, int], members: tuple[str, ...]) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": group.id, "name": group.name, "members": list(members)}
    if version >= (2, 64):
        shown |= {"policy": group.policy, "rules": group.rules}
    else:
        shown |= {"policies": [group.policy], "metadata": {}}
    if version >= (2, 13):
        shown |= {"project_id": group.project_id, "user_id": group.user_id}
    return shown


def group_list(req: Request) -> dict[str, Any]:
    """List server groups."""
    everyone = req.query_one("all_projects") is not None and req.ctx.is_admin
    offset = req.query_one("offset") or "0"
    if not offset.isdigit():
        raise BadRequest(f"offset must be a whole number, not {offset!r}.")
    found = groups.list_(req.svc, req.ctx, everyone=everyone, limit=req.listing.limit, offset=int(offset))
    members = groups.existing(req.svc, found)
    return {"server_groups": [_group(g, req.version, members[g.id]) for g in found]}


def group_create(req: Request) -> dict[str, Any]:
    """Create a server group."""
    given = req.body["server_group"]
    policy = given["policy"] if req.version >= (2, 64) else given["policies"][0]
    if policy.startswith("soft-") and req.version < (2, 15):
        raise BadRequest(f"Invalid input for field/attribute policies. Value: {policy}.")
    rules = {name: int(value) for name, value in given.get("rules", {}).items()}
    if rules and policy != "anti-affinity":
        raise BadRequest("Only anti-affinity policy supports rules.")
    return {
        "server_group": _group(groups.create(req.svc, req.ctx, given["name"].strip(), policy, rules), req.version, ())
    }


def group_show(req: Request, group_id: str) -> dict[str, Any]:
    """Show a server group."""
    found = groups.show(req.svc, req.ctx, group_id)
    return {"server_group": _group(found, req.version, groups.existing(req.svc, [found])[found.id])}


def group_delete(req: Request, group_id: str) -> None:
    """Delete a server group."""
    groups.delete(req.svc, req.ctx, group_id)


# ----------------------------------------------------------------------------------------------------- external events

EXTERNAL_EVENTS = schema.obj(
    {
        "events": schema.array(
            schema.obj(
                {
                    "name": schema.enum(*events.NAMES),
                    "server_uuid": schema.uuid(),
                    "status": schema.enum("failed", "completed", "in-progress"),
                    "tag": schema.string(0, 255),
                },
                ["name", "server_uuid"],
            ),
            min=1,
        )
    },
    ["events"],
)


def external_events(req: Request) -> Reply:
    """Take events of other services about servers."""
    given = [
        events.ExternalEvent(e["name"], e["server_uuid"], e.get("status", "completed"), e.get("tag", ""))
        for e in req.body["events"]
    ]
    codes = events.receive(req.svc, req.ctx, given)
    if all(code == 404 for code in codes):
        raise NotFound("No instances found for any event")
    shown = [
        {
            "name": e.name,
            "server_uuid": e.server_id,
            "status": e.status if code == 200 else "failed",
            "tag": e.tag,
            "code": code,
        }
        for e, code in zip(given, codes, strict=True)
    ]
    return Reply({"events": shown}, status=200 if all(code == 200 for code in codes) else 207)


# ---------------------------------------------------------------------------------------------------------- migrations

MIGRATION_FILTERS = frozenset(
    {"host", "status", "source_compute", "instance_uuid", "migration_type", "user_id", "project_id"}
)


def _migration(m: Migration, version: tuple[int, int]) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": m.id, "instance_uuid": m.server_id, "status": m.status, "source_compute": m.source_host,
        "source_node": m.source_host, "dest_compute": m.dest_host, "dest_node": m.dest_host, "dest_host": None,
        "old_instance_type_id": None, "new_instance_type_id": None, "created_at": isoformat_micros(m.created_at),
        "updated_at": isoformat_micros(m.updated_at),
    }  # fmt: skip
    if version >= (2, 23):
        shown |= {"migration_type": m.type, "links": []}
    if version >= (2, 59):
        shown["uuid"] = m.uuid
    return {**shown, "user_id": m.user_id, "project_id": m.project_id} if version >= (2, 80) else shown


def migration_list(req: Request) -> dict[str, Any]:
    """List resizes and moves of servers."""
    one = req.listing.one
    columns = {"status": "status", "source_compute": "source_host", "instance_uuid": "server_id",
               "migration_type": "type", "user_id": "user_id", "project_id": "project_id"}  # fmt: skip
    equal = {column: value for name, column in columns.items() if (value := one(name)) is not None}
    found = actions.migrations(req.svc, limit=req.listing.limit or 1000, **equal)
    return {"migrations": [_migration(m, req.version) for m in found]}


def server_migrations(req: Request, server_id: str) -> dict[str, Any]:
    """List moves of a server that are under way."""
    server = servers.show(req.svc, req.ctx, server_id)
    found = actions.migrations(req.svc, server_id=server.id, status="running")
    return {"migrations": [_migration(m, req.version) for m in found]}
