# SPDX-License-Identifier: Apache-2.0
"""Fields of a zone."""

from aerie_common import schema
from aerie_common.fields import Field, Resource
from aerie_dns.schemas.common import CREATED_AT, ID, MAX_TTL, PROJECT_ID, UPDATED_AT, description, time_field

ATTRIBUTES = schema.obj({}, extra=schema.string(0, 255), patterns={r"^.{1,64}$": schema.string(0, 255)})

ZONE = Resource(
    "zone",
    "zones",
    [
        ID,
        Field("pool_id", schema.string()),
        PROJECT_ID,
        Field("name", schema.string(2, 255), create="required", filter=True, sort=True),
        Field("email", schema.string(3, 255), create=True, update=True, filter=True),
        Field("ttl", schema.integer(0, MAX_TTL, nullable=True), create=True, update=True, filter=True, sort=True),
        Field("serial", schema.integer(), sort=True),
        Field("status", schema.string(), filter=True, sort=True),
        Field("action", schema.string()),
        description(),
        Field("type", schema.enum("PRIMARY", "SECONDARY"), create=True, default="PRIMARY", filter=True),
        Field("masters", schema.array(schema.string(1, 255), max=16), create=True, update=True),
        Field("attributes", ATTRIBUTES, create=True),
        Field("shared", schema.boolean()),
        Field("version", schema.integer()),
        time_field("transferred_at"),
        CREATED_AT,
        UPDATED_AT,
    ],
    wrap=False,
)
