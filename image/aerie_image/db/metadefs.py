# SPDX-License-Identifier: Apache-2.0
"""Metadata definitions in SQL: namespaces, and what they define (objects, properties, tags, resource types)."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from aerie_common.db import new_id, paginate, utcnow
from aerie_image.db.images import Viewer
from aerie_image.db.tables import definitions, namespaces


@dataclass(frozen=True)
class Namespace:
    """A named set of definitions."""

    id: str
    namespace: str
    display_name: str | None
    description: str | None
    visibility: str
    protected: bool
    owner: str
    created_at: datetime.datetime
    updated_at: datetime.datetime | None


@dataclass(frozen=True)
class Definition:
    """One thing a namespace defines. kind: object, property, tag or resource_type."""

    namespace_id: str
    kind: str
    name: str
    body: dict[str, Any]
    created_at: datetime.datetime
    updated_at: datetime.datetime | None


def insert(conn: sa.Connection, values: Mapping[str, Any]) -> Namespace:
    """A new namespace; DBDuplicateEntry when there is one of that name."""
    now = utcnow()
    row = {**values, "id": new_id(), "created_at": now, "updated_at": now}
    conn.execute(sa.insert(namespaces).values(**row))
    return Namespace(**row)


def get(conn: sa.Connection, name: str) -> Namespace | None:
    """The namespace of that name."""
    row = conn.execute(sa.select(namespaces).where(namespaces.c.namespace == name)).mappings().first()
    return Namespace(**row) if row else None


def any_namespace(conn: sa.Connection) -> bool:
    """Is there a namespace at all?"""
    return conn.execute(sa.select(namespaces.c.id).limit(1)).first() is not None


def find(
    conn: sa.Connection,
    viewer: Viewer,
    *,
    visibility: str | None,
    resource_types: Sequence[str],
    sort: Sequence[tuple[str, str]],
    marker: Namespace | None,
    limit: int,
) -> list[Namespace]:
    """The namespaces the viewer may see."""
    query = sa.select(namespaces)
    if not viewer.is_admin:
        query = query.where(sa.or_(namespaces.c.visibility == "public", namespaces.c.owner == viewer.project_id))
    if visibility is not None:
        query = query.where(namespaces.c.visibility == visibility)
    if resource_types:
        inner = sa.select(definitions.c.namespace_id).where(
            definitions.c.kind == "resource_type", definitions.c.name.in_(resource_types)
        )
        query = query.where(namespaces.c.id.in_(inner))
    query = paginate(query, sort=[(namespaces.c[k], d) for k, d in sort], marker=marker, limit=limit)
    return [Namespace(**row) for row in conn.execute(query).mappings()]


def update(conn: sa.Connection, namespace_id: str, values: Mapping[str, Any]) -> None:
    """Change a namespace; DBDuplicateEntry when its new name is taken."""
    conn.execute(sa.update(namespaces).where(namespaces.c.id == namespace_id).values(**values))


def delete(conn: sa.Connection, namespace_id: str) -> None:
    """Forget a namespace and all it defines."""
    conn.execute(sa.delete(namespaces).where(namespaces.c.id == namespace_id))


# ---- what namespaces define


def define(conn: sa.Connection, namespace_id: str, kind: str, bodies: Mapping[str, dict[str, Any]]) -> None:
    """New definitions by name; DBDuplicateEntry when there is one of the kind and name."""
    now = utcnow()
    rows = [
        {"namespace_id": namespace_id, "kind": kind, "name": n, "body": b, "created_at": now, "updated_at": now}
        for n, b in bodies.items()
    ]
    if rows:
        conn.execute(sa.insert(definitions), rows)


def definition(conn: sa.Connection, namespace_id: str, kind: str, name: str) -> Definition | None:
    """One definition."""
    query = sa.select(definitions).where(*_one(namespace_id, kind, name))
    row = conn.execute(query).mappings().first()
    return Definition(**row) if row else None


def _one(namespace_id: str, kind: str, name: str) -> tuple[sa.ColumnElement[bool], ...]:
    c = definitions.c
    return c.namespace_id == namespace_id, c.kind == kind, c.name == name


def in_namespaces(conn: sa.Connection, ids: Iterable[str], kinds: Sequence[str]) -> list[Definition]:
    """The definitions of these kinds in these namespaces, by name."""
    c = definitions.c
    query = sa.select(definitions).where(c.namespace_id.in_(list(ids)), c.kind.in_(kinds)).order_by(c.name)
    return [Definition(**row) for row in conn.execute(query).mappings()]


def redefine(conn: sa.Connection, namespace_id: str, kind: str, name: str, new_name: str, body: dict[str, Any]) -> None:
    """Change a definition and perhaps its name; DBDuplicateEntry when that is taken."""
    query = sa.update(definitions).where(*_one(namespace_id, kind, name))
    conn.execute(query.values(name=new_name, body=body))


def undefine(conn: sa.Connection, namespace_id: str, kind: str, name: str | None = None) -> int:
    """Forget a definition, or all of the kind; how many there were."""
    query = sa.delete(definitions).where(definitions.c.namespace_id == namespace_id, definitions.c.kind == kind)
    if name is not None:
        query = query.where(definitions.c.name == name)
    return int(conn.execute(query).rowcount)


def resource_types(conn: sa.Connection) -> list[str]:
    """The names of all resource types that namespaces are associated with."""
    query = sa.select(definitions.c.name).where(definitions.c.kind == "resource_type").distinct()
    return list(conn.execute(query).scalars())
