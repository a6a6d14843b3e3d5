# SPDX-License-Identifier: Apache-2.0
"""Role assignments of every kind, and what follows from them."""

from __future__ import annotations

from typing import Any

import pytest

from aerie_common.db import count_queries


def effective(cloud: Any, query: str) -> list[dict[str, Any]]:
    path = f"/role_assignments?effective&include_names&{query}"
    return list(cloud.call("GET", path, expect=200).json["role_assignments"])


def held(cloud: Any, name: str, project: str) -> set[str]:
    """Names of the roles in a fresh token; empty when there is none to be had."""
    reply = cloud.authenticate(cloud.password(name, "pw"), {"project": {"id": project}})
    return {r["name"] for r in reply.json["token"]["roles"]} if reply.status_int == 201 else set()


@pytest.mark.parametrize("where", ["projects", "domains", "system", "global"])
@pytest.mark.parametrize("actor", ["user", "group"])
def test_grants_are_made_checked_listed_and_taken(cloud: Any, where: str, actor: str) -> None:
    target = {"projects": lambda: f"projects/{cloud.project()}", "domains": lambda: f"domains/{cloud.domain()}"}
    place = target[where]() if where in target else where
    who = {"user": cloud.user()} if actor == "user" else {"group": cloud.group()}
    role = cloud.role_id("reader")
    path = cloud.grant(role, place, **who)
    cloud.call("PUT", path, expect=204)
    cloud.call("GET", path, expect=204)
    cloud.call("HEAD", path, expect=204)
    listed = cloud.call("GET", path.rsplit("/", 1)[0], expect=200).json["roles"]
    assert [r["id"] for r in listed] == [role]
    [line] = cloud.call("GET", f"/role_assignments?{actor}.id={next(iter(who.values()))}").json["role_assignments"]
    assert line["links"]["assignment"] == f"http://localhost/v3{path}"
    cloud.call("DELETE", path, expect=204)
    for method in ("GET", "HEAD", "DELETE"):
        cloud.call(method, path, expect=404)
    cloud.call("PUT", path.replace(role, "nothing"), expect=404)


def test_admin_manager_member_reader(cloud: Any) -> None:
    project = cloud.project()
    chain = ["admin", "manager", "member", "reader"]
    for i, role in enumerate(chain):
        name = f"only-{role}"
        cloud.grant(role, f"projects/{project}", cloud.user(name))
        assert held(cloud, name, project) == set(chain[i:])
    cloud.grant("service", f"projects/{project}", cloud.user("only-service"))
    assert held(cloud, "only-service", project) == {"service"}


def test_a_global_grant_is_effective_in_every_project_existing_and_future(cloud: Any) -> None:
    before, elsewhere = cloud.project(), cloud.project(domain_id=cloud.domain())
    user = cloud.user("everywhere")
    path = cloud.grant("member", "global", user)
    after = cloud.project()
    for project in (before, elsewhere, after):
        assert held(cloud, "everywhere", project) == {"member", "reader"}
    token = cloud.login("everywhere")
    found = {p["id"] for p in cloud.call("GET", "/auth/projects", token=token).json["projects"]}
    assert {before, elsewhere, after} <= found
    lines = effective(cloud, f"user.id={user}&scope.project.id={after}")
    assert {line["role"]["name"] for line in lines} == {"member", "reader"}
    assert {line["links"]["assignment"] for line in lines} == {f"http://localhost/v3{path}"}
    assert after in {line["scope"]["project"]["id"] for line in effective(cloud, f"user.id={user}")}
    [stored] = cloud.call("GET", f"/role_assignments?user.id={user}").json["role_assignments"]
    assert stored["scope"] == {"global": {"all": True}}
    assert user in str(cloud.call("GET", "/role_assignments?scope.global=all").json)
    token = cloud.login("everywhere", project=after)
    cloud.call("DELETE", path, expect=204)
    assert not cloud.valid(token)
    assert held(cloud, "everywhere", before) == set()


def test_inherited_grants(cloud: Any) -> None:
    domain = cloud.domain()
    top = cloud.project(domain_id=domain)
    low = cloud.project(parent_id=top)
    user = cloud.user("heir")
    group = cloud.group(user)
    path = cloud.grant("reader", f"domains/{domain}", group=group, inherited=True)
    assert held(cloud, "heir", top) == held(cloud, "heir", low) == {"reader"}
    cloud.authenticate(cloud.password("heir", "pw"), {"domain": {"id": domain}}, expect=401)
    cloud.grant("member", f"projects/{top}", user, inherited=True)
    assert held(cloud, "heir", top) == {"reader"}
    assert held(cloud, "heir", low) == {"reader", "member"}
    token = cloud.login("heir")
    assert {p["id"] for p in cloud.call("GET", "/auth/projects", token=token).json["projects"]} == {top, low}
    lines = effective(cloud, f"user.id={user}&scope.project.id={low}")
    by_group = [line for line in lines if "membership" in line["links"]]
    assert [line["links"]["assignment"] for line in by_group] == [f"http://localhost/v3{path}"]
    assert by_group[0]["links"]["membership"] == f"http://localhost/v3/groups/{group}/users/{user}"
    stored = cloud.call("GET", f"/role_assignments?group.id={group}").json["role_assignments"]
    assert stored[0]["scope"] == {"domain": {"id": domain}, "OS-INHERIT:inherited_to": "projects"}
    only = cloud.call("GET", f"/role_assignments?user.id={user}&scope.OS-INHERIT:inherited_to=projects").json
    assert len(only["role_assignments"]) == 1
    cloud.call("DELETE", path, expect=204)
    assert held(cloud, "heir", top) == set()


