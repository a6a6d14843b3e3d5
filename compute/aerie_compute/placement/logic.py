# SPDX-License-Identifier: Apache-2.0
"""The rules of the placement API. Invariant: generations move with every change, and a change that was made against an
older one is refused, so that two writers never undo each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import os_resource_classes
import os_traits
import sqlalchemy as sa
from oslo_db import exception as db_exc

from aerie_common.db import new_id, retried
from aerie_common.errors import BadRequest, Conflict, NotFound
from aerie_compute import errors
from aerie_compute.db import placement as db
from aerie_compute.db.placement import Consumer, Inventory, Provider

if TYPE_CHECKING:
    from aerie_compute.container import Compute

STANDARD_CLASSES = frozenset(os_resource_classes.STANDARDS)
STANDARD_TRAITS = frozenset(os_traits.get_traits())


def get_provider(conn: sa.Connection, provider_id: str) -> Provider:
    """ProviderNotFound."""
    found = db.provider(conn, provider_id)
    if found is None:
        raise errors.ProviderNotFound(provider_id=provider_id)
    return found


def check_generation(found: Provider, generation: int) -> None:
    """PlacementConflict when the caller saw an older state."""
    if found.generation != generation:
        raise errors.PlacementConflict(reason="resource provider generation conflict")


def _bump(conn: sa.Connection, found: Provider) -> Provider:
    if not db.bump(conn, found.id, found.generation):
        raise errors.PlacementConflict(reason="resource provider generation conflict")
    return replace(found, generation=found.generation + 1)


def check_classes(conn: sa.Connection, names: Sequence[str]) -> None:
    """BadRequest for a resource class nobody declared."""
    unknown = sorted(set(names) - STANDARD_CLASSES - set(db.custom_classes(conn)))
    if unknown:
        raise BadRequest(f"No such resource class {', '.join(unknown)}.")


# ---------------------------------------------------------------------------------------------------------- providers


@retried
def create_provider(svc: Compute, *, name: str, provider_id: str | None, parent_id: str | None) -> Provider:
    """ProviderExists, BadRequest for a parent that is not there."""
    provider_id = provider_id or new_id()
    with svc.api_db.write() as conn:
        parent = None
        if parent_id:
            parent = db.provider(conn, parent_id)
            if parent is None:
                raise BadRequest(f"parent provider UUID {parent_id} does not exist.")
        if not db.insert_provider(conn, provider_id, name, parent):
            raise errors.ProviderExists(what="name", value=name)
        return get_provider(conn, provider_id)


@retried
def update_provider(svc: Compute, provider_id: str, *, name: str, parent_id: str | None, reparent: bool) -> Provider:
    """Rename, or hang into a tree."""
    try:
        with svc.api_db.write() as conn:
            found = get_provider(conn, provider_id)
            values: dict[str, Any] = {"name": name}
            if parent_id is not None and parent_id != found.parent_id:
                parent = db.provider(conn, parent_id)
                if parent is None:
                    raise BadRequest(f"parent provider UUID {parent_id} does not exist.")
                if (found.parent_id is not None and not reparent) or parent.root_id == found.id:
                    raise BadRequest("re-parenting a provider is not currently allowed.")
                values |= {"parent_id": parent.id, "root_id": parent.root_id}
            db.update_provider(conn, found.id, **values)
            return get_provider(conn, provider_id)
    except db_exc.DBDuplicateEntry as e:
        raise errors.ProviderExists(what="name", value=name) from e


@retried
def delete_provider(svc: Compute, provider_id: str) -> None:
    """ProviderInUse while somebody was promised something, Conflict while it has children."""
    with svc.api_db.write() as conn:
        found = get_provider(conn, provider_id)
        if db.has_children(conn, found.id):
            raise Conflict("Unable to delete parent resource provider: it has children.")
        if not db.delete_provider(conn, found.id):
            raise errors.ProviderInUse(provider_id=provider_id)


# -------------------------------------------------------------------------------------------------------- inventories


@retried
def set_inventories(
    svc: Compute, provider_id: str, generation: int, wanted: Mapping[str, Mapping[str, Any]], *, complete: bool
) -> tuple[Provider, list[Inventory]]:
    """Write inventories; with `complete`, others go. InventoryInUse, PlacementConflict."""
    with svc.api_db.write() as conn:
        found = get_provider(conn, provider_id)
        check_generation(found, generation)
        check_classes(conn, list(wanted))
        if complete:
            for old in db.inventories(conn, [found.id]):
                if old.resource_class not in wanted and not db.delete_inventory(conn, found.id, old.resource_class):
                    raise errors.InventoryInUse(provider_id=provider_id, resource_class=old.resource_class)
        for name, figures in wanted.items():
            new = Inventory(found.id, name, **figures)
            if new.reserved > new.total:
                raise BadRequest(
                    f"Unable to update inventory for resource provider {provider_id}: reserved exceeds total."
                )
            db.set_inventory(conn, new)
        found = _bump(conn, found)
        return found, sorted(db.inventories(conn, [found.id]), key=lambda i: i.resource_class)


@retried
def delete_inventory(svc: Compute, provider_id: str, resource_class: str) -> None:
    """NotFound, InventoryInUse."""
    with svc.api_db.write() as conn:
        found = get_provider(conn, provider_id)
        if resource_class not in {i.resource_class for i in db.inventories(conn, [found.id])}:
            raise NotFound(f"No inventory of class {resource_class} found for delete")
        if not db.delete_inventory(conn, found.id, resource_class):
            raise errors.InventoryInUse(provider_id=provider_id, resource_class=resource_class)
        _bump(conn, found)


# -------------------------------------------------------------------------------------------------------- allocations


@dataclass(frozen=True)
class Wanted:
    """What a consumer shall hold from now on: provider -> class -> amount. generation None: it must be new;
    -1: whatever it is."""

    consumer_id: str
    providers: Mapping[str, Mapping[str, int]]
    project_id: str
    user_id: str
    type: str = "INSTANCE"
    generation: int | None = -1


@retried
def set_allocations(svc: Compute, wanted: Sequence[Wanted]) -> None:
    """Make consumers hold what is wanted, all or none. PlacementConflict without room or when a consumer changed."""
    with svc.api_db.write() as conn:
        for one in wanted:
            check_classes(conn, [name for amounts in one.providers.values() for name in amounts])
            _check_consumer(conn, one)
        touched: set[str] = set()
        for one in wanted:
            touched |= {a.provider_id for a in db.allocations(conn, consumer_id=one.consumer_id)}
            db.release(conn, one.consumer_id)
        for one in wanted:
            for provider_id, amounts in sorted(one.providers.items()):
                if db.provider(conn, provider_id) is None:
                    raise BadRequest(f"Allocation for resource provider '{provider_id}' that does not exist.")
                if not db.claim(conn, provider_id, amounts):
                    raise Conflict(
                        f"Unable to allocate inventory: Unable to create allocation for {', '.join(sorted(amounts))} "
                        f"on resource provider '{provider_id}'. The requested amount would exceed the capacity."
                    )
                touched.add(provider_id)
            if one.providers:
                db.ensure_consumer(conn, one.consumer_id, one.project_id, one.user_id, one.type)
                held = db.consumer(conn, one.consumer_id)
                assert held is not None
                after = (one.generation if one.generation is not None and one.generation >= 0 else held.generation) + 1
                db.set_consumer(conn, one.consumer_id, one.project_id, one.user_id, one.type, after)
                for provider_id, amounts in one.providers.items():
                    db.insert_allocations(conn, one.consumer_id, provider_id, amounts)
        for provider_id in sorted(touched):
            db.bump(conn, provider_id)


def _check_consumer(conn: sa.Connection, one: Wanted) -> None:
    held = db.consumer(conn, one.consumer_id)
    if one.generation == -1:
        return
    if (held is None) != (one.generation is None) or (held is not None and held.generation != one.generation):
        raise errors.PlacementConflict(
            reason="consumer generation conflict - "
            f"expected {held.generation if held else 'null'} but got {one.generation}"
        )


@retried
def delete_allocations(svc: Compute, consumer_id: str) -> None:
    """NotFound when the consumer holds nothing."""
    with svc.api_db.write() as conn:
        held = {a.provider_id for a in db.allocations(conn, consumer_id=consumer_id)}
        if not db.release(conn, consumer_id):
            raise NotFound(f"No allocations for consumer '{consumer_id}'")
        for provider_id in sorted(held):
            db.bump(conn, provider_id)


@dataclass(frozen=True)
class Held:
    """What a consumer holds, with the providers' generations."""

    consumer: Consumer | None
    providers: Mapping[str, tuple[int, Mapping[str, int]]]


