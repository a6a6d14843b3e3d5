# SPDX-License-Identifier: Apache-2.0
"""Locations over HTTP: where an image's data lies, told by and to services only."""

from __future__ import annotations

from typing import Any

from aerie_common.http import Reply, Request
from aerie_image.logic import locations


def list_(req: Request, image_id: str) -> Any:
    """List where an image's data lies."""
    return [
        {"url": url, "metadata": {"store": store}} for store, url in locations.list_(req.svc, req.ctx, image_id).items()
    ]


def create(req: Request, image_id: str) -> Reply:
    """Make data that lies elsewhere the data of a queued image."""
    locations.create(req.svc, req.ctx, image_id, req.body["url"], req.body.get("validation_data"))
    return Reply()
