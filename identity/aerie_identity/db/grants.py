# SPDX-License-Identifier: Apache-2.0
"""Grants (role assignments) as they are stored, and the questions tokens ask about them."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from aerie_common.db import insert_if_absent
from aerie_identity.db import tables as t
from aerie_identity.db.models import ASSIGNMENTS, Assignment, Project

_a = t.assignments


def _key(grant: Assignment) -> list[sa.ColumnElement[bool]]:
    return [
        _a.c.actor_type == grant.actor_type,
        _a.c.actor_id == grant.actor_id,
        _a.c.target_type == grant.target_type,
        _a.c.target_id == grant.target_id,
        _a.c.role_id == grant.role_id,
        _a.c.inherited == grant.inherited,
    ]


def insert(conn: sa.Connection, grant: Assignment) -> bool:
    """False when it was there already."""
    return insert_if_absent(conn, _a, {name: getattr(grant, name) for name in ASSIGNMENTS.names})


def exists(conn: sa.Connection, grant: Assignment) -> bool:
    return conn.execute(sa.select(sa.literal(1)).where(*_key(grant))).first() is not None


def delete(conn: sa.Connection, grant: Assignment) -> bool:
    return bool(conn.execute(sa.delete(_a).where(*_key(grant))).rowcount)


def of_user(user_id: str) -> sa.ColumnElement[bool]:
    """Condition: the grant is the user's own or one of a group the user is in."""
    mine = sa.select(t.memberships.c.group_id).where(t.memberships.c.user_id == user_id)
    return sa.or_(
        sa.and_(_a.c.actor_type == "user", _a.c.actor_id == user_id),
        sa.and_(_a.c.actor_type == "group", _a.c.actor_id.in_(mine)),
    )


def on_project(project: Project) -> sa.ColumnElement[bool]:
    """Condition: the grant is effective on this project: made on it, inherited from above, or global."""
    above = project.ancestors
    tests = [
        sa.and_(_a.c.target_type == "project", _a.c.target_id == project.id, _a.c.inherited.is_(False)),
        _a.c.target_type == "global",
    ]
    if above:
        tests.append(
            sa.and_(_a.c.target_type.in_(("project", "domain")), _a.c.target_id.in_(above), _a.c.inherited.is_(True))
        )
    return sa.or_(*tests)


def on_domain(domain_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(_a.c.target_type == "domain", _a.c.target_id == domain_id, _a.c.inherited.is_(False))


def on_system() -> sa.ColumnElement[bool]:
    return _a.c.target_type == "system"


def role_ids(conn: sa.Connection, user_id: str, where: sa.ColumnElement[bool]) -> list[str]:
    """Roles granted to the user there, before implied ones are added."""
    query = sa.select(_a.c.role_id).distinct().where(of_user(user_id), where).order_by(_a.c.role_id)
    return list(conn.execute(query).scalars())


def of_user_everywhere(conn: sa.Connection, user_id: str) -> list[Assignment]:
    return ASSIGNMENTS.all(conn, of_user(user_id))


def listed(conn: sa.Connection, where: Iterable[sa.ColumnElement[bool]]) -> list[Assignment]:
    query = sa.select(*ASSIGNMENTS.columns).where(*where)
    order = (_a.c.actor_type, _a.c.actor_id, _a.c.target_type, _a.c.target_id, _a.c.role_id, _a.c.inherited)
    return [ASSIGNMENTS.make(row) for row in conn.execute(query.order_by(*order))]


def delete_of_actor(conn: sa.Connection, actor_type: str, actor_id: str) -> None:
    conn.execute(sa.delete(_a).where(_a.c.actor_type == actor_type, _a.c.actor_id == actor_id))


def delete_on(conn: sa.Connection, target_ids: Iterable[str]) -> None:
    """Grants on projects and domains that go."""
    conn.execute(sa.delete(_a).where(_a.c.target_type.in_(("project", "domain")), _a.c.target_id.in_(list(target_ids))))
