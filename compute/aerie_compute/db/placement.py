# SPDX-License-Identifier: Apache-2.0
"""Who has promised what to whom: resource providers, their inventories, and allocations of consumers.

Invariant: `inventories.used` is the sum of the allocations of that provider and class, and never passes `capacity` by a
claim; both are kept by the one statement in `claim`.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import sqlalchemy as sa

from aerie_common.db import insert_if_absent, utcnow
from aerie_compute.db.tables import (
    ALLOCATIONS,
    CONSUMERS,
    INVENTORIES,
    PROVIDER_AGGREGATES,
    PROVIDER_TRAITS,
    PROVIDERS,
    RESOURCE_CLASSES,
    TRAITS,
)


@dataclass(frozen=True, slots=True)
class Provider:
    """Something that has resources to promise: a compute host, or part of one."""

    id: str
    name: str
    generation: int
    root_id: str
    parent_id: str | None
    created_at: datetime.datetime
    updated_at: datetime.datetime | None


@dataclass(frozen=True, slots=True)
class Inventory:
    """How much of one resource class a provider has."""

    provider_id: str
    resource_class: str
    total: int
    reserved: int = 0
    min_unit: int = 1
    max_unit: int = 2147483647
    step_size: int = 1
    allocation_ratio: float = 1.0
    capacity: int = 0
    used: int = 0


@dataclass(frozen=True, slots=True)
class Allocation:
    """What a consumer was promised by a provider."""

    consumer_id: str
    provider_id: str
    resource_class: str
    used: int


@dataclass(frozen=True, slots=True)
class Consumer:
    """Who was promised something: a server."""

    id: str
    project_id: str
    user_id: str
    type: str
    generation: int


_PROVIDER = sa.select(*(PROVIDERS.c[f.name] for f in fields(Provider)))
_INVENTORY = sa.select(*(INVENTORIES.c[f.name] for f in fields(Inventory)))
_ALLOCATION = sa.select(*(ALLOCATIONS.c[f.name] for f in fields(Allocation)))


def capacity(total: int, reserved: int, ratio: float) -> int:
    """What may be promised in all."""
    return int((total - reserved) * ratio)


# ---------------------------------------------------------------------------------------------------------- providers


def provider(conn: sa.Connection, provider_id: str) -> Provider | None:
    row = conn.execute(_PROVIDER.where(PROVIDERS.c.id == provider_id)).first()
    return None if row is None else Provider(*row)


def providers(
    conn: sa.Connection,
    *,
    ids: Sequence[str] | None = None,
    name: str | None = None,
    tree: str | None = None,
    aggregates: Sequence[Sequence[str]] = (),
) -> list[Provider]:
    """Providers by name. tree: those of the tree that this provider is in. aggregates: member of one of each list."""
    query = _PROVIDER.order_by(PROVIDERS.c.name)
    if ids is not None:
        query = query.where(PROVIDERS.c.id.in_(ids))
    if name is not None:
        query = query.where(PROVIDERS.c.name == name)
    if tree is not None:
        query = query.where(PROVIDERS.c.root_id.in_(sa.select(PROVIDERS.c.root_id).where(PROVIDERS.c.id == tree)))
    for group in aggregates:
        members = sa.select(PROVIDER_AGGREGATES.c.provider_id).where(PROVIDER_AGGREGATES.c.aggregate_id.in_(group))
        query = query.where(PROVIDERS.c.id.in_(members))
    return [Provider(*row) for row in conn.execute(query)]


def insert_provider(conn: sa.Connection, provider_id: str, name: str, parent: Provider | None = None) -> bool:
    """False when a provider of that id or name exists."""
    taken = sa.select(PROVIDERS.c.id).where(sa.or_(PROVIDERS.c.id == provider_id, PROVIDERS.c.name == name))
    if conn.execute(taken).first() is not None:
        return False
    root = parent.root_id if parent else provider_id
    values = {
        "id": provider_id,
        "name": name,
        "generation": 0,
        "root_id": root,
        "parent_id": parent.id if parent else None,
    }
    return insert_if_absent(conn, PROVIDERS, {**values, "created_at": utcnow()})


def update_provider(conn: sa.Connection, provider_id: str, **values: Any) -> None:
    conn.execute(sa.update(PROVIDERS).where(PROVIDERS.c.id == provider_id).values(values))


def delete_provider(conn: sa.Connection, provider_id: str) -> bool:
    """False when somebody was promised something by it."""
    if conn.execute(sa.select(ALLOCATIONS.c.used).where(ALLOCATIONS.c.provider_id == provider_id).limit(1)).first():
        return False
    for table in (INVENTORIES, PROVIDER_AGGREGATES, PROVIDER_TRAITS):
        conn.execute(sa.delete(table).where(table.c.provider_id == provider_id))
    conn.execute(sa.delete(PROVIDERS).where(PROVIDERS.c.id == provider_id))
    return True


def has_children(conn: sa.Connection, provider_id: str) -> bool:
    return (
        conn.execute(sa.select(PROVIDERS.c.id).where(PROVIDERS.c.parent_id == provider_id).limit(1)).first() is not None
    )


def bump(conn: sa.Connection, provider_id: str, generation: int | None = None) -> bool:
    """Raise the provider's generation; False if it is not `generation` any more."""
    statement = sa.update(PROVIDERS).where(PROVIDERS.c.id == provider_id)
    if generation is not None:
        statement = statement.where(PROVIDERS.c.generation == generation)
    return bool(conn.execute(statement.values(generation=PROVIDERS.c.generation + 1)).rowcount == 1)


