# SPDX-License-Identifier: Apache-2.0
"""Handlers of zone transfers between projects."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson

from aerie_common import schema
from aerie_common.errors import BadRequest
from aerie_common.http import Reply, Request
from aerie_dns import logic
from aerie_dns.api.common import caller, check_ids, listing, page
from aerie_dns.api.common import show as shown
from aerie_dns.db.nouns import TransferAccept, TransferRequest
from aerie_dns.schemas.nouns import TRANSFER_ACCEPT, TRANSFER_REQUEST

ROOT = "/v2/zones/tasks"
MAX_BODY = 64 << 10
_check_offer = schema.compile_schema(TRANSFER_REQUEST.object_schema("create"))
FOR_THE_OWNER = ("project_id", "target_project_id", "key", "created_at", "updated_at")


def request_body(req: Request, request: TransferRequest, *, whole: bool) -> dict[str, Any]:
    """Only the side that offers sees the key and the projects."""
    body = shown(req, TRANSFER_REQUEST, request, f"{ROOT}/transfer_requests/{request.id}")
    if not whole:
        for name in FOR_THE_OWNER:
            del body[name]
    return body


def create_request(req: Request, zone_id: str) -> Reply:
    """Offer a zone to another project."""
    check_ids(zone_id=zone_id)
    values = TRANSFER_REQUEST.values(_offer(req), with_defaults=True)
    request = logic.transfers.create_request(req.svc, caller(req), zone_id, **values)
    body = request_body(req, request, whole=True)
    return Reply(body, headers=[("Location", body["links"]["self"])])


def _offer(req: Request) -> dict[str, Any]:
    """The body, which clients leave out when they have nothing to say."""
    raw = req.stream.read(min(int(req.header("Content-Length") or 0), MAX_BODY))
    try:
        sent = (orjson.loads(raw) if raw.strip() else None) or {}
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The request body is not valid JSON: {error}") from None
    _check_offer(sent)
    return dict(sent)


def list_requests(req: Request) -> dict[str, Any]:
    """List offers of zones."""
    who, asked = caller(req), page(req, TRANSFER_REQUEST)
    found, total = logic.transfers.list_requests(req.svc, who, asked)
    bodies = (request_body(req, r, whole=logic.transfers.sees_key(who, r)) for r in found)
    return listing(req, TRANSFER_REQUEST, (bodies, total), asked.limit)


def show_request(req: Request, request_id: str) -> dict[str, Any]:
    """Show an offer of a zone."""
    check_ids(transfer_request_id=request_id)
    who = caller(req)
    request = logic.transfers.show_request(req.svc, replace(who, all_projects=req.ctx.is_admin), request_id)
    return request_body(req, request, whole=logic.transfers.sees_key(who, request))


def update_request(req: Request, request_id: str) -> dict[str, Any]:
    """Change the description of an offer."""
    check_ids(transfer_request_id=request_id)
    return request_body(req, logic.transfers.update_request(req.svc, caller(req), request_id, **req.body), whole=True)


def delete_request(req: Request, request_id: str) -> None:
    """Take an offer back."""
    check_ids(transfer_request_id=request_id)
    logic.transfers.delete_request(req.svc, caller(req), request_id)


def accept_body(req: Request, accept: TransferAccept) -> dict[str, Any]:
    own = f"{ROOT}/transfer_accepts/{accept.id}"
    return shown(req, TRANSFER_ACCEPT, accept, own, zone=f"/v2/zones/{accept.zone_id}")


def accept(req: Request) -> Reply:
    """Take an offered zone over."""
    body = accept_body(req, logic.transfers.accept(req.svc, caller(req), **req.body))
    return Reply(body, headers=[("Location", body["links"]["self"])])


def list_accepts(req: Request) -> dict[str, Any]:
    """List the zones that were taken over."""
    asked = page(req, TRANSFER_ACCEPT)
    found, total = logic.transfers.list_accepts(req.svc, caller(req), asked)
    return listing(req, TRANSFER_ACCEPT, ((accept_body(req, a) for a in found), total), asked.limit)


def show_accept(req: Request, accept_id: str) -> dict[str, Any]:
    """Show how a zone was taken over."""
    check_ids(transfer_accept_id=accept_id)
    return accept_body(req, logic.transfers.show_accept(req.svc, caller(req), accept_id))
