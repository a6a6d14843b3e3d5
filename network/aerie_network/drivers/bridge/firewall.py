# SPDX-License-Identifier: Apache-2.0
"""Security groups: what may pass to and from each port, with connection tracking.

Owns the chains `aerie-*` of iptables and ip6tables (tables filter and raw). Each port has two chains, into the guest
(`aerie-i-`) and out of it (`aerie-o-`); both end in DROP. A verdict of RETURN means "as far as this port goes, yes",
so that a packet between two guests of one host is judged by both. Invariant: only our own chains are written, with one
atomic restore; each port's chain begins with the hash of its rules, so that what is right is not written again; a rule
that cannot be used is left out (which forbids, never allows) and named in the report.

Connections are tracked per network (conntrack zones), because tenants' addresses overlap.
"""

import hashlib
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from aerie_network.drivers import base, checks
from aerie_network.drivers.bridge.addresssets import set_name
from aerie_network.drivers.bridge.system import HostError, run

_PROTOCOLS = {
    "ah": 51, "dccp": 33, "egp": 8, "esp": 50, "gre": 47, "icmp": 1, "igmp": 2, "ipip": 4, "ipv6-encap": 41,
    "ipv6-frag": 44, "ipv6-icmp": 58, "icmpv6": 58, "ipv6-nonxt": 59, "ipv6-opts": 60, "ipv6-route": 43, "ospf": 89,
    "pgm": 113, "rsvp": 46, "sctp": 132, "tcp": 6, "udp": 17, "udplite": 136, "vrrp": 112,
}  # fmt: skip
_WITH_PORTS = {"6": "tcp", "17": "udp", "132": "sctp", "33": "dccp", "136": "udplite"}
_TOOLS = {4: "iptables", 6: "ip6tables"}
_HOOKS = {"FORWARD": "aerie-forward", "INPUT": "aerie-input", "OUTPUT": "aerie-output"}
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


@dataclass(frozen=True)
class FilteredPort:
    """A port with its chains and where it is: `bridge`, and whether the operator's (`mapped`)."""

    port: base.Port
    chains: PortChains
    bridge: str
    mapped: bool


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


def zone(network_id: str) -> int:
    """Conntrack zone of a network: the same after every restart, so that no connection is lost. Two networks of one
    host that share a zone by chance only share what they would have shared without zones."""
    return 1 + zlib.crc32(network_id.encode()) % 65534


def digest(lines: Iterable[str]) -> str:
    """What the first rule of a chain says about the rest: its hash and number of rules."""
    listed = list(lines)
    return f"aerie:{hashlib.sha256(chr(10).join(listed).encode()).hexdigest()[:32]}/{len(listed)}"


