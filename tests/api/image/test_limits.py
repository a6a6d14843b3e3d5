# SPDX-License-Identifier: Apache-2.0
"""Limits that a real identity API keeps, enforced by a real image API."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from image_hosts import IdentityHost, ImageHost, Person
from servers import wait_for

MIB = 1 << 20
ONE = os.urandom(MIB)


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IdentityHost]:
    made = IdentityHost(tmp_path_factory.mktemp("hosts") / "identity")
    yield made
    made.stop()


@pytest.fixture(scope="module")
def host(identity: IdentityHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImageHost]:
    made = ImageHost(tmp_path_factory.mktemp("hosts") / "image", identity, use_keystone_limits=True)
    yield made
    made.stop()


class Limits:
    """The limits of the image service, as an administrator sets them."""

    def __init__(self, identity: IdentityHost, admin: Person, project_id: str) -> None:
        self.url, self.admin, self.project_id = identity.auth_url, admin, project_id
        services = admin.call("GET", f"{self.url}/services?type=image", 200).json()["services"]
        self.place = {"service_id": services[0]["id"], "region_id": "RegionOne"}
        self.ids: dict[str, str] = {}
        for name in ("image_size_total", "image_stage_total", "image_count_total", "image_count_uploading"):
            self.register(name)
            body = {"limits": [{**self.place, "project_id": project_id, "resource_name": name, "resource_limit": 100}]}
            made = admin.call("POST", f"{self.url}/limits", 201, json=body).json()["limits"]
            self.ids[name] = made[0]["id"]

    def register(self, name: str) -> None:
        row = {**self.place, "resource_name": name, "default_limit": 3}
        self.admin.call("POST", f"{self.url}/registered_limits", 201, json={"registered_limits": [row]})

    def set(self, **limits: int) -> None:
        for name, value in limits.items():
            url = f"{self.url}/limits/{self.ids['image_' + name]}"
            self.admin.call("PATCH", url, 200, json={"limit": {"resource_limit": value}})


@pytest.fixture(scope="module")
def limits(identity: IdentityHost) -> Limits:
    return Limits(identity, identity.login("admin"), identity.login("demo").project_id)


@pytest.fixture
def demo(identity: IdentityHost, host: ImageHost, limits: Limits) -> Iterator[Person]:
    limits.set(size_total=100, stage_total=100, count_total=100, count_uploading=100)
    person = identity.login("demo")
    yield person
    for image in person.call("GET", f"{host.url}/v2/images?limit=100", 200).json()["images"]:
        person.call("DELETE", f"{host.url}/v2/images/{image['id']}", 204)


def usage(host: ImageHost, person: Person) -> dict[str, Any]:
    return dict(person.call("GET", f"{host.url}/v2/info/usage", 200).json()["usage"])


def finish(host: ImageHost, person: Person, image_id: str) -> None:
    body = {"method": {"name": "glance-direct"}}
    person.call("POST", f"{host.url}/v2/images/{image_id}/import", 202, json=body)
    wait_for("the import", lambda: person.image(host, image_id)["status"] in ("active", "queued"), 20)


def test_usage_shows_what_the_identity_service_allows(host: ImageHost, limits: Limits, demo: Person) -> None:
    limits.set(size_total=7, count_total=-1)
    demo.upload(host, demo.create(host), ONE * 2)
    demo.upload(host, demo.create(host), ONE, place="stage")
    assert usage(host, demo) == {
        "image_size_total": {"limit": 7, "usage": 2},
        "image_stage_total": {"limit": 100, "usage": 1},
        "image_count_total": {"limit": -1, "usage": 2},
        "image_count_uploading": {"limit": 100, "usage": 1},
    }


def test_projects_without_a_limit_of_their_own_have_the_registered_one(
    identity: IdentityHost, host: ImageHost, demo: Person
) -> None:
    admin = identity.login("admin")
    ids = [admin.create(host) for _ in range(3)]
    admin.create(host, expect=413)
    assert usage(host, admin)["image_count_total"] == {"limit": 3, "usage": 3}
    for image_id in ids:
        admin.call("DELETE", f"{host.url}/v2/images/{image_id}", 204)


def test_number_of_images(host: ImageHost, limits: Limits, demo: Person) -> None:
    limits.set(count_total=1)
    first = demo.create(host)
    demo.create(host, expect=413)
    limits.set(count_total=2)
    demo.create(host)
    demo.create(host, expect=413)
    demo.call("DELETE", f"{host.url}/v2/images/{first}", 204)
    demo.create(host)


def test_bytes_of_images(host: ImageHost, limits: Limits, demo: Person) -> None:
    """As in every OpenStack an upload may begin while the project is not over its limit."""
    limits.set(size_total=1)
    first = demo.create(host)
    demo.upload(host, first, ONE)
    demo.upload(host, demo.create(host), ONE)
    third = demo.create(host)
    demo.upload(host, third, ONE, expect=413)
    limits.set(size_total=2)
    demo.upload(host, third, ONE)
    demo.upload(host, demo.create(host), ONE, expect=413)
    demo.call("DELETE", f"{host.url}/v2/images/{first}", 204)
    demo.upload(host, demo.create(host), ONE)


@pytest.mark.parametrize("place", ["file", "stage"])
def test_bytes_are_cut_off_in_mid_stream(host: ImageHost, limits: Limits, demo: Person, place: str) -> None:
    """Also when the client says nothing of the size, or says something false."""
    limits.set(size_total=2, stage_total=2)
    image_id, sent, pieces = demo.create(host), 0, 1_000_000

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < pieces:
            sent += 1
            yield ONE

    try:
        demo.upload(host, image_id, endless(), expect=413, place=place)
    except requests.ConnectionError:
        pass  # the server reads no more of it
    assert sent < pieces  # what is over the limit is read and dropped for a moment, so that the client gets the answer
    assert demo.image(host, image_id)["status"] == "queued" and usage(host, demo)["image_size_total"]["usage"] == 0
    demo.upload(host, image_id, ONE * 5, expect=413, place=place)
    demo.upload(host, image_id, ONE * 2, place=place)


def test_bytes_staged(host: ImageHost, limits: Limits, demo: Person) -> None:
    limits.set(stage_total=1)
    ids = [demo.create(host) for _ in range(4)]
    demo.upload(host, ids[0], ONE, place="stage")
    demo.upload(host, ids[1], ONE, place="stage")
    demo.upload(host, ids[2], ONE, expect=413, place="stage")
    demo.upload(host, demo.create(host), ONE)  # to stage and to upload are two things
    limits.set(stage_total=2)
    demo.upload(host, ids[2], ONE, place="stage")
    demo.upload(host, ids[3], ONE, expect=413, place="stage")
    finish(host, demo, ids[0])
    demo.upload(host, ids[3], ONE, place="stage")


def test_uploads_at_a_time(host: ImageHost, limits: Limits, demo: Person) -> None:
    limits.set(count_uploading=1)
    first, second, third = (demo.create(host) for _ in range(3))
    demo.upload(host, first, ONE, place="stage")
    demo.upload(host, second, ONE, expect=413, place="stage")
    demo.upload(host, third, ONE, expect=413)
    body = {"method": {"name": "web-download", "uri": "http://192.0.2.1/"}}
    demo.call("POST", f"{host.url}/v2/images/{third}/import", 413, json=body)
    finish(host, demo, first)
    demo.upload(host, third, ONE)
    assert demo.image(host, first)["status"] == "active"


def test_an_import_beyond_the_limit_fails(host: ImageHost, limits: Limits, demo: Person) -> None:
    image_id = demo.create(host)
    demo.upload(host, image_id, ONE * 4, place="stage")
    limits.set(size_total=1)
    finish(host, demo, image_id)
    assert demo.image(host, image_id)["status"] == "queued"
    [task] = demo.call("GET", f"{host.url}/v2/images/{image_id}/tasks", 200).json()["tasks"]
    assert "limit" in task["message"]
