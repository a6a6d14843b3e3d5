# SPDX-License-Identifier: Apache-2.0
"""Security advisories of OpenStack's identity service (and two of all services): each is a test named after it."""

from __future__ import annotations

import json
import logging
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aerie_common import config
from aerie_common.auth import SPOOFABLE, TokenCache
from aerie_common.clients import RemoteTokens, ServiceClients
from aerie_common.serving import HttpServer
from aerie_identity.daemons import SPEC
from aerie_identity.logic import totp
from aerie_identity.logic.passwords import Hasher
from signatures import now, version_2, version_4

Owner = tuple[str, str, str]


@pytest.fixture
def owner(cloud: Any) -> Owner:
    """(token, user id, project id) of somebody."""
    name, user, project = cloud.member()
    return cloud.login(name, project=project), user, project


def service_token(cloud: Any) -> str:
    return str(cloud.login("compute", "service-pw", project="service"))


# ---------------------------------------------------------------------------------------------- tokens that must end


@pytest.fixture(scope="module")
def other_service(cloud: Any) -> Iterator[TokenCache]:
    """The token cache of another service, which asks the identity API over HTTP."""
    server = HttpServer(cloud.app, ("127.0.0.1", 0))
    server.start()
    values = {
        ("keystone_authtoken", "auth_url"): f"http://127.0.0.1:{server.port}/v3",
        ("keystone_authtoken", "username"): "compute",
        ("keystone_authtoken", "password"): "service-pw",
    }
    conf = config.load(config.new(), [], values)
    yield TokenCache(RemoteTokens(ServiceClients(conf)))
    server.stop()


Event = Callable[[], Any]


def ends(cloud: Any) -> dict[str, tuple[str, Event]]:
    """Whatever ends a token: a token, and what then happens."""

    def person(**values: Any) -> tuple[str, str, str, str]:
        name = f"ends-{len(found)}-{time.monotonic_ns()}"
        user, project = cloud.user(name, **values), cloud.project()
        return name, user, project, cloud.grant("member", f"projects/{project}", user)

    def patch(path: str, **values: Any) -> Event:
        noun = path.strip("/").split("/")[0][:-1]
        return lambda: cloud.call("PATCH", path, {noun: values}, expect=200)

    def delete(path: str) -> Event:
        return lambda: cloud.call("DELETE", path, expect=204)

    found: dict[str, tuple[str, Event]] = {}
    for what in ("new password", "own password", "disabled user", "deleted user", "disabled project",
                 "deleted project", "removed role", "revoked"):  # fmt: skip
        name, user, project, grant = person()
        token = cloud.login(name, project=project)
        own = {"user": {"original_password": "pw", "password": "other"}}
        events: dict[str, Event] = {
            "new password": patch(f"/users/{user}", password="other"),
            "own password": lambda user=user, own=own: cloud.call("POST", f"/users/{user}/password", own, expect=204),
            "disabled user": patch(f"/users/{user}", enabled=False),
            "deleted user": delete(f"/users/{user}"),
            "disabled project": patch(f"/projects/{project}", enabled=False),
            "deleted project": delete(f"/projects/{project}"),
            "removed role": delete(grant),
            "revoked": lambda token=token: cloud.call(
                "DELETE", "/auth/tokens", token=token, headers={"X-Subject-Token": token}, expect=204
            ),
        }
        found[what] = (token, events[what])

    domain = cloud.domain()
    name, user, project, _ = person(domain_id=domain)
    token = cloud.login(name, project=project, user_domain=domain)
    found["disabled domain of the user"] = (token, patch(f"/domains/{domain}", enabled=False))

    domain = cloud.domain()
    name, user, project, _ = person()
    cloud.grant("reader", f"domains/{domain}", user)
    found["disabled domain as the scope"] = (
        cloud.login(name, domain=domain),
        patch(f"/domains/{domain}", enabled=False),
    )

    name, user, project, _ = person()
    system = cloud.grant("reader", "system", user)
    found["removed system role"] = (cloud.login(name, system=True), delete(system))

    name = f"grouped-{time.monotonic_ns()}"
    user, project = cloud.user(name), cloud.project()
    group = cloud.group(user)
    cloud.grant("member", f"projects/{project}", group=group)
    found["left group"] = (cloud.login(name, project=project), delete(f"/groups/{group}/users/{user}"))

    name, user, project, _ = person()
    token = cloud.login(name, project=project)
    path = f"/users/{user}/application_credentials"
    body = {"application_credential": {"name": "ended"}}
    made = cloud.call("POST", path, body, token=token, expect=201).json["application_credential"]
    identity = {"methods": ["application_credential"],
                "application_credential": {"id": made["id"], "secret": made["secret"]}}  # fmt: skip
    used = cloud.authenticate(identity, expect=201).headers["X-Subject-Token"]
    found["deleted application credential"] = (used, delete(f"{path}/{made['id']}"))

    trustee, trustee_id, _, _ = person()
    trust = {"trustor_user_id": user, "trustee_user_id": trustee_id, "impersonation": True, "project_id": project,
             "roles": [{"name": "member"}]}  # fmt: skip
    id = cloud.call("POST", "/OS-TRUST/trusts", {"trust": trust}, token=token, expect=201).json["trust"]["id"]
    taken = cloud.authenticate(cloud.password(trustee, "pw"), {"OS-TRUST:trust": {"id": id}}, expect=201)
    found["deleted trust"] = (taken.headers["X-Subject-Token"], delete(f"/OS-TRUST/trusts/{id}"))
    return found


