# SPDX-License-Identifier: Apache-2.0
"""A name server in memory, for all-in-one and for tests: the same promises as the real ones, no network.

Instances of one pool name share their zones, since the daemons of all-in-one live in one process.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from aerie_dns.drivers.base import Driver, DriverError, Rrset, Target, Zone, ZoneMissing

_lock = threading.Lock()
_pools: dict[str, FakeServer] = {}


class FakeServer:
    """What the pretended server holds. fail: the text with which it refuses every change, None when it works."""

    def __init__(self) -> None:
        self.zones: dict[str, dict[tuple[str, str], Rrset]] = {}
        self.serials: dict[str, int] = {}
        self.fail: str | None = None
        self.calls: list[tuple[str, str]] = []

    def lookup(self, zone_name: str, name: str, type_: str) -> tuple[str, ...]:
        """The records served, as a query would find them; () when there are none."""
        found = self.zones.get(zone_name, {}).get((name, type_))
        return found.records if found else ()


def server(pool: str) -> FakeServer:
    """The server of a pool."""
    with _lock:
        return _pools.setdefault(pool, FakeServer())


class FakeDriver(Driver):
    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self.server = server(target.name)

    def _called(self, verb: str, zone_name: str) -> None:
        self.server.calls.append((verb, zone_name))
        if self.server.fail:
            raise DriverError(self.server.fail)

    def put_zone(self, zone: Zone) -> None:
        self._called("put_zone", zone.name)
        self.server.zones[zone.name] = {(r.name, r.type): r for r in zone.rrsets}
        self.server.serials[zone.name] = zone.serial

    def change(self, zone_name: str, serial: int, changes: Sequence[Rrset]) -> None:
        self._called("change", zone_name)
        held = self.server.zones.get(zone_name)
        if held is None:
            raise ZoneMissing(zone_name)
        for rrset in changes:
            if rrset.records:
                held[rrset.name, rrset.type] = rrset
            else:
                held.pop((rrset.name, rrset.type), None)
        self.server.serials[zone_name] = serial

    def delete_zone(self, zone_name: str) -> None:
        self._called("delete_zone", zone_name)
        self.server.zones.pop(zone_name, None)
        self.server.serials.pop(zone_name, None)

    def serials(self, zone_name: str) -> list[int | None]:
        return [self.server.serials.get(zone_name)]
