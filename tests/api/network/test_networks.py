# SPDX-License-Identifier: Apache-2.0
"""Networks through the API."""

from __future__ import annotations

from typing import Any

from aerie_common.db import count_queries


def test_create_show_update_delete(bench: Any) -> None:
    network = bench.make("network", name="blue", description="sky", admin_state_up="true")
    assert network["name"] == "blue" and network["status"] == "ACTIVE" and network["admin_state_up"] is True
    assert network["tenant_id"] == network["project_id"] == bench.owner.project_id
    assert network["revision_number"] == 1 and network["created_at"].endswith("Z") and network["subnets"] == []
    assert "provider:network_type" not in network  # for administrators only
    assert bench.get(f"/networks/{network['id']}")["network"] == network
    changed = bench.change("network", network["id"], name="green")
    assert changed["name"] == "green" and changed["revision_number"] == 2
    bench.remove("network", network["id"])
    error = bench.call("GET", f"/networks/{network['id']}", expect=404).json["NeutronError"]
    assert error == {"type": "NetworkNotFound", "message": f"Network {network['id']} could not be found.", "detail": ""}


def test_paths_as_clients_write_them(bench: Any) -> None:
    network = bench.make("network", name="suffix")
    assert bench.get(f"/networks/{network['id']}.json")["network"]["name"] == "suffix"
    assert bench.get("/networks.json?name=suffix")["networks"][0]["id"] == network["id"]
    for prefix in ("/networking", "/network"):
        reply = bench.api.call("GET", f"{prefix}/v2.0/networks?name=suffix", by=bench.owner, expect=200)
        assert reply.json["networks"][0]["id"] == network["id"]


def test_version_documents(bench: Any) -> None:
    body = bench.api.call("GET", "/", expect=200).json
    link = {"rel": "self", "href": "http://localhost/v2.0/"}
    assert body == {"versions": [{"id": "v2.0", "status": "CURRENT", "links": [link]}]}
    names = {r["name"] for r in bench.api.call("GET", "/v2.0/", by=bench.owner, expect=200).json["resources"]}
    assert {"network", "subnet", "port", "router", "floatingip"} <= names
    bench.api.call("GET", "/v2.0", by=bench.owner, expect=404)
    bench.api.call("GET", "/v2.0/networks", expect=401)


def test_bulk_is_all_or_nothing(bench: Any) -> None:
    made = bench.call("POST", "/networks", {"networks": [{"name": "bulk-a"}, {"name": "bulk-b"}]}, expect=201).json
    assert [n["name"] for n in made["networks"]] == ["bulk-a", "bulk-b"]
    body = {"networks": [{"name": "bulk-c"}, {"name": "bulk-d", "mtu": 9000}]}
    assert "MTU" in bench.call("POST", "/networks", body, expect=400).json["NeutronError"]["message"]
    assert bench.get("/networks?name=bulk-c")["networks"] == []


def test_visibility(bench: Any) -> None:
    mine = bench.make("network", name="mine")
    bench.call("GET", f"/networks/{mine['id']}", by=bench.stranger, expect=404)
    bench.change("network", mine["id"], by=bench.stranger, expect=404, name="yours")
    bench.remove("network", mine["id"], by=bench.stranger, expect=404)
    assert bench.get(f"/networks/{mine['id']}", by=bench.reader)["network"]["name"] == "mine"
    assert bench.change("network", mine["id"], by=bench.reader, expect=403, name="x")["type"] == "PolicyNotAuthorized"
    assert mine["id"] in {n["id"] for n in bench.get("/networks", by=bench.admin)["networks"]}
    assert mine["id"] not in {n["id"] for n in bench.get("/networks", by=bench.stranger)["networks"]}
    external = bench.outside()
    assert bench.get(f"/networks/{external['id']}", by=bench.stranger)["network"]["router:external"] is True
    # Seen, but not theirs to change: as if it were not there.
    bench.change("network", external["id"], by=bench.stranger, expect=404, name="x")
    bench.remove("network", external["id"], by=bench.stranger, expect=404)


def test_admin_attributes(bench: Any) -> None:
    for values in ({"shared": True}, {"router:external": True}, {"provider:network_type": "vxlan"}):
        assert bench.make("network", expect=403, **values)["type"] == "PolicyNotAuthorized"
        bulk = {"networks": [{"name": "a"}, {"name": "b", **values}]}
        bench.call("POST", "/networks", bulk, expect=403)  # OSSA-2014-031: in bulk too
    mine = bench.make("network", name="admin-attributes", shared=False)
    bench.change("network", mine["id"], expect=403, shared=True)
    seen = bench.get(f"/networks/{mine['id']}", by=bench.admin)["network"]
    assert seen["provider:network_type"] == "vxlan" and seen["provider:segmentation_id"] > 0 and seen["mtu"] == 1450
    assert bench.make("network", expect=400, tenant_id="another")["type"] == "AdminRequired"
    theirs = bench.make("network", by=bench.admin, tenant_id=bench.owner.project_id)
    assert theirs["project_id"] == bench.owner.project_id


