# SPDX-License-Identifier: Apache-2.0
"""The desired state of a host, read from the tables: the whole of it, or the documents that changed.

Invariant: the number of queries does not depend on how much is on the host; the revision is read before the data, so
an agent never believes to have something newer than it has.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa

from aerie_network import states
from aerie_network.agent.messages import StateAnswer
from aerie_network.container import NetworkService
from aerie_network.db import agents as agents_db
from aerie_network.db import hosts, tables
from aerie_network.db import routers as routers_db
from aerie_network.db import subnets as subnets_db
from aerie_network.db.subnets import Subnet as SubnetRow
from aerie_network.drivers import base
from aerie_network.logic.security_groups import protocol_number

MOST_CHANGES = 400
"""With more documents than that to renew, the whole state is no more work."""

_P, _A, _B = tables.ports.c, tables.ip_allocations.c, tables.port_security_groups.c
_NAMES = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp", 33: "dccp", 136: "udplite"}
Only = Mapping[str, Collection[str]] | None
Addresses = dict[str, list[tuple[str, str]]]


def answer(svc: NetworkService, host: str, known_revision: int) -> StateAnswer:
    """What the agent of a host lacks: nothing, some documents, or the whole state."""
    with svc.db.read() as conn:
        newest = hosts.revision(conn, host)
        if newest and newest == known_revision:
            return StateAnswer()
        if newest:
            changes = hosts.changed_since(conn, host, known_revision, newest)
            if changes is not None and sum(map(len, changes.values())) <= MOST_CHANGES:
                return StateAnswer(delta=_delta(svc, conn, host, known_revision, newest, changes))
            return StateAnswer(state=_whole(svc, conn, host, newest))
    with svc.db.write() as conn:
        hosts.register(conn, host)
    with svc.db.read() as conn:
        return StateAnswer(state=_whole(svc, conn, host, hosts.revision(conn, host)))


def _whole(svc: NetworkService, conn: sa.Connection, host: str, revision: int) -> base.HostState:
    return base.HostState(host=host, revision=revision, **_Builder(svc, conn, host, None).sections())


def _delta(
    svc: NetworkService, conn: sa.Connection, host: str, known: int, newest: int, changes: dict[str, set[str]]
) -> base.HostDelta:
    found = _Builder(svc, conn, host, changes).sections()
    merged = {section: {item_id: found[section].get(item_id) for item_id in ids} for section, ids in changes.items()}
    return base.HostDelta(base_revision=known, revision=newest, **merged)


class _Builder:
    """Reads the documents of one host; `only` restricts them to some ids by section."""

    def __init__(self, svc: NetworkService, conn: sa.Connection, host: str, only: Only) -> None:
        self._svc, self._conn, self._host, self._only = svc, conn, host, only
        self._subnets: dict[str, SubnetRow] = {}

    def sections(self) -> dict[str, dict[str, Any]]:
        """Every section's documents by id."""
        conn = self._conn
        present = self._ports_here()
        taps = [row for row in present if not row.device_owner.startswith(states.OWNER_PREFIX)]
        routers = self._router_rows()
        router_ports = self._rows(_P.device_id.in_([r.id for r in routers]), _P.device_owner.in_(states.ROUTER_PORTS))
        dhcp = [row for row in present if row.device_owner == states.DHCP and self._wanted("dhcp", row.network_id)]
        network_ids = self._referenced_networks(present)
        self._read_subnets({*network_ids, *(row.network_id for row in [*taps, *dhcp, *router_ports])})
        clients = self._dhcp_clients([row.network_id for row in dhcp])
        remote = self._remote_ports(network_ids)
        holders = {row.id for row in [*taps, *dhcp, *router_ports, *clients, *remote]}
        addresses = self._addresses(holders)
        groups = self._groups_of([row.id for row in taps])
        return {
            "ports": {row.id: self._port(row, addresses, groups) for row in taps if self._wanted("ports", row.id)},
            "networks": self._networks(network_ids, remote, addresses),
            "dhcp": self._dhcp(dhcp, clients, addresses),
            "routers": self._routers(routers, router_ports, addresses),
            **self._security(conn),
        }

    def _wanted(self, section: str, item_id: str) -> bool:
        return self._only is None or item_id in self._only.get(section, ())

    def _asked(self, section: str) -> list[str] | None:
        """Ids of the section that are asked for; None for all."""
        return None if self._only is None else list(self._only.get(section, ()))

    def _rows(self, *where: sa.ColumnElement[bool]) -> list[Any]:
        return list(self._conn.execute(sa.select(tables.ports).where(*where)))

    # -- which rows

    def _ports_here(self) -> list[Any]:
        """Ports bound here that a wanted document is about."""
        where = [_P.host == self._host, _P.vif_type.not_in(["unbound", "binding_failed"])]
        if self._only is not None:
            ports, dhcp = self._only.get("ports", ()), self._only.get("dhcp", ())
            about = sa.or_(
                _P.id.in_(list(ports)), sa.and_(_P.device_owner == states.DHCP, _P.network_id.in_(list(dhcp)))
            )
            where.append(about)
        return self._rows(*where)

    def _referenced_networks(self, present: list[Any]) -> list[str]:
        """Networks of which something is here."""
        if self._only is None:
            return sorted({row.network_id for row in present} | set(self._networks_of_routers()))
        asked = list(self._only.get("networks", ()))
        if not asked:
            return []
        query = sa.select(_P.network_id).where(_P.network_id.in_(asked), _P.host == self._host).distinct()
        return sorted(self._conn.execute(query).scalars())

    def _networks_of_routers(self) -> list[str]:
        query = sa.select(_P.network_id).where(_P.host == self._host, _P.device_owner.in_(states.ROUTER_PORTS))
        return list(self._conn.execute(query.distinct()).scalars())

    def _router_rows(self) -> list[Any]:
        r = tables.routers.c
        query = sa.select(tables.routers).where(r.host == self._host)
        asked = self._asked("routers")
        if asked is not None:
            query = query.where(r.id.in_(asked))
        return list(self._conn.execute(query))

    def _read_subnets(self, network_ids: Collection[str]) -> None:
        found = subnets_db.plain(self._conn, tables.subnets.c.network_id.in_(sorted(network_ids)))
        self._subnets = {subnet.id: subnet for subnet in found}

    def _dhcp_clients(self, network_ids: Collection[str]) -> list[Any]:
        """Ports that the DHCP servers here have to know."""
        columns = (_P.id, _P.network_id, _P.mac_address, _P.dns_name, _P.extra_dhcp_opts, _P.revision_number)
        query = sa.select(*columns).where(
            _P.network_id.in_(list(network_ids)), _P.device_owner.not_in([states.DHCP, states.FLOATING])
        )
        return list(self._conn.execute(query.order_by(_P.id)))

    def _remote_ports(self, network_ids: Collection[str]) -> list[Any]:
        """Ports on other hosts which this one forwards to."""
        n = tables.networks.c
        query = (
            sa.select(_P.id, _P.network_id, _P.mac_address, _P.host)
            .join(tables.networks, n.id == _P.network_id)
            .where(_P.network_id.in_(list(network_ids)), n.network_type == base.TYPE_VXLAN)
            .where(_P.host.not_in(["", self._host]))
        )
        return list(self._conn.execute(query.order_by(_P.id)))

    def _addresses(self, port_ids: Collection[str]) -> Addresses:
        query = sa.select(_A.port_id, _A.subnet_id, _A.ip_address).where(_A.port_id.in_(port_ids))
        found: Addresses = {}
        for port_id, subnet_id, address in self._conn.execute(query.order_by(_A.port_id, _A.position)):
            found.setdefault(port_id, []).append((subnet_id, address))
        return found

    def _groups_of(self, port_ids: Collection[str]) -> dict[str, list[str]]:
        query = sa.select(_B.port_id, _B.security_group_id).where(_B.port_id.in_(port_ids))
        found: dict[str, list[str]] = {}
        for port_id, group_id in self._conn.execute(query.order_by(_B.security_group_id)):
            found.setdefault(port_id, []).append(group_id)
        return found

    # -- documents

    def _fixed_ips(self, port_id: str, addresses: Addresses) -> tuple[base.FixedIp, ...]:
        return tuple(
            base.FixedIp(subnet_id, address, self._subnets[subnet_id].network.prefixlen)
            for subnet_id, address in addresses.get(port_id, ())
            if subnet_id in self._subnets
        )

    def _port(self, row: Any, addresses: Addresses, groups: dict[str, list[str]]) -> base.Port:
        pairs = tuple(
            base.AddressPair(
                pair["ip_address"], None if pair["mac_address"] == row.mac_address else pair["mac_address"]
            )
            for pair in row.allowed_address_pairs
        )
        return base.Port(
            id=row.id,
            network_id=row.network_id,
            mac=row.mac_address,
            revision=row.revision_number,
            fixed_ips=self._fixed_ips(row.id, addresses),
            port_security=row.port_security_enabled,
            security_groups=tuple(groups.get(row.id, ())),
            allowed_address_pairs=pairs,
            admin_state_up=row.admin_state_up,
            device_owner=row.device_owner,
            device_id=row.device_id,
        )

    def _networks(self, ids: Collection[str], remote: list[Any], addresses: Addresses) -> dict[str, base.Network]:
        if not ids:
            return {}
        tunnels = agents_db.tunnel_ips(self._conn) if remote else {}
        beyond: dict[str, list[base.RemotePort]] = {}
        for row in remote:
            if vtep := tunnels.get(row.host):
                ips = tuple(address for _, address in addresses.get(row.id, ()))
                beyond.setdefault(row.network_id, []).append(base.RemotePort(row.mac_address, vtep, ips))
        subnets: dict[str, list[base.Subnet]] = {}
        for subnet in self._subnets.values():
            subnets.setdefault(subnet.network_id, []).append(_subnet(subnet))
        n = tables.networks.c
        found = {}
        for row in self._conn.execute(sa.select(tables.networks).where(n.id.in_(list(ids)))):
            ports = beyond.get(row.id, [])
            found[row.id] = base.Network(
                id=row.id,
                type=row.network_type,
                physical_network=row.physical_network,
                segmentation_id=row.segmentation_id,
                mtu=max(row.mtu, 68),  # no device takes less; such a network has no subnets
                subnets=tuple(subnets.get(row.id, ())),
                vteps=tuple(sorted({port.vtep for port in ports})),
                remote_ports=tuple(ports),
            )
        return found

    def _dhcp(self, rows: list[Any], clients: list[Any], addresses: Addresses) -> dict[str, base.DhcpNetwork]:
        rows = [row for row in rows if row.id in addresses]  # one without an address only holds its place
        if not rows:
            return {}
        network_ids = [row.network_id for row in rows]
        n = tables.networks.c
        domains = dict(self._conn.execute(sa.select(n.id, n.dns_domain).where(n.id.in_(network_ids))).tuples().all())
        inside = [s for s in self._subnets.values() if s.network_id in domains]
        routed = routers_db.gateway_of_subnet(self._conn, [s.id for s in inside])
        by_network: dict[str, list[base.DhcpHost]] = {}
        for row in clients:
            fixed = self._fixed_ips(row.id, addresses)
            if fixed:
                options = tuple(
                    base.DhcpOption(o["opt_name"], o["opt_value"], o["ip_version"]) for o in row.extra_dhcp_opts
                )
                by_network.setdefault(row.network_id, []).append(
                    base.DhcpHost(
                        row.id, row.mac_address, fixed, row.revision_number, row.dns_name.rstrip("."), options
                    )
                )
        return {
            row.network_id: base.DhcpNetwork(
                network_id=row.network_id,
                port_id=row.id,
                mac=row.mac_address,
                addresses=self._fixed_ips(row.id, addresses),
                revision=row.revision_number,
                hosts=tuple(by_network.get(row.network_id, ())),
                domain=(domains[row.network_id] or self._svc.conf.dns_domain).rstrip("."),
                isolated_subnets=tuple(
                    s.id for s in inside if s.network_id == row.network_id and s.ip_version == 4 and s.id not in routed
                ),
                lease_seconds=self._svc.conf.dhcp_lease_duration,
            )
            for row in rows
        }

    def _routers(self, rows: list[Any], ports: list[Any], addresses: Addresses) -> dict[str, base.Router]:
        if not rows:
            return {}
        f = tables.floatingips.c
        floating: dict[str, list[base.FloatingIp]] = {}
        for row in self._conn.execute(
            sa.select(tables.floatingips)
            .where(f.router_id.in_([r.id for r in rows]), f.port_id.is_not(None))
            .order_by(f.id)
        ):
            floating.setdefault(row.router_id, []).append(
                base.FloatingIp(row.id, row.floating_ip_address, row.fixed_ip_address, row.port_id, row.revision_number)
            )
        forwardings = self._forwardings([r.id for r in rows])
        inside: dict[str, list[base.RouterInterface]] = {}
        gateways: dict[str, base.RouterGateway] = {}
        snat = {row.id: row.enable_snat for row in rows}
        for port in sorted(ports, key=lambda p: p.id):
            common = (port.id, port.network_id, port.mac_address, self._fixed_ips(port.id, addresses))
            if port.device_owner == states.ROUTER_INTERFACE:
                inside.setdefault(port.device_id, []).append(
                    base.RouterInterface(*common, revision=port.revision_number)
                )
            else:
                hops = [self._subnets[a.subnet_id].gateway_ip for a in common[3]]
                gateways[port.device_id] = base.RouterGateway(
                    *common,
                    next_hops=tuple(hop for hop in hops if hop),
                    enable_snat=snat[port.device_id],
                    revision=port.revision_number,
                )
        return {
            row.id: base.Router(
                id=row.id,
                revision=row.revision_number,
                admin_state_up=row.admin_state_up,
                interfaces=tuple(inside.get(row.id, ())),
                gateway=gateways.get(row.id),
                floating_ips=tuple(floating.get(row.id, ())),
                port_forwardings=tuple(forwardings.get(row.id, ())),
                routes=tuple(base.Route(r["destination"], r["nexthop"]) for r in row.routes),
            )
            for row in rows
        }

    def _forwardings(self, router_ids: list[str]) -> dict[str, list[base.PortForwarding]]:
        """Port forwardings by router."""
        w, f = tables.port_forwardings.c, tables.floatingips.c
        query = (
            sa.select(f.router_id, f.floating_ip_address, tables.port_forwardings)
            .join(tables.floatingips, f.id == w.floatingip_id)
            .where(f.router_id.in_(router_ids))
        )
        found: dict[str, list[base.PortForwarding]] = {}
        for row in self._conn.execute(query.order_by(w.id)):
            found.setdefault(row.router_id, []).append(
                base.PortForwarding(
                    row.id,
                    row.floating_ip_address,
                    row.protocol,
                    row.external_port,
                    row.internal_ip_address,
                    row.internal_port,
                )
            )
        return found

    # -- security groups

    def _security(self, conn: sa.Connection) -> dict[str, dict[str, Any]]:
        """Groups that ports here have, and the address sets that their rules name."""
        groups, sets = self._asked("security_groups"), self._asked("address_sets")
        if groups == [] and sets == []:
            return {"security_groups": {}, "address_sets": {}}
        here = sa.select(_B.security_group_id).where(_B.host == self._host).distinct()
        used = set(conn.execute(here).scalars())
        if not used:
            return {"security_groups": {}, "address_sets": {}}
        r = tables.security_group_rules.c
        shown = used if groups is None else used & set(groups)
        by_group: dict[str, list[base.SecurityRule]] = {}
        if shown:
            query = sa.select(tables.security_group_rules).where(r.security_group_id.in_(sorted(shown)))
            for row in conn.execute(query.order_by(r.id)):
                by_group.setdefault(row.security_group_id, []).append(_rule(row))
        g = tables.security_groups.c
        stateful = dict(conn.execute(sa.select(g.id, g.stateful).where(g.id.in_(sorted(shown)))).tuples().all())
        found = {
            group_id: base.SecurityGroup(group_id, tuple(by_group.get(group_id, ())), flag)
            for group_id, flag in stateful.items()
        }
        named = sa.select(r.remote_group_id, r.remote_address_group_id).where(r.security_group_id.in_(sorted(used)))
        pairs = conn.execute(named.distinct()).all()
        members = {m for m, _ in pairs if m and (sets is None or m in sets)}
        lists = {m for _, m in pairs if m and (sets is None or m in sets)}
        return {"security_groups": found, "address_sets": _address_sets(conn, members, lists)}


