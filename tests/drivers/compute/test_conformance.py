# SPDX-License-Identifier: Apache-2.0
"""What every compute driver promises; see aerie_compute.drivers.base."""

from __future__ import annotations

import subprocess
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from aerie_compute.drivers.base import (
    GuestNotFound,
    GuestSpec,
    ImageFacts,
    ImageRefused,
    ImageUnavailable,
    Interrupted,
    InvalidGuestState,
    LifecycleEvent,
    Nic,
    PowerState,
    RebootKind,
)
from hosts import Host, spec
from servers import wait_for

GIB = 1 << 30


def build(host: Host, guest: GuestSpec) -> None:
    for nic in guest.nics:
        host.tap(nic.tap)
    host.driver.prepare(guest, host.images.fetch)
    host.driver.start(guest)


def test_resources_are_plausible(host: Host) -> None:
    resources = host.driver.host_resources()
    assert resources.vcpus >= 1
    assert resources.memory_mib >= 256
    assert 0 <= resources.disk_available_least_gib <= resources.disk_gib
    assert resources.hypervisor_version > 0
    document = resources.to_document()
    assert document["cpu_info"]["topology"]["sockets"] >= 1
    assert document["supported"][0][2] == "hvm"


def test_life_from_nothing_to_nothing(host: Host, image: ImageFacts) -> None:
    events: list[LifecycleEvent] = []
    host.driver.set_event_handler(events.append)
    guest = spec(image, "tap-life", config_drive=True, config_files={"openstack/latest/meta_data.json": b"{}"})
    server_id = guest.server_id
    host.tap("tap-life")

    assert host.driver.list_guests() == {}
    host.driver.prepare(guest, host.images.fetch)
    host.driver.prepare(guest, host.images.fetch)
    assert host.driver.list_guests() == {server_id: PowerState.SHUTDOWN}
    host.driver.start(guest)
    host.driver.start(guest)
    assert host.driver.list_guests() == {server_id: PowerState.RUNNING}
    assert host.driver.power_state(server_id) is PowerState.RUNNING
    assert host.driver.disk_usage(server_id) > 0

    host.driver.destroy(server_id)
    host.driver.destroy(server_id)
    assert host.driver.list_guests() == {}
    assert host.driver.disk_usage(server_id) == 0
    assert host.images.fetched == [image.image_id]
    wait_for("events", lambda: LifecycleEvent(server_id, None) in events)
    assert LifecycleEvent(server_id, PowerState.RUNNING) in events


def test_power_verbs(host: Host, image: ImageFacts) -> None:
    guest = spec(image)
    server_id = guest.server_id
    build(host, guest)
    driver = host.driver

    for _ in range(2):
        driver.pause(server_id)
        assert driver.power_state(server_id) is PowerState.PAUSED
    for _ in range(2):
        driver.unpause(server_id)
        assert driver.power_state(server_id) is PowerState.RUNNING
    for _ in range(2):
        driver.suspend(server_id)
        assert driver.list_guests() == {server_id: PowerState.SUSPENDED}
    for _ in range(2):
        driver.resume(guest)
        assert driver.power_state(server_id) is PowerState.RUNNING
    driver.reboot(guest, RebootKind.HARD, 0)
    assert driver.power_state(server_id) is PowerState.RUNNING
    driver.pause(server_id)
    driver.stop(server_id, 60)  # a paused guest cannot hear; it must not take a minute
    for _ in range(2):
        driver.stop(server_id, 0)
        assert driver.power_state(server_id) is PowerState.SHUTDOWN
    driver.start(guest)
    driver.suspend(server_id)
    driver.start(guest)
    assert driver.power_state(server_id) is PowerState.RUNNING
    driver.suspend(server_id)
    driver.stop(server_id, 0)
    assert driver.power_state(server_id) is PowerState.SHUTDOWN


def test_waiting_for_a_guest_can_be_given_up(host: Host, image: ImageFacts) -> None:
    guest = spec(image)
    build(host, guest)
    cancel = threading.Event()
    threading.Timer(0.1, cancel.set).start()
    started = time.monotonic()
    with pytest.raises(Interrupted):
        host.driver.stop(guest.server_id, 60, cancel)
    assert time.monotonic() - started < 50


