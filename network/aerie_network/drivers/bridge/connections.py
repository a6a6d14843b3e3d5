# SPDX-License-Identifier: Apache-2.0
"""Tracked connections: ends those that the rules of today must judge anew, and no other.

The answer to a packet whose entry was deleted while it was on its way belongs to no connection and is dropped, so that
every entry that goes without need may cost a guest a packet. Invariant: only what a `Cut` names is ended; any number of
cuts costs one look at the zone's entries for each IP version.
"""

import errno
import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pyroute2 import NFCTSocket
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.nfnetlink.nfctsocket import NFCTAttr

from aerie_network.drivers import checks
from aerie_network.drivers.bridge.system import HostError

_FAMILIES = {4: (socket.AF_INET, "CTA_IP_V4"), 6: (socket.AF_INET6, "CTA_IP_V6")}


@dataclass(frozen=True)
class Cut:
    """What to end: connections between one of `own` and one of `peers`, whoever began; with anybody if None. Both are
    addresses or CIDRs of either version."""

    own: tuple[str, ...]
    peers: tuple[str, ...] | None = None


class _Networks:
    """Whether an address is in one of many networks, by a lookup per prefix length in use."""

    def __init__(self, texts: Iterable[str], version: int) -> None:
        parsed = [ipaddress.ip_network(checks.cidr(text)) for text in texts]
        chosen = [network for network in parsed if network.version == version]
        self._starts = {(network.prefixlen, int(network.network_address)) for network in chosen}
        self._shifts = {(network.prefixlen, network.max_prefixlen - network.prefixlen) for network in chosen}

    def __contains__(self, address: int) -> bool:
        return any((length, address >> shift << shift) in self._starts for length, shift in self._shifts)

    def __bool__(self) -> bool:
        return bool(self._starts)


class _AsReceived(NFCTAttr):  # type: ignore[misc]  # the library has no types
    """An attribute of an entry, to be sent back as it came."""

    def __init__(self, attribute: Any) -> None:
        self._attribute = attribute

    def attrs(self) -> list[tuple[str, Any]]:
        return _plain(self._attribute)["attrs"]  # type: ignore[no-any-return]


def _plain(value: Any) -> Any:
    if isinstance(value, dict) and "attrs" in value:
        return {"attrs": [(name, _plain(inner)) for name, inner in value["attrs"]]}
    return value


def end(zone: int, cuts: Iterable[Cut]) -> int:
    """Ends the connections of a zone that any of the cuts names; returns how many. Raises HostError."""
    listed = list(cuts)
    return sum(_end(zone, version, listed) for version in _FAMILIES)


def _end(zone: int, version: int, cuts: list[Cut]) -> int:
    family, name = _FAMILIES[version]
    matches = [
        (_Networks(cut.own, version), None if cut.peers is None else _Networks(cut.peers, version)) for cut in cuts
    ]
    matches = [(own, peers) for own, peers in matches if own and (peers is None or peers)]
    if not matches:
        return 0
    ended = 0
    try:
        with NFCTSocket(nfgen_family=family) as tracker:
            for entry in list(tracker.dump(zone=zone)):
                if entry.get("nfgen_family") != family or (entry.get_attr("CTA_ZONE") or 0) != zone:
                    continue  # an older kernel lists all zones
                asked = entry.get_attr("CTA_TUPLE_ORIG")
                ends = asked.get_attr("CTA_TUPLE_IP")
                source, target = (int(ipaddress.ip_address(ends.get_attr(f"{name}_{end}"))) for end in ("SRC", "DST"))
                if any(_between(source, target, own, peers) for own, peers in matches):
                    ended += _delete(tracker, zone, asked, entry.get_attr("CTA_ID"))
    except (NetlinkError, OSError) as error:
        raise HostError(f"tracked connections of zone {zone}: {error}") from error
    return ended


def _between(source: int, target: int, own: _Networks, peers: _Networks | None) -> bool:
    if peers is None:
        return source in own or target in own
    return (source in own and target in peers) or (target in own and source in peers)


def _delete(tracker: NFCTSocket, zone: int, asked: Any, entry_id: int) -> bool:
    try:
        tracker.entry("del", tuple_orig=_AsReceived(asked), zone=zone or None, id=entry_id)
    except NetlinkError as error:
        if error.code != errno.ENOENT:  # it has ended by itself
            raise
        return False
    return True
