# SPDX-License-Identifier: Apache-2.0
"""Handlers of groups and their members."""

from __future__ import annotations

from typing import Any

from aerie_common.http import Request
from aerie_identity.api.common import hidden, home_domain, narrowed, page, shown, values
from aerie_identity.api.users import computed
from aerie_identity.db.models import Group
from aerie_identity.logic import groups as logic
from aerie_identity.logic import users
from aerie_identity.rules import target
from aerie_identity.schemas.groups import GROUP
from aerie_identity.schemas.users import USER


def _known(req: Request, group_id: str) -> Group:
    """The group of the path, once the rule holds."""
    with hidden(req):
        row = logic.show(req.svc, group_id)
    req.enforce(target("group", row))
    return row


def create(req: Request) -> dict[str, Any]:
    """Create a group."""
    sent = values(GROUP, req.body["group"], create=True)
    home = home_domain(req)
    req.enforce({"domain_id": sent.get("domain_id") or home})
    return {"group": shown(req, GROUP, logic.create(req.svc, req.ctx, domain_id=home, values=sent))}


def list_(req: Request) -> dict[str, Any]:
    """List groups."""
    return page(req, GROUP, logic.list_(req.svc, narrowed(req)))


def show(req: Request, group_id: str) -> dict[str, Any]:
    """Show a group."""
    return {"group": shown(req, GROUP, _known(req, group_id))}


def update(req: Request, group_id: str) -> dict[str, Any]:
    """Change a group."""
    _known(req, group_id)
    return {"group": shown(req, GROUP, logic.update(req.svc, req.ctx, group_id, values(GROUP, req.body["group"])))}


def delete(req: Request, group_id: str) -> None:
    """Delete a group."""
    req.enforce(target("group", logic.show(req.svc, group_id)))
    logic.delete(req.svc, req.ctx, group_id)


# ------------------------------------------------------------------------------------------------------------ members


def list_members(req: Request, group_id: str) -> dict[str, Any]:
    """List the users in a group."""
    req.enforce(target("group", logic.show(req.svc, group_id)))
    found, expiries = users.list_(req.svc, narrowed(req), group_id=group_id)
    return page(req, USER, found, extra=lambda row: computed(row, expiries.get(row.id)))


def _enforce_member(req: Request, group_id: str, user_id: str) -> None:
    with hidden(req):
        group, user = logic.show(req.svc, group_id), users.show(req.svc, user_id)[0]
    req.enforce({**target("user", user), **target("group", group), "user_id": user_id})
    req.enforce({**target("group", group), **target("user", user)})


def add_member(req: Request, group_id: str, user_id: str) -> None:
    """Add a user to a group."""
    _enforce_member(req, group_id, user_id)
    logic.add_member(req.svc, req.ctx, group_id, user_id)


def check_member(req: Request, group_id: str, user_id: str) -> None:
    """Check that a user is in a group."""
    _enforce_member(req, group_id, user_id)
    logic.check_member(req.svc, group_id, user_id)


def delete_member(req: Request, group_id: str, user_id: str) -> None:
    """Remove a user from a group."""
    _enforce_member(req, group_id, user_id)
    logic.delete_member(req.svc, req.ctx, group_id, user_id)
