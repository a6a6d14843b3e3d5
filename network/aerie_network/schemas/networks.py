# SPDX-License-Identifier: Apache-2.0
"""Fields of networks."""

from __future__ import annotations

from typing import Any

from aerie_common import schema
from aerie_common.context import Context
from aerie_common.fields import Field, Resource
from aerie_network.db.networks import Network
from aerie_network.schemas import common


def _provider(column: str) -> Any:
    return lambda row, ctx: getattr(row, column)


def _shared(row: Network, ctx: Context) -> bool:
    return row.shared or ctx.project_id in row.shared_with


NETWORK = Resource(
    "network",
    "networks",
    [
        *common.identity(),
        common.flag("admin_state_up", default=True),
        Field("status", schema.string(), filter=True, sort=True),
        Field("subnets", schema.array(schema.string()), read=lambda row, ctx: list(row.subnets), filter=True),
        common.flag("shared", read=_shared, policy="create_network:shared"),
        common.flag("router:external", read="external", policy="create_network:router:external"),
        common.flag("is_default", policy="create_network:is_default"),
        common.number("mtu", schema.integer(0, 65535, text=True), create=True, update=True, filter=True, sort=True),
        common.flag("port_security_enabled", default=True),
        Field("dns_domain", schema.string(max=255), create=True, update=True, default="", filter=True, sort=True),
        Field("availability_zone_hints", schema.array(schema.string()), create=True, default=list, sort=False),
        Field(
            "availability_zones",
            schema.array(schema.string()),
            read=lambda row, ctx: row.availability_zone_hints or ["nova"],
        ),
        Field("ipv4_address_scope", schema.string(nullable=True), read=lambda row, ctx: None),
        Field("ipv6_address_scope", schema.string(nullable=True), read=lambda row, ctx: None),
        Field(
            "provider:network_type",
            schema.enum("flat", "vlan", "vxlan", "local"),
            create=True,
            policy="create_network:provider:network_type",
            read="network_type",
            filter=True,
            sort=True,
        ),
        Field(
            "provider:physical_network",
            schema.string(min=1, max=64, nullable=True),
            create=True,
            policy="create_network:provider:physical_network",
            read="physical_network",
            filter=True,
            sort=True,
        ),
        common.number(
            "provider:segmentation_id",
            schema.integer(1, 16777215, nullable=True, text=True),
            create=True,
            policy="create_network:provider:segmentation_id",
            read="segmentation_id",
            filter=True,
            sort=True,
        ),
        *common.standard(),
    ],
)
_ADMIN_ONLY = frozenset(name for name in NETWORK.fields if name.startswith("provider:"))
_EVERYBODY = frozenset(NETWORK.fields) - _ADMIN_ONLY


def show(network: Network, ctx: Context, only: frozenset[str] = frozenset()) -> dict[str, Any]:
    """A network as this caller may see it."""
    allowed = only or None
    if not ctx.is_admin and "service" not in ctx.roles:
        allowed = _EVERYBODY & only if only else _EVERYBODY
    return NETWORK.show(network, ctx, only=allowed)
