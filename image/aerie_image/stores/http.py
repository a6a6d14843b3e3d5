# SPDX-License-Identifier: Apache-2.0
"""Image data that lies on a web server: read only, by the rules of remote.py for addresses."""

from __future__ import annotations

from collections.abc import Iterator

from aerie_image import remote
from aerie_image.remote import Rules
from aerie_image.stores.base import Store, Writer

CHUNK = 1 << 20


class HttpStore(Store):
    """Locations are the URLs themselves."""

    kind = "http"
    read_only = True

    def __init__(self, name: str, rules: Rules) -> None:
        self.name, self._rules = name, rules

    def takes(self, url: str) -> bool:
        return url.lower().startswith(("http://", "https://"))

    def create(self, image_id: str, size: int | None = None) -> Writer:
        raise OSError(f"the store {self.name} is read-only")

    def read(self, location: str, offset: int, length: int) -> Iterator[bytes]:
        span = f"bytes={offset}-{offset + length - 1}"
        source = remote.open_url(location, self._rules, headers={"Range": span})
        skip = 0 if source.status == 206 else offset

        def pieces() -> Iterator[bytes]:
            passed, left = skip, length
            with source:
                while passed:
                    piece = source.read(min(CHUNK, passed))
                    if not piece:
                        raise OSError(f"{location} is shorter than {offset} bytes")
                    passed -= len(piece)
                while left:
                    piece = source.read(min(CHUNK, left))
                    if not piece:
                        raise OSError(f"{location} ends {left} bytes early")
                    left -= len(piece)
                    yield piece

        return pieces()

    def size(self, location: str) -> int:
        with remote.open_url(location, self._rules, method="HEAD") as source:
            if source.length is None:
                raise OSError(f"{location} does not tell its size")
            return source.length

    def delete(self, location: str) -> None:
        """Forgotten is all it can be."""

    def discard(self, image_id: str) -> None:
        """Nothing was made."""

    def list_(self) -> Iterator[tuple[str, str, float]]:
        return iter(())
