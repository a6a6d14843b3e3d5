# SPDX-License-Identifier: Apache-2.0
"""What the network server answers its agents, and what the API shows of them.

Implements the `NetworkServer` protocol of `agent/messages.py`. Every method may be called twice and late.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from aerie_common import flow
from aerie_common.context import Context, admin_context
from aerie_common.db import publish, retried
from aerie_common.listing import Listing
from aerie_network import states
from aerie_network.agent.messages import Heartbeat, HeartbeatAnswer, MetadataSource, StateAnswer
from aerie_network.container import NetworkService
from aerie_network.db import agents as db
from aerie_network.db import hosts, tables
from aerie_network.db import networks as networks_db
from aerie_network.db import ports as ports_db
from aerie_network.db import routers as routers_db
from aerie_network.db.agents import Agent
from aerie_network.db.query import Page
from aerie_network.drivers.base import ACTIVE, ERROR, WIRED, Outcome, Report
from aerie_network.errors import (
    AgentNotFound,
    InvalidDHCPAgent,
    InvalidL3Agent,
    NetworkHostedByDHCPAgent,
    NetworkNotHostedByDhcpAgent,
    RouterHostedByL3Agent,
    RouterNotHostedByL3Agent,
)
from aerie_network.logic import dhcp, host_states, ports, routers
from aerie_network.logic.work import HOSTS_TOPIC, change, live_since, privileged
from aerie_network.schemas.routers import FLOATING_IP

LOG = logging.getLogger(__name__)
TOPOLOGY_TOPIC = "network_topology"
"""`Database.subscribe` topic: an agent has come: what has no host may get one."""


class AgentServer:
    """The server's side of the agents' messages."""

    def __init__(self, svc: NetworkService) -> None:
        self._svc = svc

    def get_host_state(self, host: str, roles: Sequence[str], known_revision: int) -> StateAnswer:
        """What the host's agent lacks."""
        return host_states.answer(self._svc, host, known_revision)

    def heartbeat(self, beat: Heartbeat) -> HeartbeatAnswer:
        """The agents of a host live."""
        revision, new = self._beat(beat)
        if new and ports.rebind_failed(self._svc, admin_context(), beat.host):
            LOG.info("ports that waited for an agent on %s are bound", beat.host)
        return HeartbeatAnswer(revision)

    @retried
    def _beat(self, beat: Heartbeat) -> tuple[int, bool]:
        fresh = False
        with self._svc.db.write() as conn:
            before = db.tunnel_ips(conn).get(beat.host, "")
            for info in sorted(beat.agents, key=lambda agent: agent.role):
                values: dict[str, Any] = {
                    "binary": info.binary,
                    "agent_type": info.agent_type,
                    "availability_zone": info.availability_zone,
                    "tunnel_ip": info.tunnel_ip,
                    "configurations": {
                        "bridge_mappings": {pair[0]: pair[1] for pair in info.bridge_mappings if len(pair) == 2},
                        "tunneling_ip": info.tunnel_ip or None,
                        "tunnel_types": ["vxlan"] if info.tunnel_ip else [],
                    },
                }
                fresh |= db.beat(conn, beat.host, info.role, values)
            hosts.register(conn, beat.host)
            after = next((a.tunnel_ip for a in beat.agents if a.role == "l2"), "")
            if after != before:  # every other host's forwarding entries name it
                for found in hosts.forget_changes(conn).items():
                    publish(conn, HOSTS_TOPIC, found)
            if fresh:
                publish(conn, TOPOLOGY_TOPIC, beat.host)
            return hosts.revision(conn, beat.host), fresh

    def report(self, host: str, report: Report) -> None:
        """Take what became of a host's state."""
        for network_id, outcome in report.networks.items():
            LOG.warning("network %s on %s: %s", network_id, host, outcome.reason or outcome.status)
        for router_id, outcome in report.routers.items():
            if outcome.status == ERROR:
                LOG.warning("router %s on %s: %s", router_id, host, outcome.reason)
        if report.ports or report.dhcp_ready:
            self._ports(host, report.ports, report.dhcp_ready)
        if report.floating_ips:
            self._floating_ips(host, report.floating_ips)

    def _news(
        self, host: str, outcomes: Mapping[str, Outcome], ready: Mapping[str, int]
    ) -> tuple[set[str], dict[str, list[str]]]:
        """Ports about which a report may change something, without locking anything: a full report repeats much."""
        p, v = tables.ports.c, tables.provisioning.c
        with self._svc.db.read() as conn:
            rows = (
                conn.execute(sa.select(p.id, p.status).where(p.id.in_(list(outcomes)), p.host == host)).tuples().all()
            )
            asked = {port_id for port_id, _ in rows} | set(ready)
            waiting = set(conn.execute(sa.select(v.port_id).where(v.port_id.in_(list(asked))).distinct()).scalars())
        events: dict[str, list[str]] = {"failed": [], "lost": []}
        for port_id, status in rows:
            outcome = outcomes[port_id]
            if outcome.status == WIRED:
                if status != states.ACTIVE:
                    waiting.add(port_id)
            elif outcome.status == ERROR and status != states.ERROR:
                LOG.warning("port %s on %s: %s", port_id, host, outcome.reason)
                events["failed"].append(port_id)
            elif outcome.status not in (WIRED, ERROR) and status == states.ACTIVE:
                events["lost"].append(port_id)
        return waiting, events

    @retried
    def _ports(self, host: str, outcomes: Mapping[str, Outcome], ready: Mapping[str, int]) -> None:
        """Wired taps and loaded DHCP hosts: the port whose last party this was becomes ACTIVE."""
        waiting, events = self._news(host, outcomes, ready)
        if not waiting and not any(events.values()):
            return
        with change(self._svc, admin_context()) as work:
            conn, p = work.conn, tables.ports.c
            for event, ids in events.items():
                for port in ports_db.STORE.all(conn, p.id.in_(ports_db.set_status(conn, ids, event))) if ids else ():
                    work.notify("port.update.end", {"port": ports.payload(self._svc, port)})
            if not waiting:
                return
            expected = ports_db.expected(conn, waiting)
            here = {
                port_id for (port_id,) in conn.execute(
                    sa.select(p.id).where(p.id.in_(list(waiting)), p.host == host, p.vif_type == ports.BRIDGE)
                )
            }  # fmt: skip
            done: list[tuple[str, str]] = []
            complete: list[str] = []
            for port_id in sorted(waiting):
                parties = dict(expected.get(port_id, {}))
                outcome = outcomes.get(port_id)
                wired = outcome is not None and outcome.status == WIRED and port_id in here
                if wired and outcome is not None and parties.get(states.L2, -1) <= outcome.revision:
                    if parties.pop(states.L2, None) is not None:
                        done.append((port_id, states.L2))
                if parties.get(states.DHCP_PARTY, 1 << 62) <= ready.get(port_id, -1):
                    del parties[states.DHCP_PARTY]
                    done.append((port_id, states.DHCP_PARTY))
                if not parties and (wired or port_id in expected):
                    complete.append(port_id)
            ports_db.reported(conn, done)
            for port in ports.provisioned(work, complete):
                if port.device_owner == states.ROUTER_GATEWAY:
                    flow.wake(conn, port.device_id)

    @retried
    def _floating_ips(self, host: str, outcomes: Mapping[str, Outcome]) -> None:
        """Floating IPs that their router's host has realised, or could not."""
        f, r = tables.floatingips.c, tables.routers.c
        query = (
            sa.select(f.id, f.status, f.revision_number)
            .join(tables.routers, r.id == f.router_id)
            .where(f.id.in_(list(outcomes)), r.host == host)
        )
        with self._svc.db.read() as conn:
            rows = conn.execute(query).tuples().all()
        wanted: dict[str, list[str]] = {states.ACTIVE: [], states.ERROR: []}
        for floating_id, status, revision in rows:
            outcome = outcomes[floating_id]
            target = {ACTIVE: states.ACTIVE, ERROR: states.ERROR}.get(outcome.status)
            if target and target != status and outcome.revision == revision:
                wanted[target].append(floating_id)
                if target == states.ERROR:
                    LOG.warning("floating IP %s on %s: %s", floating_id, host, outcome.reason)
        if not any(wanted.values()):
            return
        with change(self._svc, admin_context()) as work:
            for status, ids in wanted.items():
                if ids:
                    where = (f.id.in_(ids), f.port_id.is_not(None))
                    work.conn.execute(sa.update(tables.floatingips).where(*where).values(status=status))
                    for floating in routers_db.FLOATING_IPS.all(work.conn, f.id.in_(ids)):
                        work.notify("floatingip.update.end", {"floatingip": FLOATING_IP.show(floating, work.ctx)})

    def resolve_metadata(self, network_id: str | None, router_id: str | None, address: str) -> MetadataSource | None:
        """The server behind the port with this address on the network, or on a network of the router."""
        p, a = tables.ports.c, tables.ip_allocations.c
        query = (
            sa.select(p.device_id, p.project_id, p.id, p.device_owner)
            .join(tables.ip_allocations, a.port_id == p.id)
            .where(a.ip_address == address, p.device_owner.like(states.COMPUTE_PREFIX + "%"))
        )
        if network_id is not None:
            query = query.where(a.network_id == network_id)
        elif router_id is not None:
            own = sa.select(p.network_id).where(p.device_id == router_id, p.device_owner == states.ROUTER_INTERFACE)
            query = query.where(a.network_id.in_(own.correlate(None)))
        else:
            return None
        with self._svc.db.read() as conn:
            found = conn.execute(query).all()
        if len(found) != 1:
            return None
        return MetadataSource(instance_id=found[0].device_id, project_id=found[0].project_id, port_id=found[0].id)


