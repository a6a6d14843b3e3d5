# SPDX-License-Identifier: Apache-2.0
"""What every table of this database is read and written with: rows as frozen dataclasses, filters, pages."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from oslo_db import exception as db_exc
from sqlalchemy.exc import IntegrityError

from aerie_common.db import condition, new_id, paginate
from aerie_dns import errors
from aerie_dns.paging import EVERYTHING, Page

T = TypeVar("T")
Connection = sa.Connection
Duplicate = (db_exc.DBDuplicateEntry, IntegrityError)
"""What an insert raises when a unique key is taken."""


def like(column: sa.ColumnElement[Any], text: str) -> sa.ColumnElement[bool]:
    """`column` equals the text, in which `*` stands for anything."""
    if isinstance(column.type, sa.Integer):
        return column == int(text) if text.isascii() and text.isdigit() else sa.false()
    if "*" not in text:
        return column == text
    pattern = text.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_").replace("*", "%")
    return column.like(pattern, escape="\\")


class Noun(Generic[T]):
    """One table whose rows are `row_type`. `columns` adds selected expressions to the table's own columns."""

    def __init__(self, table: sa.Table, row_type: type[T]) -> None:
        self.table, self.row_type = table, row_type
        names = {f.name for f in dataclasses.fields(row_type)}  # type: ignore[arg-type]
        self.columns: list[sa.ColumnElement[Any]] = [c for c in table.c if c.name in names]

    def make(self, row: sa.Row[Any]) -> T:
        return self.row_type(**row._mapping)

    def where(self, criteria: Mapping[str, Any]) -> list[sa.ColumnElement[bool]]:
        return [condition(self.table.c[name], value) for name, value in criteria.items()]

    def select(self) -> sa.Select[Any]:
        return sa.select(*self.columns)

    def insert(self, conn: sa.Connection, **values: Any) -> T:
        """Store a new row, with an id unless it is given; returns it as it is stored."""
        values.setdefault("id", new_id())
        conn.execute(sa.insert(self.table).values(values))
        found = self.get(conn, id=values["id"])
        assert found is not None
        return found

    def get(
        self, conn: sa.Connection, *, lock: bool = False, extra: Sequence[sa.ColumnElement[bool]] = (), **criteria: Any
    ) -> T | None:
        """The one row that matches; `lock` holds it until the transaction ends."""
        query = self.select().where(*self.where(criteria), *extra)
        row = conn.execute(query.with_for_update() if lock else query).first()
        return None if row is None else self.make(row)

    def all(self, conn: sa.Connection, *extra: sa.ColumnElement[bool], **criteria: Any) -> list[T]:
        query = self.select().where(*self.where(criteria), *extra).order_by(self.table.c.created_at, self.table.c.id)
        return [self.make(row) for row in conn.execute(query)]

    def page(
        self,
        conn: sa.Connection,
        page: Page = EVERYTHING,
        extra: Sequence[sa.ColumnElement[bool]] = (),
        **criteria: Any,
    ) -> tuple[list[T], int]:
        """The asked-for part of the rows that match, and how many match in all. Two queries, three with a marker."""
        tests = [*self.where(criteria), *extra, *(self.filter(name, text) for name, text in page.filters.items())]
        total = conn.execute(sa.select(sa.func.count()).select_from(self.source()).where(*tests)).scalar_one()
        marker = None
        if page.marker is not None:
            marker = conn.execute(sa.select(self.table).where(self.table.c.id == page.marker)).first()
            if marker is None:
                raise errors.MarkerNotFound(marker=page.marker)
        sort = [(self.table.c[page.sort_key], page.sort_dir)]
        if page.sort_key != "id":
            sort.append((self.table.c.id, page.sort_dir))
        query = paginate(self.select().where(*tests), sort=sort, marker=marker, limit=page.limit)
        return [self.make(row) for row in conn.execute(query)], total

    def source(self) -> sa.FromClause:
        return self.table

    def filter(self, name: str, text: str) -> sa.ColumnElement[bool]:
        return like(self.table.c[name], text)

    def update(self, conn: sa.Connection, id: str, values: Mapping[str, Any], **criteria: Any) -> bool:
        """Change one row; False when it does not match."""
        statement = sa.update(self.table).where(self.table.c.id == id, *self.where(criteria))
        return conn.execute(statement.values(dict(values))).rowcount == 1

    def delete(self, conn: sa.Connection, *extra: sa.ColumnElement[bool], **criteria: Any) -> int:
        """Remove every row that matches; how many."""
        return int(conn.execute(sa.delete(self.table).where(*self.where(criteria), *extra)).rowcount)
