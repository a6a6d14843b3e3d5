# SPDX-License-Identifier: Apache-2.0
"""How a change of a zone is set on its way: a new serial, PENDING, and one flow that brings it to the name servers.

Invariant: a zone that is PENDING has an active flow, or a flow that is about to end and will see, in the transaction
that ends it, that the zone has changed. Both sides write the zone's row, so one of them sees the other.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from aerie_common import flow
from aerie_common.context import Context
from aerie_dns import rdata, states
from aerie_dns.container import Dns
from aerie_dns.db import recordsets as db_recordsets
from aerie_dns.db import zones as db_zones
from aerie_dns.db.rows import Connection
from aerie_dns.db.zones import Zone


def soa(svc: Dns, zone: Zone) -> str:
    """The data of the zone's SOA record as of its serial."""
    pool = svc.pools.get(zone.pool_id, svc.default_pool)
    return rdata.soa(pool.ns_records[0], zone.email, zone.serial, zone.refresh, zone.retry, zone.expire, zone.minimum)


def bump(svc: Dns, conn: Connection, ctx: Context, zone: Zone, **values: Any) -> Zone:
    """Give a zone, whose row is held, a new serial and the new values, and send it to its servers. Returns it."""
    action = states.CREATE if zone.action == states.CREATE and zone.served_serial is None else states.UPDATE
    changed = replace(zone, **values, serial=db_zones.next_serial(zone.serial), version=zone.version + 1, action=action)
    changed = replace(changed, status=states.PENDING, fault=None)
    columns = {**values, "serial": changed.serial, "version": changed.version}
    db_zones.changed(conn, zone, action, columns)
    db_recordsets.soa_changed(conn, zone.id, changed.serial, soa(svc, changed))
    start_push(conn, ctx, changed)
    return changed


def start_push(conn: Connection, ctx: Context, zone: Zone, **extra: Any) -> None:
    """See to it that a flow will bring the zone, as it is when this transaction commits, to its servers."""
    from aerie_dns.flows.zone_push import ZONE_PUSH  # the flow's last step may start the next one

    if not flow.list_flows(conn, states=flow.ACTIVE, subject_id=zone.id, kinds=[ZONE_PUSH.kind], limit=1):
        flow.start(conn, ZONE_PUSH, zone.id, extra, ctx, project_id=zone.project_id)
