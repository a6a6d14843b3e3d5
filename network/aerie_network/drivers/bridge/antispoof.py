# SPDX-License-Identifier: Apache-2.0
"""What a guest may send: only from its own addresses.

Owns the nftables table `bridge aerie`: a map from tap to chain, and one chain per tap that lets through frames with
the port's MAC and addresses (and its allowed pairs) and drops the rest: foreign MAC, IPv4, IPv6, ARP and ND claims,
router advertisements, redirects, DHCP server answers. Stateless, before the bridge even learns the MAC. Invariant:
chains are replaced in one transaction each; the first rule carries the hash of the whole chain, so that what is
loaded can be compared without parsing it.
"""

import hashlib
import ipaddress
import json
from collections.abc import Iterable, Mapping

from aerie_network.drivers import base, checks
from aerie_network.drivers.bridge.system import HostError, run

TABLE = "bridge aerie"
_SKELETON = f"""add table {TABLE}
add map {TABLE} ports {{ type ifname : verdict; }}
add chain {TABLE} entry {{ type filter hook prerouting priority -300; policy accept; }}
flush chain {TABLE} entry
add rule {TABLE} entry iifname vmap @ports
"""


def compile_port(port: base.Port) -> list[str]:
    """The rules of a port's chain; raises checks.BadValue when a value cannot be used."""
    own = checks.mac(port.mac)
    by_mac: dict[str, list[str]] = {own: [checks.cidr(fixed.ip_address) for fixed in port.fixed_ips]}
    for pair in port.allowed_address_pairs:
        by_mac.setdefault(checks.mac(pair.mac) if pair.mac else own, []).append(checks.cidr(pair.ip_address))
    macs = _set(by_mac)
    rules = [f"ether saddr != {macs} drop"]
    rules += _arp(by_mac)
    rules += _ipv4(by_mac)
    rules += _ipv6(by_mac)
    # What a hypervisor sends for the guest after a migration, so that switches learn its new place.
    rules.append("ether type 0x8035 accept")
    rules.append("drop")
    return rules


def _arp(by_mac: Mapping[str, Iterable[str]]) -> list[str]:
    rules = []
    for mac, networks in by_mac.items():
        # 0.0.0.0 is the sender of an address probe, which claims nothing.
        addresses = _set(["0.0.0.0", *_family(networks, 4)])
        rules.append(f"ether type arp ether saddr {mac} arp saddr ether {mac} arp saddr ip {addresses} accept")
    return [*rules, "ether type arp drop"]


def _ipv4(by_mac: Mapping[str, Iterable[str]]) -> list[str]:
    rules = [
        "ether type ip udp sport 67 udp dport 68 drop",
        "ether type ip ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept",
    ]
    for mac, networks in by_mac.items():
        addresses = _family(networks, 4)
        if addresses:
            rules.append(f"ether saddr {mac} ip saddr {_set(addresses)} accept")
    return [*rules, "ether type ip drop"]


def _ipv6(by_mac: Mapping[str, Iterable[str]]) -> list[str]:
    rules = [
        "ether type ip6 icmpv6 type { nd-router-advert, nd-redirect } drop",
        "ether type ip6 udp sport 547 udp dport 546 drop",
    ]
    sources = {mac: _family([*networks, _link_local(mac)], 6) for mac, networks in by_mac.items()}
    for mac, networks in sources.items():
        sender = f"ether saddr {mac} ip6 saddr {_set(networks)}"
        for network in networks:
            # The target of an advertisement is what it claims; it begins 8 bytes into the ICMPv6 message.
            parsed = ipaddress.IPv6Network(network)
            bits = parsed.prefixlen
            claim = f" @th,64,{bits} {int(parsed.network_address) >> (128 - bits):#x}" if bits else ""
            rules.append(f"{sender} icmpv6 type nd-neighbor-advert{claim} accept")
    rules.append("ether type ip6 icmpv6 type nd-neighbor-advert drop")
    # Duplicate address detection and multicast reports come from the unspecified address.
    rules.append("ip6 saddr :: icmpv6 type { 131, 132, 133, 135, 143 } accept")
    rules += [f"ether saddr {mac} ip6 saddr {_set(networks)} accept" for mac, networks in sources.items()]
    return [*rules, "ether type ip6 drop"]


def _link_local(mac: str) -> str:
    octets = bytes.fromhex(mac.replace(":", ""))
    identifier = bytes([octets[0] ^ 2]) + octets[1:3] + b"\xff\xfe" + octets[3:]
    return str(ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + identifier))


def _family(networks: Iterable[str], version: int) -> list[str]:
    """The networks of one family without overlaps, which an nftables set refuses."""
    parsed = [ipaddress.ip_network(network) for network in networks]
    chosen = [network for network in parsed if network.version == version]
    collapsed = ipaddress.collapse_addresses(chosen)  # type: ignore[type-var]
    return [str(network) for network in collapsed]


