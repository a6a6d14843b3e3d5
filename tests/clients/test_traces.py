# SPDX-License-Identifier: Apache-2.0
"""Golden traces: the requests that real clients make for everyday commands, in order, and the statuses they meet.

The cloud is called by its path-prefixed addresses (`/identity`, `/image`, ...), as a region of the catalog names them.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openstack
import pytest
import yaml
from keystoneauth1 import session
from keystoneauth1.identity.generic import Password

from commandline import OpenStack, Session

REGION = "Prefixed"
PREFIXES = {"identity": "identity", "image": "image", "compute": "compute", "network": "networking"}
REQUEST = re.compile(r'"(GET|HEAD|POST|PUT|PATCH|DELETE) (\S+) HTTP/1\.1" (\d+)')
ROOT = re.compile(r"GET /[a-z]+(/v[0-9.]+/?)? (200|300)")


@pytest.fixture(scope="module")
def prefixed(clouds_yaml: Path, admin: OpenStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A clouds.yaml for the region of prefixed addresses."""
    clouds = yaml.safe_load(clouds_yaml.read_text())
    conf = openstack.config.OpenStackConfig(config_files=[str(clouds_yaml)])
    sdk = openstack.connection.Connection(config=conf.get_one("aerie-admin"))
    sdk.identity.create_region(id=REGION)
    services = {service.id: service.type for service in sdk.identity.services()}
    made = []
    for endpoint in list(sdk.identity.endpoints(interface="public", region_id="RegionOne")):
        kind = services[endpoint.service_id]
        if kind in PREFIXES:
            [host] = re.findall(r"^http://[^/]+", endpoint.url)
            url = f"{host}/{PREFIXES[kind]}"
            values = {"service_id": endpoint.service_id, "interface": "public", "region_id": REGION, "url": url}
            made.append(sdk.identity.create_endpoint(**values))
    for cloud in clouds["clouds"].values():
        cloud["region_name"] = REGION
        cloud["auth"]["auth_url"] = cloud["auth"]["auth_url"].replace("/v3", "/identity")
    path = tmp_path_factory.mktemp("traces") / "clouds.yaml"
    path.write_text(yaml.safe_dump(clouds))
    yield path
    for endpoint in made:
        sdk.identity.delete_endpoint(endpoint)
    sdk.identity.delete_region(REGION)
    sdk.close()


@pytest.fixture(scope="module")
def user(prefixed: Path) -> Iterator[Session]:
    made = Session("aerie", prefixed)
    yield made
    made.close()


@pytest.fixture(scope="module")
def operator(prefixed: Path) -> Iterator[Session]:
    made = Session("aerie-admin", prefixed)
    yield made
    made.close()


