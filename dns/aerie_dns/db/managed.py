# SPDX-License-Identifier: Apache-2.0
"""Managed records in SQL: which server, port or floating IP is to have which record."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

import sqlalchemy as sa

from aerie_dns.db.rows import Noun
from aerie_dns.db.tables import MANAGED


@dataclass(frozen=True)
class Managed:
    id: str
    zone_id: str
    name: str
    type: str
    data: str
    ttl: int | None
    source: str
    source_id: str
    project_id: str
    description: str | None
    created_at: datetime.datetime
    updated_at: datetime.datetime | None


NOUN: Noun[Managed] = Noun(MANAGED, Managed)


def sources(conn: sa.Connection, kinds: list[str]) -> dict[tuple[str, str], list[Managed]]:
    """Every managed record of these kinds of source, by (source, id of the source)."""
    found: dict[tuple[str, str], list[Managed]] = {}
    for row in NOUN.all(conn, source=kinds):
        found.setdefault((row.source, row.source_id), []).append(row)
    return found
