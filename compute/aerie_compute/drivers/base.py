# SPDX-License-Identifier: Apache-2.0
"""What a hypervisor driver must do: its data shapes, its errors, and the abstract class.

Invariants every driver keeps (the conformance suite in tests/drivers/compute checks them):

* Every method may be called again after a crash in the middle of it, and ends in the same place.
* Calls for different servers may run at the same time from different threads; the caller serialises the calls for one
  server.
* A guest outlives the process that started it. A new process finds it again through ``list_guests``.
* ``destroy`` leaves nothing: no domain, no file, no socket.
* Only guests this project made are listed or touched.

Units: memory and swap in MiB (2**20 bytes), disks in GiB (2**30 bytes), times in seconds, sizes of files in bytes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from threading import Event
from typing import Any


class PowerState(StrEnum):
    """What a guest is doing, as the hypervisor sees it."""

    RUNNING = "running"
    PAUSED = "paused"
    SHUTDOWN = "shutdown"
    CRASHED = "crashed"
    SUSPENDED = "suspended"


class RebootKind(StrEnum):
    """SOFT asks the guest's operating system; HARD pulls the plug and builds the virtual machine anew."""

    SOFT = "soft"
    HARD = "hard"


# --- errors ---------------------------------------------------------------------------------------------------------


class DriverError(Exception):
    """The driver could not do it.

    ``code`` is stable and machine readable. ``elsewhere`` says whether another host may succeed, ``again`` whether the
    same call on the same host may succeed later. ``public`` is a sentence fit for the owner of the server: no paths, no
    hosts.
    """

    code = "driver_error"
    elsewhere = True
    again = False
    public = "The hypervisor could not carry out the operation."

    def __init__(self, message: str = "", *, public: str | None = None) -> None:
        super().__init__(message or public or self.public)
        if public is not None:
            self.public = public


class GuestNotFound(DriverError):
    """No guest of that server on this host."""

    code = "guest_not_found"
    elsewhere = False
    public = "The server has no guest on its host."


class InvalidGuestState(DriverError):
    """The guest is in a state in which the verb makes no sense (pausing one that is off, say)."""

    code = "invalid_guest_state"
    elsewhere = False
    public = "The server is not in a state that allows this."


class ImageRefused(DriverError):
    """The image is hostile, broken, of another format than it claims, or bigger than the disk asked for."""

    code = "image_refused"
    elsewhere = False
    public = "The image cannot be used to boot this server."


class ImageUnavailable(DriverError):
    """The image could not be fetched, or not with the right content."""

    code = "image_unavailable"
    again = True
    public = "The image could not be fetched."


class PortNotWired(DriverError):
    """The tap device of a port does not exist on this host (yet)."""

    code = "port_not_wired"
    again = True
    public = "A network port of the server is not ready on its host."


class HostExhausted(DriverError):
    """The host is out of disk space or memory."""

    code = "host_exhausted"
    public = "The chosen host has no room left."


class HypervisorUnavailable(DriverError):
    """The hypervisor does not answer at the moment."""

    code = "hypervisor_unavailable"
    again = True
    public = "The hypervisor does not answer."


class Interrupted(DriverError):
    """The caller took back what it asked for while the driver was waiting."""

    code = "interrupted"
    elsewhere = False
    public = "The operation was given up."


class NotSupported(DriverError):
    """This driver never does that."""

    code = "not_supported"
    elsewhere = False
    public = "The hypervisor does not support this operation."


