# SPDX-License-Identifier: Apache-2.0
"""Handlers of record sets."""

from __future__ import annotations

from typing import Any

from aerie_common.http import Reply, Request
from aerie_dns import logic
from aerie_dns.api.common import caller, check_ids, listing, page
from aerie_dns.api.common import show as shown
from aerie_dns.db.recordsets import RecordSet
from aerie_dns.schemas.recordsets import RECORDSET


def body(req: Request, recordset: RecordSet) -> dict[str, Any]:
    return shown(req, RECORDSET, recordset, f"/v2/zones/{recordset.zone_id}/recordsets/{recordset.id}")


def list_(req: Request, zone_id: str) -> dict[str, Any]:
    """List the record sets of a zone."""
    check_ids(zone_id=zone_id)
    asked = page(req, RECORDSET, "data")
    found, total = logic.recordsets.list_(req.svc, caller(req), asked, zone_id)
    return listing(req, RECORDSET, ((body(req, recordset) for recordset in found), total), asked.limit)


def list_all(req: Request) -> dict[str, Any]:
    """List the record sets of all zones."""
    asked = page(req, RECORDSET, "data")
    found, total = logic.recordsets.list_(req.svc, caller(req), asked)
    return listing(req, RECORDSET, ((body(req, recordset) for recordset in found), total), asked.limit)


def create(req: Request, zone_id: str) -> Reply:
    """Create a record set."""
    check_ids(zone_id=zone_id)
    recordset = logic.recordsets.create(req.svc, caller(req), zone_id, **RECORDSET.values(req.body, with_defaults=True))
    value = body(req, recordset)
    return Reply(value, headers=[("Location", value["links"]["self"])])


def show(req: Request, zone_id: str, recordset_id: str) -> dict[str, Any]:
    """Show a record set."""
    check_ids(zone_id=zone_id, recordset_id=recordset_id)
    return body(req, logic.recordsets.show(req.svc, caller(req), zone_id, recordset_id))


def show_anywhere(req: Request, recordset_id: str) -> Reply:
    """Say where a record set is to be found."""
    check_ids(recordset_id=recordset_id)
    recordset = logic.recordsets.show_anywhere(req.svc, caller(req), recordset_id)
    where = f"{req.base_url}/v2/zones/{recordset.zone_id}/recordsets/{recordset.id}"
    return Reply(status=301, headers=[("Location", where)])


def update(req: Request, zone_id: str, recordset_id: str) -> dict[str, Any]:
    """Update a record set."""
    check_ids(zone_id=zone_id, recordset_id=recordset_id)
    return body(req, logic.recordsets.update(req.svc, caller(req), zone_id, recordset_id, **req.body))


def delete(req: Request, zone_id: str, recordset_id: str) -> dict[str, Any]:
    """Delete a record set."""
    check_ids(zone_id=zone_id, recordset_id=recordset_id)
    return body(req, logic.recordsets.delete(req.svc, caller(req), zone_id, recordset_id))
