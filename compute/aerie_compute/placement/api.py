# SPDX-License-Identifier: Apache-2.0
"""Handlers of the placement API."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping
from typing import Any

from aerie_common import schema
from aerie_common.db import utcnow
from aerie_common.errors import BadRequest, Conflict, NotFound
from aerie_common.http import Reply, Request
from aerie_compute.db import placement as db
from aerie_compute.db.placement import Inventory, Provider
from aerie_compute.placement import logic, schemas
from aerie_compute.placement.logic import Group, Wanted

MINIMUM, MAXIMUM = (1, 0), (1, 39)


def fresh(req: Request, value: Any, at: datetime.datetime | None = None, **more: Any) -> Reply:
    """A reply that says when its content changed (from 1.15 on)."""
    headers: list[tuple[str, str]] = list(more.pop("headers", ()))
    if req.version >= (1, 15):
        stamp = (at or utcnow()).strftime("%a, %d %b %Y %H:%M:%S GMT")
        headers += [("Last-Modified", stamp), ("Cache-Control", "no-cache")]
    return Reply(value, headers=headers, **more)


def versions(req: Request) -> dict[str, Any]:
    """List versions of the API."""
    version = {
        "id": "v1.0", "max_version": ".".join(map(str, MAXIMUM)), "min_version": ".".join(map(str, MINIMUM)),
        "status": "CURRENT", "links": [{"rel": "self", "href": ""}],
    }  # fmt: skip
    return {"versions": [version]}


# ---------------------------------------------------------------------------------------------------------- providers


def _provider(p: Provider, version: tuple[int, int]) -> dict[str, Any]:
    base = f"/resource_providers/{p.id}"
    rels = ["self", "inventories", "usages"]
    if version >= (1, 1):
        rels.append("aggregates")
    if version >= (1, 6):
        rels.append("traits")
    if version >= (1, 11):
        rels.append("allocations")
    shown: dict[str, Any] = {
        "uuid": p.id,
        "name": p.name,
        "generation": p.generation,
        "links": [{"rel": rel, "href": base if rel == "self" else f"{base}/{rel}"} for rel in rels],
    }
    return (
        {**shown, "root_provider_uuid": p.root_id, "parent_provider_uuid": p.parent_id} if version >= (1, 14) else shown
    )


def provider_list(req: Request) -> Reply:
    """List resource providers."""
    one = req.query_one
    _known(req, _PROVIDER_QUERY)
    wanted: dict[str, Any] = {}
    if one("name"):
        wanted["name"] = one("name")
    if one("uuid"):
        wanted["ids"] = [one("uuid")]
    if one("in_tree"):
        wanted["tree"] = one("in_tree")
    groups = parse_groups(req, only_unnumbered=True)
    with req.svc.api_db.read() as conn:
        found = db.providers(conn, **wanted)
        if groups:
            group = groups[0]
            logic.check_classes(conn, list(group.resources))
            ids = [p.id for p in found]
            stock: dict[str, dict[str, Inventory]] = {}
            for i in db.inventories(conn, ids):
                stock.setdefault(i.provider_id, {})[i.resource_class] = i
            traits, aggregates = db.provider_traits(conn, ids), db.provider_aggregates(conn, ids)
            found = [
                p for p in found
                if logic.fits(group, p, stock.get(p.id, {}), traits.get(p.id, set()), aggregates.get(p.id, set()))
            ]  # fmt: skip
    return fresh(req, {"resource_providers": [_provider(p, req.version) for p in found]})


def provider_create(req: Request) -> Reply:
    """Create a resource provider."""
    given = req.body
    made = logic.create_provider(
        req.svc, name=given["name"], provider_id=given.get("uuid"), parent_id=given.get("parent_provider_uuid")
    )
    location = [("Location", f"{req.base_url}/resource_providers/{made.id}")]
    if req.version >= (1, 20):
        return fresh(req, _provider(made, req.version), status=200, headers=location)
    return Reply(status=201, headers=location)


def _find(req: Request, provider_id: str) -> Provider:
    with req.svc.api_db.read() as conn:
        return logic.get_provider(conn, provider_id)


def provider_show(req: Request, provider_id: str) -> Reply:
    """Show a resource provider."""
    found = _find(req, provider_id)
    return fresh(req, _provider(found, req.version), found.updated_at or found.created_at)


def provider_update(req: Request, provider_id: str) -> Reply:
    """Rename a resource provider, or hang it into a tree."""
    given = req.body
    found = logic.update_provider(
        req.svc, provider_id, name=given["name"], parent_id=given.get("parent_provider_uuid"),
        reparent=req.version >= (1, 37),
    )  # fmt: skip
    return fresh(req, _provider(found, req.version))


def provider_delete(req: Request, provider_id: str) -> None:
    """Delete a resource provider."""
    logic.delete_provider(req.svc, provider_id)


# -------------------------------------------------------------------------------------------------------- inventories


def _inventory(i: Inventory) -> dict[str, Any]:
    return {
        "total": i.total, "reserved": i.reserved, "min_unit": i.min_unit, "max_unit": i.max_unit,
        "step_size": i.step_size, "allocation_ratio": i.allocation_ratio,
    }  # fmt: skip


def _inventories(found: Provider, items: list[Inventory]) -> dict[str, Any]:
    return {
        "resource_provider_generation": found.generation,
        "inventories": {i.resource_class: _inventory(i) for i in items},
    }


def inventory_list(req: Request, provider_id: str) -> Reply:
    """List a provider's inventories."""
    with req.svc.api_db.read() as conn:
        found = logic.get_provider(conn, provider_id)
        items = db.inventories(conn, [found.id])
    return fresh(req, _inventories(found, items))


