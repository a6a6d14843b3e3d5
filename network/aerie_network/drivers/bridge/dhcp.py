# SPDX-License-Identifier: Apache-2.0
"""DHCP and names: one dnsmasq per network, in the namespace qdhcp-<network id>.

Owns those namespaces, their devices, and the directory `dhcp/<network id>` with dnsmasq's files. Invariants: dnsmasq
is no child of the agent and outlives it; a port changes only the files which it reads again on SIGHUP; a port counts
as ready when dnsmasq has answered that it has loaded the files with that port in them (it serves a name whose address
is their hash). Nothing reaches a file that has not passed `checks`.
"""

import contextlib
import dataclasses
import functools
import hashlib
import ipaddress
import itertools
import logging
import os
import pwd
import re
import shutil
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from aerie_network.drivers import base, checks
from aerie_network.drivers.bridge import packets, system
from aerie_network.drivers.bridge.links import Link, Links
from aerie_network.drivers.bridge.system import HostError

LOG = logging.getLogger(__name__)
SERIAL_NAME = "serial.aerie.invalid"
_PREFIX = "qdhcp-"
_LOAD_TIMEOUT = 5.0
_DHCPV6 = ("dhcpv6-stateful", "dhcpv6-stateless")


@dataclass(frozen=True)
class Served:
    """What a network's server has loaded: port id -> revision, and what had to be left out."""

    ready: dict[str, int]
    refused: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Files:
    conf: str
    hosts: str
    options: str
    names: str
    refused: tuple[str, ...]
    ready: dict[str, int]
    leasable: frozenset[tuple[str, str]]  # (mac, IPv4 address) pairs that may hold a lease
    tagged: bool  # whether a host line carries a tag

    @property
    def serial(self) -> str:
        """An address made of the hash of everything that SIGHUP loads."""
        data = "\0".join((self.hosts, self.options, self.names)).encode()
        return str(ipaddress.IPv4Address(b"\x7f" + hashlib.sha256(data).digest()[:3]))


