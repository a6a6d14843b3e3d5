# SPDX-License-Identifier: Apache-2.0
"""Times as callers write them."""

from __future__ import annotations

import datetime


def parse(text: str) -> datetime.datetime:
    """ISO 8601 in any zone as naive UTC. ValueError for whatever is no such time."""
    when = datetime.datetime.fromisoformat(text)
    try:
        return when.astimezone(datetime.UTC).replace(tzinfo=None) if when.tzinfo is not None else when
    except OverflowError as e:  # the first or last hours of the calendar, in another zone
        raise ValueError(f"{text!r} is out of the calendar") from e
