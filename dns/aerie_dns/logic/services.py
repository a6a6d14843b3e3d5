# SPDX-License-Identifier: Apache-2.0
"""The daemons of this service as the API shows them: up while they report."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

from aerie_common.db import retried, utcnow
from aerie_dns import errors
from aerie_dns.container import Dns
from aerie_dns.db import nouns as db
from aerie_dns.db.nouns import ServiceStatus
from aerie_dns.paging import Page

REPORT_SECONDS, DOWN_SECONDS = 10, 45


@dataclass(frozen=True)
class Shown:
    """A daemon's row, and what follows from the time of its last report."""

    row: ServiceStatus

    @property
    def status(self) -> str:
        late = utcnow() - self.row.heartbeated_at > datetime.timedelta(seconds=DOWN_SECONDS)
        return "DOWN" if late else "UP"

    def __getattr__(self, name: str) -> Any:
        return getattr(self.row, name)


@retried
def report(svc: Dns, service_name: str, stats: dict[str, Any]) -> None:
    """This daemon runs."""
    with svc.db.write() as conn:
        db.heartbeat(conn, svc.conf.host, service_name, stats)


def list_(svc: Dns, page: Page) -> tuple[list[Shown], int]:
    """The daemons that ever reported."""
    with svc.db.read() as conn:
        found, total = db.SERVICE.page(conn, page)
    return [Shown(row) for row in found], total


def show(svc: Dns, id: str) -> Shown:
    """One of them. ServiceStatusNotFound."""
    with svc.db.read() as conn:
        found = db.SERVICE.get(conn, id=id)
    if found is None:
        raise errors.ServiceStatusNotFound()
    return Shown(found)
