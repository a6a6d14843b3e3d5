# SPDX-License-Identifier: Apache-2.0
"""Tokens: what they say for each scope, who may validate them, when they end."""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Callable
from typing import Any

import pytest

from aerie_common.db import count_queries
from aerie_common.errors import Unauthorized
from aerie_identity import commands
from aerie_identity.logic import totp, websso

ROLES = ["admin", "manager", "member", "reader"]


def names(body: dict[str, Any]) -> list[str]:
    return [role["name"] for role in body["roles"]]


def test_a_project_token_says_all_clients_read(cloud: Any) -> None:
    scope = {"project": {"name": "admin", "domain": {"name": "Default"}}}
    reply = cloud.authenticate(cloud.password("admin", "secret", {"name": "Default"}), scope, expect=201)
    body = reply.json["token"]
    assert reply.headers["Vary"] == "X-Auth-Token"
    assert len(reply.headers["X-Subject-Token"]) < 255
    assert body["methods"] == ["password"]
    assert body["user"]["domain"] == body["project"]["domain"] == {"id": "default", "name": "Default"}
    assert body["user"]["password_expires_at"] is None
    assert names(body) == ROLES
    assert body["is_domain"] is False
    assert len(body["audit_ids"]) == 1
    issued, expires = (
        datetime.datetime.strptime(body[k], "%Y-%m-%dT%H:%M:%S.%fZ") for k in ("issued_at", "expires_at")
    )
    assert expires - issued == datetime.timedelta(hours=1)
    compute = next(s for s in body["catalog"] if s["type"] == "compute")
    assert {e["interface"] for e in compute["endpoints"]} == {"public", "internal", "admin"}
    assert {(e["region"], e["region_id"]) for e in compute["endpoints"]} == {("RegionOne", "RegionOne")}
    assert cloud.body(reply.headers["X-Subject-Token"]) == body


def test_scopes(cloud: Any) -> None:
    password = cloud.password("admin", "secret")
    unscoped = cloud.authenticate(password, "unscoped", expect=201).json["token"]
    assert not {"project", "roles", "catalog", "domain"} & unscoped.keys()
    system = cloud.authenticate(password, {"system": {"all": True}}, expect=201).json["token"]
    assert system["system"] == {"all": True} and names(system) == ROLES and system["catalog"]
    domain = cloud.domain()
    cloud.authenticate(password, {"domain": {"id": domain}}, expect=401)
    cloud.grant("reader", f"domains/{domain}", unscoped["user"]["id"])
    scoped = cloud.authenticate(password, {"domain": {"id": domain}}, expect=201).json["token"]
    assert scoped["domain"]["id"] == domain and names(scoped) == ["reader"]


def test_the_default_project_is_the_scope_of_a_login_without_one(cloud: Any) -> None:
    name, user, project = cloud.member()
    assert "project" not in cloud.authenticate(cloud.password(name, "pw"), expect=201).json["token"]
    cloud.call("PATCH", f"/users/{user}", {"user": {"default_project_id": project}}, expect=200)
    assert cloud.authenticate(cloud.password(name, "pw"), expect=201).json["token"]["project"]["id"] == project
    assert "project" not in cloud.authenticate(cloud.password(name, "pw"), "unscoped", expect=201).json["token"]
    cloud.call("PATCH", f"/projects/{project}", {"project": {"enabled": False}}, expect=200)
    assert "project" not in cloud.authenticate(cloud.password(name, "pw"), expect=201).json["token"]
    cloud.call("PATCH", f"/projects/{project}", {"project": {"enabled": True}}, expect=200)
    assert "project" in cloud.authenticate(cloud.password(name, "pw"), expect=201).json["token"]
    grant = f"/projects/{project}/users/{user}/roles/{cloud.role_id('member')}"
    cloud.call("DELETE", grant, expect=204)
    assert "project" not in cloud.authenticate(cloud.password(name, "pw"), expect=201).json["token"]
    cloud.call("DELETE", f"/projects/{project}", expect=204)
    assert "project" not in cloud.authenticate(cloud.password(name, "pw"), expect=201).json["token"]


