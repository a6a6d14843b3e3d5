# SPDX-License-Identifier: Apache-2.0
"""Revisions of hosts' desired states, and who is concerned by a change.

Invariant: a change and the new revision of every host it concerns are in one transaction; the revision row stays
locked until that ends, so revisions become visible in their order and an agent that knows revision N misses nothing
that N stands for.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterable, Mapping

import sqlalchemy as sa

from aerie_common.db import insert_if_absent
from aerie_network import states
from aerie_network.db import tables

NETWORKS, PORTS, GROUPS, SETS, DHCP, ROUTERS = (
    "networks", "ports", "security_groups", "address_sets", "dhcp", "routers",
)  # fmt: skip
Item = tuple[str, str]
KEEP_CHANGES = 5000
"""Changes kept for a host: an agent that is further behind gets its whole state."""

_S, _C, _P = tables.host_states.c, tables.host_changes.c, tables.ports.c
_B, _R = tables.port_security_groups.c, tables.security_group_rules.c


def register(conn: sa.Connection, host: str) -> None:
    """Keep a revision for this host from now on."""
    insert_if_absent(conn, tables.host_states, {"host": host, "revision": 1})


def revision(conn: sa.Connection, host: str) -> int:
    """The newest revision of the host's state; 0 when the host is not known."""
    return conn.execute(sa.select(_S.revision).where(_S.host == host)).scalar() or 0


def record(conn: sa.Connection, changes: Mapping[str, Collection[Item]]) -> dict[str, int]:
    """Count the revision of each known host up, once, and write down what changed. Returns hosts and revisions."""
    if not changes:
        return {}
    wanted = sorted(changes)
    if not conn.execute(
        sa.update(tables.host_states).where(_S.host.in_(wanted)).values(revision=_S.revision + 1)
    ).rowcount:
        return {}
    found = conn.execute(sa.select(_S.host, _S.revision).where(_S.host.in_(wanted))).tuples().all()
    rows = [
        {"host": host, "revision": number, "section": section, "item_id": item_id}
        for host, number in found
        for section, item_id in sorted(changes[host])
    ]
    if rows:
        conn.execute(sa.insert(tables.host_changes), rows)
    return dict(found)


def changed_since(conn: sa.Connection, host: str, known: int, newest: int) -> dict[str, set[str]] | None:
    """Ids by section that changed after revision `known`; None when that is no longer known in full."""
    if known <= 0 or known > newest:
        return None
    oldest = conn.execute(sa.select(sa.func.min(_C.revision)).where(_C.host == host)).scalar()
    if known < newest and (oldest is None or oldest > known + 1):
        return None
    found: dict[str, set[str]] = {}
    query = sa.select(_C.section, _C.item_id).where(_C.host == host, _C.revision > known, _C.revision <= newest)
    for section, item_id in conn.execute(query.distinct()):
        found.setdefault(section, set()).add(item_id)
    return found


def forget_changes(conn: sa.Connection) -> dict[str, int]:
    """Something that concerns every document changed: every host fetches its whole state next."""
    conn.execute(sa.update(tables.host_states).values(revision=_S.revision + 1))
    conn.execute(sa.delete(tables.host_changes))
    return dict(conn.execute(sa.select(_S.host, _S.revision)).tuples().all())


def prune(conn: sa.Connection, keep: int = KEEP_CHANGES) -> int:
    """Forget old changes; whole revisions at a time."""
    done = 0
    for host, count in conn.execute(sa.select(_C.host, sa.func.count()).group_by(_C.host)).all():
        if count > keep:
            limit = conn.execute(
                sa.select(_C.revision).where(_C.host == host).order_by(_C.revision.desc()).offset(keep).limit(1)
            ).scalar()
            if limit is not None:
                done += conn.execute(
                    sa.delete(tables.host_changes).where(_C.host == host, _C.revision <= limit)
                ).rowcount
    return done


def of_networks(conn: sa.Connection, network_ids: Iterable[str]) -> list[tuple[str, str, bool]]:
    """(network, host, serves DHCP there) for every host with something on these networks."""
    query = sa.select(_P.network_id, _P.host, _P.device_owner).where(
        _P.network_id.in_(list(network_ids)), _P.host != ""
    )
    rows = conn.execute(query.distinct()).all()
    found = {(network_id, host): False for network_id, host, _ in rows}
    for network_id, host, owner in rows:
        if owner == states.DHCP:
            found[network_id, host] = True
    return [(network_id, host, dhcp) for (network_id, host), dhcp in found.items()]


def of_groups(conn: sa.Connection, group_ids: Iterable[str]) -> list[tuple[str, str]]:
    """(security group, host) for every host with a port in these groups."""
    query = sa.select(_B.security_group_id, _B.host).where(_B.security_group_id.in_(list(group_ids)), _B.host != "")
    return [(group_id, host) for group_id, host in conn.execute(query.distinct())]


def references(conn: sa.Connection, members: Iterable[str], users: Iterable[str]) -> list[tuple[str, str]]:
    """(security group, address set its rules name) where the set is one of `members` or the group one of `users`."""
    remote = sa.func.coalesce(_R.remote_group_id, _R.remote_address_group_id)
    tests = []
    if members := list(members):
        tests += [_R.remote_group_id.in_(members), _R.remote_address_group_id.in_(members)]
    if users := list(users):
        tests.append(_R.security_group_id.in_(users))
    if not tests:
        return []
    query = sa.select(_R.security_group_id, remote).where(sa.or_(*tests), remote.is_not(None)).distinct()
    return [(group_id, set_id) for group_id, set_id in conn.execute(query)]


def routers_of_networks(conn: sa.Connection, network_ids: Iterable[str]) -> list[tuple[str, str]]:
    """(router, host) of the routers with a port on these networks."""
    query = sa.select(_P.device_id, _P.host).where(
        _P.network_id.in_(list(network_ids)), _P.device_owner.in_(states.ROUTER_PORTS), _P.host != ""
    )
    return [(router_id, host) for router_id, host in conn.execute(query.distinct())]


# ------------------------------------------------------------------------------------------------ live hosts


def alive(conn: sa.Connection, role: str, since: datetime.datetime, zones: Collection[str] = ()) -> list[str]:
    """Hosts with an enabled agent of that role heard since; in one of the zones where some are named."""
    a = tables.agents.c
    query = sa.select(a.host).where(a.role == role, a.admin_state_up.is_(sa.true()), a.heartbeat_at > since)
    if zones:
        query = query.where(a.availability_zone.in_(list(zones)))
    return [host for (host,) in conn.execute(query.order_by(a.host))]


def least_used(conn: sa.Connection, role: str, candidates: Collection[str]) -> list[str]:
    """The candidates, the one with the fewest routers (role l3) or DHCP servers first."""
    if len(candidates) < 2:
        return list(candidates)
    column = tables.routers.c.host if role == "l3" else _P.host
    query = sa.select(column, sa.func.count()).where(column.in_(list(candidates))).group_by(column)
    if role != "l3":
        query = query.where(_P.device_owner == states.DHCP)
    load = {host: count for host, count in conn.execute(query)}
    return sorted(candidates, key=lambda host: (load.get(host, 0), host))