def test_ossa_2013_011_what_ends_a_token_ends_it_in_every_service_within_a_second(
    cloud: Any, other_service: TokenCache
) -> None:
    """The other service remembers its tokens, and asks over HTTP; each event is waited for by itself."""
    for what, (token, event) in ends(cloud).items():
        assert other_service.validate(token) is not None, what
        event()
        happened = time.monotonic()
        assert not cloud.valid(token), what
        asked = happened
        while other_service.validate(token) is not None:
            assert asked < happened + 1, f"{what}: still valid after a second"
            time.sleep(0.02)
            asked = time.monotonic()


def test_ossa_2014_026_a_token_made_from_another_lives_no_longer(cloud: Any) -> None:
    """Rescoping prolongs nothing, and tokens for domains are revoked like others."""
    name, user, project = cloud.member()
    domain = cloud.domain()
    cloud.grant("reader", f"domains/{domain}", user)
    first = cloud.login(name, project=project)
    time.sleep(0.01)
    for scope in ({"domain": {"id": domain}}, {"project": {"id": project}}, "unscoped"):
        reply = cloud.rescope(first, scope, expect=201)
        assert reply.json["token"]["expires_at"] == cloud.body(first)["expires_at"]
    scoped = cloud.rescope(first, {"domain": {"id": domain}}).headers["X-Subject-Token"]
    cloud.call("DELETE", "/auth/tokens", token=scoped, headers={"X-Subject-Token": scoped}, expect=204)
    assert not cloud.valid(scoped) and cloud.valid(first)


def test_ossa_2016_008_the_first_token_of_a_chain_takes_the_others_with_it(cloud: Any) -> None:
    name, user, project = cloud.member()
    first, apart = cloud.login(name), cloud.login(name, project=project)
    second = cloud.rescope(first, {"project": {"id": project}}, expect=201).headers["X-Subject-Token"]
    third = cloud.rescope(second, "unscoped", expect=201).headers["X-Subject-Token"]
    assert len({cloud.body(t)["audit_ids"][-1] for t in (first, second, third)}) == 1
    cloud.call("DELETE", "/auth/tokens", token=first, headers={"X-Subject-Token": first}, expect=204)
    assert [cloud.valid(t) for t in (first, second, third, apart)] == [False, False, False, True]


def test_ossa_2016_005_an_altered_revoked_token_is_no_other_token(cloud: Any, owner: Owner) -> None:
    token = owner[0]
    cloud.call("DELETE", "/auth/tokens", token=token, headers={"X-Subject-Token": token}, expect=204)
    forms = [f"{token}=", f"{token}==", f"{token} ", f" {token}", token.swapcase(), token[:-1], token + "A",
             token.replace("-", "+").replace("_", "/"), f"{token}\t", token[:-1] + chr(ord(token[-1]) ^ 1)]  # fmt: skip
    for form in forms:
        assert not cloud.valid(form), repr(form)
        cloud.call("GET", "/auth/projects", token=form, expect=401)


# ------------------------------------------------------------------------------------------------ tokens for signatures


def key_of(cloud: Any, owner: Owner) -> dict[str, Any]:
    path = f"/users/{owner[1]}/credentials/OS-EC2"
    return dict(cloud.call("POST", path, {"tenant_id": owner[2]}, token=owner[0], expect=201).json["credential"])


