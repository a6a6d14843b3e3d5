# SPDX-License-Identifier: Apache-2.0
"""Routers: gateway, interfaces, extra routes, and the host that realises them.

Invariant: a router's ports are bound to the router's host; a router with a port has a host as soon as one with the
role l3 is alive. Changes of one router come one after the other: its row is locked first.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from aerie_common import flow
from aerie_common.context import Context
from aerie_common.db import new_id, retried, utcnow
from aerie_common.errors import BadRequest
from aerie_common.listing import Listing
from aerie_network import states
from aerie_network.container import NetworkService
from aerie_network.db import hosts, tables
from aerie_network.db import networks as networks_db
from aerie_network.db import ports as ports_db
from aerie_network.db import routers as db
from aerie_network.db import subnets as subnets_db
from aerie_network.db.networks import Network
from aerie_network.db.ports import Port
from aerie_network.db.query import Page
from aerie_network.db.routers import Router
from aerie_network.db.subnets import Subnet
from aerie_network.errors import (
    InvalidInput,
    InvalidIpForNetwork,
    InvalidRoutes,
    IpAddressGenerationFailure,
    PortInUse,
    RouterExternalGatewayInUseByFloatingIp,
    RouterInterfaceInUseByFloatingIP,
    RouterInterfaceInUseByRoute,
    RouterInterfaceNotFound,
    RouterInterfaceNotFoundForSubnet,
    RouterInUse,
    RoutesExhausted,
)
from aerie_network.logic import guard, ports, security_groups
from aerie_network.logic.port_values import Choice
from aerie_network.logic.work import Work, change, changed, live_since, owned, scope
from aerie_network.schemas import routers as schema

Route = dict[str, str]


def _scope(ctx: Context) -> tuple[Any, ...]:
    return owned(ctx, tables.routers.c.project_id)


def page(svc: NetworkService, ctx: Context, listing: Listing) -> Page[Router]:
    """The routers of the caller's project."""
    with svc.db.read() as conn:
        return db.STORE.page(conn, listing, *_scope(ctx))


def show(svc: NetworkService, ctx: Context, router_id: str) -> Router:
    """One router. Raises RouterNotFound."""
    with svc.db.read() as conn:
        return db.STORE.get(conn, router_id, *_scope(ctx))


def payload(router: Router) -> dict[str, Any]:
    """A router as notifications carry it."""
    return schema.show(router, guard.EVERYTHING)


# --------------------------------------------------------------------------------------------------------- host


def schedule(work: Work, router: Router, *, host: str | None = None) -> Router:
    """See to it that the router has a host: the given one, its own, or the live one with the fewest routers."""
    if host is None:
        if router.host:
            return router
        found = hosts.alive(work.conn, "l3", live_since(work.svc), router.availability_zone_hints)
        found = hosts.least_used(work.conn, "l3", found)
        if not found:
            return router
        host = found[0]
    if host == router.host:
        return router
    work.router(router.id, router.host)
    work.conn.execute(sa.update(tables.routers).where(tables.routers.c.id == router.id).values(host=host))
    for port in ports_db.of_device(work.conn, router.id, *states.ROUTER_PORTS):
        ports.move(work, port, networks_db.STORE.get(work.conn, port.network_id), host)
    work.router(router.id, host)
    f = tables.floatingips
    work.conn.execute(sa.update(f).where(f.c.router_id == router.id).values(status=states.DOWN))
    return db.STORE.get(work.conn, router.id)


# ------------------------------------------------------------------------------------------------------ gateway


@dataclass(frozen=True)
class Gateway:
    """What a caller wants of the external side."""

    network_id: str
    fixed_ips: tuple[dict[str, str], ...] | None = None
    enable_snat: bool | None = None


def read_gateway(sent: Mapping[str, Any] | None) -> Gateway | None:
    """external_gateway_info as sent; an empty one or null means none."""
    if not sent or not sent.get("network_id"):
        return None
    fixed_ips, snat = sent.get("external_fixed_ips"), sent.get("enable_snat")
    return Gateway(
        sent["network_id"],
        tuple(fixed_ips) if fixed_ips else None,
        None if snat is None else str(snat).lower() in ("true", "1", "yes", "on", "t", "y"),
    )


