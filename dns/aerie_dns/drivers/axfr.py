# SPDX-License-Identifier: Apache-2.0
"""Name servers that fetch zones by themselves (BIND, Knot, NSD, PowerDNS as a secondary): they are only told to look.

The zones' content is served to them by `mdns`; which zones there are, by the pool's catalog zone (RFC 9432), if it has
one. Settings: `catalog_zone`, `also_notify` (host:port, comma-separated).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.query
import dns.rdatatype

from aerie_dns.drivers.base import Driver, DriverError, Rrset, Target, Zone, resolve

LOG = logging.getLogger(__name__)
NOTIFY_SECONDS = 1.0
TRIES = 2


def notify(zone_name: str, host: str, port: int) -> bool:
    """Tell a server that a zone has changed; True if it confirms. UDP may lose either message, hence the second try."""
    message = dns.message.make_query(zone_name, dns.rdatatype.SOA, use_edns=False)
    message.set_opcode(dns.opcode.NOTIFY)
    message.flags = (message.flags | dns.flags.AA) & ~dns.flags.RD
    for _ in range(TRIES):
        try:
            dns.query.udp(message, resolve(host), port=port, timeout=NOTIFY_SECONDS)
        except (dns.exception.DNSException, OSError, DriverError) as error:
            LOG.info("NOTIFY of %s to %s port %d: %s", zone_name, host, port, error)
            continue
        return True
    return False


class AxfrDriver(Driver):
    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._catalog = target.settings.get("catalog_zone") or None
        further = [a for a in target.settings.get("also_notify", "").split(",") if a]
        self._notified = [*target.nameservers, *(_address(a) for a in further)]

    def _tell(self, zone_name: str) -> None:
        """Whether they have looked is not known from here: `serials` shows it."""
        for host, port in self._notified:
            notify(zone_name, host, port)

    def remind(self, zone_name: str) -> None:
        if self._catalog:
            self._tell(self._catalog)
        self._tell(zone_name)

    def put_zone(self, zone: Zone) -> None:
        if self._catalog:
            self._tell(self._catalog)
        self._tell(zone.name)

    def change(self, zone_name: str, serial: int, changes: Sequence[Rrset]) -> None:
        self._tell(zone_name)

    def delete_zone(self, zone_name: str) -> None:
        if self._catalog:
            self._tell(self._catalog)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return (host.strip("[]"), int(port)) if host else (text, 53)
