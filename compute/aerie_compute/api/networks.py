# SPDX-License-Identifier: Apache-2.0
"""Handlers of networks, in the two views that older microversions have of them (until 2.35)."""

from __future__ import annotations

from typing import Any

from aerie_common.http import Request
from aerie_compute.logic import networks

_FIELDS = ("cidr", "netmask", "gateway", "broadcast", "dns1", "dns2", "cidr_v6", "gateway_v6", "netmask_v6")
_ADMIN_FIELDS = (
    "created_at", "updated_at", "deleted_at", "deleted", "injected", "bridge", "vlan", "vpn_public_address",
    "vpn_public_port", "vpn_private_address", "dhcp_start", "project_id", "host", "bridge_interface", "multi_host",
    "priority", "rxtx_base", "mtu", "dhcp_server", "enable_dhcp", "share_address",
)  # fmt: skip
"""Of a kind of network that is no more: they are there, and empty."""


def _full(req: Request, network: dict[str, Any]) -> dict[str, Any]:
    empty = (*_FIELDS, *_ADMIN_FIELDS) if req.ctx.is_admin else _FIELDS
    return {"id": network["id"], "label": network["name"], **dict.fromkeys(empty)}


def _short(network: dict[str, Any]) -> dict[str, Any]:
    return {"id": network["id"], "label": network["name"], "cidr": "None"}


def list_(req: Request) -> dict[str, Any]:
    """List networks."""
    return {"networks": [_full(req, network) for network in networks.list_(req.svc, req.ctx)]}


def show(req: Request, network_id: str) -> dict[str, Any]:
    """Show a network."""
    return {"network": _full(req, networks.show(req.svc, req.ctx, network_id))}


def project_list(req: Request) -> dict[str, Any]:
    """List networks that a project can use."""
    return {"networks": [_short(network) for network in networks.list_(req.svc, req.ctx)]}


def project_show(req: Request, network_id: str) -> dict[str, Any]:
    """Show a network that a project can use."""
    return {"network": _short(networks.show(req.svc, req.ctx, network_id))}
