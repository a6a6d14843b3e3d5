# SPDX-License-Identifier: Apache-2.0
"""Record sets: their life, what may stand where, quotas, shares."""

from __future__ import annotations

from typing import Any

import pytest

GOOD = {
    "A": ("192.0.2.1",),
    "AAAA": ("2001:db8::1",),
    "CAA": ('0 issue "ca.example.org"', '0 iodef "mailto:sec@example.org"'),
    "CERT": ("PKIX 1 RSASHA256 KR1L0GbocaIOOim1+qdHtOSrDcOsGiI2NCcxuX2/Tqc=",),
    "CNAME": ("other.example.org.",),
    "HTTPS": ("1 . alpn=h2,h3",),
    "MX": ("10 mail.example.org.", "20 mail2.example.org."),
    "NAPTR": ('100 10 "S" "SIP+D2U" "" _sip._udp.example.org.',),
    "NS": ("ns.sub.example.org.",),
    "PTR": ("host.example.org.",),
    "SPF": ('"v=spf1 mx -all"',),
    "SRV": ("0 5 5060 sip.example.org.",),
    "SSHFP": ("1 1 123456789abcdef67890123456789abcdef67890",),
    "SVCB": ("1 svc.example.org. port=8443",),
    "TXT": ('"one string"', "bare", '"with \\"quotes\\""'),
}


def sets(zone: dict[str, Any]) -> str:
    return f"/v2/zones/{zone['id']}/recordsets"


def test_a_record_set_lives_and_goes(bench: Any) -> None:
    zone = bench.zone()
    name = f"www.{zone['name']}"
    body = {"name": name, "type": "A", "records": ["192.0.2.1", "192.0.2.2"], "ttl": 60, "description": "web"}
    reply = bench.call("POST", sets(zone), body, expect=202)
    made = reply.json
    assert (made["status"], made["action"], made["zone_id"], made["zone_name"]) == (
        "PENDING", "CREATE", zone["id"], zone["name"])  # fmt: skip
    one = f"{sets(zone)}/{made['id']}"
    assert made["links"]["self"] == reply.headers["Location"] == f"http://localhost{one}"
    bench.settle()
    shown = bench.call("GET", one, expect=200).json
    assert (shown["status"], shown["action"], shown["ttl"]) == ("ACTIVE", "NONE", 60)
    assert bench.server.lookup(zone["name"], name, "A") == ("192.0.2.1", "192.0.2.2")
    serial = bench.call("GET", f"/v2/zones/{zone['id']}").json["serial"]
    assert serial > zone["serial"] and bench.server.serials[zone["name"]] == serial

    changed = bench.call("PUT", one, {"records": ["192.0.2.3"], "ttl": None}, expect=202).json
    assert (changed["status"], changed["action"], changed["version"]) == ("PENDING", "UPDATE", 2)
    bench.settle()
    assert bench.server.zones[zone["name"]][name, "A"].records == ("192.0.2.3",)
    assert bench.server.zones[zone["name"]][name, "A"].ttl == zone["ttl"]

    gone = bench.call("DELETE", one, expect=202).json
    assert (gone["status"], gone["action"]) == ("PENDING", "DELETE")
    bench.settle()
    assert bench.server.lookup(zone["name"], name, "A") == ()
    assert bench.call("GET", one, expect=404).json["type"] == "recordset_not_found"


def test_only_what_changed_is_sent(bench: Any) -> None:
    zone = bench.zone()
    bench.recordset(zone, "a", "A", "192.0.2.1")
    bench.server.calls.clear()
    bench.recordset(zone, "b", "A", "192.0.2.2")
    assert bench.server.calls == [("change", zone["name"])]


@pytest.mark.parametrize("type_", GOOD)
def test_every_type_is_accepted(bench: Any, type_: str) -> None:
    zone = bench.zone()
    made = bench.recordset(zone, "here", type_, *GOOD[type_])
    assert made["status"] == "ACTIVE" and made["records"] == list(GOOD[type_])
    assert len(bench.server.lookup(zone["name"], f"here.{zone['name']}", type_)) == len(GOOD[type_])


