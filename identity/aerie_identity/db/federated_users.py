# SPDX-License-Identifier: Apache-2.0
"""Who users are to identity providers, and the group memberships that their logins brought."""

from __future__ import annotations

import datetime
from collections.abc import Iterable

import sqlalchemy as sa

from aerie_common.db import insert_if_absent, utcnow
from aerie_identity.db import tables as t
from aerie_identity.db.models import FEDERATED_USERS, FederatedUser

_f, _e = t.federated_users.c, t.expiring_memberships.c


def get(conn: sa.Connection, idp_id: str, protocol_id: str, unique_id: str) -> FederatedUser | None:
    return FEDERATED_USERS.one(conn, _f.idp_id == idp_id, _f.protocol_id == protocol_id, _f.unique_id == unique_id)


def of_user(conn: sa.Connection, user_id: str) -> list[FederatedUser]:
    """All that identity providers call the user."""
    query = sa.select(*FEDERATED_USERS.columns).where(_f.user_id == user_id)
    return [FEDERATED_USERS.make(row) for row in conn.execute(query.order_by(_f.idp_id, _f.protocol_id, _f.unique_id))]


def matching(**wanted: str) -> sa.ColumnElement[bool]:
    """Condition: the user is known to an identity provider under these (idp_id, protocol_id, unique_id)."""
    tests = [_f[name] == value for name, value in wanted.items()]
    return t.users.c.id.in_(sa.select(_f.user_id).where(*tests))


def replace(conn: sa.Connection, user_id: str, rows: Iterable[FederatedUser]) -> None:
    """Raises DBDuplicateEntry when one of them is somebody else already."""
    conn.execute(sa.delete(t.federated_users).where(_f.user_id == user_id))
    for row in rows:
        FEDERATED_USERS.insert(conn, row)


def set_display_name(conn: sa.Connection, row: FederatedUser, name: str) -> None:
    where = (_f.idp_id == row.idp_id, _f.protocol_id == row.protocol_id, _f.unique_id == row.unique_id)
    conn.execute(sa.update(t.federated_users).where(*where).values(display_name=name))


# -------------------------------------------------------------------------------------------------------- memberships


def lend(conn: sa.Connection, user_id: str, idp_id: str, group_ids: Iterable[str], until: datetime.datetime) -> bool:
    """The groups the user is in by this identity provider, from now on. True when one that still held was taken."""
    wanted, now = set(group_ids), utcnow()
    mine = (_e.user_id == user_id, _e.idp_id == idp_id)
    held = {row[0]: row[1] for row in conn.execute(sa.select(_e.group_id, _e.expires_at).where(*mine))}
    gone = held.keys() - wanted
    if gone:
        conn.execute(sa.delete(t.expiring_memberships).where(*mine, _e.group_id.in_(sorted(gone))))
    for group_id in sorted(wanted):
        row = {"user_id": user_id, "idp_id": idp_id, "group_id": group_id, "expires_at": until}
        if not insert_if_absent(conn, t.expiring_memberships, row):
            later = (*mine, _e.group_id == group_id, _e.expires_at < until)
            conn.execute(sa.update(t.expiring_memberships).where(*later).values(expires_at=until))
    return any(held[group_id] > now for group_id in gone)


def lent(conn: sa.Connection, user_id: str, idp_id: str, now: datetime.datetime) -> list[str]:
    """Groups the user is in by this identity provider."""
    where = (_e.user_id == user_id, _e.idp_id == idp_id, _e.expires_at > now)
    return list(conn.execute(sa.select(_e.group_id).where(*where).order_by(_e.group_id)).scalars())


def first_end(conn: sa.Connection, user_id: str, now: datetime.datetime) -> datetime.datetime | None:
    """When the first of the user's lent memberships ends."""
    query = sa.select(sa.func.min(_e.expires_at)).where(_e.user_id == user_id, _e.expires_at > now)
    found: datetime.datetime | None = conn.execute(query).scalar()
    return found
