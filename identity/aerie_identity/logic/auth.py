# SPDX-License-Identifier: Apache-2.0
"""Logging in: who the caller proves to be, for which scope, and the token for it.

Each method is one function from its part of the request to a Proof. A refusal never says which part was wrong: unknown
user, wrong password, locked or disabled account all end in the same Unauthorized after the same work.
"""

from __future__ import annotations

import datetime
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from aerie_common.db import retried, utcnow
from aerie_common.errors import BadRequest, Forbidden, Unauthorized
from aerie_common.fields import isoformat_micros
from aerie_identity.db import application_credentials, grants, trusts
from aerie_identity.db import tokens as db
from aerie_identity.db.models import APPLICATION_CREDENTIALS, PROJECTS, USERS, Trust, User
from aerie_identity.db.tables import application_credentials as credential_table
from aerie_identity.errors import AuthMethodUnknown, BadScope, PasswordExpired
from aerie_identity.logic import directories, federated_users, totp
from aerie_identity.logic.token_formats import Payload, Scope
from aerie_identity.logic.tokens import Refused, TokenBody, build, new_audit_id

if TYPE_CHECKING:
    from aerie_identity.container import Identity

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Proof:
    """What one method proved. parent: the token that was shown. user_options: of the user."""

    login: db.Login
    methods: tuple[str, ...]
    parent: TokenBody | None = None
    application_credential_id: str | None = None


@dataclass(frozen=True)
class Target:
    """The scope asked for. given: False when the request named none at all."""

    scope: Scope = "unscoped"
    scope_id: str | None = None
    trust: Trust | None = None
    given: bool = True


class NeedsMore(Exception):
    """Some factors are proven, others are still needed: the caller gets a receipt, described by the body."""

    def __init__(self, receipt: str, body: dict[str, Any]) -> None:
        super().__init__("further factors are needed")
        self.receipt, self.body = receipt, body


def authenticate(svc: Identity, auth: dict[str, Any], receipt: str | None = None) -> tuple[str, TokenBody]:
    """The token and its body for an authentication request. Raises Unauthorized, Forbidden or NeedsMore."""
    began = time.monotonic()
    try:
        return _authenticate(svc, auth, receipt)
    except Refused as e:
        LOG.info("a login was refused: %s", e)
        delay = svc.conf.security_compliance.failed_login_delay / 1000 - (time.monotonic() - began)
        if delay > 0:
            time.sleep(delay)
        raise Unauthorized() from None


def _authenticate(svc: Identity, auth: dict[str, Any], receipt: str | None) -> tuple[str, TokenBody]:
    identity = auth["identity"]
    names = list(dict.fromkeys(identity["methods"]))
    if not names:
        raise BadRequest("The request names no authentication method.")
    for name in names:
        if name not in METHODS or name not in svc.conf.auth.methods:
            raise AuthMethodUnknown()
        if name not in identity:
            raise BadRequest(f"The request lacks the part {name!r} that its methods name.")
    proofs = [METHODS[name](svc, identity[name]) for name in names]
    proof = proofs[0]
    if any(p.login.user.id != proof.login.user.id for p in proofs):
        raise Refused("the methods prove different users")
    methods = [m for p in proofs for m in p.methods]
    if receipt:
        methods += _read_receipt(svc, receipt, proof.login)
    methods = list(dict.fromkeys(methods))
    parent = next((p.parent for p in proofs if p.parent), None)
    credential_id = next((p.application_credential_id for p in proofs if p.application_credential_id), None)
    if parent is None:
        require_factors(svc, proof.login, methods)
        forget_failures(svc, proof.login)
    target = _target(svc, auth.get("scope"), proof, parent, credential_id)
    return issue(svc, proof.login, target, tuple(methods), parent=parent, application_credential_id=credential_id)


