# SPDX-License-Identifier: Apache-2.0
"""Handlers of OS-EP-FILTER: endpoints of projects, and endpoint groups."""

from __future__ import annotations

from typing import Any

from aerie_common.http import Request
from aerie_identity.api.common import collection, link, page, shown, values
from aerie_identity.logic import endpoint_filters as logic
from aerie_identity.schemas.catalog import ENDPOINT, ENDPOINT_GROUP
from aerie_identity.schemas.projects import PROJECT

_GROUPS = "OS-EP-FILTER/endpoint_groups"


def add_endpoint(req: Request, project_id: str, endpoint_id: str) -> None:
    """Show an endpoint in a project's catalog."""
    logic.add_endpoint(req.svc, req.ctx, project_id, endpoint_id)


def check_endpoint(req: Request, project_id: str, endpoint_id: str) -> None:
    """Check that an endpoint was chosen for a project."""
    logic.check_endpoint(req.svc, project_id, endpoint_id)


def remove_endpoint(req: Request, project_id: str, endpoint_id: str) -> None:
    """Take an endpoint out of a project's catalog."""
    logic.remove_endpoint(req.svc, req.ctx, project_id, endpoint_id)


def list_endpoints(req: Request, project_id: str) -> dict[str, Any]:
    """List the endpoints chosen for a project."""
    return collection(req, "endpoints", [shown(req, ENDPOINT, e) for e in logic.endpoints_of(req.svc, project_id)])


def list_projects(req: Request, endpoint_id: str) -> dict[str, Any]:
    """List the projects an endpoint was chosen for."""
    found = logic.projects_with(req.svc, endpoint_id)
    return collection(req, "projects", [shown(req, PROJECT, p, tags=[]) for p in found])


# -------------------------------------------------------------------------------------------------------------- groups


def create(req: Request) -> dict[str, Any]:
    """Create an endpoint group."""
    sent = values(ENDPOINT_GROUP, req.body["endpoint_group"], create=True)
    return {"endpoint_group": shown(req, ENDPOINT_GROUP, logic.create(req.svc, req.ctx, sent), _GROUPS)}


def list_(req: Request) -> dict[str, Any]:
    """List endpoint groups."""
    return page(req, ENDPOINT_GROUP, logic.list_(req.svc, req.listing), _GROUPS)


def show(req: Request, endpoint_group_id: str) -> dict[str, Any]:
    """Show an endpoint group."""
    return {"endpoint_group": shown(req, ENDPOINT_GROUP, logic.show(req.svc, endpoint_group_id), _GROUPS)}


def update(req: Request, endpoint_group_id: str) -> dict[str, Any]:
    """Change an endpoint group."""
    sent = values(ENDPOINT_GROUP, req.body["endpoint_group"])
    row = logic.update(req.svc, req.ctx, endpoint_group_id, sent)
    return {"endpoint_group": shown(req, ENDPOINT_GROUP, row, _GROUPS)}


def delete(req: Request, endpoint_group_id: str) -> None:
    """Delete an endpoint group."""
    logic.delete(req.svc, req.ctx, endpoint_group_id)


def list_group_endpoints(req: Request, endpoint_group_id: str) -> dict[str, Any]:
    """List the endpoints that fit an endpoint group."""
    found = logic.endpoints_in(req.svc, endpoint_group_id)
    return collection(req, "endpoints", [shown(req, ENDPOINT, e) for e in found])


def list_group_projects(req: Request, endpoint_group_id: str) -> dict[str, Any]:
    """List the projects an endpoint group was chosen for."""
    found = logic.projects_of(req.svc, endpoint_group_id)
    return collection(req, "projects", [shown(req, PROJECT, p, tags=[]) for p in found])


def list_groups_of_project(req: Request, project_id: str) -> dict[str, Any]:
    """List the endpoint groups chosen for a project."""
    found = logic.groups_of(req.svc, project_id)
    return collection(req, "endpoint_groups", [shown(req, ENDPOINT_GROUP, g, _GROUPS) for g in found])


def add_project(req: Request, endpoint_group_id: str, project_id: str) -> None:
    """Show an endpoint group's endpoints in a project's catalog."""
    logic.add_project(req.svc, req.ctx, endpoint_group_id, project_id)


def check_project(req: Request, endpoint_group_id: str, project_id: str) -> dict[str, Any]:
    """Check that an endpoint group was chosen for a project."""
    logic.check_project(req.svc, endpoint_group_id, project_id)
    address = link(req, _GROUPS, endpoint_group_id, "projects", project_id)
    found = {"endpoint_group_id": endpoint_group_id, "project_id": project_id, "links": {"self": address}}
    return {"project_endpoint_group": found}


def remove_project(req: Request, endpoint_group_id: str, project_id: str) -> None:
    """Take an endpoint group out of a project's catalog."""
    logic.remove_project(req.svc, req.ctx, endpoint_group_id, project_id)
