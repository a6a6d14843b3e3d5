# SPDX-License-Identifier: Apache-2.0
"""The network API in a test: the real application, SQLite and MariaDB, and hosts with the fake driver."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import webob

from aerie_common import config
from aerie_common.flow_runner import FlowRunner
from aerie_common.testing.api import Api, Caller
from aerie_network.agent.messages import AGENT_TYPES, AgentInfo, Heartbeat
from aerie_network.container import NetworkService
from aerie_network.daemons import SPEC
from aerie_network.db.tables import METADATA
from aerie_network.drivers.base import ROLES, DriverSettings, HostState
from aerie_network.drivers.fake import FakeDriver
from aerie_network.flows import FLOWS
from aerie_network.logic.agents import AgentServer

NUMBERS = itertools.count(1)


class Host:
    """A host with an agent that looks when it is told to. Its server end is the real one."""

    def __init__(self, svc: NetworkService, name: str, roles: tuple[str, ...] = ROLES, tunnel_ip: str = "") -> None:
        self.name, self._server = name, AgentServer(svc)
        self._roles, self._tunnel_ip = roles, tunnel_ip
        self._driver = FakeDriver(DriverSettings(host=name, roles=roles))
        self.state: HostState | None = None
        self.deltas = 0
        self.beat()

    def beat(self) -> int:
        agents = tuple(AgentInfo(role, *AGENT_TYPES[role], tunnel_ip=self._tunnel_ip) for role in self._roles)
        return self._server.heartbeat(Heartbeat(self.name, agents)).revision

    def fetch(self) -> HostState:
        """The state after what has changed since the last look, as it comes over the bus."""
        known = self.state.revision if self.state else 0
        answer = self._server.get_host_state(self.name, self._roles, known)
        answer = type(answer).from_dict(answer.to_dict())
        if answer.state is not None:
            self.state = answer.state
        elif answer.delta is not None and self.state is not None:
            self.deltas += 1
            self.state = self.state.with_delta(answer.delta)
        assert self.state is not None
        return self.state

    def whole(self) -> HostState:
        """The whole state, whatever is known."""
        answer = self._server.get_host_state(self.name, self._roles, 0)
        assert answer.state is not None
        return type(answer.state).from_dict(answer.state.to_dict())

    def work(self) -> HostState:
        """Fetch, converge, report."""
        state = self.fetch()
        self._server.report(self.name, self._driver.converge(state))
        return state


@dataclass
class Bench:
    """The service, people who call it, and a host that does everything."""

    svc: NetworkService
    api: Api
    host: Host
    owner: Caller
    stranger: Caller
    reader: Caller
    admin: Caller
    compute: Caller
    runner: FlowRunner[NetworkService]
    external: dict[str, Any] = field(default_factory=dict)

    def call(self, method: str, path: str, body: Any = None, **kw: Any) -> webob.Response:
        """A call by the owner of things, unless `by` says otherwise."""
        kw.setdefault("by", self.owner)
        return self.api.call(method, "/v2.0" + path, body, **kw)

    def get(self, path: str, **kw: Any) -> Any:
        kw.setdefault("expect", 200)
        return self.call("GET", path, **kw).json

    def make(
        self, noun: str, *, path: str | None = None, by: Caller | None = None, expect: int = 201, **values: Any
    ) -> Any:
        """Create one object."""
        path = path or "/" + noun.replace("_", "-") + "s"
        reply = self.call("POST", path, {noun: values}, by=by or self.owner, expect=expect).json
        return reply[noun] if expect == 201 else reply["NeutronError"]

    def change(self, noun: str, id: str, *, by: Caller | None = None, expect: int = 200, **values: Any) -> Any:
        path = f"/{noun.replace('_', '-')}s/{id}"
        reply = self.call("PUT", path, {noun: values}, by=by or self.owner, expect=expect).json
        return reply[noun] if expect == 200 else reply["NeutronError"]

    def remove(self, noun: str, id: str, *, by: Caller | None = None, expect: int = 204) -> Any:
        reply = self.call("DELETE", f"/{noun.replace('_', '-')}s/{id}", by=by or self.owner, expect=expect)
        return reply.json["NeutronError"] if expect >= 400 else None

    def network(self, cidr: str | None = "10.0.0.0/24", *, by: Caller | None = None, **values: Any) -> tuple[Any, Any]:
        """A network with a subnet."""
        network = self.make("network", by=by, name=f"net{next(NUMBERS)}")
        subnet = None
        if cidr:
            version = 6 if ":" in cidr else 4
            subnet = self.make("subnet", by=by, network_id=network["id"], cidr=cidr, ip_version=version, **values)
        return network, subnet

    def port(self, network: Any, *, by: Caller | None = None, **values: Any) -> Any:
        return self.make("port", by=by, network_id=network["id"], **values)

    def person(self, *roles: str) -> Caller:
        """Somebody in a project of his own."""
        return self.api.caller(*(roles or ("member",)), name=f"person{next(NUMBERS)}")

    def outside(self) -> Any:
        """The external network, with a subnet."""
        if not self.external:
            self.external = self.make(
                "network", by=self.admin, name="public", **{"router:external": True, "provider:network_type": "flat",
                                                           "provider:physical_network": f"physnet{next(NUMBERS)}"}
            )  # fmt: skip
            self.make(
                "subnet", by=self.admin, network_id=self.external["id"], cidr="172.24.0.0/22", ip_version=4,
                enable_dhcp=False,
            )  # fmt: skip
        return self.external

    def routed(self) -> tuple[Any, Any, Any]:
        """A network, its subnet, and a router between it and the outside."""
        network, subnet = self.network("10.1.0.0/24")
        router = self.make("router", external_gateway_info={"network_id": self.outside()["id"]})
        self.call("PUT", f"/routers/{router['id']}/add_router_interface", {"subnet_id": subnet["id"]}, expect=200)
        return network, subnet, router

    def events(self) -> list[tuple[str, dict[str, Any]]]:
        """Notifications that are waiting to be published, oldest first; they are taken away."""
        from aerie_network.db.tables import METADATA

        outbox = METADATA.tables["outbox"]
        with self.svc.db.write() as conn:
            rows = conn.execute(outbox.select().order_by(outbox.c.seq)).all()
            conn.execute(outbox.delete())
        return [(row.event_type, row.payload) for row in rows]

    def compute_events(self) -> list[tuple[str, str, str | None]]:
        """(name, server, tag) of events waiting for compute; they are taken away."""
        table = METADATA.tables["compute_events"]
        with self.svc.db.write() as conn:
            rows = conn.execute(table.select().order_by(table.c.id)).all()
            conn.execute(table.delete())
        return [(row.name, row.server_id, row.tag) for row in rows]


def make_service(url: str, **options: Any) -> NetworkService:
    conf = config.load(SPEC.new_conf(), [])
    conf.set_override("connection", url, group="database")
    conf.set_override("host", "controller")
    for name, value in options.items():
        group, _, option = name.rpartition("__")
        conf.set_override(option, value, group=group or None)
    svc = NetworkService(conf)
    svc.db.create_all(METADATA)
    return svc


def make_bench(url: str, **options: Any) -> Bench:
    svc = make_service(url, **options)
    api = Api(svc)
    owner = api.caller("member", name="owner")
    return Bench(
        svc,
        api,
        Host(svc, "host-1", tunnel_ip="192.0.2.1"),
        owner=owner,
        stranger=api.caller("member", name="stranger"),
        reader=api.caller("reader", project_id=owner.project_id, name="reader"),
        admin=api.caller("admin", name="admin"),
        compute=api.caller("service", name="nova"),
        runner=FlowRunner(svc.db, FLOWS, svc),
    )
