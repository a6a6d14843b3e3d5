# SPDX-License-Identifier: Apache-2.0
"""State machines as data: a table of (event, from, to), and the only way to move a row along it.

Invariant: a state column changes only through `StateMachine.advance`, by compare-and-swap, and only along a declared
transition. An event that is illegal in the row's state is refused before anything is touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from aerie_common.db import condition
from aerie_common.errors import Conflict, NotFound


class IllegalEvent(Conflict):
    """The subject is in a state in which this cannot happen."""

    code = "invalid_state"
    template = "Cannot do '{event}' while {noun} {id} is in {column} {state}."


State = str | None
"""A state; None is a state of its own where the column may be NULL (as a server's task_state)."""


class StateMachine:
    """Transitions of one state column.

        ZONE = StateMachine("zone", "status", initial="PENDING", transitions=[
            ("served", ("PENDING", "ERROR"), "ACTIVE"),
            ("failed", "PENDING", "ERROR"),
        ])

    `from` is one state or several. A transition may lead to the state it starts from.
    """

    def __init__(
        self,
        noun: str,
        column: str,
        *,
        initial: State,
        transitions: Iterable[tuple[str, State | Sequence[State], State]],
        final: Sequence[State] = (),
    ) -> None:
        self.noun, self.column, self.initial, self.final = noun, column, initial, tuple(final)
        self.moves: dict[str, dict[State, State]] = {}
        for event, sources, target in transitions:
            row = self.moves.setdefault(event, {})
            for source in (sources,) if sources is None or isinstance(sources, str) else sources:
                if source in row:
                    raise ValueError(f"{noun}: event {event} declared twice for state {source}")
                if source in self.final:
                    raise ValueError(f"{noun}: event {event} leaves the final state {source}")
                row[source] = target
        self._check_reachable()

    def _check_reachable(self) -> None:
        reached: set[State] = {self.initial}
        while True:
            more = {to for row in self.moves.values() for source, to in row.items() if source in reached} - reached
            if not more:
                break
            reached |= more
        lost = self.states - reached
        if lost:
            raise ValueError(f"{self.noun}: no event leads to {sorted(map(str, lost))}")

    @property
    def states(self) -> set[State]:
        """Every state that occurs."""
        ends = {state for row in self.moves.values() for move in row.items() for state in move}
        return ends | {self.initial} | set(self.final)

    @property
    def events(self) -> tuple[str, ...]:
        return tuple(self.moves)

    def target(self, state: State, event: str) -> State:
        """Where `event` leads from `state`; IllegalEvent if nowhere. KeyError means a misspelt event."""
        row = self.moves[event]
        if state not in row:
            raise IllegalEvent(event=event, noun=self.noun, id="", column=self.column, state=state)
        return row[state]

    def allows(self, state: State, event: str) -> bool:
        return state in self.moves[event]

    def advance(
        self,
        conn: sa.Connection,
        table: sa.Table,
        id: str,
        event: str,
        *,
        expect: Mapping[str, Any] | None = None,
        values: Mapping[str, Any] | None = None,
    ) -> State:
        """Move the row and set `values` with it, in one UPDATE; return the new state.

        `expect` are further columns that must still be so (values as for `db.condition`). NotFound if there is no such
        row, IllegalEvent if its state does not allow the event, Conflict if `expect` does not hold.
        """
        row = self.moves[event]
        column = table.c[self.column]
        where = [table.c.id == id, condition(column, list(row))]
        where += [condition(table.c[name], value) for name, value in (expect or {}).items()]
        targets = set(row.values())
        if len(targets) == 1:
            new: Any = next(iter(targets))
        else:
            new = sa.case(*((condition(column, source), sa.literal(to, column.type)) for source, to in row.items()))
        before = None
        if len(targets) > 1:  # the answer depends on where it was: hold the row while asking
            before = conn.execute(sa.select(column).where(table.c.id == id).with_for_update()).first()
        done = conn.execute(sa.update(table).where(*where).values({**(values or {}), self.column: new})).rowcount
        if done != 1:
            self._refuse(conn, table, id, event)
        return row[before[0]] if before is not None else next(iter(targets))

    def _refuse(self, conn: sa.Connection, table: sa.Table, id: str, event: str) -> None:
        found = conn.execute(sa.select(table.c[self.column]).where(table.c.id == id)).first()
        if found is None:
            raise NotFound(f"{self.noun.capitalize()} {id} could not be found.")
        if found[0] not in self.moves[event]:
            raise IllegalEvent(event=event, noun=self.noun, id=id, column=self.column, state=found[0])
        raise Conflict(f"{self.noun.capitalize()} {id} has changed in the meantime.")

    def rows(self) -> list[tuple[str, State, State]]:
        """(event, from, to) of every transition, for documentation and drawings."""
        return [(event, source, to) for event, row in self.moves.items() for source, to in row.items()]
