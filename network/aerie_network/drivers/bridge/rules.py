# SPDX-License-Identifier: Apache-2.0
"""Security group rules in the packet filter's words.

Pure: from a port and its groups to the lines of its two chains, for both IP versions. Invariant: a rule that cannot be
used is left out (which forbids, never allows) and named; every chain ends in DROP.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from aerie_network.drivers import base, checks
from aerie_network.drivers.bridge.addresssets import set_name

_PROTOCOLS = {
    "ah": 51, "dccp": 33, "egp": 8, "esp": 50, "gre": 47, "icmp": 1, "igmp": 2, "ipip": 4, "ipv6-encap": 41,
    "ipv6-frag": 44, "ipv6-icmp": 58, "icmpv6": 58, "ipv6-nonxt": 59, "ipv6-opts": 60, "ipv6-route": 43, "ospf": 89,
    "pgm": 113, "rsvp": 46, "sctp": 132, "tcp": 6, "udp": 17, "udplite": 136, "vrrp": 112,
}  # fmt: skip
_WITH_PORTS = {"6": "tcp", "17": "udp", "132": "sctp", "33": "dccp", "136": "udplite"}
# What IPv6 does not work without: multicast listener messages and neighbour discovery (router advertisements too,
# into the guest; those of other guests never pass the anti-spoofing table).
_ND_IN = (130, 131, 132, 134, 135, 136)
_ND_OUT = (131, 132, 133, 135, 136, 143)


@dataclass(frozen=True)
class PortChains:
    """The compiled rules of a port: by IP version, into and out of the guest; and what had to be left out."""

    into: Mapping[int, tuple[str, ...]]
    out: Mapping[int, tuple[str, ...]]
    refused: tuple[str, ...] = ()
    sets: frozenset[str] = frozenset()  # names of the ipsets its rules use


def compile_port(
    port: base.Port, groups: Mapping[str, base.SecurityGroup], unusable_sets: Iterable[str], known_sets: Iterable[str]
) -> PortChains:
    """The rules of a port from its groups. A rule or group that cannot be used is left out and named."""
    unusable, known = set(unusable_sets), set(known_sets)
    refused: list[str] = []
    sets: set[str] = set()
    rules: dict[tuple[str, int], list[str]] = {
        (way, version): [] for way in ("ingress", "egress") for version in (4, 6)
    }
    present = [groups[group] for group in port.security_groups if group in groups]
    refused += [f"security group {group} is unknown here" for group in port.security_groups if group not in groups]
    for group in present:
        for rule in group.rules:
            try:
                version, line, used = _rule(rule, unusable, known)
                rules[rule.direction, version].append(line)
            except (checks.BadValue, KeyError) as error:
                refused.append(f"security group rule {rule.id} left out: {error}")
                continue
            if used:
                sets.add(used)
    stateful = any(group.stateful for group in present) or not present
    return PortChains(
        into={version: _into(version, rules["ingress", version], stateful) for version in (4, 6)},
        out={version: _out(version, rules["egress", version], stateful) for version in (4, 6)},
        refused=tuple(refused),
        sets=frozenset(sets),
    )


def _into(version: int, rules: list[str], stateful: bool) -> tuple[str, ...]:
    if version == 4:
        lines = ["-p udp -m udp --sport 67 --dport 68 -j RETURN"]
    else:
        lines = [f"-p ipv6-icmp -m icmp6 --icmpv6-type {kind} -j RETURN" for kind in _ND_IN]
        lines.append("-p udp -m udp --sport 547 --dport 546 -j RETURN")
    return tuple([*lines, *_tracked(stateful), *dict.fromkeys(rules), "-j DROP"])


def _out(version: int, rules: list[str], stateful: bool) -> tuple[str, ...]:
    if version == 4:
        lines = ["-p udp -m udp --sport 68 --dport 67 -j RETURN"]
    else:
        lines = [f"-p ipv6-icmp -m icmp6 --icmpv6-type {kind} -j RETURN" for kind in _ND_OUT]
        lines.append("-p udp -m udp --sport 546 --dport 547 -j RETURN")
    return tuple([*lines, *_tracked(stateful), *dict.fromkeys(rules), "-j DROP"])


def _tracked(stateful: bool) -> list[str]:
    if not stateful:
        return []
    return [
        "-m conntrack --ctstate RELATED,ESTABLISHED -j RETURN",
        "-m conntrack --ctstate INVALID -j DROP",
    ]


def _rule(rule: base.SecurityRule, unusable: set[str], known: set[str]) -> tuple[int, str, str]:
    """One rule as (IP version, line, name of the ipset it uses); raises BadValue when it makes no sense."""
    version = {"IPv4": 4, "IPv6": 6}.get(rule.ethertype)
    if version is None:
        raise checks.BadValue(f"ethertype {rule.ethertype!r}")
    if rule.direction not in ("ingress", "egress"):
        raise checks.BadValue(f"direction {rule.direction!r}")
    side, letter = ("src", "s") if rule.direction == "ingress" else ("dst", "d")
    words: list[str] = []
    used = ""
    if rule.remote_cidr:
        cidr = checks.cidr(rule.remote_cidr)
        if checks.version(cidr) != version:
            raise checks.BadValue(f"{cidr} is not {rule.ethertype}")
        if not cidr.endswith("/0"):
            words.append(f"-{letter} {cidr}")
    if rule.remote_set:
        if rule.remote_set in unusable or rule.remote_set not in known:
            raise checks.BadValue(f"address set {rule.remote_set} is not usable")
        used = set_name(rule.remote_set, version)
        words.append(f"-m set --match-set {used} {side}")
    words += _protocol(rule, version)
    return version, " ".join([*words, "-j RETURN"]), used


def _protocol(rule: base.SecurityRule, version: int) -> list[str]:
    if rule.protocol in (None, "", "any", "0"):
        if rule.port_min is not None or rule.port_max is not None:
            raise checks.BadValue("ports without a protocol")
        return []
    number = _protocol_number(str(rule.protocol), version)
    if number in (1, 58):
        if (number == 1) != (version == 4):
            raise checks.BadValue(f"protocol {rule.protocol} in an {rule.ethertype} rule")
        return _icmp(rule, version)
    low, high = rule.port_min, rule.port_max
    if low is None and high is None:
        return [f"-p {number}"]
    match = _WITH_PORTS.get(str(number))
    if match is None:
        raise checks.BadValue(f"protocol {rule.protocol} has no ports")
    low = high if low is None else low
    high = low if high is None else high
    if low is None or high is None or not 0 <= low <= high <= 65535:
        raise checks.BadValue(f"ports {low}:{high}")
    if low == 0 and high == 65535:
        return [f"-p {number}"]
    ports = str(low) if low == high else f"{low}:{high}"
    if match == "udplite":
        return [f"-p {number} -m multiport --dports {ports}"]
    return [f"-p {number} -m {match} --dport {ports}"]


def _protocol_number(name: str, version: int) -> int:
    if name.isascii() and name.isdigit():
        number = int(name)
        if number > 255:
            raise checks.BadValue(f"protocol {name}")
        return number
    lowered = name.lower()
    if version == 6 and lowered == "icmp":
        lowered = "icmpv6"
    if lowered not in _PROTOCOLS:
        raise checks.BadValue(f"protocol {name!r}")
    return _PROTOCOLS[lowered]


def _icmp(rule: base.SecurityRule, version: int) -> list[str]:
    kind, code = rule.port_min, rule.port_max
    name, match, option = ("icmp", "icmp", "--icmp-type") if version == 4 else ("ipv6-icmp", "icmp6", "--icmpv6-type")
    if kind is None:
        if code is not None:
            raise checks.BadValue("an ICMP code without a type")
        return [f"-p {name}"]
    if not 0 <= kind <= 255 or not (code is None or 0 <= code <= 255):
        raise checks.BadValue(f"ICMP type {kind} code {code}")
    value = str(kind) if code is None else f"{kind}/{code}"
    return [f"-p {name} -m {match} {option} {value}"]
