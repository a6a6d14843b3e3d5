# SPDX-License-Identifier: Apache-2.0
"""Revocations as other clouds' middleware used to ask for them."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from aerie_common.errors import BadRequest
from aerie_identity.db import tables as t

if TYPE_CHECKING:
    from aerie_identity.container import Identity


def list_(svc: Identity, since: str | None) -> list[dict[str, Any]]:
    """All that are kept, oldest first, or those after a time."""
    query = sa.select(t.revocations).order_by(t.revocations.c.id)
    if since:
        try:
            when = datetime.datetime.fromisoformat(since)
        except ValueError:
            raise BadRequest("since must be a time like 2026-01-01T00:00:00Z.") from None
        if when.tzinfo is not None:
            when = when.astimezone(datetime.UTC).replace(tzinfo=None)
        query = query.where(t.revocations.c.revoked_at >= when)
    with svc.db.read() as conn:
        return [dict(row._mapping) for row in conn.execute(query)]
