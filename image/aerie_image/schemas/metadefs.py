# SPDX-License-Identifier: Apache-2.0
"""The fields of metadata definitions: namespaces, objects, properties, tags, associations with resource types."""

from __future__ import annotations

from aerie_common import schema
from aerie_common.fields import Field, Resource

_time = schema.string(format="date-time", nullable=True)
_name = schema.string(1, 80, pattern=r"^[^/\x00-\x1f]*$")
_OPERATORS = ("<or>", "<in>", "<all-in>", "<=", ">=", "==", "!=", "=", "s==", "s!=", "s<", "s<=", "s>", "s>=")

# The JSON schema of one property, as far as definitions may go.
PROPERTY_BODY = schema.obj(
    {
        "title": schema.string(),
        "description": schema.string(max=None),
        "type": schema.enum("array", "boolean", "integer", "number", "object", "string"),
        "operators": schema.array(schema.enum(*_OPERATORS)),
        "readonly": schema.boolean(),
        "enum": {"type": "array"},
        "default": {},
        "items": schema.obj(
            {
                "type": schema.enum("array", "boolean", "integer", "number", "object", "string"),
                "enum": {"type": "array"},
            },
            extra=True,
        ),
        "minimum": schema.number(),
        "maximum": schema.number(),
        "minLength": schema.integer(0),
        "maxLength": schema.integer(0),
        "pattern": schema.string(max=None),
        "minItems": schema.integer(0),
        "maxItems": schema.integer(0),
        "uniqueItems": schema.boolean(),
        "additionalItems": schema.boolean(),
        "required": schema.array(schema.string()),
    },
    ["title", "type"],
    extra={},
)
PROPERTY = Resource(
    "property",
    "properties",
    [
        Field("name", _name, create="required", update="required"),
        *(
            Field(n, s, create="required" if n in PROPERTY_BODY["required"] else True,
                  update="required" if n in PROPERTY_BODY["required"] else True)
            for n, s in PROPERTY_BODY["properties"].items()
        ),
    ],
    wrap=False,
    extra={},
)  # fmt: skip
OBJECT = Resource(
    "object",
    "objects",
    [
        Field("name", _name, create="required", update="required"),
        Field("description", schema.string(max=None, nullable=True), create=True, update=True),
        Field("required", schema.array(schema.string()), create=True, update=True),
        Field("properties", schema.obj(extra=PROPERTY_BODY), create=True, update=True),
        Field("created_at", _time),
        Field("updated_at", _time),
    ],
    wrap=False,
    extra={},
)
TAG = Resource(
    "tag",
    "tags",
    [
        Field("name", _name, create="required", update="required"),
        Field("created_at", _time),
        Field("updated_at", _time),
    ],
    wrap=False,
    extra={},
)
ASSOCIATION = Resource(
    "resource_type_association",
    "resource_type_associations",
    [
        Field("name", _name, create="required"),
        Field("prefix", schema.string(max=80, nullable=True), create=True),
        Field("properties_target", schema.string(max=80, nullable=True), create=True),
        Field("created_at", _time),
        Field("updated_at", _time),
    ],
    wrap=False,
    extra={},
)
NAMESPACE = Resource(
    "namespace",
    "namespaces",
    [
        Field("namespace", _name, create="required", update="required", sort=True,
              doc="The unique namespace text."),
        Field("display_name", schema.string(max=80, nullable=True), create=True, update=True,
              doc="The user friendly name for the namespace. Used by UI if available."),
        Field("description", schema.string(max=500, nullable=True), create=True, update=True,
              doc="Provides a user friendly description of the namespace."),
        Field("visibility", schema.enum("public", "private"), create=True, update=True, default="private", filter=True,
              doc="Scope of namespace accessibility."),
        Field("protected", schema.boolean(), create=True, update=True, default=False,
              doc="If true, namespace will not be deletable."),
        Field("owner", schema.string(max=64), create=True, update=True, doc="Owner of the namespace."),
        Field("objects", schema.array(OBJECT.object_schema("create")), create=True, show=False),
        Field("properties", schema.obj(extra=PROPERTY_BODY), create=True, show=False),
        Field("tags", schema.array(TAG.object_schema("create")), create=True, show=False),
        Field("resource_type_associations", schema.array(ASSOCIATION.object_schema("create")), create=True, show=False),
        Field("created_at", _time, sort=True, doc="Date and time of namespace creation"),
        Field("updated_at", _time, sort=True, doc="Date and time of the last namespace modification"),
    ],
    wrap=False,
    extra={},
)  # fmt: skip
TAGS = schema.obj({"tags": schema.array(TAG.object_schema("create"))}, ["tags"])
