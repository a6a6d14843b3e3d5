# SPDX-License-Identifier: Apache-2.0
"""Subnets: what makes one valid, and what follows from it (addresses of existing ports, the network's DHCP servers)."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

import sqlalchemy as sa
from oslo_db import exception as db_exc

from aerie_common.context import Context
from aerie_common.db import new_id, retried, utcnow
from aerie_common.listing import Listing
from aerie_network import states
from aerie_network.container import NetworkService
from aerie_network.db import networks as networks_db
from aerie_network.db import ports as ports_db
from aerie_network.db import routers as routers_db
from aerie_network.db import subnets as db
from aerie_network.db import tables
from aerie_network.db.networks import Network
from aerie_network.db.query import Page
from aerie_network.db.subnets import Subnet
from aerie_network.errors import (
    DNSNameServersExhausted,
    GatewayConflictWithAllocationPools,
    GatewayIpInUse,
    HostRoutesExhausted,
    InvalidAllocationPool,
    InvalidInput,
    OutOfBoundsAllocationPool,
    OverlappingAllocationPools,
    SubnetInUse,
)
from aerie_network.logic import dhcp, guard, ipam, networks, pools
from aerie_network.logic.ports import remove_addresses_of
from aerie_network.logic.work import Work, change, changed, scope
from aerie_network.schemas.subnets import SUBNET

Pool = dict[str, str]


def _scope(ctx: Context) -> tuple[Any, ...]:
    return scope(ctx, db.visible(ctx.project_id))


def page(svc: NetworkService, ctx: Context, listing: Listing) -> Page[Subnet]:
    """The subnets the caller may see."""
    with svc.db.read() as conn:
        return db.STORE.page(conn, listing, *_scope(ctx))


def show(svc: NetworkService, ctx: Context, subnet_id: str) -> Subnet:
    """One subnet. Raises SubnetNotFound."""
    with svc.db.read() as conn:
        return db.STORE.get(conn, subnet_id, *_scope(ctx))


# --------------------------------------------------------------------------------------------------- validity


def check_cidr(text: str, version: int | None = None) -> IPv4Network | IPv6Network:
    """The network a CIDR names, less the bits of a host. InvalidInput when it is none, or of another version."""
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise InvalidInput(error_message=f"'{text}' is not a valid IP subnet") from None
    if "/" not in text:
        raise InvalidInput(error_message=f"'{text}' is not a valid IP subnet")
    if version is not None and network.version != version:
        raise InvalidInput(error_message=f"cidr '{text}' does not match the ip_version '{version}'")
    return network


def check_address(text: str, what: str, version: int | None = None) -> str:
    """An address in its stored form."""
    try:
        address = ip_address(text)
    except ValueError:
        raise InvalidInput(error_message=f"'{text}' is not a valid IP address ({what})") from None
    if version is not None and address.version != version:
        raise InvalidInput(error_message=f"{what} '{text}' does not match the ip_version '{version}'")
    return str(address)


def check_gateway(network: IPv4Network | IPv6Network, gateway: str) -> str:
    """A gateway's address: within the subnet, and one a host can have; IPv6 routers may be known by link-local ones."""
    address = ip_address(check_address(gateway, "gateway_ip", network.version))
    inside = address in network
    if network.version == 6:
        inside = inside or address.is_link_local
    elif network.prefixlen < 31:
        inside = inside and address not in (network.network_address, network.broadcast_address)
    if not inside:
        raise InvalidInput(error_message=f"Gateway '{gateway}' is not valid on subnet '{network}'")
    return str(address)


def check_pools(network: IPv4Network | IPv6Network, wanted: Sequence[Pool]) -> list[Pool]:
    """Allocation pools in their stored form. Out of bounds, upside down or overlapping ones are refused."""
    spans: list[tuple[int, int, Pool]] = []
    first, last = int(network.network_address), int(network.broadcast_address)
    if network.version == 4 and network.prefixlen < 31:
        first, last = first + 1, last - 1
    for pool in wanted:
        try:
            start, end = ip_address(pool["start"]), ip_address(pool["end"])
        except ValueError:
            raise InvalidAllocationPool(pool=f"{pool['start']}-{pool['end']}") from None
        if start.version != network.version or end.version != network.version or int(start) > int(end):
            raise InvalidAllocationPool(pool=f"{start}-{end}")
        if int(start) < first or int(end) > last:
            raise OutOfBoundsAllocationPool(pool=f"{start}-{end}", cidr=str(network))
        spans.append((int(start), int(end), {"start": str(start), "end": str(end)}))
    spans.sort(key=lambda span: span[0])
    for (_, end_a, one), (start_b, _, other) in zip(spans, spans[1:], strict=False):
        if start_b <= end_a:
            raise OverlappingAllocationPools(
                one=f"{one['start']}-{one['end']}", other=f"{other['start']}-{other['end']}", cidr=str(network)
            )
    return [span[2] for span in spans]


