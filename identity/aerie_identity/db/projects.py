# SPDX-License-Identifier: Apache-2.0
"""Projects, domains and their tags."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from aerie_common.db import insert_if_absent
from aerie_common.listing import Listing
from aerie_identity.db import tables as t
from aerie_identity.db.models import PROJECTS, Project
from aerie_identity.db.store import Page

_p, _tags = t.projects.c, t.project_tags.c
Tags = dict[str, list[str]]


def _with_tag(tag: str) -> sa.ColumnElement[bool]:
    return _p.id.in_(sa.select(_tags.project_id).where(_tags.name == tag))


def tag_conditions(listing: Listing) -> list[sa.ColumnElement[bool]]:
    """What tags, tags-any, not-tags and not-tags-any ask for."""

    def asked(name: str) -> list[str]:
        return [tag for value in listing.filters.get(name, ()) for tag in value.split(",") if tag]

    conditions = [_with_tag(tag) for tag in asked("tags")]
    if any_of := asked("tags-any"):
        conditions.append(sa.or_(*map(_with_tag, any_of)))
    if not_all := asked("not-tags"):
        conditions.append(sa.not_(sa.and_(*map(_with_tag, not_all))))
    if not_any := asked("not-tags-any"):
        conditions.append(sa.not_(sa.or_(*map(_with_tag, not_any))))
    return conditions


def page(
    conn: sa.Connection, listing: Listing, *where: sa.ColumnElement[bool], limit: int | None
) -> tuple[Page[Project], Tags]:
    """Two statements: the rows, their tags."""
    found = PROJECTS.page(conn, listing, *where, *tag_conditions(listing), limit=limit)
    return found, tags(conn, [row.id for row in found.rows])


def first_page(conn: sa.Connection, limit: int | None) -> tuple[Page[Project], Tags]:
    """The same for all projects that are no domains, as they are most often asked for."""
    found = PROJECTS.first_page(conn, _all_projects(limit), limit)
    return found, tags(conn, [row.id for row in found.rows])


@functools.lru_cache(8)
def _all_projects(limit: int | None) -> sa.Select[Any]:
    return PROJECTS.first(_p.is_domain.is_(False), limit=limit)


_TAGS_OF = (
    sa.select(t.project_tags).where(_tags.project_id.in_(sa.bindparam("ids", expanding=True))).order_by(_tags.name)
)
"""Built once: building costs more than running it."""


def tags(conn: sa.Connection, ids: Sequence[str]) -> Tags:
    if not ids:
        return {}
    found: Tags = {}
    for project_id, name in conn.execute(_TAGS_OF, {"ids": ids}):
        found.setdefault(project_id, []).append(name)
    return found


def replace_tags(conn: sa.Connection, project_id: str, names: Iterable[str]) -> None:
    conn.execute(sa.delete(t.project_tags).where(_tags.project_id == project_id))
    rows = [{"project_id": project_id, "name": name} for name in dict.fromkeys(names)]
    if rows:
        conn.execute(sa.insert(t.project_tags), rows)


def add_tag(conn: sa.Connection, project_id: str, name: str) -> bool:
    return insert_if_absent(conn, t.project_tags, {"project_id": project_id, "name": name})


def delete_tag(conn: sa.Connection, project_id: str, name: str) -> bool:
    query = sa.delete(t.project_tags).where(_tags.project_id == project_id, _tags.name == name)
    return bool(conn.execute(query).rowcount)


def below(conn: sa.Connection, project: Project) -> list[Project]:
    """All projects below it, parents before children."""
    return sorted(PROJECTS.all(conn, under(project)), key=lambda p: p.path.count("/"))


def under(project: Project) -> sa.ColumnElement[bool]:
    """Condition: somewhere below this project or domain."""
    return sa.and_(_p.path.startswith(project.path, autoescape=True), _p.id != project.id)


def count_below(conn: sa.Connection, project: Project, *where: sa.ColumnElement[bool]) -> int:
    return conn.execute(sa.select(sa.func.count()).select_from(t.projects).where(under(project), *where)).scalar_one()


def children_enabled(conn: sa.Connection, project: Project) -> bool:
    return count_below(conn, project, _p.enabled.is_(True)) > 0


def by_ids(conn: sa.Connection, ids: Iterable[str]) -> dict[str, Project]:
    wanted = list(dict.fromkeys(ids))
    return {p.id: p for p in PROJECTS.all(conn, _p.id.in_(wanted))} if wanted else {}


def purge(conn: sa.Connection, ids: Sequence[str]) -> None:
    """Remove projects and everything that hangs on them without a foreign key."""
    a, c, u = t.application_credentials.c, t.credentials.c, t.users.c
    conn.execute(sa.delete(t.application_credentials).where(a.project_id.in_(ids)))
    conn.execute(sa.delete(t.credentials).where(c.project_id.in_(ids)))
    conn.execute(sa.delete(t.trusts).where(t.trusts.c.project_id.in_(ids)))
    conn.execute(
        sa.delete(t.assignments).where(
            t.assignments.c.target_type.in_(("project", "domain")), t.assignments.c.target_id.in_(ids)
        )
    )
    conn.execute(sa.update(t.users).where(u.default_project_id.in_(ids)).values(default_project_id=None))
    conn.execute(sa.delete(t.projects).where(_p.id.in_(ids)))


def purge_domain_content(conn: sa.Connection, domain_id: str) -> None:
    """Remove users, groups and roles of a domain, with their grants and credentials."""
    users = sa.select(t.users.c.id).where(t.users.c.domain_id == domain_id)
    groups = sa.select(t.groups.c.id).where(t.groups.c.domain_id == domain_id)
    a = t.assignments.c
    conn.execute(sa.delete(t.assignments).where(a.actor_type == "user", a.actor_id.in_(users)))
    conn.execute(sa.delete(t.assignments).where(a.actor_type == "group", a.actor_id.in_(groups)))
    conn.execute(sa.delete(t.credentials).where(t.credentials.c.user_id.in_(users)))
    conn.execute(sa.delete(t.users).where(t.users.c.domain_id == domain_id))
    conn.execute(sa.delete(t.groups).where(t.groups.c.domain_id == domain_id))
    conn.execute(sa.delete(t.roles).where(t.roles.c.domain_id == domain_id))
