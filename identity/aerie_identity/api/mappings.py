# SPDX-License-Identifier: Apache-2.0
"""Handlers of mappings."""

from __future__ import annotations

from typing import Any

from aerie_common.http import Request
from aerie_identity.api.common import page, shown, values
from aerie_identity.logic import mappings as logic
from aerie_identity.schemas.mappings import MAPPING

_PATH = "OS-FEDERATION/mappings"


def create(req: Request, mapping_id: str) -> dict[str, Any]:
    """Register a mapping."""
    sent = values(MAPPING, req.body["mapping"], create=True)
    return {"mapping": shown(req, MAPPING, logic.create(req.svc, req.ctx, mapping_id, sent), _PATH)}


def list_(req: Request) -> dict[str, Any]:
    """List mappings."""
    return page(req, MAPPING, logic.list_(req.svc, req.listing), _PATH)


def show(req: Request, mapping_id: str) -> dict[str, Any]:
    """Show a mapping."""
    return {"mapping": shown(req, MAPPING, logic.show(req.svc, mapping_id), _PATH)}


def update(req: Request, mapping_id: str) -> dict[str, Any]:
    """Change a mapping."""
    row = logic.update(req.svc, req.ctx, mapping_id, values(MAPPING, req.body["mapping"]))
    return {"mapping": shown(req, MAPPING, row, _PATH)}


def delete(req: Request, mapping_id: str) -> None:
    """Delete a mapping."""
    logic.delete(req.svc, req.ctx, mapping_id)