def _address_sets(conn: sa.Connection, groups: set[str], lists: set[str]) -> dict[str, base.AddressSet]:
    """Addresses of the members of security groups, and of address groups."""
    addresses: dict[str, set[str]] = {group_id: set() for group_id in groups}
    if groups:
        ids = sorted(groups)
        query = (
            sa.select(_B.security_group_id, _A.ip_address)
            .join(tables.ip_allocations, _A.port_id == _B.port_id)
            .where(_B.security_group_id.in_(ids))
        )
        for group_id, address in conn.execute(query):
            addresses[group_id].add(address)
        pairs = (
            sa.select(_B.security_group_id, _P.allowed_address_pairs)
            .join(tables.ports, _P.id == _B.port_id)
            .where(_B.security_group_id.in_(ids), sa.type_coerce(_P.allowed_address_pairs, sa.Text) != "[]")
        )
        for group_id, found in conn.execute(pairs):
            addresses[group_id].update(pair["ip_address"] for pair in found)
    if lists:
        g = tables.address_groups.c
        for group_id, found in conn.execute(sa.select(g.id, g.addresses).where(g.id.in_(sorted(lists)))):
            addresses[group_id] = set(found)
    return {set_id: base.AddressSet(set_id, tuple(sorted(found))) for set_id, found in addresses.items()}


def _subnet(row: SubnetRow) -> base.Subnet:
    return base.Subnet(
        id=row.id,
        cidr=row.cidr,
        gateway_ip=row.gateway_ip,
        enable_dhcp=row.enable_dhcp,
        dns_nameservers=tuple(row.dns_nameservers),
        host_routes=tuple(base.Route(r["destination"], r["nexthop"]) for r in row.host_routes),
        ipv6_ra_mode=row.ipv6_ra_mode,
        ipv6_address_mode=row.ipv6_address_mode,
        pools=tuple((p["start"], p["end"]) for p in row.allocation_pools),
    )


def _rule(row: Any) -> base.SecurityRule:
    number = protocol_number(row.protocol)
    if number == 1 and row.ethertype == "IPv6":
        number = 58  # "icmp" in a rule for IPv6 means ICMPv6
    return base.SecurityRule(
        id=row.id,
        direction=row.direction,
        ethertype=row.ethertype,
        protocol=None if number is None else _NAMES.get(number, str(number)),
        port_min=row.port_range_min,
        port_max=row.port_range_max,
        remote_cidr=row.normalized_cidr,
        remote_set=row.remote_group_id or row.remote_address_group_id,
    )
