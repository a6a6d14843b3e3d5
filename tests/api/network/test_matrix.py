# SPDX-License-Identifier: Apache-2.0
"""Every operation, tried by every kind of caller. The outcome stands in matrix.txt.

`member` owns what is tried, `reader` may look at it, `guest` is of a project that may use the network, `service` is
another service of the cloud.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from aerie_common.operations import Operation
from aerie_common.testing.matrix import Attempt, check, lines
from aerie_network.operations import TABLE
from aerie_network.options import QUOTAS
from network_bench import Bench, make_bench

PERSONAS = ("nobody", "stranger", "guest", "reader", "member", "service", "admin")
NUMBERS = itertools.count(1)
BODIES: dict[str, dict[str, Any]] = {
    "/v2.0/networks": {"network": {"name": "n"}},
    "/v2.0/routers": {"router": {"name": "r"}},
    "/v2.0/security-groups": {"security_group": {"name": "g"}},
    "/v2.0/subnetpools": {"subnetpool": {"prefixes": ["10.0.0.0/16"]}},
    "/v2.0/address-scopes": {"address_scope": {"ip_version": 4, "name": "s"}},
    "/v2.0/address-groups": {"address_group": {"name": "a", "addresses": ["10.0.0.0/8"]}},
}


def _template() -> dict[str, Any]:
    """A default rule that there is not yet."""
    port = next(NUMBERS)
    rule = {"direction": "egress", "protocol": "udp", "port_range_min": port, "port_range_max": port}
    return {"default_security_group_rule": rule}


class World:
    """Makes what an operation needs, as its owner."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.guest = bench.person()
        self.callers = {"nobody": None, "stranger": bench.stranger, "guest": self.guest, "reader": bench.reader,
                        "member": bench.owner, "service": bench.compute, "admin": bench.admin}  # fmt: skip
        external = bench.outside()
        bench.change("network", external["id"], by=bench.admin, is_default=True)

    def call(self, persona: str, method: str, path: str, attempt: Attempt) -> int:
        caller = self.callers[persona]
        reply = self.bench.api.call(method, path, attempt.body, by=caller, headers=dict(attempt.headers))
        assert reply.status_int < 500, f"{persona} {method} {path}: {reply.text}"
        return int(reply.status_int)

    def network(self) -> Any:
        network, self.subnet = self.bench.network(f"10.{next(NUMBERS) % 250}.0.0/24")
        grant = {"object_type": "network", "object_id": network["id"], "action": "access_as_shared"}
        self.bench.make("rbac_policy", path="/rbac-policies", target_tenant=self.guest.project_id, **grant)
        return network

    def post(self, path: str, body: Any, by: Any = None) -> Any:
        reply = self.bench.api.call("POST", path, body, by=by or self.bench.owner)
        assert reply.status_int == 201, reply.text
        [made] = reply.json.values()
        return made

    def prepare(self, op: Operation) -> Attempt:
        params: dict[str, str] = {}
        for part in op.path.split("/"):
            if part.startswith("{"):
                params[part[1:-1]] = self.make(op, part[1:-1])
        return Attempt(params, "", self.body(op, params))

    def make(self, op: Operation, name: str) -> str:
        bench = self.bench
        if name == "network_id":
            return str(self.network()["id"])
        if name == "subnet_id":
            self.network()
            return str(self.subnet["id"])
        if name == "port_id":
            return str(bench.port(self.network())["id"])
        if name == "port_forwarding_id":
            body = self.body(op, {})
            path = f"/v2.0/floatingips/{self.floating}/port_forwardings"
            return str(self.post(path, body)["id"])
        if name == "floatingip_id":
            self.floating = str(bench.make("floatingip", floating_network_id=bench.outside()["id"])["id"])
            return self.floating
        if name == "rule_id" and "default" in op.path:
            return str(self.post("/v2.0/default-security-group-rules", _template(), bench.admin)["id"])
        if name == "rule_id":
            group = self.post("/v2.0/security-groups", BODIES["/v2.0/security-groups"])
            return str(group["security_group_rules"][0]["id"])
        if name == "rbac_policy_id":
            network, _ = bench.network()
            grant = {"object_type": "network", "object_id": network["id"], "action": "access_as_shared"}
            return str(bench.make("rbac_policy", path="/rbac-policies", target_tenant="x", **grant)["id"])
        if name == "agent_id":
            kind = "L3+agent" if "l3" in op.path else "DHCP+agent"
            bench.host.beat()  # the last try may have made the cloud forget it
            return str(bench.get(f"/agents?agent_type={kind}", by=bench.admin)["agents"][0]["id"])
        if name == "collection":
            return "networks"
        if name == "resource_id":
            network = self.network()
            bench.call("PUT", f"/networks/{network['id']}/tags/seen", expect=201)
            return str(network["id"])
        if name == "router_id" and "l3-routers" in op.path:
            gateway = {"network_id": bench.outside()["id"]}
            return str(bench.make("router", external_gateway_info=gateway)["id"])
        fixed = {"tag": "seen", "alias": "router", "project_id": bench.owner.project_id}
        if name in fixed:
            if op.method == "DELETE" and "quotas" in op.path:
                bench.call(
                    "PUT", f"/quotas/{bench.owner.project_id}", {"quota": {"port": -1}}, by=bench.admin, expect=200
                )
            if op.method == "DELETE" and "topology" in op.path:
                bench.get(f"/auto-allocated-topology/{bench.owner.project_id}")
            return str(fixed[name])
        collection = "/".join(op.path.split("/")[:3])
        return str(self.post(collection, BODIES[collection])["id"])

    def body(self, op: Operation, params: dict[str, str]) -> Any:
        bench, last = self.bench, op.path.rpartition("/")[2]
        if "port_forwardings" in op.path and (not params or op.method == "POST"):
            network, _, _ = self.bench.routed()
            port = self.bench.port(network)
            ports = {"internal_port": 22, "external_port": 22}
            return {"port_forwarding": {"protocol": "tcp", "internal_port_id": port["id"], **ports}}
        if op.method in ("GET", "DELETE"):
            return None
        if "port_forwardings" in op.path:
            return {"port_forwarding": {"description": "changed"}}
        if op.path in BODIES:
            return BODIES[op.path]
        if op.path == "/v2.0/default-security-group-rules":
            return _template()
        if last in ("add_router_interface", "remove_router_interface"):
            self.network()
            if last.startswith("remove"):
                path = f"/routers/{params['router_id']}/add_router_interface"
                bench.call("PUT", path, {"subnet_id": self.subnet["id"]}, expect=200)
            return {"subnet_id": self.subnet["id"]}
        if last in ("add_extraroutes", "remove_extraroutes"):
            return {"router": {"routes": []}}
        if last in ("add_addresses", "remove_addresses"):
            return {"addresses": ["10.0.0.0/8"]}
        if last == "tags":
            return {"tags": ["x"]}
        if "quotas" in op.path:
            return {"quota": {"port": -1}}
        if last == "dhcp-networks":
            return {"network_id": self.network()["id"]}
        if last == "l3-routers":
            return {"router_id": bench.make("router")["id"]}
        if op.path == "/v2.0/subnets":
            return {"subnet": {"network_id": self.network()["id"], "cidr": "192.168.0.0/24", "ip_version": 4}}
        if op.path == "/v2.0/ports":
            return {"port": {"network_id": self.network()["id"]}}
        if op.path == "/v2.0/floatingips":
            return {"floatingip": {"floating_network_id": bench.outside()["id"]}}
        if op.path == "/v2.0/security-group-rules":
            group = self.post("/v2.0/security-groups", BODIES["/v2.0/security-groups"])
            return {"security_group_rule": {"security_group_id": group["id"], "direction": "ingress"}}
        if op.path == "/v2.0/rbac-policies":
            network, _ = bench.network()
            grant = {"object_type": "network", "object_id": network["id"], "action": "access_as_shared"}
            return {"rbac_policy": {**grant, "target_tenant": "y"}}
        if "rbac-policies" in op.path:
            return {"rbac_policy": {"target_tenant": f"z{next(NUMBERS)}"}}
        if "{tag}" in op.path:
            return None
        noun = op.path.split("/")[2].rstrip("s").replace("-", "_")
        noun = {"address_scope": "address_scope", "security_group_rule": "security_group_rule"}.get(noun, noun)
        return {noun: {"description": "changed"} if noun != "address_scope" else {"name": "changed"}}


def test_every_operation_by_everybody(tmp_path: Path) -> None:
    unlimited = {f"quotas__quota_{name}": -1 for name in QUOTAS}
    bench = make_bench(f"sqlite:///{tmp_path}/test.sqlite", **unlimited)
    world = World(bench)
    check(Path(__file__).with_name("matrix.txt"), list(lines(TABLE, PERSONAS, world.prepare, world.call)))
    bench.svc.db.dispose()
