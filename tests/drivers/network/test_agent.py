# SPDX-License-Identifier: Apache-2.0
"""The agent against a network server that speaks over a real message transport (in memory)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import pytest
from clouds import Cloud

from aerie_common import config
from aerie_common.rpc import Rpc, register_options
from aerie_network.agent.manager import NetworkAgent
from aerie_network.agent.messages import (
    AGENT_TOPIC,
    SERVER_TOPIC,
    Heartbeat,
    HeartbeatAnswer,
    MetadataSource,
    NetworkServer,
    StateAnswer,
)
from aerie_network.agent.rpc import AgentClient, AgentEndpoint, NetworkServerClient, NetworkServerEndpoint
from aerie_network.drivers import base
from aerie_network.drivers.base import DriverSettings, HostDelta, HostState, Report
from aerie_network.drivers.fake import FakeDriver

HOST = "host-1"


class Server(NetworkServer):
    """A network server which has one host's state in memory."""

    def __init__(self) -> None:
        self.state = HostState(HOST, 1)
        self.delta: HostDelta | None = None
        self.away = False
        self.fetches: list[int] = []
        self.reports: list[Report] = []
        self.beats: list[Heartbeat] = []

    def get_host_state(self, host: str, roles: Sequence[str], known_revision: int) -> StateAnswer:
        self.answering()
        assert host == HOST and list(roles) == ["l2", "dhcp", "l3", "metadata"]
        self.fetches.append(known_revision)
        if known_revision == self.state.revision:
            return StateAnswer()
        if self.delta is not None and self.delta.base_revision == known_revision:
            return StateAnswer(delta=self.delta)
        return StateAnswer(state=self.state)

    def report(self, host: str, report: Report) -> None:
        self.answering()
        self.reports.append(report)

    def heartbeat(self, beat: Heartbeat) -> HeartbeatAnswer:
        self.answering()
        self.beats.append(beat)
        return HeartbeatAnswer(self.state.revision)

    def resolve_metadata(self, network_id: str | None, router_id: str | None, address: str) -> MetadataSource | None:
        return MetadataSource("instance", "project") if address == "10.1.0.10" else None

    def answering(self) -> None:
        if self.away:
            raise RuntimeError("the database is away")

    def wired(self, port_id: str) -> list[base.Outcome]:
        return [report.ports[port_id] for report in self.reports if port_id in report.ports]


def eventually(what: str, check: Callable[[], bool], timeout: float = 20.0) -> None:
    deadline = time.monotonic() + timeout
    while not check():
        assert time.monotonic() < deadline, f"{what} not within {timeout} s"
        time.sleep(0.002)


class World:
    def __init__(self, rpc: Rpc) -> None:
        self.cloud = Cloud(HOST)
        self.server = Server()
        self.client = NetworkServerClient(rpc)
        self.wakes = AgentClient(rpc)
        self.driver = FakeDriver(DriverSettings(HOST))
        self.network = self.cloud.network()
        self.agent = NetworkAgent(
            DriverSettings(HOST), self.driver, self.client, report_interval=0.3, resync_interval=30.0
        )

    def publish(self) -> int:
        self.server.state = self.cloud.state()
        return self.server.state.revision


@pytest.fixture
def world() -> Iterator[World]:
    conf = config.new()
    register_options(conf)
    conf([], project="aerie", default_config_files=[])
    conf.set_override("transport_url", "fake://")
    conf.set_override("host", HOST)
    rpc = Rpc(conf)
    world = World(rpc)
    serving = [
        rpc.serve(SERVER_TOPIC, [NetworkServerEndpoint(world.server)], host="controller"),
        rpc.serve(AGENT_TOPIC, [AgentEndpoint(world.agent)], host=HOST),
    ]
    yield world
    world.agent.stop()
    for server in serving:
        server.stop()
    rpc.stop()