class Firewall:
    """The loaded chains of both families: what is there, and how to change it."""

    def __init__(self) -> None:
        self._loaded: dict[int, dict[str, str]] = {4: {}, 6: {}}  # chain -> digest
        self._known = False
        self.replaced: set[str] = set()  # devices whose rules were others before the last apply

    def loaded(self, version: int) -> tuple[dict[str, str], set[str], bool]:
        """(digest of each right-looking chain, all our chains, whether the hooks jump to us), as the kernel has it."""
        digests: dict[str, str] = {}
        counts: dict[str, int] = {}
        chains: set[str] = set()
        hooks: set[str] = set()
        for table in ("filter", "raw"):
            for line in run([f"{_TOOLS[version]}-save", "-t", table]).splitlines():
                if line.startswith(":aerie-"):
                    chains.add(line[1:].split()[0])
                elif line.startswith("-A aerie-"):
                    chain = line.split()[1]
                    counts[chain] = counts.get(chain, 0) + 1
                    found = re.search(r'--comment "?(aerie:[0-9a-f]+/\d+)"?', line)
                    if found:
                        digests[chain] = found[1]
                elif line.startswith("-A ") and " -j aerie-" in line:
                    hooks.add(" ".join((line.split()[1], line.split()[-1])))
        right = {chain: text for chain, text in digests.items() if text.endswith(f"/{counts[chain] - 1}")}
        expected = {f"{hook} {chain}" for hook, chain in _HOOKS.items()} | {"PREROUTING aerie-zones"}
        return right, chains, hooks >= expected

    def apply(self, wanted: Mapping[str, FilteredPort], zones: Mapping[str, str], resync: bool) -> dict[str, str]:
        """Loads the chains of the ports (by device) that differ, and removes the others.

        `zones`: bridge name -> network id, for those whose connections are tracked on their own. Returns device ->
        reason for the ports that could not be filtered.
        """
        failed: dict[str, str] = {}
        self.replaced.clear()
        for version in (4, 6):
            failed.update(self._apply(version, wanted, zones, resync))
        self._known = True
        return failed

    def _apply(
        self, version: int, wanted: Mapping[str, FilteredPort], zones: Mapping[str, str], resync: bool
    ) -> dict[str, str]:
        stray: set[str] = set()
        if resync or not self._known:
            self._loaded[version], stray, hooked = self.loaded(version)
            if not hooked:
                self._hook(version)
        loaded = self._loaded[version]
        chains = {
            **{_chain("i", device): item.chains.into[version] for device, item in wanted.items()},
            **{_chain("o", device): item.chains.out[version] for device, item in wanted.items()},
        }
        fixed = {**_dispatch(version, wanted, zones), "aerie-zones": tuple(_zones(zones))}
        digests = {chain: digest(lines) for chain, lines in {**chains, **fixed}.items()}
        changed = {chain for chain, text in digests.items() if loaded.get(chain) != text}
        gone = {chain for chain in loaded.keys() | stray if chain not in digests and chain not in _HOOKS.values()}
        if not changed and not gone:
            return {}
        self.replaced |= {chain[len("aerie-i-") :] for chain in changed & chains.keys() & (loaded.keys() | stray)}
        failed: dict[str, str] = {}
        try:
            self._restore(version, {chain: chains[chain] for chain in changed if chain in chains}, fixed, changed, gone)
        except HostError:
            # One chain is bad. Each port on its own, then the jumps; a port whose own rules are refused drops all.
            for chain in sorted(changed & chains.keys()):
                try:
                    self._restore(version, {chain: chains[chain]}, {}, {chain}, set())
                except HostError as error:
                    device = chain[len("aerie-i-") :]
                    failed[device] = f"packet filter refused its rules: {error}"
                    digests[chain] = ""
                    self._restore(version, {chain: ("-j DROP",)}, {}, {chain}, set())
            self._restore(version, {}, fixed, changed, gone)
        self._loaded[version] = {chain: text for chain, text in digests.items() if text}
        return failed

    def _restore(
        self,
        version: int,
        chains: Mapping[str, Iterable[str]],
        fixed: Mapping[str, Iterable[str]],
        changed: set[str],
        gone: set[str],
    ) -> None:
        filters = {**chains, **{chain: lines for chain, lines in fixed.items() if chain in changed}}
        zones = filters.pop("aerie-zones", None)
        text = ["*filter", *(f":{chain} - [0:0]" for chain in [*filters, *gone])]
        for chain, lines in filters.items():
            text += _chain_lines(chain, tuple(lines))
        text += [f"-X {chain}" for chain in sorted(gone)]
        text.append("COMMIT")
        if zones is not None:
            text += ["*raw", ":aerie-zones - [0:0]", *_chain_lines("aerie-zones", tuple(zones)), "COMMIT"]
        run([f"{_TOOLS[version]}-restore", "--noflush", "-w", "10"], stdin="\n".join(text) + "\n")

    def _hook(self, version: int) -> None:
        """Makes the kernel's chains jump to ours, first and once."""
        tool = _TOOLS[version]
        for table, hook, chain in [("filter", *item) for item in _HOOKS.items()] + [
            ("raw", "PREROUTING", "aerie-zones")
        ]:
            run([tool, "-w", "10", "-t", table, "-N", chain], accept=(0, 1))
            check = [tool, "-w", "10", "-t", table, "-C", hook, "-j", chain]
            try:
                run(check)
            except HostError:
                run([tool, "-w", "10", "-t", table, "-I", hook, "1", "-j", chain])

    def remove(self) -> None:
        """Removes all our chains and jumps, of both families."""
        for version in (4, 6):
            tool = _TOOLS[version]
            _, chains, _ = self.loaded(version)
            for table, hook, chain in [("filter", *item) for item in _HOOKS.items()] + [
                ("raw", "PREROUTING", "aerie-zones")
            ]:
                run([tool, "-w", "10", "-t", table, "-D", hook, "-j", chain], accept=(0, 1, 2))
            text = ["*filter", *(f":{chain} - [0:0]" for chain in sorted(chains - {"aerie-zones"}))]
            text += [f"-X {chain}" for chain in sorted(chains - {"aerie-zones"})]
            text += ["COMMIT", "*raw", ":aerie-zones - [0:0]", "-X aerie-zones", "COMMIT"]
            run([f"{tool}-restore", "--noflush", "-w", "10"], stdin="\n".join(text) + "\n")
            self._loaded[version] = {}
        self._known = False


def _chain(way: str, device: str) -> str:
    return f"aerie-{way}-{checks.device(device)}"


def _chain_lines(chain: str, lines: tuple[str, ...]) -> list[str]:
    return [f'-A {chain} -m comment --comment "{digest(lines)}"', *(f"-A {chain} {line}" for line in lines)]


def _dispatch(version: int, wanted: Mapping[str, FilteredPort], zones: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """The chains which hand a packet to the chains of the ports it comes from and goes to."""
    forward: list[str] = []
    inbound: list[str] = []
    outbound: list[str] = []
    for device in sorted(wanted):
        item = wanted[device]
        into, out = _chain("i", device), _chain("o", device)
        forward.append(f"-m physdev --physdev-in {device} -j {out}")
        inbound.append(f"-m physdev --physdev-in {device} -j {out}")
        forward.append(f"-m physdev --physdev-out {device} --physdev-is-bridged -j {into}")
        if item.mapped:
            # The operator's bridge may have addresses of the host: what the host routes or sends into it is not
            # bridged, its port is not yet known, and only the destination tells for whom it is.
            for cidr in _addresses(item.port, version):
                forward.append(f"-o {item.bridge} -d {cidr} -m physdev ! --physdev-is-bridged -j {into}")
                outbound.append(f"-o {item.bridge} -d {cidr} -j {into}")
    bridges = sorted(set(zones) | {item.bridge for item in wanted.values()})
    forward += [f"-i {bridge} -m physdev --physdev-is-bridged -j ACCEPT" for bridge in bridges]
    # Nobody but the operator's bridges leads to the host itself.
    inbound += [f"-i {bridge} -j DROP" for bridge in sorted(zones)]
    return {"aerie-forward": tuple(forward), "aerie-input": tuple(inbound), "aerie-output": tuple(outbound)}


def _addresses(port: base.Port, version: int) -> list[str]:
    texts = [fixed.ip_address for fixed in port.fixed_ips] + [pair.ip_address for pair in port.allowed_address_pairs]
    cidrs = {checks.cidr(text) for text in texts}
    return sorted(cidr for cidr in cidrs if checks.version(cidr) == version and not cidr.endswith("/0"))


def _zones(zones: Mapping[str, str]) -> list[str]:
    return [f"-i {bridge} -j CT --zone {zone(zones[bridge])}" for bridge in sorted(zones)]
