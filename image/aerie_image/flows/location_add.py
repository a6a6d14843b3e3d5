# SPDX-License-Identifier: Apache-2.0
"""location_add: make data that lies on a web server already the data of an image, without storing it.

measure -> examine (hash and inspect, if `do_secure_hash`). Until the flow ends the image shows no data; if it fails the
image is `queued` again. Input: task_id, stores (the one store whose location it is), url, os_hash_algo, and
os_hash_value where the caller gave one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from aerie_common.errors import AerieError
from aerie_common.flow import Fail, Flow, Run, Step
from aerie_image import db, remote
from aerie_image.db.images import Image
from aerie_image.flows import image_import
from aerie_image.logic import content, limits
from aerie_image.stores.base import Store

if TYPE_CHECKING:
    from aerie_image.container import ImageService

HOUR = 3600.0
TROUBLE = (remote.RefusedUrl, remote.RemoteFailure, OSError, AerieError)


def _place(run: Run[ImageService]) -> tuple[Image, Store, str]:
    with run.services.db.read() as conn:
        image = db.images.get(conn, run.subject_id)
    if image is None or image.import_task != run.input["task_id"]:
        raise Fail("The image was deleted.", code="deleted")
    [name] = run.input["stores"]
    store = run.services.stores.get(name)
    if store is None:
        raise Fail(f"There is no store {name} any more.", code="no_store")
    return image, store, run.input["url"]


def measure(run: Run[ImageService]) -> dict[str, Any]:
    """Find out how large the data is, and whether the project may have as much."""
    image, store, url = _place(run)
    with run.services.db.write() as conn:
        db.tasks.change(conn, run.input["task_id"], status="processing")
    try:
        size, allowed = store.size(url), limits.of(run.services, image.owner)
        with run.services.db.read() as conn:
            room = limits.room(run.services, conn, allowed, image.owner)
    except TROUBLE as e:
        raise Fail(str(e), code="no_data") from e
    if size > room:
        raise Fail(f"The image is larger than the limit of {room} bytes.", code="too_large")
    return {"size": size}


def examine(run: Run[ImageService]) -> dict[str, Any]:
    """Read the data once: its checksums, and whether it is what it says it is."""
    image, store, url = _place(run)
    size, algorithm, told = run.results["measure"]["size"], run.input["os_hash_algo"], run.input.get("os_hash_value")
    if not run.services.conf.do_secure_hash:
        return {"os_hash_value": told, "os_hash_algo": algorithm if told else None}
    md5, digest = hashlib.md5(usedforsecurity=False), hashlib.new(algorithm)

    def pieces() -> Iterator[bytes]:
        for piece in store.read(url, 0, size):
            run.check()
            md5.update(piece)
            digest.update(piece)
            yield piece

    try:
        virtual_size = content.inspect_pieces(pieces(), image.disk_format or "raw", image.container_format, size)
    except TROUBLE as e:
        raise Fail(str(e), code="refused_content") from e
    if told not in (None, digest.hexdigest()):
        raise Fail(f"os_hash_value: {told} is not that of the data, {digest.hexdigest()}", code="damaged")
    found = {"checksum": md5.hexdigest(), "os_hash_algo": algorithm, "os_hash_value": digest.hexdigest()}
    return {**found, "virtual_size": virtual_size}


def done(conn: sa.Connection, run: Run[ImageService]) -> None:
    """The image has the data; from now on it can be downloaded."""
    task_id, [name] = run.input["task_id"], run.input["stores"]
    image = db.images.of_task(conn, run.subject_id, task_id)
    if image is None:
        return
    values = {"status": "active", "locations": {name: run.input["url"]}, "size": run.results["measure"]["size"]}
    over: dict[str, Any] = {"import_task": None, "importing_to": [], "failed_stores": []}
    if not db.images.change(conn, image, {**values, **over, **run.results["examine"]}):
        raise RuntimeError(f"image {image.id} changed although it was locked")
    db.tasks.change(conn, task_id, status="success", result={"image_id": image.id}, message="")


LOCATION_ADD = Flow(
    "location_add",
    version=1,
    deadline=12 * HOUR,
    steps=(Step("measure", do=measure, timeout=HOUR), Step("examine", do=examine, timeout=8 * HOUR)),
    on_done=done,
    on_failed=image_import.failed,
    on_cancelled=image_import.cancelled,
)
