# SPDX-License-Identifier: Apache-2.0
"""What the handlers of all nouns share: lists with links, bodies of one or many, conditional changes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from aerie_common.errors import BadRequest
from aerie_common.fields import Resource
from aerie_common.http import Request
from aerie_network.db.query import Page
from aerie_network.logic import guard
from aerie_network.schemas.common import unwrap

Show = Callable[[Any], dict[str, Any]]
_IF_MATCH = re.compile(r"^\s*\"?revision_number=(\d+)\"?\s*$")


def shower(req: Request, resource: Resource) -> Show:
    """Shows a row of the noun with the fields that were asked for."""
    only = fields(req) or None
    return lambda row: resource.show(row, req.ctx, only=only)


def fields(req: Request) -> frozenset[str]:
    """The fields that the caller wants to see; empty: all."""
    return frozenset(name for value in req.query.get("fields", ()) for name in value.split(",") if name)


def listed(req: Request, plural: str, page: Page[Any], show: Show) -> dict[str, Any]:
    """A list's body, with links to its neighbours where a limit was given."""
    body: dict[str, Any] = {plural: [show(row) for row in page.items]}
    if req.listing.limit:
        links = []
        if not page.items and req.listing.marker is not None:  # past the end: back to it
            back = not req.listing.page_reverse
            links.append({"rel": "previous" if back else "next", "href": req.next_url(None, page_reverse=str(back))})
        if page.next is not None:
            links.append({"rel": "next", "href": req.next_url(page.next, page_reverse="False")})
        if page.previous is not None:
            links.append({"rel": "previous", "href": req.next_url(page.previous, page_reverse="True")})
        if links:
            body[f"{plural}_links"] = links
    return body


def wanted(req: Request, resource: Resource, *, check: bool = True) -> tuple[list[dict[str, Any]], bool]:
    """The values of a create's objects with their defaults and owner, and whether they came as a list.

    Attributes that the caller may not set are refused here, for each object of the list."""
    sent, many = unwrap(resource, req.body)
    found = []
    for item in sent:
        values = resource.values(item, with_defaults=True)
        project_id = guard.owner(req.ctx, values)
        values.pop("tenant_id", None)
        if check:
            target = {"project_id": project_id, "tenant_id": project_id}
            guard.check_fields(req.svc, req.ctx, resource, item, target, new=True)
        found.append({**values, "project_id": project_id})
    return found, many


def made(resource: Resource, rows: list[Any], many: bool, show: Show) -> dict[str, Any]:
    """The body that answers a create."""
    return {resource.plural: [show(row) for row in rows]} if many else {resource.singular: show(rows[0])}


def changes(req: Request, resource: Resource, *, check: bool = True) -> tuple[dict[str, Any], int | None]:
    """The values of an update, and the revision it is for (If-Match: revision_number=N)."""
    sent = req.body[resource.singular]
    if check:
        target = {"project_id": req.ctx.project_id, "tenant_id": req.ctx.project_id}
        guard.check_fields(req.svc, req.ctx, resource, sent, target)
    return resource.values(sent), revision(req)


def revision(req: Request) -> int | None:
    """The revision that a change is for."""
    header = req.header("If-Match")
    if header is None or header.strip() == "*":
        return None
    match = _IF_MATCH.match(header)
    if match is None:
        raise BadRequest(f"Invalid If-Match header: {header}. It must be of the form revision_number=N.")
    return int(match[1])
