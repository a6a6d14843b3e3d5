# SPDX-License-Identifier: Apache-2.0
"""The fields of a flavor."""

from __future__ import annotations

from aerie_common import schema
from aerie_common.fields import Field, Resource

NAME = schema.string(1, 255, pattern=r"^[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*$")
ID = schema.any_of(
    schema.string(0, 255, pattern=r"^(?! )[a-zA-Z0-9. _-]*(?<! )$", nullable=True), schema.integer(), {"type": "number"}
)
_MAX = 2147483647


FLAVOR = Resource(
    "flavor",
    "flavors",
    [
        Field("id", ID, create=True, read="flavorid"),
        Field("name", NAME, create="required"),
        Field("ram", schema.integer(1, _MAX, text=True), create="required", read="memory_mb", convert=int),
        Field("vcpus", schema.integer(1, _MAX, text=True), create="required", convert=int),
        Field("disk", schema.integer(0, _MAX, text=True), create="required", read="root_gb", convert=int),
        Field("OS-FLV-EXT-DATA:ephemeral", schema.integer(0, _MAX, text=True), create=True, read="ephemeral_gb",
              convert=int, default=0),
        Field("swap", schema.any_of(schema.integer(0, _MAX, text=True), {"const": ""}), create=True,
              convert=lambda v: int(v or 0), default=0),
        Field("rxtx_factor", schema.number(0, text=True), create=True, convert=float, default=1.0),
        Field("os-flavor-access:is_public", schema.boolean(text=True), create=True, read="is_public",
              convert=schema.to_bool, default=True),
        Field("OS-FLV-DISABLED:disabled", schema.boolean(), read="disabled"),
        Field("description", schema.string(max=65535, nullable=True), create=True, update="required", since="2.55"),
        Field("extra_specs", schema.obj(extra=schema.string(nullable=True)), since="2.61"),
    ],
)  # fmt: skip

COLUMNS = {
    "id": "flavorid", "name": "name", "ram": "memory_mb", "vcpus": "vcpus", "disk": "root_gb",
    "OS-FLV-EXT-DATA:ephemeral": "ephemeral_gb", "swap": "swap", "rxtx_factor": "rxtx_factor",
    "os-flavor-access:is_public": "is_public", "description": "description",
}  # fmt: skip
"""Request names and what logic calls them."""

_KEY = r"^[a-zA-Z0-9\-_:. ]{1,255}$"
_VALUE = {"type": ["string", "integer", "number"], "maxLength": 255}
EXTRA_SPECS = schema.obj({"extra_specs": schema.obj(patterns={_KEY: _VALUE})}, ["extra_specs"])
EXTRA_SPEC = schema.obj(patterns={_KEY: _VALUE})
PROJECT = schema.obj({"tenant": schema.string(1, 255)}, ["tenant"])
ADD_ACCESS = schema.obj({"addTenantAccess": PROJECT}, ["addTenantAccess"])
REMOVE_ACCESS = schema.obj({"removeTenantAccess": PROJECT}, ["removeTenantAccess"])
