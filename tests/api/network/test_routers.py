# SPDX-License-Identifier: Apache-2.0
"""Routers and floating IPs through the API."""

from __future__ import annotations

from typing import Any

from aerie_common.db import count_queries


def _attach(bench: Any, router: Any, subnet: Any, expect: int = 200, by: Any = None) -> Any:
    path = f"/routers/{router['id']}/add_router_interface"
    return bench.call("PUT", path, {"subnet_id": subnet["id"]}, by=by or bench.owner, expect=expect).json


def _detach(bench: Any, router: Any, expect: int = 200, **what: Any) -> Any:
    return bench.call("PUT", f"/routers/{router['id']}/remove_router_interface", what, expect=expect).json


def test_life(bench: Any) -> None:
    router = bench.make("router", name="r")
    assert router["status"] == "ACTIVE" and router["external_gateway_info"] is None and router["routes"] == []
    assert (
        "distributed" not in router and bench.get(f"/routers/{router['id']}", by=bench.admin)["router"]["ha"] is False
    )
    assert bench.get(f"/routers/{router['id']}")["router"] == router
    assert bench.change("router", router["id"], name="s", admin_state_up=False)["name"] == "s"
    bench.call("GET", f"/routers/{router['id']}", by=bench.stranger, expect=404)
    bench.make("router", expect=403, distributed=True)
    bench.remove("router", router["id"])
    assert bench.remove("router", router["id"], expect=404)["type"] == "RouterNotFound"


def test_interfaces(bench: Any) -> None:
    router = bench.make("router")
    network, subnet = bench.network("10.1.0.0/24")
    done = _attach(bench, router, subnet)
    assert done["subnet_id"] == subnet["id"] and done["subnet_ids"] == [subnet["id"]] and done["id"] == router["id"]
    port = bench.get(f"/ports/{done['port_id']}")["port"]
    assert port["device_owner"] == "network:router_interface" and port["device_id"] == router["id"]
    assert port["fixed_ips"] == [{"subnet_id": subnet["id"], "ip_address": "10.1.0.1"}]
    assert "already has a port" in _attach(bench, router, subnet, 400)["NeutronError"]["message"]
    _, overlapping = bench.network("10.1.0.128/25")
    assert "overlaps" in _attach(bench, router, overlapping, 400)["NeutronError"]["message"]
    assert bench.remove("router", router["id"], expect=409)["type"] == "RouterInUse"
    assert bench.remove("port", port["id"], expect=409)["type"] == "ServicePortInUse"
    assert bench.remove("subnet", subnet["id"], expect=409)["type"] == "SubnetInUse"
    assert bench.remove("network", network["id"], expect=409)["type"] == "NetworkInUse"
    wrong = _detach(bench, router, 404, subnet_id=overlapping["id"])["NeutronError"]
    assert wrong["type"] == "RouterInterfaceNotFoundForSubnet"
    _detach(bench, router, 404, port_id=router["id"])
    gone = _detach(bench, router, subnet_id=subnet["id"])
    assert gone["port_id"] == port["id"]
    bench.call("GET", f"/ports/{port['id']}", expect=404)
    own = bench.port(network)
    done = bench.call("PUT", f"/routers/{router['id']}/add_router_interface", {"port_id": own["id"]}, expect=200).json
    assert done["port_id"] == own["id"]
    again = bench.call("PUT", f"/routers/{router['id']}/add_router_interface", {"port_id": own["id"]}, expect=409).json
    assert again["NeutronError"]["type"] == "PortInUse"
    _detach(bench, router, port_id=own["id"])
    bench.remove("router", router["id"])


def test_others_cannot_plug(bench: Any) -> None:
    """OSSA-2014-008: nobody attaches somebody else's subnet or port."""
    network, subnet = bench.network("10.33.0.0/24")
    port = bench.port(network)
    theirs = bench.make("router", by=bench.stranger)
    _attach(bench, theirs, subnet, 404, by=bench.stranger)
    path = f"/routers/{theirs['id']}/add_router_interface"
    bench.call("PUT", path, {"port_id": port["id"]}, by=bench.stranger, expect=404)
    mine = bench.make("router")
    _attach(bench, mine, subnet, 404, by=bench.stranger)
    bench.call("PUT", path, {}, by=bench.stranger, expect=400)