@pytest.mark.parametrize(
    ("type_", "record"),
    [
        ("A", "192.0.2.256"), ("A", "2001:db8::1"), ("A", ""), ("A", "192.0.2.1\n192.0.2.2"), ("A", "$INCLUDE /etc/x"),
        ("AAAA", "192.0.2.1"), ("AAAA", "2001:db8::g"),
        ("CAA", "0 issue"), ("CNAME", "relative"), ("CNAME", "a b."), ("CNAME", "."),
        ("MX", "mail.example.org."), ("MX", "70000 mail.example.org."), ("MX", "10 mail"), ("MX", "10 *.example.org."),
        ("NS", "192.0.2.1"), ("PTR", "host"), ("SRV", "0 5 sip.example.org."), ("SRV", "0 5 70000 sip.example.org."),
        ("SSHFP", "1 1 xyz"), ("TXT", '"open'), ("TXT", "two words"), ("TXT", 'a"b'), ("TXT", "a\\"), ("SPF", "x\x00y"),
        ("HTTPS", "1 . nonsense="), ("SVCB", "x"), ("NAPTR", "1 2 3"), ("CERT", "PKIX"), ("A", "\\# 4 c0000201"),
    ],
)  # fmt: skip
def test_records_that_do_not_fit_are_refused(bench: Any, type_: str, record: str) -> None:
    zone = bench.zone(settled=False)
    body = {"name": f"x.{zone['name']}", "type": type_, "records": [record]}
    error = bench.call("POST", sets(zone), body, expect=400).json
    assert error["type"] == "invalid_object"
    assert error["errors"]["errors"][0]["path"][0] == "records"


def test_names_that_do_not_fit_are_refused(bench: Any) -> None:
    zone = bench.zone("place.example.")
    bench.zone("child.place.example.")

    def refused(name: str, type_: str = "A", record: str = "192.0.2.1") -> str:
        body = {"name": name, "type": type_, "records": [record]}
        return str(bench.call("POST", sets(zone), body, expect=400).json["type"])

    assert refused("www.elsewhere.example.") == "invalid_recordset_location"
    assert refused("wwwplace.example.") == "invalid_recordset_location"
    assert refused("a.child.place.example.") == "invalid_recordset_location"
    assert refused("child.place.example.") == "invalid_recordset_location"
    assert refused("place.example.", "CNAME", "a.example.org.") == "invalid_recordset_location"
    for name in (
        "a b.place.example.",
        "-a.place.example.",
        "www.place.example",
        "a.*.place.example.",
        "a..place.example.",
    ):
        assert refused(name) == "invalid_object"
    assert refused("soa.place.example.", "SOA", "a. b. 1 2 3 4 5") == "bad_request"
    assert refused("tlsa.place.example.", "TLSA", "3 1 1 " + "0b" * 32) == "bad_request"
    bench.recordset(zone, "*", "A", "192.0.2.1")
    assert refused("*.sub.place.example.", "NS", "ns.example.org.") == "invalid_object"
    bench.recordset(zone, "_443._tcp", "TLSA", f"3 1 1 (\n  {'0b' * 16}\n  {'0b' * 16} )")
    served = bench.server.lookup(zone["name"], "_443._tcp.place.example.", "TLSA")
    assert served == ("3 1 1 " + "0b" * 32,)


