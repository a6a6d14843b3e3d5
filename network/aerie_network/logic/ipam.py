# SPDX-License-Identifier: Apache-2.0
"""Addresses: which a port gets, and giving them out.

Invariant: an address is given once in a subnet, by the key of `ip_allocations` alone; nobody reads the table to find
out whether an address is free before taking it. A random address of the pools is tried; only when several in a row
were taken are the free ones looked for.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv6Address, IPv6Network, ip_address, ip_network

import sqlalchemy as sa

from aerie_network.db import ports as db
from aerie_network.db.subnets import Subnet
from aerie_network.errors import IpAddressAlreadyAllocated, IpAddressGenerationFailure

RANDOM_TRIES = 3
TRIES = 12


def eui64(prefix: str, mac: str) -> str:
    """The address which a host with this MAC makes for itself in an IPv6 prefix (RFC 4291)."""
    octets = [int(part, 16) for part in mac.split(":")]
    octets[0] ^= 0x02
    suffix = bytes([*octets[:3], 0xFF, 0xFE, *octets[3:]])
    network = ip_network(prefix)
    assert isinstance(network, IPv6Network)
    return str(IPv6Address(int(network.network_address) | int.from_bytes(suffix, "big")))


def canonical(address: str) -> str:
    """An address in the one form in which it is stored."""
    return str(ip_address(address))


def pools_of(subnet: Subnet) -> list[tuple[int, int]]:
    """(first, last) of the subnet's allocation pools as numbers."""
    return [(int(ip_address(p["start"])), int(ip_address(p["end"]))) for p in subnet.allocation_pools]


def default_pools(cidr: str, gateway: str | None) -> list[dict[str, str]]:
    """Every usable address but the gateway's."""
    network = ip_network(cidr)
    first, last = int(network.network_address), int(network.broadcast_address)
    make = type(network.network_address)
    if network.version == 4 and network.prefixlen < 31:
        first, last = first + 1, last - 1
    elif network.version == 6 and network.prefixlen < 127:
        first += 1  # the subnet-router anycast address
    spans = [(first, last)]
    if gateway is not None and first <= (hole := int(ip_address(gateway))) <= last:
        spans = [(a, b) for a, b in ((first, hole - 1), (hole + 1, last)) if a <= b]
    return [{"start": str(make(a)), "end": str(make(b))} for a, b in spans]


def default_gateway(cidr: str) -> str:
    """The first usable address."""
    network = ip_network(cidr)
    if network.version == 4 and network.prefixlen >= 31:
        return str(network.network_address)
    return str(network.network_address + 1)


@dataclass(frozen=True)
class Want:
    """One address for a port: `address` exactly, or any of the pools of one of the subnets, the first that has some.

    lowest: not any, but the first free one: for the service's own ports, so that they stay clear of addresses which
    people choose."""

    port_id: str
    network_id: str
    subnets: tuple[Subnet, ...]
    address: str | None = None
    position: int = 0
    lowest: bool = False


@dataclass
class _Pools:
    """The pools of one subnet while addresses are being given out."""

    subnet: Subnet
    spans: list[tuple[int, int]]
    size: int = 0
    free: list[int] | None = None
    offered: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.size = sum(last - first + 1 for first, last in self.spans)

    def at_random(self) -> int | None:
        """A number from the pools that has not been offered in this round."""
        for _ in range(RANDOM_TRIES):
            offset = random.randrange(self.size)
            for first, last in self.spans:
                if offset <= last - first:
                    if first + offset not in self.offered:
                        return first + offset
                    break
                offset -= last - first + 1
        return None

    def first(self) -> int | None:
        """The lowest number that has not been offered."""
        for first, last in self.spans:
            for number in range(first, last + 1):
                if number not in self.offered:
                    return number
        return None

    def look(self, conn: sa.Connection) -> None:
        """Find the free addresses, at most some thousands of them."""
        taken = {int(ip_address(a)) for a in db.taken(conn, self.subnet.id)} | self.offered
        self.free = []
        for first, last in self.spans:
            for number in range(first, last + 1):
                if number not in taken:
                    self.free.append(number)
                    if len(self.free) >= 4096:
                        break
        random.shuffle(self.free)

    def from_free(self) -> int | None:
        while self.free:
            number = self.free.pop()
            if number not in self.offered:
                return number
        return None

    def text(self, number: int) -> str:
        return str(type(self.subnet.network.network_address)(number))


