# SPDX-License-Identifier: Apache-2.0
"""Groups and who is in them. Leaving a group, or its end, takes rights away and so moves the revocation epoch on."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from aerie_common.context import Context
from aerie_common.db import retried
from aerie_common.errors import BadRequest, NotFound
from aerie_common.listing import Listing
from aerie_identity.db import grants, users
from aerie_identity.db import tables as t
from aerie_identity.db.models import GROUPS, USERS, Group
from aerie_identity.db.store import Page
from aerie_identity.errors import Missing
from aerie_identity.logic import directories
from aerie_identity.logic.common import new_id, overlay, unique
from aerie_identity.logic.projects import load_domain

if TYPE_CHECKING:
    from aerie_identity.container import Identity


def load(conn: sa.Connection, id: str) -> Group:
    return GROUPS.need(conn, id, lambda: Missing("group", id))


def show(svc: Identity, id: str) -> Group:
    with svc.db.read() as conn:
        row = load(conn, id)
    home = svc.directories.get(row.domain_id)
    return directories.group(svc, home, id) if home else row


def list_(svc: Identity, listing: Listing, *, user_id: str | None = None) -> Page[Group]:
    home = directories.elsewhere(svc, listing) if user_id is None else _home_of_user(svc, user_id)
    if home is not None:
        return directories.groups_of(svc, home, user_id, listing) if user_id else directories.groups(svc, home, listing)
    where = directories.only_database(svc, t.groups) if user_id is None else [users.of_user(user_id)]
    with svc.db.read() as conn:
        return GROUPS.page(conn, listing, *where, limit=svc.conf.identity.list_limit)


def _home_of_user(svc: Identity, user_id: str) -> directories.Home | None:
    with svc.db.read() as conn:
        found = USERS.get(conn, user_id)
    return svc.directories.get(found.domain_id) if found else None


@retried
def create(svc: Identity, ctx: Context, *, domain_id: str, values: dict[str, Any]) -> Group:
    with svc.db.write() as conn:
        home = load_domain(conn, values.get("domain_id") or domain_id)
        directories.refuse_write(svc, home.id)
        row = Group(new_id(), home.id, values["name"], values.get("description") or "", values.get("extra", {}))
        with unique("group", row.name):
            GROUPS.insert(conn, row)
    return row


@retried
def update(svc: Identity, ctx: Context, id: str, values: dict[str, Any]) -> Group:
    with svc.db.write() as conn:
        row = load(conn, id)
        directories.refuse_write(svc, row.domain_id)
        if values.get("domain_id", row.domain_id) != row.domain_id:
            raise BadRequest("A group's domain cannot be changed.")
        changes: dict[str, Any] = {name: values[name] for name in ("name",) if name in values}
        if "description" in values:
            changes["description"] = values["description"] or ""
        if values.get("extra"):
            changes["extra"] = overlay(row.extra, values["extra"])
        with unique("group", changes.get("name", row.name)):
            GROUPS.update(conn, id, **changes)
    return dataclasses.replace(row, **changes)


@retried
def delete(svc: Identity, ctx: Context, id: str) -> None:
    with svc.db.write() as conn:
        directories.refuse_write(svc, load(conn, id).domain_id)
        grants.delete_of_actor(conn, "group", id)
        GROUPS.delete(conn, t.groups.c.id == id)
        svc.epoch.bump(conn)


def _refuse_write(svc: Identity, conn: sa.Connection, group_id: str, user_id: str) -> None:
    """Directories are only read, and their users are in groups of the same directory only."""
    directories.refuse_write(svc, load(conn, group_id).domain_id)
    user = USERS.need(conn, user_id, lambda: Missing("user", user_id))
    directories.refuse_write(svc, user.domain_id)


@retried
def add_member(svc: Identity, ctx: Context, group_id: str, user_id: str) -> None:
    with svc.db.write() as conn:
        _refuse_write(svc, conn, group_id, user_id)
        users.add_member(conn, user_id, group_id)


@retried
def delete_member(svc: Identity, ctx: Context, group_id: str, user_id: str) -> None:
    with svc.db.write() as conn:
        _refuse_write(svc, conn, group_id, user_id)
        if not users.delete_member(conn, user_id, group_id):
            raise NotFound(f"User {user_id} is not in group {group_id}.")
        svc.epoch.bump(conn)


def check_member(svc: Identity, group_id: str, user_id: str) -> None:
    """Raise NotFound unless the user is in the group."""
    with svc.db.read() as conn:
        row = load(conn, group_id)
        USERS.need(conn, user_id, lambda: Missing("user", user_id))
    home = svc.directories.get(row.domain_id)
    if home is not None:
        directories.check_member(svc, home, group_id, user_id)
        return
    with svc.db.read() as conn:
        if not users.is_member(conn, user_id, group_id):
            raise NotFound(f"User {user_id} is not in group {group_id}.")
