# SPDX-License-Identifier: Apache-2.0
"""The bridge driver on a real kernel: what guests get, what they cannot do, and what a restart leaves alone.

Run by test_bridge.py in namespaces of their own.
"""

from __future__ import annotations

import dataclasses
import fcntl
import http.server
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from clouds import EGRESS, OPEN, PING, PING6, SSH, Cloud, fixed_ip, mac_of
from guests import (
    Guest,
    alive,
    arp_reply,
    arp_request,
    eventually,
    link_local,
    neighbour_advertisement,
    process_start,
    router_advertisement,
    sh,
    udp4,
    udp6,
)

from aerie_network.agent.messages import MetadataSource
from aerie_network.agent.metadata import MetadataProxy, Upstream, sign
from aerie_network.drivers import base
from aerie_network.drivers.base import (
    AddressPair,
    AddressSet,
    DhcpHost,
    DhcpOption,
    HostState,
    RemotePort,
    Route,
    SecurityRule,
)
from aerie_network.drivers.bridge.firewall import zone
from conftest import Host

HERE = Path(__file__).parent


def assert_all_well(report: base.Report) -> None:
    bad = {
        f"{section} {key}": outcome.reason or outcome.status
        for section in ("networks", "ports", "dhcp_networks", "routers", "floating_ips")
        for key, outcome in getattr(report, section).items()
        if outcome.status == base.ERROR or outcome.reason
    }
    assert not bad


def dnsmasq_pid(host: Host, network: base.Network) -> int:
    return int((host.directory / "state" / "dhcp" / network.id / "pid").read_text())


# ------------------------------------------------------------------------------------------------- DHCP and names


def test_lease_at_the_first_try(host: Host, tmp_path: Path) -> None:
    cloud = host.cloud
    network = cloud.network(mtu=1442, subnet={"host_routes": (Route("10.99.0.0/16", "10.1.0.7"),)})
    cloud.dhcp(network, "10.1.0.2", isolated_subnets=(network.subnets[0].id,))
    port = cloud.port(network, "10.1.0.10", cloud.group(*EGRESS))
    guest = host.guest(port)
    report = host.converge()
    assert_all_well(report)
    assert report.ports[port.id] == base.Outcome(base.WIRED)
    assert report.dhcp_ready == {port.id: 1}
    lease = guest.lease(tmp_path)
    assert lease == {"ip": "10.1.0.10", "dns": "10.1.0.2", "mtu": "1442", "hostname": "vm-10-1-0-10"}
    routes = guest.sh("ip route")
    assert "default via 10.1.0.1" in routes
    assert "169.254.169.254 via 10.1.0.2" in routes
    assert "10.99.0.0/16 via 10.1.0.7" in routes


def test_a_port_added_later_is_known_at_once_and_dnsmasq_lives_on(host: Host, tmp_path: Path) -> None:
    cloud = host.cloud
    network = cloud.network()
    cloud.dhcp(network, "10.1.0.2")
    group = cloud.group(*OPEN)
    host.converge()
    pid = dnsmasq_pid(host, network)
    for number in range(20, 25):
        port = cloud.port(network, f"10.1.0.{number}", group)
        guest = host.guest(port)
        assert port.id in host.converge().dhcp_ready
        assert guest.lease(tmp_path)["ip"] == f"10.1.0.{number}"
    assert dnsmasq_pid(host, network) == pid and alive(pid)
    # Names of the network, forward and reverse; foreign ones are refused when there is no resolver to ask.
    assert guest.sh("dig +short +time=1 vm-10-1-0-20.cloud.test @10.1.0.2") == "10.1.0.20"
    assert guest.sh("dig +short +time=1 -x 10.1.0.21 @10.1.0.2") == "vm-10-1-0-21.cloud.test."
    assert "REFUSED" in guest.sh("dig +time=1 www.example.org @10.1.0.2")


def test_an_address_used_again_is_leased_to_its_new_owner(host: Host, tmp_path: Path) -> None:
    cloud = host.cloud
    network = cloud.network()
    cloud.dhcp(network, "10.1.0.2")
    group = cloud.group(*OPEN)
    old = cloud.port(network, "10.1.0.30", group)
    guest = host.guest(old)
    host.converge()
    guest.lease(tmp_path)
    cloud.no_port(old)
    new = cloud.port(network, "10.1.0.30", group)
    second = host.guest(new)
    host.converge()
    assert second.lease(tmp_path)["ip"] == "10.1.0.30"


def test_options_of_a_port_and_poison_among_them(host: Host, tmp_path: Path) -> None:
    cloud = host.cloud
    network = cloud.network()
    cloud.dhcp(network, "10.1.0.2")
    port = cloud.port(network, "10.1.0.10", cloud.group(*OPEN))
    doc = cloud.get("dhcp", network.id)
    poisoned = dataclasses.replace(
        doc.hosts[0],
        options=(
            DhcpOption("mtu", "1300"),
            DhcpOption("bootfile-name", "boot\ndhcp-script=/bin/evil"),
            DhcpOption("no-such-option", "1"),
            DhcpOption("tftp-server\n", "1"),
        ),
    )
    evil = DhcpHost("evil", "fa:16:3e:00:00:66", (fixed_ip(network, "10.1.0.66"),), hostname="x\ndhcp-host=evil")
    cloud.put("dhcp", network.id, dataclasses.replace(doc, hosts=(poisoned, evil)))
    guest = host.guest(port)
    report = host.converge()
    outcome = report.dhcp_networks[network.id]
    assert outcome.status == base.ACTIVE
    for complaint in ("control character", "no-such-option", "'evil' left out"):
        assert complaint in outcome.reason
    assert set(report.dhcp_ready) == {port.id}
    files = host.directory / "state" / "dhcp" / network.id
    assert not any("evil" in file.read_text() for file in files.iterdir())
    assert guest.lease(tmp_path)["mtu"] == "1300"
    # A network whose hosts carry options is loaded anew by a restart of dnsmasq; leases and names survive it.
    cloud.port(network, "10.1.0.11", cloud.group(*OPEN))
    assert len(host.converge().dhcp_ready) == 2
    assert guest.lease(tmp_path)["ip"] == "10.1.0.10"