def test_an_alias_shares_its_name_with_nothing(bench: Any) -> None:
    zone = bench.zone()
    bench.recordset(zone, "a", "A", "192.0.2.1")
    alias = bench.recordset(zone, "c", "CNAME", "a.example.org.")
    for label, type_, record in (("a", "CNAME", "b.example.org."), ("c", "A", "192.0.2.1")):
        body = {"name": f"{label}.{zone['name']}", "type": type_, "records": [record]}
        assert bench.call("POST", sets(zone), body, expect=400).json["type"] == "invalid_recordset_location"
    bench.call("DELETE", f"{sets(zone)}/{alias['id']}", expect=202)
    bench.recordset(zone, "c", "A", "192.0.2.5")
    assert bench.server.lookup(zone["name"], f"c.{zone['name']}", "CNAME") == ()


def test_a_name_and_type_is_taken_once(bench: Any) -> None:
    zone = bench.zone()
    first = bench.recordset(zone, "a", "A", "192.0.2.1")
    body = {"name": f"A.{zone['name']}", "type": "A", "records": ["192.0.2.2"]}
    assert bench.call("POST", sets(zone), body, expect=409).json["type"] == "duplicate_recordset"
    bench.call("DELETE", f"{sets(zone)}/{first['id']}", expect=202)
    again = bench.call("POST", sets(zone), body, expect=202).json  # no need to wait for the servers
    assert again["id"] != first["id"]
    bench.settle()
    assert bench.server.lookup(zone["name"], f"a.{zone['name']}", "A") == ("192.0.2.2",)
    assert bench.call("GET", f"{sets(zone)}/{again['id']}").json["status"] == "ACTIVE"


def test_the_zones_own_record_sets_are_not_to_be_touched(bench: Any) -> None:
    zone = bench.zone()
    for own in bench.call("GET", sets(zone)).json["recordsets"]:
        for method, body in (("PUT", {"ttl": 5}), ("DELETE", None)):
            assert bench.call(method, f"{sets(zone)}/{own['id']}", body, expect=400).json["type"] == "bad_request"
    rest = bench.recordset(zone, "sub", "NS", "ns.example.org.")
    bench.call("PUT", f"{sets(zone)}/{rest['id']}", {"records": ["ns2.example.org."]}, expect=202)


def test_name_and_type_never_change(bench: Any) -> None:
    zone = bench.zone()
    made = bench.recordset(zone, "a", "A", "192.0.2.1")
    one = f"{sets(zone)}/{made['id']}"
    bench.call("PUT", one, {"name": made["name"], "type": "A", "records": ["192.0.2.2"]}, expect=202)
    bench.call("PUT", one, {"name": f"b.{zone['name']}"}, expect=400)
    bench.call("PUT", one, {"type": "AAAA"}, expect=400)


def test_quotas_of_records(bench: Any) -> None:
    def limit(**values: int) -> None:
        bench.call("PATCH", f"/v2/quotas/{bench.owner.project_id}", values, by=bench.admin, expect=200)

    zone = bench.zone()

    def post(label: str, *records: str, expect: int) -> Any:
        body = {"name": f"{label}.{zone['name']}", "type": "A", "records": list(records)}
        return bench.call("POST", sets(zone), body, expect=expect).json

    limit(recordset_records=2)
    assert post("a", "192.0.2.1", "192.0.2.2", "192.0.2.3", expect=413)["type"] == "over_quota"
    limit(recordset_records=-1, zone_records=3)
    first = post("a", "192.0.2.1", "192.0.2.2", expect=202)
    post("b", "192.0.2.1", "192.0.2.2", expect=413)
    post("b", "192.0.2.1", expect=202)
    bench.call("PUT", f"{sets(zone)}/{first['id']}", {"records": ["192.0.2.1", "192.0.2.2", "192.0.2.3"]}, expect=413)
    limit(zone_records=-1, zone_recordsets=2)
    post("c", "192.0.2.1", expect=413)
    bench.call("DELETE", f"{sets(zone)}/{first['id']}", expect=202)
    post("c", "192.0.2.1", expect=202)


