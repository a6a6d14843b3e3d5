# SPDX-License-Identifier: Apache-2.0
"""What hosts are told to be, what they report, and what follows from it."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from aerie_common.db import count_queries, utcnow
from aerie_network import reconcile
from aerie_network.db import tables
from aerie_network.drivers.base import WIRED, FloatingIp, Outcome, Report
from aerie_network.logic import host_states
from aerie_network.logic.agents import AgentServer
from network_bench import Bench, Host, make_bench


@pytest.fixture
def bench(database_url: str) -> Iterator[Bench]:
    """A cloud of one's own."""
    made = make_bench(database_url)
    made.host.work()
    yield made
    made.svc.db.dispose()


def server_port(bench: Bench, network: Any, host: str = "host-1", server: str = "server-1", **values: Any) -> Any:
    """A port as compute makes it."""
    return bench.port(
        network, by=bench.compute, project_id=bench.owner.project_id, device_id=server, device_owner="compute:nova",
        **{"binding:host_id": host}, **values,
    )  # fmt: skip


def status(bench: Bench, port: Any) -> str:
    return str(bench.get(f"/ports/{port['id']}")["port"]["status"])


def settled(bench: Bench, *hosts: Host) -> None:
    """What every host has put together from deltas is what a fresh agent would be given."""
    for host in hosts or (bench.host,):
        assert host.fetch() == host.whole()


def test_a_port_becomes_active_and_compute_hears_of_it(bench: Bench) -> None:
    network, subnet = bench.network()
    bench.host.work()
    port = server_port(bench, network, dns_name="web")
    assert port["status"] == "DOWN"
    bench.events()
    state = bench.host.work()
    document = state.ports[port["id"]]
    assert document.mac == port["mac_address"] and document.device == "tap" + port["id"][:11]
    assert document.fixed_ips[0].ip_address == port["fixed_ips"][0]["ip_address"]
    assert document.fixed_ips[0].prefix_length == 24 and document.security_groups == tuple(port["security_groups"])
    assert port["id"] in {h.port_id for h in state.dhcp[network["id"]].hosts}
    assert {h.hostname for h in state.dhcp[network["id"]].hosts} == {"web"}
    assert state.dhcp[network["id"]].isolated_subnets == (subnet["id"],)
    assert status(bench, port) == "ACTIVE"
    assert bench.compute_events() == [("network-vif-plugged", "server-1", port["id"])]
    assert ("port.update.end", "ACTIVE") in [(e, p.get("port", {}).get("status")) for e, p in bench.events()]
    bench.host.work()  # nothing new
    assert bench.compute_events() == [] and bench.events() == []
    settled(bench)


def test_every_party_has_to_report(bench: Bench) -> None:
    network, _ = bench.network()
    bench.host.work()
    port = server_port(bench, network)
    revision = bench.host.fetch().ports[port["id"]].revision
    server = AgentServer(bench.svc)
    wired = {port["id"]: Outcome(WIRED, revision)}
    server.report("host-1", Report("host-1", 1, full=False, ports=wired))
    assert status(bench, port) == "DOWN"
    server.report("host-1", Report("host-1", 1, full=False, dhcp_ready={port["id"]: revision - 1}))  # an older port
    assert status(bench, port) == "DOWN"
    server.report("host-1", Report("host-1", 1, full=False, dhcp_ready={port["id"]: revision}))
    assert status(bench, port) == "ACTIVE"
    for _ in range(2):  # twice and late does no harm
        server.report("host-1", Report("host-1", 1, full=False, ports=wired))
    assert bench.compute_events() == [("network-vif-plugged", "server-1", port["id"])]


