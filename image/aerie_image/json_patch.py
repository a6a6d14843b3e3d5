# SPDX-License-Identifier: Apache-2.0
"""The JSON patches of the image API: a list of add, replace and remove on one attribute each."""

from __future__ import annotations

from typing import Any

from aerie_common.errors import BadRequest

V21 = "application/openstack-images-v2.1-json-patch"
V20 = "application/openstack-images-v2.0-json-patch"
_VERBS = ("add", "replace", "remove")


def _pointer(path: Any) -> str:
    if not isinstance(path, str) or not path.startswith("/"):
        raise BadRequest("Each change needs a path that begins with a slash.")
    name = path[1:]
    if name.startswith("locations/"):  # the one attribute whose items had paths; nobody changes it by a patch
        return "locations"
    if "//" in path or path.endswith("/") or "/" in name:
        raise BadRequest(f"Invalid JSON pointer for this resource: '{path}'. Whole attributes only, e.g. /name.")
    bare = name.replace("~0", "").replace("~1", "")
    if "~" in bare:
        raise BadRequest(f"Pointer `{path}` contains `~` not part of a recognized escape sequence.")
    return name.replace("~1", "/").replace("~0", "~")


def parse(body: Any, content_type: str) -> list[tuple[str, str, Any]]:
    """(operation, attribute, value) of each change in order; value is None for remove."""
    if not isinstance(body, list):
        raise BadRequest("Request body must be a JSON array of operation objects.")
    return [_one(item, content_type.startswith(V20)) for item in body]


def _one(item: Any, old: bool) -> tuple[str, str, Any]:
    if not isinstance(item, dict):
        raise BadRequest("Operations must be JSON objects.")
    if old:
        verbs = [verb for verb in _VERBS if verb in item]
        if len(verbs) != 1:
            raise BadRequest("Operation objects must contain exactly one member named add, remove or replace.")
        verb, path = verbs[0], item[verbs[0]]
    else:
        verb, path = str(item.get("op")), item.get("path")
        if verb not in _VERBS:
            raise BadRequest(f"The operation must be one of {', '.join(_VERBS)}, not {verb!r}.")
    if verb != "remove" and "value" not in item:
        raise BadRequest("Operation object lacks a value.")
    return verb, _pointer(path), item.get("value")
