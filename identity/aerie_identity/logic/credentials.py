# SPDX-License-Identifier: Apache-2.0
"""Credentials of users for other things than logging in by password: EC2 keys, TOTP secrets, anything else.

Invariants: the blob is encrypted at rest; the owner never changes; access keys of EC2 credentials are unique, by their
SHA-256; tokens of trusts and of restricted application credentials make none; a key made with the token of an
application credential is bound to it.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import orjson
import sqlalchemy as sa

from aerie_common.context import Context
from aerie_common.db import retried
from aerie_common.errors import BadRequest, Forbidden, NotFound
from aerie_common.listing import Listing
from aerie_identity.db import tables as t
from aerie_identity.db.models import CREDENTIALS, PROJECTS, USERS, Credential
from aerie_identity.db.store import Page
from aerie_identity.errors import LimitReached, Missing
from aerie_identity.logic import domain_config
from aerie_identity.logic.common import new_id, overlay, unique
from aerie_identity.logic.delegation import refuse_restricted, refuse_trust

if TYPE_CHECKING:
    from aerie_identity.container import Identity

_c = t.credentials.c
DELEGATIONS = ("trust_id", "app_cred_id", "access_token_id")


def hashed(access: str) -> str:
    return hashlib.sha256(access.encode()).hexdigest()


def _load(conn: sa.Connection, id: str) -> Credential:
    return CREDENTIALS.need(conn, id, lambda: Missing("credential", id))


def show(svc: Identity, id: str) -> Credential:
    with svc.db.read() as conn:
        return _load(conn, id)


def list_(svc: Identity, listing: Listing) -> Page[Credential]:
    with svc.db.read() as conn:
        return CREDENTIALS.page(conn, listing, limit=svc.conf.identity.list_limit)


def _ec2_blob(blob: str) -> dict[str, Any]:
    try:
        found = orjson.loads(blob)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("access"), str) or "secret" not in found:
        raise BadRequest("The blob of an EC2 credential is a JSON object with access and secret.")
    return found


@retried
def create(svc: Identity, ctx: Context, values: dict[str, Any]) -> Credential:
    refuse_restricted(ctx, "credentials")
    refuse_trust(ctx, "credentials")
    blob = values["blob"]
    text = blob if isinstance(blob, str) else orjson.dumps(blob).decode()
    access = None
    if values["type"] == "ec2":
        if not values.get("project_id"):
            raise BadRequest("An EC2 credential needs a project_id.")
        sent = _ec2_blob(text)
        if any(sent.get(name) is not None for name in DELEGATIONS):
            raise BadRequest(f"{', '.join(DELEGATIONS)} of an EC2 credential are not chosen by the caller.")
        access = hashed(sent["access"])
        text = orjson.dumps({**sent, **_delegation(ctx)}).decode()
    row = Credential(
        id=access or new_id(),
        access_hash=access,
        user_id=values["user_id"],
        type=values["type"],
        encrypted_blob=svc.credential_box.seal(text),
        project_id=values.get("project_id"),
        extra=values.get("extra", {}),
    )
    _store(svc, row)
    return row


def _delegation(ctx: Context) -> dict[str, str]:
    """What a key made by this caller is bound to."""
    used = (ctx.token_data or {}).get("application_credential")
    return {"app_cred_id": used["id"]} if used else {}


def _store(svc: Identity, row: Credential) -> None:
    limit = svc.conf.credential.user_limit
    with svc.db.write() as conn:
        USERS.need(conn, row.user_id, lambda: Missing("user", row.user_id))
        if limit >= 0 and len(CREDENTIALS.all(conn, _c.user_id == row.user_id)) >= limit:
            raise LimitReached(noun="credentials", limit=limit)
        with unique("credential", row.id, "access key"):
            CREDENTIALS.insert(conn, row)


@retried
def update(
    svc: Identity, ctx: Context, id: str, values: dict[str, Any], allowed: Callable[[Credential], None]
) -> Credential:
    """Change a credential; `allowed` refuses when the caller may not have it as it would be. The owner and, of EC2
    credentials, the delegation stay as they are."""
    refuse_restricted(ctx, "credentials")
    with svc.db.write() as conn:
        row = _load(conn, id)
        if values.get("user_id", row.user_id) != row.user_id:
            raise Forbidden("The owner of a credential cannot be changed.")
        changes: dict[str, Any] = {name: values[name] for name in ("type", "project_id") if name in values}
        kind = changes.get("type", row.type)
        if "blob" in values:
            blob = values["blob"]
            text = blob if isinstance(blob, str) else orjson.dumps(blob).decode()
            if kind == "ec2":
                new = _ec2_blob(text)
                _same_delegation(new, row, svc)
                changes["access_hash"] = hashed(new["access"])
            changes["encrypted_blob"] = svc.credential_box.seal(text)
        if kind == "ec2" and not changes.get("project_id", row.project_id):
            raise BadRequest("An EC2 credential needs a project_id.")
        if values.get("extra"):
            changes["extra"] = overlay(row.extra, values["extra"])
        with unique("credential", id, "access key"):
            CREDENTIALS.update(conn, id, **changes)
        found = _load(conn, id)
        allowed(found)
    return found


def _same_delegation(new: dict[str, Any], row: Credential, svc: Identity) -> None:
    if row.type != "ec2":
        return
    old = _ec2_blob(svc.credential_box.open(row))
    for name in DELEGATIONS:
        if new.get(name) != old.get(name):
            raise BadRequest(f"{name} of an EC2 credential cannot be changed.")


@retried
def delete(svc: Identity, ctx: Context, id: str) -> None:
    refuse_restricted(ctx, "credentials")
    with svc.db.write() as conn:
        _load(conn, id)
        CREDENTIALS.delete(conn, _c.id == id)


@retried
def encrypt_all(svc: Identity) -> int:
    """Encrypt every blob, and what is secret in domains' configuration, with the primary key; how many there are. One
    that changes meanwhile has it already."""
    with svc.db.write() as conn:
        found = CREDENTIALS.all(conn)
        for row in found:
            same = sa.and_(_c.id == row.id, _c.encrypted_blob == row.encrypted_blob)
            conn.execute(sa.update(t.credentials).where(same).values(encrypted_blob=svc.credential_box.reseal(row)))
        return len(found) + domain_config.encrypt_all(svc, conn)


# ---------------------------------------------------------------------------------------------------------------- EC2


@retried
def create_ec2(svc: Identity, ctx: Context, user_id: str, project_id: str) -> tuple[Credential, dict[str, Any]]:
    """Make an access key and secret for a project. What they are good for is asked when they are used: a user without
    a role on the project gets no token by them."""
    refuse_restricted(ctx, "EC2 credentials")
    refuse_trust(ctx, "EC2 credentials")
    with svc.db.read() as conn:
        PROJECTS.need(conn, project_id, lambda: Missing("project", project_id))
        USERS.need(conn, user_id, lambda: Missing("user", user_id))
    blob = {"access": secrets.token_hex(16), "secret": secrets.token_hex(16), "trust_id": None, **_delegation(ctx)}
    access = hashed(str(blob["access"]))
    row = Credential(
        id=access,
        access_hash=access,
        user_id=user_id,
        type="ec2",
        encrypted_blob=svc.credential_box.seal(orjson.dumps(blob).decode()),
        project_id=project_id,
    )
    _store(svc, row)
    return row, blob


def list_ec2(svc: Identity, user_id: str) -> list[tuple[Credential, dict[str, Any]]]:
    with svc.db.read() as conn:
        USERS.need(conn, user_id, lambda: Missing("user", user_id))
        found = CREDENTIALS.all(conn, _c.user_id == user_id, _c.type == "ec2")
    return [(row, orjson.loads(svc.credential_box.open(row))) for row in found]


def show_ec2(svc: Identity, access: str) -> tuple[Credential, dict[str, Any]]:
    with svc.db.read() as conn:
        row = CREDENTIALS.one(conn, _c.access_hash == hashed(access))
    if row is None or row.type != "ec2":
        raise NotFound("Could not find credential.")
    return row, orjson.loads(svc.credential_box.open(row))
