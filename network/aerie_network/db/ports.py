# SPDX-License-Identifier: Apache-2.0
"""Ports with their addresses and security groups, and the parties that have yet to report on them."""

from __future__ import annotations

import datetime
import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from aerie_common.db import utcnow
from aerie_network import states
from aerie_network.db import tables
from aerie_network.db.query import TAGS, VIEWER, Child, Children, Condition, Store, Values
from aerie_network.errors import InvalidInput, PortNotFound

_P, _A, _B, _V = (
    tables.ports.c, tables.ip_allocations.c, tables.port_security_groups.c, tables.provisioning.c,
)  # fmt: skip
FixedIp = tuple[str, str]
"""(subnet id, address)."""


@dataclass(frozen=True)
class Port:
    """A port; `fixed_ips` are (subnet id, address) pairs in order."""

    id: str
    project_id: str
    network_id: str
    name: str
    description: str
    mac_address: str
    admin_state_up: bool
    status: str
    device_id: str
    device_owner: str
    host: str
    vnic_type: str
    vif_type: str
    profile: dict[str, Any]
    port_security_enabled: bool
    allowed_address_pairs: list[dict[str, str]]
    extra_dhcp_opts: list[dict[str, Any]]
    dns_name: str
    dns_domain: str
    ip_allocation: str
    revision_number: int
    created_at: datetime.datetime
    updated_at: datetime.datetime
    fixed_ips: tuple[FixedIp, ...] = ()
    security_groups: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()

    @property
    def bound(self) -> bool:
        return bool(self.host) and self.vif_type not in ("unbound", "binding_failed")


_CHILDREN = Children(
    Child(_A.port_id, _A.subnet_id, detail=_A.ip_address, order=_A.position),
    Child(_B.port_id, _B.security_group_id),
    TAGS,
)


