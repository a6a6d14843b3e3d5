# SPDX-License-Identifier: Apache-2.0
"""What only real guests can show."""

from __future__ import annotations

import socket
import subprocess
import time
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from aerie_compute.drivers.base import HypervisorUnavailable, ImageFacts, LifecycleEvent, PortNotWired, PowerState
from hosts import LibvirtHost, spec
from servers import program, wait_for

BOOT_SECONDS = 240


@pytest.fixture
def image(libvirt_host: LibvirtHost, guest_image: Path) -> ImageFacts:
    return libvirt_host.images.add(guest_image, "qcow2")


def wait_until_booted(host: LibvirtHost, server_id: str) -> None:
    wait_for("the guest", lambda: b"up " in host.driver.console_log(server_id, 1 << 16), BOOT_SECONDS, 0.2)


def ping(host: LibvirtHost, address: str) -> bool:
    return "1 received" in host.libvirtd.inside("sh", "-c", f"ping -c 1 -W 5 {address}; true").stdout


BRIDGE = """
ip link add br-boot type bridge forward_delay 0
ip link set tap-boot master br-boot
ip address add 10.7.0.1/24 dev br-boot
ip link set br-boot up
dnsmasq --conf-file=/dev/null --interface=br-boot --bind-interfaces --dhcp-range=10.7.0.0,static --port=0 \\
    --dhcp-host=fa:16:3e:00:00:00,10.7.0.77 --dhcp-leasefile=/dev/null --pid-file --user=root
"""


def test_guest_boots_gets_its_lease_reads_its_config_drive_and_obeys_acpi(
    libvirt_host: LibvirtHost, image: ImageFacts
) -> None:
    driver = libvirt_host.driver
    libvirt_host.tap("tap-boot")
    libvirt_host.libvirtd.inside("sh", "-c", BRIDGE)
    files = {"openstack/latest/meta_data.json": b'{"uuid": "from-the-config-drive", "hostname": "web-7.example.org"}'}
    guest = spec(image, "tap-boot", config_drive=True, config_files=files, ephemeral_gib=1, swap_mib=16)
    driver.prepare(guest, libvirt_host.images.fetch)
    driver.start(guest)
    wait_until_booted(libvirt_host, guest.server_id)

    serial = socket.socket(socket.AF_UNIX)
    serial.settimeout(120)
    serial.connect(driver.serial_endpoint(guest.server_id).path)
    serial.sendall(
        b"\n\nblkid; i=0; while [ $i -lt 20 ]; do ip address | grep 10.7.0.77 && break; sleep 1; i=$((i+1)); done;"
        b" cat /sys/class/net/eth0/mtu; echo done-$((40+2))\n"
    )
    said = b""
    while b"done-42" not in said:
        said += serial.recv(4096)
    serial.close()
    text = said.decode(errors="replace")
    assert 'LABEL="config-2"' in text
    assert 'LABEL="ephemeral0"' in text
    assert 'TYPE="swap"' in text
    assert "inet 10.7.0.77/24" in text
    assert "\r\n1450\r\n" in text
    assert ping(libvirt_host, "10.7.0.77")

    assert driver.screenshot(guest.server_id).startswith((b"\x89PNG", b"P6"))
    started = time.monotonic()
    driver.stop(guest.server_id, 120)
    assert time.monotonic() - started < 110, "the guest did not hear the power button"
    assert driver.power_state(guest.server_id) is PowerState.SHUTDOWN


def test_tap_must_exist_first(libvirt_host: LibvirtHost, image: ImageFacts) -> None:
    guest = spec(image, "tap-late")
    libvirt_host.driver.prepare(guest, libvirt_host.images.fetch)
    with pytest.raises(PortNotWired):
        libvirt_host.driver.start(guest)
    libvirt_host.tap("tap-late")
    libvirt_host.driver.start(guest)
    assert libvirt_host.driver.power_state(guest.server_id) is PowerState.RUNNING
    libvirt_host.driver.destroy(guest.server_id)
    libvirt_host.libvirtd.inside("ip", "link", "show", "tap-late")  # raises when the driver had taken it away


def test_stranger_is_left_alone(libvirt_host: LibvirtHost) -> None:
    stranger = str(uuid.uuid4())
    virsh = [program("virsh"), "-c", libvirt_host.libvirtd.uri]
    xml = libvirt_host.directory / "stranger.xml"
    xml.write_text(
        f"<domain type='qemu'><name>stranger</name><uuid>{stranger}</uuid><memory unit='MiB'>16</memory>"
        "<os><type>hvm</type></os></domain>"
    )
    subprocess.run([*virsh, "define", str(xml)], check=True, capture_output=True)
    subprocess.run([*virsh, "start", "stranger"], check=True, capture_output=True)
    try:
        assert libvirt_host.driver.list_guests() == {}
        libvirt_host.driver.destroy(stranger)
        state = subprocess.run([*virsh, "domstate", "stranger"], check=True, capture_output=True, text=True)
        assert state.stdout.strip() == "running"
    finally:
        subprocess.run([*virsh, "destroy", "stranger"], check=True, capture_output=True)
        subprocess.run([*virsh, "undefine", "stranger"], check=True, capture_output=True)


