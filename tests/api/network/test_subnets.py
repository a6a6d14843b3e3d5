# SPDX-License-Identifier: Apache-2.0
"""Subnets through the API: validity, addresses, DHCP ports."""

from __future__ import annotations

from typing import Any

import pytest

from aerie_common.db import count_queries


def test_defaults(bench: Any) -> None:
    network = bench.make("network")
    subnet = bench.make("subnet", network_id=network["id"], cidr="10.0.0.0/24", ip_version="4")
    assert subnet["gateway_ip"] == "10.0.0.1" and subnet["enable_dhcp"] is True and subnet["ip_version"] == 4
    assert subnet["allocation_pools"] == [{"start": "10.0.0.2", "end": "10.0.0.254"}]
    assert bench.get(f"/networks/{network['id']}")["network"]["subnets"] == [subnet["id"]]
    assert bench.get(f"/subnets/{subnet['id']}")["subnet"] == subnet
    ports = bench.get(f"/ports?network_id={network['id']}")["ports"]
    assert [p["device_owner"] for p in ports] == ["network:dhcp"]


def test_gateways(bench: Any) -> None:
    network = bench.make("network")
    none = bench.make("subnet", network_id=network["id"], cidr="10.0.1.0/24", ip_version=4, gateway_ip=None)
    assert none["gateway_ip"] is None and none["allocation_pools"] == [{"start": "10.0.1.1", "end": "10.0.1.254"}]
    middle = bench.make("subnet", network_id=network["id"], cidr="10.0.2.0/29", ip_version=4, gateway_ip="10.0.2.3")
    assert middle["allocation_pools"] == [
        {"start": "10.0.2.1", "end": "10.0.2.2"}, {"start": "10.0.2.4", "end": "10.0.2.6"},
    ]  # fmt: skip
    for gateway in ("10.0.4.1", "10.0.3.0", "10.0.3.255", "fe80::1", "x"):
        values = {"network_id": network["id"], "cidr": "10.0.3.0/24", "ip_version": 4, "gateway_ip": gateway}
        bench.make("subnet", expect=400, **values)


def test_bits_of_a_host_are_dropped(bench: Any) -> None:
    network = bench.make("network")
    subnet = bench.make("subnet", network_id=network["id"], cidr="10.99.99.7/16", ip_version=4)
    assert (subnet["cidr"], subnet["gateway_ip"]) == ("10.99.0.0/16", "10.99.0.1")
    six = bench.make("subnet", network_id=network["id"], cidr="FD00:0::5/64", ip_version=6)
    assert six["cidr"] == "fd00::/64"


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"cidr": "10.0/24"}, "InvalidInput"),
        ({"cidr": "224.0.0.0/16"}, "InvalidInput"),
        ({"cidr": "127.0.0.0/8"}, "InvalidInput"),
        ({"cidr": "10.0.0.0"}, "InvalidInput"),
        ({"cidr": "nonsense"}, "InvalidInput"),
        ({"cidr": "10.0.0.0/24", "ip_version": 6}, "InvalidInput"),
        ({"cidr": "10.0.0.0/31"}, "InvalidInput"),
        ({}, "InvalidInput"),
        (
            {"cidr": "10.0.0.0/24", "allocation_pools": [{"start": "10.0.0.9", "end": "10.0.0.2"}]},
            "InvalidAllocationPool",
        ),
        (
            {"cidr": "10.0.0.0/24", "allocation_pools": [{"start": "10.0.0.9", "end": "10.0.1.2"}]},
            "OutOfBoundsAllocationPool",
        ),
        ({"cidr": "10.0.0.0/24", "dns_nameservers": ["8.8.8.8\nx"]}, "InvalidInput"),
        ({"cidr": "10.0.0.0/24", "dns_nameservers": [f"8.8.8.{i}" for i in range(9)]}, "DNSNameServersExhausted"),
        ({"cidr": "10.0.0.0/24", "host_routes": [{"destination": "10.9.0.0/16", "nexthop": "x"}]}, "InvalidInput"),
        ({"cidr": "10.0.0.0/24", "ipv6_ra_mode": "slaac"}, "InvalidInput"),
        ({"cidr": "fd00::/80", "ip_version": 6, "ipv6_address_mode": "slaac"}, "InvalidInput"),
        (
            {"cidr": "fd00::/64", "ip_version": 6, "ipv6_address_mode": "slaac", "ipv6_ra_mode": "dhcpv6-stateful"},
            "InvalidInput",
        ),
        ({"cidr": "fd00::/64", "ip_version": 6, "ipv6_ra_mode": "slaac", "enable_dhcp": False}, "InvalidInput"),
    ],
)
def test_refusals(bench: Any, values: dict[str, Any], kind: str) -> None:
    network = bench.make("network")
    refused = bench.make("subnet", expect=400, **{"ip_version": 4, "network_id": network["id"], **values})
    assert refused["type"] == kind, refused