def inventory_replace(req: Request, provider_id: str) -> Reply:
    """Replace a provider's inventories."""
    given = req.body
    found, items = logic.set_inventories(
        req.svc, provider_id, given["resource_provider_generation"], given["inventories"], complete=True
    )
    return fresh(req, _inventories(found, items))


def inventory_create(req: Request, provider_id: str) -> Reply:
    """Add one inventory to a provider."""
    given = dict(req.body)
    name = given.pop("resource_class")
    current = _find(req, provider_id)
    generation = given.pop("resource_provider_generation", current.generation)
    with req.svc.api_db.read() as conn:
        if name in {i.resource_class for i in db.inventories(conn, [provider_id])}:
            raise Conflict(f"Update conflict: Inventory of {name} exists.")
    found, items = logic.set_inventories(req.svc, provider_id, generation, {name: given}, complete=False)
    made = next(i for i in items if i.resource_class == name)
    location = [("Location", f"{req.base_url}/resource_providers/{provider_id}/inventories/{name}")]
    body = {"resource_provider_generation": found.generation, **_inventory(made)}
    return fresh(req, body, status=201, headers=location)


def inventory_clear(req: Request, provider_id: str) -> None:
    """Delete all inventories of a provider."""
    logic.set_inventories(req.svc, provider_id, _find(req, provider_id).generation, {}, complete=True)


def inventory_show(req: Request, provider_id: str, resource_class: str) -> Reply:
    """Show one inventory of a provider."""
    with req.svc.api_db.read() as conn:
        found = logic.get_provider(conn, provider_id)
        items = {i.resource_class: i for i in db.inventories(conn, [found.id])}
    if resource_class not in items:
        raise NotFound(f"No inventory of class {resource_class} for {provider_id}")
    return fresh(req, {"resource_provider_generation": found.generation, **_inventory(items[resource_class])})


def inventory_update(req: Request, provider_id: str, resource_class: str) -> Reply:
    """Change one inventory of a provider."""
    given = dict(req.body)
    generation = given.pop("resource_provider_generation")
    with req.svc.api_db.read() as conn:
        logic.get_provider(conn, provider_id)
        if resource_class not in {i.resource_class for i in db.inventories(conn, [provider_id])}:
            raise BadRequest(f"No inventory of class {resource_class} found for update")
    found, items = logic.set_inventories(req.svc, provider_id, generation, {resource_class: given}, complete=False)
    made = next(i for i in items if i.resource_class == resource_class)
    return fresh(req, {"resource_provider_generation": found.generation, **_inventory(made)})


def inventory_delete(req: Request, provider_id: str, resource_class: str) -> None:
    """Delete one inventory of a provider."""
    logic.delete_inventory(req.svc, provider_id, resource_class)


# ------------------------------------------------------------------------------------------- usages, allocations, sets