def test_ossa_2025_002_ec2tokens(cloud: Any, owner: Owner, fresh: Callable[..., Any]) -> None:
    """ec2tokens and s3tokens hand out tokens for a signature: only services may ask, and nobody unless switched on."""
    signed = {"credentials": version_2(key_of(cloud, owner), now())}
    system = cloud.user("ec2-system-reader")
    cloud.grant("reader", "system", system)
    for path in ("/ec2tokens", "/s3tokens"):
        cloud.call("POST", path, signed, token=None, expect=401)
        cloud.call("POST", path, signed, token="no token", expect=401)
        cloud.call("POST", path, signed, token=owner[0], expect=403)
        cloud.call("POST", path, signed, token=cloud.login("ec2-system-reader", system=True), expect=403)
    cloud.call("POST", "/ec2tokens", signed, token=service_token(cloud), expect=200)
    conf = SPEC.new_conf()
    conf([], default_config_files=[])
    usual = fresh({("ec2", "enabled"): conf.ec2.enabled})
    for path in ("/ec2tokens", "/s3tokens"):
        reply = usual.call("POST", path, signed, token=service_token(usual), expect=403)
        assert "switched off" in reply.json["error"]["message"]


@pytest.mark.parametrize("sign", [version_2, version_4])
def test_ossa_2020_003_a_signature_is_good_for_fifteen_minutes(cloud: Any, owner: Owner, sign: Any) -> None:
    key, service = key_of(cloud, owner), service_token(cloud)
    for offset, status in ((-14, 200), (-16, 401), (16, 401)):
        signed = sign(key, now(offset))
        cloud.call("POST", "/ec2tokens", {"credentials": signed}, token=service, expect=status)
    signed = version_2(key, now())
    del signed["params"]["Timestamp"]
    cloud.call("POST", "/ec2tokens", {"credentials": signed}, token=service, expect=401)


# ------------------------------------------------------------------------------------------------ delegated credentials


def credential(cloud: Any, token: str, user: str, expect: int = 201, **values: Any) -> str:
    """A token of a new application credential of the user."""
    body = {"application_credential": {"name": f"credential-{time.monotonic_ns()}", **values}}
    path = f"/users/{user}/application_credentials"
    made = cloud.call("POST", path, body, token=token, expect=expect).json.get("application_credential")
    if made is None:
        return ""
    part = {"id": made["id"], "secret": made["secret"]}
    identity = {"methods": ["application_credential"], "application_credential": part}
    return str(cloud.authenticate(identity, expect=201).headers["X-Subject-Token"])


def test_ossa_2026_005_a_restricted_application_credential_mints_nothing(cloud: Any, owner: Owner) -> None:
    """No application credentials, EC2 keys, credentials or trusts; it changes and removes none either."""
    password, user, project = owner
    credential(cloud, password, user, name="other")
    path = f"/users/{user}/application_credentials"
    other = cloud.call("GET", f"{path}?name=other", token=password).json["application_credentials"][0]["id"]
    key = key_of(cloud, owner)
    token = credential(cloud, password, user)
    assert cloud.body(token)["application_credential"]["restricted"] is True
    credential(cloud, token, user, expect=403)
    cloud.call("DELETE", f"{path}/{other}", token=token, expect=403)
    cloud.call("POST", f"/users/{user}/credentials/OS-EC2", {"tenant_id": project}, token=token, expect=403)
    cloud.call("DELETE", f"/users/{user}/credentials/OS-EC2/{key['access']}", token=token, expect=403)
    blob = {"type": "ec2", "blob": '{"access":"a","secret":"s"}', "user_id": user, "project_id": project}
    for kind in ("ec2", "totp", "cert"):
        cloud.call("POST", "/credentials", {"credential": {**blob, "type": kind}}, token=token, expect=403)
    own = cloud.call("GET", f"/credentials?user_id={user}", token=token).json["credentials"][0]["id"]
    cloud.call("PATCH", f"/credentials/{own}", {"credential": {"blob": "x"}}, token=token, expect=403)
    trust = {"trustor_user_id": user, "trustee_user_id": cloud.user(), "impersonation": True, "project_id": project,
             "roles": [{"name": "member"}]}  # fmt: skip
    cloud.call("POST", "/OS-TRUST/trusts", {"trust": trust}, token=token, expect=403)
    cloud.rescope(token, {"project": {"id": project}}, expect=403)
    free = credential(cloud, password, user, unrestricted=True)
    assert credential(cloud, free, user)


