# SPDX-License-Identifier: Apache-2.0
"""The libvirt driver: QEMU guests, with KVM where it really works.

Invariant: libvirt and the files in the instances directory are the only memory of this driver; a new process sees what
the old
one saw. Domains without our metadata are never listed, changed or removed.
"""

from __future__ import annotations

import logging
import os
import platform
import socket
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import libvirt
from lxml import etree

from aerie_compute.drivers import libvirt_xml as xml
from aerie_compute.drivers import qemu_img
from aerie_compute.drivers.base import (
    Driver,
    DriverError,
    Endpoint,
    FetchImage,
    GuestNotFound,
    GuestSpec,
    HostResources,
    HypervisorUnavailable,
    ImageFacts,
    Interrupted,
    InvalidGuestState,
    LifecycleEvent,
    Nic,
    PowerState,
    RebootKind,
    SnapshotFacts,
    booted_at,
)
from aerie_compute.drivers.disks import GuestDisks
from aerie_compute.drivers.libvirt_connection import Connection, translated

if TYPE_CHECKING:
    from oslo_config.cfg import ConfigOpts

LOG = logging.getLogger(__name__)
MIB = 1 << 20
POLL = 0.25
ACPI_AGAIN_SECONDS = 10.0
PROBE_SECONDS = 15.0
BACKUP_SECONDS = 3600.0

STATES = {
    libvirt.VIR_DOMAIN_RUNNING: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_PAUSED: PowerState.PAUSED,
    libvirt.VIR_DOMAIN_SHUTDOWN: PowerState.RUNNING,  # on its way out, but its process is there
    libvirt.VIR_DOMAIN_SHUTOFF: PowerState.SHUTDOWN,
    libvirt.VIR_DOMAIN_CRASHED: PowerState.CRASHED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: PowerState.RUNNING,
}
CRASHES = {libvirt.VIR_DOMAIN_SHUTOFF_CRASHED, libvirt.VIR_DOMAIN_SHUTOFF_FAILED}
UNDEFINE = (
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
)

# A boot sector: write "K" to the first serial port, then reset by a triple fault.
# mov dx, 0x3f8; mov al, 'K'; out dx, al; lidt [empty]; int3
PROBE_CODE = bytes.fromhex("baf803b04bee0f011e0f7ccc90909000000000000000")
PROBE_SECTOR = PROBE_CODE.ljust(510, b"\0") + b"\x55\xaa"


@dataclass(frozen=True, slots=True)
class Settings:
    """The driver's options, named as in ``agent/options.py``."""

    instances_path: Path
    connection_uri: str = "qemu:///system"
    virt_type: str = "auto"
    cpu_mode: str = ""
    cpu_model: str = ""
    machine_type: str = ""
    host: str = ""
    my_ip: str = "127.0.0.1"
    vnc_listen: str = "127.0.0.1"
    vnc_address: str = "127.0.0.1"
    reserved_vcpus: int = 0
    reserved_memory_mib: int = 512
    reserved_disk_gib: int = 0


