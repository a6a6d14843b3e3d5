# SPDX-License-Identifier: Apache-2.0
"""Where the data of an image lies, and data that lies elsewhere already as the data of an image.

Invariant: no caller makes a file of a host, or what a store of this cloud keeps, the data of an image: only stores that
are somebody else's (web servers) take a location, by the same rules as web-download.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aerie_common.context import Context
from aerie_common.db import retried
from aerie_common.errors import BadRequest, Conflict, Forbidden
from aerie_image import errors
from aerie_image.db.tasks import Task
from aerie_image.flows.location_add import LOCATION_ADD
from aerie_image.logic import images, imports, limits
from aerie_image.logic.content import HASH_ALGORITHM
from aerie_image.remote import RefusedUrl
from aerie_image.schemas.locations import DIGITS
from aerie_image.stores import naming

if TYPE_CHECKING:
    from aerie_image.container import ImageService


@retried
def list_(svc: ImageService, ctx: Context, image_id: str) -> dict[str, str]:
    """store -> location, without secrets."""
    with svc.db.read() as conn:
        found = images.visible(conn, ctx, image_id).locations
    return {store: naming.without_secrets(location) for store, location in found.items()}


def _store_of(svc: ImageService, ctx: Context, url: str) -> str:
    """The store that takes the location."""
    name = next((name for name, store in svc.stores.items() if store.takes(url)), None)
    if name is None:
        scheme = urlsplit(url).scheme
        if "service" in (*ctx.roles, *ctx.service_roles):
            raise BadRequest(f"No store of this cloud takes locations of the scheme {scheme!r}.")
        raise Forbidden("http store must be enabled to use location API by normal user.")
    try:
        svc.web_rules.check_url(url)
    except RefusedUrl as e:
        raise errors.UnsafeUrl(uri=url, reason=e) from None
    return name


def _check_hash(told: Mapping[str, str]) -> None:
    if len(told) < 2:
        raise BadRequest("validation_data has both os_hash_algo and os_hash_value, or neither.")
    if len(told["os_hash_value"]) != DIGITS[told["os_hash_algo"]]:
        raise BadRequest(f"A {told['os_hash_algo']} hash has {DIGITS[told['os_hash_algo']]} hexadecimal digits.")


@retried
def create(svc: ImageService, ctx: Context, image_id: str, url: str, told: Mapping[str, str] | None) -> Task:
    """Begin to make what lies at the URL the data of a queued image. told: the hash it must have."""
    image = images.get(svc, ctx, image_id)
    if image.status != "queued":
        raise errors.InvalidStatus(image_id=image_id, status=image.status, wanted="queued")
    images.may_change(ctx, image)
    store = _store_of(svc, ctx, url)
    if told:
        _check_hash(told)
        told = {**told, "os_hash_value": told["os_hash_value"].lower()}
    allowed = limits.of(svc, image.owner)
    with svc.db.write() as conn:
        image = images.visible(conn, ctx, image_id)
        if image.status != "queued" or image.import_task:
            raise Conflict(f"Image {image_id} is being changed by somebody else.")
        limits.one_more_upload(conn, allowed, image.owner)
        shown = {"image_id": image_id, "loc_url": url, "validation_data": dict(told or {})}
        work = {"stores": [store], "url": url, "os_hash_algo": HASH_ALGORITHM, **(told or {})}
        return imports.begin(conn, ctx, image, "location_import", shown, work, LOCATION_ADD)
