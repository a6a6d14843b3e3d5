# SPDX-License-Identifier: Apache-2.0
"""A real identity API and real image APIs on the loopback, in this process, each with a database of its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import requests

from aerie_common import config
from aerie_common.cmd import db
from aerie_common.daemons import end
from aerie_common.ports import free_port
from aerie_common.service import ServiceSpec, Stoppable
from aerie_identity.daemons import SPEC as IDENTITY
from aerie_image.daemons import SPEC as IMAGE

PASSWORD = "secret"


class _Host:
    """One daemon and what it listens on."""

    def __init__(self, spec: ServiceSpec, folder: Path, auth_url: str | None = None) -> None:
        self.port, self.folder = free_port(), folder
        self.url = f"http://127.0.0.1:{self.port}"
        folder.mkdir()
        self.conf = config.load(spec.new_conf(), [])
        self.set("connection", f"sqlite:///{folder / 'db.sqlite'}", "database")
        self.set("state_path", str(folder))
        self.set("listen", "127.0.0.1", "api")
        self.set("port", self.port, "api")
        for name, value in (
            ("auth_url", auth_url or f"{self.url}/v3"),
            ("username", spec.name),
            ("password", PASSWORD),
        ):
            self.set(name, value, "keystone_authtoken")
        for (group, name), place in spec.paths.items():
            self.set(name, str(folder / place), group)
        db.create(spec.databases[0], f"sqlite:///{folder / 'db.sqlite'}")
        self._spec = spec
        self._running: list[Stoppable] = []

    def set(self, name: str, value: Any, group: str | None = None) -> None:
        self.conf.set_override(name, value, group=group)

    def start(self) -> None:
        self._running = self._spec.daemons[0].start(self.conf)

    def stop(self) -> None:
        end(self._running)
        self._running = []


class IdentityHost(_Host):
    """Bootstrapped: users admin and demo, each in a project of the name, and service users, all with PASSWORD."""

    def __init__(self, folder: Path, image_url: str = "http://127.0.0.1:9") -> None:
        super().__init__(IDENTITY, folder)
        self.set("password_hash_rounds", 4, "identity")
        self.start()
        os.environ["AERIE_TEST_PASSWORD"] = PASSWORD
        arguments = ["--service-password", PASSWORD, "--region", "RegionOne", "--demo-password", PASSWORD,
                     "--admin-password-env", "AERIE_TEST_PASSWORD", "--endpoint", f"identity={self.url}/v3",
                     "--endpoint", f"image={image_url}"]  # fmt: skip
        try:
            assert IDENTITY.commands["bootstrap"](self.conf, arguments) == 0
        finally:
            del os.environ["AERIE_TEST_PASSWORD"]

    @property
    def auth_url(self) -> str:
        return f"{self.url}/v3"

    def login(self, name: str, project: str | None = None) -> Person:
        """A session of that user in the project (of the user's own name)."""
        home = {"domain": {"id": "default"}}
        body = {"auth": {
            "identity": {"methods": ["password"], "password": {"user": {"name": name, "password": PASSWORD, **home}}},
            "scope": {"project": {"name": project or name, **home}},
        }}  # fmt: skip
        reply = requests.post(f"{self.auth_url}/auth/tokens", json=body, timeout=120)
        reply.raise_for_status()
        return Person(reply.headers["X-Subject-Token"], reply.json()["token"])


class ImageHost(_Host):
    """One image API, whose tokens that identity API validates."""

    def __init__(self, folder: Path, identity: IdentityHost, **options: Any) -> None:
        super().__init__(IMAGE, folder, identity.auth_url)
        for name, value in options.items():
            self.set(name, value)
        self.start()


class Person:
    """Somebody with a token."""

    def __init__(self, token: str, body: dict[str, Any]) -> None:
        self.token, self.user_id, self.project_id = token, body["user"]["id"], body["project"]["id"]

    def call(self, method: str, url: str, expect: int | None = None, **kw: Any) -> requests.Response:
        """One request. expect: the status it must have."""
        headers = {"X-Auth-Token": self.token, "Accept": "application/json", **kw.pop("headers", {})}
        reply = requests.request(method, url, headers=headers, timeout=120, **kw)
        assert expect in (None, reply.status_code), f"{method} {url}: {reply.status_code} {reply.text[:1000]}"
        return reply

    def upload(self, host: ImageHost, image_id: str, data: Any, expect: int = 204, place: str = "file") -> None:
        headers = {"Content-Type": "application/octet-stream"}
        self.call("PUT", f"{host.url}/v2/images/{image_id}/{place}", expect, data=data, headers=headers)

    def create(self, host: ImageHost, expect: int = 201, **values: Any) -> str:
        body = {"name": "i", "disk_format": "raw", "container_format": "bare", **values}
        return str(self.call("POST", f"{host.url}/v2/images", expect, json=body).json().get("id"))

    def image(self, host: ImageHost, image_id: str) -> Any:
        return self.call("GET", f"{host.url}/v2/images/{image_id}", 200).json()
