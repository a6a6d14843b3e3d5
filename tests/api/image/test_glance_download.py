# SPDX-License-Identifier: Apache-2.0
"""glance-download: two image services of one cloud's two regions, each with its own database, on the loopback."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aerie_image import regions
from image_hosts import IdentityHost, ImageHost, Person
from servers import wait_for

DATA = os.urandom(3 << 20) + b"tail"


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IdentityHost]:
    made = IdentityHost(tmp_path_factory.mktemp("regions") / "identity")
    yield made
    made.stop()


@pytest.fixture(scope="module")
def far(identity: IdentityHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImageHost]:
    """The image service of RegionTwo."""
    made = ImageHost(tmp_path_factory.mktemp("regions") / "far", identity)
    admin = identity.login("admin")
    admin.call("POST", f"{identity.auth_url}/regions", 201, json={"region": {"id": "RegionTwo"}})
    [service] = admin.call("GET", f"{identity.auth_url}/services?type=image", 200).json()["services"]
    for interface, path in (("public", "/v2/"), ("internal", "")):
        row = {"service_id": service["id"], "region_id": "RegionTwo", "interface": interface, "url": made.url + path}
        admin.call("POST", f"{identity.auth_url}/endpoints", 201, json={"endpoint": row})
    yield made
    made.stop()


@pytest.fixture(scope="module")
def near(identity: IdentityHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImageHost]:
    made = ImageHost(
        tmp_path_factory.mktemp("regions") / "near", identity,
        enabled_import_methods=["glance-direct", "glance-download"],
    )  # fmt: skip
    yield made
    made.stop()


@pytest.fixture
def demo(identity: IdentityHost, near: ImageHost, far: ImageHost) -> Person:
    return identity.login("demo")


def fetch(host: ImageHost, by: Person, image_id: str, remote_id: str, expect: int = 202, **more: Any) -> Any:
    method = {"name": "glance-download", "glance_image_id": remote_id, "glance_region": "RegionTwo", **more}
    body = {"method": {name: value for name, value in method.items() if value is not None}}
    return by.call("POST", f"{host.url}/v2/images/{image_id}/import", expect, json=body)


def over(host: ImageHost, by: Person, image_id: str) -> Any:
    """The image after its import."""
    wait_for("the import", lambda: by.image(host, image_id)["status"] in ("active", "queued"))
    return by.image(host, image_id)


def message(host: ImageHost, by: Person, image_id: str) -> str:
    [task] = by.call("GET", f"{host.url}/v2/images/{image_id}/tasks", 200).json()["tasks"]
    assert task["status"] == "failure"
    return str(task["message"])


def staged(host: ImageHost) -> list[str]:
    folder = Path(host.conf.file.staging_datadir)
    return os.listdir(folder) if folder.exists() else []


def test_data_formats_and_chosen_properties_are_copied(near: ImageHost, far: ImageHost, demo: Person) -> None:
    source = demo.create(
        far, disk_format="raw", container_format="bare", hw_disk_bus="virtio", os_distro="debian", secret="not copied",
        visibility="private",
    )  # fmt: skip
    demo.upload(far, source, DATA)
    for interface in (None, "internal"):
        image_id = demo.create(near, disk_format="iso", os_type="linux", own="kept")
        fetch(near, demo, image_id, source, glance_service_interface=interface)
        found, theirs = over(near, demo, image_id), demo.image(far, source)
        same = (
            "status",
            "size",
            "checksum",
            "os_hash_value",
            "disk_format",
            "container_format",
            "hw_disk_bus",
            "os_distro",
        )
        assert {n: found[n] for n in same} == {n: theirs[n] for n in same}
        assert (found["os_type"], found["own"]) == ("linux", "kept") and "secret" not in found
        assert demo.call("GET", f"{near.url}/v2/images/{image_id}/file", 200).content == DATA
    assert staged(near) == []


def test_the_callers_token_decides(near: ImageHost, far: ImageHost, demo: Person, identity: IdentityHost) -> None:
    """Whose image it is in the other region is judged there; what cannot be read leaves the image as it was."""
    admin = identity.login("admin")
    hidden, empty = admin.create(far, visibility="private"), demo.create(far)
    admin.upload(far, hidden, DATA)
    for remote_id, why in ((hidden, "404"), (str(uuid.uuid4()), "404"), (empty, "queued")):
        image_id = demo.create(near)
        fetch(near, demo, image_id, remote_id)
        found = over(near, demo, image_id)
        assert (found["status"], found["os_glance_failed_import"]) == ("queued", "file")
        assert why in message(near, demo, image_id) and staged(near) == []


def test_requests_that_name_no_image(near: ImageHost, far: ImageHost, demo: Person) -> None:
    image_id, there = demo.create(near), str(uuid.uuid4())
    fetch(near, demo, image_id, there, 400, glance_region=None)
    fetch(near, demo, image_id, there, 400, glance_image_id=None)
    fetch(near, demo, image_id, "../images", 400)
    assert "RegionNine" in fetch(near, demo, image_id, there, 400, glance_region="RegionNine").text
    fetch(near, demo, image_id, there, 400, glance_service_interface="admin")
    fetch(far, demo, demo.create(far), there, 400)  # does not offer it
    assert demo.image(near, image_id)["status"] == "queued"
    methods = demo.call("GET", f"{near.url}/v2/info/import", 200).json()["import-methods"]["value"]
    assert methods == ["glance-direct", "glance-download"]


def test_limits_hold_and_damage_is_seen(
    near: ImageHost, far: ImageHost, demo: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = demo.create(far)
    demo.upload(far, source, DATA)
    near.set("image_size_cap", 1 << 20)
    image_id = demo.create(near)
    fetch(near, demo, image_id, source)
    assert over(near, demo, image_id)["status"] == "queued" and "larger" in message(near, demo, image_id)
    near.conf.clear_override("image_size_cap")
    real = regions.Data.read
    monkeypatch.setattr(regions.Data, "read", lambda self, size: real(self, size)[::-1])
    image_id = demo.create(near)
    fetch(near, demo, image_id, source)
    assert over(near, demo, image_id)["status"] == "queued" and "checksum" in message(near, demo, image_id)
    assert staged(near) == []


def test_the_token_waits_sealed(near: ImageHost, far: ImageHost, demo: Person) -> None:
    source = demo.create(far)
    demo.upload(far, source, DATA)
    image_id = demo.create(near)
    fetch(near, demo, image_id, source)
    assert over(near, demo, image_id)["status"] == "active"
    written = b"".join(path.read_bytes() for path in near.folder.glob("db.sqlite*"))
    assert source.encode() in written and demo.token.encode() not in written
    [task] = demo.call("GET", f"{near.url}/v2/images/{image_id}/tasks", 200).json()["tasks"]
    assert "token" not in str(task["input"])
    assert regions.unseal(near.conf, regions.seal(near.conf, "a token")) == "a token"
    with pytest.raises(regions.RemoteFailure):
        regions.unseal(far.conf, "a token")
