# SPDX-License-Identifier: Apache-2.0
"""Metadata definitions over HTTP. Objects, properties, tags and associations have the same handlers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote, urlencode

from aerie_common.errors import BadRequest, NotFound
from aerie_common.fields import Resource, isoformat
from aerie_common.http import Reply, Request
from aerie_common.schema import to_bool
from aerie_image import errors
from aerie_image.db.metadefs import Definition
from aerie_image.logic import metadefs
from aerie_image.logic.metadefs import Whole
from aerie_image.schemas import ASSOCIATION, NAMESPACE, OBJECT, PROPERTY, TAG

PAGE, MAX_PAGE = 25, 1000
ROOT = "/v2/metadefs/namespaces"
NOUNS: dict[str, Resource] = {"object": OBJECT, "property": PROPERTY, "tag": TAG, "resource_type": ASSOCIATION}
_PLACES = {"object": "objects", "property": "properties", "tag": "tags", "resource_type": "resource_types"}
Handler = Callable[..., Any]


def _body(sent: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a definition that was sent: all but what the service says by itself."""
    return {k: v for k, v in sent.items() if k not in ("name", "self", "schema", "created_at", "updated_at")}


def _show(kind: str, namespace: str, definition: Definition) -> dict[str, Any]:
    if kind == "property":
        return {"name": definition.name, **definition.body}
    body = {"name": definition.name, **definition.body}
    if kind == "object":
        body = {"required": [], "properties": {}, **body}
    if kind in ("object",):
        body["self"] = f"{ROOT}/{quote(namespace)}/{_PLACES[kind]}/{quote(definition.name)}"
        body["schema"] = f"/v2/schemas/metadefs/{kind}"
    return {**body, "created_at": isoformat(definition.created_at), "updated_at": isoformat(definition.updated_at)}


def _whole(req: Request, whole: Whole) -> dict[str, Any]:
    """The namespace with what it defines; without the kinds of which it defines nothing."""
    name, found = whole.namespace.namespace, whole.definitions
    body = NAMESPACE.show(whole.namespace, req.ctx)
    body |= {"self": f"{ROOT}/{quote(name)}", "schema": "/v2/schemas/metadefs/namespace"}
    if found.get("property"):
        body["properties"] = {d.name: d.body for d in found["property"]}
    for kind, key in (("object", "objects"), ("tag", "tags"), ("resource_type", "resource_type_associations")):
        if found.get(kind):
            body[key] = [_show(kind, name, d) for d in found[kind]]
    return body


def list_(req: Request) -> Any:
    """List namespaces."""
    limit = req.listing.limit
    page = min(PAGE if limit is None else limit, MAX_PAGE)
    types = [t for text in req.query.get("resource_types", ()) for t in text.split(",") if t]
    found = metadefs.list_(
        req.svc,
        req.ctx,
        visibility=req.query_one("visibility"),
        resource_types=types,
        sort=req.listing.sort,
        marker=req.listing.marker,
        limit=page,
    )
    pairs = [(k, v) for k, values in req.query.items() for v in values if k != "marker"]
    first = req.path + ("?" + urlencode(pairs) if pairs else "")
    body: dict[str, Any] = {"namespaces": [_whole(req, w) for w in found], "first": first}
    if found and len(found) == page:
        body["next"] = f"{req.path}?{urlencode([*pairs, ('marker', found[-1].namespace.namespace)])}"
    return {**body, "schema": "/v2/schemas/metadefs/namespaces"}


def show(req: Request, namespace: str) -> Any:
    """Show a namespace with all it defines; with `resource_type` under the names that properties have there."""
    whole = metadefs.show(req.svc, req.ctx, namespace)
    body, prefix = _whole(req, whole), _prefix(req, whole.definitions["resource_type"])
    if "properties" in body:
        body["properties"] = {prefix + name: found for name, found in body["properties"].items()}
    for found in body.get("objects", ()):
        found["properties"] = {prefix + name: inner for name, inner in found["properties"].items()}
        found["required"] = [prefix + name for name in found["required"]]
    return body


def _prefix(req: Request, associations: Iterable[Definition]) -> str:
    """What the names of properties begin with at the resource type that the caller asks for."""
    wanted = req.query_one("resource_type")
    return next((str(a.body.get("prefix") or "") for a in associations if a.name == wanted), "")


