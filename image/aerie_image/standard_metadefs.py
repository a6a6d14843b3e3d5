# SPDX-License-Identifier: Apache-2.0
"""The metadata definitions that forms of a fresh cloud offer: properties which Aerie's services understand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from oslo_db import exception as db_exception

from aerie_image import db

if TYPE_CHECKING:
    from aerie_image.container import ImageService

OWNER = "admin"


def _choice(title: str, text: str, *values: str) -> dict[str, Any]:
    return {"title": title, "description": text, "type": "string", "enum": list(values)}


def _text(title: str, text: str) -> dict[str, Any]:
    return {"title": title, "description": text, "type": "string"}


def _flag(title: str, text: str) -> dict[str, Any]:
    return {"title": title, "description": text, "type": "boolean"}


def _number(title: str, text: str, least: int = 0) -> dict[str, Any]:
    return {"title": title, "description": text, "type": "integer", "minimum": least}


# namespace -> (display name, description, {resource type: prefix}, properties)
STANDARD: dict[str, tuple[str, str, dict[str, str | None], dict[str, dict[str, Any]]]] = {
    "OS::Compute::LibvirtImage": (
        "Hardware of the guest",
        "What kind of virtual hardware a guest made of this image gets.",
        {"OS::Glance::Image": "hw_"},
        {
            "disk_bus": _choice("Disk bus", "How disks are attached.", "virtio", "scsi", "sata", "ide", "usb"),
            "cdrom_bus": _choice(
                "CD-ROM bus", "How CD-ROM drives are attached.", "sata", "scsi", "ide", "virtio", "usb"
            ),
            "vif_model": _choice("Network card", "Model of the network cards.", "virtio", "e1000", "e1000e", "rtl8139"),
            "video_model": _choice(
                "Video", "Model of the video card.", "virtio", "vga", "qxl", "cirrus", "bochs", "none"
            ),
            "machine_type": _text("Machine type", "The machine to emulate, e.g. q35."),
            "firmware_type": _choice("Firmware", "What the guest is started by.", "bios", "uefi"),
            "rng_model": _choice("Random numbers", "Gives the guest random numbers of the host.", "virtio"),
            "scsi_model": _choice("SCSI controller", "Model of the SCSI controller.", "virtio-scsi"),
            "serial_port_count": _number("Serial ports", "How many serial ports the guest has."),
            "qemu_guest_agent": _choice("Guest agent", "The guest runs the QEMU guest agent.", "yes", "no"),
        },
    ),
    "OS::Compute::VirtCPUTopology": (
        "Processor topology",
        "How the processors of a guest are arranged.",
        {"OS::Glance::Image": "hw_", "OS::Nova::Flavor": "hw:"},
        {
            "cpu_sockets": _number("Sockets", "Preferred number of sockets.", 1),
            "cpu_cores": _number("Cores", "Preferred number of cores in a socket.", 1),
            "cpu_threads": _number("Threads", "Preferred number of threads in a core.", 1),
        },
    ),
    "OS::Compute::Quota": (
        "Limits of the guest",
        "How much of its host a guest may use.",
        {"OS::Nova::Flavor": "quota:"},
        {
            "cpu_shares": _number("Processor shares", "Weight of the guest's processors against others."),
            "cpu_period": _number("Processor period", "Microseconds in which the quota is given out.", 1000),
            "cpu_quota": _number("Processor quota", "Microseconds of a period the guest may run."),
            "disk_read_bytes_sec": _number("Disk reading", "Bytes a second."),
            "disk_write_bytes_sec": _number("Disk writing", "Bytes a second."),
            "disk_total_iops_sec": _number("Disk operations", "Operations a second."),
            "vif_inbound_average": _number("Network in", "Kilobytes a second, on average."),
            "vif_outbound_average": _number("Network out", "Kilobytes a second, on average."),
        },
    ),
    "OS::OperatingSystem": (
        "Operating system",
        "What is installed in the image.",
        {"OS::Glance::Image": None},
        {
            "os_distro": _text(
                "Distribution", "Short name of the distribution, in lower case: debian, ubuntu, fedora."
            ),
            "os_version": _text("Version", "Version of the operating system as its makers name it."),
            "os_admin_user": _text("Login name", "The user who may log in first."),
            "os_require_quiesce": _flag("Quiesce", "Snapshots are refused when file systems cannot be frozen."),
        },
    ),
    "OS::Glance::CommonImageProperties": (
        "Common properties",
        "Where an image comes from and what it needs.",
        {"OS::Glance::Image": None},
        {
            "kernel_id": _text("Kernel", "Image with the kernel to start, where the guest has no boot loader."),
            "ramdisk_id": _text("Initial RAM disk", "Image with the RAM disk that belongs to the kernel."),
            "instance_uuid": _text("Server", "The server this image is a snapshot of."),
            "architecture": _choice(
                "Architecture", "The processors it runs on.", "x86_64", "aarch64", "ppc64le", "s390x"
            ),
        },
    ),
    "OS::Compute::AggregateIoOpsFilter": (
        "Busy hosts",
        "How many guests of a host may be worked on at a time.",
        {"OS::Nova::Aggregate": None},
        {"max_io_ops_per_host": _number("Operations", "Builds, resizes and snapshots at a time.", 1)},
    ),
}


def load(svc: ImageService) -> None:
    """Fill a database that has no namespace at all."""
    try:
        with svc.db.write() as conn:
            if db.metadefs.any_namespace(conn):
                return
            for name, (display_name, text, types, properties) in STANDARD.items():
                made = db.metadefs.insert(
                    conn,
                    {
                        "namespace": name,
                        "display_name": display_name,
                        "description": text,
                        "visibility": "public",
                        "protected": True,
                        "owner": OWNER,
                    },
                )
                bodies = {t: {"prefix": p} if p else {} for t, p in types.items()}
                db.metadefs.define(conn, made.id, "resource_type", bodies)
                db.metadefs.define(conn, made.id, "property", properties)
    except db_exception.DBDuplicateEntry:
        return  # another process was first