def test_pools_and_overlaps(bench: Any) -> None:
    network, _ = bench.network("10.3.0.0/24")
    common = {"network_id": network["id"], "ip_version": 4}
    assert "overlaps" in bench.make("subnet", expect=400, cidr="10.3.0.128/25", **common)["message"]
    pools = [{"start": "10.4.0.10", "end": "10.4.0.20"}, {"start": "10.4.0.15", "end": "10.4.0.30"}]
    refused = bench.make("subnet", expect=409, cidr="10.4.0.0/24", allocation_pools=pools, **common)
    assert refused["type"] == "OverlappingAllocationPools"
    with_gateway = [{"start": "10.4.0.1", "end": "10.4.0.20"}]
    refused = bench.make(
        "subnet", expect=409, cidr="10.4.0.0/24", allocation_pools=with_gateway, gateway_ip="10.4.0.5", **common
    )
    assert refused["type"] == "GatewayConflictWithAllocationPools"
    made = bench.make(
        "subnet", cidr="10.4.0.0/24", allocation_pools=[{"start": "10.4.0.7", "end": "10.4.0.9"}], **common
    )
    port = bench.port(network, fixed_ips=[{"subnet_id": made["id"]}])
    assert port["fixed_ips"][0]["ip_address"] in {"10.4.0.7", "10.4.0.8", "10.4.0.9"}


def test_update(bench: Any) -> None:
    network, subnet = bench.network("10.5.0.0/24")
    changed = bench.change(
        "subnet", subnet["id"], gateway_ip="10.5.0.1", dns_nameservers=["9.9.9.9"], name="renamed",
        host_routes=[{"destination": "10.99.0.0/16", "nexthop": "10.5.0.7"}],
    )  # fmt: skip
    assert changed["dns_nameservers"] == ["9.9.9.9"] and changed["name"] == "renamed"
    refused = bench.change("subnet", subnet["id"], gateway_ip="10.5.0.9", expect=409)
    assert refused["type"] == "GatewayConflictWithAllocationPools"
    bench.change("subnet", subnet["id"], cidr="10.6.0.0/24", expect=400)
    bench.change("subnet", subnet["id"], enable_dhcp=False)
    assert bench.get(f"/ports?network_id={network['id']}")["ports"] == []
    bench.change("subnet", subnet["id"], enable_dhcp=True)
    assert len(bench.get(f"/ports?network_id={network['id']}&device_owner=network:dhcp")["ports"]) == 1


def test_delete(bench: Any) -> None:
    network, subnet = bench.network()
    port = bench.port(network)
    assert bench.remove("subnet", subnet["id"], expect=409)["type"] == "SubnetInUse"
    bench.remove("port", port["id"])
    bench.remove("subnet", subnet["id"])
    assert bench.get(f"/networks/{network['id']}")["network"]["subnets"] == []
    assert bench.get(f"/ports?network_id={network['id']}")["ports"] == []


def test_one_dhcp_port_serves_all_subnets(bench: Any) -> None:
    network, first = bench.network("10.8.0.0/24")
    second = bench.make("subnet", network_id=network["id"], cidr="10.8.1.0/24", ip_version=4)
    [port] = bench.get(f"/ports?network_id={network['id']}")["ports"]
    assert {f["subnet_id"] for f in port["fixed_ips"]} == {first["id"], second["id"]}
    bench.remove("subnet", first["id"])
    [port] = bench.get(f"/ports?network_id={network['id']}")["ports"]
    assert {f["subnet_id"] for f in port["fixed_ips"]} == {second["id"]}


def test_self_made_addresses(bench: Any) -> None:
    network = bench.make("network")
    early = bench.port(network, mac_address="FA:16:3E:11:22:33")
    assert early["mac_address"] == "fa:16:3e:11:22:33" and early["fixed_ips"] == []
    slaac = bench.make(
        "subnet", network_id=network["id"], cidr="fd00:1::/64", ip_version=6, ipv6_ra_mode="slaac",
        ipv6_address_mode="slaac",
    )  # fmt: skip
    address = "fd00:1::f816:3eff:fe11:2233"
    assert bench.get(f"/ports/{early['id']}")["port"]["fixed_ips"] == [
        {"subnet_id": slaac["id"], "ip_address": address}
    ]
    stateful = bench.make(
        "subnet", network_id=network["id"], cidr="fd00:2::/64", ip_version=6, ipv6_ra_mode="dhcpv6-stateful",
        ipv6_address_mode="dhcpv6-stateful",
    )  # fmt: skip
    late = bench.port(network, mac_address="fa:16:3e:11:22:34")
    assert {f["subnet_id"] for f in late["fixed_ips"]} == {slaac["id"], stateful["id"]}
    assert "fd00:1::f816:3eff:fe11:2234" in {f["ip_address"] for f in late["fixed_ips"]}
    bench.remove("subnet", slaac["id"])  # such addresses go with the subnet
    assert bench.get(f"/ports/{early['id']}")["port"]["fixed_ips"] == []


