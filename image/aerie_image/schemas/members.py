# SPDX-License-Identifier: Apache-2.0
"""The fields of an image's member."""

from aerie_common import schema
from aerie_common.fields import Field, Resource

STATUSES = ("pending", "accepted", "rejected")

MEMBER = Resource(
    "member",
    "members",
    [
        # Nothing changes the member; clients repeat it.
        Field("member", schema.string(1, 64), create="required", update=True),
        Field("image_id", schema.string()),
        Field("status", schema.enum(*STATUSES), update="required"),
        Field("created_at", schema.string(format="date-time", nullable=True)),
        Field("updated_at", schema.string(format="date-time", nullable=True)),
        Field("schema", schema.string(), read=lambda row, ctx: "/v2/schemas/member"),
    ],
    wrap=False,
)