def _check_gateway_rights(svc: NetworkService, ctx: Context, wanted: Gateway | None, owner: str) -> None:
    target = {"project_id": owner, "tenant_id": owner}
    if wanted is not None and wanted.fixed_ips:
        svc.policy.check(ctx, "update_router:external_gateway_info:external_fixed_ips", target)
    if wanted is not None and wanted.enable_snat is not None:
        svc.policy.check(ctx, "update_router:external_gateway_info:enable_snat", target)


def _external(work: Work, ctx: Context, network_id: str) -> Network:
    network = networks_db.STORE.get(work.conn, network_id, *scope(ctx, networks_db.visible(ctx.project_id)))
    if not network.external:
        raise BadRequest(f"Network {network_id} is not an external network")
    return network


def _gateway_choices(subnets: Sequence[Subnet], wanted: Gateway) -> list[Choice]:
    """Addresses for the gateway port: those asked for, else one of each version."""
    if wanted.fixed_ips is None:
        fitting = [s for s in subnets if not s.service_types or states.ROUTER_GATEWAY in s.service_types]
        found: list[Choice] = []
        for version in (4, 6):
            if pool := tuple(s for s in fitting if s.ip_version == version):
                found.append((pool, None))
        return found
    by_id = {s.id: s for s in subnets}
    choices: list[Choice] = []
    for item in wanted.fixed_ips:
        address, subnet = item.get("ip_address"), by_id.get(item.get("subnet_id", ""))
        if item.get("subnet_id") and subnet is None:
            raise InvalidInput(error_message=f"subnet {item['subnet_id']} is not on network {wanted.network_id}")
        if address is not None:
            try:
                number = ipaddress.ip_address(address)
            except ValueError:
                raise InvalidInput(error_message=f"'{address}' is not a valid IP address") from None
            subnet = subnet or next((s for s in subnets if number in s.network), None)
            if subnet is None or number not in subnet.network:
                raise InvalidIpForNetwork(ip=address)
            choices.append(((subnet,), str(number)))
        elif subnet is not None:
            choices.append(((subnet,), None))
    return choices


def plug_gateway(work: Work, router: Router, network: Network, wanted: Gateway) -> Router:
    """See to it that the router has a gateway port on this network with the addresses wanted. Does nothing twice.

    Where the network has no subnet yet, the port waits for an address: the first subnet gives it one."""
    conn = work.conn
    present = ports_db.STORE.find(conn, router.gw_port_id) if router.gw_port_id else None
    subnets = subnets_db.of_network(conn, network.id)
    if present is not None and present.network_id == network.id and (not subnets or _satisfies(present, wanted)):
        return router
    choices = _gateway_choices(subnets, wanted)
    if subnets and not choices:
        raise IpAddressGenerationFailure(network=network.id)
    if present is not None:
        unplug_gateway(work, router)
    _check_gateway_overlap(conn, router, [s for s in subnets if any(s in c[0] for c in choices)])
    port = ports.make_own(
        work,
        network,
        device_owner=states.ROUTER_GATEWAY,
        device_id=router.id,
        project_id="",
        host=router.host,
        choices=choices,
    )
    db.STORE.update(conn, router.id, {"gw_port_id": port.id, "gw_network_id": network.id})
    work.router(router.id, router.host)
    return db.STORE.get(conn, router.id)


def _satisfies(port: Port, wanted: Gateway) -> bool:
    if wanted.fixed_ips is None:
        return bool(port.fixed_ips)
    has = set(port.fixed_ips)
    return len(has) == len(wanted.fixed_ips) and all(
        any(item.get("ip_address") in (None, a) and item.get("subnet_id") in (None, s) for s, a in has)
        for item in wanted.fixed_ips
    )


def _check_gateway_overlap(conn: sa.Connection, router: Router, external: Sequence[Subnet]) -> None:
    inside = subnets_db.by_ids(conn, [subnet for _, _, subnet, _ in db.interfaces(conn, router.id)])
    for one in external:
        for other in inside.values():
            if one.ip_version == other.ip_version and one.network.overlaps(other.network):
                raise _overlap(one, other)


