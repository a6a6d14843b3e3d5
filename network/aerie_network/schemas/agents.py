# SPDX-License-Identifier: Apache-2.0
"""Fields of agents."""

from __future__ import annotations

from typing import Any

from aerie_common import schema
from aerie_common.fields import Field, Resource
from aerie_network.schemas import common


def _time(name: str) -> Any:
    return lambda row, ctx: getattr(row, name).strftime("%Y-%m-%d %H:%M:%S")


AGENT = Resource(
    "agent",
    "agents",
    [
        Field("id", schema.string(), filter=True, sort=True),
        Field("agent_type", schema.string(), filter=True, sort=True),
        Field("binary", schema.string(), filter=True, sort=True),
        Field("host", schema.string(), filter=True, sort=True),
        Field("topic", schema.string(), read=lambda row, ctx: "N/A"),
        Field("availability_zone", schema.string(nullable=True), filter=True, sort=True),
        common.flag("admin_state_up", create=False),
        Field("description", schema.string(max=255, nullable=True), update=True, filter=True),
        Field("configurations", schema.obj(extra=True)),
        Field("resource_versions", schema.obj(extra=True), read=lambda row, ctx: {}, show=False),
        Field("created_at", schema.string(), read=_time("created_at")),
        Field("started_at", schema.string(), read=_time("started_at")),
        Field("heartbeat_timestamp", schema.string(), read=_time("heartbeat_at"), sort=True),
        Field("resources_synced", schema.boolean(nullable=True), read=lambda row, ctx: None),
    ],
)