def test_cve_2026_42998_an_application_credential_is_its_owners(cloud: Any, owner: Owner) -> None:
    """Whatever user a login by the credential's id names, the token is its owner's."""
    password, user, _ = owner
    made = cloud.call("POST", f"/users/{user}/application_credentials", {"application_credential": {"name": "owned"}},
                      token=password, expect=201).json["application_credential"]  # fmt: skip
    part = {"id": made["id"], "secret": made["secret"], "user": {"id": cloud.user()}}
    identity = {"methods": ["application_credential"], "application_credential": part}
    assert cloud.authenticate(identity, expect=201).json["token"]["user"]["id"] == user


def test_cve_2026_43000_an_application_credential_has_nothing_to_do_with_trusts(cloud: Any, owner: Owner) -> None:
    password, user, project = owner
    trust = {"trustor_user_id": user, "trustee_user_id": cloud.user(), "impersonation": True, "project_id": project,
             "roles": [{"name": "member"}]}  # fmt: skip
    id = cloud.call("POST", "/OS-TRUST/trusts", {"trust": trust}, token=password, expect=201).json["trust"]["id"]
    free = credential(cloud, password, user, unrestricted=True)
    for method, path in (("GET", f"?trustor_user_id={user}"), ("GET", f"/{id}"), ("GET", f"/{id}/roles"),
                         ("DELETE", f"/{id}")):  # fmt: skip
        cloud.call(method, f"/OS-TRUST/trusts{path}", token=free, expect=403)
    cloud.call("POST", "/OS-TRUST/trusts", {"trust": trust}, token=free, expect=403)
    cloud.call("DELETE", f"/OS-TRUST/trusts/{id}", token=password, expect=204)


def test_keystone_2150089_a_delegation_reaches_the_credentials_of_its_project_only(cloud: Any, owner: Owner) -> None:
    """Neither keys of another project nor secrets of passcodes, which are of none."""
    password, user, project = owner
    elsewhere = cloud.project()
    cloud.grant("member", f"projects/{elsewhere}", user)
    keys = {place: key_of(cloud, (password, user, place))["access"] for place in (project, elsewhere)}
    seed = {"type": "totp", "blob": "JBSWY3DPEHPK3PXP", "user_id": user}
    factor = cloud.call("POST", "/credentials", {"credential": seed}, token=password, expect=201).json["credential"]
    mine = cloud.call("GET", "/credentials", token=password).json["credentials"]
    strange = next(c["id"] for c in mine if c["project_id"] == elsewhere)
    trustee = cloud.user(name := f"delegate-of-{user}")
    trust = {"trustor_user_id": user, "trustee_user_id": trustee, "impersonation": True, "project_id": project,
             "roles": [{"name": "member"}]}  # fmt: skip
    id = cloud.call("POST", "/OS-TRUST/trusts", {"trust": trust}, token=password, expect=201).json["trust"]["id"]
    taken = cloud.authenticate(cloud.password(name, "pw"), {"OS-TRUST:trust": {"id": id}}, expect=201)
    path = f"/users/{user}/credentials/OS-EC2"
    for token in (credential(cloud, password, user, unrestricted=True), taken.headers["X-Subject-Token"]):
        seen = cloud.call("GET", "/credentials", token=token, expect=200).json["credentials"]
        assert {c["project_id"] for c in seen} == {project}
        assert [c["access"] for c in cloud.call("GET", path, token=token).json["credentials"]] == [keys[project]]
        cloud.call("GET", f"{path}/{keys[project]}", token=token, expect=200)
        for out in (f"/credentials/{factor['id']}", f"/credentials/{strange}", f"{path}/{keys[elsewhere]}"):
            cloud.call("GET", out, token=token, expect=403)
            cloud.call("DELETE", out, token=token, expect=403)
        cloud.call("PATCH", f"/credentials/{factor['id']}", {"credential": {"blob": "x"}}, token=token, expect=403)
        cloud.call("POST", path, {"tenant_id": elsewhere}, token=token, expect=403)
        cloud.call("POST", "/credentials", {"credential": seed}, token=token, expect=403)


