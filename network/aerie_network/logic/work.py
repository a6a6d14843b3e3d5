# SPDX-License-Identifier: Apache-2.0
"""One change to the network: its transaction, and everything that has to happen together with it.

Invariant: rows, quota, notifications, events for compute and the new revisions of the hosts concerned are committed
together or not at all. What concerns whom is gathered while the change is made and resolved once, at its end, by a
fixed number of statements; the rows that many changes fight over (quota, revisions) are locked last and shortest.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from aerie_common import outbox
from aerie_common.context import Context
from aerie_common.db import publish, utcnow
from aerie_network import states
from aerie_network.db import hosts, quotas, tables
from aerie_network.db.networks import Network
from aerie_network.db.ports import Port
from aerie_network.errors import OverQuota

if TYPE_CHECKING:
    from aerie_network.container import NetworkService

HOSTS_TOPIC = "network_hosts"
"""`Database.subscribe` topic: (host, revision) of hosts whose desired state has been changed by this process."""
COMPUTE_TOPIC = "network_compute_events"
"""`Database.subscribe` topic: there are new events for compute."""


class Work:
    """What one transaction changes besides its own rows."""

    def __init__(self, svc: NetworkService, ctx: Context, conn: sa.Connection) -> None:
        self.svc, self.ctx, self.conn = svc, ctx, conn
        self._charges: dict[tuple[str, str], int] = {}
        self._forced: dict[tuple[str, str], int] = {}
        self._events: list[tuple[str, dict[str, Any]]] = []
        self._compute: list[dict[str, Any]] = []
        self._items: dict[str, set[hosts.Item]] = {}
        self._topologies: set[str] = set()
        self._members: dict[str, bool] = {}
        self._groups: set[str] = set()
        self._dropped: dict[str, set[str]] = {}
        self._sets: set[str] = set()
        self._wired: list[tuple[str, tuple[str, ...]]] = []

    # -- quota, notifications, compute

    def charge(self, project_id: str, resource: str, count: int = 1, *, force: bool = False) -> None:
        """Count `count` more (negative: fewer) of a resource for the project; force=True passes the limit."""
        if project_id:
            charges = self._forced if force else self._charges
            charges[project_id, resource] = charges.get((project_id, resource), 0) + count

    def notify(self, event_type: str, payload: dict[str, Any]) -> None:
        """Tell the rest of the cloud."""
        self._events.append((event_type, payload))

    def tell_compute(self, name: str, port: Port, status: str = "completed", tag: str | None = None) -> None:
        """An external event for the server behind the port, if there is one."""
        if port.device_id and port.device_owner.startswith(states.COMPUTE_PREFIX):
            self._compute.append(
                {
                    "name": name,
                    "server_id": port.device_id,
                    "tag": tag or port.id,
                    "status": status,
                    "request_id": self.ctx.global_request_id or self.ctx.request_id,
                    "created_at": (now := utcnow()),
                    "due_at": now,
                }
            )

    # -- what hosts have to know

    def item(self, host: str, section: str, item_id: str) -> None:
        """One document of one host."""
        if host:
            self._items.setdefault(host, set()).add((section, item_id))

    def topology(self, network_id: str) -> None:
        """The network itself or its subnets changed: every host that has it, and the routers on it."""
        self._topologies.add(network_id)

    def members(self, network_id: str, *, elsewhere: bool = True) -> None:
        """Ports came to the network, left it or have other addresses: its DHCP servers; elsewhere=True: also the hosts
        which forward to its ports."""
        self._members[network_id] = self._members.get(network_id, False) or elsewhere

    def port(self, port: Port, network: Network | None = None) -> None:
        """The port is new, changed or gone: its own host, its network's members, users of its groups' addresses.

        Call it with the port before and after, where host, groups or addresses changed.
        """
        tunnelled = network is None or network.network_type == "vxlan"
        self.members(port.network_id, elsewhere=tunnelled and bool(port.host))
        if port.host:
            self.item(port.host, hosts.NETWORKS, port.network_id)
            if port.device_owner == states.DHCP:
                self.item(port.host, hosts.DHCP, port.network_id)
            elif port.device_owner in states.ROUTER_PORTS:
                self.item(port.host, hosts.ROUTERS, port.device_id)
            else:
                self.item(port.host, hosts.PORTS, port.id)
                self._wired.append((port.host, port.security_groups))
        if port.fixed_ips:
            self._sets.update(port.security_groups)

    def rules(self, group_id: str, dropped: str | None = None) -> None:
        """A security group's rules changed: every host that has a port in it. dropped: the remote group (or address
        group) of a rule that is gone."""
        self._groups.add(group_id)
        if dropped:
            self._dropped.setdefault(group_id, set()).add(dropped)

    def set_members(self, set_id: str) -> None:
        """The addresses behind a remote group changed: every host whose rules name it."""
        self._sets.add(set_id)

    def router(self, router_id: str, host: str) -> None:
        """The router changed."""
        self.item(host, hosts.ROUTERS, router_id)

    # -- the end of the transaction

    def _resolve(self) -> None:
        """Turn what changed into documents of hosts."""
        conn = self.conn
        if wanted := self._topologies | set(self._members):
            for network_id, host, dhcp in hosts.of_networks(conn, wanted):
                if network_id in self._topologies or self._members.get(network_id):
                    self.item(host, hosts.NETWORKS, network_id)
                if dhcp:
                    self.item(host, hosts.DHCP, network_id)
        if self._topologies:
            for router_id, host in hosts.routers_of_networks(conn, self._topologies):
                self.item(host, hosts.ROUTERS, router_id)
        own = self._groups | {group for _, groups in self._wired for group in groups}
        named = hosts.references(conn, self._sets, own) if own or self._sets else []
        users = {group_id for group_id, set_id in named if set_id in self._sets}
        named_by = {group_id: set(set_ids) for group_id, set_ids in self._dropped.items()}
        for group_id, set_id in named:
            named_by.setdefault(group_id, set()).add(set_id)
        for host, groups in self._wired:
            for group_id in groups:
                self.item(host, hosts.GROUPS, group_id)
                for set_id in named_by.get(group_id, ()):
                    self.item(host, hosts.SETS, set_id)
        if users or self._groups:
            for group_id, host in hosts.of_groups(conn, users | self._groups):
                if group_id in self._groups:
                    self.item(host, hosts.GROUPS, group_id)
                for set_id in named_by.get(group_id, ()):
                    if group_id in self._groups or set_id in self._sets:
                        self.item(host, hosts.SETS, set_id)

    def finish(self) -> None:
        """Write what was gathered; the last thing in the transaction."""
        self._resolve()
        conn = self.conn
        if self._events:
            outbox.emit_many(conn, self._events, self.ctx)
        if self._compute and self.svc.conf.notify_nova_on_port_status_changes:
            conn.execute(sa.insert(tables.compute_events), self._compute)
            publish(conn, COMPUTE_TOPIC)
        for force, charges in ((True, self._forced), (False, self._charges)):
            for (project_id, resource), count in sorted(charges.items()):
                default = self.svc.quota_default(resource)
                if count and not quotas.claim(conn, project_id, resource, count, default, force=force):
                    raise OverQuota(overs=f"['{resource}']")
        for found in hosts.record(conn, self._items).items():
            publish(conn, HOSTS_TOPIC, found)


@contextmanager
def change(svc: NetworkService, ctx: Context) -> Iterator[Work]:
    """A transaction that changes the network."""
    with svc.db.write() as conn:
        work = Work(svc, ctx, conn)
        yield work
        work.finish()


# ----------------------------------------------------------------------------------------------- who may what


def privileged(ctx: Context) -> bool:
    """May this caller act for any project? Administrators and the cloud's own services."""
    return ctx.is_admin or "service" in ctx.roles


def scope(ctx: Context, visible: sa.ColumnElement[bool]) -> tuple[sa.ColumnElement[bool], ...]:
    """The condition under which the caller sees objects: none for the privileged."""
    return () if privileged(ctx) else (visible,)


def owned(ctx: Context, column: sa.Column[Any]) -> tuple[sa.ColumnElement[bool], ...]:
    """The scope of nouns that are seen by their owner only."""
    return () if privileged(ctx) else (column == (ctx.project_id or ""),)


def live_since(svc: NetworkService) -> datetime.datetime:
    """Agents heard of since then are alive."""
    return utcnow() - datetime.timedelta(seconds=svc.conf.agent_down_time)


def changed(before: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the values that differ from what the row has."""
    return {name: value for name, value in values.items() if getattr(before, name) != value}


def first(items: Iterable[Any]) -> Any:
    """The first of the items, None without any."""
    return next(iter(items), None)
