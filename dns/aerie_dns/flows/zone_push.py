# SPDX-License-Identifier: Apache-2.0
"""zone_push: bring a zone to the state of the database on the servers of its pool, or take it off them.

The flow carries no content: each run reads what is wanted now, so a run that comes late, twice or after another brings
the same. A zone becomes ACTIVE by observation: every name server of the pool answers with its serial.
"""

from __future__ import annotations

import logging
from typing import Any

from aerie_common.flow import Fail, Fault, Flow, Pending, Retry, Run, Step
from aerie_dns import rdata, states
from aerie_dns.container import Dns
from aerie_dns.db import recordsets as db_recordsets
from aerie_dns.db import zones as db_zones
from aerie_dns.db.recordsets import RecordSet
from aerie_dns.db.rows import Connection
from aerie_dns.db.zones import Zone
from aerie_dns.drivers import base
from aerie_dns.drivers.base import Driver, DriverError, Rrset, ZoneMissing, serial_newer
from aerie_dns.logic import changes, zones

LOG = logging.getLogger(__name__)
FIRST_POLL, LAST_POLL = 0.02, 2.0
REMIND_FROM = 6  # tries, which are a second and a half


def served_rrset(zone: Zone, recordset: RecordSet) -> Rrset:
    """The record set as servers are given it."""
    ttl = zone.ttl if recordset.ttl is None else recordset.ttl
    if recordset.action == states.DELETE:
        return Rrset(recordset.name, recordset.type, ttl, ())
    records = tuple(dict.fromkeys(rdata.canonical(recordset.type, record) for record in recordset.records))
    return Rrset(recordset.name, recordset.type, ttl, records)


def _driver(svc: Dns, zone: Zone) -> Driver:
    try:
        return svc.driver(zone.pool_id)
    except KeyError:
        raise Fail(f"The pool {zone.pool_id} of zone {zone.name} is not configured.", code="pool_not_found") from None


def push(run: Run[Dns]) -> dict[str, Any]:
    """Send what has changed; the whole zone where a change is not enough. Returns what the servers should now say."""
    svc = run.services
    with svc.db.read() as conn:
        zone = db_zones.NOUN.get(conn, id=run.subject_id)
        if zone is None:
            return {"gone": True}
        known = zone.served_serial is not None and zone.status != states.ERROR
        read = db_recordsets.unserved if known else None
        sets = read(conn, zone.id, zone.serial) if read else db_recordsets.in_zone(conn, zone.id)
        transferred = db_recordsets.NOUN.get(conn, zone_id=zone.id, name=zone.name, type="SOA")
    driver, pushed = _driver(svc, zone), {"serial": zone.serial, "action": zone.action}
    if zone.type == zones.PRIMARY:
        soa = Rrset(zone.name, "SOA", zone.ttl, (changes.soa(svc, zone),))
    elif transferred is not None:
        soa = served_rrset(zone, transferred)
    elif zone.action != states.DELETE:
        return {"gone": True}  # nothing has been fetched yet: the transfer will start the push
    try:
        if zone.action == states.DELETE:
            driver.delete_zone(zone.name)
        elif known:
            driver.change(zone.name, zone.serial, [*(served_rrset(zone, s) for s in sets if s.type != "SOA"), soa])
        else:
            put(driver, zone, sets, soa)
    except ZoneMissing:
        with svc.db.read() as conn:
            sets = db_recordsets.in_zone(conn, zone.id)
        try:
            put(driver, zone, sets, soa)
        except DriverError as error:
            raise Retry(_pause(run), str(error)) from error
    except DriverError as error:
        raise Retry(_pause(run), str(error)) from error
    return pushed


def put(driver: Driver, zone: Zone, sets: list[RecordSet], soa: Rrset) -> None:
    """Send the whole zone."""
    present = [served_rrset(zone, s) for s in sets if s.type != "SOA" and s.action != states.DELETE]
    driver.put_zone(base.Zone(zone.name, zone.serial, (soa, *present)))


def _pause(run: Run[Dns]) -> float:
    return float(min(0.25 * 2 ** min(run.attempt, 6), 10.0))


def observe(run: Run[Dns]) -> dict[str, Any]:
    """Wait until every name server says what was pushed, or until something else is wanted."""
    svc, pushed = run.services, run.results["push"]
    if "gone" in pushed:
        return {"stale": True}
    with svc.db.read() as conn:
        zone = db_zones.NOUN.get(conn, id=run.subject_id)
    if zone is None or zone.serial != pushed["serial"] or zone.action != pushed["action"]:
        return {"stale": True}
    driver = _driver(svc, zone)
    try:
        serials = driver.serials(zone.name)
    except DriverError as error:
        raise Retry(_pause(run), str(error)) from error
    if pushed["action"] == states.DELETE:
        done = all(serial is None for serial in serials)
    else:
        done = all(serial is not None and not serial_newer(pushed["serial"], serial) for serial in serials)
    if not done:
        if run.attempt >= REMIND_FROM:
            driver.remind(zone.name)
        poll = min(FIRST_POLL * 2 ** min(run.attempt, 10), LAST_POLL)
        raise Pending(poll, f"the name servers say {serials}, {pushed['serial']} is awaited")
    return {"stale": False}


def done(conn: Connection, run: Run[Dns]) -> None:
    """The servers serve it; or it has changed meanwhile, and the next flow begins."""
    zone = db_zones.NOUN.get(conn, id=run.subject_id, lock=True)
    if zone is None:
        return
    pushed, observed = run.results["push"], not run.results["observe"]["stale"]
    current = zone.serial == pushed.get("serial") and zone.action == pushed.get("action")
    if observed and pushed["action"] != states.DELETE:
        db_recordsets.served(conn, zone.id, pushed["serial"])
    if not observed or not current:
        _next(conn, run, zone)
    elif zone.action == states.DELETE:
        zones.remove(conn, zone)
        LOG.info("zone %s is gone", zone.name)
    elif db_zones.served(conn, zone):
        LOG.info("zone %s is served with serial %d", zone.name, zone.serial)


def _next(conn: Connection, run: Run[Dns], zone: Zone) -> None:
    from aerie_common import flow

    flow.start(conn, ZONE_PUSH, zone.id, run.input, run.ctx, project_id=zone.project_id)


def failed(conn: Connection, run: Run[Dns], fault: Fault) -> None:
    """ERROR, with the reason; the reconciler tries again. A hard delete ends here all the same."""
    zone = db_zones.NOUN.get(conn, id=run.subject_id, lock=True)
    if zone is None:
        return
    LOG.warning("zone %s could not be brought to its servers: %s", zone.name, fault.message)
    if zone.action == states.DELETE and run.input.get("hard"):
        zones.remove(conn, zone)
        return
    db_zones.failed(conn, zone.id, fault.message)
    db_recordsets.failed(conn, zone.id, zone.serial)


ZONE_PUSH = Flow(
    "zone_push",
    version=1,
    deadline=300,
    steps=(
        Step("push", do=push, timeout=60, retries=2),
        Step("observe", do=observe, timeout=120, retries=2),
    ),
    on_done=done,
    on_failed=failed,
)
