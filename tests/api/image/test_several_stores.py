# SPDX-License-Identifier: Apache-2.0
"""One image service with a file store, an S3 store, a Swift store and web servers' data: which data goes where, comes
from where, and what is left where when a store fails."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aerie_common.testing.api import Api, Caller
from aerie_image import commands, reconcile
from image_stores import (
    DATA,
    MIB,
    Content,
    begin_import,
    change,
    image,
    image_api,
    locations,
    make,
    restart,
    s3_options,
    swift_options,
    upload,
    work,
)
from servers import Swift

CONTENT = Content(os.urandom(7 * MIB) + b"tail")
WRITABLE = ("local", "s3", "swift")


@pytest.fixture(scope="module")
def module_api(swift: Swift, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    backends = {"local": "file", "s3": "s3", "swift": "swift", "remote": "http"}
    options = {"s3": s3_options(swift, "several-s3"), "swift": swift_options(swift, "several-swift")}
    with image_api(tmp_path_factory.mktemp("several"), backends, options) as made:
        yield made


@pytest.fixture
def api(module_api: Api, swift: Swift) -> Iterator[Api]:
    yield module_api
    admin = module_api.caller("admin")
    for found in module_api.call("GET", "/v2/images?visibility=all&limit=100", by=admin, expect=200).json["images"]:
        module_api.call("DELETE", f"/v2/images/{found['id']}", by=admin, expect=204)
    assert stored(module_api, swift) == []


def stored(api: Api, swift: Swift) -> list[str]:
    """Everything in any store."""
    folder = Path(api.svc.stores["local"].properties()["data_dir"])
    return [*os.listdir(folder), *swift.objects("several-")]


@pytest.fixture
def member(api: Api) -> Caller:
    return api.caller("member")


def stage(api: Api, by: Caller) -> str:
    image_id = make(api, by)
    api.call("PUT", f"/v2/images/{image_id}/stage", CONTENT.data, by=by, headers=DATA, expect=204)
    return image_id


def stores_of(api: Api, by: Caller, image_id: str) -> tuple[str, str]:
    found = image(api, by, image_id)
    return found["stores"], found.get("os_glance_failed_import", "")


@pytest.fixture
def broken_s3(api: Api, swift: Swift) -> Iterator[None]:
    change(api.svc.conf, "s3", s3_store_secret_key="wrong")
    restart(api)
    yield
    repair(api, swift)


def repair(api: Api, swift: Swift) -> None:
    change(api.svc.conf, "s3", s3_store_secret_key=swift.password)
    restart(api)


def test_what_the_stores_are(api: Api, member: Caller, swift: Swift) -> None:
    shown = api.call("GET", "/v2/info/stores", by=member, expect=200).json["stores"]
    assert shown == [
        {"id": "local", "default": "true"}, {"id": "s3"}, {"id": "swift"}, {"id": "remote", "read-only": "true"},
    ]  # fmt: skip
    reply = api.call("GET", "/v2/info/stores/detail", by=api.caller("admin"), expect=200)
    found = {store["id"]: store for store in reply.json["stores"]}
    assert {name: store["type"] for name, store in found.items()} == {
        "local": "file", "s3": "s3", "swift": "swift", "remote": "http",
    }  # fmt: skip
    assert found["s3"]["properties"]["s3_store_large_object_size"] == 6
    assert found["swift"]["properties"]["container"] == "several-swift"
    assert swift.password not in reply.text and swift.user not in reply.text
    made = api.call("POST", "/v2/images", {"name": "i"}, by=member, expect=201)
    assert made.headers["OpenStack-image-store-ids"] == "local,s3,swift"


def test_each_upload_goes_where_its_header_says(api: Api, member: Caller) -> None:
    for name, begin in (("local", "file:///"), ("s3", "s3://several-s3/"), ("swift", "swift://several-swift/")):
        image_id = make(api, member)
        upload(api, member, image_id, CONTENT.data, X_Image_Meta_Store=name)
        CONTENT.check(api, member, image_id)
        assert stores_of(api, member, image_id)[0] == name
        [location] = locations(api, image_id).values()
        assert location.startswith(begin) and image_id in location
    upload(api, member, make(api, member), CONTENT.data, expect=400, X_Image_Meta_Store="remote")
    upload(api, member, make(api, member), CONTENT.data, expect=400, X_Image_Meta_Store="nowhere")


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"stores": ["s3", "swift"]}, "s3,swift"),
        ({"all_stores": True}, "local,s3,swift"),
        ({"all_stores": True, "all_stores_must_succeed": False}, "local,s3,swift"),
    ],
)
def test_an_import_goes_where_it_is_told(api: Api, member: Caller, asked: dict[str, Any], expected: str) -> None:
    image_id = stage(api, member)
    begin_import(api, member, image_id, "glance-direct", **asked)
    work(api)
    assert stores_of(api, member, image_id) == (expected, "")
    assert sorted(locations(api, image_id)) == expected.split(",")
    for name, location in locations(api, image_id).items():
        assert b"".join(api.svc.stores[name].read(location, 0, len(CONTENT.data))) == CONTENT.data
    CONTENT.check(api, member, image_id)
    assert commands.scrub(api.svc.conf, [image_id]) == 0


def test_imports_ask_for_stores_that_can_be_written_to(api: Api, member: Caller) -> None:
    image_id = stage(api, member)
    begin_import(api, member, image_id, "glance-direct", expect=400, stores=["local", "remote"])
    begin_import(api, member, image_id, "glance-direct", expect=400, stores=["local"], all_stores=True)


@pytest.mark.usefixtures("broken_s3")
def test_all_or_nothing_when_one_store_fails(api: Api, member: Caller, swift: Swift) -> None:
    image_id = stage(api, member)
    begin_import(api, member, image_id, "glance-direct", all_stores=True, all_stores_must_succeed=True)
    work(api)
    found = image(api, member, image_id)
    assert found["status"] == "queued" and "s3" in found["os_glance_failed_import"].split(",")
    assert stored(api, swift) == []
    [task] = api.call("GET", f"/v2/images/{image_id}/tasks", by=member).json["tasks"]
    assert task["status"] == "failure" and "s3" in task["message"] and swift.password not in str(task)


@pytest.mark.usefixtures("broken_s3")
def test_the_other_stores_keep_the_data_when_one_may_fail(api: Api, member: Caller, swift: Swift) -> None:
    image_id = stage(api, member)
    begin_import(api, member, image_id, "glance-direct", all_stores=True, all_stores_must_succeed=False)
    work(api)
    assert stores_of(api, member, image_id) == ("local,swift", "s3")
    repair(api, swift)
    begin_import(api, member, image_id, "copy-image", stores=["s3"])
    work(api)
    assert stores_of(api, member, image_id) == ("local,s3,swift", "")
    CONTENT.check(api, member, image_id)


def test_data_is_copied_from_store_to_store_and_removed_from_each(api: Api, member: Caller, swift: Swift) -> None:
    """file -> s3 -> swift, each copy made of the one before."""
    image_id, admin = make(api, member), api.caller("admin")
    upload(api, member, image_id, CONTENT.data)
    before = "local"
    for name in ("s3", "swift"):
        begin_import(api, member, image_id, "copy-image", stores=[name])
        work(api)
        assert stores_of(api, member, image_id)[0] == f"{before},{name}"
        api.call("DELETE", f"/v2/stores/{before}/{image_id}", by=member, expect=403)
        api.call("DELETE", f"/v2/stores/{before}/{image_id}", by=admin, expect=204)
        assert stores_of(api, member, image_id)[0] == name and list(locations(api, image_id)) == [name]
        CONTENT.check(api, member, image_id)
        before = name
    assert all(name.startswith("several-swift/") for name in stored(api, swift))
    api.call("DELETE", f"/v2/stores/local/{image_id}", by=admin, expect=404)
    api.call("DELETE", f"/v2/stores/swift/{image_id}", by=admin, expect=403)
    begin_import(api, member, image_id, "copy-image", expect=409, stores=["swift"])


def test_a_download_comes_from_the_next_store_when_one_fails(api: Api, member: Caller, swift: Swift) -> None:
    image_id = make(api, member)
    upload(api, member, image_id, CONTENT.data, X_Image_Meta_Store="s3")
    begin_import(api, member, image_id, "copy-image", stores=["swift"])
    work(api)
    api.svc.stores["s3"].delete(locations(api, image_id)["s3"])
    CONTENT.check(api, member, image_id)
    change(api.svc.conf, "s3", s3_store_secret_key="wrong")
    restart(api)
    CONTENT.check(api, member, image_id)
    repair(api, swift)


def test_a_copy_that_cannot_be_removed_now_is_removed_later(
    api: Api, member: Caller, swift: Swift, monkeypatch: pytest.MonkeyPatch
) -> None:
    image_id, admin = stage(api, member), api.caller("admin")
    begin_import(api, member, image_id, "glance-direct", stores=["local", "s3"])
    work(api)
    change(api.svc.conf, "s3", s3_store_secret_key="wrong")
    restart(api)
    api.call("DELETE", f"/v2/stores/s3/{image_id}", by=admin, expect=204)
    assert stores_of(api, member, image_id)[0] == "local"
    repair(api, swift)
    assert any(name.startswith("several-s3/") for name in stored(api, swift))
    monkeypatch.setattr(reconcile, "GRACE_SECONDS", -1)
    reconcile.files(api.svc)
    assert stored(api, swift) == [image_id]
    CONTENT.check(api, member, image_id)


def test_deleting_an_image_removes_every_copy(api: Api, member: Caller, swift: Swift) -> None:
    image_id = stage(api, member)
    begin_import(api, member, image_id, "glance-direct", all_stores=True)
    work(api)
    assert len(stored(api, swift)) > len(WRITABLE)
    api.call("DELETE", f"/v2/images/{image_id}", by=member, expect=204)
    assert stored(api, swift) == []
