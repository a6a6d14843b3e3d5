# SPDX-License-Identifier: Apache-2.0
"""Handlers of domain-specific configuration."""

from __future__ import annotations

from typing import Any

from aerie_common.http import Reply, Request
from aerie_identity.logic import domain_config as logic


def replace(req: Request, domain_id: str) -> Reply:
    """Set a domain's configuration."""
    config, fresh = logic.replace(req.svc, req.ctx, domain_id, req.body["config"])
    return Reply({"config": config}, status=201 if fresh else 200)


def show(req: Request, domain_id: str, group: str | None = None, option: str | None = None) -> dict[str, Any]:
    """Show a domain's configuration, or a part of it."""
    if group == "security_compliance":
        req.enforce({}, "identity:get_security_compliance_domain_config")
        return {"config": logic.security_compliance(req.svc, domain_id, option)}
    req.enforce({})
    return {"config": logic.show(req.svc, domain_id, group, option)}


def update(req: Request, domain_id: str, group: str | None = None, option: str | None = None) -> dict[str, Any]:
    """Change a domain's configuration, or a part of it."""
    return {"config": logic.update(req.svc, req.ctx, domain_id, group, option, req.body["config"])}


def delete(req: Request, domain_id: str, group: str | None = None, option: str | None = None) -> None:
    """Delete a domain's configuration, or a part of it."""
    logic.delete(req.svc, req.ctx, domain_id, group, option)


def default(req: Request, group: str | None = None, option: str | None = None) -> dict[str, Any]:
    """Show what options are when a domain does not set them."""
    return {"config": logic.default(group, option)}
