# SPDX-License-Identifier: Apache-2.0
"""What other services report about servers: a port was wired, addresses changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aerie_common import flow as F
from aerie_common.context import Context
from aerie_common.db import retried
from aerie_compute import states
from aerie_compute.db import records, servers
from aerie_compute.db.servers import Server

if TYPE_CHECKING:
    from aerie_compute.container import Compute

WAKING = ("network-vif-plugged", "network-vif-unplugged")
CHANGING = ("network-changed", "network-vif-deleted", "network-vif-plugged")
NAMES = (
    "network-changed", "network-vif-plugged", "network-vif-unplugged", "network-vif-deleted", "volume-extended",
    "volume-reimaged", "power-update", "accelerator-request-bound",
)  # fmt: skip


@dataclass(frozen=True)
class ExternalEvent:
    """One event. status: completed, failed or in-progress; tag: the port."""

    name: str
    server_id: str
    status: str = "completed"
    tag: str = ""


def _reads_anew(server: Server) -> bool:
    """A server being built reads its addresses from the ports it makes, one being deleted needs none any more."""
    return server.launched_at is not None and server.task_state != states.DELETING


@retried
def receive(svc: Compute, ctx: Context, events: Sequence[ExternalEvent]) -> list[int]:
    """Write the events down and wake who waits for them; for each 200, or 404 when its server is not there."""
    with svc.db.write() as conn:
        known = {server.id: server for server in servers.get_many(conn, sorted({e.server_id for e in events}))}
        mine = [e for e in events if e.server_id in known]
        waking = [e for e in mine if e.name in WAKING]
        records.add_events(conn, [(e.server_id, e.name, e.tag, e.status) for e in waking])
        for server_id in sorted({e.server_id for e in waking}):
            F.wake(conn, server_id)
        changed = sorted({e.server_id for e in mine if e.name in CHANGING and _reads_anew(known[e.server_id])})
        if changed:
            servers.mark_network_stale(conn, changed)
    if changed:
        svc.conductor.network_changed(ctx, server_ids=changed)
    return [200 if e.server_id in known else 404 for e in events]
