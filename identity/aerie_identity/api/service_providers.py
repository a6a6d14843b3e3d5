# SPDX-License-Identifier: Apache-2.0
"""Handlers of service providers."""

from __future__ import annotations

from typing import Any

from aerie_common.http import Request
from aerie_identity.api.common import page, shown, values
from aerie_identity.logic import service_providers as logic
from aerie_identity.schemas.service_providers import SERVICE_PROVIDER

_PATH = "OS-FEDERATION/service_providers"


def create(req: Request, sp_id: str) -> dict[str, Any]:
    """Register a service provider."""
    sent = values(SERVICE_PROVIDER, req.body["service_provider"], create=True)
    return {"service_provider": shown(req, SERVICE_PROVIDER, logic.create(req.svc, req.ctx, sp_id, sent), _PATH)}


def list_(req: Request) -> dict[str, Any]:
    """List service providers."""
    return page(req, SERVICE_PROVIDER, logic.list_(req.svc, req.listing), _PATH)


def show(req: Request, sp_id: str) -> dict[str, Any]:
    """Show a service provider."""
    return {"service_provider": shown(req, SERVICE_PROVIDER, logic.show(req.svc, sp_id), _PATH)}


def update(req: Request, sp_id: str) -> dict[str, Any]:
    """Change a service provider."""
    row = logic.update(req.svc, req.ctx, sp_id, values(SERVICE_PROVIDER, req.body["service_provider"]))
    return {"service_provider": shown(req, SERVICE_PROVIDER, row, _PATH)}


def delete(req: Request, sp_id: str) -> None:
    """Delete a service provider."""
    logic.delete(req.svc, req.ctx, sp_id)
