# SPDX-License-Identifier: Apache-2.0
"""Routers: one namespace qrouter-<router id> each, with its interfaces, routes, translation and advertisements.

Owns those namespaces and the qr-/qg- devices in them. Invariant: a part that fails (an interface on a network that
cannot be reached, a floating IP, a route) is reported by its own id, and the other parts of the router work.
"""

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from aerie_network.drivers import base, checks
from aerie_network.drivers.bridge import advertise, nat, packets, system
from aerie_network.drivers.bridge.links import Link, Links
from aerie_network.drivers.bridge.system import HostError

_PREFIX = "qrouter-"
# Forwards, answers ARP only for what is on the interface asked, tells neighbours of new IPv6 addresses, and never
# takes advice from other routers.
_SYSCTLS = {
    "net/ipv4/ip_forward": 1,
    "net/ipv4/conf/all/arp_ignore": 1,
    "net/ipv4/conf/all/arp_announce": 2,
    "net/ipv4/conf/all/rp_filter": 0,
    "net/ipv4/conf/default/rp_filter": 0,
    "net/ipv6/conf/all/forwarding": 1,
    "net/ipv6/conf/default/accept_ra": 0,
    "net/ipv6/conf/default/accept_dad": 0,
    "net/ipv6/conf/default/ndisc_notify": 1,
}


@dataclass
class Routed:
    """What became of a router and its parts; reasons are empty where all is well."""

    reasons: list[str] = field(default_factory=list)
    ports: dict[str, base.Outcome] = field(default_factory=dict)
    floating_ips: dict[str, base.Outcome] = field(default_factory=dict)


class Routers:
    """Runs the routers of this host."""

    def __init__(self, settings: base.DriverSettings, links: Links) -> None:
        self._links = links
        self._advertisers = advertise.Advertisers(settings)
        self._devices: dict[str, set[str]] = {}  # router id -> host's ends of its interfaces

    def present(self) -> set[str]:
        """Ids of the routers that have a namespace here."""
        return {name[len(_PREFIX) :] for name in system.namespaces(_PREFIX)}

    def ended(self) -> set[str]:
        """Ids of the routers of which a process has ended by itself."""
        return self._advertisers.ended()

    def ensure(
        self, router: base.Router, networks: Mapping[str, base.Network], bridge_of: Callable[[base.Network], Link]
    ) -> Routed:
        """Makes the router as described. `bridge_of` gives a network's bridge or raises HostError."""
        router_id = checks.identifier(router.id)
        namespace = base.router_namespace(router_id)
        done = Routed()
        if system.ensure_namespace(namespace):
            system.in_namespace(namespace, _prepare)
        wanted: dict[str, tuple[base.RouterInterface | base.RouterGateway, base.Network]] = {}
        for item in router.parts:
            try:
                network = networks.get(item.network_id)
                if network is None:
                    raise HostError(f"network {item.network_id} is unknown here")
                prefix = "qg-" if isinstance(item, base.RouterGateway) else "qr-"
                device = checks.device(prefix + item.port_id[:11])
                link = self._links.ensure_veth(
                    base.tap_name(item.port_id), device, namespace, checks.mac(item.mac), network.mtu, _alias(router_id)
                )
                self._links.join(link, bridge_of(network))
                wanted[device] = (item, network)
                done.ports[item.port_id] = base.Outcome(base.WIRED, item.revision)
            except (HostError, checks.BadValue) as error:
                done.ports[item.port_id] = base.Outcome(base.ERROR, item.revision, str(error))
                done.reasons.append(f"port {item.port_id}: {error}")
        self._drop_others(router_id, {base.tap_name(item.port_id) for item in router.parts})
        system.in_namespace(namespace, lambda: _ensure_inside(router, wanted, done))
        self._advertise(router_id, namespace, wanted, done)
        return done

    def _advertise(
        self,
        router_id: str,
        namespace: str,
        wanted: Mapping[str, tuple[base.RouterInterface | base.RouterGateway, base.Network]],
        done: Routed,
    ) -> None:
        triples = [
            (device, network, item)
            for device, (item, network) in sorted(wanted.items())
            if isinstance(item, base.RouterInterface)
        ]
        try:
            self._advertisers.ensure(router_id, namespace, advertise.render(triples))
        except (HostError, checks.BadValue) as error:
            done.reasons.append(f"router advertisements: {error}")

    def _drop_others(self, router_id: str, keep: set[str]) -> None:
        present = self._devices.get(router_id)
        if present is None:
            present = {link.name for link in self._links.all() if link.alias == _alias(router_id)}
        for name in present - keep:
            self._links.delete(name)
        self._devices[router_id] = keep

    def remove(self, router_id: str) -> None:
        """Removes the router's namespace, devices and advertisements."""
        self._advertisers.remove(router_id)
        self._drop_others(router_id, set())
        del self._devices[router_id]
        system.delete_namespace(base.router_namespace(router_id))


