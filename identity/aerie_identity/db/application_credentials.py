# SPDX-License-Identifier: Apache-2.0
"""Application credentials with their roles and access rules."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from aerie_identity.db import tables as t
from aerie_identity.db.models import ACCESS_RULES, APPLICATION_CREDENTIALS, AccessRule, ApplicationCredential

_roles = t.application_credential_roles
_links = t.application_credential_access_rules


def get(conn: sa.Connection, id: str) -> ApplicationCredential | None:
    found = APPLICATION_CREDENTIALS.get(conn, id)
    return None if found is None else fill(conn, [found])[0]


def fill(conn: sa.Connection, rows: Sequence[ApplicationCredential]) -> list[ApplicationCredential]:
    """The same with roles and access rules: two statements for any number."""
    ids = [row.id for row in rows]
    roles: dict[str, list[str]] = {}
    for credential_id, role_id in conn.execute(sa.select(_roles).where(_roles.c.application_credential_id.in_(ids))):
        roles.setdefault(credential_id, []).append(role_id)
    rules: dict[str, list[AccessRule]] = {}
    query = (
        sa.select(_links.c.application_credential_id, *ACCESS_RULES.columns)
        .join(t.access_rules, t.access_rules.c.id == _links.c.access_rule_id)
        .where(_links.c.application_credential_id.in_(ids))
        .order_by(t.access_rules.c.id)
    )
    for credential_id, *rule in conn.execute(query):
        rules.setdefault(credential_id, []).append(ACCESS_RULES.make(rule))
    return [
        dataclasses.replace(
            row,
            roles=tuple(roles.get(row.id, ())),
            access_rules=tuple(rules[row.id]) if row.id in rules else None,
        )
        for row in rows
    ]


def insert(conn: sa.Connection, row: ApplicationCredential) -> None:
    """With its roles and its access rules, those that do not exist yet included."""
    APPLICATION_CREDENTIALS.insert(conn, row)
    for role_id in row.roles:
        conn.execute(sa.insert(_roles).values(application_credential_id=row.id, role_id=role_id))
    for rule in row.access_rules or ():
        if ACCESS_RULES.get(conn, rule.id) is None:
            ACCESS_RULES.insert(conn, rule)
        conn.execute(sa.insert(_links).values(application_credential_id=row.id, access_rule_id=rule.id))


def delete_of_user_on(conn: sa.Connection, user_ids: Iterable[str], project_id: str) -> int:
    """Credentials on a project, of users who have lost a role there."""
    c = t.application_credentials.c
    return APPLICATION_CREDENTIALS.delete(conn, c.user_id.in_(list(user_ids)), c.project_id == project_id)


def count(conn: sa.Connection, user_id: str) -> int:
    table = t.application_credentials
    return conn.execute(sa.select(sa.func.count()).select_from(table).where(table.c.user_id == user_id)).scalar_one()


def rule_in_use(conn: sa.Connection, rule_id: str) -> bool:
    return conn.execute(sa.select(sa.literal(1)).where(_links.c.access_rule_id == rule_id)).first() is not None