def test_dhcpv6_and_an_address_used_again(host: Host) -> None:
    cloud = host.cloud
    stateful = {"ipv6_ra_mode": "dhcpv6-stateful", "ipv6_address_mode": "dhcpv6-stateful"}
    network = cloud.network("fd00:1::/64", subnet=stateful)
    cloud.dhcp(network, "fd00:1::2")
    group = cloud.group(*EGRESS)
    old = cloud.port(network, "fd00:1::10", group)
    guest = host.guest(old)
    assert_all_well(host.converge())
    assert guest.lease6(guest.mac) == "fd00:1::10"
    guest.address("fd00:1::10/64")
    assert guest.sh("dig +short +time=1 AAAA vm-fd00-1--10.cloud.test @fd00:1::2") == "fd00:1::10"
    cloud.no_port(old)
    second = host.guest(cloud.port(network, "fd00:1::10", group))
    assert_all_well(host.converge())
    assert second.lease6(second.mac) == "fd00:1::10"


def test_ipv6_by_advertisement(host: Host) -> None:
    cloud = host.cloud
    network = cloud.network("fd00:1::/64", subnet={"ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac"})
    mac = "fa:16:3e:00:aa:01"
    address = "fd00:1::f816:3eff:fe00:aa01"
    port = cloud.port(network, address, cloud.group(*EGRESS, PING6), mac=mac)
    cloud.router(network)
    guest = host.guest(port)
    assert_all_well(host.converge())
    eventually("a global address", lambda: address in guest.sh("ip -6 addr show dev eth0 scope global"))
    assert eventually("a way out", lambda: "default via fe80" in guest.sh("ip -6 route"))
    assert guest.pings("fd00:1::1")


# ---------------------------------------------------------------------------------------------------- security groups


def pair(host: Host, *rules: SecurityRule, **fields: object) -> tuple[Guest, Guest]:
    """Two guests of one network, 10.1.0.10 and 10.1.0.11; the second one's group has the rules."""
    cloud = host.cloud
    network = cloud.network()
    first = cloud.port(network, "10.1.0.10", cloud.group(*EGRESS), **fields)
    second = cloud.port(network, "10.1.0.11", cloud.group(*EGRESS, *rules))
    guests = host.guest(first), host.guest(second)
    assert_all_well(host.converge())
    for guest in guests:
        guest.address(guest.port.fixed_ips[0].ip_address + "/24")
    return guests


def set_rules(host: Host, guest: Guest, *rules: SecurityRule) -> None:
    host.cloud.change("security_groups", guest.port.security_groups[0], rules=(*EGRESS, *rules))
    host.converge()


def test_nothing_comes_in_without_a_rule(host: Host) -> None:
    first, second = pair(host)
    with second.serving(22):
        assert not first.pings("10.1.0.11", 1)
        assert first.connects("10.1.0.11", 22, 1) is None
        set_rules(host, second, PING)
        assert first.pings("10.1.0.11")
        assert first.connects("10.1.0.11", 22, 1) is None
        set_rules(host, second, SSH)
        assert first.connects("10.1.0.11", 22) == "g1 sees 10.1.0.10"
        assert not first.pings("10.1.0.11", 1)


def test_nothing_goes_out_without_a_rule(host: Host) -> None:
    first, second = pair(host, PING)
    assert first.pings("10.1.0.11")
    host.cloud.change("security_groups", first.port.security_groups[0], rules=())
    host.converge()
    assert not first.pings("10.1.0.11", 1)


def test_a_removed_rule_ends_connections_it_let_in(host: Host) -> None:
    first, second = pair(host, SSH)
    listener = second.inside(lambda: socket.create_server(("", 22)))
    with listener, first.inside(lambda: socket.create_connection(("10.1.0.11", 22), 20)) as client:
        server, _ = listener.accept()
        client.sendall(b"before")
        assert server.recv(10) == b"before"
        set_rules(host, second)
        server.settimeout(0.7)
        client.sendall(b"after")
        with pytest.raises(TimeoutError):
            server.recv(10)
        server.close()


def test_members_of_a_remote_group_change_by_element(host: Host) -> None:
    first, second = pair(host)
    friends = AddressSet("friends", ("10.1.0.99",))
    host.cloud.put("address_sets", "friends", friends)
    set_rules(host, second, SecurityRule("friends", "ingress", remote_set="friends"))
    assert not first.pings("10.1.0.11", 1)
    before = sh("iptables-save -t filter")
    host.cloud.put("address_sets", "friends", AddressSet("friends", ("10.1.0.99", "10.1.0.10")))
    host.converge()
    assert first.pings("10.1.0.11")
    host.cloud.put("address_sets", "friends", AddressSet("friends", ("10.1.0.99",)))
    host.converge()
    assert not first.pings("10.1.0.11", 1)
    without_counters = [line for line in before.splitlines() if line.startswith("-A")]
    assert [line for line in sh("iptables-save -t filter").splitlines() if line.startswith("-A")] == without_counters


def tracked(guest: Guest) -> dict[str, str]:
    """Tracked IPv4 connections of a guest's network: who began it -> the entry's number."""
    lines = sh(f"conntrack -L -f ipv4 -w {zone(guest.port.network_id)} -o id 2>/dev/null", check=False).splitlines()
    found = [dict(word.split("=", 1) for word in reversed(line.split()) if "=" in word) for line in lines]
    return {entry["src"]: entry["id"] for entry in found}