def test_names_and_sources(cloud: Any) -> None:
    """The list says which grant, which group and which implied role each line came from."""
    name, user, project = cloud.member("admin")
    lines = effective(cloud, f"user.id={user}&scope.project.id={project}")
    assert {line["role"]["name"] for line in lines} == {"admin", "manager", "member", "reader"}
    line = next(line for line in lines if line["role"]["name"] == "reader")
    assert line["user"] == {"id": user, "name": name, "domain": {"id": "default", "name": "Default"}}
    assert line["scope"]["project"]["domain"] == {"id": "default", "name": "Default"}
    admin, reader = cloud.role_id("admin"), cloud.role_id("reader")
    assert line["links"]["prior_role"] == f"http://localhost/v3/prior_roles/{admin}/implies/{reader}"
    only = effective(cloud, f"user.id={user}&role.id={reader}")
    assert [line["role"]["id"] for line in only] == [reader]


def test_subtree(cloud: Any) -> None:
    top = cloud.project()
    low = cloud.project(parent_id=top)
    user = cloud.user()
    cloud.grant("member", f"projects/{low}", user)
    query = f"/role_assignments?scope.project.id={top}&include_subtree"
    assert [a["user"]["id"] for a in cloud.call("GET", query).json["role_assignments"]] == [user]
    query = f"/role_assignments?scope.project.id={top}"
    assert cloud.call("GET", query).json["role_assignments"] == []


@pytest.mark.parametrize(
    "query",
    [
        "effective&group.id=x",
        "user.id=x&group.id=y",
        "scope.project.id=x&scope.domain.id=y",
        "include_subtree&scope.domain.id=x",
    ],
)
def test_contradictory_queries(cloud: Any, query: str) -> None:
    cloud.call("GET", f"/role_assignments?{query}", expect=400)


def test_statements_do_not_grow_with_the_list(cloud: Any) -> None:
    def cost() -> int:
        with count_queries(cloud.svc.db) as counter:
            effective(cloud, "")
        return counter.count

    small = cost()
    for _ in range(5):
        name, user, project = cloud.member()
        cloud.grant("reader", f"projects/{project}", group=cloud.group(user))
    assert cost() <= max(small, 12)


def test_roles_of_domains_stay_within_and_never_show(cloud: Any) -> None:
    domain = cloud.domain()
    own = cloud.role("same-name", domain_id=domain)
    cloud.role("same-name")
    cloud.role("same-name", domain_id=cloud.domain())
    cloud.call("POST", "/roles", {"role": {"name": "same-name"}}, expect=409)
    inside, outside = cloud.project(domain_id=domain), cloud.project()
    user = cloud.user("local")
    member = cloud.role_id("member")
    cloud.call("PUT", f"/projects/{outside}/users/{user}/roles/{own}", expect=403)
    cloud.call("PUT", f"/projects/{inside}/users/{user}/roles/{own}", expect=204)
    assert held(cloud, "local", inside) == set()
    cloud.call("PUT", f"/roles/{own}/implies/{member}", expect=201)
    assert held(cloud, "local", inside) == {"member", "reader"}
    assert own in {r["id"] for r in cloud.call("GET", f"/roles?domain_id={domain}").json["roles"]}
    assert own not in {r["id"] for r in cloud.call("GET", "/roles").json["roles"]}


def test_implied_roles(cloud: Any) -> None:
    one, two = cloud.role(), cloud.role()
    path = f"/roles/{one}/implies/{two}"
    made = cloud.call("PUT", path, expect=201).json["role_inference"]
    assert (made["prior_role"]["id"], made["implies"]["id"]) == (one, two)
    assert cloud.call("GET", path, expect=200).json["role_inference"] == made
    cloud.call("HEAD", path, expect=204)
    listed = cloud.call("GET", f"/roles/{one}/implies").json["role_inference"]["implies"]
    assert [r["id"] for r in listed] == [two]
    assert one in str(cloud.call("GET", "/role_inferences").json)
    cloud.call("PUT", f"/roles/{two}/implies/{one}", expect=403)
    cloud.call("PUT", f"/roles/{one}/implies/{one}", expect=403)
    cloud.call("PUT", f"/roles/{one}/implies/{cloud.role_id('admin')}", expect=403)
    cloud.call("DELETE", path, expect=204)
    cloud.call("GET", path, expect=404)
    cloud.call("DELETE", path, expect=404)
