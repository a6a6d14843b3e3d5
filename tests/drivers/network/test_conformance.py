# SPDX-License-Identifier: Apache-2.0
"""What every network driver promises, tried on the fake one; test_bridge.py tries the real one on a kernel."""

from __future__ import annotations

import dataclasses
import json
import random

import pytest
from clouds import OPEN, Cloud, fixed_ip

from aerie_network.drivers import base, checks
from aerie_network.drivers.base import (
    AddressPair,
    DhcpHost,
    DhcpOption,
    FixedIp,
    HostDelta,
    HostState,
    Outcome,
    Port,
    Report,
    Route,
    SecurityRule,
)
from aerie_network.drivers.bridge import antispoof, dhcp, nat, rules
from aerie_network.drivers.codec import DocumentError
from aerie_network.drivers.fake import FakeDriver


def cloud_with_everything() -> Cloud:
    cloud = Cloud()
    external = cloud.network("203.0.113.0/24", type_="flat", physical_network="public")
    network = cloud.network(type_="vxlan", segmentation_id=7, mtu=1450)
    cloud.dhcp(network, "10.1.0.2")
    cloud.port(network, "10.1.0.10", cloud.group(*OPEN))
    cloud.port(network, "10.1.0.11", admin_state_up=False)
    router = cloud.router(network, external=external, ip="203.0.113.10")
    cloud.floating(router, "203.0.113.20", "10.1.0.10")
    return cloud


# ------------------------------------------------------------------------------------------------------ documents


def test_documents_survive_the_wire() -> None:
    state = cloud_with_everything().state()
    assert HostState.from_dict(json.loads(json.dumps(state.to_dict()))) == state
    report = FakeDriver(base.DriverSettings("host-1")).converge(state)
    assert Report.from_dict(json.loads(json.dumps(report.to_dict()))) == report


def test_documents_of_another_version_and_broken_ones() -> None:
    data = Outcome(base.WIRED, 3).to_dict()
    assert Outcome.from_dict({**data, "a_newer_field": 1}) == Outcome(base.WIRED, 3)
    assert Outcome.from_dict({"status": "wired"}) == Outcome(base.WIRED)
    for broken in ({}, {"status": 1}, {"status": "wired", "revision": True}, [], None):
        with pytest.raises(DocumentError):
            Outcome.from_dict(broken)  # type: ignore[arg-type]


def test_a_delta_leads_where_the_whole_state_does() -> None:
    cloud = cloud_with_everything()
    before = cloud.state()
    port = next(iter(before.ports.values()))
    cloud.no_port(port)
    network = before.networks[port.network_id]
    new = cloud.port(network, "10.1.0.77")
    after = cloud.state()
    delta = HostDelta(
        before.revision, after.revision, ports={port.id: None, new.id: new}, dhcp={network.id: after.dhcp[network.id]}
    )
    assert before.with_delta(HostDelta.from_dict(delta.to_dict())) == after


def test_a_partial_report_names_what_changed() -> None:
    cloud = cloud_with_everything()
    driver = FakeDriver(base.DriverSettings("host-1"))
    first = driver.converge(cloud.state())
    port = cloud.port(next(iter(cloud.state().networks.values())), "203.0.113.99")
    second = driver.converge(cloud.state())
    news = second.changes_since(first)
    assert not news.full and news.ports == {port.id: Outcome(base.WIRED)} and not news.routers
    assert second.changes_since(second).empty
    # The same port, bound again: its revision makes it news.
    cloud.change("ports", port.id, revision=1)
    assert driver.converge(cloud.state()).changes_since(second).ports == {port.id: Outcome(base.WIRED, 1)}


# ------------------------------------------------------------------------------------------------- the fake driver


