# SPDX-License-Identifier: Apache-2.0
"""image_import: bring data from where it is (staged, on a web server, in another store or another region) into the
chosen stores.

fetch -> prepare (decompress, convert, inspect) -> store -> clean. Until the flow ends the image shows no new data; if
it fails or the image is deleted meanwhile, nothing is left in staging or in any store. Input: task_id, method, stores
(targets, none of which has the data), must_succeed, and what the method needs.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from aerie_common.errors import AerieError
from aerie_common.flow import Fail, Fault, Flow, Run, Step
from aerie_image import db, plugins, regions, remote
from aerie_image.db.images import Image
from aerie_image.logic import content, image_data, limits
from aerie_image.logic.content import Digests, Facts
from aerie_image.stores.base import Store

if TYPE_CHECKING:
    from aerie_image.container import ImageService

LOG = logging.getLogger(__name__)
HOUR = 3600.0
COPY, REGION = "copy-image", "glance-download"
_PREPARED = ".prepared"


def _image(run: Run[ImageService]) -> Image:
    """The image, while this import is its import."""
    with run.services.db.read() as conn:
        image = db.images.get(conn, run.subject_id)
    if image is None or image.import_task != run.input["task_id"]:
        raise Fail("The image was deleted.", code="deleted")
    return image


# ---- steps


def fetch(run: Run[ImageService]) -> dict[str, Any]:
    """Have the data at hand: in the staging folder, or (to copy) in a store."""
    svc, image = run.services, _image(run)
    with svc.db.write() as conn:
        db.tasks.change(conn, run.input["task_id"], status="processing")
    if run.input["method"] == COPY:
        return {"size": image.size}
    try:
        allowed = limits.of(svc, image.owner)
        with svc.db.read() as conn:
            limit = limits.room(svc, conn, allowed, image.owner)
        if run.input["method"] == "web-download":
            return {"size": _download(run, limit), "limit": limit}
        if run.input["method"] == REGION:
            return {**_fetch_elsewhere(run, image, limit), "limit": limit}
        size = svc.staging.size(svc.staging.location(image.id))
    except FileNotFoundError:
        raise Fail("There is no staged data any more.", code="no_data") from None
    except (remote.RefusedUrl, remote.RemoteFailure, AerieError) as e:
        raise Fail(str(e), code="download_failed") from e
    if size > limit:
        raise Fail(f"The image is larger than the limit of {limit} bytes.", code="too_large")
    return {"size": size, "limit": limit}


def _download(run: Run[ImageService], limit: int) -> int:
    svc = run.services
    with remote.open_url(run.input["uri"], svc.web_rules) as source:
        if source.length is not None and source.length > limit:
            raise Fail(f"The image is larger than the limit of {limit} bytes.", code="too_large")
        writer = svc.staging.create(run.subject_id)
        try:
            size = content.copy(source.read, writer, limit, check=run.check)
            writer.commit()
        finally:
            writer.abort()
    return size


def _fetch_elsewhere(run: Run[ImageService], image: Image, limit: int) -> dict[str, Any]:
    """Stage the data of another region's image; returns its size and what else is taken from it."""
    svc, remote_id = run.services, run.input["remote_id"]
    region = regions.Region(svc.clients.http, run.input["url"], regions.unseal(svc.conf, run.input["token"]))
    found = region.image(remote_id)
    if found["size"] > limit:
        raise Fail(f"The image is larger than the limit of {limit} bytes.", code="too_large")
    properties = regions.properties(found, svc.conf.glance_download_properties.extra_properties)
    quota = svc.conf.image_property_quota
    if 0 <= quota < len({**image.properties, **properties}):
        raise Fail(f"With its properties the image would have more than {quota}.", code="too_large")
    formats = {name: found[name] for name in ("disk_format", "container_format") if found.get(name)}
    if any(formats[name] not in svc.conf.image_format[f"{name}s"] for name in formats):
        raise Fail(f"This cloud has no images of the format {formats}.", code="refused_content")
    with contextlib.closing(region.data(remote_id, found["size"])) as source, Digests() as digests:
        writer = svc.staging.create(run.subject_id, found["size"])
        try:
            size = content.copy(source.read, writer, limit, digests, run.check)
            md5, sha512 = digests.result()
            told = (
                found.get("checksum"),
                found.get("os_hash_value") if found.get("os_hash_algo") == "sha512" else None,
            )
            if told[0] not in (None, md5) or told[1] not in (None, sha512):
                raise Fail("The data does not have the checksum that the other region tells.", code="damaged")
            writer.commit()
        finally:
            writer.abort()
    return {"size": size, "columns": formats, "properties": properties}


