# SPDX-License-Identifier: Apache-2.0
"""Handlers of users."""

from __future__ import annotations

import datetime
from typing import Any

from aerie_common.fields import isoformat_micros
from aerie_common.http import Request
from aerie_identity.api.common import collection, hidden, home_domain, narrowed, page, shown, values
from aerie_identity.api.tokens import domain_bodies
from aerie_identity.db.models import User
from aerie_identity.logic import federated_users, groups
from aerie_identity.logic import users as logic
from aerie_identity.rules import target
from aerie_identity.schemas.groups import GROUP
from aerie_identity.schemas.users import USER


def computed(row: User, expires: datetime.datetime | None) -> dict[str, Any]:
    more: dict[str, Any] = {"password_expires_at": isoformat_micros(expires)}
    if row.default_project_id:
        more["default_project_id"] = row.default_project_id
    return more


def _show(req: Request, found: tuple[User, datetime.datetime | None]) -> dict[str, Any]:
    return shown(req, USER, found[0], **computed(*found), **federated_users.of_user(req.svc, found[0].id))


def _known(req: Request, user_id: str) -> tuple[User, datetime.datetime | None]:
    """The user of the path, once the rule holds."""
    with hidden(req):
        found = logic.show(req.svc, user_id)
    req.enforce(target("user", found[0]))
    return found


def create(req: Request) -> dict[str, Any]:
    """Create a user."""
    sent = values(USER, req.body["user"], create=True)
    home = home_domain(req)
    req.enforce({"domain_id": sent.get("domain_id") or home})
    return {"user": _show(req, logic.create(req.svc, req.ctx, domain_id=home, values=sent))}


def list_(req: Request) -> dict[str, Any]:
    """List users."""
    found, expiries = logic.list_(req.svc, narrowed(req))
    return page(req, USER, found, extra=lambda row: computed(row, expiries.get(row.id)))


def show(req: Request, user_id: str) -> dict[str, Any]:
    """Show a user."""
    return {"user": _show(req, _known(req, user_id))}


def update(req: Request, user_id: str) -> dict[str, Any]:
    """Change a user."""
    _known(req, user_id)
    return {"user": _show(req, logic.update(req.svc, req.ctx, user_id, values(USER, req.body["user"])))}


def delete(req: Request, user_id: str) -> None:
    """Delete a user."""
    _known(req, user_id)
    logic.delete(req.svc, req.ctx, user_id)


def change_password(req: Request, user_id: str) -> None:
    """Change one's own password, proving the old one."""
    sent = req.body["user"]
    logic.change_password(req.svc, user_id, sent["original_password"], sent["password"])


def list_groups(req: Request, user_id: str) -> dict[str, Any]:
    """List the groups a user is in."""
    _known(req, user_id)
    return page(req, GROUP, groups.list_(req.svc, narrowed(req), user_id=user_id))


def list_domains(req: Request, user_id: str) -> dict[str, Any]:
    """List the domains a user has a role on."""
    _known(req, user_id)
    return collection(req, "domains", domain_bodies(req, user_id))
