# SPDX-License-Identifier: Apache-2.0
"""Regions, services, endpoints, and what of them tokens carry."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from aerie_identity.db import tables as t


def service(cloud: Any, **values: Any) -> str:
    body = {"service": {"type": "t", "name": "n", **values}}
    return str(cloud.call("POST", "/services", body, expect=201).json["service"]["id"])


def endpoint(cloud: Any, service_id: str, url: str = "http://x", **values: Any) -> str:
    body = {"endpoint": {"service_id": service_id, "interface": "public", "url": url, **values}}
    return str(cloud.call("POST", "/endpoints", body, expect=201).json["endpoint"]["id"])


def urls(cloud: Any, token: str, service_id: str) -> list[str]:
    catalog = cloud.body(token)["catalog"]
    return [e["url"] for entry in catalog if entry["id"] == service_id for e in entry["endpoints"]]


def test_regions(cloud: Any) -> None:
    made = cloud.call("POST", "/regions", {"region": {"id": "north", "description": "cold"}}, expect=201).json["region"]
    assert made["links"]["self"] == "http://localhost/v3/regions/north"
    cloud.call("POST", "/regions", {"region": {"id": "north"}}, expect=409)
    cloud.call("PUT", "/regions/far-north", {"region": {"parent_region_id": "north"}}, expect=201)
    cloud.call("PUT", "/regions/other", {"region": {"id": "another"}}, expect=400)
    assert [r["id"] for r in cloud.call("GET", "/regions?parent_region_id=north").json["regions"]] == ["far-north"]
    cloud.call("PATCH", "/regions/north", {"region": {"parent_region_id": "far-north"}}, expect=403)
    cloud.call("POST", "/regions", {"region": {"parent_region_id": "nowhere"}}, expect=404)
    cloud.call("DELETE", "/regions/north", expect=403)
    cloud.call("DELETE", "/regions/far-north", expect=204)
    changed = cloud.call("PATCH", "/regions/north", {"region": {"description": None}}, expect=200).json["region"]
    assert changed["description"] == ""
    cloud.call("DELETE", "/regions/north", expect=204)


def test_services_and_endpoints(cloud: Any) -> None:
    id = service(cloud, description="d", flavour="sweet")
    assert cloud.call("GET", f"/services/{id}").json["service"]["flavour"] == "sweet"
    one = endpoint(cloud, id, region="made-by-name")
    assert cloud.call("GET", f"/endpoints/{one}").json["endpoint"]["region_id"] == "made-by-name"
    cloud.call("GET", "/regions/made-by-name", expect=200)
    wrong = {"service_id": id, "interface": "public", "url": "http://x"}
    for changes in ({"region_id": "nowhere"}, {"service_id": "nothing"}, {"interface": "secret"}, {"url": "no-scheme"},
                    {"url": "http://x/%(secret)s"}, {"enabled": "true"}):  # fmt: skip
        cloud.call("POST", "/endpoints", {"endpoint": {**wrong, **changes}}, expect=400)
    changed = cloud.call("PATCH", f"/endpoints/{one}", {"endpoint": {"url": "https://y"}}, expect=200).json["endpoint"]
    assert changed["url"] == "https://y"
    found = cloud.call("GET", f"/endpoints?service_id={id}&interface=public").json["endpoints"]
    assert [e["id"] for e in found] == [one]
    cloud.call("DELETE", f"/services/{id}", expect=204)
    cloud.call("GET", f"/endpoints/{one}", expect=404)


def test_tokens_carry_what_is_enabled_now(cloud: Any) -> None:
    name, user, project = cloud.member()
    token = cloud.login(name, project=project)
    id = service(cloud)
    one = endpoint(cloud, id, "http://fixed")
    assert urls(cloud, token, id) == ["http://fixed"]
    cloud.call("PATCH", f"/endpoints/{one}", {"endpoint": {"enabled": False}}, expect=200)
    assert urls(cloud, token, id) == []
    cloud.call("PATCH", f"/endpoints/{one}", {"endpoint": {"enabled": True}}, expect=200)
    cloud.call("PATCH", f"/services/{id}", {"service": {"enabled": False}}, expect=200)
    assert id not in {s["id"] for s in cloud.body(token)["catalog"]}
    cloud.call("DELETE", f"/services/{id}", expect=204)


@pytest.mark.parametrize("blank", ["%(project_id)s", "%(tenant_id)s", "$(project_id)s"])
def test_urls_are_filled_in(cloud: Any, blank: str) -> None:
    name, user, project = cloud.member()
    id = service(cloud)
    endpoint(cloud, id, f"http://x/{blank}/%(user_id)s")
    token = cloud.login(name, project=project)
    assert urls(cloud, token, id) == [f"http://x/{project}/{user}"]
    assert f"http://x/{project}/{user}" in cloud.call("GET", "/auth/catalog", token=token).text
    cloud.grant("reader", "system", user)
    assert urls(cloud, cloud.login(name, system=True), id) == []
    cloud.call("DELETE", f"/services/{id}", expect=204)


def test_endpoint_filters(cloud: Any) -> None:
    name, user, project = cloud.member()
    id = service(cloud)
    chosen, other = endpoint(cloud, id, "http://chosen"), endpoint(cloud, id, "http://other", interface="internal")
    token = cloud.login(name, project=project)
    path = f"/OS-EP-FILTER/projects/{project}/endpoints/{chosen}"
    cloud.call("GET", path, expect=404)
    cloud.call("PUT", path, expect=204)
    cloud.call("HEAD", path, expect=204)
    assert urls(cloud, token, id) == ["http://chosen"]
    assert len(cloud.body(token)["catalog"]) == 1
    listed = cloud.call("GET", f"/OS-EP-FILTER/projects/{project}/endpoints").json["endpoints"]
    assert [e["id"] for e in listed] == [chosen]
    projects = cloud.call("GET", f"/OS-EP-FILTER/endpoints/{chosen}/projects").json["projects"]
    assert [p["id"] for p in projects] == [project]
    filters = {"service_id": id, "interface": "internal"}
    body = {"endpoint_group": {"name": "g", "filters": filters}}
    group = cloud.call("POST", "/OS-EP-FILTER/endpoint_groups", body, expect=201).json["endpoint_group"]["id"]
    base = f"/OS-EP-FILTER/endpoint_groups/{group}"
    assert [e["id"] for e in cloud.call("GET", f"{base}/endpoints").json["endpoints"]] == [other]
    cloud.call("PUT", f"{base}/projects/{project}", expect=204)
    assert set(urls(cloud, token, id)) == {"http://chosen", "http://other"}
    assert [p["id"] for p in cloud.call("GET", f"{base}/projects").json["projects"]] == [project]
    groups = cloud.call("GET", f"/OS-EP-FILTER/projects/{project}/endpoint_groups").json["endpoint_groups"]
    assert [g["id"] for g in groups] == [group]
    cloud.call("DELETE", f"{base}/projects/{project}", expect=204)
    cloud.call("GET", f"{base}/projects/{project}", expect=404)
    cloud.call("DELETE", base, expect=204)
    cloud.call("DELETE", path, expect=204)
    assert len(cloud.body(token)["catalog"]) > 1
    without = {"endpoint_group": {"name": "everything", "filters": {}}}
    whole = cloud.call("POST", "/OS-EP-FILTER/endpoint_groups", without, expect=201).json["endpoint_group"]["id"]
    everything = cloud.call("GET", f"/OS-EP-FILTER/endpoint_groups/{whole}/endpoints").json["endpoints"]
    assert {e["id"] for e in everything} == {e["id"] for e in cloud.call("GET", "/endpoints").json["endpoints"]}


def test_policies_of_endpoints(cloud: Any) -> None:
    """The endpoint's own policy counts, else its service's in its region or one above, else its service's."""

    def make(path: str, noun: str, **values: Any) -> str:
        return str(cloud.call("POST", path, {noun: values}, expect=201).json[noun]["id"])

    above = make("/regions", "region")
    region = make("/regions", "region", parent_region_id=above)
    service = make("/services", "service", type="t")
    here = make("/endpoints", "endpoint", service_id=service, interface="public", url="http://x", region_id=region)
    elsewhere = make("/endpoints", "endpoint", service_id=service, interface="public", url="http://y")
    policies = {name: make("/policies", "policy", type="t", blob=name) for name in ("own", "near", "far", "wide")}
    places = {
        "wide": f"services/{service}",
        "far": f"services/{service}/regions/{above}",
        "near": f"services/{service}/regions/{region}",
        "own": f"endpoints/{here}",
    }

    def path(name: str) -> str:
        return f"/policies/{policies[name]}/OS-ENDPOINT-POLICY/{places[name]}"

    effective = f"/endpoints/{here}/OS-ENDPOINT-POLICY/policy"
    cloud.call("GET", effective, expect=404)
    for name in places:
        cloud.call("GET", path(name), expect=404)
        cloud.call("PUT", path(name), expect=204)
        cloud.call("HEAD", path(name), expect=204)
        assert cloud.call("GET", effective, expect=200).json["policy"]["blob"] == name
        listed = cloud.call("GET", f"/policies/{policies[name]}/OS-ENDPOINT-POLICY/endpoints", expect=200).json
        assert {e["id"] for e in listed["endpoints"]} == ({here, elsewhere} if name == "wide" else {here})
    listed = cloud.call("GET", f"/policies/{policies['wide']}/OS-ENDPOINT-POLICY/endpoints", expect=200).json
    assert [e["id"] for e in listed["endpoints"]] == [elsewhere]
    cloud.call(
        "PUT", f"/policies/{policies['far']}/OS-ENDPOINT-POLICY/{places['own']}", expect=204
    )  # instead of its own
    cloud.call("GET", path("own"), expect=404)
    assert cloud.call("GET", effective, expect=200).json["policy"]["blob"] == "far"
    cloud.call("DELETE", f"/policies/{policies['far']}/OS-ENDPOINT-POLICY/{places['own']}", expect=204)
    cloud.call("DELETE", f"/policies/{policies['near']}", expect=204)  # takes its associations with it
    assert cloud.call("GET", effective, expect=200).json["policy"]["blob"] == "far"
    cloud.call("DELETE", path("far"), expect=204)
    assert cloud.call("GET", effective, expect=200).json["policy"]["blob"] == "wide"
    cloud.call("PUT", path("own"), expect=204)
    for wrong in (
        f"/policies/nothing/OS-ENDPOINT-POLICY/{places['own']}",
        f"/policies/{policies['own']}/OS-ENDPOINT-POLICY/endpoints/nothing",
        f"/policies/{policies['own']}/OS-ENDPOINT-POLICY/services/nothing",
        f"/policies/{policies['own']}/OS-ENDPOINT-POLICY/services/{service}/regions/nothing",
    ):
        cloud.call("PUT", wrong, expect=404)
    cloud.call("DELETE", f"/services/{service}", expect=204)
    cloud.call("DELETE", f"/regions/{region}", expect=204)
    with cloud.svc.db.read() as conn:
        ids = {here, elsewhere, service, region}
        left = [row for row in conn.execute(sa.select(t.policy_associations)) if ids & set(row)]
    assert not left
