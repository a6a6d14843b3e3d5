# SPDX-License-Identifier: Apache-2.0
"""Networks and the segments they are on."""

from __future__ import annotations

import datetime
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from aerie_common.db import insert_if_absent
from aerie_network.db import tables
from aerie_network.db.grants import EVERYBODY
from aerie_network.db.query import TAGS, VIEWER, Child, Children, Condition, Store, Values, column_filter
from aerie_network.errors import NetworkNotFound

_N, _S, _P, _G = tables.networks.c, tables.subnets.c, tables.ports.c, tables.segments.c
NO_PHYSICAL = ""
"""physical_network of segments that lie on none (a key column cannot be NULL)."""


@dataclass(frozen=True)
class Network:
    """A network; `subnets` are the ids of its subnets."""

    id: str
    project_id: str
    name: str
    description: str
    admin_state_up: bool
    status: str
    mtu: int
    shared: bool
    external: bool
    is_default: bool
    port_security_enabled: bool
    dns_domain: str
    network_type: str
    physical_network: str | None
    segmentation_id: int | None
    availability_zone_hints: list[str]
    revision_number: int
    created_at: datetime.datetime
    updated_at: datetime.datetime
    tags: tuple[str, ...] = ()
    subnets: tuple[str, ...] = ()
    shared_with: tuple[str, ...] = ()


_R = tables.rbac_policies.c
_CHILDREN = Children(
    Child(_S.network_id, _S.id, order=_S.created_at),
    TAGS,
    Child(_R.object_id, _R.target_tenant, where=_R.action == "access_as_shared"),
)


def _children(conn: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    ids = [row["id"] for row in rows]
    subnets, tags, shared = _CHILDREN.load(conn, ids)
    return [
        {
            "subnets": tuple(subnets.get(i, ())),
            "tags": tuple(tags.get(i, ())),
            "shared_with": tuple(shared.get(i, ())),
        }
        for i in ids
    ]


def _by_subnet(values: Values) -> Condition:
    return _N.id.in_(sa.select(_S.network_id).where(_S.id.in_(values)))


STORE = Store(
    tables.networks,
    Network,
    NetworkNotFound,
    aliases={
        "router:external": "external",
        "provider:network_type": "network_type",
        "provider:physical_network": "physical_network",
        "provider:segmentation_id": "segmentation_id",
    },
    filters={"subnets": _by_subnet},
    children=_children,
)


def granted(object_type: str, action: str, project_id: str | sa.BindParameter[str] | None) -> sa.Select[Any]:
    """Ids of objects that somebody lets this project, or everybody, use."""
    r = tables.rbac_policies.c
    return sa.select(r.object_id).where(
        sa.or_(r.target_tenant == ("" if project_id is None else project_id), r.target_tenant == EVERYBODY),
        r.object_type == object_type,
        r.action == action,
    )


def shared(project_id: str | None, values: Values) -> Condition:
    """The filter `shared`: networks shared with everybody or with this project, or all others."""
    wanted = column_filter(_N.shared)(values).compile().params  # read as booleans, refused where they are none
    flags = set(next(iter(wanted.values())))
    test = sa.or_(_N.shared.is_(sa.true()), _N.id.in_(granted("network", "access_as_shared", project_id)))
    return sa.true() if flags == {True, False} else test if True in flags else sa.not_(test)


def visible(project_id: str | sa.BindParameter[str] | None) -> Condition:
    """Networks a project may see: its own, shared ones, and those granted to it."""
    return sa.or_(
        _N.project_id == ("" if project_id is None else project_id),
        _N.shared.is_(sa.true()),
        _N.id.in_(granted("network", "access_as_shared", project_id)),
        _N.id.in_(granted("network", "access_as_external", project_id)),
    )


VISIBLE = visible(VIEWER)


def lock(conn: sa.Connection, network_id: str) -> None:
    """Until the transaction ends nobody else changes this network's subnets. Raises NetworkNotFound."""
    if conn.execute(sa.select(_N.id).where(_N.id == network_id).with_for_update()).first() is None:
        raise NetworkNotFound(id=network_id)


def ports_in_use(conn: sa.Connection, network_id: str, ignored: Sequence[str], limit: int = 10) -> list[str]:
    """Some ports on the network whose owner is none of `ignored`."""
    query = sa.select(_P.id).where(_P.network_id == network_id, _P.device_owner.not_in(list(ignored))).limit(limit)
    return [port_id for (port_id,) in conn.execute(query)]


def foreign_users(conn: sa.Connection, network_id: str, owner: str) -> bool:
    """Do other projects have ports on it?"""
    query = sa.select(_P.id).where(
        _P.network_id == network_id, _P.project_id.not_in([owner, ""]), _P.device_owner.not_like("network:%")
    )
    return conn.execute(query.limit(1)).first() is not None


def gateways_in_use(conn: sa.Connection, network_id: str) -> bool:
    """Is it the external network of a router or a floating IP?"""
    routers = sa.select(tables.routers.c.id).where(tables.routers.c.gw_network_id == network_id).limit(1)
    floating = sa.select(tables.floatingips.c.id).where(tables.floatingips.c.floating_network_id == network_id).limit(1)
    return conn.execute(routers).first() is not None or conn.execute(floating).first() is not None


def claim_segment(conn: sa.Connection, network_type: str, physical: str | None, number: int, network_id: str) -> bool:
    """Take one segment; False when another network has it."""
    row = {
        "network_type": network_type,
        "physical_network": physical or NO_PHYSICAL,
        "segmentation_id": number,
        "network_id": network_id,
    }
    return insert_if_absent(conn, tables.segments, row)


def claim_any_segment(
    conn: sa.Connection, network_type: str, physical: str | None, first: int, last: int, network_id: str
) -> int | None:
    """Take a free segment of the range; None when all are in use.

    Tries some at random, which is one statement nearly always, and looks for gaps only when those are taken.
    """
    for _ in range(8):
        number = random.randint(first, last)
        if claim_segment(conn, network_type, physical, number, network_id):
            return number
    taken = {
        number
        for (number,) in conn.execute(
            sa.select(_G.segmentation_id).where(
                _G.network_type == network_type, _G.physical_network == (physical or NO_PHYSICAL)
            )
        )
    }
    free = [number for number in range(first, last + 1) if number not in taken]
    random.shuffle(free)
    for number in free[:50]:
        if claim_segment(conn, network_type, physical, number, network_id):
            return number
    return None
