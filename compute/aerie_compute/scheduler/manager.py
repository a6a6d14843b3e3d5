# SPDX-License-Identifier: Apache-2.0
"""The scheduler daemon: answers `select_hosts`.

It remembers its picture of the hosts for a moment (but never which ones are disabled) and books what it hands out into
that picture, so that a burst of requests spreads. The picture may be wrong: the conductor's claim decides, and takes
the next candidate on conflict. No request is refused by a remembered picture.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aerie_compute.scheduler import snapshot
from aerie_compute.scheduler.select import Explanation, Host, Request, Stock, select

if TYPE_CHECKING:
    from aerie_compute.container import Compute

LOG = logging.getLogger(__name__)
PICTURE_SECONDS = 1.0


class SchedulerManager:
    """Keeps nothing that matters."""

    def __init__(self, svc: Compute) -> None:
        self._svc = svc
        self._lock = threading.Lock()
        self._hosts: list[Host] = []
        self._taken_at = float("-inf")

    def select_hosts(self, request: dict[str, Any]) -> dict[str, Any]:
        """See `rpc.SchedulerClient.select_hosts`."""
        wanted = Request.from_document(request)
        options = self._svc.conf.scheduler
        with self._lock:
            fresh = self._refresh(PICTURE_SECONDS)
            found, explanation = select(self._hosts, wanted)
            if not found and not fresh:
                self._refresh(0.0)
                found, explanation = select(self._hosts, wanted)
            if options.host_subset_size > 1 and found:
                best = found[: options.host_subset_size]
                first = random.choice(best)
                found = [first, *(host for host in found if host is not first)]
            if found:
                self._book(found[0], wanted)
        LOG.info("%s", describe(explanation))
        return {
            "hosts": [
                {"host": h.host, "node": h.node, "provider_id": h.provider_id, "zone": h.zone}
                for h in found[: options.alternatives]
            ],
            "explanation": explanation.to_document(),
            "sentence": explanation.sentence(),
        }

    def _refresh(self, seconds: float) -> bool:
        """Look at the databases unless the picture is younger than that; True if it did."""
        if time.monotonic() - self._taken_at < seconds:
            self._hosts = snapshot.touch_up(self._svc, self._hosts)
            return False
        self._hosts = snapshot.load(self._svc)
        self._taken_at = time.monotonic()
        return True

    def _book(self, chosen: Host, wanted: Request) -> None:
        stock = {
            name: Stock(s.capacity, s.used + wanted.amounts.get(name, 0), s.max_unit)
            for name, s in chosen.stock.items()
        }
        booked = replace(chosen, stock=stock, servers=chosen.servers + 1, busy=chosen.busy + 1)
        self._hosts = [booked if host is chosen else host for host in self._hosts]


def describe(explanation: Explanation) -> str:
    """The decision in one line of the log."""
    drops = ", ".join(f"{name}: {count} {why}" for name, why, count in explanation.dropped) or "none dropped"
    chosen = ", ".join(explanation.chosen) or "none"
    return f"{explanation.total} hosts; {drops}; chosen: {chosen}"
