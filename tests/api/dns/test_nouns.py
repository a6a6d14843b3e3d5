# SPDX-License-Identifier: Apache-2.0
"""The smaller nouns: quotas, transfers between projects, zone files, TSIG keys, pools, daemons."""

from __future__ import annotations

import base64
from typing import Any

from aerie_dns import logic
from aerie_dns.operations import TABLE

ZONE_FILE = b"""$ORIGIN imported.example.
$TTL 300
@ IN SOA ns.elsewhere.example. jo\\.doe.example.org. 5 3600 600 86400 300
@ IN NS ns.elsewhere.example.
@ IN MX 10 mail
mail 60 IN A 192.0.2.1
www IN CNAME mail
txt IN TXT "hello world"
loc IN LOC 52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m
"""


def test_quotas(bench: Any) -> None:
    own = f"/v2/quotas/{bench.owner.project_id}"
    defaults = bench.call("GET", "/v2/quotas", expect=200).json
    assert defaults == {"zones": 10, "zone_recordsets": 500, "zone_records": 500, "recordset_records": 20,
                        "api_export_size": 1000}  # fmt: skip
    bench.call("PATCH", own, {"zones": 5}, expect=403)
    assert bench.call("PATCH", own, {"zones": 5}, by=bench.admin, expect=200).json == {**defaults, "zones": 5}
    assert bench.call("GET", own, expect=200).json["zones"] == 5
    bench.call("GET", own, by=bench.stranger, expect=403)
    assert bench.call("PATCH", own, {"zoness": 5}, by=bench.admin, expect=400).json["type"] == "invalid_object"
    bench.call("PATCH", own, {"zones": -2}, by=bench.admin, expect=400)
    bench.call("DELETE", own, by=bench.admin, expect=204)
    assert bench.call("GET", own).json == defaults
    assert bench.call("GET", "/v2/limits").json["max_zones"] == 10


def test_a_zone_moves_to_another_project(bench: Any) -> None:
    zone, taker = bench.zone(), bench.stranger
    bench.recordset(zone, "a", "A", "192.0.2.1")
    root = f"/v2/zones/{zone['id']}/tasks/transfer_requests"
    offer = bench.call("POST", root, {"target_project_id": taker.project_id}, expect=201).json
    bench.call("POST", root, expect=409)
    assert offer["status"] == "ACTIVE" and len(offer["key"]) > 20 and offer["zone_name"] == zone["name"]
    one = f"/v2/zones/tasks/transfer_requests/{offer['id']}"
    seen = bench.call("GET", one, by=taker, expect=200).json
    assert "key" not in seen and seen["zone_id"] == zone["id"]
    other = bench.api.caller("member")
    bench.call("GET", one, by=other, expect=404)
    accepts = "/v2/zones/tasks/transfer_accepts"
    body = {"zone_transfer_request_id": offer["id"], "key": "wrong"}
    assert bench.call("POST", accepts, body, by=taker, expect=403).json["type"] == "invalid_key"
    bench.call("POST", accepts, {**body, "key": offer["key"]}, by=other, expect=403)
    taken = bench.call("POST", accepts, {**body, "key": offer["key"]}, by=taker, expect=201).json
    assert taken["status"] == "COMPLETE" and taken["links"]["zone"].endswith(f"/v2/zones/{zone['id']}")
    bench.call("GET", f"/v2/zones/{zone['id']}", expect=404)
    shown = bench.call("GET", f"/v2/zones/{zone['id']}/recordsets", by=taker, expect=200).json
    assert {r["project_id"] for r in shown["recordsets"]} == {taker.project_id}
    bench.call("POST", accepts, {**body, "key": offer["key"]}, by=taker, expect=400)
    assert bench.call("GET", accepts, by=taker).json["metadata"]["total_count"] == 1
    for project, zones in ((bench.owner, 0), (taker, 1)):
        with bench.svc.db.read() as conn:
            counted, real = logic.zones.db.usages(conn).get(project.project_id, (0, 0))
        assert counted == real == zones


def test_an_offer_can_be_taken_back(bench: Any) -> None:
    zone = bench.zone()
    offer = bench.call("POST", f"/v2/zones/{zone['id']}/tasks/transfer_requests", expect=201).json
    one = f"/v2/zones/tasks/transfer_requests/{offer['id']}"
    assert bench.call("PATCH", one, {"description": "later"}, expect=200).json["description"] == "later"
    bench.call("DELETE", one, by=bench.stranger, expect=404)
    bench.call("DELETE", one, expect=204)
    bench.call("GET", one, expect=404)