def _alias(router_id: str) -> str:
    return f"aerie:router:{router_id}"


def _prepare() -> None:
    for path, value in _SYSCTLS.items():
        system.sysctl(path, value)


def _ensure_inside(
    router: base.Router,
    wanted: Mapping[str, tuple[base.RouterInterface | base.RouterGateway, base.Network]],
    done: Routed,
) -> None:
    gateway_device, source = "", None
    for device, (item, _) in wanted.items():
        if isinstance(item, base.RouterGateway):
            gateway_device = device
            source = next((fixed.ip_address for fixed in item.addresses if ":" not in fixed.ip_address), None)
    table = nat.compile_router(router, gateway_device, source)
    with Links() as links:
        lo = links.set_up("lo")
        loopback = {"127.0.0.1/8", "::1/128"} | ({f"{base.METADATA_ADDRESS}/32"} if router.metadata else set())
        links.ensure_addresses(lo, loopback)
        indexes: dict[str, int] = {}
        announce: list[tuple[str, str, list[str]]] = []
        for device, (item, network) in wanted.items():
            mac = checks.mac(item.mac)
            link = links.ensure_inner(device, mac, network.mtu)
            addresses = {f"{checks.address(fixed.ip_address)}/{fixed.prefix_length}" for fixed in item.addresses}
            if device == gateway_device:
                addresses |= {f"{address}/32" for address in table.mapping}
            added, _ = links.ensure_addresses(link, addresses)
            indexes[device] = link.index
            announce.append((device, mac, [address.split("/")[0] for address in added]))
        failed = links.ensure_routes(_routes(router, wanted, indexes, done))
    done.reasons += failed.values()
    nat.load(table)
    # Only now: who hears the announcement may send at once, and must find the translation in place.
    for device, mac, fresh in announce:
        if fresh:
            packets.gratuitous_arp(device, mac, sorted(fresh))
    for floating in router.floating_ips:
        reason = table.refused.get(floating.id, "")
        status = base.ERROR if reason else base.ACTIVE
        done.floating_ips[floating.id] = base.Outcome(status, floating.revision, reason)
    done.reasons += [f"{item_id}: {reason}" for item_id, reason in table.refused.items()]


def _routes(
    router: base.Router,
    wanted: Mapping[str, tuple[base.RouterInterface | base.RouterGateway, base.Network]],
    indexes: Mapping[str, int],
    done: Routed,
) -> list[tuple[str, str, int]]:
    routes: list[tuple[str, str, int]] = []
    on_link: list[tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, int]] = []
    for device, (item, network) in wanted.items():
        served = {fixed.subnet_id for fixed in item.addresses}
        prefixes = [f"{fixed.ip_address}/{fixed.prefix_length}" for fixed in item.addresses]
        if isinstance(item, base.RouterGateway):
            for text in item.next_hops:
                hop = checks.address(text)
                six = ":" in hop
                if not six and not any(ipaddress.ip_address(hop) in _network(prefix) for prefix in prefixes):
                    routes.append((f"{hop}/32", "", indexes[device]))
                routes.append(("::/0" if six else "0.0.0.0/0", hop, indexes[device]))
            # All subnets of the external network are on its wire, also those the router has no address of.
            for subnet in network.subnets:
                if subnet.id not in served and checks.version(subnet.cidr) == 4:
                    routes.append((checks.cidr(subnet.cidr), "", indexes[device]))
                    prefixes.append(subnet.cidr)
        on_link += [(_network(prefix), indexes[device]) for prefix in prefixes]
    for route in router.routes:
        try:
            destination, hop = checks.cidr(route.destination), checks.address(route.nexthop)
            via = next((index for prefix, index in on_link if ipaddress.ip_address(hop) in prefix), None)
            if via is None:
                raise checks.BadValue(f"next hop {hop} is on no network of the router")
        except checks.BadValue as error:
            done.reasons.append(f"route {route.destination!r}: {error}")
            continue
        routes.append((destination, hop, via))
    # One route per destination: an explicit one beats the default.
    chosen: dict[str, tuple[str, str, int]] = {}
    for entry in routes:
        chosen[entry[0]] = entry
    return sorted(chosen.values(), key=lambda entry: (entry[1] != "", entry[0]))


def _network(prefix: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network(checks.cidr(prefix))
