# SPDX-License-Identifier: Apache-2.0
"""Regions, services and endpoints. Every change moves the epoch on, since validated tokens carry the catalog."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from aerie_common.context import Context
from aerie_common.db import retried
from aerie_common.errors import BadRequest, Forbidden
from aerie_common.listing import Listing
from aerie_identity.db import policy_associations
from aerie_identity.db import tables as t
from aerie_identity.db.models import ENDPOINTS, REGIONS, SERVICES, Endpoint, Region, Service
from aerie_identity.db.store import Page
from aerie_identity.errors import Missing
from aerie_identity.logic.catalogs import BLANKS, blanks
from aerie_identity.logic.common import new_id, overlay, unique

if TYPE_CHECKING:
    from aerie_identity.container import Identity


def _changes(row: Any, values: dict[str, Any]) -> dict[str, Any]:
    changes = {name: value for name, value in values.items() if name != "extra"}
    if values.get("extra"):
        changes["extra"] = overlay(row.extra, values["extra"])
    return changes


# ------------------------------------------------------------------------------------------------------------ regions


def load_region(conn: sa.Connection, id: str) -> Region:
    return REGIONS.need(conn, id, lambda: Missing("region", id))


def show_region(svc: Identity, id: str) -> Region:
    with svc.db.read() as conn:
        return load_region(conn, id)


def list_regions(svc: Identity, listing: Listing) -> Page[Region]:
    with svc.db.read() as conn:
        return REGIONS.page(conn, listing, limit=svc.conf.identity.list_limit)


@retried
def create_region(svc: Identity, ctx: Context, values: dict[str, Any]) -> Region:
    id = values.get("id") or new_id()
    row = Region(id, values.get("parent_region_id"), values.get("description") or "", values.get("extra", {}))
    with svc.db.write() as conn:
        if row.parent_region_id:
            load_region(conn, row.parent_region_id)
        with unique("region", row.id, "ID"):
            REGIONS.insert(conn, row)
    return row


@retried
def update_region(svc: Identity, ctx: Context, id: str, values: dict[str, Any]) -> Region:
    with svc.db.write() as conn:
        row = load_region(conn, id)
        changes = _changes(row, {k: v for k, v in values.items() if k != "id"})
        if "description" in changes:
            changes["description"] = changes["description"] or ""
        above = changes.get("parent_region_id")
        while above:
            if above == id:
                raise Forbidden("A region cannot be below itself.")
            above = load_region(conn, above).parent_region_id
        REGIONS.update(conn, id, **changes)
    return dataclasses.replace(row, **changes)


@retried
def delete_region(svc: Identity, ctx: Context, id: str) -> None:
    with svc.db.write() as conn:
        load_region(conn, id)
        if REGIONS.one(conn, t.regions.c.parent_region_id == id):
            raise Forbidden(f"Region {id} has regions below it.")
        if ENDPOINTS.one(conn, t.endpoints.c.region_id == id):
            raise Forbidden(f"Region {id} has endpoints.")
        policy_associations.purge(conn, region_id=id)
        REGIONS.delete(conn, t.regions.c.id == id)


# ----------------------------------------------------------------------------------------------------------- services


def load_service(conn: sa.Connection, id: str) -> Service:
    return SERVICES.need(conn, id, lambda: Missing("service", id))


def show_service(svc: Identity, id: str) -> Service:
    with svc.db.read() as conn:
        return load_service(conn, id)


def list_services(svc: Identity, listing: Listing) -> Page[Service]:
    with svc.db.read() as conn:
        return SERVICES.page(conn, listing, limit=svc.conf.identity.list_limit)


@retried
def create_service(svc: Identity, ctx: Context, values: dict[str, Any]) -> Service:
    row = Service(id=new_id(), **{k: v for k, v in values.items() if k != "id"})
    with svc.db.write() as conn:
        SERVICES.insert(conn, row)
        svc.epoch.bump(conn)
    return row


@retried
def update_service(svc: Identity, ctx: Context, id: str, values: dict[str, Any]) -> Service:
    with svc.db.write() as conn:
        row = load_service(conn, id)
        changes = _changes(row, values)
        SERVICES.update(conn, id, **changes)
        svc.epoch.bump(conn)
    return dataclasses.replace(row, **changes)


@retried
def delete_service(svc: Identity, ctx: Context, id: str) -> None:
    """Remove a service with its endpoints."""
    with svc.db.write() as conn:
        load_service(conn, id)
        limited = sa.select(sa.literal(1)).where(t.registered_limits.c.service_id == id)
        if conn.execute(limited).first():
            raise Forbidden(f"Service {id} has registered limits.")
        for endpoint in ENDPOINTS.all(conn, t.endpoints.c.service_id == id):
            policy_associations.purge(conn, endpoint_id=endpoint.id)
        policy_associations.purge(conn, service_id=id)
        SERVICES.delete(conn, t.services.c.id == id)
        svc.epoch.bump(conn)


# ---------------------------------------------------------------------------------------------------------- endpoints


def load_endpoint(conn: sa.Connection, id: str) -> Endpoint:
    return ENDPOINTS.need(conn, id, lambda: Missing("endpoint", id))


def show_endpoint(svc: Identity, id: str) -> Endpoint:
    with svc.db.read() as conn:
        return load_endpoint(conn, id)


def list_endpoints(svc: Identity, listing: Listing) -> Page[Endpoint]:
    with svc.db.read() as conn:
        return ENDPOINTS.page(conn, listing, limit=svc.conf.identity.list_limit)


def _check_endpoint(conn: sa.Connection, values: dict[str, Any]) -> dict[str, Any]:
    """What is stored: `region`, the old name of `region_id`, makes its region; the rest must exist."""
    values = dict(values)
    old_name = values.pop("region", None)
    region = values.get("region_id") or old_name
    if region:
        values["region_id"] = region
        if old_name and REGIONS.get(conn, region) is None:
            REGIONS.insert(conn, Region(region))
        elif REGIONS.get(conn, region) is None:
            raise BadRequest(f"There is no region {region}.")
    if "service_id" in values and SERVICES.get(conn, values["service_id"]) is None:
        raise BadRequest(f"There is no service {values['service_id']}.")
    unknown = blanks(values.get("url", "")) - BLANKS
    if unknown:
        raise BadRequest(f"The URL has blanks that nothing fills: {', '.join(sorted(unknown))}.")
    return values


@retried
def create_endpoint(svc: Identity, ctx: Context, values: dict[str, Any]) -> Endpoint:
    with svc.db.write() as conn:
        row = Endpoint(id=new_id(), **_check_endpoint(conn, values))
        ENDPOINTS.insert(conn, row)
        svc.epoch.bump(conn)
    return row


@retried
def update_endpoint(svc: Identity, ctx: Context, id: str, values: dict[str, Any]) -> Endpoint:
    with svc.db.write() as conn:
        row = load_endpoint(conn, id)
        changes = _changes(row, _check_endpoint(conn, values))
        ENDPOINTS.update(conn, id, **changes)
        svc.epoch.bump(conn)
    return dataclasses.replace(row, **changes)


@retried
def delete_endpoint(svc: Identity, ctx: Context, id: str) -> None:
    with svc.db.write() as conn:
        load_endpoint(conn, id)
        policy_associations.purge(conn, endpoint_id=id)
        ENDPOINTS.delete(conn, t.endpoints.c.id == id)
        svc.epoch.bump(conn)
