# SPDX-License-Identifier: Apache-2.0
"""Handlers of subnets."""

from __future__ import annotations

from typing import Any

from aerie_common.http import Request
from aerie_network.api import common
from aerie_network.logic import subnets as logic
from aerie_network.schemas.subnets import SUBNET


def _shower(req: Request) -> common.Show:
    return common.shower(req, SUBNET)


def list_(req: Request) -> dict[str, Any]:
    """List subnets."""
    return common.listed(req, "subnets", logic.page(req.svc, req.ctx, req.listing), _shower(req))


def show(req: Request, subnet_id: str) -> dict[str, Any]:
    """Show one of the subnets."""
    return {"subnet": _shower(req)(logic.show(req.svc, req.ctx, subnet_id))}


def create(req: Request) -> dict[str, Any]:
    """Create one or several subnets."""
    values, many = common.wanted(req, SUBNET)
    return common.made(SUBNET, logic.create(req.svc, req.ctx, values), many, _shower(req))


def update(req: Request, subnet_id: str) -> dict[str, Any]:
    """Change a subnet."""
    values, revision = common.changes(req, SUBNET)
    return {"subnet": _shower(req)(logic.update(req.svc, req.ctx, subnet_id, values, revision))}


def delete(req: Request, subnet_id: str) -> None:
    """Delete a subnet."""
    logic.delete(req.svc, req.ctx, subnet_id)
