# SPDX-License-Identifier: Apache-2.0
"""Handlers of zone shares."""

from __future__ import annotations

from typing import Any

from aerie_common.http import Request
from aerie_dns import logic
from aerie_dns.api.common import caller, check_ids, listing, page
from aerie_dns.api.common import show as shown
from aerie_dns.db.nouns import Share
from aerie_dns.schemas.nouns import SHARE


def body(req: Request, share: Share) -> dict[str, Any]:
    zone = f"/v2/zones/{share.zone_id}"
    return shown(req, SHARE, share, f"{zone}/shares/{share.id}", zone=zone)


def list_(req: Request, zone_id: str) -> dict[str, Any]:
    """List the shares of a zone."""
    check_ids(zone_id=zone_id)
    asked = page(req, SHARE)
    found, total = logic.shares.list_(req.svc, caller(req), zone_id, asked)
    return listing(req, SHARE, ((body(req, share) for share in found), total), asked.limit)


def create(req: Request, zone_id: str) -> dict[str, Any]:
    """Share a zone with a project."""
    check_ids(zone_id=zone_id)
    return body(req, logic.shares.create(req.svc, caller(req), zone_id, **req.body))


def show(req: Request, zone_id: str, share_id: str) -> dict[str, Any]:
    """Show a share of a zone."""
    check_ids(zone_id=zone_id, zone_share_id=share_id)
    return body(req, logic.shares.show(req.svc, caller(req), zone_id, share_id))


def delete(req: Request, zone_id: str, share_id: str) -> None:
    """End a share of a zone."""
    check_ids(zone_id=zone_id, zone_share_id=share_id)
    logic.shares.delete(req.svc, caller(req), zone_id, share_id)
