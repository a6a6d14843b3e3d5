# SPDX-License-Identifier: Apache-2.0
"""Subnet pools and address scopes: prefixes from which subnets are cut."""

from __future__ import annotations

import ipaddress
from typing import Any

import sqlalchemy as sa
from oslo_db import exception as db_exc

from aerie_common.context import Context
from aerie_common.db import new_id, retried, utcnow
from aerie_common.errors import BadRequest
from aerie_common.listing import Listing
from aerie_network.container import NetworkService
from aerie_network.db import pools as db
from aerie_network.db import tables
from aerie_network.db.pools import AddressScope, SubnetPool
from aerie_network.db.query import Page
from aerie_network.errors import (
    AddressScopeInUse,
    AddressScopePrefixConflict,
    InvalidInput,
    MaxPrefixSubnetAllocationError,
    MinPrefixSubnetAllocationError,
    OverQuota,
    SubnetAllocationError,
    SubnetPoolInUse,
)
from aerie_network.logic import grants, guard
from aerie_network.logic.work import Work, change, changed, scope
from aerie_network.schemas.pools import SUBNET_POOL

Prefix = ipaddress.IPv4Network | ipaddress.IPv6Network


def _pool_scope(ctx: Context) -> tuple[Any, ...]:
    return scope(ctx, db.visible(tables.subnetpools, "subnetpool", ctx.project_id))


def _scope_scope(ctx: Context) -> tuple[Any, ...]:
    return scope(ctx, db.visible(tables.address_scopes, "address_scope", ctx.project_id))


def page(svc: NetworkService, ctx: Context, listing: Listing) -> Page[SubnetPool]:
    """The subnet pools the caller may see."""
    with svc.db.read() as conn:
        return db.POOLS.page(conn, listing, *_pool_scope(ctx))


def show(svc: NetworkService, ctx: Context, pool_id: str) -> SubnetPool:
    """One subnet pool."""
    with svc.db.read() as conn:
        return db.POOLS.get(conn, pool_id, *_pool_scope(ctx))


def _prefixes(texts: list[str]) -> tuple[list[str], int]:
    """Prefixes merged as far as they go, and their version."""
    try:
        networks = [ipaddress.ip_network(text, strict=False) for text in texts]
    except ValueError as e:
        raise InvalidInput(error_message=f"prefixes: {e}") from None
    versions = {network.version for network in networks}
    if len(versions) != 1:
        raise InvalidInput(error_message="prefixes must all be of one IP version")
    return [str(network) for network in ipaddress.collapse_addresses(networks)], versions.pop()  # type: ignore[type-var]


def _check_lengths(row: dict[str, Any]) -> None:
    bits = 32 if row["ip_version"] == 4 else 128
    for name in ("min_prefixlen", "default_prefixlen", "max_prefixlen"):
        if row[name] > bits:
            raise InvalidInput(error_message=f"{name} must not be greater than {bits}")
    if row["min_prefixlen"] > row["max_prefixlen"]:
        raise InvalidInput(error_message="min_prefixlen must not be greater than max_prefixlen")
    if not row["min_prefixlen"] <= row["default_prefixlen"] <= row["max_prefixlen"]:
        raise InvalidInput(error_message="default_prefixlen must be between min_prefixlen and max_prefixlen")


