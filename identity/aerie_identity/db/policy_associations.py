# SPDX-License-Identifier: Apache-2.0
"""Which policy document is for an endpoint, a service, or a service in a region. "" stands for what is not named."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import sqlalchemy as sa

from aerie_identity.db import tables as t

_c = t.policy_associations.c


@dataclass(frozen=True)
class Place:
    """What a policy is for: an endpoint, or a service, everywhere or in a region (and those below it)."""

    endpoint_id: str = ""
    service_id: str = ""
    region_id: str = ""


def _at(place: Place) -> sa.ColumnElement[bool]:
    return sa.and_(*(_c[name] == value for name, value in asdict(place).items()))


def get(conn: sa.Connection, place: Place) -> str | None:
    """The policy's id."""
    return conn.execute(sa.select(_c.policy_id).where(_at(place))).scalar()


def all_(conn: sa.Connection) -> dict[Place, str]:
    """Every association."""
    return {Place(r.endpoint_id, r.service_id, r.region_id): r.policy_id for r in conn.execute(sa.select(*_c))}


def put(conn: sa.Connection, place: Place, policy_id: str) -> None:
    """One policy for each place: a former one makes room."""
    conn.execute(sa.delete(t.policy_associations).where(_at(place)))
    conn.execute(sa.insert(t.policy_associations).values(**asdict(place), policy_id=policy_id))


def delete(conn: sa.Connection, place: Place, policy_id: str) -> None:
    conn.execute(sa.delete(t.policy_associations).where(_at(place), _c.policy_id == policy_id))


def purge(conn: sa.Connection, **gone: str) -> None:
    """Forget what an endpoint, service or region that is removed was named in: `purge(conn, service_id=...)`."""
    conn.execute(sa.delete(t.policy_associations).where(*(_c[name] == value for name, value in gone.items())))