def test_lists_filters_and_all_zones(bench: Any) -> None:
    one, two = bench.zone(), bench.zone()
    bench.recordset(one, "a", "A", "192.0.2.1", description="first")
    bench.recordset(two, "a", "A", "192.0.2.2", ttl=55)
    bench.recordset(two, "t", "TXT", '"x y"')

    def ask(query: str, path: str = "/v2/recordsets") -> list[str]:
        found = bench.call("GET", f"{path}?{query}", expect=200).json
        assert found["metadata"]["total_count"] == len(found["recordsets"])
        return sorted(r["name"] for r in found["recordsets"])

    assert ask("type=A") == sorted([f"a.{one['name']}", f"a.{two['name']}"])
    assert ask("data=192.0.2.2") == [f"a.{two['name']}"]
    assert ask("data=192.0.2.*&description=first") == [f"a.{one['name']}"]
    assert ask("ttl=55") == [f"a.{two['name']}"]
    assert ask('data="x y"') == [f"t.{two['name']}"]
    assert ask("name=a.*", sets(one)) == [f"a.{one['name']}"]
    assert ask("status=ERROR") == []
    assert bench.call("GET", "/v2/recordsets", by=bench.stranger).json["recordsets"] == []
    made = bench.call("GET", "/v2/recordsets?type=TXT").json["recordsets"][0]
    moved = bench.call("GET", f"/v2/recordsets/{made['id']}", expect=301)
    assert moved.headers["Location"] == made["links"]["self"]


def test_a_shared_zone(bench: Any) -> None:
    zone = bench.zone()
    shares, friend = f"/v2/zones/{zone['id']}/shares", bench.stranger
    bench.recordset(zone, "mine", "A", "192.0.2.1")
    made = bench.call("POST", shares, {"target_project_id": friend.project_id}, expect=201).json
    bench.call("POST", shares, {"target_project_id": friend.project_id}, expect=409)
    bench.call("POST", shares, {"target_project_id": bench.owner.project_id}, expect=400)
    assert bench.call("GET", f"/v2/zones/{zone['id']}", by=friend, expect=200).json["shared"] is True
    assert [z["id"] for z in bench.call("GET", "/v2/zones", by=friend).json["zones"]] == [zone["id"]]
    for method in ("PATCH", "DELETE"):
        bench.call(method, f"/v2/zones/{zone['id']}", {} if method == "PATCH" else None, by=friend, expect=403)
    body = {"name": f"theirs.{zone['name']}", "type": "A", "records": ["192.0.2.9"]}
    theirs = bench.call("POST", sets(zone), body, by=friend, expect=202).json
    assert theirs["project_id"] == friend.project_id
    assert {r["name"] for r in bench.call("GET", sets(zone), by=friend).json["recordsets"]} == {theirs["name"]}
    assert theirs["name"] in {r["name"] for r in bench.call("GET", sets(zone)).json["recordsets"]}
    error = bench.call("DELETE", f"{shares}/{made['id']}", expect=400).json
    assert error["type"] == "shared_zone_has_recordsets"
    bench.call("DELETE", f"/v2/zones/{zone['id']}", expect=400)
    bench.call("DELETE", f"{sets(zone)}/{theirs['id']}", by=friend, expect=202)
    bench.call("DELETE", f"{shares}/{made['id']}", expect=204)
    bench.call("GET", f"/v2/zones/{zone['id']}", by=friend, expect=404)
    bench.call("POST", shares, {"target_project_id": friend.project_id}, expect=201)
    bench.call("DELETE", f"/v2/zones/{zone['id']}", headers={"X-Designate-Delete-Shares": "true"}, expect=202)


def test_the_smallest_ttl(bench: Any) -> None:
    bench.svc.conf.set_override("min_ttl", 30, group="dns")
    zone = bench.zone()
    body = {"name": f"a.{zone['name']}", "type": "A", "records": ["192.0.2.1"], "ttl": 29}
    assert bench.call("POST", sets(zone), body, expect=400).json["type"] == "invalid_ttl"
    bench.call("POST", sets(zone), {**body, "ttl": 30}, expect=202)
