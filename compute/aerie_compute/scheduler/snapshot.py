# SPDX-License-Identifier: Apache-2.0
"""The hosts as the databases know them at one moment, for `scheduler.select`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from aerie_common.db import retried
from aerie_compute.db import aggregates, hosts, placement, servers
from aerie_compute.scheduler.select import Host, Stock

if TYPE_CHECKING:
    from aerie_compute.container import Compute


@retried
def touch_up(svc: Compute, picture: list[Host]) -> list[Host]:
    """The same hosts, with what administrators said of them this very moment."""
    with svc.db.read() as conn:
        closed = hosts.closed(conn)
    changed = []
    for host in picture:
        disabled, down = closed.get(host.host, (False, False))
        if host.enabled == disabled or (host.up and down):
            host = replace(host, enabled=not disabled, up=host.up and not down)
        changed.append(host)
    return changed


@retried
def load(svc: Compute) -> list[Host]:
    """Every host, in a fixed number of statements."""
    conf = svc.conf
    with svc.db.read() as conn:
        agents = {s.host: s for s in hosts.services(conn, binary=hosts.AGENT_BINARY)}
        nodes = hosts.nodes(conn)
        counts = servers.count_by_host(conn)
    with svc.api_db.read() as conn:
        stocks: dict[str, dict[str, Stock]] = {}
        for i in placement.inventories(conn):
            stocks.setdefault(i.provider_id, {})[i.resource_class] = Stock(i.capacity, i.used, i.max_unit)
        traits = placement.provider_traits(conn)
        sets = aggregates.list_(conn)
    found = []
    for node in nodes:
        agent = agents.get(node.host)
        mine = [a for a in sets if node.host in a.hosts]
        zone = next((a.zone for a in mine if a.zone), None) or conf.default_availability_zone
        many, busy = counts.get(node.host, (0, 0))
        found.append(
            Host(
                host=node.host,
                node=node.hypervisor_hostname,
                provider_id=node.id,
                zone=zone,
                enabled=agent is not None and not agent.disabled,
                up=agent is not None and agent.up(conf.service_down_time),
                stock=stocks.get(node.id, {}),
                hypervisor_type=node.hypervisor_type,
                supported=tuple((s[0], s[1], s[2]) for s in node.resources.get("supported", ())),
                aggregates=tuple(a.metadata for a in mine),
                servers=many,
                busy=busy,
                traits=frozenset(traits.get(node.id, ())),
            )
        )
    return found
