# SPDX-License-Identifier: Apache-2.0
"""Attributes of trusts."""

from aerie_common import schema
from aerie_common.fields import Field, Resource, isoformat_micros
from aerie_identity.schemas.common import ID, ID_OR_NULL, by

TRUST = Resource("trust", "trusts", [
    Field("id", schema.string()),
    Field("trustor_user_id", ID, create="required", filter=True),
    Field("trustee_user_id", ID, create="required", filter=True),
    Field("impersonation", schema.boolean(), create="required"),
    Field("project_id", ID_OR_NULL, create=True),
    Field("remaining_uses", schema.integer(1, 0x7FFFFFFF, nullable=True), create=True),
    Field("expires_at", schema.string(nullable=True), create=True,
          read=lambda row, ctx: isoformat_micros(row.expires_at)),
    Field("deleted_at", schema.string(nullable=True), read=lambda row, ctx: None),
    Field("allow_redelegation", schema.boolean(nullable=True), create=True, show=False),
    Field("redelegation_count", schema.integer(0, 0x7FFFFFFF, nullable=True), create=True),
    Field("redelegated_trust_id", ID_OR_NULL, create=True),
    Field("roles", schema.array(by("id", "name")), create=True, show=False),
], extra=True)  # fmt: skip
