# SPDX-License-Identifier: Apache-2.0
"""Credentials, EC2 keys and requests signed with them."""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import json
from typing import Any

import pytest

from aerie_identity import commands
from aerie_identity.db.models import CREDENTIALS
from aerie_identity.logic import ec2


@pytest.fixture
def owner(cloud: Any) -> tuple[str, str, str]:
    """(token, user id, project id) of somebody."""
    name, user, project = cloud.member()
    return cloud.login(name, project=project), user, project


def test_a_credential_lives_and_goes(cloud: Any, owner: tuple[str, str, str]) -> None:
    token, user, project = owner
    body = {"credential": {"type": "cert", "blob": "secret-text", "user_id": user}}
    made = cloud.call("POST", "/credentials", body, token=token, expect=201).json["credential"]
    path = f"/credentials/{made['id']}"
    assert cloud.call("GET", path, token=token).json["credential"] == made and made["blob"] == "secret-text"
    changed = cloud.call("PATCH", path, {"credential": {"blob": "other"}}, token=token, expect=200).json["credential"]
    assert changed["blob"] == "other"
    with cloud.svc.db.read() as conn:
        row = CREDENTIALS.get(conn, made["id"])
    assert row is not None and "other" not in row.encrypted_blob
    cloud.call("DELETE", path, token=token, expect=204)
    cloud.call("GET", path, token=token, expect=404)


def test_owners_keep_to_themselves(cloud: Any, owner: tuple[str, str, str]) -> None:
    """OSSA-2019-006, 2020-005: nobody reads, makes or takes over others' credentials."""
    token, user, project = owner
    other = cloud.user()
    theirs = {"credential": {"type": "cert", "blob": "x", "user_id": other}}
    cloud.call("POST", "/credentials", theirs, token=token, expect=403)
    strange = cloud.call("POST", "/credentials", theirs, expect=201).json["credential"]["id"]
    mine = {"credential": {"type": "cert", "blob": "x", "user_id": user}}
    own = cloud.call("POST", "/credentials", mine, token=token, expect=201).json["credential"]["id"]
    for query in ("", f"?user_id={other}", "?type=cert"):
        found = {c["id"] for c in cloud.call("GET", f"/credentials{query}", token=token).json["credentials"]}
        assert strange not in found
    for method in ("GET", "DELETE"):
        cloud.call(method, f"/credentials/{strange}", token=token, expect=403)
    cloud.call("PATCH", f"/credentials/{strange}", {"credential": {"blob": "y"}}, token=token, expect=403)
    cloud.call("PATCH", f"/credentials/{own}", {"credential": {"user_id": other}}, token=token, expect=403)
    cloud.call("PATCH", f"/credentials/{own}", {"credential": {"user_id": other}}, expect=403)
    assert {own, strange} <= {c["id"] for c in cloud.call("GET", "/credentials").json["credentials"]}


def test_the_delegation_of_a_key_stays(cloud: Any, owner: tuple[str, str, str]) -> None:
    """OSSA-2020-004: no way to make a key of a trust or an application credential."""
    token, user, project = owner
    blob = {"access": "akey", "secret": "s"}
    body = {"credential": {"type": "ec2", "blob": json.dumps(blob), "user_id": user, "project_id": project}}
    id = cloud.call("POST", "/credentials", body, token=token, expect=201).json["credential"]["id"]
    assert id == hashlib.sha256(b"akey").hexdigest()
    cloud.call("POST", "/credentials", body, token=token, expect=409)
    for name in ("trust_id", "app_cred_id", "access_token_id"):
        change = {"credential": {"blob": json.dumps({**blob, name: "x"})}}
        cloud.call("PATCH", f"/credentials/{id}", change, token=token, expect=400)
    for bad in ("{", "[]", '{"access": "x"}'):
        wrong = {"credential": {**body["credential"], "blob": bad}}
        cloud.call("POST", "/credentials", wrong, token=token, expect=400)
    wrong = {"credential": {k: v for k, v in body["credential"].items() if k != "project_id"}}
    cloud.call("POST", "/credentials", wrong, token=token, expect=400)


def test_keys_of_blobs_rotate(cloud: Any, owner: tuple[str, str, str]) -> None:
    token, user, _ = owner
    body = {"credential": {"type": "cert", "blob": "survives", "user_id": user}}
    id = cloud.call("POST", "/credentials", body, token=token, expect=201).json["credential"]["id"]
    for _ in range(4):
        assert commands.run_credential(cloud.svc.conf, ["rotate"]) == 0
    cloud.svc.credential_keys._looked = -10.0
    assert cloud.call("GET", f"/credentials/{id}", token=token).json["credential"]["blob"] == "survives"


# ---------------------------------------------------------------------------------------------------------------- EC2


def make_key(cloud: Any, owner: tuple[str, str, str]) -> dict[str, Any]:
    token, user, project = owner
    path = f"/users/{user}/credentials/OS-EC2"
    made = cloud.call("POST", path, {"tenant_id": project}, token=token, expect=201).json["credential"]
    assert made["tenant_id"] == project and made["user_id"] == user and made["trust_id"] is None
    return dict(made)


