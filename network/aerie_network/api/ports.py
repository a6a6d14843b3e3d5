# SPDX-License-Identifier: Apache-2.0
"""Handlers of ports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from aerie_common.http import Request
from aerie_network.api import common
from aerie_network.db.ports import Port
from aerie_network.logic import ports as logic
from aerie_network.logic.work import privileged
from aerie_network.schemas.common import unwrap
from aerie_network.schemas.ports import PORT
from aerie_network.schemas.ports import show as show_port


def _shower(req: Request) -> common.Show:
    only, domain = common.fields(req), req.svc.conf.dns_domain
    return lambda row: show_port(row, req.ctx, domain, only)


def _quick_shower(req: Request) -> Callable[[Port], Any]:
    """The same for lists: whole ports are rendered once for each kind of caller."""
    if common.fields(req):
        return _shower(req)
    render, cache, kind = _shower(req), req.svc.port_cache, privileged(req.ctx)
    return lambda port: orjson.Fragment(cache.shown(port, kind, lambda: orjson.dumps(render(port))))


def list_(req: Request) -> dict[str, Any]:
    """List ports."""
    return common.listed(req, "ports", logic.page(req.svc, req.ctx, req.listing), _quick_shower(req))


def show(req: Request, port_id: str) -> dict[str, Any]:
    """Show one of the ports."""
    return {"port": _shower(req)(logic.show(req.svc, req.ctx, port_id))}


def create(req: Request) -> dict[str, Any]:
    """Create one or several ports, all or none."""
    values, many = common.wanted(req, PORT, check=False)  # what may be sent depends on the network: checked there
    sent, _ = unwrap(PORT, req.body)
    for item, original in zip(values, sent, strict=True):
        item["sent"] = original
    return common.made(PORT, logic.create(req.svc, req.ctx, values), many, _shower(req))


def update(req: Request, port_id: str) -> dict[str, Any]:
    """Change a port."""
    values, revision = common.changes(req, PORT, check=False)
    values["sent"] = req.body["port"]
    return {"port": _shower(req)(logic.update(req.svc, req.ctx, port_id, values, revision))}


def delete(req: Request, port_id: str) -> None:
    """Delete a port."""
    logic.delete(req.svc, req.ctx, port_id)
