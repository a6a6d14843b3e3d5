# SPDX-License-Identifier: Apache-2.0
"""Small records: events of other services, reports of agents, console tokens, scheduling decisions, migrations."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import sqlalchemy as sa

from aerie_common.db import insert_if_absent, new_id, utcnow
from aerie_compute.db.tables import AGENT_REPORTS, CONSOLE_TOKENS, EXTERNAL_EVENTS, MIGRATIONS, REQUEST_SPECS

# ---------------------------------------------------------------------------------------------------- external events


def add_events(conn: sa.Connection, events: Sequence[tuple[str, str, str, str]]) -> None:
    """(server, name, tag, status): the newest of a name and tag counts."""
    for server_id, name, tag, status in events:
        key = {"server_id": server_id, "name": name, "tag": tag}
        values = {"status": status, "created_at": utcnow()}
        if not insert_if_absent(conn, EXTERNAL_EVENTS, {**key, **values}):
            where = [EXTERNAL_EVENTS.c[k] == v for k, v in key.items()]
            conn.execute(sa.update(EXTERNAL_EVENTS).where(*where).values(values))


def events(conn: sa.Connection, server_id: str, name: str) -> dict[str, str]:
    """tag -> status of the events of that name."""
    query = sa.select(EXTERNAL_EVENTS.c.tag, EXTERNAL_EVENTS.c.status).where(
        EXTERNAL_EVENTS.c.server_id == server_id, EXTERNAL_EVENTS.c.name == name
    )
    return {tag: status for tag, status in conn.execute(query)}


def drop_events(conn: sa.Connection, server_id: str, tags: Sequence[str] | None = None) -> None:
    """Forget events of a server (those with these tags)."""
    gone = sa.delete(EXTERNAL_EVENTS).where(EXTERNAL_EVENTS.c.server_id == server_id)
    conn.execute(gone if tags is None else gone.where(EXTERNAL_EVENTS.c.tag.in_(tags)))


# ------------------------------------------------------------------------------------------------------------ reports


@dataclass(frozen=True, slots=True)
class Report:
    """How an agent's operation ended; see `agent.manager.Conductor.report`."""

    outcome: str
    power_state: str | None
    fault: dict[str, Any] | None
    result: dict[str, Any]


def add_report(conn: sa.Connection, op_id: str, server_id: str, report: Report) -> None:
    """Keep a report; a repeated one changes nothing."""
    values = {f.name: getattr(report, f.name) for f in fields(Report)}
    insert_if_absent(conn, AGENT_REPORTS, {"op_id": op_id, "server_id": server_id, **values, "created_at": utcnow()})


def report(conn: sa.Connection, op_id: str) -> Report | None:
    query = sa.select(*(AGENT_REPORTS.c[f.name] for f in fields(Report))).where(AGENT_REPORTS.c.op_id == op_id)
    row = conn.execute(query).first()
    return None if row is None else Report(*row)


def prune_reports(conn: sa.Connection, older_than: datetime.datetime) -> int:
    return int(conn.execute(sa.delete(AGENT_REPORTS).where(AGENT_REPORTS.c.created_at < older_than)).rowcount)


# ----------------------------------------------------------------------------------------------------- console tokens


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def add_console_token(
    conn: sa.Connection, token: str, *, server_id: str, host: str, protocol: str, type: str, seconds: int
) -> None:
    """Remember a token by its hash only."""
    now = utcnow()
    conn.execute(sa.delete(CONSOLE_TOKENS).where(CONSOLE_TOKENS.c.expires_at < now))
    conn.execute(
        sa.insert(CONSOLE_TOKENS).values(
            token_hash=_hash(token), server_id=server_id, host=host, protocol=protocol, type=type,
            expires_at=now + datetime.timedelta(seconds=seconds),
        )
    )  # fmt: skip


def console_token(conn: sa.Connection, token: str) -> dict[str, Any] | None:
    """What a token opens, None when it is unknown or too old."""
    c = CONSOLE_TOKENS.c
    query = sa.select(c.server_id, c.host, c.protocol, c.type).where(
        c.token_hash == _hash(token), c.expires_at >= utcnow()
    )
    row = conn.execute(query).first()
    return None if row is None else dict(row._mapping)


def use_console_token(conn: sa.Connection, token: str) -> bool:
    """Take a token out of use; True for the one caller that did."""
    gone = sa.delete(CONSOLE_TOKENS).where(CONSOLE_TOKENS.c.token_hash == _hash(token))
    return bool(conn.execute(gone).rowcount == 1)


def drop_console_tokens(conn: sa.Connection, server_id: str) -> None:
    conn.execute(sa.delete(CONSOLE_TOKENS).where(CONSOLE_TOKENS.c.server_id == server_id))


# ---------------------------------------------------------------------------------------------- scheduling decisions


def save_decision(
    conn: sa.Connection, server_id: str, request: Mapping[str, Any], explanation: Mapping[str, Any], host: str | None
) -> None:
    """Keep what was asked of the scheduler for a server and why it answered so; the last one counts."""
    values = {"request": dict(request), "explanation": dict(explanation), "host": host}
    changed = sa.update(REQUEST_SPECS).where(REQUEST_SPECS.c.server_id == server_id).values(values)
    if conn.execute(changed).rowcount == 0:
        insert_if_absent(conn, REQUEST_SPECS, {"server_id": server_id, **values, "created_at": utcnow()})


def decision(conn: sa.Connection, server_id: str) -> dict[str, Any] | None:
    """request, explanation and host."""
    c = REQUEST_SPECS.c
    row = conn.execute(sa.select(c.request, c.explanation, c.host).where(c.server_id == server_id)).first()
    return None if row is None else dict(row._mapping)


def drop_decision(conn: sa.Connection, server_id: str) -> None:
    conn.execute(sa.delete(REQUEST_SPECS).where(REQUEST_SPECS.c.server_id == server_id))


# --------------------------------------------------------------------------------------------------------- migrations


@dataclass(frozen=True, slots=True)
class Migration:
    """A resize or move of a server."""

    id: int
    uuid: str
    server_id: str
    project_id: str
    user_id: str
    type: str
    status: str
    source_host: str | None
    dest_host: str | None
    old_flavor: dict[str, Any] | None
    new_flavor: dict[str, Any] | None
    created_at: datetime.datetime
    updated_at: datetime.datetime | None


_MIGRATION = sa.select(*(MIGRATIONS.c[f.name] for f in fields(Migration)))


def add_migration(conn: sa.Connection, **values: Any) -> str:
    """Returns the new migration's uuid."""
    uuid = new_id()
    conn.execute(sa.insert(MIGRATIONS).values(uuid=uuid, created_at=utcnow(), **values))
    return uuid


def set_migration(conn: sa.Connection, uuid: str, **values: Any) -> None:
    conn.execute(sa.update(MIGRATIONS).where(MIGRATIONS.c.uuid == uuid).values(values))


def migrations(
    conn: sa.Connection, *, server_id: str | None = None, limit: int = 1000, **equal: Any
) -> list[Migration]:
    """Newest first."""
    query = _MIGRATION.order_by(MIGRATIONS.c.id.desc()).limit(limit)
    if server_id is not None:
        query = query.where(MIGRATIONS.c.server_id == server_id)
    for name, value in equal.items():
        query = query.where(MIGRATIONS.c[name] == value)
    return [Migration(*row) for row in conn.execute(query)]
