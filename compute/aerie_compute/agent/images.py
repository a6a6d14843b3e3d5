# SPDX-License-Identifier: Apache-2.0
"""Image files between the image service and this host, in constant memory."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from threading import Event
from typing import Any, Protocol

import orjson
import requests

from aerie_common.clients import RemoteError, ServiceClients
from aerie_common.context import Context
from aerie_common.errors import ServiceUnavailable
from aerie_compute.drivers.base import ImageUnavailable, Interrupted, SnapshotFacts

CHUNK = 1 << 20
READ_TIMEOUT = 60.0


class ImageFiles(Protocol):
    """Where the agent gets images from and puts snapshots to."""

    def download(self, ctx: Context, image_id: str, destination: Path, cancel: Event) -> None:
        """Write an image's file. Raises ImageUnavailable, and Interrupted when ``cancel`` is set meanwhile."""

    def upload(self, ctx: Context, image_id: str, facts: SnapshotFacts) -> None:
        """Fill a queued image. One that is active already is left alone. Raises ImageUnavailable."""


class RemoteImageFiles:
    """The image service found in the catalog, asked with this service's own token."""

    def __init__(self, clients: ServiceClients) -> None:
        self._clients = clients

    def download(self, ctx: Context, image_id: str, destination: Path, cancel: Event) -> None:
        """See ``ImageFiles``."""
        path = f"/images/{image_id}/file"
        headers = {"Accept": "application/octet-stream", "Accept-Encoding": "identity"}
        try:
            with (
                self._clients["image"].request(
                    "GET", path, ctx, headers=headers, timeout=READ_TIMEOUT, stream=True
                ) as reply,
                destination.open("wb") as stream,
            ):
                if reply.status_code != HTTPStatus.OK:  # 204: the image has no file yet
                    raise ImageUnavailable(f"image {image_id}: the image service answers {reply.status_code}")
                for chunk in reply.iter_content(CHUNK):
                    if cancel.is_set():
                        raise Interrupted("given up while the image was fetched")
                    stream.write(chunk)
                expected = reply.headers.get("Content-Length")
                if expected is not None and stream.tell() != int(expected):
                    raise ImageUnavailable(f"image {image_id}: got {stream.tell()} of {expected} bytes")
        except (RemoteError, ServiceUnavailable, requests.RequestException) as exc:
            raise ImageUnavailable(f"image {image_id}: {exc}") from exc

    def upload(self, ctx: Context, image_id: str, facts: SnapshotFacts) -> None:
        """See ``ImageFiles``."""
        api = self._clients["image"]
        try:
            image: dict[str, Any] = api.get(f"/images/{image_id}", ctx)
            if image["status"] == "active":
                return
            changes = [
                {"op": "replace", "path": f"/{name}", "value": value}
                for name, value in (("disk_format", facts.disk_format), ("container_format", "bare"))
                if image.get(name) != value
            ]
            if changes:
                media = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
                api.request("PATCH", f"/images/{image_id}", ctx, headers=media, data=orjson.dumps(changes))
            with facts.path.open("rb") as stream:
                media = {"Content-Type": "application/octet-stream"}
                api.request("PUT", f"/images/{image_id}/file", ctx, headers=media, data=stream, timeout=READ_TIMEOUT)
        except (RemoteError, ServiceUnavailable) as exc:
            raise ImageUnavailable(f"image {image_id}: {exc}", public="The snapshot could not be stored.") from exc
