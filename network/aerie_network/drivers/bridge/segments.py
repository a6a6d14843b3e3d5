# SPDX-License-Identifier: Apache-2.0
"""Networks on one host: the bridge of each, and its way out.

Owns brq bridges, vxlan and vlan devices, forwarding entries and ARP suppression. Invariant: a tenant network's bridge
carries no address of the host; a VXLAN device sends only where the desired state says.
"""

from aerie_network.drivers import base, checks
from aerie_network.drivers.bridge.links import Link, Links
from aerie_network.drivers.bridge.system import HostError


def alias(network: base.Network) -> str:
    """The alias that marks a network's devices."""
    return f"aerie:network:{network.id}"


class Segments:
    """Makes the bridges of networks."""

    def __init__(self, settings: base.DriverSettings, links: Links) -> None:
        self._settings = settings
        self._links = links

    def bridge_of(self, network: base.Network) -> str:
        """Name of the bridge of a network; raises HostError when a flat network has no mapping."""
        if network.type != base.TYPE_FLAT:
            return base.bridge_name(checks.identifier(network.id))
        physical = network.physical_network or ""
        bridge = self._settings.bridge_mappings.get(physical)
        if not bridge:
            raise HostError(f"physical network {physical!r} is not mapped to a bridge on {self._settings.host}")
        return bridge

    def mapped(self, network: base.Network) -> bool:
        """Whether its bridge is one that the operator made."""
        return network.type == base.TYPE_FLAT

    def devices_of(self, network: base.Network) -> set[str]:
        """Names of the devices that belong to a network (not those of the operator)."""
        names = set() if self.mapped(network) else {self.bridge_of(network)}
        if network.type == base.TYPE_VXLAN:
            names.add(f"vxlan-{network.segmentation_id}")
        elif network.type == base.TYPE_VLAN:
            names.add(self._vlan_name(network))
        return names

    def ensure(self, network: base.Network) -> Link:
        """The bridge of a network, with its way out; raises HostError saying what is missing."""
        name = self.bridge_of(network)
        if self.mapped(network):
            link = self._links.get(name)
            if link is None or link.kind != "bridge":
                raise HostError(f"bridge {name} (physical network {network.physical_network}) does not exist")
            self._links.filter_bridge(link)
            return self._links.set_up(name)
        bridge = self._links.ensure_bridge(checks.device(name), network.mtu, alias(network))
        if network.type == base.TYPE_VXLAN:
            self._ensure_vxlan(network, bridge)
        elif network.type == base.TYPE_VLAN:
            self._ensure_vlan(network, bridge)
        elif network.type != base.TYPE_LOCAL:
            raise HostError(f"network type {network.type!r} is not supported")
        return bridge

    def _ensure_vxlan(self, network: base.Network, bridge: Link) -> None:
        vni = network.segmentation_id
        if vni is None or not 0 < vni < 1 << 24:
            raise HostError(f"network {network.id} has no valid VNI")
        if not self._settings.tunnel_ip:
            raise HostError("no tunnel address is configured on this host (option local_ip)")
        local = self._settings.tunnel_ip
        links = self._links
        vxlan = links.ensure_vxlan(f"vxlan-{vni}", vni, local, self._settings.vxlan_port, network.mtu, alias(network))
        vxlan = links.join(vxlan, bridge)
        links.suppress_arp(vxlan)
        remotes = [remote for remote in network.remote_ports if remote.vtep and remote.vtep != local]
        links.ensure_fdb(
            vxlan,
            {checks.address(vtep) for vtep in network.vteps if vtep != local},
            [(checks.mac(remote.mac), checks.address(remote.vtep)) for remote in remotes],
        )
        links.ensure_neighbours(
            bridge, {checks.address(ip): checks.mac(remote.mac) for remote in remotes for ip in remote.ips}
        )

    def _vlan_name(self, network: base.Network) -> str:
        # Named by the id, as brq is: interface.vlan would not fit in 15 characters for long interface names.
        return "vlq" + network.id[:11]

    def _ensure_vlan(self, network: base.Network, bridge: Link) -> None:
        vlan = network.segmentation_id
        physical = network.physical_network or ""
        parent = self._settings.interface_mappings.get(physical)
        if not parent:
            raise HostError(f"physical network {physical!r} is not mapped to an interface on {self._settings.host}")
        if vlan is None or not 0 < vlan < 4095:
            raise HostError(f"network {network.id} has no valid VLAN id")
        link = self._links.ensure_vlan(self._vlan_name(network), parent, vlan, network.mtu, alias(network))
        self._links.join(link, bridge)
