# SPDX-License-Identifier: Apache-2.0
"""Users that identity providers vouch for.

An ephemeral user gets a row of its own here at the first login, whose id follows from who says so about whom: the same
person is the same user for ever. A row may also be made beforehand (`federated` of a user), or belong to a user with a
password too.

Invariants: an identity provider never makes anybody another one's user, nor a local user of the same name; groups last
as long as the token they came with, or as long as the identity provider's authorization_ttl says, and a group that a
later login does not bring any more is lost at once.
"""

from __future__ import annotations

import datetime
import hashlib
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import orjson
import sqlalchemy as sa

from aerie_common.context import Context, admin_context
from aerie_common.db import retried, utcnow
from aerie_common.errors import BadRequest, Conflict, Forbidden
from aerie_common.listing import Listing
from aerie_identity.db import federated_users as db
from aerie_identity.db import grants
from aerie_identity.db import tables as t
from aerie_identity.db import tokens as token_db
from aerie_identity.db.models import (
    FEDERATED_USERS,
    GROUPS,
    IDENTITY_PROVIDERS,
    PROJECTS,
    PROTOCOLS,
    USERS,
    Assignment,
    FederatedUser,
    IdentityProvider,
    Project,
    Protocol,
    User,
)
from aerie_identity.logic import projects as project_logic
from aerie_identity.logic.common import unique
from aerie_identity.logic.mapping_rules import Domain, Mapped, MappedGroup, MappedProject, MappedUser
from aerie_identity.logic.tokens import Refused

if TYPE_CHECKING:
    from aerie_identity.container import Identity

LOG = logging.getLogger(__name__)


def user_id_of(domain_id: str, idp_id: str, protocol_id: str, unique_id: str) -> str:
    """The id of a user that is made at the first login: the same on every cloud with the same domain."""
    seed = orjson.dumps([domain_id, idp_id, protocol_id, unique_id])
    return hashlib.sha256(seed).hexdigest()[:32]


def sign_in(svc: Identity, idp: IdentityProvider, protocol: Protocol, mapped: Mapped) -> token_db.Login:
    """The user an identity provider vouches for, made when there was none, with the groups and projects that the
    mapping gives. Refused when the mapping names what does not exist."""
    user = mapped.user
    if user is None or not (user.id or user.name):
        raise Refused("the mapping names no user")
    unique_id, name = user.id or user.name or "", user.name or user.id or ""
    if len(unique_id) > 255 or len(name) > 255:
        raise Refused("the user's name is too long")
    with svc.db.read() as conn:
        home = _domain(conn, user.domain, idp.domain_id)
        grants_wanted = [_project_grants(svc, conn, project, idp) for project in mapped.projects]
        groups = _groups(conn, mapped.groups, idp.domain_id)
    found: list[Assignment] = []
    for home_id, project_name, role_ids in grants_wanted:
        target = _project(svc, home_id, project_name)
        found += [Assignment("user", "", "project", target, role_id) for role_id in role_ids]
    user_id = _store(svc, idp, protocol, FederatedUser(idp.id, protocol.id, unique_id, "", name), user, home, groups,
                     found)  # fmt: skip
    with svc.db.read() as conn:
        login = token_db.login_by_id(conn, user_id)
    if login is None:
        raise Refused(f"user {user_id} is gone")
    return login


@retried
def _store(
    svc: Identity,
    idp: IdentityProvider,
    protocol: Protocol,
    asserted: FederatedUser,
    user: MappedUser,
    home: Project,
    groups: list[str],
    assignments: list[Assignment],
) -> str:
    """Everything a login brings, in one transaction. Returns the user's id."""
    with svc.db.write() as conn:
        known = db.get(conn, idp.id, protocol.id, asserted.unique_id)
        if known is None:
            user_id = _make(conn, asserted, user, home)
        else:
            user_id = known.user_id
            _refresh(conn, known, asserted, user)
        moved = db.lend(conn, user_id, idp.id, groups, _until(svc, idp))
        for grant in assignments:
            grants.insert(conn, Assignment("user", user_id, grant.target_type, grant.target_id, grant.role_id))
        if moved:
            svc.epoch.bump(conn)
    return user_id


