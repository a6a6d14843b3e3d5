# SPDX-License-Identifier: Apache-2.0
"""Which names servers, ports and floating IPs are to have: read from the other services, never from events.

A server's records: its name (the port's `dns_name`, else its own) in the zone of the network's or port's `dns_domain`,
else in its project's default zone, for every fixed and floating address; and a PTR for each floating address.
Invariant: the answer depends on what those services say now and on nothing that was heard before.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aerie_common import outbox
from aerie_common.clients import RemoteError
from aerie_common.context import Context
from aerie_common.db import retried
from aerie_dns import caller as callers
from aerie_dns import names, states
from aerie_dns.container import Dns
from aerie_dns.db import managed as db_managed
from aerie_dns.db import nouns as db_nouns
from aerie_dns.db import zones as db_zones
from aerie_dns.db.rows import Connection
from aerie_dns.db.zones import Zone
from aerie_dns.logic import floatingips, managed
from aerie_dns.logic.managed import Wanted

LOG = logging.getLogger(__name__)
SERVER, PORT, FLOATING_IP = "server", "port", "floatingip"
GONE = ("DELETED", "SOFT_DELETED")
COMPUTE_VERSION = "2.90"  # shows the hostname
SOURCES = [SERVER, PORT, FLOATING_IP]
Json = Mapping[str, Any]


@dataclass(frozen=True)
class Named:
    """An address that is to have a name. label: one or more labels; domain: None for the project's default zone.
    projects: whose zones may hold it, the first one's before the others'. A network's owner is among them only where
    the network says the domain: else a guest on a shared network could write into its owner's zones. pointer: is a PTR
    wanted as well."""

    label: str
    domain: str | None
    address: str
    projects: tuple[str, ...]
    pointer: bool


@dataclass
class World:
    """What the other services say, all of it or the part around one server."""

    servers: dict[str, Json] = field(default_factory=dict)
    networks: dict[str, Json] = field(default_factory=dict)
    ports: list[Json] = field(default_factory=list)
    floatingips: list[Json] = field(default_factory=list)


def sources(world: World, address_records: str = "all") -> dict[tuple[str, str], list[Named]]:
    """(source, id) -> the addresses that are to have names because of it."""
    found: dict[tuple[str, str], list[Named]] = defaultdict(list)
    by_port: dict[str, list[Json]] = defaultdict(list)
    ports = {port["id"]: port for port in world.ports}
    for floatingip in world.floatingips:
        if floatingip.get("port_id") in ports:
            by_port[floatingip["port_id"]].append(floatingip)
        else:
            _add_floatingip(found, (FLOATING_IP, floatingip["id"]), floatingip, None, None, ())
    for port in world.ports:
        key, label = _owner(world, port)
        network = world.networks.get(port["network_id"], {})
        domain = port.get("dns_domain") or network.get("dns_domain") or None
        projects = _projects(port, network, domain)
        if key is not None and label is not None and address_records == "all":
            for fixed in port.get("fixed_ips", ()):
                found[key].append(Named(label, domain, fixed["ip_address"], projects, False))
        for floatingip in by_port[port["id"]]:
            source = key or (FLOATING_IP, floatingip["id"])
            _add_floatingip(found, source, floatingip, label, domain, projects)
    return dict(found)


def _owner(world: World, port: Json) -> tuple[tuple[str, str] | None, str | None]:
    """The source the port's names belong to, and the name; none for ports nobody gave a name."""
    label = (port.get("dns_name") or "").lower().rstrip(".") or None
    if str(port.get("device_owner", "")).startswith("compute:"):
        server = world.servers.get(port.get("device_id", ""))
        if server is None or server["status"] in GONE or server.get("OS-EXT-STS:task_state") == "deleting":
            return None, None
        if server["tenant_id"] != port["project_id"]:
            return None, None  # anybody may write any server's id into a port
        if server["tenant_id"] != port["project_id"]:
            return None, None  # anybody may write any server's id into a port
        if server["tenant_id"] != port["project_id"]:
            return None, None  # anybody may write any server's id into a port
        own = server.get("OS-EXT-SRV-ATTR:hostname") or server["name"]
        return (SERVER, server["id"]), label or names.host_label(own)
    return ((PORT, port["id"]), label) if label else (None, None)


