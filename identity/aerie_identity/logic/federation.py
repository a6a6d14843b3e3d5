# SPDX-License-Identifier: Apache-2.0
"""Logging in by an identity provider: what it says is verified, mapped to a user here, and answered with an unscoped
token, which the client exchanges for one with a scope."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from aerie_common.errors import Forbidden, NotImplementedHere, Unauthorized
from aerie_identity.db.models import IdentityProvider, Protocol
from aerie_identity.db.tokens import Login
from aerie_identity.errors import AuthMethodUnknown, Missing
from aerie_identity.logic import auth, federated_users, mapping_rules, openid
from aerie_identity.logic.mapping_rules import Assertion, MappedUser, Unmapped
from aerie_identity.logic.token_formats import method_of
from aerie_identity.logic.tokens import Refused, TokenBody

if TYPE_CHECKING:
    from aerie_identity.container import Identity

LOG = logging.getLogger(__name__)


def trusted(svc: Identity, idp_id: str, protocol_id: str) -> tuple[IdentityProvider, Protocol]:
    """The identity provider and its protocol, if logins by them are accepted. Raises Missing or Forbidden."""
    known = svc.federations.get()
    idp, protocol = known.providers.get(idp_id), known.protocols.get((idp_id, protocol_id))
    if idp is None:
        raise Missing("identity provider", idp_id)
    if protocol is None:
        raise Missing("protocol", protocol_id)
    if not idp.enabled:
        raise Forbidden(f"Identity Provider {idp_id} is disabled.")
    if not {"mapped", protocol_id} & set(svc.conf.auth.methods):
        raise AuthMethodUnknown()
    if protocol_id not in svc.conf.federation.openid_protocols:
        raise NotImplementedHere(f"Logins by the protocol {protocol_id} are not available in this cloud.")
    return idp, protocol


def log_in(
    svc: Identity, idp_id: str, protocol_id: str, bearer: str | None, nonce: str | None = None
) -> tuple[str, TokenBody]:
    """An unscoped token for whom the identity provider's token is about. Raises Unauthorized or NeedsMore."""
    idp, protocol = trusted(svc, idp_id, protocol_id)
    try:
        if not bearer:
            raise Refused("no token of an identity provider was sent")
        claims = svc.openid.verify(idp, bearer, nonce)
        asserted = openid.assertion(claims)
        _check_remote_id(idp, protocol, asserted)
        return _token(svc, idp, protocol, asserted)
    except (Refused, Unmapped) as e:
        LOG.info("a login by %s was refused: %s", idp_id, e)
        raise Unauthorized() from None


def _check_remote_id(idp: IdentityProvider, protocol: Protocol, asserted: Assertion) -> None:
    """Where the protocol says which attribute names the identity provider, that one must do so too."""
    attribute = protocol.remote_id_attribute
    if attribute and not set(asserted.get(attribute, ())) & set(idp.remote_ids):
        raise Refused(f"{attribute} is not one of the remote ids of {idp.id}")


def _token(svc: Identity, idp: IdentityProvider, protocol: Protocol, asserted: Assertion) -> tuple[str, TokenBody]:
    mapping = svc.federations.get().mappings.get(protocol.mapping_id)
    if mapping is None:
        raise Refused(f"the mapping {protocol.mapping_id} is gone")
    mapped = mapping_rules.apply(mapping.rules, asserted, mapping.schema_version)
    method = method_of(protocol.id)
    if mapped.user is not None and mapped.user.type == "local":
        login = _local(svc, mapped.user, idp)
        auth.require_factors(svc, login, [method])
        return auth.issue(svc, login, auth.Target(), (method,))
    if mapped.user is None or not (mapped.user.id or mapped.user.name):
        mapped = mapping_rules.named(mapped, asserted.get("REMOTE_USER", ()))
    login = federated_users.sign_in(svc, idp, protocol, mapped)
    auth.check_alive(login)
    return auth.issue(svc, login, auth.Target(), (method,), federation=(idp.id, protocol.id))


def _local(svc: Identity, user: MappedUser, idp: IdentityProvider) -> Login:
    """The user of this cloud that the mapping names."""
    if not user.id and not (user.name and user.domain):
        raise Refused("the mapping names a local user without id, or name and domain")
    login = auth.find_login(svc, {"id": user.id} if user.id else {"name": user.name, "domain": user.domain})
    if login is None:
        raise Refused("the mapping names a local user that does not exist")
    auth.check_alive(login)
    return login