def test_who_leaves_a_remote_group_takes_no_connection_but_its_own(host: Host) -> None:
    first, second = pair(host)
    network = host.cloud.get("networks", first.port.network_id)
    third = host.guest(host.cloud.port(network, "10.1.0.12", host.cloud.group(*OPEN)))
    assert_all_well(host.converge())
    third.address("10.1.0.12/24")
    others = tuple(f"10.1.0.{number}" for number in range(100, 120))
    host.cloud.put("address_sets", "friends", AddressSet("friends", ("10.1.0.10", "10.1.0.12", *others)))
    set_rules(host, second, SecurityRule("friends", "ingress", remote_set="friends"))
    assert first.pings("10.1.0.11") and third.pings("10.1.0.11")
    before = tracked(second)
    assert before.keys() >= {"10.1.0.10", "10.1.0.12"}
    host.cloud.put("address_sets", "friends", AddressSet("friends", ("10.1.0.10",)))
    host.converge()
    after = tracked(second)
    assert after["10.1.0.10"] == before["10.1.0.10"], "a connection that is still allowed was ended"
    assert "10.1.0.12" not in after
    host.cloud.no_port(third.port)
    host.converge()
    assert tracked(second)["10.1.0.10"] == before["10.1.0.10"]


def test_overlapping_addresses_of_two_tenants_are_tracked_apart(host: Host) -> None:
    cloud = host.cloud
    guests = []
    for _ in range(2):
        network = cloud.network()
        for ip, rules in (("10.1.0.10", EGRESS), ("10.1.0.11", (*EGRESS, SSH))):
            guests.append(host.guest(cloud.port(network, ip, cloud.group(*rules))))
    assert_all_well(host.converge())
    for guest in guests:
        guest.address(guest.port.fixed_ips[0].ip_address + "/24")
    with guests[1].serving(22), guests[3].serving(22):
        assert guests[0].connects("10.1.0.11", 22) == "g1 sees 10.1.0.10"
        assert guests[2].connects("10.1.0.11", 22) == "g3 sees 10.1.0.10"


def test_a_poison_rule_or_port_harms_only_itself(host: Host) -> None:
    cloud = host.cloud
    network = cloud.network()
    rules = (
        *EGRESS,
        PING,
        SecurityRule("bad-protocol", "ingress", protocol="tcp; rm -rf /"),
        SecurityRule("bad-cidr", "ingress", remote_cidr="10.0.0.0/33\n-A INPUT -j ACCEPT"),
        SecurityRule("bad-ports", "ingress", protocol="tcp", port_min=70000, port_max=70001),
        SecurityRule("bad-family", "ingress", "IPv4", "icmpv6"),
        SecurityRule("bad-set", "ingress", remote_set="unknown"),
    )
    good = cloud.port(network, "10.1.0.10", cloud.group(*EGRESS))
    poisoned = cloud.port(network, "10.1.0.11", cloud.group(*rules))
    broken = cloud.port(network, "10.1.0.12", cloud.group(*OPEN), mac="not-a-mac")
    spoofer = cloud.port(
        network, "10.1.0.13", cloud.group(*OPEN), allowed_address_pairs=(AddressPair("10.0.0.0/8 accept; drop"),)
    )
    guests = host.guest(good), host.guest(poisoned)
    report = host.converge()
    assert report.ports[good.id] == base.Outcome(base.WIRED)
    assert report.ports[poisoned.id].status == base.WIRED
    for name in ("bad-protocol", "bad-cidr", "bad-ports", "bad-family", "bad-set"):
        assert name in report.ports[poisoned.id].reason
    assert "not a MAC address" in report.ports[broken.id].reason
    assert "not an address" in report.ports[spoofer.id].reason
    for guest in guests:
        guest.address(guest.port.fixed_ips[0].ip_address + "/24")
    assert guests[0].pings("10.1.0.11")


def test_a_port_that_becomes_poison_keeps_its_old_filters(host: Host) -> None:
    first, second = pair(host, PING)
    good = host.cloud.get("ports", second.port.id)
    pairs = (AddressPair("not an address"),)
    host.cloud.put("ports", second.port.id, dataclasses.replace(good, allowed_address_pairs=pairs, revision=5))
    report = host.converge()
    assert report.ports[second.port.id].status == base.ERROR and report.ports[second.port.id].revision == 5
    assert first.pings("10.1.0.11")
    with second.serving(22):
        assert first.connects("10.1.0.11", 22, 1) is None, "still filtered"
    # An agent that has just started knows no older filters: then the port is closed rather than open.
    host.restart()
    assert host.converge().ports[second.port.id].status == base.ERROR
    assert not first.pings("10.1.0.11", 0.5)
    host.cloud.put("ports", second.port.id, good)
    assert_all_well(host.converge())
    eventually("the port to be open again", lambda: first.pings("10.1.0.11", 1))


def test_connections_of_a_port_that_is_gone_are_forgotten(host: Host) -> None:
    first, second = pair(host, SSH)
    with second.serving(22):
        assert first.connects("10.1.0.11", 22)
    look = f"conntrack -L -w {zone(second.port.network_id)} 2>/dev/null"
    assert "10.1.0.11" in sh(look)
    host.cloud.no_port(second.port)
    host.converge()
    assert "10.1.0.11" not in sh(look, check=False)


# ------------------------------------------------------------------------------------------------------ anti-spoofing

FOREIGN_MAC = "fa:16:3e:66:66:66"


def frames(guest: Guest) -> dict[str, tuple[bytes, bytes]]:
    """Frames a guest must not get out, by what they pretend, with the bytes to look for."""
    mac, own6 = guest.mac, link_local(guest.mac)
    return {
        "a foreign MAC": (udp4(FOREIGN_MAC, "10.1.0.10", "10.1.0.255", (9, 9), b"mark-mac"), b"mark-mac"),
        "a foreign IPv4 address": (udp4(mac, "10.1.0.66", "10.1.0.255", (9, 9), b"mark-ip4"), b"mark-ip4"),
        "the gateway in ARP": (arp_reply(mac, mac, "10.1.0.1", b"mark-arp"), b"mark-arp"),
        "a foreign MAC in ARP": (arp_reply(mac, FOREIGN_MAC, "10.1.0.10", b"mark-arpmac"), b"mark-arpmac"),
        "a DHCP server": (udp4(mac, "10.1.0.10", "255.255.255.255", (67, 68), b"mark-dhcp"), b"mark-dhcp"),
        "a foreign IPv6 address": (udp6(mac, "fd00::66", "ff02::1", (9, 9), b"mark-ip6"), b"mark-ip6"),
        "a neighbour": (neighbour_advertisement(mac, own6, "fe80::1:1"), bytes.fromhex("fe80" + "0" * 20 + "00010001")),
        "a router": (router_advertisement(mac, own6, b"mark-ra"), b"mark-ra"),
        "a DHCPv6 server": (udp6(mac, own6, "ff02::1", (547, 546), b"mark-dhcp6"), b"mark-dhcp6"),
        "a VLAN": (
            bytes.fromhex("ffffffffffff" + mac.replace(":", "") + "8100" + "0005" + "0800") + b"mark-vlan".ljust(60),
            b"mark-vlan",
        ),
    }


