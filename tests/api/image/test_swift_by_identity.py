# SPDX-License-Identifier: Apache-2.0
"""The store of kind swift as clouds have it: a Swift that takes the tokens of our identity service, found in its
catalog."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from aerie_common.testing.api import Api
from image_hosts import PASSWORD, IdentityHost
from image_stores import MIB, Content, change, image, image_api, make, restart, upload
from servers import Swift

LARGE = Content(os.urandom(3 * MIB))


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IdentityHost]:
    made = IdentityHost(tmp_path_factory.mktemp("identity") / "identity")
    yield made
    made.stop()


@pytest.fixture(scope="module")
def object_store(identity: IdentityHost, servers_dir: Path) -> Iterator[Swift]:
    server = Swift(servers_dir / "swift-by-identity", (identity.auth_url, "image", PASSWORD))
    server.start()
    admin = identity.login("admin")
    body = {"service": {"type": "object-store", "name": "swift"}}
    service = admin.call("POST", f"{identity.auth_url}/services", 201, json=body).json()["service"]["id"]
    row = {"service_id": service, "region_id": "RegionOne", "interface": "internal",
           "url": f"{server.url}/v1/AUTH_%(tenant_id)s"}  # fmt: skip
    admin.call("POST", f"{identity.auth_url}/endpoints", 201, json={"endpoint": row})
    yield server
    server.stop()


@pytest.fixture
def api(identity: IdentityHost, object_store: Swift, tmp_path: Path) -> Iterator[Api]:
    options = {
        "swift_store_auth_address": identity.auth_url,
        "swift_store_user": "demo:demo",
        "swift_store_key": PASSWORD,
        "swift_store_endpoint_type": "internalURL",
        "swift_store_region": "RegionOne",
        "swift_store_create_container_on_put": True,
        "swift_store_large_object_size": 1,
        "swift_store_large_object_chunk_size": 1,
    }
    with image_api(tmp_path, {"cloud": "swift"}, {"cloud": options}) as made:
        yield made


def test_up_and_down_with_a_token_of_the_identity_service(api: Api) -> None:
    member = api.caller("member")
    image_id = make(api, member)
    upload(api, member, image_id, LARGE.data)
    LARGE.check(api, member, image_id)
    container = api.svc.stores["cloud"].container  # type: ignore[attr-defined]
    container._auth._session.auth.auth_ref._auth_token = "outlived"
    assert container._auth.get()[1] == "outlived"
    LARGE.check(api, member, image_id)  # with another one, which was asked for when that was refused
    other = make(api, member)
    upload(api, member, other, LARGE.data)
    for one in (image_id, other):
        api.call("DELETE", f"/v2/images/{one}", by=member, expect=204)
    assert list(container.list_("")) == []


def test_refusals_of_the_identity_service(api: Api) -> None:
    member = api.caller("member")
    image_id = make(api, member)
    for option, value in (
        ("swift_store_key", "wrong"),
        ("swift_store_region", "RegionNine"),
        ("swift_store_auth_address", "http://127.0.0.1:9/v3"),
    ):
        before = api.svc.conf["cloud"][option]
        change(api.svc.conf, "cloud", **{option: value})
        restart(api)
        upload(api, member, image_id, LARGE.data, expect=503)
        assert image(api, member, image_id)["status"] == "queued"
        change(api.svc.conf, "cloud", **{option: before})
    restart(api)
    upload(api, member, image_id, LARGE.data)
