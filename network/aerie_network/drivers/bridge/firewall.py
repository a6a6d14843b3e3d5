# SPDX-License-Identifier: Apache-2.0
"""Security groups in the kernel: what may pass to and from each port, with connection tracking.

Owns the chains `aerie-*` of iptables and ip6tables (tables filter and raw). Each port has two chains, into the guest
(`aerie-i-`) and out of it (`aerie-o-`); both end in DROP. A verdict of RETURN means "as far as this port goes, yes",
so that a packet between two guests of one host is judged by both. Invariant: only our own chains are written, with one
atomic restore; each chain begins with the hash of its rules, so that what is right is not written again.

Connections are tracked per network (conntrack zones), because tenants' addresses overlap.
"""

import hashlib
import re
import zlib
from collections.abc import Collection, Iterable, Mapping
from concurrent import futures
from dataclasses import dataclass

from aerie_network.drivers import base, checks
from aerie_network.drivers.bridge.rules import PortChains
from aerie_network.drivers.bridge.system import HostError, run

_TOOLS = {4: "iptables", 6: "ip6tables"}
_FEW = 64  # changes of a common chain that are made one by one
_HOOKS = {"FORWARD": "aerie-forward", "INPUT": "aerie-input", "OUTPUT": "aerie-output"}


@dataclass(frozen=True)
class FilteredPort:
    """A port with its chains and where it is: `bridge`, and whether the operator's (`mapped`)."""

    port: base.Port
    chains: PortChains
    bridge: str
    mapped: bool


def zone(network_id: str) -> int:
    """Conntrack zone of a network: the same after every restart, so that no connection is lost. Two networks of one
    host that share a zone by chance only share what they would have shared without zones."""
    return 1 + zlib.crc32(network_id.encode()) % 65534


def digest(lines: Iterable[str]) -> str:
    """What the first rule of a chain says about the rest: its hash and number of rules."""
    listed = list(lines)
    return f"aerie:{hashlib.sha256(chr(10).join(listed).encode()).hexdigest()[:32]}/{len(listed)}"


def _label(chain: str, text: str) -> str:
    return f'{chain} -m comment --comment "{text}"'


