# SPDX-License-Identifier: Apache-2.0
"""Images on this host: fetched once, verified, inspected, then shared read-only by the disks of all guests made from
them.

Invariants: a file appears under its final name only when it is whole, has the promised hash and was found harmless; it
never
changes afterwards; one that a guest's disk stands on is not removed.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from oslo_utils.imageutils import format_inspector

from aerie_compute.drivers import qemu_img
from aerie_compute.drivers.base import FetchImage, ImageFacts, ImageRefused, ImageUnavailable

LOG = logging.getLogger(__name__)
CHUNK = 1 << 20
PARTIAL = ".partial-"

# What an image may call itself, and what its content may then look like to the inspector.
CONTENT = {
    "raw": {"raw", "gpt"},
    "iso": {"iso", "gpt"},
    "qcow2": {"qcow2"},
    "vmdk": {"vmdk"},
    "vdi": {"vdi"},
    "vhd": {"vhd"},
    "vhdx": {"vhdx"},
}
QEMU_NAME = {"iso": "raw", "vhd": "vpc"}
KEPT_AS_IS = ("raw", "qcow2")


@dataclass(frozen=True, slots=True)
class CachedImage:
    """A base file: where, in which format (raw or qcow2), how many bytes the disk inside has."""

    path: Path
    disk_format: str
    virtual_size: int


def inspect(path: Path, facts: ImageFacts) -> int:
    """Read the whole file once: return the size of the disk inside it.

    Raises ImageUnavailable when the hash differs, ImageRefused when the content is not what ``facts`` says or could
    make the
    host read something else than this file.
    """
    accepted = CONTENT.get(facts.disk_format)
    if accepted is None:
        raise ImageRefused(public=f"Images in the format {facts.disk_format} cannot be booted here.")
    digest = hashlib.new(facts.hash_algo, usedforsecurity=False) if facts.hash_algo else None
    with path.open("rb") as stream:
        wrapper = format_inspector.InspectWrapper(stream)
        while chunk := wrapper.read(CHUNK):
            if digest is not None:
                digest.update(chunk)
        wrapper.close()
    if digest is not None and digest.hexdigest() != facts.hash_value.lower():
        raise ImageUnavailable(f"image {facts.image_id}: the {facts.hash_algo} differs from the promised one")
    found = wrapper.formats or []
    names = {str(inspector) for inspector in found}
    if not names or not names <= accepted:
        raise ImageRefused(
            f"image {facts.image_id} is said to be {facts.disk_format} but looks like {', '.join(sorted(names))}",
            public=f"The image's content is not of the format {facts.disk_format}.",
        )
    try:
        for inspector in found:
            inspector.safety_check()
        sizes = [int(inspector.virtual_size) for inspector in found]
    except (format_inspector.SafetyCheckFailed, format_inspector.ImageFormatError) as exc:
        raise ImageRefused(f"image {facts.image_id}: {exc}", public="The image's content is not safe to use.") from exc
    size = path.stat().st_size if facts.disk_format in ("raw", "iso") else max(sizes)
    if size <= 0:
        raise ImageRefused(f"image {facts.image_id} holds a disk of {size} bytes")
    return size


class ImageCache:
    """The directory of base files, and the only code that adds to it or removes from it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    def init(self) -> None:
        """Make the directory; throw away what an earlier process did not finish."""
        self.directory.mkdir(mode=0o711, parents=True, exist_ok=True)
        for partial in self.directory.glob(f"{PARTIAL}*"):
            partial.unlink(missing_ok=True)

    @contextmanager
    def use(self, facts: ImageFacts, fetch: FetchImage) -> Iterator[CachedImage]:
        """Yield the base file of an image, fetched if need be; it is not removed while the block runs.

        Raises ImageUnavailable, ImageRefused, HostExhausted.
        """
        with self._lock(facts.image_id):
            disk_format = "raw" if facts.disk_format == "iso" else facts.disk_format
            if disk_format not in KEPT_AS_IS:
                disk_format = "qcow2"
            path = self.directory / f"{facts.image_id}.{disk_format}"
            if not path.exists():
                self._fetch(path, disk_format, facts, fetch)
            os.utime(path)
            size = path.stat().st_size if disk_format == "raw" else qemu_img.qcow2_virtual_size(path)
            yield CachedImage(path, disk_format, size)

    def forget_unused(self, used: Iterable[Path], older_than: float) -> list[Path]:
        """Remove base files last used more than ``older_than`` seconds ago that are not in ``used``; return them."""
        keep = set(used)
        gone = []
        for path in self.directory.iterdir():
            if path in keep or path.name.startswith(PARTIAL):
                continue
            with self._lock(path.stem):
                if path.exists() and time.time() - path.stat().st_mtime > older_than:
                    path.unlink()
                    gone.append(path)
                    LOG.info("image %s left the cache", path.stem)
        return gone

    def _fetch(self, path: Path, disk_format: str, facts: ImageFacts, fetch: FetchImage) -> None:
        partial = self.directory / f"{PARTIAL}{uuid.uuid4().hex}"
        converted = partial.with_name(partial.name + ".qcow2")
        started = time.monotonic()
        try:
            fetch(facts.image_id, partial)
            inspect(partial, facts)
            if facts.disk_format not in ("iso", *KEPT_AS_IS):
                qemu_img.convert(partial, QEMU_NAME.get(facts.disk_format, facts.disk_format), converted, disk_format)
                converted.replace(partial)
            partial.chmod(0o644)
            with partial.open("rb+") as stream:
                os.fsync(stream.fileno())
            partial.rename(path)
        finally:
            partial.unlink(missing_ok=True)
            converted.unlink(missing_ok=True)
        LOG.info("image %s is in the cache after %.1f s", facts.image_id, time.monotonic() - started)

    def _lock(self, image_id: str) -> threading.Lock:
        with self._guard:
            return self._locks.setdefault(image_id, threading.Lock())
