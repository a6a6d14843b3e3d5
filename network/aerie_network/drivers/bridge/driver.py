# SPDX-License-Identifier: Apache-2.0
"""The bridge driver: brings one host to its desired state with the kernel's own parts.

Owns the order of work (networks, filters, taps, DHCP, routers, then removals), and what it remembers between two
calls. Invariants: a port's filters are loaded before its tap joins the bridge; a port is reported wired only after
that, and in the same report as the DHCP server that knows it; what has not changed is not touched; each item is done
in a guard of its own.
"""

import logging
import os
import socket
from collections.abc import Callable, Iterable, Mapping
from concurrent import futures
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from aerie_network.drivers import base, checks
from aerie_network.drivers.bridge import (
    addresssets,
    antispoof,
    connections,
    dhcp,
    firewall,
    router,
    rules,
    segments,
    system,
)
from aerie_network.drivers.bridge.links import ALIAS_PREFIX, Link, Links
from aerie_network.drivers.bridge.system import HostError

LOG = logging.getLogger(__name__)
T = TypeVar("T")
P = ParamSpec("P")
_PORT_ALIAS = ALIAS_PREFIX + "port:"
_NETWORK_ALIAS = ALIAS_PREFIX + "network:"


@dataclass(frozen=True)
class _Known:
    """What an item was made from, and what came of it; the same inputs need no work."""

    inputs: object
    outcome: base.Outcome


