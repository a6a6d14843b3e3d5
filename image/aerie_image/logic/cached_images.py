# SPDX-License-Identifier: Apache-2.0
"""What administrators ask of this host's image cache, and what it does in the background."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from aerie_common.context import Context
from aerie_common.db import retried
from aerie_common.errors import BadRequest
from aerie_image import db, errors
from aerie_image.image_cache import Copy, ImageCache
from aerie_image.logic import image_data, images

if TYPE_CHECKING:
    from aerie_image.container import ImageService

LOG = logging.getLogger(__name__)


def needed(svc: ImageService) -> ImageCache:
    """The cache. NoCache when the configuration has none."""
    if svc.cache is None:
        raise errors.NoCache()
    return svc.cache


def list_(svc: ImageService) -> tuple[list[Copy], list[str]]:
    """The copies, and the images that are queued."""
    cache = needed(svc)
    return cache.copies(), cache.queued()


@retried
def enqueue(svc: ImageService, ctx: Context, image_id: str) -> None:
    """Have an active image copied in the background."""
    cache = needed(svc)
    image = images.get(svc, ctx, image_id)
    if image.status != "active":
        raise BadRequest("Only images with status active can be targeted for queueing")
    cache.enqueue(image_id)


@retried
def delete(svc: ImageService, image_id: str) -> None:
    """Forget the copy and do not make one. NotCached when there is neither image nor copy."""
    cache = needed(svc)
    was = [cache.dequeue(image_id), cache.remove(image_id)]
    with svc.db.read() as conn:
        if not any(was) and db.images.get(conn, image_id) is None:
            raise errors.NotCached(image_id=image_id)


def clear(svc: ImageService, *, copies: bool, queue: bool) -> None:
    """Forget all copies, or all that is queued, or both."""
    cache = needed(svc)
    if queue:
        for image_id in cache.queued():
            cache.dequeue(image_id)
    if copies:
        for copy in cache.copies():
            cache.remove(copy.image_id)


# ---- in the background


def keep(svc: ImageService) -> None:
    """Forget what is not wanted any more, make room, and fetch what is queued."""
    if svc.cache is None:
        return
    svc.cache.clean()
    _forget(svc, svc.cache)
    for image_id in svc.cache.queued():
        _prefetch(svc, svc.cache, image_id)
    svc.cache.prune()


def _forget(svc: ImageService, cache: ImageCache) -> None:
    """Remove copies of images that were deleted, perhaps by the API of another host."""
    for copy in cache.copies():
        with svc.db.read() as conn:
            gone = db.images.get(conn, copy.image_id) is None
        if gone:
            cache.remove(copy.image_id)


def _prefetch(svc: ImageService, cache: ImageCache, image_id: str) -> None:
    with svc.db.read() as conn:
        image = db.images.get(conn, image_id)
    found = image_data.source(svc, image) if image is not None and image.status == "active" else None
    if image is None or found is None:
        LOG.warning("image %s was to be cached, but has no data any more", image_id)
    elif not cache.fetch(image, *found) and cache.being_fetched(image_id):
        return  # another process fetches it; we look again
    cache.dequeue(image_id)
