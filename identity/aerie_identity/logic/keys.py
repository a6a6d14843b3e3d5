# SPDX-License-Identifier: Apache-2.0
"""A folder of symmetric keys: files named by numbers. The highest is the one that encrypts, `0` is staged: it decrypts
already and becomes the next one that encrypts. So keys can be copied to all hosts between two rotations.

Invariant: what was encrypted with a key can be read until that key has been rotated out (max_active_keys).
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from aerie_identity.logic.files import give_to_service, private_folder

_LOOK_SECONDS = 1.0


class NoKeys(Exception):
    """The key repository is empty or unreadable."""


class KeyRepository:
    """The keys in one folder, read again when the folder changes."""

    def __init__(self, path: str | Path, max_active_keys: int = 3) -> None:
        self.path, self._max = Path(path), max_active_keys
        self._lock = threading.Lock()
        self._box: MultiFernet | None = None
        self._stamp = self._looked = -1.0

    # -- use

    def box(self) -> MultiFernet:
        """Encrypts with the primary key, decrypts with any."""
        now = time.monotonic()
        if self._box is None or now - self._looked > _LOOK_SECONDS:
            with self._lock:
                self._looked = now
                try:
                    stamp = self.path.stat().st_mtime
                except FileNotFoundError:
                    raise NoKeys(f"{self.path} does not exist: run `aerie identity fernet setup`") from None
                if self._box is None or stamp != self._stamp:
                    keys = self._keys()
                    if not keys:
                        raise NoKeys(f"{self.path} holds no keys: run `aerie identity fernet setup`")
                    self._box = MultiFernet([Fernet(keys[n]) for n in sorted(keys, reverse=True)])
                    self._stamp = stamp
        return self._box

    def encrypt(self, data: bytes) -> bytes:
        return self.box().encrypt(data)

    def decrypt(self, token: bytes) -> bytes | None:
        """The data, None when no key fits."""
        try:
            return self.box().decrypt(token)
        except InvalidToken:
            return None

    # -- administration

    def _keys(self) -> dict[int, bytes]:
        return {int(f.name): f.read_bytes().strip() for f in self.path.iterdir() if f.name.isdigit()}

    def _write(self, number: int, key: bytes) -> None:
        temporary = self.path / f".{number}.new"
        temporary.touch(mode=0o600)
        temporary.write_bytes(key)
        give_to_service(temporary)
        temporary.rename(self.path / str(number))

    def setup(self) -> bool:
        """Make the folder with a staged and a primary key; False when it has keys already."""
        private_folder(self.path)
        if self._keys():
            return False
        self._write(1, Fernet.generate_key())
        self._write(0, Fernet.generate_key())
        return True

    def rotate(self) -> int:
        """The staged key becomes primary, a new one is staged, the oldest goes. Returns the primary's number."""
        keys = self._keys()
        if not keys:
            raise NoKeys(f"{self.path} holds no keys: run `aerie identity fernet setup`")
        primary = max(keys) + 1
        self._write(primary, keys.get(0) or Fernet.generate_key())
        self._write(0, Fernet.generate_key())
        secondary = sorted(n for n in self._keys() if n != 0)
        for old in secondary[: max(0, len(secondary) - max(1, self._max - 1))]:
            (self.path / str(old)).unlink()
        self._box = None  # this process goes on with the new primary at once
        return primary