def provider_usages(req: Request, provider_id: str) -> Reply:
    """Show what a provider has promised."""
    with req.svc.api_db.read() as conn:
        found = logic.get_provider(conn, provider_id)
        items = db.inventories(conn, [found.id])
    usages = {i.resource_class: i.used for i in items}
    return fresh(req, {"resource_provider_generation": found.generation, "usages": usages})


def provider_allocations(req: Request, provider_id: str) -> Reply:
    """Show to whom a provider has promised what."""
    with req.svc.api_db.read() as conn:
        found = logic.get_provider(conn, provider_id)
        items = db.allocations(conn, provider_id=found.id)
        consumers = db.consumers(conn, sorted({a.consumer_id for a in items}))
    shown: dict[str, Any] = {}
    for a in items:
        one = shown.setdefault(a.consumer_id, {"resources": {}})
        one["resources"][a.resource_class] = a.used
        if req.version >= (1, 28):
            one["consumer_generation"] = consumers[a.consumer_id].generation
    return fresh(req, {"allocations": shown, "resource_provider_generation": found.generation})


def aggregates_show(req: Request, provider_id: str) -> Reply:
    """List the aggregates a provider is in."""
    with req.svc.api_db.read() as conn:
        found = logic.get_provider(conn, provider_id)
        members = sorted(db.provider_aggregates(conn, [found.id]).get(found.id, ()))
    body: dict[str, Any] = {"aggregates": members}
    if req.version >= (1, 19):
        body["resource_provider_generation"] = found.generation
    return fresh(req, body)


def aggregates_set(req: Request, provider_id: str) -> Reply:
    """Say which aggregates a provider is in."""
    given = req.body
    wanted = given["aggregates"] if req.version >= (1, 19) else given
    with req.svc.api_db.write() as conn:
        found = logic.get_provider(conn, provider_id)
        if req.version >= (1, 19):
            logic.check_generation(found, given["resource_provider_generation"])
        db.set_provider_aggregates(conn, found.id, sorted(set(wanted)))
        db.bump(conn, found.id)
    return aggregates_show(req, provider_id)


def provider_traits(req: Request, provider_id: str) -> Reply:
    """List a provider's traits."""
    with req.svc.api_db.read() as conn:
        found = logic.get_provider(conn, provider_id)
        traits = sorted(db.provider_traits(conn, [found.id]).get(found.id, ()))
    return fresh(req, {"traits": traits, "resource_provider_generation": found.generation})


def provider_traits_set(req: Request, provider_id: str) -> Reply:
    """Replace a provider's traits."""
    given = req.body
    with req.svc.api_db.write() as conn:
        found = logic.get_provider(conn, provider_id)
        logic.check_generation(found, given["resource_provider_generation"])
        unknown = sorted(set(given["traits"]) - logic.STANDARD_TRAITS - set(db.custom_traits(conn)))
        if unknown:
            raise BadRequest(f"No such trait {', '.join(unknown)}")
        db.set_provider_traits(conn, found.id, given["traits"])
        db.bump(conn, found.id)
    return provider_traits(req, provider_id)


def provider_traits_clear(req: Request, provider_id: str) -> None:
    """Take all traits from a provider."""
    with req.svc.api_db.write() as conn:
        found = logic.get_provider(conn, provider_id)
        db.set_provider_traits(conn, found.id, [])
        db.bump(conn, found.id)


def trait_list(req: Request) -> Reply:
    """List traits."""
    with req.svc.api_db.read() as conn:
        names = logic.STANDARD_TRAITS | set(db.custom_traits(conn))
        used = db.associated_traits(conn)
    name = req.query_one("name")
    if name is not None:
        if name.startswith("in:"):
            names &= set(name[3:].split(","))
        elif name.startswith("startswith:"):
            names = frozenset(n for n in names if n.startswith(name.partition(":")[2]))
        else:
            raise BadRequest("Badly formatted name parameter. Expected name query string parameter in form: "
                             "?name=[in|startswith]:[name1,name2|prefix].")  # fmt: skip
    associated = req.query_one("associated")
    if associated is not None:
        if associated.lower() not in ("true", "false"):
            raise BadRequest("The query parameter 'associated' only accepts 'true' or 'false'")
        names = names & used if associated.lower() == "true" else names - used
    return fresh(req, {"traits": sorted(names)})


