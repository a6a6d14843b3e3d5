# SPDX-License-Identifier: Apache-2.0
"""Users and their passwords.

Invariant: a changed password, a disabled or a removed user ends all tokens of the user in the same transaction.
"""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from aerie_common.context import Context
from aerie_common.db import retried, utcnow
from aerie_common.errors import BadRequest, Forbidden, Unauthorized
from aerie_common.listing import Listing
from aerie_identity.db import grants
from aerie_identity.db import projects as project_db
from aerie_identity.db import tables as t
from aerie_identity.db import tokens as token_db
from aerie_identity.db import users as db
from aerie_identity.db.models import CREDENTIALS, GROUPS, USERS, Password, User
from aerie_identity.db.store import Page
from aerie_identity.errors import Missing, PasswordRefused
from aerie_identity.logic import auth, directories, federated_users
from aerie_identity.logic.common import new_id, overlay, unique
from aerie_identity.logic.projects import load_domain
from aerie_identity.logic.tokens import Refused

if TYPE_CHECKING:
    from aerie_identity.container import Identity

Expiries = Mapping[str, datetime.datetime | None]


def load(conn: sa.Connection, id: str) -> User:
    return USERS.need(conn, id, lambda: Missing("user", id))


def show(svc: Identity, id: str) -> tuple[User, datetime.datetime | None]:
    """The user and when the password expires."""
    with svc.db.read() as conn:
        row, expires = load(conn, id), db.expiries(conn, [id]).get(id)
    home = svc.directories.get(row.domain_id)
    return (directories.user(svc, home, id), None) if home else (row, expires)


def list_(svc: Identity, listing: Listing, *, group_id: str | None = None) -> tuple[Page[User], Expiries]:
    home = directories.elsewhere(svc, listing) if group_id is None else _home_of_group(svc, group_id)
    if home is not None:
        found = directories.members(svc, home, group_id, listing) if group_id else directories.users(svc, home, listing)
        return found, {}
    where = directories.only_database(svc, t.users) if group_id is None else []
    try:
        where += [db.expiring(test) for test in listing.filters.get("password_expires_at", ())]
    except ValueError:
        raise BadRequest("password_expires_at must be like lt:2026-01-01T00:00:00Z.") from None
    if group_id is not None:
        where.append(db.in_group(group_id))
    where += federated_users.wanted(listing)
    with svc.db.read() as conn:
        page = USERS.page(conn, listing, *where, limit=svc.conf.identity.list_limit)
        return page, db.expiries(conn, [row.id for row in page.rows])


def _home_of_group(svc: Identity, group_id: str) -> directories.Home | None:
    with svc.db.read() as conn:
        found = GROUPS.get(conn, group_id)
    return svc.directories.get(found.domain_id) if found else None


@retried
def create(
    svc: Identity, ctx: Context, *, domain_id: str, values: dict[str, Any]
) -> tuple[User, datetime.datetime | None]:
    """Store a user, with a password when one is given."""
    password = values.get("password")
    hashed = _hash_new(svc, password) if password is not None else None
    with svc.db.write() as conn:
        home = load_domain(conn, values.get("domain_id") or domain_id)
        directories.refuse_write(svc, home.id)
        _check_default_project(conn, values.get("default_project_id"))
        row = User(
            id=new_id(),
            domain_id=home.id,
            name=values["name"].strip() or values["name"],
            enabled=values.get("enabled", True),
            default_project_id=values.get("default_project_id"),
            options=overlay({}, values.get("options")),
            extra=values.get("extra", {}),
            created_at=utcnow(),
        )
        with unique("user", row.name):
            USERS.insert(conn, row)
        expires = _store(svc, conn, row, hashed, self_service=False) if hashed else None
        federated_users.link(conn, ctx, row, values.get("federated"))
    return row, expires


