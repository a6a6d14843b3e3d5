# SPDX-License-Identifier: Apache-2.0
"""Who the caller is: WSGI filter that turns a token into a Context.

A validated token is remembered until it expires. Every revocation (a password change, a disabled user, a removed role)
moves the identity service's revocation epoch on; each API process looks at the epoch at most every EPOCH_SECONDS and
forgets all it remembered when it moved, so a revoked token is refused everywhere within a second. While the identity
service does not answer, remembered tokens hold for STALE_SECONDS.

Identity headers that a client sends (X-User-Id, X-Roles, ...) are dropped before anything else.
"""

from __future__ import annotations

import datetime
import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from aerie_common.context import Context, new_request_id
from aerie_common.db import unavailable
from aerie_common.errors import AerieError, ServiceUnavailable

LOG = logging.getLogger(__name__)
EPOCH_SECONDS = 0.5
STALE_SECONDS = 60.0
CACHE_SIZE = 10_000
SPOOFABLE = (
    "HTTP_X_IDENTITY_STATUS", "HTTP_X_SERVICE_IDENTITY_STATUS", "HTTP_X_ROLES", "HTTP_X_ROLE", "HTTP_X_SERVICE_ROLES",
    "HTTP_X_USER", "HTTP_X_USER_ID", "HTTP_X_USER_NAME", "HTTP_X_USER_DOMAIN_ID", "HTTP_X_USER_DOMAIN_NAME",
    "HTTP_X_PROJECT_ID", "HTTP_X_PROJECT_NAME", "HTTP_X_PROJECT_DOMAIN_ID", "HTTP_X_PROJECT_DOMAIN_NAME",
    "HTTP_X_TENANT", "HTTP_X_TENANT_ID", "HTTP_X_TENANT_NAME", "HTTP_X_DOMAIN_ID", "HTTP_X_DOMAIN_NAME",
    "HTTP_X_IS_ADMIN_PROJECT", "HTTP_X_SERVICE_CATALOG", "HTTP_OPENSTACK_SYSTEM_SCOPE",
)  # fmt: skip


class TokenSource(Protocol):
    """Where tokens are validated: the identity API for most services, its own logic for the identity service."""

    def validate(self, token: str) -> dict[str, Any] | None:
        """The token's body (what stands under "token"), None when it is not valid."""

    def epoch(self) -> str:
        """The revocation epoch: any text that changes with every revocation."""


class TokenCache:
    """Validated tokens of this process."""

    def __init__(self, source: TokenSource) -> None:
        self._source = source
        self._tokens: dict[bytes, tuple[float, dict[str, Any]]] = {}
        self._lock = threading.Lock()
        self._epoch: str | None = None
        self._looked = self._agreed = float("-inf")

    def _look_at_epoch(self) -> None:
        now = time.monotonic()
        if now - self._looked < EPOCH_SECONDS:
            return
        self._looked = now  # set before asking: other threads need not ask too
        try:
            epoch = self._source.epoch()
        except ServiceUnavailable:
            if now - self._agreed > STALE_SECONDS:
                self._tokens.clear()
            return
        self._agreed = now
        if epoch != self._epoch:
            with self._lock:
                self._tokens.clear()
                self._epoch = epoch

    def validate(self, token: str) -> dict[str, Any] | None:
        """The token's body, None when it is not valid."""
        self._look_at_epoch()
        key = hashlib.sha256(token.encode()).digest()
        hit = self._tokens.get(key)
        if hit is not None:
            if hit[0] > time.time():
                return hit[1]
            self._tokens.pop(key, None)
        epoch = self._epoch
        body = self._source.validate(token)
        if body is not None:
            with self._lock:
                if len(self._tokens) >= CACHE_SIZE:
                    for old in list(self._tokens)[: CACHE_SIZE // 10]:
                        del self._tokens[old]
                if epoch == self._epoch:
                    self._tokens[key] = (expiry(body), body)
        return body


def expiry(body: dict[str, Any]) -> float:
    """When the token ends, in seconds since 1970."""
    return datetime.datetime.fromisoformat(body["expires_at"]).timestamp()


def fill(ctx: Context, token: str, body: dict[str, Any]) -> None:
    """Put what a validated token says into the context."""
    user, project, domain = body["user"], body.get("project"), body.get("domain")
    ctx.token, ctx.token_data = token, body
    ctx.user_id, ctx.user_name = user["id"], user.get("name")
    user_domain = user.get("domain") or {}
    ctx.user_domain_id, ctx.user_domain_name = user_domain.get("id"), user_domain.get("name")
    if project:
        ctx.project_id, ctx.project_name = project["id"], project.get("name")
        project_domain = project.get("domain") or {}
        ctx.project_domain_id, ctx.project_domain_name = project_domain.get("id"), project_domain.get("name")
    if domain:
        ctx.domain_id, ctx.domain_name = domain["id"], domain.get("name")
    if body.get("system"):
        ctx.system_scope = "all"
    ctx.roles = tuple(role["name"].lower() for role in body.get("roles", ()))


class AuthFilter:
    """WSGI filter: drops spoofed headers, gives the request its ids, resolves X-Auth-Token (or OAuth 2.0's
    `Authorization: Bearer`) and X-Service-Token.

    A request whose token cannot be validated at this moment is refused (`aerie.refusal` in the environ says how).
    A request without a valid token goes on as a stranger (user_id None): the application refuses what needs a caller.
    """

    def __init__(self, app: Callable[..., Iterable[bytes]], cache: TokenCache) -> None:
        self._app, self._cache = app, cache

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        for header in SPOOFABLE:
            environ.pop(header, None)
        ctx = Context(request_id=new_request_id(), global_request_id=_global_id(environ))
        environ["aerie.context"] = ctx
        token = environ.get("HTTP_X_AUTH_TOKEN") or environ.get("HTTP_X_STORAGE_TOKEN") or _bearer(environ)
        try:
            if token and (body := self._cache.validate(token)):
                fill(ctx, token, body)
            service_token = environ.get("HTTP_X_SERVICE_TOKEN")
            if service_token and (body := self._cache.validate(service_token)):
                ctx.service_roles = tuple(role["name"].lower() for role in body.get("roles", ()))
        except Exception as e:  # this is no stranger's request; the application words it as its API does
            if isinstance(e, AerieError) or unavailable(e):
                LOG.warning("[%s] a token could not be validated: %s", ctx.request_id, e)
                message = "The identity service does not answer. Try again in a moment."
                environ["aerie.refusal"] = ServiceUnavailable(message)
            else:
                LOG.exception("[%s] a token could not be validated", ctx.request_id)
                environ["aerie.refusal"] = AerieError()
        return self._app(environ, start_response)


def _bearer(environ: dict[str, Any]) -> str | None:
    """The token of an `Authorization: Bearer` header (RFC 6750)."""
    kind, _, token = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    return token.strip() or None if kind.lower() == "bearer" else None


def _global_id(environ: dict[str, Any]) -> str | None:
    sent = environ.get("HTTP_X_OPENSTACK_REQUEST_ID", "")
    return sent if sent.startswith("req-") and len(sent) <= 64 and sent[4:].replace("-", "").isalnum() else None