def test_everything_is_reported_done() -> None:
    state = cloud_with_everything().state()
    driver = FakeDriver(base.DriverSettings("host-1"))
    report = driver.converge(state)
    statuses = sorted(report.ports[port_id].status for port_id in state.ports)
    assert statuses == [base.DOWN, base.WIRED]
    assert set(report.dhcp_ready) == set(state.ports)
    assert {outcome.status for outcome in report.routers.values()} == {base.ACTIVE}
    assert {outcome.status for outcome in report.floating_ips.values()} == {base.ACTIVE}
    for router in state.routers.values():
        assert all(report.ports[part.port_id].status == base.WIRED for part in router.parts)
    assert len(driver.observe().taps) == 2
    driver.cleanup()
    assert not any(dataclasses.asdict(driver.observe()).values())


def test_the_same_state_changes_nothing() -> None:
    cloud = cloud_with_everything()
    driver = FakeDriver(base.DriverSettings("host-1"))
    first = driver.converge(cloud.state())
    done = len(driver.changes)
    second = driver.converge(cloud.state(), resync=True)
    assert len(driver.changes) == done
    assert dataclasses.replace(second, revision=first.revision) == first


def test_failures_harm_only_themselves_and_pass() -> None:
    cloud = cloud_with_everything()
    network = next(network for network in cloud.state().networks.values() if network.type == "vxlan")
    bad = cloud.port(network, "10.1.0.50", mac="no-mac")
    failing = cloud.port(network, "10.1.0.51")
    driver = FakeDriver(base.DriverSettings("host-1"), failures={failing.id: "out of order"})
    report = driver.converge(cloud.state())
    assert report.ports[failing.id] == Outcome(base.ERROR, 0, "out of order")
    assert "MAC" in report.ports[bad.id].reason
    assert failing.id not in report.dhcp_ready
    assert [outcome.status for outcome in report.ports.values()].count(base.ERROR) == 2
    driver.failures.clear()
    assert driver.converge(cloud.state()).ports[failing.id].status == base.WIRED


def test_only_its_roles() -> None:
    state = cloud_with_everything().state()
    report = FakeDriver(base.DriverSettings("host-1", roles=("l2",))).converge(state)
    assert set(report.ports) == set(state.ports)
    assert not report.dhcp_ready and not report.routers and not report.floating_ips


# ----------------------------------------------------- nothing hostile reaches a configuration file or a command

HOSTILE = [
    "x\ny", "x\ry", "a\x0bb", "a\x00b", "a\x85b", "a\u2028b", "-j ACCEPT", "; reboot", "$(reboot)", "`x`", "a b", '"',
    "'", "a,b", "#", "../../etc/passwd", "\n-A INPUT -j ACCEPT", "10.0.0.1\n", "fa:16:3e:00:00:01\n", "[::1]",
    "{ drop; }", "",
]  # fmt: skip


def lines_of(text: str) -> int:
    return len(text.splitlines())


def hostile(random_: random.Random) -> str:
    """A hostile string, sometimes behind something that looks right."""
    start = random_.choice(["", "", "10.1.0.5", "fa:16:3e:00:00:01", "host", "10.0.0.0/8"])
    return start + random_.choice(HOSTILE)


