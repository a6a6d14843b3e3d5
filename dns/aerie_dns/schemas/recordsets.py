# SPDX-License-Identifier: Apache-2.0
"""Fields of a record set."""

from aerie_common import schema
from aerie_common.fields import Field, Resource
from aerie_dns.rdata import TYPES
from aerie_dns.schemas.common import CREATED_AT, ID, MAX_TTL, PROJECT_ID, UPDATED_AT, description

RECORDS = schema.array(schema.string(1, 65535), 1, 1000)

RECORDSET = Resource(
    "recordset",
    "recordsets",
    [
        ID,
        Field("zone_id", schema.uuid(), sort=True),
        Field("zone_name", schema.string()),
        PROJECT_ID,
        Field("name", schema.string(2, 255), create="required", update=True, filter=True, sort=True),
        Field("type", schema.enum(*TYPES), create="required", update=True, filter=True, sort=True),
        Field("records", RECORDS, create="required", update=True, sort=True),
        Field(
            "ttl",
            schema.integer(0, MAX_TTL, nullable=True),
            create=True,
            update=True,
            default=None,
            filter=True,
            sort=True,
        ),
        description(),
        Field("status", schema.string(), filter=True),
        Field("action", schema.string()),
        Field("version", schema.integer()),
        CREATED_AT,
        UPDATED_AT,
    ],
    wrap=False,
)
