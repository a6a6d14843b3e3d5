# SPDX-License-Identifier: Apache-2.0
"""Zones in SQL: who sees which, what lies above and below, quota, serials, status."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from aerie_common.db import insert_if_absent, utcnow
from aerie_dns import names, states
from aerie_dns.db.rows import Noun
from aerie_dns.db.tables import CATALOGS, SHARES, USAGES, ZONES


@dataclass(frozen=True)
class Zone:
    id: str
    project_id: str
    pool_id: str
    name: str
    type: str
    email: str
    description: str | None
    ttl: int
    refresh: int
    retry: int
    expire: int
    minimum: int
    serial: int
    served_serial: int | None
    status: str
    action: str
    attributes: dict[str, str]
    masters: list[str]
    parent_zone_id: str | None
    recordset_count: int
    record_count: int
    version: int
    fault: str | None
    transferred_at: datetime.datetime | None
    created_at: datetime.datetime
    updated_at: datetime.datetime | None
    shared: bool = False


class _Zones(Noun[Zone]):
    def __init__(self) -> None:
        super().__init__(ZONES, Zone)
        shared = sa.exists().where(SHARES.c.zone_id == ZONES.c.id).label("shared")
        self.columns.append(shared)

    def make(self, row: sa.Row[Any]) -> Zone:
        values = dict(row._mapping)
        return Zone(**{**values, "shared": bool(values["shared"])})


NOUN = _Zones()


def visible_to(project_id: str | None) -> list[sa.ColumnElement[bool]]:
    """The zones a project owns or has been given a share of; all of them for None."""
    if project_id is None:
        return []
    shared = sa.select(SHARES.c.zone_id).where(SHARES.c.target_project_id == project_id)
    return [sa.or_(ZONES.c.project_id == project_id, ZONES.c.id.in_(shared))]


def reverse(name: str) -> str:
    return name[::-1]


def above(conn: sa.Connection, name: str) -> list[Zone]:
    """Zones that the name lies within, other than one of that very name; the nearest first."""
    found = NOUN.all(conn, name=names.ancestors(name))
    return sorted(found, key=lambda zone: -len(zone.name))


def below(conn: sa.Connection, name: str) -> list[Zone]:
    """Zones whose names end with this one, other than itself."""
    prefix = reverse("." + name).replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_")
    return NOUN.all(conn, ZONES.c.reverse_name.like(prefix + "%", escape="\\"))


def of_name(conn: sa.Connection, name: str, among: Iterable[str] | None = None) -> Zone | None:
    """The zone which the name belongs to: the nearest one at or above it; `among` restricts to zones of these ids."""
    candidates = NOUN.all(conn, name=[name, *names.ancestors(name)])
    if among is not None:
        allowed = set(among)
        candidates = [zone for zone in candidates if zone.id in allowed]
    return max(candidates, key=lambda zone: len(zone.name), default=None)


def candidates(conn: sa.Connection, project_ids: Iterable[str], zone_names: Iterable[str]) -> list[Zone]:
    """Primary zones of these projects, and those of these names."""
    either = sa.or_(ZONES.c.project_id.in_(list(project_ids)), ZONES.c.name.in_(list(zone_names)))
    return NOUN.all(conn, either, type="PRIMARY")


def claim(conn: sa.Connection, project_id: str, limit: int) -> bool:
    """Count one more zone of the project, unless that makes more than `limit` (-1: no limit)."""
    insert_if_absent(conn, USAGES, {"project_id": project_id, "zones": 0})
    statement = sa.update(USAGES).where(USAGES.c.project_id == project_id)
    if limit >= 0:
        statement = statement.where(USAGES.c.zones < limit)
    return conn.execute(statement.values(zones=USAGES.c.zones + 1)).rowcount == 1


def release(conn: sa.Connection, project_id: str) -> None:
    """Count one zone less."""
    conn.execute(sa.update(USAGES).where(USAGES.c.project_id == project_id).values(zones=USAGES.c.zones - 1))


def usages(conn: sa.Connection) -> dict[str, tuple[int, int]]:
    """Project -> (zones as counted for the quota, zones that exist), for doctor."""
    counted = {row.project_id: row.zones for row in conn.execute(sa.select(USAGES))}
    counts = sa.select(ZONES.c.project_id, sa.func.count().label("n")).group_by(ZONES.c.project_id)
    real = {row.project_id: int(row.n) for row in conn.execute(counts)}
    return {p: (counted.get(p, 0), real.get(p, 0)) for p in counted.keys() | real.keys()}


def claim_records(
    conn: sa.Connection, zone_id: str, recordsets: int, records: int, max_recordsets: int, max_records: int
) -> bool:
    """Count so many record sets and records more (or fewer), unless that passes a limit (-1: none)."""
    where = [ZONES.c.id == zone_id]
    if recordsets > 0 and max_recordsets >= 0:
        where.append(ZONES.c.recordset_count + recordsets <= max_recordsets)
    if records > 0 and max_records >= 0:
        where.append(ZONES.c.record_count + records <= max_records)
    values = {"recordset_count": ZONES.c.recordset_count + recordsets, "record_count": ZONES.c.record_count + records}
    return conn.execute(sa.update(ZONES).where(*where).values(values)).rowcount == 1


def next_serial(serial: int) -> int:
    """The serial after this one: the time in seconds, or one more where changes come faster than that."""
    return max(int(time.time()), serial + 1) & 0xFFFFFFFF


def changed(conn: sa.Connection, zone: Zone, action: str, values: Mapping[str, Any]) -> None:
    """The zone waits for the name servers from now on. The caller holds its row."""
    states.ZONE.advance(conn, ZONES, zone.id, "changed", values={**values, "action": action, "fault": None})


def served(conn: sa.Connection, zone: Zone) -> bool:
    """The name servers serve this very state of the zone; False when it has changed in the meantime."""
    where = [ZONES.c.id == zone.id, ZONES.c.serial == zone.serial, ZONES.c.action == zone.action]
    values = {"action": states.NONE, "served_serial": zone.serial, "fault": None}
    return states.advance_all(conn, states.ZONE, ZONES, "served", where, values) == 1


def failed(conn: sa.Connection, zone_id: str, reason: str) -> None:
    """The name servers do not take the zone's last change."""
    states.advance_all(conn, states.ZONE, ZONES, "failed", [ZONES.c.id == zone_id], {"fault": reason})


