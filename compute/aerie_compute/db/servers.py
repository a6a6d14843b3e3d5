# SPDX-License-Identifier: Apache-2.0
"""Servers in SQL. Invariant: `vm_state` and `task_state` change only in `begin`, `settle` and `mark_deleted`, and what
a project uses is counted in the same transaction that makes a server appear or disappear."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import orjson
import sqlalchemy as sa

from aerie_common.db import compare_and_swap, condition, insert_if_absent, paginate, utcnow
from aerie_compute import states
from aerie_compute.db.tables import SERVERS, USAGE, USER_DATA
from aerie_compute.states import Verb


@dataclass(frozen=True, slots=True)
class Server:
    """A row of `instances`. `spec`: see `logic.servers.create`; `network_info`: see `network.PortInfo`."""

    id: str
    project_id: str
    user_id: str
    name: str
    hostname: str
    vm_state: str
    task_state: str | None
    power_state: int
    host: str | None
    node: str | None
    availability_zone: str | None
    flavor_id: str
    image_id: str | None
    reservation_id: str
    launch_index: int
    locked_by: str | None
    launched_at: datetime.datetime | None
    terminated_at: datetime.datetime | None
    deleted: bool
    spec: dict[str, Any]
    metadata: dict[str, str]
    tags: list[str]
    network_info: list[dict[str, Any]]
    fault: dict[str, Any] | None
    generation: int
    created_at: datetime.datetime
    updated_at: datetime.datetime | None

    @property
    def status(self) -> str:
        """As the API shows it."""
        return states.status(self.vm_state, self.task_state)

    @property
    def flavor(self) -> dict[str, Any]:
        """The flavor as it was when the server was made or resized."""
        return self.spec["flavor"]  # type: ignore[no-any-return]

    @property
    def changed_at(self) -> datetime.datetime:
        return self.updated_at or self.created_at


_COLUMNS = [SERVERS.c[f.name] for f in fields(Server)]
_SELECT = sa.select(*_COLUMNS)
_NEVER = sa.false()


def _of(row: Any) -> Server:
    return Server(*row)


# ------------------------------------------------------------------------------------------------------------ reading


def get(conn: sa.Connection, server_id: str, project_id: str | None = None, *, deleted: bool = False) -> Server | None:
    """One server, of that project if one is given."""
    query = _SELECT.where(SERVERS.c.id == server_id)
    if project_id is not None:
        query = query.where(SERVERS.c.project_id == project_id)
    if not deleted:
        query = query.where(SERVERS.c.deleted == sa.false())
    row = conn.execute(query).first()
    return None if row is None else _of(row)


def get_many(conn: sa.Connection, server_ids: Sequence[str]) -> list[Server]:
    """Those of the ids that exist."""
    if not server_ids:
        return []
    return [_of(r) for r in conn.execute(_SELECT.where(SERVERS.c.id.in_(server_ids), SERVERS.c.deleted == sa.false()))]


def on_host(conn: sa.Connection, host: str) -> list[Server]:
    """Servers that belong on a host, those being built or removed too."""
    query = _SELECT.where(SERVERS.c.host == host, SERVERS.c.deleted == sa.false())
    return [_of(row) for row in conn.execute(query)]


def ids_on_host(conn: sa.Connection, host: str) -> list[str]:
    """The same, ids only."""
    query = sa.select(SERVERS.c.id).where(SERVERS.c.host == host, SERVERS.c.deleted == sa.false())
    return [str(i) for i in conn.execute(query).scalars()]


def count_by_host(conn: sa.Connection) -> dict[str, tuple[int, int]]:
    """host -> (servers, servers with a task under way), for weighers."""
    busy = sa.func.sum(sa.case((SERVERS.c.task_state.is_not(None), 1), else_=0))
    query = sa.select(SERVERS.c.host, sa.func.count(), busy).where(
        SERVERS.c.deleted == sa.false(), SERVERS.c.host.is_not(None)
    )
    return {row[0]: (int(row[1]), int(row[2] or 0)) for row in conn.execute(query.group_by(SERVERS.c.host))}


def user_data(conn: sa.Connection, server_id: str) -> str | None:
    """The server's user data as it was sent (base64)."""
    return conn.execute(sa.select(USER_DATA.c.user_data).where(USER_DATA.c.server_id == server_id)).scalar_one_or_none()


