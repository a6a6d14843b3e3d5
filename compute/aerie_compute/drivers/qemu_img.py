# SPDX-License-Identifier: Apache-2.0
"""qemu-img, always with explicit formats and never without limits: what it opens may be hostile.

Invariant: no call here lets qemu-img guess a format.
"""

from __future__ import annotations

from pathlib import Path

from aerie_compute.drivers import programs
from aerie_compute.drivers.base import DriverError, HostExhausted

GIB = 1 << 30
ADDRESS_SPACE = 2 * GIB
QUICK_CPU_SECONDS = 30
COPY_CPU_SECONDS = 3600


def run(*args: str, cpu_seconds: int = QUICK_CPU_SECONDS) -> None:
    """Run qemu-img under limits of address space and processor time. Raises DriverError with what it said."""
    command = ["prlimit", f"--as={ADDRESS_SPACE}", f"--cpu={cpu_seconds}", "--", "qemu-img", *args]
    status, said = programs.run(f"qemu-img {args[0]}", command, cpu_seconds * 4, LC_ALL="C")
    if status == 0:
        return
    if "No space left on device" in said:
        raise HostExhausted(f"qemu-img {args[0]}: {said}")
    raise DriverError(f"qemu-img {args[0]} ended with {status}: {said}")


def create_overlay(path: Path, base: Path, base_format: str, size: int) -> None:
    """Make a qcow2 file of ``size`` bytes on top of ``base``, which is never written to."""
    run("create", "-q", "-f", "qcow2", "-F", base_format, "-b", str(base), str(path), str(size))


def convert(source: Path, source_format: str, destination: Path, destination_format: str) -> None:
    """Copy a disk, flattened, into a new file."""
    run(
        "convert", "-q", "-T", "writeback", "-t", "writeback",
        "-f", source_format, "-O", destination_format, str(source), str(destination),
        cpu_seconds=COPY_CPU_SECONDS,
    )  # fmt: skip


def grow(path: Path, disk_format: str, size: int) -> None:
    """Make a disk bigger."""
    run("resize", "-q", "-f", disk_format, str(path), str(size))


def qcow2_virtual_size(path: Path) -> int:
    """The size of the disk inside a qcow2 file that qemu-img of this host wrote, also while a guest uses it."""
    with path.open("rb") as stream:
        header = stream.read(32)
    if header[:4] != b"QFI\xfb":
        raise DriverError(f"{path} is no qcow2 file")
    return int.from_bytes(header[24:32], "big")
