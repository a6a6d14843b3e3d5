# SPDX-License-Identifier: Apache-2.0
"""Zones: their life, what is refused, who sees them, lists."""

from __future__ import annotations

from typing import Any

import pytest

from aerie_common.db import count_queries
from aerie_dns.reconcile import Recovery


def test_a_zone_lives_and_goes(bench: Any) -> None:
    reply = bench.call(
        "POST", "/v2/zones", {"name": "Example.org.", "email": "jo.doe@example.org", "ttl": 300}, expect=202
    )
    zone = reply.json
    assert (zone["status"], zone["action"], zone["type"]) == ("PENDING", "CREATE", "PRIMARY")
    assert zone["name"] == "example.org."
    assert zone["project_id"] == bench.owner.project_id
    assert reply.headers["Location"] == zone["links"]["self"] == f"http://localhost/v2/zones/{zone['id']}"
    assert reply.headers["X-Openstack-Request-Id"].startswith("req-")
    bench.settle()
    shown = bench.call("GET", f"/v2/zones/{zone['id']}", expect=200).json
    assert (shown["status"], shown["action"], shown["serial"]) == ("ACTIVE", "NONE", zone["serial"])
    soa = f"ns1.example.org. jo\\.doe.example.org. {zone['serial']} 3600 600 86400 3600"
    assert bench.server.lookup("example.org.", "example.org.", "SOA") == (soa,)
    assert bench.server.lookup("example.org.", "example.org.", "NS") == ("ns1.example.org.", "ns2.example.org.")

    changed = bench.call("PATCH", f"/v2/zones/{zone['id']}", {"ttl": 600, "description": "ours"}, expect=202).json
    assert (changed["status"], changed["action"], changed["ttl"]) == ("PENDING", "UPDATE", 600)
    assert changed["serial"] > zone["serial"]
    bench.settle()
    assert bench.server.serials["example.org."] == changed["serial"]
    assert bench.server.zones["example.org."]["example.org.", "NS"].ttl == 600

    gone = bench.call("DELETE", f"/v2/zones/{zone['id']}", expect=202).json
    assert (gone["status"], gone["action"]) == ("PENDING", "DELETE")
    bench.settle()
    assert "example.org." not in bench.server.zones
    error = bench.call("GET", f"/v2/zones/{zone['id']}", expect=404).json
    assert error["type"] == "zone_not_found" and error["code"] == 404
    assert error["request_id"].startswith("req-") and error["message"]
    bench.zone("example.org.")  # the name is free again


def test_a_new_zone_has_its_soa_and_ns_record_sets(bench: Any) -> None:
    zone = bench.zone()
    found = bench.call("GET", f"/v2/zones/{zone['id']}/recordsets", expect=200).json
    assert {r["type"] for r in found["recordsets"]} == {"SOA", "NS"}
    assert found["metadata"] == {"total_count": 2}
    assert {r["status"] for r in found["recordsets"]} == {"ACTIVE"}


@pytest.mark.parametrize(
    ("body", "type_"),
    [
        ({"name": "a.example."}, "invalid_object"),
        ({"name": "no-dot.example", "email": "a@example.org"}, "invalid_object"),
        ({"name": "a b.example.", "email": "a@example.org"}, "invalid_object"),
        ({"name": "a\n.example.", "email": "a@example.org"}, "invalid_object"),
        ({"name": "a.example.", "email": "nobody"}, "invalid_object"),
        ({"name": "a.example.", "email": "a@example.org", "ttl": -1}, "invalid_object"),
        ({"name": "a.example.", "email": "a@example.org", "ttl": 2147483648}, "invalid_object"),
        ({"name": "a.example.", "email": "a@example.org", "status": "ACTIVE"}, "invalid_object"),
        ({"name": "a.example.", "email": "a@example.org", "type": "TERTIARY"}, "invalid_object"),
        ({"name": "a.example.", "email": "a@example.org", "description": "x" * 161}, "invalid_object"),
        ({"name": "a.example.", "email": "a@example.org", "masters": ["192.0.2.1"]}, "invalid_object"),
        ({"name": "a.example.", "type": "SECONDARY"}, "invalid_object"),
        ({"name": "example.", "email": "a@example.org"}, "invalid_zone_name"),
        ({"name": "x" * 64 + ".example.", "email": "a@example.org"}, "invalid_object"),
    ],
)
def test_refused_zones(bench: Any, body: dict[str, Any], type_: str) -> None:
    error = bench.call("POST", "/v2/zones", body, expect=400).json
    assert error["type"] == type_
    assert ("errors" in error) == (type_ == "invalid_object")


