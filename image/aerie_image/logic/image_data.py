# SPDX-License-Identifier: Apache-2.0
"""Image data on its way in and out, in constant memory.

An upload owns its image from `saving` on, a staging from `uploading` on: only one caller can move it there. Data is
looked at by the format inspector when complete, and visible only after that; whatever goes wrong leaves the image
`queued` for another try and nothing in the store.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any

from aerie_common.context import Context
from aerie_common.db import retried
from aerie_common.errors import AerieError, BadRequest, Forbidden
from aerie_image import db, errors
from aerie_image.db.images import Image
from aerie_image.logic import content, images, limits
from aerie_image.logic.content import Digests, Facts
from aerie_image.remote import RefusedUrl, RemoteFailure
from aerie_image.stores.base import Store, StoreDenied, StoreGone, StoreUnavailable, Writer

if TYPE_CHECKING:
    from aerie_image.container import ImageService

LOG = logging.getLogger(__name__)
PIECES_BETWEEN_LOOKS = 64
BEAT_SECONDS = 600.0


def staged(svc: ImageService, conn: Any, owner: str | None) -> int:
    """Bytes that a project has staged."""
    total = 0
    for image_id in db.images.ids_in_status(conn, owner or "", "uploading"):
        with contextlib.suppress(FileNotFoundError):
            total += svc.staging.size(svc.staging.location(image_id))
    return total


@retried
def _claim(svc: ImageService, ctx: Context, image_id: str, status: str) -> tuple[Image, int]:
    """Make the upload ours; returns the image and how many bytes it may have."""
    allowed = limits.of(svc, images.get(svc, ctx, image_id).owner)
    with svc.db.write() as conn:
        image = images.visible(conn, ctx, image_id)
        images.may_change(ctx, image)
        if image.disk_format is None or image.container_format is None:
            raise BadRequest("Properties disk_format, container_format must be set prior to saving data.")
        if image.status != "queued":
            raise errors.InvalidStatus(image_id=image_id, status=image.status, wanted="queued")
        limits.one_more_upload(conn, allowed, image.owner)
        if status == "uploading":
            limit = limits.staging_room(svc, conn, allowed, image.owner, staged(svc, conn, image.owner))
        else:
            limit = limits.room(svc, conn, allowed, image.owner)
        if not db.images.set_status(conn, image_id, ("queued",), status):
            raise errors.InvalidStatus(image_id=image_id, status="used by somebody else", wanted="queued")
    return image, limit


def _watch(svc: ImageService, image_id: str, status: str) -> Callable[[], None]:
    """To be called after each piece: ends an upload whose image was deleted, before it has filled the disk, and tells
    the reconciler now and then that a slow upload lives (not every store shows what is on its way)."""
    pieces, beat = itertools.count(1), time.monotonic() + BEAT_SECONDS

    def check() -> None:
        nonlocal beat
        if time.monotonic() >= beat:
            beat = time.monotonic() + BEAT_SECONDS
            with svc.db.write() as conn:
                alive = db.images.set_status(conn, image_id, (status,), status)
        elif next(pieces) % PIECES_BETWEEN_LOOKS:
            return
        else:
            with svc.db.read() as conn:
                image = db.images.get(conn, image_id)
            alive = image is not None and image.status == status
        if not alive:
            raise errors.ImageNotFound(image_id=image_id)

    return check


@retried
def _finish(svc: ImageService, image: Image, store: Store, location: str, facts: Facts) -> bool:
    image_id, allowed = image.id, limits.of(svc, image.owner)
    with svc.db.write() as conn:
        room = limits.room(svc, conn, allowed, image.owner)
        if facts.size > room:  # others of the project were faster
            raise errors.ImageTooLarge(limit=room)
        found = {"locations": {store.name: location}, **facts.columns()}
        return db.images.set_status(conn, image_id, ("saving",), "active", **found)


@retried
def _give_back(svc: ImageService, image_id: str, status: str) -> None:
    with svc.db.write() as conn:
        db.images.set_status(conn, image_id, (status,), "queued")


@contextlib.contextmanager
def _troubles(store: Store) -> Iterator[None]:
    """What a caller is told of a store's trouble. The operator finds the rest in the log."""
    try:
        yield
    except OSError as e:
        refusal = _refusal(store, e)
        if refusal is None:
            raise
        LOG.warning("the store %s: %s", store.name, e)
        raise refusal from e


