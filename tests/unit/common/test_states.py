# SPDX-License-Identifier: Apache-2.0
"""State machines move rows along declared transitions only, and refuse before anything is touched."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from aerie_common.db import Database, Id
from aerie_common.errors import Conflict, NotFound
from aerie_common.states import IllegalEvent, StateMachine

METADATA = sa.MetaData()
DOORS = sa.Table(
    "doors",
    METADATA,
    sa.Column("id", Id, primary_key=True),
    sa.Column("state", sa.String(16), nullable=True),
    sa.Column("visitors", sa.Integer, nullable=False, default=0),
)
DOOR = StateMachine(
    "door",
    "state",
    initial=None,
    final=("gone",),
    transitions=[
        ("hang", None, "closed"),
        ("open", ("closed", "ajar"), "open"),
        ("close", ("open", "ajar"), "closed"),
        ("push", "open", "ajar"),
        ("push", "closed", "closed"),
        ("remove", (None, "closed", "open", "ajar"), "gone"),
    ],
)


@pytest.fixture
def db(any_database_url: str) -> Iterator[Database]:
    db = Database(any_database_url)
    db.create_all(METADATA)
    with db.write() as conn:
        conn.execute(sa.insert(DOORS).values(id="d"))
    yield db
    db.dispose()


def state(db: Database) -> tuple[str | None, int]:
    with db.read() as conn:
        row = conn.execute(sa.select(DOORS.c.state, DOORS.c.visitors)).one()
    return row.state, row.visitors


def test_declaration() -> None:
    assert DOOR.states == {None, "closed", "open", "ajar", "gone"}
    assert DOOR.events == ("hang", "open", "close", "push", "remove")
    assert DOOR.target("open", "push") == "ajar"
    assert DOOR.allows(None, "hang") and not DOOR.allows("gone", "open")
    assert ("push", "closed", "closed") in DOOR.rows()
    with pytest.raises(IllegalEvent):
        DOOR.target("gone", "open")
    with pytest.raises(KeyError):
        DOOR.target("open", "opne")


@pytest.mark.parametrize(
    "transitions",
    [
        [("open", "closed", "open"), ("open", "closed", "ajar")],
        [("open", "closed", "gone"), ("come_back", "gone", "closed")],
        [("open", "closed", "open"), ("tilt", "tilted", "gone")],
    ],
    ids=["declared twice", "leaves a final state", "unreachable"],
)
def test_wrong_declarations_are_refused(transitions: list[tuple[str, str, str]]) -> None:
    with pytest.raises(ValueError):
        StateMachine("door", "state", initial="closed", final=("gone",), transitions=transitions)


def test_advance(db: Database) -> None:
    with db.write() as conn:
        assert DOOR.advance(conn, DOORS, "d", "hang") == "closed"
        assert DOOR.advance(conn, DOORS, "d", "push") == "closed"
        assert DOOR.advance(conn, DOORS, "d", "open", values={"visitors": 2}) == "open"
        assert DOOR.advance(conn, DOORS, "d", "push", expect={"visitors": [1, 2]}) == "ajar"
    assert state(db) == ("ajar", 2)


def test_illegal_event_touches_nothing(db: Database) -> None:
    with db.write() as conn:
        with pytest.raises(IllegalEvent) as refusal:
            DOOR.advance(conn, DOORS, "d", "open", values={"visitors": 9})
        assert refusal.value.status == 409
        assert refusal.value.message == "Cannot do 'open' while door d is in state None."
    assert state(db) == (None, 0)


def test_what_was_expected_must_hold(db: Database) -> None:
    with db.write() as conn:
        with pytest.raises(Conflict) as refusal:
            DOOR.advance(conn, DOORS, "d", "hang", expect={"visitors": 1})
        assert not isinstance(refusal.value, IllegalEvent)
        with pytest.raises(NotFound):
            DOOR.advance(conn, DOORS, "nobody", "hang")
    assert state(db) == (None, 0)
