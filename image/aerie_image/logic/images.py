# SPDX-License-Identifier: Apache-2.0
"""What may be done to an image's record. Data comes and goes in logic/image_data.py."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from oslo_db import exception as db_exception

from aerie_common import flow
from aerie_common.context import Context
from aerie_common.db import new_id, retried
from aerie_common.errors import BadRequest, Conflict, Forbidden, TooLarge
from aerie_image import db, errors
from aerie_image.db.images import Image, Viewer
from aerie_image.logic import limits
from aerie_image.logic.limits import Limits
from aerie_image.schemas.images import BASE, MAX_NAME, READ_ONLY, RESERVED, RESERVED_PREFIX
from aerie_image.stores import naming
from aerie_image.stores.base import Store

if TYPE_CHECKING:
    from aerie_image.container import ImageService

LOG = logging.getLogger(__name__)


def viewer(ctx: Context) -> Viewer:
    """Whose eyes the caller sees with. The service's own role sees what administrators see."""
    return Viewer(ctx.project_id, ctx.is_admin or "service" in ctx.roles)


def visible(conn: Any, ctx: Context, image_id: str) -> Image:
    """The image, when the caller may see it; ImageNotFound otherwise."""
    image = db.images.get(conn, image_id)
    eyes = viewer(ctx)
    if image is not None and (
        eyes.is_admin
        or image.visibility in ("public", "community")
        or (image.owner is not None and image.owner == eyes.project_id)
        or (image.visibility == "shared" and db.images.is_member(conn, image_id, eyes.project_id or ""))
    ):
        return image
    raise errors.ImageNotFound(image_id=image_id)


def may_change(ctx: Context, image: Image) -> None:
    """Forbidden unless the image is the caller's."""
    if not (viewer(ctx).is_admin or (image.owner is not None and image.owner == ctx.project_id)):
        raise Forbidden("You are not permitted to modify this image.")


def changed(conn: Any, image: Image, values: Mapping[str, Any]) -> None:
    """Change the image; Conflict when somebody else has since it was read."""
    if not db.images.change(conn, image, values):
        raise Conflict(f"Image {image.id} was changed by somebody else at the same time. Try again.")


def get(svc: ImageService, ctx: Context, image_id: str) -> Image:
    """The image, when the caller may see it; ImageNotFound otherwise."""
    with svc.db.read() as conn:
        return visible(conn, ctx, image_id)


def _check_limits(svc: ImageService, values: Mapping[str, Any]) -> None:
    for column, limit, what in (
        ("properties", svc.conf.image_property_quota, "properties"),
        ("tags", svc.conf.image_tag_quota, "tags"),
    ):
        if 0 <= limit < len(values.get(column, ())):
            raise TooLarge(f"The limit of {what} has been exceeded. Attempted: {len(values[column])}, Maximum: {limit}")


def _check_format(svc: ImageService, values: Mapping[str, Any]) -> None:
    for name, allowed in (
        ("disk_format", svc.conf.image_format.disk_formats),
        ("container_format", svc.conf.image_format.container_formats),
    ):
        if values.get(name) is not None and values[name] not in allowed:
            raise BadRequest(f"{values[name]} is no {name} of this cloud. Known: {', '.join(allowed)}.")
    disk, container = values.get("disk_format"), values.get("container_format")
    if disk in ("aki", "ari", "ami") and container in ("aki", "ari", "ami") and disk != container:
        raise BadRequest("Invalid mix of disk and container formats. They must be the same for an Amazon image.")


def _refuse_fixed(name: str) -> None:
    if name in READ_ONLY:
        raise errors.ReadOnlyProperty(name=name)
    if name in RESERVED or name.startswith(RESERVED_PREFIX):
        raise errors.ReservedProperty(name=name)
    _refuse_long(name)


def _refuse_long(name: str) -> None:
    """Names of properties and tags are as long as the index of them takes."""
    if len(name) > MAX_NAME:
        raise BadRequest(f"A name of more than {MAX_NAME} characters is too long: {name[:40]}...")


def _tags(values: list[str]) -> list[str]:
    return list(dict.fromkeys(values))


@retried
def create(svc: ImageService, ctx: Context, sent: Mapping[str, Any]) -> Image:
    """A new image without data (`queued`). `sent`: base attributes and custom properties side by side."""
    values = new_values(svc, ctx, sent)
    allowed = limits.of(svc, values["owner"])
    try:
        with svc.db.write() as conn:
            return insert(conn, values, allowed)
    except db_exception.DBDuplicateEntry:
        raise errors.ImageExists(image_id=values["id"]) from None


def insert(conn: Any, values: Mapping[str, Any], allowed: Limits) -> Image:
    """Write a new image within the project's limit of images."""
    limits.one_more_image(conn, allowed, values["owner"])
    return db.images.insert(conn, {**values, "status": "queued", "locations": {}})