def unplug_gateway(work: Work, router: Router) -> None:
    """Take the gateway port away, if there is one. The router keeps the network it wants until told otherwise."""
    if router.gw_port_id is None:
        return
    port = ports_db.STORE.find(work.conn, router.gw_port_id)
    db.STORE.update(work.conn, router.id, {"gw_port_id": None})
    if port is not None:
        ports.remove(work, [port], networks_db.STORE.get(work.conn, port.network_id))
    work.router(router.id, router.host)


def _set_gateway(work: Work, ctx: Context, router: Router, wanted: Gateway | None) -> Router:
    """The first step of the flow, done at once so that the reply carries the addresses; the flow sees to the rest."""
    from aerie_network.flows.router_gateway import ROUTER_GATEWAY

    conn = work.conn
    if router.gw_network_id and (wanted is None or wanted.network_id != router.gw_network_id):
        if db.floating_in_use(conn, router.id):
            raise RouterExternalGatewayInUseByFloatingIp(router=router.id, network=router.gw_network_id)
    if wanted is None:
        flow.cancel(conn, router.id, [ROUTER_GATEWAY.kind])
        unplug_gateway(work, router)
        db.STORE.update(conn, router.id, {"gw_network_id": None, "enable_snat": True})
        return db.STORE.get(conn, router.id)
    network = _external(work, ctx, wanted.network_id)
    router = schedule(work, router)
    after = plug_gateway(work, router, network, wanted)
    snat = True if wanted.enable_snat is None else wanted.enable_snat
    if snat != after.enable_snat:
        db.STORE.update(conn, router.id, {"enable_snat": snat})
        work.router(router.id, router.host)
        after = db.STORE.get(conn, router.id)
    if after.gw_port_id != router.gw_port_id:
        earlier = flow.cancel(conn, router.id, [ROUTER_GATEWAY.kind])
        flow.start(
            conn,
            ROUTER_GATEWAY,
            router.id,
            {"network_id": network.id, "port_id": after.gw_port_id, "fixed_ips": wanted.fixed_ips},
            ctx,
            after=earlier,
            project_id=router.project_id,
        )
    return after


# ------------------------------------------------------------------------------------- create, update, delete


@retried
def create(svc: NetworkService, ctx: Context, requests: list[dict[str, Any]]) -> list[Router]:
    """Make routers, each with its gateway where one is named."""
    made = []
    with change(svc, ctx) as work:
        for values in requests:
            made.append(make(work, ctx, dict(values)))
    return made


def make(work: Work, ctx: Context, values: dict[str, Any]) -> Router:
    """One router, within a transaction."""
    wanted = read_gateway(values.pop("external_gateway_info", None))
    routes = values.pop("routes", None) or []
    _check_gateway_rights(work.svc, ctx, wanted, values["project_id"])
    for name in ("distributed", "ha"):
        if values.pop(name, False):
            raise BadRequest(
                f"Routers that are {'distributed' if name == 'distributed' else 'highly available'} are not offered."
            )
    if values.pop("flavor_id", None):
        raise BadRequest("Router flavors are not offered.")
    now = utcnow()
    row = {
        "id": new_id(), "status": states.ACTIVE, "gw_network_id": None, "gw_port_id": None, "enable_snat": True,
        "host": "", "routes": [], "revision_number": 1, "created_at": now, "updated_at": now, **values,
    }  # fmt: skip
    db.STORE.insert(work.conn, row)
    security_groups.ensure_default(work, row["project_id"])
    router = Router(**row)
    if wanted is not None:
        router = _set_gateway(work, ctx, router, wanted)
    if routes:
        router = _set_routes(work, router, routes)
    work.charge(router.project_id, "router")
    work.notify("router.create.end", {"router": payload(router)})
    return router


@retried
def update(svc: NetworkService, ctx: Context, router_id: str, values: dict[str, Any], revision: int | None) -> Router:
    """Change a router, its gateway and its routes."""
    values = dict(values)  # the function may run again with what it was given
    with change(svc, ctx) as work:
        router = _locked(work, ctx, router_id, "update_router")
        guard.check_revision(router, revision)
        for name in ("distributed", "ha"):
            if values.pop(name, False):
                raise BadRequest("Distributed and highly available routers are not offered.")
        if "external_gateway_info" in values:
            wanted = read_gateway(values.pop("external_gateway_info"))
            _check_gateway_rights(svc, ctx, wanted, router.project_id)
            router = _set_gateway(work, ctx, router, wanted)
        if "routes" in values:
            router = _set_routes(work, router, values.pop("routes") or [])
        new = changed(router, values)
        if new:
            db.STORE.update(work.conn, router_id, new)
            work.router(router_id, router.host)
            router = db.STORE.get(work.conn, router_id)
        work.notify("router.update.end", {"router": payload(router)})
    return router


