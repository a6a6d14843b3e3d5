# SPDX-License-Identifier: Apache-2.0
"""Files against rows: data without an image goes, an upload that died leaves its image ready for another try."""

from __future__ import annotations

import datetime
import logging

from aerie_common.db import utcnow
from aerie_image import db
from aerie_image.container import ImageService
from aerie_image.stores.base import Store

LOG = logging.getLogger(__name__)
GRACE_SECONDS = 3600
"""Nothing younger is touched: an upload writes at least that often or has died."""


def files(svc: ImageService) -> None:
    """Remove files no image refers to and put stale uploads back to `queued`."""
    fresh = {image_id for store in svc.stores.values() for image_id in _reachable(svc, store)}
    before = utcnow() - datetime.timedelta(seconds=GRACE_SECONDS)
    with svc.db.read() as conn:
        stale = db.images.in_status(conn, "saving", before)
    for image_id in stale:
        if image_id not in fresh:
            _try_again(svc, image_id, "saving")


def _reachable(svc: ImageService, store: Store) -> list[str]:
    """_tidy(), unless the store cannot be asked: that must not keep the others untidy."""
    try:
        return _tidy(svc, store)
    except OSError as e:
        LOG.warning("the store %s is not tidied now: %s", store.name, e)
        return []


def _tidy(svc: ImageService, store: Store) -> list[str]:
    """Remove from a store what no image has there; returns the ids of what is too young to be judged."""
    fresh = []
    for image_id, location, age in store.list_():
        if age <= GRACE_SECONDS:
            fresh.append(image_id)
            continue
        with svc.db.read() as conn:
            image = db.images.get(conn, image_id)
        if image is None or (image.locations.get(store.name) != location and image.import_task is None):
            LOG.warning("removing %s: no image refers to it", location)
            store.delete(location)
    return fresh


def staging(svc: ImageService) -> None:
    """Remove staged data that nobody can import, and let images be staged again whose staging died."""
    present = set()
    for image_id, location, age in svc.staging.list_():
        with svc.db.read() as conn:
            image = db.images.get(conn, image_id)
        wanted = image is not None and image.status in ("uploading", "importing")
        if wanted or age <= GRACE_SECONDS:
            if age <= GRACE_SECONDS or location == svc.staging.location(image_id):
                present.add(image_id)
            continue
        LOG.warning("removing %s: no image is to be made of it", location)
        svc.staging.delete(location)
    before = utcnow() - datetime.timedelta(seconds=GRACE_SECONDS)
    with svc.db.read() as conn:
        stale = db.images.in_status(conn, "uploading", before)
    for image_id in stale:
        if image_id not in present:
            _try_again(svc, image_id, "uploading")


def _try_again(svc: ImageService, image_id: str, status: str) -> None:
    with svc.db.write() as conn:
        if db.images.set_status(conn, image_id, (status,), "queued"):
            LOG.warning("the upload of image %s died; it can be tried again", image_id)


def tasks(svc: ImageService) -> None:
    """Forget tasks that ended long ago."""
    with svc.db.write() as conn:
        db.tasks.prune(conn, utcnow() - datetime.timedelta(hours=svc.conf.task_time_to_live))


def everything(svc: ImageService) -> None:
    """All of the above."""
    files(svc)
    staging(svc)
    tasks(svc)
