# SPDX-License-Identifier: Apache-2.0
"""How much a project may have, and whether it still may.

With `use_keystone_limits` the identity service's limits hold; this service's own options for what it has no limit
for. Limits on bytes count whole MiB, as those of every OpenStack: new data is let in while the project is not over its
limit, and cut off in mid-stream once it is over it by more than one MiB.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aerie_common.errors import TooLarge
from aerie_image import db, errors

if TYPE_CHECKING:
    from aerie_image.container import ImageService

MIB = 1 << 20
SIZE, STAGE, COUNT, UPLOADING = "image_size_total", "image_stage_total", "image_count_total", "image_count_uploading"
NAMES = (SIZE, STAGE, COUNT, UPLOADING)
BUSY = ("saving", "uploading", "importing")


@dataclass(frozen=True)
class Limits:
    """What one project may have; -1: no limit. size, stage: MiB. bytes_: by the option user_storage_quota, 0: none."""

    size: int = -1
    stage: int = -1
    count: int = -1
    uploading: int = -1
    bytes_: int = 0

    def shown(self) -> dict[str, int]:
        """resource -> limit, as clients see them."""
        size = self.size if self.size >= 0 or not self.bytes_ else self.bytes_ // MIB
        return {SIZE: size, STAGE: self.stage, COUNT: self.count, UPLOADING: self.uploading}


def of(svc: ImageService, project_id: str | None) -> Limits:
    """The limits of a project. May ask the identity service: not to be called in a transaction."""
    conf = svc.conf
    found = svc.identity_limits.of(project_id) if conf.use_keystone_limits and project_id else {}
    return Limits(
        size=found.get(SIZE, -1),
        stage=found.get(STAGE, -1),
        count=found.get(COUNT, conf.image_count_quota),
        uploading=found.get(UPLOADING, -1),
        bytes_=0 if SIZE in found else conf.user_storage_quota,
    )


def room(svc: ImageService, conn: Any, limits: Limits, owner: str | None) -> int:
    """How many bytes an image may have. OverLimit when the project is over its limit already."""
    most = int(svc.conf.image_size_cap)
    if owner is None or (limits.size < 0 and not limits.bytes_):
        return most
    used = db.images.usage(conn, owner)
    if limits.bytes_:
        most = min(most, max(0, limits.bytes_ - used))
    return min(most, _left(SIZE, limits.size, used))


def staging_room(svc: ImageService, conn: Any, limits: Limits, owner: str | None, staged: int) -> int:
    """How many bytes may be staged, of which the project has so many already."""
    return min(room(svc, conn, limits, owner), _left(STAGE, limits.stage, staged))


def _left(name: str, limit: int, used: int) -> int:
    """Bytes until a limit in MiB cuts off."""
    if limit < 0:
        return 1 << 62
    if used // MIB > limit:
        raise errors.OverLimit(resource=name, limit=limit, used=used // MIB)
    return (limit + 1) * MIB - used


def one_more_image(conn: Any, limits: Limits, owner: str | None) -> None:
    """Refuse an image beyond the limit."""
    if owner and limits.count >= 0 and db.images.count(conn, owner, lock=True) >= limits.count:
        raise TooLarge(f"The limit of {limits.count} images of one project has been reached.")


def one_more_upload(conn: Any, limits: Limits, owner: str | None) -> None:
    """Refuse an upload, staging or import beyond the limit on those that go on at a time."""
    if owner and limits.uploading >= 0:
        used = db.images.count(conn, owner, BUSY, lock=True)
        if used >= limits.uploading:
            raise errors.OverLimit(resource=UPLOADING, limit=limits.uploading, used=used)