def _locked(work: Work, ctx: Context, router_id: str, rule: str) -> Router:
    router = db.STORE.get(work.conn, router_id, *_scope(ctx), lock=True)
    guard.check_owner(work.svc, ctx, rule, router)
    return router


@retried
def delete(svc: NetworkService, ctx: Context, router_id: str) -> None:
    """Delete a router with its gateway. RouterInUse while it has interfaces."""
    from aerie_network.flows.router_gateway import ROUTER_GATEWAY

    with change(svc, ctx) as work:
        conn = work.conn
        router = _locked(work, ctx, router_id, "delete_router")
        if db.interfaces(conn, router_id) or ports_db.of_device(conn, router_id, states.ROUTER_INTERFACE):
            raise RouterInUse(id=router_id)
        if db.floating_in_use(conn, router_id):
            raise RouterInUse(id=router_id)
        flow.cancel(conn, router_id, [ROUTER_GATEWAY.kind])
        unplug_gateway(work, router)
        conn.execute(sa.delete(tables.tags).where(tables.tags.c.resource_id == router_id))
        db.STORE.delete(conn, router_id)
        work.router(router_id, router.host)
        work.charge(router.project_id, "router", -1)
        work.notify("router.delete.end", {"router_id": router_id, "router": payload(router)})


# ------------------------------------------------------------------------------------------------------- routes


def _check_routes(work: Work, router: Router, routes: Sequence[Route]) -> list[Route]:
    """Routes in their stored form: each next hop is on a network the router is on, and is not the router itself."""
    limit = work.svc.conf.max_routes
    if len(routes) > limit:
        raise RoutesExhausted(router=router.id, limit=limit)
    inside = db.interfaces(work.conn, router.id)
    subnet_ids = {subnet for _, _, subnet, _ in inside} | {subnet for subnet, _ in router.gateway_ips}
    reachable = [s.network for s in subnets_db.by_ids(work.conn, subnet_ids).values()]
    own = {address for _, _, _, address in inside} | {address for _, address in router.gateway_ips}
    checked: list[Route] = []
    for route in routes:
        try:
            destination = ipaddress.ip_network(route["destination"], strict=False)
            nexthop = ipaddress.ip_address(route["nexthop"])
        except ValueError as e:
            raise InvalidRoutes(routes=list(routes), reason=str(e)) from None
        if destination.version != nexthop.version:
            raise InvalidRoutes(routes=list(routes), reason="destination and nexthop are of different IP versions")
        if not any(nexthop in network for network in reachable):
            raise InvalidRoutes(routes=list(routes), reason="the nexthop is not connected with router")
        if str(nexthop) in own:
            raise InvalidRoutes(routes=list(routes), reason="the nexthop is used by router")
        entry = {"destination": str(destination), "nexthop": str(nexthop)}
        if entry in checked:
            raise InvalidRoutes(routes=list(routes), reason=f"duplicate route {entry}")
        checked.append(entry)
    return checked


def _set_routes(work: Work, router: Router, routes: Sequence[Route]) -> Router:
    checked = _check_routes(work, router, routes)
    if checked != router.routes:
        db.STORE.update(work.conn, router.id, {"routes": checked})
        work.router(router.id, router.host)
    return db.STORE.get(work.conn, router.id)


@retried
def change_routes(svc: NetworkService, ctx: Context, router_id: str, routes: Sequence[Route], *, add: bool) -> Router:
    """Add or remove extra routes, whatever others do to the list meanwhile."""
    with change(svc, ctx) as work:
        router = _locked(work, ctx, router_id, "update_router")
        named = {_key(route) for route in routes}
        kept = [route for route in router.routes if _key(route) not in named]
        router = _set_routes(work, router, [*router.routes, *(r for r in routes if _key(r) not in
                             {_key(x) for x in router.routes})] if add else kept)  # fmt: skip
        work.notify("router.update.end", {"router": payload(router)})
    return router