def test_gateway(bench: Any) -> None:
    external = bench.outside()
    router = bench.make("router", external_gateway_info={"network_id": external["id"]})
    info = router["external_gateway_info"]
    assert info["network_id"] == external["id"] and info["enable_snat"] is True
    [fixed] = info["external_fixed_ips"]
    assert fixed["ip_address"].startswith("172.24.")
    ports = bench.get(f"/ports?device_id={router['id']}&device_owner=network:router_gateway", by=bench.admin)["ports"]
    assert len(ports) == 1 and ports[0]["project_id"] == "" and ports[0]["binding:host_id"] == "host-1"
    assert bench.get(f"/ports?device_id={router['id']}")["ports"] == []  # not the tenant's
    same = bench.change("router", router["id"], external_gateway_info={"network_id": external["id"]})
    assert same["external_gateway_info"] == info
    snat = {"network_id": external["id"], "enable_snat": False}
    bench.change("router", router["id"], external_gateway_info=snat, expect=403)
    off = bench.change("router", router["id"], by=bench.admin, external_gateway_info=snat)
    assert off["external_gateway_info"]["enable_snat"] is False
    exact = {"network_id": external["id"], "external_fixed_ips": [{"ip_address": "172.24.3.200"}]}
    bench.change("router", router["id"], external_gateway_info=exact, expect=403)
    moved = bench.change("router", router["id"], by=bench.admin, external_gateway_info=exact)
    assert [f["ip_address"] for f in moved["external_gateway_info"]["external_fixed_ips"]] == ["172.24.3.200"]
    other = bench.make("router")
    assert bench.change("router", other["id"], by=bench.admin, external_gateway_info=exact, expect=409)["type"] == (
        "IpAddressAlreadyAllocated"
    )
    assert bench.change("router", router["id"], external_gateway_info={})["external_gateway_info"] is None
    assert bench.get(f"/ports?device_id={router['id']}", by=bench.admin)["ports"] == []
    inside, _ = bench.network()
    bench.change("router", router["id"], external_gateway_info={"network_id": inside["id"]}, expect=400)
    bench.change("router", router["id"], external_gateway_info={"network_id": router["id"]}, expect=404)


def test_gateway_waits_for_the_first_subnet(bench: Any) -> None:
    external = bench.make("network", by=bench.admin, **{"router:external": True})
    router = bench.make("router", external_gateway_info={"network_id": external["id"]})
    info = {"network_id": external["id"], "external_fixed_ips": [], "enable_snat": True}
    assert router["external_gateway_info"] == info
    same = bench.change("router", router["id"], external_gateway_info={"network_id": external["id"]})
    assert same["external_gateway_info"] == info
    common = {"network_id": external["id"], "ip_version": 4, "enable_dhcp": False, "by": bench.admin}
    nodes = bench.make("subnet", cidr="172.27.0.0/24", service_types=["compute:nova"], **common)
    assert bench.get(f"/routers/{router['id']}")["router"]["external_gateway_info"] == info
    subnet = bench.make("subnet", cidr="172.28.0.0/24", **common)
    [fixed] = bench.get(f"/routers/{router['id']}")["router"]["external_gateway_info"]["external_fixed_ips"]
    assert fixed["subnet_id"] == subnet["id"] and fixed["ip_address"].startswith("172.28.0.")
    bench.make("subnet", cidr="172.29.0.0/24", **common)  # who has an address gets no second one
    assert bench.get(f"/routers/{router['id']}")["router"]["external_gateway_info"]["external_fixed_ips"] == [fixed]
    only = bench.make("network", by=bench.admin, **{"router:external": True})
    bench.make("subnet", cidr="172.30.0.0/24", **{**common, "network_id": only["id"]}, service_types=["compute:nova"])
    refused = bench.make("router", external_gateway_info={"network_id": only["id"]}, expect=409)
    assert refused["type"] == "IpAddressGenerationFailure" and nodes["service_types"] == ["compute:nova"]