@retried
def allocations_of(svc: Compute, consumer_id: str) -> Held:
    with svc.api_db.read() as conn:
        found = db.allocations(conn, consumer_id=consumer_id)
        generations = {p.id: p.generation for p in db.providers(conn, ids=[a.provider_id for a in found])}
        consumer = db.consumer(conn, consumer_id)
    by_provider: dict[str, dict[str, int]] = {}
    for a in found:
        by_provider.setdefault(a.provider_id, {})[a.resource_class] = a.used
    return Held(consumer, {p: (generations[p], amounts) for p, amounts in by_provider.items()})


# --------------------------------------------------------------------------------------------------------- candidates


@dataclass(frozen=True)
class Group:
    """One numbered group of a request for candidates."""

    suffix: str
    resources: Mapping[str, int]
    required: frozenset[str] = frozenset()
    any_of: tuple[frozenset[str], ...] = ()
    forbidden: frozenset[str] = frozenset()
    member_of: tuple[frozenset[str], ...] = ()
    not_member_of: frozenset[str] = frozenset()
    in_tree: str | None = None


@dataclass(frozen=True)
class Candidate:
    """One way to satisfy a request: for each group the provider that would give its resources."""

    groups: Mapping[str, tuple[str, Mapping[str, int]]]


@dataclass(frozen=True)
class Candidates:
    """The ways, and everything about the providers in their trees."""

    found: list[Candidate]
    providers: Mapping[str, Provider]
    inventories: Mapping[str, Mapping[str, Inventory]]
    traits: Mapping[str, set[str]]


