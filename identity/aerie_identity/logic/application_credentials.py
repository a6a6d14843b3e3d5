# SPDX-License-Identifier: Apache-2.0
"""Application credentials: a secret with which a program logs in as its user, on one project, with some of the roles.

Invariants: only the user makes them, with a token of the project; their roles are among those of that token; the secret
is shown once and stored as a hash.
"""

from __future__ import annotations

import dataclasses
import datetime
import secrets
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from aerie_common.context import Context
from aerie_common.db import retried, utcnow
from aerie_common.errors import BadRequest, Forbidden
from aerie_common.listing import Listing
from aerie_identity.db import application_credentials as db
from aerie_identity.db import tables as t
from aerie_identity.db.models import ACCESS_RULES, APPLICATION_CREDENTIALS, AccessRule, ApplicationCredential
from aerie_identity.db.store import Page
from aerie_identity.errors import LimitReached, Missing
from aerie_identity.logic.common import new_id, parse_time, unique
from aerie_identity.logic.delegation import refuse_restricted, refuse_trust

if TYPE_CHECKING:
    from aerie_identity.container import Identity

_c, _r = t.application_credentials.c, t.access_rules.c


def _load(conn: sa.Connection, user_id: str, id: str) -> ApplicationCredential:
    found = db.get(conn, id)
    if found is None or found.user_id != user_id:
        raise Missing("application credential", id)
    return found


def show(svc: Identity, user_id: str, id: str) -> ApplicationCredential:
    with svc.db.read() as conn:
        return _load(conn, user_id, id)


def list_(svc: Identity, user_id: str, listing: Listing) -> Page[ApplicationCredential]:
    with svc.db.read() as conn:
        page = APPLICATION_CREDENTIALS.page(conn, listing, _c.user_id == user_id, limit=svc.conf.identity.list_limit)
        return dataclasses.replace(page, rows=db.fill(conn, page.rows))


def create(svc: Identity, ctx: Context, user_id: str, values: dict[str, Any]) -> tuple[ApplicationCredential, str]:
    """Store one; returns it with its secret. For the token's project, or the system."""
    refuse_restricted(ctx, "application credentials")
    refuse_trust(ctx, "application credentials")
    if ctx.user_id != user_id:
        raise Forbidden("Application credentials are made by their own user.")
    if ctx.project_id is None and ctx.system_scope is None:
        raise BadRequest("An application credential needs a token with a project or the system as scope.")
    expires = parse_time("expires_at", values["expires_at"]) if values.get("expires_at") else None
    if expires is not None and expires <= utcnow():
        raise BadRequest("expires_at is in the past.")
    secret = values.get("secret") or secrets.token_urlsafe(64)
    return _insert(svc, ctx, user_id, values, expires, svc.hasher.hash(secret)), secret


@retried
def _insert(
    svc: Identity, ctx: Context, user_id: str, values: dict[str, Any], expires: datetime.datetime | None, hashed: str
) -> ApplicationCredential:
    limit = svc.conf.application_credential.user_limit
    with svc.db.write() as conn:
        if limit >= 0 and db.count(conn, user_id) >= limit:
            raise LimitReached(noun="application credentials", limit=limit)
        row = ApplicationCredential(
            id=new_id(),
            user_id=user_id,
            name=values["name"],
            secret_hash=hashed,
            project_id=ctx.project_id,
            system="all" if ctx.system_scope else None,
            description=values.get("description"),
            expires_at=expires,
            unrestricted=bool(values.get("unrestricted")),
            roles=_roles(svc, ctx, values.get("roles")),
            access_rules=_access_rules(conn, user_id, values.get("access_rules")),
        )
        with unique("application credential", row.name):
            db.insert(conn, row)
    return row


def _roles(svc: Identity, ctx: Context, wanted: list[dict[str, Any]] | None) -> tuple[str, ...]:
    """Role ids: those asked for, all of which the token must have; without a wish all of the token's."""
    held = {role["id"]: role["name"] for role in (ctx.token_data or {}).get("roles", ())}
    if not wanted:
        return tuple(held)
    by_name = {name: id for id, name in held.items()}
    found: dict[str, None] = {}
    for role in wanted:
        role_id = role.get("id") or by_name.get(role.get("name", ""))
        if role_id not in held:
            raise Forbidden("An application credential cannot have roles that its user does not have on the project.")
        found[str(role_id)] = None
    return tuple(found)


def _access_rules(
    conn: sa.Connection, user_id: str, wanted: list[dict[str, Any]] | None
) -> tuple[AccessRule, ...] | None:
    """Rules that exist already (by id or as equals) and new ones."""
    if wanted is None:
        return None
    found: dict[str, AccessRule] = {}
    for rule in wanted:
        if rule.get("id") and not rule.get("path"):
            row = ACCESS_RULES.get(conn, rule["id"])
            if row is None or row.user_id != user_id:
                raise Missing("access rule", rule["id"])
        else:
            parts = {name: rule.get(name) for name in ("service", "method", "path")}
            if not all(parts.values()):
                raise BadRequest("An access rule has service, method and path, or the id of one that exists.")
            row = ACCESS_RULES.one(conn, _r.user_id == user_id, *(_r[name] == value for name, value in parts.items()))
            if row is None:
                row = AccessRule(rule.get("id") or new_id(), user_id, *(str(v) for v in parts.values()))
        found[row.id] = row
    return tuple(found.values())


@retried
def delete(svc: Identity, ctx: Context, user_id: str, id: str) -> None:
    """Remove one; its tokens end at once."""
    refuse_restricted(ctx, "application credentials")
    with svc.db.write() as conn:
        _load(conn, user_id, id)
        APPLICATION_CREDENTIALS.delete(conn, _c.id == id)
        svc.epoch.bump(conn)


# ------------------------------------------------------------------------------------------------------- access rules


def list_rules(svc: Identity, user_id: str, listing: Listing) -> Page[AccessRule]:
    with svc.db.read() as conn:
        return ACCESS_RULES.page(conn, listing, _r.user_id == user_id, limit=svc.conf.identity.list_limit)


def _load_rule(conn: sa.Connection, user_id: str, id: str) -> AccessRule:
    found = ACCESS_RULES.get(conn, id)
    if found is None or found.user_id != user_id:
        raise Missing("access rule", id)
    return found


def show_rule(svc: Identity, user_id: str, id: str) -> AccessRule:
    with svc.db.read() as conn:
        return _load_rule(conn, user_id, id)


@retried
def delete_rule(svc: Identity, ctx: Context, user_id: str, id: str) -> None:
    """Remove a rule that no application credential uses."""
    with svc.db.write() as conn:
        _load_rule(conn, user_id, id)
        if db.rule_in_use(conn, id):
            raise Forbidden("The access rule is used by an application credential.")
        ACCESS_RULES.delete(conn, _r.id == id)