def test_routes(bench: Any) -> None:
    network, subnet, router = bench.routed()
    routes = [{"destination": "10.50.0.0/24", "nexthop": "10.1.0.9"}]
    assert bench.change("router", router["id"], routes=routes)["routes"] == routes
    for bad in ("10.9.0.1", "10.1.0.1"):
        refused = bench.change(
            "router", router["id"], routes=[{"destination": "10.50.0.0/24", "nexthop": bad}], expect=400
        )
        assert refused["type"] == "InvalidRoutes"
    more = [{"destination": "10.51.0.0/24", "nexthop": "10.1.0.9"}]
    body = {"router": {"routes": more}}
    assert (
        bench.call("PUT", f"/routers/{router['id']}/add_extraroutes", body, expect=200).json["router"]["routes"]
        == routes + more
    )
    left = bench.call(
        "PUT", f"/routers/{router['id']}/remove_extraroutes", {"router": {"routes": routes}}, expect=200
    ).json
    assert left["router"]["routes"] == more
    assert _detach(bench, router, 409, subnet_id=subnet["id"])["NeutronError"]["type"] == "RouterInterfaceInUseByRoute"
    assert bench.change("router", router["id"], routes=None)["routes"] == []


def test_floating_ip(bench: Any) -> None:
    external = bench.outside()
    network, _, router = bench.routed()
    port = bench.port(network, device_owner="compute:nova", device_id="server-1")
    free = bench.make("floatingip", floating_network_id=external["id"])
    assert free["status"] == "DOWN" and free["port_id"] is None and free["floating_ip_address"].startswith("172.24.")
    bench.compute_events()
    tied = bench.change("floatingip", free["id"], port_id=port["id"])
    assert tied["fixed_ip_address"] == port["fixed_ips"][0]["ip_address"] and tied["router_id"] == router["id"]
    assert tied["port_details"]["device_id"] == "server-1"
    assert bench.compute_events() == [("network-changed", "server-1", port["id"])]
    # Moved by one call, without disassociating first.
    second = bench.port(network)
    moved = bench.change("floatingip", free["id"], port_id=second["id"])
    assert moved["port_id"] == second["id"] and moved["fixed_ip_address"] == second["fixed_ips"][0]["ip_address"]
    assert bench.change("floatingip", free["id"], description="only this")["port_id"] == second["id"]
    refused = bench.make("floatingip", floating_network_id=external["id"], port_id=second["id"], expect=409)
    assert refused["type"] == "FloatingIPPortAlreadyAssociated"
    busy = bench.change("router", router["id"], external_gateway_info={}, expect=409)
    assert busy["type"] == "RouterExternalGatewayInUseByFloatingIp"
    [subnet_id] = bench.get(f"/networks/{network['id']}")["network"]["subnets"]
    assert (
        _detach(bench, router, 409, subnet_id=subnet_id)["NeutronError"]["type"] == "RouterInterfaceInUseByFloatingIP"
    )
    none = bench.change("floatingip", free["id"], port_id=None)
    assert none["port_id"] is None and none["router_id"] is None and none["fixed_ip_address"] is None
    bench.change("floatingip", free["id"], port_id=second["id"])
    bench.remove("port", second["id"])
    assert bench.get(f"/floatingips/{free['id']}")["floatingip"]["port_id"] is None
    bench.call("GET", f"/floatingips/{free['id']}", by=bench.stranger, expect=404)
    [own] = bench.get(f"/ports?device_id={free['id']}", by=bench.admin)["ports"]
    assert own["device_owner"] == "network:floatingip"
    bench.remove("floatingip", free["id"])
    bench.call("GET", f"/ports/{own['id']}", by=bench.admin, expect=404)


