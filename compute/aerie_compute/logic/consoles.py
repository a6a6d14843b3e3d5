# SPDX-License-Identifier: Apache-2.0
"""Addresses at which a server's screen or serial console can be used for a while. Tokens are kept by their hash only,
are good for one connection, and go with the server."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from aerie_common.context import Context
from aerie_common.db import retried
from aerie_common.errors import NotFound
from aerie_compute import errors, states
from aerie_compute.db import records
from aerie_compute.logic import servers as logic

if TYPE_CHECKING:
    from aerie_compute.container import Compute

TYPES = {"vnc": ("novnc",), "serial": ("serial",)}


def create(svc: Compute, ctx: Context, server_id: str, protocol: str, kind: str) -> str:
    """The address of a console. ConsoleTypeUnavailable, ServerNotReady, InvalidState."""
    server = logic.show(svc, ctx, server_id)
    if kind not in TYPES.get(protocol, ()):
        raise errors.ConsoleTypeUnavailable(kind=kind)
    if server.host is None or server.vm_state in (states.BUILDING, states.ERROR):
        raise errors.ServerNotReady(server_id=server_id)
    if server.vm_state in (states.STOPPED, states.SUSPENDED):
        raise errors.InvalidState(
            action="get_console", server_id=server_id, attribute="vm_state", state=server.vm_state
        )
    token = secrets.token_urlsafe(32)
    _remember(svc, token, server_id, server.host, protocol, kind)
    options = svc.conf.console
    if kind == "novnc":
        base = options.novncproxy_base_url
        if not urlsplit(base).path:
            base += "/vnc_lite.html"
        joint = "&" if "?" in base else "?"
        return f"{base}{joint}path={quote(f'?token={token}', safe='')}"
    base = options.serialproxy_base_url
    if base.startswith("http"):
        base = f"ws{base.removeprefix('http')}/"
    return f"{base}?token={token}"


@retried
def _remember(svc: Compute, token: str, server_id: str, host: str, protocol: str, kind: str) -> None:
    with svc.db.write() as conn:
        records.add_console_token(
            conn,
            token,
            server_id=server_id,
            host=host,
            protocol=protocol,
            type=kind,
            seconds=svc.conf.console.token_ttl,
        )


@retried
def show(svc: Compute, ctx: Context, token: str) -> dict[str, object]:
    """What a token opens, for administrators. NotFound."""
    with svc.db.read() as conn:
        found = records.console_token(conn, token)
    if found is None:
        raise NotFound("Token not found")
    return found
