# SPDX-License-Identifier: Apache-2.0
"""Version discovery: `/`, `/v3`, and the JSON-Home document of all addresses."""

from __future__ import annotations

from functools import cache
from typing import Any

import orjson

from aerie_common.http import Reply, Request

VERSION = "v3.14"
UPDATED = "2020-04-07T00:00:00Z"
MEDIA_TYPES = [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}]
JSON_HOME = "application/json-home"


def _version(req: Request) -> dict[str, Any]:
    return {
        "id": VERSION,
        "status": "stable",
        "updated": UPDATED,
        "links": [{"rel": "self", "href": f"{req.base_url}/v3/"}],
        "media-types": MEDIA_TYPES,
    }


def _wants_home(req: Request) -> bool:
    return JSON_HOME in (req.header("Accept") or "")


def list_(req: Request) -> Reply:
    """List the versions of this API."""
    if _wants_home(req):
        return Reply(body=_home("/v3"), content_type=JSON_HOME)
    location = ("Location", f"{req.base_url}/v3/")
    return Reply({"versions": {"values": [_version(req)]}}, status=300, headers=[("Vary", "X-Auth-Token"), location])


def show(req: Request) -> Reply:
    """Show version 3 of this API."""
    if _wants_home(req):
        return Reply(body=_home(""), content_type=JSON_HOME)
    return Reply({"version": _version(req)}, headers=[("Vary", "X-Auth-Token")])


_EXTENSIONS = {"OS-TRUST", "OS-INHERIT", "OS-EP-FILTER", "OS-REVOKE", "OS-OAUTH1", "OS-OAUTH2", "OS-EC2",
               "OS-FEDERATION"}  # fmt: skip


@cache
def _home(prefix: str) -> bytes:
    """JSON-Home of the operation table, with addresses below `prefix`."""
    from aerie_identity.operations import TABLE

    resources: dict[str, dict[str, Any]] = {}
    for op in TABLE.operations:
        if not op.path.startswith("/v3/"):
            continue
        path = op.path.removeprefix("/v3")
        parts = [part for part in path.split("/") if part]
        extension = next((part for part in parts if part in _EXTENSIONS), None)
        words = [part for part in parts if not part.startswith("{") and part != extension]
        single = parts[-1].startswith("{")
        relation = "_".join(_singular(w) if single or i < len(words) - 1 else w for i, w in enumerate(words))
        root = "https://docs.openstack.org/api/openstack-identity/3"
        base = f"{root}/ext/{extension}/1.0" if extension else root
        names = [part[1:-1] for part in parts if part.startswith("{")]
        entry: dict[str, Any] = {"href": prefix + path}
        if names:
            entry = {"href-template": prefix + path, "href-vars": {n: f"{root}/param/{n}" for n in names}}
        resources.setdefault(f"{base}/rel/{relation}", entry)
    return orjson.dumps({"resources": resources})


def _singular(word: str) -> str:
    if word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word
