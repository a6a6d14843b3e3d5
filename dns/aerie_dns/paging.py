# SPDX-License-Identifier: Apache-2.0
"""Which part of a list is asked for, as a value that travels from the API to SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Page:
    """filters: column -> text, in which `*` stands for anything. limit: None for everything. marker: id of the last
    object of the page before."""

    filters: Mapping[str, str] = field(default_factory=dict)
    sort_key: str = "created_at"
    sort_dir: str = "asc"
    limit: int | None = None
    marker: str | None = None


EVERYTHING = Page()
