# SPDX-License-Identifier: Apache-2.0
"""What a store of image data does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Protocol


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

    @abstractmethod
    def create(self, image_id: str) -> Writer:
        """Begin to store an image's data."""

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
