# SPDX-License-Identifier: Apache-2.0
"""A hypervisor without guests: the same states, errors and events as a real one, and files only for images.

For the all-in-one cloud and for tests. Invariant: with a state file, a process that ends at any moment and comes back
finds its guests as a real hypervisor would have kept them. Tests may slow it down (``delays``) and make it fail
(``fail_next``).
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from aerie_compute.drivers.base import (
    Driver,
    DriverError,
    Endpoint,
    FetchImage,
    GuestNotFound,
    GuestSpec,
    HostResources,
    ImageFacts,
    ImageRefused,
    Interrupted,
    InvalidGuestState,
    LifecycleEvent,
    Nic,
    PowerState,
    RebootKind,
    SnapshotFacts,
    booted_at,
)
from aerie_compute.drivers.fake_console import Console
from aerie_compute.drivers.image_cache import ImageCache

if TYPE_CHECKING:
    from oslo_config.cfg import ConfigOpts

GIB = 1 << 30
RUNS = (PowerState.RUNNING, PowerState.PAUSED)


@dataclass(frozen=True, slots=True)
class Settings:
    """How big the pretended host is, and where it keeps what must outlive the process (None: nowhere)."""

    host: str = "fake"
    my_ip: str = "127.0.0.1"
    vcpus: int = 64
    memory_mib: int = 1 << 19
    disk_gib: int = 1 << 14
    state_file: Path | None = None
    image_directory: Path | None = None
    shutdown_seconds: float = 0.0


@dataclass(slots=True)
class Guest:
    """One pretended guest."""

    spec: GuestSpec
    root_gib: int
    state: PowerState = PowerState.SHUTDOWN
    defined: bool = False
    nics: dict[str, Nic] = field(default_factory=dict)
    log: str = ""
    started: float = 0.0
    kept_root_gib: int | None = None
    rescued: bool = False
    base: str = ""
    consoles: dict[str, Console] = field(default_factory=dict)
    passwords: dict[str, str] = field(default_factory=dict)

    def to_document(self) -> dict[str, Any]:
        names = ("root_gib", "state", "defined", "log", "started", "kept_root_gib", "rescued", "base")
        doc = {name: getattr(self, name) for name in names}
        return doc | {"spec": self.spec.to_document(), "nics": [dataclasses.asdict(nic) for nic in self.nics.values()]}

    @classmethod
    def from_document(cls, doc: dict[str, Any]) -> Guest:
        nics = {nic["port_id"]: Nic(**nic) for nic in doc.pop("nics")}
        spec = GuestSpec.from_document(doc.pop("spec"))
        return cls(spec=spec, nics=nics, state=PowerState(doc.pop("state")), **doc)


class FakeDriver(Driver):
    """See the module, and ``Driver`` for what each method promises."""

    name = "fake"

    def __init__(self, settings: Settings | None = None) -> None:
        super().__init__()
        self.settings = settings or Settings()
        self.delays: dict[str, float] = {}
        self.calls: Counter[str] = Counter()
        self._faults: dict[str, list[DriverError]] = {}
        self._guests: dict[str, Guest] = {}
        self._lock = threading.RLock()
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._images: ImageCache | None = None

    @classmethod
    def from_conf(cls, conf: ConfigOpts) -> FakeDriver:
        """Build from the compute service's options."""
        return cls(
            Settings(
                host=conf.host,
                my_ip=conf.my_ip,
                state_file=Path(conf.fake.state_file) if conf.fake.state_file else None,
                shutdown_seconds=conf.fake.shutdown_seconds,
            )
        )

    # -- for tests ---------------------------------------------------------------------------------------------------

    def fail_next(self, method: str, error: DriverError, times: int = 1) -> None:
        """Let the next ``times`` calls of ``method`` raise ``error`` before they do anything."""
        self._faults.setdefault(method, []).extend([error] * times)

    def crash(self, server_id: str) -> None:
        """The guest dies, as if its process had been killed."""
        with self._lock:
            self._set(self._need(server_id), PowerState.CRASHED)

    def shut_down_inside(self, server_id: str) -> None:
        """The guest's owner shuts it down from within."""
        with self._lock:
            self._set(self._need(server_id), PowerState.SHUTDOWN)

    # -- host --------------------------------------------------------------------------------------------------------

    def init_host(self) -> None:
        self._enter("init_host")
        with self._lock:
            if self.settings.image_directory is None and self._temporary is None:
                self._temporary = tempfile.TemporaryDirectory(prefix="aerie-fake-")
            self._images = ImageCache(self.settings.image_directory or Path(self._temporary.name))  # type: ignore[union-attr]
            self._images.init()
            state_file = self.settings.state_file
            if state_file is not None and state_file.exists():
                documents = json.loads(state_file.read_text())
                self._guests = {key: Guest.from_document(doc) for key, doc in documents.items()}

    def close(self) -> None:
        with self._lock:
            for guest in self._guests.values():
                self._hang_up(guest)
            if self._temporary is not None:
                self._temporary.cleanup()
                self._temporary = None

    def host_resources(self) -> HostResources:
        self._enter("host_resources")
        with self._lock:
            used = sum(guest.root_gib for guest in self._guests.values())
        settings = self.settings
        return HostResources(
            hostname=settings.host,
            hypervisor_type="fake",
            hypervisor_version=1000000,
            host_ip=settings.my_ip,
            vcpus=settings.vcpus,
            memory_mib=settings.memory_mib,
            disk_gib=settings.disk_gib,
            disk_available_least_gib=settings.disk_gib - used,
            cpu_info={
                "arch": "x86_64",
                "model": "fake",
                "vendor": "fake",
                "features": [],
                "topology": {"sockets": 1, "cores": settings.vcpus, "threads": 1},
            },
            supported=(("x86_64", "fake", "hvm"),),
            booted_at=booted_at(),
        )

    def list_guests(self) -> dict[str, PowerState]:
        self._enter("list_guests")
        with self._lock:
            return {server_id: guest.state for server_id, guest in self._guests.items()}

    # -- life --------------------------------------------------------------------------------------------------------

    def prepare(self, spec: GuestSpec, fetch_image: FetchImage) -> None:
        self._enter("prepare")
        root_gib, base = self._root(spec.image, spec.root_gib, fetch_image)
        with self._lock:
            if spec.server_id not in self._guests:
                self._guests[spec.server_id] = Guest(spec=spec, root_gib=root_gib, base=base)
                self._save()

    def _root(self, image: ImageFacts, root_gib: int, fetch_image: FetchImage) -> tuple[int, str]:
        """Size of the root disk in GiB and path of the image's file, after the same checks as on a real host."""
        if self._images is None:
            raise DriverError("the driver was not initialised")
        with self._images.use(image, fetch_image) as base:
            need = -(-base.virtual_size // GIB)
            if root_gib and base.virtual_size > root_gib * GIB:
                raise ImageRefused(public=f"The image needs a root disk of {need} GiB, more than the flavor has.")
            return root_gib or need, str(base.path)

    def start(self, spec: GuestSpec) -> None:
        self._enter("start")
        with self._lock:
            self._start(spec)

    def _start(self, spec: GuestSpec, rescue: bool = False) -> None:
        guest = self._guests.get(spec.server_id)
        if guest is None:
            raise GuestNotFound(f"server {spec.server_id} has nothing prepared here")
        if guest.state in RUNS:
            return
        if guest.state is not PowerState.SUSPENDED:
            guest.spec, guest.defined, guest.rescued = spec, True, rescue
            guest.nics = {nic.port_id: nic for nic in spec.nics}
            guest.started = time.time()
            guest.log += _boot_text(spec)
        self._set(guest, PowerState.RUNNING)

    def destroy(self, server_id: str) -> None:
        self._enter("destroy")
        with self._lock:
            guest = self._guests.pop(server_id, None)
            if guest is None:
                return
            self._hang_up(guest)
            self._save()
        self.emit(LifecycleEvent(server_id, None))

    # -- power -------------------------------------------------------------------------------------------------------

    def power_state(self, server_id: str) -> PowerState:
        self._enter("power_state")
        with self._lock:
            return self._exists(server_id).state

    def stop(self, server_id: str, timeout: float, cancel: Event | None = None) -> None:
        self._enter("stop")
        self._stop(server_id, timeout, cancel)

    def _stop(self, server_id: str, timeout: float, cancel: Event | None) -> None:
        with self._lock:
            guest = self._exists(server_id)
            patience = min(timeout, self.settings.shutdown_seconds) if guest.state is PowerState.RUNNING else 0
        if patience:
            if cancel is None:
                time.sleep(patience)
            elif cancel.wait(patience):
                raise Interrupted("given up while waiting for the guest to shut down")
        with self._lock:
            guest = self._exists(server_id)
            if guest.state is not PowerState.SHUTDOWN:
                self._set(guest, PowerState.SHUTDOWN)

    def reboot(self, spec: GuestSpec, kind: RebootKind, timeout: float, cancel: Event | None = None) -> None:
        self._enter("reboot")
        self._stop(spec.server_id, timeout if kind is RebootKind.SOFT else 0, cancel)
        with self._lock:
            self._start(spec)

    def pause(self, server_id: str) -> None:
        self._move("pause", server_id, PowerState.RUNNING, PowerState.PAUSED)

    def unpause(self, server_id: str) -> None:
        self._move("unpause", server_id, PowerState.PAUSED, PowerState.RUNNING)

    def suspend(self, server_id: str) -> None:
        self._enter("suspend")
        with self._lock:
            guest = self._need(server_id)
            if guest.state in RUNS:
                self._set(guest, PowerState.SUSPENDED)
            elif guest.state is not PowerState.SUSPENDED:
                raise InvalidGuestState(f"server {server_id} is {guest.state}")

    def resume(self, spec: GuestSpec) -> None:
        self._move("resume", spec.server_id, PowerState.SUSPENDED, PowerState.RUNNING)

    def _move(self, verb: str, server_id: str, before: PowerState, after: PowerState) -> None:
        self._enter(verb)
        with self._lock:
            guest = self._need(server_id)
            if guest.state is before:
                self._set(guest, after)
            elif guest.state is not after:
                raise InvalidGuestState(f"server {server_id} is {guest.state}, not {before}")

    # -- disks -------------------------------------------------------------------------------------------------------

    def snapshot(self, server_id: str, destination: Path) -> SnapshotFacts:
        self._enter("snapshot")
        with self._lock:
            base = Path(self._exists(server_id).base)
            virtual_size = self._exists(server_id).root_gib * GIB
        shutil.copyfile(base, destination)
        return SnapshotFacts(destination, base.suffix.lstrip("."), destination.stat().st_size, virtual_size)

    def resize(self, spec: GuestSpec) -> None:
        self._enter("resize")
        with self._lock:
            guest = self._need_off(spec.server_id)
            if guest.kept_root_gib is None:
                if 0 < spec.root_gib < guest.root_gib:
                    raise ImageRefused(public=f"A root disk of {guest.root_gib} GiB cannot become smaller.")
                guest.kept_root_gib = guest.root_gib
            guest.root_gib = spec.root_gib or guest.root_gib
            guest.spec = spec
            self._save()

    def confirm_resize(self, server_id: str) -> None:
        self._enter("confirm_resize")
        with self._lock:
            guest = self._guests.get(server_id)
            if guest is not None:
                guest.kept_root_gib = None
                self._save()

    def revert_resize(self, server_id: str) -> None:
        self._enter("revert_resize")
        with self._lock:
            guest = self._need_off(server_id)
            if guest.kept_root_gib is not None:
                guest.root_gib, guest.kept_root_gib = guest.kept_root_gib, None
                self._save()

    def rescue(self, spec: GuestSpec, image: ImageFacts, fetch_image: FetchImage) -> None:
        self._enter("rescue")
        self._root(image, 0, fetch_image)
        with self._lock:
            guest = self._exists(spec.server_id)
            if guest.rescued and guest.state in RUNS:
                return
            self._set(guest, PowerState.SHUTDOWN)
            self._start(spec, rescue=True)

    def unrescue(self, spec: GuestSpec) -> None:
        self._enter("unrescue")
        with self._lock:
            guest = self._exists(spec.server_id)
            if guest.rescued:
                self._set(guest, PowerState.SHUTDOWN)
            self._start(spec)

    def disk_usage(self, server_id: str) -> int:
        self._enter("disk_usage")
        with self._lock:
            return 4096 if server_id in self._guests else 0

    # -- cards -------------------------------------------------------------------------------------------------------

    def attach_nic(self, spec: GuestSpec, nic: Nic) -> None:
        self._enter("attach_nic")
        with self._lock:
            self._need(spec.server_id).nics[nic.port_id] = nic
            self._save()

    def detach_nic(self, server_id: str, port_id: str, mac: str, timeout: float = 20.0) -> None:
        self._enter("detach_nic")
        with self._lock:
            self._need(server_id).nics.pop(port_id, None)
            self._save()

    # -- looking in --------------------------------------------------------------------------------------------------

    def console_log(self, server_id: str, tail_bytes: int) -> bytes:
        self._enter("console_log")
        with self._lock:
            data = self._need(server_id).log.encode()
        return data[-tail_bytes:] if tail_bytes > 0 else b""

    def vnc_endpoint(self, server_id: str) -> Endpoint:
        self._enter("vnc_endpoint")
        return self._console(server_id, "vnc")

    def serial_endpoint(self, server_id: str) -> Endpoint:
        self._enter("serial_endpoint")
        return self._console(server_id, "serial")

    def _console(self, server_id: str, kind: str) -> Endpoint:
        with self._lock:
            guest = self._need_on(server_id)
            if kind not in guest.consoles:
                guest.consoles[kind] = Console(kind, guest.spec.name)
            return Endpoint(host="127.0.0.1", port=guest.consoles[kind].port)

    def diagnostics(self, server_id: str) -> dict[str, Any]:
        self._enter("diagnostics")
        with self._lock:
            guest = self._need_on(server_id)
            spec = guest.spec
            counters = ("octets", "packets", "errors", "drop", "rate")
            return {
                "state": guest.state.value,
                "driver": "libvirt",  # the API has no word for a fake one
                "hypervisor": "fake",
                "hypervisor_os": "linux",
                "uptime": int(time.time() - guest.started),
                "config_drive": spec.config_drive,
                "num_cpus": spec.vcpus,
                "num_nics": len(guest.nics),
                "num_disks": 1 + bool(spec.ephemeral_gib) + bool(spec.swap_mib) + spec.config_drive,
                "memory_details": {"maximum": spec.memory_mib, "used": spec.memory_mib // 2},
                "cpu_details": [{"id": i, "time": 0, "utilisation": None} for i in range(spec.vcpus)],
                "disk_details": [
                    dict.fromkeys(("read_bytes", "read_requests", "write_bytes", "write_requests", "errors_count"), 0)
                ],
                "nic_details": [
                    {"mac_address": nic.mac, **{f"{way}_{what}": 0 for way in ("rx", "tx") for what in counters}}
                    for nic in guest.nics.values()
                ],
            }

    def set_password(self, server_id: str, user: str, password: str) -> None:
        self._enter("set_password")
        with self._lock:
            self._need_on(server_id).passwords[user] = password

    def inject_nmi(self, server_id: str) -> None:
        self._enter("inject_nmi")
        with self._lock:
            self._need_on(server_id).log += "Uhhuh. NMI received for unknown reason 21 on CPU 0.\n"
            self._save()

    # -- inside ------------------------------------------------------------------------------------------------------

    def _enter(self, method: str) -> None:
        """Each public method begins here: counted, delayed, failed as a test wants it."""
        with self._lock:
            self.calls[method] += 1
            faults = self._faults.get(method)
            error = faults.pop(0) if faults else None
        if delay := self.delays.get(method, 0.0):
            time.sleep(delay)
        if error is not None:
            raise error

    def _exists(self, server_id: str) -> Guest:
        guest = self._guests.get(server_id)
        if guest is None:
            raise GuestNotFound(f"server {server_id} has no guest here")
        return guest

    def _need(self, server_id: str) -> Guest:
        guest = self._exists(server_id)
        if not guest.defined:
            raise GuestNotFound(f"server {server_id} has disks here, but was never started")
        return guest

    def _need_on(self, server_id: str) -> Guest:
        guest = self._need(server_id)
        if guest.state not in RUNS:
            raise InvalidGuestState(f"server {server_id} is {guest.state}")
        return guest

    def _need_off(self, server_id: str) -> Guest:
        guest = self._exists(server_id)
        if guest.state in RUNS:
            raise InvalidGuestState(f"server {server_id} is {guest.state}")
        return guest

    def _set(self, guest: Guest, state: PowerState) -> None:
        if state not in RUNS:
            self._hang_up(guest)
        guest.state = state
        self._save()
        self.emit(LifecycleEvent(guest.spec.server_id, state))

    @staticmethod
    def _hang_up(guest: Guest) -> None:
        while guest.consoles:
            guest.consoles.popitem()[1].close()

    def _save(self) -> None:
        state_file = self.settings.state_file
        if state_file is None:
            return
        documents = {server_id: guest.to_document() for server_id, guest in self._guests.items()}
        partial = state_file.with_name(state_file.name + ".partial")
        with partial.open("w") as stream:
            json.dump(documents, stream)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(state_file)


def _boot_text(spec: GuestSpec) -> str:
    lines = [
        "[    0.000000] Linux version 6.1.0-fake (builder@fake) #1 SMP PREEMPT_DYNAMIC",
        "[    0.000000] Command line: console=ttyS0",
        "[    0.000000] DMI: Aerie OpenStack Nova, BIOS fake",
        f"[    0.012000] Memory: {spec.memory_mib * 1024}K available",
        f"[    0.043000] smpboot: Allowing {spec.vcpus} CPUs, 0 hotplug CPUs",
        *(f"[    0.5{i}0000] virtio_net virtio{i} eth{i}: {nic.mac}" for i, nic in enumerate(spec.nics)),
        "[    0.900000] EXT4-fs (vda1): mounted filesystem with ordered data mode",
        f"cloud-init: instance-id {spec.server_id}, local-hostname {spec.hostname}",
        "",
        f"{spec.hostname} login: ",
    ]
    return "\n".join(lines)