class LibvirtDriver(Driver):
    """See the module, and ``Driver`` for what each method promises."""

    name = "libvirt"

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        self.disks = GuestDisks(settings.instances_path)
        self._connection = Connection(settings.connection_uri, self._lifecycle)
        self._facts: xml.HostFacts | None = None
        self._ours: dict[str, bool] = {}

    @classmethod
    def from_conf(cls, conf: ConfigOpts) -> LibvirtDriver:
        """Build from the compute service's options."""
        return cls(
            Settings(
                instances_path=Path(conf.instances_path),
                connection_uri=conf.libvirt.connection_uri,
                virt_type=conf.libvirt.virt_type,
                cpu_mode=conf.libvirt.cpu_mode or "",
                cpu_model=conf.libvirt.cpu_model or "",
                machine_type=conf.libvirt.hw_machine_type or "",
                host=conf.host,
                my_ip=conf.my_ip,
                vnc_listen=conf.vnc.server_listen,
                vnc_address=conf.vnc.server_proxyclient_address,
                reserved_vcpus=conf.reserved_host_cpus,
                reserved_memory_mib=conf.reserved_host_memory_mb,
                reserved_disk_gib=conf.reserved_host_disk_mb // 1024,
            )
        )

    # -- host --------------------------------------------------------------------------------------------------------

    @translated
    def init_host(self) -> None:
        self.disks.init()
        conn = self._connection.get()
        virt_type = self.settings.virt_type
        if virt_type == "auto":
            virt_type = "kvm" if cpu_virtualises() and self.probe("kvm") else "qemu"
        default_mode = "host-model" if virt_type == "kvm" else "maximum"
        self._facts = xml.HostFacts(
            virt_type=virt_type,
            arch=str(conn.getInfo()[0]),
            machine=self.settings.machine_type,
            cpu_mode=self.settings.cpu_mode or default_mode,
            cpu_model=self.settings.cpu_model,
            disk_cache="none" if direct_io_works(self.settings.instances_path) else "writeback",
            vnc_listen=self.settings.vnc_listen,
        )
        facts = self._facts
        LOG.info("guests run on %s, cpu mode %s, disk cache %s", virt_type, facts.cpu_mode, facts.disk_cache)

    def close(self) -> None:
        self._connection.close()

    def probe(self, virt_type: str) -> bool:
        """Does a guest of this kind really run its first instructions? A device file or a flag alone proves nothing."""
        conn = self._connection.get()
        name = f"aerie-probe-{uuid.uuid4().hex[:8]}"
        with tempfile.TemporaryDirectory(dir=self.settings.instances_path, prefix=".probe-") as work:
            Path(work).chmod(0o711)
            disk, log = Path(work, "disk"), Path(work, "serial")
            disk.write_bytes(PROBE_SECTOR.ljust(1 << 20, b"\0"))
            try:
                dom = conn.createXML(xml.probe_domain(name, disk, log, virt_type), 0)
            except libvirt.libvirtError as exc:
                LOG.info("%s does not work here: %s", virt_type, exc)
                return False
            try:
                end = time.monotonic() + PROBE_SECONDS
                while time.monotonic() < end:
                    if log.exists() and b"K" in log.read_bytes():
                        return True
                    time.sleep(POLL)
            finally:
                _ignore(dom.destroy, libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID)
        LOG.warning("%s starts a guest here, but the guest does not run", virt_type)
        return False

    @translated
    def host_resources(self) -> HostResources:
        conn = self._connection.get()
        facts = self._host()
        info = conn.getInfo()
        disk = os.statvfs(self.settings.instances_path)
        return HostResources(
            hostname=self.settings.host or socket.gethostname(),
            hypervisor_type="QEMU",
            hypervisor_version=int(conn.getVersion()),
            host_ip=self.settings.my_ip,
            vcpus=int(info[2]),
            memory_mib=_memory_mib(),
            disk_gib=disk.f_blocks * disk.f_frsize >> 30,
            disk_available_least_gib=disk.f_bavail * disk.f_frsize >> 30,
            reserved_vcpus=self.settings.reserved_vcpus,
            reserved_memory_mib=self.settings.reserved_memory_mib,
            reserved_disk_gib=self.settings.reserved_disk_gib,
            cpu_info=_cpu_info(conn.getCapabilities()),
            supported=((facts.arch, facts.virt_type, "hvm"),),
            booted_at=booted_at(),
        )

    @translated
    def list_guests(self) -> dict[str, PowerState]:
        guests = dict.fromkeys(self.disks.server_ids(), PowerState.SHUTDOWN)
        for dom in self._connection.get().listAllDomains(0):
            try:
                if self._is_ours(dom):
                    guests[dom.UUIDString()] = self._state(dom)
            except libvirt.libvirtError as exc:
                if exc.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:  # gone since the list was made
                    raise
        return guests

    # -- life --------------------------------------------------------------------------------------------------------

    def prepare(self, spec: GuestSpec, fetch_image: FetchImage) -> None:
        self.disks.prepare(spec, fetch_image)

    @translated
    def start(self, spec: GuestSpec) -> None:
        self._start(spec, rescue=False)

    def _start(self, spec: GuestSpec, *, rescue: bool) -> None:
        conn = self._connection.get()
        dom = self._find(spec.server_id)
        if dom is not None and dom.isActive():
            return
        disks = self.disks.list_(spec.server_id, rescue)
        if dom is None or not dom.hasManagedSaveImage(0):
            text = xml.domain(spec, disks, self.disks.path(spec.server_id), self._host())
            dom = conn.defineXMLFlags(text, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
            self._ours[dom.UUIDString()] = True
        try:
            dom.create()
        except libvirt.libvirtError as exc:
            if exc.get_error_code() == libvirt.VIR_ERR_OPERATION_INVALID and dom.isActive():
                return
            raise
        LOG.info("guest of server %s started", spec.server_id)

    @translated
    def destroy(self, server_id: str) -> None:
        dom = self._find(server_id)
        if dom is not None:
            self._power_off(dom)
            _ignore(lambda: dom.undefineFlags(UNDEFINE), libvirt.VIR_ERR_NO_DOMAIN)
        self.disks.destroy(server_id)

    # -- power -------------------------------------------------------------------------------------------------------

    @translated
    def power_state(self, server_id: str) -> PowerState:
        dom = self._find(server_id)
        if dom is not None:
            return self._state(dom)
        if self.disks.path(server_id).exists():
            return PowerState.SHUTDOWN
        raise GuestNotFound(f"server {server_id} has no guest here")

    @translated
    def stop(self, server_id: str, timeout: float, cancel: Event | None = None) -> None:
        if self._find(server_id) is None and self.disks.exists(server_id):
            return
        self._stop(self._need(server_id), timeout, cancel)

    def _stop(self, dom: Any, timeout: float, cancel: Event | None) -> None:
        if not dom.isActive():
            _forget_memory(dom)
            return
        if dom.state()[0] == libvirt.VIR_DOMAIN_PAUSED:
            timeout = 0  # it cannot hear us
        end = time.monotonic() + timeout
        asked = float("-inf")
        while time.monotonic() < end and dom.isActive():
            if time.monotonic() - asked > ACPI_AGAIN_SECONDS:  # a guest that is still booting misses the first one
                _ignore(lambda: dom.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN), *_NOT_RUNNING)
                asked = time.monotonic()
            _wait(POLL, cancel)
        self._power_off(dom)

    @translated
    def reboot(self, spec: GuestSpec, kind: RebootKind, timeout: float, cancel: Event | None = None) -> None:
        dom = self._find(spec.server_id)
        if dom is None and not self.disks.exists(spec.server_id):
            raise GuestNotFound(f"server {spec.server_id} has no guest here")
        if dom is not None:
            self._stop(dom, timeout if kind is RebootKind.SOFT else 0, cancel)
        self._start(spec, rescue=False)

    @translated
    def pause(self, server_id: str) -> None:
        dom = self._need(server_id)
        if self._state(dom) is not PowerState.PAUSED:
            dom.suspend()

    @translated
    def unpause(self, server_id: str) -> None:
        dom = self._need(server_id)
        if self._state(dom) is not PowerState.RUNNING:
            dom.resume()

    @translated
    def suspend(self, server_id: str) -> None:
        dom = self._need(server_id)
        if self._state(dom) is not PowerState.SUSPENDED:
            dom.managedSave(libvirt.VIR_DOMAIN_SAVE_RUNNING)

    @translated
    def resume(self, spec: GuestSpec) -> None:
        dom = self._need(spec.server_id)
        state = self._state(dom)
        if state not in (PowerState.RUNNING, PowerState.SUSPENDED):
            raise InvalidGuestState(f"server {spec.server_id} is {state}, not suspended")
        self._start(spec, rescue=False)

    def _power_off(self, dom: Any) -> None:
        _ignore(dom.destroy, *_NOT_RUNNING)

    # -- disks -------------------------------------------------------------------------------------------------------

    @translated
    def snapshot(self, server_id: str, destination: Path) -> SnapshotFacts:
        if not self.disks.exists(server_id):
            raise GuestNotFound(f"server {server_id} has no disks here")
        home = self.disks.path(server_id)
        dom = self._find(server_id)
        copy = home / "disk.copy"
        try:
            copy.unlink(missing_ok=True)
            if dom is not None and dom.isActive():
                self._backup(dom, home / "disk", copy)
                qemu_img.convert(copy, "qcow2", destination, "qcow2")
            else:
                qemu_img.convert(home / "disk", "qcow2", destination, "qcow2")
        finally:
            copy.unlink(missing_ok=True)
        virtual_size = qemu_img.qcow2_virtual_size(destination)
        return SnapshotFacts(destination, "qcow2", destination.stat().st_size, virtual_size)

    def _backup(self, dom: Any, disk: Path, copy: Path) -> None:
        """Copy a disk in use as it is at one moment, with nothing added to the guest's own chain of files."""
        tree = etree.fromstring(dom.XMLDesc(0))
        for element in tree.iterfind("devices/disk"):
            source, target = element.find("source"), element.find("target")
            if source is not None and target is not None and source.get("file") == str(disk):
                break
        else:
            raise DriverError(f"guest {dom.name()} does not use {disk}")
        _ignore(dom.abortJob, libvirt.VIR_ERR_OPERATION_INVALID)  # one left by a process that died
        dom.backupBegin(xml.backup(target.get("dev"), copy), None, 0)
        end = time.monotonic() + BACKUP_SECONDS
        while time.monotonic() < end:
            if dom.jobInfo()[0] == libvirt.VIR_DOMAIN_JOB_NONE:
                break
            time.sleep(POLL)
        else:
            _ignore(dom.abortJob, libvirt.VIR_ERR_OPERATION_INVALID)
            raise DriverError(f"copying a disk of {dom.name()} took longer than {BACKUP_SECONDS:.0f} s")
        stats = dom.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)
        if not stats.get("success", True):
            raise DriverError(f"copying a disk of {dom.name()} failed: {stats.get('errmsg', 'no reason given')}")

    @translated
    def resize(self, spec: GuestSpec) -> None:
        self._need_off(spec.server_id)
        self.disks.resize(spec)

    @translated
    def confirm_resize(self, server_id: str) -> None:
        self.disks.confirm_resize(server_id)

    @translated
    def revert_resize(self, server_id: str) -> None:
        self._need_off(server_id)
        self.disks.revert_resize(server_id)

    @translated
    def rescue(self, spec: GuestSpec, image: ImageFacts, fetch_image: FetchImage) -> None:
        dom = self._find(spec.server_id)
        home = self.disks.path(spec.server_id)
        if dom is not None and dom.isActive():
            if str(home / "disk.rescue") in dom.XMLDesc(0):
                return
            self._power_off(dom)
        if dom is not None:
            _forget_memory(dom)
        self.disks.prepare_rescue(spec, image, fetch_image)
        self._start(spec, rescue=True)

    @translated
    def unrescue(self, spec: GuestSpec) -> None:
        dom = self._find(spec.server_id)
        if dom is not None and str(self.disks.path(spec.server_id) / "disk.rescue") in dom.XMLDesc(0):
            self._power_off(dom)
            _forget_memory(dom)
        self._start(spec, rescue=False)
        self.disks.drop_rescue(spec.server_id)

    def disk_usage(self, server_id: str) -> int:
        return self.disks.usage(server_id)

    def forget_unused_images(self, older_than: float) -> None:
        self.disks.forget_unused_images(older_than)

    # -- cards -------------------------------------------------------------------------------------------------------

    @translated
    def attach_nic(self, spec: GuestSpec, nic: Nic) -> None:
        dom = self._need(spec.server_id)
        flags = libvirt.VIR_DOMAIN_AFFECT_CONFIG | (libvirt.VIR_DOMAIN_AFFECT_LIVE if dom.isActive() else 0)
        for flag, which in ((libvirt.VIR_DOMAIN_AFFECT_CONFIG, libvirt.VIR_DOMAIN_XML_INACTIVE), (_LIVE, 0)):
            if flags & flag and xml.find_interface(dom.XMLDesc(which), nic.port_id, nic.mac) is None:
                dom.attachDeviceFlags(xml.interface_xml(nic), flag)

    @translated
    def detach_nic(self, server_id: str, port_id: str, mac: str, timeout: float = 20.0) -> None:
        dom = self._need(server_id)
        card = xml.find_interface(dom.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE), port_id, mac)
        if card is not None:
            dom.detachDeviceFlags(card, libvirt.VIR_DOMAIN_AFFECT_CONFIG)
        end = time.monotonic() + timeout
        asked = float("-inf")
        while dom.isActive() and (card := xml.find_interface(dom.XMLDesc(0), port_id, mac)) is not None:
            if time.monotonic() > end:
                raise InvalidGuestState(
                    f"server {server_id} did not release the card of port {port_id}",
                    public="The server's operating system did not release the network card.",
                )
            if time.monotonic() - asked > timeout / 4:
                _ignore(
                    lambda text=card: dom.detachDeviceFlags(text, _LIVE),  # type: ignore[misc]
                    libvirt.VIR_ERR_DEVICE_MISSING,
                    libvirt.VIR_ERR_OPERATION_FAILED,  # "already in the process of unplug"
                )
                asked = time.monotonic()
            time.sleep(POLL)

    # -- looking in --------------------------------------------------------------------------------------------------

    @translated
    def console_log(self, server_id: str, tail_bytes: int) -> bytes:
        self._need(server_id)
        return self.disks.console_log(server_id, tail_bytes)

    @translated
    def vnc_endpoint(self, server_id: str) -> Endpoint:
        dom = self._need_on(server_id)
        port = xml.graphics_port(dom.XMLDesc(0))
        if port is None:
            raise InvalidGuestState(f"server {server_id} has no screen")
        return Endpoint(host=self.settings.vnc_address, port=port)

    @translated
    def serial_endpoint(self, server_id: str) -> Endpoint:
        self._need_on(server_id)
        return Endpoint(path=str(self.disks.path(server_id) / "serial.sock"))

    @translated
    def diagnostics(self, server_id: str) -> dict[str, Any]:
        dom = self._need_on(server_id)
        stats = self._connection.get().domainListGetStats([dom], 0, 0)[0][1]
        macs = xml.mac_of_tap(dom.XMLDesc(0))
        return {
            "state": self._state(dom).value,
            "driver": "libvirt",
            "hypervisor": self._host().virt_type,
            "hypervisor_os": platform.system().lower(),
            "uptime": int(stats.get("cpu.time", 0)) and _uptime(dom),
            "config_drive": (self.disks.path(server_id) / "disk.config").exists(),
            "num_cpus": stats.get("vcpu.current", 0),
            "num_nics": stats.get("net.count", 0),
            "num_disks": stats.get("block.count", 0),
            "memory_details": {
                "maximum": stats.get("balloon.maximum", 0) // 1024,
                "used": stats.get("balloon.current", 0) // 1024,
            },
            "cpu_details": [
                {"id": i, "time": stats.get(f"vcpu.{i}.time", 0), "utilisation": None}
                for i in range(stats.get("vcpu.current", 0))
            ],
            "disk_details": [
                {
                    "read_bytes": stats.get(f"block.{i}.rd.bytes", 0),
                    "read_requests": stats.get(f"block.{i}.rd.reqs", 0),
                    "write_bytes": stats.get(f"block.{i}.wr.bytes", 0),
                    "write_requests": stats.get(f"block.{i}.wr.reqs", 0),
                    "errors_count": 0,
                }
                for i in range(stats.get("block.count", 0))
            ],
            "nic_details": [
                {
                    "mac_address": macs.get(stats.get(f"net.{i}.name", ""), ""),
                    **{
                        f"{way}_{ours}": stats.get(f"net.{i}.{way}.{theirs}", 0)
                        for way in ("rx", "tx")
                        for ours, theirs in _NIC_COUNTERS
                    },
                    "rx_rate": None,
                    "tx_rate": None,
                }
                for i in range(stats.get("net.count", 0))
            ],
        }

    @translated
    def inject_nmi(self, server_id: str) -> None:
        self._need_on(server_id).injectNMI(0)

    @translated
    def screenshot(self, server_id: str) -> bytes:
        dom = self._need_on(server_id)
        stream = self._connection.get().newStream(0)
        dom.screenshot(stream, 0, 0)
        parts: list[bytes] = []
        stream.recvAll(lambda _stream, data, _opaque: parts.append(data), None)
        stream.finish()
        return b"".join(parts)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _host(self) -> xml.HostFacts:
        if self._facts is None:
            raise HypervisorUnavailable("the driver was not initialised")
        return self._facts

    def _find(self, server_id: str) -> Any:
        """Our domain of that server, or None."""
        try:
            dom = self._connection.get().lookupByUUIDString(server_id)
            return dom if self._is_ours(dom) else None
        except libvirt.libvirtError as exc:
            if exc.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                return None
            raise

    def _need(self, server_id: str) -> Any:
        dom = self._find(server_id)
        if dom is None:
            raise GuestNotFound(f"server {server_id} has no guest here")
        return dom

    def _need_on(self, server_id: str) -> Any:
        dom = self._need(server_id)
        if not dom.isActive():
            raise InvalidGuestState(f"server {server_id} is off")
        return dom

    def _need_off(self, server_id: str) -> None:
        dom = self._find(server_id)
        if dom is not None and dom.isActive():
            raise InvalidGuestState(f"server {server_id} is not off")

    def _is_ours(self, dom: Any) -> bool:
        server_id = dom.UUIDString()
        known = self._ours.get(server_id)
        if known is None:
            try:
                dom.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, xml.METADATA_NS, 0)
                known = True
            except libvirt.libvirtError as exc:
                if exc.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN_METADATA:
                    raise
                known = False
            self._ours[server_id] = known
        return known

    def _state(self, dom: Any) -> PowerState:
        state, reason = dom.state()
        if state == libvirt.VIR_DOMAIN_SHUTOFF:
            if dom.hasManagedSaveImage(0):
                return PowerState.SUSPENDED
            if reason in CRASHES:
                return PowerState.CRASHED
        return STATES.get(state, PowerState.SHUTDOWN)

    def _lifecycle(self, server_id: str, event: int, _detail: int) -> None:
        """From the connection's own thread: tell the handler what the guest is now, whatever the event said."""
        if not server_id:  # libvirtd is back; anything may have happened
            for guest, state in self.list_guests().items():
                self.emit(LifecycleEvent(guest, state))
            return
        if event == libvirt.VIR_DOMAIN_EVENT_UNDEFINED:
            if self._ours.pop(server_id, False):
                self.emit(LifecycleEvent(server_id, None))
            return
        if event == libvirt.VIR_DOMAIN_EVENT_DEFINED:
            return
        try:
            state = self.power_state(server_id)
        except GuestNotFound:
            return  # gone by now: its own event follows
        self.emit(LifecycleEvent(server_id, state))


