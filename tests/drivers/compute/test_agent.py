# SPDX-License-Identifier: Apache-2.0
"""The compute agent: its manager and its heart on the fake driver, its messages over a real bus."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import oslo_messaging
import pytest

from aerie_common import config
from aerie_common.context import Context
from aerie_common.rpc import Rpc
from aerie_compute.agent import options
from aerie_compute.agent.daemon import Agent, Heart
from aerie_compute.agent.manager import AgentManager
from aerie_compute.agent.rpc import AgentClient, AgentRefused, Goal
from aerie_compute.drivers.base import (
    DriverError,
    GuestSpec,
    ImageFacts,
    ImageUnavailable,
    Interrupted,
    Nic,
    NotSupported,
    PowerState,
    SnapshotFacts,
)
from aerie_compute.drivers.fake import FakeDriver
from hosts import Host, spec
from servers import wait_for


@dataclass
class RecordingConductor:
    """A conductor that remembers what it was told."""

    belongs: set[str] = field(default_factory=set)
    certain: bool = True
    reports: list[dict[str, Any]] = field(default_factory=list)
    changes: list[tuple[str, str | None]] = field(default_factory=list)
    beats: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def report(self, ctx: Any, **report: Any) -> None:
        self.reports.append(report)

    def power_changed(self, ctx: Any, *, host: str, server_id: str, power_state: str | None) -> None:
        self.changes.append((server_id, power_state))

    def heartbeat(self, ctx: Any, **beat: Any) -> dict[str, Any]:
        self.beats.append(beat)
        return {"servers": sorted(self.belongs)}

    def confirm_orphan(self, ctx: Any, *, host: str, server_id: str) -> bool:
        self.asked.append(server_id)
        return self.certain

    def outcome(self, op_id: str) -> str | None:
        return next((r["outcome"] for r in self.reports if r["op_id"] == op_id), None)

    def wait(self, op_id: str) -> dict[str, Any]:
        wait_for(f"report of {op_id}", lambda: self.outcome(op_id) is not None)
        return next(r for r in self.reports if r["op_id"] == op_id)


class SlowImages:
    """Image files of the suite, which can be made to take as long as a test wants."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.gate = threading.Event()
        self.gate.set()
        self.waiting = threading.Event()
        self.uploaded: dict[str, SnapshotFacts] = {}

    def download(self, ctx: Any, image_id: str, destination: Path, cancel: threading.Event) -> None:
        self.waiting.set()
        while not self.gate.wait(0.02):
            if cancel.is_set():
                raise Interrupted("given up")
        self.host.images.fetch(image_id, destination)

    def upload(self, ctx: Any, image_id: str, facts: SnapshotFacts) -> None:
        assert facts.path.stat().st_size == facts.size
        self.uploaded[image_id] = facts


@dataclass
class World:
    host: Host
    driver: FakeDriver
    conductor: RecordingConductor
    images: SlowImages
    manager: AgentManager

    def do(self, guest: GuestSpec, goal: Goal, op_id: str = "", **args: Any) -> str:
        op_id = op_id or str(uuid.uuid4())
        self.manager.submit(
            Context(), op_id=op_id, server_id=guest.server_id, goal=goal, spec=guest.to_document(), args=args
        )
        return op_id

    def done(self, guest: GuestSpec, goal: Goal, **args: Any) -> dict[str, Any]:
        report = self.conductor.wait(self.do(guest, goal, **args))
        assert report["outcome"] == "done", report
        return report


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    host = Host(tmp_path)
    conductor = RecordingConductor()
    images = SlowImages(host)
    assert isinstance(host.driver, FakeDriver)
    manager = AgentManager(
        host="h1", driver=host.driver, conductor=conductor, images=images, snapshots=tmp_path / "snapshots", threads=4
    )
    yield World(host, host.driver, conductor, images, manager)
    images.gate.set()
    manager.stop()
    host.close()


@pytest.fixture
def guest(world: World, guest_image: Path) -> GuestSpec:
    return spec(world.host.images.add(guest_image, "qcow2"))


