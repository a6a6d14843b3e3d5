# SPDX-License-Identifier: Apache-2.0
"""Handlers of quotas and limits."""

from __future__ import annotations

from typing import Any

from aerie_common.errors import PolicyNotAuthorized
from aerie_common.http import Request
from aerie_dns import errors, logic
from aerie_dns.api.common import MAX_LIMIT, caller
from aerie_dns.names import MAX_NAME


def show_own(req: Request) -> dict[str, int]:
    """Show the quotas of the caller's project."""
    return logic.quotas.show(req.svc, caller(req).project_id)


def show(req: Request, project_id: str) -> dict[str, int]:
    """Show the quotas of a project."""
    who = caller(req)
    if who.scope not in (None, project_id) and not req.ctx.is_admin:
        raise PolicyNotAuthorized(action="get_quotas")
    return logic.quotas.show(req.svc, project_id)


def update(req: Request, project_id: str) -> dict[str, int]:
    """Set quotas of a project."""
    who = caller(req)
    if who.project_id is None and not who.all_projects:
        raise errors.MissingProject()
    return logic.quotas.update(req.svc, project_id, req.body)


def reset(req: Request, project_id: str) -> None:
    """Give a project the default quotas again."""
    logic.quotas.reset(req.svc, project_id)


def limits(req: Request) -> dict[str, Any]:
    """Show the limits that hold for the caller's project."""
    found = logic.quotas.show(req.svc, caller(req).project_id)
    return {
        "max_zones": found["zones"],
        "max_zone_recordsets": found["zone_recordsets"],
        "max_zone_records": found["zone_records"],
        "max_recordset_records": found["recordset_records"],
        "min_ttl": req.svc.conf.dns.min_ttl,
        "max_zone_name_length": MAX_NAME,
        "max_recordset_name_length": MAX_NAME,
        "max_page_limit": MAX_LIMIT,
    }
