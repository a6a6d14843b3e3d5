# SPDX-License-Identifier: Apache-2.0
"""Small nouns: quotas, tags, address groups, address use, a ready-made topology."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from aerie_common.context import Context
from aerie_common.db import insert_if_absent, new_id, retried, utcnow
from aerie_common.errors import NotFound
from aerie_common.listing import Listing
from aerie_network.container import NetworkService
from aerie_network.db import networks as networks_db
from aerie_network.db import pools as pools_db
from aerie_network.db import ports as ports_db
from aerie_network.db import quotas as quotas_db
from aerie_network.db import routers as routers_db
from aerie_network.db import security_groups as groups_db
from aerie_network.db import subnets as subnets_db
from aerie_network.db import tables
from aerie_network.db.query import Page, Store
from aerie_network.db.security_groups import AddressGroup
from aerie_network.errors import (
    AddressesNotFound,
    AddressGroupInUse,
    InvalidInput,
    TagNotFound,
)
from aerie_network.logic import grants, guard
from aerie_network.logic.work import change, changed, scope

# ------------------------------------------------------------------------------------------------------- quotas


def quota_limits(svc: NetworkService, ctx: Context, project_id: str) -> dict[str, int]:
    """What the project may have."""
    with svc.db.read() as conn:
        return {**svc.quota_defaults, **quotas_db.limits(conn, project_id)}


def quota_details(svc: NetworkService, ctx: Context, project_id: str) -> dict[str, dict[str, int]]:
    """Limit and use of each resource."""
    with svc.db.read() as conn:
        limits = {**svc.quota_defaults, **quotas_db.limits(conn, project_id)}
        used = quotas_db.usage(conn, project_id)
    return {name: {"limit": limit, "used": used.get(name, 0), "reserved": 0} for name, limit in limits.items()}


def quota_list(svc: NetworkService, ctx: Context) -> list[dict[str, Any]]:
    """Projects with limits of their own."""
    with svc.db.read() as conn:
        found = quotas_db.all_limits(conn)
    return [
        {"project_id": project_id, "tenant_id": project_id, **svc.quota_defaults, **own}
        for project_id, own in found.items()
    ]


@retried
def set_quota(
    svc: NetworkService, ctx: Context, project_id: str, values: Mapping[str, int], *, check: bool = False
) -> dict[str, int]:
    """Give a project limits of its own; check: none that is less than what it has already."""
    unknown = sorted(set(values) - set(svc.quota_defaults))
    if unknown:
        raise InvalidInput(error_message=f"Unknown quota resources {unknown}")
    with svc.db.write() as conn:
        used = quotas_db.usage(conn, project_id) if check else {}
        for name, limit in values.items():
            if 0 <= limit < used.get(name, 0):
                raise InvalidInput(error_message=f"Quota limit {limit} of {name} is less than the usage {used[name]}")
        quotas_db.set_limits(conn, project_id, dict(values))
    return quota_limits(svc, ctx, project_id)


@retried
def reset_quota(svc: NetworkService, ctx: Context, project_id: str) -> None:
    """Back to the defaults. NotFound when the project has no limits of its own."""
    with svc.db.write() as conn:
        if not quotas_db.drop_limits(conn, project_id):
            raise NotFound(f"Quota for tenant {project_id} could not be found.")


# --------------------------------------------------------------------------------------------------------- tags

_TAGGED: dict[str, tuple[Store[Any], Any]] = {
    "networks": (networks_db.STORE, networks_db.visible),
    "subnets": (subnets_db.STORE, subnets_db.visible),
    "ports": (ports_db.STORE, ports_db.visible),
    "routers": (routers_db.STORE, None),
    "floatingips": (routers_db.FLOATING_IPS, None),
    "security-groups": (groups_db.STORE, groups_db.visible),
    "security-group-rules": (groups_db.RULES, groups_db.rules_visible),
    "subnetpools": (pools_db.POOLS, None),
}


def _tagged(
    svc: NetworkService, ctx: Context, conn: sa.Connection, collection: str, resource_id: str, rule: str | None
) -> Any:
    """The object whose tags are meant; changing them takes the right to change it."""
    if collection not in _TAGGED:
        raise NotFound()
    store, visible = _TAGGED[collection]
    test = visible(ctx.project_id) if visible else store.table.c.project_id == (ctx.project_id or "")
    found = store.get(conn, resource_id, *scope(ctx, test), lock=rule is not None)
    if rule is not None:
        guard.check_owner(svc, ctx, rule, found)
    return found


def tags(svc: NetworkService, ctx: Context, collection: str, resource_id: str) -> list[str]:
    """The object's tags."""
    with svc.db.read() as conn:
        return list(_tagged(svc, ctx, conn, collection, resource_id, None).tags)


