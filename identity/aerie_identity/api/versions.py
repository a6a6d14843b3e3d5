# SPDX-License-Identifier: Apache-2.0
"""Version discovery: `/`, `/v3`, and the JSON-Home document of all addresses."""

from __future__ import annotations

from functools import cache
from typing import Any

import orjson

from aerie_common.http import Reply, Request

VERSION = "v3.14"
UPDATED = "2020-04-07T00:00:00Z"
MEDIA_TYPES = [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}]
JSON_HOME = "application/json-home"


def _version(req: Request) -> dict[str, Any]:
    return {
        "id": VERSION,
        "status": "stable",
        "updated": UPDATED,
        "links": [{"rel": "self", "href": f"{req.base_url}/v3/"}],
        "media-types": MEDIA_TYPES,
    }


def _wants_home(req: Request) -> bool:
    return JSON_HOME in (req.header("Accept") or "")


def list_(req: Request) -> Reply:
    """List the versions of this API."""
    if _wants_home(req):
        return Reply(body=_home("/v3"), status=200, content_type=JSON_HOME)
    location = ("Location", f"{req.base_url}/v3/")
    return Reply({"versions": {"values": [_version(req)]}}, status=300, headers=[("Vary", "X-Auth-Token"), location])


def show(req: Request) -> Reply:
    """Show version 3 of this API."""
    if _wants_home(req):
        return Reply(body=_home(""), content_type=JSON_HOME)
    return Reply({"version": _version(req)}, headers=[("Vary", "X-Auth-Token")])


_ROOT = "https://docs.openstack.org/api/openstack-identity/3"
_EXTENSION_PARAMETERS = ("trust_id", "endpoint_group_id", "idp_id", "sp_id", "mapping_id", "protocol_id", "consumer_id")
_NAMED = {  # relations that are not called after their path
    "/users/{user_id}/password": "user_change_password",
    "/users/{user_id}/application_credentials": "application_credentials",
    "/users/{user_id}/application_credentials/{application_credential_id}": "application_credential",
    "/users/{user_id}/access_rules": "access_rules",
    "/users/{user_id}/access_rules/{access_rule_id}": "access_rule",
    "/roles/{prior_role_id}/implies": "implied_roles",
    "/roles/{prior_role_id}/implies/{implied_role_id}": "implied_role",
    "/domains/{domain_id}/config/{group}": "domain_config_group",
    "/domains/{domain_id}/config/{group}/{option}": "domain_config_option",
    "/limits/model": "limit_model",
    "/domains/config/default": "domain_config_default",
    "/domains/config/{group}/default": "domain_config_default_group",
    "/domains/config/{group}/{option}/default": "domain_config_default_option",
    "/OS-EP-FILTER/endpoint_groups/{endpoint_group_id}/endpoints": "endpoints_in_endpoint_group",
    "/OS-EP-FILTER/endpoint_groups/{endpoint_group_id}/projects": "projects_associated_with_endpoint_group",
    "/OS-EP-FILTER/endpoint_groups/{endpoint_group_id}/projects/{project_id}": "endpoint_group_to_project_association",
}
_ASSOCIATED = "/policies/{policy_id}/OS-ENDPOINT-POLICY"
_NAMED |= {
    f"{_ASSOCIATED}/endpoints/{{endpoint_id}}": "endpoint_policy_association",
    f"{_ASSOCIATED}/services/{{service_id}}": "service_policy_association",
    f"{_ASSOCIATED}/services/{{service_id}}/regions/{{region_id}}": "region_and_service_policy_association",
}
_EXTENSION_OF = {"/ec2tokens": "OS-EC2", "/s3tokens": "s3tokens"}


@cache
def _home(prefix: str) -> bytes:
    """JSON-Home of the operation table, with addresses below `prefix`."""
    from aerie_identity.operations import TABLE

    resources: dict[str, dict[str, Any]] = {}
    for op in TABLE.operations:
        if not op.path.startswith("/v3/"):
            continue
        path = op.path.removeprefix("/v3")
        parts = [part for part in path.split("/") if part]
        extension = _EXTENSION_OF.get(path) or next((part for part in parts if part.startswith("OS-")), None)
        base = f"{_ROOT}/ext/{extension}/1.0" if extension else _ROOT
        names = [part[1:-1] for part in parts if part.startswith("{")]
        entry: dict[str, Any] = {"href": prefix + path}
        if names:
            variables = {n: f"{base if n in _EXTENSION_PARAMETERS else _ROOT}/param/{n}" for n in names}
            entry = {"href-template": prefix + path, "href-vars": variables}
        resources.setdefault(f"{base}/rel/{_NAMED.get(path) or _relation(parts)}", entry)
    return orjson.dumps({"resources": resources})


def _relation(parts: list[str]) -> str:
    """`/users/{user_id}/groups` is user_groups, `/users/{user_id}` is user: what an id follows is one thing."""
    parts = [part for part in parts if not part.startswith("OS-")]
    words = zip(parts, [*parts[1:], ""], strict=True)
    return "_".join(_singular(word) if after.startswith("{") else word for word, after in words if word[0] != "{")


def _singular(word: str) -> str:
    if word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word
