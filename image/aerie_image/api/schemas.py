# SPDX-License-Identifier: Apache-2.0
"""JSON schemas for clients, made of the field rows. glanceclient reads them before anything else."""

from __future__ import annotations

from typing import Any

from aerie_common.fields import Resource
from aerie_common.http import Request
from aerie_image.schemas import IMAGE, MEMBER
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
