# SPDX-License-Identifier: Apache-2.0
"""Handlers of registered limits and limits."""

from __future__ import annotations

from typing import Any

from aerie_common.http import Request
from aerie_identity.api.common import collection, page, shown
from aerie_identity.logic import limits as logic
from aerie_identity.schemas.limits import LIMIT, REGISTERED_LIMIT


def create_registered(req: Request) -> dict[str, Any]:
    """Register limits that hold for every project."""
    made = logic.create_registered(req.svc, req.ctx, req.body["registered_limits"])
    return {"registered_limits": [shown(req, REGISTERED_LIMIT, row) for row in made]}


def list_registered(req: Request) -> dict[str, Any]:
    """List registered limits."""
    return page(req, REGISTERED_LIMIT, logic.list_registered(req.svc, req.listing))


def show_registered(req: Request, registered_limit_id: str) -> dict[str, Any]:
    """Show a registered limit."""
    return {"registered_limit": shown(req, REGISTERED_LIMIT, logic.show_registered(req.svc, registered_limit_id))}


def update_registered(req: Request, registered_limit_id: str) -> dict[str, Any]:
    """Change a registered limit."""
    row = logic.update_registered(req.svc, req.ctx, registered_limit_id, req.body["registered_limit"])
    return {"registered_limit": shown(req, REGISTERED_LIMIT, row)}


def delete_registered(req: Request, registered_limit_id: str) -> None:
    """Delete a registered limit that nothing overrides."""
    logic.delete_registered(req.svc, req.ctx, registered_limit_id)


# ------------------------------------------------------------------------------------------------------------- limits


def _show(req: Request, owned: logic.Owned) -> dict[str, Any]:
    owner = owned.limit.project_id
    project, domain = (None, owner) if owned.is_domain else (owner, None)
    return shown(req, LIMIT, owned.limit, project_id=project, domain_id=domain)


def model(req: Request) -> dict[str, Any]:
    """Show how limits of projects and domains depend on each other."""
    name = req.svc.conf.unified_limit.enforcement_model
    return {"model": {"name": name, "description": logic.MODELS[name]}}


def create(req: Request) -> dict[str, Any]:
    """Create limits of projects or domains."""
    return {"limits": [_show(req, owned) for owned in logic.create(req.svc, req.ctx, req.body["limits"])]}


def list_(req: Request) -> dict[str, Any]:
    """List limits: those of one's scope, or all for those who read everything."""
    owner, domain = req.query_one("domain_id"), None
    if not req.allows("identity:read_all", {}):
        domain = req.ctx.domain_id
        owner = owner if domain else req.ctx.project_id or ""
    found, more = logic.list_(req.svc, req.listing, owner, domain)
    return collection(req, "limits", [_show(req, owned) for owned in found], more)


def show(req: Request, limit_id: str) -> dict[str, Any]:
    """Show a limit."""
    owned = logic.show(req.svc, limit_id)
    owner = {"domain_id": owned.domain_id} | ({} if owned.is_domain else {"project_id": owned.limit.project_id})
    req.enforce(owner)
    return {"limit": _show(req, owned)}


def update(req: Request, limit_id: str) -> dict[str, Any]:
    """Change a limit."""
    return {"limit": _show(req, logic.update(req.svc, req.ctx, limit_id, req.body["limit"]))}


def delete(req: Request, limit_id: str) -> None:
    """Delete a limit, so that the registered one holds."""
    logic.delete(req.svc, req.ctx, limit_id)
