# SPDX-License-Identifier: Apache-2.0
"""Handlers of port forwardings."""

from __future__ import annotations

from typing import Any

from aerie_common.http import Request
from aerie_network.api import common
from aerie_network.logic import port_forwardings as logic
from aerie_network.schemas.routers import PORT_FORWARDING


def list_(req: Request, floatingip_id: str) -> dict[str, Any]:
    """List the port forwardings of a floating IP."""
    page = logic.page(req.svc, req.ctx, floatingip_id, req.listing)
    return common.listed(req, "port_forwardings", page, common.shower(req, PORT_FORWARDING))


def show(req: Request, floatingip_id: str, port_forwarding_id: str) -> dict[str, Any]:
    """Show a port forwarding."""
    found = logic.show(req.svc, req.ctx, floatingip_id, port_forwarding_id)
    return {"port_forwarding": common.shower(req, PORT_FORWARDING)(found)}


def create(req: Request, floatingip_id: str) -> dict[str, Any]:
    """Let one port of a floating IP lead to a port of a fixed address."""
    values = PORT_FORWARDING.values(req.body["port_forwarding"], with_defaults=True)
    return {
        "port_forwarding": common.shower(req, PORT_FORWARDING)(logic.create(req.svc, req.ctx, floatingip_id, values))
    }


def update(req: Request, floatingip_id: str, port_forwarding_id: str) -> dict[str, Any]:
    """Change a port forwarding."""
    values = PORT_FORWARDING.values(req.body["port_forwarding"])
    found = logic.update(req.svc, req.ctx, floatingip_id, port_forwarding_id, values)
    return {"port_forwarding": common.shower(req, PORT_FORWARDING)(found)}


def delete(req: Request, floatingip_id: str, port_forwarding_id: str) -> None:
    """Take a port forwarding away."""
    logic.delete(req.svc, req.ctx, floatingip_id, port_forwarding_id)