def test_ossa_2020_004_a_key_made_by_a_delegation_is_bound_to_it(cloud: Any, owner: Owner) -> None:
    """A key of an application credential has its roles and ends with it; keys of trusts are not made at all; and nobody
    changes or chooses what a key is bound to."""
    password, user, project = owner
    cloud.grant("manager", f"projects/{project}", user)
    less = credential(cloud, password, user, name="less", unrestricted=True, roles=[{"name": "reader"}])
    cloud.call("POST", f"/users/{user}/credentials/OS-EC2", {"tenant_id": project}, token=less, expect=403)
    free = credential(cloud, password, user, name="bound", unrestricted=True, roles=[{"name": "member"}])
    key, service = key_of(cloud, (free, user, project)), service_token(cloud)
    reply = cloud.call("POST", "/ec2tokens", {"credentials": version_4(key, now())}, token=service, expect=200)
    assert {r["name"] for r in reply.json["token"]["roles"]} == {"member", "reader"}
    path = f"/users/{user}/application_credentials"
    id = cloud.call("GET", f"{path}?name=bound", token=password).json["application_credentials"][0]["id"]
    cloud.call("DELETE", f"{path}/{id}", token=password, expect=204)
    assert not cloud.valid(reply.headers["X-Subject-Token"])
    cloud.call("POST", "/ec2tokens", {"credentials": version_4(key, now())}, token=service, expect=401)

    blob = {"access": f"key-of-{user}", "secret": "s"}
    body = {"type": "ec2", "blob": json.dumps(blob), "user_id": user, "project_id": project}
    made = cloud.call("POST", "/credentials", {"credential": body}, token=password, expect=201).json["credential"]["id"]
    cloud.call("POST", "/credentials", {"credential": body}, token=password, expect=409)
    for name in ("trust_id", "app_cred_id", "access_token_id"):
        chosen = json.dumps({**blob, "access": "another", name: id})
        cloud.call("POST", "/credentials", {"credential": {**body, "blob": chosen}}, token=password, expect=400)
        change = {"credential": {"blob": json.dumps({**blob, name: "x"})}}
        cloud.call("PATCH", f"/credentials/{made}", change, token=password, expect=400)

    trustee = cloud.user("key-trustee")
    trust = {"trustor_user_id": user, "trustee_user_id": trustee, "impersonation": True, "project_id": project,
             "roles": [{"name": "member"}]}  # fmt: skip
    id = cloud.call("POST", "/OS-TRUST/trusts", {"trust": trust}, token=password, expect=201).json["trust"]["id"]
    reply = cloud.authenticate(cloud.password("key-trustee", "pw"), {"OS-TRUST:trust": {"id": id}}, expect=201)
    taken = reply.headers["X-Subject-Token"]
    cloud.call("POST", f"/users/{user}/credentials/OS-EC2", {"tenant_id": project}, token=taken, expect=403)
    another = {**body, "blob": '{"access": "yet-another", "secret": "s"}'}
    cloud.call("POST", "/credentials", {"credential": another}, token=taken, expect=403)
    for bad in ("{", "[]", '{"access": "x"}'):
        cloud.call("POST", "/credentials", {"credential": {**body, "blob": bad}}, token=password, expect=400)
    without = {k: v for k, v in body.items() if k != "project_id"}
    cloud.call("POST", "/credentials", {"credential": without}, token=password, expect=400)


def test_ossa_2020_005_the_owner_of_a_credential_stays(cloud: Any, owner: Owner) -> None:
    token, user, project = owner
    other = cloud.user()
    theirs = {"credential": {"type": "cert", "blob": "x", "user_id": other}}
    cloud.call("POST", "/credentials", theirs, token=token, expect=403)
    strange = cloud.call("POST", "/credentials", theirs, expect=201).json["credential"]["id"]
    mine = {"credential": {"type": "cert", "blob": "x", "user_id": user}}
    own = cloud.call("POST", "/credentials", mine, token=token, expect=201).json["credential"]["id"]
    for method in ("GET", "DELETE"):
        cloud.call(method, f"/credentials/{strange}", token=token, expect=403)
    cloud.call("PATCH", f"/credentials/{strange}", {"credential": {"blob": "y"}}, token=token, expect=403)
    cloud.call("PATCH", f"/credentials/{own}", {"credential": {"user_id": other}}, token=token, expect=403)
    cloud.call("PATCH", f"/credentials/{own}", {"credential": {"user_id": other}}, expect=403)


