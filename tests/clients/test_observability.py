# SPDX-License-Identifier: Apache-2.0
"""What an operator sees of a running cloud: health, metrics, and logs in which no secret stands."""

from __future__ import annotations

import json
import secrets
import urllib.request
from pathlib import Path

import pytest

from plain_http import APIS, Cloud


@pytest.mark.parametrize("api", APIS)
def test_health_metrics_and_document_need_no_token(cloud: Cloud, api: str) -> None:
    cloud.call(api, "GET", APIS[api].collection, who="admin")
    texts = {}
    for path in ("healthcheck", "metrics", "openapi.json"):
        with urllib.request.urlopen(f"http://{cloud.hosts[api]}/{path}", timeout=10) as reply:
            texts[path] = reply.read().decode()
    assert texts["healthcheck"] == "OK"
    row = next(line for line in texts["metrics"].splitlines() if f'"{api}"' in line and APIS[api].collection in line)
    assert float(row.rsplit(" ", 1)[1]) >= 0
    assert APIS[api].collection in json.loads(texts["openapi.json"])["paths"]


def test_no_secret_stands_in_the_log(cloud: Cloud, clouds_yaml: Path) -> None:
    """Neither of those who did right, nor of those who did wrong."""
    password, key = f"pw{secrets.token_hex(12)}", f"key{secrets.token_hex(12)}"
    name = f"u{secrets.token_hex(4)}"
    user = cloud.made("identity", "/v3/users", {"user": {"name": name, "password": password}}, "admin")["user"]["id"]
    role = cloud.call("identity", "GET", "/v3/roles?name=member", who="admin")[1]["roles"][0]["id"]
    path = f"/v3/projects/{cloud.projects['demo']}/users/{user}/roles/{role}"
    assert cloud.call("identity", "PUT", path, who="admin")[0] == 204
    cloud.log_in(name, name, password, "demo")
    broken = json.dumps({"auth": {"identity": {"methods": ["password"], "password": {"user": {"password": password}}}}})
    for raw in (broken.encode(), broken.encode()[:-4]):
        assert cloud.send("identity", "POST", "/v3/auth/tokens", {}, raw)[0] in (400, 401)
    token = cloud.tokens[name]
    for api in APIS.values():
        cloud.call(api.type, "GET", api.collection, who=name)
        cloud.call(api.type, "POST", api.collection, {"password": password}, name)
    change = {"user": {"original_password": password, "password": key}}
    assert cloud.call("identity", "POST", f"/v3/users/{user}/password", change, name)[0] == 204
    written = (clouds_yaml.parent / "all-in-one.log").read_text()
    assert name in written, "this is the log of what has just been done"
    service = (clouds_yaml.parent / "service-password").read_text()
    for secret in (password, key, token, token[:40], service):
        assert secret not in written
    assert cloud.call("identity", "DELETE", f"/v3/users/{user}", who="admin")[0] == 204
