# SPDX-License-Identifier: Apache-2.0
"""Attributes of users."""

from aerie_common import schema
from aerie_common.fields import Field, Resource
from aerie_identity.schemas.common import ID_OR_NULL

_FLAG = schema.boolean(nullable=True)
OPTIONS = schema.obj({
    "ignore_change_password_upon_first_use": _FLAG,
    "ignore_password_expiry": _FLAG,
    "ignore_lockout_failure_attempts": _FLAG,
    "ignore_user_inactivity": _FLAG,
    "lock_password": _FLAG,
    "multi_factor_auth_enabled": _FLAG,
    "multi_factor_auth_rules": schema.array(
        schema.array(schema.string(1), 1, unique=True), unique=True, nullable=True
    ),
})  # fmt: skip
FEDERATED = schema.array(schema.obj({
    "idp_id": schema.string(1, 64),
    "protocols": schema.array(schema.obj({
        "protocol_id": schema.string(1, 64), "unique_id": schema.string(1, 255),
    }, ["protocol_id", "unique_id"]), 1),
}, ["idp_id", "protocols"]))  # fmt: skip
PASSWORD = schema.string(0, 4096, nullable=True)

USER = Resource("user", "users", [
    Field("id", schema.string(), filter=True),
    Field("name", schema.name(max=255), create="required", update=True, filter=True, sort=True),
    Field("domain_id", ID_OR_NULL, create=True, update=True, filter=True),
    Field("enabled", schema.boolean(), create=True, update=True, default=True, filter=True, sort=True),
    Field("default_project_id", ID_OR_NULL, create=True, update=True, show=False),
    Field("password", PASSWORD, create=True, update=True, show=False),
    Field("password_expires_at", schema.string(nullable=True), show=False),
    Field("options", OPTIONS, create=True, update=True),
    Field("federated", FEDERATED, create=True, update=True, show=False),
], extra=True)  # fmt: skip

CHANGE_PASSWORD = schema.obj({
    "user": schema.obj({
        "password": schema.string(1, 4096),
        "original_password": schema.string(0, 4096),
    }, ["password", "original_password"], extra=True),
}, ["user"])  # fmt: skip
