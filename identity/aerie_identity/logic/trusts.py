# SPDX-License-Identifier: Apache-2.0
"""Trusts: a user lets another act on a project with some of the first one's roles.

Invariants: only the trustor makes a trust, with roles the trustor has there; a redelegated trust never exceeds the one
it comes from; a removed trust ends its tokens and those redelegated from it.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from aerie_common.context import Context
from aerie_common.db import retried, utcnow
from aerie_common.errors import BadRequest, Forbidden
from aerie_common.listing import Listing
from aerie_identity.db import grants
from aerie_identity.db import tables as t
from aerie_identity.db import trusts as db
from aerie_identity.db.models import PROJECTS, TRUSTS, USERS, Trust
from aerie_identity.db.store import Page
from aerie_identity.errors import Missing
from aerie_identity.logic.common import new_id, parse_time
from aerie_identity.logic.delegation import refuse_application_credential

if TYPE_CHECKING:
    from aerie_identity.container import Identity

_c = t.trusts.c


def _alive() -> sa.ColumnElement[bool]:
    return sa.or_(_c.expires_at.is_(None), _c.expires_at > utcnow())


def show(svc: Identity, id: str) -> Trust:
    with svc.db.read() as conn:
        found = db.get(conn, id)
    if found is None or (found.expires_at is not None and found.expires_at <= utcnow()) or found.remaining_uses == 0:
        raise Missing("trust", id)
    return found


def list_(svc: Identity, listing: Listing) -> Page[Trust]:
    with svc.db.read() as conn:
        return TRUSTS.page(conn, listing, _alive(), limit=svc.conf.identity.list_limit)


@retried
def create(svc: Identity, ctx: Context, values: dict[str, Any]) -> Trust:
    """Store a trust of the caller's."""
    refuse_application_credential(ctx, "trusts")
    if ctx.user_id != values["trustor_user_id"]:
        raise Forbidden("A trust is made by its trustor.")
    expires = parse_time("expires_at", values["expires_at"]) if values.get("expires_at") else None
    if expires is not None and expires <= utcnow():
        raise BadRequest("expires_at is in the past.")
    project_id, wanted = values.get("project_id"), values.get("roles") or []
    if bool(project_id) != bool(wanted):
        raise Forbidden("A trust names a project and at least one role on it, or neither.")
    with svc.db.write() as conn:
        for name in ("trustor_user_id", "trustee_user_id"):
            USERS.need(conn, values[name], lambda: Missing("user", values[name]))  # noqa: B023
        role_ids = _roles(svc, conn, values["trustor_user_id"], project_id, wanted)
        parent, count = _redelegation(svc, conn, ctx, values, role_ids, expires)
        if parent is not None:
            expires = min(expires, parent.expires_at) if expires and parent.expires_at else expires or parent.expires_at
        row = Trust(
            id=new_id(),
            trustor_user_id=values["trustor_user_id"],
            trustee_user_id=values["trustee_user_id"],
            project_id=project_id,
            impersonation=values["impersonation"],
            expires_at=expires,
            remaining_uses=values.get("remaining_uses"),
            redelegated_trust_id=parent.id if parent else None,
            redelegation_count=count,
            extra=values.get("extra", {}),
            roles=tuple(role_ids),
        )
        db.insert(conn, row)
    return row


def _roles(
    svc: Identity, conn: sa.Connection, user_id: str, project_id: str | None, wanted: list[dict[str, Any]]
) -> list[str]:
    """Ids of the roles asked for, all of which the trustor has on the project."""
    if not project_id:
        return []
    project = PROJECTS.need(conn, project_id, lambda: Missing("project", project_id))
    graph = svc.roles.get()
    held = set(graph.expand(grants.roles_on_project(conn, user_id, project)))
    found: dict[str, None] = {}
    for role in wanted:
        role_id = role.get("id")
        if not role_id:
            named = [r.id for r in graph.roles.values() if r.name == role["name"] and not r.domain_id]
            if not named:
                raise Missing("role", role["name"])
            role_id = named[0]
        elif role_id not in graph.roles:
            raise Missing("role", role_id)
        if role_id not in held:
            raise Forbidden("The trustor does not have all the roles on the project.")
        found[role_id] = None
    return list(found)


def _redelegation(
    svc: Identity,
    conn: sa.Connection,
    ctx: Context,
    values: dict[str, Any],
    role_ids: list[str],
    expires: datetime.datetime | None,
) -> tuple[Trust | None, int]:
    """The trust this one is made with (its token was used), and how often this one may be passed on."""
    options = svc.conf.trust
    shown = (ctx.token_data or {}).get("OS-TRUST:trust")
    count = values.get("redelegation_count")
    if shown is None:
        if values.get("redelegated_trust_id"):
            raise Forbidden("A trust is redelegated with a token of that trust.")
        if not values.get("allow_redelegation"):
            return None, 0
        if count is not None and count > options.max_redelegation_count:
            raise Forbidden(f"redelegation_count must not exceed {options.max_redelegation_count}.")
        return None, options.max_redelegation_count if count is None else count
    parent = db.get(conn, shown["id"])
    if not options.allow_redelegation or parent is None or parent.redelegation_count < 1:
        raise Forbidden("This trust must not be redelegated.")
    if parent.remaining_uses is not None or values.get("remaining_uses") is not None:
        raise Forbidden("Trusts with a number of uses cannot be redelegated.")
    if parent.project_id != values.get("project_id") or not set(role_ids) <= set(parent.roles):
        raise Forbidden("A redelegated trust must not exceed the one it comes from.")
    if parent.expires_at is not None and expires is not None and expires > parent.expires_at:
        raise Forbidden("A redelegated trust must not outlive the one it comes from.")
    if values["impersonation"] and not parent.impersonation:
        raise Forbidden("Impersonation is not allowed because the trust it comes from does not impersonate.")
    most = parent.redelegation_count - 1 if values.get("allow_redelegation", True) else 0
    if count is not None and count > most:
        raise Forbidden(f"redelegation_count must not exceed {most}.")
    return parent, most if count is None else count


@retried
def delete(svc: Identity, ctx: Context, id: str) -> None:
    """Remove a trust and those redelegated from it; their tokens end at once."""
    refuse_application_credential(ctx, "trusts")
    with svc.db.write() as conn:
        if TRUSTS.get(conn, id) is None:
            raise Missing("trust", id)
        TRUSTS.delete(conn, _c.id.in_(db.descendants(conn, id)))
        svc.epoch.bump(conn)
