# SPDX-License-Identifier: Apache-2.0
"""Zone files in and out. An import is one transaction: the whole zone, or a task in ERROR that says what is wrong."""

from __future__ import annotations

from typing import Any

from aerie_common.db import new_id, retried
from aerie_common.errors import AerieError
from aerie_dns import errors, states, transfer
from aerie_dns.caller import Caller
from aerie_dns.container import Dns
from aerie_dns.db import nouns as db
from aerie_dns.db import recordsets as db_recordsets
from aerie_dns.db import zones as db_zones
from aerie_dns.db.nouns import Task
from aerie_dns.db.rows import Connection
from aerie_dns.flows.zone_push import served_rrset
from aerie_dns.logic import changes, quotas, zones
from aerie_dns.paging import Page

COMPLETE, ERROR = "COMPLETE", "ERROR"
IMPORT, EXPORT = "import", "export"


def import_(svc: Dns, caller: Caller, text: str, attributes: dict[str, str] | None = None) -> Task:
    """Make a zone of a zone file. What is wrong with it is the task's message."""
    if caller.project_id is None:
        raise errors.MissingProject()
    zones.choose_pool(svc, caller, attributes or {})
    try:
        found = transfer.parse(text)
        return _import(svc, caller, found, attributes)
    except ValueError as error:
        return _note(svc, caller, str(error))
    except AerieError as error:
        return _note(svc, caller, error.message)


@retried
def _import(svc: Dns, caller: Caller, found: transfer.Fetched, attributes: dict[str, str] | None) -> Task:
    with svc.db.write() as conn:
        given = {"name": found.name, "email": found.email, "ttl": found.ttl, "attributes": attributes}
        zone = zones.create_in(svc, conn, caller, **given)
        rrsets = [r for r in found.rrsets if r.type != "SOA" and not (r.type == "NS" and r.name == zone.name)]
        limits = quotas.limits(svc, conn, zone.project_id)
        records = sum(len(r.records) for r in rrsets)
        most = limits["zone_recordsets"], limits["zone_records"]
        if not db_zones.claim_records(conn, zone.id, len(rrsets), records, *most):
            raise errors.OverQuota(resource="zone_recordsets or zone_records", limit=f"{most[0]} and {most[1]}")
        shared = {"zone_id": zone.id, "project_id": zone.project_id, "serial": zone.serial, "action": states.CREATE}
        db_recordsets.insert_new(
            conn,
            [{**shared, "name": r.name, "type": r.type, "ttl": r.ttl, "records": list(r.records)} for r in rrsets],
        )
        changes.start_push(conn, caller.ctx, zone)
        message = f"{zone.name} imported"
        if found.left_out:
            message += f" without its {', '.join(found.left_out)} records"
        return db.TASK.insert(
            conn, kind=IMPORT, project_id=zone.project_id, zone_id=zone.id, status=COMPLETE, message=message[:160]
        )


@retried
def _note(svc: Dns, caller: Caller, message: str) -> Task:
    with svc.db.write() as conn:
        return db.TASK.insert(conn, kind=IMPORT, project_id=caller.project_id, status=ERROR, message=message[:160])


@retried
def export(svc: Dns, caller: Caller, zone_id: str) -> Task:
    """Offer the zone's file. OverQuota when the zone has more record sets than may be exported."""
    with svc.db.write() as conn:
        zone = zones.find(conn, caller, zone_id, own=True)
        limit = quotas.limits(svc, conn, zone.project_id)["api_export_size"]
        if 0 <= limit < zone.recordset_count:
            raise errors.OverQuota(resource="api_export_size", limit=limit)
        id = new_id()
        location = f"designate://v2/zones/tasks/exports/{id}/export"
        return db.TASK.insert(
            conn, id=id, kind=EXPORT, project_id=zone.project_id, zone_id=zone_id, status=COMPLETE, location=location
        )


def zone_file(svc: Dns, caller: Caller, export_id: str) -> str:
    """The zone as it is now, as text."""
    with svc.db.read() as conn:
        task = _find(conn, caller, EXPORT, export_id)
        zone = zones.find(conn, caller, task.zone_id or "")
        sets = [s for s in db_recordsets.in_zone(conn, zone.id) if s.action != states.DELETE]
    return transfer.zone_file(zone.name, zone.ttl, (served_rrset(zone, s) for s in sets))


def _find(conn: Connection, caller: Caller, kind: str, task_id: str) -> Task:
    task = db.TASK.get(conn, id=task_id, kind=kind)
    if task is None or caller.scope not in (None, task.project_id):
        raise errors.ImportNotFound() if kind == IMPORT else errors.ExportNotFound()
    return task


def list_(svc: Dns, caller: Caller, kind: str, page: Page) -> tuple[list[Task], int]:
    """Imports or exports of the project."""
    with svc.db.read() as conn:
        mine: dict[str, Any] = {} if caller.scope is None else {"project_id": caller.scope}
        return db.TASK.page(conn, page, (), kind=kind, **mine)


def show(svc: Dns, caller: Caller, kind: str, task_id: str) -> Task:
    """One of them."""
    with svc.db.read() as conn:
        return _find(conn, caller, kind, task_id)


@retried
def delete(svc: Dns, caller: Caller, kind: str, task_id: str) -> None:
    """Forget one; the zone stays."""
    with svc.db.write() as conn:
        _find(conn, caller, kind, task_id)
        db.TASK.delete(conn, id=task_id)