def test_reports_about_an_older_binding_or_from_elsewhere_count_for_nothing(bench: Bench) -> None:
    network, _ = bench.network(enable_dhcp=False)
    other = Host(bench.svc, "host-2", tunnel_ip="192.0.2.2")
    port = server_port(bench, network)
    old = bench.host.fetch().ports[port["id"]].revision
    bench.change("port", port["id"], by=bench.compute, **{"binding:host_id": "host-2"})
    server = AgentServer(bench.svc)
    server.report("host-1", Report("host-1", 1, ports={port["id"]: Outcome(WIRED, old + 100)}))
    server.report("host-2", Report("host-2", 1, ports={port["id"]: Outcome(WIRED, old)}))
    assert status(bench, port) == "DOWN"
    other.work()
    assert status(bench, port) == "ACTIVE"
    assert port["id"] not in bench.host.fetch().ports and port["id"] in other.state.ports  # type: ignore[union-attr]
    settled(bench, bench.host, other)


def test_a_failed_port_harms_only_itself(bench: Bench) -> None:
    network, _ = bench.network(enable_dhcp=False)
    good, bad = server_port(bench, network), server_port(bench, network, server="server-2")
    bench.host._driver.failures[bad["id"]] = "no bridge"
    bench.host.work()
    assert status(bench, good) == "ACTIVE" and status(bench, bad) == "ERROR"
    del bench.host._driver.failures[bad["id"]]
    bench.host.work()
    assert status(bench, bad) == "ACTIVE"
    assert bench.compute_events()[-1] == ("network-vif-plugged", "server-2", bad["id"])


def test_binding_waits_for_the_agent_to_come(bench: Bench) -> None:
    network, _ = bench.network(enable_dhcp=False)
    early = server_port(bench, network, host="late-host")
    assert early["binding:vif_type"] == "binding_failed"
    late = Host(bench.svc, "late-host", roles=("l2",))
    late.work()
    seen = bench.get(f"/ports/{early['id']}", by=bench.admin)["port"]
    assert seen["binding:vif_type"] == "bridge" and seen["status"] == "ACTIVE"


