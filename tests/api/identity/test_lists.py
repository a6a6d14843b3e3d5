# SPDX-License-Identifier: Apache-2.0
"""Lists: filters with operators, sorting, paging, truncation, and that each costs a fixed number of statements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from aerie_common.db import count_queries


@pytest.fixture(scope="module")
def domain(cloud: Any) -> str:
    """A domain with five users."""
    made = str(cloud.domain())
    for name in ("alpha", "Alphonse", "beta_x", "beta%x", "gamma"):
        cloud.user(name, domain_id=made, enabled=name != "gamma")
    return made


@pytest.mark.parametrize(
    "query, expected",
    [
        ("name=alpha", {"alpha"}),
        ("name=alpha&name=gamma", {"alpha", "gamma"}),
        ("name__contains=lph", {"alpha", "Alphonse"}),
        ("name__startswith=Al", {"Alphonse"}),
        ("name__istartswith=AL", {"alpha", "Alphonse"}),
        ("name__endswith=a", {"alpha", "gamma"}),
        ("name__contains=_", {"beta_x"}),
        ("name__contains=%25", {"beta%x"}),
        ("name__iequals=ALPHA", {"alpha"}),
        ("enabled=false", {"gamma"}),
        ("enabled=true&name__contains=ta", {"beta_x", "beta%x"}),
        ("name=nobody", set()),
        ("colour=red", {"alpha", "Alphonse", "beta_x", "beta%x", "gamma"}),
    ],
)
def test_filters(cloud: Any, domain: str, query: str, expected: set[str]) -> None:
    found = cloud.call("GET", f"/users?domain_id={domain}&{query}", expect=200).json
    if query.startswith("name__") and query.endswith(("AL", "lph", "=Al", "=a", "LPHA")):
        # SQLite's LIKE does not tell cases apart; every server does.
        if cloud.svc.db.dialect == "sqlite":
            assert expected <= {u["name"] for u in found["users"]}
            return
    assert {u["name"] for u in found["users"]} == expected
    assert found["links"]["next"] is None and found["links"]["self"].startswith("http://localhost/v3/users?domain_id=")


def test_sorting_and_paging(cloud: Any, domain: str) -> None:
    def names(query: str) -> list[str]:
        return [u["name"] for u in cloud.call("GET", f"/users?domain_id={domain}&{query}", expect=200).json["users"]]

    everything = names("sort_key=name&sort_dir=desc")
    assert everything == sorted(everything, reverse=True) and len(everything) == 5
    seen: list[str] = []
    path = f"/users?domain_id={domain}&limit=2&sort_key=name"
    for _ in range(4):
        body = cloud.call("GET", path, expect=200).json
        seen += [u["name"] for u in body["users"]]
        if body["links"]["next"] is None:
            break
        assert "truncated" not in body
        path = body["links"]["next"].removeprefix("http://localhost/v3")
    assert seen == sorted(everything)
    cloud.call("GET", "/users?limit=-1", expect=400)
    cloud.call("GET", "/users?limit=x", expect=400)
    cloud.call("GET", "/users?marker=nothing&limit=1", expect=400)
    cloud.call("GET", "/users?sort_key=password", expect=400)


def test_truncation(fresh: Callable[..., Any]) -> None:
    cloud = fresh({("identity", "list_limit"): 2})
    for _ in range(3):
        cloud.project()
    body = cloud.call("GET", "/projects", expect=200).json
    assert len(body["projects"]) == 2 and body["truncated"] is True
    assert "truncated" not in cloud.call("GET", "/projects?name=admin").json


LISTS = {
    "/users": lambda cloud: cloud.user(),
    "/projects": lambda cloud: cloud.project(tags=["t"]),
    "/domains": lambda cloud: cloud.domain(),
    "/groups": lambda cloud: cloud.group(),
    "/roles": lambda cloud: cloud.role(),
    "/regions": lambda cloud: cloud.call("POST", "/regions", {"region": {}}, expect=201),
    "/services": lambda cloud: cloud.call("POST", "/services", {"service": {"type": "t"}}, expect=201),
    "/endpoints": lambda cloud: _endpoint(cloud),
    "/credentials": lambda cloud: cloud.call(
        "POST", "/credentials", {"credential": {"type": "x", "blob": "y", "user_id": cloud.user()}}, expect=201
    ),
    "/limits": lambda cloud: _limit(cloud),
    "/registered_limits": lambda cloud: _limit(cloud),
    "/policies": lambda cloud: cloud.call("POST", "/policies", {"policy": {"type": "x", "blob": "{}"}}, expect=201),
}


def _endpoint(cloud: Any) -> None:
    service = cloud.call("GET", "/services?type=image").json["services"][0]["id"]
    body = {"endpoint": {"service_id": service, "interface": "admin", "url": "http://x"}}
    cloud.call("POST", "/endpoints", body, expect=201)


def _limit(cloud: Any) -> None:
    service = cloud.call("POST", "/services", {"service": {"type": "t"}}, expect=201).json["service"]["id"]
    registered = {"service_id": service, "resource_name": "r", "default_limit": 5}
    cloud.call("POST", "/registered_limits", {"registered_limits": [registered]}, expect=201)
    limit = {"service_id": service, "resource_name": "r", "resource_limit": 9, "project_id": cloud.project()}
    cloud.call("POST", "/limits", {"limits": [limit]}, expect=201)


@pytest.mark.parametrize("path", LISTS)
def test_statements_do_not_grow_with_the_list(cloud: Any, path: str) -> None:
    def cost() -> tuple[int, int]:
        cloud.call("GET", path, expect=200)
        with count_queries(cloud.svc.db) as counter:
            found = cloud.call("GET", path, expect=200).json
        return counter.count, len(found[path.strip("/")])

    LISTS[path](cloud)
    statements, length = cost()
    for _ in range(4):
        LISTS[path](cloud)
    more, longer = cost()
    assert longer >= length + 4
    assert more <= 3 and statements <= 3


def test_finding_by_name_goes_as_clients_do_it(cloud: Any) -> None:
    """The SDK asks for /x/<name>, wants a 404 (never a 500), then asks /x?name=<name>."""
    for noun in ("users", "projects", "domains", "groups", "roles", "services", "endpoints", "regions"):
        for id in ("no such name", "%C3%BCn%C3%AFc%C3%B6d%C3%A9", "a%2Fb", "x" * 300):
            status = cloud.call("GET", f"/{noun}/{id}").status_int
            assert status == 404, (noun, id, status)
