# SPDX-License-Identifier: Apache-2.0
"""Metadata definitions: namespaces and what they define, who sees them, and what a fresh cloud has."""

from __future__ import annotations

from typing import Any

import pytest

from aerie_common.db import count_queries
from aerie_common.testing.api import Api, Caller
from aerie_image import standard_metadefs

ROOT = "/v2/metadefs/namespaces"


@pytest.fixture
def admin(api: Api) -> Caller:
    return api.caller("admin")


def make(api: Api, by: Caller, name: str = "OS::Test", expect: int = 201, **more: Any) -> Any:
    body = {"namespace": name, "visibility": "public", **more}
    return api.call("POST", ROOT, body, by=by, expect=expect).json


def test_a_namespace_with_all_it_defines(api: Api, admin: Caller) -> None:
    size = {"title": "Size", "type": "integer", "minimum": 1}
    made = make(
        api, admin, display_name="Test", description="About tests",
        properties={"size": size}, tags=[{"name": "t"}], resource_type_associations=[{"name": "OS::X", "prefix": "x_"}],
        objects=[{"name": "box", "required": ["size"], "properties": {"size": size}}],
    )  # fmt: skip
    shown = api.call("GET", f"{ROOT}/OS::Test", by=api.caller("reader"), expect=200).json
    assert shown == made and shown["properties"] == {"size": size} and shown["protected"] is False
    assert shown["objects"][0]["properties"] == {"size": size} and shown["tags"][0]["name"] == "t"
    assert shown["resource_type_associations"][0]["prefix"] == "x_"
    types = api.call("GET", "/v2/metadefs/resource_types", by=admin, expect=200).json["resource_types"]
    assert {"name": "OS::X"} in types and {"name": "OS::Nova::Flavor"} in types
    make(api, admin, expect=409)
    make(api, admin, name="bad/name", expect=400)
    make(api, admin, name="bad", properties={"p": {"type": "integer"}}, expect=400)
    make(api, api.caller("member"), name="not mine", expect=403)


def test_update_and_protection(api: Api, admin: Caller) -> None:
    make(api, admin, protected=True)
    make(api, admin, "OS::Other")
    one = f"{ROOT}/OS::Test"
    api.call("DELETE", one, by=admin, expect=403)
    api.call("PUT", one, {"namespace": "OS::Other"}, by=admin, expect=409)
    body = {"namespace": "OS::New", "protected": False, "visibility": "private"}
    assert api.call("PUT", one, body, by=admin, expect=200).json["namespace"] == "OS::New"
    api.call("GET", one, by=admin, expect=404)
    api.call("GET", f"{ROOT}/OS::New", by=api.caller("member"), expect=404)
    api.call("GET", f"{ROOT}/OS::New", by=api.caller("member", project_id=admin.project_id), expect=200)
    api.call("DELETE", f"{ROOT}/OS::New", by=admin, expect=204)
    api.call("GET", f"{ROOT}/OS::New", by=admin, expect=404)


@pytest.mark.parametrize(
    ("place", "body"),
    [
        ("objects", {"description": "a box"}),
        ("properties", {"title": "Size", "type": "string"}),
    ],
)
def test_definitions(api: Api, admin: Caller, place: str, body: dict[str, Any]) -> None:
    make(api, admin)
    every = f"{ROOT}/OS::Test/{place}"
    assert api.call("POST", every, {"name": "a", **body}, by=admin, expect=201).json["name"] == "a"
    api.call("POST", every, {"name": "a", **body}, by=admin, expect=409)
    api.call("POST", every, {"name": "b", **body}, by=admin, expect=201)
    api.call("POST", every, {"name": "c", **body}, by=api.caller("member"), expect=403)
    api.call("PUT", f"{every}/a", {"name": "b", **body}, by=admin, expect=409)
    assert api.call("PUT", f"{every}/a", {"name": "c", **body}, by=admin, expect=200).json["name"] == "c"
    api.call("GET", f"{every}/a", by=admin, expect=404)
    listed = api.call("GET", every, by=api.caller("reader"), expect=200).json[place]
    assert (sorted(listed) if isinstance(listed, dict) else [d["name"] for d in listed]) == ["b", "c"]
    api.call("DELETE", f"{every}/c", by=admin, expect=204)
    api.call("DELETE", f"{every}/c", by=admin, expect=404)
    api.call("DELETE", every, by=admin, expect=204)
    assert not api.call("GET", every, by=admin, expect=200).json[place]


