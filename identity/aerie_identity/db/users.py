# SPDX-License-Identifier: Apache-2.0
"""Users' passwords and group memberships."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from aerie_common import times
from aerie_common.db import insert_if_absent, utcnow
from aerie_identity.db import tables as t
from aerie_identity.db.models import GROUPS, PASSWORDS, USERS, Group, Password, User

_pw, _m, _e = t.passwords.c, t.memberships.c, t.expiring_memberships.c


def passwords(conn: sa.Connection, user_id: str, count: int) -> list[Password]:
    """The newest ones first."""
    query = sa.select(*PASSWORDS.columns).where(_pw.user_id == user_id).order_by(_pw.id.desc()).limit(count)
    return [PASSWORDS.make(row) for row in conn.execute(query)]


def add_password(conn: sa.Connection, row: Password, keep: int) -> None:
    """Store the new password and keep `keep` older ones for the check of repetition."""
    PASSWORDS.insert(conn, row)
    ids = list(conn.execute(sa.select(_pw.id).where(_pw.user_id == row.user_id).order_by(_pw.id.desc())).scalars())
    if ids[keep + 1 :]:
        conn.execute(sa.delete(t.passwords).where(_pw.id.in_(ids[keep + 1 :])))


def delete_passwords(conn: sa.Connection, user_id: str) -> None:
    conn.execute(sa.delete(t.passwords).where(_pw.user_id == user_id))


def expiries(conn: sa.Connection, user_ids: Sequence[str]) -> dict[str, datetime.datetime | None]:
    """When each user's newest password expires."""
    if not user_ids:
        return {}
    last = sa.func.max(_pw.id).label("id")
    newest = sa.select(last).where(_pw.user_id.in_(user_ids)).group_by(_pw.user_id).subquery()
    query = sa.select(_pw.user_id, _pw.expires_at).join(newest, newest.c.id == _pw.id)
    return {user_id: at for user_id, at in conn.execute(query)}


def expiring(test: str) -> sa.ColumnElement[bool]:
    """Condition of `password_expires_at=lt:2026-01-01T00:00:00Z` (lt, lte, gt, gte, eq, neq). Raises ValueError."""
    operator, _, text = test.partition(":")
    compare = {
        "lt": sa.Column.__lt__, "lte": sa.Column.__le__, "gt": sa.Column.__gt__,
        "gte": sa.Column.__ge__, "eq": sa.Column.__eq__, "neq": sa.Column.__ne__,
    }.get(operator)  # fmt: skip
    if compare is None:
        compare, text = sa.Column.__eq__, test
    when = times.parse(text)
    newest = sa.select(sa.func.max(_pw.id)).group_by(_pw.user_id)
    matching = sa.select(_pw.user_id).where(_pw.id.in_(newest), compare(_pw.expires_at, when))
    return t.users.c.id.in_(matching)


# -------------------------------------------------------------------------------------------------------- memberships


def add_member(conn: sa.Connection, user_id: str, group_id: str) -> bool:
    return insert_if_absent(conn, t.memberships, {"user_id": user_id, "group_id": group_id})


def delete_member(conn: sa.Connection, user_id: str, group_id: str) -> bool:
    """Take a user out of a group; one whom an identity provider put there, until the next login."""
    query = sa.delete(t.memberships).where(_m.user_id == user_id, _m.group_id == group_id)
    lent = sa.delete(t.expiring_memberships).where(_e.user_id == user_id, _e.group_id == group_id)
    return bool(conn.execute(query).rowcount + conn.execute(lent).rowcount)


def is_member(conn: sa.Connection, user_id: str, group_id: str) -> bool:
    query = sa.select(sa.literal(1)).where(_m.user_id == user_id, _m.group_id == group_id)
    lent = _lent(sa.literal(1)).where(_e.user_id == user_id, _e.group_id == group_id)
    return conn.execute(query.union_all(lent)).first() is not None


def _lent(*columns: sa.ColumnElement[str]) -> sa.Select[Any]:
    """Memberships that a login at an identity provider brought, while they last."""
    return sa.select(*columns).where(_e.expires_at > utcnow())


def in_group(group_id: str) -> sa.ColumnElement[bool]:
    own = sa.select(_m.user_id).where(_m.group_id == group_id)
    return t.users.c.id.in_(own.union(_lent(_e.user_id).where(_e.group_id == group_id)))


def of_user(user_id: str) -> sa.ColumnElement[bool]:
    own = sa.select(_m.group_id).where(_m.user_id == user_id)
    return t.groups.c.id.in_(own.union(_lent(_e.group_id).where(_e.user_id == user_id)))


def members(conn: sa.Connection, group_ids: Iterable[str]) -> dict[str, list[str]]:
    """Users of each group: one statement."""
    wanted = list(dict.fromkeys(group_ids))
    found: dict[str, list[str]] = {}
    if wanted:
        own = sa.select(_m.group_id, _m.user_id).where(_m.group_id.in_(wanted))
        both = own.union(_lent(_e.group_id, _e.user_id).where(_e.group_id.in_(wanted))).subquery()
        for group_id, user_id in conn.execute(sa.select(both).order_by(both.c.user_id)):
            found.setdefault(group_id, []).append(user_id)
    return found


def by_ids(conn: sa.Connection, ids: Iterable[str]) -> dict[str, User]:
    wanted = list(dict.fromkeys(ids))
    return {u.id: u for u in USERS.all(conn, t.users.c.id.in_(wanted))} if wanted else {}


def groups_by_ids(conn: sa.Connection, ids: Iterable[str]) -> dict[str, Group]:
    wanted = list(dict.fromkeys(ids))
    return {g.id: g for g in GROUPS.all(conn, t.groups.c.id.in_(wanted))} if wanted else {}
