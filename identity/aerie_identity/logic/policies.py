# SPDX-License-Identifier: Apache-2.0
"""Policy documents and OAuth consumers: kept for clients, without meaning to this service."""

from __future__ import annotations

import dataclasses
import secrets
from typing import TYPE_CHECKING, Any

from aerie_common.context import Context
from aerie_common.db import retried
from aerie_common.listing import Listing
from aerie_identity.db import tables as t
from aerie_identity.db.models import CONSUMERS, POLICIES, Consumer, PolicyBlob
from aerie_identity.db.store import Page
from aerie_identity.errors import Missing
from aerie_identity.logic.common import new_id, overlay

if TYPE_CHECKING:
    from aerie_identity.container import Identity


def show(svc: Identity, id: str) -> PolicyBlob:
    with svc.db.read() as conn:
        return POLICIES.need(conn, id, lambda: Missing("policy", id))


def list_(svc: Identity, listing: Listing) -> Page[PolicyBlob]:
    with svc.db.read() as conn:
        return POLICIES.page(conn, listing, limit=svc.conf.identity.list_limit)


@retried
def create(svc: Identity, ctx: Context, values: dict[str, Any]) -> PolicyBlob:
    row = PolicyBlob(new_id(), values["type"], values["blob"], values.get("extra", {}))
    with svc.db.write() as conn:
        return POLICIES.insert(conn, row)


@retried
def update(svc: Identity, ctx: Context, id: str, values: dict[str, Any]) -> PolicyBlob:
    with svc.db.write() as conn:
        row = POLICIES.need(conn, id, lambda: Missing("policy", id))
        changes: dict[str, Any] = {name: values[name] for name in ("type", "blob") if name in values}
        changes["extra"] = overlay(row.extra, values.get("extra"))
        POLICIES.update(conn, id, **changes)
    return dataclasses.replace(row, **changes)


@retried
def delete(svc: Identity, ctx: Context, id: str) -> None:
    with svc.db.write() as conn:
        if not POLICIES.delete(conn, t.policies.c.id == id):
            raise Missing("policy", id)


# ---------------------------------------------------------------------------------------------------------- consumers


def show_consumer(svc: Identity, id: str) -> Consumer:
    with svc.db.read() as conn:
        return CONSUMERS.need(conn, id, lambda: Missing("consumer", id))


def list_consumers(svc: Identity, listing: Listing) -> Page[Consumer]:
    with svc.db.read() as conn:
        return CONSUMERS.page(conn, listing, limit=svc.conf.identity.list_limit)


@retried
def create_consumer(svc: Identity, ctx: Context, values: dict[str, Any]) -> Consumer:
    """Store a consumer with a new secret, which is shown once."""
    row = Consumer(new_id(), secrets.token_hex(16), values.get("description"), values.get("extra", {}))
    with svc.db.write() as conn:
        return CONSUMERS.insert(conn, row)


@retried
def update_consumer(svc: Identity, ctx: Context, id: str, values: dict[str, Any]) -> Consumer:
    with svc.db.write() as conn:
        row = CONSUMERS.need(conn, id, lambda: Missing("consumer", id))
        changes: dict[str, Any] = {"extra": overlay(row.extra, values.get("extra"))}
        if "description" in values:
            changes["description"] = values["description"]
        CONSUMERS.update(conn, id, **changes)
    return dataclasses.replace(row, **changes)


@retried
def delete_consumer(svc: Identity, ctx: Context, id: str) -> None:
    with svc.db.write() as conn:
        if not CONSUMERS.delete(conn, t.consumers.c.id == id):
            raise Missing("consumer", id)
