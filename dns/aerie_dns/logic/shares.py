# SPDX-License-Identifier: Apache-2.0
"""The rules of zone shares: another project may see a zone and make record sets of its own in it."""

from __future__ import annotations

from typing import Any

from aerie_common.db import retried
from aerie_common.errors import BadRequest
from aerie_dns import errors, states
from aerie_dns.caller import Caller
from aerie_dns.container import Dns
from aerie_dns.db import nouns as db
from aerie_dns.db import recordsets as db_recordsets
from aerie_dns.db.nouns import Share
from aerie_dns.db.rows import Duplicate
from aerie_dns.logic import zones
from aerie_dns.paging import Page


@retried
def create(svc: Dns, caller: Caller, zone_id: str, *, target_project_id: str) -> Share:
    """Share a zone with a project. DuplicateSharedZone."""
    with svc.db.write() as conn:
        zone = zones.editable(conn, caller, zone_id)
        if target_project_id == zone.project_id:
            raise BadRequest("Cannot share the zone with the zone owner.")
        try:
            return db.SHARE.insert(
                conn,
                zone_id=zone_id,
                project_id=caller.project_id or zone.project_id,
                target_project_id=target_project_id,
            )
        except Duplicate:
            raise errors.DuplicateSharedZone() from None


def list_(svc: Dns, caller: Caller, zone_id: str, page: Page) -> tuple[list[Share], int]:
    """The shares of a zone: all of them for its owner, its own for a project it is shared with."""
    with svc.db.read() as conn:
        zone = zones.find(conn, caller, zone_id)
        mine: dict[str, Any] = {} if caller.scope in (None, zone.project_id) else {"target_project_id": caller.scope}
        return db.SHARE.page(conn, page, (), zone_id=zone_id, **mine)


def show(svc: Dns, caller: Caller, zone_id: str, share_id: str) -> Share:
    """One share. SharedZoneNotFound."""
    with svc.db.read() as conn:
        zone = zones.find(conn, caller, zone_id)
        share = db.SHARE.get(conn, id=share_id, zone_id=zone_id)
    if share is None or caller.scope not in (None, zone.project_id, share.target_project_id):
        raise errors.SharedZoneNotFound()
    return share


@retried
def delete(svc: Dns, caller: Caller, zone_id: str, share_id: str) -> None:
    """End a share. SharedZoneHasRecordSets while the project still has record sets in the zone."""
    with svc.db.write() as conn:
        zone = zones.find(conn, caller, zone_id, own=True, lock=True)
        share = db.SHARE.get(conn, id=share_id, zone_id=zone.id)
        if share is None:
            raise errors.SharedZoneNotFound()
        theirs = db_recordsets.NOUN.all(conn, zone_id=zone_id, project_id=share.target_project_id)
        if any(recordset.action != states.DELETE for recordset in theirs):
            raise errors.SharedZoneHasRecordSets()
        db.SHARE.delete(conn, id=share_id)
