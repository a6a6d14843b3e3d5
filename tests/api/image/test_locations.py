# SPDX-License-Identifier: Apache-2.0
"""Locations: data on a web server as an image's data, who may add one, and what is checked."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from typing import Any

import pytest

from aerie_common.flow_runner import FlowRunner
from aerie_common.testing.api import Api, Caller
from aerie_image.flows import FLOWS
from webserver import Site

CONTENT = os.urandom(3 << 20) + b"end"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.stop()


@pytest.fixture
def api(api: Api) -> Api:
    api.svc.conf.set_override("enabled_backends", {"file": "file", "web": "http"})
    api.svc.conf.set_override("allowed_networks", ["127.0.0.1/32"], group="import_filtering_opts")
    return api


def make(api: Api, by: Caller, disk_format: str = "raw") -> str:
    body = {"name": "i", "disk_format": disk_format, "container_format": "bare"}
    return str(api.call("POST", "/v2/images", body, by=by, expect=201).json["id"])


def add(api: Api, by: Caller, image_id: str, url: str, expect: int = 202, **told: str) -> Any:
    body = {"url": url} | ({"validation_data": told} if told else {})
    reply = api.call("POST", f"/v2/images/{image_id}/locations", body, by=by, expect=expect)
    FlowRunner(api.svc.db, FLOWS, api.svc).drain(30)
    return reply


def image(api: Api, by: Caller, image_id: str) -> Any:
    return api.call("GET", f"/v2/images/{image_id}", by=by, expect=200).json


def task(api: Api, by: Caller, image_id: str) -> Any:
    return api.call("GET", f"/v2/images/{image_id}/tasks", by=by, expect=200).json["tasks"][0]


def test_data_of_a_web_server_becomes_an_images(api: Api, site: Site) -> None:
    member, service = api.caller("member"), api.caller("service")
    image_id, url = make(api, member), site.put("/image.raw", CONTENT)
    add(api, member, image_id, url)
    found = image(api, member, image_id)
    assert (found["status"], found["size"], found["stores"]) == ("active", len(CONTENT), "web")
    assert (found["checksum"], found["os_hash_algo"]) == (hashlib.md5(CONTENT).hexdigest(), "sha512")
    assert found["os_hash_value"] == hashlib.sha512(CONTENT).hexdigest() and found["virtual_size"] == len(CONTENT)
    assert (task(api, member, image_id)["type"], task(api, member, image_id)["status"]) == (
        "location_import",
        "success",
    )
    assert api.call("GET", f"/v2/images/{image_id}/file", by=member, expect=200).body == CONTENT
    part = api.call("GET", f"/v2/images/{image_id}/file", by=member, headers={"Range": "bytes=5-9"}, expect=206)
    assert part.body == CONTENT[5:10]
    shown = api.call("GET", f"/v2/images/{image_id}/locations", by=service, expect=200).json
    assert shown == [{"url": url, "metadata": {"store": "web"}}]
    add(api, member, image_id, url, expect=409)


def test_a_hash_need_not_be_told(api: Api, site: Site) -> None:
    """The glance command sends an object with nothing in it then."""
    member, url = api.caller("member"), site.put("/image.raw", CONTENT)
    image_id = make(api, member)
    body = {"url": url, "validation_data": {}}
    api.call("POST", f"/v2/images/{image_id}/locations", body, by=member, expect=202)
    FlowRunner(api.svc.db, FLOWS, api.svc).drain(30)
    assert image(api, member, image_id)["status"] == "active"


def test_the_hash_that_is_told_is_verified(api: Api, site: Site) -> None:
    member, url = api.caller("member"), site.put("/image.raw", CONTENT)
    good, bad = make(api, member), make(api, member)
    for told in (
        {"os_hash_algo": "sha512", "os_hash_value": SHA256},
        {"os_hash_value": SHA256},
        {"os_hash_algo": "sha256"},
        {"os_hash_algo": "sha123", "os_hash_value": SHA256},
        {"os_hash_algo": "sha256", "os_hash_value": "z" * 64},
    ):
        add(api, member, good, url, expect=400, **told)
    add(api, member, good, url, os_hash_algo="sha256", os_hash_value=SHA256.upper())
    found = image(api, member, good)
    assert (found["status"], found["os_hash_algo"], found["os_hash_value"]) == ("active", "sha256", SHA256)
    assert found["checksum"] == hashlib.md5(CONTENT).hexdigest()
    add(api, member, bad, url, os_hash_algo="sha512", os_hash_value="beefdead" * 16)
    found = image(api, member, bad)
    assert (found["status"], found["checksum"], found["os_hash_value"]) == ("queued", None, None)
    assert task(api, member, bad)["status"] == "failure"
    add(api, member, bad, url)
    assert image(api, member, bad)["status"] == "active"


def test_without_secure_hash_what_is_told_is_believed(api: Api, site: Site) -> None:
    api.svc.conf.set_override("do_secure_hash", False)
    member, url = api.caller("member"), site.put("/image.raw", CONTENT)
    told, untold = make(api, member), make(api, member)
    add(api, member, told, url, os_hash_algo="sha256", os_hash_value=SHA256)
    found = image(api, member, told)
    assert (found["status"], found["os_hash_value"], found["checksum"]) == ("active", SHA256, None)
    add(api, member, untold, url)
    found = image(api, member, untold)
    assert (found["status"], found["size"], found["os_hash_value"]) == ("active", len(CONTENT), None)
    assert site.gets("/image.raw") == 0


def test_what_fails_leaves_the_image_queued(api: Api, site: Site) -> None:
    member = api.caller("member")
    site.put("/short", CONTENT)
    site.redirects["/inside"] = "http://169.254.169.254/latest"
    for path, disk_format in (("/missing", "raw"), ("/inside", "raw"), ("/short", "qcow2")):
        image_id = make(api, member, disk_format)
        add(api, member, image_id, site.url + path)
        assert image(api, member, image_id)["status"] == "queued", path
        assert task(api, member, image_id)["status"] == "failure"
    image_id, site.break_off = make(api, member), 1000
    add(api, member, image_id, site.url + "/short")
    assert image(api, member, image_id)["status"] == "queued"
    site.break_off = None
    api.svc.conf.set_override("image_size_cap", 1 << 20)
    add(api, member, image_id, site.url + "/short")
    assert image(api, member, image_id)["status"] == "queued" and "limit" in task(api, member, image_id)["message"]


def test_who_may_add_and_see_locations(api: Api, site: Site) -> None:
    member, service, url = api.caller("member"), api.caller("service"), site.put("/i", CONTENT)
    image_id = make(api, member)
    add(api, api.caller("member"), image_id, url, expect=404)
    add(api, api.caller("reader", project_id=member.project_id), image_id, url, expect=403)
    for who in (member, api.caller("admin"), api.caller("reader")):
        api.call("GET", f"/v2/images/{image_id}/locations", by=who, expect=403)
    add(api, service, image_id, url)
    assert image(api, member, image_id)["status"] == "active"


def test_a_service_acting_for_a_user_sees_locations(api: Api, site: Site) -> None:
    member, service = api.caller("member"), api.caller("service")
    image_id = make(api, member)
    add(api, member, image_id, site.put("/i", CONTENT))
    shown = api.call("GET", f"/v2/images/{image_id}/locations", by=member,
                     headers={"X-Service-Token": service.token}, expect=200).json  # fmt: skip
    assert len(shown) == 1


def test_without_a_store_for_it_nobody_adds_locations(api: Api, site: Site) -> None:
    api.svc.conf.set_override("enabled_backends", {"file": "file"})
    member, service = api.caller("member"), api.caller("service")
    add(api, member, make(api, member), site.put("/i", CONTENT), expect=403)
    add(api, service, make(api, member), site.put("/i", CONTENT), expect=400)
