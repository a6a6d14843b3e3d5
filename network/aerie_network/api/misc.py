# SPDX-License-Identifier: Apache-2.0
"""Handlers of versions, extensions, quotas, tags, address use and service providers."""

from __future__ import annotations

from typing import Any

from aerie_common.http import Request
from aerie_common.schema import to_bool
from aerie_network.api import extensions as known
from aerie_network.errors import ExtensionNotFound, NetworkNotFound
from aerie_network.logic import guard, topologies
from aerie_network.logic import misc as logic

# ------------------------------------------------------------------------------------------------------ versions


def versions(req: Request) -> dict[str, Any]:
    """List API versions."""
    link = {"rel": "self", "href": f"{req.base_url}/v2.0/"}
    return {"versions": [{"id": "v2.0", "status": "CURRENT", "links": [link]}]}


def resources(req: Request) -> dict[str, Any]:
    """List the API's collections."""
    found = []
    for collection, name in known.COLLECTIONS.items():
        link = {"rel": "self", "href": f"{req.base_url}/v2.0/{collection}"}
        found.append({"name": name, "collection": collection.replace("-", "_"), "links": [link]})
    return {"resources": found}


def extensions(req: Request) -> dict[str, Any]:
    """List extensions."""
    return {"extensions": [known.describe(alias) for alias in known.EXTENSIONS]}


def extension(req: Request, alias: str) -> dict[str, Any]:
    """Show an extension."""
    if alias not in known.EXTENSIONS:
        raise ExtensionNotFound(alias=alias)
    return {"extension": known.describe(alias)}


# -------------------------------------------------------------------------------------------------------- quotas


def list_quotas(req: Request) -> dict[str, Any]:
    """List projects with quotas of their own."""
    return {"quotas": logic.quota_list(req.svc, req.ctx)}


def _check_project(req: Request, project_id: str) -> None:
    guard.check_project_id(project_id)
    req.enforce({"project_id": project_id, "tenant_id": project_id})


def show_quota(req: Request, project_id: str) -> dict[str, Any]:
    """Show a project's quota."""
    if project_id in ("tenant", "project"):  # old clients ask so who they are
        return {"tenant": {"tenant_id": req.ctx.project_id, "project_id": req.ctx.project_id}}
    _check_project(req, project_id)
    return {"quota": logic.quota_limits(req.svc, req.ctx, project_id)}


def default_quota(req: Request, project_id: str) -> dict[str, Any]:
    """Show the quota of projects without one of their own."""
    _check_project(req, project_id)
    return {"quota": req.svc.quota_defaults}


def quota_details(req: Request, project_id: str) -> dict[str, Any]:
    """Show a project's quota and what it uses."""
    _check_project(req, project_id)
    return {"quota": logic.quota_details(req.svc, req.ctx, project_id)}


def update_quota(req: Request, project_id: str) -> dict[str, Any]:
    """Give a project a quota of its own."""
    guard.check_project_id(project_id)
    manners = ("project_id", "tenant_id", "force", "check_limit")
    sent = {name: int(value) for name, value in req.body["quota"].items() if name not in manners}
    check = to_bool(req.body["quota"].get("check_limit", False))
    return {"quota": logic.set_quota(req.svc, req.ctx, project_id, sent, check=check)}


def delete_quota(req: Request, project_id: str) -> None:
    """Let the default quota hold for a project."""
    logic.reset_quota(req.svc, req.ctx, project_id)


# ---------------------------------------------------------------------------------------------------------- tags


def tags(req: Request, collection: str, resource_id: str) -> dict[str, Any]:
    """List an object's tags."""
    return {"tags": logic.tags(req.svc, req.ctx, collection, resource_id)}


def replace_tags(req: Request, collection: str, resource_id: str) -> dict[str, Any]:
    """Replace an object's tags."""
    return {"tags": logic.replace_tags(req.svc, req.ctx, collection, resource_id, req.body["tags"])}


def delete_tags(req: Request, collection: str, resource_id: str) -> None:
    """Remove all of an object's tags."""
    logic.remove_tag(req.svc, req.ctx, collection, resource_id, None)


def has_tag(req: Request, collection: str, resource_id: str, tag: str) -> None:
    """Say whether an object has a tag."""
    logic.has_tag(req.svc, req.ctx, collection, resource_id, tag)


def add_tag(req: Request, collection: str, resource_id: str, tag: str) -> None:
    """Add a tag to an object."""
    logic.add_tag(req.svc, req.ctx, collection, resource_id, tag)


def delete_tag(req: Request, collection: str, resource_id: str, tag: str) -> None:
    """Remove a tag from an object."""
    logic.remove_tag(req.svc, req.ctx, collection, resource_id, tag)


# -------------------------------------------------------------------------------------------------- address use


def ip_availabilities(req: Request) -> dict[str, Any]:
    """List the use of addresses by network."""
    return {"network_ip_availabilities": logic.ip_availability(req.svc, req.ctx, req.listing.filters)}


def ip_availability(req: Request, network_id: str) -> dict[str, Any]:
    """Show the use of addresses of a network."""
    found = logic.ip_availability(req.svc, req.ctx, {"network_id": (network_id,)})
    if not found:
        raise NetworkNotFound(id=network_id)
    return {"network_ip_availability": found[0]}


def service_providers(req: Request) -> dict[str, Any]:
    """List service providers."""
    return {"service_providers": [{"service_type": "L3_ROUTER_NAT", "name": "single_node", "default": True}]}


# ----------------------------------------------------------------------------------------------------- topologies


def _whose(req: Request, project_id: str) -> str:
    """The project that is meant: the caller's own, unless an administrator names another."""
    wanted = req.ctx.project_id or "" if project_id in ("None", "null", "") else project_id
    guard.check_project_id(wanted)
    req.enforce({"project_id": wanted, "tenant_id": wanted})
    return wanted


def topology(req: Request, project_id: str) -> dict[str, Any]:
    """Show the ready-made topology of a project, made now if there is none (`fields=dry-run`: only if it could be)."""
    wanted = _whose(req, project_id)
    if "dry-run" in req.query.get("fields", ()):
        if topologies.find(req.svc, wanted) is None:
            topologies.outside(req.svc)
        return {"auto_allocated_topology": {"id": "dry-run=pass", "tenant_id": wanted, "project_id": wanted}}
    network_id = topologies.provide(req.svc, req.ctx, wanted)
    return {"auto_allocated_topology": {"id": network_id, "tenant_id": wanted, "project_id": wanted}}


def delete_topology(req: Request, project_id: str) -> None:
    """Delete the ready-made topology of a project."""
    topologies.remove(req.svc, req.ctx, _whose(req, project_id))