def test_ossa_2019_006_nobody_lists_the_credentials_of_others(cloud: Any) -> None:
    """In no scope and by no filter; those who read everything do."""
    name, user, project = cloud.member()
    domain = cloud.domain()
    cloud.grant("manager", f"domains/{domain}", user)
    other = cloud.user()
    made = {}
    for whose in (user, other):
        body = {"credential": {"type": "cert", "blob": "x", "user_id": whose}}
        made[whose] = cloud.call("POST", "/credentials", body, expect=201).json["credential"]["id"]
    for token in (cloud.login(name, project=project), cloud.login(name, domain=domain), cloud.login(name)):
        for query in ("", f"?user_id={other}", "?type=cert", f"?user_id={user}&user_id={other}"):
            found = {c["id"] for c in cloud.call("GET", f"/credentials{query}", token=token).json["credentials"]}
            assert found <= {made[user]}, query
        assert cloud.call("GET", "/credentials", token=token).json["credentials"]
    cloud.grant("reader", "system", user)
    for token in (cloud.admin, cloud.login(name, system=True)):
        assert set(made.values()) <= {
            c["id"] for c in cloud.call("GET", "/credentials", token=token).json["credentials"]
        }


# ------------------------------------------------------------------------------------------------- what a refusal tells


def test_ossa_2021_003_a_refusal_reveals_nothing(fresh: Callable[..., Any], monkeypatch: Any) -> None:
    """Unknown user, wrong password, locked (even with the right one), disabled: the same words for the same work."""
    cloud = fresh({
        ("security_compliance", "lockout_failure_attempts"): 2,
        ("identity", "password_hash_rounds"): 9,
    })  # fmt: skip
    cloud.user("known")
    for user in ("locked", "disabled"):
        id = cloud.user(user)
        cloud.login(user)  # so that the password is remembered as right
    cloud.call("PATCH", f"/users/{id}", {"user": {"enabled": False}}, expect=200)
    for _ in range(2):
        cloud.authenticate(cloud.password("locked", "wrong"), expect=401)
    checks: list[str] = []
    check = Hasher._check

    def counting(self: Hasher, secret: str, stored: str) -> bool:
        checks.append(stored)
        return check(self, secret, stored)

    monkeypatch.setattr(Hasher, "_check", counting)
    cloud.authenticate(cloud.password("unknown", "pw"), expect=401)  # makes the hash nobody has
    bodies, costs = [], []
    attempts = [("unknown", "pw"), ("locked", "pw"), ("locked", "x"), ("disabled", "pw"), ("disabled", "x"),
                ("known", "wrong")]  # fmt: skip
    for user, password in attempts:
        times = []
        for _ in range(1 if user == "known" else 5):  # a fifth failure would lock the known one
            before, began = len(checks), time.thread_time()
            bodies.append(cloud.authenticate(cloud.password(user, password), expect=401).json)
            times.append(time.thread_time() - began)
            assert len(checks) == before + 1, user
        costs.append(statistics.median(times))
    assert all(body == bodies[0] for body in bodies)
    assert max(costs) < 1.5 * min(costs), dict(zip(attempts, costs, strict=True))


def test_ossa_2018_002_users_see_only_their_own_projects(cloud: Any) -> None:
    name, user, project = cloud.member("reader")
    hidden = cloud.project()
    token = cloud.login(name, project=project)
    cloud.call("GET", "/projects", token=token, expect=403)
    cloud.call("GET", f"/projects/{hidden}", token=token, expect=403)
    cloud.call("GET", f"/projects/{project}", token=token, expect=200)
    found = cloud.call("GET", f"/users/{user}/projects", token=token, expect=200).json["projects"]
    assert [p["id"] for p in found] == [project]
    assert [p["id"] for p in cloud.call("GET", "/auth/projects", token=token).json["projects"]] == [project]
    cloud.call("GET", f"/users/{cloud.user()}/projects", token=token, expect=403)


@pytest.mark.parametrize("value", ["false", "FALSE", "0", "no", "", None, 1])
def test_ossa_2026_007_enabled_is_a_boolean_and_nothing_like_it(cloud: Any, value: Any) -> None:
    """Text that stands for false must never mean true."""
    cloud.call("POST", "/users", {"user": {"name": "nearly", "enabled": value}}, expect=400)
    user = cloud.user()
    cloud.call("PATCH", f"/users/{user}", {"user": {"enabled": value}}, expect=400)


# ------------------------------------------------------------------------------------------------------ of all services