def test_segments(bench: Any) -> None:
    vxlan = {"provider:network_type": "vxlan", "provider:segmentation_id": 70001}
    first = bench.make("network", by=bench.admin, **vxlan)
    assert bench.make("network", by=bench.admin, expect=409, **vxlan)["type"] == "TunnelIdInUse"
    bench.remove("network", first["id"], by=bench.admin)
    bench.make("network", by=bench.admin, **vxlan)
    flat = {"provider:network_type": "flat", "provider:physical_network": "segments"}
    made = bench.make("network", by=bench.admin, **flat)
    assert made["provider:segmentation_id"] is None and made["mtu"] == 1500
    assert bench.make("network", by=bench.admin, expect=409, **flat)["type"] == "FlatNetworkInUse"
    assert (
        bench.make("network", by=bench.admin, expect=400, **{"provider:network_type": "flat"})["type"] == "InvalidInput"
    )


def test_filters_sort_and_pages(bench: Any) -> None:
    who = bench.person()
    own = f"/networks?project_id={who.project_id}"  # without external networks, which everybody sees
    names = [f"page-{i}" for i in range(5)]
    for name in names:
        bench.make("network", by=who, name=name, admin_state_up=name != "page-3")
    assert [n["name"] for n in bench.get(f"{own}&sort_key=name&sort_dir=desc", by=who)["networks"]] == names[::-1]
    down = bench.get("/networks?admin_state_up=False", by=who)["networks"]
    assert [n["name"] for n in down] == ["page-3"]
    two = bench.get("/networks?name=page-1&name=page-2&sort_key=name", by=who)["networks"]
    assert [n["name"] for n in two] == ["page-1", "page-2"]
    assert bench.get(f"/networks?tenant_id={who.project_id}&fields=name&fields=id", by=who)["networks"][0].keys() == {
        "name", "id",
    }  # fmt: skip
    seen, url = [], f"{own}&limit=2&sort_key=name"
    while True:
        body = bench.get(url, by=who)
        seen += [n["name"] for n in body["networks"]]
        following = [link["href"] for link in body.get("networks_links", ()) if link["rel"] == "next"]
        if not following:
            break
        url = following[0].partition("/v2.0")[2]
    assert seen == names
    last = bench.get(f"{own}&limit=2&sort_key=name&page_reverse=True", by=who)
    assert [n["name"] for n in last["networks"]] == names[3:]
    assert [link["rel"] for link in last["networks_links"]] == ["previous"]
    bench.call("GET", "/networks?colour=blue", by=who, expect=400)
    bench.call("GET", "/networks?sort_key=colour", by=who, expect=400)
    bench.call("GET", "/networks?admin_state_up=perhaps", by=who, expect=400)


def test_bad_bodies(bench: Any) -> None:
    for body in (None, [], {}, {"network": []}, {"net": {}}, {"network": {"name": 5}}, {"network": {"colour": "blue"}}):
        reply = bench.call("POST", "/networks", body, expect=400).json
        assert reply["NeutronError"].keys() == {"type", "message", "detail"}
    bench.call("POST", "/networks", b"{", expect=400)


def test_revisions(bench: Any) -> None:
    network = bench.make("network", name="revisions")
    stale = {"If-Match": f"revision_number={network['revision_number'] + 5}"}
    body = {"network": {"name": "other"}}
    reply = bench.call("PUT", f"/networks/{network['id']}", body, headers=stale, expect=412).json
    assert reply["NeutronError"]["type"] == "RevisionNumberConstraintFailed"
    good = {"If-Match": f"revision_number={network['revision_number']}"}
    bench.call("PUT", f"/networks/{network['id']}", body, headers=good, expect=200)


def test_delete_takes_subnets_and_dhcp_ports_along(bench: Any) -> None:
    network, subnet = bench.network()
    assert [p["device_owner"] for p in bench.get(f"/ports?network_id={network['id']}")["ports"]] == ["network:dhcp"]
    port = bench.port(network)
    error = bench.remove("network", network["id"], expect=409)
    assert error["type"] == "NetworkInUse" and port["id"] in error["message"]
    bench.remove("port", port["id"])
    bench.remove("network", network["id"])
    bench.call("GET", f"/subnets/{subnet['id']}", expect=404)
    assert bench.get(f"/ports?network_id={network['id']}")["ports"] == []