def _projects(port: Json, network: Json, domain: str | None) -> tuple[str, ...]:
    """Whose zones may hold names in that domain."""
    of_network = domain is not None and _absolute(domain) == _absolute(network.get("dns_domain") or "")
    wanted = (port["project_id"], network.get("project_id") if of_network else None)
    return tuple(dict.fromkeys(project for project in wanted if project))


def _add_floatingip(
    found: dict[tuple[str, str], list[Named]],
    source: tuple[str, str],
    floatingip: Json,
    label: str | None,
    domain: str | None,
    projects: tuple[str, ...],
) -> None:
    """A floating IP's own name, if it has one, counts more than its port's."""
    own = (floatingip.get("dns_name") or "").lower().rstrip(".")
    chosen, where = (own, floatingip.get("dns_domain") or domain) if own else (label, domain)
    if where != domain:
        projects = projects[:1]  # the floating IP's owner chose the domain, not the network's
    if chosen:
        owners = tuple(dict.fromkeys((floatingip["project_id"], *projects)))
        found[source].append(Named(chosen, where or None, floatingip["floating_ip_address"], owners, True))


def _absolute(name: str) -> str:
    return name.lower() if name.endswith(".") else name.lower() + "."


class Zones:
    """The zones that these addresses' names may belong to, read at once however many they are."""

    def __init__(self, svc: Dns, conn: Connection, addresses: Iterable[Named]) -> None:
        self._default = svc.conf.sink.zone
        projects: set[str] = set()
        candidates: set[str] = set()
        for named in addresses:
            projects.update(named.projects)
            if named.domain is not None:
                candidates.update((_absolute(named.domain), *names.ancestors(_absolute(named.domain))))
            elif self._default:
                candidates.add(self._named_default(named.projects[0]))
        self._by_name: dict[str, Zone] = {}
        self._of_project: dict[str, list[Zone]] = defaultdict(list)
        for zone in db_zones.candidates(conn, projects, candidates):
            if zone.action != states.DELETE:
                self._by_name[zone.name] = zone
                self._of_project[zone.project_id].append(zone)
        shares = db_nouns.SHARE.all(conn, target_project_id=list(projects))
        self._shared = {(share.zone_id, share.target_project_id) for share in shares}

    def _named_default(self, project_id: str) -> str:
        return _absolute(str(self._default) % {"project_id": project_id})

    def _usable(self, zone: Zone, projects: Iterable[str]) -> bool:
        return any(zone.project_id == p or (zone.id, p) in self._shared for p in projects)

    def default(self, project_id: str) -> Zone | None:
        """The zone for names that nothing else decides."""
        if self._default:
            zone = self._by_name.get(self._named_default(project_id))
            return zone if zone is not None and self._usable(zone, [project_id]) else None
        mine = [z for z in self._of_project[project_id] if not names.is_reverse(z.name)]
        marked = [z for z in mine if z.attributes.get("auto", "").lower() == "true"]
        return marked[0] if marked else mine[0] if len(mine) == 1 else None

    def place(self, named: Named) -> tuple[Zone, str] | None:
        """The zone an address's name goes to, and the whole name; None when no zone may hold it."""
        if named.domain is None:
            zone = self.default(named.projects[0])
            return (zone, f"{named.label}.{zone.name}") if zone else None
        domain = _absolute(named.domain)
        for candidate in (domain, *names.ancestors(domain)):
            zone = self._by_name.get(candidate)
            if zone is not None:
                return (zone, f"{named.label}.{domain}") if self._usable(zone, named.projects) else None
        return None


def wanted(svc: Dns, conn: Connection, zones: Zones, ctx: Context, addresses: Iterable[Named]) -> list[Wanted]:
    """The records of one source. Makes a reverse zone where a PTR needs one."""
    found, ttl = [], svc.conf.sink.ttl
    for named in addresses:
        place = zones.place(named)
        if place is None or not names.is_record_name(place[1]):
            continue
        zone, name = place
        kind = "AAAA" if ":" in named.address else "A"
        found.append(Wanted(zone.id, name, kind, named.address, ttl, named.projects[0]))
        if named.pointer:
            reverse = floatingips.reverse_zone(svc, conn, callers.internal(ctx), named.address)
            pointer = names.reverse_name(named.address)
            found.append(Wanted(reverse.id, pointer, "PTR", name, ttl, named.projects[0]))
    return found