def test_verbs_of_a_guest_that_is_not_there(host: Host, image: ImageFacts, tmp_path: Path) -> None:
    guest = spec(image)
    server_id = guest.server_id
    driver = host.driver
    nic = Nic("p", "n", "fa:16:3e:00:00:99", "tap-none")
    verbs: list[Callable[[], object]] = [
        lambda: driver.start(guest),
        lambda: driver.power_state(server_id),
        lambda: driver.stop(server_id, 0),
        lambda: driver.reboot(guest, RebootKind.SOFT, 1),
        lambda: driver.pause(server_id),
        lambda: driver.unpause(server_id),
        lambda: driver.suspend(server_id),
        lambda: driver.resume(guest),
        lambda: driver.snapshot(server_id, tmp_path / "x"),
        lambda: driver.resize(guest),
        lambda: driver.rescue(guest, image, host.images.fetch),
        lambda: driver.unrescue(guest),
        lambda: driver.attach_nic(guest, nic),
        lambda: driver.detach_nic(server_id, nic.port_id, nic.mac),
        lambda: driver.console_log(server_id, 100),
        lambda: driver.vnc_endpoint(server_id),
        lambda: driver.serial_endpoint(server_id),
        lambda: driver.diagnostics(server_id),
        lambda: driver.inject_nmi(server_id),
    ]
    for verb in verbs:
        with pytest.raises(GuestNotFound):
            verb()
    assert driver.list_guests() == {}
    assert driver.disk_usage(server_id) == 0


def test_verbs_of_a_guest_that_is_off(host: Host, image: ImageFacts) -> None:
    guest = spec(image)
    server_id = guest.server_id
    driver = host.driver
    build(host, guest)
    driver.stop(server_id, 0)
    verbs: list[Callable[[], object]] = [
        lambda: driver.pause(server_id),
        lambda: driver.unpause(server_id),
        lambda: driver.suspend(server_id),
        lambda: driver.resume(guest),
        lambda: driver.vnc_endpoint(server_id),
        lambda: driver.serial_endpoint(server_id),
        lambda: driver.diagnostics(server_id),
        lambda: driver.inject_nmi(server_id),
    ]
    for verb in verbs:
        with pytest.raises(InvalidGuestState):
            verb()
    assert driver.power_state(server_id) is PowerState.SHUTDOWN


def test_another_process_adopts_what_runs(host: Host, image: ImageFacts) -> None:
    running, off = spec(image), spec(image)
    build(host, running)
    host.driver.prepare(off, host.images.fetch)
    successor = host.new_driver()
    try:
        assert successor.list_guests() == {
            running.server_id: PowerState.RUNNING,
            off.server_id: PowerState.SHUTDOWN,
        }
        successor.start(running)
        successor.start(off)
        successor.destroy(running.server_id)
        assert successor.list_guests() == {off.server_id: PowerState.RUNNING}
        successor.destroy(off.server_id)
    finally:
        successor.close()


def test_many_at_once_fetch_their_image_once(host: Host, image: ImageFacts) -> None:
    guests = [spec(image, memory_mib=64) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda guest: build(host, guest), guests))
    assert host.driver.list_guests() == {guest.server_id: PowerState.RUNNING for guest in guests}
    assert host.images.fetched == [image.image_id]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda guest: host.driver.destroy(guest.server_id), guests))
    assert host.driver.list_guests() == {}


# -- images ----------------------------------------------------------------------------------------------------------


def qemu_img(*args: object) -> None:
    subprocess.run(["qemu-img", *map(str, args)], check=True, capture_output=True)


def with_backing_file(path: Path) -> str:
    qemu_img("create", "-u", "-f", "qcow2", "-F", "raw", "-b", "/etc/passwd", path, "1M")
    return "qcow2"


def with_data_file(path: Path) -> str:
    qemu_img("create", "-f", "qcow2", "-o", f"data_file={path}.data,data_file_raw=on", path, "1M")
    return "qcow2"


def vmdk_pointing_at_a_host_file(path: Path) -> str:
    path.write_text(
        '# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="monolithicFlat"\n'
        'RW 2048 FLAT "/etc/passwd" 0\n'.ljust(65536)
    )
    return "vmdk"


