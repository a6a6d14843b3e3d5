# SPDX-License-Identifier: Apache-2.0
"""Options of the compute agent and its drivers, under the names operators of OpenStack know where those exist."""

from __future__ import annotations

from oslo_config import cfg

HOST_OPTS: list[cfg.Opt] = [
    cfg.StrOpt("my_ip", default="127.0.0.1", help="Address of this host as the API shows it."),
    cfg.StrOpt("instances_path", default="$state_path/instances", help="Where guests' disks lie."),
    cfg.IntOpt("reserved_host_cpus", default=0, min=0, help="Processors kept for the host itself."),
    cfg.IntOpt("reserved_host_memory_mb", default=512, min=0, help="MiB of memory kept for the host itself."),
    cfg.IntOpt("reserved_host_disk_mb", default=0, min=0, help="MiB of disk kept for the host itself."),
    cfg.IntOpt(
        "remove_unused_original_minimum_age_seconds",
        default=86400,
        min=0,
        help="Seconds after their last use in which unused images stay in the host's cache.",
    ),
]
AGENT_OPTS: list[cfg.Opt] = [
    cfg.StrOpt("driver", default="libvirt", choices=["libvirt", "fake"], help="Hypervisor driver of this host."),
    cfg.IntOpt("threads", default=16, min=1, help="Servers one agent works on at a time."),
    cfg.FloatOpt("report_interval", default=10.0, min=0.1, help="Seconds between two heartbeats."),
    cfg.FloatOpt("orphan_grace", default=60.0, min=0, help="Seconds after which a guest that belongs nowhere goes."),
]
LIBVIRT_OPTS: list[cfg.Opt] = [
    cfg.StrOpt("connection_uri", default="qemu:///system", help="Where libvirtd listens."),
    cfg.StrOpt(
        "virt_type",
        default="auto",
        choices=["auto", "kvm", "qemu"],
        help="auto: kvm where a probe guest really runs, else qemu (software emulation).",
    ),
    cfg.StrOpt(
        "cpu_mode",
        choices=["host-model", "host-passthrough", "maximum", "custom", "none"],
        help="CPU shown to guests (default: host-model with kvm, maximum with qemu).",
    ),
    cfg.StrOpt("cpu_model", help="Name of the CPU for cpu_mode custom."),
    cfg.StrOpt("hw_machine_type", help="Machine type of guests whose image names none (default: libvirt's)."),
]
VNC_OPTS: list[cfg.Opt] = [
    cfg.StrOpt("server_listen", default="127.0.0.1", help="Address on which guests' screens are served."),
    cfg.StrOpt("server_proxyclient_address", default="127.0.0.1", help="The same as the console proxy reaches it."),
]
SERIAL_OPTS: list[cfg.Opt] = [
    cfg.StrOpt("proxyclient_address", default="127.0.0.1", help="Address on which serial consoles are relayed."),
]
FAKE_OPTS: list[cfg.Opt] = [
    cfg.StrOpt("state_file", help="Where the fake driver keeps its guests (default: nowhere)."),
    cfg.FloatOpt("shutdown_seconds", default=0.0, min=0, help="How long a fake guest takes to shut down."),
]

OPTIONS: tuple[tuple[str | None, list[cfg.Opt]], ...] = (
    (None, HOST_OPTS),
    ("agent", AGENT_OPTS),
    ("libvirt", LIBVIRT_OPTS),
    ("vnc", VNC_OPTS),
    ("serial_console", SERIAL_OPTS),
    ("fake", FAKE_OPTS),
)
