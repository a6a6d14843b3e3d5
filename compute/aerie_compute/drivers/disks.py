# SPDX-License-Identifier: Apache-2.0
"""The files of guests: one directory per server, named by its id, holding everything that is the guest's alone.

    disk           qcow2 overlay on a base file of the image cache
    disk.eph0      raw, ext4 labelled ephemeral0        disk.swap   raw, swap space
    disk.config    the config drive                     disk.rescue qcow2 overlay on the rescue image
    kept/          what ``resize`` may have to bring back
    base, rescue-base   symbolic links to the base files the overlays stand on
    console.log    what the guest wrote to its serial line (virtlogd rotates it to console.log.0)

Invariant: a file under its final name is complete. Guests' disks are always opened with the format written here, never
with one
found in their content, which the guest controls.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from aerie_compute.drivers import config_drive, programs, qemu_img
from aerie_compute.drivers.base import (
    DriverError,
    FetchImage,
    GuestNotFound,
    GuestSpec,
    HostExhausted,
    ImageFacts,
    ImageRefused,
)
from aerie_compute.drivers.image_cache import ImageCache
from aerie_compute.drivers.libvirt_xml import Disk
from aerie_compute.drivers.qemu_img import GIB

LOG = logging.getLogger(__name__)
MIB = 1 << 20
TOOL_SECONDS = 3600  # for a copy of the largest disk on a slow one
CACHE_DIRECTORY = "_base"
TRASH = ".trash-"
MANIFEST = "names"


@contextmanager
def _space() -> Iterator[None]:
    """A full disk is HostExhausted."""
    try:
        yield
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            raise HostExhausted(str(exc)) from exc
        raise


class GuestDisks:
    """The directory of guests on this host."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.cache = ImageCache(directory / CACHE_DIRECTORY)

    def init(self) -> None:
        """Make the directories; finish removals that were interrupted."""
        self.directory.mkdir(mode=0o711, parents=True, exist_ok=True)
        self.cache.init()
        for trash in self.directory.glob(f"{TRASH}*"):
            shutil.rmtree(trash)

    def path(self, server_id: str) -> Path:
        """The directory of one guest, there or not. Anything but a UUID is refused: the name becomes a path."""
        return self.directory / str(uuid.UUID(server_id))

    def server_ids(self) -> list[str]:
        """Servers that have a directory here."""
        return [entry.name for entry in os.scandir(self.directory) if _is_uuid(entry.name)]

    def exists(self, server_id: str) -> bool:
        """Has this guest a complete root disk?"""
        return (self.path(server_id) / "disk").exists()

    # -- making ------------------------------------------------------------------------------------------------------

    def prepare(self, spec: GuestSpec, fetch: FetchImage) -> None:
        """See ``Driver.prepare``."""
        home = self.path(spec.server_id)
        with _space():
            home.mkdir(mode=0o711, exist_ok=True)
            self._overlay(home, "disk", "base", spec.image, spec.root_gib, fetch)
            if spec.ephemeral_gib:
                _make(home / "disk.eph0", lambda path: _filesystem(path, spec.ephemeral_gib * GIB))
            if spec.swap_mib:
                _make(home / "disk.swap", lambda path: _swap(path, spec.swap_mib * MIB))
            if spec.config_drive and not (home / "disk.config").exists():
                config_drive.write(home / "disk.config", spec.config_files)

    def prepare_rescue(self, spec: GuestSpec, image: ImageFacts, fetch: FetchImage) -> None:
        """A root disk made of ``image`` beside the guest's own."""
        home = self.path(spec.server_id)
        if not self.exists(spec.server_id):
            raise GuestNotFound(f"server {spec.server_id} has no disks here")
        with _space():
            self._overlay(home, "disk.rescue", "rescue-base", image, 0, fetch)

    def drop_rescue(self, server_id: str) -> None:
        """Remove the rescue disk."""
        for name in ("disk.rescue", "rescue-base"):
            (self.path(server_id) / name).unlink(missing_ok=True)

    def _overlay(self, home: Path, name: str, link: str, image: ImageFacts, root_gib: int, fetch: FetchImage) -> None:
        if (home / name).exists():
            return
        with self.cache.use(image, fetch) as base:
            size = root_gib * GIB or base.virtual_size
            if base.virtual_size > size:
                need = -(-base.virtual_size // GIB)
                raise ImageRefused(
                    f"image {image.image_id} holds {base.virtual_size} bytes, more than the disk's {size}",
                    public=f"The image needs a root disk of {need} GiB, more than the flavor has.",
                )
            partial = home / (link + ".partial")
            partial.unlink(missing_ok=True)
            partial.symlink_to(base.path)
            partial.rename(home / link)  # before the overlay, so that the cache never forgets a base in use
            _make(home / name, lambda path: qemu_img.create_overlay(path, base.path, base.disk_format, size))

    # -- looking -----------------------------------------------------------------------------------------------------

    def list_(self, server_id: str, rescue: bool = False) -> list[Disk]:
        """The disks in the order the guest sees them. Raises GuestNotFound."""
        home = self.path(server_id)
        if not self.exists(server_id):
            raise GuestNotFound(f"server {server_id} has no disks here")
        disks = [Disk(home / "disk.rescue", "qcow2", boot=True)] if rescue else []
        disks.append(Disk(home / "disk", "qcow2", boot=not rescue))
        for name in ("disk.eph0", "disk.swap"):
            if (home / name).exists():
                disks.append(Disk(home / name, "raw"))
        if (home / "disk.config").exists():
            disks.append(Disk(home / "disk.config", "raw", read_only=True))
        return disks

    def usage(self, server_id: str) -> int:
        """Bytes allocated for the guest's files."""
        total = 0
        for top, _, names in os.walk(self.path(server_id)):
            for name in names:
                try:
                    total += os.lstat(os.path.join(top, name)).st_blocks * 512
                except FileNotFoundError:
                    continue
        return total

    def console_log(self, server_id: str, tail_bytes: int) -> bytes:
        """The end of the console log, reaching into the rotated file where needed."""
        data = b""
        for name in ("console.log", "console.log.0"):
            if len(data) < tail_bytes:
                data = _tail(self.path(server_id) / name, tail_bytes - len(data)) + data
        return data

    # -- changing ----------------------------------------------------------------------------------------------------

    def resize(self, spec: GuestSpec) -> None:
        """Grow the disks to the spec's sizes after copying them aside.

        A second call goes on where the first stopped.
        """
        home = self.path(spec.server_id)
        disks = {disk.path.name: disk for disk in self.list_(spec.server_id) if not disk.read_only}
        root = qemu_img.qcow2_virtual_size(home / "disk")
        kept = home / "kept"
        eph = home / "disk.eph0"
        if 0 < spec.root_gib * GIB < root and not kept.exists():
            raise ImageRefused(public=f"A root disk of {root // GIB} GiB cannot become smaller.")
        if eph.exists() and spec.ephemeral_gib * GIB < eph.stat().st_size and not kept.exists():
            raise ImageRefused(public="An ephemeral disk cannot become smaller.")
        with _space():
            if not kept.exists():
                partial = home / "kept.partial"
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(mode=0o711)
                for name in disks:
                    _copy(home / name, partial / name)
                (partial / MANIFEST).write_text("\n".join(disks))
                partial.rename(kept)
            if spec.root_gib * GIB > root:
                qemu_img.grow(home / "disk", "qcow2", spec.root_gib * GIB)
            if eph.exists() and spec.ephemeral_gib * GIB > eph.stat().st_size:
                os.truncate(eph, spec.ephemeral_gib * GIB)
            elif spec.ephemeral_gib and not eph.exists():
                _make(eph, lambda path: _filesystem(path, spec.ephemeral_gib * GIB))
            swap = home / "disk.swap"
            if spec.swap_mib and not (swap.exists() and swap.stat().st_size == spec.swap_mib * MIB):
                _make(swap, lambda path: _swap(path, spec.swap_mib * MIB))
            elif not spec.swap_mib:
                swap.unlink(missing_ok=True)

    def confirm_resize(self, server_id: str) -> None:
        """Forget the kept disks."""
        kept = self.path(server_id) / "kept"
        if kept.exists():
            _remove(kept)

    def revert_resize(self, server_id: str) -> None:
        """Put the kept disks back."""
        home = self.path(server_id)
        kept = home / "kept"
        if not kept.exists():
            return
        names = (kept / MANIFEST).read_text().split()
        for name in names:
            if (kept / name).exists():  # else an earlier, interrupted call has moved it
                (kept / name).replace(home / name)
        for name in {"disk.eph0", "disk.swap"}.difference(names):
            (home / name).unlink(missing_ok=True)
        _remove(kept)

    def destroy(self, server_id: str) -> None:
        """Remove the guest's directory; what a crash leaves of it goes at the next ``init``."""
        home = self.path(server_id)
        if home.exists():
            _remove(home)

    def forget_unused_images(self, older_than: float) -> list[Path]:
        """Remove base files no guest here stands on and nobody asked for in ``older_than`` seconds."""
        used = []
        for server_id in self.server_ids():
            for link in ("base", "rescue-base"):
                try:
                    used.append(Path(os.readlink(self.path(server_id) / link)))
                except FileNotFoundError:
                    continue
        return self.cache.forget_unused(used, older_than)


def _is_uuid(name: str) -> bool:
    try:
        return str(uuid.UUID(name)) == name
    except ValueError:
        return False


def _make(path: Path, build: Callable[[Path], None]) -> None:
    """Build a file under another name, then rename it; a file already there that is wanted anew is replaced."""
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)
    build(partial)
    partial.chmod(0o600)
    partial.replace(path)


