# SPDX-License-Identifier: Apache-2.0
"""The rules of zone transfers between projects: one asks and gets a key, whoever has the key takes the zone."""

from __future__ import annotations

import hmac
import secrets
from typing import Any

from aerie_common.db import retried
from aerie_common.errors import BadRequest, Forbidden
from aerie_dns import errors
from aerie_dns.caller import Caller
from aerie_dns.container import Dns
from aerie_dns.db import nouns as db
from aerie_dns.db import recordsets as db_recordsets
from aerie_dns.db import zones as db_zones
from aerie_dns.db.nouns import TransferAccept, TransferRequest
from aerie_dns.db.rows import Connection, Duplicate
from aerie_dns.logic import quotas, zones
from aerie_dns.paging import Page

ACTIVE, COMPLETE = "ACTIVE", "COMPLETE"


@retried
def create_request(
    svc: Dns, caller: Caller, zone_id: str, *, target_project_id: str | None = None, description: str | None = None
) -> TransferRequest:
    """Offer a zone, to one project or to whoever has the key. DuplicateTransferRequest while another offer is open."""
    with svc.db.write() as conn:
        zone = zones.editable(conn, caller, zone_id)
        if target_project_id == zone.project_id:
            raise BadRequest("The zone belongs to that project already.")
        try:
            return db.TRANSFER_REQUEST.insert(
                conn,
                zone_id=zone_id,
                project_id=zone.project_id,
                target_project_id=target_project_id,
                key=secrets.token_urlsafe(24),
                description=description,
                status=ACTIVE,
                open_zone_id=zone_id,
            )
        except Duplicate:
            raise errors.DuplicateTransferRequest() from None


def _find_request(conn: Connection, caller: Caller, request_id: str, *, own: bool = False) -> TransferRequest:
    found = db.TRANSFER_REQUEST.get(conn, id=request_id)
    allowed = (None,) if found is None else (None, found.project_id, *(() if own else (found.target_project_id,)))
    if found is None or (caller.scope not in allowed and (own or found.target_project_id is not None)):
        raise errors.TransferRequestNotFound()
    return found


def sees_key(caller: Caller, request: TransferRequest) -> bool:
    """The key is for the side that offers."""
    return caller.scope in (None, request.project_id)


def list_requests(svc: Dns, caller: Caller, page: Page) -> tuple[list[TransferRequest], int]:
    """The offers a project made, and those made to it."""
    with svc.db.read() as conn:
        return db.TRANSFER_REQUEST.page(conn, page, db.offered_to(caller.scope))


def show_request(svc: Dns, caller: Caller, request_id: str) -> TransferRequest:
    """One offer. TransferRequestNotFound."""
    with svc.db.read() as conn:
        return _find_request(conn, caller, request_id)


@retried
def update_request(svc: Dns, caller: Caller, request_id: str, **values: Any) -> TransferRequest:
    """Change the description of an offer."""
    with svc.db.write() as conn:
        _find_request(conn, caller, request_id, own=True)
        db.TRANSFER_REQUEST.update(conn, request_id, values)
        return _find_request(conn, caller, request_id, own=True)


@retried
def delete_request(svc: Dns, caller: Caller, request_id: str) -> None:
    """Take an offer back."""
    with svc.db.write() as conn:
        _find_request(conn, caller, request_id, own=True)
        db.TRANSFER_REQUEST.delete(conn, id=request_id)


@retried
def accept(svc: Dns, caller: Caller, *, zone_transfer_request_id: str, key: str) -> TransferAccept:
    """Take an offered zone over, with its record sets. IncorrectTransferKey, InvalidTransfer, OverQuota."""
    if caller.project_id is None:
        raise errors.MissingProject()
    with svc.db.write() as conn:
        request = db.TRANSFER_REQUEST.get(conn, id=zone_transfer_request_id)
        if request is None:
            raise errors.TransferRequestNotFound()
        if caller.scope not in (None, request.project_id, request.target_project_id or caller.scope):
            raise Forbidden("The zone is offered to another project.")
        if request.status != ACTIVE:
            raise errors.InvalidTransfer("Zone Transfer Request has already been used")
        if not hmac.compare_digest(request.key, key):
            raise errors.IncorrectTransferKey()
        zone = db_zones.NOUN.get(conn, id=request.zone_id, lock=True)
        if zone is None:
            raise errors.ZoneNotFound()
        limit = quotas.limits(svc, conn, caller.project_id)["zones"]
        if not db_zones.claim(conn, caller.project_id, limit):
            raise errors.OverQuota(resource="zones", limit=limit)
        db_zones.release(conn, zone.project_id)
        db_zones.NOUN.update(conn, zone.id, {"project_id": caller.project_id})
        db_recordsets.change_owner(conn, zone.id, zone.project_id, caller.project_id)
        db.SHARE.delete(conn, zone_id=zone.id, target_project_id=caller.project_id)
        db.TRANSFER_REQUEST.update(conn, request.id, {"status": COMPLETE, "open_zone_id": None})
        return db.TRANSFER_ACCEPT.insert(
            conn,
            zone_transfer_request_id=request.id,
            zone_id=zone.id,
            project_id=caller.project_id,
            key=key,
            status=COMPLETE,
        )


def list_accepts(svc: Dns, caller: Caller, page: Page) -> tuple[list[TransferAccept], int]:
    """What was accepted."""
    with svc.db.read() as conn:
        mine: dict[str, Any] = {} if caller.scope is None else {"project_id": caller.scope}
        return db.TRANSFER_ACCEPT.page(conn, page, (), **mine)


def show_accept(svc: Dns, caller: Caller, accept_id: str) -> TransferAccept:
    """One of them. TransferAcceptNotFound."""
    with svc.db.read() as conn:
        found = db.TRANSFER_ACCEPT.get(conn, id=accept_id)
    if found is None or caller.scope not in (None, found.project_id):
        raise errors.TransferAcceptNotFound()
    return found
