# SPDX-License-Identifier: Apache-2.0
"""Managed records: record sets that follow servers, ports and floating IPs.

`managed_records` says who is to have which record; the record set at a name is made of all of them. Invariants: what a
user made at a name is never touched, managed records wait until it is gone; setting the records of a source again
changes nothing, and no serial moves.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from aerie_common.context import Context
from aerie_common.db import new_id
from aerie_dns import states
from aerie_dns.container import Dns
from aerie_dns.db import managed as db
from aerie_dns.db import recordsets as db_recordsets
from aerie_dns.db import zones as db_zones
from aerie_dns.db.rows import Connection
from aerie_dns.db.zones import Zone
from aerie_dns.logic import changes


@dataclass(frozen=True)
class Wanted:
    """One record that a source is to have."""

    zone_id: str
    name: str
    type: str
    data: str
    ttl: int | None
    project_id: str
    description: str | None = None


def set_in(svc: Dns, conn: Connection, ctx: Context, source: str, source_id: str, wanted: Iterable[Wanted]) -> bool:
    """The source has exactly these records from now on, as part of the caller's transaction; True when that changes
    something."""
    present = {_wanted(row): row for row in db.NOUN.all(conn, source=source, source_id=source_id)}
    target = set(wanted)
    gone, new = [row for w, row in present.items() if w not in target], sorted(target - present.keys(), key=str)
    if not gone and not new:
        return False
    touched = {(w.zone_id, w.name) for w in new} | {(row.zone_id, row.name) for row in gone}
    held: dict[str, Zone] = {}
    for zone_id in sorted({zone_id for zone_id, _ in touched}):  # in one order everywhere: no deadlocks
        zone = db_zones.NOUN.get(conn, id=zone_id, lock=True)
        if zone is not None and zone.action != states.DELETE:
            held[zone_id] = zone
    if gone:
        db.NOUN.delete(conn, id=[row.id for row in gone])
    for w in new:
        if w.zone_id in held:
            db.NOUN.insert(conn, id=new_id(), source=source, source_id=source_id, **w.__dict__)
    for zone_id, zone in held.items():
        current = changes.bump(svc, conn, ctx, zone)
        for name in sorted(name for z, name in touched if z == zone_id):
            rebuild_name(conn, current, name)
    return True


def _wanted(row: db.Managed) -> Wanted:
    return Wanted(row.zone_id, row.name, row.type, row.data, row.ttl, row.project_id, row.description)


def rebuild_name(conn: Connection, zone: Zone, name: str) -> None:
    """Make the managed record sets at a name what the managed records say. The zone is held and has a new serial."""
    rows = db.NOUN.all(conn, zone_id=zone.id, name=name)
    sets = db_recordsets.at_name(conn, zone.id, name)
    users = {s.type for s in sets if not s.managed and s.action != states.DELETE}
    at_apex = name == zone.name
    for type_ in sorted({row.type for row in rows} | {s.type for s in sets if s.managed}):
        if at_apex and type_ in ("SOA", "NS"):
            continue
        mine = [row for row in rows if row.type == type_]
        mine = [row for row in mine if row.source == "user"] or mine  # a PTR somebody chose counts more
        blocked = type_ in users or "CNAME" in users
        _set(conn, zone, name, type_, [] if blocked else mine)


def _set(conn: Connection, zone: Zone, name: str, type_: str, rows: list[db.Managed]) -> None:
    present = db_recordsets.NOUN.get(conn, zone_id=zone.id, name=name, type=type_)
    records = sorted({row.data for row in rows})
    if not records:
        if present is not None and present.managed and present.action != states.DELETE:
            db_recordsets.changed(conn, present.id, states.DELETE, zone.serial, {})
        return
    ttl = min((row.ttl for row in rows if row.ttl is not None), default=None)
    if present is not None and not present.managed:
        if present.action != states.DELETE:
            return
        db_recordsets.NOUN.delete(conn, id=present.id)
        present = None
    if present is None:
        db_recordsets.insert(
            conn, zone_id=zone.id, project_id=zone.project_id, name=name, type=type_, ttl=ttl, records=records,
            managed=True, serial=zone.serial, action=states.CREATE, description=rows[0].description,
        )  # fmt: skip
    elif present.records != records or present.ttl != ttl or present.action == states.DELETE:
        values = {"records": records, "ttl": ttl, "version": present.version + 1}
        db_recordsets.changed(conn, present.id, states.UPDATE, zone.serial, values)
