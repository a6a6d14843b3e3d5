# SPDX-License-Identifier: Apache-2.0
"""Service providers: other clouds that accept this one's users. Tokens with a scope list those that are enabled."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from aerie_common.context import Context
from aerie_common.db import retried
from aerie_common.listing import Listing
from aerie_identity.db import tables as t
from aerie_identity.db.models import SERVICE_PROVIDERS, ServiceProvider
from aerie_identity.db.store import Page
from aerie_identity.errors import Missing
from aerie_identity.logic.common import check_id, unique

if TYPE_CHECKING:
    from aerie_identity.container import Identity

RELAY_STATE_PREFIX = "ss:mem:"


def _load(conn: sa.Connection, id: str) -> ServiceProvider:
    return SERVICE_PROVIDERS.need(conn, id, lambda: Missing("service provider", id))


def show(svc: Identity, id: str) -> ServiceProvider:
    with svc.db.read() as conn:
        return _load(conn, id)


def list_(svc: Identity, listing: Listing) -> Page[ServiceProvider]:
    with svc.db.read() as conn:
        return SERVICE_PROVIDERS.page(conn, listing, limit=svc.conf.identity.list_limit)


def _filled(values: dict[str, Any]) -> dict[str, Any]:
    """null as prefix means the usual one."""
    if values.get("relay_state_prefix", "") is None:
        return {**values, "relay_state_prefix": RELAY_STATE_PREFIX}
    return values


@retried
def create(svc: Identity, ctx: Context, id: str, values: dict[str, Any]) -> ServiceProvider:
    check_id("service provider", id)
    known = {f.name for f in dataclasses.fields(ServiceProvider)}
    row = ServiceProvider(id, **{name: value for name, value in _filled(values).items() if name in known})
    with svc.db.write() as conn:
        with unique("service provider", id, "ID"):
            SERVICE_PROVIDERS.insert(conn, row)
        svc.epoch.bump(conn)
    return row


@retried
def update(svc: Identity, ctx: Context, id: str, values: dict[str, Any]) -> ServiceProvider:
    changes = {name: value for name, value in _filled(values).items() if name != "extra"}
    with svc.db.write() as conn:
        row = _load(conn, id)
        SERVICE_PROVIDERS.update(conn, id, **changes)
        svc.epoch.bump(conn)
    return dataclasses.replace(row, **changes)


@retried
def delete(svc: Identity, ctx: Context, id: str) -> None:
    with svc.db.write() as conn:
        _load(conn, id)
        SERVICE_PROVIDERS.delete(conn, t.service_providers.c.id == id)
        svc.epoch.bump(conn)
