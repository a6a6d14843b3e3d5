# SPDX-License-Identifier: Apache-2.0
"""Which images a list shows: Glance's filters as conditions on one query."""

from __future__ import annotations

import csv
import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from aerie_common import times
from aerie_common.context import Context
from aerie_common.db import retried
from aerie_common.errors import BadRequest
from aerie_common.schema import to_bool
from aerie_image import db, errors
from aerie_image.db.images import Image
from aerie_image.logic import images
from aerie_image.schemas.images import BASE, VISIBILITIES

if TYPE_CHECKING:
    from aerie_image.container import ImageService

_OPERATORS = ("neq", "eq", "gte", "gt", "lte", "lt")
_WITH_IN = frozenset({"container_format", "disk_format", "id", "name", "status"})
_NUMBERS = frozenset({"size", "min_disk", "min_ram"})
_BOOLEANS = frozenset({"protected", "os_hidden"})
_TIMES = frozenset({"created_at", "updated_at"})
_APART = frozenset(
    {"visibility", "member_status", "tag", "size_min", "size_max", "limit", "marker", "sort", "sort_key", "sort_dir"}
)


def _time(text: str) -> datetime.datetime:
    try:
        return times.parse(text)
    except ValueError:
        raise BadRequest(f"{text!r} is not a time of the form 2026-01-31T12:00:00Z.") from None


def _value(name: str, text: str) -> Any:
    try:
        if name in _NUMBERS:
            return int(text)
        if name in _BOOLEANS:
            return to_bool(text)
    except ValueError:
        raise BadRequest(f"Invalid value {text!r} for the filter {name}.") from None
    return text


def _condition(name: str, text: str) -> sa.ColumnElement[bool]:
    if name in _TIMES:
        operator, colon, rest = text.partition(":")
        if colon and operator in _OPERATORS:
            return db.images.compares(name, operator, _time(rest))
        if colon and not operator[:4].isdigit():
            raise BadRequest(f"Unable to filter using the operator {operator!r}.")
        return db.images.compares(name, "eq", _time(text))
    if name in _WITH_IN and text.startswith("in:"):
        return db.images.equals(name, _quoted_list(text[3:]))
    return db.images.equals(name, [_value(name, text)])


def _quoted_list(text: str) -> list[str]:
    if text.count('"') % 2:
        raise BadRequest("Invalid filter value: a quotation mark is not closed.")
    return next(csv.reader([text]), [])


def conditions(query: Mapping[str, list[str]]) -> list[sa.ColumnElement[bool]]:
    """The conditions of a query string; unknown names are custom properties."""
    made: list[sa.ColumnElement[bool]] = []
    for name, values in query.items():
        if name == "tag":
            made += [db.images.indexed("tag", value) for value in values]
        elif name in ("size_min", "size_max"):
            made.append(db.images.compares("size", "gte" if name == "size_min" else "lte", _value("size", values[-1])))
        elif name in _APART:
            continue
        elif name in BASE:
            made.append(_condition(name, values[-1]))
        else:
            made.append(db.images.indexed("property", name, values[-1]))
    return made


def _marked(conn: sa.Connection, ctx: Context, marker: str) -> Image:
    try:
        return images.visible(conn, ctx, marker)
    except errors.ImageNotFound as e:
        raise BadRequest(f"Invalid marker: {e.message}") from e


@retried
def list_(
    svc: ImageService,
    ctx: Context,
    query: Mapping[str, list[str]],
    *,
    sort: tuple[tuple[str, str], ...],
    marker: str | None,
    limit: int,
) -> list[Image]:
    """The images the caller may see and asked for. One query, two with a marker."""
    visibility = query["visibility"][-1] if query.get("visibility") else None
    if visibility is not None and visibility not in (*VISIBILITIES, "all"):
        raise BadRequest(f"Invalid visibility value: {visibility}")
    member_status = (query.get("member_status") or ["accepted"])[-1]
    if member_status not in ("pending", "accepted", "rejected", "all"):
        raise BadRequest(f"Invalid status: {member_status}")
    order = (*sort, *((key, "desc") for key in ("created_at", "id") if key not in dict(sort)))
    with svc.db.read() as conn:
        last = _marked(conn, ctx, marker) if marker else None
        return db.images.find(
            conn,
            images.viewer(ctx),
            conditions(query),
            hidden="os_hidden" in query,
            visibility=visibility,
            member_status=member_status,
            sort=order,
            marker=last,
            limit=limit,
        )
