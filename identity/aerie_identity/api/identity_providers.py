# SPDX-License-Identifier: Apache-2.0
"""Handlers of identity providers."""

from __future__ import annotations

from typing import Any

from aerie_common.http import Request
from aerie_identity.api.common import collection, shown, values
from aerie_identity.db.models import IdentityProvider
from aerie_identity.logic import identity_providers as logic
from aerie_identity.schemas.identity_providers import IDENTITY_PROVIDER

PATH = "OS-FEDERATION/identity_providers"


def _show(req: Request, row: IdentityProvider) -> dict[str, Any]:
    body = shown(req, IDENTITY_PROVIDER, row, PATH)
    body["links"]["protocols"] = f"{body['links']['self']}/protocols"
    return body


def create(req: Request, idp_id: str) -> dict[str, Any]:
    """Register an identity provider."""
    sent = values(IDENTITY_PROVIDER, req.body["identity_provider"], create=True)
    return {"identity_provider": _show(req, logic.create(req.svc, req.ctx, idp_id, sent))}


def list_(req: Request) -> dict[str, Any]:
    """List identity providers."""
    found = logic.list_(req.svc, req.listing)
    return collection(req, "identity_providers", [_show(req, row) for row in found.rows], found.more)


def show(req: Request, idp_id: str) -> dict[str, Any]:
    """Show an identity provider."""
    return {"identity_provider": _show(req, logic.show(req.svc, idp_id))}


def update(req: Request, idp_id: str) -> dict[str, Any]:
    """Change an identity provider."""
    sent = values(IDENTITY_PROVIDER, req.body["identity_provider"])
    return {"identity_provider": _show(req, logic.update(req.svc, req.ctx, idp_id, sent))}


def delete(req: Request, idp_id: str) -> None:
    """Delete an identity provider."""
    logic.delete(req.svc, req.ctx, idp_id)
