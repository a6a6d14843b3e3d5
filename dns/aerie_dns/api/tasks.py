# SPDX-License-Identifier: Apache-2.0
"""Handlers of imports and exports of zone files."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson

from aerie_common.errors import BadRequest, TooLarge
from aerie_common.http import Reply, Request
from aerie_dns import errors, logic
from aerie_dns.api.common import caller, check_ids, listing, page
from aerie_dns.api.common import show as shown
from aerie_dns.db.nouns import Task
from aerie_dns.logic.tasks import EXPORT as EXPORTS
from aerie_dns.logic.tasks import IMPORT as IMPORTS
from aerie_dns.schemas.nouns import EXPORT, IMPORT

ROOT = "/v2/zones/tasks"
MAX_FILE = 8 << 20


def import_body(req: Request, task: Task) -> dict[str, Any]:
    links = {"zone": f"/v2/zones/{task.zone_id}"} if task.zone_id else {}
    return shown(req, IMPORT, task, f"{ROOT}/imports/{task.id}", **links)


def export_body(req: Request, task: Task) -> dict[str, Any]:
    own = f"{ROOT}/exports/{task.id}"
    links = {"export": f"{own}/export"} if task.location else {}
    return shown(req, EXPORT, task, own, **links)


def import_(req: Request) -> Reply:
    """Make a zone of a zone file."""
    text, attributes = _zone_file(req)
    task = logic.tasks.import_(req.svc, caller(req), text, attributes)
    body = import_body(req, replace(task, status="PENDING", message=None, zone_id=None))  # as it was accepted
    return Reply(body, headers=[("Location", body["links"]["self"])])


def _zone_file(req: Request) -> tuple[str, dict[str, str] | None]:
    raw = req.stream.read(min(int(req.header("Content-Length") or 0), MAX_FILE + 1))
    if len(raw) > MAX_FILE:
        raise TooLarge(f"A zone file may have {MAX_FILE} bytes.")
    kind = (req.header("Content-Type") or "").partition(";")[0].strip().lower()
    try:
        if kind == "text/dns":
            return raw.decode(), None
        if kind == "application/json":
            sent = orjson.loads(raw)
            return str(sent["zonefile"]), sent.get("attributes")
    except UnicodeDecodeError:
        raise BadRequest("The zone file is not UTF-8 text.") from None
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise BadRequest('The "zonefile" field is required when using application/json content type') from None
    raise errors.UnsupportedContentType()


def list_imports(req: Request) -> dict[str, Any]:
    """List imports of zone files."""
    asked = page(req, IMPORT)
    found, total = logic.tasks.list_(req.svc, caller(req), IMPORTS, asked)
    return listing(req, IMPORT, ((import_body(req, task) for task in found), total), asked.limit)


def show_import(req: Request, import_id: str) -> dict[str, Any]:
    """Show an import of a zone file."""
    check_ids(import_id=import_id)
    return import_body(req, logic.tasks.show(req.svc, caller(req), IMPORTS, import_id))


def delete_import(req: Request, import_id: str) -> None:
    """Forget an import; its zone stays."""
    check_ids(import_id=import_id)
    logic.tasks.delete(req.svc, caller(req), IMPORTS, import_id)


def export(req: Request, zone_id: str) -> Reply:
    """Export a zone as a file."""
    check_ids(zone_id=zone_id)
    task = logic.tasks.export(req.svc, caller(req), zone_id)
    body = export_body(req, replace(task, status="PENDING", location=None))  # as it was accepted
    return Reply(body, headers=[("Location", body["links"]["self"])])


def list_exports(req: Request) -> dict[str, Any]:
    """List exports of zones."""
    asked = page(req, EXPORT)
    found, total = logic.tasks.list_(req.svc, caller(req), EXPORTS, asked)
    return listing(req, EXPORT, ((export_body(req, task) for task in found), total), asked.limit)


def show_export(req: Request, export_id: str) -> dict[str, Any]:
    """Show an export of a zone."""
    check_ids(export_id=export_id)
    return export_body(req, logic.tasks.show(req.svc, caller(req), EXPORTS, export_id))


def delete_export(req: Request, export_id: str) -> None:
    """Forget an export."""
    check_ids(export_id=export_id)
    logic.tasks.delete(req.svc, caller(req), EXPORTS, export_id)


def zone_file(req: Request, export_id: str) -> Reply:
    """Download an exported zone."""
    check_ids(export_id=export_id)
    if not req.http.accept.acceptable_offers(["text/dns", "application/json"]):
        raise errors.UnsupportedAccept()
    text = logic.tasks.zone_file(req.svc, caller(req), export_id)
    return Reply(body=text.encode(), content_type="text/dns")
