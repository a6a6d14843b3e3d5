# SPDX-License-Identifier: Apache-2.0
"""Security groups, their rules and the templates of new groups' rules."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from aerie_common.db import insert_if_absent
from aerie_network.db import networks, tables
from aerie_network.db.query import Condition, Store, Values, load_tags, only_tags
from aerie_network.errors import AddressGroupNotFound, SecurityGroupNotFound, SecurityGroupRuleNotFound

_G, _R, _D, _B = (
    tables.security_groups.c, tables.security_group_rules.c, tables.default_security_groups.c,
    tables.port_security_groups.c,
)  # fmt: skip


@dataclass(frozen=True)
class Rule:
    """A rule of a security group."""

    id: str
    project_id: str
    security_group_id: str
    direction: str
    ethertype: str
    protocol: str | None
    port_range_min: int | None
    port_range_max: int | None
    remote_group_id: str | None
    remote_address_group_id: str | None
    remote_ip_prefix: str | None
    normalized_cidr: str | None
    digest: str
    description: str
    revision_number: int
    created_at: datetime.datetime
    updated_at: datetime.datetime
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class SecurityGroup:
    """A security group with its rules."""

    id: str
    project_id: str
    name: str
    description: str
    stateful: bool
    revision_number: int
    created_at: datetime.datetime
    updated_at: datetime.datetime
    rules: tuple[Rule, ...] = ()
    tags: tuple[str, ...] = ()
    shared: bool = False


@dataclass(frozen=True)
class AddressGroup:
    """Addresses that rules may name together."""

    id: str
    project_id: str
    name: str
    description: str
    shared: bool
    addresses: list[str]
    revision_number: int
    created_at: datetime.datetime
    updated_at: datetime.datetime
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class DefaultRule:
    """A template of rules of new groups."""

    id: str
    direction: str
    ethertype: str
    protocol: str | None
    port_range_min: int | None
    port_range_max: int | None
    remote_group_id: str | None
    remote_address_group_id: str | None
    remote_ip_prefix: str | None
    used_in_default_sg: bool
    used_in_non_default_sg: bool
    description: str
    revision_number: int
    created_at: datetime.datetime
    updated_at: datetime.datetime
    tags: tuple[str, ...] = ()


def _children(conn: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    ids = [row["id"] for row in rows]
    rules: dict[str, list[Rule]] = {}
    query = sa.select(tables.security_group_rules).where(_R.security_group_id.in_(ids))
    for row in conn.execute(query.order_by(_R.created_at, _R.id)):
        rules.setdefault(row.security_group_id, []).append(Rule(**row._mapping))
    tags = load_tags(conn, ids)
    r = tables.rbac_policies.c
    shared = {
        i
        for (i,) in conn.execute(sa.select(r.object_id).where(r.object_type == "security_group", r.object_id.in_(ids)))
    }
    return [{"rules": tuple(rules.get(i, ())), "tags": tuple(tags.get(i, ())), "shared": i in shared} for i in ids]


def _shared(values: Values) -> Condition:
    r = tables.rbac_policies.c
    test = _G.id.in_(sa.select(r.object_id).where(r.object_type == "security_group"))
    return test if values[-1].lower() in ("true", "1", "yes") else sa.not_(test)


STORE = Store(
    tables.security_groups, SecurityGroup, SecurityGroupNotFound, filters={"shared": _shared}, children=_children
)
RULES = Store(
    tables.security_group_rules,
    Rule,
    SecurityGroupRuleNotFound,
    filters={"belongs_to_default_sg": lambda values: _default_rules(values)},
    children=only_tags,
)
ADDRESS_GROUPS = Store(tables.address_groups, AddressGroup, AddressGroupNotFound, children=only_tags)
DEFAULT_RULES = Store(tables.default_security_group_rules, DefaultRule, SecurityGroupRuleNotFound, children=only_tags)


def _default_rules(values: Values) -> Condition:
    test = _R.security_group_id.in_(sa.select(_D.security_group_id))
    return test if values[-1].lower() in ("true", "1", "yes") else sa.not_(test)


def visible(project_id: str | None) -> Condition:
    """Groups a project may see and use."""
    shared = networks.granted("security_group", "access_as_shared", project_id)
    return sa.or_(_G.project_id == (project_id or ""), _G.id.in_(shared))


def rules_visible(project_id: str | None) -> Condition:
    """Rules a project may see: those of its groups."""
    return sa.or_(
        _R.project_id == (project_id or ""),
        _R.security_group_id.in_(sa.select(_G.id).where(_G.project_id == (project_id or ""))),
    )


def default_id(conn: sa.Connection, project_id: str) -> str | None:
    """The project's default group."""
    return conn.execute(sa.select(_D.security_group_id).where(_D.project_id == project_id)).scalar()


def claim_default(conn: sa.Connection, project_id: str, group_id: str) -> bool:
    """Make this group the project's default one; False when it has one already."""
    return insert_if_absent(
        conn, tables.default_security_groups, {"project_id": project_id, "security_group_id": group_id}
    )


def is_default(conn: sa.Connection, group_id: str) -> bool:
    return conn.execute(sa.select(_D.project_id).where(_D.security_group_id == group_id)).first() is not None


def find_digest(conn: sa.Connection, group_id: str, digests: Iterable[str]) -> str | None:
    """A rule of the group that is the same as one of these."""
    query = sa.select(_R.id).where(_R.security_group_id == group_id, _R.digest.in_(list(digests)))
    return conn.execute(query.limit(1)).scalar()


def in_use(conn: sa.Connection, group_id: str) -> bool:
    """Does a port have the group?"""
    return conn.execute(sa.select(_B.port_id).where(_B.security_group_id == group_id).limit(1)).first() is not None


def usable(conn: sa.Connection, ids: Iterable[str], *where: Condition) -> set[str]:
    """Those of the groups that exist, within the scope."""
    return {i for (i,) in conn.execute(sa.select(_G.id).where(_G.id.in_(list(ids)), *where))}


def stateful(conn: sa.Connection, ids: Iterable[str]) -> set[bool]:
    """How these groups are: stateful, not, or of both kinds."""
    return {value for (value,) in conn.execute(sa.select(_G.stateful).where(_G.id.in_(list(ids))).distinct())}


def rule_count(conn: sa.Connection, group_id: str) -> dict[str, int]:
    """Rules of a group by their project."""
    query = sa.select(_R.project_id, sa.func.count()).where(
        sa.or_(_R.security_group_id == group_id, _R.remote_group_id == group_id)
    )
    return dict(conn.execute(query.group_by(_R.project_id)).tuples().all())


def address_group_in_use(conn: sa.Connection, group_id: str) -> bool:
    return conn.execute(sa.select(_R.id).where(_R.remote_address_group_id == group_id).limit(1)).first() is not None
