# SPDX-License-Identifier: Apache-2.0
"""The daemons of the DNS service."""

from __future__ import annotations

from oslo_config import cfg
from sqlalchemy import MetaData

from aerie_common import pipeline
from aerie_common.flow_runner import FlowRunner
from aerie_common.operations import Table
from aerie_common.reconcile import Reconciler
from aerie_common.service import Daemon, DatabaseSpec, ServiceSpec, Stoppable
from aerie_dns import logic
from aerie_dns.container import Dns
from aerie_dns.options import OPTIONS

WORKER_TOPIC = "dns-worker"
TRANSFER_PERIOD = 5.0
WORKERS = 6


def _container(conf: cfg.ConfigOpts) -> Dns:
    from aerie_dns.operations import TABLE

    svc = Dns(conf)
    svc.table = TABLE
    return svc


def _reports(svc: Dns, name: str) -> Reconciler:
    """Tells the API that this daemon runs."""
    period = logic.services.REPORT_SECONDS
    reporter = Reconciler(f"{name}-report", lambda: logic.services.report(svc, name, {}), period, max_retry=period)
    reporter.start()
    return reporter


def _waker(svc: Dns) -> Stoppable:
    from aerie_common.flow_wake import FlowWaker

    waker = FlowWaker(svc.db, svc.rpc, WORKER_TOPIC)
    waker.start()
    return waker


def start_api(conf: cfg.ConfigOpts) -> list[Stoppable]:
    """The HTTP API."""
    svc = _container(conf)
    return [_waker(svc), _reports(svc, "api"), pipeline.serve(svc, 9001)]


def start_worker(conf: cfg.ConfigOpts) -> list[Stoppable]:
    """Carries changes to the name servers."""
    from aerie_common.flow_wake import FlowEndpoint
    from aerie_dns.flows.zone_push import ZONE_PUSH
    from aerie_dns.flows.zone_transfer import ZONE_TRANSFER

    svc = _container(conf)
    runner = FlowRunner(svc.db, [ZONE_PUSH, ZONE_TRANSFER], svc, workers=WORKERS)
    runner.start()
    return [_reports(svc, "worker"), runner, svc.rpc.serve(WORKER_TOPIC, [FlowEndpoint(runner)])]


def start_central(conf: cfg.ConfigOpts) -> list[Stoppable]:
    """Makes good what got lost."""
    from aerie_dns.reconcile import ManagedRecords, Recovery, Transfers

    svc = _container(conf)
    recovery = Reconciler("recovery", Recovery(svc).converge, conf.dns.recovery_interval, singleton=svc.db)
    transfers = Reconciler("transfers", Transfers(svc).converge, TRANSFER_PERIOD, singleton=svc.db)
    managed = Reconciler("managed", ManagedRecords(svc).converge, conf.sink.reconcile_interval, singleton=svc.db)
    running: list[Stoppable] = [_waker(svc), _reports(svc, "central")]
    for reconciler in (recovery, transfers, managed):
        reconciler.start()
        running.append(reconciler)
    return running


def start_mdns(conf: cfg.ConfigOpts) -> list[Stoppable]:
    """Serves zone transfers."""
    from aerie_dns.mdns import MdnsServer

    svc = _container(conf)
    server = MdnsServer(svc)
    server.start()
    return [_reports(svc, "mdns"), server]


def start_sink(conf: cfg.ConfigOpts) -> list[Stoppable]:
    """Lets records follow servers, ports and floating IPs."""
    from aerie_dns.sink import Sink

    svc = _container(conf)
    running: list[Stoppable] = [_waker(svc), _reports(svc, "sink")]
    if conf.sink.enabled:
        running.append(svc.rpc.listen([Sink(svc)]))
    return running


def _table() -> Table:
    from aerie_dns.operations import TABLE

    return TABLE


def _metadata() -> MetaData:
    from aerie_dns.db.tables import METADATA

    return METADATA


SPEC = ServiceSpec(
    "dns",
    daemons=(
        Daemon("aerie-dns-api", start_api, "controller", "dns", port=9001, workers=True),
        Daemon("aerie-dns-central", start_central, "controller", "dns"),
        Daemon("aerie-dns-worker", start_worker, "controller", "dns"),
        Daemon("aerie-dns-mdns", start_mdns, "controller", "dns", port=5354, port_option=("mdns", "port")),
        Daemon("aerie-dns-sink", start_sink, "controller", "dns"),
    ),
    options=OPTIONS,
    databases=(DatabaseSpec("dns", "database", _metadata),),
    table=_table,
    topics=(WORKER_TOPIC,),
)
