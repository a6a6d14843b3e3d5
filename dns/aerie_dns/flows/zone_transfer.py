# SPDX-License-Identifier: Apache-2.0
"""zone_transfer: fetch a SECONDARY zone from its masters, keep it, and send it on to the pool.

Invariant: a zone is replaced as a whole, in the transaction that also takes over the master's serial.
"""

from __future__ import annotations

import datetime
import logging
from typing import Any

from aerie_common.db import utcnow
from aerie_common.flow import Fail, Fault, Flow, Retry, Run, Step
from aerie_dns import states, transfer
from aerie_dns.container import Dns
from aerie_dns.db import recordsets as db_recordsets
from aerie_dns.db import zones as db_zones
from aerie_dns.db.rows import Connection
from aerie_dns.drivers.base import DriverError
from aerie_dns.logic import changes

LOG = logging.getLogger(__name__)
RETRY_SECONDS = 300


def fetch(run: Run[Dns]) -> dict[str, Any]:
    """Ask each master in turn; the first that answers is believed. The content is stored by this very step."""
    svc = run.services
    with svc.db.read() as conn:
        zone = db_zones.NOUN.get(conn, id=run.subject_id)
    if zone is None or zone.action == states.DELETE:
        return {"serial": None}
    serial_kept = zone.serial if zone.transferred_at is not None else None
    refusals = []
    for master in zone.masters:
        try:
            found = transfer.fetch(zone.name, master, serial_kept)
        except DriverError as error:
            refusals.append(str(error))
            continue
        if found is None:
            return {"serial": serial_kept}
        store(svc, run, zone.id, found)
        return {"serial": found.serial}
    if run.attempt < 2:
        raise Retry(1.0, "; ".join(refusals))
    raise Fail("; ".join(refusals), code="transfer_failed")


def store(svc: Dns, run: Run[Dns], zone_id: str, found: transfer.Fetched) -> None:
    """Replace the zone's record sets, leaving those alone that are the same."""
    with svc.db.write() as conn:
        zone = db_zones.NOUN.get(conn, id=zone_id, lock=True)
        if zone is None or zone.action == states.DELETE:
            return
        present = {(s.name, s.type): s for s in db_recordsets.in_zone(conn, zone_id)}
        action = states.UPDATE if zone.served_serial is not None else states.CREATE
        wanted = {(r.name, r.type): r for r in found.rrsets}
        rows = []
        for key, rrset in wanted.items():
            old = present.get(key)
            if old is None:
                rows.append({"zone_id": zone_id, "project_id": zone.project_id, "name": rrset.name, "type": rrset.type,
                             "ttl": rrset.ttl, "records": list(rrset.records), "managed": rrset.type == "SOA",
                             "serial": found.serial, "action": states.CREATE})  # fmt: skip
            elif old.records != list(rrset.records) or old.ttl != rrset.ttl or old.action == states.DELETE:
                values = {"records": list(rrset.records), "ttl": rrset.ttl}
                db_recordsets.changed(conn, old.id, states.UPDATE, found.serial, values)
        db_recordsets.insert_new(conn, rows)
        for key, old in present.items():
            if key not in wanted and old.action != states.DELETE:
                db_recordsets.changed(conn, old.id, states.DELETE, found.serial, {})
        due = utcnow() + datetime.timedelta(seconds=found.refresh)
        soa = {"email": found.email, "refresh": found.refresh, "retry": found.retry, "expire": found.expire,
               "minimum": found.minimum, "ttl": found.ttl}  # fmt: skip
        values = {"serial": found.serial, "transferred_at": utcnow(), "transfer_due_at": due, **soa}
        db_zones.changed(conn, zone, action, values)
        changes.start_push(conn, run.ctx, zone)


def done(conn: Connection, run: Run[Dns]) -> None:
    """Ask again when the SOA says so."""
    zone = db_zones.NOUN.get(conn, id=run.subject_id)
    if zone is not None:
        due = utcnow() + datetime.timedelta(seconds=zone.refresh)
        db_zones.NOUN.update(conn, zone.id, {"transfer_due_at": due})


def failed(conn: Connection, run: Run[Dns], fault: Fault) -> None:
    """No master answers: say so, and ask again later. What is served goes on being served."""
    zone = db_zones.NOUN.get(conn, id=run.subject_id)
    if zone is None:
        return
    LOG.warning("zone %s could not be fetched: %s", zone.name, fault.message)
    due = utcnow() + datetime.timedelta(seconds=min(zone.retry, RETRY_SECONDS))
    db_zones.NOUN.update(conn, zone.id, {"transfer_due_at": due})
    if zone.transferred_at is None:
        db_zones.failed(conn, zone.id, fault.message)


ZONE_TRANSFER = Flow(
    "zone_transfer",
    version=1,
    deadline=300,
    steps=(Step("fetch", do=fetch, timeout=120, retries=2),),
    on_done=done,
    on_failed=failed,
)