def _key(route: Route) -> tuple[str, str]:
    try:
        return str(ipaddress.ip_network(route["destination"], strict=False)), str(
            ipaddress.ip_address(route["nexthop"])
        )
    except ValueError:
        return route["destination"], route["nexthop"]


# --------------------------------------------------------------------------------------------------- interfaces


def _overlap(one: Subnet, other: Subnet) -> BadRequest:
    return BadRequest(f"Cidr {one.cidr} of subnet {one.id} overlaps with cidr {other.cidr} of subnet {other.id}")


def _check_interface(work: Work, router: Router, subnets: Sequence[Subnet]) -> None:
    """The subnets are not on the router yet and overlap with none that is."""
    present = subnets_db.by_ids(work.conn, [subnet for _, _, subnet, _ in db.interfaces(work.conn, router.id)])
    external = subnets_db.by_ids(work.conn, [subnet for subnet, _ in router.gateway_ips])
    for subnet in subnets:
        if subnet.id in present:
            raise BadRequest(f"Router already has a port on subnet {subnet.id}")
        for other in [*present.values(), *external.values()]:
            if subnet.ip_version == other.ip_version and subnet.network.overlaps(other.network):
                raise _overlap(subnet, other)


@dataclass(frozen=True)
class Interface:
    """What add and remove answer."""

    router: Router
    port_id: str
    network_id: str
    subnet_ids: tuple[str, ...]


@retried
def add_interface(
    svc: NetworkService, ctx: Context, router_id: str, subnet_id: str | None, port_id: str | None
) -> Interface:
    """Attach a subnet (by its gateway address) or a port. PortInUse, BadRequest where networks overlap."""
    if (subnet_id is None) == (port_id is None):
        raise BadRequest(
            "Either subnet_id or port_id must be specified"
            if subnet_id is None
            else "Cannot specify both subnet-id and port-id."
        )
    with change(svc, ctx) as work:
        router = _locked(work, ctx, router_id, "add_router_interface")
        router = schedule(work, router)
        done = _add_port(work, ctx, router, port_id) if port_id else plug_subnet(work, ctx, router, str(subnet_id))
        db.STORE.update(work.conn, router_id)
        work.router(router_id, router.host)
        work.notify("router.interface.create", {"router_interface": _interface_payload(done)})
    return done


def _interface_payload(done: Interface) -> dict[str, Any]:
    return {
        "id": done.router.id,
        "tenant_id": done.router.project_id,
        "port_id": done.port_id,
        "network_id": done.network_id,
        "subnet_id": done.subnet_ids[0] if done.subnet_ids else None,
        "subnet_ids": list(done.subnet_ids),
    }


def _add_port(work: Work, ctx: Context, router: Router, port_id: str) -> Interface:
    conn = work.conn
    port = ports_db.STORE.get(conn, port_id, *scope(ctx, ports_db.visible(ctx.project_id)), lock=True)
    if port.device_id and port.device_id != router.id:
        raise PortInUse(id=port.id, network=port.network_id, device=port.device_id)
    if port.device_owner == states.ROUTER_INTERFACE:
        raise PortInUse(id=port.id, network=port.network_id, device=port.device_id)
    if not port.fixed_ips:
        raise BadRequest("Router port must have at least one fixed IP")
    subnets = subnets_db.by_ids(conn, [subnet for subnet, _ in port.fixed_ips])
    if sum(1 for s in subnets.values() if s.ip_version == 4) > 1:
        raise BadRequest("Cannot have multiple IPv4 subnets on router port")
    _check_interface(work, router, list(subnets.values()))
    network = networks_db.STORE.get(conn, port.network_id)
    work.port(port, network)
    ports_db.set_groups(conn, port.id, (), router.host)
    ports.move(
        work,
        port,
        network,
        router.host,
        {"device_id": router.id, "device_owner": states.ROUTER_INTERFACE, "port_security_enabled": False},
    )
    return Interface(router, port.id, network.id, tuple(dict.fromkeys(s for s, _ in port.fixed_ips)))


