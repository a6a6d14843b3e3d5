# SPDX-License-Identifier: Apache-2.0
"""The fields of a task, and the body that asks for an import."""

from __future__ import annotations

import datetime
from typing import Any

from aerie_common import schema
from aerie_common.context import Context
from aerie_common.fields import Field, Resource, isoformat
from aerie_image.db.tasks import ENDED, Task

STATUSES = ("pending", "processing", "success", "failure")
_OPTIONAL = frozenset({"image_id", "request_id", "user_id"})
_time = schema.string(format="date-time", nullable=True)

TASK = Resource(
    "task",
    "tasks",
    [
        Field("id", schema.string(), sort=True, doc="An identifier for the task"),
        Field("type", schema.enum("import", "api_image_import", "location_import"), create="required", filter=True,
              sort=True, doc="The type of task represented by this content"),
        Field("status", schema.enum(*STATUSES), filter=True, sort=True, doc="The current status of this task"),
        Field("input", schema.obj(
            {
                "import_from": schema.string(1, 2048),
                "import_from_format": schema.string(),
                "image_properties": schema.obj(extra=True),
            },
            ["import_from", "image_properties"],
        ), create="required", doc="The parameters required by task, JSON blob"),
        Field("result", schema.obj(extra=True, nullable=True), doc="The result of current task, JSON blob"),
        Field("owner", schema.string(), doc="An identifier for the owner of this task"),
        Field("message", schema.string(max=None), doc="What went wrong, in words"),
        Field("image_id", schema.string(nullable=True), doc="Image associated with the task"),
        Field("request_id", schema.string(nullable=True), doc="The request that asked for the task"),
        Field("user_id", schema.string(nullable=True), doc="User associated with the task"),
        Field("created_at", _time, sort=True, doc="Datetime when this resource was created"),
        Field("updated_at", _time, sort=True, doc="Datetime when this resource was updated"),
    ],
    wrap=False,
)  # fmt: skip

IMPORT = schema.obj(
    {
        "method": schema.obj(
            {
                "name": schema.string(1),
                "uri": schema.string(1, 2048),
                "glance_image_id": schema.string(1),
                "glance_region": schema.string(1),
                "glance_service_interface": schema.string(1),
            },
            ["name"],
        ),
        "stores": schema.array(schema.string(1), 1),
        "all_stores": schema.boolean(),
        "all_stores_must_succeed": schema.boolean(),
    },
    ["method"],
)


def show(task: Task, ctx: Context, hours: int) -> dict[str, Any]:
    """The task; hours: how long it is shown after its end. What it has none of is left out."""
    body = {k: v for k, v in TASK.show(task, ctx).items() if v is not None or k not in _OPTIONAL}
    if task.status in ENDED and task.updated_at is not None:
        body["expires_at"] = isoformat(task.updated_at + datetime.timedelta(hours=hours))
    return {**body, "self": f"/v2/tasks/{task.id}", "schema": "/v2/schemas/task"}


def brief(task: Task, ctx: Context, hours: int) -> dict[str, Any]:
    """The task in a list: without what it was given and what came of it."""
    return {k: v for k, v in show(task, ctx, hours).items() if k not in ("input", "result", "message")}
