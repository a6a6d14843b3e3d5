# SPDX-License-Identifier: Apache-2.0
"""Identity providers, protocols and mappings as logins and tokens need them: small, held for one epoch."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from aerie_identity.db import identity_providers
from aerie_identity.db import tables as t
from aerie_identity.db.models import (
    IDENTITY_PROVIDERS,
    MAPPINGS,
    PROTOCOLS,
    SERVICE_PROVIDERS,
    IdentityProvider,
    Mapping,
    Protocol,
)


@dataclass(frozen=True)
class Federations:
    """providers, mappings: by id. protocols: by identity provider and id. service_providers: as tokens show them."""

    providers: dict[str, IdentityProvider]
    protocols: dict[tuple[str, str], Protocol]
    mappings: dict[str, Mapping]
    service_providers: list[dict[str, str]]

    @classmethod
    def load(cls, conn: sa.Connection) -> Federations:
        found = SERVICE_PROVIDERS.all(conn, t.service_providers.c.enabled.is_(True))
        offered = [{"id": row.id, "auth_url": row.auth_url, "sp_url": row.sp_url} for row in found]
        providers = IDENTITY_PROVIDERS.all(conn)
        if not providers:
            return cls({}, {}, {}, offered)
        return cls(
            {row.id: row for row in identity_providers.fill(conn, providers)},
            {(row.idp_id, row.id): row for row in PROTOCOLS.all(conn)},
            {row.id: row for row in MAPPINGS.all(conn)},
            offered,
        )

    @property
    def in_use(self) -> bool:
        return bool(self.providers)

    def trusts(self, idp_id: str, protocol_id: str) -> bool:
        """May somebody be logged in by this protocol of this identity provider?"""
        provider = self.providers.get(idp_id)
        return provider is not None and provider.enabled and (idp_id, protocol_id) in self.protocols