def test_a_guest_cannot_pretend(host: Host) -> None:
    first, second = pair(host, SecurityRule("in4", "ingress", "IPv4"), SecurityRule("in6", "ingress", "IPv6"))
    own6 = link_local(first.mac)
    honest = {
        "its IPv4 address": (udp4(first.mac, "10.1.0.10", "10.1.0.255", (9, 9), b"honest-ip4"), b"honest-ip4"),
        "itself in ARP": (arp_reply(first.mac, first.mac, "10.1.0.10", b"honest-arp"), b"honest-arp"),
        "its IPv6 address": (udp6(first.mac, own6, "ff02::1", (9, 9), b"honest-ip6"), b"honest-ip6"),
        "itself as neighbour": (
            neighbour_advertisement(first.mac, own6, own6),
            bytes.fromhex("20000000") + socket.inet_pton(socket.AF_INET6, own6),
        ),
    }
    with first.wire() as out, second.wire() as inside:
        for what, (frame, mark) in honest.items():
            out.send(frame)
            assert inside.hears(mark, 20), f"{what} should pass"
        for what, (frame, mark) in frames(first).items():
            out.send(frame)
            assert not inside.hears(mark, 0.15), f"a guest can pretend to be {what}"


def test_without_port_security_it_can(host: Host) -> None:
    first, second = pair(
        host, SecurityRule("in4", "ingress"), SecurityRule("in6", "ingress", "IPv6"), port_security=False
    )
    with first.wire() as out, second.wire() as inside:
        for what, (frame, mark) in frames(first).items():
            if what == "a VLAN":
                continue
            out.send(frame)
            assert inside.hears(mark, 20), f"{what} should pass: the test's own frames are good"


def test_allowed_address_pairs(host: Host) -> None:
    pairs = (AddressPair("10.1.0.64/28"), AddressPair("10.1.0.200", FOREIGN_MAC), AddressPair("fd00::/112"))
    first, second = pair(
        host, SecurityRule("in4", "ingress"), SecurityRule("in6", "ingress", "IPv6"), allowed_address_pairs=pairs
    )
    passes = {
        "an address of the pair's network": udp4(first.mac, "10.1.0.66", "10.1.0.255", (9, 9), b"mark"),
        "ARP for it": arp_reply(first.mac, first.mac, "10.1.0.66", b"mark"),
        "the pair with its MAC": udp4(FOREIGN_MAC, "10.1.0.200", "10.1.0.255", (9, 9), b"mark"),
        "an IPv6 address of the pair": udp6(first.mac, "fd00::66", "ff02::1", (9, 9), b"mark"),
    }
    fails = {
        "an address beyond": udp4(first.mac, "10.1.0.80", "10.1.0.255", (9, 9), b"kram"),
        "the pair's address with the wrong MAC": udp4(first.mac, "10.1.0.200", "10.1.0.255", (9, 9), b"kram"),
        "the own address with the pair's MAC": udp4(FOREIGN_MAC, "10.1.0.10", "10.1.0.255", (9, 9), b"kram"),
    }
    with first.wire() as out, second.wire() as inside:
        for what, frame in passes.items():
            out.send(frame)
            assert inside.hears(b"mark", 20), what
        for what, frame in fails.items():
            out.send(frame)
            assert not inside.hears(b"kram", 0.15), what


def test_the_host_itself_is_not_reachable_from_a_tenant_network(host: Host) -> None:
    first, _ = pair(host)
    first.sh("ip route add 203.0.113.254/32 dev eth0")
    with first.wire() as wire:
        wire.send(arp_request(first.mac, "10.1.0.10", "203.0.113.254"))
        answer = bytes.fromhex("0001080006040002")  # an ARP reply begins so
        assert not wire.hears(answer), "the host answers ARP for an address of its own on another network"
    bridge = base.bridge_name(first.port.network_id)
    mac = Path(f"/sys/class/net/{bridge}/address").read_text().strip()
    first.sh(f"ip neigh replace 203.0.113.254 lladdr {mac} dev eth0")
    assert not first.pings("203.0.113.254", 0.5)


# ------------------------------------------------------------------------------------------- routers, floating IPs


def routed(host: Host, *rules: SecurityRule) -> tuple[Guest, base.Network, base.Network, base.Router]:
    """A guest at 10.1.0.10 behind a router with 203.0.113.10 on the external network."""
    cloud = host.cloud
    external = cloud.network("203.0.113.0/24", type_="flat", physical_network="public")
    network = cloud.network()
    router = cloud.router(network, external=external, ip="203.0.113.10")
    guest = host.guest(cloud.port(network, "10.1.0.10", cloud.group(*EGRESS, *rules)))
    assert_all_well(host.converge())
    guest.address("10.1.0.10/24", "10.1.0.1")
    return guest, network, external, router


def test_the_way_out_hides_the_guest_and_a_floating_ip_lets_in(host: Host) -> None:
    outside = host.outside()
    guest, _, _, router = routed(host, PING, SSH)
    with outside.serving(80), guest.serving(22), guest.serving(23):
        assert guest.connects("203.0.113.1", 80) == f"{outside.name} sees 203.0.113.10"
        floating = host.cloud.floating(router, "203.0.113.20", "10.1.0.10")
        report = host.converge()
        assert report.floating_ips[floating.id] == base.Outcome(base.ACTIVE, 1)
        assert outside.pings("203.0.113.20")
        assert outside.connects("203.0.113.20", 22) == f"{guest.name} sees 203.0.113.1"
        assert guest.connects("203.0.113.1", 80) == f"{outside.name} sees 203.0.113.20"
        assert outside.connects("203.0.113.20", 23, 1) is None, "no rule lets this in"
        # From the host's own bridge too, and to itself by its floating address.
        assert sh("ping -c 1 -W 1 203.0.113.20")
        assert guest.pings("203.0.113.20")
        host.cloud.change("routers", router.id, floating_ips=())
        assert floating.id not in host.converge().floating_ips
        assert not outside.pings("203.0.113.20", 0.5)
        assert guest.connects("203.0.113.1", 80) == f"{outside.name} sees 203.0.113.10"