def transfer_due(conn: sa.Connection, now: datetime.datetime) -> list[str]:
    """Secondary zones whose primary server is to be asked."""
    query = sa.select(ZONES.c.id).where(ZONES.c.type == "SECONDARY", ZONES.c.transfer_due_at <= now)
    return list(conn.execute(query.where(ZONES.c.action != states.DELETE)).scalars())


def unsettled(conn: sa.Connection, before: datetime.datetime) -> list[Zone]:
    """Zones that have been waiting for the name servers since before that time."""
    changed_at = sa.func.coalesce(ZONES.c.updated_at, ZONES.c.created_at)
    return NOUN.all(conn, ZONES.c.status.in_([states.PENDING, states.ERROR]), changed_at < before)


def catalog_changed(conn: sa.Connection, pool_id: str) -> None:
    """A zone has joined or left the pool."""
    insert_if_absent(conn, CATALOGS, {"pool_id": pool_id, "serial": 0})
    now = int(time.time())
    newer = sa.case((CATALOGS.c.serial >= now, CATALOGS.c.serial + 1), else_=now)
    conn.execute(sa.update(CATALOGS).where(CATALOGS.c.pool_id == pool_id).values(serial=newer))


def catalog_serial(conn: sa.Connection, pool_id: str) -> int:
    return int(conn.execute(sa.select(CATALOGS.c.serial).where(CATALOGS.c.pool_id == pool_id)).scalar() or 1)


def touch(conn: sa.Connection, zone_id: str) -> None:
    """Put the zone at the end of the queue of those which recovery looks at."""
    conn.execute(sa.update(ZONES).where(ZONES.c.id == zone_id).values(updated_at=utcnow()))
