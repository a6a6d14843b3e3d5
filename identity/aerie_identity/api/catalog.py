# SPDX-License-Identifier: Apache-2.0
"""Handlers of regions, services and endpoints."""

from __future__ import annotations

from typing import Any

from aerie_common.errors import BadRequest
from aerie_common.http import Request
from aerie_identity.api.common import page, shown, values
from aerie_identity.logic import catalog as logic
from aerie_identity.schemas.catalog import ENDPOINT, REGION, SERVICE

# ------------------------------------------------------------------------------------------------------------ regions


def create_region(req: Request) -> dict[str, Any]:
    """Create a region."""
    sent = values(REGION, req.body["region"], create=True)
    return {"region": shown(req, REGION, logic.create_region(req.svc, req.ctx, sent))}


def put_region(req: Request, region_id: str) -> dict[str, Any]:
    """Create a region with a chosen id."""
    sent = values(REGION, req.body["region"], create=True)
    if sent.setdefault("id", region_id) != region_id:
        raise BadRequest("The id in the body is not the one in the address.")
    return {"region": shown(req, REGION, logic.create_region(req.svc, req.ctx, sent))}


def list_regions(req: Request) -> dict[str, Any]:
    """List regions."""
    return page(req, REGION, logic.list_regions(req.svc, req.listing))


def show_region(req: Request, region_id: str) -> dict[str, Any]:
    """Show a region."""
    return {"region": shown(req, REGION, logic.show_region(req.svc, region_id))}


def update_region(req: Request, region_id: str) -> dict[str, Any]:
    """Change a region."""
    sent = values(REGION, req.body["region"])
    return {"region": shown(req, REGION, logic.update_region(req.svc, req.ctx, region_id, sent))}


def delete_region(req: Request, region_id: str) -> None:
    """Delete a region that has no endpoints and none below it."""
    logic.delete_region(req.svc, req.ctx, region_id)


# ----------------------------------------------------------------------------------------------------------- services


def create_service(req: Request) -> dict[str, Any]:
    """Create a service."""
    sent = values(SERVICE, req.body["service"], create=True)
    return {"service": shown(req, SERVICE, logic.create_service(req.svc, req.ctx, sent))}


def list_services(req: Request) -> dict[str, Any]:
    """List services."""
    return page(req, SERVICE, logic.list_services(req.svc, req.listing))


def show_service(req: Request, service_id: str) -> dict[str, Any]:
    """Show a service."""
    return {"service": shown(req, SERVICE, logic.show_service(req.svc, service_id))}


def update_service(req: Request, service_id: str) -> dict[str, Any]:
    """Change a service."""
    sent = values(SERVICE, req.body["service"])
    return {"service": shown(req, SERVICE, logic.update_service(req.svc, req.ctx, service_id, sent))}


def delete_service(req: Request, service_id: str) -> None:
    """Delete a service with its endpoints."""
    logic.delete_service(req.svc, req.ctx, service_id)


# ---------------------------------------------------------------------------------------------------------- endpoints


def create_endpoint(req: Request) -> dict[str, Any]:
    """Create an endpoint."""
    sent = values(ENDPOINT, req.body["endpoint"], create=True)
    return {"endpoint": shown(req, ENDPOINT, logic.create_endpoint(req.svc, req.ctx, sent))}


def list_endpoints(req: Request) -> dict[str, Any]:
    """List endpoints."""
    return page(req, ENDPOINT, logic.list_endpoints(req.svc, req.listing))


def show_endpoint(req: Request, endpoint_id: str) -> dict[str, Any]:
    """Show an endpoint."""
    return {"endpoint": shown(req, ENDPOINT, logic.show_endpoint(req.svc, endpoint_id))}


def update_endpoint(req: Request, endpoint_id: str) -> dict[str, Any]:
    """Change an endpoint."""
    sent = values(ENDPOINT, req.body["endpoint"])
    return {"endpoint": shown(req, ENDPOINT, logic.update_endpoint(req.svc, req.ctx, endpoint_id, sent))}


def delete_endpoint(req: Request, endpoint_id: str) -> None:
    """Delete an endpoint."""
    logic.delete_endpoint(req.svc, req.ctx, endpoint_id)
