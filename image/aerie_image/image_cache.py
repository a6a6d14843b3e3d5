# SPDX-License-Identifier: Apache-2.0
"""Copies of image data on this host's disk, for stores that are elsewhere: a folder that all API processes of the host
share.

    <folder>/<image id>             a complete copy whose checksum was right
    <folder>/incomplete/<image id>  a copy on its way; whoever writes it holds a lock on it
    <folder>/hits/<image id>        a byte for each time the copy was read; its time is that of the last one
    <folder>/queue/<image id>       an image that an administrator wants to be here

Invariants. However many read an image that is not here, in however many processes, it is fetched once: one writes, the
others read what it has written so far. If the writer dies, each of them goes on from the store by itself. Nothing is
lost with the folder, at any time.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from aerie_common.http import FileSlice
from aerie_image.db.images import Image
from aerie_image.logic.content import Digests
from aerie_image.remote import RefusedUrl, RemoteFailure
from aerie_image.stores.base import Store

LOG = logging.getLogger(__name__)
PIECE = 1 << 20
LOOK_SECONDS = 0.01
"""How often a reader looks whether the writer got on."""
FETCH_ERRORS = (OSError, RemoteFailure, RefusedUrl)


@dataclass(frozen=True)
class Copy:
    """One complete copy. size: bytes. accessed, modified: seconds since 1970."""

    image_id: str
    size: int
    hits: int
    accessed: float
    modified: float


class ImageCache:
    """The copies in one folder, of at most `max_size` bytes in all (after pruning)."""

    def __init__(self, folder: Path, max_size: int, stall_seconds: int) -> None:
        self._folder, self.max_size, self._stall = folder, max_size, stall_seconds
        self._incomplete, self._hits, self._queue = folder / "incomplete", folder / "hits", folder / "queue"
        for path in (folder, self._incomplete, self._hits, self._queue):
            path.mkdir(parents=True, exist_ok=True, mode=0o750)
        self.wake: Callable[[], None] = lambda: None
        """Called when an image was queued; the daemon lets its background work begin."""

    # ---- reading

    def open(self, image_id: str, offset: int, length: int, *, hit: bool = True) -> FileSlice | None:
        """A part of the copy, when it is here. hit: somebody uses it, which is counted."""
        try:
            file = open(self._folder / image_id, "rb", buffering=0)  # noqa: SIM115 (closed with the reply)
        except FileNotFoundError:
            return None
        if hit:
            self._count(image_id)
        return FileSlice(file, offset, length)

    def _count(self, image_id: str) -> None:
        # One byte at the end of a file is counted right by any number of processes without a lock.
        try:
            with open(self._hits / image_id, "ab", buffering=0) as hits:
                hits.write(b"\0")
        except OSError as e:
            LOG.warning("image %s: a hit is not counted: %s", image_id, e)

    def through(self, image: Image, store: Store, location: str) -> Iterator[bytes]:
        """All of an image's data that is not here, fetched into here for everybody who asks meanwhile."""
        size = image.size or 0
        if not size or size > self.max_size:
            yield from store.read(location, 0, size)
            return
        self._begin(image, store, location)
        yield from self._follow(image.id, size, store, location)

    def _follow(self, image_id: str, size: int, store: Store, location: str) -> Iterator[bytes]:
        """What the writer has written so far, as it comes; the rest from the store if the writer is gone."""
        position = 0
        with contextlib.ExitStack() as stack:
            try:
                file = stack.enter_context(open(self._incomplete / image_id, "rb", buffering=0))
            except FileNotFoundError:
                found = self.open(image_id, 0, size)  # it was completed just now, or never begun
                yield from found if found is not None else store.read(location, 0, size)
                return
            while position < size:
                piece = file.read(min(PIECE, size - position))
                if piece:
                    position += len(piece)
                    yield piece
                elif _locked(file.fileno()):
                    time.sleep(LOOK_SECONDS)
                elif not (piece := file.read(min(PIECE, size - position))):  # nothing came between the two looks
                    break
                else:
                    position += len(piece)
                    yield piece
        if position < size:
            LOG.warning(
                "image %s: its copy broke off after %d bytes; the rest comes from the store", image_id, position
            )
            yield from store.read(location, position, size - position)

    # ---- writing

    def _begin(self, image: Image, store: Store, location: str) -> None:
        """Let a thread fetch the image, unless somebody does."""
        lock = self._claim(image.id)
        if lock is None:
            return
        thread = threading.Thread(
            target=self._fetch, args=(lock, image, store, location), name=f"cache-{image.id[:8]}", daemon=True
        )
        thread.start()

    def fetch(self, image: Image, store: Store, location: str) -> bool:
        """Have a copy; True when there is one at the end. Does not wait for somebody else who fetches it."""
        if (self._folder / image.id).exists():
            return True
        if image.size is None or image.size > self.max_size:
            LOG.warning("image %s is not kept: it is larger than image_cache_max_size", image.id)
            return False
        lock = self._claim(image.id)
        return lock is not None and self._fetch(lock, image, store, location)

    def _claim(self, image_id: str) -> int | None:
        """A locked, empty file for the copy; None when somebody else has it or the copy is complete."""
        path = self._incomplete / image_id
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o640)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(fd).st_ino == os.stat(path).st_ino:
                if (self._folder / image_id).exists():
                    path.unlink()
                else:
                    os.ftruncate(fd, 0)
                    return fd
        except (BlockingIOError, FileNotFoundError):
            pass  # another writes it, or has just completed it
        os.close(fd)
        return None

    def _fetch(self, lock: int, image: Image, store: Store, location: str) -> bool:
        path = self._incomplete / image.id
        try:
            with open(lock, "wb", buffering=0) as file:
                try:
                    with Digests() as digests:
                        for piece in store.read(location, 0, image.size or 0):
                            digests.update(piece)
                            _write(file.fileno(), piece)
                        md5, _ = digests.result()
                    if image.checksum not in (None, md5):
                        raise OSError(f"the data of the store {store.name} has not the image's checksum")
                    if os.fstat(file.fileno()).st_size != image.size:
                        raise OSError(f"the data of the store {store.name} is not {image.size} bytes")
                    os.fdatasync(file.fileno())
                    (self._hits / image.id).touch()
                    os.rename(path, self._folder / image.id)
                    return True
                except BaseException:
                    path.unlink(missing_ok=True)  # while it is locked: it is ours
                    raise
        except FETCH_ERRORS as e:
            LOG.warning("image %s is not kept here: %s", image.id, e)
            return False

    # ---- what administrators see and do

    def copies(self) -> list[Copy]:
        """Every complete copy, the one read longest ago first."""
        found = []
        for path in self._folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # removed while we look
                if path.is_file():
                    stat = path.stat()
                    hits, accessed = self._history(path.name, stat.st_mtime)
                    found.append(Copy(path.name, stat.st_size, hits, accessed, stat.st_mtime))
        return sorted(found, key=lambda copy: copy.accessed)

    def _history(self, image_id: str, otherwise: float) -> tuple[int, float]:
        try:
            stat = (self._hits / image_id).stat()
        except FileNotFoundError:
            return 0, otherwise
        return stat.st_size, stat.st_mtime

    def queued(self) -> list[str]:
        """The images that are wanted here and are not yet, in the order in which they were asked for."""
        waiting = []
        for path in self._queue.iterdir():
            with contextlib.suppress(FileNotFoundError):
                waiting.append((path.stat().st_mtime, path.name))
        return [name for _, name in sorted(waiting)]

    def enqueue(self, image_id: str) -> None:
        """Have the image fetched in the background, if it is not here."""
        if not (self._folder / image_id).exists():
            (self._queue / image_id).touch()
            os.utime(self._queue / image_id, ns=(time.time_ns(),) * 2)  # in order, finer than the kernel's clock ticks
            self.wake()

    def being_fetched(self, image_id: str) -> bool:
        """Is a copy on its way?"""
        try:
            with open(self._incomplete / image_id, "rb") as file:
                return _locked(file.fileno())
        except FileNotFoundError:
            return False

    def dequeue(self, image_id: str) -> bool:
        """Do not fetch the image. True when it was queued."""
        return _remove(self._queue / image_id)

    def remove(self, image_id: str) -> bool:
        """Forget the copy. True when there was one. Whoever reads it now reads it to the end."""
        _remove(self._hits / image_id)
        return _remove(self._folder / image_id)

    def prune(self) -> tuple[int, int]:
        """Remove the copies read longest ago until the rest fits; how many they were, and their bytes."""
        copies = self.copies()
        total, files, size = sum(copy.size for copy in copies), 0, 0
        for copy in copies:
            if total - size <= self.max_size:
                break
            self.remove(copy.image_id)
            files, size = files + 1, size + copy.size
        return files, size

    def clean(self) -> None:
        """Remove copies that nobody writes any more, and counts of copies that are gone."""
        before = time.time() - self._stall
        for path in self._incomplete.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < before and (lock := self._claim(path.name)) is not None:
                    path.unlink(missing_ok=True)
                    os.close(lock)
        for path in self._hits.iterdir():
            with contextlib.suppress(FileNotFoundError):
                fresh = time.time() - path.stat().st_mtime < 60  # touched before its copy comes
                if not fresh and not (self._folder / path.name).exists():
                    path.unlink()


def _remove(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True


def _locked(fd: int) -> bool:
    """Does somebody else hold the lock on this file?"""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False


def _write(fd: int, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(fd, view) :]
