# SPDX-License-Identifier: Apache-2.0
"""What a project uses of its limits on images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aerie_common.context import Context
from aerie_common.db import retried
from aerie_image import db

if TYPE_CHECKING:
    from aerie_image.container import ImageService

MIB = 1 << 20


@retried
def show(svc: ImageService, ctx: Context) -> dict[str, Any]:
    """Limits (-1: none) and usage of the caller's project. Sizes are in MiB."""
    project = ctx.project_id or ""
    with svc.db.read() as conn:
        stored = db.images.usage(conn, project)
        count = db.images.count(conn, project)
        uploading = db.images.count(conn, project, ("saving", "uploading", "importing"))
        staged = sum(_staged(svc, i) for i in db.images.ids_in_status(conn, project, "uploading"))
    quota = svc.conf.user_storage_quota
    return {
        "image_size_total": {"limit": quota // MIB if quota else -1, "usage": stored // MIB},
        "image_stage_total": {"limit": -1, "usage": staged // MIB},
        "image_count_total": {"limit": svc.conf.image_count_quota, "usage": count},
        "image_count_uploading": {"limit": -1, "usage": uploading},
    }


def _staged(svc: ImageService, image_id: str) -> int:
    try:
        return svc.staging.size(svc.staging.location(image_id))
    except FileNotFoundError:
        return 0
