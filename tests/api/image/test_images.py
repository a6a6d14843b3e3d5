# SPDX-License-Identifier: Apache-2.0
"""Image records: what a client may do to them, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from aerie_common.db import count_queries
from aerie_common.testing.api import Api, Caller

PATCH = {"Content-Type": "application/openstack-images-v2.1-json-patch"}


@pytest.fixture
def member(api: Api) -> Caller:
    return api.caller("member")


def make(api: Api, by: Caller, **body: Any) -> dict[str, Any]:
    body = {"name": "i", "disk_format": "raw", "container_format": "bare", **body}
    return dict(api.call("POST", "/v2/images", body, by=by, expect=201).json)


def test_create_shows_base_attributes_and_custom_properties_flat(api: Api, member: Caller) -> None:
    reply = api.call(
        "POST", "/v2/images", {"name": "a", "os_distro": "debian", "tags": ["x", "x"]}, by=member, expect=201
    )
    image = reply.json
    assert reply.headers["Location"].endswith(f"/v2/images/{image['id']}")
    assert image["os_distro"] == "debian" and image["tags"] == ["x"] and image["owner"] == member.project_id
    assert (image["status"], image["visibility"], image["size"], image["checksum"]) == ("queued", "shared", None, None)
    assert image["self"] == f"/v2/images/{image['id']}" and image["schema"] == "/v2/schemas/image"
    assert api.call("GET", f"/v2/images/{image['id']}", by=member, expect=200).json == image


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"visibility": "secret"}, 400),
        ({"min_ram": -1}, 400),
        ({"disk_format": "floppy"}, 400),
        ({"disk_format": "ami", "container_format": "aki"}, 400),
        ({"id": "x"}, 400),
        ({"status": "active"}, 403),
        ({"checksum": "0"}, 403),
        ({"os_glance_importing": "x"}, 403),
        ({"visibility": "public"}, 403),
        ({"owner": "somebody"}, 403),
        ({"custom": 7}, 400),
        ([], 400),
    ],
)
def test_create_refuses(api: Api, member: Caller, body: Any, status: int) -> None:
    reply = api.call("POST", "/v2/images", body, by=member, expect=status)
    assert reply.json["message"] and reply.json["code"].startswith(str(status))
    assert api.call("GET", "/v2/images", by=member).json["images"] == []


def test_an_id_is_used_once(api: Api, member: Caller) -> None:
    made = make(api, member, id="11111111-2222-3333-4444-555555555555")
    api.call("POST", "/v2/images", {"id": made["id"]}, by=member, expect=409)


def test_patch_adds_replaces_and_removes(api: Api, member: Caller) -> None:
    made = make(api, member, colour="red", **{"a/b": "c"})
    changes = [
        {"op": "replace", "path": "/name", "value": "new"},
        {"op": "add", "path": "/size_hint", "value": "big"},
        {"op": "replace", "path": "/a~1b", "value": "d"},
        {"op": "remove", "path": "/colour"},
        {"op": "replace", "path": "/tags", "value": ["t"]},
    ]
    image = api.call("PATCH", f"/v2/images/{made['id']}", changes, by=member, headers=PATCH, expect=200).json
    assert (image["name"], image["size_hint"], image["a/b"], image["tags"]) == ("new", "big", "d", ["t"])
    assert "colour" not in image


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"op": "replace", "path": "/status", "value": "active"}, 403),
        ({"op": "replace", "path": "/id", "value": "x"}, 403),
        ({"op": "remove", "path": "/name"}, 403),
        ({"op": "replace", "path": "/owner", "value": "x"}, 403),
        ({"op": "replace", "path": "/visibility", "value": "public"}, 403),
        ({"op": "replace", "path": "/missing", "value": "x"}, 409),
        ({"op": "remove", "path": "/missing"}, 409),
        ({"op": "move", "path": "/name", "value": "x"}, 400),
        ({"op": "add", "path": "/name"}, 400),
        ({"op": "add", "path": "name", "value": "x"}, 400),
        ({"op": "add", "path": "/a/b", "value": "x"}, 400),
        ({"op": "add", "path": "/min_disk", "value": "x"}, 400),
    ],
)
def test_a_refused_patch_changes_nothing(api: Api, member: Caller, change: dict[str, Any], status: int) -> None:
    made = make(api, member)
    both = [{"op": "replace", "path": "/name", "value": "half"}, change]
    api.call("PATCH", f"/v2/images/{made['id']}", both, by=member, headers=PATCH, expect=status)
    assert api.call("GET", f"/v2/images/{made['id']}", by=member).json == made


def test_patch_wants_its_media_type(api: Api, member: Caller) -> None:
    made = make(api, member)
    api.call("PATCH", f"/v2/images/{made['id']}", [], by=member, expect=415)


def test_others_do_not_see_private_images(api: Api, member: Caller) -> None:
    made, stranger = make(api, member), api.caller("member")
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/file"), ("PUT", "/tags/x"), ("GET", "/members")):
        api.call(method, f"/v2/images/{made['id']}{path}", by=stranger, expect=404)
    assert api.call("GET", "/v2/images", by=stranger).json["images"] == []
    assert [i["id"] for i in api.call("GET", "/v2/images", by=api.caller("admin")).json["images"]] == [made["id"]]


def test_public_images_are_seen_but_not_changed(api: Api, member: Caller) -> None:
    made = make(api, api.caller("admin"), visibility="public")
    assert [i["id"] for i in api.call("GET", "/v2/images", by=member).json["images"]] == [made["id"]]
    api.call("DELETE", f"/v2/images/{made['id']}", by=member, expect=403)
    change = [{"op": "replace", "path": "/name", "value": "mine"}]
    api.call("PATCH", f"/v2/images/{made['id']}", change, by=member, headers=PATCH, expect=403)


def test_readers_read(api: Api, member: Caller) -> None:
    made, reader = make(api, member), api.caller("reader", project_id=member.project_id)
    api.call("GET", f"/v2/images/{made['id']}", by=reader, expect=200)
    api.call("DELETE", f"/v2/images/{made['id']}", by=reader, expect=403)
    api.call("POST", "/v2/images", {}, by=reader, expect=403)
    api.call("GET", "/v2/images", expect=401)


def test_protected_images_stay(api: Api, member: Caller) -> None:
    made = make(api, member, protected=True)
    api.call("DELETE", f"/v2/images/{made['id']}", by=member, expect=403)
    change = [{"op": "replace", "path": "/protected", "value": False}]
    api.call("PATCH", f"/v2/images/{made['id']}", change, by=member, headers=PATCH, expect=200)
    api.call("DELETE", f"/v2/images/{made['id']}", by=member, expect=204)
    api.call("GET", f"/v2/images/{made['id']}", by=member, expect=404)


def test_lists_are_filtered_sorted_and_paged(api: Api, member: Caller) -> None:
    for name in ("c", "a", "b"):
        make(api, member, name=name, tags=[f"t-{name}", "all"], colour=name, min_ram=ord(name))

    def names(query: str, expect: int = 200) -> Any:
        reply = api.call("GET", f"/v2/images?{query}", by=member, expect=expect)
        return "".join(i["name"] for i in reply.json["images"]) if expect == 200 else None

    assert names("") == "bac"
    assert names("sort=name:asc") == names("sort_key=name&sort_dir=asc") == "abc"
    assert names("name=in:a,c&sort=name") == "ac" and names("name=b") == "b"
    assert names("tag=all&tag=t-a") == "a" and names("colour=c") == "c" and names("min_ram=98") == "b"
    assert names("created_at=gte:2020-01-01T00:00:00Z&sort=name") == "abc"
    assert names("created_at=lt:2020-01-01T00:00:00Z") == ""
    assert names("visibility=public") == "" and names("visibility=shared&sort=name") == "abc"
    for wrong in ("created_at=huge:x", "visibility=x", "limit=-1", "limit=x", "sort=colour", "min_ram=x", 'name=in:"a'):
        names(wrong, 400)

    page = api.call("GET", "/v2/images?limit=2&sort=name:asc", by=member).json
    assert [i["name"] for i in page["images"]] == ["a", "b"] and page["first"] == "/v2/images?limit=2&sort=name%3Aasc"
    page = api.call("GET", page["next"], by=member).json
    assert [i["name"] for i in page["images"]] == ["c"] and "next" not in page
    last = page["images"][-1]["id"]
    assert api.call("GET", f"/v2/images?marker={last}&sort=name:asc", by=member).json["images"] == []
    api.call("GET", "/v2/images?marker=nothing", by=member, expect=400)


def test_hidden_images_are_listed_only_when_asked_for(api: Api, member: Caller) -> None:
    make(api, member, os_hidden=True)
    assert api.call("GET", "/v2/images", by=member).json["images"] == []
    assert len(api.call("GET", "/v2/images?os_hidden=true", by=member).json["images"]) == 1


def test_a_list_costs_one_query(api: Api, member: Caller) -> None:
    for n in range(5):
        make(api, member, name=str(n), tags=["t"], colour="red")
    with count_queries(api.svc.db) as queries:
        api.call("GET", "/v2/images?tag=t&colour=red", by=member, expect=200)
    assert queries == 1


def test_tags(api: Api, member: Caller) -> None:
    made = make(api, member)
    for _ in range(2):
        api.call("PUT", f"/v2/images/{made['id']}/tags/one", by=member, expect=204)
    assert api.call("GET", f"/v2/images/{made['id']}", by=member).json["tags"] == ["one"]
    api.call("DELETE", f"/v2/images/{made['id']}/tags/one", by=member, expect=204)
    api.call("DELETE", f"/v2/images/{made['id']}/tags/one", by=member, expect=404)
    api.call("PUT", f"/v2/images/{made['id']}/tags/{'x' * 256}", by=member, expect=400)


def test_sharing(api: Api, member: Caller) -> None:
    made, other = make(api, member), api.caller("member")
    url = f"/v2/images/{made['id']}/members"
    offered = api.call("POST", url, {"member": other.project_id}, by=member, expect=200).json
    assert (offered["member_id"], offered["status"], offered["image_id"]) == (other.project_id, "pending", made["id"])
    api.call("POST", url, {"member": other.project_id}, by=member, expect=409)
    assert api.call("GET", "/v2/images", by=other).json["images"] == []
    assert len(api.call("GET", "/v2/images?member_status=pending&visibility=shared", by=other).json["images"]) == 1
    api.call("PUT", f"{url}/{other.project_id}", {"status": "accepted"}, by=member, expect=403)
    api.call("PUT", f"{url}/{other.project_id}", {"status": "maybe"}, by=other, expect=400)
    api.call("PUT", f"{url}/{other.project_id}", {"status": "accepted"}, by=other, expect=200)
    assert [i["id"] for i in api.call("GET", "/v2/images", by=other).json["images"]] == [made["id"]]
    api.call("DELETE", f"{url}/{other.project_id}", by=other, expect=403)
    api.call("DELETE", f"{url}/{other.project_id}", by=member, expect=204)
    api.call("GET", f"/v2/images/{made['id']}", by=other, expect=404)


def test_documents_for_clients(api: Api, member: Caller) -> None:
    choices = api.call("GET", "/", expect=300).json["versions"]
    assert choices[0]["status"] == "CURRENT" and choices[0]["links"][0]["href"] == "http://localhost/v2/"
    api.call("GET", "/versions", expect=200)
    schema = api.call("GET", "/v2/schemas/image", by=member, expect=200).json
    assert schema["name"] == "image" and schema["properties"]["status"]["readOnly"] is True
    for noun in ("images", "member", "members"):
        api.call("GET", f"/v2/schemas/{noun}", by=member, expect=200)


def test_a_refusal_is_a_page_for_who_asks_for_no_json(api: Api) -> None:
    """The glance command does not, and breaks on refusals in JSON."""
    member = api.caller("member")
    for accept in ("*/*", "text/html, */*;q=0.1"):
        reply = api.call("GET", "/v2/images/<none>", by=member, headers={"Accept": accept}, expect=404)
        assert reply.content_type == "text/html" and "<h1>404 Not Found</h1>" in reply.text
        assert "Failed to find image &lt;none&gt;" in reply.text
    for headers in ({}, {"Accept": "application/json"}, {"Accept": "application/json, */*"}):
        reply = api.call("GET", "/v2/images/none", by=member, headers=headers, expect=404)
        assert reply.json == {"code": "404 Not Found", "title": "Not Found", "message": "Failed to find image none"}
    assert api.call("GET", "/v2/images", headers={"Accept": "*/*"}, expect=401).content_type == "text/html"


def test_the_schema_names_every_attribute_that_is_shown(api: Api) -> None:
    """Clients take those that it does not name for custom properties."""
    member = api.caller("member")
    image_id = api.call("POST", "/v2/images", {"disk_format": "raw", "container_format": "bare"}, by=member).json["id"]
    headers = {"Content-Type": "application/octet-stream"}
    api.call("PUT", f"/v2/images/{image_id}/file", b"x", by=member, headers=headers, expect=204)
    known = api.call("GET", "/v2/schemas/image", by=member, expect=200).json["properties"]
    assert set(api.call("GET", f"/v2/images/{image_id}", by=member, expect=200).json) <= set(known)
    for name in ("location", "self", "file", "schema", "id", "stores"):
        for verb in ("add", "replace"):
            body = [{"op": verb, "path": f"/{name}", "value": "x"}]
            patch = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
            api.call("PATCH", f"/v2/images/{image_id}", body, by=member, headers=patch, expect=403)
