# SPDX-License-Identifier: Apache-2.0
"""Users and groups of domains that have a directory (LDAP) of their own.

The directory is asked whenever such users log in, are shown or listed. What it says is copied to the tables of users,
groups and memberships, under ids made from domain and local id, so grants, tokens, trusts and credentials treat them
like any other user. `refresh` compares the copies of those who may be at work with the directory, again and again.

Invariants: nothing here writes to a directory. Whoever is gone or disabled there, or has left a group there, loses
tokens and roles in the transaction that notes it, at the latest `[identity] directory_refresh_interval` later while the
directory answers. A copy alone never lets anybody log in with a password.
"""

from __future__ import annotations

import datetime
import hashlib
import logging
import threading
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from oslo_db import exception as db_exc

from aerie_common.db import retried, utcnow
from aerie_common.errors import AerieError, NotFound
from aerie_common.listing import Listing
from aerie_identity.db import directories as db
from aerie_identity.db import tokens as token_db
from aerie_identity.db.models import GROUPS, PROJECTS, USERS, Group, User
from aerie_identity.db.store import Page
from aerie_identity.drivers import DRIVERS, INSTALL
from aerie_identity.drivers.base import (
    Directory,
    DirectoryDown,
    DirectoryFault,
    DirectoryGroup,
    DirectoryUser,
    NameTest,
)
from aerie_identity.errors import Missing, ReadOnlyDirectory
from aerie_identity.logic import in_memory
from aerie_identity.logic.credential_box import unseal_option
from aerie_identity.logic.epoch import ByEpoch
from aerie_identity.logic.keys import NoKeys

if TYPE_CHECKING:
    from aerie_identity.container import Identity

LOG = logging.getLogger(__name__)
TOUCH_SECONDS = 60
ATTEMPTS = 3
_PUSHED = ("", "contains", "startswith", "endswith")


@dataclass(frozen=True)
class Home:
    """A domain and its directory; driver is None when it cannot be used, for the reason that `fault` gives."""

    domain_id: str
    settings: tuple[str, dict[str, Any]]
    driver: Directory | None
    fault: str = "its configuration is not usable"

    @property
    def directory(self) -> Directory:
        if self.driver is None:
            raise DirectoryFault(reason=self.fault)
        return self.driver

    def public_id(self, kind: str, local_id: str) -> str:
        """As Keystone makes it, so that both know a user by the same id."""
        return hashlib.sha256(f"{self.domain_id}{kind}{local_id}".encode()).hexdigest()


@dataclass(frozen=True)
class Located(token_db.Login):
    """A login whose user was just looked up in a directory."""

    home: Home
    entry: DirectoryUser


