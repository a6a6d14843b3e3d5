# SPDX-License-Identifier: Apache-2.0
"""What an import may do to data before it is stored: decompress it, convert it to one format.

Invariant: data of unknown origin is read by other programs only under limits of time, memory and file size, with its
format named (never guessed), and only after the inspector found it harmless.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from oslo_config import cfg

from aerie_image.db.images import Image
from aerie_image.logic import content

CHUNK = 1 << 20
CPU_SECONDS, ADDRESS_BYTES, WALL_SECONDS = 3600, 2 << 30, 3600
_MAGIC: tuple[tuple[bytes, Callable[..., Any]], ...] = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ\x00", lzma.open),
)
_QEMU_NAMES = {"vhd": "vpc"}


class PluginFailure(Exception):
    """The data cannot be prepared; the message may be shown to whoever imports."""


def run(conf: cfg.ConfigOpts, image: Image, staged: Path, made: Path) -> dict[str, str]:
    """Apply the configured plugins to `staged`. What differs from it ends in `made`; returns columns that change.

    Starting again from `staged` gives the same, whatever an earlier try left.
    """
    made.unlink(missing_ok=True)
    columns: dict[str, str] = {}
    limit = int(conf.image_size_cap)
    for name in conf.image_import_opts.image_import_plugins:
        source = made if made.exists() else staged
        target = made.with_name(made.name + ".part")
        target.unlink(missing_ok=True)
        try:
            if name == "image_decompression":
                columns |= _decompress(image, source, target, limit)
            elif name == "image_conversion":
                declared = columns.get("disk_format") or image.disk_format or "raw"
                container = columns.get("container_format") or image.container_format
                columns |= _convert(declared, container, conf.image_conversion.output_format, source, target, limit)
            else:
                raise PluginFailure(f"There is no plugin {name}.")
            if target.exists():
                os.replace(target, made)
        finally:
            target.unlink(missing_ok=True)
    return columns


def _decompress(image: Image, source: Path, target: Path, limit: int) -> dict[str, str]:
    with source.open("rb") as file:
        head = file.read(8)
    opener = next((o for magic, o in _MAGIC if head.startswith(magic)), None)
    if opener is None:
        return {}
    written = 0
    try:
        with opener(source, "rb") as packed, target.open("wb") as out:
            reader: IO[bytes] = packed
            while piece := reader.read(CHUNK):
                written += len(piece)
                if written > limit:
                    raise PluginFailure(f"Unpacked, the image is larger than the limit of {limit} bytes.")
                out.write(piece)
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as e:
        raise PluginFailure(f"The data cannot be unpacked: {e}") from e
    return {"container_format": "bare"} if image.container_format == "compressed" else {}


def _convert(
    declared: str, container: str | None, wanted: str, source: Path, target: Path, limit: int
) -> dict[str, str]:
    if declared == wanted or container != "bare":
        return {}
    virtual_size = content.inspect(str(source), declared, container, source.stat().st_size)
    if virtual_size is None or declared == "iso":
        return {}
    if virtual_size > limit:
        raise PluginFailure(f"The image has a virtual size of {virtual_size} bytes; the limit is {limit}.")
    limits = [f"--cpu={CPU_SECONDS}", f"--as={ADDRESS_BYTES}", f"--fsize={max(limit, 1)}", "--core=0"]
    tool = ["qemu-img", "convert", "-f", _QEMU_NAMES.get(declared, declared), "-O", wanted]
    quiet = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["prlimit", *limits, "--", *tool, str(source), str(target)],
            stdin=subprocess.DEVNULL, capture_output=True, timeout=WALL_SECONDS, env=quiet, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as e:
        raise PluginFailure("The conversion took too long.") from e
    if done.returncode:
        raise PluginFailure(f"The image cannot be converted from {declared} to {wanted} (exit {done.returncode}).")
    return {"disk_format": wanted}
