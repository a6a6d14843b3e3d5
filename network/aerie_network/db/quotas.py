# SPDX-License-Identifier: Apache-2.0
"""Limits and usage by project. Invariant: `used` moves with the rows it counts, in their transaction, and a claim that
would pass the limit is refused by the statement that makes it."""

from __future__ import annotations

import sqlalchemy as sa

from aerie_common.db import insert_if_absent
from aerie_network.db import tables

_Q, _U = tables.quotas.c, tables.quota_usages.c


def claim(
    conn: sa.Connection, project_id: str, resource: str, count: int, default: int, *, force: bool = False
) -> bool:
    """Add `count` (negative: give back) to what the project uses; False when that would pass its limit."""
    changed = sa.update(tables.quota_usages).where(_U.project_id == project_id, _U.resource == resource)
    if count > 0 and not force:
        own = sa.select(_Q.limit).where(_Q.project_id == project_id, _Q.resource == resource).scalar_subquery()
        limit = sa.func.coalesce(own, default)
        changed = changed.where(sa.or_(limit < 0, _U.used + count <= limit))
    changed = changed.values(used=_U.used + count)
    if conn.execute(changed).rowcount:
        return True
    insert_if_absent(conn, tables.quota_usages, {"project_id": project_id, "resource": resource, "used": 0})
    return bool(conn.execute(changed).rowcount)


def limits(conn: sa.Connection, project_id: str) -> dict[str, int]:
    """The project's own limits."""
    return {
        r.resource: r.limit for r in conn.execute(sa.select(_Q.resource, _Q.limit).where(_Q.project_id == project_id))
    }


def all_limits(conn: sa.Connection) -> dict[str, dict[str, int]]:
    """Own limits of every project that has some."""
    found: dict[str, dict[str, int]] = {}
    for row in conn.execute(sa.select(tables.quotas).order_by(_Q.project_id)):
        found.setdefault(row.project_id, {})[row.resource] = row.limit
    return found


def usage(conn: sa.Connection, project_id: str) -> dict[str, int]:
    """What the project uses."""
    return {
        r.resource: r.used for r in conn.execute(sa.select(_U.resource, _U.used).where(_U.project_id == project_id))
    }


def set_limits(conn: sa.Connection, project_id: str, values: dict[str, int]) -> None:
    """Give the project limits of its own."""
    for resource, limit in values.items():
        row = {"project_id": project_id, "resource": resource, "limit": limit}
        if not insert_if_absent(conn, tables.quotas, row):
            where = (_Q.project_id == project_id, _Q.resource == resource)
            conn.execute(sa.update(tables.quotas).where(*where).values(limit=limit))


def drop_limits(conn: sa.Connection, project_id: str) -> bool:
    """Back to the defaults; False when it had none of its own."""
    return bool(conn.execute(sa.delete(tables.quotas).where(_Q.project_id == project_id)).rowcount)


_COUNTED = {
    "network": tables.networks,
    "subnet": tables.subnets,
    "port": tables.ports,
    "router": tables.routers,
    "floatingip": tables.floatingips,
    "security_group": tables.security_groups,
    "security_group_rule": tables.security_group_rules,
    "rbac_policy": tables.rbac_policies,
    "subnetpool": tables.subnetpools,
}


def counted(conn: sa.Connection) -> dict[tuple[str, str], int]:
    """(project, resource) -> rows there really are: what `used` must be."""
    found = {}
    for resource, table in _COUNTED.items():
        owner = table.c.project_id
        for project_id, count in conn.execute(sa.select(owner, sa.func.count()).group_by(owner)):
            if project_id:
                found[project_id, resource] = count
    return found


def used(conn: sa.Connection) -> dict[tuple[str, str], int]:
    """(project, resource) -> what is booked."""
    rows = conn.execute(sa.select(tables.quota_usages).where(_U.used != 0))
    return {(r.project_id, r.resource): r.used for r in rows}
