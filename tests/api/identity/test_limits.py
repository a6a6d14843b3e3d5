# SPDX-License-Identifier: Apache-2.0
"""Unified limits, domain configuration, policy documents, consumers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def register(cloud: Any, **values: Any) -> dict[str, Any]:
    service = cloud.call("POST", "/services", {"service": {"type": "t"}}, expect=201).json["service"]["id"]
    body = {"service_id": service, "resource_name": "cores", "default_limit": 10, **values}
    made = cloud.call("POST", "/registered_limits", {"registered_limits": [body]}, expect=201).json
    return dict(made["registered_limits"][0])


def limit(cloud: Any, registered: dict[str, Any], amount: int, expect: int = 201, **owner: Any) -> dict[str, Any]:
    body = {k: registered[k] for k in ("service_id", "region_id", "resource_name")}
    sent = {"limits": [{**body, "resource_limit": amount, **owner}]}
    reply = cloud.call("POST", "/limits", sent, expect=expect)
    return dict(reply.json["limits"][0]) if expect == 201 else {}


def test_limits_override_registered_ones(cloud: Any) -> None:
    registered = register(cloud, region_id="RegionOne")
    path = f"/registered_limits/{registered['id']}"
    assert cloud.call("GET", path).json["registered_limit"] == registered
    project, domain = cloud.project(), cloud.domain()
    made = limit(cloud, registered, 20, project_id=project)
    assert (made["project_id"], made["domain_id"], made["resource_limit"]) == (project, None, 20)
    of_domain = limit(cloud, registered, 30, domain_id=domain)
    assert (of_domain["project_id"], of_domain["domain_id"]) == (None, domain)
    limit(cloud, registered, 20, project_id=project, expect=409)
    limit(cloud, registered, 20, project_id=domain, expect=400)
    limit(cloud, registered, 20, expect=400)
    limit(cloud, {**registered, "resource_name": "unheard"}, 1, project_id=cloud.project(), expect=403)
    cloud.call("DELETE", path, expect=403)
    cloud.call("PATCH", path, {"registered_limit": {"resource_name": "x"}}, expect=403)
    changed = cloud.call("PATCH", path, {"registered_limit": {"default_limit": 5}}, expect=200).json
    assert changed["registered_limit"]["default_limit"] == 5
    found = cloud.call("GET", f"/limits?service_id={registered['service_id']}").json["limits"]
    assert {x["id"] for x in found} == {made["id"], of_domain["id"]}
    assert [x["id"] for x in cloud.call("GET", f"/limits?domain_id={domain}").json["limits"]] == [of_domain["id"]]
    one = f"/limits/{made['id']}"
    assert cloud.call("PATCH", one, {"limit": {"resource_limit": 7}}).json["limit"]["resource_limit"] == 7
    cloud.call("DELETE", one, expect=204)
    cloud.call("GET", one, expect=404)


def test_all_or_none(cloud: Any) -> None:
    registered = register(cloud)
    fine = {"service_id": registered["service_id"], "resource_name": "ram", "default_limit": 1}
    bad = {**fine, "resource_name": "disk", "service_id": "nothing"}
    cloud.call("POST", "/registered_limits", {"registered_limits": [fine, bad]}, expect=400)
    names = {x["resource_name"] for x in cloud.call("GET", "/registered_limits").json["registered_limits"]}
    assert "ram" not in names
    cloud.call("POST", "/registered_limits", {"registered_limits": [fine, fine]}, expect=409)


def test_users_see_the_limits_of_their_project(cloud: Any) -> None:
    registered = register(cloud)
    name, user, project = cloud.member("reader")
    own = limit(cloud, registered, 5, project_id=project)
    other = limit(cloud, registered, 6, project_id=cloud.project())
    token = cloud.login(name, project=project)
    assert [x["id"] for x in cloud.call("GET", "/limits", token=token).json["limits"]] == [own["id"]]
    cloud.call("GET", f"/limits/{own['id']}", token=token, expect=200)
    cloud.call("GET", f"/limits/{other['id']}", token=token, expect=403)
    assert cloud.call("GET", "/registered_limits", token=token, expect=200).json["registered_limits"]
    cloud.call("PATCH", f"/limits/{own['id']}", {"limit": {"resource_limit": 99}}, token=token, expect=403)


def test_strict_two_level(fresh: Callable[..., Any]) -> None:
    cloud = fresh({("unified_limit", "enforcement_model"): "strict_two_level"})
    assert cloud.call("GET", "/limits/model").json["model"]["name"] == "strict_two_level"
    registered = register(cloud)
    domain = cloud.domain()
    project = cloud.project(domain_id=domain)
    limit(cloud, registered, 11, project_id=project, expect=403)
    made = limit(cloud, registered, 20, domain_id=domain)
    limit(cloud, registered, 15, project_id=project)
    cloud.call("PATCH", f"/limits/{made['id']}", {"limit": {"resource_limit": 12}}, expect=403)
    cloud.call("PATCH", f"/limits/{made['id']}", {"limit": {"resource_limit": 15}}, expect=200)
    limit(cloud, registered, 12, project_id=cloud.project(domain_id=domain))  # each by itself, not their sum
    limit(cloud, registered, -1, project_id=cloud.project(domain_id=domain), expect=403)
    second = cloud.project(parent_id=project)
    cloud.call("POST", "/projects", {"project": {"name": "third", "parent_id": second}}, expect=403)


def test_domain_configuration(cloud: Any) -> None:
    domain = cloud.domain()
    path = f"/domains/{domain}/config"
    cloud.call("GET", path, expect=404)
    config = {"ldap": {"url": "ldap://x", "password": "hidden"}, "identity": {"driver": "ldap"}}
    reply = cloud.call("PUT", path, {"config": config}, expect=201)
    assert "hidden" not in reply.text and reply.json["config"]["ldap"] == {"url": "ldap://x"}
    cloud.call("PUT", path, {"config": config}, expect=200)
    assert cloud.call("GET", f"{path}/ldap").json["config"] == {"ldap": {"url": "ldap://x"}}
    assert cloud.call("GET", f"{path}/ldap/url").json["config"] == {"url": "ldap://x"}
    cloud.call("GET", f"{path}/ldap/password", expect=404)
    changed = cloud.call("PATCH", f"{path}/ldap/url", {"config": {"url": "ldap://y"}}, expect=200).json["config"]
    assert changed["ldap"]["url"] == "ldap://y"
    changed = cloud.call("PATCH", path, {"config": {"ldap": {"user": "u"}}}, expect=200).json["config"]
    assert changed["ldap"] == {"url": "ldap://y", "user": "u"}
    for bad in ({"magic": {"x": 1}}, {"ldap": {"magic": 1}}, {"database": {"connection": "x"}}):
        cloud.call("PUT", path, {"config": bad}, expect=403)
    cloud.call("PUT", path, {"config": {}}, expect=400)
    cloud.call("PATCH", f"{path}/ldap", {"config": {"identity": {"driver": "sql"}}}, expect=400)
    cloud.call("DELETE", f"{path}/ldap/url", expect=204)
    cloud.call("GET", f"{path}/ldap/url", expect=404)
    cloud.call("DELETE", path, expect=204)
    cloud.call("DELETE", path, expect=404)
    assert cloud.call("GET", "/domains/config/ldap/use_tls/default").json["config"] == {"use_tls": False}
    assert set(cloud.call("GET", "/domains/config/default").json["config"]) == {"identity", "ldap"}


def test_policy_documents_and_consumers(cloud: Any) -> None:
    body = {"policy": {"type": "application/json", "blob": '{"x": "y"}'}}
    made = cloud.call("POST", "/policies", body, expect=201).json["policy"]
    changed = cloud.call("PATCH", f"/policies/{made['id']}", {"policy": {"type": "text/plain"}}).json["policy"]
    assert (changed["type"], changed["blob"]) == ("text/plain", '{"x": "y"}')
    cloud.call("DELETE", f"/policies/{made['id']}", expect=204)
    cloud.call("GET", f"/policies/{made['id']}", expect=404)
    path = "/OS-OAUTH1/consumers"
    consumer = cloud.call("POST", path, {"consumer": {"description": "d"}}, expect=201).json["consumer"]
    assert len(consumer["secret"]) == 32
    assert "secret" not in cloud.call("GET", f"{path}/{consumer['id']}").json["consumer"]
    cloud.call("PATCH", f"{path}/{consumer['id']}", {"consumer": {"secret": "x"}}, expect=400)
    cloud.call("DELETE", f"{path}/{consumer['id']}", expect=204)
    cloud.call("DELETE", f"{path}/{consumer['id']}", expect=404)