def unfetch(run: Run[ImageService]) -> None:
    """Nothing stays staged."""
    if run.input["method"] != COPY and _mine(run):
        run.services.staging.discard(run.subject_id)


def prepare(run: Run[ImageService]) -> dict[str, Any]:
    """Make of the staged data what is to be stored, beside it, and look at it."""
    svc, image = run.services, _image(run)
    if run.input["method"] == COPY:
        return {"columns": {}, "virtual_size": image.virtual_size}
    taken = run.results["fetch"].get("columns", {})
    image = replace(image, **taken)
    staged, made = svc.staging.path(image.id), svc.staging.path(image.id + _PREPARED)
    try:
        columns = {**taken, **plugins.run(svc.conf, image, staged, made)}
        path = made if made.exists() else staged
        size = path.stat().st_size
        declared = str(columns.get("disk_format", image.disk_format))
        container = columns.get("container_format", image.container_format)
        return {"columns": columns, "virtual_size": content.inspect(str(path), declared, container, size)}
    except FileNotFoundError as e:
        raise Fail("There is no staged data any more.", code="no_data") from e
    except (AerieError, plugins.PluginFailure) as e:
        raise Fail(str(e), code="refused_content") from e


def unprepare(run: Run[ImageService]) -> None:
    """Nothing that was made of the staged data stays."""
    if _mine(run):
        run.services.staging.discard(run.subject_id + _PREPARED)


def store(run: Run[ImageService]) -> dict[str, Any]:
    """Write the data into every chosen store, hashing it on the way."""
    svc, image = run.services, _image(run)
    locations: dict[str, str] = {}
    failed: list[str] = []
    facts: Facts | None = None
    for name in run.input["stores"]:
        try:
            location, facts = _store_in(run, image, svc.stores[name])
            locations[name] = location
        except (OSError, KeyError, remote.RemoteFailure, remote.RefusedUrl) as e:
            if run.input["must_succeed"]:
                raise Fail(f"The store {name} did not take the data: {e}", code="store_failed") from e
            LOG.warning("image %s: the store %s did not take the data: %s", image.id, name, e)
            failed.append(name)
        left = [n for n in run.input["stores"] if n not in locations and n not in failed]
        _progress(run, left, failed)
    if failed and not locations:
        raise Fail(f"No store took the data: {', '.join(failed)}", code="store_failed")
    return {"locations": locations, "failed": failed, "facts": None if facts is None else asdict(facts)}


def _store_in(run: Run[ImageService], image: Image, target: Store) -> tuple[str, Facts]:
    """Where the store has the data now, and what the data is."""
    pieces = _pieces(run, image)
    limit = run.results["fetch"].get("limit", run.services.conf.image_size_cap)
    writer = target.create(
        image.id, image.size if run.input["method"] == COPY else _prepared(run, image).stat().st_size
    )
    try:
        with Digests() as digests:
            size = content.copy(lambda size: next(pieces, b""), writer, limit, digests, run.check)
            checksum, sha512 = digests.result()
        if run.input["method"] == COPY and checksum != image.checksum and image.checksum:
            raise Fail("The stored data does not have the image's checksum.", code="damaged")
        return writer.commit(), Facts(size, checksum, sha512, run.results["prepare"]["virtual_size"])
    finally:
        writer.abort()


def _pieces(run: Run[ImageService], image: Image) -> Iterator[bytes]:
    svc = run.services
    if run.input["method"] == COPY:
        try:
            data = image_data.open_data(svc, image, 0, image.size or 0)
        except AerieError as e:
            raise Fail(str(e), code="no_data") from e
        if data is None:
            raise Fail("No store that is configured has the data.", code="no_data")
        yield from data
        return
    with _prepared(run, image).open("rb", buffering=0) as file:
        while piece := file.read(content.CHUNK):
            yield piece