def fits(group: Group, p: Provider, stock: Mapping[str, Inventory], traits: set[str], aggregates: set[str]) -> bool:
    """May this provider give all the group wants?"""
    for name, amount in group.resources.items():
        have = stock.get(name)
        if have is None or have.used + amount > have.capacity or amount > have.max_unit or amount < have.min_unit:
            return False
        if amount % have.step_size:
            return False
    return (
        group.required <= traits
        and all(option & traits for option in group.any_of)
        and not group.forbidden & traits
        and all(option & aggregates for option in group.member_of)
        and not group.not_member_of & aggregates
        and (group.in_tree is None or p.root_id == group.in_tree)
    )


@retried
def candidates(svc: Compute, groups: Sequence[Group], *, isolate: bool, limit: int | None) -> Candidates:
    """Ways to satisfy all groups within one tree of providers each. isolate: numbered groups on different providers."""
    with svc.api_db.read() as conn:
        check_classes(conn, [name for group in groups for name in group.resources])
        providers = {p.id: p for p in db.providers(conn)}
        stock: dict[str, dict[str, Inventory]] = {}
        for i in db.inventories(conn):
            stock.setdefault(i.provider_id, {})[i.resource_class] = i
        traits, aggregates = db.provider_traits(conn), db.provider_aggregates(conn)
    trees: dict[str, list[Provider]] = {}
    for p in providers.values():
        trees.setdefault(p.root_id, []).append(p)
    found: list[Candidate] = []
    for members in trees.values():
        options = [
            [
                p
                for p in members
                if fits(g, p, stock.get(p.id, {}), traits.get(p.id, set()), aggregates.get(p.id, set()))
            ]
            for g in groups
        ]
        found += _combine(groups, options, stock, isolate)
        if limit is not None and len(found) >= limit:
            found = found[:limit]
            break
    roots = {providers[p].root_id for c in found for p, _ in c.groups.values()}
    shown = {p.id: p for p in providers.values() if p.root_id in roots}
    return Candidates(found, shown, stock, traits)


def _combine(
    groups: Sequence[Group],
    options: Sequence[Sequence[Provider]],
    stock: Mapping[str, Mapping[str, Inventory]],
    isolate: bool,
) -> list[Candidate]:
    ways: list[dict[str, tuple[str, Mapping[str, int]]]] = [{}]
    for group, providers in zip(groups, options, strict=True):
        longer = []
        for way in ways:
            for p in providers:
                numbered = {chosen for suffix, (chosen, _) in way.items() if suffix}
                if isolate and group.suffix and p.id in numbered:
                    continue
                longer.append({**way, group.suffix: (p.id, group.resources)})
        ways = longer
    return [Candidate(way) for way in ways if _room(way, stock)]


def _room(way: Mapping[str, tuple[str, Mapping[str, int]]], stock: Mapping[str, Mapping[str, Inventory]]) -> bool:
    """Is there room when several groups ask the same provider?"""
    sums: dict[tuple[str, str], int] = {}
    for provider_id, resources in way.values():
        for name, amount in resources.items():
            sums[provider_id, name] = sums.get((provider_id, name), 0) + amount
    return all(stock[p][name].used + amount <= stock[p][name].capacity for (p, name), amount in sums.items())