def test_a_name_is_taken_once(bench: Any) -> None:
    bench.zone("twice.example.")
    again = {"name": "TWICE.example.", "email": "a@example.org"}
    assert bench.call("POST", "/v2/zones", again, expect=409).json["type"] == "duplicate_zone"
    assert bench.call("POST", "/v2/zones", again, by=bench.stranger, expect=409).json["type"] == "duplicate_zone"


def test_zones_above_and_below_belong_to_one_project(bench: Any) -> None:
    bench.zone("mid.example.")
    for name, type_ in (("low.mid.example.", "illegal_child"), ("a.b.mid.example.", "illegal_child")):
        body = {"name": name, "email": "a@example.org"}
        assert bench.call("POST", "/v2/zones", body, by=bench.stranger, expect=403).json["type"] == type_
    bench.zone("deep.top.example.")
    body = {"name": "top.example.", "email": "a@example.org"}
    assert bench.call("POST", "/v2/zones", body, by=bench.stranger, expect=403).json["type"] == "illegal_parent"
    bench.zone("xmid.example.", by=bench.stranger)  # ends alike, lies elsewhere
    low = bench.zone("low.mid.example.")
    mid = bench.call("GET", "/v2/zones?name=mid.example.").json["zones"][0]
    assert bench.call("DELETE", f"/v2/zones/{mid['id']}", expect=400).json["type"] == "zone_has_sub_zone"
    bench.call("DELETE", f"/v2/zones/{low['id']}", expect=202)
    bench.settle()
    bench.call("DELETE", f"/v2/zones/{mid['id']}", expect=202)


def test_what_belongs_to_others_is_not_there(bench: Any) -> None:
    zone = bench.zone()
    one = f"/v2/zones/{zone['id']}"
    for by in (bench.stranger, bench.admin):
        assert bench.call("GET", one, by=by, expect=404).json["type"] == "zone_not_found"
        bench.call("PATCH", one, {"ttl": 1}, by=by, expect=404)
        bench.call("DELETE", one, by=by, expect=404)
        bench.call("GET", f"{one}/recordsets", by=by, expect=404)
        assert bench.call("GET", "/v2/zones", by=by).json["zones"] == []
    bench.call("GET", one, by=bench.reader, expect=200)
    assert bench.call("DELETE", one, by=bench.reader, expect=403).json["type"] == "forbidden"
    bench.call("POST", "/v2/zones", {"name": "r.example.", "email": "a@b.org"}, by=bench.reader, expect=403)
    bench.call("GET", one, by=None, expect=401)


def test_administrators_reach_everything_by_header(bench: Any) -> None:
    zone = bench.zone()
    every, sudo = {"X-Auth-All-Projects": "true"}, {"X-Auth-Sudo-Project-ID": bench.owner.project_id}
    for headers in (every, sudo):
        bench.call("GET", f"/v2/zones/{zone['id']}", by=bench.admin, headers=headers, expect=200)
        found = bench.call("GET", "/v2/zones", by=bench.admin, headers=headers).json["zones"]
        assert zone["id"] in {z["id"] for z in found}
        bench.call("GET", f"/v2/zones/{zone['id']}", by=bench.stranger, headers=headers, expect=403)
    bench.call("GET", f"/v2/zones/{zone['id']}", headers=sudo, expect=403)  # though it is one's own project
    body = {"name": "for-others.example.", "email": "a@example.org"}
    made = bench.call("POST", "/v2/zones", body, by=bench.admin, headers=sudo, expect=202).json
    assert made["project_id"] == bench.owner.project_id


