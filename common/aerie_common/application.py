# SPDX-License-Identifier: Apache-2.0
"""The WSGI application of an API: finds the operation, checks everything its row declares, calls the handler, renders
the reply or the refusal. The only place that turns exceptions into HTTP answers."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

import orjson

from aerie_common import access_rules, context, metrics
from aerie_common.context import Context
from aerie_common.db import unavailable
from aerie_common.dialects import render, title
from aerie_common.errors import (
    AerieError,
    BadRequest,
    MethodNotAllowed,
    NotFound,
    ServiceUnavailable,
    TooLarge,
    Unauthorized,
    UnsupportedMediaType,
)
from aerie_common.http import Reply, Request
from aerie_common.microversions import Version
from aerie_common.operations import Match, Operation

LOG = logging.getLogger(__name__)
ACCESS = logging.getLogger("aerie.access")
StartResponse = Callable[..., Any]
_NO_BODY = (204, 304)


def _text(path: str) -> str:
    """WSGI hands over the bytes of a path as Latin-1; the names in it are UTF-8."""
    try:
        return path.encode("latin-1").decode()
    except UnicodeDecodeError:
        raise BadRequest("The path is not UTF-8.") from None


class Application:
    """`svc` is the service's container; its `table` holds the operations."""

    def __init__(self, svc: Any) -> None:
        self.svc = svc
        self.table = svc.table
        self._check_replies = svc.conf.api.response_validation == "error"

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        began = time.monotonic()
        ctx: Context = environ.get("aerie.context") or Context()
        context.set_current(ctx)
        request = Request(environ, self.svc, ctx, "")
        headers: list[tuple[str, str]] = []
        try:
            reply = self._serve(request, headers)
            status, body = self._render(reply, request, headers)
        except AerieError as e:
            status, body = self._refuse(e, request, headers)
        except Exception as e:  # the fault wrapper: whatever else goes wrong is this program's mistake
            away = unavailable(e)
            LOG.error(
                "%s in %s %s",
                f"the database is not available ({e})" if away else "unexpected error",
                environ["REQUEST_METHOD"],
                environ.get("PATH_INFO"),
                exc_info=not away,
            )
            status, body = self._refuse(ServiceUnavailable() if away else AerieError(), request, headers)
        headers.append(("X-Openstack-Request-Id", ctx.request_id))
        if self.table.service == "compute":
            headers.append(("X-Compute-Request-Id", ctx.request_id))
        elapsed = time.monotonic() - began
        label = f"{request.op.method} {request.op.path}" if request.op else "unknown"
        metrics.observe(self.table.service, label, status, elapsed)
        ACCESS.info(
            '%s "%s %s" %d %s %.1fms',
            environ.get("REMOTE_ADDR", "-"),
            environ["REQUEST_METHOD"],
            environ.get("PATH_INFO", ""),
            status,
            len(body) if isinstance(body, bytes) else "-",
            elapsed * 1000,
        )
        context.set_current(None)
        start_response(f"{status} {title(status)}", headers)
        if environ["REQUEST_METHOD"] == "HEAD":
            return []
        return [body] if isinstance(body, bytes) else body

    # -- finding and checking

    def _serve(self, request: Request, headers: list[tuple[str, str]]) -> Any:
        environ, ctx = request.environ, request.ctx
        if "aerie.refusal" in environ:
            raise environ["aerie.refusal"]
        method: str = environ["REQUEST_METHOD"]
        path: str = environ.get("PATH_INFO") or "/"
        if not path.isascii():
            path = _text(path)
        for prefix in self.table.prefixes:
            if path == prefix or path.startswith(prefix + "/"):
                request.prefix, path = prefix, path[len(prefix) :] or "/"
                break
        request.path = path
        if self.table.versions:
            request.version = self.table.versions.minimum  # the errors of a bad header are worded in the oldest version
            request.version = self.table.versions.negotiate(environ)
            headers += self.table.versions.headers(request.version)
        match, methods = self.table.find(method, path)
        if match is None and not methods:
            raise self._unknown(ctx, NotFound())
        if match is None:
            raise self._unknown(ctx, MethodNotAllowed(method=method))
        if ctx.user_id is None and all(row.policy is not None for row in match.rows):
            raise Unauthorized()  # before a stranger's body is read
        body = self._read_body(request, match)
        request.op = op = self._choose(match, body, request.version)
        if op.policy is not None:
            if ctx.user_id is None:
                raise Unauthorized()
            access_rules.check(ctx, self.table.service, method, path)
            ctx.is_admin = self.svc.policy.is_admin(ctx)
            if op.check == "framework":
                self.svc.policy.check(ctx, op.policy)
        if op.request != "stream":
            self._validate(request, op, body)
        return op.handler(request, **match.params)

    @staticmethod
    def _unknown(ctx: Context, error: AerieError) -> AerieError:
        """Strangers do not learn which paths exist."""
        return error if ctx.user_id is not None else Unauthorized()

    def _read_body(self, request: Request, match: Match) -> Any:
        """The JSON body of the request; None where the operation reads it itself or there is none."""
        rows = match.rows
        if rows[0].request == "stream":
            return None
        environ = request.environ
        length = int(environ.get("CONTENT_LENGTH") or 0)
        chunked = environ.get("HTTP_TRANSFER_ENCODING", "").lower() == "chunked"
        if length == 0 and not chunked:
            return None
        limit = self.table.max_body
        raw = environ["wsgi.input"].read(limit + 1 if chunked else min(length, limit + 1))
        if length > limit or len(raw) > limit:
            raise TooLarge(f"Request is too large. The limit is {limit} bytes.")
        if all(row.request is None for row in rows):
            return None  # a body nobody asked for is ignored, as in the upstream APIs
        content_type = environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
        if content_type not in rows[0].content_types and not (
            content_type in ("", "text/plain", "application/x-www-form-urlencoded")
            and "application/json" in rows[0].content_types
        ):
            raise UnsupportedMediaType(content_type=content_type)
        try:
            return orjson.loads(raw)
        except orjson.JSONDecodeError as e:
            raise BadRequest(f"The request body is not valid JSON: {e}") from None

    def _choose(self, match: Match, body: Any, version: Version) -> Operation:
        """The row for this body's action and this microversion."""
        actions = {op.action for op in match.rows if op.action}
        action = None
        if actions:
            if not isinstance(body, dict) or len(body) != 1:
                raise BadRequest("The body must be an object with exactly one action.")
            action = next(iter(body))
            if action not in actions:
                raise BadRequest(f"There is no such action: {action}.")
        for op in match.rows:
            if op.action == action and op.offered_in(version):
                return op
        raise NotFound()

    def _validate(self, request: Request, op: Operation, body: Any) -> None:
        check = op.validator(request.version)
        if check is not None:
            if body is None:
                raise BadRequest("The request needs a JSON body.")
            check(body)
            request.body = body

    # -- answering

    def _render(
        self, reply: Any, request: Request, headers: list[tuple[str, str]]
    ) -> tuple[int, bytes | Iterable[bytes]]:
        if not isinstance(reply, Reply):
            reply = Reply(value=reply)
        status = reply.status or (request.op.status if request.op else 200)
        headers += reply.headers
        if reply.body is not None:
            headers.append(("Content-Type", reply.content_type))
            if isinstance(reply.body, bytes):
                headers.append(("Content-Length", str(len(reply.body))))
            return status, reply.body
        if reply.value is None:
            if status not in _NO_BODY:
                headers.append(("Content-Length", "0"))
            return status, b""
        body = orjson.dumps(reply.value, option=orjson.OPT_NON_STR_KEYS)
        if self._check_replies and request.op and status < 300:
            check = request.op.reply_validator(request.version)
            if check:
                check(orjson.loads(body))
        headers.append(("Content-Type", reply.content_type))
        headers.append(("Content-Length", str(len(body))))
        return status, body

    def _refuse(self, error: AerieError, request: Request, headers: list[tuple[str, str]]) -> tuple[int, bytes]:
        accept = request.header("Accept")
        content_type, body = render(self.table.dialect, error, request.ctx.request_id, accept)
        headers += [("Content-Type", content_type), ("Content-Length", str(len(body)))]
        headers += error.headers.items()
        if error.status == 401 and "WWW-Authenticate" not in error.headers:
            headers.append(("WWW-Authenticate", f'Keystone uri="{self.svc.auth_uri}"'))
        if error.status == 405:
            headers.append(("Allow", ", ".join(self.table.find("OPTIONS", request.path)[1])))
        return error.status, body
