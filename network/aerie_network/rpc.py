# SPDX-License-Identifier: Apache-2.0
"""What leaves this service: wakes for agents and external events for compute, each sent from a thread of its own.

Invariant: both only hasten. A lost wake is made up for by the agent's next heartbeat; an event for compute is a row
until compute has taken it. The messages with agents are declared in `agent/messages.py` and `agent/rpc.py`.
"""

from __future__ import annotations

import datetime
import logging
import threading
from typing import Any

import sqlalchemy as sa

from aerie_common.clients import RemoteError
from aerie_common.db import retried, utcnow
from aerie_common.errors import ServiceUnavailable
from aerie_common.reconcile import Reconciler
from aerie_network.agent.rpc import AgentClient
from aerie_network.container import NetworkService
from aerie_network.db import tables
from aerie_network.logic.work import COMPUTE_TOPIC, HOSTS_TOPIC

LOG = logging.getLogger(__name__)
LEASE = datetime.timedelta(seconds=30)
UNKNOWN_SERVER_PATIENCE = datetime.timedelta(seconds=60)


class HostWaker:
    """Tells agents that their hosts' states have changed. Changes that come while it sends are told together."""

    def __init__(self, svc: NetworkService) -> None:
        self._db, self._client = svc.db, AgentClient(svc.rpc)
        self._pending: dict[str, int] = {}
        self._condition = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._loop, name="host-waker", daemon=True)

    def start(self) -> None:
        self._db.subscribe(HOSTS_TOPIC, self._changed)
        self._thread.start()

    def stop(self) -> None:
        self._db.unsubscribe(HOSTS_TOPIC, self._changed)
        with self._condition:
            self._stopping = True
            self._condition.notify()
        self._thread.join(10)

    def _changed(self, values: list[tuple[str, int]]) -> None:
        with self._condition:
            for host, revision in values:
                self._pending[host] = max(revision, self._pending.get(host, 0))
            self._condition.notify()

    def _loop(self) -> None:
        while True:
            with self._condition:
                while not self._pending and not self._stopping:
                    self._condition.wait()
                if self._stopping:
                    return
                pending, self._pending = self._pending, {}
            for host, revision in pending.items():
                self._client.wake(host, revision)


class ComputeNotifier:
    """Delivers external events to compute: at once after the commit, and again until compute has taken them."""

    def __init__(self, svc: NetworkService, period: float = 2.0) -> None:
        self._svc = svc
        self._reconciler = Reconciler("compute-events", self.deliver, period, max_retry=5.0)

    def start(self) -> None:
        self._svc.db.subscribe(COMPUTE_TOPIC, self._committed)
        self._reconciler.start()

    def stop(self) -> None:
        self._svc.db.unsubscribe(COMPUTE_TOPIC, self._committed)
        self._reconciler.stop()

    def _committed(self, values: list[Any]) -> None:
        self._reconciler.wake()

    def deliver(self) -> None:
        """Send everything that is due. What compute does not take now is due again later."""
        while rows := self._claim():
            try:
                refused = self._send(rows)
            except ServiceUnavailable as e:
                self._later(rows, str(e))
                LOG.warning("%d events wait for compute: %s", len(rows), e)
                return
            late = utcnow() - UNKNOWN_SERVER_PATIENCE
            again = [row for row in rows if row.id in refused and row.created_at > late]
            kept = {row.id for row in again}
            self._forget([row.id for row in rows if row.id not in kept])
            if again:
                self._later(again, "compute does not know the server yet")

    @retried
    def _claim(self) -> list[Any]:
        """Take due events; another process takes others."""
        e = tables.compute_events
        now = utcnow()
        query = sa.select(e).where(e.c.due_at <= now).order_by(e.c.id).limit(self._svc.conf.nova.batch)
        with self._svc.db.read() as conn:
            if conn.execute(sa.select(e.c.id).where(e.c.due_at <= now).limit(1)).first() is None:
                return []
        with self._svc.db.write() as conn:
            rows = list(conn.execute(query.with_for_update(skip_locked=True)))
            if rows:
                conn.execute(sa.update(e).where(e.c.id.in_([row.id for row in rows])).values(due_at=now + LEASE))
        return rows

    def _send(self, rows: list[Any]) -> set[int]:
        """Post events; returns the ids of those whose server compute does not know."""
        events = [
            {"name": row.name, "server_uuid": row.server_id, "tag": row.tag, "status": row.status} for row in rows
        ]
        try:
            reply = self._svc.clients["compute"].post("/os-server-external-events", {"events": events})
        except RemoteError as e:
            if e.status == 404:
                return {row.id for row in rows}
            if e.status >= 500:
                raise ServiceUnavailable(f"compute answers {e.status}: {e}") from e
            LOG.error("compute refuses %d events: %s", len(rows), e)
            return set()
        unknown = {
            (event.get("server_uuid"), event.get("name"), event.get("tag"))
            for event in (reply or {}).get("events", ())
            if int(event.get("code", 200)) in (404, 422)
        }
        return {row.id for row in rows if (row.server_id, row.name, row.tag) in unknown}

    @retried
    def _forget(self, ids: list[int]) -> None:
        if ids:
            e = tables.compute_events
            with self._svc.db.write() as conn:
                conn.execute(sa.delete(e).where(e.c.id.in_(ids)))

    @retried
    def _later(self, rows: list[Any], reason: str) -> None:
        """The older an event, the longer the pause."""
        e, now = tables.compute_events, utcnow()
        with self._svc.db.write() as conn:
            for row in rows:
                pause = min(30.0, max(0.5, (now - row.created_at).total_seconds()))
                due = now + datetime.timedelta(seconds=pause)
                conn.execute(sa.update(e).where(e.c.id == row.id).values(due_at=due, reason=reason[:1000]))