def _refusal(store: Store, error: OSError) -> AerieError | None:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return errors.StoreFull()
    for kind, refusal in ((StoreGone, errors.StoreGone), (StoreDenied, errors.StoreDenied),
                          (StoreUnavailable, errors.StoreUnavailable)):  # fmt: skip
        if isinstance(error, kind):
            return refusal(store=store.name)
    return None


@contextlib.contextmanager
def _writing(store: Store, image_id: str, size: int | None) -> Iterator[Writer]:
    """A writer that leaves nothing behind unless committed; a full disk has its own refusal."""
    with _troubles(store):
        writer = store.create(image_id, size)
        try:
            yield writer
        finally:
            writer.abort()


def _check_size(announced: int | None, size: int) -> None:
    if announced is not None and size != announced:
        raise BadRequest(f"The upload ended after {size} of {announced} bytes.")


def writable(svc: ImageService, name: str | None) -> Store:
    """The store of that name (the default one for None). BadRequest unless it can be written to."""
    store = svc.store if name is None else svc.stores.get(name)
    if store is None:
        raise BadRequest(f"There is no store {name}. Known: {', '.join(svc.stores)}.")
    if store.read_only:
        raise BadRequest(f"The store {name} is read-only.")
    return store


def upload(
    svc: ImageService,
    ctx: Context,
    image_id: str,
    stream: IO[bytes],
    announced: int | None,
    store_name: str | None = None,
) -> None:
    """Store the data of a queued image. announced: its size in bytes where the client said so.

    InvalidStatus when the image has data or somebody else uploads; ImageTooLarge in mid-stream; UnsafeImage and
    FormatMismatch when the content is not what it says it is.
    """
    store = writable(svc, store_name)
    image, limit = _claim(svc, ctx, image_id, "saving")
    try:
        if announced is not None and announced > limit:
            raise errors.ImageTooLarge(limit=limit)
        with _writing(store, image_id, announced) as writer:
            passing = None if writer.path else content.Inspector()
            with Digests() as digests:
                read = _inspected(stream, passing)
                size = content.copy(read, writer, limit, digests, _watch(svc, image_id, "saving"))
                checksum, sha512 = digests.result()
            _check_size(announced, size)
            declared, container = image.disk_format or "raw", image.container_format
            if passing is None:
                virtual_size = content.inspect(writer.path, declared, container, size)
            else:
                virtual_size = passing.result(declared, container, size)
            location = writer.commit()
        try:
            if not _finish(svc, image, store, location, Facts(size, checksum, sha512, virtual_size)):
                raise errors.ImageNotFound(image_id=image_id)  # deleted while it was uploaded
        except AerieError:
            images.forget(store, location)
            raise
    except BaseException:
        _give_back(svc, image_id, "saving")
        raise


def _inspected(stream: IO[bytes], passing: content.Inspector | None) -> Callable[[int], bytes]:
    """The stream's read(), seen by the inspector where the store has no file it could look at afterwards."""
    if passing is None:
        return stream.read

    def read(size: int) -> bytes:
        piece = stream.read(size)
        passing.eat(piece)
        return piece

    return read


def stage(svc: ImageService, ctx: Context, image_id: str, stream: IO[bytes], announced: int | None) -> None:
    """Keep data of a queued image until it is imported."""
    if "glance-direct" not in svc.conf.enabled_import_methods:
        raise Forbidden("The import method glance-direct is not offered here.")
    _, limit = _claim(svc, ctx, image_id, "uploading")
    try:
        if announced is not None and announced > limit:
            raise errors.ImageTooLarge(limit=limit)
        with _writing(svc.staging, image_id, announced) as writer:
            size = content.copy(stream.read, writer, limit, check=_watch(svc, image_id, "uploading"))
            _check_size(announced, size)
            location = writer.commit()
        with svc.db.read() as conn:
            now = db.images.get(conn, image_id)
        if now is None or now.status not in ("uploading", "importing"):
            svc.staging.delete(location)  # deleted while it was staged
            raise errors.ImageNotFound(image_id=image_id)
    except BaseException:
        _give_back(svc, image_id, "uploading")
        raise


