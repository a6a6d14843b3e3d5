# SPDX-License-Identifier: Apache-2.0
"""`aerie image ...`: what operators do to the data of images."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from oslo_config import cfg

from aerie_image import db
from aerie_image.container import ImageService
from aerie_image.db.images import Image
from aerie_image.logic.content import Digests

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
    for image in _images(svc, given.image):
        for name, location in image.locations.items():
            if given.store not in (None, name):
                continue
            trouble, seen = _examine(svc, image, name, location), seen + 1
            if trouble:
                bad += 1
                print(f"{image.id} in {name}: {trouble}", file=sys.stderr)
    print(f"{seen} copies examined, {bad} bad")
    return 1 if bad else 0


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
        with Digests() as digests:
            for piece in store.read(location, 0, size):
                digests.update(piece)
            md5, sha512 = digests.result()
    except OSError as e:
        return f"it cannot be read: {e}"
    if (image.checksum, image.os_hash_value) not in ((md5, sha512), (None, None)):
        return f"its sha512 is {sha512}, not {image.os_hash_value}"
    return None
