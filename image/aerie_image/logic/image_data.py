# SPDX-License-Identifier: Apache-2.0
"""Image data on its way in and out, in constant memory.

An upload owns its image from `saving` on: only one caller can move it there. Its data is hashed by two threads while
the next piece is read, looked at by the format inspector when complete, and visible only after that; whatever goes
wrong leaves the image `queued` for another try and nothing in the store.
"""

from __future__ import annotations

import errno
import hashlib
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from oslo_utils.imageutils import format_inspector

from aerie_common.context import Context
from aerie_common.db import retried
from aerie_common.errors import BadRequest
from aerie_image import db, errors
from aerie_image.db.images import Image
from aerie_image.logic import images
from aerie_image.stores.base import Writer

if TYPE_CHECKING:
    from aerie_image.container import ImageService

LOG = logging.getLogger(__name__)
CHUNK = 1 << 20
HASH_ALGORITHM = "sha512"
_RAW_LIKE = frozenset({"raw", "gpt"})
_UNINSPECTED = frozenset({"ami", "ari", "aki", "ploop"})
_hashers = ThreadPoolExecutor(max_workers=4, thread_name_prefix="hash")


@dataclass(frozen=True)
class Facts:
    """What became known of the data while it came in. size, virtual_size: bytes."""

    size: int
    checksum: str
    os_hash_value: str
    virtual_size: int | None


@retried
def _claim(svc: ImageService, ctx: Context, image_id: str) -> tuple[Image, int]:
    """Make the upload ours; returns the image and how many bytes it may have."""
    with svc.db.write() as conn:
        image = images.visible(conn, ctx, image_id)
        images.may_change(ctx, image)
        if image.disk_format is None or image.container_format is None:
            raise BadRequest("Properties disk_format, container_format must be set prior to saving data.")
        limit = svc.conf.image_size_cap
        if svc.conf.user_storage_quota and image.owner:
            limit = min(limit, max(0, svc.conf.user_storage_quota - db.images.usage(conn, image.owner)))
        if not db.images.set_status(conn, image_id, ("queued",), "saving"):
            raise errors.InvalidStatus(image_id=image_id, status=image.status, wanted="queued")
    return image, limit


@retried
def _finish(svc: ImageService, image_id: str, location: str, facts: Facts) -> bool:
    with svc.db.write() as conn:
        return db.images.set_status(
            conn,
            image_id,
            ("saving",),
            "active",
            location=location,
            size=facts.size,
            checksum=facts.checksum,
            os_hash_algo=HASH_ALGORITHM,
            os_hash_value=facts.os_hash_value,
            virtual_size=facts.virtual_size,
        )


@retried
def _give_back(svc: ImageService, image_id: str) -> None:
    with svc.db.write() as conn:
        db.images.set_status(conn, image_id, ("saving",), "queued")


def upload(svc: ImageService, ctx: Context, image_id: str, stream: IO[bytes], announced: int | None) -> None:
    """Store the data of a queued image. announced: its size in bytes where the client said so.

    InvalidStatus when the image has data or somebody else uploads; ImageTooLarge in mid-stream; UnsafeImage and
    FormatMismatch when the content is not what it says it is.
    """
    image, limit = _claim(svc, ctx, image_id)
    try:
        if announced is not None and announced > limit:
            raise errors.ImageTooLarge(limit=limit)
        writer = svc.store.create(image_id)
        try:
            size, checksum, sha512 = _copy(stream, writer, limit)
            if announced is not None and size != announced:
                raise BadRequest(f"The upload ended after {size} of {announced} bytes.")
            facts = Facts(
                size, checksum, sha512, inspect(writer.path, image.disk_format or "raw", image.container_format, size)
            )
            location = writer.commit()
        except OSError as e:
            if e.errno in (errno.ENOSPC, errno.EDQUOT):
                raise errors.StoreFull() from e
            raise
        finally:
            writer.abort()
        if not _finish(svc, image_id, location, facts):
            svc.store.delete(location)  # deleted while it was uploaded
            raise errors.ImageNotFound(image_id=image_id)
    except BaseException:
        _give_back(svc, image_id)
        raise


def _copy(stream: IO[bytes], writer: Writer, limit: int) -> tuple[int, str, str]:
    """Write and hash the stream; returns its size, md5 and sha512."""
    md5, sha512 = hashlib.md5(usedforsecurity=False), hashlib.new(HASH_ALGORITHM)
    size = 0
    pending: list[Any] = []
    while chunk := stream.read(CHUNK):
        size += len(chunk)
        if size > limit:
            wait(pending)
            raise errors.ImageTooLarge(limit=limit)
        wait(pending)
        pending = [_hashers.submit(md5.update, chunk), _hashers.submit(sha512.update, chunk)]
        writer.write(chunk)
    wait(pending)
    return size, md5.hexdigest(), sha512.hexdigest()


def inspect(path: str | None, declared: str, container: str | None, size: int) -> int | None:
    """Look at the stored content: refuses what is hostile or not of the declared format; returns its virtual size."""
    if path is None or size == 0 or declared in _UNINSPECTED or container not in ("bare", None):
        return size if declared == "raw" else None
    try:
        found = format_inspector.detect_file_format(path)
    except format_inspector.ImageFormatError as e:
        raise errors.UnsafeImage(reason=str(e)) from e
    if found is None:
        raise errors.UnsafeImage(reason="its format cannot be told")
    name = str(found)
    if name != declared and not (declared == "raw" and name in _RAW_LIKE):
        raise errors.FormatMismatch(found=name, declared=declared)
    if name in _RAW_LIKE:
        return size
    try:
        found.safety_check()
    except format_inspector.SafetyCheckFailed as e:
        raise errors.UnsafeImage(reason=f"{e}: {', '.join(sorted(e.failures))}") from e
    return int(found.virtual_size)


def download(
    svc: ImageService, ctx: Context, image_id: str, wanted: tuple[int | None, int | None] | None
) -> tuple[Image, int, int, Iterator[bytes]]:
    """(image, offset, length, pieces) of its data. wanted: first and last byte as a Range header has them."""
    image = images.get(svc, ctx, image_id)
    if image.status == "deactivated" and not images.viewer(ctx).is_admin:
        raise errors.ImageDeactivated(image_id=image_id)
    if image.location is None or image.size is None:
        return image, 0, 0, iter(())
    offset, length = 0, image.size
    if wanted is not None:
        first, last = wanted
        if first is None:  # the last so many bytes
            offset = max(0, image.size - (last or 0))
        else:
            offset = first
        end = image.size - 1 if last is None or first is None else min(last, image.size - 1)
        if offset > end or offset >= image.size:
            raise errors.RangeNotSatisfiable(range=f"{first}-{last}", size=image.size)
        length = end - offset + 1
    return image, offset, length, svc.store.read(image.location, offset, length)
