# SPDX-License-Identifier: Apache-2.0
"""The operations of the placement API, microversions 1.0 to 1.39."""

from __future__ import annotations

from typing import Any

from aerie_common import dialects, policy, schema
from aerie_common.microversions import Microversions
from aerie_common.operations import Handler, Method, Operation, Table
from aerie_compute.placement import api, schemas

ANY = schema.obj(extra=True)


def _op(method: Method, path: str, handler: Handler, rule: str, **more: Any) -> Operation:
    return Operation(method, path, handler, f"placement:{rule}", policy.ADMIN_OR_SERVICE, **more)


_RP = "/resource_providers/{provider_id}"
_INVENTORY = _RP + "/inventories/{resource_class}"

OPERATIONS = [
    Operation("GET", "/", api.versions, None),
    _op("GET", "/resource_providers", api.provider_list, "resource_providers:list"),
    _op("POST", "/resource_providers", api.provider_create, "resource_providers:create", request=schemas.PROVIDER,
        until="1.13"),
    _op("POST", "/resource_providers", api.provider_create, "resource_providers:create", request=schemas.PROVIDER_114,
        since="1.14"),
    _op("GET", _RP, api.provider_show, "resource_providers:show"),
    _op("PUT", _RP, api.provider_update, "resource_providers:update", request=schemas.PROVIDER_PUT, until="1.13"),
    _op("PUT", _RP, api.provider_update, "resource_providers:update", request=schemas.PROVIDER_PUT_114, since="1.14"),
    _op("DELETE", _RP, api.provider_delete, "resource_providers:delete", status=204),
    _op("GET", _RP + "/inventories", api.inventory_list, "resource_providers:inventories:list"),
    _op("PUT", _RP + "/inventories", api.inventory_replace, "resource_providers:inventories:update",
        request=schemas.INVENTORIES),
    _op("POST", _RP + "/inventories", api.inventory_create, "resource_providers:inventories:create",
        request=schemas.INVENTORY_POST),
    _op("DELETE", _RP + "/inventories", api.inventory_clear, "resource_providers:inventories:delete", status=204,
        since="1.5"),
    _op("GET", _INVENTORY, api.inventory_show, "resource_providers:inventories:show"),
    _op("PUT", _INVENTORY, api.inventory_update, "resource_providers:inventories:update", request=schemas.INVENTORY),
    _op("DELETE", _INVENTORY, api.inventory_delete, "resource_providers:inventories:delete", status=204),
    _op("GET", _RP + "/usages", api.provider_usages, "resource_providers:usages"),
    _op("GET", _RP + "/allocations", api.provider_allocations, "resource_providers:allocations:list"),
    _op("GET", _RP + "/aggregates", api.aggregates_show, "resource_providers:aggregates:list", since="1.1"),
    _op("PUT", _RP + "/aggregates", api.aggregates_set, "resource_providers:aggregates:update", since="1.1",
        until="1.18",
        request=schemas.AGGREGATES),
    _op("PUT", _RP + "/aggregates", api.aggregates_set, "resource_providers:aggregates:update", since="1.19",
        request=schemas.AGGREGATES_119),
    _op("GET", _RP + "/traits", api.provider_traits, "resource_providers:traits:list", since="1.6"),
    _op("PUT", _RP + "/traits", api.provider_traits_set, "resource_providers:traits:update", since="1.6",
        request=schemas.TRAITS),
    _op("DELETE", _RP + "/traits", api.provider_traits_clear, "resource_providers:traits:delete", since="1.6",
        status=204),
    _op("GET", "/traits", api.trait_list, "traits:list", since="1.6"),
    _op("GET", "/traits/{name}", api.trait_show, "traits:show", since="1.6", status=204),
    _op("PUT", "/traits/{name}", api.trait_create, "traits:update", since="1.6", status=201),
    _op("DELETE", "/traits/{name}", api.trait_delete, "traits:delete", since="1.6", status=204),
    _op("GET", "/resource_classes", api.class_list, "resource_classes:list", since="1.2"),
    _op("POST", "/resource_classes", api.class_create, "resource_classes:create", since="1.2",
        request=schemas.CLASS_POST, status=201),
    _op("GET", "/resource_classes/{name}", api.class_show, "resource_classes:show", since="1.2"),
    _op("PUT", "/resource_classes/{name}", api.class_ensure, "resource_classes:update", since="1.7"),
    _op("DELETE", "/resource_classes/{name}", api.class_delete, "resource_classes:delete", since="1.2", status=204),
    _op("GET", "/allocations/{consumer_id}", api.allocations_show, "allocations:list"),
    _op("PUT", "/allocations/{consumer_id}", api.allocations_set, "allocations:update", request=ANY, status=204),
    _op("DELETE", "/allocations/{consumer_id}", api.allocations_delete, "allocations:delete", status=204),
    _op("POST", "/allocations", api.allocations_set_many, "allocations:manage", request=ANY, status=204, since="1.13"),
    _op("GET", "/allocation_candidates", api.candidates, "allocation_candidates:list", since="1.10"),
    _op("GET", "/usages", api.usages, "usages", since="1.9"),
]  # fmt: skip

TABLE = Table(
    "placement",
    OPERATIONS,
    dialect=dialects.placement,
    versions=Microversions("placement", api.MINIMUM, api.MAXIMUM),
    prefixes=("/placement",),
)
