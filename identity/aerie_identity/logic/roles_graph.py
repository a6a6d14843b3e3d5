# SPDX-License-Identifier: Apache-2.0
"""Roles and which imply which: small, asked for by every token, held for one epoch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from aerie_identity.db import tables as t
from aerie_identity.db.models import ROLES, Role


@dataclass(frozen=True)
class RoleGraph:
    """roles: by id. implied: role id -> ids of the roles it implies directly."""

    roles: dict[str, Role]
    implied: dict[str, frozenset[str]]

    @classmethod
    def load(cls, conn: sa.Connection) -> RoleGraph:
        roles = {role.id: role for role in ROLES.all(conn)}
        implied: dict[str, set[str]] = {}
        for prior, then in conn.execute(sa.select(t.implied_roles)):
            implied.setdefault(prior, set()).add(then)
        return cls(roles, {prior: frozenset(then) for prior, then in implied.items()})

    def expand(self, role_ids: Iterable[str]) -> list[str]:
        """The roles with all they imply, in the order found."""
        found: dict[str, None] = {}
        todo = list(role_ids)
        while todo:
            role_id = todo.pop(0)
            if role_id not in found and role_id in self.roles:
                found[role_id] = None
                todo.extend(sorted(self.implied.get(role_id, ())))
        return list(found)

    def effective(self, role_ids: Iterable[str]) -> list[Role]:
        """The roles a token shows: with implied ones, without those of a domain, which only stand for others."""
        return [role for role_id in self.expand(role_ids) if not (role := self.roles[role_id]).domain_id]

    def implies(self, prior: str, then: str) -> bool:
        return then in self.expand([prior])
