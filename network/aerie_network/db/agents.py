# SPDX-License-Identifier: Apache-2.0
"""Agents: which host does what, and when it was heard last."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from aerie_common.db import insert_if_absent, new_id, utcnow
from aerie_common.schema import to_bool
from aerie_network.db import tables
from aerie_network.db.query import Condition, Store, Values
from aerie_network.errors import AgentNotFound, InvalidInput

_A = tables.agents.c


@dataclass(frozen=True)
class Agent:
    """One role of one host."""

    id: str
    role: str
    binary: str
    agent_type: str
    host: str
    availability_zone: str | None
    admin_state_up: bool
    configurations: dict[str, Any]
    tunnel_ip: str
    description: str | None
    created_at: datetime.datetime
    started_at: datetime.datetime
    heartbeat_at: datetime.datetime


def _by_type(values: Values) -> Condition:
    """Clients write the types in more than one way: "DHCP agent", "DHCP Agent"."""
    return sa.func.lower(_A.agent_type).in_([value.lower() for value in values])


def heard_of(since: datetime.datetime, values: Values) -> Condition:
    """Agents that were heard of since that time, or were not: the filter `alive`."""
    heard = _A.heartbeat_at > since
    try:
        return sa.or_(*(heard if to_bool(value) else sa.not_(heard) for value in values))
    except ValueError as e:
        raise InvalidInput(error_message=f"alive: {e}") from e


STORE = Store(
    tables.agents,
    Agent,
    AgentNotFound,
    aliases={"heartbeat_timestamp": "heartbeat_at"},
    filters={"agent_type": _by_type},
)


def beat(conn: sa.Connection, host: str, role: str, values: Mapping[str, Any]) -> bool:
    """Note that the agent lives; True when it has not been known before."""
    now = utcnow()
    where = (_A.host == host, _A.role == role)
    if conn.execute(sa.update(tables.agents).where(*where).values({**values, "heartbeat_at": now})).rowcount:
        return False
    row = {
        "id": new_id(), "host": host, "role": role, "created_at": now, "started_at": now, "heartbeat_at": now,
        "admin_state_up": True, "description": None, **values,
    }  # fmt: skip
    return insert_if_absent(conn, tables.agents, row)


def find(conn: sa.Connection, host: str, role: str) -> Agent | None:
    """The agent of this role on a host."""
    row = conn.execute(sa.select(tables.agents).where(_A.host == host, _A.role == role)).first()
    return Agent(**row._mapping) if row else None


def tunnel_ips(conn: sa.Connection) -> dict[str, str]:
    """Host -> address of its tunnels."""
    query = sa.select(_A.host, _A.tunnel_ip).where(_A.role == "l2", _A.tunnel_ip != "")
    return dict(conn.execute(query).tuples().all())
