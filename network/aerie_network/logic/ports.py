# SPDX-License-Identifier: Apache-2.0
"""Ports: addresses, security groups, binding to a host, and the way to ACTIVE.

Invariant: a port bound to a host is ACTIVE only when every party named in its provisioning rows has reported on this
binding; whatever changes the binding writes those rows anew.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from oslo_db import exception as db_exc

from aerie_common.context import Context
from aerie_common.db import new_id, retried, utcnow
from aerie_common.errors import PolicyNotAuthorized
from aerie_common.listing import Listing
from aerie_network import states
from aerie_network.container import NetworkService
from aerie_network.db import agents as agents_db
from aerie_network.db import networks as networks_db
from aerie_network.db import ports as db
from aerie_network.db import routers as routers_db
from aerie_network.db import security_groups as groups_db
from aerie_network.db import subnets as subnets_db
from aerie_network.db import tables
from aerie_network.db.networks import Network
from aerie_network.db.ports import FixedIp, Port
from aerie_network.db.query import Page
from aerie_network.db.subnets import Subnet
from aerie_network.errors import (
    AddressPairAndPortSecurityRequired,
    MacAddressInUse,
    PortBound,
    PortNotFound,
    PortSecurityAndIPRequiredForSecurityGroups,
    PortSecurityPortHasSecurityGroup,
    SecurityGroupConflict,
    SecurityGroupNotFound,
    ServicePortInUse,
)
from aerie_network.logic import guard, ipam, port_values, security_groups
from aerie_network.logic.port_values import Choice
from aerie_network.logic.work import Work, change, privileged, scope
from aerie_network.schemas import ports as schema

MAC_TRIES = 5
UNBOUND, FAILED, BRIDGE = "unbound", "binding_failed", "bridge"


def _scope(ctx: Context) -> tuple[Any, ...]:
    return scope(ctx, db.visible(ctx.project_id))


def page(svc: NetworkService, ctx: Context, listing: Listing) -> Page[Port]:
    """The ports the caller may see."""
    with svc.db.read() as conn:
        return db.STORE.page(conn, listing, *_scope(ctx), cache=svc.port_cache)


def show(svc: NetworkService, ctx: Context, port_id: str) -> Port:
    """One port. Raises PortNotFound."""
    with svc.db.read() as conn:
        return db.STORE.see(conn, port_id, ctx.project_id, *scope(ctx, db.VISIBLE))


def payload(svc: NetworkService, port: Port) -> dict[str, Any]:
    """A port as notifications carry it."""
    return schema.show(port, guard.EVERYTHING, svc.conf.dns_domain)


# ------------------------------------------------------------------------------------------- what is asked for


def _check_device_owner(ctx: Context, values: Mapping[str, Any], network: Network) -> None:
    """Nobody but the service itself and its peers acts as part of the network."""
    owner = values.get("device_owner") or ""
    if owner.startswith(states.OWNER_PREFIX) and not privileged(ctx):
        raise PolicyNotAuthorized(action="rule:create_port:device_owner")


def _check_field_rights(
    svc: NetworkService, ctx: Context, sent: Mapping[str, Any], network: Network, *, new: bool = False
) -> None:
    """Attributes that only some may send, on create, update and in bulk alike."""
    target = {
        "project_id": ctx.project_id,
        "tenant_id": ctx.project_id,
        "network:project_id": network.project_id,
        "network:tenant_id": network.project_id,
    }
    guard.check_fields(svc, ctx, schema.PORT, sent, target, new=new)
    for item in sent.get("fixed_ips") or ():
        rule = "create_port:fixed_ips:ip_address" if "ip_address" in item else "create_port:fixed_ips:subnet_id"
        if rule.endswith("subnet_id") and (network.shared or ctx.project_id in network.shared_with):
            continue
        svc.policy.check(ctx, rule, target)


def _usable_groups(work: Work, ctx: Context, project_id: str, wanted: Collection[str]) -> tuple[str, ...]:
    ids = tuple(dict.fromkeys(wanted))
    if not ids:
        return ()
    usable = groups_db.usable(work.conn, ids, *scope(ctx, groups_db.visible(project_id)))
    for group_id in ids:
        if group_id not in usable:
            raise SecurityGroupNotFound(id=group_id)
    if len(groups_db.stateful(work.conn, ids)) > 1:
        raise SecurityGroupConflict(reason="cannot apply both stateful and stateless security groups on the same port")
    return ids


# ----------------------------------------------------------------------------------------------------- binding


def _vif_type(conn: sa.Connection, host: str, owner: str, vnic_type: str) -> str:
    """How a port is plugged on a host."""
    if not host:
        return UNBOUND
    if vnic_type != "normal":
        return FAILED
    if owner.startswith(states.OWNER_PREFIX):
        return BRIDGE
    return BRIDGE if agents_db.find(conn, host, "l2") else FAILED


def _parties(subnets: Iterable[Subnet], port: Port, dhcp_served: bool) -> list[str]:
    """Who has to report before the port is ACTIVE."""
    if not port.bound:
        return []
    parties = [states.L2]
    if port.device_owner.startswith(states.OWNER_PREFIX) or not dhcp_served:
        return parties
    by_id = {s.id: s for s in subnets}
    for subnet_id, _ in port.fixed_ips:
        subnet = by_id.get(subnet_id)
        if subnet is not None and subnet.enable_dhcp and not subnet.auto_address:
            return [*parties, states.DHCP_PARTY]
    return parties


def _has_dhcp(conn: sa.Connection, network_id: str) -> bool:
    p = tables.ports.c
    query = sa.select(p.id).where(p.network_id == network_id, p.device_owner == states.DHCP, p.host != "")
    return conn.execute(query.limit(1)).first() is not None


# ------------------------------------------------------------------------------------------------------ create


def create(svc: NetworkService, ctx: Context, requests: list[dict[str, Any]]) -> list[Port]:
    """Make ports, all or none.

    IpAddressAlreadyAllocated, IpAddressGenerationFailure, MacAddressInUse, OverQuota, SecurityGroupNotFound ...
    """
    for _ in range(MAC_TRIES):
        try:
            return _create_all(svc, ctx, requests)
        except db_exc.DBDuplicateEntry as e:
            if "mac" not in str(e).lower():
                raise
            _refuse_used_macs(svc, requests)
    raise MacAddressInUse(network=requests[0]["network_id"], mac="(generated)")


def _refuse_used_macs(svc: NetworkService, requests: Iterable[Mapping[str, Any]]) -> None:
    """After a collision: a MAC that was asked for is refused, a generated one is drawn again."""
    seen = set()
    with svc.db.read() as conn:
        for values in requests:
            mac = values.get("mac_address")
            if mac and ((values["network_id"], mac) in seen or db.mac_in_use(conn, values["network_id"], mac)):
                raise MacAddressInUse(network=values["network_id"], mac=mac)
            seen.add((values["network_id"], mac))


@retried
def _create_all(svc: NetworkService, ctx: Context, requests: list[dict[str, Any]]) -> list[Port]:
    with change(svc, ctx) as work:
        maker = _Maker(work, ctx)
        for values in requests:
            maker.add(dict(values))
        return maker.make()


class _Maker:
    """Ports being made in one transaction: what they share is read once, their rows are written together."""

    def __init__(self, work: Work, ctx: Context) -> None:
        self._work, self._ctx = work, ctx
        self._networks: dict[str, tuple[Network, list[Subnet]]] = {}
        self._defaults: dict[str, str | None] = {}
        self._rows: list[dict[str, Any]] = []
        self._groups: list[tuple[str, ...]] = []
        self._wants: list[ipam.Want] = []

    def network(self, network_id: str) -> tuple[Network, list[Subnet]]:
        """The network and its subnets."""
        found = self._networks.get(network_id)
        if found is None:
            conn = self._work.conn
            visible = scope(self._ctx, networks_db.visible(self._ctx.project_id))
            row = conn.execute(sa.select(tables.networks).where(tables.networks.c.id == network_id, *visible)).first()
            if row is None:
                raise networks_db.STORE.missing(id=network_id)
            found = (Network(**row._mapping), subnets_db.of_network(conn, network_id))
            self._networks[network_id] = found
        return found

    def add(self, values: dict[str, Any]) -> None:
        """Check one request and note its rows."""
        work, ctx, svc = self._work, self._ctx, self._work.svc
        network, subnets = self.network(values["network_id"])
        sent = values.pop("sent")
        _check_field_rights(svc, ctx, sent, network, new=True)
        _check_device_owner(ctx, values, network)
        secured = values.pop("port_security_enabled")
        if secured is None:
            secured = network.port_security_enabled
        owner, host = values["device_owner"], values.pop("binding:host_id", None) or ""
        mac = values.get("mac_address") or db.new_mac(svc.conf.base_mac)
        pairs = port_values.check_pairs(svc, values["allowed_address_pairs"], mac)
        if pairs and not secured:
            raise AddressPairAndPortSecurityRequired()
        wanted = values.pop("fixed_ips", None)
        choices = port_values.choose_addresses(svc, network, subnets, wanted, owner, mac)
        groups = self._groups_of(values["project_id"], sent, secured, bool(choices), owner)
        values.pop("security_groups", None)
        vnic_type = values.pop("binding:vnic_type", None) or "normal"
        profile = values.pop("binding:profile", None) or {}
        now, port_id = utcnow(), new_id()
        self._rows.append({
            **values,
            "id": port_id,
            "mac_address": mac,
            "status": states.DOWN,
            "host": host,
            "vnic_type": vnic_type,
            "vif_type": _vif_type(work.conn, host, owner, vnic_type),
            "profile": profile,
            "port_security_enabled": secured,
            "allowed_address_pairs": pairs,
            "extra_dhcp_opts": port_values.dhcp_options(values["extra_dhcp_opts"]),
            "ip_allocation": "none" if wanted == [] else "immediate",
            "revision_number": 1,
            "created_at": now,
            "updated_at": now,
        })  # fmt: skip
        self._groups.append(groups)
        self._wants += [
            ipam.Want(port_id, network.id, candidates, address, position)
            for position, (candidates, address) in enumerate(choices)
        ]

    def _groups_of(
        self, project_id: str, sent: Mapping[str, Any], secured: bool, has_ip: bool, owner: str
    ) -> tuple[str, ...]:
        """The security groups of a new port: those asked for, else its project's default one."""
        wanted = sent.get("security_groups")
        if wanted is not None:
            if wanted and not (secured and (has_ip or "fixed_ips" not in sent)):
                raise PortSecurityAndIPRequiredForSecurityGroups()
            return _usable_groups(self._work, self._ctx, project_id, wanted)
        if not secured or not has_ip or owner.startswith(states.OWNER_PREFIX):
            return ()
        if project_id not in self._defaults:
            self._defaults[project_id] = security_groups.ensure_default(self._work, project_id)
        default = self._defaults[project_id]
        return (default,) if default else ()

    def make(self) -> list[Port]:
        """Write everything."""
        work, conn = self._work, self._work.conn
        db.STORE.insert(conn, *self._rows)
        addresses = ipam.Allocator(conn).give(self._wants)
        db.add_groups(
            conn,
            [
                (row["id"], group_id, row["host"])
                for row, groups in zip(self._rows, self._groups, strict=True)
                for group_id in groups
            ],
        )
        made = []
        dhcp: dict[str, bool] = {}
        for row, groups in zip(self._rows, self._groups, strict=True):
            port = Port(**row, fixed_ips=addresses.get(row["id"], ()), security_groups=groups)
            network, subnets = self.network(port.network_id)
            if port.bound:
                if port.network_id not in dhcp:
                    dhcp[port.network_id] = _has_dhcp(conn, port.network_id)
                db.expect(conn, port.id, _parties(subnets, port, dhcp[port.network_id]), port.revision_number)
            work.port(port, network)
            work.charge(port.project_id, "port", force=port.device_owner.startswith(states.OWNER_PREFIX))
            work.notify("port.create.end", {"port": payload(work.svc, port)})
            made.append(port)
        return made


