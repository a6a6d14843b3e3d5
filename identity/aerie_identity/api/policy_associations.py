# SPDX-License-Identifier: Apache-2.0
"""Handlers of OS-ENDPOINT-POLICY: policy documents of endpoints, of services, and of services in a region."""

from __future__ import annotations

from typing import Any

from aerie_common.http import Request
from aerie_identity.api.common import collection, shown
from aerie_identity.db.policy_associations import Place
from aerie_identity.logic import policy_associations as logic
from aerie_identity.schemas.catalog import ENDPOINT
from aerie_identity.schemas.policies import POLICY


def create(req: Request, policy_id: str, **place: str) -> None:
    """Associate a policy document with an endpoint or a service."""
    logic.create(req.svc, req.ctx, policy_id, Place(**place))


def check(req: Request, policy_id: str, **place: str) -> None:
    """Check that a policy document is associated with an endpoint or a service."""
    logic.check(req.svc, policy_id, Place(**place))


def delete(req: Request, policy_id: str, **place: str) -> None:
    """Take a policy document from an endpoint or a service."""
    logic.delete(req.svc, req.ctx, policy_id, Place(**place))


def show_policy(req: Request, endpoint_id: str) -> dict[str, Any]:
    """Show the policy document that counts for an endpoint."""
    return {"policy": shown(req, POLICY, logic.policy_for(req.svc, endpoint_id))}


def list_endpoints(req: Request, policy_id: str) -> dict[str, Any]:
    """List the endpoints for which a policy document counts."""
    return collection(req, "endpoints", [shown(req, ENDPOINT, e) for e in logic.endpoints_of(req.svc, policy_id)])
