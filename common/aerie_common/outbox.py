# SPDX-License-Identifier: Apache-2.0
"""Notifications that cannot get lost: written with the change they tell of, published afterwards.

Invariants. An event is in the table `outbox` if and only if its transaction was committed. It leaves the table only
after the broker has taken it, so it is published at least once, in the order of writing; a consumer recognises
repetitions by the event's id (`seen_event`). Of all relays on a database one publishes at a time.
"""

from __future__ import annotations

import datetime
import logging
import time
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from aerie_common.context import Context
from aerie_common.db import BigSerial, Database, DateTime, Id, Json, insert_if_absent, new_id, publish, retried, utcnow
from aerie_common.reconcile import Reconciler
from aerie_common.rpc import Rpc

LOG = logging.getLogger(__name__)

COMMIT_TOPIC = "outbox"
BATCH = 100

OUTBOX = sa.Table(
    "outbox",
    sa.MetaData(),
    sa.Column("seq", BigSerial, primary_key=True, autoincrement=True),
    sa.Column("id", Id, nullable=False),
    sa.Column("event_type", sa.String(255), nullable=False),
    sa.Column("priority", sa.String(16), nullable=False),
    sa.Column("payload", Json, nullable=False),
    sa.Column("context", Json, nullable=False),
    sa.Column("created_at", DateTime, nullable=False),
)

SEEN_EVENTS = sa.Table(
    "seen_events",
    sa.MetaData(),
    sa.Column("event_id", Id, primary_key=True),
    sa.Column("seen_at", DateTime, nullable=False, index=True),
)


def outbox_table(metadata: sa.MetaData) -> sa.Table:
    """Add the table `outbox` to a service's metadata (once per database)."""
    return OUTBOX.to_metadata(metadata)


def seen_events_table(metadata: sa.MetaData) -> sa.Table:
    """Add the table `seen_events` to a consumer's metadata (once per database)."""
    return SEEN_EVENTS.to_metadata(metadata)


def emit(conn: sa.Connection, event_type: str, payload: dict[str, Any], ctx: Context, *, priority: str = "INFO") -> str:
    """Write an event within the caller's transaction; return its id, which consumers find as the message id."""
    return emit_many(conn, [(event_type, payload)], ctx, priority=priority)[0]


def emit_many(
    conn: sa.Connection, events: Iterable[tuple[str, dict[str, Any]]], ctx: Context, *, priority: str = "INFO"
) -> list[str]:
    """The same for several (event type, payload) at once, by one statement."""
    now, context = utcnow(), ctx.to_dict()
    rows = [
        {
            "id": new_id(),
            "event_type": event_type,
            "priority": priority,
            "payload": payload,
            "context": context,
            "created_at": now,
        }
        for event_type, payload in events
    ]
    if rows:
        conn.execute(sa.insert(OUTBOX), rows)
        publish(conn, COMMIT_TOPIC, rows[0]["id"])
    return [str(row["id"]) for row in rows]


def seen_event(conn: sa.Connection, event_id: str) -> bool:
    """Whether this event has been handled before; if not, note it, in the transaction that handles it."""
    return not insert_if_absent(conn, SEEN_EVENTS, {"event_id": event_id, "seen_at": utcnow()})


def prune_seen_events(conn: sa.Connection, older_than: datetime.timedelta = datetime.timedelta(days=14)) -> int:
    """Forget events handled so long ago that they cannot come again; how many."""
    return int(conn.execute(sa.delete(SEEN_EVENTS).where(SEEN_EVENTS.c.seen_at < utcnow() - older_than)).rowcount)


class OutboxRelay:
    """Publishes what is in the outbox: right after a commit in its own process, within `period` seconds otherwise.

    While the broker is away events stay, for `keep` at most: so much can be published when it is back.
    """

    def __init__(
        self,
        db: Database,
        rpc: Rpc,
        publisher_id: str,
        *,
        period: float = 1.0,
        keep: datetime.timedelta = datetime.timedelta(days=7),
    ) -> None:
        self._db, self._rpc, self._publisher_id, self._keep = db, rpc, publisher_id, keep
        self._reconciler = Reconciler("outbox-relay", self.relay, period, singleton=db, max_retry=10.0)
        self._next_prune = time.monotonic() + 60.0

    def start(self) -> None:
        self._db.subscribe(COMMIT_TOPIC, self._committed)
        self._reconciler.start()

    def stop(self) -> None:
        self._db.unsubscribe(COMMIT_TOPIC, self._committed)
        self._reconciler.stop()

    def wake(self) -> None:
        self._reconciler.wake()

    def stalled(self) -> bool:
        """Whether nothing could be published for more than a minute; for health checks."""
        return self._reconciler.stalled()

    def relay(self) -> None:
        """Publish everything there is, oldest first. Raises what the messaging library raises."""
        if time.monotonic() >= self._next_prune:
            self._next_prune = time.monotonic() + 3600.0
            self.prune()
        query = sa.select(OUTBOX).order_by(OUTBOX.c.seq).limit(BATCH)
        while True:
            with self._db.read() as conn:
                rows = list(conn.execute(query))
            published: list[int] = []
            try:
                for row in rows:
                    self._rpc.notify(
                        row.context,
                        self._publisher_id,
                        row.event_type,
                        row.payload,
                        message_id=row.id,
                        timestamp=row.created_at,
                        priority=row.priority,
                    )
                    published.append(row.seq)
            finally:
                self._remove(published)
            if len(rows) < BATCH:
                break

    def prune(self) -> int:
        """Drop events that could not be published for longer than `keep`; how many."""
        with self._db.write() as conn:
            old = sa.delete(OUTBOX).where(OUTBOX.c.created_at < utcnow() - self._keep)
            count = int(conn.execute(old).rowcount)
        if count:
            LOG.error("Dropped %d notifications that could not be published for %s", count, self._keep)
        return count

    @retried
    def _remove(self, published: list[int]) -> None:
        if published:
            with self._db.write() as conn:
                conn.execute(sa.delete(OUTBOX).where(OUTBOX.c.seq.in_(published)))

    def _committed(self, values: list[Any]) -> None:
        self._reconciler.wake()
