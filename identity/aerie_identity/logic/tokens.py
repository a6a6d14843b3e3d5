# SPDX-License-Identifier: Apache-2.0
"""What tokens say and whether they hold. A token stores nothing: each validation builds its body from the database
(user, scope, roles of now) and refuses it if anything it rests on is disabled, gone or revoked.

Invariant: a body that was built is used for one revocation epoch only, so it is never older than the last revocation.
"""

from __future__ import annotations

import base64
import datetime
import os
from typing import TYPE_CHECKING, Any

import orjson
import sqlalchemy as sa

from aerie_common.auth import TokenCache
from aerie_common.db import retried, utcnow
from aerie_common.fields import isoformat_micros
from aerie_identity.db import federated_users, grants
from aerie_identity.db import tokens as db
from aerie_identity.db.models import Project, Role
from aerie_identity.logic.catalogs import CatalogJson
from aerie_identity.logic.token_formats import Payload

if TYPE_CHECKING:
    from aerie_identity.container import Identity


class TokenBody(dict[str, Any]):
    """What stands under "token" in a reply; knows itself as JSON, ready to be sent."""

    __slots__ = ("json", "json_without_catalog", "payload")
    json: bytes
    json_without_catalog: bytes
    payload: Payload

    @classmethod
    def of(cls, parts: dict[str, Any], payload: Payload, catalog: CatalogJson | None = None) -> TokenBody:
        body = cls(parts)
        body.payload = payload
        body.json_without_catalog = body.json = orjson.dumps({"token": parts})
        if catalog is not None:
            body["catalog"], fragment = catalog
            body.json = orjson.dumps({"token": {**parts, "catalog": fragment}})
        return body


class Refused(Exception):
    """A token or login does not hold; the text is for the log, never for the caller."""


def new_audit_id() -> str:
    return base64.urlsafe_b64encode(os.urandom(16)).rstrip(b"=").decode()


def _domain(domain: Project) -> dict[str, str]:
    return {"id": domain.id, "name": domain.name}


def build(svc: Identity, conn: sa.Connection, payload: Payload) -> TokenBody:
    """The token's body as of now. Raises Refused when it does not hold. At most four statements."""
    found = db.subject(conn, payload.user_id, payload.scope_id, payload.audit_ids)
    if found is None:
        raise Refused("its user or scope is gone")
    user, scope = found.user, found.scope
    if found.revoked:
        raise Refused("it was revoked")
    _check_alive(user.enabled, user.tokens_since, payload, "user")
    _check_alive(found.domain.enabled, found.domain.tokens_since, payload, "user's domain")
    parts: dict[str, Any] = {
        "methods": list(payload.methods),
        "user": {
            "domain": _domain(found.domain),
            "id": user.id,
            "name": user.name,
            "password_expires_at": isoformat_micros(found.password_expires_at),
        },
        "audit_ids": list(payload.audit_ids),
        "expires_at": isoformat_micros(payload.expires_at),
        "issued_at": isoformat_micros(payload.issued_at),
    }
    if payload.federation:
        parts["user"]["OS-FEDERATION"] = _federation(svc, conn, payload, *payload.federation)
    project_id: str | None = None
    granted: list[str] = []
    if payload.scope == "project":
        if scope is None or found.scope_domain is None and not scope.is_domain:
            raise Refused("its project is gone")
        domain = found.scope_domain or scope
        _check_alive(scope.enabled, scope.tokens_since, payload, "project")
        _check_alive(domain.enabled, domain.tokens_since, payload, "project's domain")
        parts["project"] = {"domain": _domain(domain), "id": scope.id, "name": scope.name}
        parts["is_domain"] = scope.is_domain
        project_id = scope.id
        granted = grants.roles_on_project(conn, user.id, scope)
    elif payload.scope == "domain":
        if scope is None or not scope.is_domain:
            raise Refused("its domain is gone")
        _check_alive(scope.enabled, scope.tokens_since, payload, "domain")
        parts["domain"] = _domain(scope)
        granted = grants.roles_on_domain(conn, user.id, scope.id)
    elif payload.scope == "system":
        parts["system"] = {"all": True}
        granted = grants.roles_on_system(conn, user.id)
    graph = svc.roles.get()
    roles: list[Role] = graph.effective(granted)
    if payload.application_credential_id:
        roles = _with_application_credential(svc, conn, payload, parts, roles)
    if payload.trust_id:
        roles = _with_trust(svc, conn, payload, parts, roles)
    if payload.scope == "unscoped":
        return TokenBody.of(parts, payload)
    if not roles:
        raise Refused("no role is left on its scope")
    parts["roles"] = [{"id": role.id, "name": role.name} for role in roles]
    if offered := svc.federations.get().service_providers:
        parts["service_providers"] = offered
    return TokenBody.of(parts, payload, svc.catalog.get().for_scope(user.id, project_id))


