# SPDX-License-Identifier: Apache-2.0
"""Which addresses get which names: from what compute and network say to names, without anything else."""

from __future__ import annotations

from typing import Any

import pytest

from aerie_dns.follow import Named, World, sources


def server(**more: Any) -> dict[str, Any]:
    return {"id": "s1", "name": "Web One", "tenant_id": "p1", "status": "ACTIVE", **more}


def port(**more: Any) -> dict[str, Any]:
    base = {"id": "port1", "network_id": "net1", "device_id": "s1", "device_owner": "compute:nova", "project_id": "p1"}
    return {**base, "fixed_ips": [{"ip_address": "10.0.0.5"}], **more}


def floatingip(**more: Any) -> dict[str, Any]:
    return {"id": "fip1", "floating_ip_address": "192.0.2.5", "port_id": "port1", "project_id": "p1", **more}


def world(*ports: dict[str, Any], fips: tuple[dict[str, Any], ...] = (), network: Any = None, **more: Any) -> World:
    net = {"id": "net1", "project_id": "p1", **(network or {})}
    return World({"s1": server(**more)}, {"net1": net}, list(ports), list(fips))


def named(label: str, address: str, domain: str | None = None, pointer: bool = False, projects: Any = ("p1",)) -> Named:
    return Named(label, domain, address, projects, pointer)


def test_a_server_with_a_floating_address() -> None:
    found = sources(world(port(), fips=(floatingip(),)))
    assert found == {("server", "s1"): [named("web-one", "10.0.0.5"), named("web-one", "192.0.2.5", pointer=True)]}


def test_the_ports_name_counts_more_than_the_servers() -> None:
    found = sources(world(port(dns_name="www.")))
    assert found == {("server", "s1"): [named("www", "10.0.0.5")]}


def test_the_hostname_counts_more_than_the_display_name() -> None:
    found = sources(world(port(), **{"OS-EXT-SRV-ATTR:hostname": "host-7"}))
    assert found == {("server", "s1"): [named("host-7", "10.0.0.5")]}


@pytest.mark.parametrize(
    ("of_port", "of_network", "domain"),
    [(None, "net.example.", "net.example."), ("port.example.", "net.example.", "port.example."), ("", "", None)],
)
def test_the_domain(of_port: str | None, of_network: str, domain: str | None) -> None:
    found = sources(world(port(dns_domain=of_port), network={"dns_domain": of_network}))
    assert found == {("server", "s1"): [named("web-one", "10.0.0.5", domain)]}


def test_a_floating_addresses_own_name() -> None:
    fip = floatingip(dns_name="public", dns_domain="example.org.")
    found = sources(world(port(), fips=(fip,)))
    assert found["server", "s1"][1] == named("public", "192.0.2.5", "example.org.", pointer=True)


def test_a_floating_address_without_a_port_needs_a_name() -> None:
    assert sources(World(floatingips=[floatingip(port_id=None)])) == {}
    fip = floatingip(port_id=None, dns_name="spare", dns_domain="example.org.")
    assert sources(World(floatingips=[fip])) == {
        ("floatingip", "fip1"): [named("spare", "192.0.2.5", "example.org.", pointer=True)]
    }


def test_ports_of_others_need_a_name() -> None:
    plain = port(device_owner="network:dhcp", device_id="x")
    assert sources(world(plain)) == {}
    found = sources(world({**plain, "dns_name": "gw"}, fips=(floatingip(),)))
    assert found == {("port", "port1"): [named("gw", "10.0.0.5"), named("gw", "192.0.2.5", pointer=True)]}


def test_a_server_that_is_gone_has_no_names() -> None:
    assert sources(world(port(), status="DELETED")) == {}
    assert sources(World({}, {"net1": {"id": "net1"}}, [port()], [floatingip()])) == {}


def test_only_floating_addresses_where_so_configured() -> None:
    found = sources(world(port(), fips=(floatingip(),)), "floating")
    assert found == {("server", "s1"): [named("web-one", "192.0.2.5", pointer=True)]}


def test_a_server_on_another_projects_network() -> None:
    found = sources(world(port(), network={"project_id": "p9", "dns_domain": "shared.example."}))
    assert found == {("server", "s1"): [named("web-one", "10.0.0.5", "shared.example.", projects=("p1", "p9"))]}


def test_a_ports_own_domain_gives_no_right_to_the_zones_of_its_networks_owner() -> None:
    shared = {"project_id": "p9", "dns_domain": "shared.example."}
    found = sources(world(port(dns_name="www", dns_domain="corp.example."), network=shared))
    assert found == {("server", "s1"): [named("www", "10.0.0.5", "corp.example.")]}
    below = sources(world(port(dns_domain="x.shared.example."), network=shared))
    assert below == {("server", "s1"): [named("web-one", "10.0.0.5", "x.shared.example.")]}
    same = sources(world(port(dns_domain="Shared.example"), network=shared))
    assert same == {("server", "s1"): [named("web-one", "10.0.0.5", "Shared.example", projects=("p1", "p9"))]}
    fip = floatingip(dns_name="www", dns_domain="corp.example.")
    found = sources(world(port(), fips=(fip,), network=shared))
    assert found["server", "s1"][1] == named("www", "192.0.2.5", "corp.example.", pointer=True)


def test_a_port_of_strangers_that_claims_a_server_names_nothing() -> None:
    claim = port(id="port2", project_id="p6", dns_name="www", fixed_ips=[{"ip_address": "203.0.113.6"}])
    fip = floatingip(id="fip6", port_id="port2", project_id="p6")
    found = sources(world(port(), claim, fips=(fip,)))
    assert found["server", "s1"] == [named("web-one", "10.0.0.5")]
    assert all(n.address != "203.0.113.6" and set(n.projects) != {"p1"} for n in found.get(("floatingip", "fip6"), []))


def test_names_that_make_no_label() -> None:
    assert sources(world(port(), name="???")) == {}
    assert sources(world(port(), name="Ünïcode ✓ host"))["server", "s1"] == [named("n-code-host", "10.0.0.5")]
