# SPDX-License-Identifier: Apache-2.0
"""Metadata definitions: which properties images, flavors and servers may have, for forms to offer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from oslo_db import exception as db_exception

from aerie_common.context import Context
from aerie_common.db import retried
from aerie_common.errors import Forbidden
from aerie_image import db, errors
from aerie_image.db.metadefs import Definition, Namespace
from aerie_image.logic.images import viewer

if TYPE_CHECKING:
    from aerie_image.container import ImageService

KINDS = ("object", "property", "tag", "resource_type")
RESOURCE_TYPES = (
    "OS::Glance::Image",
    "OS::Nova::Aggregate",
    "OS::Nova::Flavor",
    "OS::Nova::Server",
    "OS::Cinder::Volume",
)


@dataclass(frozen=True)
class Whole:
    """A namespace and its definitions by kind."""

    namespace: Namespace
    definitions: dict[str, list[Definition]] = field(default_factory=dict)


def _visible(conn: Any, ctx: Context, name: str) -> Namespace:
    found = db.metadefs.get(conn, name)
    eyes = viewer(ctx)
    if found is None or not (eyes.is_admin or found.visibility == "public" or found.owner == eyes.project_id):
        raise errors.NamespaceNotFound(namespace=name)
    return found


def _changeable(conn: Any, ctx: Context, name: str) -> Namespace:
    found = _visible(conn, ctx, name)
    if not ctx.is_admin and found.owner != ctx.project_id:
        raise Forbidden(f"You are not permitted to change the namespace {name}.")
    return found


def _wholes(conn: Any, found: Sequence[Namespace], kinds: Sequence[str]) -> list[Whole]:
    wholes = {n.id: Whole(n, {kind: [] for kind in kinds}) for n in found}
    for definition in db.metadefs.in_namespaces(conn, wholes, kinds) if wholes else ():
        wholes[definition.namespace_id].definitions[definition.kind].append(definition)
    return list(wholes.values())


@retried
def list_(
    svc: ImageService,
    ctx: Context,
    *,
    visibility: str | None,
    resource_types: Sequence[str],
    sort: tuple[tuple[str, str], ...],
    marker: str | None,
    limit: int,
) -> list[Whole]:
    """The namespaces the caller may see, with their associations. Two queries, three with a marker."""
    order = [*sort, *((key, "desc") for key in ("created_at", "namespace") if key not in dict(sort))]
    with svc.db.read() as conn:
        last = _visible(conn, ctx, marker) if marker else None
        found = db.metadefs.find(
            conn,
            viewer(ctx),
            visibility=visibility,
            resource_types=resource_types,
            sort=order,
            marker=last,
            limit=limit,
        )
        return _wholes(conn, found, ("resource_type",))


@retried
def show(svc: ImageService, ctx: Context, name: str) -> Whole:
    """One namespace with all it defines."""
    with svc.db.read() as conn:
        return _wholes(conn, [_visible(conn, ctx, name)], KINDS)[0]


@retried
def create(
    svc: ImageService, ctx: Context, values: Mapping[str, Any], bodies: Mapping[str, Mapping[str, dict[str, Any]]]
) -> Whole:
    """A namespace, with definitions by kind and name."""
    owner = values.get("owner") or ctx.project_id or "none"
    try:
        with svc.db.write() as conn:
            made = db.metadefs.insert(conn, {**values, "owner": owner})
            for kind, by_name in bodies.items():
                db.metadefs.define(conn, made.id, kind, by_name)
            return _wholes(conn, [made], KINDS)[0]
    except db_exception.DBDuplicateEntry:
        raise errors.NamespaceExists(namespace=values["namespace"]) from None


@retried
def update(svc: ImageService, ctx: Context, name: str, values: Mapping[str, Any]) -> Namespace:
    """Change a namespace's own attributes."""
    try:
        with svc.db.write() as conn:
            found = _changeable(conn, ctx, name)
            db.metadefs.update(conn, found.id, values)
            return db.metadefs.get(conn, values.get("namespace", name)) or found
    except db_exception.DBDuplicateEntry:
        raise errors.NamespaceExists(namespace=values["namespace"]) from None


@retried
def delete(svc: ImageService, ctx: Context, name: str) -> None:
    """Forget a namespace and all it defines. NamespaceProtected while it is protected."""
    with svc.db.write() as conn:
        found = _changeable(conn, ctx, name)
        if found.protected:
            raise errors.NamespaceProtected(namespace=name)
        db.metadefs.delete(conn, found.id)


@retried
def resource_types(svc: ImageService) -> list[str]:
    """The names of all resource types, those of this cloud and those somebody defined."""
    with svc.db.read() as conn:
        return sorted({*RESOURCE_TYPES, *db.metadefs.resource_types(conn)})


# ---- what namespaces define


@retried
def definitions(svc: ImageService, ctx: Context, name: str, kind: str) -> list[Definition]:
    """All definitions of one kind."""
    with svc.db.read() as conn:
        return db.metadefs.in_namespaces(conn, [_visible(conn, ctx, name).id], (kind,))


def _definition(conn: Any, found: Namespace, kind: str, name: str) -> Definition:
    definition = db.metadefs.definition(conn, found.id, kind, name)
    if definition is None:
        raise errors.DefinitionNotFound(kind=kind, name=name, namespace=found.namespace)
    return definition


@retried
def definition(svc: ImageService, ctx: Context, namespace: str, kind: str, name: str) -> Definition:
    """One definition."""
    with svc.db.read() as conn:
        return _definition(conn, _visible(conn, ctx, namespace), kind, name)


@retried
def define(
    svc: ImageService,
    ctx: Context,
    namespace: str,
    kind: str,
    bodies: Mapping[str, dict[str, Any]],
    *,
    anew: bool = False,
) -> list[Definition]:
    """Add definitions by name; anew: instead of all there are."""
    try:
        with svc.db.write() as conn:
            found = _changeable(conn, ctx, namespace)
            if anew:
                db.metadefs.undefine(conn, found.id, kind)
            db.metadefs.define(conn, found.id, kind, bodies)
            return [d for d in db.metadefs.in_namespaces(conn, [found.id], (kind,)) if d.name in bodies]
    except db_exception.DBDuplicateEntry:
        raise errors.DefinitionExists(kind=kind, name=", ".join(bodies), namespace=namespace) from None


@retried
def redefine(
    svc: ImageService, ctx: Context, namespace: str, kind: str, name: str, new_name: str, body: dict[str, Any]
) -> Definition:
    """Change a definition and perhaps its name."""
    try:
        with svc.db.write() as conn:
            found = _changeable(conn, ctx, namespace)
            _definition(conn, found, kind, name)
            db.metadefs.redefine(conn, found.id, kind, name, new_name, body)
            return _definition(conn, found, kind, new_name)
    except db_exception.DBDuplicateEntry:
        raise errors.DefinitionExists(kind=kind, name=new_name, namespace=namespace) from None


@retried
def undefine(svc: ImageService, ctx: Context, namespace: str, kind: str, name: str | None = None) -> None:
    """Forget a definition (DefinitionNotFound when there is none), or all of the kind."""
    with svc.db.write() as conn:
        found = _changeable(conn, ctx, namespace)
        if not db.metadefs.undefine(conn, found.id, kind, name) and name is not None:
            raise errors.DefinitionNotFound(kind=kind, name=name, namespace=namespace)