@dataclass(frozen=True)
class Filter:
    """What a list of servers is restricted to. None: not restricted."""

    project_id: str | None = None
    user_id: str | None = None
    deleted: bool = False
    any_deleted: bool = False
    vm_states: tuple[str, ...] | None = None
    task_states: tuple[str | None, ...] | None = None
    equal: Mapping[str, Any] | None = None
    name: str | None = None
    hostname: str | None = None
    ip: str | None = None
    changed_since: datetime.datetime | None = None
    changed_before: datetime.datetime | None = None
    created_since: datetime.datetime | None = None
    tags: tuple[str, ...] = ()
    tags_any: tuple[str, ...] = ()
    not_tags: tuple[str, ...] = ()
    not_tags_any: tuple[str, ...] = ()
    metadata: Mapping[str, str] | None = None
    locked: bool | None = None
    ids: tuple[str, ...] | None = None


SORT_COLUMNS: dict[str, sa.Column[Any]] = {
    "uuid": SERVERS.c.id, "id": SERVERS.c.id, "display_name": SERVERS.c.name, "name": SERVERS.c.name,
    "created_at": SERVERS.c.created_at, "updated_at": SERVERS.c.updated_at, "vm_state": SERVERS.c.vm_state,
    "task_state": SERVERS.c.task_state, "power_state": SERVERS.c.power_state, "host": SERVERS.c.host,
    "node": SERVERS.c.node, "availability_zone": SERVERS.c.availability_zone, "image_ref": SERVERS.c.image_id,
    "instance_type_id": SERVERS.c.flavor_id, "project_id": SERVERS.c.project_id, "user_id": SERVERS.c.user_id,
    "hostname": SERVERS.c.hostname, "launched_at": SERVERS.c.launched_at, "terminated_at": SERVERS.c.terminated_at,
    "launch_index": SERVERS.c.launch_index, "locked_by": SERVERS.c.locked_by,
}  # fmt: skip


class Known:
    """Servers as they were read last, by id and generation. A row's generation moves with every change that can be
    seen, so a list reads whole rows only of servers that changed since the last one."""

    def __init__(self, size: int = 4000) -> None:
        self._size = size
        self._servers: dict[str, Server] = {}

    def get(self, server_id: str, generation: int) -> Server | None:
        """The server, if it has not changed since."""
        found = self._servers.get(server_id)
        return found if found is not None and found.generation == generation else None

    def add(self, found: Server) -> None:
        if len(self._servers) >= self._size:
            self._servers.clear()
        self._servers[found.id] = found


def list_(
    conn: sa.Connection,
    wanted: Filter,
    *,
    sort: Sequence[tuple[str, str]] = (),
    limit: int | None = None,
    marker: Server | None = None,
    known: Known | None = None,
) -> list[Server]:
    """Servers, newest first unless sorted otherwise, in one statement; with `known` in two at most, the second only for
    servers that changed."""
    order = [(SORT_COLUMNS[key], direction) for key, direction in sort] or [(SERVERS.c.created_at, "desc")]
    order.append((SERVERS.c.id, order[0][1] if sort else "desc"))
    conditions = _conditions(wanted)
    if known is None:
        query = paginate(_SELECT.where(*conditions), sort=order, marker=marker, limit=limit)
        return [_of(row) for row in conn.execute(query)]
    short = sa.select(SERVERS.c.id, SERVERS.c.generation).where(*conditions)
    rows = conn.execute(paginate(short, sort=order, marker=marker, limit=limit)).all()
    found = {server_id: known.get(server_id, generation) for server_id, generation in rows}
    changed = [server_id for server_id, server in found.items() if server is None]
    if changed:
        for row in conn.execute(_SELECT.where(SERVERS.c.id.in_(changed))):
            server = found[row[0]] = _of(row)
            known.add(server)
    return [server for server in found.values() if server is not None]


