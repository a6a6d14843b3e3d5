# SPDX-License-Identifier: Apache-2.0
"""Handlers of logins by identity providers."""

from __future__ import annotations

from typing import Any

from aerie_common.http import Reply, Request
from aerie_identity.api import tokens
from aerie_identity.logic import federation as logic


def bearer(req: Request) -> str | None:
    """The identity provider's token, which the client sends as a bearer's."""
    kind, _, token = (req.header("Authorization") or "").partition(" ")
    return token.strip() or None if kind.lower() == "bearer" else None


def log_in(req: Request, idp_id: str, protocol_id: str) -> Reply:
    """Exchange a token of an identity provider for an unscoped token."""
    return tokens.answer(req, lambda: logic.log_in(req.svc, idp_id, protocol_id, bearer(req)))


def list_projects(req: Request) -> dict[str, Any]:
    """List the projects a token of a federated user can be scoped to."""
    return tokens.list_projects(req)


def list_domains(req: Request) -> dict[str, Any]:
    """List the domains a token of a federated user can be scoped to."""
    return tokens.list_domains(req)
