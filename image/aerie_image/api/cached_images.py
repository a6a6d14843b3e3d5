# SPDX-License-Identifier: Apache-2.0
"""The image cache of this host over HTTP."""

from __future__ import annotations

from typing import Any

from aerie_common.errors import BadRequest, Conflict
from aerie_common.http import Reply, Request
from aerie_image.logic import cached_images, images

TARGET = "X-Image-Cache-Clear-Target"


def list_(req: Request) -> Any:
    """List the images that this host keeps copies of, and those it is about to fetch."""
    copies, queued = cached_images.list_(req.svc)
    return {
        "cached_images": [
            {
                "image_id": copy.image_id,
                "hits": copy.hits,
                "last_accessed": copy.accessed,
                "last_modified": copy.modified,
                "size": copy.size,
            }
            for copy in copies
        ],
        "queued_images": queued,
    }


def create(req: Request, image_id: str) -> Reply:
    """Have an image fetched into the cache."""
    cached_images.enqueue(req.svc, req.ctx, image_id)
    return Reply()


def delete(req: Request, image_id: str) -> None:
    """Remove an image from the cache and its queue."""
    cached_images.delete(req.svc, image_id)


def clear(req: Request) -> None:
    """Empty the cache, its queue, or both."""
    cached_images.needed(req.svc)
    target = (req.header(TARGET) or "").lower()
    if target not in ("", "cache", "queue"):
        raise BadRequest(f"If provided '{TARGET.lower()}' must be 'cache', 'queue' or empty string.")
    cached_images.clear(req.svc, copies=target != "queue", queue=target != "cache")


def clean(req: Request) -> Reply:
    """Remove copies that were not completed."""
    cached_images.needed(req.svc).clean()
    return Reply()


def prune(req: Request) -> Any:
    """Remove the copies read longest ago until the rest fits."""
    files, size = cached_images.needed(req.svc).prune()
    return {"total_files_pruned": files, "total_bytes_pruned": size}


def nodes(req: Request, image_id: str) -> Any:
    """List the hosts that have a copy: each host knows its own only."""
    cached_images.needed(req.svc)
    images.get(req.svc, req.ctx, image_id)
    raise Conflict("Centralized caching is not enabled")
