# SPDX-License-Identifier: Apache-2.0
"""Attributes of registered limits and limits."""

from aerie_common import schema
from aerie_common.fields import Field, Resource
from aerie_identity.schemas.common import ID, ID_OR_NULL, TEXT

_REGION = schema.string(0, 255, nullable=True)
_RESOURCE = schema.string(1, 255)
_NUMBER = schema.integer(-1, 0x7FFFFFFF)

REGISTERED_LIMIT = Resource("registered_limit", "registered_limits", [
    Field("id", schema.string()),
    Field("service_id", ID, create="required", update=True, filter=True),
    Field("region_id", _REGION, create=True, update=True, filter=True, read=lambda row, ctx: row.region_id or None),
    Field("resource_name", _RESOURCE, create="required", update=True, filter=True),
    Field("default_limit", _NUMBER, create="required", update=True),
    Field("description", TEXT, create=True, update=True),
])  # fmt: skip

LIMIT = Resource("limit", "limits", [
    Field("id", schema.string()),
    Field("project_id", ID_OR_NULL, create=True, filter=True, show=False),
    Field("domain_id", ID_OR_NULL, create=True, show=False),
    Field("service_id", ID, create="required", filter=True),
    Field("region_id", _REGION, create=True, filter=True, read=lambda row, ctx: row.region_id or None),
    Field("resource_name", _RESOURCE, create="required", filter=True),
    Field("resource_limit", _NUMBER, create="required", update=True),
    Field("description", TEXT, create=True, update=True),
])  # fmt: skip


def many(noun: Resource) -> schema.Schema:
    """The body that creates several at once."""
    return schema.obj({noun.plural: schema.array(noun.object_schema("create"), min=1)}, [noun.plural])
