# SPDX-License-Identifier: Apache-2.0
"""Revocations as other clouds' middleware used to ask for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from aerie_identity.db import tables as t
from aerie_identity.logic.common import parse_time

if TYPE_CHECKING:
    from aerie_identity.container import Identity


def list_(svc: Identity, since: str | None) -> list[dict[str, Any]]:
    """All that are kept, oldest first, or those after a time."""
    query = sa.select(t.revocations).order_by(t.revocations.c.id)
    if since:
        query = query.where(t.revocations.c.revoked_at >= parse_time("since", since))
    with svc.db.read() as conn:
        return [dict(row._mapping) for row in conn.execute(query)]
