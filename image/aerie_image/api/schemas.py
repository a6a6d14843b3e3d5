# SPDX-License-Identifier: Apache-2.0
"""JSON schemas for clients, made of the field rows. glanceclient reads them before anything else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aerie_common.fields import Resource
from aerie_common.http import Request
from aerie_image.schemas import ASSOCIATION, IMAGE, MEMBER, NAMESPACE, OBJECT, PROPERTY, TAG, TASK
from aerie_image.schemas.images import READ_ONLY, VISIBILITIES

_LINKS = [
    {"rel": "self", "href": "{self}"},
    {"rel": "enclosure", "href": "{file}"},
    {"rel": "describedby", "href": "{schema}"},
]


def _describe(resource: Resource, rename: dict[str, str] | None = None) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for field in resource.fields.values():
        described = {k: v for k, v in field.type.items() if k != "format"}
        if "enum" in described:
            described["type"] = ["null", "string"] if None in described["enum"] else "string"
        if field.doc:
            described["description"] = field.doc
        if field.name in READ_ONLY:
            described["readOnly"] = True
        properties[(rename or {}).get(field.name, field.name)] = described
    return properties


def image_schema() -> dict[str, Any]:
    """The schema of an image, as clients see it."""
    properties = _describe(IMAGE)
    properties["visibility"]["enum"] = list(VISIBILITIES)
    for name, text in (("self", "An image self url"), ("file", "An image file url"), ("schema", "An image schema url"),
                       ("direct_url", "URL to access the image file kept in external store")):  # fmt: skip
        properties[name] = {"type": "string", "description": text, "readOnly": True}
    properties["stores"] = {
        "type": "string",
        "description": "Names of the stores that have the data, with commas between them",
        "readOnly": True,
    }
    properties["locations"] = {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["url", "metadata"],
            "properties": {"url": {"type": "string"}, "metadata": {"type": "object"}},
        },
        "description": "A set of URLs to access the image file kept in external store",
    }
    return {"name": "image", "properties": properties, "additionalProperties": {"type": "string"}, "links": _LINKS}


def _plural(name: str, singular: str, one: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "properties": {
            name: {"type": "array", "items": one},
            "first": {"type": "string"},
            "next": {"type": "string"},
            "schema": {"type": "string"},
        },
        "links": [
            {"rel": "first", "href": "{first}"},
            {"rel": "next", "href": "{next}"},
            {"rel": "describedby", "href": "{schema}"},
        ],
    }


def image(req: Request) -> Any:
    """The schema of an image."""
    return image_schema()


def images(req: Request) -> Any:
    """The schema of a list of images."""
    return _plural("images", "image", image_schema())


def member(req: Request) -> Any:
    """The schema of a member."""
    return {"name": "member", "properties": _describe(MEMBER, {"member": "member_id"})}


def members(req: Request) -> Any:
    """The schema of a list of members."""
    return _plural("members", "member", member(req))


def task(req: Request) -> Any:
    """The schema of a task."""
    return {"name": "task", "properties": _described(TASK)}


def tasks(req: Request) -> Any:
    """The schema of a list of tasks."""
    return _plural("tasks", "task", task(req))


_TIMES = ("created_at", "updated_at")
_METADEFS = {
    "namespace": NAMESPACE,
    "object": OBJECT,
    "property": PROPERTY,
    "tag": TAG,
    "resource_type": ASSOCIATION,
}


def _described(resource: Resource) -> dict[str, Any]:
    """All its properties, with the two links that every object of this API has."""
    properties = _describe(resource)
    for name in _TIMES:
        if name in properties:
            properties[name]["readOnly"] = True
    return {**properties, "self": {"type": "string", "readOnly": True}, "schema": {"type": "string", "readOnly": True}}


def _metadef(kind: str) -> dict[str, Any]:
    resource = _METADEFS[kind]
    required = [f.name for f in resource.fields.values() if f.create == "required"]
    return {
        "name": resource.singular,
        "properties": _described(resource),
        "required": required,
        "additionalProperties": False,
    }


def metadef(kind: str) -> Callable[..., Any]:
    """The handler that shows the schema of one kind of definition."""

    def handler(req: Request) -> Any:
        return _metadef(kind)

    handler.__doc__ = f"The schema of a metadata {_METADEFS[kind].singular}."
    return handler


def metadefs(kind: str) -> Callable[..., Any]:
    """The handler that shows the schema of a list of one kind of definition."""
    resource = _METADEFS[kind]

    def handler(req: Request) -> Any:
        return _plural(resource.plural, resource.singular, _metadef(kind))

    handler.__doc__ = f"The schema of a list of metadata {resource.plural}."
    return handler
