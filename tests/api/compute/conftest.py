# SPDX-License-Identifier: Apache-2.0
"""A whole cloud in this process, with the compute service's databases on SQLite or MariaDB, and people who call it.

Everything is real but the hypervisor and the wires: REST between services, the in-process bus, flows, the agents with
their fake drivers. Each test brings its own project, so tests do not see one another.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import requests

from aerie_common import service
from aerie_common.cmd import db as schemas
from aerie_common.cmd.all_in_one import AllInOne
from aerie_compute.container import Compute
from servers import MariaDB

NUMBERS = itertools.count(1)
LATEST = "2.104"


class Refused(AssertionError):
    """A reply had another status than expected."""


@dataclass
class Person:
    """Somebody with a token of one project."""

    cloud: Cloud
    token: str
    user_id: str
    project_id: str

    def call(
        self, method: str, path: str, body: Any = None, *, expect: int | None = None, version: str = LATEST,
        service: str = "compute", headers: dict[str, str] | None = None,
    ) -> requests.Response:  # fmt: skip
        """One request. expect: the status it must have."""
        kind = "placement" if service == "placement" else "compute"
        sent = {"X-Auth-Token": self.token, "OpenStack-API-Version": f"{kind} {version}", **(headers or {})}
        url = self.cloud.url(service) + path
        reply = self.cloud.http.request(method, url, json=body, headers=sent, timeout=120)
        if expect is not None and reply.status_code != expect:
            raise Refused(f"{method} {path}: {reply.status_code} instead of {expect}: {reply.text[:1500]}")
        return reply

    def get(self, path: str, **kw: Any) -> Any:
        return self.call("GET", path, expect=kw.pop("expect", 200), **kw).json()

    def post(self, path: str, body: Any, expect: int, **kw: Any) -> Any:
        reply = self.call("POST", path, body, expect=expect, **kw)
        return reply.json() if reply.content else None

    def action(self, server_id: str, action: dict[str, Any], expect: int = 202, **kw: Any) -> Any:
        return self.post(f"/servers/{server_id}/action", action, expect, **kw)

    @cached_property
    def network(self) -> dict[str, Any]:
        """A network of this project with one subnet."""
        made: dict[str, Any] = self.post("/networks", {"network": {"name": "net"}}, 201, service="network")["network"]
        number = next(NUMBERS)
        subnet = {"network_id": made["id"], "cidr": f"10.{number // 250}.{number % 250}.0/24", "ip_version": 4}
        self.post("/subnets", {"subnet": subnet}, 201, service="network")
        return made

    def boot(self, name: str = "server", expect: int = 202, *, version: str = LATEST, **more: Any) -> Any:
        """POST /servers with what every server needs; the reply's server."""
        body = {"name": name, "flavorRef": self.cloud.flavor["id"], "imageRef": self.cloud.image["id"], **more}
        if "networks" not in body:
            body["networks"] = [{"uuid": self.network["id"]}]
        reply = self.post("/servers", {"server": body}, expect, version=version)
        return reply["server"] if expect == 202 else reply

    def server(self, name: str = "server", **more: Any) -> dict[str, Any]:
        """A server that is ACTIVE."""
        return self.wait(self.boot(name, **more)["id"], "ACTIVE")

    def show(self, server_id: str, version: str = LATEST) -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"/servers/{server_id}", version=version)["server"]
        return found

    def wait(self, server_id: str, status: str, seconds: float = 60) -> dict[str, Any]:
        """Until the server has that status and nothing is being done to it."""

        def there() -> dict[str, Any] | None:
            server = self.show(server_id)
            if server["status"] == "ERROR" and status != "ERROR":
                raise AssertionError(f"server is ERROR: {server.get('fault')}")
            return server if server["status"] == status and server["OS-EXT-STS:task_state"] is None else None

        return until(there, f"server {server_id} to be {status}", seconds)

    def wait_gone(self, server_id: str, seconds: float = 60) -> None:
        until(lambda: self.call("GET", f"/servers/{server_id}").status_code == 404, f"{server_id} to go", seconds)


