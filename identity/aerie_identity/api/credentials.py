# SPDX-License-Identifier: Apache-2.0
"""Handlers of credentials, EC2 keys and tokens for signed requests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from aerie_common.errors import Forbidden
from aerie_common.http import Reply, Request
from aerie_identity.api.common import collection, hidden, link, page, shown, values
from aerie_identity.db.models import Credential
from aerie_identity.logic import credentials as logic
from aerie_identity.logic import ec2
from aerie_identity.logic.delegation import is_delegated, stay_within
from aerie_identity.rules import target
from aerie_identity.schemas.credentials import CREDENTIAL


def _blob(req: Request, row: Credential) -> dict[str, Any]:
    return {"blob": req.svc.credential_box.open(row)}


def _show(req: Request, row: Credential) -> dict[str, Any]:
    return shown(req, CREDENTIAL, row, **_blob(req, row))


def _known(req: Request, credential_id: str) -> Credential:
    """The credential of the path, once the rule holds."""
    with hidden(req):
        row = logic.show(req.svc, credential_id)
    req.enforce(target("credential", row))
    stay_within(req.ctx, row.project_id)
    return row


def create(req: Request) -> dict[str, Any]:
    """Create a credential."""
    sent = values(CREDENTIAL, req.body["credential"], create=True)
    req.enforce({"user_id": sent["user_id"], "target.credential.user_id": sent["user_id"]})
    stay_within(req.ctx, sent.get("project_id"))
    return {"credential": _show(req, logic.create(req.svc, req.ctx, sent))}


def list_(req: Request) -> dict[str, Any]:
    """List credentials: one's own, or all for those who read everything."""
    listing = req.listing
    if not req.allows("identity:list_all_credentials", {}):
        listing = replace(listing, filters={**listing.filters, "user_id": (req.ctx.user_id or "",)})
        if req.query_one("user_id", req.ctx.user_id) != req.ctx.user_id:
            return collection(req, "credentials", [])
    if is_delegated(req.ctx):
        listing = replace(listing, filters={**listing.filters, "project_id": (req.ctx.project_id or "",)})
    return page(req, CREDENTIAL, logic.list_(req.svc, listing), extra=lambda row: _blob(req, row))


def show(req: Request, credential_id: str) -> dict[str, Any]:
    """Show a credential."""
    return {"credential": _show(req, _known(req, credential_id))}


def update(req: Request, credential_id: str) -> dict[str, Any]:
    """Change a credential."""
    _known(req, credential_id)
    sent = values(CREDENTIAL, req.body["credential"])
    row = logic.update(req.svc, req.ctx, credential_id, sent, lambda new: req.enforce(target("credential", new)))
    return {"credential": _show(req, row)}


def delete(req: Request, credential_id: str) -> None:
    """Delete a credential."""
    _known(req, credential_id)
    logic.delete(req.svc, req.ctx, credential_id)


# ---------------------------------------------------------------------------------------------------------------- EC2


def _ec2(req: Request, row: Credential, blob: dict[str, Any]) -> dict[str, Any]:
    return {
        "access": blob["access"],
        "secret": blob["secret"],
        "tenant_id": row.project_id,
        "user_id": row.user_id,
        "trust_id": blob.get("trust_id"),
        "links": {"self": link(req, "users", row.user_id, "credentials", "OS-EC2", blob["access"])},
    }


def _known_ec2(req: Request, user_id: str, access: str) -> tuple[Credential, dict[str, Any]]:
    """The access key of the path, once the rule holds for its owner, whom the path must name unless an administrator
    asks."""
    row, blob = logic.show_ec2(req.svc, access)
    owner = {"user_id": user_id, "target.credential.user_id": user_id} if row.user_id == user_id else {}
    req.enforce(owner)
    stay_within(req.ctx, row.project_id)
    return row, blob


def create_ec2(req: Request, user_id: str) -> dict[str, Any]:
    """Create an EC2 access key."""
    req.enforce({"user_id": user_id, "target.credential.user_id": user_id})
    stay_within(req.ctx, req.body["tenant_id"])
    return {"credential": _ec2(req, *logic.create_ec2(req.svc, req.ctx, user_id, req.body["tenant_id"]))}


def list_ec2(req: Request, user_id: str) -> dict[str, Any]:
    """List a user's EC2 access keys."""
    req.enforce({"user_id": user_id, "target.credential.user_id": user_id})
    found = logic.list_ec2(req.svc, user_id)
    if is_delegated(req.ctx):
        found = [(row, blob) for row, blob in found if row.project_id == req.ctx.project_id]
    return collection(req, "credentials", [_ec2(req, row, blob) for row, blob in found])


def show_ec2(req: Request, user_id: str, access: str) -> dict[str, Any]:
    """Show an EC2 access key."""
    return {"credential": _ec2(req, *_known_ec2(req, user_id, access))}


def delete_ec2(req: Request, user_id: str, access: str) -> None:
    """Delete an EC2 access key."""
    row, _ = _known_ec2(req, user_id, access)
    logic.delete(req.svc, req.ctx, row.id)


def _signed(req: Request) -> dict[str, Any]:
    if not req.svc.conf.ec2.enabled:
        raise Forbidden("Tokens for signed requests are switched off in this cloud.")
    signed: dict[str, Any] = req.body.get("credentials") or req.body["ec2Credentials"]
    return signed


def ec2_token(req: Request) -> Reply:
    """Issue a token for a request signed with an EC2 access key; for other services only."""
    token, body = ec2.token(req.svc, _signed(req))
    return Reply(body=body.json, headers=[("Vary", "X-Auth-Token"), ("X-Subject-Token", token)])


def s3_token(req: Request) -> Reply:
    """Issue a token for a request signed as for S3; for other services only."""
    token, body = ec2.token(req.svc, _signed(req), s3=True)
    return Reply(body=body.json, headers=[("Vary", "X-Auth-Token"), ("X-Subject-Token", token)])
