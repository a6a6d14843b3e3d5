# SPDX-License-Identifier: Apache-2.0
"""OS-EP-FILTER: which endpoints a project's catalog shows, chosen one by one or by groups with filters. A project for
which nothing was chosen sees all."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from aerie_common.context import Context
from aerie_common.db import insert_if_absent, retried
from aerie_common.errors import BadRequest, NotFound
from aerie_common.listing import Listing
from aerie_identity.db import projects
from aerie_identity.db import tables as t
from aerie_identity.db.models import ENDPOINT_GROUPS, ENDPOINTS, SERVICES, Endpoint, EndpointGroup, Project
from aerie_identity.db.store import Page
from aerie_identity.errors import Missing
from aerie_identity.logic.catalog import load_endpoint
from aerie_identity.logic.catalogs import fits
from aerie_identity.logic.common import new_id
from aerie_identity.logic.projects import load as load_project

if TYPE_CHECKING:
    from aerie_identity.container import Identity

_pe, _pg = t.project_endpoints.c, t.project_endpoint_groups.c


def _load(conn: sa.Connection, id: str) -> EndpointGroup:
    return ENDPOINT_GROUPS.need(conn, id, lambda: Missing("endpoint group", id))


# ---------------------------------------------------------------------------------------------------- single endpoints


@retried
def add_endpoint(svc: Identity, ctx: Context, project_id: str, endpoint_id: str) -> None:
    with svc.db.write() as conn:
        load_project(conn, project_id), load_endpoint(conn, endpoint_id)
        insert_if_absent(conn, t.project_endpoints, {"project_id": project_id, "endpoint_id": endpoint_id})
        svc.epoch.bump(conn)


def check_endpoint(svc: Identity, project_id: str, endpoint_id: str) -> None:
    """Raise NotFound unless the endpoint was chosen for the project."""
    with svc.db.read() as conn:
        load_project(conn, project_id), load_endpoint(conn, endpoint_id)
        query = sa.select(sa.literal(1)).where(_pe.project_id == project_id, _pe.endpoint_id == endpoint_id)
        if conn.execute(query).first() is None:
            raise NotFound(f"Endpoint {endpoint_id} is not associated with project {project_id}.")


@retried
def remove_endpoint(svc: Identity, ctx: Context, project_id: str, endpoint_id: str) -> None:
    with svc.db.write() as conn:
        query = sa.delete(t.project_endpoints).where(_pe.project_id == project_id, _pe.endpoint_id == endpoint_id)
        if not conn.execute(query).rowcount:
            raise NotFound(f"Endpoint {endpoint_id} is not associated with project {project_id}.")
        svc.epoch.bump(conn)


def endpoints_of(svc: Identity, project_id: str) -> list[Endpoint]:
    """Endpoints chosen for a project, by groups too."""
    with svc.db.read() as conn:
        load_project(conn, project_id)
        everything = ENDPOINTS.all(conn)
        chosen = set(conn.execute(sa.select(_pe.endpoint_id).where(_pe.project_id == project_id)).scalars())
        groups = _groups_of(conn, project_id)
    return [e for e in everything if e.id in chosen or any(fits(e, g.filters) for g in groups)]


def projects_with(svc: Identity, endpoint_id: str) -> list[Project]:
    with svc.db.read() as conn:
        load_endpoint(conn, endpoint_id)
        ids = conn.execute(sa.select(_pe.project_id).where(_pe.endpoint_id == endpoint_id)).scalars()
        return list(projects.by_ids(conn, ids).values())


# -------------------------------------------------------------------------------------------------------------- groups


def show(svc: Identity, id: str) -> EndpointGroup:
    with svc.db.read() as conn:
        return _load(conn, id)


def list_(svc: Identity, listing: Listing) -> Page[EndpointGroup]:
    with svc.db.read() as conn:
        return ENDPOINT_GROUPS.page(conn, listing, limit=svc.conf.identity.list_limit)


def _check_filters(conn: sa.Connection, filters: dict[str, Any]) -> None:
    if "service_id" in filters and SERVICES.get(conn, filters["service_id"]) is None:
        raise BadRequest(f"There is no service {filters['service_id']}.")


@retried
def create(svc: Identity, ctx: Context, values: dict[str, Any]) -> EndpointGroup:
    with svc.db.write() as conn:
        _check_filters(conn, values["filters"])
        row = EndpointGroup(new_id(), values["name"], values["filters"], values.get("description"))
        return ENDPOINT_GROUPS.insert(conn, row)


@retried
def update(svc: Identity, ctx: Context, id: str, values: dict[str, Any]) -> EndpointGroup:
    changes: dict[str, Any] = {name: values[name] for name in ("name", "description") if name in values}
    if values.get("filters") is not None:
        changes["filters"] = values["filters"]
    with svc.db.write() as conn:
        row = _load(conn, id)
        if "filters" in changes:
            _check_filters(conn, changes["filters"])
        ENDPOINT_GROUPS.update(conn, id, **changes)
        svc.epoch.bump(conn)
    return dataclasses.replace(row, **changes)


@retried
def delete(svc: Identity, ctx: Context, id: str) -> None:
    with svc.db.write() as conn:
        _load(conn, id)
        ENDPOINT_GROUPS.delete(conn, t.endpoint_groups.c.id == id)
        svc.epoch.bump(conn)


def _groups_of(conn: sa.Connection, project_id: str) -> list[EndpointGroup]:
    ids = sa.select(_pg.endpoint_group_id).where(_pg.project_id == project_id)
    return ENDPOINT_GROUPS.all(conn, t.endpoint_groups.c.id.in_(ids))


def groups_of(svc: Identity, project_id: str) -> list[EndpointGroup]:
    with svc.db.read() as conn:
        load_project(conn, project_id)
        return _groups_of(conn, project_id)


def projects_of(svc: Identity, id: str) -> list[Project]:
    with svc.db.read() as conn:
        _load(conn, id)
        ids = conn.execute(sa.select(_pg.project_id).where(_pg.endpoint_group_id == id)).scalars()
        return list(projects.by_ids(conn, ids).values())


def endpoints_in(svc: Identity, id: str) -> list[Endpoint]:
    with svc.db.read() as conn:
        group = _load(conn, id)
        return [e for e in ENDPOINTS.all(conn) if fits(e, group.filters)]


@retried
def add_project(svc: Identity, ctx: Context, id: str, project_id: str) -> None:
    with svc.db.write() as conn:
        _load(conn, id), load_project(conn, project_id)
        insert_if_absent(conn, t.project_endpoint_groups, {"endpoint_group_id": id, "project_id": project_id})
        svc.epoch.bump(conn)


def check_project(svc: Identity, id: str, project_id: str) -> None:
    """Raise NotFound unless the group was chosen for the project."""
    if project_id not in {p.id for p in projects_of(svc, id)}:
        raise NotFound(f"Endpoint group {id} is not associated with project {project_id}.")


@retried
def remove_project(svc: Identity, ctx: Context, id: str, project_id: str) -> None:
    with svc.db.write() as conn:
        query = sa.delete(t.project_endpoint_groups).where(_pg.endpoint_group_id == id, _pg.project_id == project_id)
        if not conn.execute(query).rowcount:
            raise NotFound(f"Endpoint group {id} is not associated with project {project_id}.")
        svc.epoch.bump(conn)