def test_ids_that_are_none(bench: Any) -> None:
    assert bench.call("GET", "/v2/zones/example.org.", expect=400).json["type"] == "invalid_uuid"
    bench.call("GET", "/v2/zones/6c9a2a4e-0000-4000-8000-000000000000", expect=404)


def test_pages(bench: Any) -> None:
    bench.call("PATCH", f"/v2/quotas/{bench.owner.project_id}", {"zones": 50}, by=bench.admin, expect=200)
    names = sorted(bench.zone(f"page{i:02}.example.", settled=False)["name"] for i in range(25))
    first = bench.call("GET", "/v2/zones").json
    assert len(first["zones"]) == 20 and first["metadata"]["total_count"] == 25
    rest = bench.call("GET", first["links"]["next"].removeprefix("http://localhost")).json
    assert sorted(z["name"] for z in first["zones"] + rest["zones"]) == names
    assert "next" not in rest["links"] and rest["metadata"]["total_count"] == 25
    down = bench.call("GET", "/v2/zones?sort_key=name&sort_dir=desc&limit=max").json
    assert [z["name"] for z in down["zones"]] == names[::-1]
    assert bench.call("GET", "/v2/zones?name=page1*&limit=max").json["metadata"]["total_count"] == 10
    assert bench.call("GET", "/v2/zones?name=page_0.example.").json["zones"] == []
    for query, type_ in (("limit=0", "invalid_limit"), ("limit=x", "invalid_limit"), ("marker=x", "invalid_marker"),
                         ("sort_key=secret", "invalid_sort_key"), ("sort_dir=up", "invalid_sort_dir"),
                         ("marker=6c9a2a4e-0000-4000-8000-000000000000", "marker_not_found")):  # fmt: skip
        assert bench.call("GET", f"/v2/zones?{query}", expect=400).json["type"] == type_


def test_a_list_costs_the_same_however_long_it_is(bench: Any) -> None:
    counts = []
    for _ in range(2):
        for _ in range(4):
            bench.zone(settled=False)
        for path in ("/v2/zones", "/v2/recordsets"):
            with count_queries(bench.svc.db) as queries:
                bench.call("GET", path, expect=200)
            counts.append(int(queries))
    assert counts == [2, 2, 2, 2]


def test_the_quota_of_zones(bench: Any) -> None:
    for i in range(10):
        last = bench.zone(f"q{i}.example.", settled=False)
    over = bench.call("POST", "/v2/zones", {"name": "q10.example.", "email": "a@example.org"}, expect=413).json
    assert (over["code"], over["type"]) == (413, "over_quota")
    bench.call("DELETE", f"/v2/zones/{last['id']}", expect=202)
    bench.settle()
    bench.zone("q10.example.")


def test_a_change_while_the_servers_are_away(bench: Any) -> None:
    zone = bench.zone()
    bench.server.fail = "the server is being repaired"
    bench.call("PATCH", f"/v2/zones/{zone['id']}", {"ttl": 77}, expect=202)
    with pytest.raises(TimeoutError, match="being repaired"):
        bench.runner.drain(0.6)
    assert bench.call("GET", f"/v2/zones/{zone['id']}").json["status"] == "PENDING"
    bench.server.fail = None
    bench.settle()
    assert bench.call("GET", f"/v2/zones/{zone['id']}").json["status"] == "ACTIVE"
    assert bench.server.zones[zone["name"]][zone["name"], "NS"].ttl == 77


