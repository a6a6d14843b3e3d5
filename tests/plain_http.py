# SPDX-License-Identifier: Apache-2.0
"""The APIs of a whole cloud over plain HTTP, where a client would say more or less than a test wants said."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

NOBODY = "99999999-0000-4000-8000-000000000000"


@dataclass(frozen=True)
class Api:
    """How one API is addressed. collection: what its callers may list and make. one: a path behind which nothing is.
    key: what wraps an object that is made."""

    type: str
    collection: str
    one: str
    key: str | None
    error: Callable[[Any], tuple[int | None, str]]
    """Code (None: the body says none) and message of an error body; KeyError when it is another API's."""


def _nova(body: Any) -> tuple[int | None, str]:
    [(kind, fault)] = body.items()
    names = {400: "badRequest", 401: "unauthorized", 403: "forbidden", 404: "itemNotFound", 405: "badMethod",
             406: "computeFault", 409: "conflictingRequest", 413: "overLimit", 415: "badMediaType"}  # fmt: skip
    assert kind == names[fault["code"]]
    return fault["code"], fault["message"]


def _glance(body: Any) -> tuple[int | None, str]:
    assert body["code"].endswith(body["title"])
    return int(body["code"].split()[0]), body["message"]


def _neutron(body: Any) -> tuple[int | None, str]:
    error = body["NeutronError"]
    assert error["type"] and "detail" in error
    return None, error["message"]


def _designate(body: Any) -> tuple[int | None, str]:
    assert body["type"] and body["request_id"].startswith("req-")
    return body["code"], body["message"]


def _placement(body: Any) -> tuple[int | None, str]:
    [error] = body["errors"]
    assert error["title"] and error["code"] and error["request_id"]
    return error["status"], error["detail"]


APIS = {
    api.type: api
    for api in (
        Api("identity", "/v3/projects", f"/v3/projects/{NOBODY}", "project",
            lambda body: (body["error"]["code"], body["error"]["message"])),
        Api("image", "/v2/images", f"/v2/images/{NOBODY}", None, _glance),
        Api("compute", "/v2.1/servers", f"/v2.1/servers/{NOBODY}", "server", _nova),
        Api("placement", "/resource_providers", f"/resource_providers/{NOBODY}", None, _placement),
        Api("network", "/v2.0/networks", f"/v2.0/networks/{NOBODY}", "network", _neutron),
        Api("dns", "/v2/zones", f"/v2/zones/{NOBODY}", None, _designate),
    )
}  # fmt: skip


class Cloud:
    """The cloud's addresses, and tokens of an administrator, the user demo and a user of another project."""

    def __init__(self, clouds_yaml: Path) -> None:
        clouds = yaml.safe_load(clouds_yaml.read_text())["clouds"]
        self.hosts = {"identity": urlsplit(clouds["aerie"]["auth"]["auth_url"]).netloc}
        self.tokens: dict[str, str] = {}
        self.projects: dict[str, str] = {}
        for name, cloud in (("admin", "aerie-admin"), ("demo", "aerie")):
            auth = clouds[cloud]["auth"]
            body = self.log_in(name, auth["username"], auth["password"], auth["project_name"])
            self.hosts |= {row["type"]: urlsplit(row["endpoints"][0]["url"]).netloc for row in body["catalog"]}
        project = self.made("identity", "/v3/projects", {"project": {"name": "refused"}}, "admin")["project"]["id"]
        user = {"name": "stranger", "password": "stranger-secret"}
        user_id = self.made("identity", "/v3/users", {"user": user}, "admin")["user"]["id"]
        roles = self.call("identity", "GET", "/v3/roles?name=member", who="admin")[1]["roles"]
        self.call("identity", "PUT", f"/v3/projects/{project}/users/{user_id}/roles/{roles[0]['id']}", who="admin")
        self.log_in("stranger", "stranger", "stranger-secret", "refused")

    def log_in(self, who: str, user: str, password: str, project: str) -> Any:
        domain = {"name": "Default"}
        identity = {
            "methods": ["password"],
            "password": {"user": {"name": user, "domain": domain, "password": password}},
        }
        body = {"auth": {"identity": identity, "scope": {"project": {"name": project, "domain": domain}}}}
        status, answer, headers = self.send("identity", "POST", "/v3/auth/tokens", {}, json.dumps(body).encode())
        assert status == 201, answer
        self.tokens[who], self.projects[who] = headers["X-Subject-Token"], answer["token"]["project"]["id"]
        return answer["token"]

    def send(self, api: str, method: str, path: str, headers: dict[str, str], body: bytes | None = None) -> Any:
        """Status, JSON body and headers of one request, sent as it stands."""
        connection = http.client.HTTPConnection(self.hosts[api], timeout=120)
        try:
            sent = {"Content-Type": "application/json", **headers} if body is not None else headers
            connection.request(method, path, body, sent)
            reply = connection.getresponse()
            text = reply.read()
            return reply.status, json.loads(text) if text and method != "HEAD" else None, reply.headers
        finally:
            connection.close()

    def call(self, api: str, method: str, path: str, body: Any = None, who: str = "demo", **headers: str) -> Any:
        """Status and body of one request of a user. A body that is not bytes is sent as JSON."""
        raw = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.send(api, method, path, {"X-Auth-Token": self.tokens[who], **told}, raw)[:2]

    def made(self, api: str, path: str, body: Any, who: str = "demo") -> Any:
        status, answer = self.call(api, "POST", path, body, who)
        assert status < 300, answer
        return answer

    def holds(self) -> dict[str, Any]:
        """Everything there is, by the words of those who may see all of it."""
        lists = {
            "identity": ("/v3/projects", "/v3/users", "/v3/roles", "/v3/role_assignments"),
            "image": ("/v2/images",),
            "compute": ("/v2.1/servers?all_tenants=1", "/v2.1/flavors", "/v2.1/os-keypairs", "/v2.1/limits"),
            "placement": ("/resource_providers",),
            "network": ("/v2.0/networks", "/v2.0/subnets", "/v2.0/ports", "/v2.0/security-groups",
                        "/v2.0/security-group-rules", "/v2.0/routers"),
            "dns": ("/v2/zones",),
        }  # fmt: skip
        found = {}
        for api, paths in lists.items():
            for path in paths:
                for who in ("admin", "demo"):
                    status, body = self.call(api, "GET", path, who=who)
                    listed = [row for rows in body.values() if isinstance(rows, list) for row in rows]
                    ids = sorted(str(row.get("id") or row) for row in listed) if status == 200 else []
                    found[f"{who} {api} {path}"] = (status, ids, body.get("limits"))
        return found
