# SPDX-License-Identifier: Apache-2.0
"""Sharing an image with other projects: the owner offers, the member accepts or rejects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oslo_db import exception as db_exception

from aerie_common.context import Context
from aerie_common.db import retried
from aerie_common.errors import Forbidden, TooLarge
from aerie_image import db, errors
from aerie_image.db.images import Image
from aerie_image.db.members import Member
from aerie_image.logic import images

if TYPE_CHECKING:
    from aerie_image.container import ImageService


def _owns(ctx: Context, image: Image) -> bool:
    return ctx.is_admin or (image.owner is not None and image.owner == ctx.project_id)


def _shared(image: Image) -> None:
    if image.visibility != "shared":
        raise Forbidden("Only shared images have members.")


@retried
def create(svc: ImageService, ctx: Context, image_id: str, member: str) -> Member:
    """Offer the image to a project. MemberExists when it was."""
    try:
        with svc.db.write() as conn:
            image = images.visible(conn, ctx, image_id)
            if not _owns(ctx, image):
                raise Forbidden("You are not permitted to share this image.")
            _shared(image)
            limit = svc.conf.image_member_quota
            if 0 <= limit <= len(db.members.list_(conn, image_id)):
                raise TooLarge(f"The limit of {limit} members of one image has been reached.")
            return db.members.insert(conn, image_id, member)
    except db_exception.DBDuplicateEntry:
        raise errors.MemberExists(image_id=image_id, member_id=member) from None


@retried
def list_(svc: ImageService, ctx: Context, image_id: str) -> list[Member]:
    """The image's members: all for its owner, only itself for a member."""
    with svc.db.read() as conn:
        image = images.visible(conn, ctx, image_id)
        _shared(image)
        return db.members.list_(conn, image_id, None if _owns(ctx, image) else ctx.project_id)


@retried
def show(svc: ImageService, ctx: Context, image_id: str, member: str) -> Member:
    """One member; other members do not see one another."""
    with svc.db.read() as conn:
        image = images.visible(conn, ctx, image_id)
        found = db.members.get(conn, image_id, member)
        if found is None or not (_owns(ctx, image) or member == ctx.project_id):
            raise errors.MemberNotFound(image_id=image_id, member_id=member)
        return found


@retried
def update(svc: ImageService, ctx: Context, image_id: str, member: str, status: str) -> Member:
    """Accept or reject, as the member."""
    with svc.db.write() as conn:
        image = images.visible(conn, ctx, image_id)
        if db.members.get(conn, image_id, member) is None or not (_owns(ctx, image) or member == ctx.project_id):
            raise errors.MemberNotFound(image_id=image_id, member_id=member)
        if member != ctx.project_id and not ctx.is_admin:
            raise Forbidden("Only the member itself accepts or rejects an image.")
        db.members.update(conn, image_id, member, status)
        found = db.members.get(conn, image_id, member)
        if found is None:
            raise errors.MemberNotFound(image_id=image_id, member_id=member)
        return found


@retried
def delete(svc: ImageService, ctx: Context, image_id: str, member: str) -> None:
    """Stop sharing, as the owner."""
    with svc.db.write() as conn:
        image = images.visible(conn, ctx, image_id)
        if not _owns(ctx, image):
            raise Forbidden("You cannot delete an image member.")
        if not db.members.delete(conn, image_id, member):
            raise errors.MemberNotFound(image_id=image_id, member_id=member)
