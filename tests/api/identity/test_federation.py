# SPDX-License-Identifier: Apache-2.0
"""Federation: a real OpenID Connect provider vouches for users, and what they may do here."""

from __future__ import annotations

import base64
import contextlib
import datetime
import gzip
import hmac
import itertools
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import requests
import sqlalchemy as sa
from joserfc.jwk import ECKey, RSAKey
from oslo_config import cfg

from aerie_common import config
from aerie_common.db import utcnow
from aerie_identity.daemons import SPEC
from aerie_identity.db import tables as t
from aerie_identity.logic.openid import OpenId
from oidc_provider import CLIENT, SECRET, Provider

from .conftest import Cloud, make

NUMBERS = itertools.count(1)
OPTIONS: dict[tuple[str | None, str], Any] = {
    ("oidc", "client_id"): CLIENT,
    ("oidc", "client_secret"): SECRET,
    ("oidc", "allow_http"): True,
    ("oidc", "keys_pause"): 0,
    ("oidc", "leeway"): 0,
    ("oidc", "timeout"): 2,
}
USER = {"local": [{"user": {"name": "{0}"}}], "remote": [{"type": "preferred_username"}]}


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    made = Provider()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def cloud(database_module_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    made = make(database_module_url, tmp_path_factory.mktemp("state"), OPTIONS)
    yield made
    made.svc.db.dispose()


def trust(cloud: Any, issuer: str, *rules: dict[str, Any], version: str = "1.0", **idp: Any) -> str:
    """A new identity provider with the protocol `openid`; its id."""
    id = f"idp-{next(NUMBERS)}"
    for other in cloud.call("GET", "/OS-FEDERATION/identity_providers").json["identity_providers"]:
        if issuer in other["remote_ids"]:
            path = f"/OS-FEDERATION/identity_providers/{other['id']}"
            cloud.call("PATCH", path, {"identity_provider": {"remote_ids": []}}, expect=200)
    body = {"mapping": {"rules": list(rules) or [USER], "schema_version": version}}
    cloud.call("PUT", f"/OS-FEDERATION/mappings/{id}", body, expect=201)
    path = f"/OS-FEDERATION/identity_providers/{id}"
    cloud.call("PUT", path, {"identity_provider": {"enabled": True, "remote_ids": [issuer], **idp}}, expect=201)
    cloud.call("PUT", f"{path}/protocols/openid", {"protocol": {"mapping_id": id}}, expect=201)
    return id


def somebody(provider: Provider, **claims: Any) -> str:
    sub = f"sub-{next(NUMBERS)}"
    provider.add_user(sub, preferred_username=f"{sub}-name", **claims)
    return sub


def log_in(cloud: Any, idp: str, token: str | None, expect: int | None = 201, method: str = "POST") -> Any:
    path = f"/OS-FEDERATION/identity_providers/{idp}/protocols/openid/auth"
    headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
    return cloud.call(method, path, token=None, headers=headers, expect=expect)


def federated_group(cloud: Any, role: str = "member") -> tuple[str, str]:
    """A group with a role on a new project: (group, project)."""
    project = cloud.project()
    group = cloud.group()
    cloud.grant(role, f"projects/{project}", group=group)
    return group, project


# --------------------------------------------------------------------------------------------------------- logging in


def test_a_login_leads_to_an_unscoped_token_and_that_to_a_scope(cloud: Any, provider: Provider) -> None:
    group, project = federated_group(cloud)
    rule = {**USER, "local": [{"user": {"name": "{0}"}, "group": {"id": group}}]}
    idp, sub = trust(cloud, provider.issuer, rule), somebody(provider)
    reply = log_in(cloud, idp, provider.token(sub))
    token, body = reply.headers["X-Subject-Token"], reply.json["token"]
    assert body["methods"] == ["openid"] and "project" not in body and "roles" not in body
    home = cloud.call("GET", f"/OS-FEDERATION/identity_providers/{idp}").json["identity_provider"]["domain_id"]
    assert body["user"]["name"] == f"{sub}-name" and body["user"]["domain"]["id"] == home
    federation = {"groups": [{"id": group}], "identity_provider": {"id": idp}, "protocol": {"id": "openid"}}
    assert body["user"]["OS-FEDERATION"] == federation
    for path in ("/OS-FEDERATION/projects", "/auth/projects"):
        assert [p["id"] for p in cloud.call("GET", path, token=token, expect=200).json["projects"]] == [project]
    assert cloud.call("GET", "/OS-FEDERATION/domains", token=token, expect=200).json["domains"] == []
    scoped = cloud.rescope(token, {"project": {"id": project}}, expect=201).json["token"]
    assert scoped["methods"] == ["openid", "token"] or scoped["methods"] == ["token", "openid"]
    assert scoped["user"] == body["user"] and scoped["expires_at"] == body["expires_at"]
    assert {r["name"] for r in scoped["roles"]} == {"member", "reader"} and scoped["catalog"]
    assert log_in(cloud, idp, provider.token(sub), method="GET").json["token"]["user"]["id"] == body["user"]["id"]


def test_the_same_person_is_the_same_user(cloud: Any, provider: Provider) -> None:
    rule = {"local": [{"user": {"id": "{0}", "name": "{1}", "email": "{2}"}}],
            "remote": [{"type": "sub"}, {"type": "OIDC-preferred_username"}, {"type": "HTTP_OIDC_EMAIL"}]}  # fmt: skip
    idp, sub = trust(cloud, provider.issuer, rule), somebody(provider, email="one@example.org")
    first = log_in(cloud, idp, provider.token(sub)).json["token"]["user"]
    user = cloud.call("GET", f"/users/{first['id']}", expect=200).json["user"]
    assert user["email"] == "one@example.org"
    assert user["federated"] == [{"idp_id": idp, "protocols": [{"protocol_id": "openid", "unique_id": sub}]}]
    token = provider.token(sub, preferred_username=f"{sub}-married", email="two@example.org")
    again = log_in(cloud, idp, token).json["token"]["user"]
    assert (again["id"], again["name"]) == (first["id"], f"{sub}-married")
    assert cloud.call("GET", f"/users/{first['id']}", expect=200).json["user"]["email"] == "two@example.org"
    found = cloud.call("GET", f"/users?idp_id={idp}&unique_id={sub}", expect=200).json["users"]
    assert [u["id"] for u in found] == [first["id"]]
    assert cloud.call("GET", f"/users?idp_id={idp}&unique_id=x", expect=200).json["users"] == []


def test_a_name_that_is_taken_leads_to_nobody_elses_account(cloud: Any, provider: Provider) -> None:
    sub = somebody(provider)
    local = cloud.user(f"{sub}-name")
    idp = trust(cloud, provider.issuer, domain_id="default")
    user = log_in(cloud, idp, provider.token(sub)).json["token"]["user"]
    assert user["id"] != local and user["name"].startswith(f"{sub}-name (")
    cloud.authenticate(cloud.password(user["name"], "pw"), expect=401)


def test_local_users(cloud: Any, provider: Provider) -> None:
    name = f"local-{next(NUMBERS)}"
    user = cloud.user(name)
    local = {"user": {"name": "{0}", "domain": {"id": "default"}, "type": "local"}}
    idp = trust(cloud, provider.issuer, {"local": [local], "remote": [{"type": "preferred_username"}]})
    body = log_in(cloud, idp, provider.token("x", preferred_username=name)).json["token"]
    assert body["user"]["id"] == user and "OS-FEDERATION" not in body["user"]
    log_in(cloud, idp, provider.token("x", preferred_username="nobody-here"), expect=401)
    rules = [["password", "totp"]]
    options = {"user": {"options": {"multi_factor_auth_enabled": True, "multi_factor_auth_rules": rules}}}
    cloud.call("PATCH", f"/users/{user}", options, expect=200)
    reply = log_in(cloud, idp, provider.token("x", preferred_username=name), expect=401)
    assert reply.json["required_auth_methods"] == rules and "Openstack-Auth-Receipt" in reply.headers
    cloud.call("PATCH", f"/users/{user}", {"user": {"enabled": False}}, expect=200)
    log_in(cloud, idp, provider.token("x", preferred_username=name), expect=401)


def test_groups_come_and_go_with_logins(cloud: Any, provider: Provider) -> None:
    group, project = federated_group(cloud)
    name = cloud.call("GET", f"/groups/{group}").json["group"]["name"]
    local = [{"user": {"name": "{0}"}}, {"groups": "{1}", "domain": {"id": "default"}}]
    rule = {"local": local, "remote": [{"type": "preferred_username"}, {"type": "roles.list"}]}
    idp, sub = trust(cloud, provider.issuer, rule), somebody(provider)
    reply = log_in(cloud, idp, provider.token(sub, roles={"list": [name, "no-such-group"]}))
    token, user = reply.headers["X-Subject-Token"], reply.json["token"]["user"]["id"]
    scoped = cloud.rescope(token, {"project": {"id": project}}, expect=201).headers["X-Subject-Token"]
    assert [g["id"] for g in cloud.call("GET", f"/users/{user}/groups", expect=200).json["groups"]] == [group]
    cloud.call("HEAD", f"/groups/{group}/users/{user}", expect=204)
    lines = cloud.call("GET", f"/role_assignments?effective&user.id={user}").json["role_assignments"]
    assert {line["scope"]["project"]["id"] for line in lines} == {project}
    log_in(cloud, idp, provider.token(sub, roles={"list": ["no-such-group"]}))
    assert not cloud.valid(scoped) and cloud.valid(token)
    cloud.call("DELETE", f"/groups/{group}/users/{user}", expect=404)
    log_in(cloud, idp, provider.token(sub, roles={"list": [name]}))
    scoped = cloud.rescope(token, {"project": {"id": project}}, expect=201).headers["X-Subject-Token"]
    cloud.call("DELETE", f"/groups/{group}/users/{user}", expect=204)
    assert not cloud.valid(scoped) and cloud.valid(token)
    cloud.rescope(token, {"project": {"id": project}}, expect=401)


def test_lent_groups_end_and_delegations_with_them(cloud: Any, provider: Provider) -> None:
    group, project = federated_group(cloud)
    rule = {**USER, "local": [{"user": {"name": "{0}"}, "group": {"id": group}}]}
    idp, sub = trust(cloud, provider.issuer, rule, authorization_ttl=600), somebody(provider)
    reply = log_in(cloud, idp, provider.token(sub))
    user = reply.json["token"]["user"]["id"]
    scoped = cloud.rescope(reply.headers["X-Subject-Token"], {"project": {"id": project}}, expect=201)
    body = {"application_credential": {"name": "ci"}}
    path, token = f"/users/{user}/application_credentials", scoped.headers["X-Subject-Token"]
    made = cloud.call("POST", path, body, token=token, expect=201).json["application_credential"]
    use = {"methods": ["application_credential"], "application_credential": {k: made[k] for k in ("id", "secret")}}
    e = t.expiring_memberships
    with cloud.svc.db.read() as conn:
        until = conn.execute(sa.select(e.c.expires_at).where(e.c.user_id == user)).scalar_one()
    assert datetime.timedelta(hours=9) < until - utcnow() <= datetime.timedelta(hours=10)
    soon = utcnow() + datetime.timedelta(minutes=2)
    with cloud.svc.db.write() as conn:
        conn.execute(sa.update(e).where(e.c.user_id == user).values(expires_at=soon))
    ends = cloud.authenticate(use, expect=201).json["token"]["expires_at"]
    assert datetime.datetime.fromisoformat(ends).replace(tzinfo=None) == soon
    with cloud.svc.db.write() as conn:
        conn.execute(sa.update(e).where(e.c.user_id == user).values(expires_at=utcnow()))
    cloud.authenticate(use, expect=401)
    log_in(cloud, idp, provider.token(sub))
    cloud.authenticate(use, expect=201)


def test_projects_are_made_with_roles(cloud: Any, provider: Provider) -> None:
    projects = [{"name": "home of {0}", "roles": [{"name": "member"}]}]
    rule = {**USER, "local": [{"user": {"name": "{0}"}, "projects": projects}]}
    idp, sub = trust(cloud, provider.issuer, rule), somebody(provider)
    for _ in range(2):
        token = log_in(cloud, idp, provider.token(sub)).headers["X-Subject-Token"]
        (project,) = cloud.call("GET", "/auth/projects", token=token, expect=200).json["projects"]
        home = cloud.call("GET", f"/OS-FEDERATION/identity_providers/{idp}").json["identity_provider"]["domain_id"]
        assert (project["name"], project["domain_id"]) == (f"home of {sub}-name", home)
        cloud.rescope(token, {"project": {"id": project["id"]}}, expect=201)
    projects[0]["roles"] = [{"name": "no such role"}]
    cloud.call("PATCH", f"/OS-FEDERATION/mappings/{idp}", {"mapping": {"rules": [rule]}}, expect=200)
    log_in(cloud, idp, provider.token(sub), expect=401)


def test_version_2_puts_users_and_projects_into_domains(cloud: Any, provider: Provider) -> None:
    domain, other = cloud.domain(), cloud.domain()
    other_name = cloud.call("GET", f"/domains/{other}").json["domain"]["name"]
    projects = [
        {"name": "p", "roles": [{"name": "reader"}]},
        {"name": "q", "roles": [{"name": "member"}], "domain": {"name": "{1}"}},
    ]
    local = {"user": {"name": "{0}"}, "domain": {"id": domain}, "projects": projects}
    rule = {"local": [local], "remote": [{"type": "preferred_username"}, {"type": "tenant"}]}
    idp, sub = trust(cloud, provider.issuer, rule, version="2.0"), somebody(provider)
    reply = log_in(cloud, idp, provider.token(sub, tenant=other_name))
    assert reply.json["token"]["user"]["domain"]["id"] == domain
    found = cloud.call("GET", "/auth/projects", token=reply.headers["X-Subject-Token"], expect=200).json["projects"]
    assert {(p["name"], p["domain_id"]) for p in found} == {("p", domain), ("q", other)}
    log_in(cloud, idp, provider.token(sub, tenant="no such domain"), expect=401)


def test_no_rule_no_login(cloud: Any, provider: Provider) -> None:
    rule = {"local": [{"user": {"name": "{0}"}}],
            "remote": [{"type": "sub"}, {"type": "email", "any_one_of": ["@example.org$"], "regex": True}]}  # fmt: skip
    idp = trust(cloud, provider.issuer, rule)
    log_in(cloud, idp, provider.token("x", email="x@example.com"), expect=401)
    log_in(cloud, idp, provider.token("x"), expect=401)
    log_in(cloud, idp, provider.token("x", email="x@example.org"))
    group, _ = federated_group(cloud)
    rule["local"] = [{"group": {"id": group}}]
    cloud.call("PATCH", f"/OS-FEDERATION/mappings/{idp}", {"mapping": {"rules": [rule]}}, expect=200)
    reply = log_in(cloud, idp, provider.token("unnamed", email="x@example.org"))
    assert reply.json["token"]["user"]["name"] == "unnamed"  # as the provider itself calls the user


# ------------------------------------------------------------------------------------------------ what is not believed


def encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def forged(provider: Provider) -> dict[str, Callable[[], str]]:
    """Tokens that must not be believed, by what is wrong with them."""
    long_ago = 1_600_000_000

    def with_header(header: dict[str, str]) -> str:
        body = provider.token("x", preferred_username="x").split(".")[1]
        return f"{encoded(json.dumps(header).encode())}.{body}"

    def none() -> str:
        return with_header({"alg": "none", "typ": "JWT"}) + "."

    def public_key_as_secret() -> str:
        text = with_header({"alg": "HS256", "typ": "JWT", "kid": provider.keys[0].kid or ""})
        secret = provider.keys[0].as_pem(private=False)
        return f"{text}.{encoded(hmac.digest(secret, text.encode(), 'sha256'))}"

    def changed() -> str:
        head, _, signature = provider.token("x", preferred_username="x").split(".")
        return ".".join((head, provider.token("x", preferred_username="admin").split(".")[1], signature))

    def own_key() -> str:
        key = RSAKey.generate_key(2048, {"kid": provider.keys[0].kid})
        header = {"jwk": key.as_dict(private=False), "jku": "http://127.0.0.1:9/keys"}
        return provider.token("x", key=key, header=header, preferred_username="x")

    def of(**claims: Any) -> Callable[[], str]:
        return lambda: provider.token("x", **{"preferred_username": "x", **claims})

    return {
        "expired": of(iat=long_ago, exp=long_ago + 60),
        "not yet valid": of(nbf=4_000_000_000),
        "without expiry": of(exp=None),
        "for another audience": of(aud="another-service"),
        "for other audiences": of(aud=["one", "two"]),
        "without audience": of(aud=None),
        "by another issuer": of(iss="https://evil.example.org"),
        "by nearly the issuer": of(iss=provider.issuer + "/"),
        "without issuer": of(iss=None),
        "about nobody": of(sub=None),
        "algorithm none": none,
        "HS256 with the public key": public_key_as_secret,
        "changed": changed,
        "signed with a key it brings along": own_key,
        "kid unknown": lambda: provider.token("x", header={"kid": "unknown"}, preferred_username="x"),
        "algorithm not allowed": lambda: provider.token("x", header={"alg": "RS384"}, preferred_username="x"),
        "of another kind": lambda: provider.token("x", header={"typ": "logout+jwt"}, preferred_username="x"),
        "no token at all": lambda: "x.y.z",
        "opaque": lambda: provider.opaque_token("x"),
        "empty": lambda: "",
    }


def test_forged_tokens(cloud: Any, provider: Provider) -> None:
    idp = trust(cloud, provider.issuer)
    for wrong, token in forged(provider).items():
        reply = log_in(cloud, idp, token(), expect=None)
        assert reply.status_int == 401, wrong
        assert reply.json["error"] == {
            "code": 401, "title": "Unauthorized",
            "message": "The request you have made requires authentication.",
        }, wrong  # fmt: skip
        log_in(cloud, idp, provider.token("x", preferred_username="x"))


def test_no_bearer_at_all(cloud: Any, provider: Provider) -> None:
    idp = trust(cloud, provider.issuer)
    log_in(cloud, idp, None, expect=401)
    log_in(cloud, idp, cloud.admin, expect=401)
    path = f"/OS-FEDERATION/identity_providers/{idp}/protocols/openid/auth"
    spoofed = {"HTTP_OIDC_ISS": provider.issuer, "OIDC-sub": "x", "Remote-User": "admin"}
    cloud.call("GET", path, token=None, headers=spoofed, expect=401)
    cloud.call("GET", "/users", token=None, headers={"Authorization": f"Bearer {provider.token('x')}"}, expect=401)


def test_one_providers_token_is_of_no_use_at_anothers(cloud: Any, provider: Provider) -> None:
    other = Provider()
    try:
        idp, sub = trust(cloud, provider.issuer), somebody(provider)
        log_in(cloud, idp, other.token(sub, preferred_username="x"), expect=401)
        log_in(cloud, idp, other.token(sub, iss=provider.issuer, preferred_username="x"), expect=401)
        second = trust(cloud, other.issuer)
        mine = log_in(cloud, idp, provider.token(sub)).json["token"]["user"]["id"]
        theirs = log_in(cloud, second, other.token(sub, preferred_username=f"{sub}-name")).json["token"]["user"]["id"]
        assert mine != theirs
    finally:
        other.stop()


def test_keys_are_rotated(cloud: Any, provider: Provider) -> None:
    idp, sub = trust(cloud, provider.issuer), somebody(provider)
    old = provider.token(sub)
    log_in(cloud, idp, old)
    provider.rotate("EC")
    log_in(cloud, idp, provider.token(sub))
    log_in(cloud, idp, old, expect=401)
    key = ECKey.generate_key("P-384", {"kid": "p384", "use": "sig"})
    encrypting = RSAKey.generate_key(2048, {"kid": "enc", "use": "enc"})
    provider.keys += [key, encrypting]
    log_in(cloud, idp, provider.token(sub, key=key, header={"alg": "ES384", "kid": "p384"}), expect=401)
    signing = RSAKey.import_key(encrypting.as_pem(private=True), {"kid": "enc"})
    log_in(cloud, idp, provider.token(sub, key=signing, header={"alg": "RS256"}), expect=401)
    provider.rotate("RSA")
    log_in(cloud, idp, provider.token(sub, header={"kid": None}))
    provider.keys.append(RSAKey.generate_key(2048, {"kid": "second", "use": "sig"}))
    log_in(cloud, idp, provider.token(sub, header={"kid": "second"}, key=provider.keys[1]))
    log_in(cloud, idp, provider.token(sub, header={"kid": None}), expect=401)
    provider.rotate()


def test_keys_are_read_seldom(fresh: Any, provider: Provider) -> None:
    cloud = fresh({**OPTIONS, ("oidc", "keys_pause"): 60})
    idp, sub = trust(cloud, provider.issuer), somebody(provider)
    before = provider.asked.get("/keys", 0)
    for _ in range(5):
        log_in(cloud, idp, provider.token(sub))
        log_in(cloud, idp, provider.token(sub, header={"kid": "unknown"}), expect=401)
    assert provider.asked["/keys"] == before + 1


def test_a_provider_that_is_down(fresh: Any) -> None:
    cloud, provider = fresh(OPTIONS), Provider()
    idp, sub = trust(cloud, provider.issuer), somebody(provider)
    token = provider.token(sub)
    provider.stop()
    error = log_in(cloud, idp, token, expect=503).json["error"]
    assert error["title"] == "Service Unavailable" and "127.0.0.1" not in error["message"]
    cloud.svc.openid.issuers._tried.clear()
    provider.start()
    log_in(cloud, idp, token)
    provider.stop()
    log_in(cloud, idp, token)  # the keys are known
    log_in(cloud, idp, provider.token(sub, header={"kid": "unknown"}), expect=401)
    provider.start()
    for path in ("/keys", "/.well-known/openid-configuration"):
        provider.broken = {path}
        log_in(fresh_again := fresh(OPTIONS), trust(fresh_again, provider.issuer), token, expect=503)
    provider.stop()


class Hostile:
    """Listens on loopback and says what `script` yields to whoever asks; asked: how many did."""

    def __init__(self, script: Callable[[], Iterator[bytes]]) -> None:
        self._script, self.asked = script, 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.issuer = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the test is over
            while True:
                conn, _ = self._socket.accept()
                self.asked += 1
                threading.Thread(target=self._talk, args=(conn,), daemon=True).start()

    def _talk(self, conn: socket.socket) -> None:
        with conn, contextlib.suppress(OSError):  # the other side has hung up
            conn.recv(65536)
            for part in self._script():
                conn.sendall(part)

    def stop(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def dripping(start: bytes, drop: bytes) -> Iterator[bytes]:
    """For a minute, which is long enough to show that nobody waits for the end."""
    yield start
    for _ in range(300):
        yield drop
        time.sleep(0.2)


OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
HOSTILE: dict[str, Callable[[str], Iterator[bytes]]] = {
    "an endless body": lambda _: itertools.chain([OK + b"\r\n"], itertools.repeat(b" " * 65536)),
    "a body in drops": lambda _: dripping(OK + b"\r\n{", b" "),
    "headers in drops": lambda _: dripping(OK + b"X-Slow: ", b"x"),
    "silence": lambda _: dripping(b"", b""),
    "a huge header": lambda _: itertools.chain([OK + b"X-Huge: "], itertools.repeat(b"x" * 65536)),
    "endless headers": lambda _: itertools.chain([OK], itertools.repeat(b"X-More: 1\r\n" * 1000)),
    "a redirect to metadata": lambda _: iter(
        [b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/latest/meta-data/\r\nContent-Length: 0\r\n\r\n"]
    ),
    "a redirect to a good one": lambda good: iter(
        [f"HTTP/1.1 302 Found\r\nLocation: {good}/.well-known/openid-configuration\r\n\r\n".encode()]
    ),
    "another content type": lambda _: iter([b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n{}"]),
    "no JSON": lambda _: iter([OK + b"Content-Length: 5\r\n\r\nhello"]),
    "a bomb": lambda _: iter([OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b" " * (64 << 20))]),
    "no HTTP": lambda _: iter([b"220 mail.example.org ESMTP\r\n"]),
}


@pytest.mark.parametrize("how", HOSTILE)
def test_a_hostile_provider(cloud: Any, provider: Provider, how: str) -> None:
    hostile = Hostile(lambda: HOSTILE[how](provider.issuer))
    before = dict(provider.asked)
    try:
        idp = trust(cloud, hostile.issuer)
        began = time.monotonic()
        error = log_in(cloud, idp, provider.token("x", iss=hostile.issuer), expect=503).json["error"]
        took = time.monotonic() - began
    finally:
        hostile.stop()
    assert took < 60  # two seconds by the configuration; endless without a bound
    assert hostile.asked == 1 and provider.asked == before
    assert "identity provider does not answer" in error["message"] and "127.0.0.1" not in error["message"]


def test_a_provider_must_speak_tls(fresh: Any, provider: Provider) -> None:
    cloud = fresh({**OPTIONS, ("oidc", "allow_http"): False})
    before = dict(provider.asked)
    log_in(cloud, trust(cloud, provider.issuer), provider.token("x"), expect=401)
    assert provider.asked == before


def test_without_an_audience_nothing_is_believed(fresh: Any, provider: Provider) -> None:
    cloud = fresh({**OPTIONS, ("oidc", "client_id"): None})
    log_in(cloud, trust(cloud, provider.issuer), provider.token("x"), expect=403)
    cloud = fresh({**OPTIONS, ("oidc", "audiences"): ["account", "other"]})
    idp = trust(cloud, provider.issuer)
    log_in(cloud, idp, provider.token("x", preferred_username="x"), expect=401)
    log_in(cloud, idp, provider.token("x", preferred_username="x", aud=["account", "z"]))


def test_introspection_and_userinfo(fresh: Any, provider: Provider) -> None:
    cloud = fresh({**OPTIONS, ("oidc", "introspection"): True})
    idp, sub = trust(cloud, provider.issuer), somebody(provider)
    token = provider.opaque_token(sub)
    assert log_in(cloud, idp, token).json["token"]["user"]["name"] == f"{sub}-name"
    log_in(cloud, idp, "unknown-opaque-token", expect=401)
    log_in(cloud, idp, provider.opaque_token(sub, exp=1_600_000_000), expect=401)
    log_in(cloud, idp, provider.opaque_token(sub, aud="another"), expect=401)
    log_in(cloud, idp, provider.opaque_token(sub, iss="https://evil.example.org"), expect=401)
    provider.opaque.pop(token)
    log_in(cloud, idp, token, expect=401)
    cloud = fresh({**OPTIONS, ("oidc", "userinfo"): True})
    rule = {"local": [{"user": {"name": "{0}"}}], "remote": [{"type": "nickname"}]}
    idp = trust(cloud, provider.issuer, rule)
    assert log_in(cloud, idp, provider.token(sub)).json["token"]["user"]["name"] == f"{sub}-nick"


def test_options_of_one_identity_provider(tmp_path: Path) -> None:
    path = tmp_path / "identity.conf"
    path.write_text("[oidc]\nclient_id = all\nalgorithms = RS256\n[oidc_corp]\nclient_id = one\nallow_http = true\n")
    known = OpenId(config.load(SPEC.new_conf(), [path]))
    corp, other = known.settings("corp"), known.settings("other")
    assert (corp.accepted, corp.allow_http, corp.algorithms) == (["one"], True, ["RS256"])
    assert (other.accepted, other.allow_http, other.algorithms) == (["all"], False, ["RS256"])
    for symmetric in ("HS256", "none"):
        path.write_text(f"[oidc]\nalgorithms = {symmetric}\n")
        with pytest.raises(cfg.ConfigFileValueError):
            OpenId(config.load(SPEC.new_conf(), [path])).settings("corp").algorithms  # noqa: B018


# ----------------------------------------------------------------------------------------------- what ends federation


@pytest.mark.parametrize("end", ["disable", "delete provider", "delete protocol", "disable user", "unlink"])
def test_what_ends_tokens_of_federated_users(cloud: Any, provider: Provider, end: str) -> None:
    group, project = federated_group(cloud)
    rule = {**USER, "local": [{"user": {"name": "{0}"}, "group": {"id": group}}]}
    idp, sub = trust(cloud, provider.issuer, rule), somebody(provider)
    reply = log_in(cloud, idp, provider.token(sub))
    token, user = reply.headers["X-Subject-Token"], reply.json["token"]["user"]["id"]
    scoped = cloud.rescope(token, {"project": {"id": project}}, expect=201).headers["X-Subject-Token"]
    path = f"/OS-FEDERATION/identity_providers/{idp}"
    expect = 404
    if end == "disable":
        cloud.call("PATCH", path, {"identity_provider": {"enabled": False}}, expect=200)
        expect = 403
    elif end == "delete provider":
        cloud.call("DELETE", path, expect=204)
    elif end == "delete protocol":
        cloud.call("DELETE", f"{path}/protocols/openid", expect=204)
    elif end == "disable user":
        cloud.call("PATCH", f"/users/{user}", {"user": {"enabled": False}}, expect=200)
        expect = 401
    else:
        cloud.call("PATCH", f"/users/{user}", {"user": {"federated": []}}, expect=200)
        expect = 201
    assert not cloud.valid(token) and not cloud.valid(scoped)
    log_in(cloud, idp, provider.token(sub), expect=expect)


def test_a_user_can_be_linked_beforehand(cloud: Any, provider: Provider) -> None:
    idp, sub = trust(cloud, provider.issuer), somebody(provider)
    federated = [{"idp_id": idp, "protocols": [{"protocol_id": "openid", "unique_id": f"{sub}-name"}]}]
    user = cloud.user(federated=federated)
    assert log_in(cloud, idp, provider.token(sub)).json["token"]["user"]["id"] == user
    assert cloud.call("GET", f"/users/{user}").json["user"]["federated"] == federated
    body = {"user": {"name": "again", "domain_id": "default", "federated": federated}}
    cloud.call("POST", "/users", body, expect=409)
    body["user"]["federated"] = [{"idp_id": "no-such", "protocols": federated[0]["protocols"]}]
    cloud.call("POST", "/users", body, expect=400)
    domain = cloud.domain()
    manager = cloud.user("federation-manager")
    cloud.grant("manager", f"domains/{domain}", manager)
    token = cloud.login("federation-manager", domain=domain)
    body["user"] = {"name": "mine", "domain_id": domain, "federated": federated}
    cloud.call("POST", "/users", body, token=token, expect=403)


# ------------------------------------------------------------------------------------------------------ in the browser

DASHBOARD = "https://dashboard.example.org/auth/websso/"
TRUSTED = {**OPTIONS, ("federation", "trusted_dashboard"): [DASHBOARD]}


def start(cloud: Any, path: str, origin: str | None = DASHBOARD, expect: int = 302) -> Any:
    query = urlencode({"origin": origin}) if origin else ""
    return cloud.call("GET", f"{path}?{query}", token=None, expect=expect)


def come_back(cloud: Any, location: str, cookie: str, expect: int = 200) -> Any:
    """The browser follows the identity provider's redirect."""
    path = urlsplit(location)
    address = f"{path.path.removeprefix('/v3')}?{path.query}"
    return cloud.call("GET", address, token=None, headers={"Cookie": cookie} if cookie else {}, expect=expect)


def test_a_login_in_the_browser(fresh: Any, provider: Provider) -> None:
    cloud = fresh(TRUSTED)
    idp, sub = trust(cloud, provider.issuer), somebody(provider)
    base = "/auth/OS-FEDERATION"
    for path in (f"{base}/websso/openid", f"{base}/identity_providers/{idp}/protocols/openid/websso"):
        start(cloud, path, None, expect=400)
        start(cloud, path, "https://evil.example.org/", expect=401)
        begun = start(cloud, path)
        asked = parse_qs(urlsplit(begun.headers["Location"]).query)
        assert asked["redirect_uri"] == [f"http://localhost/v3{path}"] and asked["code_challenge_method"] == ["S256"]
        set_cookie = begun.headers["Set-Cookie"]
        assert "HttpOnly" in set_cookie and "SameSite=Lax" in set_cookie
        cookie = set_cookie.partition(";")[0]
        gone = requests.get(begun.headers["Location"], params={"login_hint": sub}, allow_redirects=False, timeout=10)
        back = gone.headers["Location"]
        come_back(cloud, back, "", expect=401)
        come_back(cloud, back, "aerie_websso=forged", expect=401)
        come_back(cloud, back.replace("state=", "state=x"), cookie, expect=401)
        other = start(cloud, path).headers["Set-Cookie"].partition(";")[0]
        come_back(cloud, back, other, expect=401)
        page = come_back(cloud, back, cookie)
        assert f'action="{DASHBOARD}" method="post"' in page.text and page.headers["Cache-Control"] == "no-store"
        assert "form-action https://dashboard.example.org" in page.headers["Content-Security-Policy"]
        (token,) = re.findall(r'name="token" value="([^"]+)"', page.text)
        assert cloud.body(token)["user"]["name"] == f"{sub}-name" and "project" not in cloud.body(token)
        come_back(cloud, back, cookie, expect=401)  # a code is good once
        refused = {"error": "access_denied", "state": asked["state"][0]}
        come_back(cloud, f"http://localhost/v3{path}?{urlencode(refused)}", cookie, expect=401)
    trust(cloud, "https://second.example.org")
    start(cloud, f"{base}/websso/openid", expect=400)


# ------------------------------------------------------------------------------------------------------ keeping records


def test_identity_providers(cloud: Any) -> None:
    path = "/OS-FEDERATION/identity_providers/corp"
    sent = {"description": "Corp", "remote_ids": ["https://corp"], "authorization_ttl": 30}
    made = cloud.call("PUT", path, {"identity_provider": sent}, expect=201).json["identity_provider"]
    address = f"http://localhost/v3{path}"
    assert made == {**sent, "id": "corp", "enabled": False, "domain_id": made["domain_id"],
                    "links": {"self": address, "protocols": f"{address}/protocols"}}  # fmt: skip
    assert cloud.call("GET", f"/domains/{made['domain_id']}", expect=200).json["domain"]["enabled"]
    assert cloud.call("GET", path, expect=200).json["identity_provider"] == made
    found = cloud.call("GET", "/OS-FEDERATION/identity_providers?id=corp", expect=200).json["identity_providers"]
    assert found == [made]
    enabled = cloud.call("GET", "/OS-FEDERATION/identity_providers?enabled=true").json["identity_providers"]
    assert "corp" not in [idp["id"] for idp in enabled]
    cloud.call("PUT", path, {"identity_provider": {}}, expect=409)
    cloud.call("PUT", f"{path}-2", {"identity_provider": {"remote_ids": ["https://corp"]}}, expect=409)
    cloud.call("PUT", f"{path}-2", {"identity_provider": {"domain_id": "none"}}, expect=404)
    cloud.call("PUT", f"{path}-2", {"identity_provider": {"name": "x"}}, expect=400)
    cloud.call("PUT", f"{path}%20x", {"identity_provider": {}}, expect=400)
    cloud.call("PATCH", path, {"identity_provider": {"domain_id": "default"}}, expect=400)
    changed = {"identity_provider": {"enabled": True, "remote_ids": ["https://a", "https://b"]}}
    assert cloud.call("PATCH", path, changed, expect=200).json["identity_provider"]["remote_ids"] == [
        "https://a", "https://b",
    ]  # fmt: skip
    cloud.call("DELETE", path, expect=204)
    error = cloud.call("GET", path, expect=404).json["error"]
    assert error["message"] == "Could not find identity provider: corp."


def test_protocols(cloud: Any, provider: Provider) -> None:
    idp = trust(cloud, provider.issuer)
    base = f"/OS-FEDERATION/identity_providers/{idp}"
    found = cloud.call("GET", f"{base}/protocols", expect=200).json["protocols"]
    address = f"http://localhost/v3{base}"
    assert found == [{"id": "openid", "mapping_id": idp, "remote_id_attribute": None,
                      "links": {"self": f"{address}/protocols/openid", "identity_provider": address}}]  # fmt: skip
    cloud.call("PUT", f"{base}/protocols/openid", {"protocol": {"mapping_id": idp}}, expect=409)
    cloud.call("PUT", f"{base}/protocols/saml2", {"protocol": {"mapping_id": "none"}}, expect=400)
    cloud.call("PUT", f"{base}/protocols/saml2", {"protocol": {}}, expect=400)
    cloud.call("PUT", f"{base}/protocols/saml2", {"protocol": {"mapping_id": idp}}, expect=201)
    cloud.call("GET", f"{base}/protocols/saml2/auth", token=None, expect=501)
    cloud.call("GET", f"{base}/protocols/nothing/auth", token=None, expect=404)
    attribute = {"protocol": {"remote_id_attribute": "hd"}}
    cloud.call("PATCH", f"{base}/protocols/openid", attribute, expect=200)
    log_in(cloud, idp, provider.token("x", preferred_username="x"), expect=401)
    log_in(cloud, idp, provider.token("x", preferred_username="x", hd=provider.issuer))
    cloud.call("PATCH", f"{base}/protocols/openid", {"protocol": {"mapping_id": "none"}}, expect=400)
    cloud.call("DELETE", f"/OS-FEDERATION/mappings/{idp}", expect=204)
    log_in(cloud, idp, provider.token("x", preferred_username="x", hd=provider.issuer), expect=401)
    cloud.call("DELETE", f"{base}/protocols/saml2", expect=204)
    cloud.call("DELETE", f"{base}/protocols/saml2", expect=404)


def test_service_providers_are_in_tokens(cloud: Any) -> None:
    path = "/OS-FEDERATION/service_providers/other"
    sent = {"auth_url": "https://other/auth", "sp_url": "https://other/sp"}
    made = cloud.call("PUT", path, {"service_provider": sent}, expect=201).json["service_provider"]
    assert made == {**sent, "id": "other", "enabled": False, "description": None, "relay_state_prefix": "ss:mem:",
                    "links": {"self": f"http://localhost/v3{path}"}}  # fmt: skip
    cloud.call("PUT", path, {"service_provider": sent}, expect=409)
    cloud.call("PUT", f"{path}-2", {"service_provider": {"auth_url": "https://x"}}, expect=400)
    assert "service_providers" not in cloud.body(cloud.admin)
    cloud.call("PATCH", path, {"service_provider": {"enabled": True}}, expect=200)
    assert cloud.body(cloud.admin)["service_providers"] == [{**sent, "id": "other"}]
    found = cloud.call("GET", "/OS-FEDERATION/service_providers?enabled=1", expect=200).json["service_providers"]
    assert [sp["id"] for sp in found] == ["other"]
    cloud.call("DELETE", path, expect=204)
    cloud.call("GET", path, expect=404)


def test_json_home_tells_where(cloud: Any) -> None:
    home = cloud.call("GET", "", token=None, headers={"Accept": "application/json-home"}, expect=200).json["resources"]
    base = "https://docs.openstack.org/api/openstack-identity/3/ext"
    for relation in ("identity_providers", "identity_provider", "identity_provider_protocols", "mapping", "mappings",
                     "identity_provider_protocol", "service_provider", "projects", "domains"):  # fmt: skip
        assert f"{base}/OS-FEDERATION/1.0/rel/{relation}" in home
    assert home[f"{base}/OS-OAUTH2/1.0/rel/token"]["href"] == "/OS-OAUTH2/token"
