# SPDX-License-Identifier: Apache-2.0
"""Desired states in a few words, for the tests of network drivers."""

from __future__ import annotations

import dataclasses
import ipaddress
import uuid
from collections.abc import Iterable
from typing import Any

from aerie_network.drivers.base import (
    AddressSet,
    DhcpHost,
    DhcpNetwork,
    FixedIp,
    FloatingIp,
    HostState,
    Network,
    Port,
    Router,
    RouterGateway,
    RouterInterface,
    SecurityGroup,
    SecurityRule,
    Subnet,
)

EGRESS = (
    SecurityRule("out4", "egress", "IPv4"),
    SecurityRule("out6", "egress", "IPv6"),
)
PING = SecurityRule("ping4", "ingress", "IPv4", "icmp")
PING6 = SecurityRule("ping6", "ingress", "IPv6", "icmpv6")
SSH = SecurityRule("ssh", "ingress", "IPv4", "tcp", 22, 22)
OPEN = (*EGRESS, SecurityRule("in4", "ingress", "IPv4"), SecurityRule("in6", "ingress", "IPv6"))


def new_id() -> str:
    return str(uuid.uuid4())


def mac_of(text: str) -> str:
    """A MAC address that follows from an id."""
    digits = uuid.uuid5(uuid.NAMESPACE_OID, text).hex
    return "fa:16:3e:" + ":".join(digits[i : i + 2] for i in (0, 2, 4))


class Cloud:
    """A host state under construction; `state()` gives it with the next revision."""

    def __init__(self, host: str = "host-1") -> None:
        self._state = HostState(host, 0)

    def state(self) -> HostState:
        self._state = dataclasses.replace(self._state, revision=self._state.revision + 1)
        return self._state

    def put(self, section: str, key: str, item: Any) -> None:
        """Sets one item of a section; None removes it."""
        items = {**getattr(self._state, section), key: item}
        if item is None:
            del items[key]
        self._state = dataclasses.replace(self._state, **{section: items})

    def get(self, section: str, key: str) -> Any:
        return getattr(self._state, section)[key]

    def change(self, section: str, key: str, **changes: Any) -> Any:
        item = dataclasses.replace(self.get(section, key), **changes)
        self.put(section, key, item)
        return item

    # ------------------------------------------------------------------------------------------------ what there is

    def network(self, cidr: str = "10.1.0.0/24", *, type_: str = "local", **fields: Any) -> Network:
        """A network with one subnet, whose gateway is its first address."""
        network_id = new_id()
        subnet = _subnet(cidr, fields.pop("subnet", {}))
        network = Network(network_id, type_, subnets=(subnet,), **fields)
        self.put("networks", network_id, network)
        return network

    def group(self, *rules: SecurityRule, members: Iterable[str] = (), group_id: str = "") -> str:
        group_id = group_id or new_id()
        self.put("security_groups", group_id, SecurityGroup(group_id, rules))
        self.put("address_sets", group_id, AddressSet(group_id, tuple(members)))
        return group_id

    def port(self, network: Network, ip: str, *groups: str, **fields: Any) -> Port:
        """A port with one address, known to the network's DHCP server if that is here."""
        port_id = new_id()
        fixed = fields.pop("fixed_ips", None) or (fixed_ip(network, ip),)
        mac = fields.pop("mac", mac_of(port_id))
        port = Port(port_id, network.id, mac, fixed_ips=fixed, security_groups=groups, **fields)
        self.put("ports", port_id, port)
        if network.id in self._state.dhcp:
            host = DhcpHost(port_id, mac, fixed, revision=1, hostname="vm-" + ip.replace(".", "-").replace(":", "-"))
            self.change("dhcp", network.id, hosts=(*self.get("dhcp", network.id).hosts, host))
        return port

    def no_port(self, port: Port) -> None:
        self.put("ports", port.id, None)
        if port.network_id in self._state.dhcp:
            hosts = self.get("dhcp", port.network_id).hosts
            left = tuple(host for host in hosts if host.port_id != port.id)
            self.change("dhcp", port.network_id, hosts=left)

    def dhcp(self, network: Network, ip: str, **fields: Any) -> DhcpNetwork:
        """A DHCP server for the network, here."""
        port_id = new_id()
        fields.setdefault("domain", "cloud.test")
        doc = DhcpNetwork(network.id, port_id, mac_of(port_id), addresses=(fixed_ip(network, ip),), **fields)
        self.put("dhcp", network.id, doc)
        return doc

    def router(self, *networks: Network, external: Network | None = None, ip: str = "", **fields: Any) -> Router:
        """A router that is the gateway of each network, and has `ip` on the external one."""
        interfaces = []
        for network in networks:
            port_id = new_id()
            addresses = tuple(
                FixedIp(subnet.id, subnet.gateway_ip, int(subnet.cidr.split("/")[1]))
                for subnet in network.subnets
                if subnet.gateway_ip
            )
            interfaces.append(RouterInterface(port_id, network.id, mac_of(port_id), addresses))
        gateway = None
        if external is not None:
            port_id = new_id()
            hops = tuple(subnet.gateway_ip for subnet in external.subnets if subnet.gateway_ip)
            gateway = RouterGateway(port_id, external.id, mac_of(port_id), (fixed_ip(external, ip),), hops)
        router = Router(new_id(), interfaces=tuple(interfaces), gateway=gateway, **fields)
        self.put("routers", router.id, router)
        return router

    def floating(self, router: Router, floating: str, fixed: str) -> FloatingIp:
        item = FloatingIp(new_id(), floating, fixed, revision=1)
        self.change("routers", router.id, floating_ips=(*self.get("routers", router.id).floating_ips, item))
        return item


def _subnet(cidr: str, fields: dict[str, Any]) -> Subnet:
    gateway = str(next(ipaddress.ip_network(cidr).hosts()))
    return Subnet(new_id(), cidr, **{"gateway_ip": gateway, **fields})


def fixed_ip(network: Network, ip: str) -> FixedIp:
    """An address of the subnet it lies in."""
    for subnet in network.subnets:
        parsed = ipaddress.ip_network(subnet.cidr)
        if ipaddress.ip_address(ip) in parsed:
            return FixedIp(subnet.id, ip, parsed.prefixlen)
    raise ValueError(f"{ip} is in no subnet of network {network.id}")