class Follower:
    """Reads the other services and makes the records follow."""

    def __init__(self, svc: Dns) -> None:
        self._svc = svc

    def _network(self, path: str, collection: str, ctx: Context) -> list[Json]:
        return list(self._svc.clients["network"].pages(path, collection, ctx))

    def world(self, ctx: Context) -> World:
        """Everything."""
        compute, path = self._svc.clients["compute"], "/servers/detail?all_tenants=True"
        servers = compute.pages(path, "servers", ctx, microversion=COMPUTE_VERSION)
        return World(
            {server["id"]: server for server in servers},
            {network["id"]: network for network in self._network("/networks", "networks", ctx)},
            self._network("/ports", "ports", ctx),
            self._network("/floatingips", "floatingips", ctx),
        )

    def _server(self, ctx: Context, server_id: str) -> Json | None:
        compute = self._svc.clients["compute"]
        try:
            found: Json = compute.get(f"/servers/{server_id}", ctx, microversion=COMPUTE_VERSION)["server"]
        except RemoteError as error:
            if error.status == 404:
                return None
            raise
        return found

    def around_server(self, ctx: Context, server_id: str) -> World:
        """One server, its ports and their networks and floating IPs."""
        server = self._server(ctx, server_id)
        if server is None:
            return World()
        return self._around_ports(ctx, self._network(f"/ports?device_id={server_id}", "ports", ctx), server)

    def around_port(self, ctx: Context, port_id: str) -> World:
        """One port with its network and floating IPs."""
        return self._around_ports(ctx, self._network(f"/ports?id={port_id}", "ports", ctx), None)

    def _around_ports(self, ctx: Context, ports: list[Json], server: Json | None) -> World:
        world = World({server["id"]: server} if server else {}, {}, ports)
        if ports:
            ids = sorted({port["network_id"] for port in ports})
            found = self._network("/networks?" + "&".join(f"id={i}" for i in ids), "networks", ctx)
            world.networks = {network["id"]: network for network in found}
            which = "&".join(f"port_id={port['id']}" for port in ports)
            world.floatingips = self._network(f"/floatingips?{which}", "floatingips", ctx)
        return world

    def around_floatingip(self, ctx: Context, floatingip_id: str) -> World:
        """One floating IP, and what it leads to."""
        found = self._network(f"/floatingips?id={floatingip_id}", "floatingips", ctx)
        ports = [p for f in found if f.get("port_id") for p in self._network(f"/ports?id={f['port_id']}", "ports", ctx)]
        if not ports:
            return World(floatingips=found)
        of_server = str(ports[0].get("device_owner", "")).startswith("compute:")
        return self._around_ports(ctx, ports, self._server(ctx, ports[0]["device_id"]) if of_server else None)

    def follow(self, ctx: Context, source: str, source_id: str, event_id: str | None = None) -> bool:
        """Make the records of one source what they are to be now; True when that changed something."""
        around = {SERVER: self.around_server, PORT: self.around_port, FLOATING_IP: self.around_floatingip}[source]
        world = around(ctx, source_id)
        found = sources(world, self._svc.conf.sink.address_records).get((source, source_id), [])
        return self._store(ctx, source, source_id, found, event_id)

    @retried
    def _store(self, ctx: Context, source: str, source_id: str, found: list[Named], event_id: str | None) -> bool:
        svc = self._svc
        with svc.db.write() as conn:
            if event_id is not None and outbox.seen_event(conn, event_id):
                return False
            records = wanted(svc, conn, Zones(svc, conn, found), ctx, found) if found else []
            changed = managed.set_in(svc, conn, ctx, source, source_id, records)
        if changed:
            LOG.info("%s %s has %d records", source, source_id, len(records))
        return changed

    def differing(self, ctx: Context) -> list[tuple[str, str]]:
        """The sources whose records are not what they are to be, by one look at everything."""
        target = sources(self.world(ctx), self._svc.conf.sink.address_records)
        with self._svc.db.write() as conn:
            zones = Zones(self._svc, conn, (named for found in target.values() for named in found))
            present = db_managed.sources(conn, SOURCES)
            differ = []
            for key in sorted(target.keys() | present.keys()):
                have = {(row.zone_id, row.name, row.type, row.data) for row in present.get(key, ())}
                found = wanted(self._svc, conn, zones, ctx, target.get(key, ()))
                if have != {(w.zone_id, w.name, w.type, w.data) for w in found}:
                    differ.append(key)
        return differ
