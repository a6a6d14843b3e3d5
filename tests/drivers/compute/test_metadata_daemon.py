# SPDX-License-Identifier: Apache-2.0
"""The metadata daemon on a real database, over HTTP."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from aerie_common import config
from aerie_common.db import utcnow
from aerie_common.serving import HttpServer
from aerie_compute.container import Compute
from aerie_compute.daemons import SPEC
from aerie_compute.db import servers
from aerie_compute.db.tables import CELL
from aerie_compute.logic import passwords
from aerie_compute.metadata import daemon

SERVER = str(uuid.uuid4())


@pytest.fixture
def svc(tmp_path: Path) -> Iterator[Compute]:
    overrides: dict[tuple[str | None, str], object] = {
        ("database", "connection"): f"sqlite:///{tmp_path / 'compute.sqlite'}",
        (None, "metadata_listen"): "127.0.0.1",
        (None, "metadata_listen_port"): 0,
        (None, "metadata_proxy_shared_secret"): "shared",
    }
    svc = Compute(config.load(SPEC.new_conf(), [], overrides))
    svc.db.create_all(CELL)
    now = utcnow()
    row = {
        "id": SERVER,
        "project_id": "p1",
        "user_id": "u1",
        "name": "web-1",
        "hostname": "web-1",
        "vm_state": "active",
        "power_state": 1,
        "flavor_id": "f1",
        "reservation_id": "r-1",
        "spec": {
            "flavor": {"name": "std-small-1"},
            "has_user_data": True,
            "key_name": "ann",
            "public_key": "ssh-rsa A",
        },
        "metadata": {"role": "web"},
        "tags": [],
        "network_info": [],
        "created_at": now,
        "updated_at": now,
    }
    with svc.db.write() as conn:
        servers.insert_many(conn, [row], base64.b64encode(b"#!/bin/sh").decode())
    yield svc
    svc.db.dispose()


@pytest.fixture
def port(svc: Compute) -> Iterator[int]:
    (server,) = daemon.start(svc.conf)
    assert isinstance(server, HttpServer)
    yield server.port
    server.stop()


def ask(port: int, path: str, method: str = "GET", body: bytes = b"", secret: str = "shared") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    signature = hmac.new(secret.encode(), SERVER.encode(), hashlib.sha256).hexdigest()
    headers = {"X-Instance-ID": SERVER, "X-Tenant-ID": "p1", "X-Instance-ID-Signature": signature}
    connection.request(method, path, body, headers)
    reply = connection.getresponse()
    answer = reply.status, reply.read()
    connection.close()
    return answer


def test_server_in_the_database_is_shown(port: int) -> None:
    status, body = ask(port, "/openstack/latest/meta_data.json")
    assert status == 200 and f'"uuid":"{SERVER}"'.encode() in body
    assert ask(port, "/openstack/latest/user_data") == (200, b"#!/bin/sh")
    assert ask(port, "/latest/meta-data/public-keys/0/openssh-key") == (200, b"ssh-rsa A")
    assert ask(port, "/latest/meta-data/instance-type") == (200, b"std-small-1")
    assert ask(port, "/openstack/latest/meta_data.json", secret="guessed")[0] == 403
    assert ask(port, "/healthcheck", secret="guessed") == (200, b"OK")


def test_password_is_kept_once_until_its_owner_clears_it(port: int, svc: Compute) -> None:
    path = "/openstack/latest/password"
    assert ask(port, path) == (200, b"")
    assert ask(port, path, "POST", b"c2VjcmV0") == (200, b"")
    assert ask(port, path, "POST", b"b3RoZXI=")[0] == 409
    assert ask(port, path) == (200, b"c2VjcmV0")
    assert passwords.load(svc, SERVER) == "c2VjcmV0"
    assert passwords.clear(svc, SERVER) and passwords.clear(svc, SERVER)
    assert ask(port, path) == (200, b"")
    assert ask(port, path, "POST", b"b3RoZXI=") == (200, b"")
    assert not passwords.store(svc, str(uuid.uuid4()), "x")
