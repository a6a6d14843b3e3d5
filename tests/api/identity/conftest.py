# SPDX-License-Identifier: Apache-2.0
"""The identity API in a test: the real application with real tokens, bootstrapped, on SQLite and on MariaDB."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
import webob

from aerie_common import config, pipeline
from aerie_identity.container import Identity
from aerie_identity.daemons import SPEC
from aerie_identity.db.tables import metadata
from aerie_identity.logic.bootstrap import Bootstrap, bootstrap, default_endpoints

NUMBERS = itertools.count(1)
DEFAULT = {"id": "default"}
Overrides = dict[tuple[str | None, str], Any]


@dataclass
class Cloud:
    """One identity service, and ways to talk to it."""

    svc: Identity
    app: Any = None
    ids: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.app = pipeline.build(self.svc)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = "admin",
        expect: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> webob.Response:
        """One request below /v3 (`//x`: at /x), by the administrator unless `token` says otherwise (None: nobody).
        body: JSON, or bytes of a form."""
        request = webob.Request.blank(path[1:] if path.startswith("//") else f"/v3{path}", method=method)
        if isinstance(body, bytes):
            request.body, request.content_type = body, "application/x-www-form-urlencoded"
        elif body is not None:
            request.body, request.content_type = orjson.dumps(body), "application/json"
        if token is not None:
            request.headers["X-Auth-Token"] = self.admin if token == "admin" else token
        request.headers.update(headers or {})
        reply: webob.Response = request.get_response(self.app)
        if expect is not None and reply.status_int != expect:
            raise AssertionError(f"{method} {path}: {reply.status} instead of {expect}: {reply.text[:2000]}")
        return reply

    @property
    def admin(self) -> str:
        """A token of the administrator."""
        if "admin" not in self.ids or not self.valid(self.ids["admin"]):
            self.ids["admin"] = self.login("admin", "secret", project="admin")
        return self.ids["admin"]

    # -- logging in

    def authenticate(self, identity: dict[str, Any], scope: Any = None, **kw: Any) -> webob.Response:
        auth: dict[str, Any] = {"identity": identity}
        if scope is not None:
            auth["scope"] = scope
        kw.setdefault("token", None)
        return self.call("POST", kw.pop("path", "/auth/tokens"), {"auth": auth}, **kw)

    @staticmethod
    def password(user: str, password: str, domain: dict[str, str] | None = None) -> dict[str, Any]:
        named = {"name": user, "domain": domain or DEFAULT, "password": password}
        return {"methods": ["password"], "password": {"user": named}}

    def login(
        self,
        user: str,
        password: str = "pw",
        *,
        project: str | None = None,
        domain: str | None = None,
        system: bool = False,
        user_domain: str | None = None,
    ) -> str:
        """A token. project: name in the default domain, or id; domain: id."""
        scope: Any = "unscoped"
        if project is not None:
            scope = {"project": {"id": project} if len(project) == 32 else {"name": project, "domain": DEFAULT}}
        elif domain is not None:
            scope = {"domain": {"id": domain}}
        elif system:
            scope = {"system": {"all": True}}
        home = {"id": user_domain} if user_domain else None
        reply = self.authenticate(self.password(user, password, home), scope, expect=201)
        return str(reply.headers["X-Subject-Token"])

    def rescope(self, token: str, scope: Any, **kw: Any) -> webob.Response:
        return self.authenticate({"methods": ["token"], "token": {"id": token}}, scope, **kw)

    def valid(self, token: str) -> bool:
        """Would the service itself accept the token?"""
        return self.svc.token_cache.validate(token) is not None

    def body(self, token: str) -> dict[str, Any]:
        """The token's body as the API shows it to its owner."""
        reply = self.call("GET", "/auth/tokens", token=token, headers={"X-Subject-Token": token}, expect=200)
        return dict(reply.json["token"])

    # -- making things

    def project(self, name: str | None = None, **values: Any) -> str:
        name = name or f"project-{next(NUMBERS)}"
        home = {} if "parent_id" in values else {"domain_id": "default"}
        body = {"project": {"name": name, **home, **values}}
        return str(self.call("POST", "/projects", body, expect=201).json["project"]["id"])

    def domain(self, name: str | None = None, **values: Any) -> str:
        name = name or f"domain-{next(NUMBERS)}"
        return str(self.call("POST", "/domains", {"domain": {"name": name, **values}}, expect=201).json["domain"]["id"])

    def user(self, name: str | None = None, **values: Any) -> str:
        name = name or f"user-{next(NUMBERS)}"
        body = {"user": {"name": name, "domain_id": "default", "password": "pw", **values}}
        return str(self.call("POST", "/users", body, expect=201).json["user"]["id"])

    def group(self, *users: str, **values: Any) -> str:
        body = {"group": {"name": f"group-{next(NUMBERS)}", "domain_id": "default", **values}}
        group = str(self.call("POST", "/groups", body, expect=201).json["group"]["id"])
        for user in users:
            self.call("PUT", f"/groups/{group}/users/{user}", expect=204)
        return group

    def role(self, name: str | None = None, **values: Any) -> str:
        name = name or f"role-{next(NUMBERS)}"
        return str(self.call("POST", "/roles", {"role": {"name": name, **values}}, expect=201).json["role"]["id"])

    def role_id(self, name: str) -> str:
        return str(self.call("GET", f"/roles?name={name}").json["roles"][0]["id"])

    def grant(
        self, role: str, where: str, user: str | None = None, group: str | None = None, *, inherited: bool = False
    ) -> str:
        """Grant a role (name or id) at `projects/<id>`, `domains/<id>`, `system` or `global`; the grant's address."""
        role_id = role if len(role) == 32 else self.role_id(role)
        actor = f"users/{user}" if user else f"groups/{group}"
        path = f"/{where}/{actor}/roles/{role_id}"
        if inherited:
            path = f"/OS-INHERIT{path}/inherited_to_projects"
        self.call("PUT", path, expect=204)
        return path

    def member(self, role: str = "member", project: str | None = None) -> tuple[str, str, str]:
        """A new user with a role on a project (a new one): (user's name, user's id, project's id)."""
        project = project or self.project()
        name = f"user-{next(NUMBERS)}"
        user = self.user(name)
        self.grant(role, f"projects/{project}", user)
        return name, user, project


