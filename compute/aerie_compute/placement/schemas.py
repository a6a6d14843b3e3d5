# SPDX-License-Identifier: Apache-2.0
"""Request bodies of the placement API, by microversion."""

from __future__ import annotations

from typing import Any

from aerie_common import schema
from aerie_common.schema import Schema

GENERATION = schema.integer(0)
CLASS = schema.string(1, 255, pattern=r"^[A-Z0-9_]+$")
AMOUNT = schema.integer(1, 2147483647)
RESOURCES = schema.obj(patterns={r"^[A-Z0-9_]+$": AMOUNT})
AGGREGATES = schema.array(schema.uuid(), unique=True)
CUSTOM = schema.string(1, 255, pattern=r"^CUSTOM_[A-Z0-9_]+$")

PROVIDER = schema.obj({"name": schema.string(1, 200), "uuid": schema.uuid()}, ["name"])
PROVIDER_114 = schema.obj(
    {"name": schema.string(1, 200), "uuid": schema.uuid(), "parent_provider_uuid": schema.uuid(nullable=True)}, ["name"]
)
PROVIDER_PUT = schema.obj({"name": schema.string(1, 200)}, ["name"])
PROVIDER_PUT_114 = schema.obj(
    {"name": schema.string(1, 200), "parent_provider_uuid": schema.uuid(nullable=True)}, ["name"]
)

_FIGURES: dict[str, Schema] = {
    "total": schema.integer(1, 2147483647),
    "reserved": schema.integer(0, 2147483647),
    "min_unit": AMOUNT,
    "max_unit": AMOUNT,
    "step_size": AMOUNT,
    "allocation_ratio": {"type": "number", "minimum": 0, "maximum": 3.40282e38},
}
INVENTORY = schema.obj(
    {**_FIGURES, "resource_provider_generation": GENERATION}, ["resource_provider_generation", "total"]
)
INVENTORY_POST = schema.obj(
    {**_FIGURES, "resource_provider_generation": GENERATION, "resource_class": CLASS}, ["resource_class", "total"]
)
INVENTORIES = schema.obj(
    {
        "resource_provider_generation": GENERATION,
        "inventories": schema.obj(patterns={r"^[A-Z0-9_]+$": schema.obj(_FIGURES, ["total"])}),
    },
    ["resource_provider_generation", "inventories"],
)

_OWNER = {"project_id": schema.string(1, 255), "user_id": schema.string(1, 255)}
_MAPPINGS = {"mappings": schema.obj(extra=True)}


def allocations(version: tuple[int, int]) -> Schema:
    """The body of PUT /allocations/{consumer}."""
    if version < (1, 12):
        one = schema.obj(
            {"resource_provider": schema.obj({"uuid": schema.uuid()}, ["uuid"]), "resources": RESOURCES},
            ["resource_provider", "resources"],
        )
        body = schema.obj({"allocations": schema.array(one, 1)}, ["allocations"])
        if version >= (1, 8):
            body = schema.obj({**body["properties"], **_OWNER}, ["allocations", *_OWNER])
        return body
    per_provider = schema.obj({"resources": RESOURCES, "generation": GENERATION}, ["resources"])
    inner = schema.obj(patterns={schema.UUID_PATTERN: per_provider})
    if version < (1, 28):
        inner["minProperties"] = 1
    properties: dict[str, Any] = {"allocations": inner, **_OWNER}
    required = ["allocations", *_OWNER]
    if version >= (1, 28):
        properties["consumer_generation"] = {"type": ["integer", "null"], "minimum": 0}
        required.append("consumer_generation")
    if version >= (1, 34):
        properties |= _MAPPINGS
    if version >= (1, 38):
        properties["consumer_type"] = schema.string(1, 255, pattern=r"^[A-Z0-9_]+$")
        required.append("consumer_type")
    return schema.obj(properties, required)


def many_allocations(version: tuple[int, int]) -> Schema:
    """The body of POST /allocations."""
    one = allocations(max(version, (1, 13)))
    one["properties"]["allocations"].pop("minProperties", None)
    return schema.obj(patterns={schema.UUID_PATTERN: one})


TRAITS = schema.obj(
    {
        "traits": schema.array(schema.string(1, 255, pattern=r"^[A-Z0-9_]+$"), unique=True),
        "resource_provider_generation": GENERATION,
    },
    ["traits", "resource_provider_generation"],
)
AGGREGATES_119 = schema.obj(
    {"aggregates": AGGREGATES, "resource_provider_generation": GENERATION},
    ["aggregates", "resource_provider_generation"],
)
CLASS_POST = schema.obj({"name": CUSTOM}, ["name"])
