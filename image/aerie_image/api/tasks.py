# SPDX-License-Identifier: Apache-2.0
"""Imports and tasks over HTTP."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from aerie_common import schema
from aerie_common.errors import BadRequest
from aerie_common.http import Reply, Request
from aerie_image.logic import imports, tasks
from aerie_image.schemas.images import IMAGE
from aerie_image.schemas.tasks import brief, show

PAGE, MAX_PAGE = 25, 1000
_new_image = schema.compile_schema(IMAGE.object_schema("create"))


def import_(req: Request, image_id: str) -> Reply:
    """Import data into an image: staged, from a web server, or from one store into others."""
    store, any_copy = req.header("X-Image-Meta-Store"), req.allows("copy_image")
    imports.start(req.svc, req.ctx, image_id, req.body, store, any_copy=any_copy)
    return Reply()


def of_image(req: Request, image_id: str) -> Any:
    """List the tasks of an image."""
    hours = req.svc.conf.task_time_to_live
    return {"tasks": [show(t, req.ctx, hours) for t in tasks.of_image(req.svc, req.ctx, image_id)]}


def list_(req: Request) -> Any:
    """List tasks."""
    page = min(PAGE if req.listing.limit is None else req.listing.limit, MAX_PAGE)
    filters = {n: v for n in ("status", "type") if (v := req.query_one(n)) is not None}
    found = tasks.list_(req.svc, req.ctx, filters, sort=req.listing.sort, marker=req.listing.marker, limit=page)
    hours = req.svc.conf.task_time_to_live
    pairs = [(k, v) for k, values in req.query.items() for v in values if k != "marker"]
    first = req.path + ("?" + urlencode(pairs) if pairs else "")
    body: dict[str, Any] = {"tasks": [brief(t, req.ctx, hours) for t in found], "first": first}
    if found and len(found) == page:
        body["next"] = f"{req.path}?{urlencode([*pairs, ('marker', found[-1].id)])}"
    return {**body, "schema": "/v2/schemas/tasks"}


def show_(req: Request, task_id: str) -> Any:
    """Show a task."""
    return show(tasks.show(req.svc, req.ctx, task_id), req.ctx, req.svc.conf.task_time_to_live)


def create(req: Request) -> Reply:
    """Import a new image from a web server."""
    if req.body["type"] != "import":
        raise BadRequest("Tasks of this type cannot be created.")
    given = req.body["input"]["image_properties"]
    _new_image(given)
    task = tasks.create(req.svc, req.ctx, req.body["input"], IMAGE.values(given, with_defaults=True))
    body = show(task, req.ctx, req.svc.conf.task_time_to_live)
    return Reply(body, headers=[("Location", f"{req.base_url}/v2/tasks/{task.id}")])
