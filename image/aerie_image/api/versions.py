# SPDX-License-Identifier: Apache-2.0
"""Version documents, for anybody."""

from __future__ import annotations

from typing import Any

from aerie_common.http import Reply, Request
from aerie_image.logic import usages
from aerie_image.stores.base import Store

# What each id promises: 2.8 several stores, 2.12 tasks of images, 2.13 usage, 2.15 details of stores, 2.17 locations;
# 2.14, 2.16 and 2.18 the cache API, which is there only where there is a cache.
_NEWEST, _OF_CACHE = 18, frozenset({14, 16, 18})


def _document(req: Request) -> dict[str, Any]:
    links = [{"rel": "self", "href": f"{req.base_url}/v2/"}]
    minors = [m for m in range(_NEWEST, -1, -1) if m not in _OF_CACHE or req.svc.cache is not None]
    return {
        "versions": [
            {"id": f"v2.{minor}", "status": "CURRENT" if minor == minors[0] else "SUPPORTED", "links": links}
            for minor in minors
        ]
    }


def choices(req: Request) -> Reply:
    """List the API's versions."""
    return Reply(_document(req), status=300)


def list_(req: Request) -> Any:
    """List the API's versions."""
    return _document(req)


def stores(req: Request) -> Any:
    """List the stores images can be kept in."""
    return {"stores": [_store(store, req.svc.store) for store in req.svc.stores.values()]}


def _store(store: Store, default: Store) -> dict[str, Any]:
    body: dict[str, Any] = {"id": store.name}
    if store is default:
        body["default"] = "true"
    if store.read_only:
        body["read-only"] = "true"
    return body


def stores_detail(req: Request) -> Any:
    """List the stores images can be kept in, with what they are."""
    found = req.svc.stores.values()
    return {
        "stores": [
            {**_store(s, req.svc.store), "type": s.kind, "weight": 0, "properties": s.properties()} for s in found
        ]
    }


def imports(req: Request) -> Any:
    """List the ways images can be imported."""
    value = req.svc.conf.enabled_import_methods
    return {"import-methods": {"description": "Import methods available.", "type": "array", "value": value}}


def usage(req: Request) -> Any:
    """Show the caller's project's limits and what it uses of them."""
    return {"usage": usages.show(req.svc, req.ctx)}
