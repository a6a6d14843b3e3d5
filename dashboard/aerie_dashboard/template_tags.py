# SPDX-License-Identifier: Apache-2.0
"""Filters of the templates."""

from __future__ import annotations

import datetime

from django import template

register = template.Library()


@register.filter
def ago(text: str | None) -> str:
    """`2026-11-20T10:00:00Z` -> `3 min ago`."""
    if not text:
        return "-"
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        return text
    moment = moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
    seconds = int((datetime.datetime.now(datetime.UTC) - moment).total_seconds())
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{max(seconds, 0)} s ago"


def size(count: int | None) -> str:
    """Bytes for people: `13.4 MiB`."""
    if count is None:
        return "-"
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return ""


def memory(mib: int) -> str:
    """MiB for people: `512 MiB`, `1.5 GiB`."""
    return f"{mib} MiB" if mib < 1024 else f"{mib / 1024:.4g} GiB"


register.filter("size", size)
register.filter("memory", memory)