def test_tags(api: Api, admin: Caller) -> None:
    make(api, admin)
    every = f"{ROOT}/OS::Test/tags"

    def names() -> list[str]:
        return [t["name"] for t in api.call("GET", every, by=admin, expect=200).json["tags"]]

    api.call("POST", every, {"tags": [{"name": "a"}, {"name": "b"}]}, by=admin, expect=201)
    api.call("POST", every, {"tags": [{"name": "c"}]}, by=admin, headers={"X-Openstack-Append": "true"}, expect=201)
    assert names() == ["a", "b", "c"]
    api.call("POST", every, {"tags": [{"name": "d"}]}, by=admin, expect=201)
    api.call("POST", f"{every}/e", by=admin, expect=201)
    api.call("POST", f"{every}/e", by=admin, expect=409)
    api.call("PUT", f"{every}/e", {"name": "f"}, by=admin, expect=200)
    assert names() == ["d", "f"]
    api.call("DELETE", f"{every}/f", by=admin, expect=204)
    api.call("DELETE", every, by=admin, expect=204)
    assert names() == []


def test_resource_types_filter_namespaces(api: Api, admin: Caller) -> None:
    make(api, admin)
    make(api, admin, "OS::Other")
    types = f"{ROOT}/OS::Test/resource_types"
    api.call("POST", types, {"name": "OS::Nova::Flavor", "prefix": "hw:"}, by=admin, expect=201)
    [found] = api.call("GET", types, by=admin, expect=200).json["resource_type_associations"]
    assert (found["name"], found["prefix"]) == ("OS::Nova::Flavor", "hw:")
    listed = api.call("GET", f"{ROOT}?resource_types=OS::Nova::Flavor", by=admin, expect=200).json["namespaces"]
    assert [n["namespace"] for n in listed] == ["OS::Test"]
    api.call("DELETE", f"{types}/OS::Nova::Flavor", by=admin, expect=204)
    api.call("DELETE", f"{types}/OS::Nova::Flavor", by=admin, expect=404)


def test_every_standard_namespace_is_public_and_one_that_can_be_made(one_api: Api) -> None:
    """What one cloud shows can be given to another one as it is."""
    admin, member = one_api.caller("admin"), one_api.caller("member")
    standard_metadefs.load(one_api.svc)
    for name, standard in standard_metadefs.STANDARD.items():
        shown = one_api.call("GET", f"{ROOT}/{name}", by=member, expect=200).json
        assert (shown["visibility"], shown["protected"]) == ("public", True) and shown["description"]
        objects = shown.get("objects", [])
        assert shown.get("properties", {}) == standard.properties and bool(standard.properties) != bool(objects)
        assert {o["name"]: o["properties"] for o in objects} == {n: p for n, (_, p) in standard.objects.items()}
        body = {key: shown[key] for key in ("display_name", "description", "properties") if key in shown}
        body["objects"] = [{k: o[k] for k in ("name", "description", "properties")} for o in objects]
        make(one_api, admin, f"Copy::{name}", **body)


FORMS = {
    "OS::Glance::Image": 19,
    "OS::Cinder::Volume": 9,
    "OS::Nova::Flavor": 11,
    "OS::Nova::Aggregate": 4,
    "OS::Nova::Server": 3,
    "OS::Trove::Instance": 1,
}


@pytest.mark.parametrize("kind", FORMS)
def test_forms_find_what_there_is_for_their_resource(one_api: Api, kind: str) -> None:
    """As Horizon asks: which namespaces are for this resource, then each of them under the names it has there."""
    member = one_api.caller("member")
    standard_metadefs.load(one_api.svc)
    found = one_api.call("GET", f"{ROOT}?resource_types={kind}&limit=100", by=member, expect=200).json["namespaces"]
    assert len(found) == FORMS[kind]
    for namespace in found:
        standard = standard_metadefs.STANDARD[namespace["namespace"]]
        [there] = [a for a in namespace["resource_type_associations"] if a["name"] == kind]
        at = standard.types[kind]
        assert (there.get("prefix"), there.get("properties_target")) == (at.prefix, at.target)
        shown = one_api.call("GET", f"{ROOT}/{standard.name}?resource_type={kind}", by=member, expect=200).json
        assert sorted(shown.get("properties", {})) == sorted((at.prefix or "") + name for name in standard.properties)


def test_namespaces_that_are_new_in_a_release_are_added_and_no_other_changes(api: Api, admin: Caller) -> None:
    make(api, admin, "OS::OperatingSystem", display_name="Ours")
    standard_metadefs.load(api.svc)
    names = [n["namespace"] for n in api.call("GET", f"{ROOT}?limit=100", by=admin, expect=200).json["namespaces"]]
    assert names == ["OS::OperatingSystem"]  # an administrator's choice
    added = standard_metadefs.add_missing(api.svc)
    assert len(added) == len(standard_metadefs.STANDARD) - 1 and standard_metadefs.add_missing(api.svc) == []
    assert api.call("GET", f"{ROOT}/OS::OperatingSystem", by=admin, expect=200).json["display_name"] == "Ours"


