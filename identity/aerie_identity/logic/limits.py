# SPDX-License-Identifier: Apache-2.0
"""Unified limits: a default per service, region and resource (registered limit), and overrides for projects or domains.

Invariants: an override has a registered limit; under the model strict_two_level no project has more than its domain.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from aerie_common.context import Context
from aerie_common.db import retried
from aerie_common.errors import BadRequest, Forbidden
from aerie_common.listing import Listing
from aerie_identity.db import projects
from aerie_identity.db import tables as t
from aerie_identity.db.models import LIMITS, PROJECTS, REGIONS, REGISTERED_LIMITS, SERVICES, Limit, RegisteredLimit
from aerie_identity.db.store import Page
from aerie_identity.errors import Missing
from aerie_identity.logic.common import new_id, unique

if TYPE_CHECKING:
    from aerie_identity.container import Identity

_l, _r = t.limits.c, t.registered_limits.c
MODELS = {
    "flat": "Limit enforcement and validation does not take project hierarchy into consideration.",
    "strict_two_level": "Limits of projects must not exceed the limit of their domain.",
}

# -------------------------------------------------------------------------------------------------- registered limits


def load_registered(conn: sa.Connection, id: str) -> RegisteredLimit:
    return REGISTERED_LIMITS.need(conn, id, lambda: Missing("registered limit", id))


def show_registered(svc: Identity, id: str) -> RegisteredLimit:
    with svc.db.read() as conn:
        return load_registered(conn, id)


def list_registered(svc: Identity, listing: Listing) -> Page[RegisteredLimit]:
    with svc.db.read() as conn:
        return REGISTERED_LIMITS.page(conn, listing, limit=svc.conf.identity.list_limit)


def _check_place(conn: sa.Connection, values: dict[str, Any]) -> dict[str, Any]:
    """The values to store; service and region must exist."""
    values = {name: value for name, value in values.items() if name != "extra"}
    if "service_id" in values and SERVICES.get(conn, values["service_id"]) is None:
        raise BadRequest(f"There is no service {values['service_id']}.")
    if "region_id" in values:
        values["region_id"] = values["region_id"] or ""
        if values["region_id"] and REGIONS.get(conn, values["region_id"]) is None:
            raise BadRequest(f"There is no region {values['region_id']}.")
    return values


@retried
def create_registered(svc: Identity, ctx: Context, many: list[dict[str, Any]]) -> list[RegisteredLimit]:
    """Store all of them or none."""
    with svc.db.write() as conn:
        made = [RegisteredLimit(id=new_id(), **_check_place(conn, values)) for values in many]
        for row in made:
            with unique("registered limit", row.resource_name):
                REGISTERED_LIMITS.insert(conn, row)
    return made


@retried
def update_registered(svc: Identity, ctx: Context, id: str, values: dict[str, Any]) -> RegisteredLimit:
    with svc.db.write() as conn:
        row = load_registered(conn, id)
        changes = _check_place(conn, values)
        moved = any(name in changes and changes[name] != getattr(row, name) for name in _PLACE)
        if moved and LIMITS.one(conn, _l.registered_limit_id == id):
            raise Forbidden("Service, region and resource of a registered limit that is overridden cannot be changed.")
        with unique("registered limit", changes.get("resource_name", row.resource_name)):
            REGISTERED_LIMITS.update(conn, id, **changes)
    return dataclasses.replace(row, **changes)


_PLACE = ("service_id", "region_id", "resource_name")


@retried
def delete_registered(svc: Identity, ctx: Context, id: str) -> None:
    with svc.db.write() as conn:
        load_registered(conn, id)
        if LIMITS.one(conn, _l.registered_limit_id == id):
            raise Forbidden("Projects have limits of their own instead of this one.")
        REGISTERED_LIMITS.delete(conn, _r.id == id)


# ------------------------------------------------------------------------------------------------------------- limits


@dataclasses.dataclass(frozen=True)
class Owned:
    """A limit, whether it is a domain's, and the domain that its owner is or belongs to."""

    limit: Limit
    is_domain: bool
    domain_id: str


