# SPDX-License-Identifier: Apache-2.0
"""Image files that want to be more than images: that lead to files of the host, lie about their format, or blow up."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

SECRET = "/etc/passwd"
MIB = 1 << 20


def qcow2(path: Path, *options: str, size: str = "1M") -> bytes:
    """A qcow2 file as qemu-img makes it."""
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *options, str(path), size], check=True)
    return path.read_bytes()


def vmdk(kind: str, extent: str) -> bytes:
    """A VMDK whose text descriptor names extents, bare or behind the header of a sparse file."""
    text = f'# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType="{kind}"\n\n{extent}\n'
    return text.encode().ljust(65536, b"\0")


def sparse(descriptor: bytes) -> bytes:
    """A VMDK with that descriptor inside."""
    header = struct.pack("<4sIIQQQQIQQQ", b"KDMV", 1, 3, 2048, 128, 1, len(descriptor) // 512, 512, 1, 1, 128)
    return header.ljust(512, b"\0") + descriptor + bytes(MIB)


def header(path: Path, offset: int, form: str, value: int) -> bytes:
    """A good qcow2 with one field of its header changed."""
    data = bytearray(qcow2(path))
    struct.pack_into(form, data, offset, value)
    return bytes(data)


def iso(rest: bytes) -> bytes:
    """The first blocks of an ISO 9660 file system, behind 32 KiB in which something else may stand."""
    descriptor = b"\x01CD001\x01" + bytes(73) + struct.pack("<I", 40) + struct.pack(">I", 40) + bytes(40)
    return rest.ljust(32768, b"\0") + (descriptor + struct.pack("<H", 2048)).ljust(2048, b"\0") + bytes(MIB)


def corpus(folder: Path) -> list[tuple[str, str, bytes]]:
    """(declared format, what is wrong with it, the file)."""
    flat = f'RW 2048 FLAT "{SECRET}" 0'
    good = qcow2(folder / "good")
    return [
        ("qcow2", "a backing file", qcow2(folder / "b1", "-u", "-F", "raw", "-b", SECRET)),
        (
            "qcow2",
            "a backing file, old style",
            qcow2(folder / "b2", "-u", "-F", "raw", "-o", "compat=0.10", "-b", SECRET),
        ),
        ("qcow2", "a backing file by protocol", qcow2(folder / "b3", "-u", "-F", "raw", "-b", "nbd://127.0.0.1:10809")),
        ("qcow2", "a backing file in JSON", qcow2(folder / "b4", "-u", "-F", "raw", "-b", 'json:{"driver":"file"}')),
        ("qcow2", "a backing file of no length", header(folder / "b5", 8, ">Q", 104)),
        ("qcow2", "a data file", qcow2(folder / "d1", "-o", f"data_file={folder}/data.raw,data_file_raw=on")),
        ("qcow2", "the flag of a data file", header(folder / "d2", 72, ">Q", 4)),
        ("qcow2", "features nobody knows", header(folder / "f", 72, ">Q", 1 << 40)),
        ("qcow2", "a version nobody knows", header(folder / "v", 4, ">I", 99)),
        ("qcow2", "only the magic", b"QFI\xfb"),
        ("raw", "a qcow2", good),
        ("raw", "a qcow2 with a backing file", qcow2(folder / "r", "-u", "-F", "raw", "-b", SECRET)),
        ("iso", "a qcow2 hidden before an ISO file system", iso(good[:32768])),
        ("iso", "zeros", bytes(1 << 16)),
        ("vmdk", "a bare descriptor of a host's file", vmdk("monolithicFlat", flat)),
        ("vmdk", "a sparse header before it", sparse(vmdk("monolithicFlat", flat))),
        ("vmdk", "several extents", sparse(vmdk("twoGbMaxExtentSparse", flat + "\n" + flat))),
        ("vmdk", "a sparse extent elsewhere", sparse(vmdk("monolithicSparse", f'RW 2048 SPARSE "{SECRET}"\n{flat}'))),
        ("vmdk", "a descriptor that claims to be endless", sparse(b"x" * (2 * MIB))),
        ("vhdx", "only the magic", b"vhdxfile" + bytes(1 << 16)),
        ("vhd", "a qcow2", good),
        ("vdi", "zeros", bytes(1 << 16)),
    ]