def test_floating_ip_refusals(bench: Any) -> None:
    external = bench.outside()
    lonely, _ = bench.network()
    port = bench.port(lonely)
    refused = bench.make("floatingip", floating_network_id=external["id"], port_id=port["id"], expect=404)
    assert refused["type"] == "ExternalGatewayForFloatingIPNotFound"
    assert bench.get(f"/floatingips?port_id={port['id']}")["floatingips"] == []
    assert bench.make("floatingip", floating_network_id=lonely["id"], expect=400)["message"].endswith(
        "external network."
    )
    bench.make("floatingip", floating_network_id=port["id"], expect=404)
    bench.make("floatingip", floating_network_id=external["id"], floating_ip_address="172.24.3.9", expect=403)
    chosen = bench.make(
        "floatingip", by=bench.admin, floating_network_id=external["id"], floating_ip_address="172.24.3.9"
    )
    assert chosen["floating_ip_address"] == "172.24.3.9"
    taken = bench.make(
        "floatingip", by=bench.admin, floating_network_id=external["id"], floating_ip_address="172.24.3.9", expect=409
    )
    assert taken["type"] == "IpAddressAlreadyAllocated"
    network, _, _ = bench.routed()
    two = bench.port(network)
    two = bench.change(
        "port", two["id"], fixed_ips=[*two["fixed_ips"], {"subnet_id": two["fixed_ips"][0]["subnet_id"]}]
    )
    common = {"floating_network_id": external["id"], "port_id": two["id"]}
    assert "multiple" in bench.make("floatingip", expect=400, **common)["message"]
    bench.make("floatingip", expect=400, fixed_ip_address="10.1.255.250", **common)
    made = bench.make("floatingip", fixed_ip_address=two["fixed_ips"][1]["ip_address"], **common)
    assert made["fixed_ip_address"] == two["fixed_ips"][1]["ip_address"]
    network_gone = bench.remove("network", external["id"], by=bench.admin, expect=409)
    assert network_gone["type"] == "NetworkInUse"


def test_ipv6_interfaces_share_a_port(bench: Any) -> None:
    router = bench.make("router")
    network = bench.make("network")
    subnets = [
        bench.make("subnet", network_id=network["id"], cidr=f"fd00:{i}::/64", ip_version=6, enable_dhcp=False)
        for i in (1, 2)
    ]
    first, second = (_attach(bench, router, subnet) for subnet in subnets)
    assert first["port_id"] == second["port_id"]
    assert len(bench.get(f"/ports/{first['port_id']}")["port"]["fixed_ips"]) == 2
    _detach(bench, router, subnet_id=subnets[0]["id"])
    assert len(bench.get(f"/ports/{first['port_id']}")["port"]["fixed_ips"]) == 1
    _detach(bench, router, subnet_id=subnets[1]["id"])
    bench.call("GET", f"/ports/{first['port_id']}", expect=404)


def test_list_queries(bench: Any) -> None:
    who, external = bench.person(), bench.outside()
    gateway = {"network_id": external["id"]}

    def cost() -> int:
        with count_queries(bench.svc.db) as queries:
            bench.get("/routers", by=who)
            bench.get("/floatingips", by=who)
        return int(queries)

    bench.make("router", by=who, external_gateway_info=gateway)
    bench.make("floatingip", by=who, floating_network_id=external["id"])
    few = cost()
    for _ in range(3):
        bench.make("router", by=who, external_gateway_info=gateway)
        bench.make("floatingip", by=who, floating_network_id=external["id"])
    assert cost() == few <= 7


def test_an_external_network_goes_with_its_unused_floating_ips(bench: Any) -> None:
    external = bench.make("network", by=bench.admin, **{"router:external": True})
    subnet = bench.make("subnet", by=bench.admin, network_id=external["id"], cidr="172.25.0.0/24", ip_version=4)
    assert bench.get(f"/subnets/{subnet['id']}")["subnet"]["id"] == subnet["id"]  # seen by everybody, as its network
    floating = bench.make("floatingip", floating_network_id=external["id"])
    bench.remove("network", external["id"], by=bench.admin)
    bench.call("GET", f"/floatingips/{floating['id']}", expect=404)


def test_ready_made_topology(bench: Any) -> None:
    who = bench.person()
    path = f"/auto-allocated-topology/{who.project_id}"
    refused = bench.call("GET", path, by=who, expect=400).json["NeutronError"]
    assert refused["type"] == "AutoAllocationFailure"
    external = bench.outside()
    bench.change("network", external["id"], by=bench.admin, is_default=True)
    assert bench.get(path + "?fields=dry-run", by=who)["auto_allocated_topology"]["id"] == "dry-run=pass"
    network_id = bench.get(path, by=who)["auto_allocated_topology"]["id"]
    assert bench.get(path, by=who)["auto_allocated_topology"]["id"] == network_id
    [router] = bench.get("/routers", by=who)["routers"]
    assert router["external_gateway_info"]["network_id"] == external["id"]
    port = bench.port({"id": network_id}, by=who)
    bench.make("floatingip", by=who, floating_network_id=external["id"], port_id=port["id"])
    bench.call("GET", path, by=bench.stranger, expect=403)
    bench.call("DELETE", path, by=who, expect=409)
    [floating] = bench.get("/floatingips", by=who)["floatingips"]
    bench.remove("floatingip", floating["id"], by=who)
    bench.remove("port", port["id"], by=who)
    bench.call("DELETE", path, by=who, expect=204)
    assert bench.get("/routers", by=who)["routers"] == []
    bench.call("DELETE", path, by=who, expect=404)
    bench.change("network", external["id"], by=bench.admin, is_default=False)


