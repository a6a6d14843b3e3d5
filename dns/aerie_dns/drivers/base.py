# SPDX-License-Identifier: Apache-2.0
"""What a driver of authoritative name servers must be able to do, and the values it is given.

A driver knows nothing of projects, quotas or databases. Invariant: every method may be repeated at any time with the
same arguments and ends in the same state of the server; a method that cannot bring that about raises DriverError.
"""

from __future__ import annotations

import logging
import socket
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype

LOG = logging.getLogger(__name__)
QUERY_SECONDS = 1.0


class DriverError(Exception):
    """A name server refused or did not answer; the text is for operators."""


class ZoneMissing(DriverError):
    """The server does not have the zone that was to be changed."""


@dataclass(frozen=True)
class Rrset:
    """All records of one name and type. records: rdata in presentation form with absolute names; none means that the
    set is to go away."""

    name: str
    type: str
    ttl: int
    records: tuple[str, ...]


@dataclass(frozen=True)
class Zone:
    """A zone as a server is to serve it. rrsets: everything in it, with the SOA, whose serial is `serial`."""

    name: str
    serial: int
    rrsets: tuple[Rrset, ...]


@dataclass(frozen=True)
class Target:
    """One pool as its driver sees it. nameservers: (address, port) of every server that must answer before a change
    counts as done. settings: the driver's own options."""

    name: str
    nameservers: tuple[tuple[str, int], ...]
    settings: Mapping[str, str]


class Driver(ABC):
    """One pool of name servers."""

    def __init__(self, target: Target) -> None:
        self.target = target

    @abstractmethod
    def put_zone(self, zone: Zone) -> None:
        """Make the servers serve exactly this, whatever they had before."""

    @abstractmethod
    def change(self, zone_name: str, serial: int, changes: Sequence[Rrset]) -> None:
        """Replace these record sets (the SOA among them) and touch no other. ZoneMissing when there is no zone."""

    @abstractmethod
    def delete_zone(self, zone_name: str) -> None:
        """Make the servers forget the zone; fine if they never had it."""

    def serials(self, zone_name: str) -> list[int | None]:
        """What each name server says the zone's serial is, by a DNS query; None where it does not serve it."""
        return [query_serial(zone_name, *address) for address in self.target.nameservers]

    def remind(self, zone_name: str) -> None:  # noqa: B027 (most servers are told once, and answer for it)
        """Called while a change is awaited: tell servers again that were only told to look."""

    def close(self) -> None:  # noqa: B027 (most have nothing to close)
        """Let go of connections."""


def query_serial(zone_name: str, host: str, port: int, seconds: float = QUERY_SECONDS) -> int | None:
    """The serial in the SOA that a server answers with authority, None without one. DriverError when it is silent."""
    query = dns.message.make_query(zone_name, dns.rdatatype.SOA, use_edns=False)
    query.flags &= ~dns.flags.RD
    try:
        answer = dns.query.udp(query, resolve(host), port=port, timeout=seconds)
    except (dns.exception.Timeout, OSError) as error:
        raise DriverError(f"The name server {host} port {port} does not answer: {error}") from error
    except dns.exception.DNSException as error:
        raise DriverError(f"The name server {host} port {port} answers nonsense: {error}") from error
    if answer.rcode() != dns.rcode.NOERROR or not answer.flags & dns.flags.AA:
        return None
    rrset = answer.get_rrset(answer.answer, dns.name.from_text(zone_name), query.question[0].rdclass, dns.rdatatype.SOA)
    return int(rrset[0].serial) if rrset else None


def resolve(host: str) -> str:
    """The address of a host that the configuration may have given by name."""
    try:
        return str(socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)[0][4][0])
    except socket.gaierror as error:
        raise DriverError(f"The name server {host} cannot be resolved: {error}") from error


def serial_newer(a: int, b: int) -> bool:
    """Is serial a after b? Serials wrap around (RFC 1982)."""
    return a != b and ((a - b) & 0xFFFFFFFF) < 0x80000000