def trait_show(req: Request, name: str) -> Reply:
    """Check that a trait exists."""
    with req.svc.api_db.read() as conn:
        if name not in logic.STANDARD_TRAITS and name not in db.custom_traits(conn):
            raise NotFound(f"No such trait: {name}")
    return fresh(req, None, status=204)


_CUSTOM = re.compile(r"^CUSTOM_[A-Z0-9_]{1,248}$")


def trait_create(req: Request, name: str) -> Reply:
    """Declare a trait."""
    if not _CUSTOM.match(name):
        raise BadRequest('The trait is invalid. A valid trait must be no longer than 255 characters, start with the '
                         'prefix "CUSTOM_" and use following characters: "A"-"Z", "0"-"9" and "_"')  # fmt: skip
    with req.svc.api_db.write() as conn:
        new = db.insert_trait(conn, name)
    return fresh(req, None, status=201 if new else 204, headers=[("Location", f"{req.base_url}/traits/{name}")])


def trait_delete(req: Request, name: str) -> None:
    """Forget a trait."""
    with req.svc.api_db.write() as conn:
        if name in logic.STANDARD_TRAITS:
            raise BadRequest(f"Cannot delete standard trait {name}.")
        if name in db.associated_traits(conn):
            raise Conflict(f"The trait {name} is in use by a resource provider.")
        if not db.delete_trait(conn, name):
            raise NotFound(f"No such trait: {name}")


def class_list(req: Request) -> Reply:
    """List resource classes."""
    with req.svc.api_db.read() as conn:
        names = sorted(logic.STANDARD_CLASSES) + db.custom_classes(conn)
    shown = [{"name": n, "links": [{"rel": "self", "href": f"/resource_classes/{n}"}]} for n in names]
    return fresh(req, {"resource_classes": shown})


def class_create(req: Request) -> Reply:
    """Declare a resource class."""
    name = req.body["name"]
    with req.svc.api_db.write() as conn:
        if not db.insert_class(conn, name):
            raise Conflict(f"Conflicting resource class already exists: {name}")
    return Reply(status=201, headers=[("Location", f"{req.base_url}/resource_classes/{name}")])


def class_show(req: Request, name: str) -> Reply:
    """Show a resource class."""
    with req.svc.api_db.read() as conn:
        if name not in logic.STANDARD_CLASSES and name not in db.custom_classes(conn):
            raise NotFound(f"No such resource class {name}")
    return fresh(req, {"name": name, "links": [{"rel": "self", "href": f"/resource_classes/{name}"}]})


def class_ensure(req: Request, name: str) -> Reply:
    """Declare a resource class unless it is."""
    if not _CUSTOM.match(name):
        raise BadRequest(f"Failed validating 'pattern' in schema: {name} does not match '^CUSTOM_[A-Z0-9_]+$'")
    with req.svc.api_db.write() as conn:
        new = db.insert_class(conn, name)
    return Reply(status=201 if new else 204, headers=[("Location", f"{req.base_url}/resource_classes/{name}")])


def class_delete(req: Request, name: str) -> None:
    """Forget a resource class."""
    with req.svc.api_db.write() as conn:
        if name in logic.STANDARD_CLASSES:
            raise BadRequest(f"Cannot delete standard resource class {name}.")
        if db.class_in_use(conn, name):
            raise Conflict(f"Cannot delete resource class {name}: it is in use in inventory.")
        if not db.delete_class(conn, name):
            raise NotFound(f"No such resource class {name}")


# -------------------------------------------------------------------------------------------------------- allocations


def allocations_show(req: Request, consumer_id: str) -> Reply:
    """Show what a consumer holds."""
    held = logic.allocations_of(req.svc, consumer_id)
    body: dict[str, Any] = {
        "allocations": {
            p: {"generation": generation, "resources": dict(a)} for p, (generation, a) in held.providers.items()
        }
    }
    if held.consumer is not None and held.providers:
        if req.version >= (1, 12):
            body |= {"project_id": held.consumer.project_id, "user_id": held.consumer.user_id}
        if req.version >= (1, 28):
            body["consumer_generation"] = held.consumer.generation
        if req.version >= (1, 38):
            body["consumer_type"] = held.consumer.type
    return fresh(req, body)


_validators: dict[tuple[str, tuple[int, int]], Callable[[Any], None]] = {}


