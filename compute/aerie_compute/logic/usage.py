# SPDX-License-Identifier: Apache-2.0
"""What projects used in a period: hours of servers, of memory, of processors, of disk."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import sqlalchemy as sa

from aerie_common.db import retried, utcnow
from aerie_compute.db import servers
from aerie_compute.db.servers import Server

if TYPE_CHECKING:
    from aerie_compute.container import Compute


@dataclass
class ServerUsage:
    """One server's share of a period."""

    server: Server
    hours: float


@dataclass
class ProjectUsage:
    """Sums of one project."""

    project_id: str
    servers: list[ServerUsage] = field(default_factory=list)

    def total(self, attribute: str) -> float:
        """Hours multiplied by what the flavor has of an attribute."""
        return sum(u.hours * size(u.server, attribute) for u in self.servers)

    @property
    def hours(self) -> float:
        return sum(u.hours for u in self.servers)


def size(server: Server, attribute: str) -> int:
    """vcpus, memory_mb or local_gb of a server."""
    flavor = server.flavor
    return int(flavor["root_gb"] + flavor["ephemeral_gb"] if attribute == "local_gb" else flavor[attribute])


@retried
def usages(
    svc: Compute, start: datetime.datetime, end: datetime.datetime, project_id: str | None = None,
    limit: int | None = None, marker: str | None = None,
) -> list[ProjectUsage]:  # fmt: skip
    """Every project that had a server in the period, by id."""
    wanted = servers.Filter(project_id=project_id, any_deleted=True)
    with svc.db.read() as conn:
        rows = servers.list_(conn, wanted, sort=[("created_at", "asc")], limit=limit, marker=_marker(conn, marker))
    return _sum(rows, start, min(end, utcnow()))


def _marker(conn: sa.Connection, marker: str | None) -> Server | None:
    return None if marker is None else servers.get(conn, marker, deleted=True)


def _sum(rows: Iterable[Server], start: datetime.datetime, end: datetime.datetime) -> list[ProjectUsage]:
    found: dict[str, ProjectUsage] = {}
    for server in rows:
        began = server.launched_at
        ended = server.terminated_at or end
        if began is None or began >= end or ended <= start:
            continue
        hours = (min(ended, end) - max(began, start)).total_seconds() / 3600
        found.setdefault(server.project_id, ProjectUsage(server.project_id)).servers.append(ServerUsage(server, hours))
    return [found[key] for key in sorted(found)]