def _check_gateway_outside(pools_: Sequence[Pool], gateway: str | None) -> None:
    if gateway is None:
        return
    number = int(ip_address(gateway))
    for pool in pools_:
        if int(ip_address(pool["start"])) <= number <= int(ip_address(pool["end"])):
            raise GatewayConflictWithAllocationPools(ip=gateway, pool=f"{pool['start']}-{pool['end']}")


def _check_lists(svc: NetworkService, version: int, values: dict[str, Any]) -> None:
    """Name servers and host routes."""
    servers = values.get("dns_nameservers")
    if servers is not None:
        if len(servers) > svc.conf.max_dns_nameservers:
            raise DNSNameServersExhausted(limit=svc.conf.max_dns_nameservers)
        values["dns_nameservers"] = [check_address(s, "dns_nameservers") for s in servers]
        if len(set(values["dns_nameservers"])) < len(servers):
            raise InvalidInput(error_message="Duplicate nameserver in dns_nameservers")
    routes = values.get("host_routes")
    if routes is not None:
        if len(routes) > svc.conf.max_subnet_host_routes:
            raise HostRoutesExhausted(limit=svc.conf.max_subnet_host_routes)
        for route in routes:
            try:
                destination = ip_network(route["destination"], strict=False)
            except ValueError:
                raise InvalidInput(error_message=f"'{route['destination']}' is not a valid route destination") from None
            if destination.version != version:
                raise InvalidInput(error_message=f"host route {destination} does not match the ip_version '{version}'")
            check_address(route["nexthop"], "host route nexthop", version)
        if len({(r["destination"], r["nexthop"]) for r in routes}) < len(routes):
            raise InvalidInput(error_message="Duplicate host route")


def _check_ipv6(values: dict[str, Any], prefixlen: int) -> None:
    """The rules of the two IPv6 modes."""
    ra, address = values["ipv6_ra_mode"], values["ipv6_address_mode"]
    if ra is None and address is None:
        return
    if values["ip_version"] == 4:
        raise InvalidInput(error_message="ipv6_ra_mode and ipv6_address_mode are not valid when ip_version is 4")
    if not values["enable_dhcp"]:
        raise InvalidInput(
            error_message="ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is set to False"
        )
    if ra and address and ra != address:
        raise InvalidInput(
            error_message=f"ipv6_ra_mode set to '{ra}' with ipv6_address_mode set to '{address}' is not valid. "
            "If both attributes are set, they must be the same value"
        )
    if (ra or address) in ("slaac", "dhcpv6-stateless") and prefixlen != 64:
        raise InvalidInput(
            error_message="Invalid CIDR for IPv6 address mode. Addresses made from MACs require the prefix to be /64"
        )


# ----------------------------------------------------------------------------------------------------- create


@retried
def create(svc: NetworkService, ctx: Context, requests: list[dict[str, Any]]) -> list[Subnet]:
    """Make subnets, all or none. The first with DHCP gets the network its DHCP port in the same transaction."""
    made = []
    with change(svc, ctx) as work:
        for values in requests:
            made.append(make(work, ctx, dict(values)))
    return made


