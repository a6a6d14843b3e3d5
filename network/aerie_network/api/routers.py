# SPDX-License-Identifier: Apache-2.0
"""Handlers of routers."""

from __future__ import annotations

from typing import Any

from aerie_common.http import Request
from aerie_network.api import common
from aerie_network.logic import routers as logic
from aerie_network.schemas.routers import ROUTER
from aerie_network.schemas.routers import show as show_router


def _shower(req: Request) -> common.Show:
    only = common.fields(req)
    return lambda row: show_router(row, req.ctx, only)


def list_(req: Request) -> dict[str, Any]:
    """List routers."""
    return common.listed(req, "routers", logic.page(req.svc, req.ctx, req.listing), _shower(req))


def show(req: Request, router_id: str) -> dict[str, Any]:
    """Show one of the routers."""
    return {"router": _shower(req)(logic.show(req.svc, req.ctx, router_id))}


def create(req: Request) -> dict[str, Any]:
    """Create one or several routers."""
    values, many = common.wanted(req, ROUTER)
    return common.made(ROUTER, logic.create(req.svc, req.ctx, values), many, _shower(req))


def update(req: Request, router_id: str) -> dict[str, Any]:
    """Change a router, its gateway or its routes."""
    values, revision = common.changes(req, ROUTER)
    return {"router": _shower(req)(logic.update(req.svc, req.ctx, router_id, values, revision))}


def delete(req: Request, router_id: str) -> None:
    """Delete a router."""
    logic.delete(req.svc, req.ctx, router_id)


def _interface(done: logic.Interface) -> dict[str, Any]:
    return {
        "id": done.router.id,
        "tenant_id": done.router.project_id,
        "project_id": done.router.project_id,
        "port_id": done.port_id,
        "network_id": done.network_id,
        "subnet_id": done.subnet_ids[0] if done.subnet_ids else None,
        "subnet_ids": list(done.subnet_ids),
        "tags": list(done.router.tags),
    }


def add_interface(req: Request, router_id: str) -> dict[str, Any]:
    """Attach a subnet or a port to a router."""
    body = req.body
    return _interface(logic.add_interface(req.svc, req.ctx, router_id, body.get("subnet_id"), body.get("port_id")))


def remove_interface(req: Request, router_id: str) -> dict[str, Any]:
    """Detach a subnet or a port from a router."""
    body = req.body
    return _interface(logic.remove_interface(req.svc, req.ctx, router_id, body.get("subnet_id"), body.get("port_id")))


def add_routes(req: Request, router_id: str) -> dict[str, Any]:
    """Add extra routes to a router."""
    routes = req.body["router"]["routes"]
    return {"router": _shower(req)(logic.change_routes(req.svc, req.ctx, router_id, routes, add=True))}


def remove_routes(req: Request, router_id: str) -> dict[str, Any]:
    """Remove extra routes from a router."""
    routes = req.body["router"]["routes"]
    return {"router": _shower(req)(logic.change_routes(req.svc, req.ctx, router_id, routes, add=False))}