def test_nocatalog(cloud: Any) -> None:
    reply = cloud.authenticate(
        cloud.password("admin", "secret"), {"project": {"name": "admin", "domain": {"id": "default"}}},
        path="/auth/tokens?nocatalog", expect=201,
    )  # fmt: skip
    assert "catalog" not in reply.json["token"]
    token = reply.headers["X-Subject-Token"]
    shown = cloud.call("GET", "/auth/tokens?nocatalog", headers={"X-Subject-Token": token}, expect=200)
    assert "catalog" not in shown.json["token"]


def test_rescoping_keeps_the_end_and_the_chain(cloud: Any) -> None:
    name, user, project = cloud.member()
    first = cloud.login(name)
    before = cloud.body(first)
    after = cloud.rescope(first, {"project": {"id": project}}, expect=201).json["token"]
    assert after["expires_at"] == before["expires_at"]
    assert after["methods"] == ["password", "token"]
    assert after["audit_ids"][1] == before["audit_ids"][0] != after["audit_ids"][0]
    cloud.rescope(first, {"project": {"id": cloud.project()}}, expect=401)


@pytest.mark.parametrize(
    "identity, status",
    [
        ({"methods": []}, 400),
        ({"methods": ["password"]}, 400),
        ({"methods": ["magic"], "magic": {}}, 401),
        ({"methods": ["password"], "password": {"user": {"name": "admin", "password": "secret"}}}, 400),
        ({"methods": ["password"], "password": {"user": {"id": "nobody", "password": "x"}}}, 401),
        ({"methods": ["password"], "password": {"user": {"id": 5, "password": "x"}}}, 400),
        ({"methods": ["token"], "token": {"id": "x"}}, 401),
        ({"methods": ["token"], "token": {"id": "é" * 120}}, 401),
        ({"methods": ["token"], "token": {"id": ""}}, 401),
    ],
)
def test_malformed_logins(cloud: Any, identity: dict[str, Any], status: int) -> None:
    cloud.authenticate(identity, expect=status)


def test_scope_errors(cloud: Any) -> None:
    password = cloud.password("admin", "secret")
    cloud.authenticate(password, {"project": {"name": "admin"}}, expect=400)
    cloud.authenticate(password, {"project": {"name": "nothing", "domain": {"id": "default"}}}, expect=401)
    cloud.authenticate(password, {"project": {"id": "nothing"}}, expect=401)
    cloud.authenticate(password, {"system": {"all": True}, "project": {"id": "x"}}, expect=400)
    cloud.authenticate(password, {"system": {}}, expect=400)


def test_validation_is_for_admins_services_and_the_owner(cloud: Any) -> None:
    name, _, project = cloud.member()
    other, _, elsewhere = cloud.member()
    token, stranger = cloud.login(name, project=project), cloud.login(other, project=elsewhere)
    service = cloud.login("compute", "service-pw", project="service")
    subject = {"X-Subject-Token": token}
    for by in (token, service, cloud.admin):
        cloud.call("GET", "/auth/tokens", token=by, headers=subject, expect=200)
        assert cloud.call("HEAD", "/auth/tokens", token=by, headers=subject, expect=200).body == b""
    cloud.call("GET", "/auth/tokens", token=stranger, headers=subject, expect=403)
    cloud.call("DELETE", "/auth/tokens", token=stranger, headers=subject, expect=403)
    cloud.call("GET", "/auth/tokens", token=None, headers=subject, expect=401)
    for bad in ("x" * 180, token[:-4] + "AAAA", "gAAAAA"):
        cloud.call("GET", "/auth/tokens", headers={"X-Subject-Token": bad}, expect=404)
    cloud.call("GET", "/auth/tokens", expect=400)


def test_a_deleted_token_is_refused_at_once(cloud: Any) -> None:
    name, _, project = cloud.member()
    token, kept = cloud.login(name, project=project), cloud.login(name, project=project)
    cloud.call("DELETE", "/auth/tokens", token=token, headers={"X-Subject-Token": token}, expect=204)
    cloud.call("GET", "/auth/projects", token=token, expect=401)
    cloud.call("GET", "/auth/tokens", headers={"X-Subject-Token": token}, expect=404)
    cloud.call("GET", "/auth/projects", token=kept, expect=200)
    events = cloud.call("GET", "/OS-REVOKE/events", expect=200).json["events"]
    assert any("audit_id" in event for event in events)