# --- shapes ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What the image service says of an image; the driver believes none of it without a look at the file.

    ``size`` is the length of the stored file in bytes, ``virtual_size`` that of the disk inside (None: not known yet).
    ``hash_algo``/``hash_value`` are hex digests over the stored file, or both empty. ``properties`` are the image's own
    (``hw_*``, ``os_*``), as strings.
    """

    image_id: str
    disk_format: str
    size: int
    virtual_size: int | None = None
    hash_algo: str = ""
    hash_value: str = ""
    min_disk_gib: int = 0
    properties: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Nic:
    """One network card. ``tap`` names a device that exists before the guest starts; ``mtu`` 0 means: leave alone."""

    port_id: str
    network_id: str
    mac: str
    tap: str
    mtu: int = 0
    model: str = "virtio"


@dataclass(frozen=True, slots=True)
class GuestSpec:
    """All a driver needs to build one guest. ``name`` is what the hypervisor calls it, unique on a host.

    ``nics`` are in the order of the guest's cards. ``root_gib`` 0 means: as big as the image. ``config_files`` is the
    content of the config drive, path (``openstack/latest/meta_data.json``) to bytes, empty when ``config_drive`` is
    false.
    """

    server_id: str
    name: str
    hostname: str
    project_id: str
    user_id: str
    flavor_name: str
    vcpus: int
    memory_mib: int
    root_gib: int
    image: ImageFacts
    ephemeral_gib: int = 0
    swap_mib: int = 0
    nics: tuple[Nic, ...] = ()
    config_drive: bool = False
    config_files: Mapping[str, bytes] = field(default_factory=dict)
    extra_specs: Mapping[str, str] = field(default_factory=dict)

    def to_document(self) -> dict[str, Any]:
        """The same as plain JSON types, for the wire. ``config_files`` become latin-1 text."""
        doc = {name: getattr(self, name) for name in self.__slots__}
        doc["image"] = {name: getattr(self.image, name) for name in self.image.__slots__}
        doc["image"]["properties"] = dict(self.image.properties)
        doc["nics"] = [asdict(nic) for nic in self.nics]
        doc["config_files"] = {path: data.decode("latin-1") for path, data in self.config_files.items()}
        doc["extra_specs"] = dict(self.extra_specs)
        return doc

    @classmethod
    def from_document(cls, doc: Mapping[str, Any]) -> GuestSpec:
        """The inverse of ``to_document``.

        Keys this release does not know are ignored, so that a newer sender can talk to it.
        """
        known = {name: doc[name] for name in cls.__slots__ if name in doc}
        image = doc["image"]
        known["image"] = ImageFacts(**{n: image[n] for n in ImageFacts.__slots__ if n in image})
        known["nics"] = tuple(Nic(**{n: nic[n] for n in Nic.__slots__ if n in nic}) for nic in doc.get("nics", ()))
        known["config_files"] = {p: text.encode("latin-1") for p, text in doc.get("config_files", {}).items()}
        return cls(**known)


def booted_at() -> int:
    """When this machine started, in seconds since the epoch."""
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith("btime "):
            return int(line.split()[1])
    return 0


@dataclass(frozen=True, slots=True)
class HostResources:
    """What the host has in all (not what is left). ``reserved_*`` is to be kept for the host itself.

    ``hypervisor_version`` is an integer like 7002018 for 7.2.18. ``cpu_info`` is plain JSON data: arch, model, vendor,
    features, topology. ``supported`` lists (arch, virt type, guest kind), best first, for example ("x86_64", "qemu",
    "hvm").
    """

    hostname: str
    hypervisor_type: str
    hypervisor_version: int
    vcpus: int
    memory_mib: int
    disk_gib: int
    disk_available_least_gib: int
    host_ip: str = ""
    reserved_vcpus: int = 0
    reserved_memory_mib: int = 0
    reserved_disk_gib: int = 0
    cpu_info: Mapping[str, Any] = field(default_factory=dict)
    supported: tuple[tuple[str, str, str], ...] = ()
    booted_at: int = 0
    """Seconds since the epoch, 0 when not known."""

    def to_document(self) -> dict[str, Any]:
        """The same as plain JSON types."""
        doc = {name: getattr(self, name) for name in self.__slots__}
        doc["cpu_info"] = dict(self.cpu_info)
        doc["supported"] = [list(row) for row in self.supported]
        return doc


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a console listens: TCP (``host``, ``port``), or a unix socket on the hypervisor (``path``)."""

    host: str = ""
    port: int = 0
    path: str = ""