def test_every_goal_is_reached_and_reported(world: World, guest: GuestSpec) -> None:
    nic = Nic(str(uuid.uuid4()), "net", "fa:16:3e:00:00:01", "tap-1")
    steps: list[tuple[Goal, dict[str, Any], PowerState | None]] = [
        (Goal.PREPARED, {}, PowerState.SHUTDOWN),
        (Goal.BUILT, {}, PowerState.RUNNING),
        (Goal.PAUSED, {}, PowerState.PAUSED),
        (Goal.UNPAUSED, {}, PowerState.RUNNING),
        (Goal.SUSPENDED, {}, PowerState.SUSPENDED),
        (Goal.RESUMED, {}, PowerState.RUNNING),
        (Goal.REBOOTED, {"kind": "soft", "timeout": 5}, PowerState.RUNNING),
        (Goal.REBOOTED, {"kind": "hard"}, PowerState.RUNNING),
        (Goal.NIC_ATTACHED, {"nic": asdict(nic)}, PowerState.RUNNING),
        (Goal.NIC_DETACHED, {"port_id": nic.port_id, "mac": nic.mac}, PowerState.RUNNING),
        (Goal.RESCUED, {"image": guest.to_document()["image"]}, PowerState.RUNNING),
        (Goal.UNRESCUED, {}, PowerState.RUNNING),
        (Goal.STOPPED, {"timeout": 5}, PowerState.SHUTDOWN),
        (Goal.RESIZED, {}, PowerState.SHUTDOWN),
        (Goal.RESIZE_REVERTED, {}, PowerState.SHUTDOWN),
        (Goal.RESIZE_CONFIRMED, {}, PowerState.SHUTDOWN),
        (Goal.RUNNING, {}, PowerState.RUNNING),
        (Goal.REBUILT, {"power": "running"}, PowerState.RUNNING),
        (Goal.REBUILT, {"power": "stopped"}, PowerState.SHUTDOWN),
        (Goal.ABSENT, {}, None),
    ]
    for goal, args, state in steps:
        assert world.done(guest, goal, **args)["power_state"] == state, goal
    assert {goal for goal, _, _ in steps} == set(Goal) - {Goal.SNAPSHOTTED}
    assert world.driver.list_guests() == {}


def test_snapshot_is_uploaded_and_leaves_no_file(world: World, guest: GuestSpec, tmp_path: Path) -> None:
    world.done(guest, Goal.BUILT)
    image_id = str(uuid.uuid4())
    report = world.done(guest, Goal.SNAPSHOTTED, image_id=image_id)
    assert report["result"]["disk_format"] == world.images.uploaded[image_id].disk_format == "qcow2"
    assert list((tmp_path / "snapshots").iterdir()) == []
    assert (tmp_path / "snapshots").stat().st_mode & 0o777 == 0o700


def test_done_operation_is_reported_again_but_not_done_again(world: World, guest: GuestSpec) -> None:
    op_id = world.do(guest, Goal.BUILT)
    world.conductor.wait(op_id)
    world.do(guest, Goal.BUILT, op_id)
    wait_for("the second report", lambda: len(world.conductor.reports) == 2)
    assert world.conductor.reports[0] == world.conductor.reports[1]
    assert world.driver.calls["prepare"] == 1


def test_operation_under_way_is_not_begun_twice(world: World, guest: GuestSpec) -> None:
    world.images.gate.clear()
    op_id = world.do(guest, Goal.BUILT)
    assert world.images.waiting.wait(60)
    world.do(guest, Goal.BUILT, op_id)
    world.images.gate.set()
    world.conductor.wait(op_id)
    wait_for("the lane to empty", lambda: not world.manager.busy(guest.server_id))
    assert world.driver.calls["prepare"] == 1
    assert len(world.conductor.reports) == 1


def test_failure_tells_what_may_help_and_can_be_tried_again(world: World, guest: GuestSpec) -> None:
    world.driver.fail_next("prepare", ImageUnavailable("the image service of 10.0.0.1 is down"))
    op_id = world.do(guest, Goal.BUILT)
    report = world.conductor.wait(op_id)
    assert report["outcome"] == "failed"
    fault = report["fault"]
    assert (fault["code"], fault["again"], fault["elsewhere"]) == ("image_unavailable", True, True)
    assert "10.0.0.1" in fault["message"] and "10.0.0.1" not in fault["public"]
    world.conductor.reports.clear()
    world.do(guest, Goal.BUILT, op_id)
    assert world.conductor.wait(op_id)["outcome"] == "done"