# --------------------------------------------------------------------------------------------------------- API


def page(svc: NetworkService, ctx: Context, listing: Listing) -> Page[Agent]:
    """The agents of the cloud; those who do not run it see none."""
    if not privileged(ctx):
        return Page([])
    filters = dict(listing.filters)
    where = [db.heard_of(live_since(svc), filters.pop("alive"))] if "alive" in filters else []
    with svc.db.read() as conn:
        return db.STORE.page(conn, replace(listing, filters=filters), *where)


def show(svc: NetworkService, ctx: Context, agent_id: str) -> Agent:
    """One agent."""
    with svc.db.read() as conn:
        return db.STORE.get(conn, agent_id)


@retried
def update(svc: NetworkService, ctx: Context, agent_id: str, values: dict[str, Any]) -> Agent:
    """Enable, disable or describe an agent. Nothing new goes to a disabled one."""
    with svc.db.write() as conn:
        t = tables.agents
        if values and not conn.execute(sa.update(t).where(t.c.id == agent_id).values(values)).rowcount:
            raise AgentNotFound(id=agent_id)
        return db.STORE.get(conn, agent_id)


@retried
def delete(svc: NetworkService, ctx: Context, agent_id: str) -> None:
    """Forget an agent that is gone; a live one comes back with its next heartbeat."""
    with svc.db.write() as conn:
        db.STORE.delete(conn, agent_id)


