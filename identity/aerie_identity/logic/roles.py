# SPDX-License-Identifier: Apache-2.0
"""Roles and which roles they imply. Invariant: the role `admin` is implied by no other, and nothing implies itself."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from aerie_common.context import Context
from aerie_common.db import insert_if_absent, retried
from aerie_common.errors import BadRequest, Forbidden, NotFound
from aerie_common.listing import Listing
from aerie_identity.db import tables as t
from aerie_identity.db import tokens as token_db
from aerie_identity.db.models import ROLES, Role
from aerie_identity.db.store import Page
from aerie_identity.errors import Missing
from aerie_identity.logic.common import new_id, overlay, refuse_immutable, unique
from aerie_identity.logic.projects import load_domain
from aerie_identity.logic.roles_graph import RoleGraph

if TYPE_CHECKING:
    from aerie_identity.container import Identity

NEVER_IMPLIED = "admin"


def load(conn: sa.Connection, id: str) -> Role:
    return ROLES.need(conn, id, lambda: Missing("role", id))


def show(svc: Identity, id: str) -> Role:
    with svc.db.read() as conn:
        return load(conn, id)


def list_(svc: Identity, listing: Listing) -> Page[Role]:
    """Roles of no domain, unless a domain is asked for."""
    where = [] if "domain_id" in listing.filters else [t.roles.c.domain_id == t.ROOT]
    with svc.db.read() as conn:
        return ROLES.page(conn, listing, *where, limit=svc.conf.identity.list_limit)


@retried
def create(svc: Identity, ctx: Context, values: dict[str, Any]) -> Role:
    with svc.db.write() as conn:
        if values.get("domain_id"):
            load_domain(conn, values["domain_id"])
        row = Role(
            id=new_id(),
            name=values["name"],
            domain_id=values.get("domain_id") or t.ROOT,
            description=values.get("description"),
            options=overlay({}, values.get("options")),
            extra=values.get("extra", {}),
        )
        with unique("role", row.name):
            ROLES.insert(conn, row)
        svc.epoch.bump(conn)
    return row


@retried
def update(svc: Identity, ctx: Context, id: str, values: dict[str, Any]) -> Role:
    with svc.db.write() as conn:
        row = load(conn, id)
        refuse_immutable("role", row, values)
        if (values.get("domain_id", row.domain_id) or t.ROOT) != row.domain_id:
            raise BadRequest("A role's domain cannot be changed.")
        changes: dict[str, Any] = {name: values[name] for name in ("name", "description") if name in values}
        if "options" in values:
            changes["options"] = overlay(row.options, values["options"])
        if values.get("extra"):
            changes["extra"] = overlay(row.extra, values["extra"])
        with unique("role", changes.get("name", row.name)):
            ROLES.update(conn, id, **changes)
        svc.epoch.bump(conn)
    return dataclasses.replace(row, **changes)


@retried
def delete(svc: Identity, ctx: Context, id: str) -> None:
    """Remove a role with all its grants."""
    with svc.db.write() as conn:
        refuse_immutable("role", load(conn, id))
        ROLES.delete(conn, t.roles.c.id == id)
        token_db.revoke(conn, role_id=id)
        svc.epoch.bump(conn)


# ------------------------------------------------------------------------------------------------------ implied roles


def implied(svc: Identity, prior_id: str) -> tuple[Role, list[Role]]:
    """A role and those it implies directly."""
    with svc.db.read() as conn:
        prior = load(conn, prior_id)
        graph = RoleGraph.load(conn)
    return prior, [graph.roles[id] for id in sorted(graph.implied.get(prior_id, ()))]


def all_implied(svc: Identity) -> list[tuple[Role, list[Role]]]:
    with svc.db.read() as conn:
        graph = RoleGraph.load(conn)
    return [(graph.roles[id], [graph.roles[i] for i in sorted(then)]) for id, then in sorted(graph.implied.items())]


@retried
def imply(svc: Identity, ctx: Context, prior_id: str, implied_id: str) -> tuple[Role, Role]:
    """Whoever has the first role has the second too. Repeating it changes nothing."""
    with svc.db.write() as conn:
        prior, then = load(conn, prior_id), load(conn, implied_id)
        if then.name == NEVER_IMPLIED and not then.domain_id:
            raise Forbidden(f"The role {NEVER_IMPLIED} cannot be implied by another.")
        if then.domain_id and not prior.domain_id:
            raise Forbidden("A role of no domain cannot imply a role of a domain.")
        if prior_id == implied_id or RoleGraph.load(conn).implies(implied_id, prior_id):
            raise Forbidden("A role cannot imply itself, not even by way of others.")
        insert_if_absent(conn, t.implied_roles, {"prior_role_id": prior_id, "implied_role_id": implied_id})
        svc.epoch.bump(conn)
    return prior, then


@retried
def unimply(svc: Identity, ctx: Context, prior_id: str, implied_id: str) -> None:
    c = t.implied_roles.c
    with svc.db.write() as conn:
        load(conn, prior_id), load(conn, implied_id)
        query = sa.delete(t.implied_roles).where(c.prior_role_id == prior_id, c.implied_role_id == implied_id)
        if not conn.execute(query).rowcount:
            raise NotFound(f"Role {prior_id} does not imply role {implied_id}.")
        svc.epoch.bump(conn)
