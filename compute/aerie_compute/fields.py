# SPDX-License-Identifier: Apache-2.0
"""How the compute API writes times, and reads them."""

from __future__ import annotations

import datetime

from aerie_common import times
from aerie_common.errors import BadRequest


def isoformat(value: datetime.datetime | None) -> str | None:
    """`2026-11-20T10:00:00Z`."""
    return None if value is None else value.isoformat(timespec="seconds") + "Z"


def isoformat_micros(value: datetime.datetime | None) -> str | None:
    """`2026-11-20T10:00:00.000000`, without zone."""
    return None if value is None else value.isoformat(timespec="microseconds")


def parse_time(text: str, name: str) -> datetime.datetime:
    """ISO 8601 in any zone as naive UTC. BadRequest names the parameter."""
    try:
        return times.parse(text)
    except ValueError:
        raise BadRequest(f"Invalid input for query parameters {name}: {text!r} is no ISO 8601 time.") from None
