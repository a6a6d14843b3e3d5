# SPDX-License-Identifier: Apache-2.0
"""Domain XML for libvirt: a pure function of the guest's spec and the host's facts.

Built with lxml, so nothing is ever quoted by hand.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from lxml import etree

from aerie_compute.drivers.base import GuestSpec, Nic

METADATA_NS = "urn:aerie:compute:guest:1"
ALIAS_PORT = "ua-port-"

NIC_MODELS = {"virtio", "e1000", "e1000e", "rtl8139", "ne2k_pci", "pcnet", "vmxnet3"}
DISK_BUSES = {"virtio": "vd", "scsi": "sd", "sata": "sd", "ide": "hd", "usb": "sd"}
VIDEO_MODELS = {"vga", "virtio", "cirrus", "qxl", "vmvga", "none", "bochs"}


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What of the host goes into the XML.

    ``virt_type`` is kvm or qemu, ``cpu_mode`` one of libvirt's (or ``none``), ``cpu_model`` the name for mode
    ``custom``,
    ``disk_cache`` one of QEMU's, ``vnc_listen`` an address of this host.
    """

    virt_type: str
    arch: str = "x86_64"
    machine: str = ""
    cpu_mode: str = "maximum"
    cpu_model: str = ""
    disk_cache: str = "writeback"
    vnc_listen: str = "127.0.0.1"
    tcg_cache_mib: int = 128


@dataclass(frozen=True, slots=True)
class Disk:
    """One disk of a guest, in the order in which the guest sees them."""

    path: Path
    disk_format: str
    read_only: bool = False
    boot: bool = False


def domain(spec: GuestSpec, disks: list[Disk], directory: Path, host: HostFacts) -> str:
    """The XML of one guest whose disks and sockets lie in ``directory``."""
    properties = spec.image.properties
    root = etree.Element("domain", type=host.virt_type)
    _text(root, "name", spec.name)
    _text(root, "uuid", spec.server_id)
    root.append(_metadata(spec))
    _text(root, "memory", str(spec.memory_mib), unit="MiB")
    _text(root, "vcpu", str(spec.vcpus))
    _cputune(root, spec)
    root.append(_sysinfo(spec))
    _os(root, spec, host)
    features = _sub(root, "features")
    _sub(features, "acpi")
    _sub(features, "apic")
    if host.virt_type == "qemu":
        # The translation cache would grow to a GiB for each guest.
        _text(_sub(features, "tcg"), "tb-cache", str(host.tcg_cache_mib), unit="MiB")
    if host.cpu_mode != "none":
        cpu = _sub(root, "cpu", mode=host.cpu_mode)
        if host.cpu_mode == "custom":
            _text(cpu, "model", host.cpu_model, fallback="allow")
        _sub(cpu, "topology", sockets=str(spec.vcpus), cores="1", threads="1")
    clock = _sub(root, "clock", offset="localtime" if properties.get("os_type") == "windows" else "utc")
    if host.virt_type == "kvm":
        _sub(clock, "timer", name="pit", tickpolicy="delay")
        _sub(clock, "timer", name="rtc", tickpolicy="catchup")
        _sub(clock, "timer", name="hpet", present="no")
    for what, then in (("on_poweroff", "destroy"), ("on_reboot", "restart"), ("on_crash", "destroy")):
        _text(root, what, then)

    devices = _sub(root, "devices")
    _disks(devices, disks, _choice(properties.get("hw_disk_bus"), DISK_BUSES, "virtio"), host)
    for nic in spec.nics:
        devices.append(interface(nic))
    _console(devices, directory)
    graphics = _sub(devices, "graphics", type="vnc", autoport="yes", listen=host.vnc_listen)
    _sub(graphics, "listen", type="address", address=host.vnc_listen)
    video = _sub(devices, "video")
    _sub(video, "model", type=_choice(properties.get("hw_video_model"), VIDEO_MODELS, "vga"))
    if properties.get("hw_pointer_model") == "usbtablet":
        _sub(devices, "input", type="tablet", bus="usb")
    else:
        _sub(devices, "controller", type="usb", model="none")
    rng = _sub(devices, "rng", model="virtio")
    _text(rng, "backend", "/dev/urandom", model="random")
    balloon = _sub(devices, "memballoon", model="virtio")
    _sub(balloon, "stats", period="10")
    return _serialize(root)