def _own(conn: sa.Connection, rows: list[Limit]) -> list[Owned]:
    found = projects.by_ids(conn, (row.project_id for row in rows))
    owners = ((row, found[row.project_id]) for row in rows)
    return [Owned(row, owner.is_domain, owner.id if owner.is_domain else owner.domain_id) for row, owner in owners]


def show(svc: Identity, id: str) -> Owned:
    with svc.db.read() as conn:
        return _own(conn, [LIMITS.need(conn, id, lambda: Missing("limit", id))])[0]


def list_(
    svc: Identity, listing: Listing, owner: str | None = None, domain: str | None = None
) -> tuple[list[Owned], bool]:
    """Limits, of one project or domain when `owner` is given, of a domain with all that is in it when `domain` is;
    and whether there are more."""
    where = [] if owner is None else [_l.project_id == owner]
    if domain is not None:
        p = t.projects.c
        where.append(_l.project_id.in_(sa.select(p.id).where(sa.or_(p.id == domain, p.domain_id == domain))))
    with svc.db.read() as conn:
        page = LIMITS.page(conn, listing, *where, limit=svc.conf.identity.list_limit)
        return _own(conn, page.rows), page.more


@retried
def create(svc: Identity, ctx: Context, many: list[dict[str, Any]]) -> list[Owned]:
    """Store all of them or none."""
    with svc.db.write() as conn:
        made = [_insert(svc, conn, values) for values in many]
        return _own(conn, made)


def _insert(svc: Identity, conn: sa.Connection, values: dict[str, Any]) -> Limit:
    owner = values.get("project_id") or values.get("domain_id")
    if not owner or (values.get("project_id") and values.get("domain_id")):
        raise BadRequest("A limit names exactly one of project_id and domain_id.")
    target = PROJECTS.get(conn, owner)
    if target is None or target.is_domain != bool(values.get("domain_id")):
        raise BadRequest(f"There is no {'domain' if values.get('domain_id') else 'project'} {owner}.")
    place = _check_place(conn, {name: values.get(name) for name in _PLACE})
    registered = REGISTERED_LIMITS.one(conn, *(_r[name] == value for name, value in place.items()))
    if registered is None:
        raise Forbidden(f"There is no registered limit for {place['resource_name']} of that service and region.")
    row = Limit(
        id=new_id(),
        registered_limit_id=registered.id,
        project_id=owner,
        resource_limit=values["resource_limit"],
        description=values.get("description"),
        **place,
    )
    _check_model(svc, conn, row)
    with unique("limit", row.resource_name):
        LIMITS.insert(conn, row)
    return row


def _check_model(svc: Identity, conn: sa.Connection, row: Limit) -> None:
    """Under strict_two_level: not above the domain's limit, and a domain's not below its projects'."""
    if svc.conf.unified_limit.enforcement_model != "strict_two_level":
        return
    owner = PROJECTS.need(conn, row.project_id)
    same = _l.registered_limit_id == row.registered_limit_id
    if not owner.is_domain:
        above = LIMITS.one(conn, same, _l.project_id == owner.domain_id)
        most = above.resource_limit if above else load_registered(conn, row.registered_limit_id).default_limit
        if most != -1 and (row.resource_limit > most or row.resource_limit == -1):
            raise Forbidden(f"The limit {row.resource_limit} exceeds the domain's, {most}.")
        return
    inside = sa.select(t.projects.c.id).where(t.projects.c.domain_id == owner.id)
    below = LIMITS.all(conn, same, _l.project_id.in_(inside))
    if row.resource_limit != -1 and any(b.resource_limit > row.resource_limit or b.resource_limit == -1 for b in below):
        raise Forbidden("Projects of the domain have larger limits.")


@retried
def update(svc: Identity, ctx: Context, id: str, values: dict[str, Any]) -> Owned:
    changes = {name: values[name] for name in ("resource_limit", "description") if name in values}
    with svc.db.write() as conn:
        row = dataclasses.replace(LIMITS.need(conn, id, lambda: Missing("limit", id)), **changes)
        _check_model(svc, conn, row)
        LIMITS.update(conn, id, **changes)
        return _own(conn, [row])[0]


@retried
def delete(svc: Identity, ctx: Context, id: str) -> None:
    with svc.db.write() as conn:
        if not LIMITS.delete(conn, _l.id == id):
            raise Missing("limit", id)