def test_a_floating_ip_that_moves_takes_its_connections_with_it(host: Host) -> None:
    outside = host.outside()
    guest, network, _, router = routed(host, PING, SSH)
    cloud = host.cloud
    second = host.guest(cloud.port(network, "10.1.0.11", cloud.group(*EGRESS, PING, SSH)))
    floating = cloud.floating(router, "203.0.113.20", "10.1.0.10")
    host.converge()
    second.address("10.1.0.11/24", "10.1.0.1")
    with guest.serving(22), second.serving(22):
        assert (outside.connects("203.0.113.20", 22) or "").startswith(guest.name)
        moved = dataclasses.replace(floating, fixed_ip="10.1.0.11", revision=2)
        cloud.change("routers", router.id, floating_ips=(moved,))
        assert host.converge().floating_ips[floating.id].revision == 2
        assert (outside.connects("203.0.113.20", 22) or "").startswith(second.name)


def test_names_of_the_world_through_the_router(host: Host) -> None:
    """The network's DNS server asks the resolver it is told, from the network's own place behind the router."""
    cloud = host.cloud
    outside = host.outside()
    external = cloud.network("203.0.113.0/24", type_="flat", physical_network="public")
    network = cloud.network()
    cloud.dhcp(network, "10.1.0.2", forwarders=("203.0.113.1",))
    cloud.router(network, external=external, ip="203.0.113.10")
    guest = host.guest(cloud.port(network, "10.1.0.10", cloud.group(*EGRESS)))
    pid = host.directory / "resolver.pid"
    outside.sh(
        f"dnsmasq --no-resolv --no-hosts --conf-file=/dev/null --pid-file={pid} --address=/example.test/192.0.2.80"
    )
    try:
        assert_all_well(host.converge())
        guest.address("10.1.0.10/24", "10.1.0.1")
        assert guest.sh("dig +short +time=2 www.example.test @10.1.0.2") == "192.0.2.80"
        assert guest.sh("dig +short +time=2 vm-10-1-0-10.cloud.test @10.1.0.2") == "10.1.0.10"
    finally:
        os.kill(int(pid.read_text()), signal.SIGTERM)


def test_new_addresses_are_announced(host: Host) -> None:
    outside = host.outside()
    _, _, _, router = routed(host)
    outside.sh("sysctl -qw net.ipv4.conf.all.arp_accept=1 net.ipv4.conf.eth0.arp_accept=1")
    outside.sh(f"ip neigh replace 203.0.113.20 lladdr {FOREIGN_MAC} dev eth0 nud stale")
    host.cloud.floating(router, "203.0.113.20", "10.1.0.10")
    host.converge()
    mac = router.gateway.mac if router.gateway else ""
    eventually("the neighbour to know", lambda: mac in outside.sh("ip neigh show 203.0.113.20"))


def test_two_networks_of_a_router_extra_routes_and_forwarded_ports(host: Host) -> None:
    cloud = host.cloud
    outside = host.outside()
    external = cloud.network("203.0.113.0/24", type_="flat", physical_network="public")
    left, right = cloud.network("10.1.0.0/24"), cloud.network("10.2.0.0/24")
    group = cloud.group(*OPEN)
    beyond = (AddressPair("192.168.7.0/24"),)
    ports = cloud.port(left, "10.1.0.10", group), cloud.port(right, "10.2.0.10", group, allowed_address_pairs=beyond)
    router = cloud.router(left, right, external=external, ip="203.0.113.10")
    forwarding = base.PortForwarding("f1", "203.0.113.30", "tcp", 2222, "10.2.0.10", 22)
    routes = (Route("192.168.7.0/24", "10.2.0.10"), Route("192.168.8.0/24", "10.77.0.1"))
    cloud.change("routers", router.id, port_forwardings=(forwarding,), routes=routes)
    guests = [host.guest(port) for port in ports]
    report = host.converge()
    assert report.routers[router.id].status == base.ERROR
    assert "10.77.0.1 is on no network" in report.routers[router.id].reason, "one bad route is told of"
    guests[0].address("10.1.0.10/24", "10.1.0.1")
    guests[1].address("10.2.0.10/24", "10.2.0.1")
    guests[1].address("192.168.7.1/24")
    with guests[1].serving(22):
        assert guests[0].connects("10.2.0.10", 22) == "g2 sees 10.1.0.10", "between networks nothing is translated"
        assert outside.connects("203.0.113.30", 2222) == "g2 sees 203.0.113.1"
    assert guests[0].pings("192.168.7.1")


def test_a_part_of_a_router_that_fails_leaves_the_others_working(host: Host) -> None:
    cloud = host.cloud
    nowhere = cloud.network("198.51.100.0/24", type_="flat", physical_network="missing")
    vlan = cloud.network("10.3.0.0/24", type_="vlan", physical_network="public", segmentation_id=7)
    network = cloud.network()
    router = cloud.router(network, external=nowhere, ip="198.51.100.10")
    floating = cloud.floating(router, "198.51.100.20", "10.1.0.10")
    port = cloud.port(network, "10.1.0.10", cloud.group(*OPEN))
    lost = cloud.port(vlan, "10.3.0.10", cloud.group(*OPEN))
    guest = host.guest(port)
    report = host.converge()
    assert "br-none" in report.networks[nowhere.id].reason
    assert report.routers[router.id].status == base.ERROR and router.gateway
    assert report.ports[router.gateway.port_id].status == base.ERROR
    assert report.floating_ips[floating.id].status == base.ERROR and report.floating_ips[floating.id].reason
    assert report.ports[router.interfaces[0].port_id].status == base.WIRED
    if vlan.id in report.networks:  # this kernel has no VLAN devices: then it says so
        assert "802.1Q" in report.networks[vlan.id].reason
        assert "802.1Q" in report.ports[lost.id].reason
    guest.address("10.1.0.10/24", "10.1.0.1")
    assert guest.pings("10.1.0.1")


