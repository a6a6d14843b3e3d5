# SPDX-License-Identifier: Apache-2.0
"""Attributes of regions, services, endpoints and endpoint groups."""

from aerie_common import schema
from aerie_common.fields import Field, Resource
from aerie_identity.schemas.common import ID, TEXT

_REGION_ID = schema.string(0, 255)
_REGION_ID_OR_NULL = schema.string(0, 255, nullable=True)

REGION = Resource("region", "regions", [
    Field("id", _REGION_ID, create=True),
    Field("description", TEXT, create=True, update=True, default=""),
    Field("parent_region_id", _REGION_ID_OR_NULL, create=True, update=True, filter=True),
], extra=True)  # fmt: skip

SERVICE = Resource("service", "services", [
    Field("id", schema.string()),
    Field("type", schema.string(1, 255), create="required", update=True, filter=True, sort=True),
    Field("name", schema.string(0, 255, nullable=True), create=True, update=True, filter=True, sort=True),
    Field("description", TEXT, create=True, update=True),
    Field("enabled", schema.boolean(), create=True, update=True, default=True),
], extra=True)  # fmt: skip

INTERFACE = schema.enum("public", "internal", "admin")
ENDPOINT = Resource("endpoint", "endpoints", [
    Field("id", schema.string()),
    Field("interface", INTERFACE, create="required", update=True, filter=True),
    Field("region_id", _REGION_ID_OR_NULL, create=True, update=True, filter=True),
    Field("region", _REGION_ID_OR_NULL, create=True, update=True, read="region_id"),
    Field("service_id", ID, create="required", update=True, filter=True),
    Field("url", schema.string(1, 2000, pattern=r"^[a-zA-Z0-9+.-]+:.+"), create="required", update=True),
    Field("name", schema.string(0, 255, nullable=True), create=True, update=True),
    Field("description", TEXT, create=True, update=True),
    Field("enabled", schema.boolean(), create=True, update=True, default=True),
], extra=True)  # fmt: skip

ENDPOINT_GROUP = Resource("endpoint_group", "endpoint_groups", [
    Field("id", schema.string()),
    Field("name", schema.name(), create="required", update=True, filter=True),
    Field("description", TEXT, create=True, update=True),
    Field("filters", schema.obj({  # null changes nothing: the command line sends it
        "interface": INTERFACE, "service_id": ID, "region_id": _REGION_ID, "enabled": schema.boolean(),
    }, nullable=True), create="required", update=True),
], extra=False)  # fmt: skip