@retried
def issue(
    svc: Identity,
    login: db.Login,
    target: Target,
    methods: tuple[str, ...],
    *,
    parent: TokenBody | None = None,
    application_credential_id: str | None = None,
    federation: tuple[str, str] | None = None,
) -> tuple[str, TokenBody]:
    """A new token. Refused when the user may not have it on that scope.

    federation: identity provider and protocol by which an ephemeral user logs in.
    """
    directories.touch(svc, login.user)
    now = utcnow()
    since = login.user.tokens_since
    issued_at = max(now, since) if since else now
    expires_at = issued_at + datetime.timedelta(seconds=svc.conf.token.expiration)
    audit_ids: tuple[str, ...] = (new_audit_id(),)
    if parent is not None:
        expires_at = parent.payload.expires_at
        audit_ids = (*audit_ids, parent.payload.audit_ids[-1])
    user_id, trust = login.user.id, target.trust
    if trust is not None:
        user_id = trust.trustor_user_id if trust.impersonation else trust.trustee_user_id
        if trust.expires_at is not None:
            expires_at = min(expires_at, trust.expires_at)
    if parent is None and federation is None:
        holder = trust.trustor_user_id if trust is not None else user_id
        expires_at = federated_users.before_groups_end(svc, holder, expires_at)
    payload = Payload(
        user_id=user_id,
        methods=methods,
        issued_at=issued_at,
        expires_at=expires_at,
        audit_ids=audit_ids,
        scope=target.scope,
        scope_id=target.scope_id,
        trust_id=trust.id if trust else None,
        application_credential_id=application_credential_id,
        federation=parent.payload.federation if parent is not None and trust is None else federation,
    )
    if trust is not None and trust.remaining_uses is not None:
        with svc.db.write() as conn:
            body = _build_trusted(svc, conn, payload)
            if not trusts.use(conn, trust.id):
                raise Forbidden("The trust has no remaining uses.")
    else:
        with svc.db.read() as conn:
            body = _build_trusted(svc, conn, payload) if trust else build(svc, conn, payload)
    return svc.token_format.pack(payload), body


def _build_trusted(svc: Identity, conn: sa.Connection, payload: Payload) -> TokenBody:
    try:
        return build(svc, conn, payload)
    except Refused as e:
        raise Forbidden(f"The trust cannot be used: {e}.") from None


# ------------------------------------------------------------------------------------------------------------ methods


def find_login(svc: Identity, user: dict[str, Any]) -> db.Login | None:
    """The user a request names: by id, or by name and domain."""
    return directories.locate(svc, user, _find_login(svc, user))


def _find_login(svc: Identity, user: dict[str, Any]) -> db.Login | None:
    with svc.db.read() as conn:
        if user.get("id") is not None:
            return db.login_by_id(conn, user["id"])
        domain = user.get("domain") or {}
        if user.get("name") is None:
            raise BadRequest("The user must be named by id, or by name and domain.")
        if not domain.get("id") and not domain.get("name"):
            raise BadRequest("A user that is named by name needs a domain (id or name).")
        return db.login_by_name(conn, user["name"], domain_id=domain.get("id"), domain_name=domain.get("name"))


def check_alive(login: db.Login) -> None:
    if not login.user.enabled or not login.domain.enabled:
        raise Refused(f"user {login.user.id} or its domain is disabled")


def _password(svc: Identity, data: dict[str, Any]) -> Proof:
    user = data["user"]
    login = check_password(svc, find_login(svc, user), user["password"])
    password = login.password
    expiring = password is not None and password.expires_at is not None and password.expires_at <= utcnow()
    if expiring and not login.user.options.get("ignore_password_expiry"):
        raise PasswordExpired(user_id=login.user.id)
    if isinstance(login, directories.Located):
        directories.admit(svc, login)
    return Proof(login, ("password",))


def check_password(svc: Identity, login: db.Login | None, password: str) -> db.Login:
    """The login, if the password is right and the account neither locked nor disabled. A refusal always costs one
    check of a hash: a password remembered as right would else be told by its speed, even of a locked account."""
    barred = "there is no such user" if login is None else _barred(svc, login)
    stored = login.password.hash if login and login.password else None
    good = isinstance(login, directories.Located) and barred is None and directories.proves(login, password)
    good = good or svc.hasher.verify(password, stored, remembered=barred is None)
    if login is None or barred is not None:
        raise Refused(barred or "")
    if not good:
        _count_failure(svc, login)
        raise Refused(f"wrong password for user {login.user.id}")
    _note_activity(svc, login)
    return login


def _barred(svc: Identity, login: db.Login) -> str | None:
    """Why this user may not log in, whatever the password."""
    user = login.user
    if not user.enabled or not login.domain.enabled:
        return f"user {user.id} or its domain is disabled"
    if _locked(svc, login):
        return f"user {user.id} is locked out"
    days = svc.conf.security_compliance.disable_user_account_days_inactive
    if days and not user.options.get("ignore_user_inactivity"):
        idle = (utcnow().date() - _last_seen(user)).days
        if idle > days:
            return f"user {user.id} was inactive for {idle} days"
    return None


def _last_seen(user: User) -> datetime.date:
    created = user.created_at.date() if user.created_at else utcnow().date()
    return user.last_active_at or created


def _locked(svc: Identity, login: db.Login) -> bool:
    options = svc.conf.security_compliance
    if not options.lockout_failure_attempts or login.user.options.get("ignore_lockout_failure_attempts"):
        return False
    if login.user.failed_logins < options.lockout_failure_attempts or login.user.failed_login_at is None:
        return False
    return bool(utcnow() - login.user.failed_login_at < datetime.timedelta(seconds=options.lockout_duration))


