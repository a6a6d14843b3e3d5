# SPDX-License-Identifier: Apache-2.0
"""What follows from grants: who may use an object, and who does."""

from __future__ import annotations

import sqlalchemy as sa

from aerie_network.db import tables

EVERYBODY = "*"
_R = tables.rbac_policies.c


def targets(conn: sa.Connection, object_type: str, object_id: str, without: str = "") -> dict[str, set[str]]:
    """Action -> projects (or "*") that the object is granted to; without: but by this grant."""
    query = sa.select(_R.action, _R.target_tenant).where(
        _R.object_type == object_type, _R.object_id == object_id, _R.id != without
    )
    found: dict[str, set[str]] = {}
    for action, target in conn.execute(query):
        found.setdefault(action, set()).add(target)
    return found


def may_use(conn: sa.Connection, object_type: str, object_id: str, project_id: str | None) -> bool:
    """Is the object granted to the project, or to everybody?"""
    query = sa.select(_R.id).where(
        _R.object_type == object_type, _R.object_id == object_id, _R.target_tenant.in_([project_id or "", EVERYBODY])
    )
    return conn.execute(query.limit(1)).first() is not None


def users(conn: sa.Connection, object_type: str, object_id: str, action: str) -> set[str]:
    """Projects with something that lives on grants of this action."""
    p = tables.ports.c
    if object_type == "network" and action == "access_as_external":
        f, r = tables.floatingips.c, tables.routers.c
        queries = [
            sa.select(r.project_id).where(r.gw_network_id == object_id),
            sa.select(f.project_id).where(f.floating_network_id == object_id),
        ]
    elif object_type == "network":
        queries = [sa.select(p.project_id).where(p.network_id == object_id, p.device_owner.not_like("network:%"))]
    elif object_type == "security_group":
        g = tables.port_security_groups.c
        queries = [sa.select(p.project_id).join(tables.port_security_groups, g.port_id == p.id)
                   .where(g.security_group_id == object_id)]  # fmt: skip
    elif object_type == "subnetpool":
        s = tables.subnets.c
        queries = [sa.select(s.project_id).where(s.subnetpool_id == object_id)]
    elif object_type == "address_scope":
        o = tables.subnetpools.c
        queries = [sa.select(o.project_id).where(o.address_scope_id == object_id)]
    else:
        rule, group = tables.security_group_rules.c, tables.security_groups.c
        queries = [sa.select(group.project_id).join(tables.security_group_rules, rule.security_group_id == group.id)
                   .where(rule.remote_address_group_id == object_id)]  # fmt: skip
    return {project for query in queries for (project,) in conn.execute(query.distinct())}


def drop(conn: sa.Connection, object_id: str, action: str | None, target: str | None) -> dict[str, int]:
    """Delete grants of an object; whose they were, and how many."""
    where = [_R.object_id == object_id]
    if action is not None:
        where.append(_R.action == action)
    if target is not None:
        where.append(_R.target_tenant == target)
    query = sa.select(_R.project_id, sa.func.count()).where(*where).group_by(_R.project_id)
    owners = dict(conn.execute(query).tuples().all())
    conn.execute(sa.delete(tables.rbac_policies).where(*where))
    return owners
