# SPDX-License-Identifier: Apache-2.0
"""The desired state of one host, the report on it, and the interface of every network driver.

Owns the documents that the network server and its agents exchange. Everything a host needs is in one `HostState`
with a revision; a driver compares it with what is there and changes only what differs. Invariant: an item that
cannot be realised harms only itself; it comes back in the `Report` with a reason, all others are done.

The sections of a `HostState` are keyed by id, so that a server may also send a `HostDelta`: the changed items, with
null for those that are gone.
"""

import abc
import dataclasses
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from aerie_network.drivers import codec

TYPE_FLAT = "flat"
TYPE_VLAN = "vlan"
TYPE_VXLAN = "vxlan"
TYPE_LOCAL = "local"

ROLE_L2 = "l2"
ROLE_DHCP = "dhcp"
ROLE_L3 = "l3"
ROLE_METADATA = "metadata"
ROLES = (ROLE_L2, ROLE_DHCP, ROLE_L3, ROLE_METADATA)

METADATA_ADDRESS = "169.254.169.254"

D = TypeVar("D", bound="Document")


class Document:
    """A value that travels as JSON."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        encoded: dict[str, Any] = codec.encode(self)
        return encoded

    @classmethod
    def from_dict(cls: type[D], data: Mapping[str, Any]) -> D:
        """The value which `data` describes; raises codec.DocumentError where it does not fit."""
        return codec.decode(cls, data)


def tap_name(port_id: str) -> str:
    """Name of the tap device of a port."""
    return "tap" + port_id[:11]


def bridge_name(network_id: str) -> str:
    """Name of the bridge of a network (flat networks use the mapped bridge instead)."""
    return "brq" + network_id[:11]


def dhcp_namespace(network_id: str) -> str:
    """Name of the namespace in which a network's DHCP server runs."""
    return "qdhcp-" + network_id


def router_namespace(router_id: str) -> str:
    """Name of the namespace of a router."""
    return "qrouter-" + router_id


# --------------------------------------------------------------------------------------------------- networks


@dataclass(frozen=True)
class Route(Document):
    """A static route; addresses are literals, the destination is a CIDR."""

    destination: str
    nexthop: str


@dataclass(frozen=True)
class Subnet(Document):
    """A subnet; IPv6 modes are slaac, dhcpv6-stateful, dhcpv6-stateless or None, as in the API."""

    id: str
    cidr: str
    gateway_ip: str | None = None
    enable_dhcp: bool = True
    dns_nameservers: tuple[str, ...] = ()
    host_routes: tuple[Route, ...] = ()
    ipv6_ra_mode: str | None = None
    ipv6_address_mode: str | None = None
    pools: tuple[tuple[str, ...], ...] = ()  # (first, last) pairs


@dataclass(frozen=True)
class RemotePort(Document):
    """A port of this network on another host: where its MAC is, and which addresses it answers for."""

    mac: str
    vtep: str
    ips: tuple[str, ...] = ()


@dataclass(frozen=True)
class Network(Document):
    """A network that something on this host is attached to.

    `vteps` are the tunnel addresses of the other hosts that have ports of it (flooding goes there); `remote_ports`
    give the static forwarding entries and the answers for ARP and ND. Both matter for vxlan only.
    """

    id: str
    type: str
    physical_network: str | None = None
    segmentation_id: int | None = None
    mtu: int = 1500
    subnets: tuple[Subnet, ...] = ()
    vteps: tuple[str, ...] = ()
    remote_ports: tuple[RemotePort, ...] = ()


# ------------------------------------------------------------------------------------------- ports and filters


@dataclass(frozen=True)
class FixedIp(Document):
    """An address of a port and the subnet it is from; `prefix_length` is the subnet's."""

    subnet_id: str
    ip_address: str
    prefix_length: int


@dataclass(frozen=True)
class AddressPair(Document):
    """An address (or CIDR) a port may use besides its own; `mac` None means the port's MAC."""

    ip_address: str
    mac: str | None = None


@dataclass(frozen=True)
class Port(Document):
    """A port to wire on this host.

    `revision` is the server's: it is echoed in the outcome, so that a report about an older binding of the same port
    is never taken for one about the present binding. Bump it whenever a new "wired" report is wanted.
    """

    id: str
    network_id: str
    mac: str
    revision: int = 0
    tap: str = ""  # tap_name(id) when empty
    fixed_ips: tuple[FixedIp, ...] = ()
    port_security: bool = True
    security_groups: tuple[str, ...] = ()
    allowed_address_pairs: tuple[AddressPair, ...] = ()
    admin_state_up: bool = True
    device_owner: str = ""
    device_id: str = ""

    @property
    def device(self) -> str:
        """Name of its tap."""
        return self.tap or tap_name(self.id)


@dataclass(frozen=True)
class SecurityRule(Document):
    """A normalised rule. direction: ingress|egress; ethertype: IPv4|IPv6.

    `protocol` is a lower-case name (tcp, udp, icmp, icmpv6, sctp ...) or a decimal number as text, None for any.
    For ICMP `port_min` is the type and `port_max` the code. Remote: a CIDR, or the id of an address set, or neither.
    """

    id: str
    direction: str
    ethertype: str = "IPv4"
    protocol: str | None = None
    port_min: int | None = None
    port_max: int | None = None
    remote_cidr: str | None = None
    remote_set: str | None = None


