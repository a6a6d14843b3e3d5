# SPDX-License-Identifier: Apache-2.0
"""Networks: creation with a segment, sharing, deletion with what belongs to them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from aerie_common.context import Context
from aerie_common.db import new_id, retried, utcnow
from aerie_common.listing import Listing
from aerie_network import states
from aerie_network.container import NetworkService
from aerie_network.db import networks as db
from aerie_network.db import ports as ports_db
from aerie_network.db import subnets as subnets_db
from aerie_network.db import tables
from aerie_network.db.networks import Network
from aerie_network.db.query import Page
from aerie_network.errors import (
    ExternalNetworkInUse,
    InvalidInput,
    InvalidSharedSetting,
    NetworkInUse,
    NetworkMTUSubnetConflict,
    NoNetworkAvailable,
    SegmentInUse,
)
from aerie_network.logic import grants, guard, security_groups
from aerie_network.logic.work import Work, change, changed, scope
from aerie_network.schemas import networks as schema

VXLAN_OVERHEAD = 50
MIN_MTU = {4: 68, 6: 1280}
# Ports of the service's own which go with their network.
AUTO_DELETED = (states.DHCP,)
_GRANTS = {"shared": grants.SHARED, "external": grants.EXTERNAL}


def _scope(ctx: Context) -> tuple[Any, ...]:
    return scope(ctx, db.visible(ctx.project_id))


def page(svc: NetworkService, ctx: Context, listing: Listing) -> Page[Network]:
    """The networks the caller may see."""
    if not listing.filters and listing.limit is None and listing.marker is None:
        with svc.db.read() as conn:
            return db.STORE.everything(conn, listing, ctx.project_id, *scope(ctx, db.VISIBLE))
    filters = dict(listing.filters)
    values = filters.pop("shared", None)
    where = (db.shared(ctx.project_id, values),) if values else ()
    with svc.db.read() as conn:
        return db.STORE.page(conn, replace(listing, filters=filters), *_scope(ctx), *where)


def show(svc: NetworkService, ctx: Context, network_id: str) -> Network:
    """One network. Raises NetworkNotFound."""
    with svc.db.read() as conn:
        return db.STORE.see(conn, network_id, ctx.project_id, *scope(ctx, db.VISIBLE))


def largest_mtu(svc: NetworkService, network_type: str) -> int:
    """The largest frame payload that a network of this type carries."""
    return int(svc.conf.global_physnet_mtu) - (VXLAN_OVERHEAD if network_type == "vxlan" else 0)


def _named_segment(work: Work, network_id: str, values: dict[str, Any]) -> dict[str, Any]:
    """Take the segment an administrator asks for."""
    kind = values["network_type"]
    physical, number = values.get("physical_network"), values.get("segmentation_id")
    ml2 = work.svc.conf.ml2
    if kind in ("flat", "vlan") and not physical:
        raise InvalidInput(error_message=f"physical_network required for {kind} provider network")
    if kind in ("vxlan", "local") and physical:
        raise InvalidInput(error_message=f"physical_network must not be given for {kind} networks")
    if kind in ("flat", "local") and number is not None:
        raise InvalidInput(error_message=f"segmentation_id must not be given for {kind} networks")
    if kind == "flat" and "*" not in ml2.flat_networks and physical not in ml2.flat_networks:
        raise InvalidInput(error_message=f"physical_network '{physical}' unknown for flat provider network")
    if kind == "vlan" and number is not None and not 1 <= number <= 4094:
        raise InvalidInput(error_message="segmentation_id out of range (1 through 4094)")
    if kind == "local":
        return {"network_type": kind}
    if kind == "flat":
        number = 0
    if number is None:
        spans = (
            work.svc.vni_ranges
            if kind == "vxlan"
            else [(first, last) for name, first, last in work.svc.vlan_ranges if name == physical]
        )
        for first, last in spans:
            number = db.claim_any_segment(work.conn, kind, physical, first, last, network_id)
            if number is not None:
                break
        else:
            raise NoNetworkAvailable()
    elif not db.claim_segment(work.conn, kind, physical, number, network_id):
        names = {"flat": "FlatNetworkInUse", "vlan": "VlanIdInUse", "vxlan": "TunnelIdInUse"}
        raise SegmentInUse(segment=f"{kind} {physical or number}", kind=names[kind])
    return {
        "network_type": kind,
        "physical_network": physical,
        "segmentation_id": number if kind != "flat" else None,
    }


def _any_segment(work: Work, network_id: str) -> dict[str, Any]:
    """Take a segment of the first type that has one left for users' networks."""
    for kind in work.svc.conf.ml2.tenant_network_types:
        if kind == "local":
            return {"network_type": "local"}
        spans: Sequence[tuple[str | None, int, int]] = (
            [(None, *span) for span in work.svc.vni_ranges] if kind == "vxlan" else work.svc.vlan_ranges
        )
        for physical, first, last in spans:
            number = db.claim_any_segment(work.conn, kind, physical, first, last, network_id)
            if number is not None:
                return {"network_type": kind, "physical_network": physical, "segmentation_id": number}
    raise NoNetworkAvailable()


