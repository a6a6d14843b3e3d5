# SPDX-License-Identifier: Apache-2.0
"""Convergers of the network service: they read what is and what should be, take no input and may run at any time.

Hosts that do not answer lose their routers and DHCP servers only when a live host can take them; nothing else of theirs
is touched.
"""

from __future__ import annotations

import datetime
import logging

import sqlalchemy as sa

from aerie_common.context import admin_context
from aerie_common.db import utcnow
from aerie_network import states
from aerie_network.container import NetworkService
from aerie_network.db import hosts, tables
from aerie_network.db import networks as networks_db
from aerie_network.db import ports as ports_db
from aerie_network.db import routers as routers_db
from aerie_network.logic import dhcp, ports, routers
from aerie_network.logic.work import change, live_since

LOG = logging.getLogger(__name__)


def place(svc: NetworkService) -> None:
    """Every router and every network with DHCP has a live host, as far as there is one."""
    with svc.db.read() as conn:
        since = live_since(svc)
        l3, servers = hosts.alive(conn, "l3", since), hosts.alive(conn, "dhcp", since)
        lost_routers = _routers_without(conn, l3) if l3 else []
        lost_networks = _networks_without(conn, servers) if servers else []
    for router_id in lost_routers:
        _place_router(svc, router_id, l3)
    for network_id in lost_networks:
        _place_dhcp(svc, network_id, servers)


def _routers_without(conn: sa.Connection, live: list[str]) -> list[str]:
    """Routers with ports whose host is none or dead."""
    r, p = tables.routers.c, tables.ports.c
    used = sa.select(p.device_id).where(p.device_owner.in_(states.ROUTER_PORTS))
    query = sa.select(r.id).where(r.host.not_in(live), r.id.in_(used))
    return list(conn.execute(query.order_by(r.id)).scalars())


def _networks_without(conn: sa.Connection, live: list[str]) -> list[str]:
    """Networks with DHCP that no live host serves."""
    s, p = tables.subnets.c, tables.ports.c
    served = sa.select(p.network_id).where(p.device_owner == states.DHCP, p.host.in_(live))
    wants = sa.or_(s.ip_version == 4, s.ipv6_address_mode.in_(["dhcpv6-stateful", "dhcpv6-stateless"]))
    query = sa.select(s.network_id).where(s.enable_dhcp.is_(sa.true()), wants, s.network_id.not_in(served)).distinct()
    return list(conn.execute(query.order_by(s.network_id)).scalars())


def _place_router(svc: NetworkService, router_id: str, live: list[str]) -> None:
    with change(svc, admin_context()) as work:
        router = routers_db.STORE.find(work.conn, router_id, lock=True)
        if router is None or router.host in live:
            return
        host = hosts.least_used(work.conn, "l3", live)[0]
        LOG.info("router %s moves from %s to %s", router_id, router.host or "nowhere", host)
        routers.schedule(work, router, host=host)


def _place_dhcp(svc: NetworkService, network_id: str, live: list[str]) -> None:
    with change(svc, admin_context()) as work:
        network = networks_db.STORE.find(work.conn, network_id, lock=True)
        if network is None:
            return
        dead = [p for p in ports_db.of_network(work.conn, network_id, states.DHCP) if p.host not in live]
        if dead:
            host = hosts.least_used(work.conn, "dhcp", live)[0]
            LOG.info("DHCP of network %s moves from %s to %s", network_id, dead[0].host or "nowhere", host)
            ports.move(work, dead[0], network, host, {"device_id": dhcp.device_id(host, network_id)})
            ports.remove(work, dead[1:], network)
        dhcp.converge(work, network)


def tidy(svc: NetworkService) -> None:
    """Forget what nobody asks for any more: old changes of hosts, events nobody took."""
    with svc.db.write() as conn:
        hosts.prune(conn)
    limit = utcnow() - datetime.timedelta(seconds=svc.conf.nova.keep_seconds)
    with svc.db.write() as conn:
        e = tables.compute_events
        gone = conn.execute(sa.delete(e).where(e.c.created_at < limit)).rowcount
    if gone:
        LOG.error(
            "%d events for compute could not be delivered for %d s and are dropped", gone, svc.conf.nova.keep_seconds
        )