@dataclass(frozen=True)
class SecurityGroup(Document):
    """A security group used by a port here, with its rules."""

    id: str
    rules: tuple[SecurityRule, ...] = ()
    stateful: bool = True


@dataclass(frozen=True)
class AddressSet(Document):
    """Members of a remote security group or address group, as addresses or CIDRs of both families.

    `id` is what SecurityRule.remote_set names; a remote security group's set has the group's id.
    """

    id: str
    addresses: tuple[str, ...] = ()


# -------------------------------------------------------------------------------------------------------- DHCP


@dataclass(frozen=True)
class DhcpOption(Document):
    """An extra DHCP option: name (as dnsmasq knows it) or number, and value."""

    name: str
    value: str
    ip_version: int = 4


@dataclass(frozen=True)
class DhcpHost(Document):
    """One port that the network's DHCP server shall know; `revision` is echoed in Report.dhcp_ready."""

    port_id: str
    mac: str
    addresses: tuple[FixedIp, ...] = ()
    revision: int = 0
    hostname: str = ""
    options: tuple[DhcpOption, ...] = ()


@dataclass(frozen=True)
class DhcpNetwork(Document):
    """The DHCP server of a network hosted here: its own port, and every port of the network, here or elsewhere.

    `forwarders` are the DNS servers it asks for names it does not know (none: it answers only its own names).
    `metadata` makes it serve 169.254.169.254; `isolated_subnets` are the ids of subnets no router serves, whose
    guests get a route to the metadata address through the DHCP port.
    """

    network_id: str
    port_id: str
    mac: str
    addresses: tuple[FixedIp, ...] = ()
    revision: int = 0
    hosts: tuple[DhcpHost, ...] = ()
    domain: str = ""
    forwarders: tuple[str, ...] = ()
    metadata: bool = True
    isolated_subnets: tuple[str, ...] = ()
    lease_seconds: int = 86400


# ----------------------------------------------------------------------------------------------------- routers


@dataclass(frozen=True)
class RouterInterface(Document):
    """An internal interface of a router: a port with the addresses it owns there (usually the subnets' gateways)."""

    port_id: str
    network_id: str
    mac: str
    addresses: tuple[FixedIp, ...] = ()
    revision: int = 0


@dataclass(frozen=True)
class RouterGateway(Document):
    """The external side of a router; `next_hops` are the gateways of the external subnets."""

    port_id: str
    network_id: str
    mac: str
    addresses: tuple[FixedIp, ...] = ()
    next_hops: tuple[str, ...] = ()
    enable_snat: bool = True
    revision: int = 0


@dataclass(frozen=True)
class FloatingIp(Document):
    """One-to-one NAT of a floating address to the fixed address of a port behind the router."""

    id: str
    floating_ip: str
    fixed_ip: str
    port_id: str = ""
    revision: int = 0


@dataclass(frozen=True)
class PortForwarding(Document):
    """NAT of one port (or range start) of a floating address to a fixed address."""

    id: str
    floating_ip: str
    protocol: str
    external_port: int
    fixed_ip: str
    internal_port: int


@dataclass(frozen=True)
class Router(Document):
    """A router hosted here."""

    id: str
    revision: int = 0
    admin_state_up: bool = True
    interfaces: tuple[RouterInterface, ...] = ()
    gateway: RouterGateway | None = None
    floating_ips: tuple[FloatingIp, ...] = ()
    port_forwardings: tuple[PortForwarding, ...] = ()
    routes: tuple[Route, ...] = ()
    metadata: bool = True

    @property
    def parts(self) -> "tuple[RouterInterface | RouterGateway, ...]":
        """Its ports: the interfaces, and the gateway if it has one."""
        return (*self.interfaces, self.gateway) if self.gateway is not None else self.interfaces


# --------------------------------------------------------------------------------------------------- host state


@dataclass(frozen=True)
class HostState(Document):
    """Everything one host shall have; `revision` grows with every change that concerns the host.

    `networks` holds every network referred to by a port, a DHCP server or a router here (external ones too).
    """

    host: str
    revision: int
    networks: Mapping[str, Network] = field(default_factory=dict)
    ports: Mapping[str, Port] = field(default_factory=dict)
    security_groups: Mapping[str, SecurityGroup] = field(default_factory=dict)
    address_sets: Mapping[str, AddressSet] = field(default_factory=dict)
    dhcp: Mapping[str, DhcpNetwork] = field(default_factory=dict)  # by network id
    routers: Mapping[str, Router] = field(default_factory=dict)

    def with_delta(self, delta: "HostDelta") -> "HostState":
        """This state after the delta's changes."""
        changes: dict[str, Any] = {"revision": delta.revision}
        for name in SECTIONS:
            changed: Mapping[str, Any] = getattr(delta, name)
            if changed:
                merged = {**getattr(self, name), **changed}
                changes[name] = {key: item for key, item in merged.items() if item is not None}
        return dataclasses.replace(self, **changes)


