# SPDX-License-Identifier: Apache-2.0
"""The rules of record sets: what may stand where, quotas, managed ones, and their way to the name servers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from aerie_common.db import retried
from aerie_common.errors import BadRequest, Forbidden, InvalidField
from aerie_dns import errors, names, rdata, states
from aerie_dns.caller import Caller
from aerie_dns.container import Dns
from aerie_dns.db import recordsets as db
from aerie_dns.db import zones as db_zones
from aerie_dns.db.recordsets import RecordSet
from aerie_dns.db.rows import Connection, Duplicate
from aerie_dns.db.zones import Zone
from aerie_dns.logic import changes, managed, quotas, zones
from aerie_dns.paging import Page


def find(conn: Connection, caller: Caller, zone_id: str, recordset_id: str) -> RecordSet:
    """The record set, if the caller may see it: the zone's owner sees all, a project it is shared with its own.

    One that is to go is not found any more, though servers may still have it: the zone is PENDING as long."""
    zone = zones.find(conn, caller, zone_id)
    found = db.NOUN.get(conn, id=recordset_id, zone_id=zone_id, extra=db.STAYING)
    if found is None or (caller.scope not in (None, zone.project_id) and found.project_id != caller.scope):
        raise errors.RecordSetNotFound()
    return found


def list_(svc: Dns, caller: Caller, page: Page, zone_id: str | None = None) -> tuple[list[RecordSet], int]:
    """Record sets of one zone, or of all the caller's."""
    with svc.db.read() as conn:
        if zone_id is None:
            return db.NOUN.page(conn, page, [*db.STAYING, *db.owned_by(caller.scope)])
        zone = zones.find(conn, caller, zone_id)
        extra = [] if caller.scope == zone.project_id else db.owned_by(caller.scope)
        return db.NOUN.page(conn, page, [*db.STAYING, *extra], zone_id=zone_id)


def show(svc: Dns, caller: Caller, zone_id: str, recordset_id: str) -> RecordSet:
    """One record set. ZoneNotFound, RecordSetNotFound."""
    with svc.db.read() as conn:
        return find(conn, caller, zone_id, recordset_id)


def show_anywhere(svc: Dns, caller: Caller, recordset_id: str) -> RecordSet:
    """One record set, whatever zone it is in."""
    with svc.db.read() as conn:
        found = db.NOUN.get(conn, id=recordset_id, extra=[*db.STAYING, *db.owned_by(caller.scope)])
    if found is None:
        raise errors.RecordSetNotFound()
    return found


def checked_records(type_: str, records: Sequence[str]) -> list[str]:
    """The records as they are kept. InvalidField names the one that does not fit the type."""
    if not records:
        raise InvalidField("records", "at least one record is needed")
    for i, record in enumerate(records):
        try:
            rdata.canonical(type_, record)
        except rdata.InvalidRecord as error:
            raise InvalidField(f"records.{i}", f"{record[:80]!r} {error}") from None
    if type_ == "CNAME" and len(records) > 1:
        raise InvalidField("records", "a name is an alias of one other name only")
    return list(dict.fromkeys(record.strip() for record in records))


def check_place(conn: Connection, zone: Zone, name: str, type_: str) -> None:
    """Is this a name of this zone at which records of this type may stand? InvalidRecordSetLocation says why not."""
    if not names.is_record_name(name):
        raise InvalidField("name", f"{name!r} is not a valid record set name")
    try:
        rdata.check_owner(type_, name)
    except rdata.InvalidRecord as error:
        raise BadRequest(str(error)) from None
    if type_ == "NS" and name.startswith("*."):
        raise InvalidField("name", "a wildcard cannot be delegated")
    if not names.is_within(name, zone.name):
        raise errors.InvalidRecordSetLocation("RecordSet is not contained within it's parent zone")
    if name != zone.name:
        nearest = db_zones.of_name(conn, name)
        if nearest is not None and nearest.id != zone.id and len(nearest.name) > len(zone.name):
            raise errors.InvalidRecordSetLocation(f"RecordSet belongs in a child zone: {nearest.name}")
    if type_ == "CNAME" and name == zone.name:
        raise errors.InvalidRecordSetLocation("CNAME recordsets may not be created at the zone apex")
    others = [r for r in db.at_name(conn, zone.id, name) if r.action != states.DELETE and r.type != type_]
    if others and (type_ == "CNAME" or any(r.type == "CNAME" for r in others)):
        raise errors.InvalidRecordSetLocation("CNAME recordsets may not share a name with any other records")


def _changeable(conn: Connection, caller: Caller, zone_id: str) -> Zone:
    zone = zones.editable(conn, caller, zone_id, own=False)
    if zone.type != zones.PRIMARY:
        raise Forbidden("The record sets of a SECONDARY zone come from its masters.")
    return zone


