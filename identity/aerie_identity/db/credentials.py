# SPDX-License-Identifier: Apache-2.0
"""Which one-time passcodes were used."""

from __future__ import annotations

import sqlalchemy as sa

from aerie_identity.db import tables as t


def use_step(conn: sa.Connection, id: str, step: int) -> bool:
    """Use up a credential's passcodes until this time step; False when they are already."""
    c = t.credentials.c
    query = sa.update(t.credentials).where(c.id == id, sa.or_(c.last_step.is_(None), c.last_step < step))
    return bool(conn.execute(query.values(last_step=step)).rowcount)
