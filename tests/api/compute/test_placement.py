# SPDX-License-Identifier: Apache-2.0
"""The placement API: the same allocations the scheduler and the conductor work with."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

pytestmark = pytest.mark.parametrize("cloud", ["sqlite"], indirect=True, scope="module")  # one database is enough
LATEST = "1.39"


class Placement:
    """Calls by somebody, at the newest microversion unless another is named."""

    def __init__(self, person: Any) -> None:
        self._person = person

    def __call__(self, method: str, path: str, body: Any = None, expect: int = 200, version: str = LATEST) -> Any:
        reply = self._person.call(method, path, body, expect=expect, version=version, service="placement")
        return reply.json() if reply.content else None


@pytest.fixture
def api(cloud: Any) -> Placement:
    return Placement(cloud.admin)


def provider(api: Placement, **inventory: int) -> dict[str, Any]:
    made = api("POST", "/resource_providers", {"name": f"p-{uuid.uuid4()}"})
    if inventory:
        body = {"resource_provider_generation": 0, "inventories": {k: {"total": v} for k, v in inventory.items()}}
        api("PUT", f"/resource_providers/{made['uuid']}/inventories", body)
    return api("GET", f"/resource_providers/{made['uuid']}")  # type: ignore[no-any-return]


def test_a_server_is_what_placement_shows(cloud: Any, owner: Any, api: Placement) -> None:
    server = owner.server(networks="none")
    held = api("GET", f"/allocations/{server['id']}")
    [(provider_id, shares)] = held["allocations"].items()
    assert shares["resources"] == {"VCPU": 1, "MEMORY_MB": 64, "DISK_GB": 1}
    assert (held["project_id"], held["consumer_type"], held["consumer_generation"]) == (owner.project_id, "INSTANCE", 0)
    [host] = api("GET", "/resource_providers?name=all-in-one")["resource_providers"]
    assert host["uuid"] == provider_id
    assert server["id"] in api("GET", f"/resource_providers/{provider_id}/allocations")["allocations"]
    assert api("GET", f"/usages?project_id={owner.project_id}", version="1.9")["usages"]["VCPU"] == 1
    shown = api("GET", f"/usages?project_id={owner.project_id}")["usages"]
    assert shown["INSTANCE"] == {"consumer_count": 1, "VCPU": 1, "MEMORY_MB": 64, "DISK_GB": 1}
    api("DELETE", f"/resource_providers/{provider_id}", expect=409)
    Placement(owner)("GET", "/resource_providers", expect=403)


def test_generations(api: Placement) -> None:
    made = provider(api, VCPU=8)
    path = f"/resource_providers/{made['uuid']}/inventories"
    assert made["generation"] == 1
    stale = {"resource_provider_generation": 0, "inventories": {}}
    error = api("PUT", path, stale, expect=409)["errors"][0]
    assert (error["code"], error["status"], error["title"]) == ("placement.concurrent_update", 409, "Conflict")
    one = {"resource_provider_generation": 1, "total": 16, "allocation_ratio": 2.0, "reserved": 1}
    assert api("PUT", f"{path}/VCPU", one)["resource_provider_generation"] == 2
    assert api("GET", f"{path}/VCPU")["allocation_ratio"] == 2.0
    api("POST", path, {"resource_class": "MEMORY_MB", "total": 1024}, expect=201)
    api("POST", path, {"resource_class": "MEMORY_MB", "total": 1024}, expect=409)
    api("POST", path, {"resource_class": "NO_SUCH", "total": 1}, expect=400)
    assert set(api("GET", path)["inventories"]) == {"VCPU", "MEMORY_MB"}
    api("DELETE", f"{path}/MEMORY_MB", expect=204)
    api("DELETE", f"{path}/MEMORY_MB", expect=404)


def test_allocations(api: Placement) -> None:
    made = provider(api, VCPU=4)
    consumer = str(uuid.uuid4())
    body: dict[str, Any] = {
        "allocations": {made["uuid"]: {"resources": {"VCPU": 3}}}, "project_id": "p", "user_id": "u",
        "consumer_generation": None, "consumer_type": "MIGRATION",
    }  # fmt: skip
    api("PUT", f"/allocations/{consumer}", body, expect=204)
    api("PUT", f"/allocations/{consumer}", body, expect=409)
    held = api("GET", f"/allocations/{consumer}")
    assert held["consumer_generation"] == 1
    body |= {"consumer_generation": 1, "allocations": {made["uuid"]: {"resources": {"VCPU": 5}}}}
    error = api("PUT", f"/allocations/{consumer}", body, expect=409)
    assert "exceed" in error["errors"][0]["detail"]
    assert api("GET", f"/resource_providers/{made['uuid']}/usages")["usages"] == {"VCPU": 3}, "all or nothing"
    body["allocations"] = {made["uuid"]: {"resources": {"VCPU": 4}}}
    api("PUT", f"/allocations/{consumer}", body, expect=204)
    assert api("GET", f"/resource_providers/{made['uuid']}/usages")["usages"] == {"VCPU": 4}
    path = f"/resource_providers/{made['uuid']}/inventories/VCPU"
    api("DELETE", path, expect=409)
    api("DELETE", f"/allocations/{consumer}", expect=204)
    api("DELETE", f"/allocations/{consumer}", expect=404)
    old = {"allocations": [{"resource_provider": {"uuid": made["uuid"]}, "resources": {"VCPU": 1}}]}
    api("PUT", f"/allocations/{consumer}", old, expect=204, version="1.0")
    two = {consumer: {"allocations": {}, "project_id": "p", "user_id": "u"}}
    api("POST", "/allocations", two, expect=204, version="1.13")
    assert api("GET", f"/allocations/{consumer}")["allocations"] == {}
    api("DELETE", f"/resource_providers/{made['uuid']}", expect=204)


def test_candidates(api: Placement) -> None:
    trait = f"CUSTOM_T{uuid.uuid4().hex[:8].upper()}"
    api("PUT", f"/traits/{trait}", expect=201)
    api("PUT", f"/traits/{trait}", expect=204)
    small, big = provider(api, VCPU=2, MEMORY_MB=512), provider(api, VCPU=8, MEMORY_MB=512)
    for one in (small, big):
        body = {"traits": [trait], "resource_provider_generation": one["generation"]}
        api("PUT", f"/resource_providers/{one['uuid']}/traits", body)
    found = api("GET", f"/allocation_candidates?resources=VCPU:1,MEMORY_MB:64&required={trait}")
    assert {p for r in found["allocation_requests"] for p in r["allocations"]} == {small["uuid"], big["uuid"]}
    assert set(found["provider_summaries"]) == {small["uuid"], big["uuid"]}
    assert found["provider_summaries"][big["uuid"]]["resources"]["VCPU"] == {"capacity": 8, "used": 0}
    found = api("GET", f"/allocation_candidates?resources=VCPU:4&required={trait}")
    assert [list(r["allocations"]) for r in found["allocation_requests"]] == [[big["uuid"]]]
    assert found["allocation_requests"][0]["mappings"] == {"": [big["uuid"]]}
    assert api("GET", f"/allocation_candidates?resources=VCPU:40&required={trait}")["allocation_requests"] == []
    assert (
        len(api("GET", f"/allocation_candidates?resources=VCPU:1&required={trait}&limit=1")["allocation_requests"]) == 1
    )
    aggregate = str(uuid.uuid4())
    generation = api("GET", f"/resource_providers/{small['uuid']}")["generation"]
    body = {"aggregates": [aggregate], "resource_provider_generation": generation}
    api("PUT", f"/resource_providers/{small['uuid']}/aggregates", body)
    found = api("GET", f"/allocation_candidates?resources=VCPU:1&member_of={aggregate}")
    assert [list(r["allocations"]) for r in found["allocation_requests"]] == [[small["uuid"]]]
    api("GET", "/allocation_candidates", expect=400)
    api("GET", "/allocation_candidates?resources=VCPU", expect=400)
    api("GET", "/allocation_candidates?resources=VCPU:1&unheard=of", expect=400)
    api("DELETE", f"/traits/{trait}", expect=409)


def test_trees(api: Placement) -> None:
    root = provider(api, VCPU=4)
    child = api("POST", "/resource_providers", {"name": f"c-{uuid.uuid4()}", "parent_provider_uuid": root["uuid"]})
    assert (child["root_provider_uuid"], child["parent_provider_uuid"]) == (root["uuid"], root["uuid"])
    tree = api("GET", f"/resource_providers?in_tree={child['uuid']}")["resource_providers"]
    assert {p["uuid"] for p in tree} == {root["uuid"], child["uuid"]}
    api("DELETE", f"/resource_providers/{root['uuid']}", expect=409)
    assert "root_provider_uuid" not in api("GET", f"/resource_providers/{root['uuid']}", version="1.13")
    api("POST", "/resource_providers", {"name": root["name"]}, expect=409)


def test_classes_and_traits(api: Placement) -> None:
    assert "VCPU" in [c["name"] for c in api("GET", "/resource_classes")["resource_classes"]]
    name = f"CUSTOM_C{uuid.uuid4().hex[:8].upper()}"
    api("PUT", f"/resource_classes/{name}", expect=201)
    api("PUT", f"/resource_classes/{name}", expect=204)
    api("POST", "/resource_classes", {"name": name}, expect=409)
    api("PUT", "/resource_classes/bad", expect=400)
    api("DELETE", "/resource_classes/VCPU", expect=400)
    api("DELETE", f"/resource_classes/{name}", expect=204)
    api("GET", f"/resource_classes/{name}", expect=404)
    assert api("GET", "/traits?name=in:HW_CPU_X86_AVX2,NO_SUCH")["traits"] == ["HW_CPU_X86_AVX2"]
    api("GET", "/traits/NO_SUCH", expect=404)
    api("PUT", "/traits/bad", expect=400)
    api("GET", "/traits", expect=404, version="1.5")


def test_versions_and_headers(cloud: Any) -> None:
    shown = cloud.http.get(cloud.url("placement") + "/", timeout=60).json()["versions"][0]
    assert (shown["min_version"], shown["max_version"]) == ("1.0", "1.39")
    reply = cloud.admin.call("GET", "/resource_providers", service="placement", version="1.15", expect=200)
    assert reply.headers["Cache-Control"] == "no-cache" and "Last-Modified" in reply.headers
    assert reply.headers["OpenStack-API-Version"] == "placement 1.15"
    refused = cloud.admin.call("GET", "/resource_providers", service="placement", version="1.99")
    assert refused.status_code == 406 and refused.json()["errors"][0]["status"] == 406
