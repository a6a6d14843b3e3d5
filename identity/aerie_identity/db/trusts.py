# SPDX-License-Identifier: Apache-2.0
"""Trusts with their roles."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import sqlalchemy as sa

from aerie_identity.db import tables as t
from aerie_identity.db.models import TRUSTS, Trust


def get(conn: sa.Connection, id: str) -> Trust | None:
    found = TRUSTS.get(conn, id)
    return None if found is None else fill(conn, [found])[0]


def fill(conn: sa.Connection, rows: Sequence[Trust]) -> list[Trust]:
    """The same with roles: one statement for any number."""
    roles: dict[str, list[str]] = {}
    query = sa.select(t.trust_roles).where(t.trust_roles.c.trust_id.in_([row.id for row in rows]))
    for trust_id, role_id in conn.execute(query):
        roles.setdefault(trust_id, []).append(role_id)
    return [dataclasses.replace(row, roles=tuple(roles.get(row.id, ()))) for row in rows]


def insert(conn: sa.Connection, row: Trust) -> None:
    TRUSTS.insert(conn, row)
    for role_id in row.roles:
        conn.execute(sa.insert(t.trust_roles).values(trust_id=row.id, role_id=role_id))


def use(conn: sa.Connection, id: str) -> bool:
    """Count one use; False when none is left."""
    c = t.trusts.c
    query = sa.update(t.trusts).where(c.id == id, sa.or_(c.remaining_uses.is_(None), c.remaining_uses > 0))
    return bool(conn.execute(query.values(remaining_uses=c.remaining_uses - 1)).rowcount)


def descendants(conn: sa.Connection, id: str) -> list[str]:
    """The trust and those redelegated from it."""
    found, todo = [id], [id]
    while todo:
        query = sa.select(t.trusts.c.id).where(t.trusts.c.redelegated_trust_id.in_(todo))
        todo = [i for i in conn.execute(query).scalars() if i not in found]
        found += todo
    return found