def plug_subnet(work: Work, ctx: Context, router: Router, subnet_id: str) -> Interface:
    """An interface with the subnet's gateway address, within a transaction."""
    conn = work.conn
    subnet = subnets_db.STORE.get(conn, subnet_id, *scope(ctx, subnets_db.visible(ctx.project_id)))
    if not subnet.gateway_ip:
        raise BadRequest("Subnet for router interface must have a gateway IP")
    _check_interface(work, router, [subnet])
    network = networks_db.STORE.get(conn, subnet.network_id)
    if subnet.ip_version == 6 and (same := _ipv6_port(conn, router, network)):
        return _widen(work, router, network, same, subnet)
    port = ports.make_own(
        work,
        network,
        device_owner=states.ROUTER_INTERFACE,
        device_id=router.id,
        project_id=router.project_id,
        host=router.host,
        choices=[((subnet,), subnet.gateway_ip)],
    )
    return Interface(router, port.id, network.id, (subnet.id,))


def _ipv6_port(conn: sa.Connection, router: Router, network: Network) -> Port | None:
    """The port that holds the router's IPv6 addresses on this network: one serves all its IPv6 subnets."""
    for port in ports_db.of_device(conn, router.id, states.ROUTER_INTERFACE):
        if port.network_id == network.id and port.fixed_ips and all(":" in address for _, address in port.fixed_ips):
            return port
    return None


def _widen(work: Work, router: Router, network: Network, port: Port, subnet: Subnet) -> Interface:
    from aerie_network.logic import ipam

    want = ipam.Want(port.id, network.id, (subnet,), subnet.gateway_ip, len(port.fixed_ips))
    ipam.Allocator(work.conn).give([want])
    ports_db.STORE.update(work.conn, port.id)
    work.port(ports_db.STORE.get(work.conn, port.id), network)
    return Interface(router, port.id, network.id, (subnet.id,))


@retried
def remove_interface(
    svc: NetworkService, ctx: Context, router_id: str, subnet_id: str | None, port_id: str | None
) -> Interface:
    """Detach a subnet or port. Refused while a floating IP or a route needs it."""
    if subnet_id is None and port_id is None:
        raise BadRequest("Either subnet_id or port_id must be specified")
    with change(svc, ctx) as work:
        conn = work.conn
        router = _locked(work, ctx, router_id, "remove_router_interface")
        present = db.interfaces(conn, router_id)
        if port_id is not None:
            rows = [row for row in present if row[0] == port_id]
            if not rows:
                raise RouterInterfaceNotFound(router=router_id, port=port_id)
            if subnet_id is not None and subnet_id not in {row[2] for row in rows}:
                raise BadRequest(f"Port {port_id} is not on subnet {subnet_id}.")
        else:
            rows = [row for row in present if row[2] == subnet_id]
            if not rows:
                subnets_db.STORE.get(conn, str(subnet_id), *scope(ctx, subnets_db.visible(ctx.project_id)))
                raise RouterInterfaceNotFoundForSubnet(router=router_id, subnet=subnet_id)
        subnet_ids = tuple(dict.fromkeys(row[2] for row in rows))
        _check_removal(work, router, subnet_ids)
        port = ports_db.STORE.get(conn, rows[0][0])
        network = networks_db.STORE.get(conn, port.network_id)
        left = [pair for pair in port.fixed_ips if pair[0] not in subnet_ids]
        if left and port_id is None:  # one of several IPv6 subnets of a port
            ports_db.remove_addresses(conn, port.id, [pair for pair in port.fixed_ips if pair[0] in subnet_ids])
            ports_db.STORE.update(conn, port.id)
            work.port(port, network)
        else:
            ports.remove(work, [port], network)
        db.STORE.update(conn, router_id)
        work.router(router_id, router.host)
        done = Interface(router, port.id, network.id, subnet_ids)
        work.notify("router.interface.delete", {"router_interface": _interface_payload(done)})
    return done


def _check_removal(work: Work, router: Router, subnet_ids: Sequence[str]) -> None:
    for subnet in subnets_db.by_ids(work.conn, subnet_ids).values():
        if db.floating_in_use_on_subnet(work.conn, router.id, subnet.id):
            raise RouterInterfaceInUseByFloatingIP(subnet=subnet.id, router=router.id)
        for route in router.routes:
            if ipaddress.ip_address(route["nexthop"]) in subnet.network:
                raise RouterInterfaceInUseByRoute(subnet=subnet.id, router=router.id)
