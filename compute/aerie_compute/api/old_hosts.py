# SPDX-License-Identifier: Apache-2.0
"""Handlers of os-hosts (until 2.42), and of the log of usage audits."""

from __future__ import annotations

import datetime
from typing import Any

from aerie_common import schema
from aerie_common.db import utcnow
from aerie_common.errors import BadRequest, NotImplementedHere
from aerie_common.http import Request
from aerie_compute.logic import hosts

_SWITCH = schema.enum("enable", "disable")
UPDATE = schema.obj({"status": _SWITCH, "maintenance_mode": _SWITCH}, extra=False)
FILTERS = frozenset({"zone"})
_KIND = {"nova-compute": "compute", "nova-conductor": "conductor", "nova-scheduler": "scheduler"}


def list_(req: Request) -> dict[str, Any]:
    """List hosts and what runs on them."""
    found, zones = hosts.services(req.svc, req.ctx)
    default = req.svc.conf.default_availability_zone
    shown = [
        {
            "host_name": service.host,
            "service": _KIND[service.binary],
            "zone": zones.get(service.host, default) if service.binary == "nova-compute" else "internal",
        }
        for service in found
        if service.binary in _KIND and not service.disabled
    ]
    zone = req.listing.one("zone")
    return {"hosts": [host for host in shown if not zone or host["zone"] == zone]}


def show(req: Request, host: str) -> dict[str, Any]:
    """Show what a host has and who uses it."""
    usage = hosts.usage_of_host(req.svc, req.ctx, host)
    names = ("cpu", "memory_mb", "disk_gb")
    return {
        "host": [
            {"resource": {"host": host, "project": who, **dict(zip(names, figures, strict=True))}}
            for who, figures in usage.items()
        ]
    }


def update(req: Request, host: str) -> dict[str, Any]:
    """Let a host take new servers, or not."""
    if not req.body:
        raise BadRequest("A status or a maintenance_mode is needed.")
    hosts.check_host(req.svc, req.ctx, host)
    if "maintenance_mode" in req.body:
        raise NotImplementedHere("Hosts are not emptied by this call: disable them.")
    status = req.body["status"] + "d"
    hosts.update_service_by_host(req.svc, req.ctx, host, "nova-compute", status=status)
    return {"host": host, "status": status}


def power(req: Request, host: str) -> None:
    """Start, stop or reboot a host: nothing here can."""
    hosts.check_host(req.svc, req.ctx, host)
    raise NotImplementedHere("Hosts are not switched by this cloud.")


# ----------------------------------------------------------------------------------------------------- audits of usage


def _audit(req: Request, before: datetime.datetime) -> dict[str, Any]:
    """The last whole month before a time. Usage is reported as it changes, so that no host had to be audited for it."""
    end = before.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    begin = (end - datetime.timedelta(days=1)).replace(day=1)
    names = sorted({agent.host for agent in hosts.agents(req.svc)})
    return {
        "period_beginning": str(begin), "period_ending": str(end), "num_hosts": len(names), "num_hosts_done": 0,
        "num_hosts_running": 0, "num_hosts_not_run": len(names), "hosts_not_run": names, "total_instances": 0,
        "total_errors": 0, "overall_status": f"0 of {len(names)} hosts done. 0 errors.", "log": {},
    }  # fmt: skip


def audit_list(req: Request) -> dict[str, Any]:
    """Show the latest audits of usage."""
    return {"instance_usage_audit_logs": _audit(req, utcnow())}


def audit_show(req: Request, before: str) -> dict[str, Any]:
    """Show the audits of usage before a time."""
    try:
        time = datetime.datetime.fromisoformat(before)
    except ValueError:
        raise BadRequest(f"Invalid timestamp for date {before}") from None
    return {"instance_usage_audit_log": _audit(req, time)}