def make_own(
    work: Work,
    network: Network,
    *,
    device_owner: str,
    device_id: str,
    project_id: str,
    host: str = "",
    choices: Sequence[Choice] = (),
    mac: str | None = None,
) -> Port:
    """Make a port of the service's own (DHCP, router, floating IP). The address "auto" is made from the MAC, "lowest"
    is the first free one."""
    conn, now = work.conn, utcnow()
    mac = mac or db.new_mac(work.svc.conf.base_mac)
    row: dict[str, Any] = {
        "id": new_id(), "project_id": project_id, "network_id": network.id, "name": "", "mac_address": mac,
        "admin_state_up": True, "status": states.DOWN, "device_id": device_id, "device_owner": device_owner,
        "host": host, "vnic_type": "normal", "vif_type": _vif_type(conn, host, device_owner, "normal"), "profile": {},
        "port_security_enabled": False, "allowed_address_pairs": [], "extra_dhcp_opts": [], "dns_name": "",
        "dns_domain": "", "ip_allocation": "immediate", "description": "", "revision_number": 1, "created_at": now,
        "updated_at": now,
    }  # fmt: skip
    db.STORE.insert(conn, row)
    wants = [
        ipam.Want(
            str(row["id"]),
            network.id,
            candidates,
            ipam.eui64(candidates[0].cidr, mac) if address == "auto" else None if address == "lowest" else address,
            position,
            lowest=address == "lowest",
        )
        for position, (candidates, address) in enumerate(choices)
    ]
    addresses = ipam.Allocator(conn).give(wants)
    port = Port(**row, fixed_ips=addresses.get(str(row["id"]), ()))
    if port.bound:
        db.expect(conn, port.id, [states.L2], port.revision_number)
    work.port(port, network)
    work.charge(project_id, "port", force=True)
    work.notify("port.create.end", {"port": payload(work.svc, port)})
    return port


