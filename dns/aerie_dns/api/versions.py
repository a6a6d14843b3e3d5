# SPDX-License-Identifier: Apache-2.0
"""Discovery: which versions this API speaks."""

from __future__ import annotations

from typing import Any

from aerie_common.http import Request

VERSIONS = (
    ("v2", "SUPPORTED", "2022-06-29"),
    ("v2.0", "SUPPORTED", "2022-06-29"),
    ("v2.1", "SUPPORTED", "2023-01-25"),
    ("v2.2", "SUPPORTED", "2025-08-25"),
    ("v2.3", "SUPPORTED", "2026-04-06"),
    ("v2.4", "CURRENT", "2026-04-13"),
)
HELP = "https://docs.openstack.org/api-ref/dns"


def _version(req: Request, name: str, status: str, date: str) -> dict[str, Any]:
    links = [{"href": f"{req.base_url}/v2", "rel": "self"}, {"href": HELP, "rel": "help"}]
    return {"id": name, "status": status, "updated": f"{date}T00:00:00Z", "links": links}


def list_(req: Request) -> dict[str, Any]:
    """List the versions."""
    return {"versions": [_version(req, *row) for row in VERSIONS]}


def show(req: Request) -> dict[str, Any]:
    """Show version 2."""
    return {"version": _version(req, *VERSIONS[-1])}
