# SPDX-License-Identifier: Apache-2.0
"""Images as older microversions know them. They belong to the image service, which is asked as the caller asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import orjson

from aerie_common.clients import RemoteError, ServiceClient
from aerie_common.context import Context
from aerie_common.errors import AerieError, Forbidden
from aerie_compute import errors
from aerie_compute.logic import quotas
from aerie_compute.logic.servers import check_metadata
from aerie_compute.remote import is_property

if TYPE_CHECKING:
    from aerie_compute.container import Compute

_PATCH = {"Content-Type": "application/openstack-images-v2.1-json-patch"}


def _client(svc: Compute) -> ServiceClient:
    return svc.clients["image"]


def _path(image_id: str) -> str:
    return f"/images/{quote(image_id, safe='')}"


def list_(
    svc: Compute, ctx: Context, filters: Mapping[str, str], *, limit: int | None = None, marker: str | None = None
) -> list[dict[str, Any]]:
    """Images, newest first; `filters` in the image service's words."""
    query = dict(filters)
    if limit is None and marker is None:
        return list(_client(svc).pages(f"/images?{urlencode(query)}", "images", ctx, as_user=True))
    query |= {"marker": marker} if marker else {}
    query |= {"limit": str(limit)} if limit is not None else {}
    return list(_client(svc).get(f"/images?{urlencode(query)}", ctx, as_user=True)["images"])


def show(svc: Compute, ctx: Context, image_id: str) -> dict[str, Any]:
    """ImageNotFound."""
    try:
        return dict(_client(svc).get(_path(image_id), ctx, as_user=True))
    except RemoteError as e:
        raise _refusal(e, image_id) from e


def delete(svc: Compute, ctx: Context, image_id: str) -> None:
    """ImageNotFound, Forbidden."""
    try:
        _client(svc).request("DELETE", _path(image_id), ctx, as_user=True)
    except RemoteError as e:
        raise _refusal(e, image_id) from e


def properties(image: Mapping[str, Any]) -> dict[str, str]:
    """What somebody added to an image."""
    return {name: str(value) for name, value in image.items() if is_property(name) and value is not None}


def metadata(svc: Compute, ctx: Context, image_id: str) -> dict[str, str]:
    """ImageNotFound."""
    return properties(show(svc, ctx, image_id))


def set_metadata(
    svc: Compute, ctx: Context, image_id: str, items: Mapping[str, str], *, replace_all: bool
) -> dict[str, str]:
    """Add or replace properties; all there are then. ImageNotFound, MetadataQuota, Forbidden."""
    before = metadata(svc, ctx, image_id)
    after = dict(items) if replace_all else {**before, **items}
    check_metadata(after, quotas.limits(svc, ctx.project_id or ""))
    gone = [{"op": "remove", "path": f"/{_pointer(name)}"} for name in before if name not in after]
    new = [
        {"op": "replace" if name in before else "add", "path": f"/{_pointer(name)}", "value": value}
        for name, value in after.items()
        if before.get(name) != value
    ]
    _patch(svc, ctx, image_id, [*gone, *new])
    return after


def delete_metadata_item(svc: Compute, ctx: Context, image_id: str, key: str) -> None:
    """ImageNotFound, MetadataItemNotFound."""
    if key not in metadata(svc, ctx, image_id):
        raise errors.MetadataItemNotFound()
    _patch(svc, ctx, image_id, [{"op": "remove", "path": f"/{_pointer(key)}"}])


def _pointer(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _patch(svc: Compute, ctx: Context, image_id: str, changes: list[dict[str, str]]) -> None:
    if not changes:
        return
    try:
        _client(svc).request("PATCH", _path(image_id), ctx, as_user=True, data=orjson.dumps(changes), headers=_PATCH)
    except RemoteError as e:
        raise _refusal(e, image_id) from e


def _refusal(error: RemoteError, image_id: str) -> AerieError:
    if error.status == 404:
        return errors.ImageNotFound(image_id=image_id)
    return Forbidden(error.message) if error.status == 403 else error
