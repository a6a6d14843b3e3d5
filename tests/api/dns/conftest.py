# SPDX-License-Identifier: Apache-2.0
"""The DNS API in a test: the real application and flow runner, the fake name server, SQLite and MariaDB."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import webob

from aerie_common import config
from aerie_common.flow_runner import FlowRunner
from aerie_common.testing.api import Api, Caller
from aerie_dns.container import Dns
from aerie_dns.daemons import SPEC
from aerie_dns.db.tables import METADATA
from aerie_dns.drivers import fake
from aerie_dns.drivers.fake import FakeServer
from aerie_dns.flows.zone_push import ZONE_PUSH
from aerie_dns.flows.zone_transfer import ZONE_TRANSFER
from aerie_dns.operations import TABLE
from cloud_standin import Cloud

NUMBERS = itertools.count(1)


@dataclass
class Bench:
    """The service with a worker that runs when told to, and people who call."""

    svc: Dns
    api: Api
    server: FakeServer
    runner: FlowRunner[Dns]
    owner: Caller
    stranger: Caller
    reader: Caller
    admin: Caller

    def call(self, method: str, path: str, body: Any = None, **kw: Any) -> webob.Response:
        """A call by the owner of things, unless `by` says otherwise."""
        kw.setdefault("by", self.owner)
        return self.api.call(method, path, body, **kw)

    def settle(self) -> None:
        """Let the worker do all there is to do."""
        self.runner.drain(20)

    def zone(self, name: str | None = None, *, settled: bool = True, **values: Any) -> dict[str, Any]:
        """A new zone."""
        name = name or f"zone{next(NUMBERS)}.example."
        by = values.pop("by", self.owner)
        made = self.call("POST", "/v2/zones", {"name": name, "email": "admin@example.org", **values}, by=by, expect=202)
        if settled:
            self.settle()
            return dict(self.call("GET", f"/v2/zones/{made.json['id']}", by=by, expect=200).json)
        return dict(made.json)

    def recordset(self, zone: dict[str, Any], label: str, type_: str, *records: str, **values: Any) -> dict[str, Any]:
        """A new record set in the zone."""
        body = {"name": f"{label}.{zone['name']}", "type": type_, "records": list(records), **values}
        made = self.call("POST", f"/v2/zones/{zone['id']}/recordsets", body, expect=202).json
        self.settle()
        return dict(self.call("GET", f"/v2/zones/{zone['id']}/recordsets/{made['id']}", expect=200).json)


def make_bench(url: str) -> Bench:
    conf = config.load(SPEC.new_conf(), [])
    conf.set_override("connection", url, group="database")
    conf.set_override("driver", "fake", group="pool")
    conf.set_override("ns_records", ["ns1.example.org.", "ns2.example.org."], group="pool")
    svc = Dns(conf)
    svc.table = TABLE
    svc.db.create_all(METADATA)
    target = svc.default_pool.target
    fake._pools.pop(target.name, None)
    api = Api(svc)
    runner = FlowRunner(svc.db, [ZONE_PUSH, ZONE_TRANSFER], svc)
    owner = api.caller("member", name="owner")
    return Bench(
        svc,
        api,
        fake.server(target.name),
        runner,
        owner=owner,
        stranger=api.caller("member", name="stranger"),
        reader=api.caller("reader", project_id=owner.project_id, name="reader"),
        admin=api.caller("admin", name="admin"),
    )


@pytest.fixture
def bench(database_url: str) -> Iterator[Bench]:
    made = make_bench(database_url)
    yield made
    made.svc.db.dispose()


@pytest.fixture
def cloud(bench: Bench) -> Cloud:
    """Compute and network, as far as this service asks them."""
    made = Cloud()
    bench.svc.__dict__["clients"] = made
    return made
