# SPDX-License-Identifier: Apache-2.0
"""Projects and domains: a tree per domain.

Invariants: names are unique within a domain; a project's domain and parent never change; what is disabled or removed
takes its tokens with it in the same transaction.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from aerie_common.context import Context
from aerie_common.db import retried, utcnow
from aerie_common.errors import BadRequest, Forbidden, NotFound
from aerie_common.listing import Listing
from aerie_identity.db import grants
from aerie_identity.db import projects as db
from aerie_identity.db import tables as t
from aerie_identity.db import tokens as token_db
from aerie_identity.db.models import PROJECTS, Project
from aerie_identity.db.store import Page
from aerie_identity.errors import LimitReached, Missing, StillEnabled
from aerie_identity.logic.common import new_id, overlay, refuse_immutable, unique

if TYPE_CHECKING:
    from aerie_identity.container import Identity

MAX_TAGS = 80


def load(conn: sa.Connection, id: str) -> Project:
    return PROJECTS.need(conn, id, lambda: Missing("project", id))


def load_domain(conn: sa.Connection, id: str) -> Project:
    found = PROJECTS.get(conn, id)
    if found is None or not found.is_domain:
        raise Missing("domain", id)
    return found


def show(svc: Identity, id: str, *, domain: bool = False) -> tuple[Project, list[str]]:
    """The project and its tags."""
    with svc.db.read() as conn:
        found = load_domain(conn, id) if domain else load(conn, id)
        return found, db.tags(conn, [id]).get(id, [])


def list_(svc: Identity, listing: Listing, *, domains: bool = False) -> tuple[Page[Project], db.Tags]:
    bound = svc.conf.identity.list_limit
    if listing.limit is None and not (domains or listing.filters or listing.sort or listing.marker):
        with svc.db.read() as conn:
            return db.first_page(conn, bound)
    where = []
    if domains:
        where.append(t.projects.c.is_domain.is_(True))
    elif "is_domain" not in listing.filters:
        where.append(t.projects.c.is_domain.is_(False))
    with svc.db.read() as conn:
        return db.page(conn, listing, *where, limit=bound)


# ----------------------------------------------------------------------------------------------------------- projects


@retried
def create(svc: Identity, ctx: Context, *, domain_id: str, values: dict[str, Any]) -> tuple[Project, list[str]]:
    """Store a project below its parent (the domain, when none is named)."""
    values = dict(values)
    tags = values.pop("tags", [])
    if values.pop("is_domain", False):
        values.pop("domain_id", None)
        if values.pop("parent_id", None):
            raise BadRequest("A project that acts as a domain has no parent.")
        return create_domain(svc, ctx, values={**values, "tags": tags})
    parent_id = values.pop("parent_id", None)
    asked_domain = values.pop("domain_id", None)
    with svc.db.write() as conn:
        if parent_id:
            parent = PROJECTS.get(conn, parent_id)
            if parent is None:
                raise Missing("project", parent_id)
            home = parent.id if parent.is_domain else parent.domain_id
            if asked_domain and asked_domain != home:
                raise BadRequest("The parent project is in another domain.")
        else:
            home = asked_domain or domain_id
            parent = load_domain(conn, home)
        if not parent.enabled:
            raise Forbidden(f"Cannot create a project below {parent.id}, which is disabled.")
        depth = tree_depth(svc)
        if len(parent.ancestors) + 1 > depth:
            raise Forbidden(f"The tree of projects must not be deeper than {depth}.")
        id = new_id()
        row = Project(
            id=id,
            domain_id=home,
            parent_id=parent.id,
            path=f"{parent.path}{id}/",
            name=values["name"].strip() or values["name"],
            description=values.get("description") or "",
            enabled=values.get("enabled", True),
            options=overlay({}, values.get("options")),
            extra=values.get("extra", {}),
        )
        with unique("project", row.name):
            PROJECTS.insert(conn, row)
        db.replace_tags(conn, id, tags)
    return row, sorted(tags)


def tree_depth(svc: Identity) -> int:
    """How many projects may stand below one another. Limits in two levels know no more than two."""
    configured: int = svc.conf.identity.max_project_tree_depth
    return min(configured, 2) if svc.conf.unified_limit.enforcement_model == "strict_two_level" else configured


@retried
def update(svc: Identity, ctx: Context, id: str, values: dict[str, Any]) -> tuple[Project, list[str]]:
    """Change a project. Disabling it ends its tokens; a project with enabled ones below cannot be disabled."""
    values = dict(values)
    with svc.db.write() as conn:
        row = load(conn, id)
        if row.is_domain:
            return _update_domain(svc, conn, row, values)
        refuse_immutable("project", row, values)
        for name in ("domain_id", "parent_id", "is_domain"):
            if name in values and values.pop(name) != getattr(row, name):
                raise BadRequest(f"{name} of a project cannot be changed.")
        if values.get("enabled") is False and row.enabled and db.children_enabled(conn, row):
            raise Forbidden(f"Cannot disable project {id}: there are enabled projects below it.")
        return _apply(svc, conn, row, values)


def _apply(svc: Identity, conn: sa.Connection, row: Project, values: dict[str, Any]) -> tuple[Project, list[str]]:
    tags = values.pop("tags", None)
    changes: dict[str, Any] = {name: values[name] for name in ("name", "enabled") if name in values}
    if "description" in values:
        changes["description"] = values["description"] or ""
    if "options" in values:
        changes["options"] = overlay(row.options, values["options"])
    if values.get("extra"):
        changes["extra"] = overlay(row.extra, values["extra"])
    revoke = changes.get("enabled") is False and row.enabled
    if revoke:
        changes["tokens_since"] = utcnow()
        token_db.revoke(conn, **{"domain_id" if row.is_domain else "project_id": row.id})
    if changes:
        with unique("domain" if row.is_domain else "project", changes.get("name", row.name)):
            PROJECTS.update(conn, row.id, **changes)
    if revoke or "name" in changes or "enabled" in changes:
        svc.epoch.bump(conn)
    if tags is not None:
        db.replace_tags(conn, row.id, tags)
    return dataclasses.replace(row, **changes), db.tags(conn, [row.id]).get(row.id, [])


@retried
def delete(svc: Identity, ctx: Context, id: str) -> None:
    """Remove a project that has none below it, with grants, credentials and trusts on it."""
    with svc.db.write() as conn:
        row = load(conn, id)
        if row.is_domain:
            return _delete_domain(svc, conn, row)
        refuse_immutable("project", row)
        if db.count_below(conn, row):
            raise Forbidden(f"Cannot delete project {id}: there are projects below it.")
        db.purge(conn, [id])
        token_db.revoke(conn, project_id=id)
        svc.epoch.bump(conn)


def parents(svc: Identity, row: Project) -> list[Project]:
    """The projects above it, nearest first, without the domain."""
    with svc.db.read() as conn:
        found = db.by_ids(conn, row.ancestors)
    return [found[id] for id in reversed(row.ancestors) if id in found and not found[id].is_domain]


def subtree(svc: Identity, row: Project) -> list[Project]:
    with svc.db.read() as conn:
        return db.below(conn, row)


def nested_ids(rows: list[Project], root: str) -> dict[str, Any] | None:
    """`{child: {grandchild: None}}` as `subtree_as_ids` shows it."""
    children: dict[str, list[str]] = {}
    for row in rows:
        children.setdefault(row.parent_id or "", []).append(row.id)

    def below(id: str) -> dict[str, Any] | None:
        return {child: below(child) for child in children[id]} if id in children else None

    return below(root)


# ------------------------------------------------------------------------------------------------------------ domains


@retried
def create_domain(svc: Identity, ctx: Context, *, values: dict[str, Any]) -> tuple[Project, list[str]]:
    """Store a domain."""
    values = dict(values)
    tags = values.pop("tags", [])
    id = values.get("explicit_domain_id") or new_id()
    row = Project(
        id=id,
        domain_id=t.ROOT,
        parent_id=None,
        path=f"/{id}/",
        is_domain=True,
        name=values["name"],
        description=values.get("description") or "",
        enabled=values.get("enabled", True),
        options=overlay({}, values.get("options")),
        extra=values.get("extra", {}),
    )
    with svc.db.write() as conn:
        with unique("domain", row.name):
            PROJECTS.insert(conn, row)
        db.replace_tags(conn, id, tags)
    return row, sorted(tags)


@retried
def update_domain(svc: Identity, ctx: Context, id: str, values: dict[str, Any]) -> tuple[Project, list[str]]:
    """Change a domain. Disabling it ends the tokens of its users and on its projects."""
    with svc.db.write() as conn:
        return _update_domain(svc, conn, load_domain(conn, id), dict(values))


def _update_domain(
    svc: Identity, conn: sa.Connection, row: Project, values: dict[str, Any]
) -> tuple[Project, list[str]]:
    refuse_immutable("domain", row, values)
    for name in ("domain_id", "parent_id", "is_domain"):
        if name in values and (values.pop(name) or None) != (getattr(row, name) or None):
            raise BadRequest(f"{name} of a domain cannot be changed.")
    return _apply(svc, conn, row, values)


@retried
def delete_domain(svc: Identity, ctx: Context, id: str) -> None:
    """Remove a disabled domain with all that is in it."""
    with svc.db.write() as conn:
        _delete_domain(svc, conn, load_domain(conn, id))


def _delete_domain(svc: Identity, conn: sa.Connection, row: Project) -> None:
    refuse_immutable("domain", row)
    if row.id == svc.conf.identity.default_domain_id:
        raise Forbidden("The default domain cannot be deleted.")
    if row.enabled:
        raise StillEnabled()
    db.purge_domain_content(conn, row.id)
    db.purge(conn, [p.id for p in reversed(db.below(conn, row))] + [row.id])
    grants.delete_on(conn, [row.id])
    token_db.revoke(conn, domain_id=row.id)
    svc.epoch.bump(conn)


# --------------------------------------------------------------------------------------------------------------- tags


@retried
def set_tags(svc: Identity, id: str, names: list[str]) -> list[str]:
    with svc.db.write() as conn:
        load(conn, id)
        db.replace_tags(conn, id, names)
        return db.tags(conn, [id]).get(id, [])


@retried
def add_tag(svc: Identity, id: str, name: str) -> None:
    with svc.db.write() as conn:
        load(conn, id)
        if len(db.tags(conn, [id]).get(id, [])) >= MAX_TAGS:
            raise LimitReached(noun="tags", limit=MAX_TAGS)
        db.add_tag(conn, id, name)


@retried
def delete_tag(svc: Identity, id: str, name: str) -> None:
    with svc.db.write() as conn:
        load(conn, id)
        if not db.delete_tag(conn, id, name):
            raise NotFound(f"Project {id} has no tag {name}.")


def domain_of(svc: Identity, ids: set[str]) -> dict[str, str]:
    """The domain of each project; a domain's is itself."""
    with svc.db.read() as conn:
        return {p.id: p.domain_id or p.id for p in db.by_ids(conn, ids).values()}
