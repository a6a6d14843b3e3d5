# SPDX-License-Identifier: Apache-2.0
"""The identity service's handles in one process."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa

from aerie_common.auth import TokenCache, TokenSource
from aerie_common.operations import Table
from aerie_common.service import Service
from aerie_identity.logic.catalogs import Catalog
from aerie_identity.logic.credential_box import CredentialBox
from aerie_identity.logic.directories import Directories
from aerie_identity.logic.epoch import ByEpoch, Epoch, SharedCounter
from aerie_identity.logic.federations import Federations
from aerie_identity.logic.keys import KeyRepository
from aerie_identity.logic.openid import OpenId
from aerie_identity.logic.passwords import Hasher
from aerie_identity.logic.roles_graph import RoleGraph
from aerie_identity.logic.token_formats import FernetFormat, JwsFormat, TokenFormat
from aerie_identity.logic.tokens import LocalTokenCache, LocalTokens

T = TypeVar("T")


class Identity(Service):
    """Adds to Service: keys, hashing, and what is remembered for one revocation epoch (roles, catalog)."""

    @cached_property
    def table(self) -> Table:  # type: ignore[override]
        from aerie_identity.operations import TABLE

        return TABLE

    @cached_property
    def epoch(self) -> Epoch:
        return Epoch(self.db, SharedCounter(Path(self.conf.state_path) / "identity" / "epoch"))

    @cached_property
    def roles(self) -> ByEpoch[RoleGraph]:
        return ByEpoch(self.epoch, lambda: self._load(RoleGraph.load))

    @cached_property
    def federations(self) -> ByEpoch[Federations]:
        return ByEpoch(self.epoch, lambda: self._load(Federations.load))

    @cached_property
    def openid(self) -> OpenId:
        return OpenId(self.conf)

    @cached_property
    def catalog(self) -> ByEpoch[Catalog]:
        return ByEpoch(self.epoch, lambda: self._load(Catalog.load))

    @cached_property
    def directories(self) -> Directories:
        return Directories(self)

    def _load(self, load: Callable[[sa.Connection], T]) -> T:
        with self.db.read() as conn:
            return load(conn)

    @cached_property
    def hasher(self) -> Hasher:
        return Hasher(self.conf)

    @cached_property
    def token_keys(self) -> KeyRepository:
        return KeyRepository(self.conf.fernet_tokens.key_repository, self.conf.fernet_tokens.max_active_keys)

    @cached_property
    def jws_keys(self) -> JwsFormat:
        options = self.conf.jwt_tokens
        return JwsFormat(Path(options.jws_private_key_repository), Path(options.jws_public_key_repository))

    @cached_property
    def token_format(self) -> TokenFormat:
        return self.jws_keys if self.conf.token.provider == "jws" else FernetFormat(self.token_keys)

    @cached_property
    def credential_keys(self) -> KeyRepository:
        return KeyRepository(self.conf.credential.key_repository)

    @cached_property
    def credential_box(self) -> CredentialBox:
        return CredentialBox(self.credential_keys)

    @cached_property
    def token_source(self) -> TokenSource:
        return LocalTokens(self)

    @cached_property
    def token_cache(self) -> TokenCache:
        return LocalTokenCache(self.token_source)