def test_whose_network(bench: Any) -> None:
    network, _ = bench.network()
    values = {"network_id": network["id"], "cidr": "10.9.0.0/24", "ip_version": 4}
    assert bench.make("subnet", by=bench.stranger, expect=404, **values)["type"] == "NetworkNotFound"
    external = bench.outside()
    bench.make("subnet", by=bench.stranger, expect=403, **{**values, "network_id": external["id"]})


def test_pools_of_a_scope_do_not_overlap(bench: Any) -> None:
    scope, six = (bench.make("address_scope", name="s", ip_version=version) for version in (4, 6))
    bench.make("subnetpool", prefixes=["10.30.1.7/17", "10.31.0.0/24"], address_scope_id=scope["id"])
    more = {"prefixes": ["10.40.0.0/16", "10.30.0.0/15"], "address_scope_id": scope["id"]}
    assert bench.make("subnetpool", expect=409, **more)["type"] == "AddressScopePrefixConflict"
    free = bench.make("subnetpool", prefixes=["10.40.0.0/16"])
    bench.change("subnetpool", free["id"], address_scope_id=six["id"], expect=400)
    bench.change("subnetpool", free["id"], address_scope_id=scope["id"])
    bench.change("subnetpool", free["id"], prefixes=more["prefixes"], expect=409)
    bench.change("subnetpool", free["id"], prefixes=["10.40.0.0/15"])


def test_subnets_of_external_networks(bench: Any) -> None:
    for flag in (True, False):
        found = bench.get(f"/subnets?router:external={flag}")["subnets"]
        assert all(s["router:external"] is flag for s in found)


def test_pools_of_prefixes(bench: Any) -> None:
    pool = bench.make("subnetpool", prefixes=["10.10.0.0/23"], default_prefixlen=26, min_prefixlen="25")
    assert (pool["ip_version"], pool["min_prefixlen"], pool["max_prefixlen"]) == (4, "25", "32")  # shown as text
    network = bench.make("network")
    cidrs = [
        bench.make("subnet", network_id=network["id"], subnetpool_id=pool["id"], ip_version=4)["cidr"] for _ in range(2)
    ]
    assert cidrs == ["10.10.0.0/26", "10.10.0.64/26"]
    common = {"network_id": network["id"], "subnetpool_id": pool["id"], "ip_version": 4}
    assert bench.make("subnet", prefixlen=25, **common)["cidr"] == "10.10.0.128/25"
    assert bench.make("subnet", prefixlen=24, expect=400, **common)["type"] == "MinPrefixSubnetAllocationError"
    assert bench.make("subnet", cidr="10.10.0.0/25", expect=409, **common)["type"] == "SubnetAllocationError"
    assert bench.make("subnet", cidr="10.10.1.0/24", expect=400, **common)["type"] == "MinPrefixSubnetAllocationError"
    bench.make("subnet", prefixlen=25, **common)
    bench.make("subnet", prefixlen=25, **common)
    assert bench.make("subnet", prefixlen=25, expect=409, **common)["type"] == "SubnetAllocationError"
    assert bench.remove("subnetpool", pool["id"], expect=409)["type"] == "SubnetPoolDeleteError"
    bench.call("GET", f"/subnetpools/{pool['id']}", by=bench.stranger, expect=404)
    grown = bench.change("subnetpool", pool["id"], prefixes=["10.10.0.0/22"], name="grown")
    assert grown["prefixes"] == ["10.10.0.0/22"] and grown["name"] == "grown"
    bench.change("subnetpool", pool["id"], prefixes=["10.10.0.0/24"], expect=400)
    scope = bench.make("address_scope", name="scope", ip_version=4)
    bench.make("subnetpool", prefixes=["10.20.0.0/16"], address_scope_id=scope["id"], min_prefixlen=24)
    assert bench.remove("address_scope", scope["id"], expect=409)["type"] == "AddressScopeInUse"


def test_list_queries(bench: Any) -> None:
    who = bench.person()
    bench.network(by=who)
    with count_queries(bench.svc.db) as few:
        bench.get(f"/subnets?project_id={who.project_id}", by=who)
    for _ in range(3):
        bench.network(by=who)
    with count_queries(bench.svc.db) as many:
        assert len(bench.get(f"/subnets?project_id={who.project_id}", by=who)["subnets"]) == 4
    assert int(few) == int(many) <= 3, many
