# SPDX-License-Identifier: Apache-2.0
"""No list of the image API costs more statements when it is longer."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from aerie_common.db import count_queries
from aerie_common.testing.api import Api, Caller
from aerie_image.operations import TABLE

NUMBERS = itertools.count(1)
NAMESPACE = "/v2/metadefs/namespaces/OS::Test"
ELSEWHERE = {
    "/v2/images/{image_id}/locations": "a column of the image",
    "/v2/images/{image_id}/tasks": "as /v2/tasks, of one image",
    "/v2/metadefs/namespaces": "test_metadefs.py: with the namespaces of a fresh cloud",
    "/v2/metadefs/resource_types": "made with namespaces' resource types, below",
}
"""Lists that are not measured here, and why. Caches' are files of hosts and have no statements of their own."""


def _definition(api: Api, admin: Caller, kind: str, **values: Any) -> None:
    api.call("POST", f"{NAMESPACE}/{kind}", {"name": f"n{next(NUMBERS)}", **values}, by=admin, expect=201)


GROWS: dict[str, Callable[[Api, Caller, str], Any]] = {
    "/v2/images": lambda api, admin, image: api.call("POST", "/v2/images", {"name": "i"}, by=admin, expect=201),
    "/v2/images/{image_id}/members": lambda api, admin, image: api.call(
        "POST", f"/v2/images/{image}/members", {"member": uuid.uuid4().hex}, by=admin, expect=200
    ),
    "/v2/tasks": lambda api, admin, image: api.call(
        "POST",
        "/v2/tasks",
        {"type": "import", "input": {"import_from": "http://127.0.0.1/x", "import_from_format": "raw",
                                     "image_properties": {"disk_format": "raw", "container_format": "bare"}}},
        by=admin, expect=201,
    ),
    "/v2/metadefs/namespaces/{namespace}/objects": lambda api, admin, image: _definition(api, admin, "objects"),
    "/v2/metadefs/namespaces/{namespace}/properties": lambda api, admin, image: _definition(
        api, admin, "properties", title="t", type="string"
    ),
    "/v2/metadefs/namespaces/{namespace}/tags": lambda api, admin, image: api.call(
        "POST", f"{NAMESPACE}/tags/t{next(NUMBERS)}", by=admin, expect=201
    ),
    "/v2/metadefs/namespaces/{namespace}/resource_types": lambda api, admin, image: _definition(
        api, admin, "resource_types"
    ),
}  # fmt: skip


@pytest.mark.parametrize("path", GROWS)
def test_statements_do_not_grow_with_a_list(one_api: Api, path: str) -> None:
    api, admin = one_api, one_api.caller("admin")
    api.svc.conf.set_override("allowed_networks", ["127.0.0.1/32"], group="import_filtering_opts")
    image = api.call("POST", "/v2/images", {"name": "i", "visibility": "shared"}, by=admin, expect=201).json["id"]
    api.call("POST", "/v2/metadefs/namespaces", {"namespace": "OS::Test"}, by=admin, expect=201)

    def cost() -> tuple[int, int]:
        address = path.format(image_id=image, namespace="OS::Test")
        with count_queries(api.svc.db) as counter:
            found = api.call("GET", address, by=admin, expect=200).json
        return counter.count, max(len(value) for value in found.values() if isinstance(value, (list, dict)))

    GROWS[path](api, admin, image)
    before, length = cost()
    for _ in range(3):
        GROWS[path](api, admin, image)
    after, longer = cost()
    assert longer == length + 3
    assert after <= before <= 3


def test_every_list_is_tested() -> None:
    listed = {
        op.path
        for op in TABLE.operations
        if op.method == "GET" and "/schemas/" not in op.path and op.path.rpartition("/")[2] in
        ("images", "members", "locations", "tasks", "namespaces", "objects", "properties", "tags", "resource_types")
    }  # fmt: skip
    assert listed - set(GROWS) - set(ELSEWHERE) == set()
    filtered = {op.path for op in TABLE.operations if op.filters is not None}
    assert filtered - set(GROWS) - set(ELSEWHERE) == set()
