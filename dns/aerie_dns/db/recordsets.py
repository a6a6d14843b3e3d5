# SPDX-License-Identifier: Apache-2.0
"""Record sets in SQL, each read together with the zone it stands in."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from aerie_common.db import new_id
from aerie_dns import states
from aerie_dns.db.rows import Noun, like
from aerie_dns.db.tables import RECORDSETS, ZONES


@dataclass(frozen=True)
class RecordSet:
    id: str
    zone_id: str
    zone_name: str
    project_id: str
    name: str
    type: str
    ttl: int | None
    description: str | None
    records: list[str]
    managed: bool
    status: str
    action: str
    serial: int
    version: int
    created_at: datetime.datetime
    updated_at: datetime.datetime | None

    @property
    def action_after_change(self) -> str:
        """The action that a change of its values means: one that no server has seen yet is still being created."""
        return states.CREATE if self.action == states.CREATE else states.UPDATE


class _RecordSets(Noun[RecordSet]):
    def __init__(self) -> None:
        super().__init__(RECORDSETS, RecordSet)
        self.columns += [
            ZONES.c.name.label("zone_name"),
        ]

    def source(self) -> sa.FromClause:
        return RECORDSETS.join(ZONES, RECORDSETS.c.zone_id == ZONES.c.id)

    def select(self) -> sa.Select[Any]:
        return sa.select(*self.columns).select_from(self.source())

    def filter(self, name: str, text: str) -> sa.ColumnElement[bool]:
        if name == "data":
            # The records are a JSON list; a filter means one whole record.
            quoted = text.replace('"', '\\"')
            return like(sa.type_coerce(RECORDSETS.c.records, sa.Text()), f'*"{quoted}"*')
        return super().filter(name, text)


NOUN = _RecordSets()
STAYING = [RECORDSETS.c.action != states.DELETE]
"""The record sets that are not on their way out."""


def owned_by(project_id: str | None) -> list[sa.ColumnElement[bool]]:
    """The record sets a project made, or that stand in its zones by themselves; all of them for None."""
    return [] if project_id is None else [RECORDSETS.c.project_id == project_id]


def in_zone(conn: sa.Connection, zone_id: str) -> list[RecordSet]:
    return NOUN.all(conn, zone_id=zone_id)


def at_name(conn: sa.Connection, zone_id: str, name: str) -> list[RecordSet]:
    """Every record set of that name, also those that are on their way out."""
    return NOUN.all(conn, zone_id=zone_id, name=name)


def unserved(conn: sa.Connection, zone_id: str, limit_serial: int) -> list[RecordSet]:
    """Those whose last change, up to that serial, is not known to be served."""
    unsettled = RECORDSETS.c.status.in_([states.PENDING, states.ERROR])
    return NOUN.all(conn, unsettled, RECORDSETS.c.serial <= limit_serial, zone_id=zone_id)


def insert(conn: sa.Connection, **values: Any) -> RecordSet:
    return NOUN.insert(conn, status=states.RECORDSET.initial, **values)


def insert_new(conn: sa.Connection, rows: Iterable[Mapping[str, Any]]) -> None:
    """Store many at once; every row has the same keys."""
    made = [{"id": new_id(), "status": states.RECORDSET.initial, **row} for row in rows]
    if made:
        conn.execute(sa.insert(RECORDSETS), made)


def changed(conn: sa.Connection, recordset_id: str, action: str, serial: int, values: Mapping[str, Any]) -> None:
    """It waits for the name servers from now on."""
    states.RECORDSET.advance(
        conn, RECORDSETS, recordset_id, "changed", values={**values, "action": action, "serial": serial}
    )


def soa_changed(conn: sa.Connection, zone_id: str, serial: int, soa: str) -> None:
    """The zone's SOA record is another."""
    where = [RECORDSETS.c.zone_id == zone_id, RECORDSETS.c.type == "SOA"]
    values = {"records": [soa], "serial": serial, "action": states.UPDATE}
    states.advance_all(conn, states.RECORDSET, RECORDSETS, "changed", where, values)


def all_deleted(conn: sa.Connection, zone_id: str, serial: int) -> None:
    """The whole zone is to go."""
    values = {"serial": serial, "action": states.DELETE}
    states.advance_all(conn, states.RECORDSET, RECORDSETS, "changed", [RECORDSETS.c.zone_id == zone_id], values)


def served(conn: sa.Connection, zone_id: str, serial: int) -> None:
    """The name servers serve everything up to this serial: what was to go is gone, the rest is ACTIVE."""
    upto = [RECORDSETS.c.zone_id == zone_id, RECORDSETS.c.serial <= serial]
    unsettled = RECORDSETS.c.status.in_([states.PENDING, states.ERROR])
    conn.execute(sa.delete(RECORDSETS).where(*upto, unsettled, RECORDSETS.c.action == states.DELETE))
    states.advance_all(conn, states.RECORDSET, RECORDSETS, "served", upto, {"action": states.NONE})


def failed(conn: sa.Connection, zone_id: str, serial: int) -> None:
    """The name servers do not take the changes up to this serial."""
    upto = [RECORDSETS.c.zone_id == zone_id, RECORDSETS.c.serial <= serial]
    states.advance_all(conn, states.RECORDSET, RECORDSETS, "failed", upto, {})


def change_owner(conn: sa.Connection, zone_id: str, old: str, new: str) -> None:
    """The record sets of one project in a zone are another's from now on."""
    mine = sa.and_(RECORDSETS.c.zone_id == zone_id, RECORDSETS.c.project_id == old)
    conn.execute(sa.update(RECORDSETS).where(mine).values(project_id=new))
