# SPDX-License-Identifier: Apache-2.0
"""Handlers of the PTR records of floating IPs."""

from __future__ import annotations

import re
from typing import Any

from aerie_common.errors import BadRequest
from aerie_common.http import Request
from aerie_dns import logic
from aerie_dns.api.common import caller, listing
from aerie_dns.api.common import show as shown
from aerie_dns.logic.floatingips import FloatingIp
from aerie_dns.schemas.nouns import FLOATING_IP

_KEY = re.compile(r"([A-Za-z0-9._-]{1,100}):([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})")


def _parts(key: str) -> tuple[str, str]:
    match = _KEY.fullmatch(key)
    if match is None:
        raise BadRequest(f"Floating IP {key[:128]} is not in the format of <region>:<uuid>")
    return match[1], match[2]


def body(req: Request, floatingip: FloatingIp) -> dict[str, Any]:
    return shown(req, FLOATING_IP, floatingip, f"/v2/reverse/floatingips/{floatingip.key}")


def list_(req: Request) -> dict[str, Any]:
    """List the PTR records of floating IPs."""
    found = logic.floatingips.list_(req.svc, caller(req))
    return listing(req, FLOATING_IP, ((body(req, floatingip) for floatingip in found), len(found)))


def show(req: Request, key: str) -> dict[str, Any]:
    """Show the PTR record of a floating IP."""
    return body(req, logic.floatingips.show(req.svc, caller(req), *_parts(key)))


def update(req: Request, key: str) -> dict[str, Any] | None:
    """Set or unset the PTR record of a floating IP."""
    changed = logic.floatingips.update(req.svc, caller(req), *_parts(key), **req.body)
    return body(req, changed) if changed else None
