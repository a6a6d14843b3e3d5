# SPDX-License-Identifier: Apache-2.0
"""Attributes of groups."""

from aerie_common import schema
from aerie_common.fields import Field, Resource
from aerie_identity.schemas.common import ID_OR_NULL, TEXT

GROUP = Resource("group", "groups", [
    Field("id", schema.string(), filter=True),
    Field("name", schema.name(max=64), create="required", update=True, filter=True, sort=True),
    Field("domain_id", ID_OR_NULL, create=True, update=True, filter=True),
    Field("description", TEXT, create=True, update=True, default=""),
], extra=True)  # fmt: skip
