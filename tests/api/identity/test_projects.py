# SPDX-License-Identifier: Apache-2.0
"""Projects and domains: the tree, tags, what cannot be done."""

from __future__ import annotations

from typing import Any

import pytest


def test_a_project_lives_and_goes(cloud: Any) -> None:
    sent = {"name": "lively", "domain_id": "default", "description": "d", "colour": "blue", "tags": ["b", "a"]}
    project = cloud.call("POST", "/projects", {"project": sent}, expect=201).json["project"]
    path = f"/projects/{project['id']}"
    assert project["links"]["self"] == f"http://localhost/v3{path}"
    assert (project["parent_id"], project["is_domain"], project["enabled"]) == ("default", False, True)
    assert (project["colour"], project["tags"]) == ("blue", ["a", "b"])
    assert cloud.call("GET", path, expect=200).json["project"] == project
    changes = {"description": None, "colour": None, "shape": "round", "name": "livelier"}
    changed = cloud.call("PATCH", path, {"project": changes}, expect=200).json["project"]
    assert (changed["name"], changed["description"], changed["shape"]) == ("livelier", "", "round")
    assert "colour" not in changed
    cloud.call("PATCH", path, {"project": {"domain_id": cloud.domain()}}, expect=400)
    cloud.call("DELETE", path, expect=204)
    cloud.call("GET", path, expect=404)


def test_names_are_unique_within_a_domain(cloud: Any) -> None:
    cloud.project("twice")
    again = {"project": {"name": "twice", "domain_id": "default"}}
    assert cloud.call("POST", "/projects", again, expect=409).json["error"]["title"] == "Conflict"
    cloud.project("twice", domain_id=cloud.domain())
    other = cloud.project("other")
    cloud.call("PATCH", f"/projects/{other}", {"project": {"name": "twice"}}, expect=409)
    cloud.project("TWICE")
    cloud.call("POST", "/domains", {"domain": {"name": "Default"}}, expect=409)


def test_the_tree(cloud: Any) -> None:
    top = cloud.project()
    middle = cloud.project(parent_id=top)
    low = cloud.project(parent_id=middle)
    shown = cloud.call("GET", f"/projects/{low}?parents_as_ids", expect=200).json["project"]
    assert shown["parents"] == {middle: {top: None}}
    shown = cloud.call("GET", f"/projects/{top}?subtree_as_ids").json["project"]
    assert shown["subtree"] == {middle: {low: None}}
    shown = cloud.call("GET", f"/projects/{top}?subtree_as_list").json["project"]
    assert [p["project"]["id"] for p in shown["subtree"]] == [middle, low]
    shown = cloud.call("GET", f"/projects/{low}?parents_as_list").json["project"]
    assert [p["project"]["id"] for p in shown["parents"]] == [middle, top]
    assert [p["id"] for p in cloud.call("GET", f"/projects?parent_id={middle}").json["projects"]] == [low]
    cloud.call("DELETE", f"/projects/{top}", expect=403)
    cloud.call("PATCH", f"/projects/{top}", {"project": {"enabled": False}}, expect=403)
    cloud.call("PATCH", f"/projects/{low}", {"project": {"enabled": False}}, expect=200)
    cloud.call("POST", "/projects", {"project": {"name": "below", "parent_id": low}}, expect=403)
    cloud.call("POST", "/projects", {"project": {"name": "below", "parent_id": "nothing"}}, expect=404)
    domain = cloud.domain()
    wrong = {"project": {"name": "below", "parent_id": top, "domain_id": domain}}
    cloud.call("POST", "/projects", wrong, expect=400)


def test_the_tree_has_a_depth(cloud: Any) -> None:
    project = cloud.project()
    for _ in range(4):
        project = cloud.project(parent_id=project)
    cloud.call("POST", "/projects", {"project": {"name": "deep", "parent_id": project}}, expect=403)


def test_tags(cloud: Any) -> None:
    project = cloud.project()
    path = f"/projects/{project}/tags"
    cloud.call("PUT", f"{path}/red", expect=201)
    cloud.call("PUT", f"{path}/red", expect=201)
    cloud.call("GET", f"{path}/red", expect=204)
    cloud.call("GET", f"{path}/blue", expect=404)
    assert cloud.call("PUT", path, {"tags": ["x", "y"]}, expect=200).json["tags"] == ["x", "y"]
    cloud.call("PUT", path, {"tags": ["a,b"]}, expect=400)
    cloud.call("PUT", path, {"tags": ["x", "x"]}, expect=400)
    cloud.call("DELETE", f"{path}/x", expect=204)
    cloud.call("DELETE", f"{path}/x", expect=404)
    assert cloud.call("GET", path).json["tags"] == ["y"]
    cloud.call("DELETE", path, expect=204)
    assert cloud.call("GET", path).json["tags"] == []