def interface(nic: Nic) -> etree._Element:
    """The element of one network card, whose tap device somebody else makes, plugs into its bridge and removes."""
    element = etree.Element("interface", type="ethernet")
    _sub(element, "mac", address=nic.mac)
    _sub(element, "target", dev=nic.tap, managed="no")
    _sub(element, "model", type=_choice(nic.model, NIC_MODELS, "virtio"))
    if nic.mtu:
        _sub(element, "mtu", size=str(nic.mtu))
    _sub(element, "alias", name=ALIAS_PORT + nic.port_id)
    _sub(element, "rom", enabled="no")  # no network boot: it costs seconds at each start
    return element


def interface_xml(nic: Nic) -> str:
    """``interface`` as text, for attaching to a running guest."""
    return _serialize(interface(nic))


def find_interface(domain_xml: str, port_id: str, mac: str) -> str | None:
    """The text of the card of that port (or that MAC address) in a domain's XML, or None."""
    for element in etree.fromstring(domain_xml).iterfind("devices/interface"):
        alias, address = element.find("alias"), element.find("mac")
        named = alias is not None and alias.get("name") == ALIAS_PORT + port_id
        if named or (address is not None and (address.get("address") or "").lower() == mac.lower()):
            return _serialize(element)
    return None


def graphics_port(domain_xml: str) -> int | None:
    """The TCP port of a running domain's VNC server, or None."""
    element = etree.fromstring(domain_xml).find("devices/graphics[@type='vnc']")
    port = int(element.get("port") or -1) if element is not None else -1
    return port if port > 0 else None


def mac_of_tap(domain_xml: str) -> dict[str, str]:
    """Tap device to MAC address, for each card in a domain's XML."""
    pairs = {}
    for element in etree.fromstring(domain_xml).iterfind("devices/interface"):
        target, mac = element.find("target"), element.find("mac")
        if target is not None and mac is not None:
            pairs[target.get("dev") or ""] = mac.get("address") or ""
    return pairs


def probe_domain(name: str, disk: Path, log: Path, virt_type: str) -> str:
    """A guest of a few MiB that boots ``disk`` and writes its serial line to ``log``."""
    root = etree.Element("domain", type=virt_type)
    _text(root, "name", name)
    _text(root, "memory", "16", unit="MiB")
    _text(root, "vcpu", "1")
    _text(_sub(root, "os"), "type", "hvm")
    for what in ("on_poweroff", "on_reboot", "on_crash"):
        _text(root, what, "destroy")
    devices = _sub(root, "devices")
    element = _sub(devices, "disk", type="file", device="disk")
    _sub(element, "driver", name="qemu", type="raw")
    _sub(element, "source", file=str(disk))
    _sub(element, "target", dev="hda", bus="ide")
    serial = _sub(devices, "serial", type="file")
    _sub(serial, "source", path=str(log))
    _sub(devices, "controller", type="usb", model="none")
    _sub(devices, "memballoon", model="none")
    return _serialize(root)


def backup(target_dev: str, destination: Path) -> str:
    """The XML that asks libvirt to copy one disk of a running guest, as it is now, into a new qcow2 file."""
    root = etree.Element("domainbackup", mode="push")
    disk = _sub(_sub(root, "disks"), "disk", name=target_dev, type="file", backup="yes")
    _sub(disk, "driver", type="qcow2")
    _sub(disk, "target", file=str(destination))
    return _serialize(root)


# --- parts ----------------------------------------------------------------------------------------------------------


def _metadata(spec: GuestSpec) -> etree._Element:
    """What an operator sees in ``virsh dumpxml``; the namespace is also how our domains are known from others."""
    metadata = etree.Element("metadata")
    guest = etree.SubElement(metadata, f"{{{METADATA_NS}}}guest", nsmap={"aerie": METADATA_NS})

    def add(parent: etree._Element, tag: str, text: str = "", **attributes: str) -> etree._Element:
        child = etree.SubElement(parent, f"{{{METADATA_NS}}}{tag}", attrib=attributes)
        child.text = _clean(text) or None
        return child

    add(guest, "hostname", spec.hostname)
    add(guest, "flavor", spec.flavor_name)
    add(guest, "owner", project=spec.project_id, user=spec.user_id)
    add(guest, "image", id=spec.image.image_id)
    ports = add(guest, "ports")
    for nic in spec.nics:
        add(ports, "port", id=nic.port_id, network=nic.network_id)
    return metadata