def test_a_wake_leads_to_a_report(world: World) -> None:
    world.agent._report_interval = 3600  # else a heartbeat tells it too
    world.publish()
    world.agent.start()
    eventually("the first report", lambda: bool(world.server.reports))
    assert world.server.reports[0].full
    took = []
    for number in range(10, 20):
        port = world.cloud.port(world.network, f"10.1.0.{number}")
        started = time.process_time()
        world.wakes.wake(HOST, world.publish())
        eventually("its report", lambda port=port: bool(world.server.wired(port.id)))
        took.append(time.process_time() - started)
        assert world.server.wired(port.id)[0].status == base.WIRED
        report = world.server.reports[-1]
        assert set(report.ports) == {port.id}, "only what is new is reported"
    print("milliseconds:", [round(1000 * seconds, 1) for seconds in took])
    assert sorted(took)[len(took) // 2] < 0.05


def test_a_lost_wake_is_made_up_for_by_the_heartbeat(world: World) -> None:
    world.publish()
    world.agent.start()
    eventually("the first report", lambda: bool(world.server.reports))
    port = world.cloud.port(world.network, "10.1.0.10")
    world.publish()
    eventually("its report", lambda: bool(world.server.wired(port.id)))


def test_wakes_coalesce_and_known_revisions_cause_nothing(world: World) -> None:
    world.publish()
    world.agent.start()
    eventually("the first report", lambda: bool(world.server.reports))
    fetched = len(world.server.fetches)
    for _ in range(50):
        world.wakes.wake(HOST, world.server.state.revision)
    world.driver.delay = 0.2
    ports = []
    for number in range(10, 40):
        ports.append(world.cloud.port(world.network, f"10.1.0.{number}"))
        world.wakes.wake(HOST, world.publish())
    eventually("the reports", lambda: all(world.server.wired(port.id) for port in ports))
    assert len(world.server.fetches) - fetched < 10


def test_a_delta_is_applied(world: World) -> None:
    world.publish()
    world.agent.start()
    eventually("the first report", lambda: bool(world.server.reports))
    before = world.server.state.revision
    port = world.cloud.port(world.network, "10.1.0.10")
    world.server.delta = HostDelta(before, before + 1, ports={port.id: port})
    world.wakes.wake(HOST, world.publish())
    eventually("its report", lambda: bool(world.server.wired(port.id)))
    assert world.driver.state == world.server.state


def test_an_absent_server_is_waited_for_and_no_report_is_lost(world: World) -> None:
    world.server.away = True
    port = world.cloud.port(world.network, "10.1.0.10")
    world.publish()
    world.agent.start()
    time.sleep(0.3)
    assert not world.server.reports
    world.server.away = False
    eventually("the report", lambda: bool(world.server.wired(port.id)))
    # Away just when a report is due: it comes later, once.
    second = world.cloud.port(world.network, "10.1.0.11")
    revision = world.publish()
    fetch = world.server.get_host_state

    def fetch_and_go(host: str, roles: Sequence[str], known_revision: int) -> StateAnswer:
        answer = fetch(host, roles, known_revision)
        world.server.away = True
        return answer

    world.server.get_host_state = fetch_and_go  # type: ignore[method-assign]
    world.wakes.wake(HOST, revision)
    eventually("the driver's work", lambda: second.id in world.driver.state.ports)
    time.sleep(0.2)
    world.server.get_host_state = fetch  # type: ignore[method-assign]
    world.server.away = False
    eventually("the report", lambda: bool(world.server.wired(second.id)))


def test_a_failed_port_is_tried_again_unasked(world: World) -> None:
    port = world.cloud.port(world.network, "10.1.0.10")
    world.driver.failures[port.id] = "not yet"
    world.publish()
    world.agent.start()
    eventually("the failure", lambda: any(o.status == base.ERROR for o in world.server.wired(port.id)))
    world.driver.failures.clear()
    eventually("success", lambda: any(o.status == base.WIRED for o in world.server.wired(port.id)))


def test_heartbeats_name_every_role(world: World) -> None:
    world.agent.start()
    eventually("a heartbeat", lambda: bool(world.server.beats))
    beat = world.server.beats[0]
    assert [agent.role for agent in beat.agents] == ["l2", "dhcp", "l3", "metadata"]
    assert {agent.agent_type for agent in beat.agents} == {
        "Linux bridge agent", "DHCP agent", "L3 agent", "Metadata agent",
    }  # fmt: skip


def test_a_heartbeat_that_is_not_taken_comes_again_soon(world: World) -> None:
    """A host that starts before its server is there is not missing for a whole interval."""
    world.agent._report_interval = 3600
    world.server.away = True
    world.agent.start()
    time.sleep(0.2)
    world.server.away = False
    eventually("a heartbeat", lambda: bool(world.server.beats))


def test_metadata_questions_go_to_the_server(world: World) -> None:
    assert world.client.resolve_metadata("network", None, "10.1.0.10") == MetadataSource("instance", "project")
    assert world.client.resolve_metadata(None, "router", "10.1.0.11") is None
