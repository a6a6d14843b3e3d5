# SPDX-License-Identifier: Apache-2.0
"""What the SQL of all nouns shares: filters from a list request, keyset pages, rows to dataclasses, revisions.

A page costs one query for its rows (and one for the marker, where the caller named one), however long it is; children
are loaded by the nouns, one query for all kinds of child. What is asked most is built once and kept: `see`,
`everything` and the children.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import sqlalchemy as sa

from aerie_common.db import Id, fetch, paginate, utcnow
from aerie_common.errors import AerieError
from aerie_common.listing import Listing
from aerie_common.schema import to_bool
from aerie_network.db import tables
from aerie_network.errors import InvalidInput


class HasId(Protocol):
    """Every row has one."""

    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=HasId)
Values = tuple[str, ...]
Filter = Callable[[Values], sa.ColumnElement[bool]]
Condition = sa.ColumnElement[bool]
VIEWER = sa.bindparam("viewer", type_=Id)
"""The caller's project, in conditions that are built once for all callers."""
_CHUNK = 256
"""Children are read for so many objects at a time."""


@dataclass(frozen=True)
class Page(Generic[T]):
    """One page of a list; `next` and `previous` are the markers of its neighbours."""

    items: list[T]
    next: str | None = None
    previous: str | None = None


@dataclass(slots=True)
class _Entry(Generic[T]):
    stamp: tuple[Any, ...]
    item: T
    shown: dict[Any, bytes]


