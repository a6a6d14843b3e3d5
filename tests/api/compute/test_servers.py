# SPDX-License-Identifier: Apache-2.0
"""Servers from their creation to their end, and what may be done to them in between."""

from __future__ import annotations

import base64
import time
from typing import Any

import pytest

from aerie_common.context import admin_context
from aerie_compute.db import placement, servers
from aerie_compute.logic import passwords


def test_a_server_lives_and_leaves_nothing(cloud: Any, owner: Any) -> None:
    text = base64.b64encode(b"#!/bin/sh\ntrue\n").decode()
    made = owner.boot("web 1", user_data=text, metadata={"role": "web"}, tags=["blue"])
    assert set(made) == {"id", "links", "OS-DCF:diskConfig", "security_groups", "adminPass"}
    server = owner.wait(made["id"], "ACTIVE")
    assert server["OS-EXT-STS:power_state"] == 1
    assert server["OS-SRV-USG:launched_at"] is not None
    assert server["flavor"]["original_name"] == "small"
    assert server["metadata"] == {"role": "web"} and server["tags"] == ["blue"]
    [address] = server["addresses"]["net"]
    assert address["OS-EXT-IPS:type"] == "fixed"
    [port] = owner.get(f"/ports?device_id={server['id']}", service="network")["ports"]
    assert port["device_owner"] == "compute:nova" and port["status"] == "ACTIVE"
    assert port["fixed_ips"][0]["ip_address"] == address["addr"]
    assert port["dns_name"] == "web-1"
    [card] = owner.get(f"/servers/{server['id']}/os-interface")["interfaceAttachments"]
    assert card["port_id"] == port["id"]
    with cloud.svc.api_db.read() as conn:
        held = {a.resource_class: a.used for a in placement.allocations(conn, consumer_id=server["id"])}
    assert held == {"VCPU": 1, "MEMORY_MB": 64, "DISK_GB": 1}
    assert owner.get("/limits")["limits"]["absolute"]["totalInstancesUsed"] == 1

    owner.call("DELETE", f"/servers/{server['id']}", expect=204)
    owner.wait_gone(server["id"])
    assert owner.get(f"/ports?device_id={server['id']}", service="network")["ports"] == []
    with cloud.svc.api_db.read() as conn:
        assert placement.allocations(conn, consumer_id=server["id"]) == []
        assert placement.consumer(conn, server["id"]) is None
    assert owner.get("/limits")["limits"]["absolute"]["totalInstancesUsed"] == 0
    with cloud.svc.db.read() as conn:
        assert servers.user_data(conn, server["id"]) is None
    story = owner.get(f"/servers/{server['id']}/os-instance-actions")["instanceActions"]
    assert [a["action"] for a in story] == ["delete", "create"]
    events = owner.get(f"/servers/{server['id']}/os-instance-actions/{story[1]['request_id']}")["instanceAction"][
        "events"
    ]
    assert [e["event"] for e in events][-1] == "compute__do_build_and_run_instance"
    assert {e["result"] for e in events} == {"Success"}


