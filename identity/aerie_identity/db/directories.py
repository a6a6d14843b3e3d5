# SPDX-License-Identifier: Apache-2.0
"""Copies of users and groups that live in a directory: which they are, and the rows that stand for them."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterable, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa

from aerie_common.db import insert_if_absent
from aerie_identity.db import tables as t
from aerie_identity.db.models import Group, User
from aerie_identity.db.store import Store

Row = TypeVar("Row", User, Group)
_e, _o, _m = t.directory_entries.c, t.domain_options.c, t.memberships.c
CHUNK = 500
"""Up to so many rows are asked for by id; for more, all of the domain are read."""


def drivers(conn: sa.Connection, names: Iterable[str]) -> dict[str, list[tuple[str, str, Any]]]:
    """The options (group, option, value) of the domains that have one of these drivers: one statement."""
    choice = t.domain_options.alias()
    chosen = sa.select(choice.c.domain_id).where(
        choice.c.group == "identity", choice.c.option == "driver", choice.c.value.in_(list(names))
    )
    found: dict[str, list[tuple[str, str, Any]]] = {}
    for row in conn.execute(sa.select(t.domain_options).where(_o.domain_id.in_(chosen))):
        found.setdefault(row.domain_id, []).append((row.group, row.option, row.value))
    return found


def local_id(conn: sa.Connection, kind: str, public_id: str) -> str | None:
    query = sa.select(_e.local_id).where(_e.public_id == public_id, _e.kind == kind)
    return conn.execute(query).scalar()


def copies(conn: sa.Connection, store: Store[Row], kind: str, domain_id: str, ids: Sequence[str]) -> dict[str, Row]:
    """The copies that exist of these, by public id: one statement, however many."""
    query = sa.select(*store.columns).join(t.directory_entries, _e.public_id == store.key)
    query = query.where(_e.domain_id == domain_id, _e.kind == kind)
    if len(ids) <= CHUNK:
        query = query.where(_e.public_id.in_(ids))
    return {row.id: row for row in (store.make(values) for values in conn.execute(query))}


def insert(conn: sa.Connection, store: Store[Row], kind: str, rows: Sequence[tuple[Row, str]]) -> None:
    """Store copies, given with their local ids."""
    if rows:
        conn.execute(sa.insert(store.table), [{name: getattr(row, name) for name in store.names} for row, _ in rows])
        conn.execute(sa.insert(t.directory_entries), [_entry(kind, *pair) for pair in rows])


def insert_one(conn: sa.Connection, store: Store[Row], kind: str, row: Row, local: str) -> None:
    """Store a copy that another process may have stored at the same time."""
    insert_if_absent(conn, store.table, {name: getattr(row, name) for name in store.names})
    insert_if_absent(conn, t.directory_entries, _entry(kind, row, local))


def _entry(kind: str, row: User | Group, local: str) -> dict[str, str]:
    return {"public_id": row.id, "domain_id": row.domain_id, "kind": kind, "local_id": local}


def free_name(conn: sa.Connection, store: Store[Row], row: Row) -> None:
    """Take the name away from another copy that has it: in the directory it has another by now, or is gone."""
    c = store.table.c
    conn.execute(
        sa.update(store.table).where(c.domain_id == row.domain_id, c.name == row.name, c.id != row.id).values(name=c.id)
    )


def touch(conn: sa.Connection, public_id: str, now: datetime.datetime, before: datetime.datetime) -> None:
    """Note that a token was issued, unless that is noted since `before`."""
    stale = sa.or_(_e.login_at.is_(None), _e.login_at < before)
    conn.execute(sa.update(t.directory_entries).where(_e.public_id == public_id, stale).values(login_at=now))


def in_use(conn: sa.Connection, domain_id: str, since: datetime.datetime) -> dict[str, str]:
    """Users with whom somebody may be at work, or who gave rights away: public id -> local id."""
    a, c, tr = t.application_credentials.c, t.credentials.c, t.trusts.c
    used = sa.or_(
        _e.login_at >= since,
        _e.public_id.in_(sa.select(a.user_id)),
        _e.public_id.in_(sa.select(c.user_id)),
        _e.public_id.in_(sa.select(tr.trustor_user_id)),
        _e.public_id.in_(sa.select(tr.trustee_user_id)),
    )
    query = sa.select(_e.public_id, _e.local_id).where(_e.domain_id == domain_id, _e.kind == "user", used)
    return {public: local for public, local in conn.execute(query)}


def granted_groups(conn: sa.Connection, domain_id: str) -> dict[str, str]:
    """Groups that have roles: public id -> local id."""
    a = t.assignments.c
    holders = sa.select(a.actor_id).where(a.actor_type == "group")
    query = sa.select(_e.public_id, _e.local_id).where(
        _e.domain_id == domain_id, _e.kind == "group", _e.public_id.in_(holders)
    )
    return {public: local for public, local in conn.execute(query)}


def homes(conn: sa.Connection, kind: str, ids: Collection[str]) -> dict[str, tuple[str, str]]:
    """Of these those that are copies: public id -> (domain id, local id)."""
    query = sa.select(_e.public_id, _e.domain_id, _e.local_id).where(_e.kind == kind, _e.public_id.in_(list(ids)))
    return {public: (domain, local) for public, domain, local in conn.execute(query)} if ids else {}


def memberships(
    conn: sa.Connection, domain_id: str, *, users: Sequence[str] | None = None, groups: Sequence[str] | None = None
) -> set[tuple[str, str]]:
    """(user, group) of a domain's copied groups, for some of the users or of the groups."""
    query = sa.select(_m.user_id, _m.group_id).join(t.directory_entries, _e.public_id == _m.group_id)
    query = query.where(_e.domain_id == domain_id)
    if users is not None and len(users) <= CHUNK:
        query = query.where(_m.user_id.in_(users))
    if groups is not None:
        query = query.where(_m.group_id.in_(groups))
    found = {(user, group) for user, group in conn.execute(query)}
    return found if users is None else {pair for pair in found if pair[0] in set(users)}


def change_memberships(conn: sa.Connection, gone: Iterable[tuple[str, str]], new: Iterable[tuple[str, str]]) -> None:
    """Remove and add (user, group)."""
    added = [{"user_id": user_id, "group_id": group_id} for user_id, group_id in new]
    if added:
        conn.execute(sa.insert(t.memberships), added)
    for user_id, group_id in gone:
        conn.execute(sa.delete(t.memberships).where(_m.user_id == user_id, _m.group_id == group_id))


def in_database() -> sa.ColumnElement[bool]:
    """Condition on users: the user is the database's or a copy of a directory's, not one left over from the time
    before its domain was given a directory."""
    u = t.users.c
    driven = sa.exists().where(
        _o.domain_id == u.domain_id, _o.group == "identity", _o.option == "driver", _o.value == "ldap"
    )
    return sa.or_(~driven, sa.exists().where(_e.public_id == u.id))