def test_ec2_keys(cloud: Any, owner: tuple[str, str, str]) -> None:
    token, user, project = owner
    made = make_key(cloud, owner)
    path = f"/users/{user}/credentials/OS-EC2"
    assert cloud.call("GET", f"{path}/{made['access']}", token=token).json["credential"] == made
    assert [c["access"] for c in cloud.call("GET", path, token=token).json["credentials"]] == [made["access"]]
    cloud.call("POST", path, {"tenant_id": cloud.project()}, token=token, expect=403)
    cloud.call("GET", f"/users/{cloud.user()}/credentials/OS-EC2", token=token, expect=403)
    cloud.call("DELETE", f"{path}/{made['access']}", token=token, expect=204)
    cloud.call("GET", f"{path}/{made['access']}", token=token, expect=404)


def now(offset: int = 0) -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=offset)


def version_2(key: dict[str, Any], when: datetime.datetime) -> dict[str, Any]:
    params = {
        "Action": "DescribeInstances",
        "SignatureVersion": "2",
        "SignatureMethod": "HmacSHA256",
        "Timestamp": when.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    query = "&".join(f"{k}={v.replace(':', '%3A')}" for k, v in sorted(params.items()))
    text = f"GET\nec2.example.org\n/\n{query}"
    made = base64.b64encode(hmac.digest(key["secret"].encode(), text.encode(), "sha256")).decode()
    return {"access": key["access"], "signature": made, "host": "ec2.example.org", "verb": "GET", "path": "/",
            "params": params}  # fmt: skip


def version_4(key: dict[str, Any], when: datetime.datetime) -> dict[str, Any]:
    date = when.strftime("%Y%m%dT%H%M%SZ")
    scope = f"{date[:8]}/RegionOne/ec2/aws4_request"
    body_hash = hashlib.sha256(b"").hexdigest()
    authorization = f"Credential={key['access']}/{scope}, SignedHeaders=host;x-amz-date, Signature=x"
    headers = {
        "Host": "ec2.example.org",
        "X-Amz-Date": date,
        "Authorization": f"AWS4-HMAC-SHA256 {authorization}",
    }
    canonical = f"GET\n/\nAction=x\nhost:ec2.example.org\nx-amz-date:{date}\n\nhost;x-amz-date\n{body_hash}"
    text = f"AWS4-HMAC-SHA256\n{date}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    secret = ("AWS4" + key["secret"]).encode()
    for step in scope.split("/"):
        secret = hmac.digest(secret, step.encode(), "sha256")
    made = hmac.new(secret, text.encode(), "sha256").hexdigest()
    return {"access": key["access"], "signature": made, "host": "ec2.example.org", "verb": "GET", "path": "/",
            "params": {"Action": "x"}, "headers": headers, "body_hash": body_hash}  # fmt: skip


@pytest.mark.parametrize("sign", [version_2, version_4])
def test_signed_requests(cloud: Any, owner: tuple[str, str, str], sign: Any) -> None:
    key = make_key(cloud, owner)
    service = cloud.login("compute", "service-pw", project="service")
    reply = cloud.call("POST", "/ec2tokens", {"ec2Credentials": sign(key, now())}, token=service, expect=200)
    assert reply.json["token"]["user"]["id"] == owner[1] and reply.json["token"]["project"]["id"] == owner[2]
    assert cloud.valid(reply.headers["X-Subject-Token"])
    wrong = {**sign(key, now()), "path": "/other"}
    cloud.call("POST", "/ec2tokens", {"credentials": wrong}, token=service, expect=401)
    unknown = {**sign(key, now()), "access": "nobody"}
    cloud.call("POST", "/ec2tokens", {"credentials": unknown}, token=service, expect=401)


@pytest.mark.parametrize("sign", [version_2, version_4])
def test_a_replayed_signature_is_refused(cloud: Any, owner: tuple[str, str, str], sign: Any) -> None:
    """OSSA-2020-003: a signature is good for fifteen minutes."""
    key = make_key(cloud, owner)
    service = cloud.login("compute", "service-pw", project="service")
    for offset, status in ((-14, 200), (-16, 401), (16, 401)):
        signed = sign(key, now(offset))
        cloud.call("POST", "/ec2tokens", {"credentials": signed}, token=service, expect=status)


def test_only_services_may_ask(cloud: Any, owner: tuple[str, str, str]) -> None:
    """OSSA-2025-002: ec2tokens and s3tokens hand out tokens, so they are guarded."""
    key = make_key(cloud, owner)
    for path in ("/ec2tokens", "/s3tokens"):
        body = {"credentials": version_2(key, now())}
        cloud.call("POST", path, body, token=None, expect=401)
        cloud.call("POST", path, body, token=owner[0], expect=403)


def test_s3_signatures(cloud: Any, owner: tuple[str, str, str]) -> None:
    key = make_key(cloud, owner)
    service = cloud.login("compute", "service-pw", project="service")
    text = b"GET\n\n\n\n/bucket/object"
    made = base64.b64encode(hmac.digest(key["secret"].encode(), text, "sha1")).decode()
    signed = {"access": key["access"], "signature": made, "token": base64.urlsafe_b64encode(text).decode()}
    cloud.call("POST", "/s3tokens", {"credentials": signed}, token=service, expect=200)
    cloud.call("POST", "/s3tokens", {"credentials": {**signed, "signature": "x"}}, token=service, expect=401)


def test_the_signature_of_the_published_example() -> None:
    """AWS' own example of a derived key (General Reference, signature version 4)."""
    key = ec2._signing_key("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", ["20150830", "us-east-1", "iam", "aws4_request"])
    assert key.hex() == "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9"
