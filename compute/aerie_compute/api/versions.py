# SPDX-License-Identifier: Apache-2.0
"""The version documents of the compute API."""

from __future__ import annotations

from typing import Any

from aerie_common.http import Request

MINIMUM, MAXIMUM = (2, 1), (2, 96)
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


def list_(req: Request) -> dict[str, Any]:
    """List versions of the API."""
    return {"versions": [_v21(req)]}


def show(req: Request) -> dict[str, Any]:
    """Show the version of the API."""
    media = [{"base": "application/json", "type": "application/vnd.openstack.compute+json;version=2.1"}]
    return {"version": {**_v21(req), "media-types": media}}


def extensions(req: Request) -> dict[str, Any]:
    """List extensions: microversions took their place."""
    return {"extensions": []}
