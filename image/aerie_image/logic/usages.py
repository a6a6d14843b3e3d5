# SPDX-License-Identifier: Apache-2.0
"""What a project uses of its limits on images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aerie_common.context import Context
from aerie_common.db import retried
from aerie_image import db
from aerie_image.logic import image_data, limits

if TYPE_CHECKING:
    from aerie_image.container import ImageService


@retried
def show(svc: ImageService, ctx: Context) -> dict[str, Any]:
    """Limits (-1: none) and usage of the caller's project. Sizes are in MiB."""
    project = ctx.project_id or ""
    allowed = limits.of(svc, project).shown()
    with svc.db.read() as conn:
        stored = db.images.usage(conn, project)
        count = db.images.count(conn, project)
        uploading = db.images.count(conn, project, limits.BUSY)
        staged = image_data.staged(svc, conn, project)
    used = {
        limits.SIZE: stored // limits.MIB,
        limits.STAGE: staged // limits.MIB,
        limits.COUNT: count,
        limits.UPLOADING: uploading,
    }
    return {name: {"limit": allowed[name], "usage": used[name]} for name in limits.NAMES}