class Allocator:
    """Gives addresses out within one transaction."""

    def __init__(self, conn: sa.Connection, held: Iterable[db.FixedIp] = ()) -> None:
        """held: addresses which the ports have already, so that they are not given to them once more."""
        self._conn = conn
        self._held = list(held)
        self._pools: dict[str, _Pools] = {}

    def _of(self, subnet: Subnet) -> _Pools:
        found = self._pools.get(subnet.id)
        if found is None:
            offered = {int(ip_address(address)) for subnet_id, address in self._held if subnet_id == subnet.id}
            found = self._pools[subnet.id] = _Pools(subnet, pools_of(subnet), offered=offered)
        return found

    def _offer(self, want: Want, search: bool) -> tuple[Subnet, str] | None:
        if want.address is not None:
            return want.subnets[0], want.address
        for subnet in want.subnets:
            pools = self._of(subnet)
            if not pools.size:
                continue
            number = None
            if not search and pools.free is None:
                number = pools.first() if want.lowest else pools.at_random()
            if number is None:
                if pools.free is None or (search and not pools.free):
                    pools.look(self._conn)
                number = pools.from_free()
            if number is not None:
                pools.offered.add(number)
                return subnet, pools.text(number)
        return None

    def give(self, wants: Sequence[Want]) -> dict[str, tuple[db.FixedIp, ...]]:
        """Addresses by port, in order. IpAddressAlreadyAllocated for an exact one that is taken,
        IpAddressGenerationFailure where no subnet has any left."""
        got: dict[str, list[tuple[int, db.FixedIp]]] = {}
        missing = list(wants)
        for attempt in range(TRIES):
            rows: list[dict[str, object]] = []
            asked: dict[tuple[str, str], Want] = {}
            for want in missing:
                offer = self._offer(want, search=attempt >= RANDOM_TRIES)
                if offer is None:
                    raise IpAddressGenerationFailure(network=want.network_id)
                subnet, address = offer
                if (subnet.id, address) in asked:
                    raise IpAddressAlreadyAllocated(ip=address, subnet=subnet.id)
                asked[subnet.id, address] = want
                rows.append(
                    {
                        "subnet_id": subnet.id,
                        "ip_address": address,
                        "port_id": want.port_id,
                        "network_id": want.network_id,
                        "position": want.position,
                    }
                )
            lost = {(str(row["subnet_id"]), str(row["ip_address"])) for row in db.add_addresses(self._conn, rows)}
            missing = []
            for key, want in asked.items():
                if key not in lost:
                    got.setdefault(want.port_id, []).append((want.position, key))
                elif want.address is not None:
                    raise IpAddressAlreadyAllocated(ip=want.address, subnet=key[0])
                else:
                    missing.append(want)
            if not missing:
                return {port_id: tuple(key for _, key in sorted(pairs)) for port_id, pairs in got.items()}
        raise IpAddressGenerationFailure(network=missing[0].network_id)


def choose(subnets: Iterable[Subnet], device_owner: str, mac: str) -> list[tuple[tuple[Subnet, ...], str | None]]:
    """What a port gets that asks for nothing: an IPv4 address, an IPv6 address, and one in each IPv6 subnet where hosts
    make their own. (candidates, exact address or None) each."""
    fitting = [s for s in subnets if not s.service_types or device_owner in s.service_types]
    # A subnet made for this kind of port is used before those for all.
    fitting.sort(key=lambda s: not s.service_types)
    wanted: list[tuple[tuple[Subnet, ...], str | None]] = []
    for version in (4, 6):
        pool = tuple(s for s in fitting if s.ip_version == version and not s.auto_address)
        if pool:
            wanted.append((pool, None))
    wanted += [((s,), eui64(s.cidr, mac)) for s in fitting if s.auto_address]
    return wanted