def qcow2_said_to_be_raw(path: Path) -> str:
    qemu_img("create", "-f", "qcow2", path, "1M")
    return "raw"


def text_said_to_be_qcow2(path: Path) -> str:
    path.write_bytes(b"no disk at all\n" * 1000)
    return "qcow2"


def bigger_than_the_disk(path: Path) -> str:
    qemu_img("create", "-f", "qcow2", path, "3G")
    return "qcow2"


def endless(path: Path) -> str:
    qemu_img("create", "-f", "qcow2", path, "1P")
    return "qcow2"


def nothing(path: Path) -> str:
    path.touch()
    return "raw"


def unknown(path: Path) -> str:
    path.write_bytes(b"x" * 4096)
    return "ploop"


@pytest.mark.parametrize(
    "make",
    [
        with_backing_file,
        with_data_file,
        vmdk_pointing_at_a_host_file,
        qcow2_said_to_be_raw,
        text_said_to_be_qcow2,
        bigger_than_the_disk,
        endless,
        nothing,
        unknown,
    ],
)
def test_hostile_image_is_refused(host: Host, tmp_path: Path, make: Callable[[Path], str]) -> None:
    path = tmp_path / "hostile"
    disk_format = make(path)
    guest = spec(host.images.add(path, disk_format))
    with pytest.raises(ImageRefused) as refusal:
        host.driver.prepare(guest, host.images.fetch)
    assert "/" not in refusal.value.public, "users must not learn paths"
    with pytest.raises(GuestNotFound):
        host.driver.start(guest)
    host.driver.destroy(guest.server_id)
    assert host.driver.disk_usage(guest.server_id) == 0


def test_wrong_hash_is_refused_and_leaves_nothing(host: Host, image: ImageFacts) -> None:
    guest = spec(replace(image, hash_value="0" * 64))
    with pytest.raises(ImageUnavailable):
        host.driver.prepare(guest, host.images.fetch)
    assert host.image_files == []
    host.driver.prepare(replace(guest, image=image), host.images.fetch)
    assert len(host.image_files) == 1


def test_missing_image(host: Host) -> None:
    guest = spec(ImageFacts(str(uuid.uuid4()), "qcow2", 1))
    with pytest.raises(ImageUnavailable):
        host.driver.prepare(guest, host.images.fetch)
    assert host.image_files == []


def test_raw_image_stays_raw(host: Host, tmp_path: Path) -> None:
    path = tmp_path / "raw"
    with path.open("wb") as stream:
        stream.truncate(64 << 20)
    guest = spec(host.images.add(path, "raw"))
    host.driver.prepare(guest, host.images.fetch)
    host.driver.start(guest)
    assert host.driver.power_state(guest.server_id) is PowerState.RUNNING
    assert [file.suffix for file in host.image_files] == [".raw"]


# -- disks -----------------------------------------------------------------------------------------------------------


def test_snapshot_of_a_running_guest_boots_another(host: Host, image: ImageFacts, tmp_path: Path) -> None:
    guest = spec(image)
    build(host, guest)
    facts = host.driver.snapshot(guest.server_id, tmp_path / "snapshot")
    assert host.driver.power_state(guest.server_id) is PowerState.RUNNING
    assert facts.size == facts.path.stat().st_size
    assert facts.virtual_size == GIB
    copy = spec(host.images.add(facts.path, facts.disk_format))
    build(host, copy)
    assert host.driver.power_state(copy.server_id) is PowerState.RUNNING


def test_snapshot_of_a_guest_that_is_off(host: Host, image: ImageFacts, tmp_path: Path) -> None:
    guest = spec(image)
    build(host, guest)
    host.driver.stop(guest.server_id, 0)
    facts = host.driver.snapshot(guest.server_id, tmp_path / "snapshot")
    assert facts.virtual_size == GIB
    assert host.driver.power_state(guest.server_id) is PowerState.SHUTDOWN


