# SPDX-License-Identifier: Apache-2.0
"""`aerie image ...`: what operators do to the data of images, and to the definitions that forms offer."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator

from oslo_config import cfg

from aerie_common.http import FileSlice
from aerie_image import db, remote, standard_metadefs
from aerie_image.container import ImageService
from aerie_image.db.images import Image
from aerie_image.logic.content import HASH_ALGORITHM, Digests

PAGE = 100


def scrub(conf: cfg.ConfigOpts, arguments: list[str]) -> int:
    """Read the data of every image in every store and compare it with the image's checksums. 1 when some differ."""
    parser = argparse.ArgumentParser("aerie image scrub", description=scrub.__doc__)
    parser.add_argument("image", nargs="*", help="only these images")
    parser.add_argument("--store", help="only this store")
    given = parser.parse_args(arguments)
    svc, bad, seen = ImageService(conf), 0, 0
    if given.store and given.store not in svc.stores:
        parser.error(f"there is no store {given.store}")
    unseen = set(given.image)
    for image in _images(svc, given.image):
        unseen.discard(image.id)
        copies = {n: place for n, place in image.locations.items() if given.store in (None, n)}
        troubles = {name: _examine(svc, image, name, location) for name, location in copies.items()}
        if not image.locations:
            troubles["no store"] = "nothing has its data"
        if given.store is None and svc.cache is not None:
            kept = svc.cache.open(image.id, 0, image.size or 0, hit=False)
            troubles |= {"the image cache": _examine_copy(image, kept)} if kept is not None else {}
        seen += len(troubles)
        for name, trouble in troubles.items():
            if trouble:
                bad += 1
                print(f"{image.id} in {name}: {trouble}", file=sys.stderr)
    for image_id in sorted(unseen):
        bad += 1
        print(f"{image_id}: there is no such image, or it has no data", file=sys.stderr)
    print(f"{seen} copies examined, {bad} bad")
    return 1 if bad else 0


def load_metadefs(conf: cfg.ConfigOpts, arguments: list[str]) -> int:
    """Add the standard metadata definitions that are missing, as after an upgrade; changes none that is there."""
    argparse.ArgumentParser("aerie image load-metadefs", description=load_metadefs.__doc__).parse_args(arguments)
    added = standard_metadefs.add_missing(ImageService(conf))
    print("\n".join([*added, f"{len(added)} namespaces added"]))
    return 0


def _images(svc: ImageService, only: list[str]) -> Iterator[Image]:
    last = ""
    while True:
        with svc.db.read() as conn:
            page = db.images.with_data(conn, last, PAGE)
        yield from (image for image in page if not only or image.id in only)
        if len(page) < PAGE:
            return
        last = page[-1].id


def _examine(svc: ImageService, image: Image, name: str, location: str) -> str | None:
    """What is wrong with this copy; None when it is what it should be."""
    store = svc.stores.get(name)
    if store is None:
        return "the store is not configured"
    try:
        size = store.size(location)
        if image.size is not None and size != image.size:
            return f"it has {size} bytes, not {image.size}"
        return _compare(image, store.read(location, 0, size))
    except (OSError, remote.RemoteFailure, remote.RefusedUrl) as e:
        return f"it cannot be read: {e}"


def _examine_copy(image: Image, kept: FileSlice) -> str | None:
    try:
        return _compare(image, kept)
    except OSError as e:
        return f"it cannot be read: {e}"


def _compare(image: Image, pieces: Iterable[bytes]) -> str | None:
    with Digests() as digests:
        for piece in pieces:
            digests.update(piece)
        md5, sha512 = digests.result()
    if image.checksum not in (None, md5):
        return f"its md5 is {md5}, not {image.checksum}"
    if image.os_hash_algo == HASH_ALGORITHM and image.os_hash_value not in (None, sha512):
        return f"its sha512 is {sha512}, not {image.os_hash_value}"
    return None