def test_deltas_tell_all_that_changed(bench: Bench) -> None:
    """After each kind of change the state put together from deltas equals the whole one, and deltas it was."""
    other = Host(bench.svc, "host-2", roles=("l2",), tunnel_ip="192.0.2.2")
    hosts = (bench.host, other)
    for host in hosts:
        host.work()
    network, subnet, router = bench.routed()
    steps: list[Any] = []
    group = bench.make("security_group", name="web")
    settled(bench, *hosts)
    a = server_port(bench, network, "host-1", "server-a", security_groups=[group["id"]])
    settled(bench, *hosts)
    b = server_port(bench, network, "host-2", "server-b")
    settled(bench, *hosts)
    assert other.state is not None and other.state.networks[network["id"]].vteps == ("192.0.2.1",)
    remote = {r.mac: r.ips for r in bench.host.fetch().networks[network["id"]].remote_ports}
    assert remote == {b["mac_address"]: (b["fixed_ips"][0]["ip_address"],)}
    rule = bench.make(
        "security_group_rule",
        security_group_id=group["id"],
        direction="ingress",
        remote_group_id=b["security_groups"][0],
    )
    settled(bench, *hosts)
    members = bench.host.fetch().address_sets[b["security_groups"][0]].addresses
    assert members == (b["fixed_ips"][0]["ip_address"],)
    c = server_port(bench, network, "host-2", "server-c", allowed_address_pairs=[{"ip_address": "10.1.0.240"}])
    settled(bench, *hosts)
    assert "10.1.0.240" in bench.host.fetch().address_sets[b["security_groups"][0]].addresses
    floating = bench.make("floatingip", floating_network_id=bench.outside()["id"], port_id=a["id"])
    settled(bench, *hosts)
    found = bench.host.fetch().routers[router["id"]]
    assert [(f.floating_ip, f.fixed_ip) for f in found.floating_ips] == [
        (floating["floating_ip_address"], a["fixed_ips"][0]["ip_address"])
    ]
    assert found.gateway is not None and found.gateway.next_hops == ("172.24.0.1",) and len(found.interfaces) == 1
    assert bench.host.state.dhcp[network["id"]].isolated_subnets == ()  # type: ignore[union-attr]
    steps += [
        lambda: bench.change("floatingip", floating["id"], port_id=b["id"]),
        lambda: bench.change("port", b["id"], fixed_ips=[*b["fixed_ips"], {"subnet_id": subnet["id"]}]),
        lambda: bench.change("port", b["id"], security_groups=[]),
        lambda: bench.change("port", b["id"], admin_state_up=False),
        lambda: bench.change("subnet", subnet["id"], dns_nameservers=["9.9.9.9"]),
        lambda: bench.change("router", router["id"], routes=[{"destination": "10.50.0.0/24", "nexthop": "10.1.0.250"}]),
        lambda: bench.change("router", router["id"], admin_state_up=False),
        lambda: bench.change("network", network["id"], mtu=1400),
        lambda: bench.remove("security_group_rule", rule["id"]),
        lambda: bench.change("port", c["id"], allowed_address_pairs=[]),
        lambda: bench.change("port", a["id"], by=bench.compute, **{"binding:host_id": "host-2"}),
        lambda: bench.remove("port", c["id"]),
        lambda: bench.change("router", router["id"], routes=[]),
        lambda: bench.remove("floatingip", floating["id"]),
        lambda: bench.change("router", router["id"], external_gateway_info={}),
        lambda: bench.call(
            "PUT", f"/routers/{router['id']}/remove_router_interface", {"subnet_id": subnet["id"]}, expect=200
        ),
        lambda: bench.remove("router", router["id"]),
        lambda: bench.remove("port", a["id"]),
        lambda: bench.remove("port", b["id"]),
        lambda: bench.remove("network", network["id"]),
    ]
    for host in hosts:
        host.deltas = 0
    for step in steps:
        step()
        settled(bench, *hosts)
    assert bench.host.deltas >= 12 and other.deltas >= 8
    for host in hosts:
        left = host.whole()
        assert not left.ports and not left.routers and not left.dhcp and not left.networks and not left.security_groups


def test_the_whole_state_costs_a_fixed_number_of_queries(bench: Bench) -> None:
    network, _, _ = bench.routed()
    server_port(bench, network)

    def cost() -> int:
        with count_queries(bench.svc.db) as queries:
            host_states.answer(bench.svc, "host-1", 0)
        return int(queries)

    few = cost()
    for i in range(5):
        server_port(bench, network, server=f"server-{i}")
    more, _ = bench.network("10.2.0.0/24")
    server_port(bench, more)
    assert cost() == few <= 24


def test_an_agent_far_behind_gets_everything(bench: Bench) -> None:
    network, _ = bench.network()
    bench.host.fetch()
    with bench.svc.db.write() as conn:
        conn.execute(sa.delete(tables.host_changes))
    server_port(bench, network)
    with bench.svc.db.write() as conn:
        conn.execute(sa.delete(tables.host_changes))
    bench.host.deltas = 0
    settled(bench)
    assert bench.host.deltas == 0 and len(bench.host.fetch().ports) == 1


def test_nothing_new(bench: Bench) -> None:
    bench.network()
    revision = bench.host.fetch().revision
    answer = host_states.answer(bench.svc, "host-1", revision)
    assert answer.state is None and answer.delta is None


def test_floating_ip_status(bench: Bench) -> None:
    network, _, router = bench.routed()
    port = server_port(bench, network)
    floating = bench.make("floatingip", floating_network_id=bench.outside()["id"], port_id=port["id"])
    assert floating["status"] == "DOWN"
    state = bench.host.work()
    assert isinstance(state.routers[router["id"]].floating_ips[0], FloatingIp)
    assert bench.get(f"/floatingips/{floating['id']}")["floatingip"]["status"] == "ACTIVE"
    bench.change("floatingip", floating["id"], port_id=None)
    assert bench.get(f"/floatingips/{floating['id']}")["floatingip"]["status"] == "DOWN"


