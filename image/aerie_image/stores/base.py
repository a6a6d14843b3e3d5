# SPDX-License-Identifier: Apache-2.0
"""What a store of image data does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

CHUNK = 1 << 20
READ_RETRIES = 3


class StoreUnavailable(OSError):
    """The store cannot be reached or fails. What was asked may work another time."""


class StoreDenied(StoreUnavailable):
    """The store refuses our credentials."""


class StoreGone(OSError):
    """The bucket or container where the data should be does not exist."""


class Writer(Protocol):
    """Data on its way into the store. Nothing is to be seen under the image's id before commit()."""

    path: str | None
    """A local file with what was written so far, where the store has one (for looking at its format)."""

    def write(self, chunk: bytes | memoryview) -> None: ...

    def commit(self) -> str:
        """Make it durable and visible; returns its location."""

    def abort(self) -> None:
        """Leave nothing behind. Harmless after commit()."""


class Store(ABC):
    """One place for image data, known to clients by its name. A location is a URL that only this store understands."""

    name: str
    kind: str
    read_only = False
    """Nothing can be written or removed here: image data comes by other ways."""
    local = False
    """The data lies on this host's disks: a copy in the image cache would gain nothing."""

    def takes(self, url: str) -> bool:
        """May data at this URL, that the store did not put there, be the data of an image?"""
        return False

    def properties(self) -> dict[str, Any]:
        """What administrators are told about it: never a secret."""
        return {}

    @abstractmethod
    def create(self, image_id: str, size: int | None = None) -> Writer:
        """Begin to store an image's data, of so many bytes where that is known (or believed: the data decides)."""

    @abstractmethod
    def read(self, location: str, offset: int, length: int) -> Iterable[bytes]:
        """The bytes from offset on, in pieces. FileNotFoundError when there are none."""

    @abstractmethod
    def size(self, location: str) -> int:
        """Bytes stored. FileNotFoundError when there are none."""

    @abstractmethod
    def delete(self, location: str) -> None:
        """Remove the data; what is gone already is fine."""

    @abstractmethod
    def discard(self, image_id: str) -> None:
        """Remove whatever create() made for this image; nothing is fine."""

    @abstractmethod
    def list_(self) -> Iterator[tuple[str, str, float]]:
        """(image id, location, age in seconds) of everything stored, finished or not."""


class Body(Protocol):
    """Data on its way out of a store. StoreUnavailable when it breaks off."""

    def read(self, size: int) -> bytes: ...

    def close(self) -> None: ...


def pieces(open_: Callable[[int, int], Body], offset: int, length: int) -> Iterator[bytes]:
    """The data from offset on. open_(offset, length) asks the store for it: at once, so that nobody is promised what
    the store does not have, and again for the rest when the data breaks off on its way."""
    if not length:
        return iter(())
    return _pieces(open_(offset, length), open_, offset, offset + length)


def _pieces(body: Body, open_: Callable[[int, int], Body], offset: int, end: int) -> Iterator[bytes]:
    failures = 0
    try:
        while offset < end:
            try:
                piece = body.read(min(CHUNK, end - offset))
                if not piece:
                    raise StoreUnavailable(f"the data ended {end - offset} bytes early")
            except StoreUnavailable:
                failures += 1
                if failures > READ_RETRIES:
                    raise
                body.close()
                body = open_(offset, end - offset)
                continue
            offset += len(piece)
            yield piece
    finally:
        body.close()