def test_a_fresh_cloud_has_definitions_and_lists_cost_the_same(api: Api, admin: Caller) -> None:
    api.call("GET", ROOT, by=admin, expect=200)
    with count_queries(api.svc.db) as none:
        assert api.call("GET", ROOT, by=admin).json["namespaces"] == []
    standard_metadefs.load(api.svc)
    standard_metadefs.load(api.svc)
    with count_queries(api.svc.db) as many:
        found = api.call("GET", ROOT, by=api.caller("member"), expect=200).json["namespaces"]
    assert len(found) == len(standard_metadefs.STANDARD) and many.count <= none.count + 1
    assert all(n["resource_type_associations"] and n["protected"] for n in found)
    page = api.call("GET", f"{ROOT}?limit=2&sort_key=namespace&sort_dir=asc", by=admin, expect=200).json
    rest = api.call("GET", page["next"], by=admin, expect=200).json["namespaces"]
    assert [n["namespace"] for n in page["namespaces"] + rest] == sorted(standard_metadefs.STANDARD)[:4]


SCHEMAS = "namespace namespaces object objects property properties tag tags resource_type resource_types"


@pytest.mark.parametrize("name", SCHEMAS.split())
def test_schemas(api: Api, admin: Caller, name: str) -> None:
    shown = api.call("GET", f"/v2/schemas/metadefs/{name}", by=admin, expect=200).json
    assert shown["name"] == name.replace("resource_type", "resource_type_association") and shown["properties"]


def test_names_as_they_are_at_a_resource_type(api: Api, admin: Caller) -> None:
    """What forms put before the names of properties: another prefix for flavors than for images."""
    size = {"title": "Size", "type": "integer"}
    types = [{"name": "OS::Nova::Flavor", "prefix": "hw:"}, {"name": "OS::Glance::Image", "prefix": "hw_"}]
    box = {"name": "box", "required": ["size"], "properties": {"size": size}}
    make(api, admin, properties={"size": size}, objects=[box], resource_type_associations=types)
    for kind, prefix in (("OS::Nova::Flavor", "hw:"), ("OS::Glance::Image", "hw_"), ("OS::Nova::Server", "")):
        shown = api.call("GET", f"{ROOT}/OS::Test?resource_type={kind}", by=admin, expect=200).json
        assert list(shown["properties"]) == [f"{prefix}size"]
        assert (list(shown["objects"][0]["properties"]), shown["objects"][0]["required"]) == ([f"{prefix}size"],) * 2
        one = f"{ROOT}/OS::Test/properties/{prefix}size?resource_type={kind}"
        assert api.call("GET", one, by=admin, expect=200).json["name"] == f"{prefix}size"
    api.call("GET", f"{ROOT}/OS::Test/properties/size?resource_type=OS::Nova::Flavor", by=admin, expect=404)


def test_objects_and_tags_page_by_page(api: Api, admin: Caller) -> None:
    make(api, admin, tags=[{"name": f"t{n}"} for n in range(5)], objects=[{"name": f"o{n}"} for n in range(5)])
    for place, letter in (("tags", "t"), ("objects", "o")):
        path, names = f"{ROOT}/OS::Test/{place}?limit=2", []
        while path:
            body = api.call("GET", path, by=admin, expect=200).json
            names += [found["name"] for found in body[place]]
            path = body.get("next")
        assert names == [f"{letter}{n}" for n in range(5)]
        api.call("GET", f"{ROOT}/OS::Test/{place}?limit=x", by=admin, expect=400)
        api.call("GET", f"{ROOT}/OS::Test/{place}?marker=none", by=admin, expect=404)


def test_a_namespace_shows_only_the_kinds_it_defines(api: Api, admin: Caller) -> None:
    kinds = {"properties", "objects", "tags", "resource_type_associations"}
    assert not kinds & set(make(api, admin))
    assert not kinds & set(api.call("GET", f"{ROOT}/OS::Test?resource_type=OS::X", by=admin, expect=200).json)
    api.call("POST", f"{ROOT}/OS::Test/tags/t", by=admin, expect=201)
    assert kinds & set(api.call("GET", f"{ROOT}/OS::Test", by=admin, expect=200).json) == {"tags"}


def test_what_comes_twice_in_one_request_is_refused(api: Api, admin: Caller) -> None:
    twice = [{"name": "a"}, {"name": "b"}, {"name": "a"}]
    make(api, admin, "twice", expect=409, tags=twice)
    make(api, admin, "twice", expect=409, objects=twice)
    make(api, admin, tags=[{"name": "old"}])
    api.call("POST", f"{ROOT}/OS::Test/tags", {"tags": twice}, by=admin, expect=409)
    tags = api.call("GET", f"{ROOT}/OS::Test/tags", by=admin, expect=200).json["tags"]
    assert [t["name"] for t in tags] == ["old"]
