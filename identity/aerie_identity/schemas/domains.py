# SPDX-License-Identifier: Apache-2.0
"""Attributes of domains."""

from aerie_common import schema
from aerie_common.fields import Field, Resource
from aerie_identity.schemas.common import TAGS, TEXT
from aerie_identity.schemas.projects import OPTIONS

DOMAIN = Resource("domain", "domains", [
    Field("id", schema.string(), filter=True),
    Field("explicit_domain_id", schema.string(1, 64, pattern=r"^[a-z0-9-]+$"), create=True, show=False),
    Field("name", schema.name(max=64), create="required", update=True, filter=True, sort=True),
    Field("description", TEXT, create=True, update=True, default=""),
    Field("enabled", schema.boolean(), create=True, update=True, default=True, filter=True, sort=True),
    Field("tags", TAGS, create=True, update=True, show=False),
    Field("options", OPTIONS, create=True, update=True),
], extra=True)  # fmt: skip