def test_resize_confirmed_and_reverted(host: Host, image: ImageFacts, tmp_path: Path) -> None:
    guest = spec(image)
    build(host, guest)
    bigger = replace(guest, root_gib=2, memory_mib=192, swap_mib=16)
    with pytest.raises(InvalidGuestState):
        host.driver.resize(bigger)
    host.driver.stop(guest.server_id, 0)

    def root_size() -> int:
        destination = tmp_path / f"size-{uuid.uuid4()}"
        return host.driver.snapshot(guest.server_id, destination).virtual_size

    for _ in range(2):
        host.driver.resize(bigger)
    assert root_size() == 2 * GIB
    host.driver.start(bigger)
    with pytest.raises(InvalidGuestState):
        host.driver.revert_resize(guest.server_id)
    host.driver.stop(guest.server_id, 0)
    for _ in range(2):
        host.driver.revert_resize(guest.server_id)
    assert root_size() == GIB
    host.driver.start(guest)
    host.driver.stop(guest.server_id, 0)

    host.driver.resize(bigger)
    for _ in range(2):
        host.driver.confirm_resize(guest.server_id)
    host.driver.revert_resize(guest.server_id)
    assert root_size() == 2 * GIB, "what was confirmed cannot be reverted"
    with pytest.raises(ImageRefused):
        host.driver.resize(guest)
    host.driver.start(bigger)
    assert host.driver.power_state(guest.server_id) is PowerState.RUNNING


def test_rescue_and_back(host: Host, image: ImageFacts) -> None:
    guest = spec(image)
    build(host, guest)
    for _ in range(2):
        host.driver.rescue(guest, image, host.images.fetch)
        assert host.driver.power_state(guest.server_id) is PowerState.RUNNING
    for _ in range(2):
        host.driver.unrescue(guest)
        assert host.driver.power_state(guest.server_id) is PowerState.RUNNING


# -- cards and consoles ----------------------------------------------------------------------------------------------


def test_cards_come_and_go(host: Host, image: ImageFacts) -> None:
    guest = spec(image, "tap-first")
    build(host, guest)
    assert [card["mac_address"] for card in host.driver.diagnostics(guest.server_id)["nic_details"]] == [
        guest.nics[0].mac
    ]
    second = Nic(str(uuid.uuid4()), "net-2", "fa:16:3e:00:01:00", "tap-second", 1400)
    host.tap("tap-second")
    for _ in range(2):
        host.driver.attach_nic(guest, second)
    cards = host.driver.diagnostics(guest.server_id)["nic_details"]
    assert {card["mac_address"] for card in cards} == {guest.nics[0].mac, second.mac}
    host.driver.stop(guest.server_id, 0)
    for _ in range(2):
        host.driver.detach_nic(guest.server_id, second.port_id, second.mac)
    host.driver.start(guest)
    assert len(host.driver.diagnostics(guest.server_id)["nic_details"]) == 1


def test_diagnostics_have_the_keys_of_the_api(host: Host, image: ImageFacts) -> None:
    guest = spec(image, vcpus=2, config_drive=True, config_files={"a": b"b"}, swap_mib=8)
    build(host, guest)
    found = host.driver.diagnostics(guest.server_id)
    assert set(found) == {
        "state", "driver", "hypervisor", "hypervisor_os", "uptime", "config_drive", "num_cpus", "num_nics", "num_disks",
        "memory_details", "cpu_details", "disk_details", "nic_details",
    }  # fmt: skip
    assert found["state"] == "running"
    assert found["config_drive"] is True
    assert (found["num_cpus"], found["num_nics"], found["num_disks"]) == (2, 0, 3)
    assert found["memory_details"]["maximum"] == 160


def test_consoles_have_endpoints_while_the_guest_runs(host: Host, image: ImageFacts) -> None:
    guest = spec(image)
    build(host, guest)
    vnc = host.driver.vnc_endpoint(guest.server_id)
    assert vnc.port > 0 and vnc.host == "127.0.0.1"
    serial = host.driver.serial_endpoint(guest.server_id)
    assert serial.port > 0 or Path(serial.path).is_socket()


def test_console_log_has_a_tail(host: Host, image: ImageFacts) -> None:
    guest = spec(image)
    build(host, guest)
    wait_for("a line on the console", lambda: len(host.driver.console_log(guest.server_id, 4096)) > 20, 30)
    whole = host.driver.console_log(guest.server_id, 1 << 20)
    assert len(host.driver.console_log(guest.server_id, 10)) == 10
    assert whole
