# SPDX-License-Identifier: Apache-2.0
"""What several nouns' rules share."""

from __future__ import annotations

import datetime
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from oslo_db import exception as db_exc

from aerie_common import times
from aerie_common.errors import BadRequest
from aerie_identity.errors import Duplicate, ImmutableResource


def new_id() -> str:
    """An id as Keystone makes them: hexadecimal without dashes."""
    return uuid.uuid4().hex


_NAMED_ID = re.compile(r"[\w.:@+~-]{1,64}")


def check_id(noun: str, id: str) -> None:
    """An id that the caller chose, in an address. Raises BadRequest."""
    if not _NAMED_ID.fullmatch(id):
        raise BadRequest(f"The ID of a {noun} is 1 to 64 letters, digits and . : @ + ~ - _")


@contextmanager
def unique(noun: str, value: str, key: str = "name") -> Iterator[None]:
    """Say which name is taken when the database refuses a row."""
    try:
        yield
    except db_exc.DBDuplicateEntry:
        raise Duplicate(noun, value, key) from None


def overlay(old: dict[str, Any], new: dict[str, Any] | None) -> dict[str, Any]:
    """`old` with `new` put over it; null removes an entry."""
    result = dict(old)
    for name, value in (new or {}).items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = value
    return result


def refuse_immutable(noun: str, row: Any, changes: dict[str, Any] | None = None) -> None:
    """An immutable row may only be made mutable again."""
    if not row.options.get("immutable"):
        return
    if changes is not None and "options" in changes and not changes["options"].get("immutable", True):
        return
    raise ImmutableResource(noun=noun, id=row.id)


def parse_time(name: str, text: Any) -> datetime.datetime:
    """A time a caller sent, as naive UTC. Raises BadRequest."""
    try:
        return times.parse(text)
    except (ValueError, TypeError):
        raise BadRequest(f"{name} must be a time like 2026-01-01T00:00:00Z.") from None
