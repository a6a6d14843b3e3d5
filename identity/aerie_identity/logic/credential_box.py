# SPDX-License-Identifier: Apache-2.0
"""Secrets at rest, encrypted with the keys of `[credential] key_repository`: credentials' blobs, passwords in domains'
configuration."""

from __future__ import annotations

from typing import Any

from aerie_identity.db.models import Credential
from aerie_identity.logic.keys import KeyRepository, NoKeys


class CredentialBox:
    def __init__(self, keys: KeyRepository) -> None:
        self._keys = keys

    def seal(self, blob: str) -> str:
        return self._keys.encrypt(blob.encode()).decode()

    def open(self, credential: Credential) -> str:
        return self.unseal(credential.encrypted_blob, f"credential {credential.id}")

    def unseal(self, sealed: str, what: str) -> str:
        data = self._keys.decrypt(sealed.encode())
        if data is None:
            raise NoKeys(f"no key in {self._keys.path} fits {what}")
        return data.decode()

    def reseal(self, credential: Credential) -> str:
        """The same blob, encrypted with the primary key."""
        return self.seal(self.open(credential))


def seal_option(box: CredentialBox, value: Any) -> Any:
    """A secret option's value as it is stored."""
    return {"encrypted": box.seal(str(value))}


def unseal_option(box: CredentialBox, value: Any) -> Any:
    """An option's value; one that is not sealed is what it is."""
    if isinstance(value, dict) and value.keys() == {"encrypted"}:
        return box.unseal(value["encrypted"], "an option of a domain")
    return value
