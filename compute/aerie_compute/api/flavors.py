# SPDX-License-Identifier: Apache-2.0
"""Handlers of flavors, their extra specs and the access to them."""

from __future__ import annotations

from typing import Any

from aerie_common.errors import BadRequest
from aerie_common.http import Request
from aerie_common.schema import to_bool
from aerie_compute.api.links import links, page
from aerie_compute.db.flavors import Flavor
from aerie_compute.errors import ExtraSpecNotFound
from aerie_compute.logic import flavors
from aerie_compute.schemas.flavors import COLUMNS, FLAVOR

FILTERS = frozenset({"is_public", "minDisk", "minRam", "name"})
SORT_KEYS = frozenset(
    {"flavorid", "name", "memory_mb", "vcpus", "root_gb", "ephemeral_gb", "swap", "rxtx_factor", "is_public",
     "disabled", "created_at", "updated_at", "id"}
)  # fmt: skip


def _show(req: Request, flavor: Flavor) -> dict[str, Any]:
    shown = FLAVOR.show(flavor, req.ctx, req.version)
    if req.version < (2, 75):
        shown["swap"] = flavor.swap or ""
    if req.version >= (2, 102):
        del shown["rxtx_factor"], shown["OS-FLV-DISABLED:disabled"]
    shown["links"] = links(req, f"/flavors/{flavor.flavorid}")
    return shown


def show(req: Request, flavor_id: str) -> dict[str, Any]:
    """Show a flavor."""
    return {"flavor": _show(req, flavors.show(req.svc, req.ctx, flavor_id))}


def _list(req: Request) -> list[Flavor]:
    one, listing = req.listing.one, req.listing
    is_public: bool | None = True
    if (text := one("is_public")) is not None:
        if text.lower() == "none":
            is_public = None
        else:
            try:
                is_public = to_bool(text)
            except ValueError:
                raise BadRequest(f"Invalid is_public filter [{text}]") from None
    wanted: dict[str, Any] = {}
    if req.version >= (2, 102) and (name := one("name")) is not None:
        wanted["name"] = name
    for name, key in (("minDisk", "min_disk"), ("minRam", "min_ram")):
        if (text := one(name)) is not None:
            if not text.isdigit():
                raise BadRequest(f"Invalid {name} filter [{text}]")
            wanted[key] = int(text)
    return flavors.list_(
        req.svc, req.ctx, is_public=is_public, marker=listing.marker, limit=listing.limit, sort=listing.sort, **wanted
    )


def list_(req: Request) -> dict[str, Any]:
    """List flavors by id and name."""
    items = []
    for flavor in _list(req):
        item: dict[str, Any] = {
            "id": flavor.flavorid,
            "name": flavor.name,
            "links": links(req, f"/flavors/{flavor.flavorid}"),
        }
        if req.version >= (2, 55):
            item["description"] = flavor.description
        items.append(item)
    return page(req, "flavors", items)


def detail(req: Request) -> dict[str, Any]:
    """List flavors with everything about them."""
    return page(req, "flavors", [_show(req, flavor) for flavor in _list(req)])


def create(req: Request) -> dict[str, Any]:
    """Create a flavor."""
    given = FLAVOR.values(req.body["flavor"], with_defaults=True)
    if "id" in given and given["id"] is not None:
        given["id"] = str(given["id"])
    values = {COLUMNS[name]: value for name, value in given.items()}
    values.setdefault("flavorid", None)
    values["name"] = values["name"].strip()
    return {"flavor": _show(req, flavors.create(req.svc, req.ctx, **values))}


def update(req: Request, flavor_id: str) -> dict[str, Any]:
    """Change a flavor's description."""
    flavor = flavors.update(req.svc, req.ctx, flavor_id, description=req.body["flavor"]["description"])
    return {"flavor": _show(req, flavor)}


def delete(req: Request, flavor_id: str) -> None:
    """Delete a flavor."""
    flavors.delete(req.svc, req.ctx, flavor_id)


def specs_list(req: Request, flavor_id: str) -> dict[str, Any]:
    """List a flavor's extra specs."""
    return {"extra_specs": flavors.show(req.svc, req.ctx, flavor_id).extra_specs}


def specs_create(req: Request, flavor_id: str) -> dict[str, Any]:
    """Add or change extra specs."""
    given = {key: str(value) for key, value in req.body["extra_specs"].items()}
    flavors.set_extra_specs(req.svc, req.ctx, flavor_id, given)
    return {"extra_specs": given}


def specs_show(req: Request, flavor_id: str, key: str) -> dict[str, Any]:
    """Show one extra spec."""
    found = flavors.show(req.svc, req.ctx, flavor_id).extra_specs
    if key not in found:
        raise ExtraSpecNotFound(flavor_id=flavor_id, key=key)
    return {key: found[key]}


def specs_update(req: Request, flavor_id: str, key: str) -> dict[str, Any]:
    """Change one extra spec."""
    if set(req.body) != {key}:
        raise BadRequest("Request body and URI mismatch")
    value = str(req.body[key])
    flavors.set_extra_specs(req.svc, req.ctx, flavor_id, {key: value})
    return {key: value}


def specs_delete(req: Request, flavor_id: str, key: str) -> None:
    """Delete one extra spec."""
    flavors.delete_extra_spec(req.svc, req.ctx, flavor_id, key)


def _access(flavor_id: str, projects: list[str]) -> dict[str, Any]:
    return {"flavor_access": [{"flavor_id": flavor_id, "tenant_id": project_id} for project_id in projects]}


def access_list(req: Request, flavor_id: str) -> dict[str, Any]:
    """List projects that may use a flavor."""
    return _access(flavor_id, flavors.access(req.svc, req.ctx, flavor_id))


def access_add(req: Request, flavor_id: str) -> dict[str, Any]:
    """Let a project use a flavor."""
    project_id = req.body["addTenantAccess"]["tenant"]
    return _access(flavor_id, flavors.grant(req.svc, req.ctx, flavor_id, project_id))


def access_remove(req: Request, flavor_id: str) -> dict[str, Any]:
    """Take a project's access to a flavor away."""
    project_id = req.body["removeTenantAccess"]["tenant"]
    return _access(flavor_id, flavors.revoke(req.svc, req.ctx, flavor_id, project_id))