@retried
def create(svc: NetworkService, ctx: Context, values: dict[str, Any]) -> SubnetPool:
    """Make a subnet pool."""
    row = dict(values)
    row["prefixes"], row["ip_version"] = _prefixes(row["prefixes"])
    bits = 32 if row["ip_version"] == 4 else 128
    row["min_prefixlen"] = row.get("min_prefixlen") or (8 if bits == 32 else 64)
    row["max_prefixlen"] = row.get("max_prefixlen") or bits
    row["default_prefixlen"] = row.get("default_prefixlen") or row["min_prefixlen"]
    _check_lengths(row)
    now = utcnow()
    row |= {"id": new_id(), "revision_number": 0, "created_at": now, "updated_at": now}
    with change(svc, ctx) as work:
        if row["address_scope_id"]:
            _join_scope(work, ctx, row["address_scope_id"], row["id"], row["ip_version"], row["prefixes"])
        if row["is_default"]:
            _only_default(work, row["ip_version"], row["id"])
        db.POOLS.insert(work.conn, row)
        work.charge(row["project_id"], "subnetpool")
        if row["shared"]:
            grants.to_everybody(work, row["project_id"], "subnetpool", row["id"], grants.SHARED)
        pool = SubnetPool(**row)
        work.notify("subnetpool.create.end", {"subnetpool": SUBNET_POOL.show(pool, guard.EVERYTHING)})
    return pool


def _join_scope(work: Work, ctx: Context, scope_id: str, pool_id: str, version: int, prefixes: list[str]) -> None:
    """A pool is in a scope whose other pools have none of its prefixes. AddressScopePrefixConflict."""
    found = db.SCOPES.get(work.conn, scope_id, *_scope_scope(ctx), lock=True)
    if found.ip_version != version:
        raise InvalidInput(error_message="the address scope is of another IP version")
    mine = [ipaddress.ip_network(text) for text in prefixes]
    t = tables.subnetpools.c
    for other in db.POOLS.all(work.conn, t.address_scope_id == scope_id, t.id != pool_id):
        if any(one.overlaps(ipaddress.ip_network(text)) for one in mine for text in other.prefixes):
            raise AddressScopePrefixConflict()


def _only_default(work: Work, version: int, pool_id: str) -> None:
    t = tables.subnetpools.c
    query = sa.select(t.id).where(t.is_default.is_(sa.true()), t.ip_version == version, t.id != pool_id)
    if (found := work.conn.execute(query).first()) is not None:
        raise InvalidInput(error_message=f"A default subnetpool for IPv{version} has already been set: {found[0]}")


@retried
def update(svc: NetworkService, ctx: Context, pool_id: str, values: dict[str, Any], revision: int | None) -> SubnetPool:
    """Change a pool; its prefixes may only grow."""
    values = dict(values)  # the function may run again with what it was given
    with change(svc, ctx) as work:
        before = db.POOLS.get(work.conn, pool_id, *_pool_scope(ctx), lock=True)
        guard.check_owner(svc, ctx, "update_subnetpool", before)
        guard.check_revision(before, revision)
        if "prefixes" in values:
            merged, version = _prefixes([*values["prefixes"]])
            if version != before.ip_version:
                raise InvalidInput(error_message="prefixes must be of the pool's IP version")
            wide = [ipaddress.ip_network(text) for text in merged]
            for text in before.prefixes:
                if not any(ipaddress.ip_network(text).subnet_of(other) for other in wide):  # type: ignore[arg-type]
                    raise BadRequest(f"Existing prefixes must be a subset of the new prefixes: {text} is missing")
            values["prefixes"] = merged
        new = changed(before, values)
        if new.get("is_default"):
            _only_default(work, before.ip_version, pool_id)
        if (joined := new.get("address_scope_id", before.address_scope_id)) and new.keys() & {
            "address_scope_id", "prefixes",
        }:  # fmt: skip
            _join_scope(work, ctx, joined, pool_id, before.ip_version, new.get("prefixes", before.prefixes))
        lengths = ("min_prefixlen", "default_prefixlen", "max_prefixlen")
        after = {name: new.get(name, getattr(before, name)) for name in lengths}
        _check_lengths({"ip_version": before.ip_version, **after})
        if new:
            db.POOLS.update(work.conn, pool_id, new)
        pool = db.POOLS.get(work.conn, pool_id)
        work.notify("subnetpool.update.end", {"subnetpool": SUBNET_POOL.show(pool, guard.EVERYTHING)})
    return pool