def test_a_zone_in_error_says_so_and_recovers(bench: Any) -> None:
    import dataclasses

    from aerie_common.flow_runner import FlowRunner
    from aerie_dns.flows.zone_push import ZONE_PUSH

    bench.server.fail = "no"
    zone = bench.zone(settled=False)
    steps = tuple(dataclasses.replace(step, timeout=0.1) for step in ZONE_PUSH.steps)
    FlowRunner(bench.svc.db, [dataclasses.replace(ZONE_PUSH, steps=steps)], bench.svc).drain(10)
    shown = bench.call("GET", f"/v2/zones/{zone['id']}").json
    assert (shown["status"], shown["action"]) == ("ERROR", "CREATE")
    sets = bench.call("GET", f"/v2/zones/{zone['id']}/recordsets").json["recordsets"]
    assert {r["status"] for r in sets} == {"ERROR"}
    bench.server.fail = None
    bench.svc.conf.set_override("recovery_interval", -1, group="dns")
    Recovery(bench.svc).converge()
    bench.settle()
    assert bench.call("GET", f"/v2/zones/{zone['id']}").json["status"] == "ACTIVE"


def test_recovery_finds_zones_whose_flow_is_lost(bench: Any) -> None:
    import sqlalchemy as sa

    from aerie_dns.db.tables import FLOWS

    zone = bench.zone(settled=False)
    with bench.svc.db.write() as conn:
        conn.execute(sa.delete(FLOWS))
    bench.settle()
    assert bench.call("GET", f"/v2/zones/{zone['id']}").json["status"] == "PENDING"
    bench.svc.conf.set_override("recovery_interval", -1, group="dns")
    Recovery(bench.svc).converge()
    Recovery(bench.svc).converge()
    bench.settle()
    assert bench.call("GET", f"/v2/zones/{zone['id']}").json["status"] == "ACTIVE"


def test_many_changes_need_few_pushes(bench: Any) -> None:
    zone = bench.zone()
    before = len(bench.server.calls)
    for i in range(10):
        bench.call("PATCH", f"/v2/zones/{zone['id']}", {"ttl": 100 + i}, expect=202)
    bench.settle()
    assert len(bench.server.calls) - before <= 2
    assert bench.server.zones[zone["name"]][zone["name"], "NS"].ttl == 109


def test_a_change_while_the_push_runs_is_pushed_too(bench: Any) -> None:
    """The flow has read the zone; what changes then must not be taken for served."""
    zone = bench.zone()
    original, once = bench.svc.driver(zone["pool_id"]).change, []

    def change(*arguments: Any) -> None:
        if not once:
            once.append(bench.call("PATCH", f"/v2/zones/{zone['id']}", {"ttl": 222}, expect=202))
        original(*arguments)

    bench.svc.driver(zone["pool_id"]).change = change
    bench.call("PATCH", f"/v2/zones/{zone['id']}", {"ttl": 111}, expect=202)
    bench.settle()
    shown = bench.call("GET", f"/v2/zones/{zone['id']}").json
    assert (shown["status"], shown["ttl"]) == ("ACTIVE", 222)
    assert bench.server.zones[zone["name"]][zone["name"], "NS"].ttl == 222


def test_name_servers_of_a_zone(bench: Any) -> None:
    zone = bench.zone()
    found = bench.call("GET", f"/v2/zones/{zone['id']}/nameservers", expect=200).json["nameservers"]
    assert found == [{"hostname": "ns1.example.org.", "priority": 1}, {"hostname": "ns2.example.org.", "priority": 2}]
    share = {"target_project_id": bench.stranger.project_id}
    bench.call("POST", f"/v2/zones/{zone['id']}/shares", share, expect=201)
    bench.call("GET", f"/v2/zones/{zone['id']}", by=bench.stranger, expect=200)
    bench.call("GET", f"/v2/zones/{zone['id']}/nameservers", by=bench.stranger, expect=403)


