# SPDX-License-Identifier: Apache-2.0
"""Attributes of identity providers."""

from aerie_common import schema
from aerie_common.fields import Field, Resource
from aerie_identity.schemas.common import ID_OR_NULL, TEXT

IDENTITY_PROVIDER = Resource("identity_provider", "identity_providers", [
    Field("id", schema.string(), filter=True),
    Field("domain_id", ID_OR_NULL, create=True, update=True),
    Field("enabled", schema.boolean(), create=True, update=True, default=False, filter=True),
    Field("description", TEXT, create=True, update=True),
    Field("authorization_ttl", schema.integer(0, 10_000_000, nullable=True), create=True, update=True),
    Field("remote_ids", schema.array(schema.string(1, 255), unique=True, nullable=True), create=True, update=True,
          read=lambda row, ctx: list(row.remote_ids)),
])  # fmt: skip
