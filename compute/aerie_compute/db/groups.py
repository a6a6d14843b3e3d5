# SPDX-License-Identifier: Apache-2.0
"""Server groups in SQL: servers that shall be on one host, or shall not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from aerie_common.db import new_id, utcnow
from aerie_compute.db.tables import SERVER_GROUP_MEMBERS, SERVER_GROUPS


@dataclass(frozen=True, slots=True)
class ServerGroup:
    """policy: affinity, anti-affinity, soft-affinity or soft-anti-affinity."""

    id: str
    project_id: str
    user_id: str
    name: str
    policy: str
    rules: dict[str, Any]
    members: tuple[str, ...] = ()


def _of(row: Any, members: Iterable[str]) -> ServerGroup:
    return replace(ServerGroup(*row), members=tuple(members))


_COLUMNS = ("id", "project_id", "user_id", "name", "policy", "rules")
_SELECT = sa.select(*(SERVER_GROUPS.c[name] for name in _COLUMNS))
_MEMBERS = sa.select(SERVER_GROUP_MEMBERS.c.group_id, SERVER_GROUP_MEMBERS.c.server_id)


def list_(
    conn: sa.Connection, project_id: str | None, *, limit: int | None = None, offset: int = 0
) -> list[ServerGroup]:
    """Groups of one project, of all when None."""
    query = _SELECT.order_by(SERVER_GROUPS.c.created_at, SERVER_GROUPS.c.id)
    if project_id is not None:
        query = query.where(SERVER_GROUPS.c.project_id == project_id)
    if limit is not None:
        query = query.limit(limit)
    rows = conn.execute(query.offset(offset) if offset and limit is not None else query).all()
    members: dict[str, list[str]] = {}
    for group_id, server_id in conn.execute(
        _MEMBERS.where(SERVER_GROUP_MEMBERS.c.group_id.in_([row[0] for row in rows]))
    ):
        members.setdefault(group_id, []).append(server_id)
    return [_of(row, members.get(row[0], ())) for row in rows]


def get(conn: sa.Connection, group_id: str, project_id: str | None = None) -> ServerGroup | None:
    query = _SELECT.where(SERVER_GROUPS.c.id == group_id)
    if project_id is not None:
        query = query.where(SERVER_GROUPS.c.project_id == project_id)
    row = conn.execute(query).first()
    if row is None:
        return None
    rows = conn.execute(_MEMBERS.where(SERVER_GROUP_MEMBERS.c.group_id == group_id))
    return _of(row, (r[1] for r in rows))


def of_server(conn: sa.Connection, server_id: str) -> str | None:
    """The group a server is in."""
    query = sa.select(SERVER_GROUP_MEMBERS.c.group_id).where(SERVER_GROUP_MEMBERS.c.server_id == server_id)
    return conn.execute(query).scalar()


def count(conn: sa.Connection, project_id: str) -> int:
    return int(conn.execute(sa.select(sa.func.count()).where(SERVER_GROUPS.c.project_id == project_id)).scalar_one())


def insert(conn: sa.Connection, **values: Any) -> ServerGroup:
    group_id = new_id()
    conn.execute(sa.insert(SERVER_GROUPS).values(id=group_id, created_at=utcnow(), **values))
    return ServerGroup(group_id, **values)


def delete(conn: sa.Connection, group_id: str) -> None:
    conn.execute(sa.delete(SERVER_GROUP_MEMBERS).where(SERVER_GROUP_MEMBERS.c.group_id == group_id))
    conn.execute(sa.delete(SERVER_GROUPS).where(SERVER_GROUPS.c.id == group_id))


def add_members(conn: sa.Connection, group_id: str, server_ids: list[str]) -> None:
    conn.execute(sa.insert(SERVER_GROUP_MEMBERS), [{"group_id": group_id, "server_id": s} for s in server_ids])


def remove_member(conn: sa.Connection, server_id: str) -> None:
    conn.execute(sa.delete(SERVER_GROUP_MEMBERS).where(SERVER_GROUP_MEMBERS.c.server_id == server_id))