@retried
def replace_tags(svc: NetworkService, ctx: Context, collection: str, resource_id: str, wanted: list[str]) -> list[str]:
    """Exactly these tags."""
    t = tables.tags
    with svc.db.write() as conn:
        found = _tagged(svc, ctx, conn, collection, resource_id, "update_tags")
        if set(found.tags) != set(wanted):
            conn.execute(sa.delete(t).where(t.c.resource_id == resource_id))
            rows = [{"resource_id": resource_id, "tag": tag} for tag in sorted(set(wanted))]
            if rows:
                conn.execute(sa.insert(t), rows)
            _TAGGED[collection][0].update(conn, resource_id)
    return sorted(set(wanted))


@retried
def add_tag(svc: NetworkService, ctx: Context, collection: str, resource_id: str, tag: str) -> None:
    """One more tag."""
    if not 0 < len(tag) <= 255:
        raise InvalidInput(error_message="a tag has 1 to 255 characters")
    with svc.db.write() as conn:
        _tagged(svc, ctx, conn, collection, resource_id, "update_tags")
        if insert_if_absent(conn, tables.tags, {"resource_id": resource_id, "tag": tag}):
            _TAGGED[collection][0].update(conn, resource_id)


def has_tag(svc: NetworkService, ctx: Context, collection: str, resource_id: str, tag: str) -> None:
    """TagNotFound unless the object has it."""
    if tag not in tags(svc, ctx, collection, resource_id):
        raise TagNotFound(tag=tag)


@retried
def remove_tag(svc: NetworkService, ctx: Context, collection: str, resource_id: str, tag: str | None) -> None:
    """Without that tag, or without any. TagNotFound when it does not have it."""
    t = tables.tags
    with svc.db.write() as conn:
        _tagged(svc, ctx, conn, collection, resource_id, "update_tags")
        statement = sa.delete(t).where(t.c.resource_id == resource_id)
        if tag is not None:
            statement = statement.where(t.c.tag == tag)
        if conn.execute(statement).rowcount:
            _TAGGED[collection][0].update(conn, resource_id)
        elif tag is not None:
            raise TagNotFound(tag=tag)


# ----------------------------------------------------------------------------------------------- address groups


def _group_scope(ctx: Context) -> tuple[Any, ...]:
    return scope(ctx, pools_db.visible(tables.address_groups, "address_group", ctx.project_id))


def address_groups(svc: NetworkService, ctx: Context, listing: Listing) -> Page[AddressGroup]:
    """The address groups the caller may see."""
    with svc.db.read() as conn:
        return groups_db.ADDRESS_GROUPS.page(conn, listing, *_group_scope(ctx))


def address_group(svc: NetworkService, ctx: Context, group_id: str) -> AddressGroup:
    """One address group."""
    with svc.db.read() as conn:
        return groups_db.ADDRESS_GROUPS.get(conn, group_id, *_group_scope(ctx))


def _cidrs(texts: list[str]) -> list[str]:
    """Addresses as they are stored, with their prefix length; the bits of a host are dropped."""
    if bare := [text for text in texts if "/" not in text]:
        raise InvalidInput(error_message=f"addresses: {', '.join(bare)} without a prefix length")
    try:
        return sorted({str(ipaddress.ip_network(text, strict=False)) for text in texts})
    except ValueError as e:
        raise InvalidInput(error_message=f"addresses: {e}") from None


