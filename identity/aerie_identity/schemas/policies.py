# SPDX-License-Identifier: Apache-2.0
"""Attributes of policy documents and OAuth consumers."""

from aerie_common import schema
from aerie_common.fields import Field, Resource
from aerie_identity.schemas.common import TEXT

POLICY = Resource("policy", "policies", [
    Field("id", schema.string()),
    Field("type", schema.string(1, 255), create="required", update=True, filter=True),
    Field("blob", schema.any_of(schema.string(0, 1 << 20), {"type": "object"}), create="required", update=True),
], extra=True)  # fmt: skip

CONSUMER = Resource("consumer", "consumers", [
    Field("id", schema.string()),
    Field("description", TEXT, create=True, update=True),
], extra=True)  # fmt: skip
