# SPDX-License-Identifier: Apache-2.0
"""Credentials' blobs at rest: encrypted with the keys of `[credential] key_repository`."""

from __future__ import annotations

from aerie_identity.db.models import Credential
from aerie_identity.logic.keys import KeyRepository, NoKeys


class CredentialBox:
    def __init__(self, keys: KeyRepository) -> None:
        self._keys = keys

    def seal(self, blob: str) -> str:
        return self._keys.encrypt(blob.encode()).decode()

    def open(self, credential: Credential) -> str:
        data = self._keys.decrypt(credential.encrypted_blob.encode())
        if data is None:
            raise NoKeys(f"no key in {self._keys.path} fits credential {credential.id}")
        return data.decode()

    def reseal(self, credential: Credential) -> str:
        """The same blob, encrypted with the primary key."""
        return self.seal(self.open(credential))
