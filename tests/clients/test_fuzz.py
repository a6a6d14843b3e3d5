# SPDX-License-Identifier: Apache-2.0
"""Random requests at every operation of every API, of a cloud on MariaDB: whatever is sent, the answer is no accident.

The requests are made of the operation tables, so a new operation is tried from its first day on. The seed is fixed;
FUZZ_SEED and FUZZ_ROUNDS in the environment choose others, for a longer hunt.
"""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import yaml

from aerie_common.operations import Operation
from fuzz import Maker

SERVICES = ("identity", "image", "compute", "network", "dns")
ROUNDS = int(os.environ.get("FUZZ_ROUNDS", 6))
SEED = int(os.environ.get("FUZZ_SEED", 20261121))


class Target:
    """One cloud, its administrator, and its user."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.clouds = yaml.safe_load((state / "clouds.yaml").read_text())["clouds"]
        self.session = requests.Session()
        self.hosts: dict[str, str] = {}
        self.tokens = {name: self.log_in(name) for name in self.clouds}

    def log_in(self, name: str) -> str:
        auth = self.clouds[name]["auth"]
        domain = {"name": "Default"}
        user = {"name": auth["username"], "domain": domain, "password": auth["password"]}
        scope = {"project": {"name": auth["project_name"], "domain": domain}}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
        reply = self.session.post(f"{auth['auth_url']}/auth/tokens", json=body)
        for row in reply.json()["token"]["catalog"]:
            for endpoint in row["endpoints"][:1]:
                address = urlsplit(endpoint["url"])
                self.hosts.setdefault(row["type"], f"{address.scheme}://{address.netloc}")
        return str(reply.headers["X-Subject-Token"])

    def ids(self, api: str, path: str, key: str) -> list[str]:
        """Ids of what there is from the beginning."""
        headers = {"X-Auth-Token": self.tokens["aerie-admin"]}
        return [row["id"] for row in self.session.get(self.hosts[api] + path, headers=headers).json()[key]]


@pytest.fixture(scope="module")
def target(mariadb_clouds_yaml: Path) -> Target:
    return Target(mariadb_clouds_yaml.parent)


KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIZk6M0cJ2yQ8N1Y5fEo0pOQ9c1n3F0XbS0pXbE6Z1dW fuzz"
SEEDS: dict[str, list[tuple[str, Any]]] = {
    "identity": [
        ("/v3/domains", {"domain": {"name": "f-domain"}}),
        ("/v3/projects", {"project": {"name": "f-project"}}),
        ("/v3/users", {"user": {"name": "f-user", "password": "f-secret"}}),
        ("/v3/groups", {"group": {"name": "f-group"}}),
        ("/v3/roles", {"role": {"name": "f-role"}}),
        ("/v3/services", {"service": {"type": "f-type"}}),
        ("/v3/credentials", {"credential": {"type": "cert", "blob": "x", "user_id": "{users}"}}),
    ],
    "image": [
        ("/v2/images", {"name": "f-image", "disk_format": "raw", "container_format": "bare"}),
        ("/v2/metadefs/namespaces", {"namespace": "f-namespace"}),
    ],
    "compute": [
        ("/v2.1/os-keypairs", {"keypair": {"name": "f-key", "type": "ssh", "public_key": KEY}}),
        ("/v2.1/flavors", {"flavor": {"name": "f-flavor", "ram": 64, "vcpus": 1, "disk": 0}}),
        ("/v2.1/os-server-groups", {"server_group": {"name": "f-group", "policy": "affinity"}}),
        ("/v2.1/os-aggregates", {"aggregate": {"name": "f-aggregate"}}),
        (
            "/v2.1/servers",
            {"server": {"name": "f", "flavorRef": "{flavors}", "imageRef": "{guest}", "networks": "none"}},
        ),
        (
            "/v2.1/servers",
            {"server": {"name": "g", "flavorRef": "{flavors}", "imageRef": "{guest}", "networks": "none"}},
        ),
    ],
    "network": [
        ("/v2.0/networks", {"network": {"name": "f-net"}}),
        ("/v2.0/subnets", {"subnet": {"network_id": "{networks}", "ip_version": 4, "cidr": "10.77.0.0/24"}}),
        ("/v2.0/ports", {"port": {"network_id": "{networks}"}}),
        ("/v2.0/routers", {"router": {"name": "f-router"}}),
        ("/v2.0/security-groups", {"security_group": {"name": "f-group"}}),
        ("/v2.0/subnetpools", {"subnetpool": {"name": "f-pool", "prefixes": ["10.78.0.0/16"]}}),
        ("/v2.0/address-scopes", {"address_scope": {"name": "f-scope", "ip_version": 4}}),
        ("/v2.0/address-groups", {"address_group": {"name": "f-addresses"}}),
    ],
    "dns": [
        ("/v2/zones", {"name": "f.example.", "email": "a@example.org"}),
        ("/v2/zones/{zones}/recordsets", {"name": "w.f.example.", "type": "A", "records": ["192.0.2.1"]}),
        ("/v2/tlds", {"name": "example"}),
        ("/v2/blacklists", {"pattern": "^never"}),
    ],
}


class Fuzzer:
    """Sends what a Maker makes to one API, and collects the accidents."""

    def __init__(self, target: Target, name: str) -> None:
        self.target, self.name = target, name
        self.table = importlib.import_module(f"aerie_{name}.operations").TABLE
        self.maker = Maker(SEED)
        self.accidents: list[str] = []
        self.sent = 0
        for api, path, key in (
            ("image", "/v2/images", "images"),
            ("compute", "/v2.1/flavors", "flavors"),
            ("network", "/v2.0/networks", "networks"),
        ):
            if api != name:  # what is there from the beginning is not to be lost
                self.maker.known[key] += target.ids(api, path, key)
        self.maker.known["guest"] = target.ids("image", "/v2/images?name=aerie-guest", "images")
        if name != "identity":
            self.maker.known["projects"] += target.ids("identity", "/v3/auth/projects", "projects")

    def seed(self) -> None:
        """Make some things the right way."""
        operations = {op.path: op for op in self.table.operations if op.method == "POST"}
        for path, body in SEEDS[self.name]:
            text = json.dumps(body)
            for kind, ids in self.maker.known.items():
                if ids:
                    path, text = path.replace("{" + kind + "}", ids[-1]), text.replace("{" + kind + "}", ids[-1])
            template = "/v2/zones/{zone_id}/recordsets" if path.endswith("/recordsets") else path
            reply = self._send(operations[template], path, text.encode(), self._version(newest=True)[1], "aerie-admin")
            assert reply.status_code < 300, (path, reply.text)

    def fire(self, op: Operation) -> None:
        """One random request at an operation."""
        version, headers = self._version(newest=self.maker.random.random() < 0.7)
        path, query = self.maker.path(op), self.maker.query(op)
        body = self.maker.body(op, version)
        raw = json.dumps(body).encode() if body is not None else None
        if op.request == "stream":
            raw = self.maker.random.choice((b"", b"{}", b"[]", b"x" * 1000, b'{"a": "\\u0000"}', b"\x00"))
        who = "aerie-admin" if self.maker.random.random() < 0.85 else "aerie"
        self._send(op, f"{path}?{query}" if query else path, raw, headers, who)

    def _version(self, newest: bool) -> tuple[Any, dict[str, str]]:
        versions = self.table.versions
        if versions is None:
            return (0, 0), {}
        version = versions.maximum if newest else versions.minimum
        return version, {"X-OpenStack-Nova-API-Version": f"{version[0]}.{version[1]}"} if newest else {}

    def _send(
        self, op: Operation, path: str, body: bytes | None, headers: dict[str, str], who: str
    ) -> requests.Response:
        told = {"X-Auth-Token": self.target.tokens[who], "Accept": "application/json", **headers}
        if body is not None:
            told["Content-Type"] = sorted(op.content_types)[0]
        url = self.target.hosts[self.name] + path
        self.sent += 1
        try:
            reply = self.target.session.request(
                op.method, url, data=body, headers=told, timeout=30, allow_redirects=False
            )
        except requests.ConnectionError as e:
            raise AssertionError(f"{op.method} {path} {(body or b'')[:500]!r} {headers}: {e}") from e
        shown = f"{op.method} {path} {(body or b'')[:500]!r} -> {reply.status_code} {reply.text[:300]}"
        if reply.status_code >= 500 and reply.status_code != 501:
            self.accidents.append(shown)
        if reply.status_code == 401:
            self.target.tokens[who] = self.target.log_in(who)
        if 400 <= reply.status_code < 500 and op.method != "HEAD":
            assert reply.json(), shown
        if reply.status_code < 300 and op.method in ("POST", "PUT") and reply.content.startswith(b"{"):
            self.maker.learn(op, reply.json())
        return reply


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", SERVICES)
def test_random_requests(target: Target, name: str) -> None:
    fuzzer = Fuzzer(target, name)
    fuzzer.seed()
    operations = list(fuzzer.table.operations)
    for _ in range(ROUNDS):
        for op in fuzzer.maker.random.sample(operations, len(operations)):
            fuzzer.fire(op)
    assert not fuzzer.accidents, "\n".join(fuzzer.accidents)
    assert fuzzer.sent >= ROUNDS * len(operations)
