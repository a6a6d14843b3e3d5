# SPDX-License-Identifier: Apache-2.0
"""Handlers of roles and implied roles."""

from __future__ import annotations

from typing import Any

from aerie_common.http import Request
from aerie_identity.api.common import link, page, shown, values
from aerie_identity.db.models import Role
from aerie_identity.errors import Missing
from aerie_identity.logic import roles as logic
from aerie_identity.schemas.roles import ROLE


def _rule(verb: str, domain_id: str | None, **about: str) -> tuple[dict[str, str], str]:
    """What is asked about a role, and the rule, which is another for roles of a domain."""
    if not domain_id:
        return about, f"identity:{verb}_role"
    return {**about, "domain_id": domain_id, "target.role.domain_id": domain_id}, f"identity:{verb}_domain_role"


def _known(req: Request, verb: str, role_id: str) -> Role:
    """The role of the path, once the rule holds."""
    row = logic.show(req.svc, role_id)
    req.enforce(*_rule(verb, row.domain_id, **{"target.role.name": row.name}))
    return row


def create(req: Request) -> dict[str, Any]:
    """Create a role."""
    sent = values(ROLE, req.body["role"], create=True)
    req.enforce(*_rule("create", sent.get("domain_id")))
    return {"role": shown(req, ROLE, logic.create(req.svc, req.ctx, sent))}


def list_(req: Request) -> dict[str, Any]:
    """List roles."""
    req.enforce({}, "identity:list_domain_roles" if req.query_one("domain_id") else None)
    return page(req, ROLE, logic.list_(req.svc, req.listing))


def show(req: Request, role_id: str) -> dict[str, Any]:
    """Show a role."""
    return {"role": shown(req, ROLE, _known(req, "get", role_id))}


def update(req: Request, role_id: str) -> dict[str, Any]:
    """Change a role."""
    _known(req, "update", role_id)
    return {"role": shown(req, ROLE, logic.update(req.svc, req.ctx, role_id, values(ROLE, req.body["role"])))}


def delete(req: Request, role_id: str) -> None:
    """Delete a role with all its grants."""
    _known(req, "delete", role_id)
    logic.delete(req.svc, req.ctx, role_id)


# ------------------------------------------------------------------------------------------------------ implied roles


def _brief(req: Request, role: Role) -> dict[str, Any]:
    body: dict[str, Any] = {"id": role.id, "name": role.name, "links": {"self": link(req, "roles", role.id)}}
    if role.domain_id:
        body["domain_id"] = role.domain_id
    return body


def list_implied(req: Request, prior_role_id: str) -> dict[str, Any]:
    """List the roles a role implies."""
    prior, then = logic.implied(req.svc, prior_role_id)
    inference = {"prior_role": _brief(req, prior), "implies": [_brief(req, role) for role in then]}
    return {"role_inference": inference, "links": {"self": link(req, "roles", prior_role_id, "implies")}}


def list_inferences(req: Request) -> dict[str, Any]:
    """List all implied roles."""
    found = [
        {"prior_role": _brief(req, prior), "implies": [_brief(req, role) for role in then]}
        for prior, then in logic.all_implied(req.svc)
    ]
    return {"role_inferences": found, "links": {"self": link(req, "role_inferences")}}


def _inference(req: Request, prior: Role, then: Role) -> dict[str, Any]:
    return {
        "role_inference": {"prior_role": _brief(req, prior), "implies": _brief(req, then)},
        "links": {"self": link(req, "roles", prior.id, "implies", then.id)},
    }


def imply(req: Request, prior_role_id: str, implied_role_id: str) -> dict[str, Any]:
    """Make a role imply another."""
    return _inference(req, *logic.imply(req.svc, req.ctx, prior_role_id, implied_role_id))


def show_implied(req: Request, prior_role_id: str, implied_role_id: str) -> dict[str, Any]:
    """Show (or check) that a role implies another."""
    prior, then = logic.implied(req.svc, prior_role_id)
    for role in then:
        if role.id == implied_role_id:
            return _inference(req, prior, role)
    raise Missing("implied role", implied_role_id)


def check_implied(req: Request, prior_role_id: str, implied_role_id: str) -> None:
    """Check that a role implies another."""
    show_implied(req, prior_role_id, implied_role_id)


def unimply(req: Request, prior_role_id: str, implied_role_id: str) -> None:
    """Make a role imply another no longer."""
    logic.unimply(req.svc, req.ctx, prior_role_id, implied_role_id)