def _check(name: str, version: tuple[int, int], body: Any) -> None:
    """Bodies of allocations differ in every few microversions."""
    check = _validators.get((name, version))
    if check is None:
        made = schemas.allocations(version) if name == "one" else schemas.many_allocations(version)
        check = _validators[name, version] = schema.compile_schema(made)
    check(body)


def _wanted(consumer_id: str, given: Mapping[str, Any], version: tuple[int, int]) -> Wanted:
    items = given["allocations"]
    if version < (1, 12):
        items = {item["resource_provider"]["uuid"]: item for item in items}
    return Wanted(
        consumer_id,
        {provider_id: item["resources"] for provider_id, item in items.items()},
        given.get("project_id", "00000000-0000-0000-0000-000000000000"),
        given.get("user_id", "00000000-0000-0000-0000-000000000000"),
        given.get("consumer_type", "INSTANCE"),
        given["consumer_generation"] if version >= (1, 28) else -1,
    )


def allocations_set(req: Request, consumer_id: str) -> None:
    """Say what a consumer holds."""
    _check("one", req.version, req.body)
    logic.set_allocations(req.svc, [_wanted(consumer_id, req.body, req.version)])


def allocations_set_many(req: Request) -> None:
    """Say what several consumers hold, all or none."""
    _check("many", req.version, req.body)
    logic.set_allocations(req.svc, [_wanted(c, given, req.version) for c, given in req.body.items()])


def allocations_delete(req: Request, consumer_id: str) -> None:
    """Take back all a consumer holds."""
    logic.delete_allocations(req.svc, consumer_id)


def usages(req: Request) -> Reply:
    """Show what a project (or a user of it) was promised."""
    project_id, user_id = req.query_one("project_id"), req.query_one("user_id")
    if not project_id:
        raise BadRequest("Invalid query string parameters: 'project_id' is a required property")
    kind = req.query_one("consumer_type") if req.version >= (1, 38) else None
    only = kind if kind not in (None, "all", "unknown") else None
    with req.svc.api_db.read() as conn:
        found = db.usages(conn, project_id=project_id, user_id=user_id, consumer_type=only)
    if req.version < (1, 38):
        sums: dict[str, int] = {}
        for _, name, amount, _ in found:
            sums[name] = sums.get(name, 0) + amount
        return fresh(req, {"usages": sums})
    shown: dict[str, dict[str, int]] = {}
    for consumer_type, name, amount, count in found:
        group = shown.setdefault("all" if kind == "all" else consumer_type, {"consumer_count": 0})
        group[name] = group.get(name, 0) + amount
        group["consumer_count"] = max(group["consumer_count"], count)
    return fresh(req, {"usages": shown})


# --------------------------------------------------------------------------------------------------------- candidates

_PROVIDER_QUERY = re.compile(r"^(name|uuid|in_tree|resources|required|member_of)$")
_CANDIDATE_QUERY = re.compile(
    r"^(limit|group_policy|root_required|same_subtree|(resources|required|member_of|in_tree)([a-zA-Z0-9_-]{0,64}))$"
)


def _known(req: Request, pattern: re.Pattern[str]) -> None:
    unknown = [name for name in req.query if not pattern.match(name)]
    if unknown:
        raise BadRequest(
            f"Invalid query string parameters: Additional properties are not allowed ({unknown[0]!r} was unexpected)"
        )


def parse_groups(req: Request, *, only_unnumbered: bool = False) -> list[Group]:
    """The groups of a query string."""
    fields: dict[str, dict[str, list[str]]] = {}
    for name, values in req.query.items():
        for key in ("resources", "required", "member_of", "in_tree"):
            if name.startswith(key):
                fields.setdefault(name[len(key) :], {})[key] = values
    groups = []
    for suffix, given in sorted(fields.items()):
        if suffix and only_unnumbered:
            continue
        required, any_of, forbidden = _traits(given.get("required", []))
        member_of, not_member_of = _members(given.get("member_of", []))
        in_tree = given.get("in_tree", [None])[-1] if not only_unnumbered else None
        resources = _resources(given["resources"][-1]) if "resources" in given else {}
        if only_unnumbered and not (resources or required or any_of or forbidden or member_of or not_member_of):
            continue
        groups.append(Group(suffix, resources, required, any_of, forbidden, member_of, not_member_of, in_tree))
    return groups


