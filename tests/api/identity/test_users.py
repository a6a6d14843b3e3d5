# SPDX-License-Identifier: Apache-2.0
"""Users and groups, and what domain managers may do with them."""

from __future__ import annotations

from typing import Any


def test_a_user_lives_and_goes(cloud: Any) -> None:
    project = cloud.project()
    sent = {"name": "ann", "password": "pw", "default_project_id": project, "email": "ann@example.org"}
    user = cloud.call("POST", "/users", {"user": sent}, expect=201).json["user"]
    assert (user["domain_id"], user["enabled"], user["default_project_id"]) == ("default", True, project)
    assert user["email"] == "ann@example.org" and user["options"] == {}
    path = f"/users/{user['id']}"
    assert cloud.call("GET", path).json["user"] == user
    changes = {"name": "anna", "email": None, "options": {"lock_password": True}}
    changed = cloud.call("PATCH", path, {"user": changes}, expect=200).json["user"]
    assert (changed["name"], changed["options"]) == ("anna", {"lock_password": True})
    assert "email" not in changed
    assert cloud.call("PATCH", path, {"user": {"options": {"lock_password": None}}}).json["user"]["options"] == {}
    cloud.call("POST", "/users", {"user": {"name": "anna"}}, expect=409)
    cloud.call("POST", "/users", {"user": {"name": "x", "domain_id": "nothing"}}, expect=404)
    cloud.call("POST", "/users", {"user": {"name": "x", "options": {"magic": True}}}, expect=400)
    cloud.call("PATCH", path, {"user": {"domain_id": cloud.domain()}}, expect=400)
    cloud.call("DELETE", f"/projects/{project}", expect=204)
    assert "default_project_id" not in cloud.call("GET", path).json["user"]
    cloud.call("DELETE", path, expect=204)
    cloud.call("DELETE", path, expect=404)


def test_a_user_without_password_cannot_log_in(cloud: Any) -> None:
    cloud.call("POST", "/users", {"user": {"name": "mute"}}, expect=201)
    cloud.authenticate(cloud.password("mute", ""), expect=401)
    cloud.authenticate(cloud.password("mute", "None"), expect=401)


def test_names_are_told_apart_exactly(cloud: Any) -> None:
    cloud.user("Case")
    cloud.user("case")
    assert [u["name"] for u in cloud.call("GET", "/users?name=case").json["users"]] == ["case"]
    cloud.login("Case")
    cloud.authenticate(cloud.password("CASE", "pw"), expect=401)


def test_groups(cloud: Any) -> None:
    user = cloud.user()
    group = cloud.group(user, description="d")
    path = f"/groups/{group}"
    assert [u["id"] for u in cloud.call("GET", f"{path}/users").json["users"]] == [user]
    assert [g["id"] for g in cloud.call("GET", f"/users/{user}/groups").json["groups"]] == [group]
    cloud.call("HEAD", f"{path}/users/{user}", expect=204)
    other = cloud.user()
    cloud.call("HEAD", f"{path}/users/{other}", expect=404)
    cloud.call("DELETE", f"{path}/users/{other}", expect=404)
    cloud.call("PUT", f"{path}/users/nobody", expect=404)
    assert cloud.call("PATCH", path, {"group": {"name": "renamed"}}).json["group"]["name"] == "renamed"
    cloud.call("POST", "/groups", {"group": {"name": "renamed"}}, expect=409)
    cloud.call("DELETE", f"{path}/users/{user}", expect=204)
    cloud.call("DELETE", path, expect=204)
    cloud.call("GET", path, expect=404)


def test_a_domain_manager_manages_that_domain_only(cloud: Any) -> None:
    domain, other = cloud.domain(), cloud.domain()
    manager = cloud.user("manager", domain_id=domain)
    cloud.grant("manager", f"domains/{domain}", manager)
    token = cloud.login("manager", domain=domain, user_domain=domain)
    made = cloud.call("POST", "/users", {"user": {"name": "new"}}, token=token, expect=201).json["user"]
    assert made["domain_id"] == domain
    project = cloud.call("POST", "/projects", {"project": {"name": "new"}}, token=token, expect=201).json["project"]
    assert project["domain_id"] == domain
    group = cloud.call("POST", "/groups", {"group": {"name": "new"}}, token=token, expect=201).json["group"]
    cloud.call("PUT", f"/groups/{group['id']}/users/{made['id']}", token=token, expect=204)
    for name, status in (("member", 204), ("manager", 204), ("admin", 403)):
        path = f"/projects/{project['id']}/users/{made['id']}/roles/{cloud.role_id(name)}"
        cloud.call("PUT", path, token=token, expect=status)
    strange, elsewhere = cloud.user(domain_id=other), cloud.project(domain_id=other)
    member = cloud.role_id("member")
    cloud.call("PUT", f"/projects/{project['id']}/users/{strange}/roles/{member}", token=token, expect=403)
    cloud.call("PUT", f"/projects/{elsewhere}/users/{made['id']}/roles/{member}", token=token, expect=403)
    cloud.call("PUT", f"/groups/{group['id']}/users/{strange}", token=token, expect=403)
    cloud.call("POST", "/users", {"user": {"name": "x", "domain_id": other}}, token=token, expect=403)
    cloud.call("PATCH", f"/users/{strange}", {"user": {"enabled": False}}, token=token, expect=403)
    cloud.call("DELETE", f"/projects/{elsewhere}", token=token, expect=403)
    cloud.call("PATCH", f"/domains/{domain}", {"domain": {"description": "mine"}}, token=token, expect=403)
    cloud.call("POST", "/domains", {"domain": {"name": "mine"}}, token=token, expect=403)
    for noun in ("users", "projects", "groups"):
        found = cloud.call("GET", f"/{noun}", token=token, expect=200).json[noun]
        assert {row["domain_id"] for row in found} == {domain}, noun
        found = cloud.call("GET", f"/{noun}?domain_id={other}", token=token, expect=200).json[noun]
        assert {row["domain_id"] for row in found} <= {domain}, noun
    assert [d["id"] for d in cloud.call("GET", "/domains", token=token).json["domains"]] == [domain]
    lines = cloud.call("GET", "/role_assignments", token=token, expect=200).json["role_assignments"]
    places = {line["scope"].get("project", line["scope"].get("domain"))["id"] for line in lines}
    assert places == {domain, project["id"]}


def test_readers_only_read(cloud: Any) -> None:
    """A system reader sees everything and changes nothing."""
    user = cloud.user("observer")
    cloud.grant("reader", "system", user)
    token = cloud.login("observer", system=True)
    for noun in ("users", "projects", "domains", "groups", "roles", "services", "endpoints", "role_assignments"):
        cloud.call("GET", f"/{noun}", token=token, expect=200)
    cloud.call("POST", "/users", {"user": {"name": "x"}}, token=token, expect=403)
    cloud.call("DELETE", f"/users/{cloud.user()}", token=token, expect=403)
    cloud.call("PATCH", f"/projects/{cloud.project()}", {"project": {"name": "x"}}, token=token, expect=403)
