# SPDX-License-Identifier: Apache-2.0
"""Handlers of floating IPs."""

from __future__ import annotations

from typing import Any

from aerie_common.http import Request
from aerie_network.api import common
from aerie_network.logic import floatingips as logic
from aerie_network.schemas.routers import FLOATING_IP


def _shower(req: Request) -> common.Show:
    return common.shower(req, FLOATING_IP)


def list_(req: Request) -> dict[str, Any]:
    """List floating IPs."""
    return common.listed(req, "floatingips", logic.page(req.svc, req.ctx, req.listing), _shower(req))


def show(req: Request, floatingip_id: str) -> dict[str, Any]:
    """Show one of the floating IPs."""
    return {"floatingip": _shower(req)(logic.show(req.svc, req.ctx, floatingip_id))}


def create(req: Request) -> dict[str, Any]:
    """Take a floating IP."""
    [values], _ = common.wanted(req, FLOATING_IP, check=False)
    found = logic.create(req.svc, req.ctx, values, req.body["floatingip"])
    return {"floatingip": _shower(req)(found)}


def update(req: Request, floatingip_id: str) -> dict[str, Any]:
    """Let a floating IP lead to another port, or to none."""
    values, revision = common.changes(req, FLOATING_IP)
    return {"floatingip": _shower(req)(logic.update(req.svc, req.ctx, floatingip_id, values, revision))}


def delete(req: Request, floatingip_id: str) -> None:
    """Give a floating IP back."""
    logic.delete(req.svc, req.ctx, floatingip_id)
