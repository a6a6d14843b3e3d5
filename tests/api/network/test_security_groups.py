# SPDX-License-Identifier: Apache-2.0
"""Security groups and rules through the API."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from aerie_common.db import count_queries


def _facts(rule: dict[str, Any]) -> tuple[Any, ...]:
    return rule["direction"], rule["ethertype"], rule["remote_group_id"], rule["protocol"]


def test_default_group_on_first_touch(bench: Any) -> None:
    who = bench.person()
    [group] = bench.get("/security-groups", by=who)["security_groups"]
    assert group["name"] == "default" and group["stateful"] is True and group["shared"] is False
    assert {_facts(r) for r in group["security_group_rules"]} == {
        ("egress", "IPv4", None, None), ("egress", "IPv6", None, None),
        ("ingress", "IPv4", group["id"], None), ("ingress", "IPv6", group["id"], None),
    }  # fmt: skip
    assert len(bench.get("/security-groups", by=who)["security_groups"]) == 1
    assert (
        bench.make("security_group", by=who, name="default", expect=409)["type"] == "SecurityGroupDefaultAlreadyExists"
    )
    assert bench.remove("security_group", group["id"], by=who, expect=409)["type"] == "SecurityGroupCannotRemoveDefault"
    refused = bench.change("security_group", group["id"], by=who, name="other", expect=409)
    assert refused["type"] == "SecurityGroupCannotUpdateDefault"
    other = bench.person()
    bench.make("network", by=other)
    bench.get(f"/security-groups?project_id={other.project_id}", by=bench.admin)
    assert len(bench.get(f"/security-groups?project_id={other.project_id}", by=bench.admin)["security_groups"]) == 1


def test_default_group_is_made_once(bench: Any) -> None:
    who = bench.person()
    threads = [threading.Thread(target=lambda: bench.call("GET", "/security-groups", by=who)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(bench.get("/security-groups", by=who)["security_groups"]) == 1
    details = bench.get(f"/quotas/{who.project_id}/details", by=who)["quota"]
    assert details["security_group"]["used"] == 1 and details["security_group_rule"]["used"] == 4


def test_groups(bench: Any) -> None:
    group = bench.make("security_group", name="web", description="d")
    assert {_facts(r) for r in group["security_group_rules"]} == {
        ("egress", "IPv4", None, None), ("egress", "IPv6", None, None),
    }  # fmt: skip
    assert bench.get(f"/security-groups/{group['id']}")["security_group"] == group
    changed = bench.change("security_group", group["id"], name="www", stateful=False)
    assert changed["name"] == "www" and changed["stateful"] is False
    bench.call("GET", f"/security-groups/{group['id']}", by=bench.stranger, expect=404)
    bench.change("security_group", group["id"], by=bench.stranger, name="x", expect=404)
    bench.remove("security_group", group["id"], by=bench.reader, expect=403)
    bench.remove("security_group", group["id"])
    assert bench.remove("security_group", group["id"], expect=404)["type"] == "SecurityGroupNotFound"


def test_rules(bench: Any) -> None:
    group = bench.make("security_group", name="rules")
    rule = bench.make(
        "security_group_rule", security_group_id=group["id"], direction="ingress", protocol="TCP", port_range_min="80",
        port_range_max=80, remote_ip_prefix="10.1.2.3/8",
    )  # fmt: skip
    assert rule["protocol"] == "tcp" and rule["port_range_min"] == 80 and rule["ethertype"] == "IPv4"
    assert rule["remote_ip_prefix"] == "10.1.2.3/8" and rule["normalized_cidr"] == "10.0.0.0/8"
    assert bench.get(f"/security-group-rules/{rule['id']}")["security_group_rule"] == rule
    same = {
        "security_group_id": group["id"],
        "direction": "ingress",
        "protocol": 6,
        "port_range_min": 80,
        "port_range_max": 80,
    }
    refused = bench.make("security_group_rule", expect=409, remote_ip_prefix="10.0.0.0/8", **same)
    assert refused["type"] == "SecurityGroupRuleExists" and rule["id"] in refused["message"]
    anything = bench.make("security_group_rule", **same)
    refused = bench.make("security_group_rule", expect=409, remote_ip_prefix="0.0.0.0/0", **same)
    assert anything["id"] in refused["message"]
    found = bench.get(f"/security-group-rules?security_group_id={group['id']}&direction=ingress")[
        "security_group_rules"
    ]
    assert {r["id"] for r in found} == {rule["id"], anything["id"]}
    bench.call("GET", f"/security-group-rules/{rule['id']}", by=bench.stranger, expect=404)
    bench.remove("security_group_rule", rule["id"], by=bench.stranger, expect=404)
    bench.remove("security_group_rule", rule["id"])
    assert bench.remove("security_group_rule", rule["id"], expect=404)["type"] == "SecurityGroupRuleNotFound"
    assert bench.get(f"/security-groups/{group['id']}")["security_group"]["revision_number"] == 4


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"ethertype": "bad"}, "SecurityGroupRuleInvalidEtherType"),
        ({"protocol": "bad"}, "SecurityGroupRuleInvalidProtocol"),
        ({"protocol": 256}, "SecurityGroupRuleInvalidProtocol"),
        ({"protocol": "ipv6-icmp"}, "SecurityGroupEthertypeConflictWithProtocol"),
        ({"protocol": "tcp", "port_range_min": 80}, "SecurityGroupInvalidPortRange"),
        ({"protocol": "tcp", "port_range_min": 81, "port_range_max": 80}, "SecurityGroupInvalidPortRange"),
        ({"protocol": "tcp", "port_range_min": -16384, "port_range_max": 80}, "SecurityGroupInvalidPortValue"),
        ({"protocol": "tcp", "port_range_min": 80, "port_range_max": 65536}, "SecurityGroupInvalidPortValue"),
        ({"protocol": "udp", "port_range_min": "x", "port_range_max": 1}, "SecurityGroupInvalidPortValue"),
        ({"protocol": "icmp", "port_range_min": 1, "port_range_max": 256}, "SecurityGroupInvalidIcmpValue"),
        ({"protocol": "icmp", "port_range_min": None, "port_range_max": 6}, "SecurityGroupMissingIcmpType"),
        ({"port_range_min": 1, "port_range_max": 6}, "SecurityGroupInvalidProtocolForPort"),
        ({"remote_ip_prefix": "192.168.1./24"}, "InvalidInput"),
        ({"remote_ip_prefix": "fd00::/64"}, "SecurityGroupRuleParameterConflict"),
        ({"remote_ip_prefix": "10.0.0.0/8", "remote_group_id": "x"}, "SecurityGroupRemoteGroupAndRemoteIpPrefix"),
        ({"direction": "sideways"}, "InvalidInput"),
    ],
)
def test_rule_refusals(bench: Any, values: dict[str, Any], kind: str) -> None:
    """OSSA-2019-001: what no firewall can mean is never stored."""
    group = bench.make("security_group", by=(who := bench.person()), name="r")
    body = {"security_group_id": group["id"], "direction": "ingress", **values}
    assert bench.make("security_group_rule", by=who, expect=400, **body)["type"] == kind


def test_rules_about_groups(bench: Any) -> None:
    one, other = bench.make("security_group", name="one"), bench.make("security_group", name="other")
    rule = {"security_group_id": one["id"], "direction": "ingress"}
    missing = bench.make("security_group_rule", expect=404, remote_group_id=bench.owner.user_id, **rule)
    assert missing["type"] == "SecurityGroupNotFound"
    assert bench.make("security_group_rule", expect=404, **{**rule, "security_group_id": "f" * 32})["type"] == (
        "SecurityGroupNotFound"
    )
    made = bench.make("security_group_rule", remote_group_id=other["id"], **rule)
    bench.remove("security_group", other["id"])  # and the rules that name it
    bench.call("GET", f"/security-group-rules/{made['id']}", expect=404)


def test_address_groups(bench: Any) -> None:
    group = bench.make("address_group", name="office", addresses=["10.0.0.0/8", "192.0.2.1/32"])
    path = f"/address-groups/{group['id']}"
    body = bench.call("PUT", path + "/add_addresses", {"addresses": ["198.51.100.0/24"]}, expect=200).json[
        "address_group"
    ]
    assert body["addresses"] == ["10.0.0.0/8", "192.0.2.1/32", "198.51.100.0/24"]
    body = bench.call("PUT", path + "/remove_addresses", {"addresses": ["10.0.0.0/8"]}, expect=200).json[
        "address_group"
    ]
    assert body["addresses"] == ["192.0.2.1/32", "198.51.100.0/24"]
    for wrong in ("office", "10.20.30.40"):  # an address stands with its prefix length
        bench.call("PUT", path + "/add_addresses", {"addresses": [wrong]}, expect=400)
    gone = bench.call("PUT", path + "/remove_addresses", {"addresses": ["10.200.200.200"]}, expect=404)
    assert gone.json["NeutronError"]["type"] == "AddressesNotFound"
    bench.call("PUT", path + "/add_addresses", {"addresses": ["10.9.0.0/16"]}, by=bench.stranger, expect=404)
    security = bench.make("security_group", name="from-office")
    rule = bench.make(
        "security_group_rule",
        security_group_id=security["id"],
        direction="ingress",
        remote_address_group_id=group["id"],
    )
    assert bench.remove("address_group", group["id"], expect=409)["type"] == "AddressGroupInUse"
    bench.remove("security_group_rule", rule["id"])
    bench.remove("address_group", group["id"])


def test_bulk_rules(bench: Any) -> None:
    group = bench.make("security_group", name="bulk")

    def rules(*ports: int) -> dict[str, Any]:
        return {
            "security_group_rules": [
                {
                    "security_group_id": group["id"],
                    "direction": "ingress",
                    "protocol": "tcp",
                    "port_range_min": p,
                    "port_range_max": p,
                }
                for p in ports
            ]
        }

    assert (
        len(bench.call("POST", "/security-group-rules", rules(1, 2, 3), expect=201).json["security_group_rules"]) == 3
    )
    bench.call("POST", "/security-group-rules", rules(4, 3), expect=409)
    bench.call("POST", "/security-group-rules", rules(5, 5), expect=409)
    assert len(bench.get(f"/security-group-rules?security_group_id={group['id']}")["security_group_rules"]) == 5


def test_templates(bench: Any) -> None:
    found = bench.get("/default-security-group-rules")["default_security_group_rules"]
    assert len(found) == 4
    rule = bench.call(
        "POST", "/default-security-group-rules",
        {"default_security_group_rule": {"direction": "ingress", "protocol": "icmp", "used_in_default_sg": False}},
        by=bench.admin, expect=201,
    ).json["default_security_group_rule"]  # fmt: skip
    group = bench.make("security_group", name="with-ping")
    assert "icmp" in {r["protocol"] for r in group["security_group_rules"]}
    bench.call(
        "POST", "/default-security-group-rules", {"default_security_group_rule": {"direction": "egress"}}, expect=403
    )
    bench.call("DELETE", f"/default-security-group-rules/{rule['id']}", by=bench.admin, expect=204)


def test_costs(bench: Any) -> None:
    who = bench.person()
    group = bench.make("security_group", by=who, name="costs")
    body = {"security_group_rule": {"security_group_id": group["id"], "direction": "ingress", "protocol": "tcp",
                                    "port_range_min": 22, "port_range_max": 22}}  # fmt: skip
    with count_queries(bench.svc.db) as queries:
        bench.call("POST", "/security-group-rules", body, by=who, expect=201)
    assert int(queries) <= 9, queries
    with count_queries(bench.svc.db) as few:
        bench.get("/security-groups", by=who)
    for i in range(4):
        bench.make("security_group", by=who, name=f"costs-{i}")
    with count_queries(bench.svc.db) as many:
        bench.get("/security-groups", by=who)
    assert int(few) == int(many) <= 5, many


def test_groups_of_a_port(bench: Any) -> None:
    """None twice, and not stateful and stateless ones together."""
    network = bench.make("network")
    body = {"security_groups": [{"security_group": {"name": "a"}}, {"name": "b", "stateful": False}]}
    one, two = bench.call("POST", "/security-groups", body, expect=201).json["security_groups"]
    assert (one["name"], two["stateful"]) == ("a", False)
    port = bench.make("port", network_id=network["id"], security_groups=[one["id"]])
    for operation, found in ((bench.make, ()), (bench.change, (port["id"],))):
        more = {} if found else {"network_id": network["id"]}
        operation("port", *found, security_groups=[one["id"], one["id"]], expect=400, **more)
        refused = operation("port", *found, security_groups=[one["id"], two["id"]], expect=409, **more)
        assert refused["type"] == "SecurityGroupConflict"


def test_protocols_of_ipv6_by_number(bench: Any) -> None:
    group = bench.make("security_group")
    for number in (41, 43, 44, 58, 59, 60):
        rule = {"security_group_id": group["id"], "direction": "ingress", "protocol": number}
        bench.make("security_group_rule", ethertype="IPv4", expect=400, **rule)
        bench.make("security_group_rule", ethertype="IPv6", **rule)


def test_a_template_is_there_once(bench: Any) -> None:
    rule = {"direction": "ingress", "protocol": "tcp", "port_range_min": 4711, "port_range_max": 4711}
    path = {"path": "/default-security-group-rules", "by": bench.admin}
    one = bench.make("default_security_group_rule", used_in_default_sg=True, used_in_non_default_sg=False,
                     **rule, **path)  # fmt: skip
    refused = bench.make("default_security_group_rule", used_in_default_sg=True, expect=409, **rule, **path)
    assert refused["type"] == "DefaultSecurityGroupRuleExists"
    two = bench.make("default_security_group_rule", used_in_default_sg=False, **rule, **path)
    for found in (one, two):
        bench.call("DELETE", f"/default-security-group-rules/{found['id']}", by=bench.admin, expect=204)


def test_who_owns_a_network_clears_it(bench: Any) -> None:
    network = bench.make("network")
    port = bench.make("port", by=bench.admin, network_id=network["id"], project_id=bench.stranger.project_id)
    bench.change("port", port["id"], name="x", expect=404)
    bench.remove("port", port["id"])