@retried
def create_address_group(svc: NetworkService, ctx: Context, values: dict[str, Any]) -> AddressGroup:
    """Make an address group."""
    now = utcnow()
    row = {"id": new_id(), "revision_number": 0, "created_at": now, "updated_at": now, **values}
    row["addresses"] = _cidrs(row["addresses"])
    with svc.db.write() as conn:
        groups_db.ADDRESS_GROUPS.insert(conn, row)
    return AddressGroup(**row)


@retried
def update_address_group(
    svc: NetworkService,
    ctx: Context,
    group_id: str,
    values: dict[str, Any],
    *,
    add: list[str] | None = None,
    remove: list[str] | None = None,
) -> AddressGroup:
    """Change an address group; the hosts whose rules name it hear of new and gone addresses."""
    with change(svc, ctx) as work:
        before = groups_db.ADDRESS_GROUPS.get(work.conn, group_id, *_group_scope(ctx), lock=True)
        guard.check_owner(svc, ctx, "update_address_group", before)
        addresses = set(before.addresses) | set(_cidrs(add or []))
        gone = set(_cidrs([text if "/" in text else f"{text}/{128 if ':' in text else 32}" for text in remove or []]))
        if gone - addresses:
            raise AddressesNotFound(addresses=", ".join(sorted(gone - addresses)), id=group_id)
        new = changed(before, {**values, "addresses": sorted(addresses - gone)})
        if new:
            groups_db.ADDRESS_GROUPS.update(work.conn, group_id, new)
        if "addresses" in new:
            work.set_members(group_id)
        return groups_db.ADDRESS_GROUPS.get(work.conn, group_id)


@retried
def delete_address_group(svc: NetworkService, ctx: Context, group_id: str) -> None:
    """Delete an address group that no rule names."""
    with change(svc, ctx) as work:
        found = groups_db.ADDRESS_GROUPS.get(work.conn, group_id, *_group_scope(ctx), lock=True)
        guard.check_owner(svc, ctx, "delete_address_group", found)
        if groups_db.address_group_in_use(work.conn, group_id):
            raise AddressGroupInUse(id=group_id)
        grants.forget(work, group_id)
        groups_db.ADDRESS_GROUPS.delete(work.conn, group_id)


# -------------------------------------------------------------------------------------------------- address use


def ip_availability(svc: NetworkService, ctx: Context, filters: Mapping[str, tuple[str, ...]]) -> list[dict[str, Any]]:
    """Addresses there are and addresses given out, by network and subnet."""
    n, s = tables.networks.c, tables.subnets.c
    where = []
    columns = {"network_id": n.id, "network_name": n.name, "tenant_id": n.project_id, "project_id": n.project_id}
    for name, values in filters.items():
        if name in columns:
            where.append(columns[name].in_(values))
    versions = {int(v) for v in filters.get("ip_version", ()) if v in ("4", "6")}
    with svc.db.read() as conn:
        networks = {
            row.id: row for row in conn.execute(sa.select(n.id, n.name, n.project_id).where(*where).order_by(n.id))
        }
        subnets = [
            subnet for subnet in subnets_db.plain(conn, s.network_id.in_(list(networks)))
            if not versions or subnet.ip_version in versions
        ]  # fmt: skip
        used = subnets_db.usage(conn, [subnet.id for subnet in subnets])
    found: dict[str, dict[str, Any]] = {
        row.id: {
            "network_id": row.id, "network_name": row.name, "tenant_id": row.project_id,
            "project_id": row.project_id, "total_ips": 0, "used_ips": 0, "subnet_ip_availability": [],
        } for row in networks.values()
    }  # fmt: skip
    for subnet in subnets:
        total = sum(
            int(ipaddress.ip_address(p["end"])) - int(ipaddress.ip_address(p["start"])) + 1
            for p in subnet.allocation_pools
        )
        entry = found[subnet.network_id]
        entry["total_ips"] += total
        entry["used_ips"] += used.get(subnet.id, 0)
        entry["subnet_ip_availability"].append(
            {
                "subnet_id": subnet.id, "subnet_name": subnet.name, "cidr": subnet.cidr,
                "ip_version": subnet.ip_version, "total_ips": total, "used_ips": used.get(subnet.id, 0),
            }
        )  # fmt: skip
    if versions:
        return [entry for entry in found.values() if entry["subnet_ip_availability"]]
    return list(found.values())
