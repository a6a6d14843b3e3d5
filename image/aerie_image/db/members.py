# SPDX-License-Identifier: Apache-2.0
"""Members of images (projects an image is shared with) in SQL."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

import sqlalchemy as sa

from aerie_common.db import utcnow
from aerie_image.db.tables import image_members


@dataclass(frozen=True)
class Member:
    """A project with which an image is shared. status: pending, accepted or rejected by that project."""

    image_id: str
    member: str
    status: str
    created_at: datetime.datetime
    updated_at: datetime.datetime | None


def insert(conn: sa.Connection, image_id: str, member: str) -> Member:
    """Share the image; DBDuplicateEntry when it is shared with that project already."""
    now = utcnow()
    row = {"image_id": image_id, "member": member, "status": "pending", "created_at": now, "updated_at": now}
    conn.execute(sa.insert(image_members).values(**row))
    return Member(**row)  # type: ignore[arg-type]


def get(conn: sa.Connection, image_id: str, member: str) -> Member | None:
    query = sa.select(image_members).where(image_members.c.image_id == image_id, image_members.c.member == member)
    row = conn.execute(query).mappings().first()
    return Member(**row) if row else None


def list_(conn: sa.Connection, image_id: str, only: str | None = None) -> list[Member]:
    """All members of an image, or only that one."""
    query = sa.select(image_members).where(image_members.c.image_id == image_id).order_by(image_members.c.created_at)
    if only is not None:
        query = query.where(image_members.c.member == only)
    return [Member(**row) for row in conn.execute(query).mappings()]


def update(conn: sa.Connection, image_id: str, member: str, status: str) -> None:
    conn.execute(
        sa.update(image_members)
        .where(image_members.c.image_id == image_id, image_members.c.member == member)
        .values(status=status, updated_at=utcnow())
    )


def delete(conn: sa.Connection, image_id: str, member: str) -> bool:
    """Stop sharing. False when it was not shared."""
    query = sa.delete(image_members).where(image_members.c.image_id == image_id, image_members.c.member == member)
    return conn.execute(query).rowcount == 1
