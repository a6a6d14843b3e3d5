# SPDX-License-Identifier: Apache-2.0
"""Limits that differ from the defaults, by project and by class. What is used is counted beside the servers."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from aerie_compute.db.tables import QUOTA_CLASSES, QUOTAS

DEFAULT_CLASS = "default"


def of_project(conn: sa.Connection, project_id: str) -> dict[str, int]:
    """resource -> limit, only where one was set; the class `default` counts where the project has none."""
    by_class = sa.select(QUOTA_CLASSES.c.resource, QUOTA_CLASSES.c.hard_limit, sa.literal(0)).where(
        QUOTA_CLASSES.c.class_name == DEFAULT_CLASS
    )
    own = sa.select(QUOTAS.c.resource, QUOTAS.c.hard_limit, sa.literal(1)).where(QUOTAS.c.project_id == project_id)
    rows = conn.execute(sa.union_all(by_class, own)).all()
    return {resource: limit for resource, limit, _ in sorted(rows, key=lambda row: row[2])}


def of_class(conn: sa.Connection, name: str) -> dict[str, int]:
    query = sa.select(QUOTA_CLASSES.c.resource, QUOTA_CLASSES.c.hard_limit).where(QUOTA_CLASSES.c.class_name == name)
    return {resource: limit for resource, limit in conn.execute(query)}


def set_project(conn: sa.Connection, project_id: str, limits: Mapping[str, int]) -> None:
    names = list(limits)
    conn.execute(sa.delete(QUOTAS).where(QUOTAS.c.project_id == project_id, QUOTAS.c.resource.in_(names)))
    rows = [{"project_id": project_id, "resource": name, "hard_limit": limits[name]} for name in names]
    if rows:
        conn.execute(sa.insert(QUOTAS), rows)


def delete_project(conn: sa.Connection, project_id: str) -> None:
    conn.execute(sa.delete(QUOTAS).where(QUOTAS.c.project_id == project_id))


def set_class(conn: sa.Connection, class_name: str, limits: Mapping[str, int]) -> None:
    names = list(limits)
    old = sa.delete(QUOTA_CLASSES).where(QUOTA_CLASSES.c.class_name == class_name, QUOTA_CLASSES.c.resource.in_(names))
    conn.execute(old)
    rows = [{"class_name": class_name, "resource": name, "hard_limit": limits[name]} for name in names]
    if rows:
        conn.execute(sa.insert(QUOTA_CLASSES), rows)