def move(work: Work, port: Port, network: Network, host: str, values: Mapping[str, Any] | None = None) -> None:
    """Bind a port of the service's own to another host."""
    work.port(port, network)
    vif_type = _vif_type(work.conn, host, port.device_owner, port.vnic_type)
    status = states.DOWN if host else port.status
    db.STORE.update(work.conn, port.id, {**(values or {}), "host": host, "vif_type": vif_type, "status": status})
    after = db.STORE.get(work.conn, port.id)
    db.move_groups(work.conn, port.id, host)
    db.expect(work.conn, port.id, [states.L2] if after.bound else [], after.revision_number)
    work.port(after, network)


# ------------------------------------------------------------------------------------------------------ update


@retried
def update(svc: NetworkService, ctx: Context, port_id: str, values: dict[str, Any], revision: int | None) -> Port:
    """Change a port: its addresses, groups, binding, options. Binding it anew makes it wait for reports again."""
    values = dict(values)  # the function may run again with what it was given
    sent = values.pop("sent")
    with change(svc, ctx) as work:
        conn = work.conn
        before = db.STORE.get(conn, port_id, *_scope(ctx), lock=True)
        guard.check_owner(svc, ctx, "update_port", before)
        guard.check_revision(before, revision)
        network = networks_db.STORE.get(conn, before.network_id)
        _check_field_rights(svc, ctx, sent, network)
        if values.get("device_owner", before.device_owner) != before.device_owner:
            _check_device_owner(ctx, values, network)
        row = _updated_row(work, before, values)
        secured = row.get("port_security_enabled", before.port_security_enabled)
        addresses_changed = False
        subnets: list[Subnet] | None = None
        if values.get("fixed_ips") is not None or "fixed_ips" in values:
            subnets = subnets_db.of_network(conn, before.network_id)
            addresses_changed = _change_addresses(work, before, network, subnets, values["fixed_ips"] or [], row)
        _change_groups(work, ctx, before, values, secured)
        if row or addresses_changed or "security_groups" in values:
            try:
                db.STORE.update(conn, port_id, row)
            except db_exc.DBDuplicateEntry:
                raise MacAddressInUse(network=before.network_id, mac=row.get("mac_address")) from None
        after = db.STORE.get(conn, port_id)
        if "host" in row or "vif_type" in row:
            db.move_groups(conn, port_id, after.host)
            subnets = subnets or subnets_db.of_network(conn, before.network_id)
            db.expect(conn, port_id, _parties(subnets, after, _has_dhcp(conn, after.network_id)), after.revision_number)
        if after != before:
            work.port(before, network)
            work.port(after, network)
            if addresses_changed:
                work.tell_compute("network-changed", after)
        work.notify("port.update.end", {"port": payload(svc, after)})
    return after


