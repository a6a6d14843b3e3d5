# SPDX-License-Identifier: Apache-2.0
"""Attributes of service providers: other clouds that accept this one's users."""

from aerie_common import schema
from aerie_common.fields import Field, Resource
from aerie_identity.schemas.common import TEXT

_URL = schema.string(1, 256, pattern=r"^[a-zA-Z0-9+.-]+:.+")

SERVICE_PROVIDER = Resource("service_provider", "service_providers", [
    Field("id", schema.string(), filter=True),
    Field("auth_url", _URL, create="required", update=True),
    Field("sp_url", _URL, create="required", update=True),
    Field("enabled", schema.boolean(), create=True, update=True, default=False, filter=True),
    Field("description", TEXT, create=True, update=True),
    Field("relay_state_prefix", schema.string(0, 256, nullable=True), create=True, update=True),
])  # fmt: skip
