# SPDX-License-Identifier: Apache-2.0
"""Fields and types that all nouns of this API share."""

from __future__ import annotations

from typing import Any

from aerie_common import schema
from aerie_common.fields import Field, Resource
from aerie_common.schema import Schema

ADMIN_FIELD = "rule:admin"
SERVICE_FIELD = "rule:admin or role:service"
NETWORK_OWNER_FIELD = "rule:admin or role:service or project_id:%(network:project_id)s"

NAME = schema.string(max=255)
BOOL = schema.boolean(text=True)
OPTIONAL_ID = schema.uuid(nullable=True)
# No control characters: these texts reach configuration files.
PLAIN = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"
TEXT = schema.string(max=255, pattern=PLAIN)
ADDRESS = schema.string(max=64, pattern=r"^[0-9a-fA-F:.]+$")
OPTIONAL_ADDRESS = schema.string(max=64, pattern=r"^[0-9a-fA-F:.]+$", nullable=True)
CIDR = schema.string(max=64, pattern=r"^[0-9a-fA-F:./]+$")
MAC = schema.string(max=32, pattern=r"^[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}$")


def flag(name: str, *, default: Any = False, create: bool = True, update: bool = True, **kw: Any) -> Field:
    """A boolean the way this API's clients write it: true, "True", 1 ..."""
    kw.setdefault("filter", True)
    kw.setdefault("sort", True)
    return Field(name, BOOL, create=create, update=update, default=default, convert=schema.to_bool, **kw)


def number(name: str, type_: Schema, **kw: Any) -> Field:
    """A whole number, in digits or as text."""
    return Field(name, type_, convert=int, **kw)


def identity() -> list[Field]:
    """id, name, and the owner under both of its names."""
    return [
        Field("id", schema.string(), filter=True, sort=True),
        Field("name", NAME, create=True, update=True, default="", filter=True, sort=True),
        *owner(),
    ]


def owner() -> list[Field]:
    return [
        Field("tenant_id", schema.string(max=64), create=True, read="project_id", filter=True, sort=True),
        Field("project_id", schema.string(max=64), create=True, filter=True, sort=True),
    ]


def standard(*, tags: bool = True, description: bool = True) -> list[Field]:
    """description, tags, revision and times."""
    fields = [
        Field("revision_number", {"type": "integer"}, filter=True, sort=True),
        Field("created_at", schema.string(format="date-time"), filter=True, sort=True),
        Field("updated_at", schema.string(format="date-time"), filter=True, sort=True),
    ]
    if tags:
        fields.append(Field("tags", schema.array(schema.string()), read=lambda row, ctx: list(row.tags)))
    if description:
        fields.insert(0, Field("description", NAME, create=True, update=True, default="", filter=True, sort=True))
    return fields


def body(resource: Resource, verb: str) -> Schema:
    """One object, or for creates several at once: {"port": {..}} or {"ports": [..]}, each bare or as {"port": {..}}."""
    one = resource.object_schema("create" if verb == "create" else "update")
    properties: dict[str, Schema] = {resource.singular: one}
    if verb == "create":
        wrapped = schema.obj({resource.singular: one}, [resource.singular])
        properties[resource.plural] = schema.array(schema.any_of(one, wrapped), min=1)
    made = schema.obj(properties)
    made["minProperties"] = made["maxProperties"] = 1
    return made


def unwrap(resource: Resource, sent: dict[str, Any]) -> tuple[list[dict[str, Any]], bool]:
    """The objects of a create's body, and whether they came as a list."""
    if resource.plural in sent:
        items = sent[resource.plural]
        return [item[resource.singular] if item.keys() == {resource.singular} else item for item in items], True
    return [sent[resource.singular]], False