class RowCache(Generic[T]):
    """Objects of one noun as this process read them last, with what was shown of them.

    An object holds as long as its stamp (revision, time of change, status) is that of its row; whatever changes an
    object or its children moves the stamp, in the same transaction. So a list reads the stamps of all and the rest of
    those that have changed, and nobody has to be told of changes.
    """

    def __init__(self, size: int = 5000) -> None:
        self._size = size
        self._entries: dict[str, _Entry[T]] = {}

    def take(self, id: str, stamp: tuple[Any, ...]) -> T | None:
        """The object, if it is known with this stamp."""
        entry = self._entries.get(id)
        return entry.item if entry is not None and entry.stamp == stamp else None

    def keep(self, stamp: tuple[Any, ...], item: T) -> None:
        """Remember an object; the oldest ones make room."""
        if len(self._entries) >= self._size:
            for old in list(self._entries)[: self._size // 4]:
                self._entries.pop(old, None)
        self._entries[item.id] = _Entry(stamp, item, {})

    def shown(self, item: T, variant: Any, render: Callable[[], bytes]) -> bytes:
        """How this very object looks to one kind of caller."""
        entry = self._entries.get(item.id)
        if entry is None or entry.item is not item:
            return render()
        found = entry.shown.get(variant)
        if found is None:
            found = entry.shown[variant] = render()
        return found


def column_filter(column: sa.Column[Any]) -> Filter:
    """`column` has one of the values, read as the column's type."""

    def read(text: str) -> Any:
        try:
            if isinstance(column.type, sa.Boolean):
                return to_bool(text)
            if isinstance(column.type, sa.Integer):
                return int(text)
        except ValueError as e:
            raise InvalidInput(error_message=f"'{text}' is not a value of {column.name}") from e
        return text

    def make(values: Values) -> Condition:
        wanted = [read(v) for v in values]
        test: Condition = column.in_(wanted)
        nullable = column.nullable and any(v in ("", "null", "None") for v in wanted)
        return sa.or_(test, column.is_(None)) if nullable else test

    return make


def _words(values: Values) -> list[str]:
    return [word for value in values for word in value.split(",") if word]


def tag_filters(id_column: sa.Column[Any]) -> dict[str, Filter]:
    """tags (all of them), tags-any, and their opposites."""

    def carrying(words: list[str]) -> sa.Select[Any]:
        return sa.select(tables.tags.c.resource_id).where(tables.tags.c.tag.in_(words))

    def every(words: list[str]) -> sa.Select[Any]:
        count = sa.func.count()
        return carrying(words).group_by(tables.tags.c.resource_id).having(count == len(set(words)))

    return {
        "tags": lambda values: id_column.in_(every(_words(values))),
        "tags-any": lambda values: id_column.in_(carrying(_words(values))),
        "not-tags": lambda values: id_column.not_in(every(_words(values))),
        "not-tags-any": lambda values: id_column.not_in(carrying(_words(values))),
    }


TAG_FILTERS = frozenset({"tags", "tags-any", "not-tags", "not-tags-any"})


class Store(Generic[T]):
    """The rows of one noun as frozen dataclasses.

    missing: refusal for an id that is not there. aliases: API name -> column name where they differ. filters: API
    name -> condition for filters that are more than a column. children: (connection, row mappings) -> per row the
    further attributes that the dataclass wants.
    """

    def __init__(
        self,
        table: sa.Table,
        cls: type[T],
        missing: type[AerieError],
        *,
        aliases: Mapping[str, str] | None = None,
        filters: Mapping[str, Filter] | None = None,
        children: Callable[[sa.Connection, Sequence[Mapping[str, Any]]], list[dict[str, Any]]] | None = None,
    ) -> None:
        self.table, self.missing = table, missing
        self._cls, self._children = cls, children
        self._aliases = {"tenant_id": "project_id", **(aliases or {})}
        self._filters = {**tag_filters(table.c.id), **(filters or {})}

    def column(self, name: str) -> sa.Column[Any]:
        """The column behind an attribute of the API."""
        return self.table.c[self._aliases.get(name, name)]

    def condition(self, name: str, values: Values) -> Condition:
        """The condition a filter of the API stands for."""
        special = self._filters.get(name)
        return special(values) if special else column_filter(self.column(name))(values)

    def build(self, conn: sa.Connection, rows: Iterable[Any]) -> list[T]:
        """Dataclasses of rows, with their children loaded set-wise."""
        plain = [row._mapping for row in rows]
        if not plain:
            return []
        if self._children is None:
            return [self._cls(**row) for row in plain]
        return [self._cls(**row, **more) for row, more in zip(plain, self._children(conn, plain), strict=True)]

    def all(self, conn: sa.Connection, *where: Condition) -> list[T]:
        """Every row that fits."""
        return self.build(conn, conn.execute(sa.select(self.table).where(*where)))

    def _built(self, conn: sa.Connection, rows: Iterable[Sequence[Any]]) -> list[T]:
        """The same of whole rows as `fetch` gives them."""
        names = self.table.c.keys()
        plain = [dict(zip(names, row, strict=True)) for row in rows]
        more = self._children(conn, plain) if plain and self._children else [{} for _ in plain]
        return [self._cls(**row, **own) for row, own in zip(plain, more, strict=True)]

    def see(self, conn: sa.Connection, id: str, viewer: str | None, *where: Condition) -> T:
        """One row, to look at. `where` are conditions that exist once, with VIEWER in them. Raises `missing`."""
        found = self._built(conn, fetch(conn, _one(self.table, where), {"id": id, "viewer": viewer or ""}))
        if not found:
            raise self.missing(id=id)
        return found[0]

    def everything(self, conn: sa.Connection, listing: Listing, viewer: str | None, *where: Condition) -> Page[T]:
        """What `page` gives for a request without filters, limit and marker. `where`: as for `see`."""
        sort = [(self.column(name), direction) for name, direction in listing.sort]
        return Page(self._built(conn, fetch(conn, _all(self.table, where, tuple(sort)), {"viewer": viewer or ""})))

    def find(self, conn: sa.Connection, id: str, *where: Condition, lock: bool = False) -> T | None:
        """One row, None when it is not there; lock=True keeps others from changing it until the transaction ends."""
        query = sa.select(self.table).where(self.table.c.id == id, *where)
        found = self.build(conn, conn.execute(query.with_for_update() if lock else query))
        return found[0] if found else None

    def get(self, conn: sa.Connection, id: str, *where: Condition, lock: bool = False) -> T:
        """One row. Raises `missing`."""
        found = self.find(conn, id, *where, lock=lock)
        if found is None:
            raise self.missing(id=id)
        return found

    def _stamp_columns(self) -> list[sa.Column[Any]]:
        c = self.table.c
        return [c.id, c.revision_number, c.updated_at, *([c.status] if "status" in c else [])]

    def _load(self, conn: sa.Connection, rows: Sequence[Any], cache: RowCache[T] | None) -> list[T]:
        """Objects of a page's rows; with a cache the rows are stamps, and what is not known is read now."""
        if cache is None:
            return self.build(conn, rows)
        stamps = {row[0]: tuple(row[1:]) for row in rows}
        known = {id: item for id, stamp in stamps.items() if (item := cache.take(id, stamp)) is not None}
        lacking = [id for id in stamps if id not in known]
        if lacking:
            fresh = conn.execute(sa.select(self.table).where(self.table.c.id.in_(lacking))).all()
            columns = [column.key for column in self._stamp_columns()]
            for row, item in zip(fresh, self.build(conn, fresh), strict=True):
                # The stamp is that of the row read here, before the children: they may be newer, never older.
                cache.keep(tuple(getattr(row, name) for name in columns[1:]), item)
                known[item.id] = item
        return [known[id] for id in stamps if id in known]

    def page(
        self, conn: sa.Connection, listing: Listing, *where: Condition, cache: RowCache[T] | None = None
    ) -> Page[T]:
        """The rows a list request asks for."""
        c = self.table.c
        query = sa.select(self.table) if cache is None else sa.select(*self._stamp_columns())
        query = query.where(*where)
        for name, values in listing.filters.items():
            query = query.where(self.condition(name, values))
        limit = listing.limit or None
        sort = [(self.column(name), direction) for name, direction in listing.sort]
        if not any(column is c.id for column, _ in sort):
            sort.append((c.id, "asc"))
        if limit is None and listing.marker is None:
            rows = conn.execute(query.order_by(*(getattr(col, way)() for col, way in sort))).all()
            return Page(self._load(conn, rows, cache))
        marker = None
        if listing.marker is not None:
            marker = conn.execute(sa.select(self.table).where(c.id == listing.marker)).first()
            if marker is None:
                raise self.missing(id=listing.marker)
        if listing.page_reverse:
            sort = [(column, "asc" if way == "desc" else "desc") for column, way in sort]
        rows = conn.execute(paginate(query, sort=sort, marker=marker, limit=limit)).all()
        items = self._load(conn, rows, cache)
        full = limit is not None and len(rows) == limit
        if listing.page_reverse:
            items.reverse()
            before, after = full, marker is not None and bool(items)
        else:
            before, after = marker is not None and bool(items), full
        return Page(items, items[-1].id if after else None, items[0].id if before else None)

    def insert(self, conn: sa.Connection, *rows: Mapping[str, Any]) -> None:
        """Insert rows as one statement."""
        conn.execute(sa.insert(self.table), [dict(row) for row in rows])

    def update(self, conn: sa.Connection, id: str, values: Mapping[str, Any] | None = None) -> None:
        """Set values and count the object's revision up."""
        c = self.table.c
        stamped = {**(values or {}), "revision_number": c.revision_number + 1, "updated_at": utcnow()}
        if not conn.execute(sa.update(self.table).where(c.id == id).values(stamped)).rowcount:
            raise self.missing(id=id)

    def delete(self, conn: sa.Connection, id: str) -> None:
        """Delete one row. Raises `missing` when another has been quicker."""
        if not conn.execute(sa.delete(self.table).where(self.table.c.id == id)).rowcount:
            raise self.missing(id=id)


def grouped(rows: Iterable[Any]) -> dict[str, list[Any]]:
    """(key, value) rows -> lists of values by key."""
    found: dict[str, list[Any]] = {}
    for key, value in rows:
        found.setdefault(key, []).append(value)
    return found


@functools.lru_cache(64)
def _one(table: sa.Table, where: tuple[Condition, ...]) -> sa.Select[Any]:
    return sa.select(table).where(table.c.id == sa.bindparam("id", type_=Id), *where)


@functools.lru_cache(256)
def _all(table: sa.Table, where: tuple[Condition, ...], sort: tuple[tuple[sa.Column[Any], str], ...]) -> sa.Select[Any]:
    order = [getattr(column, way)() for column, way in sort]
    if not any(column is table.c.id for column, _ in sort):
        order.append(table.c.id.asc())
    return sa.select(table).where(*where).order_by(*order)


@dataclass(frozen=True, eq=False)
class Child:
    """A kind of child: whose it is, what it is, and what orders it among its own kind before its value does."""

    owner: sa.Column[Any]
    value: sa.Column[Any]
    detail: sa.Column[Any] | None = None
    order: sa.Column[Any] | None = None
    where: Condition | None = None


TAGS = Child(tables.tags.c.resource_id, tables.tags.c.tag)


class Children:
    """Children of several kinds by one query. Details and orders must stand at the first kind, which types them."""

    def __init__(self, *kinds: Child) -> None:
        self._kinds = kinds
        self._query = functools.cache(self._make)

    def _make(self, size: int) -> sa.CompoundSelect[Any]:
        ids = [sa.bindparam(f"id{n}", type_=Id) for n in range(size)]
        return sa.union_all(
            *(
                sa.select(
                    sa.literal_column(str(number)).label("kind"),
                    kind.owner.label("owner"),
                    kind.value.label("value"),
                    (sa.null() if kind.detail is None else kind.detail).label("detail"),
                    (sa.null() if kind.order is None else kind.order).label("place"),
                ).where(kind.owner.in_(ids), *(() if kind.where is None else (kind.where,)))
                for number, kind in enumerate(self._kinds)
            )
        ).order_by("place", "value")

    def load(self, conn: sa.Connection, ids: Sequence[str]) -> list[dict[str, list[Any]]]:
        """For each kind: owner -> values, or (value, detail) pairs where the kind has a detail."""
        found: list[dict[str, list[Any]]] = [{} for _ in self._kinds]
        pairs = [kind.detail is not None for kind in self._kinds]
        for start in range(0, len(ids), _CHUNK):
            some = ids[start : start + _CHUNK]
            size = 1
            while size < len(some):  # few texts for all numbers: the last id stands for what is missing
                size *= 4
            parameters = {f"id{n}": some[min(n, len(some) - 1)] for n in range(size)}
            for kind, owner, value, detail, _ in fetch(conn, self._query(size), parameters):
                found[kind].setdefault(owner, []).append((value, detail) if pairs[kind] else value)
        return found


def load_tags(conn: sa.Connection, ids: Sequence[str]) -> dict[str, list[str]]:
    """Tags of objects, sorted, by object id."""
    t = tables.tags.c
    return grouped(conn.execute(sa.select(t.resource_id, t.tag).where(t.resource_id.in_(ids)).order_by(t.tag)))


def only_tags(conn: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """children= of nouns which have none but tags."""
    found = load_tags(conn, [row["id"] for row in rows])
    return [{"tags": tuple(found.get(row["id"], ()))} for row in rows]
