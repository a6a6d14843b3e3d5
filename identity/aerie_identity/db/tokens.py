# SPDX-License-Identifier: Apache-2.0
"""What a token is made of, in one statement: its user, its scope, their domains, and whether it was revoked."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from aerie_common.db import utcnow
from aerie_identity.db import tables as t
from aerie_identity.db.directories import in_database
from aerie_identity.db.models import PASSWORDS, PROJECTS, USERS, Password, Project, User

_user_domain = t.projects.alias("user_domain")
_scope = t.projects.alias("scope")
_scope_domain = t.projects.alias("scope_domain")


@dataclass(frozen=True)
class Subject:
    """domain: the user's. scope: the project or domain, and scope_domain the project's domain."""

    user: User
    domain: Project
    scope: Project | None
    scope_domain: Project | None
    password_expires_at: datetime.datetime | None
    revoked: bool


def _newest_expiry() -> sa.ScalarSelect[datetime.datetime]:
    p = t.passwords
    query = sa.select(p.c.expires_at).where(p.c.user_id == t.users.c.id).order_by(p.c.id.desc())
    return query.limit(1).scalar_subquery()


@functools.cache
def _subject_query(scoped: bool) -> sa.Select[Any]:
    """Built once: building costs more than running it."""
    revoked = sa.exists().where(t.revocations.c.audit_id.in_((sa.bindparam("audit_id"), sa.bindparam("chain_id"))))
    wide: list[sa.ColumnElement[Any]] = [*USERS.columns, *_user_domain_columns()]
    joined = t.users.join(_user_domain, _user_domain.c.id == t.users.c.domain_id)
    if scoped:
        wide += [_scope.c[name] for name in PROJECTS.names] + [_scope_domain.c[name] for name in PROJECTS.names]
        # `related` is always true: it tells SQLAlchemy that the product of two single rows is meant.
        related = sa.or_(_scope.c.id != t.users.c.id, _scope.c.id == t.users.c.id)
        one = sa.and_(_scope.c.id == sa.bindparam("scope_id"), related)
        joined = joined.join(_scope, one).outerjoin(_scope_domain, _scope_domain.c.id == _scope.c.domain_id)
    found = sa.select(*wide, _newest_expiry(), revoked).select_from(joined)
    return found.where(t.users.c.id == sa.bindparam("user_id"), in_database())


def subject(conn: sa.Connection, user_id: str, scope_id: str | None, audit_ids: Sequence[str] = ()) -> Subject | None:
    """None when the user or the scope does not exist. audit_ids: the token's own, and that of the first token of its
    chain, which takes the whole chain with it."""
    own, chain = (audit_ids[0], audit_ids[-1]) if audit_ids else (None, None)
    given = {"user_id": user_id, "audit_id": own, "chain_id": chain}
    if scope_id is not None:
        given["scope_id"] = scope_id
    query = _subject_query(scope_id is not None)
    row = conn.execute(query, given).first()
    if row is None:
        return None
    values: Sequence[object] = tuple(row)
    width, first = len(PROJECTS.names), len(USERS.names)
    scope = scope_domain = None
    if scope_id is not None:
        scope = PROJECTS.make(values[first + width : first + 2 * width])
        if values[first + 2 * width] is not None:
            scope_domain = PROJECTS.make(values[first + 2 * width : first + 3 * width])
    return Subject(
        USERS.make(values[:first]),
        PROJECTS.make(values[first : first + width]),
        scope,
        scope_domain,
        row[-2],
        bool(row[-1]),
    )


def _user_domain_columns() -> list[sa.ColumnElement[object]]:
    return [_user_domain.c[name] for name in PROJECTS.names]


@dataclass(frozen=True)
class Login:
    """A user as a login needs it: with the newest password."""

    user: User
    domain: Project
    password: Password | None


@functools.cache
def _login_query(by: str) -> sa.Select[Any]:
    """The user by `id`, or by name within a domain named by `domain_id` or `domain_name`."""
    p = t.passwords
    newer = p.alias()
    newest = sa.select(sa.func.max(newer.c.id)).where(newer.c.user_id == t.users.c.id).scalar_subquery()
    mine = sa.and_(p.c.user_id == t.users.c.id, p.c.id == newest)
    joined = t.users.join(_user_domain, _user_domain.c.id == t.users.c.domain_id).outerjoin(p, mine)
    query = sa.select(*USERS.columns, *_user_domain_columns(), *PASSWORDS.columns).select_from(joined)
    query = query.where(in_database())
    if by == "id":
        return query.where(t.users.c.id == sa.bindparam("id"))
    domain = _user_domain.c.id if by == "domain_id" else _user_domain.c.name
    return query.where(
        t.users.c.name == sa.bindparam("name"), domain == sa.bindparam(by), _user_domain.c.is_domain.is_(True)
    )


def _login(conn: sa.Connection, by: str, **given: str) -> Login | None:
    row = conn.execute(_login_query(by), given).first()
    if row is None:
        return None
    values: Sequence[object] = tuple(row)
    first, width = len(USERS.names), len(PROJECTS.names)
    secret = values[first + width :]
    return Login(
        USERS.make(values[:first]),
        PROJECTS.make(values[first : first + width]),
        PASSWORDS.make(secret) if secret[0] is not None else None,
    )


def login_by_name(conn: sa.Connection, name: str, *, domain_id: str | None, domain_name: str | None) -> Login | None:
    if domain_id is not None:
        return _login(conn, "domain_id", name=name, domain_id=domain_id)
    return _login(conn, "domain_name", name=name, domain_name=domain_name or "")


def login_by_id(conn: sa.Connection, user_id: str) -> Login | None:
    return _login(conn, "id", id=user_id)


def project_by_name(
    conn: sa.Connection, name: str, *, domain_id: str | None, domain_name: str | None
) -> Project | None:
    d = _user_domain
    domain = d.c.id == domain_id if domain_id is not None else d.c.name == domain_name
    query = (
        sa.select(*PROJECTS.columns)
        .select_from(t.projects.join(d, d.c.id == t.projects.c.domain_id))
        .where(t.projects.c.name == name, domain, d.c.is_domain.is_(True))
    )
    row = conn.execute(query).first()
    return None if row is None else PROJECTS.make(row)


def domain_by_name(conn: sa.Connection, name: str) -> Project | None:
    return PROJECTS.one(conn, t.projects.c.is_domain.is_(True), t.projects.c.name == name)


# -------------------------------------------------------------------------------------------------------- revocations


def revoke(conn: sa.Connection, **what: str | None) -> None:
    """Record a revocation: audit_id (one token), or user_id, project_id, domain_id, trust_id, role_id."""
    now = utcnow()
    conn.execute(sa.insert(t.revocations).values(issued_before=now, revoked_at=now, **what))


def purge_revocations(conn: sa.Connection, before: datetime.datetime) -> int:
    """Forget revocations of tokens that have all expired."""
    return conn.execute(sa.delete(t.revocations).where(t.revocations.c.revoked_at < before)).rowcount
