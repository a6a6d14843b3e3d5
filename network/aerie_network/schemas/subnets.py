# SPDX-License-Identifier: Apache-2.0
"""Fields of subnets."""

from __future__ import annotations

from aerie_common import schema
from aerie_common.fields import Field, Resource
from aerie_network.schemas import common

POOL = schema.obj({"start": common.ADDRESS, "end": common.ADDRESS}, ["start", "end"])
ROUTE = schema.obj({"destination": common.CIDR, "nexthop": common.ADDRESS}, ["destination", "nexthop"])
_MODE = schema.enum("dhcpv6-stateful", "dhcpv6-stateless", "slaac", None)

SUBNET = Resource(
    "subnet",
    "subnets",
    [
        *common.identity(),
        Field("network_id", schema.uuid(), create="required", filter=True, sort=True),
        common.number("ip_version", schema.integer(4, 6, text=True), create=True, filter=True, sort=True),
        Field("cidr", schema.string(max=64, nullable=True), create=True, filter=True, sort=True),
        Field("gateway_ip", common.OPTIONAL_ADDRESS, create=True, update=True, filter=True, sort=True),
        common.flag("enable_dhcp", default=True),
        Field("ipv6_ra_mode", _MODE, create=True, filter=True, sort=True, default=None),
        Field("ipv6_address_mode", _MODE, create=True, filter=True, sort=True, default=None),
        Field(
            "dns_nameservers",
            schema.array(common.ADDRESS, nullable=True),
            create=True,
            update=True,
            default=list,
        ),
        Field("host_routes", schema.array(ROUTE, nullable=True), create=True, update=True, default=list),
        Field("allocation_pools", schema.array(POOL, nullable=True), create=True, update=True),
        Field("subnetpool_id", schema.string(nullable=True), create=True, filter=True, sort=True, default=None),
        common.number("prefixlen", schema.integer(0, 128, text=True), create=True, show=False),
        common.flag("use_default_subnetpool", update=False, show=False, filter=False, sort=False),
        Field("service_types", schema.array(schema.string(max=255)), create=True, update=True, default=list),
        common.flag("dns_publish_fixed_ip"),
        Field("segment_id", schema.string(nullable=True), read=lambda row, ctx: None),
        Field("router:external", {"type": "boolean"}, read="external", filter=True),
        *common.standard(),
    ],
)