def test_the_longest_name(bench: Any) -> None:
    """255 bytes on the wire are 254 characters with the last dot."""
    labels = ".".join(["a" * 63] * 3)
    zone = bench.zone(f"{labels}.{'b' * 53}.example.")
    assert len(zone["name"]) == 254
    body = {"name": f"{labels}.{'b' * 54}.example.", "email": "a@example.org"}
    assert bench.call("POST", "/v2/zones", body, expect=400).json["type"] == "invalid_object"
    near = bench.zone(f"{labels}.{'c' * 51}.example.")
    body = {"name": f"x.{near['name']}", "type": "A", "records": ["192.0.2.1"]}
    bench.call("POST", f"/v2/zones/{near['id']}/recordsets", body, expect=202)
    bench.call("POST", f"/v2/zones/{near['id']}/recordsets", {**body, "name": f"y{body['name']}"}, expect=400)


def test_top_level_domains_and_blacklists(bench: Any) -> None:
    admin = {"by": bench.admin}
    bench.call("POST", "/v2/tlds", {"name": "org"}, expect=403)
    bench.call("POST", "/v2/tlds", {"name": "Org"}, expect=201, **admin)
    bench.call("POST", "/v2/tlds", {"name": "Org"}, expect=409, **admin)
    body = {"name": "x.example.", "email": "a@example.org"}
    assert bench.call("POST", "/v2/zones", body, expect=400).json["type"] == "invalid_zone_name"
    bad = bench.call("POST", "/v2/blacklists", {"pattern": "("}, expect=400, **admin).json
    assert bad["type"] == "invalid_object"
    made = bench.call("POST", "/v2/blacklists", {"pattern": r"^evil\."}, expect=201, **admin).json
    body["name"] = "Evil.org."
    assert bench.call("POST", "/v2/zones", body, expect=400).json["type"] == "invalid_zone_name"
    bench.call("DELETE", f"/v2/blacklists/{made['id']}", expect=204, **admin)
    bench.call("POST", "/v2/zones", body, expect=202)


def test_reverse_zones_are_not_for_users(bench: Any) -> None:
    """Whoever has the zone decides the names of other people's floating addresses."""
    body = {"email": "a@example.org"}
    for name in ("2.0.192.in-addr.arpa.", "in-addr.arpa.", "8.b.d.0.1.0.0.2.ip6.arpa.", "X.IP6.arpa."):
        error = bench.call("POST", "/v2/zones", {**body, "name": name}, expect=400).json
        assert error["type"] == "invalid_zone_name"
    bench.call("POST", "/v2/zones", {**body, "name": "2.0.192.in-addr.arpa."}, by=bench.admin, expect=202)
    bench.svc.conf.set_override("allow_reverse_zones", True, group="dns")
    bench.call("POST", "/v2/zones", {**body, "name": "3.0.192.in-addr.arpa."}, expect=202)


def test_abandoned_zones_stay_on_their_servers(bench: Any) -> None:
    zone = bench.zone()
    bench.call("POST", f"/v2/zones/{zone['id']}/tasks/abandon", expect=403)
    every = {"X-Auth-All-Projects": "true"}
    bench.call("POST", f"/v2/zones/{zone['id']}/tasks/abandon", by=bench.admin, headers=every, expect=204)
    bench.call("GET", f"/v2/zones/{zone['id']}", expect=404)
    bench.settle()
    assert zone["name"] in bench.server.zones


def test_discovery_needs_no_token(bench: Any) -> None:
    found = bench.call("GET", "/", by=None, expect=200).json["versions"]
    assert [v["id"] for v in found] == ["v2", "v2.0", "v2.1", "v2.2", "v2.3", "v2.4"]
    assert found[-1]["status"] == "CURRENT" and found[0]["links"][0]["href"] == "http://localhost/v2"
    behind = bench.call("GET", "/dns/", by=None, expect=200).json["versions"]
    assert behind[0]["links"][0]["href"] == "http://localhost/dns/v2"