SECTIONS = ("networks", "ports", "security_groups", "address_sets", "dhcp", "routers")


@dataclass(frozen=True)
class HostDelta(Document):
    """What changed since `base_revision`: per section the new items, None for those that are gone."""

    base_revision: int
    revision: int
    networks: Mapping[str, Network | None] = field(default_factory=dict)
    ports: Mapping[str, Port | None] = field(default_factory=dict)
    security_groups: Mapping[str, SecurityGroup | None] = field(default_factory=dict)
    address_sets: Mapping[str, AddressSet | None] = field(default_factory=dict)
    dhcp: Mapping[str, DhcpNetwork | None] = field(default_factory=dict)
    routers: Mapping[str, Router | None] = field(default_factory=dict)


# ------------------------------------------------------------------------------------------------------ reports

WIRED = "wired"  # ports: device in its bridge, filters loaded
DOWN = "down"  # administratively down, or not realised yet
ACTIVE = "active"  # routers, floating IPs, DHCP servers
ERROR = "error"  # see reason


@dataclass(frozen=True)
class Outcome(Document):
    """What became of one item: its status, the revision of the item it is about, and why when it failed."""

    status: str
    revision: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Report(Document):
    """What became of a HostState. A full report names every item of it; a partial one only what changed.

    ports: by port id, status wired, down or error (taps; also the DHCP and router ports realised here).
    dhcp_ready: port id -> revision of the DhcpHost that the DHCP server here has loaded.
    """

    host: str
    revision: int
    full: bool = True
    networks: Mapping[str, Outcome] = field(default_factory=dict)  # errors only: unknown physical network ...
    ports: Mapping[str, Outcome] = field(default_factory=dict)
    dhcp_networks: Mapping[str, Outcome] = field(default_factory=dict)
    dhcp_ready: Mapping[str, int] = field(default_factory=dict)
    routers: Mapping[str, Outcome] = field(default_factory=dict)
    floating_ips: Mapping[str, Outcome] = field(default_factory=dict)

    def changes_since(self, previous: "Report") -> "Report":
        """A partial report with the items that are not the same in `previous`."""
        sections: dict[str, Any] = {}
        for name in REPORT_SECTIONS:
            before: Mapping[str, Any] = getattr(previous, name)
            sections[name] = {key: item for key, item in getattr(self, name).items() if before.get(key) != item}
        return Report(host=self.host, revision=self.revision, full=False, **sections)

    @property
    def empty(self) -> bool:
        """Whether it says nothing."""
        return not any(getattr(self, name) for name in REPORT_SECTIONS)


REPORT_SECTIONS = ("networks", "ports", "dhcp_networks", "dhcp_ready", "routers", "floating_ips")


@dataclass(frozen=True)
class Observation(Document):
    """What is really on the host, by the ids that can be read off it. For diagnosis and `aerie doctor`."""

    taps: tuple[str, ...] = ()  # device names
    bridges: tuple[str, ...] = ()
    dhcp_networks: tuple[str, ...] = ()  # network ids with a running server
    routers: tuple[str, ...] = ()  # router ids with a namespace
    filtered_taps: tuple[str, ...] = ()  # device names that have filter rules
    address_sets: tuple[str, ...] = ()  # names as the kernel knows them


# ------------------------------------------------------------------------------------------------------- driver


@dataclass(frozen=True)
class DriverSettings:
    """What a driver is told about its host."""

    host: str
    roles: tuple[str, ...] = ROLES
    state_path: str = "/var/lib/aerie/network"
    tunnel_ip: str = ""
    vxlan_port: int = 4789
    bridge_mappings: Mapping[str, str] = field(default_factory=dict)  # physical network -> existing bridge
    interface_mappings: Mapping[str, str] = field(default_factory=dict)  # physical network -> interface, for vlan
    dns_forwarders: tuple[str, ...] = ()  # used where a DhcpNetwork names none
    tap_owner: str = ""  # user that may open the taps (QEMU's), empty: root only


class NetworkDriver(abc.ABC):
    """Realises host states. One converger at a time; the agent serialises the calls."""

    @abc.abstractmethod
    def converge(self, state: HostState, resync: bool = False) -> Report:
        """Makes the host as `state` says and reports on every item of it.

        Compares with what it did before, or with what is found on the host when it has just started or `resync` is
        true, and touches nothing that is right. Things with its own names that `state` does not mention are removed,
        for the roles it has. Raises only when nothing at all can be done.
        """

    @abc.abstractmethod
    def observe(self) -> Observation:
        """What is there now; changes nothing."""

    def needs_attention(self) -> bool:
        """Whether something that was right no longer is (a server has died). Cheap: asked every second."""
        return False

    def namespace_identity(self, namespace: str) -> int | None:
        """Tells a namespace from a later one of the same name; None when there is none (or never is, as here)."""
        return None

    def listen(self, namespace: str, address: str, port: int) -> socket.socket | None:
        """A listening TCP socket inside a namespace; None for a driver without namespaces."""
        return None

    @abc.abstractmethod
    def cleanup(self) -> None:
        """Removes everything the driver ever made on this host."""
