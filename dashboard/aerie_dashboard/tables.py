# SPDX-License-Identifier: Apache-2.0
"""A list page as data: columns, rows, what may be done to a row. `templates/table.html` is its only look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

GOOD = frozenset({"ACTIVE", "active", "UP", "available", "enabled", "VERIFY_RESIZE"})
BAD = frozenset({"ERROR", "error", "DOWN", "killed", "CRASHED"})
WORKING = frozenset(
    {"BUILD", "PENDING", "queued", "saving", "importing", "REBOOT", "HARD_REBOOT", "REBUILD", "RESIZE", "deleting"}
)


@dataclass(frozen=True)
class Cell:
    """One value. link: where it leads. status: a coloured badge. hint: for hovering. mono: an id or address."""

    text: str
    link: str = ""
    status: bool = False
    hint: str = ""
    mono: bool = False

    @property
    def tone(self) -> str:
        if self.text in GOOD:
            return "good"
        if self.text in BAD:
            return "bad"
        return "working" if self.text in WORKING else "idle"


@dataclass(frozen=True)
class Action:
    """A button of a row. url: where its POST goes. confirm: asked before. danger: looks like it."""

    label: str
    url: str
    confirm: str = ""
    danger: bool = False


@dataclass(frozen=True)
class Row:
    id: str
    cells: Sequence[Cell]
    actions: Sequence[Action] = ()


@dataclass(frozen=True)
class Table:
    """live_url: fetched again every few seconds. empty: what to tell when there is nothing. create: (label, url)."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Row]
    live_url: str = ""
    empty: str = "Nothing here yet."
    create: tuple[str, str] | None = None
    note: str = ""
    extra: dict[str, str] = field(default_factory=dict)
