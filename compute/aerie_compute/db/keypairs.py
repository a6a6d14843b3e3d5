# SPDX-License-Identifier: Apache-2.0
"""Key pairs in SQL: they belong to users, not to projects."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, fields
from typing import Any

import sqlalchemy as sa

from aerie_common.db import utcnow
from aerie_compute.db.tables import KEYPAIRS


@dataclass(frozen=True, slots=True)
class Keypair:
    """`private_key` is set only in the reply to the request that made it; it is kept nowhere."""

    id: int
    user_id: str
    name: str
    type: str
    public_key: str
    fingerprint: str
    created_at: datetime.datetime
    updated_at: datetime.datetime | None
    private_key: str | None = None


_SELECT = sa.select(*(KEYPAIRS.c[f.name] for f in fields(Keypair) if f.name != "private_key"))


def get(conn: sa.Connection, user_id: str, name: str) -> Keypair | None:
    row = conn.execute(_SELECT.where(KEYPAIRS.c.user_id == user_id, KEYPAIRS.c.name == name)).first()
    return None if row is None else Keypair(*row)


def list_(conn: sa.Connection, user_id: str, *, limit: int | None = None, after: str | None = None) -> list[Keypair]:
    """A user's key pairs by name, those after the name `after`."""
    query = _SELECT.where(KEYPAIRS.c.user_id == user_id).order_by(KEYPAIRS.c.name)
    if after is not None:
        query = query.where(KEYPAIRS.c.name > after)
    return [Keypair(*row) for row in conn.execute(query if limit is None else query.limit(limit))]


def count(conn: sa.Connection, user_id: str) -> int:
    return int(conn.execute(sa.select(sa.func.count()).where(KEYPAIRS.c.user_id == user_id)).scalar_one())


def insert(conn: sa.Connection, **values: Any) -> Keypair:
    """A new key pair. oslo.db's DBDuplicateEntry when the user has one of that name."""
    conn.execute(sa.insert(KEYPAIRS).values(created_at=utcnow(), **values))
    found = get(conn, values["user_id"], values["name"])
    assert found is not None
    return found


def delete(conn: sa.Connection, user_id: str, name: str) -> bool:
    return bool(
        conn.execute(sa.delete(KEYPAIRS).where(KEYPAIRS.c.user_id == user_id, KEYPAIRS.c.name == name)).rowcount
    )