@retried
def _count_failure(svc: Identity, login: db.Login) -> None:
    options = svc.conf.security_compliance
    if not options.lockout_failure_attempts:
        return
    now = utcnow()
    began = login.user.failed_login_at
    old = began is not None and now - began >= datetime.timedelta(seconds=options.lockout_duration)
    with svc.db.write() as conn:
        count: Any = 1 if old else USERS.table.c.failed_logins + 1
        USERS.update(conn, login.user.id, failed_logins=count, failed_login_at=now)


@retried
def forget_failures(svc: Identity, login: db.Login) -> None:
    """Begin to count anew, once everything that is needed is proven: a right password must not undo that passcodes
    are guessed beside it."""
    if not login.user.failed_logins:
        return
    with svc.db.write() as conn:
        USERS.update(conn, login.user.id, failed_logins=0, failed_login_at=None)


@retried
def _note_activity(svc: Identity, login: db.Login) -> None:
    """Keep the day of the last login where accounts nobody uses are refused."""
    today = utcnow().date()
    if svc.conf.security_compliance.disable_user_account_days_inactive and login.user.last_active_at != today:
        with svc.db.write() as conn:
            USERS.update(conn, login.user.id, last_active_at=today)


def _token(svc: Identity, data: dict[str, Any]) -> Proof:
    body = svc.token_cache.validate(data["id"])
    if not isinstance(body, TokenBody):
        raise Refused("the token shown is not valid")
    if body.payload.scope != "unscoped" and not svc.conf.token.allow_rescope_scoped_token:
        raise Forbidden("A scoped token must not be exchanged for another.")
    if body.payload.trust_id or body.payload.application_credential_id:
        raise Forbidden("A token made from a trust or an application credential cannot be exchanged for another.")
    with svc.db.read() as conn:
        login = db.login_by_id(conn, body["user"]["id"])
    if login is None:
        raise Refused("the token's user is gone")
    check_alive(login)
    return Proof(login, (*body.payload.methods, "token"), parent=body)


def _application_credential(svc: Identity, data: dict[str, Any]) -> Proof:
    secret, login, found = data["secret"], None, None
    with svc.db.read() as conn:
        if data.get("id"):
            found = APPLICATION_CREDENTIALS.get(conn, data["id"])
            if found is not None:
                login = db.login_by_id(conn, found.user_id)
    if not data.get("id"):
        if not data.get("name") or not data.get("user"):
            raise BadRequest("An application credential is named by id, or by name and user.")
        login = find_login(svc, data["user"])
        if login is not None:
            with svc.db.read() as conn:
                c = credential_table.c
                found = APPLICATION_CREDENTIALS.one(conn, c.user_id == login.user.id, c.name == data["name"])
    good = svc.hasher.verify(secret, found.secret_hash if found else None)
    if not good or found is None or login is None:
        raise Refused("no such application credential, or the wrong secret")
    if found.expires_at is not None and found.expires_at <= utcnow():
        raise Refused(f"application credential {found.id} has expired")
    check_alive(login)
    return Proof(login, ("application_credential",), application_credential_id=found.id)


def _totp(svc: Identity, data: dict[str, Any]) -> Proof:
    user = data["user"]
    login = find_login(svc, user)
    barred = "there is no such user" if login is None else _barred(svc, login)
    if login is None or barred is not None:
        raise Refused(barred or "")
    if not totp.verify(svc, login.user.id, str(user["passcode"])):
        _count_failure(svc, login)
        raise Refused(f"wrong passcode for user {login.user.id}")
    return Proof(login, ("totp",))


METHODS: dict[str, Callable[[Any, dict[str, Any]], Proof]] = {
    "password": _password,
    "token": _token,
    "application_credential": _application_credential,
    "totp": _totp,
}

# ------------------------------------------------------------------------------------------------------ several factors


def _rules(login: db.Login) -> list[list[str]]:
    """The user's rules, one of which must be fulfilled; none where they are switched off."""
    options = login.user.options
    if not options.get("multi_factor_auth_enabled", True):
        return []
    return [rule for rule in options.get("multi_factor_auth_rules") or [] if rule]


def require_factors(svc: Identity, login: db.Login, methods: list[str]) -> None:
    """Raise NeedsMore unless one of the user's rules is fulfilled. A method that this cloud does not offer is not asked
    for: switching one off must lock nobody out."""
    rules = _rules(login)
    offered = set(METHODS) & set(svc.conf.auth.methods)
    if not rules or any(set(rule) & offered <= set(methods) for rule in rules):
        return
    now = utcnow()
    payload = Payload(
        user_id=login.user.id,
        methods=tuple(methods),
        issued_at=now,
        expires_at=now + datetime.timedelta(seconds=svc.conf.auth.receipt_expiration),
        audit_ids=(new_audit_id(),),
        receipt=True,
    )
    user, domain = login.user, login.domain
    shown = {
        "methods": methods,
        "expires_at": isoformat_micros(payload.expires_at),
        "issued_at": isoformat_micros(now),
        "user": {"id": user.id, "name": user.name, "domain": {"id": domain.id, "name": domain.name}},
    }
    raise NeedsMore(svc.token_format.pack(payload), {"receipt": shown, "required_auth_methods": rules})