def _by_name(kind: str, namespace: str, items: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Definitions that were sent together. DefinitionExists when one of them came twice."""
    bodies: dict[str, dict[str, Any]] = {}
    for item in items:
        if item["name"] in bodies:
            raise errors.DefinitionExists(kind=kind, name=item["name"], namespace=namespace)
        bodies[item["name"]] = _body(item)
    return bodies


def parts(sent: dict[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """A namespace that was sent, as its own columns and its definitions by kind and name."""
    bodies: dict[str, dict[str, Any]] = {"property": dict(sent.get("properties", {}))}
    for kind, key in (("object", "objects"), ("tag", "tags"), ("resource_type", "resource_type_associations")):
        bodies[kind] = _by_name(kind, sent["namespace"], sent.get(key, ()))
    values = {**NAMESPACE.defaults(), **{k: v for k, v in sent.items() if k in NAMESPACE.fields}}
    for gone in ("properties", "objects", "tags", "resource_type_associations", "created_at", "updated_at"):
        values.pop(gone, None)
    return {"display_name": None, "description": None, **values}, bodies


def create(req: Request) -> Reply:
    """Create a namespace, with what it defines."""
    made = metadefs.create(req.svc, req.ctx, *parts(req.body))
    place = f"{req.base_url}{ROOT}/{quote(made.namespace.namespace)}"
    return Reply(_whole(req, made), headers=[("Location", place)])


def update(req: Request, namespace: str) -> Any:
    """Change a namespace's own attributes."""
    values = {k: v for k, v in req.body.items() if k in NAMESPACE.fields and NAMESPACE[k].update}
    return _whole(req, Whole(metadefs.update(req.svc, req.ctx, namespace, values)))


def delete(req: Request, namespace: str) -> None:
    """Delete a namespace and all it defines."""
    metadefs.delete(req.svc, req.ctx, namespace)


def resource_types(req: Request) -> Any:
    """List the names of resource types."""
    return {"resource_types": [{"name": name} for name in metadefs.resource_types(req.svc)]}


# ---- what namespaces define: one handler for each verb, made for each kind


def lister(kind: str) -> Handler:
    def handler(req: Request, namespace: str) -> Any:
        found = metadefs.definitions(req.svc, req.ctx, namespace, kind)
        if kind == "property":
            return {"properties": {d.name: _show(kind, namespace, d) for d in found}}
        if kind == "resource_type":
            return {"resource_type_associations": [_show(kind, namespace, d) for d in found]}
        page, more = _page(req, found)
        place = f"{ROOT}/{quote(namespace)}/{_PLACES[kind]}"
        body = {_PLACES[kind]: [_show(kind, namespace, d) for d in page], "first": place}
        if more:
            body["next"] = f"{place}?{urlencode({'limit': len(page), 'marker': page[-1].name})}"
        return {**body, "schema": f"/v2/schemas/metadefs/{_PLACES[kind]}"}

    return _named(handler, f"List the {NOUNS[kind].plural} of a namespace.")


def _page(req: Request, found: list[Definition]) -> tuple[list[Definition], bool]:
    """The definitions behind the marker, as many as were asked for; and whether there are more."""
    marker, limit = req.query_one("marker"), req.query_one("limit")
    if limit is not None and not limit.isdecimal():
        raise BadRequest("limit param must be an integer")
    names = [d.name for d in found]
    if marker is not None and marker not in names:
        raise NotFound(f"There is no {marker} to go on after.")
    first = 0 if marker is None else names.index(marker) + 1
    end = len(found) if limit is None else first + int(limit)
    return found[first:end], limit not in (None, "0") and end < len(found)


def shower(kind: str) -> Handler:
    def handler(req: Request, namespace: str, name: str) -> Any:
        prefix = ""
        if kind == "property" and req.query_one("resource_type"):
            prefix = _prefix(req, metadefs.definitions(req.svc, req.ctx, namespace, "resource_type"))
            if not name.startswith(prefix):
                raise errors.DefinitionNotFound(kind=kind, name=name, namespace=namespace)
        found = metadefs.definition(req.svc, req.ctx, namespace, kind, name.removeprefix(prefix))
        shown = _show(kind, namespace, found)
        return {**shown, "name": prefix + found.name}

    return _named(handler, f"Show one of the {NOUNS[kind].plural} of a namespace.")


def creator(kind: str) -> Handler:
    def handler(req: Request, namespace: str) -> Any:
        bodies = {req.body["name"]: _body(req.body)}
        return _show(kind, namespace, metadefs.define(req.svc, req.ctx, namespace, kind, bodies)[0])

    return _named(handler, f"Add to the {NOUNS[kind].plural} of a namespace.")


def updater(kind: str) -> Handler:
    def handler(req: Request, namespace: str, name: str) -> Any:
        body = _body(req.body)
        return _show(
            kind, namespace, metadefs.redefine(req.svc, req.ctx, namespace, kind, name, req.body["name"], body)
        )

    return _named(handler, f"Change one of the {NOUNS[kind].plural} of a namespace.")


def deleter(kind: str) -> Handler:
    def handler(req: Request, namespace: str, name: str) -> None:
        metadefs.undefine(req.svc, req.ctx, namespace, kind, name)

    return _named(handler, f"Delete one of the {NOUNS[kind].plural} of a namespace.")


def eraser(kind: str) -> Handler:
    def handler(req: Request, namespace: str) -> None:
        metadefs.undefine(req.svc, req.ctx, namespace, kind)

    return _named(handler, f"Delete all {NOUNS[kind].plural} of a namespace.")


def _named(handler: Handler, text: str) -> Handler:
    handler.__doc__ = text
    return handler


def create_tag(req: Request, namespace: str, name: str) -> Any:
    """Add a tag to a namespace."""
    return _show("tag", namespace, metadefs.define(req.svc, req.ctx, namespace, "tag", {name: {}})[0])


def create_tags(req: Request, namespace: str) -> Any:
    """Set the tags of a namespace, or add to them (header X-Openstack-Append)."""
    bodies = _by_name("tag", namespace, req.body["tags"])
    append = to_bool(req.header("X-Openstack-Append") or "false")
    found = metadefs.define(req.svc, req.ctx, namespace, "tag", bodies, anew=not append)
    return {"tags": [_show("tag", namespace, d) for d in found]}
