# SPDX-License-Identifier: Apache-2.0
"""Lists of servers: filters, order, pages, what each microversion shows, and that they cost a fixed number of
statements."""

from __future__ import annotations

from typing import Any

import pytest
import webob

from aerie_common import pipeline
from aerie_common.db import count_queries


@pytest.fixture(scope="module")
def fleet(cloud: Any) -> Any:
    """A project with servers alpha, beta, gamma-1 and gamma-2."""
    owner = cloud.person()
    owner.boot("alpha", metadata={"role": 'we"b'}, tags=["red", "old"], networks="none", description="first")
    owner.boot("beta", metadata={"role": "db"}, tags=["red"])
    owner.boot("gamma", min_count=2, max_count=2, tags=["blue"], networks="none")
    for server in owner.get("/servers")["servers"]:
        owner.wait(server["id"], "ACTIVE")
    return owner


def names(owner: Any, query: str, **kw: Any) -> list[str]:
    return sorted(s["name"] for s in owner.get(f"/servers?{query}", **kw)["servers"])


EVERYONE = ["alpha", "beta", "gamma-1", "gamma-2"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", EVERYONE),
        ("name=beta", ["beta"]),
        ("name=a", EVERYONE),
        ("name=^gamma", ["gamma-1", "gamma-2"]),
        ("name=^(alpha|beta)$", ["alpha", "beta"]),
        ("name=%5Bbroken", []),
        ("status=ACTIVE", EVERYONE),
        ("status=active&name=beta", ["beta"]),
        ("status=SHUTOFF", []),
        ("status=NONSENSE", []),
        ("tags=red", ["alpha", "beta"]),
        ("tags=red,old", ["alpha"]),
        ("tags-any=old,blue", ["alpha", "gamma-1", "gamma-2"]),
        ("not-tags=red,old", ["beta", "gamma-1", "gamma-2"]),
        ("not-tags-any=old,blue", ["beta"]),
        ("tags=re", []),
        ("metadata={'role': 'db'}", ["beta"]),
        ("metadata={'role': 'we\"b'}", ["alpha"]),
        ("metadata={'role': 'd'}", []),
        ("power_state=1", EVERYONE),
        ("locked=false", EVERYONE),
        ("changes-since=2020-01-01T00:00:00Z", EVERYONE),
        ("changes-since=2120-01-01T00:00:00Z", []),
        ("changes-before=2020-01-01T00:00:00Z", []),
    ],
)
def test_filters(fleet: Any, query: str, expected: list[str]) -> None:
    assert names(fleet, query) == expected


def test_unknown_filters_are_refused_from_2_102_on(fleet: Any) -> None:
    assert len(fleet.get("/servers?unknown=filter", version="2.101")["servers"]) == len(EVERYONE)
    reply = fleet.call("GET", "/servers?unknown=filter", expect=400)
    assert "unknown" in reply.json()["badRequest"]["message"]


def test_filter_by_address(fleet: Any) -> None:
    [server] = fleet.get("/servers/detail?name=beta")["servers"]
    address = server["addresses"]["net"][0]["addr"]
    assert names(fleet, f"ip={address}") == ["beta"]
    assert names(fleet, f"ip=^{address}$") == ["beta"]
    gateway = address.rpartition(".")[0] + ".1"
    assert names(fleet, f"ip=^{gateway}$") == [], "the gateway's address is no server's"


def test_bad_filters(fleet: Any) -> None:
    for query in (
        "changes-since=yesterday",
        "locked=perhaps",
        "limit=x",
        "limit=-1",
        "marker=nobody",
        "sort_key=secret",
    ):
        reply = fleet.call("GET", f"/servers?{query}", expect=400)
        assert reply.json()["badRequest"]["code"] == 400


def test_order_and_pages(fleet: Any) -> None:
    up = [s["name"] for s in fleet.get("/servers?sort_key=display_name&sort_dir=asc")["servers"]]
    assert up == EVERYONE
    assert [s["name"] for s in fleet.get("/servers?sort_key=display_name&sort_dir=desc")["servers"]] == up[::-1]
    seen: list[str] = []
    path = "/servers?limit=3&sort_key=display_name&sort_dir=asc"
    page = fleet.get(path)
    seen += [s["name"] for s in page["servers"]]
    link = page["servers_links"][0]
    assert link["rel"] == "next"
    rest = fleet.cloud.http.get(link["href"], headers={"X-Auth-Token": fleet.token}).json()
    seen += [s["name"] for s in rest["servers"]]
    assert seen == EVERYONE and "servers_links" not in rest
    full = fleet.get(f"/servers?limit=4&marker={rest['servers'][-1]['id']}&sort_key=display_name&sort_dir=asc")
    assert full == {"servers": []}, "a page after the last one is empty"


def test_other_projects_are_invisible(cloud: Any, fleet: Any, owner: Any) -> None:
    assert names(owner, "") == []
    [server] = fleet.get("/servers?name=alpha")["servers"]
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/os-interface"), ("GET", "/os-instance-actions")):
        reply = owner.call(method, f"/servers/{server['id']}{path}", expect=404)
        assert reply.json()["itemNotFound"]["code"] == 404
    owner.call("GET", "/servers?all_tenants=1", expect=403)
    assert set(EVERYONE) <= set(names(cloud.admin, "all_tenants=1"))
    assert names(cloud.admin, f"project_id={fleet.project_id}&all_tenants=1") == EVERYONE
    assert not set(EVERYONE) & set(names(cloud.admin, ""))


