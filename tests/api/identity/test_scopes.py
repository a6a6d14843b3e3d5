# SPDX-License-Identifier: Apache-2.0
"""What a token's scope narrows: administrators of a domain, lists of a domain, what strangers learn of what exists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def domain(cloud: Any) -> str:
    return str(cloud.domain())


@pytest.fixture
def of_domain(cloud: Any, domain: str) -> Callable[[str], str]:
    """Tokens, scoped to the domain, of somebody who has a role on it."""

    def token(role: str) -> str:
        name, user, _ = cloud.member()
        cloud.grant(role, f"domains/{domain}", user)
        return str(cloud.login(name, domain=domain))

    return token


def ids(reply: Any, plural: str) -> set[str]:
    return {row["id"] for row in reply.json[plural]}


def test_an_administrator_by_a_token_of_a_domain_has_no_say_outside_of_domains(
    cloud: Any, domain: str, of_domain: Callable[[str], str]
) -> None:
    token, role = of_domain("admin"), cloud.role()
    service = cloud.call("POST", "/services", {"service": {"type": "t"}}, expect=201).json["service"]["id"]
    limit = {"service_id": service, "resource_name": "r", "default_limit": 1}
    for method, path, body in (
        ("POST", "/domains", {"domain": {"name": "another"}}),
        ("PATCH", f"/domains/{domain}", {"domain": {"description": "x"}}),
        ("DELETE", f"/domains/{domain}", None),
        ("POST", "/roles", {"role": {"name": "another"}}),
        ("POST", "/roles", {"role": {"name": "another", "domain_id": domain}}),
        ("PATCH", f"/roles/{role}", {"role": {"description": "x"}}),
        ("DELETE", f"/roles/{role}", None),
        ("GET", f"/roles?domain_id={domain}", None),
        ("PUT", f"/roles/{role}/implies/{cloud.role_id('member')}", None),
        ("POST", "/services", {"service": {"type": "t"}}),
        ("GET", f"/services/{service}", None),
        ("PATCH", f"/services/{service}", {"service": {"name": "x"}}),
        ("POST", "/regions", {"region": {"id": "another"}}),
        ("POST", "/registered_limits", {"registered_limits": [limit]}),
        ("GET", "/OS-FEDERATION/mappings", None),
        ("GET", "/policies", None),
        ("GET", "/OS-EP-FILTER/endpoint_groups", None),
        ("PUT", f"/domains/{domain}/config", {"config": {"ldap": {"url": "ldap://x"}}}),
        ("PUT", f"/system/users/{cloud.user()}/roles/{role}", None),
        ("PUT", f"/global/users/{cloud.user()}/roles/{role}", None),
    ):
        assert cloud.call(method, path, body, token=token).status_int == 403, (method, path)
    assert cloud.call("GET", f"/domains/{domain}", token=token, expect=200)
    assert cloud.call("GET", f"/roles/{role}", token=token, expect=200)
    cloud.call("POST", "/users", {"user": {"name": "made", "domain_id": domain}}, token=token, expect=201)


@pytest.mark.parametrize("role", ["admin", "manager", "reader"])
def test_lists_of_a_domain_hold_what_is_in_it(
    cloud: Any, domain: str, of_domain: Callable[[str], str], role: str
) -> None:
    token = of_domain(role)
    inside, outside = cloud.user(domain_id=domain), cloud.user()
    both, other = cloud.group(inside, outside, domain_id=domain), cloud.group(inside)
    assert ids(cloud.call("GET", "/domains", token=token), "domains") == {domain}
    assert ids(cloud.call("GET", "/users", token=token), "users") == {inside}
    assert ids(cloud.call("GET", "/groups", token=token), "groups") == {both}
    assert ids(cloud.call("GET", f"/groups/{both}/users", token=token), "users") == {inside}
    assert ids(cloud.call("GET", f"/users/{inside}/groups", token=token), "groups") == {both}
    assert ids(cloud.call("GET", f"/users/{inside}/groups"), "groups") == {both, other}


def test_members_of_a_domain_read_the_limits_of_all_that_is_in_it(
    cloud: Any, domain: str, of_domain: Callable[[str], str]
) -> None:
    service = cloud.call("POST", "/services", {"service": {"type": "t"}}, expect=201).json["service"]["id"]
    place = {"service_id": service, "resource_name": "cores"}
    registered = {"registered_limits": [{**place, "default_limit": 10}]}
    cloud.call("POST", "/registered_limits", registered, expect=201)
    made = {}
    projects = cloud.project(domain_id=domain), cloud.project()
    for owner in ({"domain_id": domain}, *({"project_id": project} for project in projects)):
        limits = {"limits": [{**place, **owner, "resource_limit": 5}]}
        made[next(iter(owner.values()))] = cloud.call("POST", "/limits", limits, expect=201).json["limits"][0]["id"]
    of_it, of_project, strange = made.values()
    token = of_domain("member")
    assert ids(cloud.call("GET", "/limits", token=token), "limits") == {of_it, of_project}
    assert ids(cloud.call("GET", f"/limits?domain_id={domain}", token=token), "limits") == {of_it}
    for limit, status in ((of_it, 200), (of_project, 200), (strange, 403)):
        cloud.call("GET", f"/limits/{limit}", token=token, expect=status)


def test_a_stranger_does_not_learn_what_exists(cloud: Any, domain: str, of_domain: Callable[[str], str]) -> None:
    name, user, project = cloud.member()
    tokens = cloud.login(name, project=project), of_domain("manager")
    there = {
        "users": cloud.user(),
        "groups": cloud.group(),
        "projects": cloud.project(),
        "credentials": cloud.call(
            "POST", "/credentials", {"credential": {"type": "cert", "blob": "x", "user_id": cloud.user()}}, expect=201
        ).json["credential"]["id"],
        "domains": cloud.domain(),
    }
    for token in tokens:
        for plural, id in there.items():
            for known in (id, "0" * 32):
                assert cloud.call("GET", f"/{plural}/{known}", token=token).status_int == 403, plural
    for plural in there:
        cloud.call("GET", f"/{plural}/{'0' * 32}", expect=404)
        cloud.call("GET", f"/{plural}/{there[plural]}", expect=200)


def test_managers_of_a_domain_read_the_roles_they_may_grant(
    cloud: Any, domain: str, of_domain: Callable[[str], str]
) -> None:
    manager, own, plain = of_domain("manager"), cloud.role(domain_id=domain), cloud.role()
    assert ids(cloud.call("GET", "/roles", token=manager, expect=200), "roles") >= {plain}
    for role, status in ((cloud.role_id("member"), 200), (cloud.role_id("admin"), 403), (plain, 403), (own, 403)):
        cloud.call("GET", f"/roles/{role}", token=manager, expect=status)
    name, _, project = cloud.member("manager")
    cloud.call("GET", "/roles", token=cloud.login(name, project=project), expect=403)
    cloud.call("GET", "/roles", token=of_domain("reader"), expect=403)


def test_readers_of_a_domain_look_at_its_grants_and_its_projects_trees(
    cloud: Any, domain: str, of_domain: Callable[[str], str]
) -> None:
    reader, user = of_domain("reader"), cloud.user(domain_id=domain)
    project = cloud.project(domain_id=domain)
    below = cloud.project(parent_id=project)
    cloud.grant("member", f"projects/{below}", user)
    tree = f"/role_assignments?scope.project.id={project}&include_subtree"
    lines = cloud.call("GET", tree, token=reader, expect=200).json["role_assignments"]
    assert [line["scope"]["project"]["id"] for line in lines] == [below]
    cloud.call("GET", tree.replace(project, cloud.project()), token=reader, expect=403)
    grant = f"/projects/{below}/users/{user}/roles"
    cloud.call("HEAD", f"{grant}/{cloud.role_id('member')}", token=reader, expect=204)
    cloud.call("HEAD", f"{grant}/{cloud.role(domain_id=domain)}", token=reader, expect=404)
    cloud.call("HEAD", f"{grant}/{cloud.role(domain_id=cloud.domain())}", token=reader, expect=403)


def test_everybody_reads_what_passwords_must_look_like(cloud: Any, domain: str) -> None:
    name, _, project = cloud.member()
    token = cloud.login(name, project=project)
    path = "/domains/default/config/security_compliance"
    shown = cloud.call("GET", path, token=token, expect=200).json["config"]
    assert shown == {"security_compliance": {"password_regex": None, "password_regex_description": ""}}
    one = cloud.call("GET", f"{path}/password_regex", token=token, expect=200).json["config"]
    assert one == {"password_regex": None}
    cloud.call("GET", f"{path}/lockout_failure_attempts", token=token, expect=403)
    cloud.call("GET", path.replace("default", domain), token=token, expect=403)
    cloud.call("GET", path, token=None, expect=401)


def test_access_rules_of_others_are_the_systems_business(cloud: Any) -> None:
    user = cloud.user()
    path = f"/users/{user}/access_rules"
    cloud.call("GET", path, expect=403)
    cloud.call("GET", path, token=cloud.login("admin", "secret", system=True), expect=200)
