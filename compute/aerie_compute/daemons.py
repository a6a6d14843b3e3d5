# SPDX-License-Identifier: Apache-2.0
"""The compute service's daemons, databases and options. Each start function imports what its daemon needs."""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING, Any

from oslo_config import cfg

from aerie_common.operations import Table
from aerie_common.service import Daemon, DatabaseSpec, ServiceSpec, Stoppable
from aerie_compute.agent.options import OPTIONS as AGENT_OPTIONS
from aerie_compute.console.options import OPTIONS as CONSOLE_OPTIONS
from aerie_compute.metadata.options import OPTIONS as METADATA_OPTIONS
from aerie_compute.options import OPTIONS

if TYPE_CHECKING:
    import sqlalchemy as sa

    from aerie_common.reconcile import Reconciler
    from aerie_compute.container import Compute

API_PORT, PLACEMENT_PORT, METADATA_PORT, CONSOLE_PORT = 8774, 8778, 8775, 6080
ALIVE_SECONDS = 10.0


def start_api(conf: cfg.ConfigOpts) -> list[Stoppable]:
    """Serve the compute API."""
    from aerie_common import pipeline
    from aerie_common.flow_wake import FlowWaker
    from aerie_compute.container import Compute
    from aerie_compute.rpc import CONDUCTOR_TOPIC

    svc = Compute(conf)
    waker = FlowWaker(svc.db, svc.rpc, CONDUCTOR_TOPIC)
    waker.start()
    return [svc.rpc, waker, pipeline.serve(svc, API_PORT)]


def start_placement(conf: cfg.ConfigOpts) -> list[Stoppable]:
    """Serve the placement API."""
    from aerie_common import pipeline
    from aerie_compute.container import Placement

    return [pipeline.serve_at(Placement(conf), conf.placement.port)]


def _alive(svc: Compute, binary: str) -> Reconciler:
    """Says every few seconds that this daemon lives."""
    from aerie_common.reconcile import Reconciler
    from aerie_compute import reconcile

    version = metadata.version("aerie")
    return Reconciler(f"alive-{binary}", lambda: reconcile.seen(svc, binary, version), ALIVE_SECONDS)


def start_scheduler(conf: cfg.ConfigOpts) -> list[Stoppable]:
    """Answer who may take a server."""
    from aerie_compute.container import Compute
    from aerie_compute.rpc import SCHEDULER_TOPIC, SchedulerEndpoint
    from aerie_compute.scheduler.manager import SchedulerManager

    svc = Compute(conf)
    alive = _alive(svc, "nova-scheduler")
    alive.start()
    return [svc.rpc, alive, svc.rpc.serve(SCHEDULER_TOPIC, [SchedulerEndpoint(SchedulerManager(svc))])]


def start_conductor(conf: cfg.ConfigOpts) -> list[Stoppable]:
    """Run flows, answer agents, reconcile, publish notifications."""
    from aerie_common.flow_runner import FlowRunner
    from aerie_common.flow_wake import FlowEndpoint
    from aerie_common.outbox import OutboxRelay
    from aerie_common.reconcile import Reconciler
    from aerie_compute import reconcile
    from aerie_compute.conductor import Conductor
    from aerie_compute.container import Compute
    from aerie_compute.flows import all_flows
    from aerie_compute.rpc import CONDUCTOR_TOPIC, ConductorEndpoint

    svc = Compute(conf)
    runner = FlowRunner(svc.db, all_flows(), svc, workers=conf.conductor.flow_threads)
    relay = OutboxRelay(svc.db, svc.rpc, f"compute.{conf.host}")
    converger = Reconciler(
        "compute", lambda: reconcile.converge(svc), conf.conductor.reconcile_interval, singleton=svc.db
    )
    parts: list[Any] = [relay, runner, converger, _alive(svc, "nova-conductor")]
    for part in parts:
        part.start()
    server = svc.rpc.serve(CONDUCTOR_TOPIC, [ConductorEndpoint(Conductor(svc)), FlowEndpoint(runner)])
    return [svc.rpc, *parts, server]


def start_metadata(conf: cfg.ConfigOpts) -> list[Stoppable]:
    """Serve the metadata API."""
    from aerie_compute.metadata import daemon

    return daemon.start(conf)


def start_console(conf: cfg.ConfigOpts) -> list[Stoppable]:
    """Relay screens and serial consoles."""
    from aerie_compute.console import daemon

    return daemon.start(conf)


def start_agent(conf: cfg.ConfigOpts) -> list[Stoppable]:
    """Run guests of this host."""
    from aerie_compute.agent import daemon

    return daemon.start(conf)


def _cell_tables() -> sa.MetaData:
    from aerie_compute.db.tables import CELL

    return CELL


def _api_tables() -> sa.MetaData:
    from aerie_compute.db.tables import API

    return API


def _table() -> Table:
    from aerie_compute.operations import TABLE

    return TABLE


SPEC = ServiceSpec(
    name="compute",
    daemons=(
        Daemon("aerie-compute-conductor", start_conductor, role="controller", config="compute"),
        Daemon("aerie-compute-scheduler", start_scheduler, role="controller", config="compute"),
        Daemon("aerie-compute-placement", start_placement, role="controller", config="compute", port=PLACEMENT_PORT,
               port_option=("placement", "port")),
        Daemon("aerie-compute-metadata", start_metadata, role="controller", config="compute", port=METADATA_PORT,
               port_option=(None, "metadata_listen_port")),
        Daemon("aerie-compute-console", start_console, role="controller", config="compute", port=CONSOLE_PORT,
               port_option=("console_proxy", "port")),
        Daemon("aerie-compute-api", start_api, role="controller", config="compute", port=API_PORT, workers=True),
        Daemon("aerie-compute-agent", start_agent, role="hypervisor", config="compute-agent", root=True),
    ),
    options=(*OPTIONS, *AGENT_OPTIONS, *CONSOLE_OPTIONS, *METADATA_OPTIONS),
    databases=(
        DatabaseSpec("compute", "database", _cell_tables),
        DatabaseSpec("compute_api", "api_database", _api_tables),
    ),
    table=_table,
    addresses={
        ("console", "novncproxy_base_url"): "aerie-compute-console",
        ("console", "serialproxy_base_url"): "aerie-compute-console",
    },
    all_in_one={("agent", "report_interval"): 2.0},
    topics=("conductor", "scheduler", "compute"),
)  # fmt: skip