def _updated_row(work: Work, before: Port, values: Mapping[str, Any]) -> dict[str, Any]:
    """Columns that change."""
    row: dict[str, Any] = {}
    for name in ("name", "description", "admin_state_up", "device_id", "device_owner", "dns_name", "dns_domain"):
        if name in values and values[name] != getattr(before, name):
            row[name] = values[name]
    if "binding:host_id" in values and (values["binding:host_id"] or "") != before.host:
        row["host"] = values["binding:host_id"] or ""
    if values.get("binding:vnic_type") not in (None, before.vnic_type):
        row["vnic_type"] = values["binding:vnic_type"]
    if "binding:profile" in values:
        row["profile"] = values["binding:profile"] or {}
    if "host" in row or "vnic_type" in row or before.vif_type == FAILED:
        vif_type = _vif_type(
            work.conn,
            row.get("host", before.host),
            row.get("device_owner", before.device_owner),
            row.get("vnic_type", before.vnic_type),
        )
        if "host" in row or vif_type != before.vif_type:
            row["vif_type"], row["status"] = vif_type, states.DOWN
    mac = values.get("mac_address")
    if mac and mac != before.mac_address:
        if before.bound:
            raise PortBound(id=before.id, vif_type=before.vif_type, old=before.mac_address, new=mac)
        row["mac_address"] = mac
    if values.get("port_security_enabled") is not None:
        if values["port_security_enabled"] != before.port_security_enabled:
            row["port_security_enabled"] = values["port_security_enabled"]
    if "allowed_address_pairs" in values:
        row["allowed_address_pairs"] = port_values.check_pairs(
            work.svc, values["allowed_address_pairs"], row.get("mac_address", before.mac_address)
        )
    pairs = row.get("allowed_address_pairs", before.allowed_address_pairs)
    if pairs and not row.get("port_security_enabled", before.port_security_enabled):
        raise AddressPairAndPortSecurityRequired()
    if values.get("extra_dhcp_opts") is not None:
        row["extra_dhcp_opts"] = port_values.dhcp_options(values["extra_dhcp_opts"], before.extra_dhcp_opts)
    return row


