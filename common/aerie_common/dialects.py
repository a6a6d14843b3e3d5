# SPDX-License-Identifier: Apache-2.0
"""How each API words an error: one function per dialect, from a refusal to a JSON body.

Shapes as clients of the OpenStack APIs parse them: Keystone, Nova, Glance, Neutron, Designate, Placement.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from http import HTTPStatus
from typing import Any

import orjson

from aerie_common.errors import AerieError

Dialect = Callable[[AerieError, str], Any]

NOVA_FAULTS = {
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
    409: "conflictingRequest",
    413: "overLimit",
    415: "badMediaType",
    429: "overLimit",
    501: "notImplemented",
    503: "serviceUnavailable",
}


def title(status: int) -> str:
    """The reason phrase of an HTTP status."""
    return HTTPStatus(status).phrase


def keystone(error: AerieError, request_id: str) -> Any:
    return {"error": {"code": error.status, "message": error.message, "title": title(error.status)}}


def nova(error: AerieError, request_id: str) -> Any:
    return {NOVA_FAULTS.get(error.status, "computeFault"): {"code": error.status, "message": error.message}}


def glance(error: AerieError, request_id: str) -> Any:
    return {"code": f"{error.status} {title(error.status)}", "title": title(error.status), "message": error.message}


def _glance_page(error: AerieError) -> str:
    """The same as a page. The `glance` command asks for no JSON, and cannot read a refusal that comes in it."""
    status = f"{error.status} {title(error.status)}"
    head = f"<html>\n <head>\n  <title>{status}</title>\n </head>\n"
    return f"{head} <body>\n  <h1>{status}</h1>\n  {escape(error.message, quote=False)}\n </body>\n</html>\n"


def neutron(error: AerieError, request_id: str) -> Any:
    name = getattr(error, "type_name", None) or type(error).__name__
    detail = error.details.get("detail", "")
    return {"NeutronError": {"type": name, "message": error.message, "detail": detail}}


def designate(error: AerieError, request_id: str) -> Any:
    body = {"code": error.status, "type": error.code, "message": error.message, "request_id": request_id}
    listed = getattr(error, "errors", None)
    return {**body, "errors": {"errors": listed}} if listed else body


def placement(error: AerieError, request_id: str) -> Any:
    code = getattr(error, "placement_code", "placement.undefined_code")
    return {
        "errors": [
            {
                "status": error.status,
                "title": title(error.status),
                "detail": error.message,
                "code": code,
                "request_id": request_id,
            }
        ]
    }


_PAGES: dict[Dialect, Callable[[AerieError], str]] = {glance: _glance_page}


def render(dialect: Dialect, error: AerieError, request_id: str, accept: str | None) -> tuple[str, bytes]:
    """(content type, body) for a caller that accepts this. JSON, but for one that takes pages and names no JSON, from
    an API that has pages."""
    wanted, page = accept or "", _PAGES.get(dialect)
    if page is not None and "json" not in wanted and ("*/*" in wanted or "text/html" in wanted):
        return "text/html; charset=UTF-8", page(error).encode()
    return "application/json", orjson.dumps(dialect(error, request_id))