class Directories:
    """The directories of all domains, by domain; remembered for one epoch, kept while their options stay."""

    def __init__(self, svc: Identity) -> None:
        self._svc = svc
        self._lock = threading.Lock()
        self._held: dict[str, Home] = {}
        self._homes = ByEpoch(svc.epoch, self._load)

    def __bool__(self) -> bool:
        return bool(self._homes.get())

    def get(self, domain_id: str | None) -> Home | None:
        return self._homes.get().get(domain_id or "")

    def domain_ids(self) -> list[str]:
        return sorted(self._homes.get())

    def homes(self) -> list[Home]:
        return list(self._homes.get().values())

    def _load(self) -> dict[str, Home]:
        with self._svc.db.read() as conn:
            found = db.drivers(conn, DRIVERS)
        with self._lock:
            homes = {domain_id: self._home(domain_id, options) for domain_id, options in found.items()}
            for domain_id, old in self._held.items():
                if old.driver is not None and homes.get(domain_id) is not old:
                    old.driver.close()
            self._held = homes
            return homes

    def _home(self, domain_id: str, options: list[tuple[str, str, Any]]) -> Home:
        name = next(value for group, option, value in options if (group, option) == ("identity", "driver"))
        settings = (name, {option: value for group, option, value in options if group == name})
        held = self._held.get(domain_id)
        if held is not None and held.settings == settings:
            return held
        # Half the threads at most: a directory that hangs leaves the others to other domains.
        slots = max(1, self._svc.conf.api.threads // 2)
        try:
            opened = {k: unseal_option(self._svc.credential_box, v) for k, v in settings[1].items()}
            return Home(domain_id, settings, DRIVERS[name](opened, slots))
        except (ValueError, NoKeys) as e:
            LOG.error("the directory of domain %s cannot be used: %s", domain_id, e)
        except ImportError as e:
            fault = f"its library is not installed ({e}). In the virtualenv of the identity service: {INSTALL[name]}"
            LOG.error("the directory of domain %s cannot be used: %s", domain_id, fault)
            return Home(domain_id, settings, None, fault)
        return Home(domain_id, settings, None)


def refuse_write(svc: Identity, domain_id: str) -> None:
    """Raise Forbidden when the domain's users and groups live in a directory."""
    if svc.directories.get(domain_id):
        raise ReadOnlyDirectory()


def elsewhere(svc: Identity, listing: Listing) -> Home | None:
    """The directory that a list call is about: it names that domain."""
    named = listing.filters.get("domain_id", ())
    return svc.directories.get(named[0]) if len(named) == 1 else None


def only_database(svc: Identity, table: sa.Table) -> list[sa.ColumnElement[bool]]:
    """Conditions that leave out users and groups of domains with a directory; lists show those by domain only."""
    ids = svc.directories.domain_ids()
    return [table.c.domain_id.not_in(ids)] if ids else []


# ------------------------------------------------------------------------------------------------------------- copies


def _user(home: Home, entry: DirectoryUser) -> User:
    return User(
        id=home.public_id("user", entry.local_id),
        domain_id=home.domain_id,
        name=entry.name,
        enabled=entry.enabled,
        default_project_id=entry.default_project_id,
        extra=entry.extra,
        created_at=utcnow(),
    )


def _group(home: Home, entry: DirectoryGroup) -> Group:
    return Group(home.public_id("group", entry.local_id), home.domain_id, entry.name, entry.description, entry.extra)


def _stored_names(rows: Iterable[db.Row], longest: int) -> list[db.Row]:
    """Names are unique within a domain in the database: where a directory repeats one, an id stands for the second."""
    taken: set[str] = set()
    result = []
    for row in sorted(rows, key=lambda row: row.id):
        name = row.name[:longest]
        result.append(replace(row, name=row.id if name in taken else name))
        taken.add(name)
    return result


def _copy_users(
    svc: Identity, home: Home, entries: Sequence[DirectoryUser], *, gone: Collection[str] = ()
) -> list[User]:
    """Note what the directory says of these, and that those `gone` (public ids) are not there. Writes differences only.
    Returns the users as the directory has them, with the options that are kept here."""
    local = {home.public_id("user", entry.local_id): entry.local_id for entry in entries}
    shown = [_user(home, entry) for entry in entries]
    wanted = _stored_names(shown, 255)
    watched = ("name", "enabled", "default_project_id", "extra")
    for attempt in range(ATTEMPTS):
        with svc.db.read() as conn:
            known = db.copies(conn, USERS, "user", home.domain_id, [*local, *gone])
        changes = _changes(wanted, known, watched)
        changes |= {id: {"enabled": False} for id in gone if id in known and known[id].enabled}
        new = [(row, local[row.id]) for row in wanted if row.id not in known]
        if new or changes:
            try:
                _write_users(svc, new, changes, known, carefully=attempt > 0)
            except db_exc.DBDuplicateEntry:
                if attempt + 1 == ATTEMPTS:
                    raise
                continue
        break
    return [replace(row, options=known[row.id].options) if row.id in known else row for row in shown]


def _changes(wanted: Iterable[db.Row], known: dict[str, db.Row], watched: Sequence[str]) -> dict[str, dict[str, Any]]:
    found = {}
    for row in wanted:
        old = known.get(row.id)
        if old is not None:
            changed = {name: getattr(row, name) for name in watched if getattr(row, name) != getattr(old, name)}
            if changed:
                found[row.id] = changed
    return found


@retried
def _write_users(
    svc: Identity,
    new: Sequence[tuple[User, str]],
    changes: dict[str, dict[str, Any]],
    known: dict[str, User],
    *,
    carefully: bool,
) -> None:
    with svc.db.write() as conn:
        if carefully:
            for row, local_id in new:
                db.free_name(conn, USERS, row)
                db.insert_one(conn, USERS, "user", row, local_id)
        else:
            db.insert(conn, USERS, "user", new)
        for id, values in changes.items():
            if carefully and "name" in values:
                db.free_name(conn, USERS, replace(known[id], name=values["name"]))
            if values.get("enabled") is False:
                values = {**values, "tokens_since": utcnow()}
                token_db.revoke(conn, user_id=id)
                LOG.info("user %s is disabled in the directory or gone from it", id)
            USERS.update(conn, id, **values)
        if any("enabled" in values or "name" in values for values in changes.values()):
            svc.epoch.bump(conn)


def _copy_groups(svc: Identity, home: Home, entries: Sequence[DirectoryGroup]) -> list[Group]:
    """Note what the directory says of these groups."""
    local = {home.public_id("group", entry.local_id): entry.local_id for entry in entries}
    shown = [_group(home, entry) for entry in entries]
    wanted = _stored_names(shown, 64)
    for attempt in range(ATTEMPTS):
        with svc.db.read() as conn:
            known = db.copies(conn, GROUPS, "group", home.domain_id, list(local))
        changes = _changes(wanted, known, ("name", "description", "extra"))
        new = [(row, local[row.id]) for row in wanted if row.id not in known]
        if new or changes:
            try:
                _write_groups(svc, new, changes, known, carefully=attempt > 0)
            except db_exc.DBDuplicateEntry:
                if attempt + 1 == ATTEMPTS:
                    raise
                continue
        break
    return shown


@retried
def _write_groups(
    svc: Identity,
    new: Sequence[tuple[Group, str]],
    changes: dict[str, dict[str, Any]],
    known: dict[str, Group],
    *,
    carefully: bool,
) -> None:
    with svc.db.write() as conn:
        if carefully:
            for row, local_id in new:
                db.free_name(conn, GROUPS, row)
                db.insert_one(conn, GROUPS, "group", row, local_id)
        else:
            db.insert(conn, GROUPS, "group", new)
        for id, values in changes.items():
            if carefully and "name" in values:
                db.free_name(conn, GROUPS, replace(known[id], name=values["name"]))
            GROUPS.update(conn, id, **values)


@retried
def _copy_memberships(
    svc: Identity,
    home: Home,
    wanted: set[tuple[str, str]],
    *,
    users: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
) -> None:
    """Note that (user, group) holds for these and for no others of these users, or of these groups."""
    for attempt in range(ATTEMPTS):
        with svc.db.read() as conn:
            known = db.memberships(conn, home.domain_id, users=users, groups=groups)
        if known == wanted:
            return
        try:
            with svc.db.write() as conn:
                db.change_memberships(conn, known - wanted, wanted - known)
                if known - wanted:
                    svc.epoch.bump(conn)
            return
        except db_exc.DBDuplicateEntry:
            if attempt + 1 == ATTEMPTS:
                raise


# ----------------------------------------------------------------------------------------------------------- logging in


def locate(svc: Identity, named: dict[str, Any], login: token_db.Login | None) -> token_db.Login | None:
    """The login of a user in whose domain a directory decides, looked up there; any other login as it is.

    named: how the request names the user. login: what the database has by that name or id."""
    if not svc.directories:
        return login
    domain = named.get("domain") or {}
    with svc.db.read() as conn:
        if login is not None:
            home = svc.directories.get(login.user.domain_id)
        elif named.get("id") is not None:
            home = None
        elif domain.get("id"):
            home = svc.directories.get(domain["id"])
        else:
            found = token_db.domain_by_name(conn, domain.get("name") or "")
            home = svc.directories.get(found.id) if found else None
        if home is None:
            return login
        local_id = db.local_id(conn, "user", named["id"]) if named.get("id") is not None else None
        place = PROJECTS.get(conn, home.domain_id)
    if named.get("id") is not None:
        entry = _entry(svc, home, named["id"], local_id)
    else:
        entries = home.directory.users(NameTest((named["name"],)))
        if len(entries) > 1:
            LOG.warning("%d entries of the directory of domain %s have one name", len(entries), home.domain_id)
        entry = entries[0] if len(entries) == 1 else None
    if entry is None or place is None:
        return None
    _copy_users(svc, home, [entry])
    with svc.db.read() as conn:
        user = USERS.get(conn, home.public_id("user", entry.local_id))
    return None if user is None else Located(replace(user, name=entry.name), place, None, home, entry)


def _entry(svc: Identity, home: Home, id: str, local_id: str | None) -> DirectoryUser | None:
    """The directory's entry of a user; that it is gone is noted."""
    entry = home.directory.user(local_id) if local_id is not None else None
    if entry is None and local_id is not None:
        _copy_users(svc, home, [], gone=[id])
    return entry


def proves(located: Located, password: str) -> bool:
    """Does the directory take the password?"""
    return located.home.directory.authenticate(located.entry, password)


def admit(svc: Identity, located: Located) -> None:
    """Note the groups of a user who has just logged in."""
    _copy_groups_of(svc, located.home, located.entry)


def touch(svc: Identity, user: User) -> None:
    """Note that a token is issued, so that `refresh` looks after the user while it may be valid."""
    if svc.directories.get(user.domain_id):
        _touch(svc, user.id)


@retried
def _touch(svc: Identity, id: str) -> None:
    now = utcnow()
    with svc.db.write() as conn:
        db.touch(conn, id, now, now - datetime.timedelta(seconds=TOUCH_SECONDS))


# ----------------------------------------------------------------------------------------------- showing and listing


def user(svc: Identity, home: Home, id: str) -> User:
    """Raises NotFound for who is not in the directory."""
    with svc.db.read() as conn:
        local_id = db.local_id(conn, "user", id)
    entry = _entry(svc, home, id, local_id)
    if entry is None:
        raise Missing("user", id)
    return _copy_users(svc, home, [entry])[0]


def users(svc: Identity, home: Home, listing: Listing) -> Page[User]:
    """A domain's users, as the directory has them now."""
    test, answered = _pushed(listing)
    rows = _copy_users(svc, home, home.directory.users(test))
    return in_memory.page(rows, listing, limit=svc.conf.identity.list_limit, answered=answered)


def members(svc: Identity, home: Home, group_id: str, listing: Listing) -> Page[User]:
    """A group's users."""
    rows = _copy_members(svc, home, group_id, _group_entry(svc, home, group_id))
    return in_memory.page(rows, listing, limit=svc.conf.identity.list_limit)


def _pushed(listing: Listing) -> tuple[NameTest | None, Collection[str]]:
    """What of the filters the directory can be asked, and which filters it answers for good."""
    for name, values in listing.filters.items():
        base, _, operator = name.partition("__")
        if base == "name" and operator in _PUSHED and all(values):
            return NameTest(tuple(values), operator), ("name",) if name == "name" else ()
    return None, ()


def group(svc: Identity, home: Home, id: str) -> Group:
    """Raises NotFound for what is not in the directory."""
    return _copy_groups(svc, home, [_group_entry(svc, home, id)])[0]


def _group_entry(svc: Identity, home: Home, id: str) -> DirectoryGroup:
    with svc.db.read() as conn:
        local_id = db.local_id(conn, "group", id)
    entry = home.directory.group(local_id) if local_id is not None else None
    if entry is None:
        if local_id is not None:
            _copy_memberships(svc, home, set(), groups=[id])
        raise Missing("group", id)
    return entry


def groups(svc: Identity, home: Home, listing: Listing) -> Page[Group]:
    """A domain's groups, as the directory has them now."""
    test, answered = _pushed(listing)
    rows = _copy_groups(svc, home, home.directory.groups(test))
    return in_memory.page(rows, listing, limit=svc.conf.identity.list_limit, answered=answered)


def groups_of(svc: Identity, home: Home, user_id: str, listing: Listing) -> Page[Group]:
    """The groups a user is in."""
    with svc.db.read() as conn:
        local_id = db.local_id(conn, "user", user_id)
    entry = _entry(svc, home, user_id, local_id)
    if entry is None:
        raise Missing("user", user_id)
    return in_memory.page(_copy_groups_of(svc, home, entry), listing, limit=svc.conf.identity.list_limit)


def _copy_groups_of(svc: Identity, home: Home, entry: DirectoryUser) -> list[Group]:
    rows = _copy_groups(svc, home, home.directory.groups_of(entry))
    user_id = home.public_id("user", entry.local_id)
    _copy_memberships(svc, home, {(user_id, row.id) for row in rows}, users=[user_id])
    return rows


def _copy_members(svc: Identity, home: Home, group_id: str, entry: DirectoryGroup) -> list[User]:
    rows = _copy_users(svc, home, home.directory.members(entry))
    _copy_groups(svc, home, [entry])
    _copy_memberships(svc, home, {(row.id, group_id) for row in rows}, groups=[group_id])
    return rows


def check_member(svc: Identity, home: Home, group_id: str, user_id: str) -> None:
    """Raise NotFound unless the user is in the group."""
    group_entry = _group_entry(svc, home, group_id)
    with svc.db.read() as conn:
        local_id = db.local_id(conn, "user", user_id)
    entry = _entry(svc, home, user_id, local_id)
    if entry is None:
        raise Missing("user", user_id)
    if not home.directory.members_among(group_entry.local_id, [entry]):
        raise NotFound(f"User {user_id} is not in group {group_id}.")


# ------------------------------------------------------------------------------------------------- keeping copies fresh


def refresh_groups_of(svc: Identity, user_id: str) -> None:
    """Before somebody asks for a user's roles: the groups of now. While the directory is silent, those last seen."""
    if not svc.directories:
        return
    with svc.db.read() as conn:
        domain_id, local_id = db.homes(conn, "user", [user_id]).get(user_id, ("", ""))
    home = svc.directories.get(domain_id)
    if home is not None:
        try:
            entry = _entry(svc, home, user_id, local_id)
            if entry is not None:
                _copy_groups_of(svc, home, entry)
        except (DirectoryDown, DirectoryFault) as e:
            LOG.warning("groups of user %s are as last seen: %s", user_id, e)


def refresh_members(svc: Identity, group_ids: Collection[str]) -> None:
    """Before somebody asks who has which roles: the members of now. While a directory is silent, those last seen."""
    if not svc.directories or not group_ids:
        return
    with svc.db.read() as conn:
        found = db.homes(conn, "group", group_ids)
    for home in svc.directories.homes():
        mine = [id for id, (domain_id, _) in found.items() if domain_id == home.domain_id]
        try:
            for id in mine:
                entry = home.directory.group(found[id][1])
                if entry is None:
                    _copy_memberships(svc, home, set(), groups=[id])
                else:
                    _copy_members(svc, home, id, entry)
        except (DirectoryDown, DirectoryFault) as e:
            LOG.warning("groups of domain %s are as last seen: %s", home.domain_id, e)


def refresh(svc: Identity) -> None:
    """Compare those who may be at work with their directories: who is gone or disabled, who has left a group that has
    roles. A directory that does not answer is left for the next time; the others are not kept waiting by its error."""
    for home in svc.directories.homes():
        try:
            _refresh(svc, home)
        except AerieError as e:
            LOG.warning("users of domain %s could not be compared with its directory: %s", home.domain_id, e)


def _refresh(svc: Identity, home: Home) -> None:
    since = utcnow() - datetime.timedelta(seconds=svc.conf.token.expiration + 2 * TOUCH_SECONDS)
    with svc.db.read() as conn:
        people = db.in_use(conn, home.domain_id, since)
        granted = db.granted_groups(conn, home.domain_id)
    if not people:
        return
    entries = home.directory.users_by_ids(people.values())
    ids = {home.public_id("user", entry.local_id): entry for entry in entries}
    _copy_users(svc, home, entries, gone=people.keys() - ids.keys())
    wanted: set[tuple[str, str]] = set()
    for group_id, local_id in granted.items():
        inside = home.directory.members_among(local_id, entries)
        wanted |= {(user_id, group_id) for user_id, entry in ids.items() if entry.local_id in inside}
    if granted:
        _refresh_memberships(svc, home, wanted, list(ids), list(granted))


def _refresh_memberships(
    svc: Identity, home: Home, wanted: set[tuple[str, str]], user_ids: Sequence[str], group_ids: Sequence[str]
) -> None:
    """Like _copy_memberships, for these users in these groups only."""
    with svc.db.read() as conn:
        others = {
            pair for pair in db.memberships(conn, home.domain_id, groups=group_ids) if pair[0] not in set(user_ids)
        }
    _copy_memberships(svc, home, wanted | others, groups=group_ids)
