# SPDX-License-Identifier: Apache-2.0
"""Attributes of roles."""

from aerie_common import schema
from aerie_common.fields import Field, Resource
from aerie_identity.schemas.common import ID_OR_NULL, TEXT
from aerie_identity.schemas.projects import OPTIONS

ROLE = Resource("role", "roles", [
    Field("id", schema.string(), filter=True),
    Field("name", schema.name(max=255), create="required", update=True, filter=True, sort=True),
    Field("domain_id", ID_OR_NULL, create=True, update=True, filter=True, read=lambda row, ctx: row.domain_id or None),
    Field("description", TEXT, create=True, update=True),
    Field("options", OPTIONS, create=True, update=True),
], extra=True)  # fmt: skip