def alive(svc: NetworkService, agent: Agent) -> bool:
    """Has it been heard of lately?"""
    return agent.heartbeat_at > live_since(svc)


def zones(svc: NetworkService) -> list[dict[str, str]]:
    """Availability zones with agents, for networks and routers."""
    with svc.db.read() as conn:
        agents = db.STORE.all(conn)
    found: dict[tuple[str, str], bool] = {}
    for agent in agents:
        kind = {"dhcp": "network", "l3": "router"}.get(agent.role)
        if kind and agent.availability_zone:
            key = (agent.availability_zone, kind)
            found[key] = found.get(key, False) or agent.admin_state_up
    return [
        {"name": name, "resource": kind, "state": "available" if up else "unavailable"}
        for (name, kind), up in sorted(found.items())
    ]


def dhcp_hosts(svc: NetworkService, ctx: Context, network_id: str) -> list[Agent]:
    """DHCP agents that serve a network."""
    with svc.db.read() as conn:
        networks_db.STORE.get(conn, network_id)
        named = [port.host for port in ports_db.of_network(conn, network_id, states.DHCP) if port.host]
        return db.STORE.all(conn, tables.agents.c.role == "dhcp", tables.agents.c.host.in_(named))


def networks_of(svc: NetworkService, ctx: Context, agent_id: str) -> list[networks_db.Network]:
    """Networks a DHCP agent serves."""
    p = tables.ports.c
    with svc.db.read() as conn:
        agent = db.STORE.get(conn, agent_id)
        served = sa.select(p.network_id).where(p.host == agent.host, p.device_owner == states.DHCP)
        return networks_db.STORE.all(conn, tables.networks.c.id.in_(served)) if agent.role == "dhcp" else []