def test_accident_is_reported_too(world: World, guest: GuestSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    def accident(*_: Any) -> None:
        raise ZeroDivisionError("somebody's mistake")

    monkeypatch.setattr(world.driver, "prepare", accident)
    report = world.conductor.wait(world.do(guest, Goal.BUILT))
    assert report["outcome"] == "failed"
    assert report["fault"]["code"] == "internal"
    assert "mistake" not in report["fault"]["public"]


def test_delete_wins_over_a_download(world: World, guest: GuestSpec) -> None:
    world.images.gate.clear()
    building = world.do(guest, Goal.BUILT)
    assert world.images.waiting.wait(60)
    behind = world.do(guest, Goal.PAUSED)
    gone = world.do(guest, Goal.ABSENT)
    assert world.conductor.wait(gone)["outcome"] == "done"
    assert world.conductor.outcome(building) == "superseded"
    assert world.conductor.outcome(behind) == "superseded"
    assert world.driver.list_guests() == {}
    assert world.host.image_files == []


def test_delete_wins_over_a_slow_shutdown(world: World, guest: GuestSpec) -> None:
    world.done(guest, Goal.BUILT)
    object.__setattr__(world.driver.settings, "shutdown_seconds", 60.0)
    stopping = world.do(guest, Goal.STOPPED, timeout=60)
    wait_for("the shutdown to begin", lambda: world.driver.calls["stop"] == 1)
    started = time.monotonic()
    assert world.conductor.wait(world.do(guest, Goal.ABSENT))["outcome"] == "done"
    assert time.monotonic() - started < 50
    assert world.conductor.outcome(stopping) == "superseded"


def test_one_server_in_order_many_at_once(world: World, guest: GuestSpec, guest_image: Path) -> None:
    guests = [guest, *(spec(guest.image) for _ in range(3))]
    for each in guests:
        world.done(each, Goal.BUILT)
    world.driver.delays = {"pause": 1.0, "unpause": 1.0}
    started = time.monotonic()
    ops = []
    for each in guests:
        ops += [world.do(each, Goal.PAUSED), world.do(each, Goal.UNPAUSED)]
    for op_id in ops:
        assert world.conductor.wait(op_id)["outcome"] == "done"
    elapsed = time.monotonic() - started
    assert 1.9 < elapsed < 7.0, "two steps of one server take turns, four servers do not"
    assert set(world.driver.list_guests().values()) == {PowerState.RUNNING}


# -- heart -----------------------------------------------------------------------------------------------------------


def heart(world: World, grace: float = 0.0, interval: float = 0.05) -> Heart:
    return Heart(
        host="h1",
        driver=world.driver,
        manager=world.manager,
        conductor=world.conductor,
        interval=interval,
        orphan_grace=grace,
        image_age=86400,
    )


def test_heartbeat_tells_resources_and_guests(world: World, guest: GuestSpec) -> None:
    world.done(guest, Goal.BUILT)
    world.conductor.belongs = {guest.server_id}
    heart(world).beat()
    beat = world.conductor.beats[0]
    assert beat["host"] == "h1"
    assert beat["guests"] == {guest.server_id: "running"}
    assert beat["resources"]["vcpus"] == 64
    assert beat["boot_id"] and beat["version"]
    assert world.conductor.asked == []


def test_orphan_goes_after_its_grace_when_confirmed(world: World, guest: GuestSpec) -> None:
    world.done(guest, Goal.BUILT)
    patient = heart(world, grace=0.3)
    patient.beat()
    assert world.conductor.asked == [], "not before the grace is over"
    time.sleep(0.35)
    world.conductor.certain = False
    patient.beat()
    assert world.conductor.asked == [guest.server_id]
    assert world.driver.list_guests() == {guest.server_id: PowerState.RUNNING}, "not without the conductor's word"
    world.conductor.certain = True
    patient.beat()
    wait_for("the orphan's end", lambda: world.driver.list_guests() == {})


def test_guest_that_comes_to_belong_starts_its_grace_anew(world: World, guest: GuestSpec) -> None:
    world.done(guest, Goal.BUILT)
    patient = heart(world, grace=0.2)
    patient.beat()
    time.sleep(0.25)
    world.conductor.belongs = {guest.server_id}
    patient.beat()
    world.conductor.belongs = set()
    patient.beat()
    assert world.conductor.asked == []


def test_guest_that_changes_by_itself_is_told(world: World, guest: GuestSpec) -> None:
    beating = heart(world, interval=3600)
    beating.start()
    try:
        world.done(guest, Goal.BUILT)
        wait_for("an idle lane", lambda: not world.manager.busy(guest.server_id))
        world.conductor.changes.clear()
        world.driver.shut_down_inside(guest.server_id)
        wait_for("the change", lambda: (guest.server_id, "shutdown") in world.conductor.changes)
    finally:
        beating.stop()


def test_host_without_hypervisor_is_silent(world: World) -> None:
    world.driver.fail_next("host_resources", DriverError("libvirtd is away"), times=3)
    beating = heart(world)
    beating.start()
    try:
        wait_for("the first beat", lambda: len(world.conductor.beats) > 0)
        assert world.driver.calls["host_resources"] >= 4
    finally:
        beating.stop()


def test_a_heartbeat_that_is_not_taken_comes_again_soon(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that starts before its conductor listens is not missing for a whole interval."""
    answers = world.conductor.heartbeat
    lost = [oslo_messaging.MessagingTimeout("nobody listens yet")] * 2

    def heartbeat(ctx: Any, **beat: Any) -> dict[str, Any]:
        if lost:
            raise lost.pop()
        return answers(ctx, **beat)

    monkeypatch.setattr(world.conductor, "heartbeat", heartbeat)
    beating = heart(world, interval=3600)
    beating.start()
    try:
        wait_for("a heartbeat that is taken", lambda: len(world.conductor.beats) > 0)
    finally:
        beating.stop()


# -- the bus ---------------------------------------------------------------------------------------------------------


class ConductorEndpoint:
    """The conductor's side of the bus."""

    target = oslo_messaging.Target(version="1.0")

    def __init__(self, conductor: RecordingConductor) -> None:
        self._conductor = conductor

    def report(self, ctx: Any, **arguments: Any) -> None:
        self._conductor.report(ctx, **arguments)

    def power_changed(self, ctx: Any, **arguments: Any) -> None:
        self._conductor.power_changed(ctx, **arguments)

    def heartbeat(self, ctx: Any, **arguments: Any) -> dict[str, Any]:
        return self._conductor.heartbeat(ctx, **arguments)

    def confirm_orphan(self, ctx: Any, **arguments: Any) -> bool:
        return self._conductor.confirm_orphan(ctx, **arguments)


def test_agent_over_the_bus(tmp_path: Path, guest_image: Path) -> None:
    from aerie_compute.rpc import ConductorClient

    conf = config.load(config.new(options.OPTIONS), [], {(None, "transport_url"): "fake://", (None, "host"): "h1"})
    rpc = Rpc(conf)
    host = Host(tmp_path)
    host.driver.close()
    conductor = RecordingConductor()
    conducting = rpc.serve("conductor", [ConductorEndpoint(conductor)], host="c1")
    client = ConductorClient(rpc.transport, rpc.serializer)
    manager = AgentManager(
        host="h1", driver=host.driver, conductor=client, images=SlowImages(host), snapshots=tmp_path / "snapshots"
    )
    beating = Heart(
        host="h1", driver=host.driver, manager=manager, conductor=client, interval=1, orphan_grace=60, image_age=1
    )
    agent = Agent(conf, rpc, host.driver, manager, beating)
    agent.start()
    try:
        wait_for("a heartbeat", lambda: len(conductor.beats) > 0)
        agents = AgentClient(rpc.transport, rpc.serializer)
        guest = spec(host.images.add(guest_image, "qcow2"), config_drive=True, config_files={"x": b"\x00\xff"})
        ctx = Context()
        with pytest.raises(AgentRefused) as refusal:
            agents.console_log(ctx, "h1", server_id=guest.server_id, tail_bytes=10)
        assert refusal.value.code == "guest_not_found"
        agents.converge(ctx, "h1", op_id="op", server_id=guest.server_id, goal=Goal.BUILT, spec=guest.to_document())
        assert conductor.wait("op")["outcome"] == "done"
        assert "login:" in agents.console_log(ctx, "h1", server_id=guest.server_id, tail_bytes=4096)
        assert agents.vnc_endpoint(ctx, "h1", server_id=guest.server_id)["port"] > 0
        assert agents.diagnostics(ctx, "h1", server_id=guest.server_id)["state"] == "running"
        host.driver.fail_next("set_password", NotSupported("no agent in the guest"))
        with pytest.raises(AgentRefused) as refusal:
            agents.set_password(ctx, "h1", server_id=guest.server_id, user="root", password="secret")
        assert refusal.value.code == "not_supported"
        agents.set_password(ctx, "h1", server_id=guest.server_id, user="root", password="secret")
        agents.inject_nmi(ctx, "h1", server_id=guest.server_id)
    finally:
        agent.stop()
        conducting.stop()


def test_unknown_keys_of_a_newer_sender_are_ignored(guest_image: Path) -> None:
    guest = spec(ImageFacts("i", "qcow2", 1), "tap-1", config_drive=True, config_files={"a": bytes(range(256))})
    document = guest.to_document()
    document["invented_later"] = document["image"]["invented_later"] = document["nics"][0]["invented_later"] = 1
    assert GuestSpec.from_document(document) == guest
