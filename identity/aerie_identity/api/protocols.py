# SPDX-License-Identifier: Apache-2.0
"""Handlers of the protocols of identity providers."""

from __future__ import annotations

from typing import Any

from aerie_common.http import Request
from aerie_identity.api.common import collection, link, shown, values
from aerie_identity.api.identity_providers import PATH
from aerie_identity.db.models import Protocol
from aerie_identity.logic import protocols as logic
from aerie_identity.schemas.protocols import PROTOCOL


def _show(req: Request, row: Protocol) -> dict[str, Any]:
    body = shown(req, PROTOCOL, row, f"{PATH}/{row.idp_id}/protocols")
    body["links"]["identity_provider"] = link(req, PATH, row.idp_id)
    return body


def create(req: Request, idp_id: str, protocol_id: str) -> dict[str, Any]:
    """Add a protocol to an identity provider."""
    sent = values(PROTOCOL, req.body["protocol"], create=True)
    return {"protocol": _show(req, logic.create(req.svc, req.ctx, idp_id, protocol_id, sent))}


def list_(req: Request, idp_id: str) -> dict[str, Any]:
    """List the protocols of an identity provider."""
    return collection(req, "protocols", [_show(req, row) for row in logic.list_(req.svc, idp_id)])


def show(req: Request, idp_id: str, protocol_id: str) -> dict[str, Any]:
    """Show a protocol of an identity provider."""
    return {"protocol": _show(req, logic.show(req.svc, idp_id, protocol_id))}


def update(req: Request, idp_id: str, protocol_id: str) -> dict[str, Any]:
    """Change a protocol of an identity provider."""
    sent = values(PROTOCOL, req.body["protocol"])
    return {"protocol": _show(req, logic.update(req.svc, req.ctx, idp_id, protocol_id, sent))}


def delete(req: Request, idp_id: str, protocol_id: str) -> None:
    """Remove a protocol from an identity provider."""
    logic.delete(req.svc, req.ctx, idp_id, protocol_id)