def test_tags(bench: Any) -> None:
    network = bench.make("network", name="tagged")
    path = f"/networks/{network['id']}/tags"
    assert bench.call("PUT", path, {"tags": ["red", "blue"]}, expect=200).json == {"tags": ["blue", "red"]}
    bench.call("PUT", path + "/green", expect=201)
    bench.call("GET", path + "/green", expect=204)
    bench.call("GET", path + "/black", expect=404)
    bench.call("DELETE", path + "/red", expect=204)
    bench.call("DELETE", path + "/red", expect=404)
    assert bench.get(f"/networks/{network['id']}")["network"]["tags"] == ["blue", "green"]
    other = bench.make("network", name="half-tagged")
    bench.call("PUT", f"/networks/{other['id']}/tags", {"tags": ["blue"]}, expect=200)

    def having(query: str) -> set[str]:
        return {n["id"] for n in bench.get(f"/networks?{query}")["networks"]} & {network["id"], other["id"]}

    assert having("tags=blue,green") == {network["id"]} and having("tags-any=green,blue") == {
        network["id"],
        other["id"],
    }
    assert having("not-tags=blue,green") == {other["id"]} and having("not-tags-any=green") == {other["id"]}
    # OSSA-2024-005: changing tags takes the right to change their object.
    external = bench.outside()
    bench.call("PUT", f"/networks/{external['id']}/tags", {"tags": ["x"]}, by=bench.stranger, expect=403)
    bench.call("PUT", f"/networks/{external['id']}/tags/x", by=bench.stranger, expect=403)
    bench.call("DELETE", f"/networks/{external['id']}/tags", by=bench.stranger, expect=403)
    bench.call("PUT", path, {"tags": ["x"]}, by=bench.stranger, expect=404)
    bench.call("PUT", path, {"tags": ["x"]}, by=bench.reader, expect=403)
    bench.call("DELETE", path, expect=204)
    assert bench.get(path) == {"tags": []}


def test_a_list_costs_a_fixed_number_of_queries(bench: Any) -> None:
    who = bench.person()
    for _ in range(2):
        bench.network(by=who)
    with count_queries(bench.svc.db) as few:
        bench.get("/networks", by=who)
    for _ in range(4):
        bench.network(by=who)
    with count_queries(bench.svc.db) as many:
        assert len(bench.get("/networks", by=who)["networks"]) >= 6
    assert int(few) == int(many) <= 4, many  # rows, subnets, tags, grants


def test_notifications(bench: Any) -> None:
    bench.events()
    network, subnet = bench.network()
    bench.change("network", network["id"], name="told")
    bench.remove("subnet", subnet["id"])
    bench.remove("network", network["id"])
    types = [event for event, _ in bench.events()]
    assert types == [
        "network.create.end", "port.create.end", "subnet.create.end", "network.update.end", "port.delete.end",
        "subnet.delete.end", "network.delete.end",
    ]  # fmt: skip


def test_mtu_of_subnets(bench: Any) -> None:
    """IPv4 promises packets of 68 bytes, IPv6 of 1280; a network without subnets promises nothing."""
    small, mid = bench.make("network", mtu=67), bench.make("network", mtu=1279)
    four, six = {"ip_version": 4, "cidr": "10.0.0.0/24"}, {"ip_version": 6, "cidr": "fd00::/64"}
    refused = bench.make("subnet", network_id=small["id"], expect=409, **four)
    assert refused["type"] == "NetworkMTUSubnetConflict"
    bench.make("subnet", network_id=mid["id"], expect=409, **six)
    bench.make("subnet", network_id=mid["id"], **four)
    bench.change("network", mid["id"], mtu=67, expect=409)
    bench.change("network", mid["id"], mtu=1280)
    bench.make("subnet", network_id=mid["id"], **six)
    bench.change("network", mid["id"], mtu=1279, expect=409)


def test_past_the_end_a_list_leads_back(bench: Any) -> None:
    who = bench.person()
    names = [bench.make("network", by=who, name=f"page-{i}")["name"] for i in range(2)]

    def link(body: dict[str, Any], rel: str) -> str:
        [href] = [item["href"] for item in body["networks_links"] if item["rel"] == rel]
        return str(href).partition("/v2.0")[2]

    body = bench.get(f"/networks?limit=1&sort_key=name&sort_dir=asc&project_id={who.project_id}", by=who)
    for _ in names:
        body = bench.get(link(body, "next"), by=who)
    assert body["networks"] == []
    seen = []
    for _ in names:
        body = bench.get(link(body, "previous"), by=who)
        seen += [n["name"] for n in body["networks"]]
    assert seen == names[::-1]
    before = bench.get(link(body, "previous"), by=who)
    assert before["networks"] == [] and bench.get(link(before, "next"), by=who)["networks"][0]["name"] == names[0]


def test_mtu(bench: Any) -> None:
    assert bench.make("network", mtu=1400)["mtu"] == 1400
    assert bench.make("network", mtu=1451, expect=400)["type"] == "InvalidInput"


def test_availability(bench: Any) -> None:
    network, subnet = bench.network("10.7.0.0/24")
    bench.port(network)
    found = bench.get(f"/network-ip-availabilities/{network['id']}", by=bench.admin)["network_ip_availability"]
    assert found["total_ips"] == 253 and found["used_ips"] == 2
    assert found["subnet_ip_availability"][0]["subnet_id"] == subnet["id"]
    bench.call("GET", "/network-ip-availabilities", expect=403)


def test_extensions(bench: Any) -> None:
    aliases = {e["alias"] for e in bench.get("/extensions")["extensions"]}
    assert {"router", "security-group", "standard-attr-tag", "quotas"} <= aliases
    assert "fwaas_v2" not in aliases and "trunk" not in aliases  # nothing that is not honoured
    assert bench.get("/extensions/router")["extension"]["alias"] == "router"
    bench.call("GET", "/extensions/vpnaas", expect=404)
