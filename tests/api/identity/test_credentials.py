# SPDX-License-Identifier: Apache-2.0
"""Credentials, EC2 keys and requests signed with them."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.fernet import Fernet, InvalidToken

from aerie_identity import commands
from aerie_identity.db.models import CREDENTIALS
from aerie_identity.logic import ec2
from signatures import now, s3_version_4, version_1, version_2, version_4


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
    cloud.call("GET", path, token=token, expect=403)
    cloud.call("GET", path, expect=404)


def test_keys_of_blobs_rotate(cloud: Any, owner: tuple[str, str, str]) -> None:
    token, user, _ = owner
    body = {"credential": {"type": "cert", "blob": "survives", "user_id": user}}
    id = cloud.call("POST", "/credentials", body, token=token, expect=201).json["credential"]["id"]
    keys = cloud.svc.credential_keys

    def by_primary_key() -> bytes:
        with cloud.svc.db.read() as conn:
            row = CREDENTIALS.get(conn, id)
        assert row is not None
        newest = max((f for f in keys.path.iterdir() if f.name.isdigit()), key=lambda f: int(f.name))
        return bytes(Fernet(newest.read_bytes()).decrypt(row.encrypted_blob.encode()))

    for _ in range(4):
        before = max(int(f.name) for f in keys.path.iterdir())
        assert commands.run_credential(cloud.svc.conf, ["rotate"]) == 0
        assert max(int(f.name) for f in keys.path.iterdir()) == before + 1
        assert by_primary_key() == b"survives"
    keys.rotate()
    with pytest.raises(InvalidToken):
        by_primary_key()
    assert commands.run_credential(cloud.svc.conf, ["migrate"]) == 0
    assert by_primary_key() == b"survives"
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
    cloud.call("GET", f"/users/{cloud.user()}/credentials/OS-EC2", token=token, expect=403)
    cloud.call("DELETE", f"{path}/{made['access']}", token=token, expect=204)
    cloud.call("GET", f"{path}/{made['access']}", token=token, expect=404)


def test_a_key_for_a_project_without_a_role_gets_no_token(cloud: Any, owner: tuple[str, str, str]) -> None:
    key = make_key(cloud, (owner[0], owner[1], cloud.project()))
    service = cloud.login("compute", "service-pw", project="service")
    cloud.call("POST", "/ec2tokens", {"credentials": version_4(key, now())}, token=service, expect=401)


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


def test_s3_signatures(cloud: Any, owner: tuple[str, str, str]) -> None:
    key = make_key(cloud, owner)
    service = cloud.login("compute", "service-pw", project="service")
    rfc = "%a, %d %b %Y %H:%M:%S GMT"
    later, earlier = (str(int(now(minutes).timestamp())) for minutes in (5, -5))
    for signed, status in (
        (version_1(key, now().strftime(rfc)), 200),
        (version_1(key, now(-16).strftime(rfc)), 401),
        (version_1(key, f"\nx-amz-date:{now().strftime(rfc)}"), 200),
        (version_1(key, later), 200),
        (version_1(key, earlier), 401),
        (version_1(key, ""), 401),
        (s3_version_4(key, now()), 200),
        (s3_version_4(key, now(-16)), 401),
        ({**s3_version_4(key, now()), "signature": "x"}, 401),
        ({**version_1(key, now().strftime(rfc)), "token": "no base64!"}, 401),
    ):
        cloud.call("POST", "/s3tokens", {"credentials": signed}, token=service, expect=status)


def test_the_signature_of_the_published_example() -> None:
    """AWS' own example of a derived key (General Reference, signature version 4)."""
    key = ec2._signing_key("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", ["20150830", "us-east-1", "iam", "aws4_request"])
    assert key.hex() == "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9"