def _change_addresses(
    work: Work,
    before: Port,
    network: Network,
    subnets: Sequence[Subnet],
    wanted: list[dict[str, str]],
    row: dict[str, Any],
) -> bool:
    """Give and take addresses; those that stay are not touched."""
    owner = row.get("device_owner", before.device_owner)
    choices = port_values.choose_addresses(
        work.svc, network, subnets, wanted, owner, row.get("mac_address", before.mac_address)
    )
    left = list(before.fixed_ips)
    order: list[FixedIp | Choice] = []
    for candidates, address in choices:
        ids = {s.id for s in candidates}
        kept = next((pair for pair in left if pair[0] in ids and address in (None, pair[1])), None)
        if kept is not None:
            left.remove(kept)
            order.append(kept)
        else:
            order.append((candidates, address))
    wants = [
        ipam.Want(before.id, network.id, item[0], item[1], position)
        for position, item in enumerate(order)
        if not isinstance(item[0], str)
    ]
    if not wants and not left:
        return False
    db.remove_addresses(work.conn, before.id, left)
    given = iter(ipam.Allocator(work.conn, before.fixed_ips).give(wants).get(before.id, ()))
    final = [(item[0], str(item[1])) if isinstance(item[0], str) else next(given) for item in order]
    db.renumber(work.conn, before.id, final)
    row["ip_allocation"] = "immediate" if final else "none"
    if left:
        _release_floating_ips(work, [before.id], {address for _, address in left})
    return True


def _change_groups(work: Work, ctx: Context, before: Port, values: Mapping[str, Any], secured: bool) -> None:
    if "security_groups" not in values:
        if not secured and before.security_groups:
            raise PortSecurityPortHasSecurityGroup()
        return
    wanted = values["security_groups"] or []
    if wanted and not secured:
        raise PortSecurityAndIPRequiredForSecurityGroups()
    groups = _usable_groups(work, ctx, before.project_id, wanted)
    if set(groups) != set(before.security_groups):
        db.set_groups(work.conn, before.id, groups, before.host)


# ------------------------------------------------------------------------------------------------------ delete