@retried
def add_network(svc: NetworkService, ctx: Context, agent_id: str, network_id: str) -> None:
    """Let a DHCP agent serve a network."""
    with change(svc, ctx) as work:
        agent = db.STORE.get(work.conn, agent_id)
        if agent.role != "dhcp" or not agent.admin_state_up:
            raise InvalidDHCPAgent(id=agent_id)
        network = networks_db.STORE.get(work.conn, network_id, lock=True)
        present = [port.host for port in ports_db.of_network(work.conn, network_id, states.DHCP)]
        if agent.host in present:
            raise NetworkHostedByDHCPAgent(network=network_id, agent=agent_id)
        if agent.host not in dhcp.converge(work, network, host=agent.host):
            dhcp.reserve(work, network, agent.host)  # no subnet wants DHCP yet: it will be served from there


@retried
def remove_network(svc: NetworkService, ctx: Context, agent_id: str, network_id: str) -> None:
    """Let a DHCP agent serve a network no longer."""
    with change(svc, ctx) as work:
        agent = db.STORE.get(work.conn, agent_id)
        network = networks_db.STORE.get(work.conn, network_id, lock=True)
        mine = [p for p in ports_db.of_network(work.conn, network_id, states.DHCP) if p.host == agent.host]
        if not mine:
            raise NetworkNotHostedByDhcpAgent(network=network_id, agent=agent_id)
        ports.remove(work, mine, network)


def router_hosts(svc: NetworkService, ctx: Context, router_id: str) -> list[Agent]:
    """L3 agents that host a router."""
    with svc.db.read() as conn:
        router = routers_db.STORE.get(conn, router_id)
        return db.STORE.all(conn, tables.agents.c.role == "l3", tables.agents.c.host == router.host)


def routers_of(svc: NetworkService, ctx: Context, agent_id: str) -> list[routers_db.Router]:
    """Routers an L3 agent hosts."""
    with svc.db.read() as conn:
        agent = db.STORE.get(conn, agent_id)
        if agent.role != "l3":
            return []
        return routers_db.STORE.all(conn, tables.routers.c.host == agent.host)


@retried
def add_router(svc: NetworkService, ctx: Context, agent_id: str, router_id: str) -> None:
    """Put a router on an L3 agent's host."""
    with change(svc, ctx) as work:
        agent = db.STORE.get(work.conn, agent_id)
        if agent.role != "l3" or not agent.admin_state_up:
            raise InvalidL3Agent(id=agent_id)
        router = routers_db.STORE.get(work.conn, router_id, lock=True)
        if router.host:
            raise RouterHostedByL3Agent(router=router_id, agent=agent_id)
        routers.schedule(work, router, host=agent.host)


@retried
def remove_router(svc: NetworkService, ctx: Context, agent_id: str, router_id: str) -> None:
    """Take a router off an L3 agent's host; the next look for routers without host may give it another."""
    with change(svc, ctx) as work:
        agent = db.STORE.get(work.conn, agent_id)
        router = routers_db.STORE.get(work.conn, router_id, lock=True)
        if router.host != agent.host:
            raise RouterNotHostedByL3Agent(router=router_id, agent=agent_id)
        routers.schedule(work, router, host="")