def before_groups_end(svc: Identity, user_id: str, expires_at: datetime.datetime) -> datetime.datetime:
    """The time, or an earlier one at which the user loses a group: for tokens without an identity provider's login."""
    if not svc.federations.get().in_use:
        return expires_at
    with svc.db.read() as conn:
        end = db.first_end(conn, user_id, utcnow())
    return expires_at if end is None else min(expires_at, end)


def _until(svc: Identity, idp: IdentityProvider) -> datetime.datetime:
    minutes = idp.authorization_ttl
    if minutes is None:
        minutes = svc.conf.federation.default_authorization_ttl
    seconds = max(60 * minutes, svc.conf.token.expiration + 1)
    return utcnow() + datetime.timedelta(seconds=seconds)


def _free_name(conn: sa.Connection, name: str, home: Project, user_id: str) -> str:
    """The name, or something near it where somebody else of the domain has it."""
    u = t.users.c
    taken = USERS.one(conn, u.domain_id == home.id, u.name == name, u.id != user_id)
    return name if taken is None else f"{name[:240]} ({user_id[:8]})"


def _make(conn: sa.Connection, asserted: FederatedUser, user: MappedUser, home: Project) -> str:
    user_id = user_id_of(home.id, asserted.idp_id, asserted.protocol_id, asserted.unique_id)
    if USERS.get(conn, user_id) is None:
        name = _free_name(conn, asserted.display_name or asserted.unique_id, home, user_id)
        row = User(user_id, home.id, name, extra=_with_email({}, user), created_at=utcnow())
        with unique("user", row.name):
            USERS.insert(conn, row)
    row_here = FederatedUser(asserted.idp_id, asserted.protocol_id, asserted.unique_id, user_id, asserted.display_name)
    with unique("federated user", asserted.unique_id, "unique ID"):
        FEDERATED_USERS.insert(conn, row_here)
    LOG.info("user %s is made for a user of %s", user_id, asserted.idp_id)
    return user_id


def _with_email(extra: dict[str, Any], user: MappedUser) -> dict[str, Any]:
    return {**extra, "email": user.email} if user.email else extra


def _refresh(conn: sa.Connection, known: FederatedUser, asserted: FederatedUser, user: MappedUser) -> None:
    """Follow a changed name or address; a user who has a password is of this cloud and keeps both."""
    name = asserted.display_name
    if name and name != known.display_name:
        db.set_display_name(conn, known, name)
    found = token_db.login_by_id(conn, known.user_id)
    if found is None or found.password is not None:
        return
    changes: dict[str, Any] = {}
    if name and name != known.display_name:
        changes["name"] = _free_name(conn, name, found.domain, known.user_id)
    if user.email and found.user.extra.get("email") != user.email:
        changes["extra"] = _with_email(found.user.extra, user)
    USERS.update(conn, known.user_id, **changes)


# ---------------------------------------------------------------------------------------- what the mapping's names mean


def _domain(conn: sa.Connection, named: Domain | None, default: str) -> Project:
    """The domain a mapping names, else the identity provider's."""
    if named and named.get("name") and not named.get("id"):
        found = token_db.domain_by_name(conn, named["name"])
    else:
        found = PROJECTS.get(conn, (named or {}).get("id") or default)
    if found is None or not found.is_domain:
        raise Refused(f"the mapping names a domain that does not exist: {named}")
    return found