class Firewall:
    """The loaded chains of both families: what is there, and how to change it."""

    def __init__(self) -> None:
        self._loaded: dict[int, dict[str, str]] = {4: {}, 6: {}}  # chain -> digest
        self._common: dict[tuple[int, str], tuple[str, ...]] = {}  # rules of the common chains, as last loaded
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

    def apply(
        self, wanted: Mapping[str, FilteredPort], zones: Mapping[str, str], mapped: Collection[str], resync: bool
    ) -> dict[str, str]:
        """Loads the chains of the ports (by device) that differ, and removes the others.

        `zones`: bridge name -> network id, for those whose connections are tracked on their own; `mapped`: the
        operator's bridges in use. Returns device -> reason for the ports that could not be filtered.
        """
        self.replaced.clear()
        with futures.ThreadPoolExecutor(2) as pool:  # the families know nothing of each other
            works = [pool.submit(self._apply, version, wanted, zones, mapped, resync) for version in (4, 6)]
        self._known = True
        return {device: reason for work in works for device, reason in work.result().items()}

    def _forget_common(self, version: int) -> None:
        for key in [key for key in self._common if key[0] == version]:
            del self._common[key]

    def _apply(
        self,
        version: int,
        wanted: Mapping[str, FilteredPort],
        zones: Mapping[str, str],
        mapped: Collection[str],
        resync: bool,
    ) -> dict[str, str]:
        stray: set[str] = set()
        if resync or not self._known:
            self._loaded[version], stray, hooked = self.loaded(version)
            self._forget_common(version)
            if not hooked:
                self._hook(version)
        loaded = self._loaded[version]
        chains = {
            **{_chain("i", device): item.chains.into[version] for device, item in wanted.items()},
            **{_chain("o", device): item.chains.out[version] for device, item in wanted.items()},
        }
        common = {**_dispatch(version, wanted, zones, mapped), "aerie-zones": tuple(_zones(zones))}
        digests = {chain: digest(lines) for chain, lines in chains.items()}
        # The common chains are edited line by line, so that their order may differ from that of a fresh load.
        digests |= {chain: digest(sorted(lines)) for chain, lines in common.items()}
        changed = {chain for chain, text in digests.items() if loaded.get(chain) != text}
        gone = {chain for chain in loaded.keys() | stray if chain not in digests and chain not in _HOOKS.values()}
        if not changed and not gone:
            return {}
        self.replaced |= {chain[len("aerie-i-") :] for chain in changed & chains.keys() & (loaded.keys() | stray)}
        own = {chain: chains[chain] for chain in changed if chain in chains}
        shared = {chain: lines for chain, lines in common.items() if chain in changed}
        failed: dict[str, str] = {}
        try:
            self._restore(version, own, shared, digests, gone)
        except HostError:
            # One chain is bad. Each port on its own, then the jumps; a port whose own rules are refused drops all.
            self._forget_common(version)
            for chain in sorted(own):
                try:
                    self._restore(version, {chain: own[chain]}, {}, digests, set())
                except HostError as error:
                    failed[chain[len("aerie-i-") :]] = f"packet filter refused its rules: {error}"
                    self._restore(version, {chain: ("-j DROP",)}, {}, {chain: digest(("-j DROP",))}, set())
                    digests[chain] = ""
            self._restore(version, {}, shared, digests, gone)
        self._loaded[version] = {chain: text for chain, text in digests.items() if text}
        return failed

    def _restore(
        self,
        version: int,
        own: Mapping[str, tuple[str, ...]],
        shared: Mapping[str, tuple[str, ...]],
        digests: Mapping[str, str],
        gone: set[str],
    ) -> None:
        """Loads chains of ports (`own`) and common ones (`shared`), and removes those that are `gone`, at once."""
        heads = [f":{chain} - [0:0]" for chain in [*own, *sorted(gone)]]
        bodies = [line for chain, lines in own.items() for line in _whole(chain, lines, digests[chain])]
        raw: list[str] = []
        for chain, lines in shared.items():
            before = self._common.get((version, chain))
            head: list[str] = []
            if before is None or len(set(before) ^ set(lines)) > _FEW:
                head, body = [f":{chain} - [0:0]"], _whole(chain, lines, digests[chain])
            else:
                body = _edited(chain, before, lines, digests[chain])
            if chain == "aerie-zones":
                raw = ["*raw", *head, *body, "COMMIT"]
            else:
                heads += head
                bodies += body
        text = ["*filter", *heads, *bodies, *(f"-X {chain}" for chain in sorted(gone)), "COMMIT", *raw]
        run([f"{_TOOLS[version]}-restore", "--noflush", "-w", "10"], stdin="\n".join(text) + "\n")
        self._common.update({(version, chain): lines for chain, lines in shared.items()})

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
        self._common.clear()
        self._known = False


def _chain(way: str, device: str) -> str:
    return f"aerie-{way}-{checks.device(device)}"


def _whole(chain: str, lines: Iterable[str], text: str) -> list[str]:
    """A chain's rules, all of them."""
    return [f"-A {_label(chain, text)}", *(f"-A {chain} {line}" for line in lines)]


def _edited(chain: str, before: tuple[str, ...], after: tuple[str, ...], text: str) -> list[str]:
    """The commands that make a loaded common chain another: jumps to ports in front, what holds for all at the end."""
    old, new = set(before), set(after)
    lines = [f"-D {chain} {line}" for line in before if line not in new]
    for line in after:
        if line not in old:
            lines.append(f"-I {chain} 2 {line}" if " -j aerie-" in line else f"-A {chain} {line}")
    return [*lines, f"-R {chain} 1 {_label('', text).strip()}"]


def _dispatch(
    version: int, wanted: Mapping[str, FilteredPort], zones: Mapping[str, str], mapped: Collection[str]
) -> dict[str, tuple[str, ...]]:
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
    # What is only bridged is no business of the host's own rules for routing.
    forward += [f"-i {bridge} -m physdev --physdev-is-bridged -j ACCEPT" for bridge in sorted({*zones, *mapped})]
    # Nobody but the operator's bridges leads to the host itself.
    inbound += [f"-i {bridge} -j DROP" for bridge in sorted(zones)]
    return {"aerie-forward": tuple(forward), "aerie-input": tuple(inbound), "aerie-output": tuple(outbound)}


def _addresses(port: base.Port, version: int) -> list[str]:
    texts = [fixed.ip_address for fixed in port.fixed_ips] + [pair.ip_address for pair in port.allowed_address_pairs]
    cidrs = {checks.cidr(text) for text in texts}
    return sorted(cidr for cidr in cidrs if checks.version(cidr) == version and not cidr.endswith("/0"))


def _zones(zones: Mapping[str, str]) -> list[str]:
    return [f"-i {bridge} -j CT --zone {zone(zones[bridge])}" for bridge in sorted(zones)]