# -------------------------------------------------------------------------------------------------------- inventories


def inventories(conn: sa.Connection, provider_ids: Sequence[str] | None = None) -> list[Inventory]:
    """Inventories of these providers, of all when None."""
    query = _INVENTORY
    if provider_ids is not None:
        query = query.where(INVENTORIES.c.provider_id.in_(provider_ids))
    return [Inventory(*row) for row in conn.execute(query)]


def set_inventory(conn: sa.Connection, wanted: Inventory) -> None:
    """Write one inventory, keeping what is used."""
    values = {
        f.name: getattr(wanted, f.name)
        for f in fields(Inventory)
        if f.name not in ("provider_id", "resource_class", "used")
    }
    values["capacity"] = capacity(wanted.total, wanted.reserved, wanted.allocation_ratio)
    key = (INVENTORIES.c.provider_id == wanted.provider_id, INVENTORIES.c.resource_class == wanted.resource_class)
    if conn.execute(sa.update(INVENTORIES).where(*key).values(values)).rowcount == 0:
        new = {**values, "provider_id": wanted.provider_id, "resource_class": wanted.resource_class, "used": 0}
        insert_if_absent(conn, INVENTORIES, new)


def delete_inventory(conn: sa.Connection, provider_id: str, resource_class: str) -> bool:
    """False when it is in use."""
    key = (INVENTORIES.c.provider_id == provider_id, INVENTORIES.c.resource_class == resource_class)
    return bool(conn.execute(sa.delete(INVENTORIES).where(*key, INVENTORIES.c.used == 0)).rowcount)


# -------------------------------------------------------------------------------------------------------- allocations


def claim(conn: sa.Connection, provider_id: str, amounts: Mapping[str, int]) -> bool:
    """Count amounts as used if there is room for every one of them; one statement decides. The caller rolls back
    when this is False: some of the classes may have been counted."""
    wanted = {name: amount for name, amount in amounts.items() if amount > 0}
    if not wanted:
        return True
    c = INVENTORIES.c
    amount = sa.case(*((c.resource_class == name, value) for name, value in sorted(wanted.items())), else_=0)
    statement = sa.update(INVENTORIES).where(
        c.provider_id == provider_id,
        c.resource_class.in_(sorted(wanted)),
        c.used + amount <= c.capacity,
        amount <= c.max_unit,
    )
    return bool(conn.execute(statement.values(used=c.used + amount)).rowcount == len(wanted))


def unclaim(conn: sa.Connection, provider_id: str, amounts: Mapping[str, int]) -> None:
    """Count amounts as free again."""
    c = INVENTORIES.c
    amount = sa.case(*((c.resource_class == name, value) for name, value in sorted(amounts.items())), else_=0)
    statement = sa.update(INVENTORIES).where(c.provider_id == provider_id, c.resource_class.in_(sorted(amounts)))
    conn.execute(statement.values(used=c.used - amount))


def consumer(conn: sa.Connection, consumer_id: str) -> Consumer | None:
    query = sa.select(*(CONSUMERS.c[f.name] for f in fields(Consumer))).where(CONSUMERS.c.id == consumer_id)
    row = conn.execute(query).first()
    return None if row is None else Consumer(*row)


