# SPDX-License-Identifier: Apache-2.0
"""List calls over rows that did not come from SQL: filters, sorting and paging as `db.store.Store.page` has them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, TypeVar

from aerie_common.errors import BadRequest
from aerie_common.listing import Listing
from aerie_common.schema import FALSE_WORDS
from aerie_identity.db.store import Page

Row = TypeVar("Row")

_TESTS: dict[str, Callable[[str, str], bool]] = {
    "": str.__eq__,
    "equals": str.__eq__,
    "contains": str.__contains__,
    "startswith": str.startswith,
    "endswith": str.endswith,
}


def _passes(value: Any, operator: str, wanted: tuple[str, ...]) -> bool:
    if isinstance(value, bool):
        return value == (wanted[-1].strip().lower() not in FALSE_WORDS)
    if not isinstance(value, str):
        return False
    if operator.startswith("i"):
        value, wanted, operator = value.lower(), tuple(text.lower() for text in wanted), operator[1:]
    return any(_TESTS[operator](value, text) for text in wanted)


def _key(value: Any) -> tuple[bool, Any]:
    return value is not None, value


def page(rows: Iterable[Row], listing: Listing, *, limit: int | None, answered: Collection[str] = ()) -> Page[Row]:
    """answered: filters that were applied already. limit: the server's own bound where the caller gave none."""
    found = list(rows)
    for name, wanted in listing.filters.items():
        base, _, operator = name.partition("__")
        if name not in answered:
            found = [row for row in found if _passes(getattr(row, base, None), operator, wanted)]
    found.sort(key=lambda row: str(getattr(row, "id", "")))
    for name, direction in reversed(listing.sort):
        found.sort(key=lambda row: _key(getattr(row, name, None)), reverse=direction == "desc")  # noqa: B023
    if listing.marker:
        places = [i for i, row in enumerate(found) if getattr(row, "id", None) == listing.marker]
        if not places:
            raise BadRequest(f"The marker {listing.marker!r} does not exist.")
        found = found[places[0] + 1 :]
    bound = limit if listing.limit is None else listing.limit
    return Page(found) if bound is None else Page(found[:bound], len(found) > bound)
