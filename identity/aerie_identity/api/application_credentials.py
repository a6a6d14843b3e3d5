# SPDX-License-Identifier: Apache-2.0
"""Handlers of application credentials and access rules."""

from __future__ import annotations

from typing import Any

from aerie_common.http import Request
from aerie_identity.api.common import page, shown
from aerie_identity.db.models import ApplicationCredential
from aerie_identity.logic import application_credentials as logic
from aerie_identity.schemas.application_credentials import ACCESS_RULE, APPLICATION_CREDENTIAL


def _path(user_id: str) -> str:
    return f"users/{user_id}/application_credentials"


def _more(req: Request, row: ApplicationCredential) -> dict[str, Any]:
    graph = req.svc.roles.get()
    found = [graph.roles[role_id] for role_id in row.roles if role_id in graph.roles]
    more: dict[str, Any] = {"roles": [{"id": r.id, "name": r.name, "domain_id": r.domain_id or None} for r in found]}
    if row.access_rules is not None:
        more["access_rules"] = [ACCESS_RULE.show(rule, req.ctx) for rule in row.access_rules]
    return more


def _show(req: Request, row: ApplicationCredential, **more: Any) -> dict[str, Any]:
    return shown(req, APPLICATION_CREDENTIAL, row, _path(row.user_id), **_more(req, row), **more)


def create(req: Request, user_id: str) -> dict[str, Any]:
    """Create an application credential."""
    req.enforce({"user_id": user_id})
    row, secret = logic.create(req.svc, req.ctx, user_id, req.body["application_credential"])
    return {"application_credential": _show(req, row, secret=secret)}


def list_(req: Request, user_id: str) -> dict[str, Any]:
    """List a user's application credentials."""
    req.enforce({"user_id": user_id})
    found = logic.list_(req.svc, user_id, req.listing)
    return page(req, APPLICATION_CREDENTIAL, found, _path(user_id), extra=lambda row: _more(req, row))


def show(req: Request, user_id: str, application_credential_id: str) -> dict[str, Any]:
    """Show an application credential."""
    req.enforce({"user_id": user_id})
    return {"application_credential": _show(req, logic.show(req.svc, user_id, application_credential_id))}


def delete(req: Request, user_id: str, application_credential_id: str) -> None:
    """Delete an application credential."""
    req.enforce({"user_id": user_id})
    logic.delete(req.svc, req.ctx, user_id, application_credential_id)


def list_rules(req: Request, user_id: str) -> dict[str, Any]:
    """List a user's access rules."""
    req.enforce({"user_id": user_id})
    return page(req, ACCESS_RULE, logic.list_rules(req.svc, user_id, req.listing), f"users/{user_id}/access_rules")


def show_rule(req: Request, user_id: str, access_rule_id: str) -> dict[str, Any]:
    """Show an access rule."""
    req.enforce({"user_id": user_id})
    row = logic.show_rule(req.svc, user_id, access_rule_id)
    return {"access_rule": shown(req, ACCESS_RULE, row, f"users/{user_id}/access_rules")}


def delete_rule(req: Request, user_id: str, access_rule_id: str) -> None:
    """Delete an access rule that is not in use."""
    req.enforce({"user_id": user_id})
    logic.delete_rule(req.svc, req.ctx, user_id, access_rule_id)
