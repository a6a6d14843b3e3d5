# SPDX-License-Identifier: Apache-2.0
"""Image data as files in one folder: written beside, synced, then renamed, so a crash leaves no half image."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from aerie_common.http import FileSlice
from aerie_image.stores.base import Store

_PART = ".part"


class FileWriter:
    """One file being written."""

    def __init__(self, final: Path) -> None:
        self._final = final
        self._part = final.with_name(f"{final.name}.{os.getpid()}.{time.monotonic_ns()}{_PART}")
        self._file = open(os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o640), "wb", buffering=0)  # noqa: SIM115
        self.path: str | None = str(self._part)

    def write(self, chunk: bytes | memoryview) -> None:
        view = memoryview(chunk)
        while view:
            view = view[self._file.write(view) :]

    def commit(self) -> str:
        self._file.flush()
        os.fdatasync(self._file.fileno())
        self._file.close()
        os.rename(self._part, self._final)
        return f"file://{self._final}"

    def abort(self) -> None:
        self._file.close()
        self._part.unlink(missing_ok=True)


class FileStore(Store):
    """All images in `folder`, each under its id."""

    kind = "file"
    local = True

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        folder.mkdir(parents=True, exist_ok=True, mode=0o750)
        self._folder = folder.resolve()

    def _path(self, location: str) -> Path:
        path = Path(location.removeprefix("file://"))
        if path.parent != self._folder:
            raise FileNotFoundError(f"{location} is not of this store")
        return path

    def location(self, image_id: str) -> str:
        """Where an image's data is, if it is here."""
        return f"file://{self._folder / image_id}"

    def properties(self) -> dict[str, Any]:
        return {"data_dir": str(self._folder)}

    def path(self, image_id: str) -> Path:
        """The file of an image's data, there or not."""
        return self._folder / image_id

    def create(self, image_id: str, size: int | None = None) -> FileWriter:
        return FileWriter(self._folder / image_id)

    def read(self, location: str, offset: int, length: int) -> Iterable[bytes]:
        return FileSlice(open(self._path(location), "rb", buffering=0), offset, length)  # noqa: SIM115

    def size(self, location: str) -> int:
        return self._path(location).stat().st_size

    def delete(self, location: str) -> None:
        self._path(location).unlink(missing_ok=True)

    def discard(self, image_id: str) -> None:
        (self._folder / image_id).unlink(missing_ok=True)

    def list_(self) -> Iterator[tuple[str, str, float]]:
        now = time.time()
        for path in self._folder.iterdir():
            try:
                age = now - path.stat().st_mtime
            except FileNotFoundError:
                continue  # renamed or removed while we look
            yield path.name.partition(".")[0], f"file://{path}", age
