# SPDX-License-Identifier: Apache-2.0
"""Handlers of domains."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from aerie_common.http import Request
from aerie_identity.api.common import hidden, page, shown, values
from aerie_identity.db.models import Project
from aerie_identity.logic import projects as logic
from aerie_identity.rules import target
from aerie_identity.schemas.domains import DOMAIN


def _show(req: Request, found: tuple[Project, list[str]]) -> dict[str, Any]:
    row, tags = found
    return shown(req, DOMAIN, row, tags=tags)


def create(req: Request) -> dict[str, Any]:
    """Create a domain."""
    sent = values(DOMAIN, req.body["domain"], create=True)
    return {"domain": _show(req, logic.create_domain(req.svc, req.ctx, values=sent))}


def list_(req: Request) -> dict[str, Any]:
    """List domains."""
    listing = req.listing
    if req.ctx.domain_id:
        listing = replace(listing, filters={**listing.filters, "id": (req.ctx.domain_id,)})
    found, tags = logic.list_(req.svc, listing, domains=True)
    return page(req, DOMAIN, found, extra=lambda row: {"tags": tags.get(row.id, [])})


def show(req: Request, domain_id: str) -> dict[str, Any]:
    """Show a domain."""
    with hidden(req):
        found = logic.show(req.svc, domain_id, domain=True)
    req.enforce({**target("domain", found[0]), "project_domain_id": domain_id})
    return {"domain": _show(req, found)}


def update(req: Request, domain_id: str) -> dict[str, Any]:
    """Change a domain."""
    req.enforce(target("domain", logic.show(req.svc, domain_id, domain=True)[0]))
    sent = values(DOMAIN, req.body["domain"])
    return {"domain": _show(req, logic.update_domain(req.svc, req.ctx, domain_id, sent))}


def delete(req: Request, domain_id: str) -> None:
    """Delete a disabled domain with all that is in it."""
    logic.delete_domain(req.svc, req.ctx, domain_id)
