# SPDX-License-Identifier: Apache-2.0
"""Image records over HTTP."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from aerie_common import schema
from aerie_common.errors import BadRequest
from aerie_common.http import Reply, Request
from aerie_image import json_patch
from aerie_image.logic import image_lists, images
from aerie_image.schemas.images import IMAGE, READ_ONLY, show

PAGE = 25
MAX_PAGE = 1000
_REFUSED = READ_ONLY | {"id"}
_values = schema.compile_schema(
    {**IMAGE.object_schema("update"), "additionalProperties": {"type": "string", "maxLength": 65535}}
)


def list_(req: Request) -> Any:
    """List the images the caller may see."""
    limit = req.listing.limit
    limit = PAGE if limit is None else min(limit, MAX_PAGE)
    found = image_lists.list_(
        req.svc, req.ctx, req.query, sort=req.listing.sort, marker=req.listing.marker, limit=limit
    )
    pairs = [(k, v) for k, values in req.query.items() for v in values if k != "marker"]
    first = req.path + ("?" + urlencode(pairs) if pairs else "")
    body: dict[str, Any] = {"images": [show(i, req.ctx) for i in found], "first": first, "schema": "/v2/schemas/images"}
    if found and len(found) == limit:
        body["next"] = f"{req.path}?{urlencode([*pairs, ('marker', found[-1].id)])}"
    return body


def create(req: Request) -> Reply:
    """Create an image without data."""
    visibility = req.body.get("visibility")
    if visibility in ("public", "community"):
        req.enforce(rule={"public": "publicize_image", "community": "communitize_image"}[visibility])
    image = images.create(req.svc, req.ctx, IMAGE.values(req.body, with_defaults=True))
    writable = [name for name, store in req.svc.stores.items() if not store.read_only]
    headers = [
        ("Location", f"{req.base_url}/v2/images/{image.id}"),
        ("OpenStack-image-import-methods", ",".join(req.svc.conf.enabled_import_methods)),
        ("OpenStack-image-store-ids", ",".join(writable)),
    ]
    return Reply(show(image, req.ctx), headers=headers)


def show_(req: Request, image_id: str) -> Any:
    """Show an image."""
    return show(images.get(req.svc, req.ctx, image_id), req.ctx)


def update(req: Request, image_id: str) -> Any:
    """Change attributes and custom properties by a JSON patch."""
    changes = json_patch.parse(req.body, req.header("Content-Type") or "")
    for operation, name, value in changes:
        if operation != "remove" and name not in _REFUSED:
            _values({name: value})
        if name == "visibility" and value in ("public", "community"):
            req.enforce(rule={"public": "publicize_image", "community": "communitize_image"}[value])
    return show(images.update(req.svc, req.ctx, image_id, changes), req.ctx)


def delete(req: Request, image_id: str) -> None:
    """Delete an image and its data."""
    images.delete(req.svc, req.ctx, image_id)


def deactivate(req: Request, image_id: str) -> None:
    """Make the image's data unavailable."""
    images.set_active(req.svc, req.ctx, image_id, False)


def reactivate(req: Request, image_id: str) -> None:
    """Make the image's data available again."""
    images.set_active(req.svc, req.ctx, image_id, True)


def add_tag(req: Request, image_id: str, tag: str) -> None:
    """Add a tag to an image."""
    if len(tag) > 255:
        raise BadRequest("A tag has at most 255 characters.")
    images.set_tag(req.svc, req.ctx, image_id, tag, True)


def remove_tag(req: Request, image_id: str, tag: str) -> None:
    """Remove a tag from an image."""
    images.set_tag(req.svc, req.ctx, image_id, tag, False)