class DhcpServers:
    """Runs the DHCP servers of this host."""

    def __init__(self, settings: base.DriverSettings, links: Links) -> None:
        self._settings = settings
        self._links = links
        self._root = Path(settings.state_path) / "dhcp"
        self._processes = system.ProcessWatch()
        self._places: dict[str, object] = {}  # network id -> what its namespace and devices were made from
        self._devices: dict[str, str] = {}  # network id -> host's end of the server's interface

    def present(self) -> set[str]:
        """Ids of the networks that have a namespace or files here."""
        ids = {name[len(_PREFIX) :] for name in system.namespaces(_PREFIX)}
        if self._root.is_dir():
            ids |= {entry.name for entry in self._root.iterdir()}
        return ids

    def running(self) -> set[str]:
        """Ids of the networks whose server runs."""
        return {network_id for network_id in self.present() if self._pid(network_id)}

    def ended(self) -> set[str]:
        """Ids of the networks whose server has ended by itself."""
        return self._processes.ended()

    def _pid(self, network_id: str) -> int | None:
        directory = self._root / network_id
        return system.running_process(directory / "pid", str(directory / "conf"))

    def ensure(self, doc: base.DhcpNetwork, network: base.Network, bridge: Link, verify: bool) -> Served:
        """Makes the network's server run with exactly these hosts; returns when it has loaded them.

        Namespace and devices are looked at only when something about them has changed, or with `verify`.
        """
        network_id = checks.identifier(doc.network_id)
        namespace = base.dhcp_namespace(network_id)
        directory = self._root / network_id
        device = checks.device("ns-" + doc.port_id[:11])
        files = render(doc, network, device, directory, self._settings.dns_forwarders)
        place = (dataclasses.replace(doc, hosts=()), network.subnets, network.mtu, bridge.index)
        if verify or self._places.get(network_id) != place:
            self._places.pop(network_id, None)
            self._make_directory(directory)
            self._ensure_place(doc, network, bridge, device)
            self._places[network_id] = place
        self._ensure_loaded(doc, namespace, directory, files)
        pid = self._pid(network_id)
        if pid:
            self._processes.watch(network_id, pid)
        self._release(doc, namespace, directory, device, files)
        return Served(files.ready, files.refused)

    def _ensure_place(self, doc: base.DhcpNetwork, network: base.Network, bridge: Link, device: str) -> None:
        """The namespace, and the pair of devices that joins it to the bridge."""
        namespace, name = base.dhcp_namespace(doc.network_id), base.tap_name(doc.port_id)
        fresh = system.ensure_namespace(namespace)
        if self._devices.get(doc.network_id) != name:
            for other in self._devices_of(doc.network_id):
                if other != name:  # of an earlier port of the server
                    self._links.delete(other)
        self._devices[doc.network_id] = name
        alias = f"aerie:dhcp:{doc.network_id}"
        link = self._links.ensure_veth(name, device, namespace, checks.mac(doc.mac), network.mtu, alias)
        self._links.join(link, bridge)
        system.in_namespace(namespace, lambda: _ensure_inside(doc, network, device, fresh))

    def _make_directory(self, directory: Path) -> None:
        """Makes the network's directory; dnsmasq's own user must get through, whatever the umask is."""
        for path in (self._root.parent, self._root, directory):
            if not path.is_dir():
                path.mkdir(parents=True, exist_ok=True)
                path.chmod(0o755)
        closed = [path for path in (directory, *directory.parents) if not path.stat().st_mode & 0o001]
        if closed:
            raise HostError(f"{closed[0]} is closed to dnsmasq's user ({_user()}): chmod o+x, or another state_path")

    def _ensure_loaded(self, doc: base.DhcpNetwork, namespace: str, directory: Path, files: _Files) -> None:
        serial = files.serial
        self._drop_leases6(doc.network_id, directory, files)
        changed = [
            system.write_atomically(directory / "hosts", files.hosts),
            system.write_atomically(directory / "options", files.options),
            system.write_atomically(directory / "names", f"{files.names}{serial} {SERIAL_NAME}\n"),
        ]
        restart = system.write_atomically(directory / "conf", files.conf)
        pid = self._pid(doc.network_id)
        if pid and (restart or not _in_namespace(pid, namespace)):
            system.stop_process(pid)
            pid = None
        server = next(iter(addresses(doc)), None)
        if pid and server and not any(changed) and system.in_namespace(namespace, lambda: _serves(server, serial, 0.5)):
            return
        was_tagged = directory / "tagged"
        # dnsmasq 2.86 to 2.90 frees foreign memory when it reads host lines with tags a second time, and dies. Only
        # ports with options of their own need tags; their networks' servers start anew, leases and all.
        if pid and not files.tagged and not was_tagged.exists():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGHUP)
            if not server or system.in_namespace(namespace, lambda: _wait_serves(server, serial)):
                return
            LOG.warning("dnsmasq of network %s did not load its hosts: starting it anew", doc.network_id)
        if pid:
            system.stop_process(pid)
        (directory / "pid").unlink(missing_ok=True)
        system.in_namespace(namespace, lambda: system.run(["dnsmasq", f"--conf-file={directory / 'conf'}"]))
        if files.tagged:
            was_tagged.touch()
        else:
            was_tagged.unlink(missing_ok=True)
        if server and not system.in_namespace(namespace, lambda: _wait_serves(server, serial)):
            alive = "runs but" if self._pid(doc.network_id) else "died and"
            raise HostError(f"dnsmasq of network {doc.network_id} {alive} has not loaded its hosts")

    def _drop_leases6(self, network_id: str, directory: Path, files: _Files) -> None:
        """Forgets DHCPv6 leases of addresses that have another owner now, or none.

        Unlike with DHCPv4, only the holder itself could give them back. So the server is stopped here, and will be
        started anew without these leases.
        """
        try:
            before = _owners6((directory / "hosts").read_text())
            leases = (directory / "leases").read_text()
        except FileNotFoundError:
            return
        lost = {address for _, address in before - _owners6(files.hosts)}
        if not lost & _leased6(leases):
            return
        pid = self._pid(network_id)
        if pid:
            self._processes.forget(network_id)
            system.stop_process(pid)
        lines = (directory / "leases").read_text().splitlines(keepends=True)
        system.write_atomically(directory / "leases", "".join(line for line in lines if not _leased6(line) & lost))

    def _release(self, doc: base.DhcpNetwork, namespace: str, directory: Path, device: str, files: _Files) -> None:
        """Ends leases of ports that are gone: dnsmasq would refuse the address to its next holder."""
        stale = [lease for lease in _leases(directory / "leases") if lease[:2] not in files.leasable]
        servers = [address for address in addresses(doc) if ":" not in address]
        if stale and servers:

            def release() -> None:
                for mac, address, client_id in stale:
                    packets.dhcp_release(device, servers[0], mac, address, client_id)

            system.in_namespace(namespace, release)

    def _devices_of(self, network_id: str) -> list[str]:
        return [link.name for link in self._links.all() if link.alias == f"aerie:dhcp:{network_id}"]

    def remove(self, network_id: str) -> None:
        """Stops the network's server and removes its namespace, devices and files."""
        self._processes.forget(network_id)
        self._places.pop(network_id, None)
        pid = self._pid(network_id)
        if pid:
            system.stop_process(pid)
        device = self._devices.pop(network_id, None)
        for name in [device] if device else self._devices_of(network_id):
            self._links.delete(name)
        system.delete_namespace(base.dhcp_namespace(network_id))
        shutil.rmtree(self._root / network_id, ignore_errors=True)