@retried
def delete(svc: NetworkService, ctx: Context, port_id: str) -> None:
    """Delete a port; floating IPs that led to it lead nowhere. ServicePortInUse for those of routers."""
    with change(svc, ctx) as work:
        port = db.STORE.get(work.conn, port_id, *_scope(ctx), lock=True)
        network = networks_db.STORE.get(work.conn, port.network_id)
        # Who owns the network may clear it of what others have plugged in.
        guard.check_owner(svc, ctx, "delete_port", network if network.project_id == ctx.project_id else port)
        _refuse_service_port(work.conn, port)
        remove(work, [port], network)
        if port.bound and "service" not in ctx.roles:  # compute's own deletes are no news to it
            work.tell_compute("network-vif-deleted", port)


def _refuse_service_port(conn: sa.Connection, port: Port) -> None:
    t = tables
    if port.device_owner == states.FLOATING:
        query: sa.Select[Any] = sa.select(t.floatingips.c.id).where(t.floatingips.c.floating_port_id == port.id)
    elif port.device_owner in states.ROUTER_PORTS:
        query = sa.select(t.routers.c.id).where(t.routers.c.id == port.device_id)
    else:
        return
    if conn.execute(query).first() is not None:
        raise ServicePortInUse(id=port.id, reason=f"has device owner {port.device_owner}")


def remove(work: Work, ports: Sequence[Port], network: Network) -> None:
    """Delete ports of one network with all that hangs on them."""
    if not ports:
        return
    ids = [port.id for port in ports]
    _release_floating_ips(work, ids)
    for port in ports:
        work.port(port, network)
    if db.delete(work.conn, ids) != len(ids):
        raise PortNotFound(id=ids[0])
    for port in ports:
        work.charge(port.project_id, "port", -1)
        work.notify("port.delete.end", {"port_id": port.id, "port": payload(work.svc, port)})


def _release_floating_ips(work: Work, port_ids: Collection[str], addresses: Collection[str] | None = None) -> None:
    """Floating IPs to these ports (to these of their addresses) lead nowhere from now on."""
    from aerie_network.logic import floatingips, port_forwardings

    port_forwardings.port_changed(work, port_ids, addresses)
    for floating in routers_db.floating_of_port(work.conn, port_ids):
        if addresses is None or floating.fixed_ip_address in addresses:
            floatingips.disassociate(work, floating)


def remove_addresses_of(work: Work, network: Network, subnet: Subnet) -> None:
    """Take every address of a subnet that is about to go from its ports."""
    a = tables.ip_allocations.c
    ids = [port_id for (port_id,) in work.conn.execute(sa.select(a.port_id).where(a.subnet_id == subnet.id))]
    if not ids:
        return
    holders = db.STORE.all(work.conn, tables.ports.c.id.in_(ids))
    work.conn.execute(sa.delete(tables.ip_allocations).where(a.subnet_id == subnet.id))
    for port in holders:
        db.STORE.update(work.conn, port.id)
        work.port(port, network)
        work.tell_compute("network-changed", port)


# ----------------------------------------------------------------------------------------------------- reports


def provisioned(work: Work, port_ids: Collection[str]) -> list[Port]:
    """Every party has reported on these ports: they are ACTIVE, and compute hears of those that were not."""
    moved = db.set_status(work.conn, port_ids, "provisioned") if port_ids else []
    if not moved:
        return []
    ports = db.STORE.all(work.conn, tables.ports.c.id.in_(moved))
    for port in ports:
        work.notify("port.update.end", {"port": payload(work.svc, port)})
        work.tell_compute("network-vif-plugged", port)
    return ports


@retried
def rebind_failed(svc: NetworkService, ctx: Context, host: str) -> int:
    """A host has got an agent: bind the ports that could not be bound there."""
    p = tables.ports.c
    with change(svc, ctx) as work:
        waiting = db.STORE.all(work.conn, p.host == host, p.vif_type == FAILED, p.vnic_type == "normal")
        for port in waiting:
            network = networks_db.STORE.get(work.conn, port.network_id)
            db.STORE.update(work.conn, port.id, {"vif_type": BRIDGE})
            after = db.STORE.get(work.conn, port.id)
            subnets = subnets_db.of_network(work.conn, port.network_id)
            parties = _parties(subnets, after, _has_dhcp(work.conn, port.network_id))
            db.expect(work.conn, port.id, parties, after.revision_number)
            work.port(after, network)
    return len(waiting)