@retried
def create(svc: NetworkService, ctx: Context, requests: list[dict[str, Any]]) -> list[Network]:
    """Make networks, all or none, each with a segment of its own. OverQuota, SegmentInUse, NoNetworkAvailable."""
    made = []
    with change(svc, ctx) as work:
        for values in requests:
            made.append(make(work, dict(values)))
    return made


def make(work: Work, values: dict[str, Any]) -> Network:
    """One network, within a transaction."""
    network_id, now = new_id(), utcnow()
    provider = {
        name: values.pop(f"provider:{name}", None) for name in ("network_type", "physical_network", "segmentation_id")
    }
    if provider["network_type"] is None and (provider["physical_network"] or provider["segmentation_id"] is not None):
        raise InvalidInput(error_message="network_type required")
    segment = _named_segment(work, network_id, provider) if provider["network_type"] else _any_segment(work, network_id)
    largest = largest_mtu(work.svc, segment["network_type"])
    mtu = values.pop("mtu", None) or largest
    _check_mtu(mtu, largest)
    row = {
        "id": network_id,
        "status": states.ACTIVE,
        "physical_network": None,
        "segmentation_id": None,
        "revision_number": 1,
        "created_at": now,
        "updated_at": now,
        "mtu": mtu,
        **segment,
        **values,
    }
    row["external"] = row.pop("router:external")
    if row["is_default"]:
        _only_default(work, network_id)
    db.STORE.insert(work.conn, row)
    security_groups.ensure_default(work, row["project_id"])
    work.charge(row["project_id"], "network")
    for flag, action in _GRANTS.items():
        if row[flag]:
            grants.to_everybody(work, row["project_id"], "network", network_id, action)
    network = Network(**row)
    work.notify("network.create.end", {"network": schema.show(network, guard.EVERYTHING)})
    return network


def _check_mtu(mtu: int, largest: int) -> None:
    if mtu > largest:
        raise InvalidInput(error_message=f"MTU {mtu} is not possible: it must be at most {largest}")


def check_mtu_of_subnets(network_id: str, mtu: int, versions: Iterable[int]) -> None:
    """Frames of the network carry the smallest packets that IP promises. NetworkMTUSubnetConflict."""
    for version in sorted(set(versions)):
        if mtu < MIN_MTU[version]:
            raise NetworkMTUSubnetConflict(mtu=mtu, network=network_id, version=version, needed=MIN_MTU[version])


def _only_default(work: Work, network_id: str) -> None:
    """At most one external network is the default one."""
    t = tables.networks.c
    other = sa.select(t.id).where(t.is_default.is_(sa.true()), t.id != network_id).with_for_update()
    found = work.conn.execute(other).first()
    if found is not None:
        raise InvalidInput(error_message=f"A default external network already exists: {found[0]}")


