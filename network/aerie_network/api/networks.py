# SPDX-License-Identifier: Apache-2.0
"""Handlers of networks."""

from __future__ import annotations

from typing import Any

from aerie_common.http import Request
from aerie_network.api import common
from aerie_network.logic import networks as logic
from aerie_network.schemas.networks import NETWORK
from aerie_network.schemas.networks import show as show_network


def _shower(req: Request) -> common.Show:
    only = common.fields(req)
    return lambda row: show_network(row, req.ctx, only)


def list_(req: Request) -> dict[str, Any]:
    """List networks."""
    return common.listed(req, "networks", logic.page(req.svc, req.ctx, req.listing), _shower(req))


def show(req: Request, network_id: str) -> dict[str, Any]:
    """Show one of the networks."""
    return {"network": _shower(req)(logic.show(req.svc, req.ctx, network_id))}


def create(req: Request) -> dict[str, Any]:
    """Create one or several networks."""
    values, many = common.wanted(req, NETWORK)
    return common.made(NETWORK, logic.create(req.svc, req.ctx, values), many, _shower(req))


def update(req: Request, network_id: str) -> dict[str, Any]:
    """Change a network."""
    values, revision = common.changes(req, NETWORK)
    return {"network": _shower(req)(logic.update(req.svc, req.ctx, network_id, values, revision))}


def delete(req: Request, network_id: str) -> None:
    """Delete a network with its subnets."""
    logic.delete(req.svc, req.ctx, network_id)
