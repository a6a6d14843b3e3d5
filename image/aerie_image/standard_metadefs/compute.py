# SPDX-License-Identifier: Apache-2.0
"""Standard definitions of what guests and hosts are made of: hardware, limits, placement."""

from __future__ import annotations

from aerie_image.standard_metadefs.form import (
    AGGREGATE,
    FLAVOR,
    HARDWARE,
    IMAGE,
    PLAIN,
    VOLUME,
    At,
    Standard,
    choice,
    flag,
    number,
    some_of,
    text,
)

_TRUTH, _YES = ("true", "false"), ("yes", "no")
_BUSES = ("virtio", "scsi", "sata", "ide", "usb", "fdc", "lxc", "uml", "xen")
_CARDS = ("virtio", "e1000", "e1000e", "igb", "rtl8139", "ne2k_pci", "pcnet", "netfront", "spapr-vlan", "vmxnet3")
_FEATURES = (
    "aes", "apic", "avx", "avx2", "avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl", "bmi1", "bmi2", "clflush",
    "clwb", "cmov", "cx16", "cx8", "ept", "erms", "f16c", "fma", "fpu", "fsgsbase", "ht", "hypervisor", "invpcid", "lm",
    "mmx", "movbe", "msr", "npt", "nx", "pae", "pcid", "pclmulqdq", "pdpe1gb", "popcnt", "rdrand", "rdseed", "rdtscp",
    "sha_ni", "smap", "smep", "sse", "sse2", "sse4_1", "sse4_2", "sse4a", "ssse3", "svm", "topoext", "tsc",
    "tsc_deadline_timer", "vme", "vmx", "vpid", "x2apic", "xsave", "xsavec", "xsaveopt",
)  # fmt: skip
_ARCHITECTURES = ("x86", "x86_64", "i686", "ia64", "ARMv8-A", "ARMv7-A")
_MODELS = (
    "Conroe", "Core2Duo", "Penryn", "Nehalem", "Westmere", "SandyBridge", "IvyBridge", "Haswell", "Broadwell",
    "Skylake-Client", "Skylake-Server", "Cascadelake-Server", "Icelake-Server", "SapphireRapids", "Opteron_G1",
    "Opteron_G2", "Opteron_G3", "Opteron_G4", "Opteron_G5", "EPYC", "EPYC-Rome", "EPYC-Milan", "EPYC-Genoa",
)  # fmt: skip


def _rate(title: str, unit: str) -> dict[str, object]:
    return number(title, f"{unit} at most.")


