# SPDX-License-Identifier: Apache-2.0
"""The smaller nouns in SQL: a row each, and nothing that their common functions do not do."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from aerie_common.db import insert_if_absent, new_id, utcnow
from aerie_dns.db.rows import Noun
from aerie_dns.db.tables import (
    BLACKLISTS,
    QUOTAS,
    SERVICES,
    SHARES,
    TASKS,
    TLDS,
    TRANSFER_ACCEPTS,
    TRANSFER_REQUESTS,
    TSIGKEYS,
    ZONES,
)

Time = datetime.datetime


@dataclass(frozen=True)
class Share:
    id: str
    zone_id: str
    project_id: str
    target_project_id: str
    created_at: Time
    updated_at: Time | None


@dataclass(frozen=True)
class TransferRequest:
    id: str
    zone_id: str
    project_id: str
    target_project_id: str | None
    key: str
    description: str | None
    status: str
    created_at: Time
    updated_at: Time | None
    zone_name: str


@dataclass(frozen=True)
class TransferAccept:
    id: str
    zone_transfer_request_id: str
    zone_id: str
    project_id: str
    key: str
    status: str
    created_at: Time
    updated_at: Time | None


@dataclass(frozen=True)
class TsigKey:
    id: str
    name: str
    algorithm: str
    secret: str
    scope: str
    resource_id: str
    created_at: Time
    updated_at: Time | None


@dataclass(frozen=True)
class Tld:
    id: str
    name: str
    description: str | None
    created_at: Time
    updated_at: Time | None


@dataclass(frozen=True)
class Blacklist:
    id: str
    pattern: str
    description: str | None
    created_at: Time
    updated_at: Time | None


@dataclass(frozen=True)
class Task:
    id: str
    kind: str
    project_id: str
    zone_id: str | None
    status: str
    message: str | None
    location: str | None
    version: int
    created_at: Time
    updated_at: Time | None


@dataclass(frozen=True)
class ServiceStatus:
    id: str
    hostname: str
    service_name: str
    stats: dict[str, Any]
    capabilities: dict[str, Any]
    heartbeated_at: Time
    created_at: Time
    updated_at: Time | None


class _TransferRequests(Noun[TransferRequest]):
    def __init__(self) -> None:
        super().__init__(TRANSFER_REQUESTS, TransferRequest)

        self.columns.append(ZONES.c.name.label("zone_name"))

    def source(self) -> sa.FromClause:
        return TRANSFER_REQUESTS.join(ZONES, TRANSFER_REQUESTS.c.zone_id == ZONES.c.id)

    def select(self) -> sa.Select[Any]:
        return sa.select(*self.columns).select_from(self.source())


SHARE: Noun[Share] = Noun(SHARES, Share)
TRANSFER_REQUEST = _TransferRequests()
TRANSFER_ACCEPT: Noun[TransferAccept] = Noun(TRANSFER_ACCEPTS, TransferAccept)
TSIGKEY: Noun[TsigKey] = Noun(TSIGKEYS, TsigKey)
TLD: Noun[Tld] = Noun(TLDS, Tld)
BLACKLIST: Noun[Blacklist] = Noun(BLACKLISTS, Blacklist)
TASK: Noun[Task] = Noun(TASKS, Task)
SERVICE: Noun[ServiceStatus] = Noun(SERVICES, ServiceStatus)


def offered_to(project_id: str | None) -> list[sa.ColumnElement[bool]]:
    """Transfer requests a project made, or may accept; all for None."""
    table = TRANSFER_REQUESTS
    return (
        []
        if project_id is None
        else [sa.or_(table.c.project_id == project_id, table.c.target_project_id == project_id)]
    )


def quotas(conn: sa.Connection, project_id: str) -> dict[str, int]:
    """The limits that were set for the project."""
    query = sa.select(QUOTAS.c.resource, QUOTAS.c.hard_limit).where(QUOTAS.c.project_id == project_id)
    return {row.resource: row.hard_limit for row in conn.execute(query)}


def set_quota(conn: sa.Connection, project_id: str, resource: str, limit: int) -> None:
    if not insert_if_absent(conn, QUOTAS, {"project_id": project_id, "resource": resource, "hard_limit": limit}):
        mine = sa.and_(QUOTAS.c.project_id == project_id, QUOTAS.c.resource == resource)
        conn.execute(sa.update(QUOTAS).where(mine).values(hard_limit=limit))


def reset_quotas(conn: sa.Connection, project_id: str) -> None:
    conn.execute(sa.delete(QUOTAS).where(QUOTAS.c.project_id == project_id))


def heartbeat(conn: sa.Connection, hostname: str, service_name: str, stats: dict[str, Any]) -> None:
    """This daemon runs."""
    now = utcnow()
    mine = {"hostname": hostname, "service_name": service_name}
    new = {"id": new_id(), "stats": stats, "capabilities": {}, "heartbeated_at": now, "created_at": now}
    if not insert_if_absent(conn, SERVICES, {**mine, **new}):
        here = sa.and_(SERVICES.c.hostname == hostname, SERVICES.c.service_name == service_name)
        conn.execute(sa.update(SERVICES).where(here).values(heartbeated_at=now, stats=stats))


def tlds_named(conn: sa.Connection, names: list[str]) -> list[Tld]:
    """Top-level domains of these (lower case) names."""
    return TLD.all(conn, sa.func.lower(TLDS.c.name).in_(names))


def any_tld(conn: sa.Connection) -> bool:
    """Is the choice of top-level domains restricted?"""
    return bool(conn.execute(sa.select(sa.exists().select_from(TLDS))).scalar())
