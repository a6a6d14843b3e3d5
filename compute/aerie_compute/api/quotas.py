# SPDX-License-Identifier: Apache-2.0
"""Handlers of limits, quotas and usage."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from aerie_common import schema
from aerie_common.db import utcnow
from aerie_common.errors import BadRequest
from aerie_common.http import Request
from aerie_compute import states
from aerie_compute.fields import isoformat_micros, parse_time
from aerie_compute.logic import quotas, usage
from aerie_compute.logic.quotas import Quota
from aerie_compute.logic.usage import ProjectUsage

_LIMIT = schema.integer(-1, 2147483647, text=True)
_NAMES = (*quotas.RESOURCES, *quotas.RETIRED)
QUOTA_SET = schema.obj(
    {"quota_set": schema.obj({**dict.fromkeys(_NAMES, _LIMIT), "force": schema.boolean(text=True),
                              "tenant_id": schema.string()})},
    ["quota_set"],
)  # fmt: skip
QUOTA_CLASS = schema.obj({"quota_class_set": schema.obj(dict.fromkeys(_NAMES, _LIMIT))}, ["quota_class_set"])

_NETWORK = ("fixed_ips", "floating_ips", "security_groups", "security_group_rules")


def _names(version: tuple[int, int]) -> list[str]:
    """Resources this microversion knows."""
    names = list(quotas.RESOURCES)
    if version < (2, 36):
        names += _NETWORK
    if version < (2, 57):
        names += quotas.INJECTED
    return names


def _shown(limits: Mapping[str, int], version: tuple[int, int]) -> dict[str, Any]:
    return {name: limits[name] if name in limits else quotas.RETIRED[name] for name in _names(version)}


def quota_show(req: Request, project_id: str) -> dict[str, Any]:
    """Show a project's limits."""
    req.enforce({"project_id": project_id})
    return {"quota_set": {"id": project_id, **_shown(quotas.limits(req.svc, project_id), req.version)}}


def quota_detail(req: Request, project_id: str) -> dict[str, Any]:
    """Show a project's limits and what it uses."""
    req.enforce({"project_id": project_id})
    found = quotas.show(req.svc, req.ctx, project_id)
    shown: dict[str, Any] = {"id": project_id}
    for name in _names(req.version):
        quota = found.get(name) or Quota(quotas.RETIRED.get(name, -1), 0)
        shown[name] = {"limit": quota.limit, "in_use": quota.in_use, "reserved": 0}
    return {"quota_set": shown}


def quota_defaults(req: Request, project_id: str) -> dict[str, Any]:
    """Show the limits of projects for which none were set."""
    return {"quota_set": {"id": project_id, **_shown(quotas.default_limits(req.svc), req.version)}}


def quota_update(req: Request, project_id: str) -> dict[str, Any]:
    """Set a project's limits."""
    given = {k: v for k, v in req.body["quota_set"].items() if k != "tenant_id"}
    force = schema.to_bool(given.pop("force", False))
    _check_known(given, req.version)
    limits = quotas.update(req.svc, req.ctx, project_id, {k: int(v) for k, v in given.items()}, force=force)
    return {"quota_set": _shown(limits, req.version)}


def _check_known(given: Mapping[str, Any], version: tuple[int, int]) -> None:
    unknown = sorted(set(given) - set(_names(version)))
    if unknown:
        raise BadRequest(
            f"Additional properties are not allowed ({', '.join(repr(n) for n in unknown)} were unexpected)"
        )
    for name, value in given.items():
        if int(value) < -1:
            raise BadRequest(f"Quota limit {value} for {name} must be -1 or greater.")


def quota_delete(req: Request, project_id: str) -> None:
    """Back to the default limits."""
    quotas.delete(req.svc, req.ctx, project_id)


def class_show(req: Request, class_name: str) -> dict[str, Any]:
    """Show the limits of a class."""
    limits = quotas.default_limits(req.svc, class_name)
    return {"quota_class_set": {"id": class_name, **_shown(limits, req.version)}}


def class_update(req: Request, class_name: str) -> dict[str, Any]:
    """Set the limits of a class."""
    given = req.body["quota_class_set"]
    _check_known(given, req.version)
    limits = quotas.update_class(req.svc, req.ctx, class_name, {k: int(v) for k, v in given.items()})
    return {"quota_class_set": _shown(limits, req.version)}


