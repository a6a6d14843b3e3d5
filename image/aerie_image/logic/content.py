# SPDX-License-Identifier: Apache-2.0
"""The content of images: copied in constant memory, hashed by two threads on the way, and looked at before it counts.

Invariant: a format is never guessed to be what somebody wants it to be. What is stored is of the declared format and
leads to no other file.
"""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import IO, Any, cast

from oslo_utils.imageutils import format_inspector

from aerie_image import errors
from aerie_image.stores.base import Writer

CHUNK = 1 << 20
DEPTH = 4
"""Pieces that may wait for a hash: with CHUNK, what an upload needs of memory."""
HASH_ALGORITHM = "sha512"
_RAW_LIKE = frozenset({"raw", "gpt"})
_UNINSPECTED = frozenset({"ami", "ari", "aki", "ploop"})


@dataclass(frozen=True)
class Facts:
    """What became known of the data while it came in. size, virtual_size: bytes."""

    size: int
    checksum: str
    os_hash_value: str
    virtual_size: int | None

    def columns(self) -> dict[str, Any]:
        """The image's columns."""
        return {**asdict(self), "os_hash_algo": HASH_ALGORITHM}


class Digests:
    """md5 and sha512 of pieces that come one after another; each hash in a thread once there is more than one piece."""

    def __init__(self) -> None:
        self._hashes = (hashlib.md5(usedforsecurity=False), hashlib.new(HASH_ALGORITHM))
        self._first: bytes | None = None
        self._queues: list[queue.Queue[bytes | None]] = []
        self._threads: list[threading.Thread] = []

    def update(self, piece: bytes) -> None:
        """Add a piece; waits while the hashes are too far behind. The piece must not change any more."""
        if self._first is None and not self._threads:
            self._first = piece
            return
        if not self._threads:
            self._start()
        for waiting in self._queues:
            waiting.put(piece)

    def _start(self) -> None:
        for digest in self._hashes:
            waiting: queue.Queue[bytes | None] = queue.Queue(DEPTH)
            thread = threading.Thread(target=_hash, args=(digest.update, waiting), name="hash", daemon=True)
            thread.start()
            waiting.put(self._first)
            self._queues.append(waiting)
            self._threads.append(thread)
        self._first = None

    def result(self) -> tuple[str, str]:
        """(md5, sha512) in hexadecimal."""
        if self._first is not None:
            for digest in self._hashes:
                digest.update(self._first)
        self.close()
        return self._hashes[0].hexdigest(), self._hashes[1].hexdigest()

    def close(self) -> None:
        """Let the threads end what they have and go."""
        for waiting in self._queues:
            waiting.put(None)
        for thread in self._threads:
            thread.join()
        self._queues, self._threads, self._first = [], [], None

    def __enter__(self) -> Digests:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _hash(update: Callable[[bytes], None], waiting: queue.Queue[bytes | None]) -> None:
    while (piece := waiting.get()) is not None:
        update(piece)


def copy(
    read: Callable[[int], bytes],
    writer: Writer,
    limit: int,
    digests: Digests | None = None,
    check: Callable[[], None] = lambda: None,
) -> int:
    """Write what `read(size)` gives until it gives nothing; returns how much it was. ImageTooLarge beyond the limit.
    check: called between the pieces; may raise."""
    size = 0
    while piece := read(CHUNK):
        size += len(piece)
        if size > limit:
            raise errors.ImageTooLarge(limit=limit)
        if digests is not None:
            digests.update(piece)
        writer.write(piece)
        check()
    return size


def inspect(path: str | None, declared: str, container: str | None, size: int) -> int | None:
    """Look at the stored content: refuses what is hostile or not of the declared format; returns its virtual size."""
    if path is None or _opaque(declared, container, size):
        return size if declared == "raw" else None
    try:
        found = format_inspector.detect_file_format(path)
    except format_inspector.ImageFormatError as e:
        raise errors.UnsafeImage(reason=str(e)) from e
    return _judge(found, declared, size)


def inspect_pieces(pieces: Iterable[bytes], declared: str, container: str | None, size: int) -> int | None:
    """The same for content that is nowhere at hand: takes all of the pieces, keeps none."""
    inspector = Inspector()
    for piece in pieces:
        inspector.eat(piece)
    return inspector.result(declared, container, size)


class Inspector:
    """Looks at content while it passes, as far as is needed to tell its format."""

    def __init__(self) -> None:
        self._piece = b""
        self._wrapper = format_inspector.InspectWrapper(cast(IO[bytes], self))
        self._found: format_inspector.FileInspector | None = None
        self._error: format_inspector.ImageFormatError | None = None

    def read(self, size: int) -> bytes:
        return self._piece

    def eat(self, piece: bytes) -> None:
        """The next piece."""
        if self._found is not None or self._error is not None:
            return
        self._piece = piece
        try:
            self._wrapper.read(len(piece))
            self._found = self._wrapper.format
        except format_inspector.ImageFormatError as e:
            self._error = e

    def result(self, declared: str, container: str | None, size: int) -> int | None:
        """The virtual size, after the last piece; refuses what inspect() refuses."""
        if _opaque(declared, container, size):
            return size if declared == "raw" else None
        if self._found is None and self._error is None:
            self._wrapper.close()
            try:
                self._found = self._wrapper.format
            except format_inspector.ImageFormatError as e:
                self._error = e
        if self._error is not None:
            raise errors.UnsafeImage(reason=str(self._error)) from self._error
        return _judge(self._found, declared, size)


def _opaque(declared: str, container: str | None, size: int) -> bool:
    """Nothing is known of how such content should look."""
    return size == 0 or declared in _UNINSPECTED or container not in ("bare", None)


def _judge(found: format_inspector.FileInspector | None, declared: str, size: int) -> int:
    if found is None:
        raise errors.UnsafeImage(reason="its format cannot be told")
    name = str(found)
    if name != declared and not (declared == "raw" and name in _RAW_LIKE):
        raise errors.FormatMismatch(found=name, declared=declared)
    if name in _RAW_LIKE:
        return size
    try:
        found.safety_check()
        return int(found.virtual_size)
    except format_inspector.SafetyCheckFailed as e:
        raise errors.UnsafeImage(reason=f"{e}: {', '.join(sorted(e.failures))}") from e
    except format_inspector.ImageFormatError as e:
        raise errors.UnsafeImage(reason=str(e)) from e