def consumers(conn: sa.Connection, ids: Sequence[str]) -> dict[str, Consumer]:
    query = sa.select(*(CONSUMERS.c[f.name] for f in fields(Consumer))).where(CONSUMERS.c.id.in_(ids))
    return {row[0]: Consumer(*row) for row in conn.execute(query)}


def allocations(
    conn: sa.Connection, *, consumer_id: str | None = None, provider_id: str | None = None
) -> list[Allocation]:
    query = _ALLOCATION
    if consumer_id is not None:
        query = query.where(ALLOCATIONS.c.consumer_id == consumer_id)
    if provider_id is not None:
        query = query.where(ALLOCATIONS.c.provider_id == provider_id)
    return [Allocation(*row) for row in conn.execute(query)]


def ensure_consumer(
    conn: sa.Connection, consumer_id: str, project_id: str, user_id: str, type_: str = "INSTANCE"
) -> bool:
    """True when the consumer is new."""
    values = {"id": consumer_id, "project_id": project_id, "user_id": user_id, "type": type_, "generation": 0}
    return insert_if_absent(conn, CONSUMERS, {**values, "created_at": utcnow()})


def set_consumer(
    conn: sa.Connection, consumer_id: str, project_id: str, user_id: str, type_: str, generation: int
) -> None:
    """Write down whose a consumer is."""
    values = {"project_id": project_id, "user_id": user_id, "type": type_, "generation": generation}
    conn.execute(sa.update(CONSUMERS).where(CONSUMERS.c.id == consumer_id).values(values))


def insert_allocations(conn: sa.Connection, consumer_id: str, provider_id: str, amounts: Mapping[str, int]) -> None:
    now = utcnow()
    rows = [
        {
            "consumer_id": consumer_id,
            "provider_id": provider_id,
            "resource_class": name,
            "used": value,
            "created_at": now,
        }
        for name, value in amounts.items()
        if value > 0
    ]
    if rows:
        conn.execute(sa.insert(ALLOCATIONS), rows)


def allocate(
    conn: sa.Connection,
    consumer_id: str,
    provider_id: str,
    amounts: Mapping[str, int],
    *,
    project_id: str,
    user_id: str,
) -> bool:
    """Promise amounts of one provider to a consumer. True as well when that very promise stands already; False (the
    caller rolls back) when there is no room."""
    held = {
        a.resource_class: a.used for a in allocations(conn, consumer_id=consumer_id) if a.provider_id == provider_id
    }
    if held:
        return held == {name: value for name, value in amounts.items() if value > 0}
    if not claim(conn, provider_id, amounts):
        return False
    ensure_consumer(conn, consumer_id, project_id, user_id)
    insert_allocations(conn, consumer_id, provider_id, amounts)
    return True


def release(conn: sa.Connection, consumer_id: str, provider_id: str | None = None) -> int:
    """Take back what a consumer was promised (by one provider, or by all); how many promises there were."""
    held = allocations(conn, consumer_id=consumer_id)
    if provider_id is not None:
        held = [a for a in held if a.provider_id == provider_id]
    by_provider: dict[str, dict[str, int]] = {}
    for a in held:
        by_provider.setdefault(a.provider_id, {})[a.resource_class] = a.used
    for where, amounts in sorted(by_provider.items()):
        gone = sa.delete(ALLOCATIONS).where(
            ALLOCATIONS.c.consumer_id == consumer_id, ALLOCATIONS.c.provider_id == where
        )
        if conn.execute(gone).rowcount:
            unclaim(conn, where, amounts)
    left = sa.select(ALLOCATIONS.c.consumer_id).where(ALLOCATIONS.c.consumer_id == consumer_id)
    if conn.execute(left.limit(1)).first() is None:
        conn.execute(sa.delete(CONSUMERS).where(CONSUMERS.c.id == consumer_id))
    return len(held)


def consumer_ids(conn: sa.Connection, older_than: datetime.datetime) -> list[str]:
    """Servers that were promised something, and that longer ago."""
    query = sa.select(CONSUMERS.c.id).where(CONSUMERS.c.type == "INSTANCE", CONSUMERS.c.created_at < older_than)
    return [str(i) for i in conn.execute(query).scalars()]