def test_port_forwardings(bench: Any) -> None:
    external = bench.outside()
    network, _, router = bench.routed()
    port, other = bench.port(network), bench.port(network)
    floating = bench.make("floatingip", floating_network_id=external["id"])
    path = f"/floatingips/{floating['id']}/port_forwardings"
    body = {"protocol": "TCP", "internal_port_id": port["id"], "internal_port": 22, "external_port": "2222"}

    def post(expect: int = 201, **values: Any) -> Any:
        return bench.call("POST", path, {"port_forwarding": {**body, **values}}, expect=expect).json

    made = post()["port_forwarding"]
    assert made["protocol"] == "tcp" and made["external_port"] == 2222
    assert made["internal_ip_address"] == port["fixed_ips"][0]["ip_address"]
    seen = bench.get(f"/floatingips/{floating['id']}")["floatingip"]
    assert (
        seen["router_id"] == router["id"]
        and seen["status"] == "ACTIVE"
        and seen["port_forwardings"]
        == [{name: made[name] for name in ("protocol", "internal_ip_address", "internal_port", "external_port")}]
    )
    document = bench.host.fetch().routers[router["id"]].port_forwardings
    assert [(f.floating_ip, f.external_port, f.fixed_ip, f.internal_port) for f in document] == [
        (floating["floating_ip_address"], 2222, made["internal_ip_address"], 22)
    ]
    assert "duplicate" in post(400)["NeutronError"]["message"]
    post(400, internal_port=23)
    post(400, protocol="icmp", external_port=1)
    post(400, internal_ip_address="10.1.0.251", external_port=1)
    second = post(internal_port_id=other["id"], external_port=2223)["port_forwarding"]
    refused = bench.change("floatingip", floating["id"], port_id=port["id"], expect=409)
    assert refused["type"] == "FipInUseByPortForwarding"
    changed = bench.call("PUT", f"{path}/{second['id']}", {"port_forwarding": {"external_port": 2224}}, expect=200).json
    assert changed["port_forwarding"]["external_port"] == 2224
    assert len(bench.get(path)["port_forwardings"]) == 2
    assert bench.get(f"{path}?external_port=2224")["port_forwardings"][0]["id"] == second["id"]
    bench.call("GET", path, by=bench.stranger, expect=404)
    bench.call("DELETE", f"{path}/{made['id']}", by=bench.reader, expect=403)
    bench.remove("port", other["id"])  # and what was forwarded to it
    assert bench.host.fetch() == bench.host.whole()
    assert [f["id"] for f in bench.get(path)["port_forwardings"]] == [made["id"]]
    bench.call("DELETE", f"{path}/{made['id']}", expect=204)
    bench.call("DELETE", f"{path}/{made['id']}", expect=404)
    seen = bench.get(f"/floatingips/{floating['id']}")["floatingip"]
    assert seen["router_id"] is None and seen["status"] == "DOWN" and bench.host.fetch() == bench.host.whole()
    whole = bench.change("floatingip", floating["id"], port_id=port["id"])
    assert whole["port_id"] == port["id"]
    assert post(409)["NeutronError"]["type"] == "FloatingIPPortAlreadyAssociated"
    # An address has a floating IP of its own, or ports of one.
    spare = bench.make("floatingip", floating_network_id=external["id"])
    path = f"/floatingips/{spare['id']}/port_forwardings"
    assert post(409)["NeutronError"]["type"] == "PortHasBindingFloatingIP"
    assert bench.change("floatingip", floating["id"])["port_id"] is None  # a change of nothing takes it off its port
    post()
    refused = bench.change("floatingip", floating["id"], port_id=port["id"], expect=409)
    assert refused["type"] == "PortHasPortForwarding"
    assert bench.remove("floatingip", spare["id"], expect=409)["type"] == "FipInUseByPortForwarding"
    bench.remove("port", port["id"])
    bench.remove("floatingip", spare["id"])
    bench.remove("floatingip", floating["id"])