@retried
def update(svc: NetworkService, ctx: Context, network_id: str, values: dict[str, Any], revision: int | None) -> Network:
    """Change a network. InvalidSharedSetting, ExternalNetworkInUse, RevisionNumberConstraintFailed."""
    values = dict(values)  # the function may run again with what it was given
    with change(svc, ctx) as work:
        conn = work.conn
        before = db.STORE.get(conn, network_id, *_scope(ctx), lock=True)
        guard.check_owner(svc, ctx, "update_network", before)
        guard.check_revision(before, revision)
        if "router:external" in values:
            values["external"] = values.pop("router:external")
        new = changed(before, values)
        if new.get("shared") is False and db.foreign_users(conn, network_id, before.project_id):
            raise InvalidSharedSetting(id=network_id)
        if new.get("external") is False and db.gateways_in_use(conn, network_id):
            raise ExternalNetworkInUse(id=network_id)
        if new.get("is_default"):
            _only_default(work, network_id)
        if "mtu" in new:
            _check_mtu(new["mtu"], largest_mtu(svc, before.network_type))
            versions = [subnet.ip_version for subnet in subnets_db.of_network(conn, network_id)]
            check_mtu_of_subnets(network_id, new["mtu"], versions)
        if new:
            db.STORE.update(conn, network_id, new)
            _grant(work, before, new)
            if new.keys() & {"mtu", "admin_state_up", "dns_domain"}:
                work.topology(network_id)
        network = db.STORE.get(conn, network_id)
        work.notify("network.update.end", {"network": schema.show(network, guard.EVERYTHING)})
    return network


def _grant(work: Work, network: Network, new: dict[str, Any]) -> None:
    """A flag that changes makes a grant to everybody, or ends one; not external: it ends all of them."""
    for flag, action in _GRANTS.items():
        if new.get(flag):
            grants.to_everybody(work, network.project_id, "network", network.id, action)
        elif flag in new:
            grants.forget(work, network.id, action, grants.EVERYBODY if flag == "shared" else None)


@retried
def delete(svc: NetworkService, ctx: Context, network_id: str) -> None:
    """Delete a network with its subnets, DHCP ports and unused floating IPs. NetworkInUse while others are on it."""
    from aerie_network.logic import floatingips
    from aerie_network.logic import ports as ports_logic

    with change(svc, ctx) as work:
        conn = work.conn
        network = db.STORE.get(conn, network_id, *_scope(ctx), lock=True)
        guard.check_owner(svc, ctx, "delete_network", network)
        floatingips.give_back_unused(work, network)
        users = db.ports_in_use(conn, network_id, AUTO_DELETED)
        if users:
            raise NetworkInUse(id=network_id, ports=", ".join(users))
        if db.gateways_in_use(conn, network_id):
            raise NetworkInUse(id=network_id, ports="a router's gateway")
        ports_logic.remove(work, ports_db.of_network(conn, network_id, *AUTO_DELETED), network)
        subnets = subnets_db.of_network(conn, network_id)
        for subnet in subnets:
            subnets_db.STORE.delete(conn, subnet.id)
            work.charge(subnet.project_id, "subnet", -1)
            work.notify("subnet.delete.end", {"subnet_id": subnet.id})
        t = tables
        conn.execute(sa.delete(t.segments).where(t.segments.c.network_id == network_id))
        grants.forget(work, network_id)
        conn.execute(sa.delete(t.tags).where(t.tags.c.resource_id.in_([network_id, *(s.id for s in subnets)])))
        db.STORE.delete(conn, network_id)
        work.charge(network.project_id, "network", -1)
        work.notify(
            "network.delete.end",
            {"network_id": network_id, "network": schema.show(network, guard.EVERYTHING)},
        )
