# SPDX-License-Identifier: Apache-2.0
"""Handlers of images (until 2.35) and of their metadata (until 2.38)."""

from __future__ import annotations

from typing import Any

from aerie_common.errors import BadRequest
from aerie_common.http import Request
from aerie_common.schema import to_bool
from aerie_compute.api.links import links, page
from aerie_compute.errors import MetadataItemNotFound
from aerie_compute.logic import images

_NAMES = {
    "name": "name", "status": "status", "changes-since": "updated_at", "server": "instance_uuid", "type": "image_type",
    "minRam": "min_ram", "minDisk": "min_disk",
}  # fmt: skip
FILTERS = frozenset(_NAMES)
_STATUS = {
    "active": "ACTIVE", "queued": "SAVING", "saving": "SAVING", "importing": "SAVING", "uploading": "SAVING",
    "deleted": "DELETED", "pending_delete": "DELETED", "killed": "ERROR",
}  # fmt: skip
_PROGRESS = {"queued": 25, "saving": 50, "active": 100}


def _links(req: Request, image_id: str) -> list[dict[str, str]]:
    alternate = f"{req.svc.clients.endpoint('image').removesuffix('/v2')}/images/{image_id}"
    kind = "application/vnd.openstack.image"
    return [*links(req, f"/images/{image_id}"), {"rel": "alternate", "type": kind, "href": alternate}]


def _short(req: Request, image: dict[str, Any]) -> dict[str, Any]:
    return {"id": image["id"], "name": image["name"], "links": _links(req, image["id"])}


def _full(req: Request, image: dict[str, Any]) -> dict[str, Any]:
    metadata = images.properties(image)
    shown = {
        **_short(req, image),
        "status": _STATUS.get(image["status"], "UNKNOWN"),
        "progress": _PROGRESS.get(image["status"], 0),
        "created": image["created_at"],
        "updated": image["updated_at"],
        "minRam": image.get("min_ram") or 0,
        "minDisk": image.get("min_disk") or 0,
        "metadata": metadata,
        "OS-EXT-IMG-SIZE:size": image.get("size"),
    }
    if server_id := metadata.get("instance_uuid"):
        shown["server"] = {"id": server_id, "links": links(req, f"/servers/{server_id}")}
    if "auto_disk_config" in metadata:
        shown["OS-DCF:diskConfig"] = "AUTO" if to_bool(metadata["auto_disk_config"]) else "MANUAL"
    return shown


def _list(req: Request) -> list[dict[str, Any]]:
    filters = {}
    for name, value in ((name, req.listing.one(name)) for name in _NAMES):
        if value is None:
            continue
        if name == "status":
            value = value.lower()
        elif name == "changes-since":
            value = f"gte:{value}"
        elif name == "server":
            value = value.rpartition("/")[2]
        filters[_NAMES[name]] = value
    return images.list_(req.svc, req.ctx, filters, limit=req.listing.limit, marker=req.listing.marker)


def list_(req: Request) -> dict[str, Any]:
    """List images by id and name."""
    return page(req, "images", [_short(req, image) for image in _list(req)])


def detail(req: Request) -> dict[str, Any]:
    """List images with everything about them."""
    return page(req, "images", [_full(req, image) for image in _list(req)])


def show(req: Request, image_id: str) -> dict[str, Any]:
    """Show an image."""
    return {"image": _full(req, images.show(req.svc, req.ctx, image_id))}


def delete(req: Request, image_id: str) -> None:
    """Delete an image."""
    images.delete(req.svc, req.ctx, image_id)


def metadata_list(req: Request, image_id: str) -> dict[str, Any]:
    """Show an image's metadata."""
    return {"metadata": images.metadata(req.svc, req.ctx, image_id)}


def metadata_update(req: Request, image_id: str) -> dict[str, Any]:
    """Add or change metadata items of an image."""
    items = req.body["metadata"]
    return {"metadata": images.set_metadata(req.svc, req.ctx, image_id, items, replace_all=False)}


def metadata_replace(req: Request, image_id: str) -> dict[str, Any]:
    """Replace all metadata of an image."""
    items = req.body["metadata"]
    return {"metadata": images.set_metadata(req.svc, req.ctx, image_id, items, replace_all=True)}


def metadata_show(req: Request, image_id: str, key: str) -> dict[str, Any]:
    """Show one metadata item of an image."""
    found = images.metadata(req.svc, req.ctx, image_id)
    if key not in found:
        raise MetadataItemNotFound()
    return {"meta": {key: found[key]}}


def metadata_set(req: Request, image_id: str, key: str) -> dict[str, Any]:
    """Set one metadata item of an image."""
    items = req.body["meta"]
    if set(items) != {key}:
        raise BadRequest("Request body and URI mismatch")
    images.set_metadata(req.svc, req.ctx, image_id, items, replace_all=False)
    return {"meta": items}


def metadata_delete(req: Request, image_id: str, key: str) -> None:
    """Delete one metadata item of an image."""
    images.delete_metadata_item(req.svc, req.ctx, image_id, key)