def requests_in(log: str) -> list[str]:
    """The requests in a debug log: `GET /path 200`; ids are told apart by nothing."""
    found = [" ".join(parts) for parts in REQUEST.findall(log)]
    return [re.sub(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", "ID", line) for line in found]


def trace(client: OpenStack, *args: str) -> list[str]:
    """The requests of one command, without login and version discovery (which clients remember)."""
    done = client.run("--debug", *args)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = requests_in(done.stderr)
    assert lines[:2] == ["GET /identity 300", "POST /identity/v3/auth/tokens 201"]
    return [line for line in lines[2:] if not ROOT.fullmatch(line)]


# ----------------------------------------------------------------- openstack --debug image list


def test_image_list_as_it_was_taught(prefixed: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Discovery; a login by the command, one by its session; the list; the same list after its last image: empty.

    By the libraries the command is made of, in the order in which it used them then."""
    cloud = yaml.safe_load(prefixed.read_text())["clouds"]["aerie"]
    auth = Password(**cloud["auth"])
    client = session.Session(auth=auth)
    with caplog.at_level(logging.DEBUG), caplog.at_level(logging.DEBUG, "urllib3"):
        access = auth.get_auth_ref(client)
        where = {"service_type": "image", "region_name": REGION, "interface": "public"}
        assert access.service_catalog.url_for(**where).endswith("/image")
        first = client.get("/v2/images", endpoint_filter=where)
        last = first.json()["images"][-1]["id"]
        second = client.get("/v2/images", params={"marker": last}, endpoint_filter=where)
    assert requests_in(caplog.text) == [
        "GET /identity 300",
        "POST /identity/v3/auth/tokens 201",
        "POST /identity/v3/auth/tokens 201",
        "GET /image/v2/images 200",
        "GET /image/v2/images?marker=ID 200",
    ]
    assert second.json()["images"] == []
    for reply in (first, second):
        assert {"first", "schema", "images"} <= reply.json().keys() and "next" not in reply.json()
        assert (reply.json()["first"], reply.json()["schema"]) == ("/v2/images", "/v2/schemas/images")
        assert re.fullmatch(r"req-[0-9a-f-]{36}", reply.headers["x-openstack-request-id"])


def test_image_list_of_the_command_of_today(prefixed: Path) -> None:
    """The real command, in a process of its own."""
    done = OpenStack("aerie", prefixed).run("--debug", "image", "list", "-f", "json")
    assert done.returncode == 0, done.stderr[-2000:]
    assert requests_in(done.stderr) == [
        "GET /identity 300",
        "POST /identity/v3/auth/tokens 201",
        "GET /image 300",
        "GET /image/v2/images 200",
    ]
    assert "aerie-guest" in {image["Name"] for image in json.loads(done.stdout)}
    body = done.stderr[done.stderr.index('RESP BODY: {"images"') :]
    assert '"first":"/v2/images"' in body and '"schema":"/v2/schemas/images"' in body
    assert len(re.findall(r"RESP: \[[23]00\] .*X-Openstack-Request-Id: req-", done.stderr)) == 3


def test_a_list_is_paged_until_it_is_empty(prefixed: Path, caplog: pytest.LogCaptureFixture) -> None:
    """openstacksdk with a page size asks again after each full page."""
    config = openstack.config.OpenStackConfig(config_files=[str(prefixed)])
    sdk = openstack.connection.Connection(config=config.get_one("aerie"))
    for name in ("t-page-1", "t-page-2"):
        sdk.image.create_image(name=name, container_format="bare", disk_format="raw", tags=["t-page"])
    with caplog.at_level(logging.DEBUG), caplog.at_level(logging.DEBUG, "urllib3"):
        found = list(sdk.image.images(limit=1, tag="t-page"))
    assert len(found) == 2
    pages = [line for line in requests_in(caplog.text) if "/images?" in line]
    assert [("marker=ID" in line, line.endswith(" 200")) for line in pages] == [
        (False, True),
        (True, True),
        (True, True),
    ]
    for image in found:
        sdk.image.delete_image(image)
    sdk.close()


# ----------------------------------------------------------------- identity


def test_logging_in_and_out(user: Session) -> None:
    assert trace(user, "token", "issue") == []
    assert trace(user, "catalog", "list") == []
    token = user.json("token", "issue")["id"]
    assert trace(user, "token", "revoke", token) == ["DELETE /identity/v3/auth/tokens 204"]


@pytest.mark.parametrize("noun", ["project", "user", "role", "group", "service"])
def test_finding_by_name(operator: Session, noun: str) -> None:
    """A name is tried as an id first, which is a 404 and no fault."""
    name = {"role": "member", "group": "t-group", "service": "image"}.get(noun, "demo")
    if noun == "group":
        operator("group", "create", "t-group")
    lines = trace(operator, noun, "show", name)
    plural = f"/identity/v3/{noun}s"
    assert lines[0] == f"GET {plural}/{name} 404"
    assert lines[1].startswith(f"GET {plural}?") and lines[1].endswith(" 200")
    assert all(line.endswith(" 200") or line == f"GET {plural}/{name} 404" for line in lines[1:]), lines
    if noun == "group":
        operator("group", "delete", "t-group")


def test_finding_without_the_right_to_list(user: Session) -> None:
    done = user.run("--debug", "user", "show", "demo")
    assert requests_in(done.stderr)[2:] == ["GET /identity/v3/users/demo 403", "GET /identity/v3/users?name=demo 403"]
    assert done.returncode == 1 and "403" in done.stderr


# ----------------------------------------------------------------- image


def test_an_image_is_uploaded_shown_and_removed(user: Session, tmp_path: Path) -> None:
    file = tmp_path / "image"
    file.write_bytes(b"x" * 5000)
    form = ("--disk-format", "raw", "--container-format", "bare")
    assert trace(user, "image", "create", *form, "--file", str(file), "t-image") == [
        "POST /image/v2/images 201",
        "PUT /image/v2/images/ID/file 204",
        "GET /image/v2/images/ID 200",
    ]
    by_name = ["GET /image/v2/images/t-image 404", "GET /image/v2/images?name=t-image 200"]
    assert trace(user, "image", "show", "t-image") == by_name
    saved = tmp_path / "saved"
    lines = trace(user, "image", "save", "--file", str(saved), "t-image")
    assert lines[:2] == by_name and lines[-1] == "GET /image/v2/images/ID/file 200"
    assert saved.read_bytes() == file.read_bytes()
    assert trace(user, "image", "set", "--property", "colour=blue", "t-image") == [
        *by_name,
        "PATCH /image/v2/images/ID 200",
    ]
    assert trace(user, "image", "delete", "t-image") == [*by_name, "DELETE /image/v2/images/ID 204"]


def test_a_server_is_created_by_names(user: Session) -> None:
    """`server create --image N --flavor N --network N --wait`: each name is looked up, then one POST, then polling."""
    names = ("--image", "aerie-guest", "--flavor", "std-tiny-1", "--network", "private")
    lines = trace(user, "server", "create", *names, "--wait", "t-server")
    post = lines.index("POST /compute/v2.1/servers 202")
    before, after = lines[:post], lines[post + 1 :]
    wanted = [
        "GET /image/v2/images/aerie-guest 404",
        "GET /image/v2/images?name=aerie-guest 200",
        "GET /compute/v2.1/flavors/std-tiny-1 404",
        "GET /networking/v2.0/networks/private 404",
        "GET /networking/v2.0/networks?name=private 200",
    ]
    assert [line for line in before if line in wanted] == wanted, before
    assert "GET /compute/v2.1/servers/ID 200" in after and all(line.endswith(" 200") for line in after), after
    user("server", "delete", "--wait", "t-server")


# --------------------------------------------------------------------------------------------------- no block storage


def test_clients_get_on_without_block_storage(user: Session) -> None:
    """What is absent is absent from the catalog, and nobody asks for it."""
    types = {service["Type"] for service in user.json("catalog", "list")}
    assert not types & {"volume", "volumev2", "volumev3", "block-storage", "block-store"}
    for command in (("quota", "show"), ("limits", "show", "--absolute")):
        lines = trace(user, *command)
        assert lines and all(line.startswith(("GET /compute/", "GET /networking/")) for line in lines), lines
        assert all(line.endswith(" 200") for line in lines), lines
    assert "endpoint" in user.refused("volume", "list")


def test_debug_shows_no_secret(user: Session) -> None:
    """What clients print of requests and replies holds neither password nor token."""
    done = user.run("--debug", "token", "issue", "-f", "json")
    issued: dict[str, Any] = json.loads(done.stdout)
    assert issued["id"] not in done.stderr