def _conditions(wanted: Filter) -> list[sa.ColumnElement[bool]]:
    c = SERVERS.c
    found: list[sa.ColumnElement[bool]] = []
    if not wanted.any_deleted:
        found.append(c.deleted == (sa.true() if wanted.deleted else sa.false()))
    for column, value in ((c.project_id, wanted.project_id), (c.user_id, wanted.user_id)):
        if value is not None:
            found.append(column == value)
    for column, values in ((c.vm_state, wanted.vm_states), (c.task_state, wanted.task_states), (c.id, wanted.ids)):
        if values is not None:
            found.append(condition(column, values) if values else _NEVER)
    for name, value in (wanted.equal or {}).items():
        found.append(condition(c[name], value))
    for column, text in ((c.name, wanted.name), (c.hostname, wanted.hostname)):
        if text:
            found.append(matches(column, text))
    if wanted.ip:
        found.append(_text(c.network_info).regexp_match(_address_pattern(wanted.ip)))
    changed = sa.func.coalesce(c.updated_at, c.created_at)
    if wanted.changed_since is not None:
        found.append(changed >= wanted.changed_since)
    if wanted.changed_before is not None:
        found.append(changed <= wanted.changed_before)
    if wanted.created_since is not None:
        found.append(c.created_at >= wanted.created_since)
    found += [_has_tag(tag) for tag in wanted.tags]
    if wanted.tags_any:
        found.append(sa.or_(*(_has_tag(tag) for tag in wanted.tags_any)))
    if wanted.not_tags:
        found.append(sa.not_(sa.and_(*(_has_tag(tag) for tag in wanted.not_tags))))
    found += [sa.not_(_has_tag(tag)) for tag in wanted.not_tags_any]
    for key, value in (wanted.metadata or {}).items():
        fragment = f"{orjson.dumps(str(key)).decode()}:{orjson.dumps(str(value)).decode()}"
        found.append(_text(c.metadata).like(f"%{_escape(fragment)}%", escape="\\"))
    if wanted.locked is not None:
        found.append(c.locked_by.is_not(None) if wanted.locked else c.locked_by.is_(None))
    return found


def _text(column: sa.ColumnElement[Any]) -> sa.ColumnElement[str]:
    """A JSON column as the text it is kept as."""
    return sa.type_coerce(column, sa.Text)


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _has_tag(tag: str) -> sa.ColumnElement[bool]:
    return _text(SERVERS.c.tags).like(f"%{_escape(orjson.dumps(tag).decode())}%", escape="\\")


def _address_pattern(text: str) -> str:
    """A regular expression over addresses, made one over the JSON that holds them."""
    try:
        re.compile(text)
    except re.error:
        text = re.escape(text)
    begin = '"address":"' + ("" if text.startswith("^") else '[^"]*')
    end = '"' if text.endswith("$") else ""
    return begin + "(" + text.removeprefix("^").removesuffix("$") + ")" + end


_PLAIN = re.compile(r"^[\w \-:@]*$")


def matches(column: sa.ColumnElement[Any], text: str) -> sa.ColumnElement[bool]:
    """Names are filtered by regular expression; text that is none is looked for as it stands."""
    if _PLAIN.match(text):
        return column.like(f"%{_escape(text)}%", escape="\\")
    try:
        re.compile(text)
    except re.error:
        return column.like(f"%{_escape(text)}%", escape="\\")
    return column.regexp_match(text)


# ------------------------------------------------------------------------------------------------------------ writing


def insert_many(conn: sa.Connection, rows: Sequence[Mapping[str, Any]], user_data: str | None = None) -> None:
    """Write new servers in one statement (two with user data). Each row has the columns that have no default."""
    conn.execute(sa.insert(SERVERS), list(rows))
    if user_data is not None:
        conn.execute(sa.insert(USER_DATA), [{"server_id": row["id"], "user_data": user_data} for row in rows])