def _cputune(root: etree._Element, spec: GuestSpec) -> None:
    wanted = {key: spec.extra_specs.get(f"quota:cpu_{key}", "") for key in ("shares", "period", "quota")}
    wanted = {key: value for key, value in wanted.items() if value.lstrip("-").isdigit()}
    if wanted:
        tune = _sub(root, "cputune")
        for key, value in wanted.items():
            _text(tune, key, value)


def _sysinfo(spec: GuestSpec) -> etree._Element:
    """SMBIOS strings; cloud-init knows by the product name that it should ask an OpenStack metadata service."""
    sysinfo = etree.Element("sysinfo", type="smbios")
    system = _sub(sysinfo, "system")
    for name, value in (
        ("manufacturer", "Aerie"),
        ("product", "OpenStack Nova"),
        ("serial", spec.server_id),
        ("uuid", spec.server_id),
        ("family", "Virtual Machine"),
    ):
        _text(system, "entry", value, name=name)
    return sysinfo


def _os(root: etree._Element, spec: GuestSpec, host: HostFacts) -> None:
    machine = spec.image.properties.get("hw_machine_type") or host.machine
    uefi = spec.image.properties.get("hw_firmware_type") == "uefi"
    element = _sub(root, "os", firmware="efi") if uefi else _sub(root, "os")
    attributes = {"arch": host.arch}
    if machine.replace("-", "").replace(".", "").replace("_", "").isalnum():
        attributes["machine"] = machine
    _text(element, "type", "hvm", **attributes)
    _sub(element, "smbios", mode="sysinfo")


def _disks(devices: etree._Element, disks: list[Disk], bus: str, host: HostFacts) -> None:
    for index, disk in enumerate(disks):
        element = _sub(devices, "disk", type="file", device="disk")
        driver = _sub(element, "driver", name="qemu", type=disk.disk_format, cache=host.disk_cache)
        if not disk.read_only:
            driver.set("discard", "unmap")
        _sub(element, "source", file=str(disk.path))
        # An IDE disk cannot be read-only; the others can.
        chosen = "virtio" if disk.read_only and bus in ("ide", "sata") else bus
        _sub(element, "target", dev=DISK_BUSES[chosen] + _letter(index), bus=chosen)
        if disk.read_only:
            _sub(element, "readonly")
        if disk.boot:
            _sub(element, "boot", order="1")
    if bus == "scsi":
        _sub(devices, "controller", type="scsi", index="0", model="virtio-scsi")


def _console(devices: etree._Element, directory: Path) -> None:
    serial = _sub(devices, "serial", type="unix")
    _sub(serial, "source", mode="bind", path=str(directory / "serial.sock"))
    _sub(serial, "log", file=str(directory / "console.log"), append="on")
    _sub(serial, "target", port="0")


def _letter(index: int) -> str:
    return "abcdefghijklmnopqrstuvwxyz"[index]


def _choice(wanted: str | None, allowed: Collection[str], default: str) -> str:
    return wanted if wanted is not None and wanted in allowed else default


def _clean(text: str) -> str:
    """Without the characters that XML cannot hold."""
    return "".join(
        c for c in text if c in "\t\n" or (c >= " " and not "\ud800" <= c <= "\udfff" and c not in "\ufffe\uffff")
    )


def _sub(parent: etree._Element, tag: str, **attributes: str) -> etree._Element:
    return etree.SubElement(parent, tag, attrib=attributes)


def _text(parent: etree._Element, tag: str, text: str, **attributes: str) -> etree._Element:
    element = _sub(parent, tag, **attributes)
    element.text = text
    return element


def _serialize(root: etree._Element) -> str:
    return str(etree.tostring(root, encoding="unicode", pretty_print=True))
