# SPDX-License-Identifier: Apache-2.0
"""Subnet pools, address scopes and grants."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

import sqlalchemy as sa

from aerie_network.db import tables
from aerie_network.db.networks import granted
from aerie_network.db.query import Condition, Store, only_tags
from aerie_network.errors import AddressScopeNotFound, RbacPolicyNotFound, SubnetPoolNotFound


@dataclass(frozen=True)
class SubnetPool:
    """Prefixes from which subnets are cut."""

    id: str
    project_id: str
    name: str
    description: str
    ip_version: int
    prefixes: list[str]
    default_prefixlen: int
    min_prefixlen: int
    max_prefixlen: int
    default_quota: int | None
    address_scope_id: str | None
    shared: bool
    is_default: bool
    revision_number: int
    created_at: datetime.datetime
    updated_at: datetime.datetime
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class AddressScope:
    """A set of pools whose addresses do not overlap."""

    id: str
    project_id: str
    name: str
    ip_version: int
    shared: bool
    revision_number: int
    created_at: datetime.datetime
    updated_at: datetime.datetime
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class RbacPolicy:
    """The right of a project (or of all, "*") to use an object of another."""

    id: str
    project_id: str
    object_type: str
    object_id: str
    action: str
    target_tenant: str


POOLS = Store(tables.subnetpools, SubnetPool, SubnetPoolNotFound, children=only_tags)
SCOPES = Store(tables.address_scopes, AddressScope, AddressScopeNotFound, children=only_tags)
RBAC = Store(tables.rbac_policies, RbacPolicy, RbacPolicyNotFound)


def visible(table: sa.Table, object_type: str, project_id: str | None) -> Condition:
    """Objects with a flag `shared` that a project may see: its own, shared ones, and those granted to it."""
    return sa.or_(
        table.c.project_id == (project_id or ""),
        table.c.shared.is_(sa.true()),
        table.c.id.in_(granted(object_type, "access_as_shared", project_id)),
    )