def set_user_data(conn: sa.Connection, server_id: str, text: str | None) -> None:
    """Replace the user data; None removes it."""
    conn.execute(sa.delete(USER_DATA).where(USER_DATA.c.server_id == server_id))
    if text is not None:
        conn.execute(sa.insert(USER_DATA).values(server_id=server_id, user_data=text))


def update(conn: sa.Connection, server_id: str, **values: Any) -> bool:
    """Set columns that are no states. False when the server is gone."""
    if values.keys() & {"vm_state", "task_state", "deleted"}:
        raise ValueError("states change through begin, settle and mark_deleted")
    values["generation"] = SERVERS.c.generation + 1
    done = conn.execute(
        sa.update(SERVERS).where(SERVERS.c.id == server_id, SERVERS.c.deleted == sa.false()).values(values)
    )
    return bool(done.rowcount == 1)


def replace(conn: sa.Connection, server: Server, **values: Any) -> bool:
    """The same, if nobody changed the server since it was read."""
    where = {"id": server.id, "generation": server.generation, "deleted": False}
    return compare_and_swap(conn, SERVERS, where, {**values, "generation": server.generation + 1})


def begin(conn: sa.Connection, server_id: str, verb: Verb, **values: Any) -> bool:
    """Enter the verb's task state; False if the server's states do not allow it now."""
    where = {"id": server_id, "vm_state": verb.vm_states, "task_state": verb.task_states, "deleted": False}
    changes = {**values, "task_state": verb.task_state, "generation": SERVERS.c.generation + 1}
    return compare_and_swap(conn, SERVERS, where, changes)


def progress(conn: sa.Connection, server_id: str, task_state: str, *, of: Sequence[str], **values: Any) -> bool:
    """Go on from one task state of a longer work to the next."""
    where = {"id": server_id, "task_state": (*of, task_state), "deleted": False}
    return compare_and_swap(
        conn, SERVERS, where, {**values, "task_state": task_state, "generation": SERVERS.c.generation + 1}
    )


def settle(
    conn: sa.Connection,
    server_id: str,
    *,
    of: Sequence[str | None],
    vm_state: str | None = None,
    from_vm_states: Sequence[str] | None = None,
    **values: Any,
) -> bool:
    """Leave a task state (one of `of`): nothing is being done any more, the server is `vm_state` (None: as before)."""
    where: dict[str, Any] = {"id": server_id, "task_state": tuple(of), "deleted": False}
    if from_vm_states is not None:
        where["vm_state"] = tuple(from_vm_states)
    changes = {**values, "task_state": None, "generation": SERVERS.c.generation + 1}
    if vm_state is not None:
        changes["vm_state"] = vm_state
    return compare_and_swap(conn, SERVERS, where, changes)


def begin_delete(conn: sa.Connection, server_id: str) -> bool:
    """Delete wins: whatever is being done, the server is now being deleted. False when it was already."""
    not_yet = sa.or_(SERVERS.c.task_state.is_(None), SERVERS.c.task_state != states.DELETING)
    statement = sa.update(SERVERS).where(SERVERS.c.id == server_id, SERVERS.c.deleted == sa.false(), not_yet)
    changes = {"task_state": states.DELETING, "generation": SERVERS.c.generation + 1}
    return bool(conn.execute(statement.values(changes)).rowcount == 1)