_LIVE = libvirt.VIR_DOMAIN_AFFECT_LIVE
_NOT_RUNNING = (libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_NO_DOMAIN)
_NIC_COUNTERS = (("octets", "bytes"), ("packets", "pkts"), ("errors", "errs"), ("drop", "drop"))


def _ignore(call: Callable[[], Any], *codes: int) -> None:
    """Call libvirt; the given errors mean there is nothing left to do."""
    try:
        call()
    except libvirt.libvirtError as exc:
        if exc.get_error_code() not in codes:
            raise


def _forget_memory(dom: Any) -> None:
    """Drop what ``suspend`` saved."""
    if dom.hasManagedSaveImage(0):
        dom.managedSaveRemove(0)


def _wait(seconds: float, cancel: Event | None) -> None:
    if cancel is None:
        time.sleep(seconds)
    elif cancel.wait(seconds):
        raise Interrupted("given up while waiting for the guest to shut down")


def _memory_mib() -> int:
    """The kernel's own number; libvirt's sums NUMA nodes, some of which it may not see."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // MIB


def _uptime(dom: Any) -> int:
    """Seconds since the guest's process started, or 0 where the guest's process cannot be seen."""
    pid_file = Path(f"/run/libvirt/qemu/{dom.name()}.pid")
    try:
        return int(time.time() - pid_file.stat().st_mtime)
    except FileNotFoundError:
        return 0


def _cpu_info(capabilities: str) -> dict[str, Any]:
    cpu = etree.fromstring(capabilities).find("host/cpu")
    if cpu is None:
        return {}
    topology = cpu.find("topology")
    return {
        "arch": cpu.findtext("arch") or "",
        "model": cpu.findtext("model") or "",
        "vendor": cpu.findtext("vendor") or "",
        "features": sorted(element.get("name") or "" for element in cpu.iterfind("feature")),
        "topology": {
            key: int(topology.get(key) or 1) if topology is not None else 1 for key in ("sockets", "cores", "threads")
        },
    }


def cpu_virtualises() -> bool:
    """Do the processor's flags offer hardware virtualisation, and is the kernel's device there?"""
    flags = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")), "")
    return bool({"vmx", "svm"} & set(flags.split())) and os.access("/dev/kvm", os.R_OK | os.W_OK)


def direct_io_works(directory: Path) -> bool:
    """Can files in this directory be opened around the page cache?"""
    with tempfile.NamedTemporaryFile(dir=directory, prefix=".probe-") as stream:
        try:
            os.close(os.open(stream.name, os.O_RDWR | os.O_DIRECT))
        except OSError:
            return False
    return True