COMPUTE = (
    Standard(
        "OS::Compute::AggregateDiskFilter",
        "Disk of hosts",
        "How far the disks of an aggregate's hosts are promised beyond what they have.",
        {AGGREGATE: PLAIN},
        {
            "disk_allocation_ratio": {
                "title": "Disk ratio",
                "description": "Promised disk for each byte of real disk; 1.0 promises no more than there is.",
                "type": "number",
                "minimum": 0,
            }
        },
    ),
    Standard(
        "OS::Compute::AggregateIoOpsFilter",
        "Busy hosts",
        "How many guests of a host may be worked on at a time.",
        {AGGREGATE: PLAIN},
        {"max_io_ops_per_host": number("Operations", "Builds, resizes and snapshots at a time.", 1, default=8)},
    ),
    Standard(
        "OS::Compute::AggregateNumInstancesFilter",
        "Guests of a host",
        "How many guests each host of an aggregate may have.",
        {AGGREGATE: PLAIN},
        {"max_instances_per_host": number("Guests", "No more than so many guests.")},
    ),
    Standard(
        "OS::Compute::CPUMode",
        "Processor mode",
        "What kind of processor the guest sees.",
        {IMAGE: At("hw_"), FLAVOR: At("hw:")},
        {
            "cpu_mode": choice(
                "Mode",
                "host-passthrough shows the host's processor, host-model the nearest known one, custom a named one.",
                "none", "host-model", "host-passthrough", "custom",
            )
        },
    ),
    Standard(
        "OS::Compute::CPUPinning",
        "Processor pinning",
        "Whether guests have processors of the host for themselves.",
        HARDWARE,
        {
            "cpu_policy": choice("Policy", "dedicated: one processor of the host for each.", "shared", "dedicated"),
            "cpu_thread_policy": choice(
                "Threads",
                "Dedicated processors that are threads of one core: sought (prefer), demanded (require) or avoided "
                "(isolate).",
                "prefer", "require", "isolate",
            ),
        },
    ),
    Standard(
        "OS::Compute::GuestMemoryBacking",
        "Memory pages",
        "What the guest's memory is made of on the host.",
        HARDWARE,
        {"mem_page_size": text("Page size", "small, large, any, or a size in KiB with a unit: 2MB, 1GB.")},
    ),
    Standard(
        "OS::Compute::GuestShutdownBehavior",
        "Shutting down",
        "How long a guest is given to end by itself.",
        {IMAGE: PLAIN},
        {"os_shutdown_timeout": number("Seconds", "After so many seconds the guest is switched off.")},
    ),
    Standard(
        "OS::Compute::HostCapabilities",
        "Capabilities of hosts",
        "What the processors of a host must be and be able to do.",
        {FLAVOR: At("capabilities:"), AGGREGATE: At("aggregate_instance_extra_specs:")},
        {
            "cpu_info:vendor": choice("Maker", "Who made the processor.", "Intel", "AMD", operators=["<or>"]),
            "cpu_info:model": choice("Model", "The processor's model.", *_MODELS, operators=["<or>"]),
            "cpu_info:arch": choice("Architecture", "Its instruction set.", *_ARCHITECTURES, operators=["<or>"]),
            "cpu_info:topology:cores": number("Cores", "Cores of a socket.", 1, default=1),
            "cpu_info:topology:threads": number("Threads", "Threads of a core.", 1, default=1),
            "cpu_info:topology:sockets": number("Sockets", "Sockets of the host.", 1, default=1),
            "cpu_info:features": some_of("Features", "Flags that the processor has.", *_FEATURES),
        },
    ),
    Standard(
        "OS::Compute::Hypervisor",
        "Hypervisor",
        "What the image can run on.",
        {IMAGE: PLAIN},
        {
            "hypervisor_type": choice(
                "Hypervisor", "Guests are placed on hosts of this kind only.",
                "kvm", "qemu", "lxc", "xen", "vmware", "hyperv", "vz", "powervm", "uml", "baremetal",
            ),
            "vm_mode": choice("Interface", "The interface between guest and hypervisor.", "hvm", "xen", "uml", "exe"),
        },
    ),
    Standard(
        "OS::Compute::InstanceData",
        "Data for the guest",
        "What a guest of this image needs in order to set itself up and to be copied.",
        {IMAGE: PLAIN, VOLUME: At(target="image")},
        {
            "img_config_drive": choice("Config drive", "mandatory: each guest gets one.", "optional", "mandatory"),
            "os_require_quiesce": choice(
                "Quiesce", "yes: snapshots are refused while file systems cannot be frozen.", *_YES
            ),
        },
    ),
    Standard(
        "OS::Compute::LibvirtImage",
        "Hardware of the guest",
        "What kind of virtual hardware a guest made of this image gets.",
        {IMAGE: PLAIN},
        {
            "hw_disk_bus": choice("Disk bus", "How disks are attached.", *_BUSES),
            "hw_cdrom_bus": choice("CD-ROM bus", "How CD-ROM drives are attached.", *_BUSES),
            "hw_firmware_type": choice("Firmware", "What the guest is started by.", "bios", "uefi"),
            "hw_firmware_stateless": flag("Firmware without state", "The firmware keeps nothing over a restart."),
            "hw_machine_type": text("Machine type", "The machine to emulate, e.g. q35."),
            "hw_rng_model": text("Random numbers", "Gives the guest random numbers of the host.", default="virtio"),
            "hw_scsi_model": text("SCSI controller", "Model of the SCSI controller.", default="virtio-scsi"),
            "hw_video_model": choice(
                "Video", "Model of the video card.",
                "virtio", "vga", "qxl", "cirrus", "bochs", "gop", "vmvga", "xen", "none",
            ),
            "hw_video_ram": number("Video memory", "MiB of video memory; the flavor sets the limit."),
            "hw_vif_model": choice("Network card", "Model of the network cards.", *_CARDS),
            "hw_vif_multiqueue_enabled": choice("Several queues", "A queue for each processor of the guest.", *_TRUTH),
            "hw_pmu": choice("Performance counters", "The guest may use the processor's counters.", *_TRUTH),
            "hw_pointer_model": choice("Pointer", "Model of the pointing device.", "usbtablet"),
            "hw_qemu_guest_agent": choice("Guest agent", "The guest runs the QEMU guest agent.", *_YES),
            "img_hide_hypervisor_id": choice("Hide the hypervisor", "The guest is not told what it runs on.", *_YES),
            "os_command_line": text("Kernel arguments", "For the kernel, where it is an image of its own."),
            "os_type": choice("Kind of system", "Sets the clock and file systems of new disks.", "linux", "windows"),
        },
    ),
    Standard(
        "OS::Compute::Libvirt",
        "More hardware",
        "Virtual hardware that images and flavors can ask for.",
        {IMAGE: At("hw_"), FLAVOR: At("hw:")},
        {
            "serial_port_count": number("Serial ports", "How many serial ports the guest has."),
            "boot_menu": choice("Boot menu", "The guest waits a moment for somebody to choose a disk.", *_TRUTH),
            "mem_encryption": choice("Encrypted memory", "The host cannot read the guest's memory.", *_TRUTH),
            "mem_encryption_model": choice("Encryption", "By what.", "amd-sev", "amd-sev-es", "amd-sev-snp"),
            "virtio_packed_ring": choice("Packed rings", "The packed form of virtio queues.", *_TRUTH),
        },
    ),
    Standard(
        "OS::Compute::Quota",
        "Limits of the guest",
        "How much of its host a guest may use.",
        {FLAVOR: PLAIN},
        objects={
            "CPU Limits": (
                "Time on the host's processors.",
                {
                    "quota:cpu_shares": number("Weight", "Weight of the guest's processors against others."),
                    "quota:cpu_period": number(
                        "Period", "Microseconds in which the quota is given out.", 1000, maximum=1_000_000
                    ),
                    "quota:cpu_quota": number("Quota", "Microseconds of each period; -1: no limit.", -1),
                },
            ),
            "Disk QoS": (
                "Use of the host's disks.",
                {
                    "quota:disk_read_bytes_sec": _rate("Reading", "Bytes a second"),
                    "quota:disk_read_iops_sec": _rate("Reads", "Operations a second"),
                    "quota:disk_write_bytes_sec": _rate("Writing", "Bytes a second"),
                    "quota:disk_write_iops_sec": _rate("Writes", "Operations a second"),
                    "quota:disk_total_bytes_sec": _rate("Reading and writing", "Bytes a second"),
                    "quota:disk_total_iops_sec": _rate("Reads and writes", "Operations a second"),
                },
            ),
            "Virtual Interface QoS": (
                "Use of the host's network.",
                {
                    "quota:vif_inbound_average": _rate("In, average", "KiB a second"),
                    "quota:vif_inbound_burst": _rate("In, at once", "KiB"),
                    "quota:vif_inbound_peak": _rate("In, peak", "KiB a second"),
                    "quota:vif_outbound_average": _rate("Out, average", "KiB a second"),
                    "quota:vif_outbound_burst": _rate("Out, at once", "KiB"),
                    "quota:vif_outbound_peak": _rate("Out, peak", "KiB a second"),
                },
            ),
        },
    ),
    Standard(
        "OS::Compute::RandomNumberGenerator",
        "Random numbers",
        "How much of the host's randomness a guest may have.",
        {FLAVOR: PLAIN},
        {
            "hw_rng:allowed": flag("Allowed", "Guests of images that ask for the device get it."),
            "hw_rng:rate_bytes": number("Bytes", "Bytes in each period."),
            "hw_rng:rate_period": number("Period", "Milliseconds of a period."),
        },
    ),
    Standard(
        "OS::Compute::VirtCPUTopology",
        "Processor topology",
        "How the processors of a guest are arranged.",
        HARDWARE,
        {
            "cpu_sockets": number("Sockets", "Preferred number of sockets.", 1),
            "cpu_cores": number("Cores", "Preferred number of cores in a socket.", 1),
            "cpu_threads": number("Threads", "Preferred number of threads in a core.", 1),
            "cpu_max_sockets": number("Most sockets", "No more sockets than that.", 1),
            "cpu_max_cores": number("Most cores", "No more cores in a socket than that.", 1),
            "cpu_max_threads": number("Most threads", "No more threads in a core than that.", 1),
        },
    ),
    Standard(
        "OS::Compute::TPM",
        "Trusted platform module",
        "The emulated security chip of the guest.",
        {IMAGE: At("hw_"), FLAVOR: At("hw:")},
        {
            "tpm_model": choice("Model", "tpm-crb is of version 2.0.", "tpm-tis", "tpm-crb", default="tpm-tis"),
            "tpm_version": choice("Version", "Version of the chip's interface.", "1.2", "2.0"),
        },
    ),
    Standard(
        "OS::Compute::VTPM",
        "Hosts with security chips",
        "Guests go to hosts that can emulate the chip.",
        {IMAGE: At("traits:"), FLAVOR: At("traits:")},
        {
            f"COMPUTE_SECURITY_TPM_{version.replace('.', '_')}": choice(
                f"Version {version}", f"The host emulates version {version}.", "required", default="required"
            )
            for version in ("1.2", "2.0")
        },
    ),
    Standard(
        "OS::Compute::Watchdog",
        "Watchdog",
        "A device that notices when the guest hangs.",
        HARDWARE,
        {
            "watchdog_action": choice(
                "Action", "What is done with a guest that hangs.", "disabled", "reset", "poweroff", "pause", "none"
            )
        },
    ),
)  # fmt: skip