def usages(
    conn: sa.Connection, *, project_id: str, user_id: str | None = None, consumer_type: str | None = None
) -> list[tuple[str, str, int, int]]:
    """(consumer type, resource class, sum, consumers) of a project."""
    query = (
        sa.select(
            CONSUMERS.c.type,
            ALLOCATIONS.c.resource_class,
            sa.func.sum(ALLOCATIONS.c.used),
            sa.func.count(sa.distinct(CONSUMERS.c.id)),
        )
        .join(CONSUMERS, CONSUMERS.c.id == ALLOCATIONS.c.consumer_id)
        .where(CONSUMERS.c.project_id == project_id)
    )
    if user_id is not None:
        query = query.where(CONSUMERS.c.user_id == user_id)
    if consumer_type is not None:
        query = query.where(CONSUMERS.c.type == consumer_type)
    rows = conn.execute(query.group_by(CONSUMERS.c.type, ALLOCATIONS.c.resource_class))
    return [(row[0], row[1], int(row[2]), int(row[3])) for row in rows]


# ---------------------------------------------------------------------------------------------- traits, classes, sets


def provider_traits(conn: sa.Connection, ids: Sequence[str] | None = None) -> dict[str, set[str]]:
    query = sa.select(PROVIDER_TRAITS.c.provider_id, PROVIDER_TRAITS.c.trait)
    if ids is not None:
        query = query.where(PROVIDER_TRAITS.c.provider_id.in_(ids))
    found: dict[str, set[str]] = {}
    for provider_id, trait in conn.execute(query):
        found.setdefault(provider_id, set()).add(trait)
    return found


def set_provider_traits(conn: sa.Connection, provider_id: str, traits: Sequence[str]) -> None:
    conn.execute(sa.delete(PROVIDER_TRAITS).where(PROVIDER_TRAITS.c.provider_id == provider_id))
    if traits:
        conn.execute(sa.insert(PROVIDER_TRAITS), [{"provider_id": provider_id, "trait": t} for t in traits])


def custom_traits(conn: sa.Connection) -> list[str]:
    return list(conn.execute(sa.select(TRAITS.c.name).order_by(TRAITS.c.name)).scalars())


def associated_traits(conn: sa.Connection) -> set[str]:
    return set(conn.execute(sa.select(sa.distinct(PROVIDER_TRAITS.c.trait))).scalars())


def insert_trait(conn: sa.Connection, name: str) -> bool:
    return insert_if_absent(conn, TRAITS, {"name": name, "created_at": utcnow()})


def delete_trait(conn: sa.Connection, name: str) -> bool:
    return bool(conn.execute(sa.delete(TRAITS).where(TRAITS.c.name == name)).rowcount)


def custom_classes(conn: sa.Connection) -> list[str]:
    return list(conn.execute(sa.select(RESOURCE_CLASSES.c.name).order_by(RESOURCE_CLASSES.c.name)).scalars())


def insert_class(conn: sa.Connection, name: str) -> bool:
    return insert_if_absent(conn, RESOURCE_CLASSES, {"name": name, "created_at": utcnow()})


def delete_class(conn: sa.Connection, name: str) -> bool:
    return bool(conn.execute(sa.delete(RESOURCE_CLASSES).where(RESOURCE_CLASSES.c.name == name)).rowcount)


def class_in_use(conn: sa.Connection, name: str) -> bool:
    query = sa.select(INVENTORIES.c.provider_id).where(INVENTORIES.c.resource_class == name).limit(1)
    return conn.execute(query).first() is not None


def provider_aggregates(conn: sa.Connection, ids: Sequence[str] | None = None) -> dict[str, set[str]]:
    query = sa.select(PROVIDER_AGGREGATES.c.provider_id, PROVIDER_AGGREGATES.c.aggregate_id)
    if ids is not None:
        query = query.where(PROVIDER_AGGREGATES.c.provider_id.in_(ids))
    found: dict[str, set[str]] = {}
    for provider_id, aggregate in conn.execute(query):
        found.setdefault(provider_id, set()).add(aggregate)
    return found


def set_provider_aggregates(conn: sa.Connection, provider_id: str, aggregates: Sequence[str]) -> None:
    conn.execute(sa.delete(PROVIDER_AGGREGATES).where(PROVIDER_AGGREGATES.c.provider_id == provider_id))
    if aggregates:
        rows = [{"provider_id": provider_id, "aggregate_id": a} for a in aggregates]
        conn.execute(sa.insert(PROVIDER_AGGREGATES), rows)
