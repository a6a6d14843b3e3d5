# SPDX-License-Identifier: Apache-2.0
"""What may become of zones and record sets: PENDING until the name servers are seen to serve the change.

`status` says how far the last change is, `action` which one it was. Nothing else sets a status column.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from aerie_common.states import StateMachine

CREATE, UPDATE, DELETE, NONE = "CREATE", "UPDATE", "DELETE", "NONE"
PENDING, ACTIVE, ERROR = "PENDING", "ACTIVE", "ERROR"

_MOVES: list[tuple[str, tuple[str, ...], str]] = [
    ("changed", (PENDING, ACTIVE, ERROR), PENDING),
    ("served", (PENDING, ERROR), ACTIVE),
    ("failed", (PENDING,), ERROR),
]
ZONE = StateMachine("zone", "status", initial=PENDING, transitions=_MOVES)
RECORDSET = StateMachine("record set", "status", initial=PENDING, transitions=_MOVES)


def advance_all(
    conn: sa.Connection,
    machine: StateMachine,
    table: sa.Table,
    event: str,
    where: list[sa.ColumnElement[bool]],
    values: Mapping[str, Any],
) -> int:
    """Move every row that matches `where` and whose state allows the event; how many did."""
    [target] = set(machine.moves[event].values())
    column = table.c[machine.column]
    statement = sa.update(table).where(*where, column.in_(list(machine.moves[event])))
    return int(conn.execute(statement.values({**values, machine.column: target})).rowcount)