def make(work: Work, ctx: Context, values: dict[str, Any]) -> Subnet:
    """One subnet, within a transaction."""
    svc, conn, network_id = work.svc, work.conn, values["network_id"]
    networks_db.lock(conn, network_id)
    network = networks_db.STORE.get(conn, network_id, *scope(ctx, networks_db.visible(ctx.project_id)))
    guard.check_owner(svc, ctx, "create_subnet", network)
    subnet_id = new_id()
    prefixlen, by_default = values.pop("prefixlen", None), values.pop("use_default_subnetpool", False)
    if by_default or values.get("subnetpool_id"):
        pools.fill_from_pool(work, ctx, values, prefixlen, by_default)
    elif not values.get("cidr"):
        raise InvalidInput(error_message="a subnetpool must be specified in the absence of a cidr")
    if values.get("ip_version") is None:
        raise InvalidInput(error_message="ip_version is required")
    cidr = check_cidr(values["cidr"], values["ip_version"])
    values["cidr"] = str(cidr)
    networks.check_mtu_of_subnets(network_id, network.mtu, [cidr.version])
    values["dns_nameservers"] = values["dns_nameservers"] or []
    values["host_routes"] = values["host_routes"] or []
    _check_lists(svc, cidr.version, values)
    _check_ipv6(values, cidr.prefixlen)
    if cidr.prefixlen == 0:
        raise InvalidInput(error_message="0 is not allowed as CIDR prefix length")
    if values["enable_dhcp"] and cidr.version == 4 and cidr.prefixlen > 30:
        raise InvalidInput(
            error_message=f"Subnet has a prefix length that is incompatible with DHCP service enabled: {cidr}"
        )
    if values["enable_dhcp"] and (cidr.is_multicast or cidr.is_loopback):
        kind = "Multicast" if cidr.is_multicast else "Loopback"
        raise InvalidInput(error_message=f"{kind} IP subnet is not supported if enable_dhcp is True.")
    for other in db.of_network(conn, network_id):
        if other.network.version == cidr.version and other.network.overlaps(cidr):
            raise InvalidInput(
                error_message=f"Requested subnet with cidr: {cidr} for network: {network_id} overlaps with another "
                "subnet"
            )
    if "gateway_ip" not in values:
        wanted = values.get("allocation_pools") or []
        values["gateway_ip"] = ipam.default_gateway(str(cidr)) if cidr.num_addresses > 1 else None
        check_pools(cidr, wanted)
    elif values["gateway_ip"] is not None:
        values["gateway_ip"] = check_gateway(cidr, values["gateway_ip"])
    if values.get("allocation_pools"):
        values["allocation_pools"] = check_pools(cidr, values["allocation_pools"])
        _check_gateway_outside(values["allocation_pools"], values["gateway_ip"])
    else:
        values["allocation_pools"] = ipam.default_pools(str(cidr), values["gateway_ip"])
    now = utcnow()
    row = {"subnetpool_id": None, **values, "id": subnet_id, "revision_number": 0, "created_at": now, "updated_at": now}
    db.STORE.insert(conn, row)
    subnet = Subnet(**row, external=network.external)
    networks_db.STORE.update(conn, network_id)
    work.charge(subnet.project_id, "subnet")
    work.topology(network_id)
    if subnet.auto_address:
        _address_existing_ports(work, network, subnet)
    if network.external:
        _address_waiting_gateways(work, network, subnet)
    if subnet.enable_dhcp:
        dhcp.converge(work, network)
    work.notify("subnet.create.end", {"subnet": SUBNET.show(subnet, guard.EVERYTHING)})
    return subnet


def _address_existing_ports(work: Work, network: Network, subnet: Subnet) -> None:
    """Hosts on the network make addresses for themselves in the new subnet: book them for their ports."""
    p = tables.ports.c
    skipped = (*states.ROUTER_PORTS, states.DHCP, states.FLOATING)
    present = ports_db.STORE.all(work.conn, p.network_id == network.id, p.device_owner.not_in(skipped))
    wants = [
        ipam.Want(port.id, network.id, (subnet,), ipam.eui64(subnet.cidr, port.mac_address), len(port.fixed_ips))
        for port in present
        if port.ip_allocation != "none"
    ]
    ipam.Allocator(work.conn).give(wants)
    for port in present:
        ports_db.STORE.update(work.conn, port.id)
        work.port(port, network)
        work.tell_compute("network-changed", port)


