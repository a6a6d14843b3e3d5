# SPDX-License-Identifier: Apache-2.0
"""Tasks (imports as clients see them) in SQL. The flow does the work; the task tells about it."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from aerie_common.db import paginate, utcnow
from aerie_image.db.tables import tasks

ENDED = ("success", "failure")


@dataclass(frozen=True)
class Task:
    """One task. status: pending, processing, success or failure."""

    id: str
    type: str
    status: str
    owner: str
    user_id: str | None
    image_id: str | None
    request_id: str | None
    input: dict[str, Any]
    result: dict[str, Any] | None
    message: str
    created_at: datetime.datetime
    updated_at: datetime.datetime | None


def insert(conn: sa.Connection, values: Mapping[str, Any]) -> Task:
    """A new task."""
    now = utcnow()
    row = {"status": "pending", "message": "", "result": None, **values, "created_at": now, "updated_at": now}
    conn.execute(sa.insert(tasks).values(**row))
    return Task(**row)


def get(conn: sa.Connection, task_id: str) -> Task | None:
    """The task of that id."""
    row = conn.execute(sa.select(tasks).where(tasks.c.id == task_id)).mappings().first()
    return Task(**row) if row else None


def of_image(conn: sa.Connection, image_id: str) -> list[Task]:
    """An image's tasks, the newest first."""
    query = sa.select(tasks).where(tasks.c.image_id == image_id).order_by(tasks.c.created_at.desc(), tasks.c.id)
    return [Task(**row) for row in conn.execute(query).mappings()]


def find(
    conn: sa.Connection,
    owner: str | None,
    equal: Mapping[str, str],
    *,
    sort: Sequence[tuple[str, str]],
    marker: Task | None,
    limit: int,
) -> list[Task]:
    """Tasks (of an owner) whose columns have these values."""
    query = sa.select(tasks).where(*(tasks.c[name] == value for name, value in equal.items()))
    if owner is not None:
        query = query.where(tasks.c.owner == owner)
    query = paginate(query, sort=[(tasks.c[k], d) for k, d in sort], marker=marker, limit=limit)
    return [Task(**row) for row in conn.execute(query).mappings()]


def change(conn: sa.Connection, task_id: str, **values: Any) -> None:
    """Change a task that has not ended."""
    conn.execute(sa.update(tasks).where(tasks.c.id == task_id, tasks.c.status.not_in(ENDED)).values(**values))


def prune(conn: sa.Connection, before: datetime.datetime) -> int:
    """Forget tasks that ended before that time; how many."""
    query = sa.delete(tasks).where(tasks.c.status.in_(ENDED), tasks.c.updated_at < before)
    return int(conn.execute(query).rowcount)
