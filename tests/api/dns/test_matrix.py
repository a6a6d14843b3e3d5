# SPDX-License-Identifier: Apache-2.0
"""Every operation, tried by every kind of caller. The outcome stands in matrix.txt."""

from __future__ import annotations

import itertools
import uuid
from pathlib import Path
from typing import Any

from aerie_common.operations import Operation
from aerie_common.testing.matrix import Attempt, check, lines
from aerie_dns import logic
from aerie_dns.operations import TABLE
from cloud_standin import Cloud

PERSONAS = ("nobody", "stranger", "reader", "member", "shared", "admin", "admin_everywhere")
EVERYWHERE = {"X-Auth-All-Projects": "true"}
ZONE_FILE = "$ORIGIN {}\n$TTL 300\n@ IN SOA ns. jo.example.org. 5 3600 600 86400 300\n@ IN NS ns.example.org.\n"
NUMBERS = itertools.count(1)


class People:
    """`member` owns what is tried, `reader` may look at it; its zone is shared with `shared`'s project."""

    def __init__(self, bench: Any, cloud: Cloud) -> None:
        self.bench, self.cloud = bench, cloud
        self.friend = bench.api.caller("member", name="friend")
        self.callers = {"nobody": None, "stranger": bench.stranger, "reader": bench.reader, "member": bench.owner,
                        "shared": self.friend, "admin": bench.admin, "admin_everywhere": bench.admin}  # fmt: skip

    def call(self, persona: str, method: str, path: str, attempt: Attempt) -> int:
        headers = {**attempt.headers, **(EVERYWHERE if persona == "admin_everywhere" else {})}
        return int(self.bench.call(method, path, attempt.body, by=self.callers[persona], headers=headers).status_int)

    def post(self, path: str, body: Any = None, **kw: Any) -> dict[str, Any]:
        reply = self.bench.call("POST", path, body, **kw)
        assert reply.status_int < 300, reply.text
        return dict(reply.json)

    def zone(self) -> str:
        zone = self.bench.zone(f"m{next(NUMBERS)}.example.", settled=False)
        self.name = zone["name"]
        return str(zone["id"])

    def prepare(self, op: Operation) -> Attempt:
        params: dict[str, str] = {}
        for name in (part[1:-1] for part in op.path.split("/") if part.startswith("{")):
            params[name] = self.make(op, name, params)
        query_of_zone = op.path.startswith("/v2/zones/{zone_id}")
        if query_of_zone and "share_id" not in params and "transfer" not in op.path and op.method != "DELETE":
            self.post(f"/v2/zones/{params['zone_id']}/shares", {"target_project_id": self.friend.project_id})
        return Attempt(params, "", self.body(op), {})

    def make(self, op: Operation, name: str, params: dict[str, str]) -> str:
        if name == "zone_id":
            return self.zone()
        if name == "recordset_id":
            zone = params.get("zone_id") or self.zone()
            body = {"name": f"a.{self.name}", "type": "A", "records": ["192.0.2.1"]}
            return str(self.post(f"/v2/zones/{zone}/recordsets", body)["id"])
        if name == "share_id":
            body = {"target_project_id": self.friend.project_id}
            return str(self.post(f"/v2/zones/{params['zone_id']}/shares", body)["id"])
        if name == "request_id":
            return str(self.offer()["id"])
        if name == "accept_id":
            offer = self.offer()
            body = {"zone_transfer_request_id": offer["id"], "key": offer["key"]}
            return str(self.post("/v2/zones/tasks/transfer_accepts", body)["id"])
        if name == "import_id":
            return str(self.post("/v2/zones/tasks/imports", self.body(op, "/v2/zones/tasks/imports"))["id"])
        if name == "export_id":
            return str(self.post(f"/v2/zones/{self.zone()}/tasks/export")["id"])
        if name == "project_id":
            return str(self.bench.owner.project_id)
        if name == "pool_id":
            return str(self.bench.svc.default_pool.id)
        if name == "service_id":
            logic.services.report(self.bench.svc, "worker", {})
            found = self.bench.call("GET", "/v2/service_statuses", by=self.bench.admin).json
            return str(found["service_statuses"][0]["id"])
        if name == "key":
            server = self.cloud.boot(self.bench.owner.project_id, "web", "10.0.0.5")
            return f"RegionOne:{self.cloud.float(server, '192.0.2.9')['id']}"
        plural = op.path.split("/")[2]
        return str(self.post(f"/v2/{plural}", self.body(op, f"/v2/{plural}"), by=self.bench.admin)["id"])

    def offer(self) -> dict[str, Any]:
        return self.post(f"/v2/zones/{self.zone()}/tasks/transfer_requests")

    def body(self, op: Operation, path: str | None = None) -> Any:
        number = next(NUMBERS)
        bodies: dict[str, Any] = {
            "/v2/zones": {"name": f"n{number}.example.", "email": "a@example.org"},
            "/v2/zones/{zone_id}/recordsets": {
                "name": f"n.{getattr(self, 'name', '')}", "type": "A", "records": ["192.0.2.1"]
            },
            "/v2/zones/{zone_id}/shares": {"target_project_id": uuid.uuid4().hex},
            "/v2/zones/tasks/imports": {"zonefile": ZONE_FILE.format(f"i{number}.example.")},
            "/v2/tlds": {"name": f"tld{number}"},
            "/v2/blacklists": {"pattern": f"^never{number}"},
            "/v2/tsigkeys": {"name": f"k{number}", "algorithm": "hmac-sha256", "secret": "c2VjcmV0", "scope": "POOL",
                             "resource_id": self.bench.svc.default_pool.id},
            "/v2/quotas/{project_id}": {"zones": 1000},
            "/v2/reverse/floatingips/{key}": {"ptrdname": "a.example.org."},
        }  # fmt: skip
        path = path or op.path
        if path == "/v2/zones/tasks/transfer_accepts" and op.method == "POST":
            offer = self.offer()
            return {"zone_transfer_request_id": offer["id"], "key": offer["key"]}
        if op.method in ("GET", "DELETE") and path == op.path:
            return None
        return bodies.get(path, {})


def test_every_operation_by_everybody(bench: Any, cloud: Cloud) -> None:
    for persona in (bench.owner, bench.stranger, bench.admin):
        bench.call("PATCH", f"/v2/quotas/{persona.project_id}", {"zones": 1000}, by=bench.admin, expect=200)
    people = People(bench, cloud)
    check(Path(__file__).with_name("matrix.txt"), list(lines(TABLE, PERSONAS, people.prepare, people.call)))
