# SPDX-License-Identifier: Apache-2.0
"""Flavors in SQL."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import sqlalchemy as sa

from aerie_common.db import fetch, paginate, utcnow
from aerie_compute.db.servers import matches
from aerie_compute.db.tables import FLAVOR_PROJECTS, FLAVORS


@dataclass(frozen=True, slots=True)
class Flavor:
    """Sizes: memory and swap in MiB, disks in GiB. `flavorid` is the id users know."""

    id: int
    flavorid: str
    name: str
    memory_mb: int
    vcpus: int
    root_gb: int
    ephemeral_gb: int
    swap: int
    rxtx_factor: float
    disabled: bool
    is_public: bool
    description: str | None
    extra_specs: dict[str, str]
    created_at: datetime.datetime
    updated_at: datetime.datetime | None

    def document(self) -> dict[str, Any]:
        """What a server remembers of its flavor."""
        return {
            "id": self.flavorid, "name": self.name, "vcpus": self.vcpus, "memory_mb": self.memory_mb,
            "root_gb": self.root_gb, "ephemeral_gb": self.ephemeral_gb, "swap": self.swap,
            "rxtx_factor": self.rxtx_factor, "extra_specs": self.extra_specs,
        }  # fmt: skip


_SELECT = sa.select(*(FLAVORS.c[f.name] for f in fields(Flavor)))
SORT_COLUMNS: dict[str, sa.Column[Any]] = {
    "flavorid": FLAVORS.c.flavorid, "id": FLAVORS.c.id, "name": FLAVORS.c.name, "memory_mb": FLAVORS.c.memory_mb,
    "vcpus": FLAVORS.c.vcpus, "root_gb": FLAVORS.c.root_gb, "ephemeral_gb": FLAVORS.c.ephemeral_gb,
    "swap": FLAVORS.c.swap, "rxtx_factor": FLAVORS.c.rxtx_factor, "is_public": FLAVORS.c.is_public,
    "disabled": FLAVORS.c.disabled, "created_at": FLAVORS.c.created_at, "updated_at": FLAVORS.c.updated_at,
}  # fmt: skip


def _visible(project_id: str | sa.BindParameter[str]) -> sa.ColumnElement[bool]:
    mine = sa.select(FLAVOR_PROJECTS.c.flavor_id).where(FLAVOR_PROJECTS.c.project_id == project_id)
    return sa.or_(FLAVORS.c.is_public == sa.true(), FLAVORS.c.id.in_(mine))


def get(conn: sa.Connection, flavor_id: str, *, visible_to: str | None = None) -> Flavor | None:
    """One flavor by the id users know; only if that project may see it, when one is given."""
    query = _SELECT.where(FLAVORS.c.flavorid == flavor_id)
    if visible_to is not None:
        query = query.where(_visible(visible_to))
    row = conn.execute(query).first()
    return None if row is None else Flavor(*row)


def list_(
    conn: sa.Connection,
    *,
    visible_to: str | None = None,
    is_public: bool | None = None,
    min_disk: int | None = None,
    min_ram: int | None = None,
    name: str | None = None,
    sort: Sequence[tuple[str, str]] = (),
    limit: int | None = None,
    marker: Flavor | None = None,
) -> list[Flavor]:
    """Flavors. visible_to: public ones and those the project has access to. is_public: only those (not).

    name: a regular expression.
    """
    if (min_disk, min_ram, name, marker) == (None,) * 4:
        query = _first_page(visible_to is not None, is_public, tuple(sort), limit)
        return [Flavor(*row) for row in fetch(conn, query, {"project": visible_to} if visible_to is not None else {})]
    query = _SELECT
    if visible_to is not None:
        query = query.where(_visible(visible_to))
    if is_public is not None:
        query = query.where(FLAVORS.c.is_public == is_public)
    if min_disk is not None:
        query = query.where(FLAVORS.c.root_gb >= min_disk)
    if min_ram is not None:
        query = query.where(FLAVORS.c.memory_mb >= min_ram)
    if name is not None:
        query = query.where(matches(FLAVORS.c.name, name))
    return [Flavor(*row) for row in conn.execute(paginate(query, sort=_order(sort), marker=marker, limit=limit))]


def _order(sort: Sequence[tuple[str, str]]) -> list[tuple[sa.Column[Any], str]]:
    order = [(SORT_COLUMNS[key], direction) for key, direction in sort] or [(FLAVORS.c.flavorid, "asc")]
    return [*order, (FLAVORS.c.id, "asc")]


@functools.lru_cache(64)
def _first_page(
    restricted: bool, is_public: bool | None, sort: tuple[tuple[str, str], ...], limit: int | None
) -> sa.Select[Any]:
    """Kept, since building a query costs more than running it. restricted: to what the parameter `project` may use."""
    query = _SELECT
    if restricted:
        query = query.where(_visible(sa.bindparam("project", type_=FLAVOR_PROJECTS.c.project_id.type)))
    if is_public is not None:
        query = query.where(FLAVORS.c.is_public == is_public)
    return paginate(query, sort=_order(sort), limit=limit)


def taken(conn: sa.Connection, *, flavorid: str, name: str) -> str | None:
    """ "ID" or "name" when another flavor has it."""
    query = sa.select(FLAVORS.c.flavorid).where(sa.or_(FLAVORS.c.flavorid == flavorid, FLAVORS.c.name == name))
    rows = [row[0] for row in conn.execute(query)]
    return None if not rows else "ID" if flavorid in rows else "name"


def insert(conn: sa.Connection, **values: Any) -> Flavor:
    """A new flavor."""
    key = conn.execute(sa.insert(FLAVORS).values(created_at=utcnow(), **values)).inserted_primary_key
    assert key is not None
    return Flavor(*conn.execute(_SELECT.where(FLAVORS.c.id == key[0])).one())


def update(conn: sa.Connection, key: int, **values: Any) -> None:
    conn.execute(sa.update(FLAVORS).where(FLAVORS.c.id == key).values(values))


def delete(conn: sa.Connection, key: int) -> None:
    conn.execute(sa.delete(FLAVOR_PROJECTS).where(FLAVOR_PROJECTS.c.flavor_id == key))
    conn.execute(sa.delete(FLAVORS).where(FLAVORS.c.id == key))


def projects(conn: sa.Connection, key: int) -> list[str]:
    """Projects that may use a flavor which is not public."""
    query = sa.select(FLAVOR_PROJECTS.c.project_id).where(FLAVOR_PROJECTS.c.flavor_id == key)
    return list(conn.execute(query.order_by(FLAVOR_PROJECTS.c.project_id)).scalars())


def grant(conn: sa.Connection, key: int, project_id: str) -> None:
    conn.execute(sa.insert(FLAVOR_PROJECTS).values(flavor_id=key, project_id=project_id))


def revoke(conn: sa.Connection, key: int, project_id: str) -> bool:
    """False when there was no access to take away."""
    gone = sa.delete(FLAVOR_PROJECTS).where(
        FLAVOR_PROJECTS.c.flavor_id == key, FLAVOR_PROJECTS.c.project_id == project_id
    )
    return bool(conn.execute(gone).rowcount)
