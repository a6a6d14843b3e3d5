# SPDX-License-Identifier: Apache-2.0
"""Grants (role assignments) as they are stored, and the questions tokens ask about them."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any, Literal

import sqlalchemy as sa

from aerie_common.db import DateTime, insert_if_absent, utcnow
from aerie_identity.db import tables as t
from aerie_identity.db.models import ASSIGNMENTS, Assignment, Project

_a = t.assignments
Scope = Literal["project", "domain", "system"]


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


def _actors() -> sa.Subquery:
    """The user (`user_id`) and the groups the user is in at the time (`now`), to be joined: OR would cost MariaDB a
    scan of all grants."""
    user: sa.BindParameter[str] = sa.bindparam("user_id")
    now: sa.BindParameter[Any] = sa.bindparam("now", type_=DateTime)
    e = t.expiring_memberships.c
    groups = sa.select(sa.literal("group"), t.memberships.c.group_id).where(t.memberships.c.user_id == user)
    lent = sa.select(sa.literal("group"), e.group_id).where(e.user_id == user, e.expires_at > now)
    own = sa.select(sa.literal("user").label("type"), user.label("id"))
    return sa.union_all(own, groups, lent).subquery("actors")


def _of_user(*columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """Grants of the user `user_id`, by way of groups too."""
    actors = _actors()
    mine = sa.and_(_a.c.actor_type == actors.c.type, _a.c.actor_id == actors.c.id)
    return sa.select(*columns).select_from(actors.join(_a, mine))


def of_user(conn: sa.Connection, user_id: str) -> sa.ColumnElement[bool]:
    """Condition: the grant is the user's own or one of a group the user is in. Costs a statement."""
    e = t.expiring_memberships.c
    mine = sa.select(t.memberships.c.group_id).where(t.memberships.c.user_id == user_id)
    lent = sa.select(e.group_id).where(e.user_id == user_id, e.expires_at > utcnow())
    groups = list(conn.execute(mine.union(lent)).scalars())
    return sa.or_(
        sa.and_(_a.c.actor_type == "user", _a.c.actor_id == user_id),
        sa.and_(_a.c.actor_type == "group", _a.c.actor_id.in_(groups)),
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


@functools.cache
def _roles_query(scope: Scope) -> sa.Select[Any]:
    """Built once: every token asks."""
    target: sa.BindParameter[Any] = sa.bindparam("target")
    above: sa.BindParameter[Any] = sa.bindparam("above", expanding=True)
    wheres = {
        "project": sa.or_(
            sa.and_(_a.c.target_type == "project", _a.c.target_id == target, _a.c.inherited.is_(False)),
            _a.c.target_type == "global",
            sa.and_(_a.c.target_type.in_(("project", "domain")), _a.c.target_id.in_(above), _a.c.inherited.is_(True)),
        ),
        "domain": sa.and_(_a.c.target_type == "domain", _a.c.target_id == target, _a.c.inherited.is_(False)),
        "system": _a.c.target_type == "system",
    }
    return _of_user(_a.c.role_id).distinct().where(wheres[scope]).order_by(_a.c.role_id)


def _role_ids(conn: sa.Connection, user_id: str, scope: Scope, **given: Any) -> list[str]:
    return list(conn.execute(_roles_query(scope), {"user_id": user_id, "now": utcnow(), **given}).scalars())


def roles_on_project(conn: sa.Connection, user_id: str, project: Project) -> list[str]:
    """Roles the user has on the project in whichever way, before implied ones are added."""
    return _role_ids(conn, user_id, "project", target=project.id, above=project.ancestors)


def roles_on_domain(conn: sa.Connection, user_id: str, domain_id: str) -> list[str]:
    return _role_ids(conn, user_id, "domain", target=domain_id)


def roles_on_system(conn: sa.Connection, user_id: str) -> list[str]:
    return _role_ids(conn, user_id, "system")


def of_user_everywhere(conn: sa.Connection, user_id: str) -> list[Assignment]:
    given = {"user_id": user_id, "now": utcnow()}
    return [ASSIGNMENTS.make(row) for row in conn.execute(_of_user(*ASSIGNMENTS.columns), given)]


def listed(conn: sa.Connection, where: Iterable[sa.ColumnElement[bool]]) -> list[Assignment]:
    query = sa.select(*ASSIGNMENTS.columns).where(*where)
    order = (_a.c.actor_type, _a.c.actor_id, _a.c.target_type, _a.c.target_id, _a.c.role_id, _a.c.inherited)
    return [ASSIGNMENTS.make(row) for row in conn.execute(query.order_by(*order))]


def delete_of_actor(conn: sa.Connection, actor_type: str, actor_id: str) -> None:
    conn.execute(sa.delete(_a).where(_a.c.actor_type == actor_type, _a.c.actor_id == actor_id))


def delete_on(conn: sa.Connection, target_ids: Iterable[str]) -> None:
    """Grants on projects and domains that go."""
    conn.execute(sa.delete(_a).where(_a.c.target_type.in_(("project", "domain")), _a.c.target_id.in_(list(target_ids))))
