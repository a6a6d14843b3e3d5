# SPDX-License-Identifier: Apache-2.0
"""Handlers of zones."""

from __future__ import annotations

from typing import Any

from aerie_common.http import Reply, Request
from aerie_dns import logic
from aerie_dns.api.common import caller, check_ids, listing, page
from aerie_dns.api.common import show as shown
from aerie_dns.db.zones import Zone
from aerie_dns.schemas.zones import ZONE


def body(req: Request, zone: Zone) -> dict[str, Any]:
    return shown(req, ZONE, zone, f"/v2/zones/{zone.id}")


def list_(req: Request) -> dict[str, Any]:
    """List zones."""
    asked = page(req, ZONE)
    found, total = logic.zones.list_(req.svc, caller(req), asked)
    return listing(req, ZONE, ((body(req, zone) for zone in found), total), asked.limit)


def create(req: Request) -> Reply:
    """Create a zone."""
    zone = logic.zones.create(req.svc, caller(req), **ZONE.values(req.body, with_defaults=True))
    value = body(req, zone)
    return Reply(value, headers=[("Location", value["links"]["self"])])


def show(req: Request, zone_id: str) -> dict[str, Any]:
    """Show a zone."""
    check_ids(zone_id=zone_id)
    return body(req, logic.zones.show(req.svc, caller(req), zone_id))


def update(req: Request, zone_id: str) -> dict[str, Any]:
    """Update a zone."""
    check_ids(zone_id=zone_id)
    return body(req, logic.zones.update(req.svc, caller(req), zone_id, **req.body))


def delete(req: Request, zone_id: str) -> dict[str, Any]:
    """Delete a zone."""
    check_ids(zone_id=zone_id)
    return body(req, logic.zones.delete(req.svc, caller(req), zone_id))


def nameservers(req: Request, zone_id: str) -> dict[str, Any]:
    """List the name servers of a zone."""
    check_ids(zone_id=zone_id)
    found = logic.zones.nameservers(req.svc, caller(req), zone_id)
    return {"nameservers": [{"hostname": name, "priority": i + 1} for i, name in enumerate(found)]}


def abandon(req: Request, zone_id: str) -> None:
    """Forget a zone and leave it on its name servers."""
    check_ids(zone_id=zone_id)
    logic.zones.abandon(req.svc, caller(req), zone_id)


def transfer(req: Request, zone_id: str) -> None:
    """Fetch a secondary zone from its masters now."""
    check_ids(zone_id=zone_id)
    logic.zones.transfer(req.svc, caller(req), zone_id)
