# SPDX-License-Identifier: Apache-2.0
"""Addresses of things, built from the one the client used."""

from __future__ import annotations

from typing import Any

from aerie_common.http import Request

ROOT = "/v2.1"


def links(req: Request, path: str) -> list[dict[str, str]]:
    """self and bookmark of `path` (such as `/servers/<id>`)."""
    base = req.base_url
    return [{"rel": "self", "href": f"{base}{ROOT}{path}"}, {"rel": "bookmark", "href": f"{base}{path}"}]


def bookmark(req: Request, path: str) -> list[dict[str, str]]:
    """The bookmark alone, for things of which only the id is shown."""
    return [{"rel": "bookmark", "href": f"{req.base_url}{path}"}]


def page(req: Request, name: str, items: list[dict[str, Any]], key: str = "id") -> dict[str, Any]:
    """A list's reply, with the link to the next page when this one is full."""
    body: dict[str, Any] = {name: items}
    limit = req.listing.limit
    if limit is not None and items and len(items) >= limit:
        body[f"{name}_links"] = [{"rel": "next", "href": req.next_url(str(items[-1][key]))}]
    return body
