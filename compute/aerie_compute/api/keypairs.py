# SPDX-License-Identifier: Apache-2.0
"""Handlers of key pairs."""

from __future__ import annotations

from typing import Any

from aerie_common.http import Reply, Request
from aerie_compute.logic import keypairs
from aerie_compute.schemas.keypairs import full, short

FILTERS = frozenset({"user_id"})


def _owner(req: Request, user_id: str | None) -> str | None:
    """Another user's key pairs are administrators' business."""
    req.enforce({"user_id": user_id or req.ctx.user_id})
    return user_id


def create(req: Request) -> Reply:
    """Import or generate a key pair."""
    given = dict(req.body["keypair"])
    owner = _owner(req, given.pop("user_id", None))
    found = keypairs.create(req.svc, req.ctx, user_id=owner, **{**given, "name": given["name"].strip()})
    shown = {**short(found, req.version), "user_id": found.user_id}
    if found.private_key is not None:
        shown["private_key"] = found.private_key
    return Reply({"keypair": shown}, status=201 if req.version >= (2, 2) else 200)


def list_(req: Request) -> dict[str, Any]:
    """List key pairs."""
    paged = req.version >= (2, 35)
    owner = _owner(req, req.listing.one("user_id") if req.version >= (2, 10) else None)
    listing = req.listing
    found = keypairs.list_(
        req.svc,
        req.ctx,
        user_id=owner,
        limit=listing.limit if paged else None,
        marker=listing.marker if paged else None,
    )
    body: dict[str, Any] = {"keypairs": [{"keypair": short(k, req.version)} for k in found]}
    if paged and listing.limit is not None and found and len(found) >= listing.limit:
        body["keypairs_links"] = [{"rel": "next", "href": req.next_url(found[-1].name)}]
    return body


def show(req: Request, name: str) -> dict[str, Any]:
    """Show a key pair."""
    owner = _owner(req, req.query_one("user_id") if req.version >= (2, 10) else None)
    return {"keypair": full(keypairs.show(req.svc, req.ctx, name, owner), req.version)}


def delete(req: Request, name: str) -> Reply:
    """Delete a key pair."""
    owner = _owner(req, req.query_one("user_id") if req.version >= (2, 10) else None)
    keypairs.delete(req.svc, req.ctx, name, owner)
    return Reply(status=204 if req.version >= (2, 2) else 202)