def test_lists_show_every_change_at_once(cloud: Any, owner: Any) -> None:
    """What a list remembers of a server is never older than the server."""
    server = owner.server(networks="none")

    def listed() -> dict[str, Any]:
        [found] = owner.get("/servers/detail")["servers"]
        return found  # type: ignore[no-any-return]

    assert listed() == {k: v for k, v in owner.show(server["id"]).items() if k != "server_groups"}
    root = f"/servers/{server['id']}"
    for change in (
        lambda: owner.call("PUT", root, {"server": {"name": "other", "description": "d"}}, expect=200),
        lambda: owner.call("PUT", f"{root}/metadata", {"metadata": {"a": "b"}}, expect=200),
        lambda: owner.call("PUT", f"{root}/tags", {"tags": ["t"]}, expect=200),
        lambda: owner.action(server["id"], {"lock": None}),
        lambda: owner.action(server["id"], {"unlock": None}),
        lambda: owner.action(server["id"], {"os-stop": None}),
        lambda: owner.wait(server["id"], "SHUTOFF"),
        lambda: cloud.admin.action(server["id"], {"os-resetState": {"state": "error"}}),
    ):
        change()
        assert listed() == {k: v for k, v in owner.show(server["id"]).items() if k != "server_groups"}
    owner.call("DELETE", root, expect=204)
    owner.wait_gone(server["id"])
    assert owner.get("/servers/detail")["servers"] == []


def test_a_reader_reads_only(cloud: Any, fleet: Any) -> None:
    reader = cloud.person("reader", fleet.project_id)
    assert names(reader, "") == EVERYONE
    [server] = reader.get("/servers?name=beta")["servers"]
    reader.get(f"/servers/{server['id']}")
    reader.action(server["id"], {"os-stop": None}, 403)
    reader.call("DELETE", f"/servers/{server['id']}", expect=403)
    reader.boot("x", 403, networks="none")
    reader.call("PUT", f"/servers/{server['id']}", {"server": {"name": "x"}}, expect=403)


def test_deleted_servers_are_for_administrators(cloud: Any, owner: Any) -> None:
    server = owner.server(networks="none")
    owner.call("DELETE", f"/servers/{server['id']}", expect=204)
    owner.wait_gone(server["id"])
    assert owner.get("/servers")["servers"] == []
    assert [s["id"] for s in owner.get("/servers?changes-since=2020-01-01T00:00:00Z")["servers"]] == [server["id"]]
    found = cloud.admin.get(f"/servers/detail?deleted=true&all_tenants=1&project_id={owner.project_id}")["servers"]
    assert [(s["id"], s["status"]) for s in found] == [(server["id"], "DELETED")]
    owner.call("GET", "/servers?status=DELETED", expect=403)


SINCE = {
    "locked": "2.9", "description": "2.19", "tags": "2.26", "trusted_image_certificates": "2.63",
    "server_groups": "2.71", "locked_reason": "2.73",
    "OS-EXT-SRV-ATTR:hostname": "2.90", "pinned_availability_zone": "2.96", "scheduler_hints": "2.100",
}  # fmt: skip


def test_each_microversion_shows_its_fields(cloud: Any, fleet: Any) -> None:
    [server] = fleet.get("/servers?name=alpha")["servers"]
    for field, since in SINCE.items():
        minor = int(since.partition(".")[2])
        assert field in fleet.show(server["id"], version=since), field
        assert field not in fleet.show(server["id"], version=f"2.{minor - 1}"), field
    old = fleet.show(server["id"], version="2.46")
    assert set(old["flavor"]) == {"id", "links"}
    assert set(fleet.show(server["id"], version="2.47")["flavor"]) == {
        "vcpus", "ram", "disk", "ephemeral", "swap", "original_name", "extra_specs",
    }  # fmt: skip
    assert "OS-EXT-SRV-ATTR:host" not in fleet.show(server["id"])
    seen = cloud.admin.show(server["id"])
    assert seen["OS-EXT-SRV-ATTR:host"] == "all-in-one" and seen["host_status"] == "UP"
    assert "host_status" not in cloud.admin.show(server["id"], version="2.15")


def test_lists_cost_a_fixed_number_of_statements(cloud: Any, fleet: Any) -> None:
    """As many statements for four servers as for one, in both of the service's databases."""
    app = pipeline.build(cloud.svc)

    def ask(path: str, token: str) -> int:
        request = webob.Request.blank(path)
        request.headers["X-Auth-Token"] = token
        request.headers["OpenStack-API-Version"] = "compute 2.104"
        with count_queries(cloud.svc.db) as cell, count_queries(cloud.svc.api_db) as api:
            reply = request.get_response(app)
        assert reply.status_int == 200, reply.text
        return cell.count + api.count

    for token, most in ((fleet.token, 2), (cloud.admin.token, 3)):
        for path in ("/v2.1/servers/detail", "/v2.1/servers"):
            query = "?all_tenants=1" if token == cloud.admin.token else ""
            joint = "&" if query else "?"
            ask(path + query, token)  # the token is validated once
            assert ask(f"{path}{query}{joint}limit=1", token) == ask(path + query, token) <= most
    for path in ("/v2.1/os-hypervisors/detail", "/v2.1/os-aggregates", "/v2.1/flavors/detail", "/v2.1/os-services"):
        assert ask(path, cloud.admin.token) <= 4, path
