# SPDX-License-Identifier: Apache-2.0
"""Hosts for the conformance suite: a driver, and what the world around it provides (images, tap devices)."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import threading
import uuid
from pathlib import Path

from aerie_compute.drivers.base import Driver, GuestSpec, ImageFacts, ImageUnavailable, Nic
from aerie_compute.drivers.fake import FakeDriver
from aerie_compute.drivers.fake import Settings as FakeSettings
from servers import Server, program, wait_for

REPOSITORY = Path(__file__).parents[3]

# Runs as process 1 of its own process, mount and network namespaces; libvirtd comes back whenever it ends.
LIBVIRT_HOST = """
set -e
cd "$1"
mkdir -p run lib log cache dev
for name in run lib log cache; do chmod 755 "$name"; done
mkdir -p /run/libvirt
mount --bind run /run/libvirt
mount --bind lib /var/lib/libvirt
mount --bind log /var/log/libvirt
mount --bind cache /var/cache/libvirt
[ -d etc ] || cp -a /etc/libvirt etc
rm -f etc/qemu/*.xml
mount --bind etc /etc/libvirt
# libvirt probes QEMU as root, but judges the result as QEMU's user: where the two see /dev/kvm differently it probes
# again and again. udev gives the device to the group kvm; a machine without udev may not have it so.
if [ -c /dev/kvm ]; then
    mount -t tmpfs -o mode=755,size=64k dev dev
    mknod dev/kvm c 10 232
    chgrp kvm dev/kvm
    chmod 660 dev/kvm
    mount --bind dev/kvm /dev/kvm
fi
ip link set lo up
virtlogd &
while :; do
    libvirtd &
    echo $! >libvirtd.pid
    wait $! || true
    while [ -e hold ]; do sleep 0.1; done
done
"""


class Libvirtd(Server):
    """A libvirtd of our own, whose guests, taps and console ports live in namespaces of their own and die with it."""

    name = "libvirt-host"

    def command(self) -> list[str]:
        program("libvirtd")
        program("virtlogd")
        unshare = [
            program("unshare"),
            "--mount",
            "--net",
            "--pid",
            "--fork",
            "--mount-proc",
            "--propagation",
            "private",
        ]
        return [*unshare, "--kill-child=KILL", "sh", "-c", LIBVIRT_HOST, "host", str(self.directory)]

    def environment(self) -> dict[str, str]:
        return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}

    @property
    def uri(self) -> str:
        return f"qemu+unix:///system?socket={self.directory / 'run' / 'libvirt-sock'}"

    def ready(self) -> bool:
        if not (self.directory / "run" / "libvirt-sock").exists():
            return False
        # The first question makes libvirtd probe QEMU, which takes seconds; no test should wait for it.
        asked = subprocess.run([program("virsh"), "-c", self.uri, "version"], capture_output=True, check=False)
        return asked.returncode == 0

    @property
    def init_pid(self) -> int:
        """Process 1 of the namespaces, as seen from outside."""
        return int(Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()[0])

    def inside(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the namespaces."""
        enter = [program("nsenter"), "-t", str(self.init_pid), "-m", "-n", "-p", "--"]
        return subprocess.run([*enter, *command], capture_output=True, text=True, check=True)

    def kill_libvirtd(self) -> None:
        """kill -9; it is not started again before ``release``. Guests go on running."""
        (self.directory / "hold").touch()
        pid = (self.directory / "libvirtd.pid").read_text().strip()
        self.inside("kill", "-9", pid)
        wait_for("the end of libvirtd", lambda: not self._lives(pid))

    def _lives(self, pid: str) -> bool:
        return "libvirtd" in self.inside("sh", "-c", f"cat /proc/{pid}/comm 2>/dev/null || true").stdout

    def release(self) -> None:
        (self.directory / "hold").unlink(missing_ok=True)


class Images:
    """Image files by id, and the function a driver fetches them with."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.fetched: list[str] = []
        self._lock = threading.Lock()
        self._files: dict[str, Path] = {}

    def add(self, path: Path, disk_format: str, **facts: object) -> ImageFacts:
        """Offer a file as an image."""
        image_id = str(uuid.uuid4())
        self._files[image_id] = path
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        values = {"size": path.stat().st_size, "hash_algo": "sha256", "hash_value": digest, **facts}
        return ImageFacts(image_id=image_id, disk_format=disk_format, **values)  # type: ignore[arg-type]

    def fetch(self, image_id: str, destination: Path) -> None:
        with self._lock:
            self.fetched.append(image_id)
        if image_id not in self._files:
            raise ImageUnavailable(f"no image {image_id}")
        shutil.copyfile(self._files[image_id], destination)


class Host:
    """A driver under test. ``real`` says whether its guests run."""

    real = False

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.images = Images(directory)
        self.driver = self.new_driver()

    def new_driver(self) -> Driver:
        """Another process's view of the same host."""
        settings = FakeSettings(
            state_file=self.directory / "state.json", image_directory=self.directory / "images", shutdown_seconds=0.5
        )
        driver = FakeDriver(settings)
        driver.init_host()
        return driver

    @property
    def image_files(self) -> list[Path]:
        """Files in the image cache, finished or not."""
        return sorted((self.directory / "images").iterdir())

    def tap(self, name: str) -> None:
        """Make a tap device."""

    def untap(self, name: str) -> None:
        """Remove a tap device."""

    def close(self) -> None:
        for server_id in self.driver.list_guests():
            self.driver.destroy(server_id)
        self.driver.close()


class LibvirtHost(Host):
    """The libvirt driver on a private libvirtd."""

    real = True

    def __init__(self, directory: Path, libvirtd: Libvirtd) -> None:
        self.libvirtd = libvirtd
        self.taps: set[str] = set()
        super().__init__(directory)

    def new_driver(self) -> Driver:
        from aerie_compute.drivers.libvirt import LibvirtDriver, Settings

        driver = LibvirtDriver(Settings(instances_path=self.directory / "instances", connection_uri=self.libvirtd.uri))
        driver.init_host()
        return driver

    @property
    def image_files(self) -> list[Path]:
        return sorted((self.directory / "instances" / "_base").iterdir())

    def tap(self, name: str) -> None:
        self.libvirtd.inside("sh", "-c", f"ip tuntap add {name} mode tap && ip link set {name} up")
        self.taps.add(name)

    def untap(self, name: str) -> None:
        self.libvirtd.inside("ip", "link", "del", name)
        self.taps.discard(name)

    def close(self) -> None:
        super().close()
        for name in sorted(self.taps):
            self.untap(name)


def spec(image: ImageFacts, *taps: str, server_id: str = "", root_gib: int = 1, **more: object) -> GuestSpec:
    """A small guest with one card for each tap."""
    server_id = server_id or str(uuid.uuid4())
    nics = tuple(
        Nic(str(uuid.uuid5(uuid.UUID(server_id), tap)), "net-1", f"fa:16:3e:00:00:{i:02x}", tap, 1450)
        for i, tap in enumerate(taps)
    )
    values: dict[str, object] = {"nics": nics, "vcpus": 1, "memory_mib": 160, **more}
    return GuestSpec(
        server_id=server_id,
        name=f"instance-{server_id[:8]}",
        hostname='web "<1>" & co',
        project_id="project-1",
        user_id="user-1",
        flavor_name="std-small-1",
        root_gib=root_gib,
        image=image,
        **values,  # type: ignore[arg-type]
    )