def addresses(doc: base.DhcpNetwork) -> list[str]:
    """The server's own addresses."""
    return [checks.address(fixed.ip_address) for fixed in doc.addresses]


def _in_namespace(pid: int, namespace: str) -> bool:
    try:
        return os.stat(f"/proc/{pid}/ns/net").st_ino == os.stat(system.NETNS_DIR / namespace).st_ino
    except FileNotFoundError:
        return False


def _serves(server: str, serial: str, timeout: float) -> bool:
    return packets.ask_address(server, SERIAL_NAME, timeout) == serial


def _wait_serves(server: str, serial: str) -> bool:
    deadline = time.monotonic() + _LOAD_TIMEOUT
    pause = 0.001
    while not _serves(server, serial, 0.5):
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(pause * 2, 0.05)
    return True


def _owners6(hosts: str) -> set[tuple[str, str]]:
    """(mac, IPv6 address) pairs of a hosts file."""
    return {
        (line.split(",", 1)[0], address) for line in hosts.splitlines() for address in re.findall(r"\[(.+?)\]", line)
    }


def _leased6(text: str) -> set[str]:
    """The IPv6 addresses in lines of dnsmasq's lease file."""
    return {words[2] for line in text.splitlines() if len(words := line.split()) == 5 and ":" in words[2]}


def _leases(path: Path) -> list[tuple[str, str, str]]:
    """(mac, IPv4 address, client id) of each lease in dnsmasq's file."""
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        words = line.split()
        if len(words) == 5 and checks.MAC.fullmatch(words[1]) and re.fullmatch(r"[0-9.]+", words[2]):
            found.append((words[1], words[2], words[4]))
    return found


def _ensure_inside(doc: base.DhcpNetwork, network: base.Network, device: str, fresh: bool) -> None:
    # An address under duplicate detection cannot be served on yet; here they are given out once, and are unique.
    for scope in ("default", device) if fresh else (device,):
        system.sysctl(f"net/ipv6/conf/{scope}/accept_ra", 0)
        system.sysctl(f"net/ipv6/conf/{scope}/accept_dad", 0)
    wanted = {f"{checks.address(fixed.ip_address)}/{fixed.prefix_length}" for fixed in doc.addresses}
    if doc.metadata:
        wanted.add(f"{base.METADATA_ADDRESS}/32")
    with Links() as links:
        links.set_up("lo")
        link = links.ensure_inner(device, checks.mac(doc.mac), network.mtu)
        links.ensure_addresses(link, wanted)
        # The way to the resolvers it forwards to; without a gateway it simply has none.
        links.ensure_routes(_default_routes(doc, network, link.index))


