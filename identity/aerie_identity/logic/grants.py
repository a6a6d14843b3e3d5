# SPDX-License-Identifier: Apache-2.0
"""Grants: which user or group has which role where; and what follows from them (inherited, global, by group, implied).

Invariant: taking a grant away moves the revocation epoch on in the same transaction, and removes the application
credentials of those who had it there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from aerie_common.context import Context
from aerie_common.db import retried
from aerie_common.errors import BadRequest, Forbidden, NotFound
from aerie_identity.db import application_credentials, projects, users
from aerie_identity.db import grants as db
from aerie_identity.db import tables as t
from aerie_identity.db.models import GROUPS, PROJECTS, USERS, Assignment, Group, Project, Role, User
from aerie_identity.errors import Missing
from aerie_identity.logic import directories
from aerie_identity.logic.roles import load as load_role
from aerie_identity.logic.roles_graph import RoleGraph

if TYPE_CHECKING:
    from aerie_identity.container import Identity

EVERYWHERE = "all"
"""target_id of grants on the system and of global grants."""


@dataclass(frozen=True)
class Parties:
    """Whom and what a grant is about; target is None for the system and for global grants, role for lists."""

    actor: User | Group
    target: Project | None
    role: Role | None = None


def _parties(conn: sa.Connection, grant: Assignment) -> Parties:
    actor: User | Group
    if grant.actor_type == "user":
        actor = USERS.need(conn, grant.actor_id, lambda: Missing("user", grant.actor_id))
    else:
        actor = GROUPS.need(conn, grant.actor_id, lambda: Missing("group", grant.actor_id))
    target = None
    if grant.target_type in ("project", "domain"):
        target = PROJECTS.get(conn, grant.target_id)
        if target is None or (grant.target_type == "domain" and not target.is_domain):
            raise Missing(grant.target_type, grant.target_id)
    return Parties(actor, target, load_role(conn, grant.role_id) if grant.role_id else None)


def parties(svc: Identity, grant: Assignment) -> Parties:
    """The rows a grant names. Raises NotFound for what does not exist; role_id may be empty."""
    with svc.db.read() as conn:
        return _parties(conn, grant)


@retried
def create(svc: Identity, ctx: Context, grant: Assignment) -> None:
    """Grant a role. Repeating it changes nothing. A domain's role can be granted within that domain only."""
    with svc.db.write() as conn:
        found = _parties(conn, grant)
        role = found.role
        if role is not None and role.domain_id:
            home = (found.target.domain_id or found.target.id) if found.target else None
            if home != role.domain_id:
                raise Forbidden("A role that belongs to a domain can be granted within that domain only.")
        db.insert(conn, grant)


@retried
def delete(svc: Identity, ctx: Context, grant: Assignment) -> None:
    """Take a role away, effective at once."""
    with svc.db.write() as conn:
        _parties(conn, grant)
        if not db.delete(conn, grant):
            raise NotFound("There is no such role assignment.")
        if grant.target_type == "project":
            who = [grant.actor_id]
            if grant.actor_type == "group":
                who = users.members(conn, [grant.actor_id]).get(grant.actor_id, [])
            application_credentials.delete_of_user_on(conn, who, grant.target_id)
        svc.epoch.bump(conn)


def check(svc: Identity, grant: Assignment) -> None:
    """Raise NotFound unless the role is granted, exactly so."""
    with svc.db.read() as conn:
        _parties(conn, grant)
        if not db.exists(conn, grant):
            raise NotFound("There is no such role assignment.")


def roles_of(svc: Identity, like: Assignment) -> list[Role]:
    """The roles an actor was granted directly on a target."""
    a = t.assignments.c
    with svc.db.read() as conn:
        found = db.listed(
            conn,
            [
                a.actor_type == like.actor_type,
                a.actor_id == like.actor_id,
                a.target_type == like.target_type,
                a.target_id == like.target_id,
                a.inherited == like.inherited,
            ],
        )
        graph = RoleGraph.load(conn)
    return [graph.roles[grant.role_id] for grant in found if grant.role_id in graph.roles]


# ----------------------------------------------------------------------------------------------- where a user has roles