def _set(items: Iterable[str]) -> str:
    return "{ " + ", ".join(items) + " }"


class AntiSpoof:
    """The loaded chains: what is there, and how to change it."""

    def __init__(self) -> None:
        self._loaded: dict[str, str] = {}  # device -> hash
        self._known = False

    def loaded(self) -> dict[str, str]:
        """Hash of each device's chain as the kernel has it; a chain that is not entered counts as none."""
        try:
            listing = json.loads(run(["nft", "-j", "list", "table", *TABLE.split()]))
        except HostError as error:
            if "No such file" in str(error):
                return {}
            raise
        hashes: dict[str, str] = {}
        counts: dict[str, int] = {}
        entered: set[str] = set()
        for item in listing["nftables"]:
            rule = item.get("rule")
            if rule:
                counts[rule["chain"]] = counts.get(rule["chain"], 0) + 1
                if rule.get("comment", "").startswith("aerie:"):
                    hashes[rule["chain"]] = rule["comment"][len("aerie:") :]
            if item.get("map", {}).get("name") == "ports":
                entered = {device for device, _ in item["map"].get("elem", [])}
        if counts.get("entry") != 1:
            return {}
        # A hash carries the number of rules, so that a chain somebody shortened is not taken for right.
        return {
            chain: digest
            for chain, digest in hashes.items()
            if chain in entered and digest.split("/")[-1] == str(counts[chain])
        }

    def apply(self, wanted: Mapping[str, list[str]], resync: bool) -> dict[str, str]:
        """Loads the chains that differ and removes those not wanted; returns device -> reason for what failed."""
        if resync or not self._known:
            self._loaded = self.loaded()
            if not self._loaded:
                run(["nft", "-f", "-"], stdin=_SKELETON)
            self._known = True
            stray = self._chains() - wanted.keys() - self._loaded.keys()
        else:
            stray = set()
        changed = {device: rules for device, rules in wanted.items() if self._loaded.get(device) != _digest(rules)}
        gone = (self._loaded.keys() - wanted.keys()) | stray
        if not changed and not gone:
            return {}
        removal = [line for device in sorted(gone) for line in _removal(device)]
        failed: dict[str, str] = {}
        loads = {device: _load(device, rules) for device, rules in changed.items()}
        try:
            run(
                ["nft", "-f", "-"],
                stdin="\n".join([*removal, *(line for lines in loads.values() for line in lines)]) + "\n",
            )
        except HostError:
            # One of them is bad: each on its own, so that it harms only itself.
            for device in gone:
                run(["nft", "-f", "-"], stdin="\n".join(_removal(device)) + "\n")
            for device, lines in loads.items():
                try:
                    run(["nft", "-f", "-"], stdin="\n".join(lines) + "\n")
                except HostError as error:
                    failed[device] = f"anti-spoofing rules refused: {error}"
        for device in gone:
            self._loaded.pop(device, None)
        for device, rules in changed.items():
            if device in failed:
                self._loaded.pop(device, None)
            else:
                self._loaded[device] = _digest(rules)
        return failed

    def _chains(self) -> set[str]:
        listing = json.loads(run(["nft", "-j", "list", "table", *TABLE.split()]))
        return {item["chain"]["name"] for item in listing["nftables"] if "chain" in item} - {"entry"}

    def remove(self) -> None:
        """Removes the whole table."""
        run(["nft", "-f", "-"], stdin=f"add table {TABLE}\ndelete table {TABLE}\n")
        self._loaded.clear()
        self._known = False


def _digest(rules: list[str]) -> str:
    return f"{hashlib.sha256(chr(10).join(rules).encode()).hexdigest()[:32]}/{len(rules)}"


def _load(device: str, rules: list[str]) -> list[str]:
    name = checks.device(device)
    lines = [f"add chain {TABLE} {name}", f"flush chain {TABLE} {name}"]
    lines.append(f'add rule {TABLE} {name} {rules[0]} comment "aerie:{_digest(rules)}"')
    lines += [f"add rule {TABLE} {name} {rule}" for rule in rules[1:]]
    lines.append(f'add element {TABLE} ports {{ "{name}" : goto {name} }}')
    return lines


def _removal(device: str) -> list[str]:
    # Adding first makes the removal succeed whether or not the element and the chain are there.
    return [
        f"add chain {TABLE} {device}",
        f'add element {TABLE} ports {{ "{device}" : goto {device} }}',
        f'delete element {TABLE} ports {{ "{device}" : goto {device} }}',
        f"flush chain {TABLE} {device}",
        f"delete chain {TABLE} {device}",
    ]