def new_values(svc: ImageService, ctx: Context, sent: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a new image; refuses what the caller may not set."""
    values: dict[str, Any] = {}
    properties: dict[str, str] = {}
    for name, value in sent.items():
        if name in BASE and name not in READ_ONLY:
            values[name] = value
        else:
            _refuse_fixed(name)
            properties[name] = value
    if values.setdefault("owner", ctx.project_id) != ctx.project_id and not ctx.is_admin:
        raise Forbidden(f"You are not permitted to create images owned by '{values['owner']}'.")
    values["id"] = values.get("id") or new_id()
    values["tags"], values["properties"] = _tags(values["tags"]), properties
    _check_limits(svc, values)
    _check_format(svc, values)
    return values


@retried
def update(svc: ImageService, ctx: Context, image_id: str, changes: list[tuple[str, str, Any]]) -> Image:
    """Apply (operation, attribute, value) in order; all or none. Operations: add, replace, remove."""
    with svc.db.write() as conn:
        image = visible(conn, ctx, image_id)
        may_change(ctx, image)
        base: dict[str, Any] = {}
        properties = dict(image.properties)
        for operation, name, value in changes:
            if name == "id":
                raise errors.ReadOnlyProperty(name=name)
            _refuse_fixed(name)
            if name in BASE:
                _change_base(ctx, image, base, operation, name, value)
            elif operation == "remove":
                if properties.pop(name, None) is None:
                    raise Conflict(f"Property {name} does not exist.")
            elif operation == "replace" and name not in properties:
                raise Conflict(f"Property {name} does not exist.")
            else:
                properties[name] = value
        values = {**base, **({"properties": properties} if properties != image.properties else {})}
        _check_limits(svc, values)
        _check_format(svc, {**{n: getattr(image, n) for n in ("disk_format", "container_format")}, **base})
        if values:
            changed(conn, image, values)
        return db.images.get(conn, image_id) or image


def _change_base(ctx: Context, image: Image, base: dict[str, Any], operation: str, name: str, value: Any) -> None:
    if operation == "remove":
        raise Forbidden(f"The attribute {name} cannot be removed.")
    if name in ("disk_format", "container_format") and image.status != "queued" and value != getattr(image, name):
        raise Forbidden(f"The attribute {name} can only be changed while the image has no data.")
    if name == "owner" and not ctx.is_admin:
        raise Forbidden("You are not permitted to change the owner of an image.")
    base[name] = _tags(value) if name == "tags" else value


@retried
def delete(svc: ImageService, ctx: Context, image_id: str) -> None:
    """Forget the image and its data. ImageProtected while it is protected."""
    with svc.db.write() as conn:
        image = visible(conn, ctx, image_id)
        may_change(ctx, image)
        if image.protected:
            raise errors.ImageProtected(image_id=image_id)
        if flow.cancel(conn, image_id):
            image = db.images.get(conn, image_id) or image  # as the import left it, whose end can only come later now
        db.images.delete(conn, image_id)
    for name, location in image.locations.items():
        if name in svc.stores:
            forget(svc.stores[name], location)
    if svc.cache is not None:
        svc.cache.dequeue(image_id)
        svc.cache.remove(image_id)
    if image.status in ("uploading", "importing"):
        svc.staging.discard(image_id)  # an import that has not begun its first step has nothing to undo


def forget(store: Store, location: str) -> None:
    """Remove data that no image refers to any more; by the reconciler, when the store cannot do it now."""
    try:
        store.delete(location)
    except OSError as e:
        LOG.warning("%s stays until the reconciler removes it: %s", naming.without_secrets(location), e)


@retried
def set_active(svc: ImageService, ctx: Context, image_id: str, active: bool) -> None:
    """Let its data be downloaded, or not, without touching it."""
    before, after = ("deactivated", "active") if active else ("active", "deactivated")
    with svc.db.write() as conn:
        image = visible(conn, ctx, image_id)
        may_change(ctx, image)
        if image.status != after and not db.images.set_status(conn, image_id, (before,), after):
            raise Forbidden(
                f"Not allowed to {'reactivate' if active else 'deactivate'} image in status '{image.status}'"
            )


@retried
def set_tag(svc: ImageService, ctx: Context, image_id: str, tag: str, present: bool) -> None:
    """Add a tag, or remove it (NotFound when it is not there)."""
    with svc.db.write() as conn:
        image = visible(conn, ctx, image_id)
        may_change(ctx, image)
        _refuse_long(tag)
        if present == (tag in image.tags):
            if present:
                return
            raise errors.TagNotFound(tag=tag)
        tags = [*image.tags, tag] if present else [t for t in image.tags if t != tag]
        _check_limits(svc, {"tags": tags})
        changed(conn, image, {"tags": tags})