# --------------------------------------------------------------------------------------------------------- metadata


class MetadataApi:
    """What the compute service offers at 8775, to see what arrives there."""

    def __init__(self) -> None:

        seen = self.seen = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                seen.append((self.command, self.path, dict(self.headers), self.rfile.read(length)))
                body = self.headers["X-Instance-ID"].encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_PUT = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def test_metadata_by_where_the_request_came_in(host: Host) -> None:
    """Two tenants with the same address, one behind a router and one on an isolated network, and a liar."""
    cloud = host.cloud
    isolated, behind = cloud.network(), cloud.network()
    cloud.dhcp(isolated, "10.1.0.2", isolated_subnets=(isolated.subnets[0].id,))
    router = cloud.router(behind)
    group = cloud.group(*EGRESS)
    one = host.guest(cloud.port(isolated, "10.1.0.10", group))
    two = host.guest(cloud.port(behind, "10.1.0.10", group))
    api = MetadataApi()

    def resolve(network_id: str | None, router_id: str | None, address: str) -> MetadataSource | None:
        known = {
            (isolated.id, None, "10.1.0.10"): MetadataSource("server-one", "project-one"),
            (None, router.id, "10.1.0.10"): MetadataSource("server-two", "project-two"),
        }
        return known.get((network_id, router_id, address))

    upstream = Upstream("127.0.0.1", api.server.server_address[1], "secret")
    proxy = MetadataProxy(host.driver, resolve, upstream)
    proxy.start()
    try:
        assert_all_well(host.converge())
        state = cloud.state()
        proxy.update(state)
        one.address("10.1.0.10/24")
        one.sh("ip route add 169.254.169.254 via 10.1.0.2")
        two.address("10.1.0.10/24", "10.1.0.1")
        lie = "-H 'X-Instance-ID: server-two' -H 'X-Forwarded-For: 10.9.9.9' -H 'X-Tenant-ID: project-two' " \
              "-H 'X-Instance-ID-Signature: 00' -H 'Forwarded: for=1.2.3.4' -H 'X-Metadata-Provider: x'"  # fmt: skip
        curl = "curl -sS --max-time 5 http://169.254.169.254"
        assert one.sh(f"{curl}/openstack/latest/meta_data.json {lie}") == "server-one"
        assert two.sh(f"{curl}/latest/meta-data") == "server-two"
        assert one.sh(f"{curl}/openstack/latest/password -X POST -d secret-word") == "server-one"
        _, path, headers, _ = api.seen[0]
        assert path == "/openstack/latest/meta_data.json"
        assert headers["X-Tenant-ID"] == "project-one"
        assert headers["X-Instance-ID-Signature"] == sign("secret", "server-one")
        assert headers["X-Forwarded-For"] == "10.1.0.10"
        assert not {"forwarded", "x-metadata-provider"} & {name.lower() for name in headers}
        assert api.seen[2][0] == "POST" and api.seen[2][3] == b"secret-word"
        # Who is not known gets nothing; nor does somebody else's address work.
        one.sh("ip addr add 10.1.0.77/24 dev eth0")
        refused = one.sh(f"{curl}/ --interface 10.1.0.77 -o /dev/null -w '%{{http_code}}'", check=False)
        assert refused in ("000", "404")
        # A namespace that goes and comes back is served again.
        proxy.update(HostState(state.host, state.revision + 1))
        assert two.sh(f"{curl}/ -o /dev/null -w '%{{http_code}}'", check=False) == "000"
        proxy.update(state)
        assert two.sh(f"{curl}/latest/meta-data") == "server-two"
    finally:
        proxy.stop()
        api.server.shutdown()


# ------------------------------------------------------------------------------------------ restarts and repairs


def counters(tool: str) -> dict[str, int]:
    """Packets of each rule; a rule that was loaded anew counts from zero."""
    lines = [line for line in sh(f"{tool} -c").splitlines() if line.startswith("[")]
    return {line.split("] ", 1)[1]: int(line[1:].split(":")[0]) for line in lines}


def everything(host: Host) -> Cloud:
    cloud = host.cloud
    external = cloud.network("203.0.113.0/24", type_="flat", physical_network="public")
    network = cloud.network(type_="vxlan", segmentation_id=77, mtu=1450, vteps=("192.0.2.2",),
                            remote_ports=(RemotePort(mac_of("r"), "192.0.2.2", ("10.1.0.200",)),))  # fmt: skip
    cloud.dhcp(network, "10.1.0.2")
    six = cloud.network(
        "fd00:1::/64", subnet={"ipv6_ra_mode": "dhcpv6-stateful", "ipv6_address_mode": "dhcpv6-stateful"}
    )
    cloud.dhcp(six, "fd00:1::2")
    group = cloud.group(*OPEN, SecurityRule("set", "ingress", remote_set="friends"))
    cloud.put("address_sets", "friends", AddressSet("friends", ("10.1.0.0/28", "fd00:1::/64", "0.0.0.0/0")))
    cloud.port(network, "10.1.0.10", group)
    cloud.port(network, "10.1.0.11", group, allowed_address_pairs=(AddressPair("10.1.5.0/24"),))
    cloud.port(six, "fd00:1::10", group)
    cloud.port(external, "203.0.113.50", group)
    router = cloud.router(network, six, external=external, ip="203.0.113.10")
    cloud.floating(router, "203.0.113.20", "10.1.0.10")
    return cloud