def limits(req: Request) -> dict[str, Any]:
    """Show the caller's limits and usage."""
    project_id = req.ctx.project_id or ""
    asked = req.query_one("tenant_id")
    if asked and asked != project_id:
        req.enforce(rule="os_compute_api:os-used-limits")
        project_id = asked
    found = quotas.show(req.svc, req.ctx, project_id)
    absolute: dict[str, int] = {
        "maxTotalInstances": found["instances"].limit,
        "maxTotalCores": found["cores"].limit,
        "maxTotalRAMSize": found["ram"].limit,
        "maxServerMeta": found["metadata_items"].limit,
        "maxTotalKeypairs": found["key_pairs"].limit,
        "maxServerGroups": found["server_groups"].limit,
        "maxServerGroupMembers": found["server_group_members"].limit,
        "totalInstancesUsed": found["instances"].in_use,
        "totalCoresUsed": found["cores"].in_use,
        "totalRAMUsed": found["ram"].in_use,
        "totalServerGroupsUsed": found["server_groups"].in_use,
    }
    if req.version < (2, 36):
        absolute |= {"maxTotalFloatingIps": -1, "maxSecurityGroups": -1, "maxSecurityGroupRules": -1,
                     "totalFloatingIpsUsed": 0, "totalSecurityGroupsUsed": 0}  # fmt: skip
    if req.version < (2, 39):
        absolute["maxImageMeta"] = found["metadata_items"].limit
    if req.version < (2, 57):
        absolute |= {"maxPersonality": 5, "maxPersonalitySize": 10240}
    return {"limits": {"rate": [], "absolute": absolute}}


# --------------------------------------------------------------------------------------------------------------- usage

USAGE_FILTERS = frozenset({"start", "end", "detailed"})
_ENDED = (states.DELETED, states.ERROR)


def _period(req: Request) -> tuple[datetime.datetime, datetime.datetime]:
    now = utcnow()
    one = req.query_one
    start = parse_time(text, "start") if (text := one("start")) else now - datetime.timedelta(weeks=4)
    end = parse_time(text, "end") if (text := one("end")) else now
    if start >= end:
        raise BadRequest("Invalid start time. The start time cannot occur after the end time.")
    return start, end


def _usage(project: ProjectUsage, start: datetime.datetime, end: datetime.datetime, detailed: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "tenant_id": project.project_id,
        "total_hours": project.hours,
        "total_vcpus_usage": project.total("vcpus"),
        "total_memory_mb_usage": project.total("memory_mb"),
        "total_local_gb_usage": project.total("local_gb"),
        "start": isoformat_micros(start),
        "stop": isoformat_micros(end),
    }
    if detailed:
        shown["server_usages"] = [
            {
                "instance_id": u.server.id, "name": u.server.name, "hours": u.hours, "tenant_id": project.project_id,
                "flavor": u.server.flavor["name"], "vcpus": u.server.flavor["vcpus"],
                "memory_mb": u.server.flavor["memory_mb"], "local_gb": usage.size(u.server, "local_gb"),
                "started_at": isoformat_micros(u.server.launched_at),
                "ended_at": isoformat_micros(u.server.terminated_at),
                "state": "terminated" if u.server.terminated_at else u.server.vm_state,
                "uptime": int((((u.server.terminated_at or utcnow()) - u.server.launched_at).total_seconds())
                              if u.server.launched_at else 0),
            }
            for u in project.servers
        ]  # fmt: skip
    return shown


def usage_list(req: Request) -> dict[str, Any]:
    """Show what every project used in a period."""
    start, end = _period(req)
    paged = req.version >= (2, 40)
    found = usage.usages(
        req.svc, start, end, limit=req.listing.limit if paged else None, marker=req.listing.marker if paged else None
    )
    detailed = req.query_one("detailed") == "1"
    body: dict[str, Any] = {"tenant_usages": [_usage(p, start, end, detailed) for p in found]}
    return _next(req, body, found, "tenant_usages_links") if paged else body


def usage_show(req: Request, project_id: str) -> dict[str, Any]:
    """Show what a project used in a period."""
    req.enforce({"project_id": project_id})
    start, end = _period(req)
    paged = req.version >= (2, 40)
    found = usage.usages(
        req.svc, start, end, project_id, limit=req.listing.limit if paged else None,
        marker=req.listing.marker if paged else None,
    )  # fmt: skip
    body: dict[str, Any] = {"tenant_usage": _usage(found[0], start, end, True) if found else {}}
    return _next(req, body, found, "tenant_usage_links") if paged else body


def _next(req: Request, body: dict[str, Any], found: list[ProjectUsage], name: str) -> dict[str, Any]:
    last = max((u.server for p in found for u in p.servers), key=lambda s: (s.created_at, s.id), default=None)
    if req.listing.limit is not None and last is not None:
        body[name] = [{"rel": "next", "href": req.next_url(last.id)}]
    return body
