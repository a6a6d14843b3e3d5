# SPDX-License-Identifier: Apache-2.0
"""Every operation, tried by every kind of caller. The outcome stands in matrix.txt."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aerie_common.context import admin_context
from aerie_common.operations import Operation
from aerie_common.testing.matrix import Attempt, check, lines
from aerie_identity.operations import TABLE

PERSONAS = ("nobody", "stranger", "reader", "member", "self", "domain_reader", "domain_manager", "domain_admin",
            "system_reader", "service", "admin")  # fmt: skip


class People:
    """Callers, and objects of the domain that the domain's reader and manager look after.

    `self` is the user that objects are about; `reader` and `member` have roles on the project they are about.
    """

    def __init__(self, cloud: Any) -> None:
        self.cloud = cloud
        self.domain = cloud.domain()
        self.project = cloud.project(domain_id=self.domain)
        self.user = cloud.user("self", domain_id=self.domain)
        self.tokens: dict[str, Callable[[], str | None]] = {"nobody": lambda: None, "admin": lambda: cloud.admin}
        name, _, elsewhere = cloud.member()
        self.tokens["stranger"] = lambda: cloud.login(name, project=elsewhere)
        for role in ("reader", "member"):
            cloud.grant(role, f"projects/{self.project}", cloud.user(role))
            self.tokens[role] = lambda role=role: cloud.login(role, project=self.project)
        for role in ("reader", "manager", "admin"):
            cloud.grant(role, f"domains/{self.domain}", cloud.user(f"domain_{role}"))
            self.tokens[f"domain_{role}"] = lambda role=role: cloud.login(f"domain_{role}", domain=self.domain)
        cloud.grant("reader", "system", cloud.user("system_reader"))
        self.tokens["system_reader"] = lambda: cloud.login("system_reader", system=True)
        self.tokens["service"] = lambda: cloud.login("compute", "service-pw", project="service")
        compute = cloud.call("GET", "/users?name=compute").json["users"][0]["id"]
        service = cloud.call("GET", "/projects?name=service").json["projects"][0]["id"]
        cloud.call("DELETE", f"/projects/{service}/users/{compute}/roles/{cloud.role_id('admin')}", expect=204)
        self.password = "pw"
        self.tokens["self"] = lambda: self.own()

    def own(self) -> str:
        """A token of the user whom objects are about, on a project where that user is a member."""
        return str(self.cloud.login(self.name, project=self.home, user_domain=self.domain))

    def fresh(self) -> None:
        """Another user, project and so on for the next operation."""
        cloud = self.cloud
        self.name = f"self-{id(object())}-{len(cloud.ids)}"
        cloud.ids[self.name] = ""
        self.user = cloud.user(self.name, domain_id=self.domain)
        self.home = cloud.project(domain_id=self.domain)
        cloud.grant("member", f"projects/{self.home}", self.user)

    def call(self, persona: str, method: str, path: str, attempt: Attempt) -> int:
        token = self.tokens[persona]()
        return int(
            self.cloud.call(
                method, path.removeprefix("/v3") if path.startswith("/v3/") else f"/{path}", attempt.body, token=token,
                headers=dict(attempt.headers),
            ).status_int
        )  # fmt: skip

    # -- objects to work on

    def prepare(self, op: Operation) -> Attempt:
        self.fresh()
        cloud, params = self.cloud, {}
        names = [part[1:-1] for part in op.path.split("/") if part.startswith("{")]
        makers: dict[str, Callable[[], str]] = {
            "domain_id": lambda: self.domain_for(op),
            "project_id": lambda: self.project_for(op),
            "user_id": lambda: self.user,
            "group_id": lambda: str(cloud.group(domain_id=self.domain)),
            "role_id": lambda: str(cloud.role_id("member") if op.path.count("{") > 1 else cloud.role()),
            "prior_role_id": lambda: str(cloud.role()),
            "implied_role_id": lambda: str(cloud.role()),
            "region_id": lambda: self.post("/regions", "region"),
            "service_id": lambda: self.post("/services", "service", type="t"),
            "endpoint_id": self.endpoint,
            "endpoint_group_id": lambda: self.post(
                "/OS-EP-FILTER/endpoint_groups", "endpoint_group", name="g", filters={"interface": "public"}
            ),
            "policy_id": lambda: self.post("/policies", "policy", type="t", blob="{}"),
            "consumer_id": lambda: self.post("/OS-OAUTH1/consumers", "consumer"),
            "credential_id": lambda: self.post("/credentials", "credential", type="t", blob="x", user_id=self.user),
            "registered_limit_id": self.registered_limit,
            "limit_id": self.limit,
            "trust_id": self.trust,
            "application_credential_id": lambda: self.application_credential()["id"],
            "access_rule_id": self.access_rule,
            "mapping_id": lambda: self.federated(op, "mappings"),
            "idp_id": lambda: self.federated(op, "identity_providers"),
            "sp_id": lambda: self.federated(op, "service_providers"),
            "protocol_id": lambda: self.protocol(op, params["idp_id"]) if "idp_id" in params else "openid",
            "access": self.ec2_key,
            "tag": lambda: "t",
            "group": lambda: "ldap",
            "option": lambda: "url",
        }
        for name in names:
            params[name] = makers[name]()
        self.connect(op, params)
        headers = {"X-Subject-Token": self.own()} if op.path == "/v3/auth/tokens" and op.method != "POST" else {}
        query = f"trustor_user_id={self.user}" if op.path == "/v3/OS-TRUST/trusts" and op.method == "GET" else ""
        if "websso" in op.path:
            query = "origin=http://not-trusted"
        return Attempt(params, query, self.body(op, params), headers)

    def domain_for(self, op: Operation) -> str:
        if op.path.startswith("/v3/domains/{domain_id}") and op.method != "GET":
            made = str(self.cloud.domain())
            if op.method == "DELETE" and op.path == "/v3/domains/{domain_id}":
                self.cloud.call("PATCH", f"/domains/{made}", {"domain": {"enabled": False}}, expect=200)
            return made
        return self.domain

    def project_for(self, op: Operation) -> str:
        return self.project if op.method == "GET" else str(self.cloud.project(domain_id=self.domain))

    def post(self, path: str, noun: str, **values: Any) -> str:
        return str(self.cloud.call("POST", path, {noun: values}, expect=201).json[noun]["id"])

    def endpoint(self) -> str:
        service = self.post("/services", "service", type="t")
        return self.post("/endpoints", "endpoint", service_id=service, interface="public", url="http://x")

    def registered_limit(self) -> str:
        row = {"service_id": self.post("/services", "service", type="t"), "resource_name": "r", "default_limit": 1}
        reply = self.cloud.call("POST", "/registered_limits", {"registered_limits": [row]}, expect=201)
        return str(reply.json["registered_limits"][0]["id"])

    def limit(self) -> str:
        registered = self.cloud.call("GET", f"/registered_limits/{self.registered_limit()}").json["registered_limit"]
        row = {"service_id": registered["service_id"], "resource_name": "r", "resource_limit": 1,
               "project_id": self.project}  # fmt: skip
        return str(self.cloud.call("POST", "/limits", {"limits": [row]}, expect=201).json["limits"][0]["id"])

    def trust(self) -> str:
        body = {"trustor_user_id": self.user, "trustee_user_id": self.cloud.user(), "impersonation": True,
                "project_id": self.home, "roles": [{"name": "member"}]}  # fmt: skip
        reply = self.cloud.call("POST", "/OS-TRUST/trusts", {"trust": body}, token=self.own(), expect=201)
        return str(reply.json["trust"]["id"])

    def application_credential(self, **values: Any) -> dict[str, Any]:
        body = {"application_credential": {"name": "a", **values}}
        path = f"/users/{self.user}/application_credentials"
        reply = self.cloud.call("POST", path, body, token=self.own(), expect=201)
        return dict(reply.json["application_credential"])

    def access_rule(self) -> str:
        made = self.application_credential(access_rules=[{"service": "s", "method": "GET", "path": "/x"}])
        self.cloud.call("DELETE", f"/users/{self.user}/application_credentials/{made['id']}", expect=204)
        return str(made["access_rules"][0]["id"])

    FEDERATED = {
        "mappings": {"rules": [{"local": [{"user": {"name": "{0}"}}], "remote": [{"type": "sub"}]}]},
        "identity_providers": {"remote_ids": []},
        "service_providers": {"auth_url": "http://x", "sp_url": "http://y"},
    }

    def federated(self, op: Operation | None, plural: str) -> str:
        """A mapping, identity provider or service provider; only a name when `op` is about to make it."""
        id = f"{plural}-{len(self.cloud.ids)}"
        self.cloud.ids[id] = ""
        if op is None or op.method != "PUT" or not op.path.endswith("}") or "{protocol_id}" in op.path:
            body = {plural[:-1]: self.FEDERATED[plural]}
            self.cloud.call("PUT", f"/OS-FEDERATION/{plural}/{id}", body, expect=201)
        return id

    def protocol(self, op: Operation, idp: str) -> str:
        self.mapping = self.federated(None, "mappings")
        if op.method != "PUT":
            path = f"/OS-FEDERATION/identity_providers/{idp}/protocols/openid"
            self.cloud.call("PUT", path, {"protocol": {"mapping_id": self.mapping}}, expect=201)
            self.cloud.call("PATCH", path.rpartition("/protocols")[0], {"identity_provider": {"enabled": True}})
        return "openid"

    def ec2_key(self) -> str:
        path = f"/users/{self.user}/credentials/OS-EC2"
        return str(self.cloud.call("POST", path, {"tenant_id": self.home}, expect=201).json["credential"]["access"])

    def connect(self, op: Operation, params: dict[str, str]) -> None:
        """Make what a check or a removal is about."""
        path = op.path.format(**params).removeprefix("/v3")
        puts = {o.path: o.status for o in TABLE.operations if o.method == "PUT" and o.request is None}
        if op.method in ("GET", "HEAD", "DELETE") and op.path in puts:
            self.cloud.call("PUT", path, expect=puts[op.path])
        if op.path.endswith("/OS-ENDPOINT-POLICY/policy"):
            policy = self.post("/policies", "policy", type="t", blob="{}")
            place = f"OS-ENDPOINT-POLICY/endpoints/{params['endpoint_id']}"
            self.cloud.call("PUT", f"/policies/{policy}/{place}", expect=204)
        if "/{domain_id}/config" in op.path and op.method != "PUT":
            config = {"config": {"ldap": {"url": "ldap://x"}}}
            self.cloud.call("PUT", f"/domains/{params['domain_id']}/config", config)

    def body(self, op: Operation, params: dict[str, str]) -> Any:
        if op.request is None or op.method == "GET":
            return None
        name = f"n{id(op)}-{len(self.cloud.ids)}"
        self.cloud.ids[name] = ""
        service = {"service_id": self.post("/services", "service", type="t"), "resource_name": "r"}
        if op.path == "/v3/limits":
            row = {**service, "default_limit": 1}
            self.cloud.call("POST", "/registered_limits", {"registered_limits": [row]}, expect=201)
        creates: dict[str, Any] = {
            "/v3/auth/tokens": {"auth": {"identity": self.cloud.password("self", "wrong")}},
            "/v3/domains": {"domain": {"name": name}},
            "/v3/projects": {"project": {"name": name, "domain_id": self.domain}},
            "/v3/users": {"user": {"name": name, "domain_id": self.domain}},
            "/v3/groups": {"group": {"name": name, "domain_id": self.domain}},
            "/v3/roles": {"role": {"name": name}},
            "/v3/regions": {"region": {}},
            "/v3/services": {"service": {"type": "t"}},
            "/v3/endpoints": {
                "endpoint": {"service_id": service["service_id"], "interface": "public", "url": "http://x"}
            },
            "/v3/policies": {"policy": {"type": "t", "blob": "{}"}},
            "/v3/OS-OAUTH1/consumers": {"consumer": {}},
            "/v3/OS-EP-FILTER/endpoint_groups": {"endpoint_group": {"name": "g", "filters": {"interface": "public"}}},
            "/v3/credentials": {"credential": {"type": "t", "blob": "x", "user_id": self.user}},
            "/v3/registered_limits": {"registered_limits": [{**service, "default_limit": 1}]},
            "/v3/limits": {"limits": [{**service, "resource_limit": 1, "project_id": self.project}]},
            "/v3/OS-TRUST/trusts": {
                "trust": {
                    "trustor_user_id": self.user, "trustee_user_id": self.user, "impersonation": True,
                    "project_id": self.home, "roles": [{"name": "member"}],
                }
            },
            "/v3/users/{user_id}/application_credentials": {"application_credential": {"name": "n"}},
            "/v3/users/{user_id}/credentials/OS-EC2": {"tenant_id": self.home},
            "/v3/users/{user_id}/password": {"user": {"password": "x", "original_password": "wrong"}},
            "/v3/OS-OAUTH2/token": b"grant_type=client_credentials&client_id=x&client_secret=y",
            "/v3/ec2tokens": {"credentials": {"access": "a", "signature": "s"}},
            "/v3/s3tokens": {"credentials": {"access": "a", "signature": "s"}},
        }  # fmt: skip
        if op.method == "POST":
            return creates[op.path]
        if op.path.endswith("/tags"):
            return {"tags": ["x"]}
        if "/config" in op.path:
            sent: dict[str, Any] = {"ldap": {"url": "ldap://y"}}
            return {"config": sent["ldap"] if "option" in params else sent}
        if "/OS-FEDERATION/" in op.path and "{protocol_id}" in op.path:
            return {"protocol": {"mapping_id": self.mapping}}
        plural = op.path.split("/")[-2]
        if plural in self.FEDERATED:
            return {plural[:-1]: self.FEDERATED[plural]}
        noun = {"policies": "policy"}.get(op.path.split("/")[-2], op.path.split("/")[-2][:-1])
        changes = {
            "limit": {"resource_limit": 2},
            "registered_limit": {"default_limit": 2},
            "credential": {"blob": "y"},
            "policy": {"type": "u"},
        }
        return {noun: changes.get(noun, {"description": "changed"})}


@pytest.mark.timeout(600)
def test_every_operation_by_everybody(fresh: Callable[..., Any]) -> None:
    people = People(fresh())
    found = list(lines(TABLE, PERSONAS, people.prepare, people.call))
    strange = [line for line in found if "!" in line]
    assert not strange, "\n".join(strange)
    check(Path(__file__).with_name("matrix.txt"), found)


def test_every_operation_is_documented(fresh: Callable[..., Any]) -> None:
    cloud = fresh()
    document = json.loads(cloud.call("GET", "//openapi.json", token=None, expect=200).text)
    assert all(op["summary"] for path in document["paths"].values() for op in path.values())
    assert all(op.policy is None or op.policy.startswith(("identity:", "rule:")) for op in TABLE.operations)


def test_policy_file_overrides_without_restart(fresh: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("{}")
    cloud = fresh()
    cloud.svc.policy.is_admin(admin_context())  # oslo.policy knows its options once it was used
    del cloud.svc.__dict__["policy"]
    cloud.svc.conf.set_override("policy_file", str(path), group="oslo_policy")
    name, _, project = cloud.member()
    token = cloud.login(name, project=project)
    cloud.call("GET", "/users", token=token, expect=403)
    path.write_text('"identity:list_users": "role:member"\n')
    time.sleep(1.2)
    cloud.call("GET", "/users", token=token, expect=200)