def make(url: str, state: Path, overrides: Overrides | None = None) -> Cloud:
    """A fresh cloud in an empty database."""
    values: Overrides = {
        (None, "state_path"): str(state),
        ("database", "connection"): url,
        ("api", "response_validation"): "error",
        ("identity", "password_hash_rounds"): 4,
        ("ec2", "enabled"): True,
        ("keystone_authtoken", "auth_url"): "http://identity.test/v3",
        **(overrides or {}),
    }
    svc = Identity(config.load(SPEC.new_conf(), [], values))
    svc.db.create_all(metadata)
    endpoints = default_endpoints("127.0.0.1")
    bootstrap(svc, Bootstrap("secret", endpoints=endpoints, service_users={"compute": "service-pw"}))
    return Cloud(svc)


@pytest.fixture(scope="module")
def cloud(database_module_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A cloud for all tests of a module: each makes its own users and projects."""
    made = make(database_module_url, tmp_path_factory.mktemp("state"))
    yield made
    made.svc.db.dispose()


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Callable[..., Cloud]]:
    """Makes a cloud with options of its own, on SQLite: `fresh({("token", "provider"): "jws"})`."""
    clouds: list[Cloud] = []

    def build(overrides: Overrides | None = None) -> Cloud:
        folder = tmp_path / str(len(clouds))
        folder.mkdir()
        clouds.append(make(f"sqlite:///{folder / 'identity.sqlite'}", folder, overrides))
        return clouds[-1]

    yield build
    for made in clouds:
        made.svc.db.dispose()