def _children(conn: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    ids = [row["id"] for row in rows]
    addresses, groups, tags = _CHILDREN.load(conn, ids)
    none: tuple[Any, ...] = ()
    return [
        {
            "fixed_ips": tuple(addresses.get(i, none)),
            "security_groups": tuple(groups.get(i, none)),
            "tags": tuple(tags.get(i, none)),
        }
        for i in ids
    ]


def _by_fixed_ips(values: Values) -> Condition:
    """`subnet_id=X`, `ip_address=A`, `ip_address_substr=P`: several of one kind are alternatives."""
    kinds: dict[str, list[str]] = {}
    for value in values:
        name, _, wanted = value.partition("=")
        if name not in ("subnet_id", "ip_address", "ip_address_substr", "subnet"):
            raise InvalidInput(
                error_message=f"'{value}' is not of the form subnet_id=ID, ip_address=IP or ip_address_substr=PART"
            )
        kinds.setdefault(name, []).append(wanted)
    query = sa.select(_A.port_id)
    if subnets := kinds.get("subnet_id", []) + kinds.get("subnet", []):
        query = query.where(_A.subnet_id.in_(subnets))
    if addresses := kinds.get("ip_address"):
        query = query.where(_A.ip_address.in_(addresses))
    if parts := kinds.get("ip_address_substr"):
        query = query.where(sa.or_(*(_A.ip_address.contains(part, autoescape=True) for part in parts)))
    return _P.id.in_(query)


def _by_groups(values: Values) -> Condition:
    return _P.id.in_(sa.select(_B.port_id).where(_B.security_group_id.in_(values)))


def _by_mac(values: Values) -> Condition:
    return _P.mac_address.in_([value.lower() for value in values])


STORE = Store(
    tables.ports,
    Port,
    PortNotFound,
    aliases={"binding:host_id": "host", "binding:vnic_type": "vnic_type", "binding:vif_type": "vif_type"},
    filters={
        "fixed_ips": _by_fixed_ips,
        "security_groups": _by_groups,
        "security_group_ids": _by_groups,
        "mac_address": _by_mac,
    },
    children=_children,
)


def visible(project_id: str | sa.BindParameter[str] | None) -> Condition:
    """Ports a project may see: its own, and those on its own networks."""
    n = tables.networks.c
    project = "" if project_id is None else project_id
    mine = sa.select(n.id).where(n.project_id == project)
    return sa.or_(_P.project_id == project, _P.network_id.in_(mine))


VISIBLE = visible(VIEWER)


def add_addresses(conn: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Give addresses out; returns the rows whose address has been given to somebody else.

    A taken address is skipped by the key and never breaks the transaction."""
    if not rows:
        return []
    insert = sa.insert(tables.ip_allocations)
    if conn.dialect.name in ("mysql", "mariadb"):
        statement: Any = insert.prefix_with("IGNORE")
    else:
        from sqlalchemy.dialects import postgresql, sqlite

        dialect = sqlite if conn.dialect.name == "sqlite" else postgresql
        statement = dialect.insert(tables.ip_allocations).on_conflict_do_nothing()
    done = conn.execute(statement.values([dict(row) for row in rows])).rowcount
    if done == len(rows):
        return []
    mine = {
        (subnet_id, address)
        for subnet_id, address in conn.execute(
            sa.select(_A.subnet_id, _A.ip_address).where(_A.port_id.in_({row["port_id"] for row in rows}))
        )
    }
    return [row for row in rows if (row["subnet_id"], row["ip_address"]) not in mine]


def remove_addresses(conn: sa.Connection, port_id: str, addresses: Iterable[FixedIp]) -> None:
    """Take addresses back."""
    gone = [address for _, address in addresses]
    if gone:
        conn.execute(sa.delete(tables.ip_allocations).where(_A.port_id == port_id, _A.ip_address.in_(gone)))


def taken(conn: sa.Connection, subnet_id: str, among: Collection[str] | None = None) -> set[str]:
    """Addresses given out in a subnet (of those asked about)."""
    query = sa.select(_A.ip_address).where(_A.subnet_id == subnet_id)
    if among is not None:
        query = query.where(_A.ip_address.in_(among))
    return {address for (address,) in conn.execute(query)}


def renumber(conn: sa.Connection, port_id: str, order: Sequence[FixedIp]) -> None:
    """Store the order of a port's addresses."""
    if len(order) > 1:
        position = sa.case({address: i for i, (_, address) in enumerate(order)}, value=_A.ip_address, else_=len(order))
        conn.execute(sa.update(tables.ip_allocations).where(_A.port_id == port_id).values(position=position))


def set_groups(conn: sa.Connection, port_id: str, group_ids: Collection[str], host: str) -> None:
    """Exactly these security groups."""
    conn.execute(sa.delete(tables.port_security_groups).where(_B.port_id == port_id))
    add_groups(conn, [(port_id, group_id, host) for group_id in group_ids])


def add_groups(conn: sa.Connection, rows: Sequence[tuple[str, str, str]]) -> None:
    """(port, group, host) rows."""
    if rows:
        values = [{"port_id": p, "security_group_id": g, "host": h} for p, g, h in rows]
        conn.execute(sa.insert(tables.port_security_groups), values)


def move_groups(conn: sa.Connection, port_id: str, host: str) -> None:
    """Repeat a port's new host at its security groups."""
    conn.execute(sa.update(tables.port_security_groups).where(_B.port_id == port_id).values(host=host))


def mac_in_use(conn: sa.Connection, network_id: str, mac: str) -> bool:
    return conn.execute(sa.select(_P.id).where(_P.network_id == network_id, _P.mac_address == mac)).first() is not None


def new_mac(base: str) -> str:
    """A random MAC address under the base's first three octets."""
    octets = base.lower().split(":")
    start = octets[:3] if len(octets) < 4 or octets[3] == "00" else octets[:4]
    return ":".join([*start, *(f"{random.randrange(256):02x}" for _ in range(6 - len(start)))])


def delete(conn: sa.Connection, ids: Collection[str]) -> int:
    """Delete ports; their addresses and groups go with them."""
    conn.execute(sa.delete(tables.tags).where(tables.tags.c.resource_id.in_(ids)))
    return conn.execute(sa.delete(tables.ports).where(_P.id.in_(ids))).rowcount


# -------------------------------------------------------------------------------------------- provisioning


def expect(conn: sa.Connection, port_id: str, parties: Iterable[str], revision: int) -> None:
    """From now on exactly these parties have to report, about this revision or a later one."""
    conn.execute(sa.delete(tables.provisioning).where(_V.port_id == port_id))
    rows = [{"port_id": port_id, "party": party, "revision": revision} for party in parties]
    if rows:
        conn.execute(sa.insert(tables.provisioning), rows)


def expected(conn: sa.Connection, port_ids: Collection[str]) -> dict[str, dict[str, int]]:
    """Port id -> party -> revision for parties yet to report. The rows stay locked: reports of two parties about one
    port come one after the other, so the later one sees that it is the last."""
    query = sa.select(_V.port_id, _V.party, _V.revision).where(_V.port_id.in_(list(port_ids)))
    found: dict[str, dict[str, int]] = {}
    for port_id, party, revision in conn.execute(query.order_by(_V.port_id).with_for_update()):
        found.setdefault(port_id, {})[party] = revision
    return found


def reported(conn: sa.Connection, pairs: Collection[tuple[str, str]]) -> None:
    """These (port, party) need not report any more."""
    by_party: dict[str, list[str]] = {}
    for port_id, party in pairs:
        by_party.setdefault(party, []).append(port_id)
    for party, ids in sorted(by_party.items()):
        conn.execute(sa.delete(tables.provisioning).where(_V.party == party, _V.port_id.in_(ids)))


def set_status(conn: sa.Connection, ids: Collection[str], event: str) -> list[str]:
    """Move ports along their state machine; returns those which were in another state and have moved."""
    moves = states.PORT.moves[event]
    target = next(iter(moves.values()))
    sources = [state for state in moves if state != target]
    where = (_P.id.in_(list(ids)), _P.status.in_(sources))
    moved = [port_id for (port_id,) in conn.execute(sa.select(_P.id).where(*where).with_for_update())]
    if moved:
        conn.execute(sa.update(tables.ports).where(_P.id.in_(moved)).values(status=target, updated_at=utcnow()))
    return moved


def of_device(conn: sa.Connection, device_id: str, *owners: str) -> list[Port]:
    """Ports of a server or router."""
    where = [_P.device_id == device_id]
    if owners:
        where.append(_P.device_owner.in_(owners))
    rows = conn.execute(sa.select(tables.ports).where(*where).order_by(_P.created_at, _P.id))
    return STORE.build(conn, rows)


def of_network(conn: sa.Connection, network_id: str, *owners: str) -> list[Port]:
    """Ports on a network with one of these owners."""
    return STORE.all(conn, _P.network_id == network_id, _P.device_owner.in_(owners))