@pytest.mark.parametrize(
    ("action", "status", "back", "after"),
    [
        ({"os-stop": None}, "SHUTOFF", {"os-start": None}, "ACTIVE"),
        ({"pause": None}, "PAUSED", {"unpause": None}, "ACTIVE"),
        ({"suspend": None}, "SUSPENDED", {"resume": None}, "ACTIVE"),
        ({"rescue": None}, "RESCUE", {"unrescue": None}, "ACTIVE"),
        ({"reboot": {"type": "SOFT"}}, "ACTIVE", {"reboot": {"type": "HARD"}}, "ACTIVE"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else value,
)
def test_power(owner: Any, action: dict[str, Any], status: str, back: dict[str, Any], after: str) -> None:
    server = owner.server()
    owner.action(server["id"], action, 200 if "rescue" in action else 202)
    owner.wait(server["id"], status)
    if status != "ACTIVE":
        refused = owner.action(server["id"], action, 409)
        assert "conflictingRequest" in refused and server["id"] in refused["conflictingRequest"]["message"]
    owner.action(server["id"], back)
    owner.wait(server["id"], after)
    owner.call("DELETE", f"/servers/{server['id']}", expect=204)


def test_resize_and_back_and_again(cloud: Any, owner: Any) -> None:
    bigger = cloud.make_flavor(f"bigger-{owner.project_id}", ram=128, vcpus=2, disk=2)
    server = owner.server()

    def held() -> dict[str, int]:
        with cloud.svc.api_db.read() as conn:
            return {a.resource_class: a.used for a in placement.allocations(conn, consumer_id=server["id"])}

    def used() -> list[int]:
        absolute = owner.get("/limits")["limits"]["absolute"]
        return [absolute[f"total{name}Used"] for name in ("Instances", "Cores", "RAM")]

    owner.action(server["id"], {"resize": {"flavorRef": cloud.flavor["id"]}}, 400)
    owner.action(server["id"], {"resize": {"flavorRef": bigger["id"]}})
    assert owner.wait(server["id"], "VERIFY_RESIZE")["flavor"]["vcpus"] == 2
    assert used() == [1, 2, 128]
    owner.action(server["id"], {"revertResize": None})
    assert owner.wait(server["id"], "ACTIVE")["flavor"]["vcpus"] == 1
    assert used() == [1, 1, 64] and held() == {"VCPU": 1, "MEMORY_MB": 64, "DISK_GB": 1}
    owner.action(server["id"], {"resize": {"flavorRef": bigger["id"]}})
    owner.wait(server["id"], "VERIFY_RESIZE")
    owner.action(server["id"], {"confirmResize": None}, 204)
    owner.wait(server["id"], "ACTIVE")
    assert used() == [1, 2, 128] and held() == {"VCPU": 2, "MEMORY_MB": 128, "DISK_GB": 2}
    kinds = [m["status"] for m in cloud.admin.get(f"/os-migrations?instance_uuid={server['id']}")["migrations"]]
    assert kinds == ["confirmed", "reverted"]
    owner.call("DELETE", f"/servers/{server['id']}", expect=204)
    owner.wait_gone(server["id"])
    assert used() == [0, 0, 0] and held() == {}


def test_deleted_while_it_waits_to_be_confirmed(cloud: Any, owner: Any) -> None:
    bigger = cloud.make_flavor(f"bigger-{owner.project_id}", ram=128, vcpus=2, disk=2)
    server = owner.server()
    owner.action(server["id"], {"resize": {"flavorRef": bigger["id"]}})
    owner.wait(server["id"], "VERIFY_RESIZE")
    owner.call("DELETE", f"/servers/{server['id']}", expect=204)
    owner.wait_gone(server["id"])
    assert owner.get("/limits")["limits"]["absolute"]["totalCoresUsed"] == 0
    with cloud.svc.api_db.read() as conn:
        assert placement.usages(conn, project_id=owner.project_id) == []


def test_rebuild_keeps_id_and_address(cloud: Any, owner: Any) -> None:
    server = owner.server("before")
    other = cloud.make_image("other", b"y" * 2048)
    body = {"rebuild": {"imageRef": other["id"], "name": "after", "metadata": {"v": "2"}, "description": "new"}}
    reply = owner.action(server["id"], body, 202)
    assert reply["server"]["status"] == "REBUILD"
    again = owner.wait(server["id"], "ACTIVE")
    assert (again["name"], again["image"]["id"], again["metadata"]) == ("after", other["id"], {"v": "2"})
    assert again["addresses"] == server["addresses"] and again["description"] == "new"
    owner.action(server["id"], {"os-stop": None})
    owner.wait(server["id"], "SHUTOFF")
    owner.action(server["id"], {"rebuild": {"imageRef": other["id"]}}, 202)
    owner.wait(server["id"], "SHUTOFF")


def test_snapshot(owner: Any) -> None:
    server = owner.server()
    image_id = owner.action(server["id"], {"createImage": {"name": "snap", "metadata": {"by": "test"}}})["image_id"]
    owner.wait(server["id"], "ACTIVE")
    image = owner.get(f"/images/{image_id}", service="image")
    assert image["status"] == "active" and image["by"] == "test" and image["instance_uuid"] == server["id"]
    old = owner.call(
        "POST", f"/servers/{server['id']}/action", {"createImage": {"name": "old"}}, expect=202, version="2.44"
    )
    assert "/images/" in old.headers["Location"] and not old.content
    owner.wait(server["id"], "ACTIVE")


def test_cards_come_and_go(owner: Any) -> None:
    server = owner.server()
    second = owner.post("/networks", {"network": {"name": "second"}}, 201, service="network")["network"]
    subnet = {"network_id": second["id"], "cidr": "192.168.7.0/24", "ip_version": 4}
    owner.post("/subnets", {"subnet": subnet}, 201, service="network")
    wanted = {"interfaceAttachment": {"net_id": second["id"]}}
    card = owner.post(f"/servers/{server['id']}/os-interface", wanted, 200)["interfaceAttachment"]
    assert set(owner.show(server["id"])["addresses"]) == {"net", "second"}
    path = f"/servers/{server['id']}/os-interface/{card['port_id']}"
    assert owner.get(path)["interfaceAttachment"]["net_id"] == second["id"]
    owner.call("DELETE", path, expect=202)
    _until(lambda: set(owner.show(server["id"])["addresses"]) == {"net"})
    _until(lambda: owner.call("GET", f"/ports/{card['port_id']}", service="network").status_code == 404)
    assert "itemNotFound" in owner.call("DELETE", path, expect=404).json()


def test_a_port_of_ones_own_survives_the_server(owner: Any) -> None:
    port = owner.post("/ports", {"port": {"network_id": owner.network["id"], "name": "mine"}}, 201, service="network")[
        "port"
    ]
    server = owner.server(networks=[{"port": port["id"]}])
    assert server["addresses"]["net"][0]["addr"] == port["fixed_ips"][0]["ip_address"]
    owner.boot("second", 409, networks=[{"port": port["id"]}])
    owner.call("DELETE", f"/servers/{server['id']}", expect=204)
    owner.wait_gone(server["id"])
    after = owner.get(f"/ports/{port['id']}", service="network")["port"]
    assert (after["device_id"], after["device_owner"]) == ("", "")


def test_floating_address_is_shown(cloud: Any, owner: Any) -> None:
    public = cloud.admin.post(
        "/networks", {"network": {"name": "public", "router:external": True}}, 201, service="network"
    )["network"]
    subnet = {"network_id": public["id"], "cidr": "203.0.113.0/24", "ip_version": 4, "enable_dhcp": False}
    cloud.admin.post("/subnets", {"subnet": subnet}, 201, service="network")
    router = owner.post(
        "/routers", {"router": {"external_gateway_info": {"network_id": public["id"]}}}, 201, service="network"
    )["router"]
    server = owner.server()
    inner = owner.get(f"/subnets?network_id={owner.network['id']}", service="network")["subnets"][0]
    owner.call(
        "PUT",
        f"/routers/{router['id']}/add_router_interface",
        {"subnet_id": inner["id"]},
        expect=200,
        service="network",
    )
    [port] = owner.get(f"/ports?device_id={server['id']}", service="network")["ports"]
    body = {"floatingip": {"floating_network_id": public["id"], "port_id": port["id"]}}
    ip = owner.post("/floatingips", body, 201, service="network")["floatingip"]

    def shown() -> bool:
        found = {a["addr"]: a["OS-EXT-IPS:type"] for a in owner.show(server["id"])["addresses"]["net"]}
        return found.get(ip["floating_ip_address"]) == "floating"

    _until(shown)
    owner.call("DELETE", f"/floatingips/{ip['id']}", expect=204, service="network")
    _until(lambda: len(owner.show(server["id"])["addresses"]["net"]) == 1)


def test_locked_servers_are_left_alone(cloud: Any, owner: Any) -> None:
    server = owner.server()
    owner.action(server["id"], {"lock": {"locked_reason": "audit"}})
    assert owner.show(server["id"])["locked_reason"] == "audit"
    assert "is locked" in owner.action(server["id"], {"os-stop": None}, 409)["conflictingRequest"]["message"]
    owner.call("DELETE", f"/servers/{server['id']}", expect=409)
    cloud.admin.action(server["id"], {"os-stop": None})
    owner.wait(server["id"], "SHUTOFF")
    owner.action(server["id"], {"unlock": None})
    assert owner.show(server["id"])["locked"] is False


def test_console_and_log(cloud: Any, owner: Any) -> None:
    server = owner.server("talker")
    assert "talker login:" in owner.action(server["id"], {"os-getConsoleOutput": {}}, 200)["output"]
    assert owner.action(server["id"], {"os-getConsoleOutput": {"length": 1}}, 200)["output"].count("\n") == 0
    wanted = {"remote_console": {"protocol": "vnc", "type": "novnc"}}
    console = owner.post(f"/servers/{server['id']}/remote-consoles", wanted, 200)["remote_console"]
    token = console["url"].partition("token%3D")[2]
    assert token
    conductor = cloud.svc.conductor
    assert cloud.admin.get(f"/os-console-auth-tokens/{token}")["console"]["instance_uuid"] == server["id"]
    opened = conductor.validate_console(admin_context(), token=token)
    assert opened is not None and opened["server_id"] == server["id"] and opened["protocol"] == "vnc"
    assert conductor.validate_console(admin_context(), token=token) is None, "a token is good for one connection"
    wanted["remote_console"]["type"] = "serial"
    owner.post(f"/servers/{server['id']}/remote-consoles", wanted, 400)
    owner.action(server["id"], {"os-getVNCConsole": {"type": "novnc"}}, 200, version="2.1")
    owner.action(server["id"], {"os-getVNCConsole": {"type": "novnc"}}, 404)


def test_metadata_tags_addresses(owner: Any) -> None:
    server = owner.server(metadata={"a": "1"})
    root = f"/servers/{server['id']}"
    assert owner.post(f"{root}/metadata", {"metadata": {"b": "2"}}, 200)["metadata"] == {"a": "1", "b": "2"}
    owner.call("PUT", f"{root}/metadata", {"metadata": {"c": "3"}}, expect=200)
    assert owner.get(f"{root}/metadata")["metadata"] == {"c": "3"}
    owner.call("PUT", f"{root}/metadata/d", {"meta": {"d": "4"}}, expect=200)
    owner.call("PUT", f"{root}/metadata/d", {"meta": {"e": "4"}}, expect=400)
    owner.call("DELETE", f"{root}/metadata/d", expect=204)
    owner.call("GET", f"{root}/metadata/d", expect=404)
    owner.call("PUT", f"{root}/tags", {"tags": ["x", "y"]}, expect=200)
    owner.call("PUT", f"{root}/tags/z", expect=201)
    owner.call("PUT", f"{root}/tags/z", expect=204)
    owner.call("GET", f"{root}/tags/q", expect=404)
    owner.call("DELETE", f"{root}/tags/x", expect=204)
    assert owner.get(f"{root}/tags")["tags"] == ["y", "z"]
    owner.call("GET", f"{root}/tags", expect=404, version="2.25")
    addresses = owner.get(f"{root}/ips")["addresses"]
    assert owner.get(f"{root}/ips/net") == {"net": addresses["net"]}
    owner.call("GET", f"{root}/ips/nowhere", expect=404)
    assert owner.get(f"{root}/os-volume_attachments") == {"volumeAttachments": []}
    groups = owner.get(f"{root}/os-security-groups")["security_groups"]
    assert [g["name"] for g in groups] == ["default"]


def test_security_groups_of_a_server(owner: Any) -> None:
    group = owner.post("/security-groups", {"security_group": {"name": "web"}}, 201, service="network")[
        "security_group"
    ]
    server = owner.server(security_groups=[{"name": "web"}])
    [port] = owner.get(f"/ports?device_id={server['id']}", service="network")["ports"]
    assert port["security_groups"] == [group["id"]] and server["security_groups"] == [{"name": "web"}]
    by_id = owner.server(security_groups=[{"name": group["id"]}])
    assert by_id["security_groups"] == [{"name": "web"}]
    owner.action(server["id"], {"addSecurityGroup": {"name": "default"}})
    [port] = owner.get(f"/ports?device_id={server['id']}", service="network")["ports"]
    assert len(port["security_groups"]) == 2
    owner.action(server["id"], {"removeSecurityGroup": {"name": "web"}})
    assert owner.show(server["id"])["security_groups"] == [{"name": "default"}]
    owner.action(server["id"], {"removeSecurityGroup": {"name": "web"}}, 404)
    owner.action(server["id"], {"addSecurityGroup": {"name": "nope"}}, 404)


def test_update(owner: Any) -> None:
    server = owner.server("old")
    body = {"server": {"name": "new", "accessIPv4": "192.0.2.1", "description": "d", "hostname": "h1"}}
    owner.call("PUT", f"/servers/{server['id']}", body, expect=200)
    shown = owner.show(server["id"])
    assert (shown["name"], shown["accessIPv4"], shown["description"]) == ("new", "192.0.2.1", "d")
    assert shown["OS-EXT-SRV-ATTR:hostname"] == "h1"


def test_many_at_once(cloud: Any, owner: Any) -> None:
    owner.boot("node", min_count=2, max_count=4)
    found = owner.get("/servers?name=node")["servers"]
    assert sorted(s["name"] for s in found) == ["node-1", "node-2", "node-3", "node-4"]
    for server in found:
        owner.wait(server["id"], "ACTIVE")
    addresses = {owner.show(s["id"])["addresses"]["net"][0]["addr"] for s in found}
    assert len(addresses) == 4
    owner.boot("rest", min_count=1, max_count=20)
    assert len(owner.get("/servers")["servers"]) == 10, "as many as the quota leaves"


def test_password_made_up_by_the_guest(cloud: Any, owner: Any) -> None:
    server = owner.server(networks="none")
    path = f"/servers/{server['id']}/os-server-password"
    assert owner.get(path) == {"password": ""}
    assert passwords.store(cloud.svc, server["id"], "c2VjcmV0")
    assert not passwords.store(cloud.svc, server["id"], "b3RoZXI="), "a guest writes it once"
    assert owner.get(path) == {"password": "c2VjcmV0"}
    cloud.person().call("GET", path, expect=404)
    owner.call("DELETE", path, expect=204)
    assert owner.get(path) == {"password": ""}


def test_server_groups_spread(cloud: Any, owner: Any) -> None:
    group = owner.post("/os-server-groups", {"server_group": {"name": "g", "policy": "anti-affinity"}}, 200)[
        "server_group"
    ]
    body = {
        "server": {"name": "one", "flavorRef": cloud.flavor["id"], "imageRef": cloud.image["id"], "networks": "none"},
        "os:scheduler_hints": {"group": group["id"]},
    }
    first = owner.post("/servers", body, 202)["server"]
    shown = owner.wait(first["id"], "ACTIVE")
    assert shown["server_groups"] == [group["id"]]
    second = owner.post("/servers", body, 202)["server"]
    failed = owner.wait(second["id"], "ERROR")
    assert "hold members of its server group" in failed["fault"]["message"]
    members = owner.get(f"/os-server-groups/{group['id']}")["server_group"]["members"]
    assert sorted(members) == sorted([first["id"], second["id"]])


def test_reset_state(cloud: Any, owner: Any) -> None:
    server = owner.server()
    owner.action(server["id"], {"os-resetState": {"state": "error"}}, 403)
    cloud.admin.action(server["id"], {"os-resetState": {"state": "error"}})
    assert owner.show(server["id"])["status"] == "ERROR"
    owner.call("DELETE", f"/servers/{server['id']}", expect=204)
    owner.wait_gone(server["id"])


def _until(check: Any) -> None:
    end = time.monotonic() + 60
    while not check():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def test_access_addresses_are_spelled_as_usual(owner: Any) -> None:
    given = {"accessIPv4": "192.0.2.1", "accessIPv6": "2001:0db8:0000::192.0.2.33"}
    server = owner.server("reached", **given)
    assert (server["accessIPv4"], server["accessIPv6"]) == ("192.0.2.1", "2001:db8::c000:221")
    body = {"server": {"accessIPv6": "FE80::0:1"}}
    changed = owner.call("PUT", f"/servers/{server['id']}", body, expect=200).json()["server"]
    assert changed["accessIPv6"] == "fe80::1"
    for wrong in ({"accessIPv4": "1.1.1.1.1.1"}, {"accessIPv4": "::1"}, {"accessIPv6": "192.0.2.1"}):
        owner.boot(expect=400, **wrong)
        owner.call("PUT", f"/servers/{server['id']}", {"server": wrong}, expect=400)


def test_resize_may_change_the_disk_config(cloud: Any, owner: Any) -> None:
    server = owner.server("grows", **{"OS-DCF:diskConfig": "AUTO"})
    bigger = cloud.make_flavor(f"bigger-{server['id'][:8]}", disk=2)
    owner.action(server["id"], {"resize": {"flavorRef": bigger["id"], "OS-DCF:diskConfig": "MANUAL"}})
    assert owner.wait(server["id"], "VERIFY_RESIZE")["OS-DCF:diskConfig"] == "MANUAL"
    owner.action(server["id"], {"confirmResize": None}, 204)
    assert owner.wait(server["id"], "ACTIVE")["OS-DCF:diskConfig"] == "MANUAL"


def test_what_rebuild_answers_in_which_microversion(cloud: Any, owner: Any) -> None:
    server = owner.server("again", user_data="aGVsbG8=")
    body = {"rebuild": {"imageRef": cloud.image["id"]}}
    later = ("OS-EXT-STS:vm_state", "OS-EXT-AZ:availability_zone", "security_groups")
    for version, there, missing in (
        ("2.53", (), (*later, "key_name", "user_data")),
        ("2.57", ("key_name", "user_data"), later),
        ("2.75", (*later, "key_name", "user_data"), ()),
    ):
        shown = owner.action(server["id"], body, 202, version=version)["server"]
        assert set(there) <= set(shown) and not set(missing) & set(shown)
        assert len(shown["adminPass"]) == 12
        kinds = {name for entry in shown["addresses"]["net"] for name in entry}
        assert ("OS-EXT-IPS:type" in kinds) is (version == "2.75")
        if "user_data" in there:
            assert shown["user_data"] == "aGVsbG8="
        owner.wait(server["id"], "ACTIVE")


def test_a_server_is_let_go_of_its_zone_and_held_again(owner: Any) -> None:
    server = owner.server("pinned", availability_zone="nova")
    path = f"/servers/{server['id']}"

    def pin(zone: str | None, expect: int = 200, version: str = "2.104") -> Any:
        return owner.call("PUT", path, {"server": {"pinned_availability_zone": zone}}, expect=expect, version=version)

    pin(None, 400, "2.103")
    pin("moon", 409)
    assert pin("nova").json()["server"]["pinned_availability_zone"] == "nova"
    for _ in range(2):
        assert pin(None).json()["server"]["pinned_availability_zone"] is None
    pin("moon", 409)
    assert pin("nova").json()["server"]["pinned_availability_zone"] == "nova"


def test_properties_of_the_image_and_hints_are_shown(cloud: Any, owner: Any) -> None:
    image = cloud.make_image("described", b"x" * 512, os_distro="debian")
    other = owner.server("first")
    body = {"name": "hinted", "flavorRef": cloud.flavor["id"], "imageRef": image["id"], "networks": "none"}
    hints = {"same_host": [other["id"]]}
    made = owner.post("/servers", {"server": body, "os:scheduler_hints": hints}, 202)["server"]
    shown = owner.wait(made["id"], "ACTIVE")
    assert shown["image"]["properties"] == {"os_distro": "debian"} and shown["scheduler_hints"] == hints
    assert "properties" not in owner.show(made["id"], version="2.97")["image"]
    assert "scheduler_hints" not in owner.show(made["id"], version="2.99")


def test_password_of_the_administrator(owner: Any) -> None:
    server = owner.server("opened")
    owner.action(server["id"], {"changePassword": {"adminPass": "geheim"}})
    owner.action(server["id"], {"os-stop": None})
    owner.wait(server["id"], "SHUTOFF")
    owner.action(server["id"], {"changePassword": {"adminPass": "geheim"}}, 409)


def test_a_server_without_groups_shows_none(owner: Any) -> None:
    server = owner.server("loose")
    owner.action(server["id"], {"removeSecurityGroup": {"name": "default"}})
    assert "security_groups" not in owner.show(server["id"])


def test_a_project_is_asked_for_together_with_all_tenants(cloud: Any, owner: Any) -> None:
    server = owner.server("found")
    query = f"/servers?project_id={owner.project_id}"
    assert server["id"] not in [s["id"] for s in cloud.admin.get(query)["servers"]]
    assert [s["id"] for s in cloud.admin.get(f"{query}&all_tenants=1")["servers"]] == [server["id"]]