def _default_routes(doc: base.DhcpNetwork, network: base.Network, index: int) -> list[tuple[str, str, int]]:
    served = {fixed.subnet_id for fixed in doc.addresses}
    routes: dict[str, tuple[str, str, int]] = {}
    for subnet in network.subnets:
        if subnet.gateway_ip and subnet.id in served:
            destination = "::/0" if ":" in subnet.gateway_ip else "0.0.0.0/0"
            routes.setdefault(destination, (destination, checks.address(subnet.gateway_ip), index))
    return list(routes.values())


# -------------------------------------------------------------------------------------------- dnsmasq's files


@functools.cache
def _known_options(version: int) -> frozenset[str]:
    """Names of the DHCP options that this dnsmasq knows."""
    listing = system.run(["dnsmasq", "--help", "dhcp" if version == 4 else "dhcp6"])
    return frozenset(found[1] for found in re.finditer(r"^\s*\d+\s+([a-z0-9-]+)", listing, re.MULTILINE))


def render(
    doc: base.DhcpNetwork, network: base.Network, device: str, directory: Path, forwarders: Iterable[str]
) -> _Files:
    """The text of dnsmasq's files; ports and options that cannot be used are left out and named."""
    subnets = {subnet.id: subnet for subnet in network.subnets if _has_dhcp(subnet)}
    refused: list[str] = []
    hosts: list[str] = []
    options = [line for subnet in subnets.values() for line in _subnet_options(doc, subnet)]
    names: list[str] = []
    ready: dict[str, int] = {}
    leasable: set[tuple[str, str]] = set()
    for host in sorted(doc.hosts, key=lambda host: host.port_id):
        try:
            host_lines, name_lines = _host(host, doc, subnets)
        except checks.BadValue as error:
            refused.append(f"port {host.port_id!r} left out: {error}")
            continue
        option_lines, bad = _port_options(host)
        refused += bad
        hosts += host_lines
        names += name_lines
        options += option_lines
        ready[host.port_id] = host.revision
        leasable |= {(checks.mac(host.mac), checks.address(fixed.ip_address)) for fixed in host.addresses}
    return _Files(
        conf=_conf(doc, network, subnets.values(), device, directory, forwarders),
        hosts="".join(line + "\n" for line in hosts),
        options="".join(line + "\n" for line in options),
        names="".join(line + "\n" for line in names),
        refused=tuple(refused),
        ready=ready,
        leasable=frozenset(leasable),
        tagged=any(host.options for host in doc.hosts),
    )


def _has_dhcp(subnet: base.Subnet) -> bool:
    return subnet.enable_dhcp and (checks.version(subnet.cidr) == 4 or subnet.ipv6_address_mode in _DHCPV6)


def _conf(
    doc: base.DhcpNetwork,
    network: base.Network,
    subnets: Iterable[base.Subnet],
    device: str,
    directory: Path,
    forwarders: Iterable[str],
) -> str:
    lines = [
        "no-hosts", "no-resolv", "no-ping", "bind-dynamic", f"interface={device}", "except-interface=lo",
        "dhcp-authoritative", "dhcp-lease-max=65536", "quiet-dhcp", "quiet-dhcp6", "bogus-priv",
        f"pid-file={directory / 'pid'}", f"dhcp-leasefile={directory / 'leases'}",
        f"dhcp-hostsfile={directory / 'hosts'}", f"dhcp-optsfile={directory / 'options'}",
        f"addn-hosts={directory / 'names'}", f"user={_user()}", f"dhcp-option-force=option:mtu,{network.mtu}",
    ]  # fmt: skip
    lines.append("local=/aerie.invalid/")
    if doc.domain:
        domain = checks.hostname(doc.domain.rstrip("."))
        lines += [f"domain={domain}", f"local=/{domain}/"]
    lines += [f"server={checks.address(address)}" for address in (doc.forwarders or tuple(forwarders))]
    for subnet in subnets:
        parsed = ipaddress.ip_network(checks.cidr(subnet.cidr))
        tag = f"set:subnet-{checks.identifier(subnet.id)}"
        size = parsed.netmask if parsed.version == 4 else parsed.prefixlen
        lines.append(f"dhcp-range={tag},{parsed.network_address},static,{size},{int(doc.lease_seconds)}s")
    return "".join(line + "\n" for line in lines)


