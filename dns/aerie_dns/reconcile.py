# SPDX-License-Identifier: Apache-2.0
"""What makes good whatever got lost: zones that wait without a flow, secondary zones that are due, records of servers
that came or went unheard. Each takes no input and may run at any time, anywhere, as often as anybody likes."""

from __future__ import annotations

import datetime
import logging

from aerie_common import flow, outbox
from aerie_common.context import admin_context
from aerie_common.db import retried, utcnow
from aerie_common.errors import AerieError
from aerie_dns import caller as callers
from aerie_dns import states
from aerie_dns.container import Dns
from aerie_dns.db import zones as db_zones
from aerie_dns.follow import Follower
from aerie_dns.logic import changes, zones

LOG = logging.getLogger(__name__)


class Recovery:
    """Every zone that is PENDING or in ERROR for a while gets a flow, if it has none."""

    def __init__(self, svc: Dns) -> None:
        self._svc = svc

    def converge(self) -> None:
        interval = datetime.timedelta(seconds=self._svc.conf.dns.recovery_interval)
        with self._svc.db.read() as conn:
            stuck = db_zones.unsettled(conn, utcnow() - interval)
        for zone in stuck:
            self._restart(zone.id)

    @retried
    def _restart(self, zone_id: str) -> None:
        ctx = admin_context()
        with self._svc.db.write() as conn:
            zone = db_zones.NOUN.get(conn, id=zone_id, lock=True)
            if zone is None or zone.status == states.ACTIVE:
                return
            db_zones.touch(conn, zone_id)
            if flow.list_flows(conn, states=flow.ACTIVE, subject_id=zone_id, limit=1):
                return
            LOG.info("zone %s is %s without a flow: starting one", zone.name, zone.status)
            if zone.type == zones.SECONDARY and zone.transferred_at is None and zone.action != states.DELETE:
                zones.start_transfer(conn, callers.internal(ctx), zone)
            else:
                changes.start_push(conn, ctx, zone)


class Transfers:
    """Secondary zones are fetched when their SOA says so, or when a NOTIFY came."""

    def __init__(self, svc: Dns) -> None:
        self._svc = svc

    @retried
    def converge(self) -> None:
        with self._svc.db.write() as conn:
            for zone_id in db_zones.transfer_due(conn, utcnow()):
                zone = db_zones.NOUN.get(conn, id=zone_id, lock=True)
                if zone is not None:
                    # Not due again before this one has ended, which sets the time anew.
                    later = utcnow() + datetime.timedelta(seconds=600)
                    db_zones.NOUN.update(conn, zone_id, {"transfer_due_at": later})
                    zones.start_transfer(conn, callers.internal(admin_context()), zone)


class ManagedRecords:
    """Records are those of the servers, ports and floating IPs there are, and no others."""

    def __init__(self, svc: Dns) -> None:
        self._svc = svc
        self._follower = Follower(svc)

    def converge(self) -> None:
        if not self._svc.conf.sink.enabled:
            return
        ctx = admin_context()
        for source, source_id in self._follower.differing(ctx):
            # Asked again one by one: what came or went while everything was read is no difference.
            try:
                if self._follower.follow(ctx, source, source_id):
                    LOG.info("records of %s %s were not as they should be, and are now", source, source_id)
            except AerieError as error:
                LOG.warning("records of %s %s: %s", source, source_id, error)
        with self._svc.db.write() as conn:
            outbox.prune_seen_events(conn)
