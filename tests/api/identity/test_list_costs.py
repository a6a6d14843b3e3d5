# SPDX-License-Identifier: Apache-2.0
"""No list of the identity API costs more statements when it is longer. Those not here are in test_lists.py."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from aerie_common.db import count_queries
from aerie_identity.db import tables
from aerie_identity.operations import TABLE

NUMBERS = itertools.count(1)
LISTS = {"users", "projects", "domains", "groups", "roles", "regions", "services", "endpoints", "credentials", "limits",
         "registered_limits", "policies"}  # fmt: skip
"""Those that test_lists.py measures."""
NO_ROWS = {
    "": "the versions of the API",
    "/auth/system": "one entry at most",
    "/OS-TRUST/trusts/{trust_id}/roles": "a column of the trust",
    "/projects/{project_id}/tags": "tested with the project",
}


@dataclass
class Place:
    """A user (with a token) and things of theirs, in which lists grow."""

    cloud: Any
    user: str
    project: str
    token: str

    def ids(self) -> dict[str, str]:
        return {"user_id": self.user, "project_id": self.project}

    def put(self, path: str, body: Any = None, expect: int = 204) -> None:
        self.cloud.call("PUT", path, body, expect=expect)

    def post(self, path: str, body: Any, token: str = "admin") -> dict[str, Any]:
        reply: dict[str, Any] = self.cloud.call("POST", path, body, token=token, expect=201).json
        return reply


Grow = Callable[[Place, dict[str, str]], Any]


def _grants(where: str, actor: str, inherited: str = "") -> Grow:
    def grow(p: Place, ids: dict[str, str]) -> None:
        p.put(f"{inherited}{where.format(**ids)}/{actor.format(**ids)}/roles/{p.cloud.role()}"
              + ("/inherited_to_projects" if inherited else ""))  # fmt: skip

    return grow


def _ec2(p: Place, ids: dict[str, str]) -> None:
    p.post(f"/users/{p.user}/credentials/OS-EC2", {"tenant_id": p.project}, p.token)


def _application_credential(p: Place, ids: dict[str, str]) -> None:
    rule = {"path": f"/v2.1/{next(NUMBERS)}", "method": "GET", "service": "compute"}
    body = {"application_credential": {"name": f"c{next(NUMBERS)}", "access_rules": [rule]}}
    p.post(f"/users/{p.user}/application_credentials", body, p.token)


def _trust(p: Place, ids: dict[str, str]) -> None:
    body = {"trustor_user_id": p.user, "trustee_user_id": p.cloud.user(), "impersonation": True,
            "project_id": p.project, "roles": [{"name": "member"}]}  # fmt: skip
    p.post("/OS-TRUST/trusts", {"trust": body}, p.token)


def _endpoint(p: Place) -> str:
    service = p.cloud.call("GET", "/services?type=image").json["services"][0]["id"]
    body = {"endpoint": {"service_id": service, "interface": "admin", "url": f"http://x{next(NUMBERS)}"}}
    return str(p.post("/endpoints", body)["endpoint"]["id"])


def _endpoint_group(p: Place) -> str:
    body = {"endpoint_group": {"name": f"g{next(NUMBERS)}", "filters": {"interface": "admin"}}}
    return str(p.post("/OS-EP-FILTER/endpoint_groups", body)["endpoint_group"]["id"])


def _mapping(p: Place) -> str:
    name = f"m{next(NUMBERS)}"
    rule = {"local": [{"user": {"name": "{0}"}}], "remote": [{"type": "sub"}]}
    p.put(f"/OS-FEDERATION/mappings/{name}", {"mapping": {"rules": [rule]}}, 201)
    return name


def _provider(p: Place) -> str:
    name = f"i{next(NUMBERS)}"
    p.put(f"/OS-FEDERATION/identity_providers/{name}", {"identity_provider": {"remote_ids": [name]}}, 201)
    return name


def _service_provider(p: Place, ids: dict[str, str]) -> None:
    body = {"service_provider": {"auth_url": "https://a", "sp_url": "https://b", "enabled": True}}
    p.put(f"/OS-FEDERATION/service_providers/s{next(NUMBERS)}", body, 201)


def _protocol(p: Place, ids: dict[str, str]) -> None:
    path = f"/OS-FEDERATION/identity_providers/{ids['idp_id']}/protocols/p{next(NUMBERS)}"
    p.put(path, {"protocol": {"mapping_id": _mapping(p)}}, 201)


def _mine(p: Place, ids: dict[str, str]) -> None:
    p.cloud.grant("member", f"projects/{p.cloud.project()}", p.user)


def _my_domain(p: Place, ids: dict[str, str]) -> None:
    p.cloud.grant("member", f"domains/{p.cloud.domain()}", p.user)


def _revoked(p: Place, ids: dict[str, str]) -> None:
    user = p.cloud.user(f"gone-{next(NUMBERS)}")
    name = p.cloud.call("GET", f"/users/{user}").json["user"]["name"]
    token = p.cloud.login(name, "pw")
    p.cloud.call("DELETE", "/auth/tokens", token=token, headers={"X-Subject-Token": token}, expect=204)


USER, GROUP, ENDPOINT = "users/{user_id}", "groups/{group_id}", "/OS-EP-FILTER/endpoint_groups/{endpoint_group_id}"
GROWS: dict[str, Grow] = {
    "/auth/projects": _mine,
    "/auth/domains": _my_domain,
    "/OS-FEDERATION/projects": _mine,
    "/OS-FEDERATION/domains": _my_domain,
    "/OS-REVOKE/events": _revoked,
    "/users/{user_id}/projects": _mine,
    "/users/{user_id}/domains": _my_domain,
    "/users/{user_id}/groups": lambda p, ids: p.cloud.group(p.user),
    "/groups/{group_id}/users": lambda p, ids: p.put(f"/groups/{ids['group_id']}/users/{p.cloud.user()}"),
    "/role_inferences": lambda p, ids: p.put(f"/roles/{p.cloud.role()}/implies/{p.cloud.role()}", expect=201),
    "/roles/{prior_role_id}/implies": lambda p, ids: p.put(
        f"/roles/{ids['prior_role_id']}/implies/{p.cloud.role()}", expect=201
    ),
    "/role_assignments": _mine,
    "/users/{user_id}/application_credentials": _application_credential,
    "/users/{user_id}/access_rules": _application_credential,
    "/users/{user_id}/credentials/OS-EC2": _ec2,
    "/OS-TRUST/trusts": _trust,
    "/OS-OAUTH1/consumers": lambda p, ids: p.post("/OS-OAUTH1/consumers", {"consumer": {}}),
    "/OS-EP-FILTER/endpoint_groups": lambda p, ids: _endpoint_group(p),
    "/OS-EP-FILTER/projects/{project_id}/endpoints": lambda p, ids: p.put(
        f"/OS-EP-FILTER/projects/{p.project}/endpoints/{_endpoint(p)}"
    ),
    "/OS-EP-FILTER/endpoints/{endpoint_id}/projects": lambda p, ids: p.put(
        f"/OS-EP-FILTER/projects/{p.cloud.project()}/endpoints/{ids['endpoint_id']}"
    ),
    ENDPOINT + "/endpoints": lambda p, ids: _endpoint(p),
    ENDPOINT + "/projects": lambda p, ids: p.put(f"{ENDPOINT.format(**ids)}/projects/{p.cloud.project()}"),
    "/OS-EP-FILTER/projects/{project_id}/endpoint_groups": lambda p, ids: p.put(
        f"/OS-EP-FILTER/endpoint_groups/{_endpoint_group(p)}/projects/{p.project}"
    ),
    "/OS-FEDERATION/identity_providers": lambda p, ids: _provider(p),
    "/OS-FEDERATION/mappings": lambda p, ids: _mapping(p),
    "/OS-FEDERATION/service_providers": _service_provider,
    "/OS-FEDERATION/identity_providers/{idp_id}/protocols": _protocol,
    "/policies/{policy_id}/OS-ENDPOINT-POLICY/endpoints": lambda p, ids: p.put(
        f"/policies/{ids['policy_id']}/OS-ENDPOINT-POLICY/endpoints/{_endpoint(p)}"
    ),
}
for _actor in (USER, GROUP):
    for _where in ("/projects/{project_id}", "/domains/{domain_id}"):
        GROWS[f"{_where}/{_actor}/roles"] = _grants(_where, _actor)
        GROWS[f"/OS-INHERIT{_where}/{_actor}/roles/inherited_to_projects"] = _grants(_where, _actor, "/OS-INHERIT")
    GROWS[f"/system/{_actor}/roles"] = _grants("/system", _actor)
    GROWS[f"/global/{_actor}/roles"] = _grants("/global", _actor)
OWN = ("/auth/", "/OS-FEDERATION/projects", "/OS-FEDERATION/domains", "/users/{user_id}/a", "/users/{user_id}/cred")
MAKE: dict[str, Callable[[Place], str]] = {
    "group_id": lambda p: str(p.cloud.group()),
    "domain_id": lambda p: str(p.cloud.domain()),
    "prior_role_id": lambda p: str(p.cloud.role()),
    "endpoint_id": _endpoint,
    "endpoint_group_id": _endpoint_group,
    "idp_id": _provider,
    "policy_id": lambda p: str(p.post("/policies", {"policy": {"type": "x", "blob": "{}"}})["policy"]["id"]),
}


def _length(found: dict[str, Any]) -> int:
    """Of the longest list in a reply."""
    parts = [*found.values(), *(v for part in found.values() if isinstance(part, dict) for v in part.values())]
    return max(len(part) for part in parts if isinstance(part, list))


@pytest.mark.parametrize("path", GROWS)
def test_statements_do_not_grow_with_a_list(cloud: Any, path: str) -> None:
    name, user, project = cloud.member()
    place = Place(cloud, user, project, cloud.login(name, "pw", project=project))
    ids = place.ids() | {key: make(place) for key, make in MAKE.items() if f"{{{key}}}" in path}
    token = place.token if path.startswith(OWN) else "admin"

    def cost() -> tuple[int, int]:
        cloud.call("GET", path.format(**ids), token=token, expect=200)  # what is remembered is remembered now
        with count_queries(cloud.svc.db) as counter:
            found = cloud.call("GET", path.format(**ids), token=token, expect=200).json
        # The epoch is looked at every now and then, whatever is asked for.
        asked = [statement for statement in counter.statements if tables.epoch.name not in statement]
        return len(asked), _length(found)

    GROWS[path](place, ids)
    before, length = cost()
    for _ in range(3):
        GROWS[path](place, ids)
    after, longer = cost()
    assert longer >= length + 3
    assert after <= before, f"{before} statements for {length}, {after} for {longer}"


def test_every_list_is_tested() -> None:
    listed = {
        op.path.removeprefix("/v3").rstrip("/")
        for op in TABLE.operations
        if op.method == "GET" and op.handler.__name__.startswith("list")
    }
    assert listed - set(GROWS) - {f"/{noun}" for noun in LISTS} - set(NO_ROWS) == set()