def _read_receipt(svc: Identity, receipt: str, login: db.Login) -> tuple[str, ...]:
    """What was proven before. What ends the user's tokens (a new password, say) ends receipts too."""
    payload = svc.token_format.unpack(receipt)
    if payload is None or not payload.receipt or payload.user_id != login.user.id or payload.expires_at <= utcnow():
        raise Refused("the receipt is not valid")
    since = max((at for at in (login.user.tokens_since, login.domain.tokens_since) if at), default=None)
    if since is not None and payload.issued_at < since:
        raise Refused("the receipt was revoked")
    return payload.methods


# -------------------------------------------------------------------------------------------------------------- scope


def _target(svc: Identity, scope: Any, proof: Proof, parent: TokenBody | None, credential_id: str | None) -> Target:
    if credential_id is not None:
        return _credential_target(svc, scope, credential_id)
    if scope == "unscoped" or isinstance(scope, dict) and "unscoped" in scope:
        return Target()
    if scope is None:
        return Target() if parent is not None else _default_target(svc, proof)
    if len(scope) != 1:
        raise BadScope("Specify exactly one of project, domain, system and OS-TRUST:trust as scope.")
    with svc.db.read() as conn:
        if "system" in scope:
            if not scope["system"].get("all"):
                raise BadScope('The system scope is {"system": {"all": true}}.')
            return Target("system")
        if "project" in scope:
            return Target("project", _project_id(conn, scope["project"]))
        if "domain" in scope:
            wanted = scope["domain"]
            name = wanted.get("name") or ""
            domain = PROJECTS.get(conn, wanted["id"]) if wanted.get("id") else db.domain_by_name(conn, name)
            if domain is None or not domain.is_domain:
                raise Refused("there is no such domain")
            return Target("domain", domain.id)
        trust = trusts.get(conn, scope["OS-TRUST:trust"]["id"])
    return _trust_target(trust, proof, parent)


def _project_id(conn: sa.Connection, wanted: dict[str, Any]) -> str:
    if wanted.get("id"):
        return str(wanted["id"])
    domain = wanted.get("domain") or {}
    if not wanted.get("name"):
        raise BadScope("The project must be named by id, or by name and domain.")
    if not domain.get("id") and not domain.get("name"):
        raise BadScope("A project that is named by name needs a domain (id or name).")
    project = db.project_by_name(conn, wanted["name"], domain_id=domain.get("id"), domain_name=domain.get("name"))
    if project is None:
        raise Refused("there is no such project")
    return project.id


def _default_target(svc: Identity, proof: Proof) -> Target:
    """The user's default project where it still is usable, else no scope."""
    user = proof.login.user
    if user.default_project_id is None:
        return Target(given=False)
    with svc.db.read() as conn:
        project = PROJECTS.get(conn, user.default_project_id)
        if project is None or not project.enabled or project.is_domain:
            return Target(given=False)
        domain = PROJECTS.get(conn, project.domain_id)
        if domain is None or not domain.enabled:
            return Target(given=False)
        usable = svc.roles.get().effective(grants.roles_on_project(conn, user.id, project))
    return Target("project", project.id, given=False) if usable else Target(given=False)


def _credential_target(svc: Identity, scope: Any, credential_id: str) -> Target:
    """The credential decides the scope; naming the same one is fine."""
    with svc.db.read() as conn:
        found = application_credentials.get(conn, credential_id)
        if found is None:
            raise Refused("the application credential is gone")
        if isinstance(scope, dict):
            same = "project" in scope and found.project_id and _project_id(conn, scope["project"]) == found.project_id
            if not same and not ("system" in scope and found.system):
                raise Refused("an application credential cannot be used for another scope")
    return Target("system") if found.system else Target("project", found.project_id)


def _trust_target(trust: Trust | None, proof: Proof, parent: TokenBody | None) -> Target:
    if trust is None or (trust.expires_at is not None and trust.expires_at <= utcnow()):
        raise Refused("there is no such trust")
    if parent is not None and parent.payload.trust_id:
        raise Forbidden("A trust cannot be used with the token of another trust.")
    if proof.login.user.id != trust.trustee_user_id:
        raise Forbidden("The user is not the trustee of the trust.")
    if trust.remaining_uses is not None and trust.remaining_uses <= 0:
        raise Forbidden("The trust has no remaining uses.")
    scope: Scope = "project" if trust.project_id else "unscoped"
    return Target(scope, trust.project_id, trust)
