# SPDX-License-Identifier: Apache-2.0
"""The metadata API and the config drive: what guests read, and who may ask."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import io
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pycdlib
import pytest
import webob

from aerie_common import config
from aerie_compute.daemons import SPEC
from aerie_compute.drivers import config_drive
from aerie_compute.logic.metadata import InstanceFacts
from aerie_compute.metadata import documents
from aerie_compute.metadata.application import MetadataApplication

SERVER = "0a1b2c3d-0000-4000-8000-000000000001"
SECRET = "shared"
FACTS = InstanceFacts(
    server_id=SERVER,
    project_id="project-1",
    user_id="user-1",
    name="Web 1",
    hostname="web-1",
    host="h1",
    availability_zone="nova",
    reservation_id="r-12345678",
    launch_index=0,
    created_at=datetime.datetime(2026, 1, 1),
    flavor={"name": "std-small-1"},
    image_id="feedbeef-0000-4000-8000-000000000001",
    image_properties={},
    key_name="ann",
    key_type="ssh",
    public_key="ssh-ed25519 AAAA ann@home",
    user_data=b"#!/bin/sh\n\xff\x00",
    metadata={"role": "web"},
    security_groups=("default", "web"),
    network_info=[
        {
            "port_id": "p1",
            "network_id": "n1",
            "label": "private",
            "mac": "fa:16:3e:00:00:01",
            "mtu": 1450,
            "tap": "tapp1",
            "fixed_ips": [
                {"address": "fd00::5", "version": 6, "subnet_id": "s6", "floating": []},
                {
                    "address": "10.0.0.5",
                    "version": 4,
                    "subnet_id": "s4",
                    "floating": [{"address": "203.0.113.9"}],
                },
            ],
            "subnets": [
                {"id": "s6", "cidr": "fd00::/64", "version": 6, "gateway": None, "dns": ["fd00::53"], "routes": []},
                {
                    "id": "s4",
                    "cidr": "10.0.0.0/24",
                    "version": 4,
                    "gateway": "10.0.0.1",
                    "dns": ["9.9.9.9"],
                    "routes": [{"destination": "10.9.0.0/16", "nexthop": "10.0.0.9"}],
                },
            ],
        }
    ],
)


class Api:
    """The application, asked as a metadata proxy would."""

    def __init__(self, facts: InstanceFacts | None = FACTS, secret: str = SECRET) -> None:
        self.loads: list[str] = []
        self.conf = config.load(
            SPEC.new_conf(),
            [],
            {(None, "metadata_proxy_shared_secret"): secret, (None, "dhcp_domain"): "cloud.example.org"},
        )

        def load(server_id: str) -> InstanceFacts | None:
            self.loads.append(server_id)
            return facts if facts is not None and facts.server_id == server_id else None

        self.passwords: dict[str, str] = {}

        def store(server_id: str, text: str) -> bool:
            return self.passwords.setdefault(server_id, text) is text

        self.app = MetadataApplication(self.conf, load, lambda server_id: self.passwords.get(server_id, ""), store)

    def get(self, path: str, method: str = "GET", body: bytes = b"", **headers: str) -> webob.Response:
        signature = hmac.new(SECRET.encode(), SERVER.encode(), hashlib.sha256).hexdigest()
        sent = {
            "X-Instance-ID": SERVER,
            "X-Tenant-ID": "project-1",
            "X-Instance-ID-Signature": signature,
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        return webob.Request.blank(path, method=method, headers=sent, body=body).get_response(self.app)


@pytest.fixture
def api() -> Api:
    return Api()


def test_openstack_format(api: Api) -> None:
    assert api.get("/openstack").text.split("\n") == list(documents.OPENSTACK_VERSIONS)
    meta = api.get("/openstack/latest/meta_data.json").json
    assert meta["uuid"] == SERVER
    assert meta["hostname"] == "web-1.cloud.example.org"
    assert meta["public_keys"] == {"ann": "ssh-ed25519 AAAA ann@home"}
    assert meta["keys"] == [{"name": "ann", "type": "ssh", "data": "ssh-ed25519 AAAA ann@home"}]
    assert meta["meta"] == {"role": "web"}
    assert len(meta["random_seed"]) > 600
    assert meta["random_seed"] != api.get("/openstack/latest/meta_data.json").json["random_seed"]
    assert api.get("/openstack/latest/user_data").body == b"#!/bin/sh\n\xff\x00"
    assert api.get("/openstack/2018-08-27/vendor_data.json").json == {}
    assert api.get("/openstack/2018-08-27/vendor_data2.json").json == {}


def test_network_data(api: Api) -> None:
    network = api.get("/openstack/2015-10-15/network_data.json").json
    assert network["links"] == [
        {"id": "tapp1", "vif_id": "p1", "type": "bridge", "mtu": 1450, "ethernet_mac_address": "fa:16:3e:00:00:01"}
    ]
    six, four = network["networks"]
    assert (six["type"], six["ip_address"], six["netmask"], six["routes"]) == (
        "ipv6",
        "fd00::5",
        "ffff:ffff:ffff:ffff::",
        [],
    )
    assert (four["type"], four["ip_address"], four["netmask"]) == ("ipv4", "10.0.0.5", "255.255.255.0")
    assert [(r["network"], r["netmask"], r["gateway"]) for r in four["routes"]] == [
        ("0.0.0.0", "0.0.0.0", "10.0.0.1"),
        ("10.9.0.0", "255.255.0.0", "10.0.0.9"),
    ]
    assert network["services"] == [{"type": "dns", "address": a} for a in ("fd00::53", "9.9.9.9")]


def test_versions_have_what_they_had_then(api: Api) -> None:
    assert api.get("/openstack/2012-08-10").text.split("\n") == ["meta_data.json", "user_data"]
    assert "network_data.json" in api.get("/openstack/2015-10-15").text.split("\n")
    assert api.get("/openstack/2012-08-10/network_data.json").status_int == 404


def test_ec2_format(api: Api) -> None:
    assert api.get("/").text.split("\n") == list(documents.EC2_VERSIONS)
    assert api.get("/latest").text.split("\n") == ["meta-data/", "user-data"]
    top = api.get("/2009-04-04/meta-data/").text.split("\n")
    assert {"instance-id", "local-ipv4", "placement/", "public-keys/"} <= set(top)
    for path, value in {
        "instance-id": "i-0a1b2c3d",
        "local-ipv4": "10.0.0.5",
        "public-ipv4": "203.0.113.9",
        "hostname": "web-1.cloud.example.org",
        "instance-type": "std-small-1",
        "placement/availability-zone": "nova",
        "security-groups": "default\nweb",
        "public-keys": "0=ann",
        "public-keys/0": "openssh-key",
        "public-keys/0/openssh-key": "ssh-ed25519 AAAA ann@home",
    }.items():
        assert api.get(f"/latest/meta-data/{path}").text == value, path
    assert api.get("/latest/user-data").body == FACTS.user_data


@pytest.mark.parametrize(
    "path",
    [
        "/favicon.ico",
        "/openstack/2099-01-01/meta_data.json",
        "/openstack/latest/nothing.json",
        "/openstack/latest/meta_data.json/x",
        "/latest/dynamic/instance-identity/document",
        "/latest/api/token",
        "/computeMetadata/v1/",
        "/metadata/instance",
    ],
)
def test_unknown_path_costs_no_look_at_the_database(api: Api, path: str) -> None:
    assert api.get(path).status_int == 404
    assert api.loads == []


@pytest.mark.parametrize(
    "path", ["/latest/meta-data/nothing", "/latest/meta-data/public-keys/1", "/latest/user-data/x"]
)
def test_unknown_leaf(api: Api, path: str) -> None:
    assert api.get(path).status_int == 404


def test_one_boot_reads_the_server_once(api: Api) -> None:
    for path in ("/openstack/latest/meta_data.json", "/openstack/latest/user_data", "/latest/meta-data/instance-id"):
        assert api.get(path).status_int == 200
    assert api.loads == [SERVER]


def _wrong(api: Api) -> list[dict[str, str]]:
    good = hmac.new(SECRET.encode(), SERVER.encode(), hashlib.sha256).hexdigest()
    return [
        {"X_Instance_ID_Signature": ""},
        {"X_Instance_ID_Signature": good[:-1]},
        {"X_Instance_ID_Signature": good.upper()},
        {"X_Instance_ID_Signature": "é"},
        {"X_Instance_ID": SERVER.upper()},
        {"X_Instance_ID": "0a1b2c3d-0000-4000-8000-000000000002"},
        {"X_Instance_ID": ""},
    ]


def test_signature_decides_whose_metadata_it_is(api: Api) -> None:
    for headers in _wrong(api):
        assert api.get("/openstack/latest/meta_data.json", **headers).status_int == 403, headers
    assert api.loads == []


def test_other_project_sees_nothing(api: Api) -> None:
    assert api.get("/openstack/latest/meta_data.json", X_Tenant_ID="project-2").status_int == 404


def test_without_a_secret_nobody_is_answered() -> None:
    signature = hmac.new(b"", SERVER.encode(), hashlib.sha256).hexdigest()
    api = Api(secret="")
    assert api.get("/openstack/latest/meta_data.json", X_Instance_ID_Signature=signature).status_int == 403


def test_server_that_is_gone_and_server_with_little() -> None:
    assert Api(facts=None).get("/openstack/latest/meta_data.json").status_int == 404
    bare = Api(
        replace(FACTS, user_data=None, public_key=None, key_name=None, metadata={}, network_info=[], image_id=None)
    )
    assert bare.get("/openstack/latest/user_data").status_int == 404
    assert bare.get("/latest/user-data").status_int == 404
    assert bare.get("/latest").text == "meta-data/"
    assert bare.get("/latest/meta-data/local-ipv4").text == ""
    meta = bare.get("/openstack/latest/meta_data.json").json
    assert "public_keys" not in meta and "meta" not in meta
    assert bare.get("/openstack/latest/network_data.json").json == {"links": [], "networks": [], "services": []}


def test_reading_only(api: Api) -> None:
    assert api.get("/openstack/latest/meta_data.json", method="PUT").status_int == 405
    head = api.get("/openstack/latest/meta_data.json", method="HEAD")
    assert head.status_int == 200 and head.body == b""


def test_password_is_taken_once(api: Api) -> None:
    path = "/openstack/2013-04-04/password"
    assert api.get(path).body == b""
    assert api.get("/openstack/2012-08-10/password").status_int == 404
    assert api.get(path, method="POST", body=b"x" * 1021).status_int == 400
    assert api.get(path, method="POST", body="é".encode()).status_int == 400
    assert api.get(path, method="POST", body=b"secret", X_Instance_ID_Signature="").status_int == 403
    assert api.passwords == {}
    assert api.get(path, method="POST", body=b"c2VjcmV0").status_int == 200
    assert api.get(path, method="POST", body=b"other").status_int == 409
    assert api.get(path).body == b"c2VjcmV0"
    assert "password" in api.get("/openstack/latest").text.split("\n")
    assert api.get("/latest/meta-data/instance-id", method="POST").status_int == 405


def test_config_drive_holds_the_same(api: Api, tmp_path: Path) -> None:
    files = documents.config_drive_files(FACTS, api.conf)
    config_drive.write(tmp_path / "drive", files)
    assert (tmp_path / "drive").stat().st_mode & 0o777 == 0o600
    iso = pycdlib.PyCdlib()
    iso.open(str(tmp_path / "drive"))
    assert iso.pvd.volume_identifier.strip() == b"config-2"

    def content(name: str, **where: str) -> bytes:
        stream = io.BytesIO()
        iso.get_file_from_iso_fp(stream, **where)
        return stream.getvalue()

    for name, data in files.items():
        assert content(name, rr_path=f"/{name}") == data
        assert content(name, joliet_path=f"/{name}") == data
    iso.close()
    assert json.loads(files["openstack/latest/meta_data.json"])["uuid"] == SERVER
    assert json.loads(files["ec2/latest/meta-data.json"])["public-keys"] == {"0": {"openssh-key": FACTS.public_key}}
    assert files["openstack/latest/user_data"] == files["ec2/latest/user-data"] == FACTS.user_data


def test_a_thousand_misses_are_fast(api: Api) -> None:
    ask: Callable[[], Any] = lambda: api.get("/latest/dynamic/x")  # noqa: E731
    started = time.thread_time()
    for _ in range(1000):
        assert ask().status_int == 404
    assert time.thread_time() - started < 5