def _resources(text: str) -> dict[str, int]:
    found = {}
    for item in text.split(","):
        name, _, amount = item.partition(":")
        if not name or not amount.isdigit() or int(amount) < 1:
            raise BadRequest(f"Badly formed resources parameter. Expected resources query string parameter in form: "
                             f"?resources=VCPU:2,MEMORY_MB:1024. Got: {text}.")  # fmt: skip
        found[name] = int(amount)
    return found


def _traits(values: list[str]) -> tuple[frozenset[str], tuple[frozenset[str], ...], frozenset[str]]:
    required: set[str] = set()
    forbidden: set[str] = set()
    any_of = []
    for value in values:
        if value.startswith("in:"):
            any_of.append(frozenset(value[3:].split(",")))
            continue
        for trait in value.split(","):
            if not trait.strip("!"):
                raise BadRequest(f"Invalid query string parameters: Expected 'required' parameter value of the form: "
                                 f"HW_CPU_X86_VMX,CUSTOM_MAGIC. Got: {value}")  # fmt: skip
            (forbidden if trait.startswith("!") else required).add(trait.lstrip("!"))
    return frozenset(required), tuple(any_of), frozenset(forbidden)


def _members(values: list[str]) -> tuple[tuple[frozenset[str], ...], frozenset[str]]:
    wanted, unwanted = [], set()
    for value in values:
        negative, text = value.startswith("!"), value.lstrip("!")
        ids = text[3:].split(",") if text.startswith("in:") else [text]
        if negative:
            unwanted.update(ids)
        else:
            wanted.append(frozenset(ids))
    return tuple(wanted), frozenset(unwanted)


def candidates(req: Request) -> Reply:
    """List ways to satisfy a request for resources."""
    _known(req, _CANDIDATE_QUERY)
    groups = parse_groups(req)
    if not any(group.resources for group in groups):
        raise BadRequest("All request groups must specify resources." if groups else
                         "Invalid query string parameters: 'resources' is a required property")  # fmt: skip
    groups = [g for g in groups if g.resources]
    numbered = [g for g in groups if g.suffix]
    group_policy = req.query_one("group_policy")
    if len(numbered) > 1 and group_policy not in ("none", "isolate") and req.version < (1, 36):
        raise BadRequest(
            'The "group_policy" parameter is required when specifying more than one "resources{N}" parameter.'
        )
    limit = req.query_one("limit")
    if limit is not None and not (limit.isdigit() and int(limit) > 0):
        raise BadRequest("Invalid query string parameters: limit must be a positive integer.")
    found = logic.candidates(req.svc, groups, isolate=group_policy == "isolate", limit=int(limit) if limit else None)
    asked = {name for group in groups for name in group.resources}
    return fresh(req, {
        "allocation_requests": [_request(c, req.version) for c in found.found],
        "provider_summaries": {
            p.id: _summary(p, found, asked, req.version)
            for p in found.providers.values()
            if req.version >= (1, 29) or any(p.id == chosen for c in found.found for chosen, _ in c.groups.values())
        },
    })  # fmt: skip


def _request(candidate: logic.Candidate, version: tuple[int, int]) -> dict[str, Any]:
    sums: dict[str, dict[str, int]] = {}
    for provider_id, resources in candidate.groups.values():
        for name, amount in resources.items():
            mine = sums.setdefault(provider_id, {})
            mine[name] = mine.get(name, 0) + amount
    shown: dict[str, Any]
    if version < (1, 12):
        items = [{"resource_provider": {"uuid": p}, "resources": r} for p, r in sums.items()]
        return {"allocations": items}
    shown = {"allocations": {p: {"resources": r} for p, r in sums.items()}}
    if version >= (1, 34):
        shown["mappings"] = {suffix: [p] for suffix, (p, _) in candidate.groups.items()}
    return shown


def _summary(p: Provider, found: logic.Candidates, asked: set[str], version: tuple[int, int]) -> dict[str, Any]:
    stock = found.inventories.get(p.id, {})
    shown: dict[str, Any] = {
        "resources": {
            name: {"capacity": i.capacity, "used": i.used}
            for name, i in stock.items()
            if version >= (1, 27) or name in asked
        }
    }
    if version >= (1, 17):
        shown["traits"] = sorted(found.traits.get(p.id, ()))
    if version >= (1, 29):
        shown |= {"root_provider_uuid": p.root_id, "parent_provider_uuid": p.parent_id}
    return shown
