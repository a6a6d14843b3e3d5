# SPDX-License-Identifier: Apache-2.0
"""Fields of security groups, their rules, rule templates and address groups."""

from __future__ import annotations

from typing import Any

from aerie_common import schema
from aerie_common.context import Context
from aerie_common.fields import Field, Resource, isoformat
from aerie_network.db.security_groups import Rule
from aerie_network.schemas import common

_PORT = {"type": ["integer", "string", "null"]}
_PROTOCOL = {"type": ["string", "integer", "null"]}


def _rule_fields(*, update: bool = False) -> list[Field]:
    """What a rule says about traffic."""
    return [
        Field("direction", schema.enum("ingress", "egress"), create="required", filter=True, sort=True),
        # Its words and numbers are checked by the rules of the noun, which name each mistake as Neutron does.
        Field("ethertype", schema.string(nullable=True), create=True, default="IPv4", filter=True, sort=True),
        Field("protocol", _PROTOCOL, create=True, default=None, filter=True, sort=True),
        Field("port_range_min", _PORT, create=True, default=None, filter=True, sort=True),
        Field("port_range_max", _PORT, create=True, default=None, filter=True, sort=True),
        Field(
            "remote_ip_prefix", schema.string(max=64, nullable=True), create=True, default=None, filter=True, sort=True
        ),
        Field(
            "remote_group_id", schema.string(max=64, nullable=True), create=True, default=None, filter=True, sort=True
        ),
        Field(
            "remote_address_group_id",
            schema.string(max=64, nullable=True),
            create=True,
            default=None,
            filter=True,
            sort=True,
        ),
    ]


RULE = Resource(
    "security_group_rule",
    "security_group_rules",
    [
        Field("id", schema.string(), filter=True, sort=True),
        *common.owner(),
        Field("security_group_id", schema.uuid(), create="required", filter=True, sort=True),
        *_rule_fields(),
        Field("normalized_cidr", schema.string(nullable=True), filter=True),
        *common.standard(),
    ],
)


def show_rule(rule: Rule) -> dict[str, Any]:
    """A rule within its group; written out because a list of groups shows thousands."""
    return {
        "id": rule.id,
        "project_id": rule.project_id,
        "tenant_id": rule.project_id,
        "security_group_id": rule.security_group_id,
        "direction": rule.direction,
        "ethertype": rule.ethertype,
        "protocol": rule.protocol,
        "port_range_min": rule.port_range_min,
        "port_range_max": rule.port_range_max,
        "remote_ip_prefix": rule.remote_ip_prefix,
        "remote_group_id": rule.remote_group_id,
        "remote_address_group_id": rule.remote_address_group_id,
        "normalized_cidr": rule.normalized_cidr,
        "description": rule.description,
        "revision_number": rule.revision_number,
        "created_at": isoformat(rule.created_at),
        "updated_at": isoformat(rule.updated_at),
        "tags": list(rule.tags),
    }


def _rules(group: Any, ctx: Context) -> list[dict[str, Any]]:
    return [show_rule(rule) for rule in group.rules]


SECURITY_GROUP = Resource(
    "security_group",
    "security_groups",
    [
        *common.identity(),
        common.flag("stateful", default=True),
        Field("security_group_rules", schema.array(schema.obj(extra=True)), read=_rules),
        Field("shared", {"type": "boolean"}, filter=True),
        *common.standard(),
    ],
)

DEFAULT_RULE = Resource(
    "default_security_group_rule",
    "default_security_group_rules",
    [
        Field("id", schema.string(), filter=True, sort=True),
        *_rule_fields(),
        common.flag("used_in_default_sg", update=False),
        common.flag("used_in_non_default_sg", default=True, update=False),
        *common.standard(tags=False),
    ],
)

ADDRESS_GROUP = Resource(
    "address_group",
    "address_groups",
    [
        *common.identity(),
        Field("addresses", schema.array(common.CIDR), create=True, default=list),
        common.flag("shared", policy="create_address_group:shared", update=False),
        *common.standard(tags=False),
    ],
)
