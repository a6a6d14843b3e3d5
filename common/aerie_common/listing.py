# SPDX-License-Identifier: Apache-2.0
"""What a list call asks for: filters, sorting, a page, and the links to the next one.

Every API words it a little differently; a ListStyle says how, `parse` makes the same Listing of all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlencode

from aerie_common.errors import BadRequest

Query = Mapping[str, list[str]]
PAGING = frozenset({"limit", "marker", "sort", "sort_key", "sort_dir", "page_reverse", "fields"})
MOST_DIGITS = 9
_DIRECTIONS = ("asc", "desc")


@dataclass(frozen=True)
class ListStyle:
    """How one API words a list request.

    unknown: what happens to a query parameter that is no filter ("ignore" or "refuse"). operators: suffixes such as
    `name__contains` (Keystone) are filters too. max_limit: the largest page, also the page size when none is asked
    for and `always_page` is set.
    """

    unknown: Literal["ignore", "refuse"] = "ignore"
    operators: frozenset[str] = frozenset()
    max_limit: int = 1000
    always_page: bool = False


@dataclass(frozen=True)
class Listing:
    """filters: field -> values (a repeated one means OR); `field__operator` where the API has operators.
    sort: (field, "asc" | "desc") in order. limit: None when the caller wants everything."""

    filters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sort: tuple[tuple[str, str], ...] = ()
    limit: int | None = None
    marker: str | None = None
    page_reverse: bool = False
    fields: frozenset[str] = frozenset()

    def one(self, name: str) -> str | None:
        """The single value of a filter (the last one when it was repeated)."""
        values = self.filters.get(name)
        return values[-1] if values else None


def parse(query: Query, filters: frozenset[str], sort_keys: frozenset[str], style: ListStyle) -> Listing:
    """Read a query string. BadRequest names what is wrong with it."""
    chosen: dict[str, tuple[str, ...]] = {}
    for name, values in query.items():
        if name in PAGING and name not in filters:
            continue
        base, _, operator = name.partition("__")
        if name in filters or (base in filters and operator in style.operators):
            chosen[name] = tuple(values)
        elif style.unknown == "refuse":
            raise BadRequest(f"Filtering is not supported by {name!r}. Supported: {', '.join(sorted(filters))}.")
    limit = _limit(query, style)
    return Listing(
        filters=chosen,
        sort=_sort(query, sort_keys),
        limit=limit,
        marker=query["marker"][-1] or None if query.get("marker") else None,
        page_reverse=(query.get("page_reverse") or ["false"])[-1].lower() == "true",
        fields=frozenset(f for value in query.get("fields", []) for f in value.split(",") if f),
    )


def _limit(query: Query, style: ListStyle) -> int | None:
    text = query["limit"][-1] if query.get("limit") else None
    if text is None:
        return style.max_limit if style.always_page else None
    if not (text.isascii() and text.removeprefix("-").isdigit()):
        raise BadRequest(f"limit must be a whole number, not {text!r}.")
    if text.startswith("-"):
        raise BadRequest("limit must not be negative.")
    return style.max_limit if len(text) > MOST_DIGITS else min(int(text), style.max_limit)


def _sort(query: Query, sort_keys: frozenset[str]) -> tuple[tuple[str, str], ...]:
    pairs: list[tuple[str, str]] = []
    for item in (query.get("sort") or [""])[-1].split(","):
        if item:
            key, _, direction = item.partition(":")
            pairs.append((key, direction or "asc"))
    keys, directions = query.get("sort_key", []), query.get("sort_dir", [])
    for i, key in enumerate(keys):
        pairs.append((key, directions[i] if i < len(directions) else (directions[-1] if directions else "asc")))
    for key, direction in pairs:
        if key not in sort_keys:
            raise BadRequest(f"Sorting is not supported by {key!r}. Supported: {', '.join(sorted(sort_keys))}.")
        if direction not in _DIRECTIONS:
            raise BadRequest(f"The sort direction must be asc or desc, not {direction!r}.")
    return tuple(pairs)


def page_url(url: str, query: Query, marker: str | None, **changes: str) -> str:
    """The address of the page after `marker` (None: from the beginning): the same query with another marker."""
    pairs = [(k, v) for k, values in query.items() for v in values if k != "marker" and k not in changes]
    return f"{url}?{urlencode([*pairs, *changes.items(), *([('marker', marker)] if marker is not None else [])])}"