def test_cost_in_statements(cloud: Any) -> None:
    """A login, a validation and a remembered validation cost a fixed handful, nothing for the last."""
    name, user, project = cloud.member()
    cloud.grant("reader", f"projects/{project}", group=cloud.group(user))
    cloud.login(name, project=project)
    with count_queries(cloud.svc.db) as issued:
        token = cloud.login(name, project=project)
    assert issued.count <= 4, issued
    subject = {"X-Subject-Token": token}
    cloud.call("GET", "/auth/tokens", headers={"X-Subject-Token": cloud.admin}, expect=200)
    with count_queries(cloud.svc.db) as validated:
        cloud.call("GET", "/auth/tokens", headers=subject, expect=200)
    assert validated.count <= 3, validated
    cloud.svc.epoch.current()
    with count_queries(cloud.svc.db) as remembered:
        for _ in range(20):
            cloud.call("GET", "/auth/tokens", headers=subject, expect=200)
    assert remembered.count <= 1, remembered  # at most one look at the epoch


def test_catalog_and_scopes_of_the_caller(cloud: Any) -> None:
    name, user, project = cloud.member()
    domain = cloud.domain()
    cloud.grant("member", f"domains/{domain}", user)
    cloud.grant("reader", "system", user)
    token = cloud.login(name, project=project)
    assert {s["type"] for s in cloud.call("GET", "/auth/catalog", token=token).json["catalog"]} >= {"compute", "image"}
    unscoped = cloud.login(name)
    assert cloud.call("GET", "/auth/catalog", token=unscoped, expect=200).json["catalog"] == []
    assert [p["id"] for p in cloud.call("GET", "/auth/projects", token=unscoped).json["projects"]] == [project]
    assert [d["id"] for d in cloud.call("GET", "/auth/domains", token=unscoped).json["domains"]] == [domain]
    assert cloud.call("GET", "/auth/system", token=unscoped).json["system"] == [{"all": True}]


# ---------------------------------------------------------------------------------------------------- formats and keys


@pytest.mark.parametrize("provider", ["fernet", "jws"])
def test_formats(fresh: Callable[..., Any], provider: str) -> None:
    cloud = fresh({("token", "provider"): provider})
    token = cloud.login("admin", "secret", project="admin")
    assert names(cloud.body(token)) == ROLES
    assert token.count(".") == (2 if provider == "jws" else 0)
    changed = token[:-6] + ("AAAAAA" if not token.endswith("AAAAAA") else "BBBBBB")
    assert not cloud.valid(changed)


def test_an_expired_token_is_refused(fresh: Callable[..., Any]) -> None:
    cloud = fresh({("token", "expiration"): 3})
    token = cloud.login("admin", "secret", project="admin")
    assert cloud.valid(token)
    time.sleep(3.1)
    assert not cloud.valid(token)
    cloud.call("GET", "/auth/projects", token=token, expect=401)


def test_keys_rotate_without_ending_tokens(fresh: Callable[..., Any]) -> None:
    cloud = fresh({("fernet_tokens", "max_active_keys"): 3})
    keys = cloud.svc.token_keys
    token = cloud.login("admin", "secret", project="admin")

    def holds() -> bool:
        keys._looked = -10.0  # look at the folder now, not in a second
        return cloud.svc.token_format.unpack(token) is not None

    assert sorted(f.name for f in keys.path.iterdir()) == ["0", "1"]
    assert keys.rotate() == 2 and holds()
    assert sorted(f.name for f in keys.path.iterdir()) == ["0", "1", "2"]
    assert keys.rotate() == 3 and not holds()
    assert sorted(f.name for f in keys.path.iterdir()) == ["0", "2", "3"]
    assert not keys.setup()
    assert all(f.stat().st_mode & 0o77 == 0 for f in keys.path.iterdir())


