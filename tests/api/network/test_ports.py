# SPDX-License-Identifier: Apache-2.0
"""Ports through the API: addresses, groups, binding, who may what."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from aerie_common.db import count_queries


def test_create_show_update_delete(bench: Any) -> None:
    network, subnet = bench.network("10.0.0.0/24")
    port = bench.port(network, name="p")
    assert (
        port["status"] == "DOWN"
        and port["mac_address"].startswith("fa:16:3e:")
        and port["tenant_id"] == port["project_id"]
    )
    [address] = port["fixed_ips"]
    assert address["subnet_id"] == subnet["id"] and address["ip_address"].startswith("10.0.0.")
    assert len(port["security_groups"]) == 1 and port["port_security_enabled"] is True
    assert "binding:host_id" not in port and port["binding:vnic_type"] == "normal"
    assert bench.get(f"/ports/{port['id']}")["port"] == port
    changed = bench.change("port", port["id"], name="q", admin_state_up=False)
    assert changed["name"] == "q" and changed["admin_state_up"] is False and changed["revision_number"] == 2
    bench.remove("port", port["id"])
    assert bench.remove("port", port["id"], expect=404)["type"] == "PortNotFound"
    assert bench.make("port", network_id=port["id"], expect=404)["type"] == "NetworkNotFound"


def test_addresses(bench: Any) -> None:
    network, subnet = bench.network("10.2.0.0/28")
    exact = [{"ip_address": "10.2.0.9"}]
    port = bench.port(network, fixed_ips=exact)
    assert port["fixed_ips"] == [{"subnet_id": subnet["id"], "ip_address": "10.2.0.9"}]
    refused = bench.make("port", network_id=network["id"], fixed_ips=exact, expect=409)
    assert refused["type"] == "IpAddressAlreadyAllocated"
    for address, kind in (
        ("10.3.0.1", "InvalidIpForNetwork"),
        ("10.2.0.15", "InvalidIpForSubnet"),
        ("10.2.0.0", "InvalidIpForSubnet"),
    ):
        refused = bench.make("port", network_id=network["id"], fixed_ips=[{"ip_address": address}], expect=400)
        assert refused["type"] == kind
    assert bench.port(network, fixed_ips=[])["fixed_ips"] == []
    # Adding one keeps the one that is there.
    second = bench.change("port", port["id"], fixed_ips=[*port["fixed_ips"], {"subnet_id": subnet["id"]}])
    assert second["fixed_ips"][0] == port["fixed_ips"][0] and len(second["fixed_ips"]) == 2
    only = bench.change("port", port["id"], fixed_ips=[second["fixed_ips"][1]])
    assert only["fixed_ips"] == [second["fixed_ips"][1]]
    bench.port(network, fixed_ips=exact)  # free again
    bench.make("port", network_id=network["id"], fixed_ips=[{}], expect=400)


def test_an_address_is_not_given_to_its_holder_again(bench: Any) -> None:
    """With few addresses left a port that wanted one more was given the one it had."""
    network, subnet = bench.network("10.2.2.0/30", enable_dhcp=False, gateway_ip=None)
    for _ in range(10):
        port = bench.port(network)
        port = bench.change("port", port["id"], fixed_ips=[*port["fixed_ips"], {"subnet_id": subnet["id"]}])
        assert {f["ip_address"] for f in port["fixed_ips"]} == {"10.2.2.1", "10.2.2.2"}
        bench.remove("port", port["id"])


def test_no_addresses_left(bench: Any) -> None:
    network, _ = bench.network("10.2.0.0/29", enable_dhcp=False)
    got = {bench.port(network)["fixed_ips"][0]["ip_address"] for _ in range(5)}
    assert len(got) == 5
    assert bench.make("port", network_id=network["id"], expect=409)["type"] == "IpAddressGenerationFailure"


def test_concurrent_creates_get_different_addresses(bench: Any) -> None:
    """A /26 given out to its last address by eight callers at once: each address once, then the refusal."""
    network, _ = bench.network("10.2.1.0/26", enable_dhcp=False)
    found: list[str] = []
    refused: list[str] = []

    def work() -> None:
        for _ in range(9):
            reply = bench.call("POST", "/ports", {"port": {"network_id": network["id"]}})
            if reply.status_int == 201:
                found.append(reply.json["port"]["fixed_ips"][0]["ip_address"])
            else:
                refused.append(reply.json["NeutronError"]["type"])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == len(set(found)) == 61
    assert refused == ["IpAddressGenerationFailure"] * 11


def test_macs(bench: Any) -> None:
    network, _ = bench.network()
    port = bench.port(network, mac_address="fa:16:3e:00:00:01")
    for _ in range(2):
        refused = bench.make("port", network_id=network["id"], mac_address="FA:16:3E:00:00:01", expect=409)
        assert refused["type"] == "MacAddressInUse"
    other, _ = bench.network()
    bench.port(other, mac_address="fa:16:3e:00:00:01")  # once per network
    bench.make("port", network_id=network["id"], mac_address="nonsense", expect=400)
    free = bench.port(network)
    assert bench.change("port", free["id"], mac_address=port["mac_address"], expect=409)["type"] == "MacAddressInUse"
    changed = bench.change("port", free["id"], mac_address="fa:16:3e:00:00:02")
    assert changed["mac_address"] == "fa:16:3e:00:00:02"


def test_bulk(bench: Any) -> None:
    network, _ = bench.network("10.3.0.0/24")
    body = {"ports": [{"network_id": network["id"], "name": f"bulk-{i}"} for i in range(30)]}
    made = bench.call("POST", "/ports", body, expect=201).json["ports"]
    assert [p["name"] for p in made] == [f"bulk-{i}" for i in range(30)]
    assert len({p["fixed_ips"][0]["ip_address"] for p in made}) == len({p["mac_address"] for p in made}) == 30
    body = {
        "ports": [
            {"network_id": network["id"], "name": "never"},
            {"network_id": network["id"], "fixed_ips": [{"ip_address": "1.1.1.1"}]},
        ]
    }
    bench.call("POST", "/ports", body, expect=400)
    assert bench.get("/ports?name=never")["ports"] == []


def test_bulk_queries_do_not_grow(bench: Any) -> None:
    network, _ = bench.network("10.16.0.0/16")

    def cost(count: int) -> int:
        body = {"ports": [{"network_id": network["id"]} for _ in range(count)]}
        with count_queries(bench.svc.db) as queries:
            bench.call("POST", "/ports", body, expect=201)
        return int(queries)

    cost(1)
    assert cost(1) <= 16 and cost(100) <= cost(1) + 3


def test_filters(bench: Any) -> None:
    network, subnet = bench.network("10.4.0.0/24")
    a = bench.port(network, name="a", fixed_ips=[{"ip_address": "10.4.0.55"}], device_id="dev")
    b = bench.port(network, name="b", fixed_ips=[{"ip_address": "10.4.0.66"}])
    base = f"/ports?network_id={network['id']}&fields=id"

    def ids(query: str) -> set[str]:
        return {p["id"] for p in bench.get(f"{base}&{query}")["ports"]} & {a["id"], b["id"]}

    assert ids("fixed_ips=ip_address%3D10.4.0.55") == {a["id"]}
    assert ids("fixed_ips=ip_address%3D10.4.0.55&fixed_ips=ip_address%3D10.4.0.66") == {a["id"], b["id"]}
    assert ids(f"fixed_ips=subnet_id%3D{subnet['id']}&fixed_ips=ip_address%3D10.4.0.66") == {b["id"]}
    assert ids("fixed_ips=ip_address_substr%3D4.0.5") == {a["id"]}
    assert ids("device_id=dev") == {a["id"]} and ids("device_id=") == {b["id"]}
    assert ids(f"mac_address={a['mac_address'].upper()}") == {a["id"]}
    assert ids(f"security_groups={a['security_groups'][0]}") == {a["id"], b["id"]}
    bench.call("GET", "/ports?fixed_ips=nonsense", expect=400)


def test_device_owner_network_is_not_for_tenants(bench: Any) -> None:
    """OSSA-2015-018: a port of owner network:* is exempt from filtering."""
    network, _ = bench.network()
    refused = bench.make("port", network_id=network["id"], device_owner="network:dhcp", expect=403)
    assert refused["type"] == "PolicyNotAuthorized"
    port = bench.port(network)
    bench.change("port", port["id"], device_owner="network:router_interface", expect=403)
    body = {"ports": [{"network_id": network["id"]}, {"network_id": network["id"], "device_owner": "network:x"}]}
    bench.call("POST", "/ports", body, expect=403)


def test_binding_is_for_services(bench: Any) -> None:
    network, _ = bench.network()
    for name, value in (("binding:host_id", "host-1"), ("binding:profile", {"a": 1})):
        assert (
            bench.make("port", network_id=network["id"], expect=403, **{name: value})["type"] == "PolicyNotAuthorized"
        )
        bench.call("POST", "/ports", {"ports": [{"network_id": network["id"], name: value}]}, expect=403)
        port = bench.port(network)
        bench.change("port", port["id"], expect=403, **{name: value})
    made = bench.port(
        network, by=bench.compute, project_id=bench.owner.project_id, device_id="server", device_owner="compute:nova",
        **{"binding:host_id": "host-1"},
    )  # fmt: skip
    assert made["project_id"] == bench.owner.project_id and made["binding:vif_type"] == "bridge"
    assert made["binding:vif_details"]["bridge_name"] == "brq" + network["id"][:11]
    assert len(made["security_groups"]) == 1
    unknown = bench.port(network, by=bench.admin, **{"binding:host_id": "nowhere"})
    assert unknown["binding:vif_type"] == "binding_failed"
    free = bench.change("port", made["id"], by=bench.compute, **{"binding:host_id": ""})
    assert free["binding:vif_type"] == "unbound" and free["binding:host_id"] == ""
    assert (
        bench.change("port", made["id"], by=bench.admin, **{"binding:host_id": "host-1"})["binding:vif_type"]
        == "bridge"
    )
    refused = bench.change("port", made["id"], mac_address="fa:16:3e:00:00:77", expect=409)
    assert refused["type"] == "PortBound"


def test_on_a_shared_network(bench: Any) -> None:
    network = bench.make("network", by=bench.admin, shared=True)
    subnet = bench.make("subnet", by=bench.admin, network_id=network["id"], cidr="10.5.0.0/24", ip_version=4)
    port = bench.port(network)
    assert port["fixed_ips"][0]["subnet_id"] == subnet["id"]
    bench.port(network, fixed_ips=[{"subnet_id": subnet["id"]}])
    for values in (
        {"fixed_ips": [{"ip_address": "10.5.0.77"}]},
        {"mac_address": "fa:16:3e:01:02:03"},
        {"port_security_enabled": False},
        {"allowed_address_pairs": [{"ip_address": "10.5.0.9"}]},
    ):
        assert bench.make("port", network_id=network["id"], expect=403, **values)["type"] == "PolicyNotAuthorized"
    bench.change("network", network["id"], by=bench.admin, shared=False, expect=409)
    bench.remove("port", port["id"], by=bench.stranger, expect=404)


def test_port_security_and_pairs(bench: Any) -> None:
    network, _ = bench.network()
    pairs = [{"ip_address": "10.0.0.200"}, {"ip_address": "10.1.0.0/24", "mac_address": "FA:16:3E:00:00:09"}]
    port = bench.port(network, allowed_address_pairs=pairs)
    assert port["allowed_address_pairs"] == [
        {"ip_address": "10.0.0.200", "mac_address": port["mac_address"]},
        {"ip_address": "10.1.0.0/24", "mac_address": "fa:16:3e:00:00:09"},
    ]
    for bad in (
        [{"ip_address": "x"}],
        [{"mac_address": "fa:16:3e:00:00:01"}],
        [pairs[0], pairs[0]],
        [{"ip_address": "10.0.0.1\n"}],
    ):
        bench.change("port", port["id"], allowed_address_pairs=bad, expect=400)
    refused = bench.change("port", port["id"], port_security_enabled=False, expect=409)
    assert refused["type"] == "AddressPairAndPortSecurityRequired"
    bench.change("port", port["id"], allowed_address_pairs=[])
    refused = bench.change("port", port["id"], port_security_enabled=False, expect=409)
    assert refused["type"] == "PortSecurityPortHasSecurityGroup"
    off = bench.change("port", port["id"], port_security_enabled=False, security_groups=[])
    assert off["port_security_enabled"] is False and off["security_groups"] == []
    assert bench.port(network, port_security_enabled=False)["security_groups"] == []


@pytest.mark.parametrize("value", ["1.2.3.4\naddn-hosts=/etc/passwd", "a\rb", "x\x00", "a\u2028b", "a\x7f"])
def test_control_characters_reach_no_file(bench: Any, value: str) -> None:
    """OSSA-2021-005."""
    network, _ = bench.network()
    option = [{"opt_name": "domain-name", "opt_value": value}]
    bench.make("port", network_id=network["id"], extra_dhcp_opts=option, expect=400)
    bench.make("port", network_id=network["id"], extra_dhcp_opts=[{"opt_name": value, "opt_value": "x"}], expect=400)
    for name in ("dns_name", "device_id", "device_owner"):
        bench.make("port", network_id=network["id"], expect=400, **{name: value})
    port = bench.port(network)
    bench.change("port", port["id"], extra_dhcp_opts=option, expect=400)


def test_dhcp_options(bench: Any) -> None:
    network, _ = bench.network()
    options = [{"opt_name": "mtu", "opt_value": "1400"}, {"opt_name": "42", "opt_value": "1.2.3.4", "ip_version": "4"}]
    port = bench.port(network, extra_dhcp_opts=options)
    assert {(o["opt_name"], o["opt_value"]) for o in port["extra_dhcp_opts"]} == {("mtu", "1400"), ("42", "1.2.3.4")}
    changed = bench.change(
        "port",
        port["id"],
        extra_dhcp_opts=[{"opt_name": "mtu", "opt_value": None}, {"opt_name": "42", "opt_value": "5.6.7.8"}],
    )
    assert [(o["opt_name"], o["opt_value"]) for o in changed["extra_dhcp_opts"]] == [("42", "5.6.7.8")]


def test_dns_assignment(bench: Any) -> None:
    network, _ = bench.network()
    port = bench.port(network, dns_name="web", fixed_ips=[{"ip_address": "10.0.0.9"}])
    assert port["dns_assignment"] == [{"ip_address": "10.0.0.9", "hostname": "web", "fqdn": "web.openstacklocal."}]
    plain = bench.port(network, fixed_ips=[{"ip_address": "10.0.0.10"}])
    assert plain["dns_assignment"][0]["hostname"] == "host-10-0-0-10"
    bench.make("port", network_id=network["id"], dns_name="-bad", expect=400)


def test_security_groups_of_ports(bench: Any) -> None:
    network, _ = bench.network()
    group = bench.make("security_group", name="web")
    port = bench.port(network, security_groups=[group["id"]])
    assert port["security_groups"] == [group["id"]]
    assert bench.remove("security_group", group["id"], expect=409)["type"] == "SecurityGroupInUse"
    assert bench.change("port", port["id"], security_groups=[])["security_groups"] == []
    theirs = bench.make("security_group", by=bench.stranger, name="theirs")
    refused = bench.change("port", port["id"], security_groups=[theirs["id"]], expect=404)
    assert refused["type"] == "SecurityGroupNotFound"


def test_list_queries(bench: Any) -> None:
    who = bench.person()
    network, _ = bench.network("10.20.0.0/22", by=who)
    bench.port(network, by=who)
    with count_queries(bench.svc.db) as few:
        bench.get(f"/ports?network_id={network['id']}", by=who)
    body = {"ports": [{"network_id": network["id"]} for _ in range(100)]}
    bench.call("POST", "/ports", body, by=who, expect=201)
    with count_queries(bench.svc.db) as many:
        assert len(bench.get(f"/ports?network_id={network['id']}", by=who)["ports"]) == 102
    assert int(many) <= int(few) + 1 <= 6, many
    with count_queries(bench.svc.db) as again:
        bench.get(f"/ports?network_id={network['id']}", by=who)
    assert int(again) == 1  # nothing has changed


def test_notifications(bench: Any) -> None:
    network, _ = bench.network()
    bench.events()
    port = bench.port(network, dns_name="told")
    bench.change("port", port["id"], name="renamed")
    bench.remove("port", port["id"])
    events = bench.events()
    assert [event for event, _ in events] == ["port.create.end", "port.update.end", "port.delete.end"]
    body = events[0][1]["port"]
    assert body["id"] == port["id"] and body["dns_name"] == "told" and body["fixed_ips"] == port["fixed_ips"]
    assert events[2][1]["port_id"] == port["id"]


def test_lists_are_never_stale(bench: Any) -> None:
    """Lists remember what they read; whatever changes a port or what hangs on it must show in the next one."""
    network, subnet = bench.network("10.21.0.0/24")
    port = bench.port(network, by=bench.compute, project_id=bench.owner.project_id, device_owner="compute:nova",
                      device_id="s", **{"binding:host_id": "host-1"})  # fmt: skip
    group = bench.make("security_group", name="late")

    def same() -> dict[str, Any]:
        alone = bench.get(f"/ports/{port['id']}", by=bench.admin)["port"]
        [listed] = bench.get(f"/ports?id={port['id']}", by=bench.admin)["ports"]
        assert listed == alone
        [owners] = bench.get(f"/ports?id={port['id']}")["ports"]
        assert "binding:host_id" not in owners and owners["updated_at"] == alone["updated_at"]
        return alone

    assert same()["status"] == "DOWN"
    bench.host.work()
    assert same()["status"] == "ACTIVE"
    bench.change("port", port["id"], security_groups=[group["id"]])
    assert same()["security_groups"] == [group["id"]]
    bench.change("port", port["id"], fixed_ips=[{"subnet_id": subnet["id"]}, {"subnet_id": subnet["id"]}])
    assert len(same()["fixed_ips"]) == 2
    bench.call("PUT", f"/ports/{port['id']}/tags/seen", expect=201)
    assert same()["tags"] == ["seen"]
    bench.call("DELETE", f"/ports/{port['id']}/tags", expect=204)
    assert same()["tags"] == []
    slaac = bench.make("subnet", network_id=network["id"], cidr="fd00:5::/64", ip_version=6, ipv6_ra_mode="slaac",
                       ipv6_address_mode="slaac")  # fmt: skip
    assert len(same()["fixed_ips"]) == 3
    bench.remove("subnet", slaac["id"])
    assert len(same()["fixed_ips"]) == 2
    bench.change("port", port["id"], by=bench.admin, **{"binding:host_id": ""})
    assert same()["binding:vif_type"] == "unbound"
    bench.remove("port", port["id"])
    assert bench.get(f"/ports?id={port['id']}")["ports"] == []


@pytest.mark.parametrize("count", [3, 300])
def test_a_list_shows_each_port_its_own_children(bench: Any, count: int) -> None:
    """However many are read at a time."""
    network, _ = bench.network("10.0.0.0/22")
    wanted = [{"network_id": network["id"], "name": f"p{n}"} for n in range(count)]
    made = bench.call("POST", "/ports", {"ports": wanted}, expect=201).json["ports"]
    first, last = made[0]["id"], made[-1]["id"]
    for port_id, tag in ((first, "first"), (last, "last")):
        bench.call("PUT", f"/ports/{port_id}/tags/{tag}", expect=201)
    shown = {port["id"]: port for port in bench.get(f"/ports?network_id={network['id']}&device_owner=")["ports"]}
    assert {id: port["fixed_ips"] for id, port in shown.items()} == {port["id"]: port["fixed_ips"] for port in made}
    assert all(len(port["security_groups"]) == 1 for port in shown.values())
    assert {id: port["tags"] for id, port in shown.items() if port["tags"]} == {first: ["first"], last: ["last"]}
    assert bench.get(f"/ports/{last}")["port"] == shown[last]
