# SPDX-License-Identifier: Apache-2.0
"""Starting an import: the image, the task that tells of it and the flow that does it are written together."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aerie_common import flow
from aerie_common.context import Context
from aerie_common.db import new_id, retried
from aerie_common.errors import BadRequest, Conflict, Forbidden
from aerie_common.flow import Flow
from aerie_image import db, errors, regions
from aerie_image.db.images import Image
from aerie_image.db.tasks import Task
from aerie_image.flows.image_import import COPY, IMAGE_IMPORT, REGION
from aerie_image.logic import image_data, images, limits
from aerie_image.remote import RefusedUrl
from aerie_image.schemas.images import UUID

if TYPE_CHECKING:
    from aerie_image.container import ImageService

METHODS = ("glance-direct", "web-download", "copy-image", REGION)
_WANTED = {"glance-direct": "uploading", "web-download": "queued", REGION: "queued", COPY: "active"}
_UUID = re.compile(UUID)


def _targets(svc: ImageService, body: Mapping[str, Any], header: str | None) -> list[str]:
    """The stores that were asked for."""
    writable = [name for name, store in svc.stores.items() if not store.read_only]
    if body.get("all_stores"):
        if "stores" in body:
            raise BadRequest("All_stores parameter can't be used with stores.")
        return writable
    names = body.get("stores") or ([header] if header else [svc.store.name])
    return [image_data.writable(svc, name).name for name in dict.fromkeys(names)]


def _check_uri(svc: ImageService, uri: Any) -> str:
    if not isinstance(uri, str):
        raise BadRequest("Param 'uri' is required for web-download.")
    try:
        svc.web_rules.check_url(uri)
    except RefusedUrl as e:
        raise errors.UnsafeUrl(uri=uri, reason=e) from None
    return uri


def _elsewhere(svc: ImageService, ctx: Context, asked: Mapping[str, Any]) -> dict[str, str]:
    """Where the image is that is to be fetched from another region, and whose right to read it that is."""
    for name in ("glance_region", "glance_image_id"):
        if name not in asked:
            raise BadRequest(f"'{name}' needs to be set for glance-download import method")
    if not _UUID.match(asked["glance_image_id"]):
        raise BadRequest(f"Remote image id does not look like a UUID: {asked['glance_image_id']}")
    region, interface = asked["glance_region"], asked.get("glance_service_interface", "public")
    url = regions.endpoint(ctx, region, interface)
    if url is None:
        raise BadRequest(f"Your catalog has no {interface} image service of the region {region}.")
    return {"url": url, "remote_id": asked["glance_image_id"], "token": regions.seal(svc.conf, ctx.token or "")}


@retried
def start(
    svc: ImageService,
    ctx: Context,
    image_id: str,
    body: Mapping[str, Any],
    store: str | None,
    *,
    any_copy: bool = False,
) -> Task:
    """Begin an import. body: method with its parameters, stores or all_stores, all_stores_must_succeed. any_copy: the
    caller may copy the data of images of others, too."""
    method = body["method"]["name"]
    if method not in METHODS or method not in svc.conf.enabled_import_methods:
        raise BadRequest(f"Unknown import method name '{method}'.")
    given: dict[str, str] = {}
    if method == "web-download":
        given = {"uri": _check_uri(svc, body["method"].get("uri"))}
    elif method == REGION:
        given = _elsewhere(svc, ctx, body["method"])
    targets = _targets(svc, body, store)
    allowed = limits.of(svc, images.get(svc, ctx, image_id).owner)
    with svc.db.write() as conn:
        image = images.visible(conn, ctx, image_id)
        if not (any_copy and method == COPY):
            images.may_change(ctx, image)
        if image.status != _WANTED[method]:
            raise errors.InvalidStatus(image_id=image_id, status=image.status, wanted=_WANTED[method])
        if image.import_task:
            raise Conflict(f"Image {image_id} is being imported already.")
        if image.disk_format is None or image.container_format is None:
            raise BadRequest("'disk_format' and 'container_format' need to be set on image before it can be imported.")
        if image.status == "queued":
            limits.one_more_upload(conn, allowed, image.owner)
        if method == COPY:
            targets = _missing(image, targets, bool(body.get("all_stores")))
        elif method == "glance-direct":
            _staged(svc, image_id)
        must = bool(body.get("all_stores_must_succeed", True))
        shown = {"image_id": image_id, "import_req": dict(body), "backend": targets}
        work = {"method": method, "stores": targets, "must_succeed": must, **given}
        return begin(conn, ctx, image, "api_image_import", shown, work)


def _missing(image: Image, targets: list[str], quietly: bool) -> list[str]:
    """The stores that have not got the data yet."""
    present = [name for name in targets if name in image.locations]
    if present and not quietly:
        raise Conflict(f"Image is already present at store '{present[0]}'.")
    return [name for name in targets if name not in image.locations]


def _staged(svc: ImageService, image_id: str) -> None:
    try:
        svc.staging.size(svc.staging.location(image_id))
    except FileNotFoundError:
        raise Conflict(f"The data of image {image_id} has not been staged completely.") from None


def begin(
    conn: Any,
    ctx: Context,
    image: Image,
    kind: str,
    shown: Mapping[str, Any],
    work: Mapping[str, Any],
    how: Flow = IMAGE_IMPORT,
) -> Task:
    """Make the image this import's, and write task and flow."""
    owner = ctx.project_id or image.owner
    if owner is None:
        raise Forbidden("Imports need a project.")
    task_id = new_id()
    values = {"import_task": task_id, "importing_to": work["stores"], "failed_stores": []}
    if image.status != "active":
        values["status"] = "importing"
    images.changed(conn, image, values)
    task = db.tasks.insert(
        conn,
        {
            "id": task_id,
            "type": kind,
            "owner": owner,
            "user_id": ctx.user_id,
            "image_id": image.id,
            "request_id": ctx.request_id,
            "input": dict(shown),
        },
    )
    flow.start(conn, how, image.id, {"task_id": task_id, **work}, ctx)
    return task
