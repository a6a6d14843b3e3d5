# SPDX-License-Identifier: Apache-2.0
"""Handlers of security groups."""

from __future__ import annotations

from typing import Any

from aerie_common.http import Request
from aerie_network.api import common
from aerie_network.logic import security_groups as logic
from aerie_network.schemas.security_groups import DEFAULT_RULE, RULE, SECURITY_GROUP


def _shower(req: Request) -> common.Show:
    return common.shower(req, SECURITY_GROUP)


def list_(req: Request) -> dict[str, Any]:
    """List security groups."""
    return common.listed(req, "security_groups", logic.page(req.svc, req.ctx, req.listing), _shower(req))


def show(req: Request, security_group_id: str) -> dict[str, Any]:
    """Show one of the security groups."""
    return {"security_group": _shower(req)(logic.show(req.svc, req.ctx, security_group_id))}


def create(req: Request) -> dict[str, Any]:
    """Create one or several security groups."""
    values, many = common.wanted(req, SECURITY_GROUP)
    return common.made(SECURITY_GROUP, logic.create(req.svc, req.ctx, values), many, _shower(req))


def update(req: Request, security_group_id: str) -> dict[str, Any]:
    """Change a security group."""
    values, revision = common.changes(req, SECURITY_GROUP)
    found = logic.update(req.svc, req.ctx, security_group_id, values, revision)
    return {"security_group": _shower(req)(found)}


def delete(req: Request, security_group_id: str) -> None:
    """Delete a security group."""
    logic.delete(req.svc, req.ctx, security_group_id)


def list_rules(req: Request) -> dict[str, Any]:
    """List security group rules."""
    page = logic.rules_page(req.svc, req.ctx, req.listing)
    return common.listed(req, "security_group_rules", page, common.shower(req, RULE))


def show_rule(req: Request, rule_id: str) -> dict[str, Any]:
    """Show a security group rule."""
    return {"security_group_rule": common.shower(req, RULE)(logic.show_rule(req.svc, req.ctx, rule_id))}


def create_rule(req: Request) -> dict[str, Any]:
    """Add one or several rules to security groups."""
    values, many = common.wanted(req, RULE)
    return common.made(RULE, logic.create_rules(req.svc, req.ctx, values), many, common.shower(req, RULE))


def delete_rule(req: Request, rule_id: str) -> None:
    """Delete a security group rule."""
    logic.delete_rule(req.svc, req.ctx, rule_id)


def list_default_rules(req: Request) -> dict[str, Any]:
    """List the templates of new security groups' rules."""
    page = logic.default_rules_page(req.svc, req.ctx, req.listing)
    return common.listed(req, "default_security_group_rules", page, common.shower(req, DEFAULT_RULE))


def show_default_rule(req: Request, rule_id: str) -> dict[str, Any]:
    """Show a template."""
    found = logic.show_default_rule(req.svc, req.ctx, rule_id)
    return {"default_security_group_rule": common.shower(req, DEFAULT_RULE)(found)}


def create_default_rule(req: Request) -> dict[str, Any]:
    """Add a template."""
    sent = req.body["default_security_group_rule"]
    values = DEFAULT_RULE.values(sent, with_defaults=True)
    [found] = logic.create_default_rules(req.svc, req.ctx, [values])
    return {"default_security_group_rule": common.shower(req, DEFAULT_RULE)(found)}


def delete_default_rule(req: Request, rule_id: str) -> None:
    """Remove a template."""
    logic.delete_default_rule(req.svc, req.ctx, rule_id)