@pytest.mark.parametrize("seed", range(40))
def test_hostile_values_never_make_a_line_of_a_file(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """However broken the documents, the files have the lines of the good ones and no other."""
    chance = random.Random(seed)
    cloud = Cloud()
    network = cloud.network()
    doc = cloud.dhcp(network, "10.1.0.2")
    good = DhcpHost("good", "fa:16:3e:00:00:01", (fixed_ip(network, "10.1.0.5"),), hostname="good")
    clean = dhcp.render(dataclasses.replace(doc, hosts=(good,)), network, "ns-x", tmp_path_factory.getbasetemp(), ())
    bad = DhcpHost(
        chance.choice(["port", hostile(chance)]),
        chance.choice(["fa:16:3e:00:00:02", hostile(chance)]),
        (FixedIp(network.subnets[0].id, chance.choice(["10.1.0.6", hostile(chance)]), 24),),
        hostname=chance.choice(["name", hostile(chance)]),
        options=tuple(DhcpOption(chance.choice(["mtu", hostile(chance)]), hostile(chance)) for _ in range(3)),
    )
    files = dhcp.render(
        dataclasses.replace(doc, hosts=(good, bad)), network, "ns-x", tmp_path_factory.getbasetemp(), ()
    )
    assert lines_of(files.hosts) <= lines_of(clean.hosts) + 1
    assert lines_of(files.names) <= lines_of(clean.names) + 1
    assert lines_of(files.options) <= lines_of(clean.options) + 3
    assert files.conf == clean.conf and good.port_id in files.ready
    for text in (files.hosts, files.options, files.names):
        assert not any(ord(char) < 32 and char != "\n" for char in text)


@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_values_never_reach_a_rule(value: str) -> None:
    bad = [
        SecurityRule("a", "ingress", protocol=value or "x"),
        SecurityRule("b", "ingress", remote_cidr=value or "x"),
        SecurityRule("c", "ingress", remote_set=value or "x"),
        SecurityRule("d", value, protocol="tcp"),
        SecurityRule("e", "ingress", ethertype=value),
    ]
    port = Port("p", "n", "fa:16:3e:00:00:01", security_groups=("g",))
    chains = rules.compile_port(port, {"g": base.SecurityGroup("g", tuple(bad))}, (), ())
    assert len(chains.refused) == len(bad)
    bare = rules.compile_port(port, {"g": base.SecurityGroup("g")}, (), ())
    assert (chains.into, chains.out) == (bare.into, bare.out), "a rule left out forbids"
    for broken in (
        dataclasses.replace(port, mac=value),
        dataclasses.replace(port, fixed_ips=(FixedIp("s", value, 24),)),
        dataclasses.replace(port, allowed_address_pairs=(AddressPair(value),)),
        dataclasses.replace(port, allowed_address_pairs=(AddressPair("10.0.0.1", value or "x"),)),
    ):
        with pytest.raises(checks.BadValue):
            antispoof.compile_port(broken)
    router = base.Router(
        "r",
        gateway=base.RouterGateway("p", "n", "fa:16:3e:00:00:01", (FixedIp("s", "203.0.113.10", 24),)),
        floating_ips=(base.FloatingIp("f", value, "10.0.0.1"), base.FloatingIp("g", "203.0.113.20", value)),
        port_forwardings=(base.PortForwarding("h", "203.0.113.20", value, 1, "10.0.0.1", 1),),
        routes=(Route(value, value),),
    )
    compiled = nat.compile_router(router, "qg-x", "203.0.113.10")
    assert set(compiled.refused) == {"f", "g", "h"} and not compiled.mapping


def test_rules_in_the_packet_filters_words() -> None:
    def line(**fields: object) -> str:
        rule = SecurityRule("r", **{"direction": "ingress", **fields})  # type: ignore[arg-type]
        port = Port("p", "n", "fa:16:3e:00:00:01", security_groups=("g",))
        groups = {"g": base.SecurityGroup("g", (rule,), stateful=False)}
        chains = rules.compile_port(port, groups, (), ("set",))
        assert not chains.refused, chains.refused
        version = 6 if rule.ethertype == "IPv6" else 4
        return (chains.into if rule.direction == "ingress" else chains.out)[version][-2]

    assert line(protocol="tcp", port_min=22, port_max=22) == "-p 6 -m tcp --dport 22 -j RETURN"
    assert line(protocol="udp", port_min=1, port_max=9) == "-p 17 -m udp --dport 1:9 -j RETURN"
    assert line(protocol="tcp", port_min=0, port_max=65535) == "-p 6 -j RETURN"
    assert line(protocol="icmp", port_min=8, port_max=0) == "-p icmp -m icmp --icmp-type 8/0 -j RETURN"
    assert line(protocol="icmpv6", ethertype="IPv6", port_min=128).endswith("--icmpv6-type 128 -j RETURN")
    assert line(protocol="112") == line(protocol="vrrp") == "-p 112 -j RETURN"
    assert line(remote_cidr="10.0.0.0/8") == "-s 10.0.0.0/8 -j RETURN"
    assert line(remote_cidr="10.0.0.0/8", direction="egress") == "-d 10.0.0.0/8 -j RETURN"
    assert line(remote_cidr="0.0.0.0/0") == "-j RETURN"
    assert line(remote_set="set").startswith("-m set --match-set aerie4-")
