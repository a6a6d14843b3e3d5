# SPDX-License-Identifier: Apache-2.0
"""Handlers of floating addresses (until 2.35), and of the actions which let them lead to servers (until 2.43)."""

from __future__ import annotations

from typing import Any

from aerie_common import schema
from aerie_common.http import Request
from aerie_compute.logic import floating_ips

NEW = schema.obj({"pool": schema.string(1, 255)}, nullable=True, extra=True)


def _shown(ip: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": ip["id"],
        "ip": ip["floating_ip_address"],
        "fixed_ip": ip["fixed_ip_address"],
        "pool": ip["pool"],
        "instance_id": (ip.get("port_details") or {}).get("device_id"),
    }


def list_(req: Request) -> dict[str, Any]:
    """List floating addresses."""
    return {"floating_ips": [_shown(ip) for ip in floating_ips.list_(req.svc, req.ctx)]}


def show(req: Request, floating_ip_id: str) -> dict[str, Any]:
    """Show a floating address."""
    return {"floating_ip": _shown(floating_ips.show(req.svc, req.ctx, floating_ip_id))}


def create(req: Request) -> dict[str, Any]:
    """Take a floating address from a pool."""
    return {"floating_ip": _shown(floating_ips.create(req.svc, req.ctx, (req.body or {}).get("pool")))}


def delete(req: Request, floating_ip_id: str) -> None:
    """Give a floating address back."""
    floating_ips.delete(req.svc, req.ctx, floating_ip_id)


def pools(req: Request) -> dict[str, Any]:
    """List pools of floating addresses."""
    return {"floating_ip_pools": [{"name": name} for name in floating_ips.pools(req.svc, req.ctx)]}


def add(req: Request, server_id: str) -> None:
    """Let a floating address lead to a server."""
    given = req.body["addFloatingIp"]
    floating_ips.add(req.svc, req.ctx, server_id, given["address"], given.get("fixed_address"))


def remove(req: Request, server_id: str) -> None:
    """Let a floating address lead nowhere."""
    floating_ips.remove(req.svc, req.ctx, server_id, req.body["removeFloatingIp"]["address"])
