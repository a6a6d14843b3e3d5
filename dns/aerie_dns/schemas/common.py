# SPDX-License-Identifier: Apache-2.0
"""Fields that many nouns have."""

from __future__ import annotations

from typing import Any

from aerie_common import schema
from aerie_common.context import Context
from aerie_common.fields import Field, isoformat_plain_micros

MAX_TTL = 2147483647


def time_field(name: str) -> Field:
    """A time as this API writes it: microseconds, no zone."""

    def read(row: Any, ctx: Context) -> str | None:
        return isoformat_plain_micros(getattr(row, name))

    return Field(name, schema.string(nullable=True), read=read, sort=True)


def description() -> Field:
    return Field("description", schema.name(0, 160, nullable=True), create=True, update=True, default=None, filter=True)


ID = Field("id", schema.uuid(), sort=True)
PROJECT_ID = Field("project_id", schema.string())
CREATED_AT, UPDATED_AT = time_field("created_at"), time_field("updated_at")