def _claim(svc: Dns, conn: Connection, zone: Zone, recordsets: int, records: int, size: int) -> None:
    limits = quotas.limits(svc, conn, zone.project_id)
    if 0 <= limits["recordset_records"] < size:
        raise errors.OverQuota(resource="recordset_records", limit=limits["recordset_records"])
    most_sets, most_records = limits["zone_recordsets"], limits["zone_records"]
    if not db_zones.claim_records(conn, zone.id, recordsets, records, most_sets, most_records):
        over = "zone_records" if 0 <= most_records < zone.record_count + records else "zone_recordsets"
        raise errors.OverQuota(resource=over, limit=limits[over])


@retried
def create(
    svc: Dns,
    caller: Caller,
    zone_id: str,
    *,
    name: str,
    type: str,
    records: Sequence[str],
    ttl: int | None = None,
    description: str | None = None,
) -> RecordSet:
    """Store a record set and send it to the servers. DuplicateRecordSet, InvalidRecordSetLocation, OverQuota."""
    if type == "SOA":
        raise BadRequest("Creating a SOA recordset is not allowed")
    name, kept = name.lower(), checked_records(type, records)
    zones.check_ttl(svc, caller, ttl)
    with svc.db.write() as conn:
        zone = _changeable(conn, caller, zone_id)
        check_place(conn, zone, name, type)
        present = db.NOUN.get(conn, zone_id=zone.id, name=name, type=type)
        if present is not None:
            if present.action != states.DELETE:
                raise errors.DuplicateRecordSet()
            db.NOUN.delete(conn, id=present.id)  # the new one replaces it on the servers, too
        _claim(svc, conn, zone, 1, len(kept), len(kept))
        zone = changes.bump(svc, conn, caller.ctx, zone)
        try:
            return db.insert(
                conn, zone_id=zone.id, project_id=caller.project_id or zone.project_id, name=name, type=type, ttl=ttl,
                description=description, records=kept, serial=zone.serial, action=states.CREATE,
            )  # fmt: skip
        except Duplicate:
            raise errors.DuplicateRecordSet() from None


def _check_editable(caller: Caller, zone: Zone, recordset: RecordSet, verb: str, done: str) -> None:
    if recordset.type == "SOA":
        raise BadRequest(f"{verb} SOA recordsets is not allowed")
    if recordset.type == "NS" and recordset.name == zone.name:
        raise BadRequest(f"{verb} a root zone NS record is not allowed")
    if recordset.managed and not caller.edit_managed:
        raise BadRequest(f"Managed records may not be {done}")


@retried
def update(svc: Dns, caller: Caller, zone_id: str, recordset_id: str, **values: Any) -> RecordSet:
    """Change records, ttl or description, and send the record set to the servers."""
    zones.check_ttl(svc, caller, values.get("ttl"))
    with svc.db.write() as conn:
        zone = _changeable(conn, caller, zone_id)
        recordset = find(conn, caller, zone_id, recordset_id)
        _check_editable(caller, zone, recordset, "Updating", "updated")
        for fixed in ("name", "type"):
            if values.pop(fixed, getattr(recordset, fixed)).lower() != getattr(recordset, fixed).lower():
                raise InvalidField(fixed, "cannot be changed")
        if "records" in values:
            values["records"] = checked_records(recordset.type, values["records"])
            more = len(values["records"]) - len(recordset.records)
            if not recordset.managed:
                _claim(svc, conn, zone, 0, more, len(values["records"]))
        zone = changes.bump(svc, conn, caller.ctx, zone)
        values["version"] = recordset.version + 1
        db.changed(conn, recordset.id, recordset.action_after_change, zone.serial, values)
        return find(conn, caller, zone_id, recordset_id)


@retried
def delete(svc: Dns, caller: Caller, zone_id: str, recordset_id: str) -> RecordSet:
    """Take a record set from the servers, then forget it. Managed records of that name take its place."""
    with svc.db.write() as conn:
        zone = _changeable(conn, caller, zone_id)
        recordset = find(conn, caller, zone_id, recordset_id)
        _check_editable(caller, zone, recordset, "Deleting", "deleted")
        if not recordset.managed:
            db_zones.claim_records(conn, zone.id, -1, -len(recordset.records), -1, -1)
        zone = changes.bump(svc, conn, caller.ctx, zone)
        db.changed(conn, recordset.id, states.DELETE, zone.serial, {"version": recordset.version + 1})
        managed.rebuild_name(conn, zone, recordset.name)
        version = recordset.version + 1
        return replace(recordset, status=states.PENDING, action=states.DELETE, serial=zone.serial, version=version)