def test_metadata(bench: Bench) -> None:
    """OSSN-0074: who asks is known by where the packet came from; equal addresses of two tenants are two servers."""
    first, _, router = bench.routed()
    port = server_port(bench, first, fixed_ips=[{"ip_address": "10.1.0.77"}])
    other, _ = bench.network("10.1.0.0/24")
    twin = server_port(bench, other, server="server-2", fixed_ips=[{"ip_address": "10.1.0.77"}])
    server = AgentServer(bench.svc)
    source = server.resolve_metadata(first["id"], None, "10.1.0.77")
    assert source is not None and source.instance_id == "server-1" and source.project_id == bench.owner.project_id
    assert source.port_id == port["id"]
    by_router = server.resolve_metadata(None, router["id"], "10.1.0.77")
    assert by_router is not None and by_router.instance_id == "server-1"
    by_other = server.resolve_metadata(other["id"], None, "10.1.0.77")
    assert by_other is not None and by_other.port_id == twin["id"]
    assert server.resolve_metadata(first["id"], None, "10.1.0.78") is None
    assert server.resolve_metadata(None, None, "10.1.0.77") is None


def _silence(bench: Bench, host: str) -> None:
    """The host has not been heard of for long."""
    with bench.svc.db.write() as conn:
        a = tables.agents
        conn.execute(sa.update(a).where(a.c.host == host).values(heartbeat_at=utcnow() - datetime.timedelta(hours=1)))


def test_a_dead_host_changes_nothing_until_another_lives(bench: Bench) -> None:
    network, _, router = bench.routed()
    bench.host.work()
    _silence(bench, "host-1")
    reconcile.place(bench.svc)
    state = bench.host.fetch()
    assert router["id"] in state.routers and network["id"] in state.dhcp
    agents = bench.get("/agents", by=bench.admin)["agents"]
    assert {a["alive"] for a in agents} == {False}


def test_another_host_takes_over(bench: Bench) -> None:
    network, _, router = bench.routed()
    port = server_port(bench, network)
    floating = bench.make("floatingip", floating_network_id=bench.outside()["id"], port_id=port["id"])
    bench.host.work()
    other = Host(bench.svc, "host-2", tunnel_ip="192.0.2.2")
    _silence(bench, "host-1")
    reconcile.place(bench.svc)
    state = other.work()
    assert router["id"] in state.routers and network["id"] in state.dhcp and port["id"] not in state.ports
    assert bench.get(f"/floatingips/{floating['id']}")["floatingip"]["status"] == "ACTIVE"
    gone = bench.host.fetch()
    assert not gone.routers and not gone.dhcp and port["id"] in gone.ports
    settled(bench, bench.host, other)
    ports = bench.get(f"/ports?network_id={network['id']}&device_owner=network:dhcp", by=bench.admin)["ports"]
    assert [(p["binding:host_id"], p["status"]) for p in ports] == [("host-2", "ACTIVE")]
    reconcile.place(bench.svc)  # and that is that
    assert other.fetch().revision == other.work().revision


def test_without_any_agent_things_wait(database_url: str) -> None:
    bench = make_bench(database_url)
    _silence(bench, "host-1")
    network, _, router = bench.routed()
    assert bench.get(f"/ports?network_id={network['id']}&device_owner=network:dhcp")["ports"] == []
    [gateway] = bench.get(f"/ports?device_id={router['id']}&device_owner=network:router_gateway", by=bench.admin)[
        "ports"
    ]
    assert gateway["binding:host_id"] == ""
    bench.host.beat()
    reconcile.place(bench.svc)
    state = bench.host.work()
    assert router["id"] in state.routers and network["id"] in state.dhcp
    assert status(bench, {"id": state.dhcp[network["id"]].port_id}) == "ACTIVE"
    bench.svc.db.dispose()