def test_tag_filters(cloud: Any) -> None:
    one, both, none = cloud.project(tags=["f1"]), cloud.project(tags=["f1", "f2"]), cloud.project(tags=["f3"])

    def found(query: str) -> set[str]:
        ids = {p["id"] for p in cloud.call("GET", f"/projects?{query}", expect=200).json["projects"]}
        return ids & {one, both, none}

    assert found("tags=f1") == {one, both}
    assert found("tags=f1,f2") == {both}
    assert found("tags-any=f2,f3") == {both, none}
    assert found("not-tags=f1,f2") == {one, none}
    assert found("not-tags-any=f1,f2") == {none}


def test_a_domain_lives_and_goes_with_all_in_it(cloud: Any) -> None:
    domain = cloud.domain("gone", description="soon")
    user, project = cloud.user("inside", domain_id=domain), cloud.project(domain_id=domain)
    child = cloud.project(parent_id=project)
    group, role = cloud.group(user, domain_id=domain), cloud.role(domain_id=domain)
    cloud.grant("member", f"projects/{project}", user)
    cloud.grant("member", f"domains/{domain}", group=group)
    assert cloud.call("DELETE", f"/domains/{domain}", expect=403)
    cloud.call("PATCH", f"/domains/{domain}", {"domain": {"enabled": False}}, expect=200)
    cloud.call("DELETE", f"/domains/{domain}", expect=204)
    for path in (f"/users/{user}", f"/projects/{project}", f"/projects/{child}", f"/groups/{group}", f"/roles/{role}"):
        cloud.call("GET", path, expect=404)
    grants = cloud.call("GET", "/role_assignments").json["role_assignments"]
    assert not any(domain in str(grant) or user in str(grant) or group in str(grant) for grant in grants)


def test_domains_and_projects_that_act_as_domains_are_one(cloud: Any) -> None:
    sent = {"project": {"name": "acting", "is_domain": True}}
    made = cloud.call("POST", "/projects", sent, expect=201).json["project"]
    assert (made["is_domain"], made["domain_id"], made["parent_id"]) == (True, None, None)
    assert cloud.call("GET", f"/domains/{made['id']}", expect=200).json["domain"]["name"] == "acting"
    assert made["id"] not in {p["id"] for p in cloud.call("GET", "/projects").json["projects"]}
    assert made["id"] in {p["id"] for p in cloud.call("GET", "/projects?is_domain=true").json["projects"]}
    cloud.call("GET", f"/domains/{cloud.project()}", expect=404)
    cloud.call("PATCH", "/domains/default", {"domain": {"enabled": True, "name": "Default"}}, expect=200)


def test_an_id_of_ones_own(cloud: Any) -> None:
    body = {"domain": {"name": "named", "explicit_domain_id": "ab-12"}}
    assert cloud.call("POST", "/domains", body, expect=201).json["domain"]["id"] == "ab-12"
    for bad in ("a_b", "a%b", "a/b", "AB", ""):
        body = {"domain": {"name": "bad", "explicit_domain_id": bad}}
        cloud.call("POST", "/domains", body, expect=400)


def test_the_default_domain_stays(cloud: Any) -> None:
    cloud.call("DELETE", "/domains/default", expect=403)


@pytest.mark.parametrize("noun, path", [("project", "/projects"), ("domain", "/domains"), ("role", "/roles")])
def test_immutable_things_stay_as_they_are(cloud: Any, noun: str, path: str) -> None:
    body = {noun: {"name": f"fixed-{noun}", "options": {"immutable": True}}}
    id = cloud.call("POST", path, body, expect=201).json[noun]["id"]
    cloud.call("PATCH", f"{path}/{id}", {noun: {"description": "x"}}, expect=403)
    cloud.call("DELETE", f"{path}/{id}", expect=403)
    cloud.call("PATCH", f"{path}/{id}", {noun: {"options": {"immutable": False}}}, expect=200)
    cloud.call("PATCH", f"{path}/{id}", {noun: {"description": "x"}}, expect=200)
