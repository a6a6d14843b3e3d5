# SPDX-License-Identifier: Apache-2.0
"""Which hosts serve DHCP for a network, and the ports they do it from.

Invariant: a network with a subnet that wants DHCP has a port of owner network:dhcp on each of its DHCP hosts, with an
address in every such subnet; a network without one has none. Hosts that do not answer keep what they have until a live
one takes it over.
"""

from __future__ import annotations

import uuid

from aerie_network import states
from aerie_network.db import hosts
from aerie_network.db import ports as ports_db
from aerie_network.db import subnets as subnets_db
from aerie_network.db.networks import Network
from aerie_network.db.ports import Port
from aerie_network.db.subnets import Subnet
from aerie_network.logic import ipam
from aerie_network.logic.work import Work, live_since


def served(subnet: Subnet) -> bool:
    """Does a DHCP server have work in this subnet?"""
    if not subnet.enable_dhcp:
        return False
    return subnet.ip_version == 4 or subnet.ipv6_address_mode in ("dhcpv6-stateful", "dhcpv6-stateless")


def device_id(host: str, network_id: str) -> str:
    """The device a DHCP port belongs to: one per host and network."""
    return f"dhcp{uuid.uuid5(uuid.NAMESPACE_DNS, host)}-{network_id}"


def live_hosts(work: Work, network: Network) -> list[str]:
    """Hosts that can serve, the least used first."""
    found = hosts.alive(work.conn, "dhcp", live_since(work.svc), network.availability_zone_hints)
    return hosts.least_used(work.conn, "dhcp", found)


def converge(work: Work, network: Network, *, without: str | None = None, host: str | None = None) -> list[str]:
    """Make the network's DHCP ports what they must be; returns the hosts that serve it.

    without: a subnet that is about to go. host: serve from there too, whoever else does."""
    from aerie_network.logic import ports

    subnets = [s for s in subnets_db.of_network(work.conn, network.id) if s.id != without and served(s)]
    present = ports_db.of_network(work.conn, network.id, states.DHCP)
    if not subnets:
        ports.remove(work, present, network)
        return []
    wanted = [port.host for port in present if port.host]
    if host is not None and host not in wanted:
        wanted.append(host)
    if len(wanted) < work.svc.conf.dhcp_agents_per_network:
        others = [h for h in live_hosts(work, network) if h not in wanted]
        wanted += others[: work.svc.conf.dhcp_agents_per_network - len(wanted)]
    for port in present:
        if port.host:
            _address(work, network, port, subnets)
    idle = [port for port in present if not port.host]
    for new in wanted[sum(1 for port in present if port.host) :]:
        if idle:
            port = idle.pop()
            ports.move(work, port, network, new, {"device_id": device_id(new, network.id)})
            _address(work, network, port, subnets)
        else:
            ports.make_own(
                work,
                network,
                device_owner=states.DHCP,
                device_id=device_id(new, network.id),
                project_id=network.project_id,
                host=new,
                choices=[((subnet,), _fixed(subnet)) for subnet in subnets],
            )
    return wanted


def reserve(work: Work, network: Network, host: str) -> None:
    """Let a host serve the network once it has a subnet with DHCP: a port without an address holds the place."""
    from aerie_network.logic import ports

    ports.make_own(
        work,
        network,
        device_owner=states.DHCP,
        device_id=device_id(host, network.id),
        project_id=network.project_id,
        host=host,
    )


def _fixed(subnet: Subnet) -> str | None:
    """Where hosts make their own addresses the DHCP server's port does too; else it takes the first free one."""
    return "auto" if subnet.auto_address else "lowest"


def _address(work: Work, network: Network, port: Port, subnets: list[Subnet]) -> None:
    """An address in every subnet served, and none elsewhere."""
    ids = {s.id for s in subnets}
    surplus = [pair for pair in port.fixed_ips if pair[0] not in ids]
    has = {subnet_id for subnet_id, _ in port.fixed_ips}
    missing = [s for s in subnets if s.id not in has]
    if not surplus and not missing:
        return
    ports_db.remove_addresses(work.conn, port.id, surplus)
    ipam.Allocator(work.conn).give(
        [
            ipam.Want(
                port.id,
                network.id,
                (s,),
                ipam.eui64(s.cidr, port.mac_address) if s.auto_address else None,
                len(has) + i,
                lowest=True,
            )
            for i, s in enumerate(missing)
        ]
    )
    ports_db.STORE.update(work.conn, port.id)
    work.port(port, network)
