# SPDX-License-Identifier: Apache-2.0
"""Address translation of a router: the text of its iptables tables, and loading it.

Owns the tables nat, mangle and filter inside a router's namespace, whole: nobody else writes there, so one restore
replaces them at once. Invariant: a floating IP that cannot be used is left out and named; the others are loaded.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from aerie_network.drivers import base, checks
from aerie_network.drivers.bridge.system import run

_FROM_OUTSIDE = "0x2/0xffff"  # mark on packets that came in by the gateway


@dataclass(frozen=True)
class Nat:
    """The compiled tables; the floating addresses in use, and which floating IP (or forwarding) failed and why."""

    text: str
    digest: str
    mapping: dict[str, frozenset[str]]  # floating address -> its DNAT rules
    refused: dict[str, str]


def compile_router(router: base.Router, gateway_device: str, source: str | None) -> Nat:
    """The tables of a router. `source` is the gateway's own IPv4 address, None when it has none."""
    refused: dict[str, str] = {}
    mapping: dict[str, set[str]] = {}
    inward: list[str] = []
    outward: list[str] = []
    for forwarding in router.port_forwardings:
        try:
            line, floating = _forwarding(forwarding)
        except checks.BadValue as error:
            refused[forwarding.id] = str(error)
            continue
        inward.append(line)
        mapping.setdefault(floating, set()).add(line)
    for item in router.floating_ips:
        try:
            floating, fixed = _ipv4(item.floating_ip), _ipv4(item.fixed_ip)
        except checks.BadValue as error:
            refused[item.id] = str(error)
            continue
        if not source:
            refused[item.id] = "the router has no working gateway"
            continue
        line = f"-A PREROUTING -d {floating}/32 -j DNAT --to-destination {fixed}"
        inward.append(line)
        mapping.setdefault(floating, set()).add(line)
        outward.append(f"-A POSTROUTING -s {fixed}/32 -j SNAT --to-source {floating}")
    nat, mangle, drops = inward, [], []
    if source:
        outside = checks.device(gateway_device)
        mangle.append(f"-A PREROUTING -i {outside} -j MARK --set-xmark {_FROM_OUTSIDE}")
        drops.append(f"-A INPUT -d {base.METADATA_ADDRESS}/32 -i {outside} -j DROP")
        # Between internal networks nothing is translated, unless it was sent to a floating address.
        nat.append(f"-A POSTROUTING ! -o {outside} -m conntrack ! --ctstate DNAT -j ACCEPT")
        nat += outward
        if router.gateway is not None and router.gateway.enable_snat:
            nat.append(f"-A POSTROUTING -o {outside} -j SNAT --to-source {source}")
        # A guest that calls a neighbour by its floating address must get the answer through the router too.
        nat.append(
            f"-A POSTROUTING -m mark ! --mark {_FROM_OUTSIDE} -m conntrack --ctstate DNAT -j SNAT --to-source {source}"
        )
    digest = "aerie:" + hashlib.sha256("\n".join([*nat, *mangle, *drops]).encode()).hexdigest()[:32]
    digest += f"/{len(nat) + len(mangle) + len(drops)}"
    text = "\n".join(
        [
            "*nat", ":PREROUTING ACCEPT [0:0]", ":INPUT ACCEPT [0:0]", ":OUTPUT ACCEPT [0:0]",
            ":POSTROUTING ACCEPT [0:0]", f'-A OUTPUT -m comment --comment "{digest}"', *nat, "COMMIT",
            "*mangle", ":PREROUTING ACCEPT [0:0]", *mangle, "COMMIT",
            "*filter", ":INPUT ACCEPT [0:0]", *drops, "COMMIT",
        ]
    )  # fmt: skip
    return Nat(text + "\n", digest, {key: frozenset(lines) for key, lines in mapping.items()}, refused)


def _ipv4(text: str) -> str:
    address = checks.address(text)
    if ":" in address:
        raise checks.BadValue(f"{address} is not an IPv4 address")
    return address


def _forwarding(item: base.PortForwarding) -> tuple[str, str]:
    if item.protocol not in ("tcp", "udp", "sctp", "dccp"):
        raise checks.BadValue(f"protocol {item.protocol!r} cannot be forwarded")
    if not (0 < item.external_port < 65536 and 0 < item.internal_port < 65536):
        raise checks.BadValue(f"ports {item.external_port}, {item.internal_port}")
    floating, fixed = _ipv4(item.floating_ip), _ipv4(item.fixed_ip)
    match = f"-p {item.protocol} -m {item.protocol} --dport {item.external_port}"
    target = f"{fixed}:{item.internal_port}"
    return f"-A PREROUTING -d {floating}/32 {match} -j DNAT --to-destination {target}", floating


def load(nat: Nat) -> None:
    """Loads the tables in the calling thread's namespace unless they are there; ends the connections of floating
    addresses that are gone or lead elsewhere now."""
    saved = run(["iptables-save"])
    rules = [line for line in saved.splitlines() if line.startswith("-A ") and "--comment" not in line]
    found = re.search(r'--comment "?(aerie:[0-9a-f]+/\d+)"?', saved)
    if found and found[1] == nat.digest and nat.digest.endswith(f"/{len(rules)}"):
        return
    run(["iptables-restore", "-w", "10"], stdin=nat.text)
    before: dict[str, set[str]] = {}
    for line in rules:
        match = re.match(r"-A PREROUTING -d ([0-9.]+)/32 .*-j DNAT", line)
        if match:
            before.setdefault(match[1], set()).add(line)
    forget(address for address, lines in before.items() if nat.mapping.get(address, frozenset()) != frozenset(lines))


def forget(addresses: Iterable[str]) -> None:
    """Ends the tracked connections to and from addresses, in the calling thread's namespace."""
    for address in addresses:
        for option in ("--orig-dst", "--reply-dst"):
            run(["conntrack", "-D", option, address], accept=(0, 1))  # 1: there were none
