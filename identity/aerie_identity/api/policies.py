# SPDX-License-Identifier: Apache-2.0
"""Handlers of policy documents and OAuth consumers."""

from __future__ import annotations

from typing import Any

from aerie_common.errors import BadRequest
from aerie_common.http import Request
from aerie_identity.api.common import page, shown, values
from aerie_identity.logic import policies as logic
from aerie_identity.schemas.policies import CONSUMER, POLICY

_CONSUMERS = "OS-OAUTH1/consumers"


def create(req: Request) -> dict[str, Any]:
    """Store a policy document."""
    sent = values(POLICY, req.body["policy"], create=True)
    return {"policy": shown(req, POLICY, logic.create(req.svc, req.ctx, sent))}


def list_(req: Request) -> dict[str, Any]:
    """List policy documents."""
    return page(req, POLICY, logic.list_(req.svc, req.listing))


def show(req: Request, policy_id: str) -> dict[str, Any]:
    """Show a policy document."""
    return {"policy": shown(req, POLICY, logic.show(req.svc, policy_id))}


def update(req: Request, policy_id: str) -> dict[str, Any]:
    """Change a policy document."""
    return {"policy": shown(req, POLICY, logic.update(req.svc, req.ctx, policy_id, values(POLICY, req.body["policy"])))}


def delete(req: Request, policy_id: str) -> None:
    """Delete a policy document."""
    logic.delete(req.svc, req.ctx, policy_id)


# ---------------------------------------------------------------------------------------------------------- consumers


def create_consumer(req: Request) -> dict[str, Any]:
    """Register an OAuth consumer."""
    row = logic.create_consumer(req.svc, req.ctx, values(CONSUMER, req.body["consumer"], create=True))
    return {"consumer": shown(req, CONSUMER, row, _CONSUMERS, secret=row.secret)}


def list_consumers(req: Request) -> dict[str, Any]:
    """List OAuth consumers."""
    return page(req, CONSUMER, logic.list_consumers(req.svc, req.listing), _CONSUMERS)


def show_consumer(req: Request, consumer_id: str) -> dict[str, Any]:
    """Show an OAuth consumer."""
    return {"consumer": shown(req, CONSUMER, logic.show_consumer(req.svc, consumer_id), _CONSUMERS)}


def update_consumer(req: Request, consumer_id: str) -> dict[str, Any]:
    """Change an OAuth consumer."""
    if "secret" in req.body["consumer"]:
        raise BadRequest("The secret of a consumer cannot be changed.")
    row = logic.update_consumer(req.svc, req.ctx, consumer_id, values(CONSUMER, req.body["consumer"]))
    return {"consumer": shown(req, CONSUMER, row, _CONSUMERS)}


def delete_consumer(req: Request, consumer_id: str) -> None:
    """Delete an OAuth consumer."""
    logic.delete_consumer(req.svc, req.ctx, consumer_id)
