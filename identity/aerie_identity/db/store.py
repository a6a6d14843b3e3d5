# SPDX-License-Identifier: Apache-2.0
"""Rows as frozen dataclasses: one Store for each table that holds a noun.

A Store knows which columns its dataclass has, reads and writes whole rows, and answers list calls (filters with
operators, sorting, paging) with exactly one statement.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import sqlalchemy as sa

from aerie_common.db import fetch, paginate
from aerie_common.errors import BadRequest, NotFound
from aerie_common.listing import Listing
from aerie_common.schema import FALSE_WORDS

T = TypeVar("T")
Condition = sa.ColumnElement[bool]

_ESCAPE = "\\"


def _like(text: str) -> str:
    for special in (_ESCAPE, "%", "_"):
        text = text.replace(special, _ESCAPE + special)
    return text


def _operator(before: str, after: str, *, fold: bool) -> Callable[[Any, str], Condition]:
    def test(column: Any, value: str) -> Condition:
        pattern = f"{before}{_like(value)}{after}"
        if fold:
            return sa.func.lower(column).like(pattern.lower(), escape=_ESCAPE)
        return column.like(pattern, escape=_ESCAPE)  # type: ignore[no-any-return]

    return test


OPERATORS: dict[str, Callable[[Any, str], Condition]] = {
    "contains": _operator("%", "%", fold=False),
    "startswith": _operator("", "%", fold=False),
    "endswith": _operator("%", "", fold=False),
    "icontains": _operator("%", "%", fold=True),
    "istartswith": _operator("", "%", fold=True),
    "iendswith": _operator("%", "", fold=True),
    "equals": lambda column, value: column == value,
    "iequals": lambda column, value: sa.func.lower(column) == value.lower(),
}


def condition(column: sa.Column[Any], operator: str, values: Sequence[str]) -> Condition:
    """What `name=value`, repeated or with an operator, asks of a column."""
    if isinstance(column.type, sa.Boolean):
        return column == (values[-1].strip().lower() not in FALSE_WORDS)
    if operator:
        return sa.or_(*(OPERATORS[operator](column, value) for value in values))
    if isinstance(column.type, sa.Integer):
        try:
            return column.in_([int(value) for value in values])
        except ValueError:
            raise BadRequest(f"{column.name} must be a whole number.") from None
    return column == values[0] if len(values) == 1 else column.in_(values)


@dataclass(frozen=True)
class Page(Generic[T]):
    """What a list call found. more: there are further rows beyond the limit."""

    rows: list[T]
    more: bool = False


class Store(Generic[T]):
    """The rows of one table. The dataclass's fields are columns of the same names."""

    def __init__(self, table: sa.Table, cls: Callable[..., T], key: str = "id") -> None:
        self.table = table
        self.cls = cls
        self.key = table.c[key]
        self.names = [f.name for f in dataclasses.fields(cls) if f.name in table.c]  # type: ignore[arg-type]
        self.columns = [table.c[name] for name in self.names]

    def make(self, row: Any) -> T:
        """The dataclass of a result row that begins with this table's columns."""
        return self.cls(**dict(zip(self.names, row, strict=False)))

    def get(self, conn: sa.Connection, id: str) -> T | None:
        row = conn.execute(sa.select(*self.columns).where(self.key == id)).first()
        return None if row is None else self.make(row)

    def need(self, conn: sa.Connection, id: str, error: Callable[[], Exception] = NotFound) -> T:
        """The row, or the given refusal."""
        found = self.get(conn, id)
        if found is None:
            raise error()
        return found

    def one(self, conn: sa.Connection, *where: Condition) -> T | None:
        row = conn.execute(sa.select(*self.columns).where(*where).limit(1)).first()
        return None if row is None else self.make(row)

    def all(self, conn: sa.Connection, *where: Condition) -> list[T]:
        query = sa.select(*self.columns).where(*where).order_by(self.key)
        return [self.make(row) for row in conn.execute(query)]

    def first(self, *where: Condition, limit: int | None = None) -> sa.Select[Any]:
        """The query of a page without filters, sort keys and marker, to be kept by those whom it is often asked."""
        query = sa.select(*self.columns).where(*where)
        return paginate(query, sort=[(self.key, "asc")], limit=None if limit is None else limit + 1)

    def first_page(self, conn: sa.Connection, query: sa.Select[Any], limit: int | None) -> Page[T]:
        """What page() answers, for a query that first() has made with that limit."""
        rows = [self.make(row) for row in fetch(conn, query, {})]
        return Page(rows) if limit is None else Page(rows[:limit], len(rows) > limit)

    def page(self, conn: sa.Connection, listing: Listing, *where: Condition, limit: int | None = None) -> Page[T]:
        """A list call's answer. limit: the server's own bound where the caller gave none."""
        tests = list(where)
        for name, values in listing.filters.items():
            base, _, operator = name.partition("__")
            column = self.table.c.get(base)
            if column is not None:
                tests.append(condition(column, operator, values))
        bound = limit if listing.limit is None else listing.limit
        sort = [(self.table.c[name], direction) for name, direction in listing.sort if name != self.key.name]
        marker = None
        if listing.marker:
            marker = self.get(conn, listing.marker)
            if marker is None:
                raise BadRequest(f"The marker {listing.marker!r} does not exist.")
        query = paginate(
            sa.select(*self.columns).where(*tests),
            sort=[*sort, (self.key, "asc")],
            marker=marker,
            limit=None if bound is None else bound + 1,
        )
        rows = [self.make(row) for row in conn.execute(query)]
        return Page(rows) if bound is None else Page(rows[:bound], len(rows) > bound)

    def insert(self, conn: sa.Connection, row: T) -> T:
        conn.execute(sa.insert(self.table), {name: getattr(row, name) for name in self.names})
        return row

    def update(self, conn: sa.Connection, id: str, **values: Any) -> bool:
        """Change columns of one row; False when there is no such row."""
        if not values:
            return True
        return bool(conn.execute(sa.update(self.table).where(self.key == id).values(values)).rowcount)

    def delete(self, conn: sa.Connection, *where: Condition) -> int:
        return conn.execute(sa.delete(self.table).where(*where)).rowcount
