# SPDX-License-Identifier: Apache-2.0
"""Mappings as they are kept; what their rules mean stands in `mapping_rules.py`. Only rules that can work are kept."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from aerie_common.context import Context
from aerie_common.db import retried
from aerie_common.listing import Listing
from aerie_identity.db import tables as t
from aerie_identity.db.models import MAPPINGS, Mapping
from aerie_identity.db.store import Page
from aerie_identity.errors import Missing
from aerie_identity.logic import mapping_rules
from aerie_identity.logic.common import check_id, unique

if TYPE_CHECKING:
    from aerie_identity.container import Identity


def _load(conn: sa.Connection, id: str) -> Mapping:
    return MAPPINGS.need(conn, id, lambda: Missing("mapping", id))


def show(svc: Identity, id: str) -> Mapping:
    with svc.db.read() as conn:
        return _load(conn, id)


def list_(svc: Identity, listing: Listing) -> Page[Mapping]:
    with svc.db.read() as conn:
        return MAPPINGS.page(conn, listing, limit=svc.conf.identity.list_limit)


@retried
def create(svc: Identity, ctx: Context, id: str, values: dict[str, Any]) -> Mapping:
    check_id("mapping", id)
    row = Mapping(id, values["rules"], values.get("schema_version") or "1.0")
    mapping_rules.check(row.rules, row.schema_version)
    with svc.db.write() as conn:
        with unique("mapping", id, "ID"):
            MAPPINGS.insert(conn, row)
        svc.epoch.bump(conn)
    return row


@retried
def update(svc: Identity, ctx: Context, id: str, values: dict[str, Any]) -> Mapping:
    changes = {name: values[name] for name in ("rules", "schema_version") if values.get(name) is not None}
    with svc.db.write() as conn:
        row = dataclasses.replace(_load(conn, id), **changes)
        mapping_rules.check(row.rules, row.schema_version)
        MAPPINGS.update(conn, id, **changes)
        svc.epoch.bump(conn)
    return row


@retried
def delete(svc: Identity, ctx: Context, id: str) -> None:
    """Remove a mapping. Nobody can log in by protocols that name it."""
    with svc.db.write() as conn:
        _load(conn, id)
        MAPPINGS.delete(conn, t.mappings.c.id == id)
        svc.epoch.bump(conn)
