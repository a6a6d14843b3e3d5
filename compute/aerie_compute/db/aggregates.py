# SPDX-License-Identifier: Apache-2.0
"""Host aggregates in SQL. The metadata key `availability_zone` makes an aggregate a zone."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from aerie_common.db import new_id, utcnow
from aerie_compute.db.tables import AGGREGATE_HOSTS, AGGREGATES

ZONE = "availability_zone"


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A set of hosts."""

    id: int
    uuid: str
    name: str
    metadata: dict[str, str]
    created_at: datetime.datetime
    updated_at: datetime.datetime | None
    hosts: tuple[str, ...] = ()

    @property
    def zone(self) -> str | None:
        return self.metadata.get(ZONE)


def _of(row: Any, hosts: Iterable[str]) -> Aggregate:
    return replace(Aggregate(*row), hosts=tuple(hosts))


_COLUMNS = ("id", "uuid", "name", "metadata", "created_at", "updated_at")
_SELECT = sa.select(*(AGGREGATES.c[name] for name in _COLUMNS))


def list_(conn: sa.Connection) -> list[Aggregate]:
    """All aggregates with their hosts."""
    members: dict[int, list[str]] = {}
    for key, host in conn.execute(sa.select(AGGREGATE_HOSTS).order_by(AGGREGATE_HOSTS.c.host)):
        members.setdefault(key, []).append(host)
    rows = conn.execute(_SELECT.order_by(AGGREGATES.c.id))
    return [_of(row, members.get(row[0], ())) for row in rows]


def get(conn: sa.Connection, key: int) -> Aggregate | None:
    row = conn.execute(_SELECT.where(AGGREGATES.c.id == key)).first()
    if row is None:
        return None
    query = sa.select(AGGREGATE_HOSTS.c.host).where(AGGREGATE_HOSTS.c.aggregate_id == key)
    return _of(row, conn.execute(query.order_by(AGGREGATE_HOSTS.c.host)).scalars())


def zones(conn: sa.Connection) -> dict[str, str]:
    """host -> zone, for hosts that an aggregate puts into one."""
    return {host: a.zone for a in list_(conn) if a.zone for host in a.hosts}


def insert(conn: sa.Connection, name: str, metadata: dict[str, str]) -> int:
    """A new aggregate. oslo.db's DBDuplicateEntry when the name is taken."""
    values = {"uuid": new_id(), "name": name, "metadata": metadata, "created_at": utcnow()}
    key = conn.execute(sa.insert(AGGREGATES).values(values)).inserted_primary_key
    assert key is not None
    return int(key[0])


def update(conn: sa.Connection, key: int, **values: Any) -> None:
    conn.execute(sa.update(AGGREGATES).where(AGGREGATES.c.id == key).values(values))


def delete(conn: sa.Connection, key: int) -> None:
    conn.execute(sa.delete(AGGREGATES).where(AGGREGATES.c.id == key))


def add_host(conn: sa.Connection, key: int, host: str) -> None:
    conn.execute(sa.insert(AGGREGATE_HOSTS).values(aggregate_id=key, host=host))


def remove_host(conn: sa.Connection, key: int, host: str) -> bool:
    gone = sa.delete(AGGREGATE_HOSTS).where(AGGREGATE_HOSTS.c.aggregate_id == key, AGGREGATE_HOSTS.c.host == host)
    return bool(conn.execute(gone).rowcount)


def forget_host(conn: sa.Connection, host: str) -> None:
    conn.execute(sa.delete(AGGREGATE_HOSTS).where(AGGREGATE_HOSTS.c.host == host))
