# SPDX-License-Identifier: Apache-2.0
"""Image files between an agent and the real image API, over HTTP."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from aerie_common import config
from aerie_common.clients import ServiceClients
from aerie_common.context import Context
from aerie_common.serving import HttpServer
from aerie_common.testing.api import Api, Caller
from aerie_compute.agent.images import RemoteImageFiles
from aerie_compute.drivers.base import ImageUnavailable, Interrupted, SnapshotFacts
from aerie_image.container import ImageService
from aerie_image.db.tables import METADATA
from aerie_image.options import OPTIONS


class LocalClients(ServiceClients):
    """Finds the image API of the test, and has a token of an administrator of the service project."""

    def __init__(self, url: str, who: Caller) -> None:
        super().__init__(config.load(config.new(), []))
        self._url, self._who = url, who

    def token(self) -> str:
        return self._who.token

    def endpoint(self, service_type: str) -> str:
        assert service_type == "image"
        return f"{self._url}/v2"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    conf = config.load(config.new(OPTIONS), [])
    conf.set_override("connection", f"sqlite:///{tmp_path / 'image.sqlite'}", group="database")
    conf.set_override("filesystem_store_datadir", str(tmp_path / "images"), group="file")
    svc = ImageService(conf)
    svc.db.create_all(METADATA)
    yield Api(svc)
    svc.db.dispose()


@pytest.fixture
def service(api: Api) -> Caller:
    return api.caller("admin", "service")


@pytest.fixture
def files(api: Api, service: Caller) -> Iterator[RemoteImageFiles]:
    server = HttpServer(api.app, ("127.0.0.1", 0))
    server.start()
    yield RemoteImageFiles(LocalClients(f"http://127.0.0.1:{server.port}", service))
    server.stop()


def queued(api: Api, owner: Caller, disk_format: str | None = None) -> str:
    body = {"name": "snapshot", "container_format": "bare"} | ({"disk_format": disk_format} if disk_format else {})
    return str(api.call("POST", "/v2/images", body, by=owner, expect=201).json["id"])


@pytest.mark.parametrize("declared", [None, "raw", "qcow2"])
def test_snapshot_goes_up_and_comes_down(
    api: Api, files: RemoteImageFiles, guest_image: Path, tmp_path: Path, declared: str | None
) -> None:
    ann = api.caller("member")
    image_id = queued(api, ann, declared)
    facts = SnapshotFacts(guest_image, "qcow2", guest_image.stat().st_size, 64 << 20)
    for _ in range(2):
        files.upload(Context(), image_id, facts)
    image = api.call("GET", f"/v2/images/{image_id}", by=ann, expect=200).json
    assert (image["status"], image["disk_format"], image["size"]) == ("active", "qcow2", facts.size)
    assert image["owner"] == ann.project_id
    files.download(Context(), image_id, tmp_path / "got", threading.Event())
    assert (tmp_path / "got").read_bytes() == guest_image.read_bytes()


def test_download_can_be_given_up(api: Api, files: RemoteImageFiles, guest_image: Path, tmp_path: Path) -> None:
    image_id = queued(api, api.caller("member"))
    files.upload(Context(), image_id, SnapshotFacts(guest_image, "qcow2", guest_image.stat().st_size, 64 << 20))
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Interrupted):
        files.download(Context(), image_id, tmp_path / "got", cancel)


def test_image_that_is_not_there(api: Api, files: RemoteImageFiles, guest_image: Path, tmp_path: Path) -> None:
    for image_id in (str(uuid.uuid4()), queued(api, api.caller("member"))):
        with pytest.raises(ImageUnavailable) as refusal:
            files.download(Context(), image_id, tmp_path / "got", threading.Event())
        assert "http" not in refusal.value.public
    facts = SnapshotFacts(guest_image, "qcow2", guest_image.stat().st_size, 64 << 20)
    with pytest.raises(ImageUnavailable):
        files.upload(Context(), str(uuid.uuid4()), facts)


def test_image_service_that_is_away(service: Caller, tmp_path: Path) -> None:
    files = RemoteImageFiles(LocalClients("http://127.0.0.1:1", service))
    with pytest.raises(ImageUnavailable):
        files.download(Context(), str(uuid.uuid4()), tmp_path / "got", threading.Event())
