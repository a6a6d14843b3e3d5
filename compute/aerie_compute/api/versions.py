# SPDX-License-Identifier: Apache-2.0
"""The version documents of the compute API."""

from __future__ import annotations

from typing import Any

from aerie_common.http import Request

MINIMUM, MAXIMUM = (2, 1), (2, 104)
UPDATED = "2013-07-23T11:33:21Z"


def _v21(req: Request) -> dict[str, Any]:
    return {
        "id": "v2.1",
        "status": "CURRENT",
        "version": ".".join(map(str, MAXIMUM)),
        "min_version": ".".join(map(str, MINIMUM)),
        "updated": UPDATED,
        "links": [{"rel": "self", "href": f"{req.base_url}/v2.1/"}],
    }


def _v20(req: Request) -> dict[str, Any]:
    """The name by which clients from before microversions know the same API."""
    links = [{"rel": "self", "href": f"{req.base_url}/v2/"}]
    return {"id": "v2.0", "status": "SUPPORTED", "version": "", "min_version": "", "updated": "2011-01-21T11:33:21Z",
            "links": links}  # fmt: skip


def _with_media(version: dict[str, Any], number: str) -> dict[str, Any]:
    media = [{"base": "application/json", "type": f"application/vnd.openstack.compute+json;version={number}"}]
    return {"version": {**version, "media-types": media}}


def list_(req: Request) -> dict[str, Any]:
    """List versions of the API."""
    return {"versions": [_v20(req), _v21(req)]}


def show(req: Request) -> dict[str, Any]:
    """Show the version of the API."""
    return _with_media(_v21(req), "2.1")


def show_old(req: Request) -> dict[str, Any]:
    """Show the API as it was called before microversions."""
    return _with_media(_v20(req), "2")