@dataclass(frozen=True, slots=True)
class SnapshotFacts:
    """A finished snapshot file: its format, its length, the size of the disk inside."""

    path: Path
    disk_format: str
    size: int
    virtual_size: int


@dataclass(frozen=True, slots=True)
class LifecycleEvent:
    """A guest changed by itself or by somebody's hand; ``state`` is None when it is gone altogether."""

    server_id: str
    state: PowerState | None


FetchImage = Callable[[str, Path], None]
"""``fetch(image_id, destination)`` writes the whole image file to ``destination``, which does not exist before.
Raises ImageUnavailable; what it left at ``destination`` is then removed by the caller."""

EventHandler = Callable[[LifecycleEvent], None]


class Driver(ABC):
    """A hypervisor on this host."""

    name: str

    def __init__(self) -> None:
        self._on_event: EventHandler | None = None

    # -- host --------------------------------------------------------------------------------------------------------

    @abstractmethod
    def init_host(self) -> None:
        """Connect, choose the kind of virtualisation, make directories.

        Raises HypervisorUnavailable. Touches no guest.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of connections and threads. Guests go on running."""

    @abstractmethod
    def host_resources(self) -> HostResources:
        """What this host has. Raises HypervisorUnavailable."""

    @abstractmethod
    def list_guests(self) -> dict[str, PowerState]:
        """Every guest of ours on this host, also those that are off: server id to power state."""

    def set_event_handler(self, handler: EventHandler | None) -> None:
        """``handler`` is called from a thread of the driver at each lifecycle event; it must not block."""
        self._on_event = handler

    def emit(self, event: LifecycleEvent) -> None:
        """Hand an event to the handler, if there is one."""
        if self._on_event is not None:
            self._on_event(event)

    # -- life --------------------------------------------------------------------------------------------------------

    @abstractmethod
    def prepare(self, spec: GuestSpec, fetch_image: FetchImage) -> None:
        """Make the guest's disks and config drive. Disks that exist are kept as they are; half-made ones are made
        again.

        Raises ImageRefused, ImageUnavailable, HostExhausted.
        """

    @abstractmethod
    def start(self, spec: GuestSpec) -> None:
        """Define the guest from ``spec`` and let it run. A running or paused guest is left alone; a suspended one is
        restored.

        Raises GuestNotFound (nothing prepared), PortNotWired, HostExhausted.
        """

    @abstractmethod
    def destroy(self, server_id: str) -> None:
        """Remove the guest and everything that belongs to it. Nothing there is success."""

    # -- power -------------------------------------------------------------------------------------------------------

    @abstractmethod
    def power_state(self, server_id: str) -> PowerState:
        """Raises GuestNotFound."""

    @abstractmethod
    def stop(self, server_id: str, timeout: float, cancel: Event | None = None) -> None:
        """Ask the guest to shut down (ACPI), wait ``timeout`` seconds, then switch it off. Off already is success.

        ``timeout`` 0 switches off at once. Raises GuestNotFound, and Interrupted when ``cancel`` is set while waiting.
        """

    @abstractmethod
    def reboot(self, spec: GuestSpec, kind: RebootKind, timeout: float, cancel: Event | None = None) -> None:
        """SOFT: as ``stop`` with ``timeout`` and then ``start``; HARD: switch off and ``start`` from ``spec``.

        Raises as ``stop`` and ``start``.
        """

    @abstractmethod
    def pause(self, server_id: str) -> None:
        """Freeze a running guest in memory. Paused already is success. Raises GuestNotFound, InvalidGuestState."""

    @abstractmethod
    def unpause(self, server_id: str) -> None:
        """Let a paused guest go on. Running already is success. Raises GuestNotFound, InvalidGuestState."""

    @abstractmethod
    def suspend(self, server_id: str) -> None:
        """Write a running guest's memory to disk and stop it. Suspended already is success. Raises as ``pause``."""

    @abstractmethod
    def resume(self, spec: GuestSpec) -> None:
        """Restore a suspended guest. Running already is success. Raises as ``pause``, and PortNotWired."""

    # -- disks -------------------------------------------------------------------------------------------------------

    @abstractmethod
    def snapshot(self, server_id: str, destination: Path) -> SnapshotFacts:
        """Write the root disk, flattened, to ``destination``; a running guest goes on running.

        Raises GuestNotFound.
        """

    @abstractmethod
    def resize(self, spec: GuestSpec) -> None:
        """Bring the disks of a guest that is off to the sizes in ``spec``, keeping a copy for ``revert_resize``.

        Raises GuestNotFound, InvalidGuestState (not off), ImageRefused (a disk would shrink), HostExhausted.
        """

    @abstractmethod
    def confirm_resize(self, server_id: str) -> None:
        """Forget the copy that ``resize`` kept. None there is success."""

    @abstractmethod
    def revert_resize(self, server_id: str) -> None:
        """Bring back the disks from before ``resize``; the guest must be off.

        No copy there is success. Raises InvalidGuestState.
        """

    @abstractmethod
    def rescue(self, spec: GuestSpec, image: ImageFacts, fetch_image: FetchImage) -> None:
        """Start the guest from a disk made of ``image``, its own root disk attached second.

        Raises as ``prepare`` and ``start``.
        """

    @abstractmethod
    def unrescue(self, spec: GuestSpec) -> None:
        """Back to the guest's own root disk, started; the rescue disk goes. Raises as ``start``."""

    def forget_unused_images(self, older_than: float) -> None:  # noqa: B027 - nothing to do where nothing is kept
        """Remove images no guest stands on and nobody asked for in ``older_than`` seconds."""

    @abstractmethod
    def disk_usage(self, server_id: str) -> int:
        """Bytes on the host's disk that belong to this guest alone (0: none)."""

    # -- cards -------------------------------------------------------------------------------------------------------

    @abstractmethod
    def attach_nic(self, spec: GuestSpec, nic: Nic) -> None:
        """Plug a card in, also into a running guest. There already is success. Raises GuestNotFound, PortNotWired."""

    @abstractmethod
    def detach_nic(self, server_id: str, port_id: str, mac: str, timeout: float = 20.0) -> None:
        """Unplug a card and wait until the guest let go of it. Not there is success.

        Raises GuestNotFound, InvalidGuestState (the guest did not release the card in ``timeout`` seconds).
        """

    # -- looking in --------------------------------------------------------------------------------------------------

    @abstractmethod
    def console_log(self, server_id: str, tail_bytes: int) -> bytes:
        """The end of what the guest wrote to its serial console, across reboots. Raises GuestNotFound."""

    @abstractmethod
    def vnc_endpoint(self, server_id: str) -> Endpoint:
        """Where the guest's screen is served. Raises GuestNotFound, InvalidGuestState (it is off)."""

    @abstractmethod
    def serial_endpoint(self, server_id: str) -> Endpoint:
        """Where the guest's serial console can be reached. Raises as ``vnc_endpoint``."""

    @abstractmethod
    def diagnostics(self, server_id: str) -> dict[str, Any]:
        """Counters of a guest in the keys of the compute API's diagnostics (microversion 2.48), plain JSON types.

        Raises GuestNotFound, InvalidGuestState (it is off).
        """

    def set_password(self, server_id: str, user: str, password: str) -> None:
        """Set a password inside the guest. Raises NotSupported where there is no agent in the guest to ask."""
        raise NotSupported(f"driver {self.name} cannot set a password inside a guest")

    def inject_nmi(self, server_id: str) -> None:
        """Send a non-maskable interrupt, for a crash dump. Raises NotSupported, GuestNotFound, InvalidGuestState."""
        raise NotSupported(f"driver {self.name} cannot inject an interrupt")

    def screenshot(self, server_id: str) -> bytes:
        """The guest's screen as a PNG or PPM file. Raises NotSupported, GuestNotFound, InvalidGuestState."""
        raise NotSupported(f"driver {self.name} takes no screenshots")
