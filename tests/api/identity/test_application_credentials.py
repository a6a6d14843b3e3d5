# SPDX-License-Identifier: Apache-2.0
"""Application credentials: what a program may do with one, and what it never may."""

from __future__ import annotations

import datetime
from typing import Any

import pytest


def make(cloud: Any, token: str, user: str, expect: int = 201, **values: Any) -> dict[str, Any]:
    body = {"application_credential": {"name": f"credential-{len(values)}-{id(values)}", **values}}
    reply = cloud.call("POST", f"/users/{user}/application_credentials", body, token=token, expect=expect)
    return dict(reply.json.get("application_credential", {}))


def use(cloud: Any, credential: dict[str, Any], expect: int = 201, **changes: Any) -> Any:
    part = {"id": credential["id"], "secret": credential["secret"], **changes}
    identity = {"methods": ["application_credential"], "application_credential": part}
    return cloud.authenticate(identity, expect=expect)


def test_one_logs_in_with_some_of_the_roles(cloud: Any) -> None:
    name, user, project = cloud.member()
    token = cloud.login(name, project=project)
    made = make(cloud, token, user, roles=[{"name": "reader"}], description="ci")
    assert [r["name"] for r in made["roles"]] == ["reader"]
    assert (made["project_id"], made["unrestricted"], made["expires_at"]) == (project, False, None)
    path = f"/users/{user}/application_credentials"
    shown = cloud.call("GET", f"{path}/{made['id']}", token=token).json["application_credential"]
    assert "secret" not in shown and shown == {k: v for k, v in made.items() if k != "secret"}
    reply = use(cloud, made)
    body = reply.json["token"]
    assert [r["name"] for r in body["roles"]] == ["reader"] and body["project"]["id"] == project
    assert body["application_credential"] == {"id": made["id"], "name": made["name"], "restricted": True}
    assert body["methods"] == ["application_credential"]
    by_name = {"name": made["name"], "secret": made["secret"], "user": {"id": user}}
    cloud.authenticate({"methods": ["application_credential"], "application_credential": by_name}, expect=201)
    use(cloud, made, secret="wrong", expect=401)
    use(cloud, made, id="nothing", expect=401)
    found = cloud.call("GET", f"{path}?name={made['name']}", token=token).json["application_credentials"]
    assert [c["id"] for c in found] == [made["id"]]
    fresh = reply.headers["X-Subject-Token"]
    cloud.call("DELETE", f"{path}/{made['id']}", token=token, expect=204)
    assert not cloud.valid(fresh)
    use(cloud, made, expect=401)


def test_its_scope_is_fixed(cloud: Any) -> None:
    name, user, project = cloud.member()
    made = make(cloud, cloud.login(name, project=project), user)
    part = {"id": made["id"], "secret": made["secret"]}
    identity = {"methods": ["application_credential"], "application_credential": part}
    cloud.authenticate(identity, {"project": {"id": project}}, expect=201)
    other = cloud.project()
    cloud.grant("member", f"projects/{other}", user)
    cloud.authenticate(identity, {"project": {"id": other}}, expect=401)
    token = use(cloud, made).headers["X-Subject-Token"]
    cloud.rescope(token, {"project": {"id": project}}, expect=403)


def test_roles_beyond_ones_own_are_refused(cloud: Any) -> None:
    name, user, project = cloud.member()
    token = cloud.login(name, project=project)
    make(cloud, token, user, roles=[{"name": "admin"}], expect=403)
    make(cloud, token, user, roles=[{"id": cloud.role_id("admin")}], expect=403)
    make(cloud, token, cloud.user(), expect=403)
    make(cloud, cloud.login(name), user, expect=400)