def test_signing_keys_rotate_without_ending_tokens(fresh: Callable[..., Any]) -> None:
    cloud = fresh({("token", "provider"): "jws"})
    keys, conf = cloud.svc.jws_keys, cloud.svc.conf
    before = cloud.login("admin", "secret", project="admin")
    assert commands.run_fernet(conf, ["rotate"]) == 0
    after = cloud.login("admin", "secret", project="admin")
    assert [cloud.svc.token_format.unpack(t) is not None for t in (before, after)] == [True, True]
    assert sorted(f.name for f in keys.public.iterdir()) == ["public-1.pem", "public-2.pem"]
    assert all(f.stat().st_mode & 0o77 == 0 for f in keys.private.iterdir())
    long_ago = time.time() - conf.token.expiration - 1
    os.utime(keys.public / "public-2.pem", (long_ago, long_ago))  # no token of the first key can still live
    assert commands.run_fernet(conf, ["rotate"]) == 0
    assert sorted(f.name for f in keys.public.iterdir()) == ["public-2.pem", "public-3.pem"]
    assert [cloud.svc.token_format.unpack(t) is not None for t in (before, after)] == [False, True]
    (keys.public / "other-host.pem").write_bytes((keys.public / "public-2.pem").read_bytes())
    assert commands.run_fernet(conf, ["rotate"]) == 0 and (keys.public / "other-host.pem").exists()


# ----------------------------------------------------------------------------------------------------- several factors


