# SPDX-License-Identifier: Apache-2.0
"""Calls into a service's real WSGI application, without a socket and without the identity service.

Tokens are made up here: `Api.token(...)` registers a token body with the application's token cache, as the identity
service would have validated it. Everything behind that is the real thing.
"""

from __future__ import annotations

import datetime
import uuid
from dataclasses import dataclass
from typing import Any

import orjson
import webob

from aerie_common import pipeline
from aerie_common.service import Service


class KnownTokens:
    """TokenSource of tokens made up by a test."""

    def __init__(self) -> None:
        self._bodies: dict[str, dict[str, Any]] = {}
        self.revision = 0

    def add(self, body: dict[str, Any]) -> str:
        token = uuid.uuid4().hex
        self._bodies[token] = body
        return token

    def revoke(self, token: str) -> None:
        del self._bodies[token]
        self.revision += 1

    def validate(self, token: str) -> dict[str, Any] | None:
        return self._bodies.get(token)

    def epoch(self) -> str:
        return str(self.revision)


@dataclass(frozen=True)
class Caller:
    """Someone with a token."""

    token: str
    user_id: str
    project_id: str | None


class Api:
    """The application of one service and people who call it."""

    def __init__(self, svc: Service) -> None:
        self.svc = svc
        self.tokens = KnownTokens()
        svc.__dict__["token_source"] = self.tokens
        svc.conf.set_override("response_validation", "error", group="api")
        self.app = pipeline.build(svc)

    def caller(
        self, *roles: str, project_id: str | None = None, user_id: str | None = None, name: str = "somebody"
    ) -> Caller:
        """Somebody with these roles (and what they imply) in a project, a new one when none is given."""
        implied = {"admin": ("admin", "manager", "member", "reader"), "manager": ("manager", "member", "reader"),
                   "member": ("member", "reader")}  # fmt: skip
        names = dict.fromkeys(r for role in roles for r in implied.get(role, (role,)))
        user_id, project_id = user_id or uuid.uuid4().hex, project_id or uuid.uuid4().hex
        expires = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
        default = {"id": "default", "name": "Default"}
        body = {
            "methods": ["password"],
            "user": {"id": user_id, "name": name, "domain": default},
            "project": {"id": project_id, "name": f"project of {name}", "domain": default},
            "roles": [{"id": role, "name": role} for role in names],
            "expires_at": expires.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "is_domain": False,
            "catalog": [],
        }
        return Caller(self.tokens.add(body), user_id, project_id)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        by: Caller | None = None,
        headers: dict[str, str] | None = None,
        version: str | None = None,
        expect: int | None = None,
    ) -> webob.Response:
        """One request. version: the microversion. expect: the status it must have (else the reply is shown)."""
        request = webob.Request.blank(path, method=method)
        if body is not None:
            request.body = body if isinstance(body, bytes) else orjson.dumps(body)
            request.content_type = "application/json"
        for name, value in (headers or {}).items():
            request.headers[name] = value
        if by is not None:
            request.headers["X-Auth-Token"] = by.token
        if version is not None:
            request.headers["OpenStack-API-Version"] = f"{self.svc.table.service} {version}"
        reply: webob.Response = request.get_response(self.app)
        if expect is not None and reply.status_int != expect:
            raise AssertionError(f"{method} {path}: {reply.status} instead of {expect}: {reply.text[:2000]}")
        return reply