def _user() -> str:
    for name in ("dnsmasq", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise HostError("there is neither a user dnsmasq nor nobody to run the DHCP server as")


def _subnet_options(doc: base.DhcpNetwork, subnet: base.Subnet) -> list[str]:
    tag = f"tag:subnet-{checks.identifier(subnet.id)}"
    own = [checks.address(fixed.ip_address) for fixed in doc.addresses if fixed.subnet_id == subnet.id]
    # 0.0.0.0 (or ::) as the only name server is how a subnet says that it wants none.
    resolvers = [checks.address(address) for address in subnet.dns_nameservers] or own
    resolvers = [address for address in resolvers if address not in ("0.0.0.0", "::")]
    if checks.version(subnet.cidr) == 6:
        return [_option(tag, "option6:dns-server", [f"[{address}]" for address in resolvers])]
    gateway = [checks.address(subnet.gateway_ip)] if subnet.gateway_ip else []
    lines = [_option(tag, "option:dns-server", resolvers), _option(tag, "option:router", gateway)]
    routes = [
        word for route in subnet.host_routes for word in (checks.cidr(route.destination), checks.address(route.nexthop))
    ]
    if doc.metadata and subnet.id in doc.isolated_subnets and own:
        routes += [f"{base.METADATA_ADDRESS}/32", own[0]]
    if routes:
        # A client that gets classless routes must ignore the router option.
        routes += ["0.0.0.0/0", *gateway] if gateway else []
        lines += [_option(tag, "option:classless-static-route", routes), _option(tag, "249", routes)]
    return lines


def _option(tag: str, name: str, values: Iterable[str]) -> str:
    return ",".join([tag, name, *values])


def _host(host: base.DhcpHost, doc: base.DhcpNetwork, subnets: dict[str, base.Subnet]) -> tuple[list[str], list[str]]:
    mac = checks.mac(host.mac)
    # A tag only where options need it, see _ensure_loaded.
    start = f"{mac},set:port-{checks.identifier(host.port_id)}" if host.options else mac
    addresses: dict[int, list[tuple[str, str]]] = {4: [], 6: []}
    name_lines: list[str] = []
    for fixed in host.addresses:
        address = checks.address(fixed.ip_address)
        name = checks.hostname(host.hostname or "host-" + re.sub(r"[.:]+", "-", address).strip("-"))
        full = f"{name}.{checks.hostname(doc.domain.rstrip('.'))} {name}" if doc.domain else name
        name_lines.append(f"{address} {full}")
        if fixed.subnet_id in subnets:
            version = checks.version(address)
            addresses[version].append((name, address if version == 4 else f"[{address}]"))
    # Both families in one line: of two lines with one name dnsmasq takes the second for a duplicate.
    host_lines = []
    for four, six in itertools.zip_longest(addresses[4], addresses[6]):
        name = (four or six)[0]
        host_lines.append(",".join([start, name, *(item[1] for item in (four, six) if item)]))
    return host_lines, name_lines


def _port_options(host: base.DhcpHost) -> tuple[list[str], list[str]]:
    lines: list[str] = []
    refused: list[str] = []
    for option in host.options:
        try:
            name, value = checks.option_name(option.name), checks.text(option.value)
            if not name.isdigit() and name not in _known_options(option.ip_version):
                raise checks.BadValue(f"unknown DHCP option {name}")
        except checks.BadValue as error:
            refused.append(f"option of port {host.port_id} left out: {error}")
            continue
        prefix = "option" if option.ip_version == 4 else "option6"
        spelled = name if name.isdigit() and option.ip_version == 4 else f"{prefix}:{name}"
        lines.append(f"tag:port-{host.port_id},{spelled},{value}")
    return lines, refused
