# SPDX-License-Identifier: Apache-2.0
"""Images in SQL."""

from __future__ import annotations

import dataclasses
import datetime
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from aerie_common.db import compare_and_swap, fetch, paginate, utcnow
from aerie_image.db.tables import image_index, image_members, images


@dataclass(frozen=True)
class Image:
    """One image. size, virtual_size: bytes. min_disk: GiB. min_ram: MiB.

    locations: store id -> where that store keeps the data. import_task: the import at work. importing_to,
    failed_stores: how the last import goes; None when there was none.
    """

    id: str
    name: str | None
    owner: str | None
    status: str
    visibility: str
    disk_format: str | None
    container_format: str | None
    size: int | None
    virtual_size: int | None
    checksum: str | None
    os_hash_algo: str | None
    os_hash_value: str | None
    min_disk: int
    min_ram: int
    protected: bool
    os_hidden: bool
    tags: list[str]
    properties: dict[str, str]
    locations: dict[str, str]
    import_task: str | None
    importing_to: list[str] | None
    failed_stores: list[str] | None
    generation: int
    created_at: datetime.datetime
    updated_at: datetime.datetime | None


@dataclass(frozen=True)
class Viewer:
    """Whose eyes a list is made for."""

    project_id: str | None
    is_admin: bool


def _index(conn: sa.Connection, image_id: str, values: Mapping[str, Any], *, fresh: bool = False) -> None:
    rows = []
    for kind, column in (("tag", "tags"), ("property", "properties")):
        if column not in values:
            continue
        if not fresh:
            conn.execute(sa.delete(image_index).where(image_index.c.image_id == image_id, image_index.c.kind == kind))
        items = values[column].items() if column == "properties" else ((tag, None) for tag in values[column])
        rows += [{"image_id": image_id, "kind": kind, "name": name, "value": value} for name, value in items]
    if rows:
        conn.execute(sa.insert(image_index), rows)


def insert(conn: sa.Connection, values: Mapping[str, Any]) -> Image:
    """A new image; DBDuplicateEntry when the id is taken."""
    now = utcnow()
    conn.execute(sa.insert(images).values(**values, created_at=now, updated_at=now))
    _index(conn, values["id"], values, fresh=True)
    return get(conn, values["id"]) or _vanished(values["id"])


def _vanished(image_id: str) -> Image:
    raise RuntimeError(f"image {image_id} is not there right after its insert")


def get(conn: sa.Connection, image_id: str) -> Image | None:
    """The image of that id."""
    row = conn.execute(sa.select(images).where(images.c.id == image_id)).mappings().first()
    return Image(**row) if row else None


def change(conn: sa.Connection, image: Image, values: Mapping[str, Any]) -> bool:
    """Change an image unless somebody else has since it was read. True when it was done."""
    done = compare_and_swap(
        conn,
        images,
        {"id": image.id, "generation": image.generation},
        {**values, "generation": image.generation + 1, "updated_at": utcnow()},
    )
    if done:
        _index(conn, image.id, values)
    return done


def set_status(conn: sa.Connection, image_id: str, expected: Sequence[str], status: str, **values: Any) -> bool:
    """Move an image from one of the expected states to another. True when it was in one of them."""
    result = conn.execute(
        sa.update(images)
        .where(images.c.id == image_id, images.c.status.in_(expected))
        .values(status=status, generation=images.c.generation + 1, updated_at=utcnow(), **values)
    )
    return result.rowcount == 1


def of_task(conn: sa.Connection, image_id: str, task_id: str) -> Image | None:
    """The image, locked for a change, if that import is still its import."""
    query = sa.select(images).where(images.c.id == image_id, images.c.import_task == task_id).with_for_update()
    row = conn.execute(query).mappings().first()
    return Image(**row) if row else None


def delete(conn: sa.Connection, image_id: str) -> None:
    """Forget an image, its members and its index."""
    conn.execute(sa.delete(images).where(images.c.id == image_id))


def usage(conn: sa.Connection, project_id: str) -> int:
    """Bytes of images a project keeps."""
    query = sa.select(sa.func.coalesce(sa.func.sum(images.c.size), 0)).where(images.c.owner == project_id)
    return int(conn.execute(query).scalar_one())


def is_member(conn: sa.Connection, image_id: str, project_id: str) -> bool:
    """Has the image been shared with the project (accepted or not)?"""
    query = sa.select(image_members.c.member).where(
        image_members.c.image_id == image_id, image_members.c.member == project_id
    )
    return conn.execute(query).first() is not None


def find(
    conn: sa.Connection,
    viewer: Viewer,
    conditions: Sequence[sa.ColumnElement[bool]],
    *,
    hidden: bool,
    visibility: str | None,
    member_status: str,
    sort: tuple[tuple[str, str], ...],
    marker: Image | None,
    limit: int,
) -> list[Image]:
    """The images the viewer may see, by one query. hidden: those with os_hidden too."""
    anywhere = viewer.is_admin and viewer.project_id is None
    query = _seen(viewer.is_admin, anywhere, hidden, visibility, member_status)
    if not conditions and marker is None:
        return [Image(*row) for row in fetch(conn, _page(query, sort, limit), {"viewer": viewer.project_id})]
    query = paginate(query.where(*conditions), sort=_order(sort), marker=marker, limit=limit)
    return [Image(*row) for row in conn.execute(query, {"viewer": viewer.project_id})]


