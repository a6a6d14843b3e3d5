# SPDX-License-Identifier: Apache-2.0
"""What was asked of a server, and how it went: the story that `server event list` tells."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import sqlalchemy as sa

from aerie_common.context import Context
from aerie_common.db import utcnow
from aerie_compute.db.tables import ACTIONS, EVENTS


@dataclass(frozen=True, slots=True)
class Action:
    """Somebody asked for something."""

    id: int
    server_id: str
    action: str
    request_id: str
    user_id: str | None
    project_id: str | None
    start_time: datetime.datetime
    updated_at: datetime.datetime
    message: str | None


@dataclass(frozen=True, slots=True)
class Event:
    """One part of the work on it. `internal` is for administrators only."""

    id: int
    server_id: str
    request_id: str
    event: str
    start_time: datetime.datetime
    finish_time: datetime.datetime | None
    result: str | None
    details: str | None
    internal: str | None
    host: str | None


_ACTIONS = sa.select(*(ACTIONS.c[f.name] for f in fields(Action)))
_EVENTS = sa.select(*(EVENTS.c[f.name] for f in fields(Event)))


def start(conn: sa.Connection, server_ids: Sequence[str], action: str, ctx: Context) -> None:
    """Note that the caller asked for an action on servers."""
    now = utcnow()
    rows = [
        {
            "server_id": server_id, "action": action, "request_id": ctx.request_id, "user_id": ctx.user_id,
            "project_id": ctx.project_id, "start_time": now, "updated_at": now, "message": None,
        }
        for server_id in server_ids
    ]  # fmt: skip
    conn.execute(sa.insert(ACTIONS), rows)


def finish(conn: sa.Connection, server_id: str, request_id: str, events: Sequence[Mapping[str, Any]]) -> None:
    """Write down the parts of the work; the action's message is "Error" when one of them failed."""
    if events:
        blank = {"finish_time": None, "result": None, "details": None, "internal": None, "host": None}
        rows = [{**blank, **event, "server_id": server_id, "request_id": request_id} for event in events]
        conn.execute(sa.insert(EVENTS), rows)
    failed = any(event.get("result") == "Error" for event in events)
    done = sa.update(ACTIONS).where(ACTIONS.c.server_id == server_id, ACTIONS.c.request_id == request_id)
    conn.execute(done.values(updated_at=utcnow(), message="Error" if failed else None))


def list_(
    conn: sa.Connection,
    server_id: str,
    *,
    since: datetime.datetime | None = None,
    before: datetime.datetime | None = None,
    limit: int | None = None,
    marker: Action | None = None,
) -> list[Action]:
    """Actions on a server, newest first."""
    query = _ACTIONS.where(ACTIONS.c.server_id == server_id).order_by(ACTIONS.c.id.desc())
    if since is not None:
        query = query.where(ACTIONS.c.updated_at >= since)
    if before is not None:
        query = query.where(ACTIONS.c.updated_at <= before)
    if marker is not None:
        query = query.where(ACTIONS.c.id < marker.id)
    return [Action(*row) for row in conn.execute(query.limit(limit) if limit is not None else query)]


def get(conn: sa.Connection, server_id: str, request_id: str) -> Action | None:
    """The action that a request began."""
    query = _ACTIONS.where(ACTIONS.c.server_id == server_id, ACTIONS.c.request_id == request_id)
    row = conn.execute(query.order_by(ACTIONS.c.id.desc())).first()
    return None if row is None else Action(*row)


def events(conn: sa.Connection, server_id: str, request_id: str) -> list[Event]:
    """Its parts, in order."""
    query = _EVENTS.where(EVENTS.c.server_id == server_id, EVENTS.c.request_id == request_id)
    return [Event(*row) for row in conn.execute(query.order_by(EVENTS.c.start_time, EVENTS.c.id))]
