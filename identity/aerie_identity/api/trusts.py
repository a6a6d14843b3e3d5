# SPDX-License-Identifier: Apache-2.0
"""Handlers of trusts."""

from __future__ import annotations

from typing import Any

from aerie_common.http import Request
from aerie_identity.api.common import collection, link, page, shown, values
from aerie_identity.db.models import Role, Trust
from aerie_identity.errors import Missing
from aerie_identity.logic import trusts as logic
from aerie_identity.logic.delegation import refuse_application_credential
from aerie_identity.schemas.roles import ROLE
from aerie_identity.schemas.trusts import TRUST

_PATH = "OS-TRUST/trusts"


def _roles(req: Request, row: Trust) -> list[Role]:
    graph = req.svc.roles.get()
    return [graph.roles[id] for id in row.roles if id in graph.roles]


def _show(req: Request, row: Trust) -> dict[str, Any]:
    roles = [shown(req, ROLE, role) for role in _roles(req, row)]
    address = link(req, _PATH, row.id, "roles")
    return shown(
        req, TRUST, row, _PATH, roles=roles, roles_links={"next": None, "self": address, "previous": None}
    )


def _target(row: Trust) -> dict[str, Any]:
    return {
        "target.trust.trustor_user_id": row.trustor_user_id,
        "target.trust.trustee_user_id": row.trustee_user_id,
        "user_id": row.trustor_user_id,
    }


def _known(req: Request, trust_id: str) -> Trust:
    """The trust of the path, once the rule holds."""
    refuse_application_credential(req.ctx, "trusts")
    row = logic.show(req.svc, trust_id)
    req.enforce(_target(row))
    return row


def create(req: Request) -> dict[str, Any]:
    """Create a trust."""
    sent = values(TRUST, req.body["trust"], create=True)
    req.enforce({"target.trust.trustor_user_id": sent["trustor_user_id"], "user_id": sent["trustor_user_id"]})
    return {"trust": _show(req, logic.create(req.svc, req.ctx, sent))}


def list_(req: Request) -> dict[str, Any]:
    """List trusts: all, or those one gave or was given."""
    refuse_application_credential(req.ctx, "trusts")
    trustor, trustee = req.query_one("trustor_user_id"), req.query_one("trustee_user_id")
    req.enforce({"target.trust.trustor_user_id": trustor, "target.trust.trustee_user_id": trustee})
    return page(req, TRUST, logic.list_(req.svc, req.listing), _PATH)


def show(req: Request, trust_id: str) -> dict[str, Any]:
    """Show a trust."""
    row = _known(req, trust_id)
    return {"trust": _show(req, row)}


def delete(req: Request, trust_id: str) -> None:
    """Delete a trust."""
    _known(req, trust_id)
    logic.delete(req.svc, req.ctx, trust_id)


def list_roles(req: Request, trust_id: str) -> dict[str, Any]:
    """List the roles of a trust."""
    row = _known(req, trust_id)
    return collection(req, "roles", [shown(req, ROLE, role) for role in _roles(req, row)])


def show_role(req: Request, trust_id: str, role_id: str) -> dict[str, Any]:
    """Show (or check) a role of a trust."""
    row = _known(req, trust_id)
    for role in _roles(req, row):
        if role.id == role_id:
            return {"role": shown(req, ROLE, role)}
    raise Missing("role", role_id)
