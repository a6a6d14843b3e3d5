# SPDX-License-Identifier: Apache-2.0
"""What only older microversions have: calls that other services answer, hosts, extensions, the API's older name."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

pytestmark = pytest.mark.parametrize("cloud", ["sqlite"], indirect=True, scope="module")  # the rows are elsewhere
OLD = {"version": "2.35"}
NOBODY = "99999999-0000-4000-8000-000000000000"


@pytest.mark.parametrize(
    "path",
    ["os-security-groups", "os-floating-ips", "os-floating-ip-pools", "os-networks", "os-tenant-networks", "images"],
)
def test_other_services_answer_until_2_35(owner: Any, path: str) -> None:
    owner.call("GET", f"/{path}", expect=200, **OLD)
    owner.call("GET", f"/{path}", expect=404, version="2.36")


def test_security_groups_and_their_rules(cloud: Any, owner: Any) -> None:
    stranger = cloud.person()
    body = {"security_group": {"name": "web", "description": "servers"}}
    group = owner.post("/os-security-groups", body, 200, **OLD)["security_group"]
    assert (group["name"], group["description"], group["tenant_id"]) == ("web", "servers", owner.project_id)
    assert group["rules"] == [], "the two for what goes out are not shown"
    rule = {
        "parent_group_id": group["id"],
        "ip_protocol": "tcp",
        "from_port": 80,
        "to_port": 80,
        "cidr": "192.0.2.0/24",
    }
    made = owner.post("/os-security-group-rules", {"security_group_rule": rule}, 200, **OLD)["security_group_rule"]
    assert made == {
        "id": made["id"], "parent_group_id": group["id"], "ip_protocol": "tcp", "from_port": 80, "to_port": 80,
        "ip_range": {"cidr": "192.0.2.0/24"}, "group": {},
    }  # fmt: skip
    peer = {"parent_group_id": group["id"], "ip_protocol": "udp", "group_id": group["id"]}
    named = owner.post("/os-security-group-rules", {"security_group_rule": peer}, 200, **OLD)["security_group_rule"]
    assert named["group"] == {"name": "web", "tenant_id": owner.project_id} and named["ip_range"] == {}
    assert (named["from_port"], named["to_port"]) == (1, 65535)
    shown = owner.get(f"/os-security-groups/{group['id']}", **OLD)["security_group"]
    assert {r["id"] for r in shown["rules"]} == {made["id"], named["id"]}
    for wrong, status in (
        (rule, 400),
        ({**rule, "from_port": 90}, 400),
        ({**rule, "ip_protocol": "telepathy"}, 400),
        ({**rule, "cidr": "192.0.2.0/99"}, 400),
        ({**rule, "parent_group_id": "web"}, 400),
        ({**rule, "parent_group_id": NOBODY}, 404),
        ({"parent_group_id": group["id"]}, 400),
    ):
        owner.post("/os-security-group-rules", {"security_group_rule": wrong}, status, **OLD)
    changed = {"security_group": {"name": "www", "description": "more servers"}}
    owner.call("PUT", f"/os-security-groups/{group['id']}", changed, expect=200, **OLD)
    assert [g["name"] for g in owner.get("/os-security-groups", **OLD)["security_groups"]] == ["default", "www"]
    for method in ("GET", "DELETE"):
        stranger.call(method, f"/os-security-groups/{group['id']}", expect=404, **OLD)
        owner.call(method, "/os-security-groups/www", expect=400, **OLD)
    assert group["id"] in {
        g["id"] for g in cloud.admin.get("/os-security-groups?all_tenants=1", **OLD)["security_groups"]
    }
    assert group["id"] not in {
        g["id"] for g in stranger.get("/os-security-groups?all_tenants=1", **OLD)["security_groups"]
    }
    owner.call("DELETE", f"/os-security-group-rules/{made['id']}", expect=202, **OLD)
    owner.call("DELETE", f"/os-security-group-rules/{made['id']}", expect=404, **OLD)
    owner.call("DELETE", f"/os-security-groups/{group['id']}", expect=202, **OLD)
    [default] = owner.get("/os-security-groups", **OLD)["security_groups"]
    owner.call("DELETE", f"/os-security-groups/{default['id']}", expect=400, **OLD)
    owner.call("DELETE", "/os-security-groups/", expect=404, **OLD)


@pytest.fixture(scope="module")
def outside(cloud: Any) -> dict[str, Any]:
    """An external network with addresses."""
    body = {"network": {"name": "outside", "router:external": True}}
    made: dict[str, Any] = cloud.admin.post("/networks", body, 201, service="network")["network"]
    subnet = {"network_id": made["id"], "cidr": "203.0.113.0/24", "ip_version": 4, "enable_dhcp": False}
    cloud.admin.post("/subnets", {"subnet": subnet}, 201, service="network")
    return made


def test_floating_addresses(cloud: Any, owner: Any, outside: dict[str, Any]) -> None:
    assert "outside" in [p["name"] for p in owner.get("/os-floating-ip-pools", **OLD)["floating_ip_pools"]]
    assert "pool" in owner.post("/os-floating-ips", {"pool": "nowhere"}, 404, **OLD)["itemNotFound"]["message"]
    ip = owner.post("/os-floating-ips", {"pool": "outside"}, 200, **OLD)["floating_ip"]
    assert ip["pool"] == "outside" and ip["ip"].startswith("203.0.113.") and ip["instance_id"] is None
    assert owner.get("/os-floating-ips", **OLD)["floating_ips"] == [ip]
    cloud.person().call("GET", f"/os-floating-ips/{ip['id']}", expect=404, **OLD)

    server = owner.server("reached")
    router = {"router": {"name": "r", "external_gateway_info": {"network_id": outside["id"]}}}
    router_id = owner.post("/routers", router, 201, service="network")["router"]["id"]
    [subnet] = owner.get(f"/networks/{owner.network['id']}", service="network")["network"]["subnets"]
    body = {"subnet_id": subnet}
    owner.call("PUT", f"/routers/{router_id}/add_router_interface", body, expect=200, service="network")
    add = {"addFloatingIp": {"address": ip["ip"]}}
    owner.action(server["id"], {"addFloatingIp": {"address": "203.0.113.254"}}, 404, version="2.43")
    owner.action(server["id"], {"removeFloatingIp": {"address": ip["ip"]}}, 409, version="2.43")
    elsewhere = {"addFloatingIp": {"address": ip["ip"], "fixed_address": "192.0.2.1"}}
    owner.action(server["id"], elsewhere, 400, version="2.43")
    owner.action(server["id"], add, 404, version="2.44")
    owner.action(server["id"], add, version="2.43")
    shown = owner.get(f"/os-floating-ips/{ip['id']}", **OLD)["floating_ip"]
    assert shown["instance_id"] == server["id"] and shown["fixed_ip"] == server["addresses"]["net"][0]["addr"]
    second = owner.post("/os-floating-ips", {}, 200, **OLD)["floating_ip"]
    owner.action(server["id"], {"addFloatingIp": {"address": second["ip"]}}, 400, version="2.43")
    owner.action(server["id"], {"removeFloatingIp": {"address": ip["ip"]}}, version="2.43")
    assert owner.get(f"/os-floating-ips/{ip['id']}", **OLD)["floating_ip"]["instance_id"] is None
    for made in (ip, second):
        owner.call("DELETE", f"/os-floating-ips/{made['id']}", expect=202, **OLD)
        owner.call("DELETE", f"/os-floating-ips/{made['id']}", expect=404, **OLD)


def test_networks(cloud: Any, owner: Any) -> None:
    network = owner.network
    assert network["id"] in [n["id"] for n in owner.get("/os-networks", **OLD)["networks"]]
    shown = owner.get(f"/os-tenant-networks/{network['id']}", **OLD)["network"]
    assert shown == {"id": network["id"], "label": "net", "cidr": "None"}
    assert "bridge" in cloud.admin.get(f"/os-networks/{network['id']}", **OLD)["network"]
    assert "bridge" not in owner.get(f"/os-networks/{network['id']}", **OLD)["network"]
    for path in ("os-networks", "os-tenant-networks"):
        cloud.person().call("GET", f"/{path}/{network['id']}", expect=404, **OLD)


def test_images(cloud: Any, owner: Any) -> None:
    body = {"name": "mine", "disk_format": "raw", "container_format": "bare", "min_ram": 64}
    image = owner.post("/images", body, 201, service="image")
    path = f"/images/{image['id']}"
    shown = owner.get(path, **OLD)["image"]
    assert (shown["status"], shown["progress"], shown["minRam"], shown["metadata"]) == ("SAVING", 25, 64, {})
    assert [link["rel"] for link in shown["links"]] == ["self", "bookmark", "alternate"]
    assert [i["id"] for i in owner.get("/images?name=mine", **OLD)["images"]] == [image["id"]]
    assert image["id"] not in [i["id"] for i in owner.get("/images/detail?status=ACTIVE", **OLD)["images"]]
    page = owner.get("/images?limit=1", **OLD)
    assert len(page["images"]) == 1 and "marker=" in page["images_links"][0]["href"]
    stranger = cloud.person()
    for method in ("GET", "DELETE"):
        stranger.call(method, path, expect=404, **OLD)

    metadata = {"version": "2.38"}
    items = {"metadata": {"os_version": "12", "os_odd": "x"}}
    assert owner.call("PUT", f"{path}/metadata", items, expect=200, **metadata).json() == items
    both = {"metadata": {"os_version": "12", "os_distro": "debian"}}
    owner.call("PUT", f"{path}/metadata", both, expect=200, **metadata)
    more = {"metadata": {"os_version": "13"}}
    assert owner.post(f"{path}/metadata", more, 200, **metadata)["metadata"]["os_distro"] == "debian"
    assert owner.get(f"{path}/metadata/os_version", **metadata) == {"meta": {"os_version": "13"}}
    owner.call("PUT", f"{path}/metadata/os_version", {"meta": {"other": "1"}}, expect=400, **metadata)
    owner.call("PUT", f"{path}/metadata/os_version", {"meta": {"os_version": "14"}}, expect=200, **metadata)
    owner.call("DELETE", f"{path}/metadata/os_distro", expect=204, **metadata)
    owner.call("DELETE", f"{path}/metadata/os_distro", expect=404, **metadata)
    assert owner.get(f"{path}/metadata", **metadata) == {"metadata": {"os_version": "14"}}
    owner.call("GET", f"{path}/metadata", expect=404, version="2.39")
    owner.call("DELETE", path, expect=204, **OLD)
    owner.call("DELETE", path, expect=404, **OLD)


def test_hosts(cloud: Any, owner: Any) -> None:
    admin, old = cloud.admin, {"version": "2.42"}
    kinds = {(h["host_name"], h["service"], h["zone"]) for h in admin.get("/os-hosts", **old)["hosts"]}
    assert ("all-in-one", "compute", "nova") in kinds and len(kinds) > 1
    assert admin.get("/os-hosts?zone=moon", **old)["hosts"] == []
    server = owner.server("counted")
    resources = [r["resource"] for r in admin.get("/os-hosts/all-in-one", **old)["host"]]
    assert [r["project"] for r in resources[:3]] == ["(total)", "(used_now)", "(used_max)"]
    [mine] = [r for r in resources if r["project"] == owner.project_id]
    assert (mine["cpu"], mine["memory_mb"], mine["disk_gb"]) == (1, 64, 1) and server["id"]
    assert admin.call("PUT", "/os-hosts/all-in-one", {"status": "disable"}, expect=200, **old).json() == {
        "host": "all-in-one", "status": "disabled",
    }  # fmt: skip
    admin.call("PUT", "/os-hosts/all-in-one", {"status": "enable"}, expect=200, **old)
    for body, status in (({}, 400), ({"status": "maybe"}, 400), ({"maintenance_mode": "enable"}, 501)):
        admin.call("PUT", "/os-hosts/all-in-one", body, expect=status, **old)
    admin.call("GET", "/os-hosts/all-in-one/reboot", expect=501, **old)
    for method, path in (("GET", ""), ("PUT", ""), ("GET", "/reboot"), ("GET", "/startup"), ("GET", "/shutdown")):
        sent = {"status": "enable"} if method == "PUT" else None
        admin.call(method, f"/os-hosts/nowhere{path}", sent, expect=404, **old)
        owner.call(method, f"/os-hosts/all-in-one{path}", sent, expect=403, **old)
    admin.call("GET", "/os-hosts", expect=404, version="2.43")


def test_audits_of_usage(cloud: Any, owner: Any) -> None:
    shown = cloud.admin.get("/os-instance_usage_audit_log/2026-03-15 10:00:00")["instance_usage_audit_log"]
    assert (shown["period_beginning"], shown["period_ending"]) == ("2026-02-01 00:00:00", "2026-03-01 00:00:00")
    assert shown["hosts_not_run"] == ["all-in-one"]
    cloud.admin.call("GET", "/os-instance_usage_audit_log/then", expect=400)
    owner.call("GET", "/os-instance_usage_audit_log", expect=403)


def test_extensions_and_the_older_name_of_the_api(cloud: Any, owner: Any) -> None:
    listed = owner.get("/extensions")["extensions"]
    assert {"os-hosts", "os-consoles", "os-keypairs"} <= {e["alias"] for e in listed}
    assert owner.get("/extensions/os-hosts")["extension"]["name"] == "Hosts"
    owner.call("GET", "/extensions/os-magic", expect=404)
    root = cloud.url("compute").removesuffix("/v2.1")
    for path in ("/v2", "/v2/"):
        assert cloud.http.get(root + path, timeout=60).json()["version"]["id"] == "v2.0"
    old = cloud.http.get(f"{root}/v2/flavors", headers={"X-Auth-Token": owner.token}, timeout=60)
    assert old.json() == owner.get("/flavors", version="2.1")


def test_what_no_server_here_does(cloud: Any, owner: Any) -> None:
    server = owner.server("still")
    assert "restore" in owner.action(server["id"], {"restore": None}, 409)["conflictingRequest"]["message"]
    cloud.admin.action(server["id"], {"migrate": None}, 501)
    cloud.admin.action(server["id"], {"injectNetworkInfo": None})
    assert owner.get(f"/servers/{server['id']}/shares")["shares"] == []
    owner.post(f"/servers/{server['id']}/shares", {"share": {"share_id": NOBODY}}, 400)
    owner.call("DELETE", f"/servers/{server['id']}/shares/{NOBODY}", expect=404)
    missing = str(uuid.uuid4())
    for person, action in ((owner, "restore"), (cloud.admin, "migrate"), (cloud.admin, "injectNetworkInfo")):
        person.action(missing, {action: None}, 404)
    owner.action(server["id"], {"migrate": None}, 403)
