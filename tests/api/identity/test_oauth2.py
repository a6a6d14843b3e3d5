# SPDX-License-Identifier: Apache-2.0
"""OAuth 2.0 client credentials: an application credential as client, its token as access token."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest

BEARER = "Authorization"


def client(cloud: Any, **values: Any) -> tuple[str, str, str, str]:
    """An application credential of a new member: (id, secret, user, project)."""
    name, user, project = cloud.member()
    token = cloud.login(name, project=project)
    body = {"application_credential": {"name": "oauth", **values}}
    made = cloud.call("POST", f"/users/{user}/application_credentials", body, token=token, expect=201).json
    found = made["application_credential"]
    return found["id"], found["secret"], user, project


def ask(cloud: Any, expect: int, basic: tuple[str, str] | None = None, **form: str) -> Any:
    headers = {}
    if basic is not None:
        headers[BEARER] = "Basic " + base64.b64encode(":".join(basic).encode()).decode()
    body = urlencode(form).encode()
    return cloud.call("POST", "/OS-OAUTH2/token", body, token=None, headers=headers, expect=expect)


def access_token(cloud: Any, id: str, secret: str) -> str:
    return str(ask(cloud, 200, (id, secret), grant_type="client_credentials").json["access_token"])


def test_a_client_gets_a_token_by_header_and_by_form(cloud: Any) -> None:
    id, secret, user, project = client(cloud)
    by_header = ask(cloud, 200, (id, secret), grant_type="client_credentials")
    by_form = ask(cloud, 200, grant_type="client_credentials", client_id=id, client_secret=secret)
    for reply in (by_header, by_form):
        assert set(reply.json) == {"access_token", "token_type", "expires_in"}
        assert reply.json["token_type"] == "Bearer" and 3500 < reply.json["expires_in"] <= 3600
        assert (reply.headers["Cache-Control"], reply.headers["Pragma"]) == ("no-store", "no-cache")
    token = by_header.json["access_token"]
    body = cloud.body(token)
    assert (body["user"]["id"], body["project"]["id"]) == (user, project)
    assert body["methods"] == ["application_credential"]


def test_the_token_is_accepted_as_bearer(cloud: Any) -> None:
    id, secret, user, _ = client(cloud)
    token = access_token(cloud, id, secret)
    headers = {BEARER: f"Bearer {token}"}
    assert cloud.call("GET", f"/users/{user}", token=None, headers=headers, expect=200).json["user"]["id"] == user
    cloud.call("GET", f"/users/{user}", token=None, headers={BEARER: f"bearer  {token}"}, expect=200)
    cloud.call("GET", f"/users/{user}", token=None, headers={BEARER: f"Basic {token}"}, expect=401)
    cloud.call("GET", f"/users/{user}", token=None, headers={BEARER: "Bearer"}, expect=401)
    cloud.call("GET", f"/users/{user}", token=None, headers={BEARER: f"Bearer {token}x"}, expect=401)
    reply = cloud.call("GET", "/users", headers=headers, expect=200)  # X-Auth-Token is the administrator's
    assert len(reply.json["users"]) > 1


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({}, 400, "invalid_request"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"grant_type": "client_credentials"}, 401, "invalid_client"),
        ({"grant_type": "client_credentials", "client_id": "x"}, 401, "invalid_client"),
        ({"grant_type": "client_credentials", "client_id": "x", "client_secret": "y"}, 401, "invalid_client"),
    ],
)
def test_refusals_speak_oauth(cloud: Any, form: dict[str, str], status: int, error: str) -> None:
    reply = ask(cloud, status, **form)
    assert set(reply.json) == {"error", "error_description"} and reply.json["error"] == error
    if status == 401:
        assert reply.headers["WWW-Authenticate"].startswith("Basic ")


def test_malformed_requests(cloud: Any) -> None:
    id, secret, _, _ = client(cloud)
    twice = urlencode([("grant_type", "client_credentials"), ("grant_type", "client_credentials")]).encode()
    reply = cloud.call("POST", "/OS-OAUTH2/token", twice, token=None, expect=400)
    assert reply.json["error"] == "invalid_request"
    json = {"grant_type": "client_credentials", "client_id": id, "client_secret": secret}
    reply = cloud.call("POST", "/OS-OAUTH2/token", json, token=None, expect=400)
    assert reply.json["error"] == "invalid_request"
    for header in ("Basic ???", "Basic " + base64.b64encode(b"no colon").decode()):
        form = b"grant_type=client_credentials"
        reply = cloud.call("POST", "/OS-OAUTH2/token", form, token=None, headers={BEARER: header}, expect=401)
        assert reply.json["error"] == "invalid_client"
    cloud.call("POST", "/OS-OAUTH2/token", b"a" * 20000, token=None, expect=413)


def test_what_ends_the_credential_ends_its_tokens(cloud: Any) -> None:
    id, secret, user, _ = client(cloud)
    token = access_token(cloud, id, secret)
    cloud.call("PATCH", f"/users/{user}", {"user": {"enabled": False}}, expect=200)
    cloud.call("GET", "/auth/projects", token=None, headers={BEARER: f"Bearer {token}"}, expect=401)
    ask(cloud, 401, (id, secret), grant_type="client_credentials")


def test_advisory_9_a_client_has_its_own_roles_only_and_mints_nothing(cloud: Any) -> None:
    id, secret, user, project = client(cloud, roles=[{"name": "reader"}])
    token = access_token(cloud, id, secret)
    assert [r["name"] for r in cloud.body(token)["roles"]] == ["reader"]
    headers = {BEARER: f"Bearer {token}"}
    trust = {"trustor_user_id": user, "trustee_user_id": user, "impersonation": True, "project_id": project,
             "roles": [{"name": "reader"}]}  # fmt: skip
    for path, body in (
        (f"/users/{user}/application_credentials", {"application_credential": {"name": "more"}}),
        (f"/users/{user}/credentials/OS-EC2", {"tenant_id": project}),
        ("/credentials", {"credential": {"type": "totp", "blob": "x", "user_id": user}}),
        ("/OS-TRUST/trusts", {"trust": trust}),
    ):
        cloud.call("POST", path, body, token=None, headers=headers, expect=403)
    identity = {"methods": ["token"], "token": {"id": token}}
    cloud.authenticate(identity, {"project": {"id": project}}, expect=403)


def test_access_rules_bind_the_bearer(cloud: Any) -> None:
    rules = [{"service": "identity", "method": "GET", "path": "/v3/auth/projects"}]
    id, secret, user, _ = client(cloud, access_rules=rules)
    headers = {BEARER: f"Bearer {access_token(cloud, id, secret)}"}
    cloud.call("GET", "/auth/projects", token=None, headers=headers, expect=200)
    cloud.call("GET", f"/users/{user}", token=None, headers=headers, expect=403)


def test_the_method_can_be_switched_off(fresh: Callable[..., Any]) -> None:
    cloud = fresh({("auth", "methods"): ["password", "token"]})
    id, secret, _, _ = client(cloud)
    ask(cloud, 401, (id, secret), grant_type="client_credentials")