def projects_of(svc: Identity, user_id: str, *, only_enabled: bool) -> list[Project]:
    """Projects on which the user has a role, in whichever way. Three statements."""
    p = t.projects.c
    with svc.db.read() as conn:
        held = db.of_user_everywhere(conn, user_id)
        where: list[sa.ColumnElement[bool]] = []
        if not any(g.target_type == "global" for g in held):
            direct = [g.target_id for g in held if g.target_type == "project" and not g.inherited]
            from_domain = [g.target_id for g in held if g.target_type == "domain" and g.inherited]
            from_project = [g.target_id for g in held if g.target_type == "project" and g.inherited]
            tests: list[sa.ColumnElement[bool]] = [p.id.in_(direct), p.domain_id.in_(from_domain)]
            for above in projects.by_ids(conn, from_project).values():
                tests.append(projects.under(above))
            where.append(sa.or_(*tests))
        found = PROJECTS.all(conn, p.is_domain.is_(False), *where)
        if only_enabled:
            domains = projects.by_ids(conn, (row.domain_id for row in found))
            found = [row for row in found if row.enabled and domains[row.domain_id].enabled]
    return found


def domains_of(svc: Identity, user_id: str) -> list[Project]:
    """Enabled domains on which the user has a role."""
    with svc.db.read() as conn:
        held = db.of_user_everywhere(conn, user_id)
        ids = [g.target_id for g in held if g.target_type == "domain" and not g.inherited]
        return [d for d in projects.by_ids(conn, ids).values() if d.enabled]


def has_system_role(svc: Identity, user_id: str) -> bool:
    with svc.db.read() as conn:
        return bool(db.roles_on_system(conn, user_id))


# --------------------------------------------------------------------------------------------------- role assignments


@dataclass(frozen=True)
class Query:
    """What `GET /role_assignments` asks for."""

    user_id: str | None = None
    group_id: str | None = None
    role_id: str | None = None
    project_id: str | None = None
    domain_id: str | None = None
    system: bool = False
    everywhere: bool = False
    inherited: bool | None = None
    effective: bool = False
    include_subtree: bool = False


@dataclass(frozen=True)
class Line:
    """One line of the answer. source: the grant it follows from; group_id: by way of which group; prior_role_id:
    implied by which role."""

    actor_type: str
    actor_id: str
    target_type: str
    target_id: str
    role_id: str
    source: Assignment
    group_id: str | None = None
    prior_role_id: str | None = None


@dataclass(frozen=True)
class Answer:
    """Lines, and the rows their ids stand for where names were asked for."""

    lines: list[Line]
    users: dict[str, User]
    groups: dict[str, Group]
    projects: dict[str, Project]
    roles: dict[str, Role]


def role_assignments(svc: Identity, query: Query, *, names: bool = False) -> Answer:
    """Grants as stored, or (effective) what follows from them. The number of statements does not depend on how many."""
    if query.effective and query.group_id:
        raise BadRequest("effective and group.id exclude each other: effective assignments are those of users.")
    scopes = [query.project_id is not None, query.domain_id is not None, query.system, query.everywhere]
    if sum(scopes) > 1:
        raise BadRequest("Specify at most one of scope.project.id, scope.domain.id, scope.system and scope.global.")
    if query.user_id and query.group_id:
        raise BadRequest("user.id and group.id exclude each other.")
    if query.include_subtree and not query.project_id:
        raise BadRequest("include_subtree needs scope.project.id.")
    if query.effective and svc.directories:
        _refresh_groups(svc, query)
    with svc.db.read() as conn:
        graph = RoleGraph.load(conn)
        below = _below(conn, query)
        found = db.listed(conn, _conditions(conn, query, below))
        lines = _effective(conn, query, graph, found, below) if query.effective else _stored(query, found)
        if not names:
            return Answer(lines, {}, {}, {}, graph.roles)
        people = users.by_ids(conn, (line.actor_id for line in lines if line.actor_type == "user"))
        groups = users.groups_by_ids(conn, (line.actor_id for line in lines if line.actor_type == "group"))
        wanted = {line.target_id for line in lines if line.target_type in ("project", "domain")}
        wanted |= {u.domain_id for u in people.values()} | {g.domain_id for g in groups.values()}
        targets = projects.by_ids(conn, wanted)
        targets |= projects.by_ids(conn, {p.domain_id for p in targets.values() if p.domain_id} - targets.keys())
    return Answer(lines, people, groups, targets, graph.roles)


