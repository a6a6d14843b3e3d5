# SPDX-License-Identifier: Apache-2.0
"""Attributes of the protocols of identity providers."""

from aerie_common import schema
from aerie_common.fields import Field, Resource

PROTOCOL = Resource("protocol", "protocols", [
    Field("id", schema.string()),
    Field("mapping_id", schema.string(1, 64), create="required", update=True),
    Field("remote_id_attribute", schema.string(0, 64, nullable=True), create=True, update=True),
])  # fmt: skip