def _prepared(run: Run[ImageService], image: Image) -> Path:
    """The file of what is to be stored."""
    made = run.services.staging.path(image.id + _PREPARED)
    return made if made.exists() else run.services.staging.path(image.id)


def _progress(run: Run[ImageService], left: list[str], failed: list[str]) -> None:
    with run.services.db.write() as conn:
        image = db.images.of_task(conn, run.subject_id, run.input["task_id"])
        if image is None:
            raise Fail("The image was deleted.", code="deleted")
        _change(conn, image, {"importing_to": left, "failed_stores": failed})


def _change(conn: sa.Connection, image: Image, values: dict[str, Any]) -> None:
    """Change an image that is locked."""
    if not db.images.change(conn, image, values):
        raise RuntimeError(f"image {image.id} changed although it was locked")


def unstore(run: Run[ImageService]) -> None:
    """Nothing stays in the stores that did not have the data before."""
    if _mine(run):
        for name in run.input["stores"]:
            if name in run.services.stores:
                try:
                    run.services.stores[name].discard(run.subject_id)
                except OSError as e:  # the image need not wait for a store that is away
                    LOG.warning("image %s in the store %s is left to the reconciler: %s", run.subject_id, name, e)


def _mine(run: Run[ImageService]) -> bool:
    """Is whatever lies under the image's id of this import? Not if the image was deleted and its id is used again."""
    with run.services.db.read() as conn:
        image = db.images.get(conn, run.subject_id)
    return image is None or image.import_task == run.input["task_id"]


def clean(run: Run[ImageService]) -> None:
    """The staged data is not needed any more."""
    unprepare(run)
    unfetch(run)


# ---- ends


def done(conn: sa.Connection, run: Run[ImageService]) -> None:
    """The image has the data; from now on it can be downloaded."""
    stored, task_id = run.results["store"], run.input["task_id"]
    image = db.images.of_task(conn, run.subject_id, task_id)
    if image is None:
        return
    values: dict[str, Any] = {
        "locations": {**image.locations, **stored["locations"]},
        "import_task": None,
        "importing_to": [],
        "failed_stores": stored["failed"],
    }
    if image.status == "importing":
        values |= {"status": "active", **run.results["prepare"]["columns"], **Facts(**stored["facts"]).columns()}
        if run.results["fetch"].get("properties"):
            values["properties"] = {**image.properties, **run.results["fetch"]["properties"]}
    _change(conn, image, values)
    db.tasks.change(conn, task_id, status="success", result={"image_id": image.id}, message="")


def failed(conn: sa.Connection, run: Run[ImageService], fault: Fault) -> None:
    """The image is as it was before the import, but for the note which stores have not got the data."""
    text = "The import failed; the operator finds the reason in the log." if fault.internal else fault.message
    LOG.warning("import of image %s failed in %s: %s", run.subject_id, fault.step, fault.message)
    _over(conn, run, text)


def cancelled(conn: sa.Connection, run: Run[ImageService]) -> None:
    """Stopped, usually because the image was deleted."""
    _over(conn, run, "The image was deleted.")


def _over(conn: sa.Connection, run: Run[ImageService], message: str) -> None:
    task_id = run.input["task_id"]
    image = db.images.of_task(conn, run.subject_id, task_id)
    if image is not None and run.input.get("new_image"):
        db.images.delete(conn, image.id)
    elif image is not None:
        values = {"import_task": None, "importing_to": [], "failed_stores": run.input["stores"]}
        status = {"status": "queued"} if image.status == "importing" else {}
        _change(conn, image, {**values, **status})
    db.tasks.change(conn, task_id, status="failure", message=message)


IMAGE_IMPORT = Flow(
    "image_import",
    version=1,
    deadline=12 * HOUR,
    steps=(
        Step("fetch", do=fetch, undo=unfetch, timeout=4 * HOUR),
        Step("prepare", do=prepare, undo=unprepare, timeout=4 * HOUR),
        Step("store", do=store, undo=unstore, timeout=4 * HOUR),
        Step("clean", do=clean),
    ),
    on_done=done,
    on_failed=failed,
    on_cancelled=cancelled,
)