def test_ossa_2026_001_identity_headers_of_the_client_are_dropped(cloud: Any) -> None:
    """Whatever they are called and however they are written, they make nobody into somebody else."""
    name, user, project = cloud.member("reader")
    token = cloud.login(name, project=project)
    admin = cloud.call("GET", "/users?name=admin").json["users"][0]["id"]
    values = ("admin", "service", "all", "True", "Confirmed", admin, project)
    for variable in SPOOFABLE:
        plain = variable.removeprefix("HTTP_")
        for header in (plain.replace("_", "-").title(), plain.replace("_", "-").lower(), plain):
            for value in values:
                cloud.call("GET", "/users", token=token, headers={header: value}, expect=403)
        cloud.call("GET", "/users", token=None, headers={plain.replace("_", "-"): "admin"}, expect=401)
    everything = {variable.removeprefix("HTTP_").replace("_", "-"): "admin" for variable in SPOOFABLE}
    cloud.call("GET", "/users", token=token, headers=everything, expect=403)
    cloud.call("GET", f"/projects/{cloud.project()}", token=token, headers=everything, expect=403)
    assert (
        cloud.call("GET", "/auth/tokens", token=token, headers={"X-Subject-Token": token, **everything}).status_int
        == 200
    )


def test_ossa_2019_003_a_fault_says_nothing_of_the_inside(cloud: Any, owner: Owner, monkeypatch: Any) -> None:
    def broken(*_: Any, **__: Any) -> str:
        raise RuntimeError("mysql://root:hunter2@db.inside/identity is gone, says /usr/lib/python3/secret.py")

    monkeypatch.setattr(cloud.svc.credential_box, "open", broken)
    body = {"credential": {"type": "cert", "blob": "x", "user_id": owner[1]}}
    reply = cloud.call("POST", "/credentials", body, token=owner[0], expect=500)
    assert reply.json["error"]["code"] == 500
    for word in ("hunter2", "RuntimeError", "Traceback", "/usr", "mysql"):
        assert word not in reply.text and word not in str(reply.headers)


def test_ossa_2017_002_no_log_holds_a_secret(cloud: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Passwords, passcodes, secrets and tokens, given and refused, with all loggers at their most talkative."""
    secrets = {"pw": "Correct-Horse", "new": "Battery-Staple", "wrong": "Wrong-Horse", "blob": "Blob-Of-Secrets"}
    with caplog.at_level(logging.DEBUG):
        name, project = "logged", cloud.project()
        user = cloud.user(name, password=secrets["pw"])
        cloud.grant("member", f"projects/{project}", user)
        token = cloud.login(name, secrets["pw"], project=project)
        cloud.authenticate(cloud.password(name, secrets["wrong"]), expect=401)
        body = {"credential": {"type": "cert", "blob": secrets["blob"], "user_id": user}}
        cloud.call("POST", "/credentials", body, token=token, expect=201)
        key = key_of(cloud, (token, user, project))
        signed = {"credentials": version_2({**key, "secret": "Another-Secret"}, now())}
        cloud.call("POST", "/ec2tokens", signed, token=service_token(cloud), expect=401)
        made = {"application_credential": {"name": "a"}}
        path = f"/users/{user}/application_credentials"
        secret = cloud.call("POST", path, made, token=token, expect=201).json["application_credential"]["secret"]
        shared = "JBSWY3DPEHPK3PXP"
        body = {"credential": {"type": "totp", "blob": shared, "user_id": user}}
        cloud.call("POST", "/credentials", body, token=token, expect=201)
        key_bytes = totp.decode(shared)
        assert key_bytes is not None
        code = totp.passcode(key_bytes, int(time.time()) // totp.STEP)
        both = {**cloud.password(name, secrets["pw"]), "methods": ["password", "totp"],
                "totp": {"user": {"id": user, "passcode": code}}}  # fmt: skip
        cloud.authenticate(both, "unscoped", expect=201)
        change = {"user": {"original_password": secrets["pw"], "password": secrets["new"]}}
        cloud.call("POST", f"/users/{user}/password", change, token=None, expect=204)
        cloud.call("PATCH", f"/users/{user}", {"user": {"password": secrets["pw"], "enabled": "x"}}, expect=400)
        cloud.call("GET", "/users", token=token, expect=401)
    assert caplog.records
    for text in (*secrets.values(), token, secret, key["secret"], shared, code):
        assert text not in caplog.text, text