def test_agents_in_the_api(bench: Bench) -> None:
    agents = bench.get("/agents", by=bench.admin)["agents"]
    assert {a["agent_type"] for a in agents} == {"Linux bridge agent", "DHCP agent", "L3 agent", "Metadata agent"}
    assert all(a["alive"] and a["admin_state_up"] and a["host"] == "host-1" for a in agents)
    assert bench.get("/agents")["agents"] == []  # not for tenants
    l3 = bench.get("/agents?agent_type=L3+agent&host=host-1", by=bench.admin)["agents"][0]
    bench.change("agent", l3["id"], by=bench.admin, admin_state_up=False)
    router = bench.make("router", external_gateway_info={"network_id": bench.outside()["id"]})
    assert bench.get(f"/routers/{router['id']}/l3-agents", by=bench.admin)["agents"] == []
    bench.change("agent", l3["id"], by=bench.admin, admin_state_up=True)
    reconcile.place(bench.svc)
    assert [a["id"] for a in bench.get(f"/routers/{router['id']}/l3-agents", by=bench.admin)["agents"]] == [l3["id"]]
    assert [r["id"] for r in bench.get(f"/agents/{l3['id']}/l3-routers", by=bench.admin)["routers"]] == [router["id"]]
    zones = bench.get("/availability_zones")["availability_zones"]
    assert {(z["name"], z["resource"], z["state"]) for z in zones} == {
        ("nova", "network", "available"), ("nova", "router", "available"),
    }  # fmt: skip


def test_dhcp_agents_by_hand(bench: Bench) -> None:
    network, _ = bench.network()
    second = Host(bench.svc, "host-2")
    dhcp = {a["host"]: a["id"] for a in bench.get("/agents?agent_type=DHCP+agent", by=bench.admin)["agents"]}
    path = f"/agents/{dhcp['host-2']}/dhcp-networks"
    bench.call("POST", path, {"network_id": network["id"]}, by=bench.admin, expect=201)
    bench.call("POST", path, {"network_id": network["id"]}, by=bench.admin, expect=409)
    hosts = bench.get(f"/networks/{network['id']}/dhcp-agents", by=bench.admin)["agents"]
    assert {a["host"] for a in hosts} == {"host-1", "host-2"}
    assert network["id"] in second.fetch().dhcp
    bench.call("DELETE", f"{path}/{network['id']}", by=bench.admin, expect=204)
    bench.call("DELETE", f"{path}/{network['id']}", by=bench.admin, expect=409)
    assert network["id"] not in second.fetch().dhcp
    bare = bench.make("network")
    bench.call("POST", path, {"network_id": bare["id"]}, by=bench.admin, expect=201)
    assert bare["id"] in {n["id"] for n in bench.get(path, by=bench.admin)["networks"]}
    assert bare["id"] not in second.fetch().dhcp
    bench.make("subnet", network_id=bare["id"], cidr="10.77.0.0/24", ip_version=4)
    assert bare["id"] in second.fetch().dhcp and bare["id"] not in bench.host.fetch().dhcp


def test_pruning_keeps_agents_right(bench: Bench) -> None:
    network, _ = bench.network()
    bench.host.work()
    for i in range(4):
        server_port(bench, network, server=f"server-{i}")
    from aerie_network.db import hosts

    with bench.svc.db.write() as conn:
        assert hosts.prune(conn, keep=5) > 0
    settled(bench)
    assert len(bench.host.fetch().ports) == 4


def test_deleting_tells_compute_unless_compute_did_it(bench: Bench) -> None:
    network, _ = bench.network()
    one, two = server_port(bench, network), server_port(bench, network, server="server-2")
    bench.host.work()
    bench.compute_events()
    bench.remove("port", one["id"])
    assert bench.compute_events() == [("network-vif-deleted", "server-1", one["id"])]
    bench.remove("port", two["id"], by=bench.compute)
    assert bench.compute_events() == []
