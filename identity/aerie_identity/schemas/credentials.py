# SPDX-License-Identifier: Apache-2.0
"""Attributes of credentials (EC2 keys, TOTP secrets, certificates)."""

from aerie_common import schema
from aerie_common.fields import Field, Resource
from aerie_identity.schemas.common import ID, ID_OR_NULL

_BLOB = schema.any_of(schema.string(0, 65535), {"type": "object"})
CREDENTIAL = Resource("credential", "credentials", [
    Field("id", schema.string()),
    Field("type", schema.string(1, 255), create="required", update=True, filter=True),
    Field("blob", _BLOB, create="required", update=True, show=False),
    Field("user_id", ID, create="required", update=True, filter=True),
    Field("project_id", ID_OR_NULL, create=True, update=True),
], extra=True)  # fmt: skip

EC2_CREATE = schema.obj({"tenant_id": ID}, ["tenant_id"], extra=True)
_SIGNED = schema.obj({
    "access": schema.string(), "signature": schema.string(0, 1024), "token": schema.string(0, 65535),
    "host": schema.string(), "verb": schema.string(), "path": schema.string(0, 8192),
    "params": {"type": "object"}, "headers": {"type": "object"}, "body_hash": schema.string(0, 255),
}, ["access", "signature"], extra=True)  # fmt: skip
EC2_TOKEN = {
    **schema.obj({"credentials": _SIGNED, "ec2Credentials": _SIGNED}, extra=True),
    "anyOf": [{"required": ["credentials"]}, {"required": ["ec2Credentials"]}],
}