def until(check: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """The first true answer of `check`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = check()
        if found:
            return found
        time.sleep(0.03)
    raise AssertionError(f"waited {seconds} s for {what}")


@dataclass
class Cloud:
    """The cloud and its administrator."""

    running: AllInOne
    http: requests.Session = field(default_factory=requests.Session)

    def url(self, service: str) -> str:
        daemon, root = {
            "compute": ("aerie-compute-api", "/v2.1"), "network": ("aerie-network-api", "/v2.0"),
            "image": ("aerie-image-api", "/v2"), "identity": ("aerie-identity-api", "/v3"),
            "placement": ("aerie-compute-placement", ""),
        }[service]  # fmt: skip
        return f"http://127.0.0.1:{self.running.ports[daemon]}{root}"

    def log_in(self, user: str, project: str, password: str) -> Person:
        default = {"name": "Default"}
        body = {
            "auth": {
                "identity": {
                    "methods": ["password"],
                    "password": {"user": {"name": user, "domain": default, "password": password}},
                },
                "scope": {"project": {"name": project, "domain": default}},
            }
        }
        reply = self.http.post(self.url("identity") + "/auth/tokens", json=body, timeout=120)
        assert reply.status_code == 201, reply.text
        token = reply.json()["token"]
        return Person(self, reply.headers["X-Subject-Token"], token["user"]["id"], token["project"]["id"])

    @cached_property
    def admin(self) -> Person:
        return self.log_in("admin", "admin", self.running.password)

    @cached_property
    def service_user(self) -> Person:
        return self.log_in("network", "service", (self.running.state_dir / "service-password").read_text())

    def person(self, role: str = "member", project_id: str | None = None) -> Person:
        """A new user with that role, in a new project unless one is given."""
        name = f"p{next(NUMBERS)}"
        admin = self.admin
        if project_id is None:
            body = {"project": {"name": name, "domain_id": "default"}}
            project_id = admin.post("/projects", body, 201, service="identity")["project"]["id"]
        user = admin.post(
            "/users", {"user": {"name": name, "domain_id": "default", "password": "secret"}}, 201, service="identity"
        )["user"]
        roles = admin.get(f"/roles?name={role}", service="identity")["roles"]
        path = f"/projects/{project_id}/users/{user['id']}/roles/{roles[0]['id']}"
        admin.call("PUT", path, expect=204, service="identity")
        project = admin.get(f"/projects/{project_id}", service="identity")["project"]
        return self.log_in(name, project["name"], "secret")

    def make_flavor(self, name: str, **more: Any) -> dict[str, Any]:
        body = {"name": name, "ram": 64, "vcpus": 1, "disk": 1, **more}
        made: dict[str, Any] = self.admin.post("/flavors", {"flavor": body}, 200)["flavor"]
        return made

    @cached_property
    def flavor(self) -> dict[str, Any]:
        return self.make_flavor("small")

    @cached_property
    def image(self) -> dict[str, Any]:
        return self.make_image("tiny", b"x" * 4096)

    def make_image(self, name: str, data: bytes | None, **more: Any) -> dict[str, Any]:
        body = {"name": name, "disk_format": "raw", "container_format": "bare", "visibility": "public", **more}
        made: dict[str, Any] = self.admin.post("/images", body, 201, service="image")
        if data is not None:
            reply = self.http.put(
                self.url("image") + f"/images/{made['id']}/file", data=data, timeout=120,
                headers={"X-Auth-Token": self.admin.token, "Content-Type": "application/octet-stream"},
            )  # fmt: skip
            assert reply.status_code == 204, reply.text
        return made

    @cached_property
    def svc(self) -> Compute:
        """The compute service's handles on the same databases, for what no API shows."""
        return Compute(self.running.conf("aerie-compute-api"))


@pytest.fixture(scope="module", params=["sqlite", "mariadb"])
def cloud(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """Modules for which one database is enough parametrize this fixture themselves."""
    state: Path = tmp_path_factory.mktemp("cloud")
    overrides: dict[tuple[str | None, str], Any] = {("api", "response_validation"): "error"}
    if request.param == "mariadb":
        server: MariaDB = request.getfixturevalue("mariadb")
        for database in service.services()["compute"].databases:
            url = server.url(server.create_database())
            schemas.sync(database, url)
            overrides[database.group, "connection"] = url
    running = AllInOne(state, any_port=True, overrides={"compute": overrides})
    running.start()
    found = Cloud(running)
    until(lambda: found.admin.get("/os-hypervisors")["hypervisors"], "the hypervisor")
    yield found
    if "svc" in found.__dict__:
        found.svc.db.dispose()
        found.svc.api_db.dispose()
    running.stop()


@pytest.fixture
def owner(cloud: Cloud) -> Person:
    """A member of a new project."""
    return cloud.person()