def _refresh_groups(svc: Identity, query: Query) -> None:
    """Membership of the groups in question, where directories know it."""
    if query.user_id:
        directories.refresh_groups_of(svc, query.user_id)
        return
    with svc.db.read() as conn:
        found = db.listed(conn, _conditions(conn, query, _below(conn, query)))
    directories.refresh_members(svc, {grant.actor_id for grant in found if grant.actor_type == "group"})


def _below(conn: sa.Connection, query: Query) -> list[Project]:
    """The project that is asked about, and those below it where they are asked for."""
    if query.project_id is None:
        return []
    project = PROJECTS.need(conn, query.project_id, lambda: Missing("project", query.project_id or ""))
    return [project, *(projects.below(conn, project) if query.include_subtree else [])]


def _conditions(conn: sa.Connection, query: Query, below: list[Project]) -> list[sa.ColumnElement[bool]]:
    a = t.assignments.c
    where: list[sa.ColumnElement[bool]] = []
    if query.user_id:
        where.append(
            db.of_user(conn, query.user_id)
            if query.effective
            else sa.and_(a.actor_type == "user", a.actor_id == query.user_id)
        )
    if query.group_id:
        where += [a.actor_type == "group", a.actor_id == query.group_id]
    if query.role_id and not query.effective:
        where.append(a.role_id == query.role_id)
    if query.inherited is not None and not query.effective:
        where.append(a.inherited.is_(query.inherited))
    if below:
        if query.effective:
            where.append(sa.or_(*(db.on_project(project) for project in below)))
        else:
            where += [a.target_type == "project", a.target_id.in_([project.id for project in below])]
    if query.domain_id is not None:
        where += [a.target_type == "domain", a.target_id == query.domain_id]
        if query.effective:
            where.append(a.inherited.is_(False))
    if query.system:
        where.append(a.target_type == "system")
    if query.everywhere:
        where.append(a.target_type == "global")
    return where


def _stored(query: Query, found: list[Assignment]) -> list[Line]:
    return [Line(g.actor_type, g.actor_id, g.target_type, g.target_id, g.role_id, g) for g in found]


def _effective(
    conn: sa.Connection, query: Query, graph: RoleGraph, found: list[Assignment], below: list[Project]
) -> list[Line]:
    """Expand targets (inherited, global), then groups, then implied roles."""
    reach = _reach(conn, found, below)
    members = users.members(conn, (g.actor_id for g in found if g.actor_type == "group"))
    lines: list[Line] = []
    for grant in found:
        if query.inherited is not None and (grant.inherited or grant.target_type == "global") != query.inherited:
            continue
        people = [grant.actor_id] if grant.actor_type == "user" else members.get(grant.actor_id, [])
        by_group = grant.actor_id if grant.actor_type == "group" else None
        for user_id in people:
            if query.user_id and user_id != query.user_id:
                continue
            for target_type, target_id in reach(grant):
                base = Line("user", user_id, target_type, target_id, grant.role_id, grant, by_group)
                for role_id in graph.expand([grant.role_id]):
                    if graph.roles[role_id].domain_id or (query.role_id and role_id != query.role_id):
                        continue
                    prior = grant.role_id if role_id != grant.role_id else None
                    lines.append(replace(base, role_id=role_id, prior_role_id=prior))
    return lines


def _reach(conn: sa.Connection, found: list[Assignment], below: list[Project]) -> Any:
    """A function from a grant to the targets it is effective on."""
    spread = [g for g in found if g.inherited or g.target_type == "global"]
    candidates = below
    if spread and not below:
        candidates = PROJECTS.all(conn, *_under(conn, spread))
    wanted = {project.id for project in below}

    def reach(grant: Assignment) -> list[tuple[str, str]]:
        if grant.target_type == "global":
            return [("project", p.id) for p in candidates if not p.is_domain]
        if grant.inherited:
            return [("project", p.id) for p in candidates if grant.target_id in p.ancestors]
        if wanted and grant.target_id not in wanted:
            return []
        return [(grant.target_type, grant.target_id)]

    return reach


def _under(conn: sa.Connection, spread: list[Assignment]) -> list[sa.ColumnElement[bool]]:
    p = t.projects.c
    if any(g.target_type == "global" for g in spread):
        return [p.is_domain.is_(False)]
    tops = projects.by_ids(conn, sorted({g.target_id for g in spread}))
    return [p.is_domain.is_(False), sa.or_(sa.false(), *(projects.under(top) for top in tops.values()))]