def test_several_factors(cloud: Any) -> None:
    secret = "JBSWY3DPEHPK3PXP"
    rules = [["password", "totp"], ["password", "application_credential"]]
    options = {"multi_factor_auth_enabled": True, "multi_factor_auth_rules": rules}
    name = "two-factors"
    user = cloud.user(name, options=options)
    cloud.call("POST", "/credentials", {"credential": {"type": "totp", "blob": secret, "user_id": user}}, expect=201)
    reply = cloud.authenticate(cloud.password(name, "pw"), "unscoped", expect=401)
    receipt = reply.headers["Openstack-Auth-Receipt"]
    assert reply.json["required_auth_methods"] == rules
    assert reply.json["receipt"]["methods"] == ["password"] and reply.json["receipt"]["user"]["id"] == user
    assert not cloud.valid(receipt)
    cloud.rescope(receipt, "unscoped", expect=401)

    def code(offset: int = 0) -> dict[str, Any]:
        key = totp.decode(secret)
        assert key is not None
        passcode = totp.passcode(key, int(time.time()) // totp.STEP + offset)
        return {"methods": ["totp"], "totp": {"user": {"id": user, "passcode": passcode}}}

    headers = {"Openstack-Auth-Receipt": receipt}
    wrong = {"methods": ["totp"], "totp": {"user": {"id": user, "passcode": "000000"}}}
    cloud.authenticate(wrong, "unscoped", headers=headers, expect=401)
    cloud.authenticate(code(-20), "unscoped", headers=headers, expect=401)
    first, second = code(-1), code()
    body = cloud.authenticate(first, "unscoped", headers=headers, expect=201).json["token"]
    assert set(body["methods"]) == {"password", "totp"}
    cloud.authenticate(first, "unscoped", headers=headers, expect=401)  # a passcode is good once
    both = {**cloud.password(name, "pw"), "methods": ["password", "totp"], "totp": second["totp"]}
    cloud.authenticate(both, "unscoped", expect=201)
    cloud.authenticate(both, "unscoped", expect=401)
    cloud.authenticate({"methods": ["totp"], "totp": {"user": {"id": user, "passcode": "\u0661"}}}, expect=401)


SECRET = "JBSWY3DPEHPK3PXP"


def passcode(user: str, offset: int = 0) -> dict[str, Any]:
    """The part of a login with the passcode of this time step, or of one before."""
    key = totp.decode(SECRET)
    assert key is not None
    code = totp.passcode(key, int(time.time()) // totp.STEP + offset)
    return {"methods": ["totp"], "totp": {"user": {"id": user, "passcode": code}}}


def with_totp(cloud: Any, **options: Any) -> tuple[str, str]:
    """Name and id of a user with a passcode generator."""
    name, user, _ = cloud.member()
    cloud.call("PATCH", f"/users/{user}", {"user": {"options": options}}, expect=200)
    credential = {"credential": {"type": "totp", "blob": SECRET, "user_id": user}}
    cloud.call("POST", "/credentials", credential, expect=201)
    return name, user


def test_rules_hold_unless_switched_off(cloud: Any) -> None:
    """multi_factor_auth_enabled is true where nothing is said; a rule may also be of one factor."""
    name, user = with_totp(cloud, multi_factor_auth_rules=[["password", "totp"]])
    cloud.authenticate(cloud.password(name, "pw"), "unscoped", expect=401)
    cloud.authenticate(passcode(user), "unscoped", expect=401)
    path = f"/users/{user}"
    cloud.call("PATCH", path, {"user": {"options": {"multi_factor_auth_enabled": False}}}, expect=200)
    cloud.login(name)
    options = {"multi_factor_auth_enabled": True, "multi_factor_auth_rules": [["password"], ["totp"]]}
    cloud.call("PATCH", path, {"user": {"options": options}}, expect=200)
    cloud.login(name)
    cloud.call("PATCH", path, {"user": {"options": {"multi_factor_auth_rules": None}}}, expect=200)
    cloud.login(name)
    for bad in ([[]], [["password"], ["password"]], [["password", "password"]], ["password"], [[5]], "password"):
        cloud.call("PATCH", path, {"user": {"options": {"multi_factor_auth_rules": bad}}}, expect=400)


def test_a_factor_that_the_cloud_does_not_offer_locks_nobody_out(fresh: Callable[..., Any]) -> None:
    cloud = fresh({("auth", "methods"): ["password", "token"]})
    cloud.user("careful", options={"multi_factor_auth_rules": [["password", "totp"]]})
    cloud.login("careful")


@pytest.mark.parametrize("provider", ["fernet", "jws"])
def test_a_receipt_is_the_users_and_ends_like_a_token(fresh: Callable[..., Any], provider: str) -> None:
    cloud = fresh({("token", "provider"): provider, ("auth", "receipt_expiration"): 4})
    name, user = with_totp(cloud, multi_factor_auth_rules=[["password", "totp"]])
    other, other_id = with_totp(cloud, multi_factor_auth_rules=[["password", "totp"]])

    def receipt(password: str = "pw") -> dict[str, str]:
        reply = cloud.authenticate(cloud.password(name, password), "unscoped", expect=401)
        return {"Openstack-Auth-Receipt": reply.headers["Openstack-Auth-Receipt"]}

    held = receipt()
    cloud.authenticate(passcode(other_id), "unscoped", headers=held, expect=401)
    cloud.call("PATCH", f"/users/{user}", {"user": {"password": "changed"}}, expect=200)
    cloud.authenticate(passcode(user, -1), "unscoped", headers=held, expect=401)  # the password it stood for is gone
    held = receipt("changed")
    cloud.authenticate(passcode(user), "unscoped", headers=held, expect=201)
    held = receipt("changed")
    time.sleep(4.1)
    cloud.authenticate(passcode(user), "unscoped", headers=held, expect=401)
    bad = {"Openstack-Auth-Receipt": "x" * 200}
    cloud.authenticate(passcode(user), "unscoped", headers=bad, expect=401)


def test_totp_codes_are_those_of_the_standard() -> None:
    """RFC 6238, appendix B (SHA-1, the last six of its eight digits)."""
    key = b"12345678901234567890"
    expected = [(59, "287082"), (1111111109, "081804"), (1234567890, "005924"), (20000000000, "353130")]
    assert [(at, totp.passcode(key, at // 30)) for at, _ in expected] == expected


def test_what_else_the_keys_seal_is_no_token_and_a_token_is_nothing_else(cloud: Any) -> None:
    cookie = cloud.svc.token_keys.encrypt(b'{"login": ["idp", "openid"], "until": 1e12}' + b" " * 50).decode()
    cloud.call("GET", "/auth/tokens", token=cookie, headers={"X-Subject-Token": cookie}, expect=401)
    padded = cloud.admin + "=" * (-len(cloud.admin) % 4)
    with pytest.raises(Unauthorized):
        websso.finish(cloud.svc, "idp", "openid", {"state": "", "code": "x"}, padded)