class BridgeDriver(base.NetworkDriver):
    """Linux bridges, taps, VXLAN, iptables and ipset, nftables, dnsmasq, namespaces."""

    def __init__(self, settings: base.DriverSettings) -> None:
        self._settings = settings
        self._links = Links()
        self._segments = segments.Segments(settings, self._links)
        self._sets = addresssets.AddressSets()
        self._antispoof = antispoof.AntiSpoof()
        self._firewall = firewall.Firewall()
        self._dhcp = dhcp.DhcpServers(settings, self._links)
        self._routers = router.Routers(settings, self._links)
        self._forget()

    def _forget(self) -> None:
        self._started = False
        self._networks: dict[str, _Known] = {}
        self._bridges: dict[str, Link] = {}
        self._ports: dict[str, _Known] = {}
        self._devices: dict[str, str] = {}  # port id -> tap
        self._filtered: dict[str, firewall.FilteredPort] = {}  # device -> what is loaded
        self._compiled: dict[str, tuple[object, tuple[list[str], firewall.FilteredPort]]] = {}
        self._served: dict[str, tuple[object, dhcp.Served, base.Outcome]] = {}
        self._routed: dict[str, tuple[object, router.Routed, base.Outcome]] = {}

    # --------------------------------------------------------------------------------------------- converging

    def converge(self, state: base.HostState, resync: bool = False) -> base.Report:
        """See NetworkDriver."""
        whole = resync or not self._started
        if not whole:
            return self._converge(state, whole=False)
        if not self._started:
            _require_bridge_filter()
        with self._links.snapshot():
            report = self._converge(state, whole=True)
        self._started = True
        return report

    def _converge(self, state: base.HostState, whole: bool) -> base.Report:
        roles = self._settings.roles
        self._ensure_networks(state, whole)
        if base.ROLE_L2 in roles:
            self._ensure_ports(state, whole)
        if base.ROLE_DHCP in roles:
            self._ensure_dhcp(state, whole)
        if base.ROLE_L3 in roles:
            self._ensure_routers(state, whole)
        self._remove_networks(state, whole)
        return self._report(state)

    def _guard(self, what: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> tuple[T | None, str]:
        """Runs the work of one item; what goes wrong becomes its reason and harms no other."""
        try:
            return function(*args, **kwargs), ""
        except (HostError, checks.BadValue) as error:
            LOG.warning("%s: %s", what, error)
            return None, str(error)
        except Exception as error:
            LOG.exception("%s failed", what)
            return None, f"{type(error).__name__}: {error}"

    # ----------------------------------------------------------------------------------------------- networks

    def _ensure_networks(self, state: base.HostState, whole: bool) -> None:
        for network_id, network in state.networks.items():
            known = self._networks.get(network_id)
            if not whole and known and known.inputs == network and known.outcome.status == base.ACTIVE:
                continue
            bridge, reason = self._guard(f"network {network_id}", self._segments.ensure, network)
            if bridge is None:
                self._bridges.pop(network_id, None)
                self._networks[network_id] = _Known(network, base.Outcome(base.ERROR, 0, reason))
            else:
                self._bridges[network_id] = bridge
                self._networks[network_id] = _Known(network, base.Outcome(base.ACTIVE))

    def _bridge_of(self, network_id: str) -> Link:
        bridge = self._bridges.get(network_id)
        if bridge is None:
            known = self._networks.get(network_id)
            raise HostError(known.outcome.reason if known else f"network {network_id} is unknown here")
        return bridge

    def _remove_networks(self, state: base.HostState, whole: bool) -> None:
        gone = self._networks.keys() - state.networks.keys()
        if not whole and not gone:
            return
        keep: set[str] = set()
        for network in state.networks.values():
            names, _ = self._guard(f"network {network.id}", self._segments.devices_of, network)
            keep |= names or set()
        for link in self._links.all():
            if link.alias.startswith(_NETWORK_ALIAS) and link.name not in keep:
                LOG.info("removing %s, its network is no longer here", link.name)
                self._guard(f"device {link.name}", self._links.delete, link.name)
        for network_id in gone:
            del self._networks[network_id]
            self._bridges.pop(network_id, None)

    # -------------------------------------------------------------------------------------------------- ports

    def _ensure_ports(self, state: base.HostState, whole: bool) -> None:
        self._remove_ports(state, whole)  # before their filters
        outcomes: dict[str, base.Outcome] = {}
        notes: dict[str, str] = {}
        bad_sets, departed = self._sets.load(state.address_sets, whole)
        spoof: dict[str, list[str]] = {}
        filtered: dict[str, firewall.FilteredPort] = {}
        for port in state.ports.values():
            compiled, reason = self._guard(f"port {port.id}", self._compile, port, state, set(bad_sets))
            if compiled is None:
                outcomes[port.id] = base.Outcome(base.ERROR, port.revision, reason)
                known = self._compiled.get(port.id)
                if known is None:
                    self._close(port)
                    continue
                compiled = known[1]  # what held before holds on: no filters at all would be worse than old ones
            if port.port_security:
                spoof[port.device], filtered[port.device] = compiled
                notes[port.id] = "; ".join(compiled[1].chains.refused)
        failed = self._filter(state, spoof, filtered, departed, whole)
        for port in state.ports.values():
            if port.device in failed:
                outcomes[port.id] = base.Outcome(base.ERROR, port.revision, failed[port.device])
                self._close(port)
            elif port.id not in outcomes:
                outcomes[port.id] = self._ensure_port(port, state, notes.get(port.id, ""), whole)
        self._ports = {
            port.id: _Known((port, self._index(port.network_id)), outcomes[port.id]) for port in state.ports.values()
        }

    def _filter(
        self,
        state: base.HostState,
        spoof: dict[str, list[str]],
        filtered: dict[str, firewall.FilteredPort],
        departed: Mapping[str, frozenset[str]],
        whole: bool,
    ) -> dict[str, str]:
        """Loads the filters of all ports; returns device -> reason for those that could not be."""
        present = [network for network in state.networks.values() if network.id in self._bridges]
        mapped = {self._segments.bridge_of(network) for network in present if self._segments.mapped(network)}
        zones = {
            self._segments.bridge_of(network): network.id for network in present if not self._segments.mapped(network)
        }
        with futures.ThreadPoolExecutor(1) as pool:  # the two filters know nothing of each other
            spoofed = pool.submit(self._antispoof.apply, spoof, whole)
            failed = self._firewall.apply(filtered, zones, mapped, whole)
        failed |= spoofed.result()
        self._sets.prune(state.address_sets)
        self._end_connections(filtered, departed)
        return failed

    def _close(self, port: base.Port) -> None:
        """Takes a port that cannot be filtered out of service, if it is there at all."""
        link, _ = self._guard(f"port {port.id}", self._links.get, port.device)
        if link is not None and link.alias == _PORT_ALIAS + port.id:
            self._guard(f"port {port.id}", self._links.set_down, port.device)

    def _index(self, network_id: str) -> int:
        bridge = self._bridges.get(network_id)
        return bridge.index if bridge else 0

    def _compile(
        self, port: base.Port, state: base.HostState, bad_sets: set[str]
    ) -> tuple[list[str], firewall.FilteredPort]:
        """The port's rules; raises BadValue when the port itself (not merely one of its rules) is unusable."""
        groups = [state.security_groups.get(group) for group in port.security_groups]
        network = state.networks.get(port.network_id)
        place = network and (network.type, network.physical_network)
        inputs = (port, place, groups, bad_sets, frozenset(state.address_sets))
        known = self._compiled.get(port.id)
        if known is None or known[0] != inputs:
            known = self._compiled[port.id] = (inputs, self._compile_anew(port, state, bad_sets))
        return known[1]

    def _compile_anew(
        self, port: base.Port, state: base.HostState, bad_sets: set[str]
    ) -> tuple[list[str], firewall.FilteredPort]:
        checks.device(port.device)
        checks.mac(port.mac)
        network = state.networks.get(port.network_id)
        if network is None:
            raise checks.BadValue(f"network {port.network_id} is unknown here")
        chains = rules.compile_port(port, state.security_groups, bad_sets, state.address_sets)
        bridge = self._segments.bridge_of(network)
        item = firewall.FilteredPort(port, chains, bridge, self._segments.mapped(network))
        return antispoof.compile_port(port), item

    def _ensure_port(self, port: base.Port, state: base.HostState, note: str, whole: bool) -> base.Outcome:
        status = base.WIRED if port.admin_state_up else base.DOWN
        wanted = base.Outcome(status, port.revision, note)
        known = self._ports.get(port.id)
        inputs = (port, self._index(port.network_id))
        if not whole and known and known.inputs == inputs and known.outcome.status != base.ERROR:
            return wanted
        old_device = self._devices.get(port.id)
        if old_device and old_device != port.device:
            self._links.delete(old_device)
        _, reason = self._guard(f"port {port.id}", self._plug, port, state.networks[port.network_id])
        if reason:
            return base.Outcome(base.ERROR, port.revision, reason)
        LOG.info("port %s is %s as %s", port.id, status, port.device)
        return wanted

    def _plug(self, port: base.Port, network: base.Network) -> None:
        bridge = self._bridge_of(port.network_id)
        link = self._links.ensure_tap(
            port.device, checks.mac(port.mac), network.mtu, _PORT_ALIAS + port.id, self._settings.tap_owner
        )
        self._devices[port.id] = port.device
        self._links.join(link, bridge, up=port.admin_state_up)

    def _remove_ports(self, state: base.HostState, whole: bool) -> None:
        devices = {port.device for port in state.ports.values()}
        gone = {device for port_id, device in self._devices.items() if port_id not in state.ports}
        if whole:
            gone |= {
                link.name
                for link in self._links.all()
                if link.alias.startswith(_PORT_ALIAS) and link.name not in devices
            }
        for device in sorted(gone - devices):
            LOG.info("removing %s, its port is no longer here", device)
            self._guard(f"device {device}", self._links.delete, device)
        for port_id in self._devices.keys() - state.ports.keys():
            del self._devices[port_id]
        for port_id in self._compiled.keys() - state.ports.keys():
            del self._compiled[port_id]

    def _end_connections(
        self, filtered: dict[str, firewall.FilteredPort], departed: Mapping[str, frozenset[str]]
    ) -> None:
        """Ends tracked connections that new rules have to judge: all those of ports that are gone or allow less than
        before, and those between the other ports and addresses that left a set their rules name (`departed`)."""
        gone = [item for device, item in self._filtered.items() if device not in filtered]
        cuts: dict[int, list[connections.Cut]] = {}
        bereft: dict[tuple[int, frozenset[str]], list[firewall.FilteredPort]] = {}
        for device, item in filtered.items():
            if self._narrowed(device, item):
                gone.append(item)
            elif left := item.chains.sets.intersection(departed):
                bereft.setdefault((_zone(item), left), []).append(item)
        for item in gone:
            cuts.setdefault(_zone(item), []).append(connections.Cut(_fixed([item])))
        for (zone, left), items in bereft.items():
            peers = frozenset().union(*(departed[name] for name in left))
            cuts.setdefault(zone, []).append(connections.Cut(_fixed(items), tuple(peers)))
        for zone, listed in cuts.items():
            self._guard(f"connections in zone {zone}", connections.end, zone, listed)
        self._filtered = filtered

    def _narrowed(self, device: str, item: firewall.FilteredPort) -> bool:
        """Whether a port's own rules allow less than before, as far as can be told."""
        before = self._filtered.get(device)
        return device in self._firewall.replaced and (before is None or not _covers(item.chains, before.chains))

    # --------------------------------------------------------------------------------------------------- DHCP

    def _ensure_dhcp(self, state: base.HostState, whole: bool) -> None:
        ended = self._dhcp.ended()
        for network_id, doc in state.dhcp.items():
            network = state.networks.get(network_id)
            inputs: object = (doc, network and (network.subnets, network.mtu), self._index(network_id))
            known = self._served.get(network_id)
            right = known and known[0] == inputs and known[2].status == base.ACTIVE
            if not whole and right and network_id not in ended:
                continue
            served, reason = self._guard(f"DHCP of network {network_id}", self._serve, doc, network, whole)
            if served is None:
                outcome = base.Outcome(base.ERROR, doc.revision, reason)
            else:
                outcome = base.Outcome(base.ACTIVE, doc.revision, "; ".join(served.refused))
            self._served[network_id] = (inputs, served or dhcp.Served({}), outcome)
        gone = self._served.keys() - state.dhcp.keys()
        if whole:
            gone = gone | (self._dhcp.present() - state.dhcp.keys())
        for network_id in sorted(gone):
            LOG.info("removing the DHCP server of network %s", network_id)
            self._guard(f"DHCP of network {network_id}", self._dhcp.remove, network_id)
            self._served.pop(network_id, None)

    def _serve(self, doc: base.DhcpNetwork, network: base.Network | None, verify: bool) -> dhcp.Served:
        if network is None:
            raise HostError(f"network {doc.network_id} is unknown here")
        return self._dhcp.ensure(doc, network, self._bridge_of(doc.network_id), verify)

    # ------------------------------------------------------------------------------------------------ routers

    def _ensure_routers(self, state: base.HostState, whole: bool) -> None:
        wanted = {router_id: item for router_id, item in state.routers.items() if item.admin_state_up}
        ended = self._routers.ended()
        for router_id, item in wanted.items():
            around = [
                (network.subnets, network.mtu, self._index(network.id))
                for network in (state.networks.get(part.network_id) for part in item.parts)
                if network is not None
            ]
            inputs: object = (item, around)
            known = self._routed.get(router_id)
            right = known and known[0] == inputs and known[2].status == base.ACTIVE
            if not whole and right and router_id not in ended:
                continue
            done, reason = self._guard(
                f"router {router_id}",
                self._routers.ensure,
                item,
                state.networks,
                lambda network: self._bridge_of(network.id),
            )
            if done is None:
                done = _failed_router(item, reason)
            reason = "; ".join(done.reasons)
            outcome = base.Outcome(base.ERROR if reason else base.ACTIVE, item.revision, reason)
            self._routed[router_id] = (inputs, done, outcome)
        gone = self._routed.keys() - wanted.keys()
        if whole:
            gone = gone | (self._routers.present() - wanted.keys())
        for router_id in sorted(gone):
            LOG.info("removing router %s", router_id)
            self._guard(f"router {router_id}", self._routers.remove, router_id)
            self._routed.pop(router_id, None)

    # ----------------------------------------------------------------------------------------------- reporting

    def _report(self, state: base.HostState) -> base.Report:
        ports = {port_id: known.outcome for port_id, known in self._ports.items()}
        ready: dict[str, int] = {}
        dhcp_networks: dict[str, base.Outcome] = {}
        for network_id, (_, served, outcome) in self._served.items():
            doc = state.dhcp[network_id]
            dhcp_networks[network_id] = outcome
            status = base.WIRED if outcome.status == base.ACTIVE else base.ERROR
            ports[doc.port_id] = base.Outcome(status, doc.revision, outcome.reason if status == base.ERROR else "")
            ready.update(served.ready)
        routers = {
            router_id: base.Outcome(base.DOWN, item.revision)
            for router_id, item in state.routers.items()
            if not item.admin_state_up and base.ROLE_L3 in self._settings.roles
        }
        floating: dict[str, base.Outcome] = {}
        for router_id, (_, done, outcome) in self._routed.items():
            routers[router_id] = outcome
            ports.update(done.ports)
            floating.update(done.floating_ips)
        return base.Report(
            host=state.host,
            revision=state.revision,
            networks={
                network_id: known.outcome
                for network_id, known in self._networks.items()
                if known.outcome.status == base.ERROR
            },
            ports=ports,
            dhcp_networks=dhcp_networks,
            dhcp_ready=ready,
            routers=routers,
            floating_ips=floating,
        )

    def needs_attention(self) -> bool:
        """See NetworkDriver."""
        return bool(self._dhcp.ended() or self._routers.ended())

    def observe(self) -> base.Observation:
        """See NetworkDriver."""
        links = self._links.all()
        return base.Observation(
            taps=tuple(sorted(link.name for link in links if link.alias.startswith(_PORT_ALIAS))),
            bridges=tuple(
                sorted(link.name for link in links if link.kind == "bridge" and link.alias.startswith(_NETWORK_ALIAS))
            ),
            dhcp_networks=tuple(sorted(self._dhcp.running())),
            routers=tuple(sorted(self._routers.present())),
            filtered_taps=tuple(sorted(antispoof.AntiSpoof().loaded())),
            address_sets=tuple(sorted(addresssets.AddressSets().loaded())),
        )

    def namespace_identity(self, namespace: str) -> int | None:
        """See NetworkDriver."""
        return system.namespace_identity(namespace)

    def listen(self, namespace: str, address: str, port: int) -> socket.socket | None:
        """See NetworkDriver."""
        return system.in_namespace(namespace, lambda: system.listening_socket(address, port))

    def cleanup(self) -> None:
        """See NetworkDriver."""
        with self._links.snapshot():
            for network_id in self._dhcp.present():
                self._dhcp.remove(network_id)
            for router_id in self._routers.present():
                self._routers.remove(router_id)
            for link in self._links.all():
                if link.ours:
                    self._links.delete(link.name)
        self._firewall.remove()
        self._antispoof.remove()
        self._sets.remove()
        self._forget()


def _covers(after: rules.PortChains, before: rules.PortChains) -> bool:
    """Whether everything allowed before is allowed still."""
    return all(
        set(old[version]) <= set(new[version])
        for old, new in ((before.into, after.into), (before.out, after.out))
        for version in (4, 6)
    )


def _zone(item: firewall.FilteredPort) -> int:
    return 0 if item.mapped else firewall.zone(item.port.network_id)


def _fixed(items: Iterable[firewall.FilteredPort]) -> tuple[str, ...]:
    return tuple(fixed.ip_address for item in items for fixed in item.port.fixed_ips)


def _failed_router(item: base.Router, reason: str) -> router.Routed:
    return router.Routed(
        reasons=[reason],
        ports={part.port_id: base.Outcome(base.ERROR, part.revision, reason) for part in item.parts},
        floating_ips={fip.id: base.Outcome(base.ERROR, fip.revision, reason) for fip in item.floating_ips},
    )


def _require_bridge_filter() -> None:
    """Bridged frames must pass iptables, or no security group would hold."""
    if not os.path.isdir("/proc/sys/net/bridge"):
        system.run(["modprobe", "br_netfilter"], accept=(0, 1, 255))
        if not os.path.isdir("/proc/sys/net/bridge"):
            raise HostError("the kernel has no br_netfilter: security groups cannot be enforced on this host")
