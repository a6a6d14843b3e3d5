# SPDX-License-Identifier: Apache-2.0
"""OAuth 2.0, the grant `client_credentials` (RFC 6749 section 4.4): the client is an application credential, the access
token an ordinary token of it, with that credential's roles and access rules and no others."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from aerie_common.db import utcnow
from aerie_common.errors import AerieError, Unauthorized
from aerie_identity.logic import auth

if TYPE_CHECKING:
    from aerie_identity.container import Identity

GRANT = "client_credentials"


class OAuthRefused(Exception):
    """A refusal in OAuth's words. error: the RFC's name for it."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.error, self.description, self.status = error, description, status


def token(svc: Identity, grant_type: str | None, client_id: str | None, secret: str | None) -> tuple[str, int]:
    """An access token and the seconds it is valid. Raises OAuthRefused."""
    if not grant_type:
        raise OAuthRefused("invalid_request", "The parameter grant_type is required.")
    if grant_type != GRANT:
        raise OAuthRefused("unsupported_grant_type", f"The only grant_type here is {GRANT}.")
    if not client_id or not secret:
        raise OAuthRefused("invalid_client", "Client authentication failed.", 401)
    shown = {"methods": ["application_credential"], "application_credential": {"id": client_id, "secret": secret}}
    try:
        access_token, body = auth.authenticate(svc, {"identity": shown})
    except Unauthorized:
        raise OAuthRefused("invalid_client", "Client authentication failed.", 401) from None
    except AerieError as e:
        raise OAuthRefused("invalid_request", e.message, e.status) from None
    left = body.payload.expires_at - utcnow()
    return access_token, max(0, left // datetime.timedelta(seconds=1))