def test_a_restart_touches_nothing_that_is_right(host: Host) -> None:
    outside = host.outside()
    everything(host)
    port = next(port for port in host.cloud.state().ports.values() if port.fixed_ips[0].ip_address == "10.1.0.10")
    guest = host.guest(port)
    assert_all_well(host.converge())
    guest.address("10.1.0.10/24", "10.1.0.1")
    assert outside.pings("203.0.113.20")

    def picture() -> dict[str, object]:
        pids = [int(path.read_text()) for path in (host.directory / "state").glob("*/*/pid")]
        namespaces = sh("ls -i /run/netns")
        look = "ip addr | grep -v valid_lft; ip route; ip -6 route | grep -v expires; iptables-save | grep ^-A || true"
        inside = [sh(f"ip netns exec {line.split()[1]} sh -c '{look}'") for line in namespaces.splitlines()]
        return {
            "processes": [(pid, process_start(pid)) for pid in sorted(pids)],
            "namespaces": namespaces,
            "links": sh("ip -o link | sed 's/ state .*//'"),
            "handles": sh("nft -a list table bridge aerie"),
            "sets": sh("ipset save | sort"),
            "fdb": sh("bridge fdb | grep -E 'static|dst' | sort; ip neigh show nud permanent | sort"),
            "inside": inside,
        }

    with outside.serving(80):
        guest.connects("203.0.113.1", 80)
    before = picture()
    time.sleep(1.2)  # the kernel tells of a bridge's operational state up to a second late
    while before != (now := picture()):
        before = now
        time.sleep(1.2)
    counted = {tool: counters(tool) for tool in ("iptables-save", "ip6tables-save")}
    with subprocess.Popen(["ip", "monitor", "link", "address", "route"], stdout=subprocess.PIPE, text=True) as monitor:
        ping = subprocess.Popen(
            ["ip", "netns", "exec", outside.name, "ping", "-i", "0.02", "203.0.113.20"],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        time.sleep(0.3)
        for attempt in range(2):
            host.restart()
            started = time.monotonic()
            assert_all_well(host.converge())
            print(f"restart {attempt}: {1000 * (time.monotonic() - started):.0f} ms")
        assert_all_well(host.converge(resync=True))
        time.sleep(0.2)
        ping.send_signal(signal.SIGINT)
        said = ping.communicate(timeout=60)[0]
        monitor.terminate()
        heard = monitor.communicate(timeout=60)[0]
    answered = {int(number) for number in re.findall(r"bytes from .* icmp_seq=(\d+) ", said)}
    sent = int(re.findall(r"(\d+) packets transmitted", said)[0])
    missing = sorted(set(range(1, sent)) - answered)  # the last may have been under way
    assert sent > 10 and not missing, said
    assert heard == "", "a device, address or route was touched"
    assert picture() == before
    for tool, packets in counted.items():
        after = counters(tool)
        assert after.keys() == packets.keys()
        assert all(after[rule] >= count for rule, count in packets.items()), "rules were loaded anew"
    assert any(sum(packets.values()) > 0 for packets in counted.values()), "the counters should have counted"


def test_what_was_broken_by_hand_is_repaired(host: Host, tmp_path: Path) -> None:
    cloud = host.cloud
    network = cloud.network()
    cloud.dhcp(network, "10.1.0.2")
    port = cloud.port(network, "10.1.0.10", cloud.group(*OPEN))
    cloud.router(network)
    guest = host.guest(port)
    assert_all_well(host.converge())
    pid = dnsmasq_pid(host, network)
    os.kill(pid, signal.SIGKILL)
    sh(f"ip link set {port.device} nomaster")
    sh(f"iptables -F aerie-i-{port.device}; ip6tables -D FORWARD -j aerie-forward; iptables -t raw -F aerie-zones")
    sh(f"nft flush chain bridge aerie {port.device}; ipset flush")
    router = base.router_namespace(next(iter(cloud.state().routers)))
    sh(f"ip netns exec {router} sh -c 'iptables -t nat -F; ip addr flush dev lo; sysctl -qw net.ipv4.ip_forward=1'")
    eventually("dnsmasq to be dead", lambda: not alive(pid))
    assert host.driver.needs_attention(), "a dead server is noticed without a look at everything"
    assert_all_well(host.converge())
    assert dnsmasq_pid(host, network) != pid and not host.driver.needs_attention()
    assert_all_well(host.converge(resync=True))
    assert guest.lease(tmp_path)["ip"] == "10.1.0.10"
    assert guest.pings("10.1.0.1")
    assert "-j DROP" in sh(f"iptables -S aerie-i-{port.device}")
    assert "aerie-forward" in sh("ip6tables -S FORWARD")
    assert "drop" in sh(f"nft list chain bridge aerie {port.device}")


def test_what_is_no_longer_wanted_goes_at_once_and_after_a_restart(host: Host) -> None:
    before = sh("ip -o link | wc -l"), sh("iptables-save | grep -c aerie- || true")
    everything(host)
    for restarted in (False, True):
        cloud = host.cloud
        assert_all_well(host.converge())
        observed = host.driver.observe()
        assert len(observed.taps) == len(observed.filtered_taps) == 4
        assert len(observed.bridges) == 2 and len(observed.dhcp_networks) == 2 and len(observed.routers) == 1
        assert sh("ip link show vxlan-77")
        pids = [int(path.read_text()) for path in (host.directory / "state").glob("*/*/pid")]
        if restarted:
            host.restart()
        host.cloud = Cloud()
        report = host.converge()
        assert not report.ports and not report.routers
        observed = host.driver.observe()
        assert not any(dataclasses.asdict(observed).values()), observed
        assert not list(Path("/run/netns").glob("q*"))
        eventually("its processes to end", lambda pids=pids: not any(alive(pid) for pid in pids))
        assert sh("ip -o link | wc -l") == before[0]
        host.cloud = cloud
    host.driver.cleanup()
    assert sh("iptables-save | grep -c aerie- || true") == before[1]
    assert "aerie" not in sh("nft list ruleset; ipset list")


def test_kill_9_of_the_agent_harms_nothing(host: Host, tmp_path: Path) -> None:
    """The agent as a process of its own, killed with its whole process group: names and leases go on."""
    cloud = host.cloud
    network = cloud.network()
    cloud.dhcp(network, "10.1.0.2")
    port = cloud.port(network, "10.1.0.10", cloud.group(*OPEN))
    guest = host.guest(port)
    agent = subprocess.Popen(
        [sys.executable, HERE / "drive.py", json.dumps(dataclasses.asdict(host.settings))],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert agent.stdin and agent.stdout
    agent.stdin.write(json.dumps(cloud.state().to_dict()) + "\n")
    agent.stdin.flush()
    report = base.Report.from_dict(json.loads(agent.stdout.readline()))
    assert_all_well(report)
    pid = dnsmasq_pid(host, network)
    os.killpg(agent.pid, signal.SIGKILL)
    agent.wait(60)
    assert guest.lease(tmp_path)["ip"] == "10.1.0.10"
    started = process_start(pid)
    assert_all_well(host.converge())
    assert dnsmasq_pid(host, network) == pid and process_start(pid) == started


# ------------------------------------------------------------------------------------------------ devices, tunnels


def test_a_tap_is_there_before_the_guest_and_carries_its_frames(host: Host) -> None:
    cloud = host.cloud
    network = cloud.network(mtu=1400)
    group = cloud.group(*OPEN)
    port, other = cloud.port(network, "10.1.0.10", group), cloud.port(network, "10.1.0.11", group)
    guest = host.guest(other)
    report = host.converge()
    assert report.ports[port.id].status == base.WIRED
    shown = sh(f"ip -d link show {port.device}")
    assert "persist on" in shown and "mtu 1400" in shown and f"master {base.bridge_name(network.id)}" in shown
    descriptor = os.open("/dev/net/tun", os.O_RDWR)
    try:
        fcntl.ioctl(descriptor, 0x400454CA, struct.pack("16sH22x", port.device.encode(), 0x0002 | 0x1000))
        eventually("the carrier", lambda: "LOWER_UP" in sh(f"ip link show {port.device}"))
        with guest.wire() as wire:
            os.write(descriptor, udp4(port.mac, "10.1.0.10", "10.1.0.255", (9, 9), b"from the tap"))
            assert wire.hears(b"from the tap", 20)
    finally:
        os.close(descriptor)
    cloud.change("ports", port.id, admin_state_up=False)
    assert host.converge().ports[port.id].status == base.DOWN
    assert ",UP" not in sh(f"ip link show {port.device}").split(">")[0]


def test_guests_of_two_hosts_meet_in_a_tunnel(host: Host, tmp_path: Path) -> None:
    """Two hosts, static forwarding entries only: no learning, and ARP is answered where it is asked."""
    sh("ip netns add peer; ip link add under type veth peer name under netns peer")
    sh("ip addr add 192.0.2.1/24 dev under; ip link set under up")
    sh("ip -n peer addr add 192.0.2.2/24 dev under; ip -n peer link set under up; ip -n peer link set lo up")
    here, there = host.cloud, Cloud("host-2")
    network = here.network(type_="vxlan", segmentation_id=4242, mtu=1450)
    local = here.port(network, "10.1.0.10", here.group(*OPEN))
    there.put("networks", network.id, network)
    remote = there.port(network, "10.1.0.20", there.group(*OPEN))
    here.change("networks", network.id, vteps=("192.0.2.2",),
                remote_ports=(RemotePort(remote.mac, "192.0.2.2", ("10.1.0.20",)),))  # fmt: skip
    there.change("networks", network.id, vteps=("192.0.2.1",),
                 remote_ports=(RemotePort(local.mac, "192.0.2.1", ("10.1.0.10",)),))  # fmt: skip
    guest = host.guest(local)
    assert_all_well(host.converge())
    settings = dataclasses.replace(
        host.settings, host="host-2", tunnel_ip="192.0.2.2", state_path=str(tmp_path / "peer"), bridge_mappings={}
    )
    second = subprocess.Popen(
        ["ip", "netns", "exec", "peer", "unshare", "-m", "sh", "-c",
         'mount -t tmpfs none /run/netns; exec "$0" "$@"', sys.executable, HERE / "drive.py",
         json.dumps(dataclasses.asdict(settings)), remote.device, remote.mac, "10.1.0.20/24"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert second.stdin and second.stdout
        second.stdin.write(json.dumps(there.state().to_dict()) + "\n")
        second.stdin.flush()
        assert_all_well(base.Report.from_dict(json.loads(second.stdout.readline())))
        guest.address("10.1.0.10/24")
        with subprocess.Popen(
            ["tcpdump", "-i", "under", "-l", "-n", "udp port 4789"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as capture:
            assert capture.stderr
            eventually("tcpdump", lambda: "listening" in capture.stderr.readline())
            assert guest.pings("10.1.0.20")
            time.sleep(0.2)
            capture.terminate()
            crossed = capture.communicate(timeout=60)[0]
        assert "ICMP echo request" in crossed
        assert "ARP" not in crossed, "ARP is to be answered from what is known"
        # A second look changes nothing; a remote port that goes takes its entries with it.
        assert_all_well(host.converge(resync=True))
        here.change("networks", network.id, vteps=(), remote_ports=())
        host.converge()
        assert remote.mac not in sh("bridge fdb show") and "10.1.0.20" not in sh("ip neigh show nud permanent")
    finally:
        second.terminate()
        second.wait(60)
        sh("ip link del under; ip netns del peer")


def processor_time() -> float:
    """What this process and the commands it has run have used: what else the machine does is not measured."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def test_a_new_port_is_wired_with_a_tenth_of_a_second_of_work(host: Host) -> None:
    cloud = host.cloud
    network = cloud.network()
    cloud.dhcp(network, "10.1.0.2")
    group = cloud.group(*OPEN)
    for number in range(50, 90):
        cloud.port(network, f"10.1.0.{number}", group)
    host.converge()
    took = []
    for number in range(100, 110):
        cloud.port(network, f"10.1.0.{number}", group)
        started = processor_time()
        assert_all_well(host.converge())
        took.append(processor_time() - started)
    print("milliseconds of the processor:", [round(1000 * seconds) for seconds in took])
    assert sorted(took)[len(took) // 2] < 0.1