def _groups(conn: sa.Connection, wanted: Iterable[MappedGroup], default: str) -> list[str]:
    """Ids of the groups that exist."""
    g, found = t.groups.c, dict[str, None]()
    for group in wanted:
        if group.id is not None:
            row = GROUPS.get(conn, group.id)
        else:
            home = _domain(conn, group.domain, default)
            row = GROUPS.one(conn, g.domain_id == home.id, g.name == group.name)
        if row is None:
            LOG.info("the mapping names a group that does not exist: %s", group)
        else:
            found[row.id] = None
    return list(found)


def _project_grants(
    svc: Identity, conn: sa.Connection, project: MappedProject, idp: IdentityProvider
) -> tuple[str, str, list[str]]:
    """Domain, name and role ids of a project that the mapping gives."""
    home = _domain(conn, project.domain, idp.domain_id)
    by_name = {r.name: r.id for r in svc.roles.get().roles.values() if r.domain_id == home.id}
    by_name |= {r.name: r.id for r in svc.roles.get().roles.values() if not r.domain_id}
    missing = [name for name in project.roles if name not in by_name]
    if missing:
        raise Refused(f"the mapping names roles that do not exist: {missing}")
    return home.id, project.name, [by_name[name] for name in project.roles]


def _project(svc: Identity, domain_id: str, name: str) -> str:
    """The project's id; made when there is none of that name."""
    p = t.projects.c
    with svc.db.read() as conn:
        found = PROJECTS.one(conn, p.domain_id == domain_id, p.name == name)
    if found is not None:
        return found.id
    try:
        return project_logic.create(svc, admin_context(), domain_id=domain_id, values={"name": name})[0].id
    except Conflict:  # another login made it meanwhile
        with svc.db.read() as conn:
            found = PROJECTS.one(conn, p.domain_id == domain_id, p.name == name)
        if found is None:
            raise
        return found.id


# ----------------------------------------------------------------------------------------- `federated` of a user's body


def shown(rows: Iterable[FederatedUser]) -> list[dict[str, Any]]:
    """As users show it: for each identity provider, its protocols and who the user is there."""
    found: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        found.setdefault(row.idp_id, []).append({"protocol_id": row.protocol_id, "unique_id": row.unique_id})
    return [{"idp_id": idp_id, "protocols": protocols} for idp_id, protocols in found.items()]


def of_user(svc: Identity, user_id: str) -> dict[str, Any]:
    """The attribute `federated`, for a user that has it."""
    with svc.db.read() as conn:
        found = db.of_user(conn, user_id)
    return {"federated": shown(found)} if found else {}


def wanted(listing: Listing) -> list[sa.ColumnElement[bool]]:
    """Conditions of a list of users: idp_id, protocol_id, unique_id."""
    named = {n: listing.filters[n][-1] for n in ("idp_id", "protocol_id", "unique_id") if n in listing.filters}
    return [db.matching(**named)] if named else []


def link(conn: sa.Connection, ctx: Context, user: User, sent: list[dict[str, Any]] | None) -> None:
    """Say who a user is to identity providers. BadRequest for one that does not exist, Conflict for somebody taken;
    whoever does not administer the cloud may do so for identity providers of the user's domain only."""
    if sent is None:
        return
    rows, p = [], t.protocols.c
    for each in sent:
        idp = IDENTITY_PROVIDERS.get(conn, each["idp_id"])
        if idp is not None and idp.domain_id != user.domain_id and not ctx.is_admin:
            raise Forbidden("The identity provider is of another domain than the user.")
        for protocol in each["protocols"]:
            if PROTOCOLS.one(conn, p.idp_id == each["idp_id"], p.id == protocol["protocol_id"]) is None:
                raise BadRequest(f"{each['idp_id']} is no identity provider with protocol {protocol['protocol_id']}.")
            rows.append(
                FederatedUser(each["idp_id"], protocol["protocol_id"], protocol["unique_id"], user.id, user.name)
            )
    with unique("federated user", ", ".join(row.unique_id for row in rows), "unique ID"):
        db.replace(conn, user.id, rows)