def mark_deleted(conn: sa.Connection, server: Server) -> bool:
    """The server is gone: hide it and give back what it counted against its project. False when it was gone already."""
    now = utcnow()
    changed = compare_and_swap(
        conn, SERVERS, {"id": server.id, "deleted": False},
        {"deleted": True, "vm_state": states.DELETED, "task_state": None, "power_state": 0, "terminated_at": now,
         "network_info": [], "generation": SERVERS.c.generation + 1},
    )  # fmt: skip
    if changed:
        conn.execute(sa.delete(USER_DATA).where(USER_DATA.c.server_id == server.id))
        flavors = [server.flavor]
        if server.spec.get("resize"):  # until a resize is confirmed the greater of the two flavors counts
            flavors.append(server.spec["resize"]["old_flavor"])
        cores, ram = (max(flavor[name] for flavor in flavors) for name in ("vcpus", "memory_mb"))
        release_usage(conn, server.project_id, 1, cores, ram)
    return changed


def set_power(conn: sa.Connection, server_id: str, host: str, power_state: int) -> bool:
    """What the host sees; False when that is known already or the server is not there."""
    where = sa.and_(SERVERS.c.id == server_id, SERVERS.c.host == host, SERVERS.c.deleted == sa.false())
    statement = sa.update(SERVERS).where(where, SERVERS.c.power_state != power_state)
    return bool(conn.execute(statement.values(power_state=power_state, generation=SERVERS.c.generation + 1)).rowcount)


def mark_network_stale(conn: sa.Connection, server_ids: Sequence[str]) -> int:
    """Addresses of these servers have changed; how many exist."""
    statement = sa.update(SERVERS).where(SERVERS.c.id.in_(server_ids), SERVERS.c.deleted == sa.false())
    return int(conn.execute(statement.values(network_stale=True, updated_at=SERVERS.c.updated_at)).rowcount)


def fresh_network(conn: sa.Connection, server_id: str) -> None:
    """What is remembered of the server's network is right."""
    statement = sa.update(SERVERS).where(SERVERS.c.id == server_id)
    conn.execute(statement.values(network_stale=False, updated_at=SERVERS.c.updated_at))


def stale_networks(conn: sa.Connection, limit: int = 200) -> list[str]:
    """Servers whose addresses are to be read anew."""
    query = sa.select(SERVERS.c.id).where(SERVERS.c.network_stale == sa.true(), SERVERS.c.deleted == sa.false())
    return [str(i) for i in conn.execute(query.limit(limit)).scalars()]


# -------------------------------------------------------------------------------------------------------------- usage


@dataclass(frozen=True, slots=True)
class Usage:
    """What a project's servers take together."""

    instances: int = 0
    cores: int = 0
    ram: int = 0


def usage(conn: sa.Connection, project_id: str) -> Usage:
    """What the project uses now."""
    query = sa.select(USAGE.c.instances, USAGE.c.cores, USAGE.c.ram).where(USAGE.c.project_id == project_id)
    row = conn.execute(query).first()
    return Usage(*row) if row else Usage()


def claim_usage(conn: sa.Connection, project_id: str, wanted: Usage, limits: Usage) -> bool:
    """Count servers against their project if its limits (-1: none) leave room for all: one statement decides."""
    c = USAGE.c
    room = [
        sa.or_(sa.literal(limit) < 0, sa.literal(want) <= 0, column + want <= limit)
        for column, want, limit in (
            (c.instances, wanted.instances, limits.instances),
            (c.cores, wanted.cores, limits.cores),
            (c.ram, wanted.ram, limits.ram),
        )
    ]
    changes = {"instances": c.instances + wanted.instances, "cores": c.cores + wanted.cores, "ram": c.ram + wanted.ram}
    statement = sa.update(USAGE).where(c.project_id == project_id, *room).values(changes)
    if conn.execute(statement).rowcount == 1:
        return True
    if not insert_if_absent(conn, USAGE, {"project_id": project_id, "instances": 0, "cores": 0, "ram": 0}):
        return False
    return bool(conn.execute(statement).rowcount == 1)


def release_usage(conn: sa.Connection, project_id: str, instances: int, cores: int, ram: int) -> None:
    """Give back."""
    c = USAGE.c
    changes = {"instances": c.instances - instances, "cores": c.cores - cores, "ram": c.ram - ram}
    conn.execute(sa.update(USAGE).where(c.project_id == project_id).values(changes))
