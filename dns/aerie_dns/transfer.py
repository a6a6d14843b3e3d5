# SPDX-License-Identifier: Apache-2.0
"""Fetching a zone from another server, and reading a zone out of a file: both end in the same record sets.

Invariant: what these functions return has been through `rdata.canonical`, and lies within the zone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import dns.exception
import dns.name
import dns.query
import dns.rdataset
import dns.rdatatype
import dns.xfr
import dns.zone

from aerie_dns import names, rdata
from aerie_dns.drivers.base import DriverError, Rrset, query_serial, resolve
from aerie_dns.pools import address

SECONDS = 60.0


@dataclass(frozen=True)
class Fetched:
    """A whole zone. rrsets: everything, the SOA among it."""

    name: str
    serial: int
    email: str
    refresh: int
    retry: int
    expire: int
    minimum: int
    ttl: int
    rrsets: tuple[Rrset, ...]
    left_out: tuple[str, ...]
    """Types of records that are not offered here."""


def fetch(zone_name: str, master: str, serial_kept: int | None) -> Fetched | None:
    """The zone as a master (`host` or `host:port`) gives it; None when it has nothing newer. DriverError."""
    host, port = address(master)
    serial = query_serial(zone_name, host, port, 3.0)
    if serial is None:
        raise DriverError(f"{master} does not serve {zone_name}")
    if serial == serial_kept:
        return None
    zone = dns.zone.Zone(zone_name, relativize=False)
    try:
        dns.query.inbound_xfr(resolve(host), zone, port=port, timeout=5.0, lifetime=SECONDS)
    except (dns.exception.DNSException, OSError, EOFError) as error:
        raise DriverError(f"{master} does not transfer {zone_name}: {error}") from error
    return read(zone)


def parse(text: str) -> Fetched:
    """The zone in a zone file. ValueError says what is wrong with it. $INCLUDE is not followed."""
    try:
        zone = dns.zone.from_text(text, relativize=False, check_origin=True, allow_include=False)
    except (dns.exception.DNSException, KeyError, ValueError) as error:
        raise ValueError(f"Malformed zonefile: {error}") from None
    return read(zone)


def read(zone: dns.zone.Zone) -> Fetched:
    """Take a parsed zone apart. ValueError for what cannot be kept."""
    if zone.origin is None:
        raise ValueError("Malformed zonefile: it has no origin")
    origin = zone.origin.to_text().lower()
    soa_set = zone.get_rdataset(zone.origin, dns.rdatatype.SOA)
    if soa_set is None:
        raise ValueError("Malformed zonefile: it has no SOA record")
    soa = soa_set[0]
    rrsets, left_out = [], set()
    for name, rdataset in zone.iterate_rdatasets():
        type_ = dns.rdatatype.to_text(rdataset.rdtype)
        if type_ not in rdata.TYPES:
            left_out.add(type_)
            continue
        owner = name.to_text().lower()
        if not names.is_record_name(owner) or not names.is_within(owner, origin):
            raise ValueError(f"Malformed zonefile: {owner} is not a name of {origin}")
        rrsets.append(Rrset(owner, type_, rdataset.ttl, _texts(type_, owner, rdataset)))
    return Fetched(
        origin, soa.serial, mailbox(soa.rname), soa.refresh, soa.retry, soa.expire, soa.minimum, soa_set.ttl,
        tuple(rrsets), tuple(sorted(left_out)),
    )  # fmt: skip


def _texts(type_: str, owner: str, rdatas: Iterable[object]) -> tuple[str, ...]:
    try:
        return tuple(sorted(rdata.canonical(type_, str(r)) for r in rdatas))
    except rdata.InvalidRecord as error:
        raise ValueError(f"{owner} {type_} {error}") from None


def mailbox(rname: dns.name.Name) -> str:
    """The address in a SOA: the first label is what stands before the @."""
    local = rname.labels[0].decode("ascii", "replace")
    return f"{local}@{dns.name.Name(rname.labels[1:]).to_text().rstrip('.')}"


def zone_file(name: str, ttl: int, rrsets: Iterable[Rrset]) -> str:
    """A zone as text, the SOA and the NS records first."""
    first = {"SOA": 0, "NS": 1}
    ordered = sorted(rrsets, key=lambda r: (r.name != name, first.get(r.type, 2), r.name, r.type))
    lines = [f"$ORIGIN {name}", f"$TTL {ttl}", ""]
    lines += [f"{r.name} {r.ttl} IN {r.type} {record}" for r in ordered for record in r.records]
    return "\n".join(lines) + "\n"
