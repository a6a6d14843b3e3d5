# SPDX-License-Identifier: Apache-2.0
"""The service with all its real parts (MariaDB, RabbitMQ, PowerDNS): how soon a change can be resolved, and what
happens when a part is away."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dns.message
import dns.query
import pytest
from oslo_config import cfg

from aerie_common import config
from aerie_common.flow_runner import FlowRunner
from aerie_common.testing.api import Api, Caller
from aerie_dns import daemons
from aerie_dns.db.tables import METADATA
from servers import PowerDNS, RabbitMQ, wait_for

ZONE_SECONDS, RECORD_SECONDS = 0.3, 0.2


@dataclass
class Bench:
    api: Api
    owner: Caller
    powerdns: PowerDNS
    conf: cfg.ConfigOpts
    running: Sequence[Any] = ()

    def call(self, method: str, path: str, body: Any = None, expect: int = 202) -> dict[str, Any]:
        return dict(self.api.call(method, path, body, by=self.owner, expect=expect).json)

    def ask(self, name: str, type_: str) -> set[str]:
        query = dns.message.make_query(name, type_)
        answer = dns.query.udp(query, "127.0.0.1", port=self.powerdns.port, timeout=30)
        return {r.to_text() for rrset in answer.answer for r in rrset}

    def active(self, path: str) -> Callable[[], bool]:
        return lambda: self.call("GET", path, expect=200)["status"] == "ACTIVE"


def configure(url: str, transport: str, powerdns: PowerDNS) -> cfg.ConfigOpts:
    conf = config.load(daemons.SPEC.new_conf(), [])
    from aerie_common import rpc

    rpc.register_options(conf)
    for group, name, value in (
        ("database", "connection", url),
        (None, "transport_url", transport),
        ("pool", "nameservers", [f"127.0.0.1:{powerdns.port}"]),
        ("pool", "powerdns_url", powerdns.api_url),
        ("pool", "powerdns_key", powerdns.api_key),
        ("dns", "quota_zones", 1000),
        ("dns", "recovery_interval", 1),
    ):
        conf.set_override(name, value, group=group)
    return conf


@pytest.fixture
def bench(mariadb_url: str, transport_url: str, powerdns: PowerDNS) -> Iterator[Bench]:
    conf = configure(mariadb_url, transport_url, powerdns)
    svc = daemons._container(conf)
    svc.db.create_all(METADATA)
    running = [*daemons.start_worker(conf), daemons._waker(svc)]
    api = Api(svc)
    yield Bench(api, api.caller("member"), powerdns, conf, running)
    for item in reversed(running):
        item.stop()
    svc.db.dispose()


def test_changes_are_resolved_in_a_moment(bench: Bench) -> None:
    """Whoever has work is told at once, and does it with little effort."""
    for part in bench.running:
        if isinstance(part, FlowRunner):
            part._period = 3600.0  # else it would find by itself what it was not told of
    zone_times, record_times = [], []
    for i in range(5):
        began = time.process_time()
        zone = bench.call("POST", "/v2/zones", {"name": f"quick{i}.example.", "email": "a@example.org"})
        wait_for("the zone", bench.active(f"/v2/zones/{zone['id']}"))
        assert bench.ask(zone["name"], "SOA")
        zone_times.append(time.process_time() - began)
        began = time.process_time()
        body = {"name": f"www.{zone['name']}", "type": "A", "records": ["192.0.2.7"]}
        made = bench.call("POST", f"/v2/zones/{zone['id']}/recordsets", body)
        wait_for("the record", lambda body=body: bench.ask(body["name"], "A") == {"192.0.2.7"})
        record_times.append(time.process_time() - began)
        wait_for("its status", bench.active(f"/v2/zones/{zone['id']}/recordsets/{made['id']}"))
    print("zone", [f"{t:.3f}" for t in zone_times], "record", [f"{t:.3f}" for t in record_times])
    # Time of the processor, worker and API together: what else the machine does is not measured.
    assert sorted(zone_times)[1] < ZONE_SECONDS
    assert sorted(record_times)[1] < RECORD_SECONDS


def test_a_hundred_changes_at_once_all_arrive(bench: Bench) -> None:
    zone = bench.call("POST", "/v2/zones", {"name": "crowd.example.", "email": "a@example.org"})
    sets = f"/v2/zones/{zone['id']}/recordsets"
    for i in range(100):
        bench.call("POST", sets, {"name": f"h{i}.crowd.example.", "type": "A", "records": [f"10.0.0.{i}"]})
    wait_for("the zone", bench.active(f"/v2/zones/{zone['id']}"))
    assert all(bench.ask(f"h{i}.crowd.example.", "A") == {f"10.0.0.{i}"} for i in range(100))
    found = bench.call("GET", f"{sets}?limit=max", expect=200)
    assert {r["status"] for r in found["recordsets"]} == {"ACTIVE"}


def test_work_goes_on_without_the_broker(mariadb_url: str, servers_dir: Path, powerdns: PowerDNS) -> None:
    """A lost wake-up costs a second, not the change."""
    broker = RabbitMQ(servers_dir / "rabbitmq-dns")
    broker.start()
    conf = configure(mariadb_url, broker.url(), powerdns)
    svc = daemons._container(conf)
    svc.db.create_all(METADATA)
    running = [*daemons.start_worker(conf), daemons._waker(svc)]
    api = Api(svc)
    bench = Bench(api, api.caller("member"), powerdns, conf)
    try:
        broker.kill()
        zone = bench.call("POST", "/v2/zones", {"name": "no-broker.example.", "email": "a@example.org"})
        wait_for("the zone", bench.active(f"/v2/zones/{zone['id']}"))
        broker.start()
        zone = bench.call("POST", "/v2/zones", {"name": "broker.example.", "email": "a@example.org"})
        wait_for("the zone", bench.active(f"/v2/zones/{zone['id']}"))
    finally:
        for item in reversed(running):
            item.stop()
        svc.db.dispose()
        broker.close()


def test_work_waits_for_the_name_server(mariadb_url: str, transport_url: str, servers_dir: Path) -> None:
    server = PowerDNS(servers_dir / "powerdns-faults")
    server.start()
    conf = configure(mariadb_url, transport_url, server)
    svc = daemons._container(conf)
    svc.db.create_all(METADATA)
    running = [*daemons.start_worker(conf), daemons._waker(svc)]
    api = Api(svc)
    bench = Bench(api, api.caller("member"), server, conf)
    try:
        zone = bench.call("POST", "/v2/zones", {"name": "waits.example.", "email": "a@example.org"})
        wait_for("the zone", bench.active(f"/v2/zones/{zone['id']}"))
        server.kill()
        sets = f"/v2/zones/{zone['id']}/recordsets"
        made = bench.call("POST", sets, {"name": "a.waits.example.", "type": "A", "records": ["192.0.2.1"]})
        time.sleep(1)
        assert bench.call("GET", f"{sets}/{made['id']}", expect=200)["status"] == "PENDING"
        server.start()
        wait_for("the record", bench.active(f"{sets}/{made['id']}"))
        assert bench.ask("a.waits.example.", "A") == {"192.0.2.1"}
    finally:
        for item in reversed(running):
            item.stop()
        svc.db.dispose()
        server.stop()