def _order(sort: tuple[tuple[str, str], ...]) -> list[tuple[sa.Column[Any], str]]:
    return [(images.c[key], direction) for key, direction in sort]


@functools.lru_cache(256)
def _page(query: sa.Select[Any], sort: tuple[tuple[str, str], ...], limit: int) -> sa.Select[Any]:
    """The first page: built once, since building a query costs more than running it."""
    return paginate(query, sort=_order(sort), marker=None, limit=limit)


@functools.lru_cache(256)
def _seen(is_admin: bool, anywhere: bool, hidden: bool, visibility: str | None, member_status: str) -> sa.Select[Any]:
    """Images that somebody may see, whose project is the parameter `viewer`."""
    query = sa.select(*(images.c[field.name] for field in dataclasses.fields(Image)))
    if not hidden:
        query = query.where(images.c.os_hidden == sa.false())
    allowed = _seen_by(is_admin, anywhere, visibility, member_status)
    return query if allowed is None else query.where(allowed)


def _seen_by(
    is_admin: bool, anywhere: bool, visibility: str | None, member_status: str
) -> sa.ColumnElement[bool] | None:
    viewer = sa.bindparam("viewer", type_=images.c.owner.type)
    own = images.c.owner == viewer
    member = sa.select(image_members.c.image_id).where(image_members.c.member == viewer)
    if member_status != "all":
        member = member.where(image_members.c.status == member_status)
    shared = sa.and_(images.c.visibility == "shared", images.c.id.in_(member))
    if visibility in ("public", "community"):
        return images.c.visibility == visibility
    if visibility == "private":
        private = images.c.visibility == "private"
        return private if is_admin else sa.and_(private, own)
    if visibility == "shared":
        mine = images.c.visibility == "shared"
        return mine if is_admin and member_status == "all" else sa.and_(mine, sa.or_(own, shared))
    if anywhere:
        return None
    everything = [own, images.c.visibility == "public", shared]
    if visibility == "all":
        everything.append(images.c.visibility == "community")
    if is_admin:
        # Not in_(): the text of such a statement is put together anew for each execution.
        everything += [images.c.visibility == "private", images.c.visibility == "shared"]
    return sa.or_(*everything)


# ---- conditions of a list, each on one attribute


def equals(name: str, values: Sequence[Any]) -> sa.ColumnElement[bool]:
    """A base attribute has one of these values."""
    return images.c[name].in_(values) if len(values) != 1 else images.c[name] == values[0]


def compares(name: str, operator: str, value: Any) -> sa.ColumnElement[bool]:
    """A base attribute compares so with the value: eq, neq, gt, gte, lt, lte."""
    column = images.c[name]
    made: dict[str, sa.ColumnElement[bool]] = {
        "eq": column == value,
        "neq": column != value,
        "gt": column > value,
        "gte": column >= value,
        "lt": column < value,
        "lte": column <= value,
    }
    return made[operator]


def indexed(kind: str, name: str, value: str | None = None) -> sa.ColumnElement[bool]:
    """The image has that tag, or that property with that value."""
    inner = sa.select(image_index.c.image_id).where(image_index.c.kind == kind, image_index.c.name == name)
    if value is not None:
        inner = inner.where(image_index.c.value == value)
    return images.c.id.in_(inner)


def in_status(conn: sa.Connection, status: str, before: datetime.datetime) -> list[str]:
    """Ids of images that came into a state before that time and are still in it."""
    query = sa.select(images.c.id).where(images.c.status == status, images.c.updated_at < before)
    return list(conn.execute(query).scalars())


def count(conn: sa.Connection, project_id: str, statuses: Sequence[str] | None = None, *, lock: bool = False) -> int:
    """How many images a project has (in these states). lock: nobody else changes that until the transaction ends."""
    query = sa.select(images.c.id).where(images.c.owner == project_id)
    if statuses is not None:
        query = query.where(images.c.status.in_(statuses))
    if lock:
        return len(conn.execute(query.with_for_update()).fetchall())
    return int(conn.execute(sa.select(sa.func.count()).select_from(query.subquery())).scalar_one())


def ids_in_status(conn: sa.Connection, project_id: str, status: str) -> list[str]:
    """Ids of a project's images in a state."""
    query = sa.select(images.c.id).where(images.c.owner == project_id, images.c.status == status)
    return list(conn.execute(query).scalars())


def with_data(conn: sa.Connection, after: str, limit: int) -> list[Image]:
    """Images that have data, in order of their ids."""
    query = sa.select(images).where(images.c.id > after, images.c.status.in_(("active", "deactivated")))
    return [Image(**row) for row in conn.execute(query.order_by(images.c.id).limit(limit)).mappings()]
