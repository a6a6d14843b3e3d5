# SPDX-License-Identifier: Apache-2.0
"""Image data over HTTP."""

from __future__ import annotations

import re

from aerie_common.errors import BadRequest, UnsupportedMediaType
from aerie_common.http import Reply, Request
from aerie_image import errors
from aerie_image.logic import image_data

_RANGE = re.compile(r"^bytes=(\d*)-(\d*)$")
_CONTENT_RANGE = re.compile(r"^bytes (\d+)-(\d+)/(\d+|\*)$")


def upload(req: Request, image_id: str) -> None:
    """Upload the data of an image."""
    announced = _announced(req)
    store = req.header("X-Image-Meta-Store")
    image_data.upload(req.svc, req.ctx, image_id, req.stream, announced, store)


def stage(req: Request, image_id: str) -> None:
    """Upload data that is to be imported."""
    image_data.stage(req.svc, req.ctx, image_id, req.stream, _announced(req))


def delete_from_store(req: Request, store_id: str, image_id: str) -> None:
    """Remove the data from one of the stores that have it."""
    image_data.delete_from_store(req.svc, req.ctx, image_id, store_id)


def _announced(req: Request) -> int | None:
    """The size the client says the data has, if it does."""
    content_type = (req.header("Content-Type") or "").partition(";")[0].strip()
    if content_type != "application/octet-stream":
        raise UnsupportedMediaType(content_type=content_type or "(none)")
    text = req.header("Content-Length") or req.header("X-OpenStack-Image-Size")
    if text is not None and not text.isdigit():
        raise BadRequest(f"The size {text!r} is not a whole number of bytes.")
    return int(text) if text else None


def _wanted(header: str | None) -> tuple[int | None, int | None] | None:
    if not header:
        return None
    match = _RANGE.match(header.strip())
    if not match or header.strip() == "bytes=-":
        raise errors.RangeNotSatisfiable(range=header, size="unknown")
    return (int(match[1]) if match[1] else None, int(match[2]) if match[2] else None)


def _asked(req: Request) -> str | None:
    """The range that is asked for. Some clients still ask by Content-Range, as the first ones had to."""
    old = _CONTENT_RANGE.match((req.header("Content-Range") or "").strip())
    return req.header("Range") or (f"bytes={old[1]}-{old[2]}" if old else None)


def download(req: Request, image_id: str) -> Reply:
    """Download the data of an image, or the range of it that a Range header names; `prefer`: from these stores."""
    preferred = [name.strip() for name in (req.query_one("prefer") or "").split(",") if name.strip()]
    if preferred:
        req.enforce(rule="download_from_store")
    asked = _asked(req)
    image, offset, length, pieces = image_data.download(req.svc, req.ctx, image_id, _wanted(asked), preferred)
    if pieces is None:
        return Reply(status=204)
    headers = [("Content-Length", str(length)), ("Accept-Ranges", "bytes")]
    if image.checksum:
        headers.append(("Content-MD5", image.checksum))
    if asked:
        headers.append(("Content-Range", f"bytes {offset}-{offset + length - 1}/{image.size}"))
    return Reply(
        body=pieces,
        status=206 if asked else 200,
        headers=headers,
        content_type="application/octet-stream",
    )
