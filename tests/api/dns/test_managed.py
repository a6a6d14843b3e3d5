# SPDX-License-Identifier: Apache-2.0
"""Records that follow servers, ports and floating IPs: by events, and by the reconciler when events are lost."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from aerie_common.context import Context, admin_context
from aerie_common.errors import ServiceUnavailable
from aerie_dns.reconcile import ManagedRecords
from aerie_dns.sink import Sink
from cloud_standin import Cloud

ANYBODY = Context(user_id="u", project_id="p")


class Events:
    """Sends notifications as the broker would."""

    def __init__(self, bench: Any) -> None:
        self.bench, self.sink = bench, Sink(bench.svc)

    def __call__(self, event_type: str, payload: dict[str, Any], message_id: str | None = None) -> None:
        self.sink.info(ANYBODY, "x", event_type, payload, {"message_id": message_id or str(uuid.uuid4())})
        self.bench.settle()


@pytest.fixture
def events(bench: Any) -> Events:
    return Events(bench)


def served(bench: Any, zone: str, name: str, type_: str) -> tuple[str, ...]:
    found: tuple[str, ...] = bench.server.lookup(zone, name, type_)
    return found


def test_a_servers_records_come_and_go(bench: Any, cloud: Cloud, events: Events) -> None:
    zone = bench.zone("cloud.example.")
    bench.call("POST", "/v2/tlds", {"name": "example"}, by=bench.admin, expect=201)  # no hindrance to reverse zones
    server = cloud.boot(bench.owner.project_id, "Web", "10.0.0.5")
    events("compute.instance.create.end", {"instance_id": server["id"]})
    assert served(bench, zone["name"], "web.cloud.example.", "A") == ("10.0.0.5",)
    fip = cloud.float(server, "192.0.2.77")
    events("floatingip.update.end", {"floatingip": fip})
    assert served(bench, zone["name"], "web.cloud.example.", "A") == ("10.0.0.5", "192.0.2.77")
    assert served(bench, "2.0.192.in-addr.arpa.", "77.2.0.192.in-addr.arpa.", "PTR") == ("web.cloud.example.",)

    shown = bench.call("GET", f"/v2/zones/{zone['id']}/recordsets?type=A").json["recordsets"][0]
    one = f"/v2/zones/{zone['id']}/recordsets/{shown['id']}"
    assert (shown["status"], shown["project_id"]) == ("ACTIVE", bench.owner.project_id)
    assert bench.call("PUT", one, {"records": ["192.0.2.1"]}, expect=400).json["type"] == "bad_request"
    bench.call("DELETE", one, expect=400)

    fip_then = dict(fip)
    fip["port_id"] = None
    events("floatingip.update.end", {"floatingip": {**fip_then, "port_id": None}})
    assert served(bench, zone["name"], "web.cloud.example.", "A") == ("10.0.0.5",)
    assert served(bench, "2.0.192.in-addr.arpa.", "77.2.0.192.in-addr.arpa.", "PTR") == ()

    cloud.remove(server)
    events("compute.instance.delete.end", {"instance_id": server["id"]})
    assert served(bench, zone["name"], "web.cloud.example.", "A") == ()
    assert bench.call("GET", f"/v2/zones/{zone['id']}/recordsets").json["metadata"]["total_count"] == 2


def test_an_event_that_comes_twice_changes_nothing(bench: Any, cloud: Cloud, events: Events) -> None:
    zone = bench.zone("once.example.")
    server = cloud.boot(bench.owner.project_id, "a", "10.0.0.5")
    serials = []
    for message_id in ("same", "same", "other"):
        events("compute.instance.create.end", {"instance_id": server["id"]}, message_id)
        serials.append(bench.call("GET", f"/v2/zones/{zone['id']}").json["serial"])
    assert zone["serial"] < serials[0] == serials[1] == serials[2]


def test_lost_events_are_made_good(bench: Any, cloud: Cloud, events: Events) -> None:
    zone = bench.zone("lost.example.")
    kept = cloud.boot(bench.owner.project_id, "kept", "10.0.0.1")
    gone = cloud.boot(bench.owner.project_id, "gone", "10.0.0.2")
    for server in (kept, gone):
        events("compute.instance.create.end", {"instance_id": server["id"]})
    cloud.remove(gone)
    cloud.boot(bench.owner.project_id, "new", "2001:db8::3")
    ManagedRecords(bench.svc).converge()
    bench.settle()
    assert served(bench, zone["name"], "gone.lost.example.", "A") == ()
    assert served(bench, zone["name"], "kept.lost.example.", "A") == ("10.0.0.1",)
    assert served(bench, zone["name"], "new.lost.example.", "AAAA") == ("2001:db8::3",)
    before = bench.call("GET", f"/v2/zones/{zone['id']}").json["serial"]
    ManagedRecords(bench.svc).converge()
    assert bench.call("GET", f"/v2/zones/{zone['id']}").json["serial"] == before


def test_a_floating_address_with_a_name_of_its_own_leads_to_a_port_without_one(
    bench: Any, cloud: Cloud, events: Events
) -> None:
    zone = bench.zone("vip.example.")
    project = bench.owner.project_id
    port = {"id": "vip", "network_id": "n", "device_id": "", "project_id": project, "device_owner": "", "fixed_ips": []}
    fip = {"id": "f", "floating_ip_address": "192.0.2.80", "port_id": "vip", "project_id": project, "dns_name": "shop"}
    cloud.lists["ports"].append(port)
    cloud.lists["networks"].append({"id": "n", "project_id": project})
    cloud.lists["floatingips"].append(fip)
    events("floatingip.update.end", {"floatingip": fip})
    assert served(bench, zone["name"], "shop.vip.example.", "A") == ("192.0.2.80",)
    before = bench.call("GET", f"/v2/zones/{zone['id']}").json["serial"]
    ManagedRecords(bench.svc).converge()
    assert bench.call("GET", f"/v2/zones/{zone['id']}").json["serial"] == before


def test_a_hundred_servers_leave_nothing_behind(bench: Any, cloud: Cloud) -> None:
    zone = bench.zone("many.example.")
    servers = [cloud.boot(bench.owner.project_id, f"s{i}", f"10.0.0.{i}") for i in range(1, 101)]
    for i, server in enumerate(servers):
        cloud.float(server, f"192.0.2.{i}")
    ManagedRecords(bench.svc).converge()
    bench.settle()
    assert served(bench, zone["name"], "s100.many.example.", "A") == ("10.0.0.100", "192.0.2.99")
    for server in servers:
        cloud.remove(server)
    ManagedRecords(bench.svc).converge()
    bench.settle()
    assert {type_ for _, type_ in bench.server.zones[zone["name"]]} == {"SOA", "NS"}
    assert {type_ for _, type_ in bench.server.zones["2.0.192.in-addr.arpa."]} == {"SOA", "NS"}


def test_what_a_user_made_comes_first(bench: Any, cloud: Cloud, events: Events) -> None:
    zone = bench.zone("mine.example.")
    mine = bench.recordset(zone, "web", "A", "192.0.2.200")
    server = cloud.boot(bench.owner.project_id, "web", "10.0.0.5")
    events("compute.instance.create.end", {"instance_id": server["id"]})
    assert served(bench, zone["name"], "web.mine.example.", "A") == ("192.0.2.200",)
    bench.call("DELETE", f"/v2/zones/{zone['id']}/recordsets/{mine['id']}", expect=202)
    bench.settle()
    assert served(bench, zone["name"], "web.mine.example.", "A") == ("10.0.0.5",)


def test_two_servers_of_one_name_share_it(bench: Any, cloud: Cloud, events: Events) -> None:
    zone = bench.zone("twins.example.")
    twins = [cloud.boot(bench.owner.project_id, "twin", f"10.0.0.{i}") for i in (1, 2)]
    for twin in twins:
        events("compute.instance.create.end", {"instance_id": twin["id"]})
    assert served(bench, zone["name"], "twin.twins.example.", "A") == ("10.0.0.1", "10.0.0.2")
    cloud.remove(twins[0])
    events("compute.instance.delete.end", {"instance_id": twins[0]["id"]})
    assert served(bench, zone["name"], "twin.twins.example.", "A") == ("10.0.0.2",)


def test_which_zone(bench: Any, cloud: Cloud, events: Events) -> None:
    project = bench.owner.project_id
    bench.zone("one.example."), bench.zone("two.example.")

    def place(name: str, **network: Any) -> list[str]:
        server = cloud.boot(project, name, "10.0.0.9", **network)
        events("compute.instance.create.end", {"instance_id": server["id"]})
        zones = bench.server.zones
        return sorted(z for z, held in zones.items() if any(n.startswith(f"{name}.") for n, _ in held))

    assert place("a") == []  # two zones, and nothing says which
    assert place("b", dns_domain="two.example.") == ["two.example."]
    assert place("c", dns_domain="deep.two.example.") == ["two.example."]
    assert served(bench, "two.example.", "c.deep.two.example.", "A") == ("10.0.0.9",)
    bench.zone("theirs.example.", by=bench.stranger)
    assert place("d", dns_domain="theirs.example.") == []  # not this project's to write in
    bench.zone("auto.example.", attributes={"auto": "true"})
    assert place("e") == ["auto.example."]
    bench.svc.conf.set_override("zone", "%(project_id)s.cloud.example", group="sink")
    bench.zone(f"{project}.cloud.example.")
    assert place("f") == [f"{project}.cloud.example."]


def test_ports_with_names_of_their_own(bench: Any, cloud: Cloud, events: Events) -> None:
    zone = bench.zone("ports.example.")
    port = {"id": str(uuid.uuid4()), "network_id": "n", "device_id": "", "device_owner": "", "dns_name": "vip"}
    port |= {
        "project_id": bench.owner.project_id,
        "fixed_ips": [{"ip_address": "10.0.0.8"}],
        "dns_domain": zone["name"],
    }
    cloud.lists["ports"].append(port)
    events("port.create.end", {"port": port})
    assert served(bench, zone["name"], "vip.ports.example.", "A") == ("10.0.0.8",)
    port["dns_name"] = ""
    events("port.update.end", {"port": port})
    assert served(bench, zone["name"], "vip.ports.example.", "A") == ()


def test_events_wait_for_the_other_services(bench: Any, cloud: Cloud, events: Events, monkeypatch: Any) -> None:
    monkeypatch.setattr("aerie_dns.sink.RETRY_SECONDS", 0)
    bench.zone("wait.example.")
    server = cloud.boot(bench.owner.project_id, "a", "10.0.0.5")
    cloud.away = True
    with pytest.raises(ServiceUnavailable):  # the broker gives it again
        events("compute.instance.create.end", {"instance_id": server["id"]}, "e1")
    cloud.away = False
    events("compute.instance.create.end", {"instance_id": server["id"]}, "e1")
    assert served(bench, "wait.example.", "a.wait.example.", "A") == ("10.0.0.5",)


def test_nonsense_is_dropped(bench: Any, cloud: Cloud, events: Events) -> None:
    for event_type, payload in (("compute.instance.create.end", {}), ("port.update.end", {"port": None}),
                                ("floatingip.update.end", {"floatingip": {}}), ("volume.create.end", {})):  # fmt: skip
        events(event_type, payload)


def test_pointers_of_floating_addresses(bench: Any, cloud: Cloud, events: Events) -> None:
    zone = bench.zone("ptr.example.")
    server = cloud.boot(bench.owner.project_id, "web", "10.0.0.5")
    fip = cloud.float(server, "192.0.2.9")
    events("compute.instance.create.end", {"instance_id": server["id"]})
    one = f"/v2/reverse/floatingips/RegionOne:{fip['id']}"
    shown = bench.call("GET", one, expect=200).json
    assert (shown["address"], shown["ptrdname"], shown["status"]) == ("192.0.2.9", None, "INACTIVE")
    bench.call("PATCH", one, {"ptrdname": "no dot"}, expect=400)
    bench.call("PATCH", one, {"ptrdname": "mail.ptr.example."}, by=bench.stranger, expect=404)
    changed = bench.call("PATCH", one, {"ptrdname": "mail.ptr.example.", "ttl": 99}, expect=202).json
    assert (changed["ptrdname"], changed["status"], changed["id"]) == (
        "mail.ptr.example.",
        "PENDING",
        f"RegionOne:{fip['id']}",
    )
    bench.settle()
    reverse = ("2.0.192.in-addr.arpa.", "9.2.0.192.in-addr.arpa.", "PTR")
    assert served(bench, *reverse) == ("mail.ptr.example.",)
    assert bench.call("GET", one).json["status"] == "ACTIVE"
    listed = bench.call("GET", "/v2/reverse/floatingips", expect=200).json["floatingips"]
    assert [f["ptrdname"] for f in listed] == ["mail.ptr.example."]
    bench.call("PATCH", one, {"ptrdname": None}, expect=202)
    bench.settle()
    assert served(bench, *reverse) == ("web.ptr.example.",)  # the server's own name again
    assert bench.call("GET", "/v2/reverse/floatingips/nonsense", expect=400).json["type"] == "bad_request"
    assert zone["id"]


def test_the_reconciler_needs_few_questions(bench: Any, cloud: Cloud) -> None:
    from aerie_common.db import count_queries
    from aerie_dns.follow import Follower

    bench.zone("count.example.")
    counts = []
    for batch in range(2):
        for i in range(10):
            cloud.boot(bench.owner.project_id, f"s{batch}{i}", f"10.0.{batch}.{i}")
        with count_queries(bench.svc.db) as queries:
            Follower(bench.svc).differing(admin_context())
        counts.append(int(queries))
    assert counts[0] == counts[1]