def sources(svc: ImageService, image: Image) -> list[tuple[Store, str]]:
    """The stores, in the order of the configuration, that have the image's data, and where."""
    return [(store, image.locations[name]) for name, store in svc.stores.items() if name in image.locations]


def source(svc: ImageService, image: Image) -> tuple[Store, str] | None:
    """The first of them."""
    return next(iter(sources(svc, image)), None)


def open_data(
    svc: ImageService, image: Image, offset: int, length: int, preferred: Sequence[str] = ()
) -> Iterable[bytes] | None:
    """The bytes from the first store that gives them, the preferred ones before the others; None when no store has
    any. Else the last one's trouble."""
    trouble: Exception | None = None
    for store, location in sorted(sources(svc, image), key=lambda found: found[0].name not in preferred):
        try:
            return _read(svc, image, store, location, offset, length)
        except (OSError, RemoteFailure, RefusedUrl) as e:
            LOG.error("image %s cannot be read from the store %s: %s", image.id, store.name, e)
            if isinstance(e, FileNotFoundError):
                trouble = trouble or errors.DataGone(image_id=image.id)
            else:
                trouble = (_refusal(store, e) if isinstance(e, OSError) else None) or errors.StoreUnavailable(
                    store=store.name
                )
    if trouble is not None:
        raise trouble
    return None


def download(
    svc: ImageService,
    ctx: Context,
    image_id: str,
    wanted: tuple[int | None, int | None] | None,
    preferred: Sequence[str] = (),
) -> tuple[Image, int, int, Iterable[bytes] | None]:
    """(image, offset, length, pieces) of its data; no pieces when it has none. wanted: first and last byte as a Range
    header has them. preferred: stores that are tried before the others."""
    image = images.get(svc, ctx, image_id)
    if image.status == "deactivated" and not images.viewer(ctx).is_admin:
        raise errors.ImageDeactivated(image_id=image_id)
    for name in preferred:
        if name not in svc.stores:
            raise BadRequest(f"Store '{name}' is not configured.")
    if image.size is None or not sources(svc, image):
        return image, 0, 0, None
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
    return image, offset, length, open_data(svc, image, offset, length, preferred)


def _read(svc: ImageService, image: Image, store: Store, location: str, offset: int, length: int) -> Iterable[bytes]:
    """The bytes, from this host's copy where there is one. A whole image of a store elsewhere becomes one."""
    if svc.cache is not None:
        kept = svc.cache.open(image.id, offset, length)
        if kept is not None:
            return kept
        if not store.local and length == image.size:
            if not store.read_only:
                store.size(location)  # so that nothing is promised that is not there
            return svc.cache.through(image, store, location)
    return store.read(location, offset, length)


@retried
def delete_from_store(svc: ImageService, ctx: Context, image_id: str, name: str) -> None:
    """Remove the data from one store of several."""
    with svc.db.write() as conn:
        image = images.visible(conn, ctx, image_id)
        images.may_change(ctx, image)
        if name not in image.locations:
            raise errors.NotInStore(image_id=image_id, store=name)
        if image.status != "active" or image.import_task:
            raise errors.InvalidStatus(image_id=image_id, status=image.status, wanted="active and not being imported")
        if image.protected:
            raise errors.ImageProtected(image_id=image_id)
        if len(image.locations) == 1:
            raise Forbidden(f"The store {name} has the only copy of image {image_id}.")
        rest = {n: location for n, location in image.locations.items() if n != name}
        images.changed(conn, image, {"locations": rest})
    if name in svc.stores:
        images.forget(svc.stores[name], image.locations[name])
