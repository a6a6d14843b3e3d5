# SPDX-License-Identifier: Apache-2.0
"""Named leases in SQL: of many daemons, at most one holds a name at a time.

Invariant: a holder that has not renewed for its lease's length no longer holds it, whatever it believes; so what is
done under a lease must be harmless when two do it for a moment (reconcilers and the outbox relay are).
"""

from __future__ import annotations

import datetime
import os
import socket
import time

import sqlalchemy as sa

from aerie_common.db import Database, DateTime, insert_if_absent, new_id, retried, utcnow

LEASES = sa.Table(
    "leases",
    sa.MetaData(),
    sa.Column("name", sa.String(128), primary_key=True),
    sa.Column("owner", sa.String(128), nullable=True),
    sa.Column("until", DateTime, nullable=True),
)


def lease_table(metadata: sa.MetaData) -> sa.Table:
    """Add the table `leases` to a service's metadata (once per database)."""
    return LEASES.to_metadata(metadata)


def new_owner() -> str:
    """A name for one holder which no other process, past or present, has: host:pid:random."""
    return f"{socket.gethostname()[:64]}:{os.getpid()}:{new_id()[:8]}"


class Lease:
    """One party's claim to a name."""

    def __init__(self, db: Database, name: str, *, seconds: float = 15.0, owner: str | None = None) -> None:
        self.name, self.seconds = name, seconds
        self.owner = owner or new_owner()
        self._db = db
        self._renew_at = 0.0  # monotonic; before that our own lease is certainly good, or another's was seen lately
        self._held = False

    def hold(self) -> bool:
        """Take or renew the lease; False while somebody else has it. Asks the database a few times per lease only."""
        began = time.monotonic()
        if began >= self._renew_at:
            self._held = self._take()
            self._renew_at = began + self.seconds / 3
        return self._held

    @retried
    def _take(self) -> bool:
        now = utcnow()
        values = {"owner": self.owner, "until": now + datetime.timedelta(seconds=self.seconds)}
        free = sa.or_(LEASES.c.owner == self.owner, LEASES.c.owner.is_(None), LEASES.c.until < now)
        with self._db.write() as conn:
            taken = conn.execute(sa.update(LEASES).where(LEASES.c.name == self.name, free).values(values)).rowcount == 1
            return taken or insert_if_absent(conn, LEASES, {"name": self.name, **values})

    @retried
    def release(self) -> None:
        """Let another party have it now rather than when it runs out."""
        self._renew_at, self._held = 0.0, False
        mine = sa.and_(LEASES.c.name == self.name, LEASES.c.owner == self.owner)
        with self._db.write() as conn:
            conn.execute(sa.update(LEASES).where(mine).values(owner=None, until=None))
