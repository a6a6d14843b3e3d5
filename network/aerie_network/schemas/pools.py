# SPDX-License-Identifier: Apache-2.0
"""Fields of subnet pools, address scopes and grants."""

from __future__ import annotations

from aerie_common import schema
from aerie_common.fields import Field, Resource
from aerie_network.schemas import common

_LENGTH = schema.integer(0, 128, text=True)
_QUOTA = schema.integer(0, 0x7FFFFFFF, text=True, nullable=True)


def _length(name: str) -> Field:
    """A prefix length; this API takes numbers and shows text."""
    return common.number(
        name, _LENGTH, create=True, update=True, filter=True, sort=True, read=lambda row, ctx: str(getattr(row, name))
    )


SUBNET_POOL = Resource(
    "subnetpool",
    "subnetpools",
    [
        *common.identity(),
        Field("prefixes", schema.array(common.CIDR, min=1), create="required", update=True),
        _length("default_prefixlen"),
        _length("min_prefixlen"),
        _length("max_prefixlen"),
        common.number("default_quota", _QUOTA, create=True, update=True, default=None),
        Field("ip_version", {"type": "integer"}, filter=True, sort=True),
        Field("address_scope_id", common.OPTIONAL_ID, create=True, update=True, default=None, filter=True, sort=True),
        common.flag("shared", update=False, policy="create_subnetpool:shared"),
        common.flag("is_default", policy="create_subnetpool:is_default"),
        *common.standard(),
    ],
)

ADDRESS_SCOPE = Resource(
    "address_scope",
    "address_scopes",
    [
        *common.identity(),
        common.number("ip_version", schema.integer(4, 6, text=True), create="required", filter=True, sort=True),
        common.flag("shared", policy="create_address_scope:shared"),
    ],
)

RBAC_POLICY = Resource(
    "rbac_policy",
    "rbac_policies",
    [
        Field("id", schema.string(), filter=True, sort=True),
        *common.owner(),
        Field(
            "object_type",
            schema.enum("network", "security_group", "subnetpool", "address_scope", "address_group"),
            create="required",
            filter=True,
            sort=True,
        ),
        Field("object_id", schema.string(max=64), create="required", filter=True, sort=True),
        Field(
            "action", schema.enum("access_as_shared", "access_as_external"), create="required", filter=True, sort=True
        ),
        Field(
            "target_tenant", schema.string(min=1, max=64), create="required", update="required", filter=True, sort=True
        ),
    ],
)