@retried
def delete(svc: NetworkService, ctx: Context, pool_id: str) -> None:
    """Delete a pool no subnet is cut from."""
    with change(svc, ctx) as work:
        pool = db.POOLS.get(work.conn, pool_id, *_pool_scope(ctx), lock=True)
        guard.check_owner(svc, ctx, "delete_subnetpool", pool)
        s = tables.subnets.c
        if work.conn.execute(sa.select(s.id).where(s.subnetpool_id == pool_id).limit(1)).first() is not None:
            raise SubnetPoolInUse(id=pool_id)
        work.conn.execute(sa.delete(tables.tags).where(tables.tags.c.resource_id == pool_id))
        grants.forget(work, pool_id)
        db.POOLS.delete(work.conn, pool_id)
        work.charge(pool.project_id, "subnetpool", -1)
        work.notify("subnetpool.delete.end", {"subnetpool_id": pool_id})


# -------------------------------------------------------------------------------------------------- allocation


def fill_from_pool(work: Work, ctx: Context, values: dict[str, Any], prefixlen: int | None, by_default: bool) -> None:
    """Give a new subnet its CIDR from a pool: the one asked for, else the first free one of the wanted length."""
    conn = work.conn
    t = tables.subnetpools.c
    if by_default:
        version = values.get("ip_version")
        found = db.POOLS.all(conn, t.is_default.is_(sa.true()), t.ip_version == version)
        if not found:
            raise BadRequest("No default subnetpool found for this IP version.")
        pool = found[0]
    elif values["subnetpool_id"] == "prefix_delegation":
        raise BadRequest("Prefix delegation is not offered.")
    else:
        pool = db.POOLS.get(conn, values["subnetpool_id"], *_pool_scope(ctx))
    conn.execute(sa.select(t.id).where(t.id == pool.id).with_for_update())  # one subnet at a time is cut from a pool
    if values.get("ip_version") not in (None, pool.ip_version):
        raise BadRequest("Cannot associate a subnet with a subnet pool of another IP version.")
    values["ip_version"], values["subnetpool_id"] = pool.ip_version, pool.id
    s = tables.subnets.c
    used = [ipaddress.ip_network(c) for (c,) in conn.execute(sa.select(s.cidr).where(s.subnetpool_id == pool.id))]
    if values.get("cidr"):
        if prefixlen is not None:
            raise BadRequest("cidr and prefixlen must not be supplied together")
        wanted = _parse(values["cidr"])
        _check_length(pool, wanted.prefixlen)
        if not any(wanted.subnet_of(ipaddress.ip_network(p)) for p in pool.prefixes):  # type: ignore[arg-type]
            raise SubnetAllocationError(reason="Cannot allocate requested subnet from the available set of prefixes")
        if any(wanted.overlaps(other) for other in used):
            raise SubnetAllocationError(reason="Cannot allocate requested subnet from the available set of prefixes")
    else:
        length = prefixlen if prefixlen is not None else pool.default_prefixlen
        _check_length(pool, length)
        values["cidr"] = str(_first_free(pool, length, used))
    if pool.default_quota is not None:
        _check_quota(pool, ipaddress.ip_network(values["cidr"]), conn, values["project_id"])


def _parse(text: str) -> Prefix:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        raise InvalidInput(error_message=f"'{text}' is not a valid IP subnet") from None


def _check_length(pool: SubnetPool, length: int) -> None:
    if length < pool.min_prefixlen:
        raise MinPrefixSubnetAllocationError(prefix=length, limit=pool.min_prefixlen)
    if length > pool.max_prefixlen:
        raise MaxPrefixSubnetAllocationError(prefix=length, limit=pool.max_prefixlen)


