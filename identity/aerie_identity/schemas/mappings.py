# SPDX-License-Identifier: Apache-2.0
"""Attributes of mappings: what an identity provider says (remote) and what follows from it here (local)."""

from __future__ import annotations

from aerie_common import schema
from aerie_common.fields import Field, Resource
from aerie_common.schema import Schema

VERSIONS = ("1.0", "2.0")
_TEXT = schema.string(0, 1024)
_DOMAIN = schema.obj({"id": _TEXT, "name": _TEXT})
_VALUES = schema.array(_TEXT)
_TYPE = {"type": schema.string(1)}


def _tested(test: str) -> Schema:
    return schema.obj({**_TYPE, test: _VALUES, "regex": schema.boolean()}, ["type", test])


_REMOTE: Schema = schema.any_of(
    schema.obj(_TYPE, ["type"]), *(_tested(test) for test in ("any_one_of", "not_any_of", "blacklist", "whitelist"))
)
_LOCAL = schema.obj({
    "user": schema.obj({
        "id": _TEXT, "name": _TEXT, "email": _TEXT, "domain": _DOMAIN, "type": schema.enum("ephemeral", "local"),
    }),
    "group": schema.any_of(
        schema.obj({"id": _TEXT}, ["id"]), schema.obj({"name": _TEXT, "domain": _DOMAIN}, ["name", "domain"])
    ),
    "groups": _TEXT,
    "group_ids": _TEXT,
    "domain": _DOMAIN,
    "projects": schema.array(schema.obj({
        "name": _TEXT,
        "domain": _DOMAIN,
        "roles": schema.array(schema.obj({"name": _TEXT}, ["name"])),
    }, ["name", "roles"])),
})  # fmt: skip
_RULE = schema.obj({"local": schema.array(_LOCAL), "remote": schema.array(_REMOTE, 1)}, ["local", "remote"])

MAPPING = Resource("mapping", "mappings", [
    Field("id", schema.string()),
    Field("rules", schema.array(_RULE, 1), create="required", update="required"),
    Field("schema_version", schema.enum(*VERSIONS, None), create=True, update=True),
], extra=True)  # fmt: skip
