# SPDX-License-Identifier: Apache-2.0
"""The OpenAPI document of an API, made of its operation table."""

from __future__ import annotations

import re
from typing import Any

import orjson

from aerie_common.fields import NO_VERSION, Resource
from aerie_common.operations import Operation, Table

_documents: dict[int, bytes] = {}


def document(table: Table) -> bytes:
    """The document as JSON; made once per table."""
    made = _documents.get(id(table))
    if made is None:
        paths: dict[str, dict[str, Any]] = {}
        for op in table.operations:
            paths.setdefault(op.path, {}).setdefault(op.method.lower(), _operation(op))
        made = orjson.dumps(
            {"openapi": "3.1.0", "info": {"title": f"Aerie {table.service}", "version": "1"}, "paths": paths}
        )
        _documents[id(table)] = made
    return made


def _operation(op: Operation) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", op.path)
    ]
    parameters += [{"name": name, "in": "query", "schema": {"type": "string"}} for name in sorted(op.filter_names)]
    content = {"application/json": {"schema": op.reply_body()}} if op.reply is not None else None
    described: dict[str, Any] = {
        "operationId": f"{op.handler.__module__.rsplit('.', 1)[-1]}.{op.handler.__name__}",
        "summary": op.summary,
        "parameters": parameters,
        "responses": {str(op.status): {"description": "Success", **({"content": content} if content else {})}}
        | {str(e.status): {"description": e.template} for e in op.errors},
    }
    if op.request == "stream":
        described["requestBody"] = {"content": {t: {} for t in sorted(op.content_types)}}
    elif isinstance(op.request, Resource) and op.verb:
        described["requestBody"] = {
            "content": {"application/json": {"schema": op.request.body_schema(op.verb, NO_VERSION)}}
        }
    elif op.request:
        described["requestBody"] = {"content": {"application/json": {"schema": op.request}}}
    if op.policy:
        described["x-policy"] = op.policy
    if op.since:
        described["x-since"] = op.since
    return described