def _address_waiting_gateways(work: Work, network: Network, subnet: Subnet) -> None:
    """Routers had their gateway on this network before it had a subnet: now their ports get an address."""
    if subnet.service_types and states.ROUTER_GATEWAY not in subnet.service_types:
        return
    p = tables.ports.c
    gateways = ports_db.STORE.all(work.conn, p.network_id == network.id, p.device_owner == states.ROUTER_GATEWAY)
    waiting = [port for port in gateways if not port.fixed_ips]
    ipam.Allocator(work.conn).give([ipam.Want(port.id, network.id, (subnet,)) for port in waiting])
    for port in waiting:
        ports_db.STORE.update(work.conn, port.id)
        work.port(port, network)
        work.router(port.device_id, port.host)


# ----------------------------------------------------------------------------------------- update and delete


@retried
def update(svc: NetworkService, ctx: Context, subnet_id: str, values: dict[str, Any], revision: int | None) -> Subnet:
    """Change a subnet. GatewayIpInUse, GatewayConflictWithAllocationPools, the pools' refusals."""
    values = dict(values)  # the function may run again with what it was given
    with change(svc, ctx) as work:
        conn = work.conn
        found = db.STORE.get(conn, subnet_id, *_scope(ctx))
        networks_db.lock(conn, found.network_id)
        before = db.STORE.get(conn, subnet_id)
        guard.check_owner(svc, ctx, "update_subnet", before)
        guard.check_revision(before, revision)
        for name in ("dns_nameservers", "host_routes"):
            if name in values and values[name] is None:
                values[name] = []
        _check_lists(svc, before.ip_version, values)
        if values.get("allocation_pools") is not None:
            values["allocation_pools"] = check_pools(before.network, values["allocation_pools"])
        else:
            values.pop("allocation_pools", None)
        if values.get("gateway_ip") is not None:
            values["gateway_ip"] = check_gateway(before.network, values["gateway_ip"])
        new = changed(before, values)
        if "gateway_ip" in new or "allocation_pools" in new:
            _check_gateway_outside(
                new.get("allocation_pools", before.allocation_pools), new.get("gateway_ip", before.gateway_ip)
            )
        if "gateway_ip" in new and before.gateway_ip:
            holder = db.holder(conn, subnet_id, before.gateway_ip)
            if holder and holder[1] == states.ROUTER_INTERFACE:
                raise GatewayIpInUse(ip=before.gateway_ip, port=holder[0])
        if new.get("enable_dhcp") is False:
            _check_ipv6_stays(before)
        if new:
            db.STORE.update(conn, subnet_id, new)
            work.topology(before.network_id)
            if "enable_dhcp" in new:
                dhcp.converge(work, networks_db.STORE.get(conn, before.network_id))
        subnet = db.STORE.get(conn, subnet_id)
        work.notify("subnet.update.end", {"subnet": SUBNET.show(subnet, guard.EVERYTHING)})
    return subnet


def _check_ipv6_stays(subnet: Subnet) -> None:
    if subnet.ipv6_ra_mode or subnet.ipv6_address_mode:
        raise InvalidInput(error_message="Cannot disable enable_dhcp with ipv6 attributes set")


@retried
def delete(svc: NetworkService, ctx: Context, subnet_id: str) -> None:
    """Delete a subnet. SubnetInUse while ports have addresses of it, other than DHCP ports and self-made ones."""
    with change(svc, ctx) as work:
        conn = work.conn
        subnet = db.STORE.get(conn, subnet_id, *_scope(ctx))
        guard.check_owner(svc, ctx, "delete_subnet", subnet)
        networks_db.lock(conn, subnet.network_id)
        if db.in_use(conn, subnet) or subnet_id in routers_db.gateway_of_subnet(conn, [subnet_id]):
            raise SubnetInUse(id=subnet_id)
        network = networks_db.STORE.get(conn, subnet.network_id)
        remove_addresses_of(work, network, subnet)
        dhcp.converge(work, network, without=subnet_id)
        conn.execute(sa.delete(tables.tags).where(tables.tags.c.resource_id == subnet_id))
        try:
            db.STORE.delete(conn, subnet_id)
        except db_exc.DBReferenceError as e:  # a port has just got an address
            raise SubnetInUse(id=subnet_id) from e
        networks_db.STORE.update(conn, subnet.network_id)
        work.charge(subnet.project_id, "subnet", -1)
        work.topology(subnet.network_id)
        work.notify(
            "subnet.delete.end",
            {"subnet_id": subnet_id, "subnet": SUBNET.show(subnet, guard.EVERYTHING)},
        )