def test_a_lost_role_is_lost_to_it_too(cloud: Any) -> None:
    name, user, project = cloud.member()
    extra = cloud.role()
    grant = cloud.grant(extra, f"projects/{project}", user)
    made = make(cloud, cloud.login(name, project=project), user)
    token = use(cloud, made).headers["X-Subject-Token"]
    cloud.call("DELETE", grant, expect=204)
    assert not cloud.valid(token)
    use(cloud, made, expect=401)


def test_they_expire(cloud: Any) -> None:
    name, user, project = cloud.member()
    token = cloud.login(name, project=project)
    make(cloud, token, user, expires_at="2001-01-01T00:00:00Z", expect=400)
    make(cloud, token, user, expires_at="soon", expect=400)
    later = datetime.datetime.now(datetime.UTC).replace(tzinfo=None) + datetime.timedelta(hours=2)
    made = make(cloud, token, user, expires_at=later.isoformat())
    assert made["expires_at"] == later.strftime("%Y-%m-%dT%H:%M:%S.%f")
    use(cloud, made)


def test_names_are_unique_per_user(cloud: Any) -> None:
    name, user, project = cloud.member()
    token = cloud.login(name, project=project)
    make(cloud, token, user, name="one")
    make(cloud, token, user, name="one", expect=409)


def test_access_rules(cloud: Any) -> None:
    name, user, project = cloud.member()
    token = cloud.login(name, project=project)
    rule = {"service": "compute", "method": "GET", "path": "/v2.1/servers"}
    made = make(cloud, token, user, access_rules=[rule])
    [kept] = made["access_rules"]
    assert {k: kept[k] for k in rule} == rule
    path = f"/users/{user}/access_rules"
    assert [r["id"] for r in cloud.call("GET", path, token=token).json["access_rules"]] == [kept["id"]]
    assert cloud.call("GET", f"{path}/{kept['id']}", token=token).json["access_rule"]["path"] == rule["path"]
    again = make(cloud, token, user, name="again", access_rules=[{"id": kept["id"]}])
    assert [r["id"] for r in again["access_rules"]] == [kept["id"]]
    same = make(cloud, token, user, name="same", access_rules=[rule])
    assert [r["id"] for r in same["access_rules"]] == [kept["id"]]
    body = use(cloud, made).json["token"]
    assert body["application_credential"]["access_rules"] == [{"id": kept["id"], **rule}]
    cloud.call("DELETE", f"{path}/{kept['id']}", token=token, expect=403)
    for each in (made, again, same):
        cloud.call("DELETE", f"/users/{user}/application_credentials/{each['id']}", token=token, expect=204)
    cloud.call("DELETE", f"{path}/{kept['id']}", token=token, expect=204)
    make(cloud, token, user, name="bad", access_rules=[{"service": "compute"}], expect=400)
    make(cloud, token, user, name="bad", access_rules=[{**rule, "method": "STEAL"}], expect=400)
    stranger, other, elsewhere = cloud.member()
    theirs = cloud.login(stranger, project=elsewhere)
    make(cloud, theirs, other, access_rules=[{"id": kept["id"]}], expect=404)


@pytest.mark.parametrize("noun", ["application_credentials", "access_rules"])
def test_strangers_see_none(cloud: Any, noun: str) -> None:
    name, user, project = cloud.member()
    cloud.call("GET", f"/{'users'}/{cloud.user()}/{noun}", token=cloud.login(name, project=project), expect=403)


def test_access_rules_bind_calls_to_this_service_too(cloud: Any) -> None:
    name, user, project = cloud.member()
    token = cloud.login(name, project=project)
    rule = {"service": "identity", "method": "GET", "path": "/v3/auth/projects"}
    bound = use(cloud, make(cloud, token, user, access_rules=[rule])).headers["X-Subject-Token"]
    cloud.call("GET", "/auth/projects", token=bound, expect=200)
    cloud.call("GET", "//identity/v3/auth/projects", token=bound, expect=200)
    reply = cloud.call("GET", "/auth/domains", token=bound, expect=403)
    assert "access rules" in reply.json["error"]["message"]
