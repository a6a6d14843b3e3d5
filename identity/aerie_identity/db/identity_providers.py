# SPDX-License-Identifier: Apache-2.0
"""Identity providers with their remote ids."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import sqlalchemy as sa

from aerie_identity.db import tables as t
from aerie_identity.db.models import IDENTITY_PROVIDERS, IdentityProvider

_r = t.remote_ids.c


def get(conn: sa.Connection, id: str) -> IdentityProvider | None:
    found = IDENTITY_PROVIDERS.get(conn, id)
    return None if found is None else fill(conn, [found])[0]


def fill(conn: sa.Connection, rows: Sequence[IdentityProvider]) -> list[IdentityProvider]:
    """The same with remote ids: one statement for any number."""
    found: dict[str, list[str]] = {}
    query = sa.select(_r.idp_id, _r.remote_id).where(_r.idp_id.in_([row.id for row in rows])).order_by(_r.remote_id)
    for idp_id, remote_id in conn.execute(query):
        found.setdefault(idp_id, []).append(remote_id)
    return [dataclasses.replace(row, remote_ids=tuple(found.get(row.id, ()))) for row in rows]


def replace_remote_ids(conn: sa.Connection, idp_id: str, remote_ids: Sequence[str]) -> None:
    """Raises DBDuplicateEntry when another identity provider has one of them."""
    conn.execute(sa.delete(t.remote_ids).where(_r.idp_id == idp_id))
    for remote_id in remote_ids:
        conn.execute(sa.insert(t.remote_ids).values(idp_id=idp_id, remote_id=remote_id))
