# SPDX-License-Identifier: Apache-2.0
"""Passwords: hashing, lockout, expiry, history, and that a refusal says nothing about the account."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from typing import Any

import bcrypt
import pytest

from aerie_identity.db import tables as t
from aerie_identity.db.models import USERS
from aerie_identity.logic import totp
from aerie_identity.logic.passwords import Hasher


def counted(monkeypatch: Any) -> list[str]:
    """The stored hashes that secrets are checked against from now on."""
    checks: list[str] = []
    check = Hasher._check

    def counting(self: Hasher, secret: str, stored: str) -> bool:
        checks.append(stored)
        return check(self, secret, stored)

    monkeypatch.setattr(Hasher, "_check", counting)
    return checks


@pytest.mark.parametrize("algorithm", ["bcrypt", "scrypt", "argon2"])
def test_algorithms(fresh: Callable[..., Any], algorithm: str) -> None:
    cloud = fresh({("identity", "password_hash_algorithm"): algorithm, ("identity", "secret_cache_seconds"): 0})
    hasher = cloud.svc.hasher
    for secret in ("p w", "x" * 500, "with\0zero", "ünïcödé"):
        stored = hasher.hash(secret)
        assert secret not in stored and hasher.verify(secret, stored)
        assert not hasher.verify(secret + "x", stored)
    assert not hasher.verify("x" * 499 + "y", hasher.hash("x" * 500))
    assert cloud.login("admin", "secret", project="admin")


def test_hashes_of_an_imported_cloud_hold(fresh: Callable[..., Any]) -> None:
    stored = bcrypt.hashpw(b"imported", bcrypt.gensalt(4)).decode()
    assert fresh().svc.hasher.verify("imported", stored)


def test_a_verified_secret_is_remembered_shortly_and_by_hash(fresh: Callable[..., Any], monkeypatch: Any) -> None:
    cloud = fresh()
    cloud.user("often")
    checks = counted(monkeypatch)
    for _ in range(3):
        cloud.login("often")
    assert len(checks) == 1
    cloud.authenticate(cloud.password("often", "wrong"), expect=401)
    assert len(checks) == 2
    user = cloud.call("GET", "/users?name=often").json["users"][0]["id"]
    cloud.call("PATCH", f"/users/{user}", {"user": {"password": "new"}}, expect=200)
    cloud.authenticate(cloud.password("often", "pw"), expect=401)
    cloud.login("often", "new")
    assert not any("pw" in str(key) for key in cloud.svc.hasher._known)


def test_lockout_ends_by_time_or_by_the_administrator(fresh: Callable[..., Any]) -> None:
    cloud = fresh({
        ("security_compliance", "lockout_failure_attempts"): 2,
        ("security_compliance", "lockout_duration"): 3,
    })  # fmt: skip
    user = cloud.user("clumsy")
    for _ in range(2):
        cloud.authenticate(cloud.password("clumsy", "wrong"), expect=401)
    cloud.authenticate(cloud.password("clumsy", "pw"), expect=401)
    time.sleep(3.1)
    cloud.login("clumsy")
    for _ in range(2):
        cloud.authenticate(cloud.password("clumsy", "wrong"), expect=401)
    cloud.call("PATCH", f"/users/{user}", {"user": {"password": "other"}}, expect=200)
    cloud.login("clumsy", "other")
    cloud.user("spared", options={"ignore_lockout_failure_attempts": True})
    for _ in range(3):
        cloud.authenticate(cloud.password("spared", "wrong"), expect=401)
    cloud.login("spared")


def test_wrong_passcodes_lock_out_too(fresh: Callable[..., Any]) -> None:
    """Also beside the right password, which must not begin the count anew."""
    cloud = fresh({
        ("security_compliance", "lockout_failure_attempts"): 3,
        ("security_compliance", "lockout_duration"): 600,
    })  # fmt: skip
    secret = "JBSWY3DPEHPK3PXP"
    key = totp.decode(secret)
    assert key is not None
    user = cloud.user("guessed", options={"multi_factor_auth_rules": [["password", "totp"]]})
    cloud.call("POST", "/credentials", {"credential": {"type": "totp", "blob": secret, "user_id": user}}, expect=201)

    def log_in(passcode: str, status: int) -> None:
        part = {"user": {"id": user, "passcode": passcode}}
        both = {**cloud.password("guessed", "pw"), "methods": ["password", "totp"], "totp": part}
        cloud.authenticate(both, "unscoped", expect=status)

    def code(offset: int) -> str:
        return totp.passcode(key, int(time.time()) // totp.STEP + offset)

    log_in("wrong", 401)
    log_in("wrong", 401)
    log_in(code(-1), 201)
    for _ in range(3):
        log_in("wrong", 401)
    log_in(code(0), 401)
    with cloud.svc.db.write() as conn:
        USERS.update(conn, user, failed_logins=0)
    log_in(code(0), 201)


def test_users_change_their_own_password(cloud: Any) -> None:
    name, user, project = cloud.member()

    def change(old: str, new: str, status: int) -> None:
        body = {"user": {"original_password": old, "password": new}}
        cloud.call("POST", f"/users/{user}/password", body, token=None, expect=status)

    change("wrong", "x", 401)
    change("pw", "better", 204)
    cloud.authenticate(cloud.password(name, "pw"), expect=401)
    assert cloud.valid(cloud.login(name, "better", project=project))
    cloud.call("PATCH", f"/users/{user}", {"user": {"options": {"lock_password": True}}}, expect=200)
    change("better", "best", 403)
    body = {"user": {"original_password": "x", "password": "y"}}
    cloud.call("POST", "/users/nobody/password", body, token=None, expect=401)


def test_history_and_rules(fresh: Callable[..., Any]) -> None:
    cloud = fresh({
        ("security_compliance", "unique_last_password_count"): 2,
        ("security_compliance", "password_regex"): r"^.{4,}$",
        ("security_compliance", "password_regex_description"): "four characters at least",
    })  # fmt: skip
    reply = cloud.call("POST", "/users", {"user": {"name": "short", "password": "abc"}}, expect=400)
    assert "four characters at least" in reply.json["error"]["message"]
    user = cloud.user("historian", password="first")

    def change(old: str, new: str, status: int) -> None:
        body = {"user": {"original_password": old, "password": new}}
        cloud.call("POST", f"/users/{user}/password", body, token=None, expect=status)

    change("first", "first", 400)
    change("first", "abc", 400)
    change("first", "second", 204)
    change("second", "first", 400)
    change("second", "third", 204)
    change("third", "first", 204)
    cloud.call("PATCH", f"/users/{user}", {"user": {"password": "first"}}, expect=200)  # the administrator may


def test_expired_passwords_must_be_changed(fresh: Callable[..., Any]) -> None:
    cloud = fresh({("security_compliance", "change_password_upon_first_use"): True})
    user = cloud.user("newcomer")
    reply = cloud.authenticate(cloud.password("newcomer", "pw"), expect=401)
    assert reply.json["error"]["message"] == f"The password is expired and needs to be changed for user: {user}."
    cloud.authenticate(cloud.password("newcomer", "wrong"), expect=401)
    assert cloud.call("GET", f"/users/{user}").json["user"]["password_expires_at"].endswith("Z")
    body = {"user": {"original_password": "pw", "password": "own"}}
    cloud.call("POST", f"/users/{user}/password", body, token=None, expect=204)
    cloud.login("newcomer", "own")
    soon = cloud.call("GET", "/users?password_expires_at=lt:2100-01-01T00:00:00Z", expect=200).json["users"]
    assert all(u["name"] != "newcomer" for u in soon)
    cloud.call("GET", "/users?password_expires_at=lt:soon", expect=400)


def test_options_of_a_user_exempt_from_rules(fresh: Callable[..., Any]) -> None:
    """ignore_change_password_upon_first_use, ignore_password_expiry, ignore_user_inactivity."""
    cloud = fresh({
        ("security_compliance", "change_password_upon_first_use"): True,
        ("security_compliance", "password_expires_days"): 10,
        ("security_compliance", "disable_user_account_days_inactive"): 30,
    })  # fmt: skip

    def expiry(user: str) -> Any:
        return cloud.call("GET", f"/users/{user}", expect=200).json["user"]["password_expires_at"]

    cloud.user("first", options={"ignore_change_password_upon_first_use": True})
    cloud.login("first")
    never = {"ignore_change_password_upon_first_use": True, "ignore_password_expiry": True}
    user = cloud.user("never", options=never)
    assert expiry(user) is None
    idle = cloud.user("idle", options={**never, "ignore_user_inactivity": True})
    long_ago = datetime.date.today() - datetime.timedelta(days=40)
    with cloud.svc.db.write() as conn:
        USERS.update(conn, user, last_active_at=long_ago)
        USERS.update(conn, idle, last_active_at=long_ago)
    cloud.authenticate(cloud.password("never", "pw"), expect=401)
    cloud.login("idle")
    cloud.call("PATCH", f"/users/{user}", {"user": {"enabled": False}}, expect=200)
    cloud.call("PATCH", f"/users/{user}", {"user": {"enabled": True}}, expect=200)  # the administrator lets it in again
    cloud.login("never")


def test_a_password_expires(fresh: Callable[..., Any]) -> None:
    cloud = fresh({("security_compliance", "password_expires_days"): 10})
    user = cloud.user("aging")
    shown = cloud.call("GET", f"/users/{user}").json["user"]["password_expires_at"]
    left = datetime.datetime.fromisoformat(shown) - datetime.datetime.now(datetime.UTC)
    assert datetime.timedelta(days=9, hours=23) < left <= datetime.timedelta(days=10)
    assert cloud.body(cloud.login("aging"))["user"]["password_expires_at"] == shown
    with cloud.svc.db.write() as conn:
        past = datetime.datetime.now(datetime.UTC).replace(tzinfo=None) - datetime.timedelta(minutes=1)
        conn.execute(t.passwords.update().where(t.passwords.c.user_id == user).values(expires_at=past))
    cloud.authenticate(cloud.password("aging", "pw"), expect=401)
    options = {"user": {"options": {"ignore_password_expiry": True}}}
    cloud.call("PATCH", f"/users/{user}", options, expect=200)
    cloud.login("aging")


def test_a_password_has_a_minimum_age(fresh: Callable[..., Any]) -> None:
    cloud = fresh({("security_compliance", "minimum_password_age"): 2})
    user = cloud.user("hasty")

    def change(old: str, new: str, status: int) -> None:
        body = {"user": {"original_password": old, "password": new}}
        cloud.call("POST", f"/users/{user}/password", body, token=None, expect=status)

    change("pw", "next", 400)
    with cloud.svc.db.write() as conn:
        old = datetime.datetime.now(datetime.UTC).replace(tzinfo=None) - datetime.timedelta(days=2, minutes=1)
        conn.execute(t.passwords.update().where(t.passwords.c.user_id == user).values(created_at=old))
    change("pw", "next", 204)
    change("next", "again", 400)
    cloud.call(
        "PATCH", f"/users/{user}", {"user": {"password": "reset"}}, expect=200
    )  # the administrator need not wait


def test_inactive_users_are_refused(fresh: Callable[..., Any]) -> None:
    cloud = fresh({("security_compliance", "disable_user_account_days_inactive"): 30})
    user = cloud.user("sleeper")
    cloud.login("sleeper")
    with cloud.svc.db.write() as conn:
        USERS.update(conn, user, last_active_at=datetime.date.today() - datetime.timedelta(days=40))
    cloud.authenticate(cloud.password("sleeper", "pw"), expect=401)


def test_no_secret_ever_leaves(cloud: Any) -> None:
    name = "discreet"
    user = cloud.user(name, password="very-secret-text", email="d@example.org")
    for path in (f"/users/{user}", "/users", f"/users?name={name}"):
        text = cloud.call("GET", path, expect=200).text
        assert "very-secret-text" not in text and "sha256$2" not in text and '"password"' not in text
    assert cloud.call("GET", f"/users/{user}").json["user"]["email"] == "d@example.org"
