# SPDX-License-Identifier: Apache-2.0
"""Attributes of projects."""

from aerie_common import schema
from aerie_common.fields import Field, Resource
from aerie_identity.schemas.common import ID_OR_NULL, TAGS, TEXT

OPTIONS = schema.obj({"immutable": schema.boolean(nullable=True)})

PROJECT = Resource("project", "projects", [
    Field("id", schema.string(), filter=True),
    Field("name", schema.name(max=64), create="required", update=True, filter=True, sort=True),
    Field("domain_id", ID_OR_NULL, create=True, update=True, filter=True, read=lambda row, ctx: row.domain_id or None),
    Field("description", TEXT, create=True, update=True, default=""),
    Field("enabled", schema.boolean(), create=True, update=True, default=True, filter=True, sort=True),
    Field("parent_id", ID_OR_NULL, create=True, update=True, filter=True),
    Field("is_domain", schema.boolean(), create=True, update=True, filter=True),
    Field("tags", TAGS, create=True, update=True, read=lambda row, ctx: [], show=False),
    Field("options", OPTIONS, create=True, update=True),
], extra=True)  # fmt: skip