def test_a_zone_file_comes_in_and_goes_out(bench: Any) -> None:
    task = bench.call(
        "POST", "/v2/zones/tasks/imports", ZONE_FILE, headers={"Content-Type": "text/dns"}, expect=202
    ).json
    assert task["status"] == "PENDING"
    task = bench.call("GET", task["links"]["self"].removeprefix("http://localhost"), expect=200).json
    assert (task["status"], task["message"]) == ("COMPLETE", "imported.example. imported without its LOC records")
    bench.settle()
    zone = bench.call("GET", f"/v2/zones/{task['zone_id']}", expect=200).json
    assert (zone["name"], zone["email"], zone["status"]) == ("imported.example.", "jo.doe@example.org", "ACTIVE")
    assert bench.server.lookup(zone["name"], "www.imported.example.", "CNAME") == ("mail.imported.example.",)
    assert bench.server.lookup(zone["name"], zone["name"], "NS") == ("ns1.example.org.", "ns2.example.org.")

    export = bench.call("POST", f"/v2/zones/{zone['id']}/tasks/export", expect=202).json
    assert (export["status"], export["location"], set(export["links"])) == ("PENDING", None, {"self"})
    export = bench.call("GET", export["links"]["self"].removeprefix("http://localhost"), expect=200).json
    reply = bench.call("GET", export["links"]["export"].removeprefix("http://localhost"), expect=200)
    assert reply.headers["Content-Type"].startswith("text/dns")
    lines = reply.text.splitlines()
    assert "mail.imported.example. 60 IN A 192.0.2.1" in lines
    assert 'txt.imported.example. 300 IN TXT "hello world"' in lines

    bench.call("DELETE", f"/v2/zones/{zone['id']}", expect=202)
    bench.settle()
    again = {"zonefile": reply.text, "attributes": {"auto": "true"}}
    task = bench.call("POST", "/v2/zones/tasks/imports", again, expect=202).json
    task = bench.call("GET", f"/v2/zones/tasks/imports/{task['id']}", expect=200).json
    assert task["status"] == "COMPLETE"
    assert bench.call("GET", f"/v2/zones/{task['zone_id']}").json["attributes"] == {"auto": "true"}


def test_zone_files_that_are_refused(bench: Any) -> None:
    def refused(text: bytes) -> str:
        headers = {"Content-Type": "text/dns"}
        task = bench.call("POST", "/v2/zones/tasks/imports", text, headers=headers, expect=202).json
        task = bench.call("GET", f"/v2/zones/tasks/imports/{task['id']}", expect=200).json
        assert task["status"] == "ERROR" and task["zone_id"] is None
        return str(task["message"])

    assert refused(b"nonsense").startswith("Malformed zonefile")
    assert refused(ZONE_FILE.replace(b"192.0.2.1", b"nonsense")).startswith("Malformed zonefile")
    assert refused(b"$INCLUDE /etc/passwd\n" + ZONE_FILE).startswith("Malformed zonefile")
    bench.zone("imported.example.")
    assert refused(ZONE_FILE) == "Duplicate Zone"
    bench.call("POST", "/v2/zones/tasks/imports", ZONE_FILE, headers={"Content-Type": "text/html"}, expect=415)
    found = bench.call("GET", "/v2/zones/tasks/imports?status=ERROR").json
    assert found["metadata"]["total_count"] == 4
    bench.call("DELETE", f"/v2/zones/tasks/imports/{found['imports'][0]['id']}", expect=204)


def test_tsig_keys_are_for_operators(bench: Any) -> None:
    body = {"name": "key-one", "algorithm": "hmac-sha256", "secret": base64.b64encode(b"x" * 32).decode(),
            "scope": "POOL", "resource_id": bench.svc.default_pool.id}  # fmt: skip
    bench.call("POST", "/v2/tsigkeys", body, expect=403)
    made = bench.call("POST", "/v2/tsigkeys", body, by=bench.admin, expect=201).json
    assert bench.call("POST", "/v2/tsigkeys", body, by=bench.admin, expect=409).json["type"] == "duplicate_tsigkey"
    bench.call("POST", "/v2/tsigkeys", {**body, "name": "b", "algorithm": "rot13"}, by=bench.admin, expect=400)
    one = f"/v2/tsigkeys/{made['id']}"
    assert bench.call("PATCH", one, {"name": "key-two"}, by=bench.admin, expect=200).json["name"] == "key-two"
    bench.call("DELETE", one, by=bench.admin, expect=204)
    assert bench.call("GET", one, by=bench.admin, expect=404).json["type"] == "tsigkey_not_found"


def test_pools_and_daemons(bench: Any) -> None:
    bench.call("GET", "/v2/pools", expect=403)
    pools = bench.call("GET", "/v2/pools", by=bench.admin, expect=200).json["pools"]
    assert [p["name"] for p in pools] == ["default"]
    assert pools[0]["ns_records"][0] == {"hostname": "ns1.example.org.", "priority": 1}
    bench.call("GET", f"/v2/pools/{pools[0]['id']}", by=bench.admin, expect=200)
    logic.services.report(bench.svc, "worker", {})
    logic.services.report(bench.svc, "worker", {})
    found = bench.call("GET", "/v2/service_statuses", by=bench.admin, expect=200).json["service_statuses"]
    assert [(s["service_name"], s["status"]) for s in found] == [("worker", "UP")]
    assert bench.call("GET", f"/v2/service_statuses/{found[0]['id']}", by=bench.admin).json["id"] == found[0]["id"]


def test_every_operation_refuses_strangers_without_a_token(bench: Any) -> None:
    for op in TABLE.operations:
        if op.policy is None:
            continue
        path = op.path
        for name in ("zone_id", "recordset_id", "share_id", "request_id", "accept_id", "import_id", "export_id", "id",
                     "pool_id", "service_id", "project_id"):  # fmt: skip
            path = path.replace(f"{{{name}}}", "6c9a2a4e-0000-4000-8000-000000000000")
        reply = bench.call(op.method, path.replace("{key}", "RegionOne:x"), {} if op.request else None, by=None)
        assert reply.status_int == 401, f"{op.method} {op.path}: {reply.status}"
        assert reply.headers["WWW-Authenticate"].startswith("Keystone uri=")