def test_libvirtd_may_die_and_come_back(libvirt_host: LibvirtHost, image: ImageFacts) -> None:
    driver = libvirt_host.driver
    guest = spec(image)
    driver.prepare(guest, libvirt_host.images.fetch)
    driver.start(guest)
    events: list[LifecycleEvent] = []
    driver.set_event_handler(events.append)
    libvirt_host.libvirtd.kill_libvirtd()
    try:
        with pytest.raises(HypervisorUnavailable):
            driver.list_guests()
    finally:
        libvirt_host.libvirtd.release()
    wait_for("libvirtd", libvirt_host.libvirtd.ready)
    assert driver.list_guests() == {guest.server_id: PowerState.RUNNING}
    wait_for("an event", lambda: LifecycleEvent(guest.server_id, PowerState.RUNNING) in events)
    driver.stop(guest.server_id, 0)
    wait_for("an event", lambda: LifecycleEvent(guest.server_id, PowerState.SHUTDOWN) in events)


def test_guest_that_is_killed_has_crashed(libvirt_host: LibvirtHost, image: ImageFacts) -> None:
    driver = libvirt_host.driver
    guest = spec(image)
    driver.prepare(guest, libvirt_host.images.fetch)
    driver.start(guest)
    pids = libvirt_host.libvirtd.inside("sh", "-c", f"grep -l {guest.server_id} /proc/[0-9]*/cmdline; true").stdout
    for path in pids.split():
        pid = path.split("/")[2]
        comm = libvirt_host.libvirtd.inside("sh", "-c", f"cat /proc/{pid}/comm; true").stdout
        if "qemu" in comm:
            libvirt_host.libvirtd.inside("kill", "-9", pid)
    wait_for("the crash", lambda: driver.power_state(guest.server_id) is PowerState.CRASHED)
    driver.start(guest)
    assert driver.power_state(guest.server_id) is PowerState.RUNNING


def test_probe_tells_what_runs(libvirt_host: LibvirtHost) -> None:
    assert libvirt_host.driver.probe("qemu") is True  # type: ignore[attr-defined]
    assert libvirt_host.driver.probe("xen") is False  # type: ignore[attr-defined]


def test_unused_images_leave_the_cache(libvirt_host: LibvirtHost, image: ImageFacts, guest_image: Path) -> None:
    disks = libvirt_host.driver.disks  # type: ignore[attr-defined]
    other = libvirt_host.images.add(guest_image, "qcow2")
    used, unused = spec(image), spec(other)
    for guest in (used, unused):
        libvirt_host.driver.prepare(guest, libvirt_host.images.fetch)
    libvirt_host.driver.destroy(unused.server_id)
    assert disks.forget_unused_images(older_than=3600) == []
    assert [path.stem for path in disks.forget_unused_images(older_than=0)] == [other.image_id]
    assert [path.stem for path in libvirt_host.image_files] == [image.image_id]


def test_interrupted_work_is_cleaned_up_and_done_again(libvirt_host: LibvirtHost, image: ImageFacts) -> None:
    guest = spec(image)
    libvirt_host.driver.prepare(guest, libvirt_host.images.fetch)
    home = libvirt_host.directory / "instances" / guest.server_id
    (home / "disk").rename(home / "disk.partial")  # as if qemu-img had been killed
    trash = libvirt_host.directory / "instances" / ".trash-1"
    trash.mkdir()
    partial = libvirt_host.directory / "instances" / "_base" / ".partial-1"
    partial.touch()
    successor = libvirt_host.new_driver()
    try:
        assert not trash.exists() and not partial.exists()
        successor.prepare(guest, libvirt_host.images.fetch)
        successor.start(guest)
        assert not (home / "disk.partial").exists()
    finally:
        successor.close()


def test_guest_cannot_choose_the_format_of_its_disk(
    libvirt_host: LibvirtHost, image: ImageFacts, tmp_path: Path
) -> None:
    """A guest that writes a qcow2 header with a backing file into its raw disks gets it back as data, nothing else."""
    guest = spec(image, swap_mib=16, ephemeral_gib=1)
    driver = libvirt_host.driver
    driver.prepare(guest, libvirt_host.images.fetch)
    hostile = tmp_path / "hostile"
    subprocess.run(
        ["qemu-img", "create", "-u", "-f", "qcow2", "-F", "raw", "-b", "/etc/passwd", str(hostile), "1G"],
        check=True, capture_output=True,
    )  # fmt: skip
    home = libvirt_host.directory / "instances" / guest.server_id
    for name in ("disk.eph0", "disk.swap"):
        with (home / name).open("r+b") as stream:
            stream.write(hostile.read_bytes())
    driver.start(guest)
    dump = subprocess.run(
        [program("virsh"), "-c", libvirt_host.libvirtd.uri, "dumpxml", guest.server_id], check=True, capture_output=True
    ).stdout
    assert b"/etc/passwd" not in dump
    driver.stop(guest.server_id, 0)
    driver.resize(replace(guest, ephemeral_gib=2))
    assert (home / "disk.eph0").stat().st_size == 2 << 30
