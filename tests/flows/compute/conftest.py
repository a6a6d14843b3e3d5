# SPDX-License-Identifier: Apache-2.0
"""A compute service, a network service and one host with their fake drivers, joined without a bus and without sockets.

Everything between them is the real thing, called directly: the scheduler, the conductor's answers to the agent, the
network's WSGI application, the wiring of its host, the events it sends. The image service is the only one that is
pretended: images here are names.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import orjson
import pytest
import sqlalchemy as sa
import webob

from aerie_common import config
from aerie_common.clients import RemoteError
from aerie_common.context import Context, admin_context
from aerie_common.testing.api import Api
from aerie_compute.agent.manager import AgentManager
from aerie_compute.agent.rpc import Goal
from aerie_compute.conductor import Conductor
from aerie_compute.container import Compute
from aerie_compute.daemons import SPEC
from aerie_compute.db import tables
from aerie_compute.drivers.base import SnapshotFacts
from aerie_compute.drivers.fake import FakeDriver
from aerie_compute.logic import events
from aerie_compute.remote import Networks
from aerie_compute.scheduler.manager import SchedulerManager
from aerie_network.agent.messages import AGENT_TYPES, AgentInfo, Heartbeat
from aerie_network.container import NetworkService
from aerie_network.daemons import SPEC as NETWORK_SPEC
from aerie_network.db import tables as network_tables
from aerie_network.drivers.base import ROLES, DriverSettings, HostState
from aerie_network.drivers.fake import FakeDriver as FakeWires
from aerie_network.logic.agents import AgentServer

HOST = "h1"


class NetworkApi:
    """`ServiceClient` of the network service, without a socket. After each change its host is wired, and the compute
    service is told as the network service tells it."""

    def __init__(self, world: World) -> None:
        self._world = world

    def json(
        self, method: str, path: str, ctx: Context | None = None, *, body: Any = None, as_user: bool = False
    ) -> Any:
        request = webob.Request.blank("/v2.0" + path, method=method)
        request.headers["X-Auth-Token"] = self._world.network_admin.token
        if body is not None:
            request.body, request.content_type = orjson.dumps(body), "application/json"
        reply = request.get_response(self._world.network.app)
        if reply.status_int >= 400:
            error = orjson.loads(reply.body).get("NeutronError", {})
            raise RemoteError("network", reply.status_int, error.get("type", ""), error.get("message", reply.text))
        if method != "GET":
            self._world.wire()
        return orjson.loads(reply.body) if reply.body else None

    def get(self, path: str, ctx: Context | None = None, **kw: Any) -> Any:
        return self.json("GET", path, ctx, **kw)

    def post(self, path: str, body: Any, ctx: Context | None = None, **kw: Any) -> Any:
        return self.json("POST", path, ctx, body=body, **kw)

    def put(self, path: str, body: Any, ctx: Context | None = None, **kw: Any) -> Any:
        return self.json("PUT", path, ctx, body=body, **kw)

    def delete(self, path: str, ctx: Context | None = None) -> None:
        try:
            self.json("DELETE", path, ctx)
        except RemoteError as e:
            if e.status != 404:
                raise


class PretendedImages:
    """The image service's side of a server's life."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}

    def delete(self, image_id: str) -> None:
        self.files.pop(image_id, None)

    def download(self, ctx: Context, image_id: str, destination: Path, cancel: Event) -> None:
        destination.write_bytes(b"x" * 4096)

    def upload(self, ctx: Context, image_id: str, facts: SnapshotFacts) -> None:
        self.files[image_id] = "active"


class Calls:
    """A client whose methods are called at once on the other side."""

    def __init__(self, target: Any) -> None:
        self._target = target

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._target, name)
        return lambda ctx, *args, **kw: method(*args, **kw)


class Agents:
    """`AgentClient` of the one host."""

    def __init__(self, manager: AgentManager) -> None:
        self._manager = manager

    def converge(
        self, ctx: Context, host: str, *, op_id: str, server_id: str, goal: Goal, spec: Any = None, args: Any = None
    ) -> None:
        assert host == HOST
        self._manager.submit(ctx, op_id=op_id, server_id=server_id, goal=goal, spec=spec, args=args or {})


