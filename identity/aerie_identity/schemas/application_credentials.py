# SPDX-License-Identifier: Apache-2.0
"""Attributes of application credentials and access rules."""

from aerie_common import schema
from aerie_common.fields import Field, Resource, isoformat_plain_micros
from aerie_identity.schemas.common import ID, TEXT, by

ROLE_REFERENCES = schema.array(by("id", "name"), unique=True)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_RULE = schema.obj({
    "id": ID,
    "service": schema.string(1, 64),
    "path": schema.string(1, 255, pattern="^/"),
    "method": {"enum": list(METHODS)},
}, extra=True)  # fmt: skip

APPLICATION_CREDENTIAL = Resource("application_credential", "application_credentials", [
    Field("id", schema.string()),
    Field("name", schema.name(max=255), create="required", filter=True),
    Field("description", TEXT, create=True),
    Field("secret", schema.string(1, 4096, nullable=True), create=True, show=False),
    Field("expires_at", schema.string(nullable=True), create=True,
          read=lambda row, ctx: isoformat_plain_micros(row.expires_at)),
    Field("unrestricted", schema.boolean(nullable=True), create=True),
    Field("roles", ROLE_REFERENCES, create=True, show=False),
    Field("access_rules", schema.array(_RULE), create=True, show=False),
    Field("user_id", schema.string()),
    Field("project_id", schema.string(nullable=True)),
    Field("system", schema.string(nullable=True)),
])  # fmt: skip

ACCESS_RULE = Resource("access_rule", "access_rules", [
    Field("id", schema.string()),
    Field("service", schema.string(), filter=True),
    Field("method", schema.string(), filter=True),
    Field("path", schema.string(), filter=True),
])  # fmt: skip