def _filesystem(path: Path, size: int) -> None:
    _sparse(path, size)
    _tool("mke2fs", "-q", "-F", "-t", "ext4", "-L", "ephemeral0", str(path))


def _swap(path: Path, size: int) -> None:
    _sparse(path, size)
    _tool("mkswap", "-L", "swap", str(path))


def _sparse(path: Path, size: int) -> None:
    with path.open("wb") as stream:
        stream.truncate(size)
    path.chmod(0o600)


def _tool(*command: str) -> None:
    path = "/usr/local/sbin:/usr/sbin:/sbin:" + os.environ.get("PATH", "/usr/bin:/bin")
    status, said = programs.run(command[0], list(command), TOOL_SECONDS, PATH=path)
    if status != 0:
        raise DriverError(f"{command[0]} ended with {status}: {said}")


def _copy(source: Path, destination: Path) -> None:
    _tool("cp", "--sparse=always", "--reflink=auto", "--preserve=mode,ownership", "--", str(source), str(destination))


def _remove(directory: Path) -> None:
    """Remove a directory so that no half of it is ever seen under its name."""
    top = directory.parent if _is_uuid(directory.name) else directory.parent.parent
    trash = top / f"{TRASH}{uuid.uuid4().hex}"
    directory.rename(trash)
    shutil.rmtree(trash)


def _tail(path: Path, count: int) -> bytes:
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - count))
            return stream.read(count)
    except FileNotFoundError:
        return b""