def _first_free(pool: SubnetPool, length: int, used: list[Prefix]) -> Prefix:
    """Walks over the gaps between used prefixes, so that the cost is that of the used ones."""
    busy = sorted((int(n.network_address), int(n.broadcast_address)) for n in used)
    bits = 32 if pool.ip_version == 4 else 128
    size = 1 << (bits - length)
    for text in pool.prefixes:
        prefix = ipaddress.ip_network(text)
        start, end = int(prefix.network_address), int(prefix.broadcast_address)
        for first, last in [*busy, (end + 1, end + 1)]:
            if start + size - 1 < first and start + size - 1 <= end:
                break
            if last >= start:
                start = -(-(last + 1) // size) * size
        if start + size - 1 <= end:
            return ipaddress.ip_network((start, length))
    raise SubnetAllocationError(reason=f"Insufficient prefix space to allocate subnet size /{length}")


def _check_quota(pool: SubnetPool, new: Prefix, conn: sa.Connection, project_id: str) -> None:
    """A pool's quota counts addresses (IPv4) or /64s (IPv6) of one project."""
    s = tables.subnets.c
    query = sa.select(s.cidr).where(s.subnetpool_id == pool.id, s.project_id == project_id)
    present = [ipaddress.ip_network(cidr) for (cidr,) in conn.execute(query)]
    shift = 0 if pool.ip_version == 4 else 64
    used = sum(max(1, network.num_addresses >> shift) for network in [*present, new])
    if pool.default_quota is not None and used > pool.default_quota:
        raise OverQuota(overs="['subnetpool prefixes']")


# ----------------------------------------------------------------------------------------------- address scopes


def scopes_page(svc: NetworkService, ctx: Context, listing: Listing) -> Page[AddressScope]:
    """The address scopes the caller may see."""
    with svc.db.read() as conn:
        return db.SCOPES.page(conn, listing, *_scope_scope(ctx))


def show_scope(svc: NetworkService, ctx: Context, scope_id: str) -> AddressScope:
    """One address scope."""
    with svc.db.read() as conn:
        return db.SCOPES.get(conn, scope_id, *_scope_scope(ctx))


@retried
def create_scope(svc: NetworkService, ctx: Context, values: dict[str, Any]) -> AddressScope:
    """Make an address scope."""
    if values["ip_version"] not in (4, 6):
        raise InvalidInput(error_message="ip_version must be 4 or 6")
    now = utcnow()
    row = {"id": new_id(), "revision_number": 0, "created_at": now, "updated_at": now, **values}
    with change(svc, ctx) as work:
        db.SCOPES.insert(work.conn, row)
        if row["shared"]:
            grants.to_everybody(work, row["project_id"], "address_scope", row["id"], grants.SHARED)
    return AddressScope(**row)


@retried
def update_scope(svc: NetworkService, ctx: Context, scope_id: str, values: dict[str, Any]) -> AddressScope:
    """Rename or share an address scope."""
    with change(svc, ctx) as work:
        conn = work.conn
        before = db.SCOPES.get(conn, scope_id, *_scope_scope(ctx), lock=True)
        guard.check_owner(svc, ctx, "update_address_scope", before)
        if before.shared and values.get("shared") is False:
            raise BadRequest("Shared address scope can't be unshared.")
        if new := changed(before, values):
            db.SCOPES.update(conn, scope_id, new)
        if new.get("shared"):
            grants.to_everybody(work, before.project_id, "address_scope", scope_id, grants.SHARED)
        return db.SCOPES.get(conn, scope_id)


@retried
def delete_scope(svc: NetworkService, ctx: Context, scope_id: str) -> None:
    """Delete an address scope no pool belongs to."""
    with change(svc, ctx) as work:
        found = db.SCOPES.get(work.conn, scope_id, *_scope_scope(ctx), lock=True)
        guard.check_owner(svc, ctx, "delete_address_scope", found)
        grants.forget(work, scope_id)
        try:
            db.SCOPES.delete(work.conn, scope_id)
        except db_exc.DBReferenceError as e:
            raise AddressScopeInUse(id=scope_id) from e
