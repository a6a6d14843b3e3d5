# SPDX-License-Identifier: Apache-2.0
"""Members of images over HTTP."""

from __future__ import annotations

from typing import Any

from aerie_common.http import Request
from aerie_image.db.members import Member
from aerie_image.logic import members
from aerie_image.schemas import MEMBER


def list_(req: Request, image_id: str) -> Any:
    """List the projects an image is shared with."""
    found = members.list_(req.svc, req.ctx, image_id)
    return {"members": [_show(m, req) for m in found], "schema": "/v2/schemas/members"}


def _show(member: Member, req: Request) -> dict[str, Any]:
    body = MEMBER.show(member, req.ctx)
    return {"member_id": body.pop("member"), **body}


def create(req: Request, image_id: str) -> Any:
    """Share an image with a project."""
    return _show(members.create(req.svc, req.ctx, image_id, req.body["member"]), req)


def show(req: Request, image_id: str, member_id: str) -> Any:
    """Show one member of an image."""
    return _show(members.show(req.svc, req.ctx, image_id, member_id), req)


def update(req: Request, image_id: str, member_id: str) -> Any:
    """Accept or reject a shared image."""
    return _show(members.update(req.svc, req.ctx, image_id, member_id, req.body["status"]), req)


def delete(req: Request, image_id: str, member_id: str) -> None:
    """Stop sharing an image with a project."""
    members.delete(req.svc, req.ctx, image_id, member_id)
