# SPDX-License-Identifier: Apache-2.0
"""Protocols: the ways to log in by an identity provider, each with the mapping that says who one is then."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from aerie_common.context import Context
from aerie_common.db import retried
from aerie_common.errors import BadRequest
from aerie_identity.db import tables as t
from aerie_identity.db.models import MAPPINGS, PROTOCOLS, Protocol
from aerie_identity.errors import Missing
from aerie_identity.logic.common import check_id, unique
from aerie_identity.logic.identity_providers import load as load_idp

if TYPE_CHECKING:
    from aerie_identity.container import Identity

_c = t.protocols.c


def load(conn: sa.Connection, idp_id: str, id: str) -> Protocol:
    found = PROTOCOLS.one(conn, _c.idp_id == idp_id, _c.id == id)
    if found is None:
        raise Missing("protocol", id)
    return found


def show(svc: Identity, idp_id: str, id: str) -> Protocol:
    with svc.db.read() as conn:
        return load(conn, idp_id, id)


def list_(svc: Identity, idp_id: str) -> list[Protocol]:
    with svc.db.read() as conn:
        load_idp(conn, idp_id)
        return PROTOCOLS.all(conn, _c.idp_id == idp_id)


def _check_mapping(conn: sa.Connection, mapping_id: str) -> None:
    if MAPPINGS.get(conn, mapping_id) is None:
        raise BadRequest(f"There is no mapping {mapping_id}.")


@retried
def create(svc: Identity, ctx: Context, idp_id: str, id: str, values: dict[str, Any]) -> Protocol:
    check_id("protocol", id)
    row = Protocol(id, idp_id, values["mapping_id"], values.get("remote_id_attribute"))
    with svc.db.write() as conn:
        load_idp(conn, idp_id)
        _check_mapping(conn, row.mapping_id)
        with unique("protocol", id, "ID"):
            PROTOCOLS.insert(conn, row)
        svc.epoch.bump(conn)
    return row


@retried
def update(svc: Identity, ctx: Context, idp_id: str, id: str, values: dict[str, Any]) -> Protocol:
    changes = {name: values[name] for name in ("mapping_id", "remote_id_attribute") if name in values}
    with svc.db.write() as conn:
        row = load(conn, idp_id, id)
        if "mapping_id" in changes:
            _check_mapping(conn, changes["mapping_id"])
        if changes:
            conn.execute(sa.update(t.protocols).where(_c.idp_id == idp_id, _c.id == id).values(changes))
        svc.epoch.bump(conn)
    return dataclasses.replace(row, **changes)


@retried
def delete(svc: Identity, ctx: Context, idp_id: str, id: str) -> None:
    """Remove a protocol: tokens that came by it end at once."""
    with svc.db.write() as conn:
        load(conn, idp_id, id)
        PROTOCOLS.delete(conn, _c.idp_id == idp_id, _c.id == id)
        svc.epoch.bump(conn)