@retried
def update(svc: Identity, ctx: Context, id: str, values: dict[str, Any]) -> tuple[User, datetime.datetime | None]:
    """Change a user. A password set here needs no old one and is not compared with former ones."""
    changes: dict[str, Any] = {k: values[k] for k in ("name", "enabled", "default_project_id") if k in values}
    password = values.get("password")
    hashed = _hash_new(svc, password) if password is not None else None
    with svc.db.write() as conn:
        row = load(conn, id)
        directories.refuse_write(svc, row.domain_id)
        if values.get("domain_id", row.domain_id) != row.domain_id:
            raise BadRequest("A user's domain cannot be changed.")
        if "default_project_id" in changes:
            _check_default_project(conn, changes["default_project_id"])
        if "options" in values:
            changes["options"] = overlay(row.options, values["options"])
        if values.get("extra"):
            changes["extra"] = overlay(row.extra, values["extra"])
        if "password" in values and password is None:
            db.delete_passwords(conn, id)
        federated_users.link(conn, ctx, row, values.get("federated"))
        revoke = "password" in values or "federated" in values or (changes.get("enabled") is False and row.enabled)
        if changes.get("enabled") and not row.enabled:
            changes["last_active_at"] = None if not row.last_active_at else utcnow().date()
        if hashed:
            _store(svc, conn, row, hashed, self_service=False)
            changes |= {"failed_logins": 0, "failed_login_at": None}
        if revoke:
            changes["tokens_since"] = utcnow()
            token_db.revoke(conn, user_id=id)
        if changes:
            with unique("user", changes.get("name", row.name)):
                USERS.update(conn, id, **changes)
            svc.epoch.bump(conn)
        return dataclasses.replace(row, **changes), db.expiries(conn, [id]).get(id)


@retried
def delete(svc: Identity, ctx: Context, id: str) -> None:
    """Remove a user with grants, memberships, credentials and trusts."""
    with svc.db.write() as conn:
        directories.refuse_write(svc, load(conn, id).domain_id)
        grants.delete_of_actor(conn, "user", id)
        CREDENTIALS.delete(conn, t.credentials.c.user_id == id)
        USERS.delete(conn, t.users.c.id == id)
        token_db.revoke(conn, user_id=id)
        svc.epoch.bump(conn)


def _check_default_project(conn: sa.Connection, project_id: str | None) -> None:
    if project_id:
        found = project_db.by_ids(conn, [project_id]).get(project_id)
        if found is not None and found.is_domain:
            raise BadRequest("A domain cannot be a user's default project.")


# ---------------------------------------------------------------------------------------------------------- passwords


def change_password(svc: Identity, user_id: str, old: str, new: str) -> None:
    """What users do themselves: prove the old password, keep the rules. Works with an expired password too."""
    with svc.db.read() as conn:
        login = token_db.login_by_id(conn, user_id)
    if login is not None:
        directories.refuse_write(svc, login.user.domain_id)
    try:
        login = auth.check_password(svc, login, old)
    except Refused:
        raise Unauthorized() from None
    if login.user.options.get("lock_password"):
        raise Forbidden("This user's password is locked.")
    options = svc.conf.security_compliance
    keep = options.unique_last_password_count
    with svc.db.read() as conn:
        former = db.passwords(conn, user_id, max(keep, 1))
    age = utcnow() - former[0].created_at
    too_young = age < datetime.timedelta(days=options.minimum_password_age)
    if too_young and not _expired(login):
        raise PasswordRefused(reason=f"a password must be kept for {options.minimum_password_age} days")
    if keep and any(svc.hasher.verify(new, p.hash) for p in former):
        raise PasswordRefused(reason=f"it must differ from the last {keep}")
    _set_own(svc, login.user, _hash_new(svc, new))


def _expired(login: token_db.Login) -> bool:
    at = login.password.expires_at if login.password else None
    return at is not None and at <= utcnow()


@retried
def _set_own(svc: Identity, user: User, hashed: str) -> None:
    with svc.db.write() as conn:
        _store(svc, conn, user, hashed, self_service=True)
        USERS.update(conn, user.id, tokens_since=utcnow())
        token_db.revoke(conn, user_id=user.id)
        svc.epoch.bump(conn)


def _hash_new(svc: Identity, password: str) -> str:
    options = svc.conf.security_compliance
    limit = svc.conf.identity.max_password_length
    if len(password) > limit:
        raise PasswordRefused(reason=f"it must not be longer than {limit} characters")
    if options.password_regex and not re.match(options.password_regex, password):
        raise PasswordRefused(reason=options.password_regex_description or "it is too simple")
    return svc.hasher.hash(password)


def _store(
    svc: Identity, conn: sa.Connection, user: User, hashed: str, *, self_service: bool
) -> datetime.datetime | None:
    """Keep the hash; returns when it expires."""
    options, now = svc.conf.security_compliance, utcnow()
    expires = None
    if options.password_expires_days and not user.options.get("ignore_password_expiry"):
        expires = now + datetime.timedelta(days=options.password_expires_days)
    first_use = options.change_password_upon_first_use and not self_service
    if first_use and not user.options.get("ignore_change_password_upon_first_use"):
        expires = now
    row = Password(user_id=user.id, hash=hashed, self_service=self_service, created_at=now, expires_at=expires)
    db.add_password(conn, row, max(0, options.unique_last_password_count - 1))
    return expires
