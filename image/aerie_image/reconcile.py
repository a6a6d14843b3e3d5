# SPDX-License-Identifier: Apache-2.0
"""Files against rows: data without an image goes, an upload that died leaves its image ready for another try."""

from __future__ import annotations

import datetime
import logging

from aerie_common.db import utcnow
from aerie_image import db
from aerie_image.container import ImageService

LOG = logging.getLogger(__name__)
GRACE_SECONDS = 3600
"""Nothing younger is touched: an upload writes at least that often or has died."""


def files(svc: ImageService) -> None:
    """Remove files no image refers to and put stale uploads back to `queued`."""
    known = list(svc.store.list_())
    fresh = {image_id for image_id, _, age in known if age <= GRACE_SECONDS}
    for image_id, location, age in known:
        if age <= GRACE_SECONDS:
            continue
        with svc.db.read() as conn:
            image = db.images.get(conn, image_id)
        if image is None or image.location != location:
            LOG.warning("removing %s: no image refers to it", location)
            svc.store.delete(location)
    before = utcnow() - datetime.timedelta(seconds=GRACE_SECONDS)
    with svc.db.read() as conn:
        stale = db.images.stale_uploads(conn, before)
    for image_id in stale:
        if image_id in fresh:
            continue
        with svc.db.write() as conn:
            if db.images.set_status(conn, image_id, ("saving",), "queued"):
                LOG.warning("the upload of image %s died; it can be tried again", image_id)