def _federation(svc: Identity, conn: sa.Connection, payload: Payload, idp_id: str, protocol_id: str) -> dict[str, Any]:
    """By whom an ephemeral user came, and with which groups."""
    if not svc.federations.get().trusts(idp_id, protocol_id):
        raise Refused("its identity provider is disabled or gone")
    groups = federated_users.lent(conn, payload.user_id, idp_id, utcnow())
    return {
        "groups": [{"id": id} for id in groups],
        "identity_provider": {"id": idp_id},
        "protocol": {"id": protocol_id},
    }


def _check_alive(enabled: bool, since: datetime.datetime | None, payload: Payload, what: str) -> None:
    if not enabled:
        raise Refused(f"its {what} is disabled")
    if since is not None and payload.issued_at < since:
        raise Refused(f"all tokens of its {what} were revoked")


def _with_application_credential(
    svc: Identity, conn: sa.Connection, payload: Payload, parts: dict[str, Any], roles: list[Role]
) -> list[Role]:
    """Only the credential's roles, and only those that the user still has."""
    from aerie_identity.db import application_credentials

    found = application_credentials.get(conn, payload.application_credential_id or "")
    if found is None or found.user_id != payload.user_id:
        raise Refused("its application credential is gone")
    if found.expires_at is not None and found.expires_at <= utcnow():
        raise Refused("its application credential has expired")
    shown: dict[str, Any] = {"id": found.id, "name": found.name, "restricted": not found.unrestricted}
    if found.access_rules is not None:
        shown["access_rules"] = [
            {"id": r.id, "service": r.service, "method": r.method, "path": r.path} for r in found.access_rules
        ]
    parts["application_credential"] = shown
    allowed = set(svc.roles.get().expand(found.roles))
    return [role for role in roles if role.id in allowed]


def _with_trust(
    svc: Identity, conn: sa.Connection, payload: Payload, parts: dict[str, Any], roles: list[Role]
) -> list[Role]:
    """The trust's roles, all of which the trustor must still have. The token's user is the trustor when the trust
    impersonates, else the trustee."""
    from aerie_identity.db import trusts

    trust = trusts.get(conn, payload.trust_id or "")
    if trust is None or (trust.expires_at is not None and trust.expires_at <= utcnow()):
        raise Refused("its trust is gone")
    for user_id in {trust.trustor_user_id, trust.trustee_user_id} - {payload.user_id}:
        other = db.subject(conn, user_id, None)
        if other is None:
            raise Refused("the trust's other user is gone")
        _check_alive(other.user.enabled, other.user.tokens_since, payload, "trust's other user")
        _check_alive(other.domain.enabled, other.domain.tokens_since, payload, "trust's other user's domain")
    graph = svc.roles.get()
    if payload.user_id != trust.trustor_user_id and payload.scope == "project":
        project = db.subject(conn, trust.trustor_user_id, payload.scope_id)
        if project is None or project.scope is None:
            raise Refused("its project is gone")
        roles = graph.effective(grants.roles_on_project(conn, trust.trustor_user_id, project.scope))
    has = {role.id for role in roles}
    if not has.issuperset(trust.roles):
        raise Refused("the trustor has lost a role of the trust")
    parts["OS-TRUST:trust"] = {
        "id": trust.id,
        "trustor_user": {"id": trust.trustor_user_id},
        "trustee_user": {"id": trust.trustee_user_id},
        "impersonation": trust.impersonation,
    }
    allowed = set(graph.expand(trust.roles))
    return [role for role in roles if role.id in allowed]


class LocalTokens:
    """TokenSource of the identity service itself: no call, only the database."""

    def __init__(self, svc: Identity) -> None:
        self._svc = svc

    @retried
    def validate(self, token: str) -> dict[str, Any] | None:
        payload = self._svc.token_format.unpack(token)
        if payload is None or payload.receipt or payload.expires_at <= utcnow():
            return None
        with self._svc.db.read() as conn:
            try:
                return build(self._svc, conn, payload)
            except Refused:
                return None

    def epoch(self) -> str:
        return str(self._svc.epoch.current())


class LocalTokenCache(TokenCache):
    """Validated tokens of this process, which sees its own revocations at once."""

    def _look_at_epoch(self) -> None:
        epoch = self._source.epoch()
        if epoch != self._epoch:
            with self._lock:
                self._tokens.clear()
                self._epoch = epoch


def revoke(svc: Identity, body: TokenBody) -> None:
    """This token holds no longer, anywhere; with the first token of a chain go all that were made from it."""
    with svc.db.write() as conn:
        db.revoke(conn, audit_id=body.payload.audit_ids[0])
        db.purge_revocations(conn, utcnow() - datetime.timedelta(seconds=svc.conf.token.expiration + 3600))
        svc.epoch.bump(conn)
