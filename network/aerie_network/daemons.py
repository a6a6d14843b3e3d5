# SPDX-License-Identifier: Apache-2.0
"""The daemons of the network service.

`aerie-network-api` serves the API and the agents' messages, runs the flows, and publishes what has happened; any number
of its processes may run. `aerie-network-agent` is all there is on network hosts and hypervisors: it knows no database.
"""

from __future__ import annotations

from typing import Any

from oslo_config import cfg

from aerie_common import pipeline
from aerie_common.flow_runner import FlowRunner
from aerie_common.operations import Table
from aerie_common.outbox import OutboxRelay
from aerie_common.reconcile import Reconciler
from aerie_common.service import Daemon, DatabaseSpec, ServiceSpec, Stoppable
from aerie_network.agent import options as agent_options
from aerie_network.container import NetworkService
from aerie_network.options import OPTIONS

PORT = 9696
PLACE_SECONDS = 10.0
TIDY_SECONDS = 300.0


def start_api(conf: cfg.ConfigOpts) -> list[Stoppable]:
    """Serve the API, the agents, and everything that runs beside them."""
    svc = NetworkService(conf)
    running = background(svc)
    running.append(pipeline.serve(svc, PORT))
    return running


def background(svc: NetworkService) -> list[Stoppable]:
    """What runs beside the API in each of its processes."""
    from aerie_network import reconcile
    from aerie_network.agent.messages import SERVER_TOPIC
    from aerie_network.agent.rpc import NetworkServerEndpoint
    from aerie_network.flows import FLOWS
    from aerie_network.logic.agents import TOPOLOGY_TOPIC, AgentServer
    from aerie_network.rpc import ComputeNotifier, HostWaker

    placer = Reconciler("network-place", lambda: reconcile.place(svc), PLACE_SECONDS, singleton=svc.db)
    svc.db.subscribe(TOPOLOGY_TOPIC, lambda values: placer.wake())
    parts: list[Any] = [
        HostWaker(svc),
        ComputeNotifier(svc),
        OutboxRelay(svc.db, svc.rpc, f"network.{svc.conf.host}"),
        FlowRunner(svc.db, FLOWS, svc),
        placer,
        Reconciler("network-tidy", lambda: reconcile.tidy(svc), TIDY_SECONDS, singleton=svc.db),
    ]
    for part in parts:
        part.start()
    server = svc.rpc.serve(SERVER_TOPIC, [NetworkServerEndpoint(AgentServer(svc))])
    return [svc.rpc, *parts, server]


def start_agent(conf: cfg.ConfigOpts) -> list[Stoppable]:
    """Keep this host as the network service wants it."""
    from aerie_network.agent.service import start

    return start(conf)


def _tables() -> Any:
    from aerie_network.db.tables import METADATA

    return METADATA


def _table() -> Table:
    from aerie_network.operations import TABLE

    return TABLE


SPEC = ServiceSpec(
    name="network",
    daemons=(
        Daemon("aerie-network-api", start_api, "controller", "network", port=PORT, workers=True),
        Daemon("aerie-network-agent", start_agent, "network", "network-agent", root=True),
    ),
    options=(*OPTIONS, *agent_options.OPTIONS),
    databases=(DatabaseSpec("network", "database", _tables),),
    table=_table,
    topics=("network-server", "network-agent"),
)
