# SPDX-License-Identifier: Apache-2.0
"""Networks as older microversions know them: an id and a name. They belong to the network service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from aerie_common.clients import RemoteError
from aerie_common.context import Context
from aerie_compute import errors

if TYPE_CHECKING:
    from aerie_compute.container import Compute


def list_(svc: Compute, ctx: Context) -> list[dict[str, Any]]:
    """Networks that the caller may see."""
    return list(svc.clients["network"].get("/networks", ctx, as_user=True)["networks"])


def show(svc: Compute, ctx: Context, network_id: str) -> dict[str, Any]:
    """NetworkNotFound."""
    try:
        path = f"/networks/{quote(network_id, safe='')}"
        return dict(svc.clients["network"].get(path, ctx, as_user=True)["network"])
    except RemoteError as e:
        if e.status == 404:
            raise errors.NetworkNotFound() from e
        raise
