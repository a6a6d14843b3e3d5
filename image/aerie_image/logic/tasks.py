# SPDX-License-Identifier: Apache-2.0
"""Tasks: what an image's imports did, and the older way to ask for one (for administrators)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from oslo_db import exception as db_exception

from aerie_common.context import Context
from aerie_common.db import retried
from aerie_image import db, errors
from aerie_image.db.tasks import Task
from aerie_image.logic import images, imports, limits
from aerie_image.remote import RefusedUrl

if TYPE_CHECKING:
    from aerie_image.container import ImageService


@retried
def of_image(svc: ImageService, ctx: Context, image_id: str) -> list[Task]:
    """The tasks of an image the caller may see."""
    with svc.db.read() as conn:
        images.visible(conn, ctx, image_id)
        return db.tasks.of_image(conn, image_id)


def _owner(ctx: Context) -> str | None:
    return None if ctx.is_admin else ctx.project_id or ""


@retried
def show(svc: ImageService, ctx: Context, task_id: str) -> Task:
    """One task of the caller's project."""
    with svc.db.read() as conn:
        return _visible(conn, ctx, task_id)


def _visible(conn: Any, ctx: Context, task_id: str) -> Task:
    task = db.tasks.get(conn, task_id)
    if task is None or _owner(ctx) not in (None, task.owner):
        raise errors.TaskNotFound(task_id=task_id)
    return task


@retried
def list_(
    svc: ImageService,
    ctx: Context,
    filters: Mapping[str, str],
    *,
    sort: tuple[tuple[str, str], ...],
    marker: str | None,
    limit: int,
) -> list[Task]:
    """The tasks of the caller's project; all for administrators."""
    order = [*sort, *((key, "desc") for key in ("created_at", "id") if key not in dict(sort))]
    with svc.db.read() as conn:
        last = _visible(conn, ctx, marker) if marker else None
        return db.tasks.find(conn, _owner(ctx), filters, sort=order, marker=last, limit=limit)


@retried
def create(svc: ImageService, ctx: Context, sent: Mapping[str, Any], new_image: Mapping[str, Any]) -> Task:
    """Import data from a web server into a new image, which goes again if that fails."""
    uri = sent["import_from"]
    try:
        svc.web_rules.check_url(uri)
    except RefusedUrl as e:
        raise errors.UnsafeUrl(uri=uri, reason=e) from None
    values = images.new_values(svc, ctx, new_image)
    allowed = limits.of(svc, values["owner"])
    work = {"method": "web-download", "uri": uri, "stores": [svc.store.name], "must_succeed": True, "new_image": True}
    try:
        with svc.db.write() as conn:
            image = images.insert(conn, values, allowed)
            return imports.begin(conn, ctx, image, "import", sent, work)
    except db_exception.DBDuplicateEntry:
        raise errors.ImageExists(image_id=values["id"]) from None