class World:
    """All of it. `svc` is what flows get as their services."""

    def __init__(self, url: str, api_url: str, directory: Path) -> None:
        conf = config.load(config.new(SPEC.options), [])
        conf.set_override("connection", url, group="database")
        conf.set_override("connection", api_url, group="api_database")
        self.svc = Compute(conf)
        self.svc.db.create_all(tables.CELL)
        self.svc.api_db.create_all(tables.API)
        self._make_network()
        self.ctx = Context(user_id="u1", project_id=self.owner.project_id, roles=("member",))
        self.driver = FakeDriver()
        self.driver.init_host()
        self.images = PretendedImages()
        self.conductor = Conductor(self.svc)
        self.manager = AgentManager(
            host=HOST,
            driver=self.driver,
            conductor=Calls(self.conductor),
            images=self.images,
            snapshots=directory / "snapshots",
        )
        networks = Networks.__new__(Networks)
        Networks.__init__(networks, {"network": NetworkApi(self)})  # type: ignore[arg-type]
        handles = {
            "networks": networks, "images": self.images, "agents": Agents(self.manager),
            "scheduler": Calls(SchedulerManager(self.svc)), "conductor": Calls(self.conductor),
        }  # fmt: skip
        self.svc.__dict__.update(handles)
        self.beat()

    def _make_network(self) -> None:
        conf = config.load(NETWORK_SPEC.new_conf(), [])
        conf.set_override("connection", "sqlite://", group="database")
        conf.set_override("transport_url", "fake://")
        service = NetworkService(conf)
        service.db.create_all(network_tables.METADATA)
        self.network = Api(service)
        self.owner = self.network.caller("member")
        self.network_admin = self.network.caller("admin", "service")
        self._wires = FakeWires(DriverSettings(host=HOST, roles=ROLES))
        self._agent_server = AgentServer(service)
        agents = tuple(AgentInfo(role, *AGENT_TYPES[role], tunnel_ip="192.0.2.1") for role in ROLES)
        self._agent_server.heartbeat(Heartbeat(HOST, agents))
        made = self.network.call("POST", "/v2.0/networks", {"network": {"name": "net"}}, by=self.owner, expect=201)
        self.network_id: str = made.json["network"]["id"]
        subnet = {"network_id": self.network_id, "cidr": "10.0.0.0/24", "ip_version": 4}
        self.network.call("POST", "/v2.0/subnets", {"subnet": subnet}, by=self.owner, expect=201)

    def wire(self) -> None:
        """The network agent of the host looks once, and compute hears of the ports it wired."""
        answer = self._agent_server.get_host_state(HOST, ROLES, 0)
        assert answer.state is not None
        self._agent_server.report(HOST, self._wires.converge(HostState.from_dict(answer.state.to_dict())))
        reply = self.network.call("GET", "/v2.0/ports?status=ACTIVE", by=self.network_admin, expect=200)
        mine = [p for p in reply.json["ports"] if p["device_owner"].startswith("compute:") and p["device_id"]]
        if mine:
            told = [events.ExternalEvent("network-vif-plugged", p["device_id"], "completed", p["id"]) for p in mine]
            events.receive(self.svc, admin_context(), told)

    def beat(self) -> None:
        resources = self.driver.host_resources().to_document()
        guests = {server_id: str(state) for server_id, state in self.driver.list_guests().items()}
        self.conductor.heartbeat(HOST, resources, guests, "1", "boot")

    def ports(self) -> list[Any]:
        """Ports of servers, without what the network service changes by itself."""
        reply = self.network.call("GET", "/v2.0/ports", by=self.network_admin, expect=200)
        names = ("id", "device_id", "device_owner", "binding:host_id")
        return sorted(
            [p[n] for n in names] for p in reply.json["ports"] if not p["device_owner"].startswith("network:")
        )

    def rows(self, table: sa.Table, *names: str) -> list[Any]:
        database = self.svc.api_db if table.metadata is tables.API else self.svc.db
        with database.read() as conn:
            return sorted(map(list, conn.execute(sa.select(*(table.c[n] for n in names)))), key=repr)

    def snapshot(self) -> dict[str, Any]:
        """Everything flows touch, but states, faults, times and the story."""
        return {
            "guests": {i: str(s) for i, s in self.driver.list_guests().items()},
            "cards": {i: sorted(g.nics) for i, g in self.driver._guests.items()},
            "ports": self.ports(),
            "allocations": self.rows(tables.ALLOCATIONS, "consumer_id", "provider_id", "resource_class", "used"),
            "consumers": self.rows(tables.CONSUMERS, "id", "project_id"),
            "used": self.rows(tables.INVENTORIES, "resource_class", "used"),
            "servers": self.rows(tables.SERVERS, "id", "host", "node", "deleted", "network_info"),
            "usage": self.rows(tables.USAGE, "project_id", "instances", "cores", "ram"),
            "images": dict(self.images.files),
        }

    def facts(self) -> dict[str, Any]:
        """A spec such as logic.servers.create writes."""
        return {
            "flavor": {"id": "f1", "name": "small", "vcpus": 1, "memory_mb": 64, "root_gb": 1, "ephemeral_gb": 0,
                       "swap": 0, "rxtx_factor": 1.0, "extra_specs": {}},
            "image": {"id": str(uuid.uuid4()), "name": "i", "disk_format": "raw", "container_format": "bare",
                      "size": 4096, "virtual_size": 4096,
                      "hash_algo": "", "hash_value": "", "checksum": None, "min_disk": 0,
                      "min_ram": 0, "properties": {}},
            "config_drive": False, "networks": [{"network_id": self.network_id}], "security_groups": ["default"],
        }  # fmt: skip

    def close(self) -> None:
        self.manager.stop()
        self.driver.close()
        for database in (self.svc.db, self.svc.api_db, self.network.svc.db):
            database.dispose()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World("sqlite://", "sqlite://", tmp_path)
    yield made
    made.close()
