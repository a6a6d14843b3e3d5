# SPDX-License-Identifier: Apache-2.0
"""Handlers of security groups and their rules (until 2.35), and of the groups of a server."""

from __future__ import annotations

from typing import Any

from aerie_common import schema
from aerie_common.http import Request
from aerie_compute.logic import security_groups

GROUP = schema.obj(
    {"security_group": schema.obj(
        {"name": schema.string(0, 255), "description": schema.string(0, 255)}, ["name", "description"], extra=True)},
    ["security_group"], extra=True,
)  # fmt: skip
RULE = schema.obj(
    {"security_group_rule": schema.obj(
        {"parent_group_id": schema.uuid(), "group_id": schema.uuid(nullable=True), "ip_protocol": {},
         "from_port": {}, "to_port": {}, "cidr": schema.string(0, 255, nullable=True)},
        ["parent_group_id"], extra=True)},
    ["security_group_rule"], extra=True,
)  # fmt: skip
_ANY = {"IPv4": "0.0.0.0/0", "IPv6": "::/0"}


def _rule(rule: dict[str, Any]) -> dict[str, Any]:
    low, high, protocol = rule["port_range_min"], rule["port_range_max"], rule["protocol"]
    if low is None and high is None and protocol is not None:
        low, high = (1, 65535) if protocol in ("tcp", "udp") else (-1, -1)
    remote = rule["remote_group"]
    return {
        "id": rule["id"],
        "parent_group_id": rule["security_group_id"],
        "ip_protocol": protocol,
        "from_port": low,
        "to_port": high,
        "group": {"name": remote["name"], "tenant_id": remote["tenant_id"]} if remote else {},
        "ip_range": {} if remote else {"cidr": rule["remote_ip_prefix"] or _ANY[rule["ethertype"]]},
    }


def _shown(group: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": group["id"],
        "name": group["name"],
        "description": group["description"] or "",
        "tenant_id": group["tenant_id"],
        "rules": [
            _rule(rule)
            for rule in group["security_group_rules"]
            if rule["direction"] == "ingress" and (rule["remote_group"] or not rule["remote_group_id"])
        ],
    }


def list_(req: Request) -> dict[str, Any]:
    """List security groups."""
    everyone = req.ctx.is_admin and req.query_one("all_tenants") is not None
    found = security_groups.list_(req.svc, req.ctx, everyone=everyone)
    return {"security_groups": [_shown(group) for group in found]}


def of_server(req: Request, server_id: str) -> dict[str, Any]:
    """List a server's security groups."""
    return {"security_groups": [_shown(g) for g in security_groups.of_server(req.svc, req.ctx, server_id)]}


def show(req: Request, group_id: str) -> dict[str, Any]:
    """Show a security group."""
    return {"security_group": _shown(security_groups.show(req.svc, req.ctx, group_id))}


def create(req: Request) -> dict[str, Any]:
    """Create a security group."""
    given = req.body["security_group"]
    made = security_groups.create(req.svc, req.ctx, given["name"], given["description"])
    return {"security_group": _shown(made)}


def update(req: Request, group_id: str) -> dict[str, Any]:
    """Change a security group's name and description."""
    given = req.body["security_group"]
    changed = security_groups.update(req.svc, req.ctx, group_id, given["name"], given["description"])
    return {"security_group": _shown(changed)}


def delete(req: Request, group_id: str) -> None:
    """Delete a security group."""
    security_groups.delete(req.svc, req.ctx, group_id)


def create_rule(req: Request) -> dict[str, Any]:
    """Add a rule to a security group."""
    given = req.body["security_group_rule"]
    made = security_groups.create_rule(req.svc, req.ctx, given["parent_group_id"], given)
    return {"security_group_rule": _rule(made)}


def delete_rule(req: Request, rule_id: str) -> None:
    """Take a rule out of its security group."""
    security_groups.delete_rule(req.svc, req.ctx, rule_id)
