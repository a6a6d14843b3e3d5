# SPDX-License-Identifier: Apache-2.0
"""Fields of routers and floating IPs."""

from __future__ import annotations

from typing import Any

from aerie_common import schema
from aerie_common.context import Context
from aerie_common.fields import Field, Resource
from aerie_network.db.routers import Router
from aerie_network.schemas import common
from aerie_network.schemas.subnets import ROUTE

GATEWAY = schema.obj(
    {
        "network_id": schema.uuid(),
        "enable_snat": common.BOOL,
        "external_fixed_ips": schema.array(schema.obj({"subnet_id": schema.uuid(), "ip_address": common.ADDRESS})),
    },
    nullable=True,  # as {} it means: none
)


def gateway_info(router: Router, ctx: Context) -> dict[str, Any] | None:
    """The external side of a router, None without one."""
    if router.gw_network_id is None:
        return None
    return {
        "network_id": router.gw_network_id,
        "external_fixed_ips": [{"subnet_id": s, "ip_address": a} for s, a in router.gateway_ips],
        "enable_snat": router.enable_snat,
    }


def _zones(router: Router, ctx: Context) -> list[str]:
    return list(router.availability_zones)


ROUTER = Resource(
    "router",
    "routers",
    [
        *common.identity(),
        common.flag("admin_state_up", default=True),
        Field("status", schema.string(), filter=True, sort=True),
        Field("external_gateway_info", GATEWAY, create=True, update=True, read=gateway_info),
        Field("routes", schema.array(ROUTE, nullable=True), update=True, create=True, default=list),
        common.flag(
            "distributed",
            read=lambda row, ctx: False,
            policy="create_router:distributed",
            default=False,
            filter=False,
            sort=False,
        ),
        common.flag(
            "ha", read=lambda row, ctx: False, policy="create_router:ha", default=False, filter=False, sort=False
        ),
        Field("availability_zone_hints", schema.array(schema.string()), create=True, default=list),
        Field("availability_zones", schema.array(schema.string()), read=_zones),
        Field("flavor_id", schema.string(nullable=True), create=True, read=lambda row, ctx: None, default=None),
        *common.standard(),
    ],
)
_ADMIN_ONLY = frozenset({"distributed", "ha"})
_EVERYBODY = frozenset(ROUTER.fields) - _ADMIN_ONLY


def show(router: Router, ctx: Context, only: frozenset[str] = frozenset()) -> dict[str, Any]:
    """A router as this caller may see it."""
    allowed = only or None
    if not ctx.is_admin:
        allowed = _EVERYBODY & only if only else _EVERYBODY
    return ROUTER.show(router, ctx, only=allowed)


_PORT_NUMBER = schema.integer(1, 65535, text=True)

PORT_FORWARDING = Resource(
    "port_forwarding",
    "port_forwardings",
    [
        Field("id", schema.string(), filter=True, sort=True),
        Field(
            "protocol", schema.string(max=16), create="required", update=True, convert=str.lower, filter=True, sort=True
        ),
        Field("internal_ip_address", common.ADDRESS, create=True, update=True, filter=True, sort=True),
        common.number("internal_port", _PORT_NUMBER, create="required", update=True, filter=True, sort=True),
        Field("internal_port_id", schema.uuid(), create="required", update=True, filter=True, sort=True),
        common.number("external_port", _PORT_NUMBER, create="required", update=True, filter=True, sort=True),
        Field("description", common.NAME, create=True, update=True, default="", filter=True, sort=True),
    ],
)


_INSIDE_FLOATING_IP = frozenset({"protocol", "internal_ip_address", "internal_port", "external_port"})


def _forwardings(floating: Any, ctx: Context) -> list[dict[str, Any]]:
    return [PORT_FORWARDING.show(item, ctx, only=_INSIDE_FLOATING_IP) for item in floating.port_forwardings]


FLOATING_IP = Resource(
    "floatingip",
    "floatingips",
    [
        Field("id", schema.string(), filter=True, sort=True),
        *common.owner(),
        Field("floating_network_id", schema.uuid(), create="required", filter=True, sort=True),
        Field(
            "floating_ip_address",
            common.OPTIONAL_ADDRESS,
            create=True,
            filter=True,
            sort=True,
            policy="create_floatingip:floating_ip_address",
        ),
        Field("subnet_id", common.OPTIONAL_ID, create=True, show=False),
        Field("port_id", common.OPTIONAL_ID, create=True, update=True, filter=True, sort=True, default=None),
        Field(
            "fixed_ip_address", common.OPTIONAL_ADDRESS, create=True, update=True, filter=True, sort=True, default=None
        ),
        Field("router_id", schema.string(nullable=True), filter=True, sort=True),
        Field("status", schema.string(), filter=True, sort=True),
        Field("port_details", schema.obj(extra=True, nullable=True)),
        Field("dns_name", schema.string(max=253), create=True, default="", filter=True, sort=True),
        Field("dns_domain", schema.string(max=253), create=True, default="", filter=True, sort=True),
        Field("port_forwardings", schema.array(schema.obj(extra=True)), read=_forwardings),
        *common.standard(),
    ],
)
