# SPDX-License-Identifier: Apache-2.0
"""Fields of the smaller nouns."""

from aerie_common import schema
from aerie_common.fields import Field, Resource
from aerie_dns.logic.quotas import RESOURCES
from aerie_dns.schemas.common import CREATED_AT, ID, MAX_TTL, PROJECT_ID, UPDATED_AT, description, time_field

TLD_NAME = schema.string(1, 255, pattern=r"^[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*$")
ALGORITHMS = ("hmac-md5", "hmac-sha1", "hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512")

TLD = Resource(
    "tld",
    "tlds",
    [
        ID,
        Field("name", TLD_NAME, create="required", update=True, filter=True, sort=True),
        description(),
        CREATED_AT,
        UPDATED_AT,
    ],
    wrap=False,
)  # fmt: skip

BLACKLIST = Resource(
    "blacklist",
    "blacklists",
    [
        ID,
        Field("pattern", schema.string(1, 255), create="required", update=True, filter=True, sort=True),
        description(),
        CREATED_AT,
        UPDATED_AT,
    ],
    wrap=False,
)

TSIGKEY = Resource(
    "tsigkey",
    "tsigkeys",
    [
        ID,
        Field("name", schema.name(1, 160), create="required", update=True, filter=True,
              sort=True),
        Field("algorithm", schema.enum(*ALGORITHMS), create="required", update=True, filter=True),
        Field("secret", schema.string(1, 160), create="required", update=True),
        Field("scope", schema.enum("POOL", "ZONE"), create="required", update=True, filter=True),
        Field("resource_id", schema.uuid(), create="required", update=True),
        CREATED_AT,
        UPDATED_AT,
    ],
    wrap=False,
)  # fmt: skip

SHARE = Resource(
    "shared_zone",
    "shared_zones",
    [
        ID,
        Field("zone_id", schema.uuid()),
        PROJECT_ID,
        Field("target_project_id", schema.string(1, 64), create="required", filter=True),
        CREATED_AT,
        UPDATED_AT,
    ],
    wrap=False,
)

TRANSFER_REQUEST = Resource(
    "transfer_request",
    "transfer_requests",
    [
        ID,
        Field("zone_id", schema.uuid()),
        Field("zone_name", schema.string()),
        PROJECT_ID,
        Field("target_project_id", schema.string(1, 64, nullable=True), create=True),
        Field("key", schema.string()),
        description(),
        Field("status", schema.string(), filter=True),
        CREATED_AT,
        UPDATED_AT,
    ],
    wrap=False,
)

TRANSFER_ACCEPT = Resource(
    "transfer_accept",
    "transfer_accepts",
    [
        ID,
        Field("zone_transfer_request_id", schema.uuid(), create="required"),
        Field("key", schema.string(1, 160), create="required"),
        Field("zone_id", schema.uuid()),
        PROJECT_ID,
        Field("status", schema.string(), filter=True),
        CREATED_AT,
        UPDATED_AT,
    ],
    wrap=False,
)


def _task(singular: str, plural: str) -> Resource:
    return Resource(
        singular,
        plural,
        [
            ID,
            Field("status", schema.string(), filter=True),
            Field("message", schema.string(nullable=True), filter=True),
            *([Field("location", schema.string(nullable=True))] if singular == "export" else []),
            Field("zone_id", schema.uuid(nullable=True), filter=True),
            PROJECT_ID,
            Field("version", schema.integer()),
            CREATED_AT,
            UPDATED_AT,
        ],
        wrap=False,
    )


IMPORT, EXPORT = _task("import", "imports"), _task("export", "exports")

SERVICE_STATUS = Resource(
    "service_status",
    "service_statuses",
    [
        ID,
        Field("hostname", schema.string(), filter=True),
        Field("service_name", schema.string(), filter=True),
        Field("status", schema.string()),
        Field("stats", schema.obj(extra=True)),
        Field("capabilities", schema.obj(extra=True)),
        time_field("heartbeated_at"),
        CREATED_AT,
        UPDATED_AT,
    ],
    wrap=False,
)

POOL = Resource(
    "pool",
    "pools",
    [
        Field("id", schema.string()),
        Field("name", schema.string(), filter=True),
        Field("description", schema.string(nullable=True)),
        Field("project_id", schema.string(nullable=True), read=lambda pool, ctx: None),
        Field("attributes", schema.obj(extra=True), read=lambda pool, ctx: {}),
        Field("ns_records", schema.array(schema.obj(extra=True)),
              read=lambda pool, ctx: [{"hostname": n, "priority": i + 1} for i, n in enumerate(pool.ns_records)]),
        Field("created_at", schema.string(nullable=True), read=lambda pool, ctx: None),
        Field("updated_at", schema.string(nullable=True), read=lambda pool, ctx: None),
    ],
    wrap=False,
)  # fmt: skip

FLOATING_IP = Resource(
    "floatingip",
    "floatingips",
    [
        Field("id", schema.string(), read="key"),
        Field("address", schema.string()),
        Field("ptrdname", schema.string(1, 255, nullable=True), update=True),
        Field("ttl", schema.integer(0, MAX_TTL, nullable=True), update=True),
        Field("description", schema.name(0, 160, nullable=True), update=True),
        Field("status", schema.string()),
        Field("action", schema.string()),
    ],
    wrap=False,
)

QUOTA = schema.obj({name: schema.integer(-1, 2147483647) for name in RESOURCES})
