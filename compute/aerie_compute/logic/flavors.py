# SPDX-License-Identifier: Apache-2.0
"""Flavors: what sizes of servers there are, and which projects may use those that are not public."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from oslo_db import exception as db_exc

from aerie_common.context import Context
from aerie_common.db import new_id, retried
from aerie_common.errors import BadRequest
from aerie_compute import errors
from aerie_compute.db import flavors as db
from aerie_compute.db.flavors import Flavor

if TYPE_CHECKING:
    from aerie_compute.container import Compute


def _visible_to(ctx: Context) -> str | None:
    return None if ctx.is_admin else ctx.project_id or ""


@retried
def show(svc: Compute, ctx: Context, flavor_id: str) -> Flavor:
    """FlavorNotFound when the caller's project may not use it."""
    with svc.api_db.read() as conn:
        found = db.get(conn, flavor_id, visible_to=_visible_to(ctx))
    if found is None:
        raise errors.FlavorNotFound(flavor_id=flavor_id)
    return found


@retried
def list_(
    svc: Compute, ctx: Context, *, is_public: bool | None = True, marker: str | None = None, **wanted: Any
) -> list[Flavor]:
    """Flavors the caller may use; administrators choose with `is_public` (None: all)."""
    with svc.api_db.read() as conn:
        after = None
        if marker is not None:
            after = db.get(conn, marker, visible_to=_visible_to(ctx))
            if after is None:
                raise BadRequest(f"marker [{marker}] not found")
        if ctx.is_admin:
            visible = (ctx.project_id or "") if is_public is True else None
            public = None if is_public is not False else False
            return db.list_(conn, visible_to=visible, is_public=public, marker=after, **wanted)
        return db.list_(conn, visible_to=ctx.project_id or "", marker=after, **wanted)


@retried
def create(svc: Compute, ctx: Context, *, flavorid: str | None, name: str, **values: Any) -> Flavor:
    """A new flavor. FlavorExists when its id or name is taken."""
    flavorid = flavorid if flavorid not in (None, "auto") else new_id()
    with svc.api_db.write() as conn:
        what = db.taken(conn, flavorid=flavorid, name=name)
        if what:
            raise errors.FlavorExists(what=what, value=flavorid if what == "ID" else name)
        try:
            flavor = db.insert(conn, flavorid=flavorid, name=name, extra_specs={}, **values)
        except db_exc.DBDuplicateEntry as e:
            raise errors.FlavorExists(what="name", value=name) from e
    svc.flavors.forget()
    return flavor


@retried
def update(svc: Compute, ctx: Context, flavor_id: str, *, description: str | None) -> Flavor:
    """Change the description, all that may be changed."""
    with svc.api_db.write() as conn:
        db.update(conn, _get(conn, flavor_id).id, description=description)
        return _get(conn, flavor_id)


@retried
def delete(svc: Compute, ctx: Context, flavor_id: str) -> None:
    """Servers made of it keep what they remember of it."""
    with svc.api_db.write() as conn:
        db.delete(conn, _get(conn, flavor_id).id)
    svc.flavors.forget()


@retried
def set_extra_specs(svc: Compute, ctx: Context, flavor_id: str, specs: dict[str, str]) -> dict[str, str]:
    """Add or change extra specs; all that the flavor has then."""
    with svc.api_db.write() as conn:
        flavor = _get(conn, flavor_id)
        merged = {**flavor.extra_specs, **specs}
        db.update(conn, flavor.id, extra_specs=merged)
    svc.flavors.forget()
    return merged


@retried
def delete_extra_spec(svc: Compute, ctx: Context, flavor_id: str, key: str) -> None:
    """ExtraSpecNotFound when there is none of that key."""
    with svc.api_db.write() as conn:
        flavor = _get(conn, flavor_id)
        if key not in flavor.extra_specs:
            raise errors.ExtraSpecNotFound(flavor_id=flavor_id, key=key)
        db.update(conn, flavor.id, extra_specs={k: v for k, v in flavor.extra_specs.items() if k != key})
    svc.flavors.forget()


@retried
def access(svc: Compute, ctx: Context, flavor_id: str) -> list[str]:
    """Projects that may use a flavor. FlavorNotFound for a public one, as everybody may use it."""
    with svc.api_db.read() as conn:
        flavor = _get(conn, flavor_id)
        if flavor.is_public:
            raise errors.FlavorNotFound("Access list not available for public flavors.")
        return db.projects(conn, flavor.id)


@retried
def grant(svc: Compute, ctx: Context, flavor_id: str, project_id: str) -> list[str]:
    """Let a project use a flavor; the projects that may."""
    with svc.api_db.write() as conn:
        flavor = _get(conn, flavor_id)
        if flavor.is_public:
            raise errors.FlavorAccessExists("Can not add access to a public flavor.")
        if project_id in db.projects(conn, flavor.id):
            raise errors.FlavorAccessExists(flavor_id=flavor_id, project_id=project_id)
        db.grant(conn, flavor.id, project_id)
        projects = db.projects(conn, flavor.id)
    svc.flavors.forget()
    return projects


@retried
def revoke(svc: Compute, ctx: Context, flavor_id: str, project_id: str) -> list[str]:
    """The inverse of grant."""
    with svc.api_db.write() as conn:
        flavor = _get(conn, flavor_id)
        if flavor.is_public:
            raise errors.FlavorAccessExists("Can not remove access from a public flavor.")
        if not db.revoke(conn, flavor.id, project_id):
            raise errors.FlavorAccessNotFound(flavor_id=flavor_id, project_id=project_id)
        projects = db.projects(conn, flavor.id)
    svc.flavors.forget()
    return projects


def _get(conn: Any, flavor_id: str) -> Flavor:
    found = db.get(conn, flavor_id)
    if found is None:
        raise errors.FlavorNotFound(flavor_id=flavor_id)
    return found
