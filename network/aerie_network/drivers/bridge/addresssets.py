# SPDX-License-Identifier: Apache-2.0
"""Address sets: the members of remote groups, as ipsets of each family.

Owns ipsets named `aerie4-...` and `aerie6-...`. Invariant: a changed member is one element added or deleted; a set
exists before a rule names it and goes after the last rule that does.
"""

import hashlib
import ipaddress
from collections.abc import Iterable, Mapping

from aerie_network.drivers import base, checks
from aerie_network.drivers.bridge.system import run

_PREFIXES = {4: "aerie4-", 6: "aerie6-"}
_FAMILIES = {4: "inet", 6: "inet6"}
_MAX_MEMBERS = 1048576


def set_name(set_id: str, version: int) -> str:
    """Name of the ipset of an address set for one family."""
    return _PREFIXES[version] + hashlib.sha256(set_id.encode()).hexdigest()[:20]


def members(addresses: Iterable[str], version: int) -> frozenset[str]:
    """The members of one family, in the form in which ipset lists them; a /0 becomes its two halves."""
    found = set()
    for text in addresses:
        network = ipaddress.ip_network(checks.cidr(text))
        if network.version != version:
            continue
        for part in network.subnets() if network.prefixlen == 0 else [network]:
            single = part.prefixlen == part.max_prefixlen
            found.add(str(part.network_address) if single else str(part))
    return frozenset(found)


class AddressSets:
    """The loaded ipsets: what is there, and how to change them."""

    def __init__(self) -> None:
        self._loaded: dict[str, frozenset[str]] = {}
        self._known = False

    def loaded(self) -> dict[str, frozenset[str]]:
        """Members of each of our sets as the kernel has them."""
        sets: dict[str, set[str]] = {}
        for line in run(["ipset", "save"]).splitlines():
            words = line.split()
            if len(words) > 2 and words[1].startswith(tuple(_PREFIXES.values())):
                if words[0] == "create":
                    sets[words[1]] = set()
                elif words[0] == "add":
                    sets[words[1]].add(words[2])
        return {name: frozenset(found) for name, found in sets.items()}

    def load(
        self, wanted: Mapping[str, base.AddressSet], resync: bool
    ) -> tuple[dict[str, str], dict[str, frozenset[str]]]:
        """Makes the sets as wanted. Returns (set id -> reason) of those refused and (name -> members it lost)."""
        if resync or not self._known:
            self._loaded = self.loaded()
            self._known = True
        failed: dict[str, str] = {}
        departed: dict[str, frozenset[str]] = {}
        lines: list[str] = []
        after: dict[str, frozenset[str]] = {}
        for item in wanted.values():
            try:
                both = {version: members(item.addresses, version) for version in (4, 6)}
            except checks.BadValue as error:
                failed[item.id] = f"address set {item.id}: {error}"
                continue
            for version, new in both.items():
                name = set_name(item.id, version)
                old = self._loaded.get(name)
                if old is None:
                    family = _FAMILIES[version]
                    lines.append(f"create {name} hash:net family {family} maxelem {_MAX_MEMBERS}")
                    old = frozenset()
                lines += [f"add {name} {member}" for member in sorted(new - old)]
                lines += [f"del {name} {member}" for member in sorted(old - new)]
                if old - new:
                    departed[name] = old - new
                after[name] = new
        if lines:
            run(["ipset", "-exist", "restore"], stdin="\n".join(lines) + "\n")
        self._loaded.update(after)
        return failed, departed

    def prune(self, wanted: Mapping[str, base.AddressSet]) -> None:
        """Destroys the sets no longer wanted; call it when no rule names them any more."""
        names = {set_name(set_id, version) for set_id in wanted for version in (4, 6)}
        gone = self._loaded.keys() - names
        if gone:
            run(["ipset", "-exist", "restore"], stdin="".join(f"destroy {name}\n" for name in sorted(gone)))
            for name in gone:
                del self._loaded[name]

    def remove(self) -> None:
        """Destroys all of them."""
        self._loaded = self.loaded()
        self.prune({})
        self._known = False
