# SPDX-License-Identifier: Apache-2.0
"""Quotas and grants through the API."""

from __future__ import annotations

import threading
from typing import Any

from aerie_network.db import quotas


def test_limits(bench: Any) -> None:
    who = bench.person()
    path = f"/quotas/{who.project_id}"
    assert bench.get(path, by=who)["quota"]["floatingip"] == 50
    assert bench.get(path + "/default", by=who)["quota"]["security_group"] == 10
    bench.call("GET", path, by=bench.stranger, expect=403)
    bench.call("PUT", path, {"quota": {"network": 5}}, by=who, expect=403)
    body = bench.call("PUT", path, {"quota": {"network": 2, "port": "3"}}, by=bench.admin, expect=200).json
    assert body["quota"]["network"] == 2 and body["quota"]["port"] == 3
    assert who.project_id in {q["project_id"] for q in bench.get("/quotas", by=bench.admin)["quotas"]}
    bench.make("network", by=who)
    bench.make("network", by=who)
    refused = bench.make("network", by=who, expect=409)
    assert refused["type"] == "OverQuota" and "network" in refused["message"]
    assert bench.get(path + "/details.json", by=who)["quota"]["network"] == {"limit": 2, "used": 2, "reserved": 0}
    bench.call("PUT", path, {"quota": {"colour": 2}}, by=bench.admin, expect=400)
    bench.call("DELETE", path, by=bench.admin, expect=204)
    bench.call("DELETE", path, by=bench.admin, expect=404)
    bench.make("network", by=who)


def test_concurrent_creates_never_pass_the_limit(bench: Any) -> None:
    who = bench.person()
    bench.call("PUT", f"/quotas/{who.project_id}", {"quota": {"network": 5}}, by=bench.admin, expect=200)
    done: list[int] = []

    def work() -> None:
        for _ in range(3):
            done.append(bench.call("POST", "/networks", {"network": {}}, by=who).status_int)

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == [201] * 5 + [409] * 10
    assert len(bench.get(f"/networks?project_id={who.project_id}", by=who)["networks"]) == 5


def test_bulk_over_quota_makes_nothing(bench: Any) -> None:
    who = bench.person()
    network, _ = bench.network(by=who)
    bench.call("PUT", f"/quotas/{who.project_id}", {"quota": {"port": 4}}, by=bench.admin, expect=200)
    body = {"ports": [{"network_id": network["id"]}] * 5}
    bench.call("POST", "/ports", body, by=who, expect=409)
    assert len(bench.get("/ports", by=who)["ports"]) == 1  # DHCP's
    body = {"ports": [{"network_id": network["id"]}] * 3}
    bench.call("POST", "/ports", body, by=who, expect=201)


def test_grants(bench: Any) -> None:
    network, _ = bench.network()
    target = bench.stranger.project_id
    grant = {"object_type": "network", "object_id": network["id"], "action": "access_as_shared"}
    bench.call("GET", f"/networks/{network['id']}", by=bench.stranger, expect=404)
    made = bench.make("rbac_policy", path="/rbac-policies", target_tenant=target, **grant)
    assert made["target_tenant"] == target
    bench.call("GET", f"/networks/{network['id']}", by=bench.stranger, expect=200)
    port = bench.port(network, by=bench.stranger)
    assert bench.make("rbac_policy", path="/rbac-policies", target_tenant=target, expect=409, **grant)["type"] == (
        "DuplicateRbacPolicy"
    )
    refused = bench.call("DELETE", f"/rbac-policies/{made['id']}", expect=409).json["NeutronError"]
    assert refused["type"] == "RbacPolicyInUse"
    bench.call("DELETE", f"/rbac-policies/{made['id']}", by=bench.stranger, expect=404)
    bench.remove("port", port["id"], by=bench.stranger)
    bench.call("DELETE", f"/rbac-policies/{made['id']}", expect=204)
    bench.call("GET", f"/networks/{network['id']}", by=bench.stranger, expect=404)
    # To all: an administrator's right.
    bench.make("rbac_policy", path="/rbac-policies", target_tenant="*", expect=403, **grant)
    everybody = bench.make("rbac_policy", path="/rbac-policies", by=bench.admin, target_tenant="*", **grant)
    assert bench.get(f"/networks/{network['id']}", by=bench.stranger)["network"]["shared"] is True
    bench.call("DELETE", f"/rbac-policies/{everybody['id']}", by=bench.admin, expect=204)
    bench.call("GET", f"/networks/{network['id']}", by=bench.stranger, expect=404)


def test_grants_of_a_network_are_its_flags(bench: Any) -> None:
    def grants(network: str, action: str) -> list[dict[str, Any]]:
        path = f"/rbac-policies?object_id={network}&action={action}"
        return list(bench.get(path, by=bench.admin)["rbac_policies"])

    def give(target: str, **by: Any) -> dict[str, Any]:
        values = {"object_type": "network", "object_id": network["id"], "action": "access_as_external"}
        return dict(bench.make("rbac_policy", path="/rbac-policies", target_tenant=target, **values, **by))

    external = bench.make("network", by=bench.admin, **{"router:external": True}, shared=True)
    assert [g["target_tenant"] for g in grants(external["id"], "access_as_external")] == ["*"]
    assert [g["target_tenant"] for g in grants(external["id"], "access_as_shared")] == ["*"]
    bench.change("network", external["id"], by=bench.admin, **{"router:external": False}, shared=False)
    assert not grants(external["id"], "access_as_external") and not grants(external["id"], "access_as_shared")
    network, _ = bench.network()
    theirs = give(bench.stranger.project_id)
    assert bench.get(f"/networks/{network['id']}")["network"]["router:external"] is True
    gateway = {"external_gateway_info": {"network_id": network["id"]}, "by": bench.stranger}
    router = bench.make("router", **gateway)
    refused = bench.call("DELETE", f"/rbac-policies/{theirs['id']}", expect=409).json["NeutronError"]
    assert refused["type"] == "RbacPolicyInUse"
    everybody = give("*", by=bench.admin)
    bench.call("DELETE", f"/rbac-policies/{theirs['id']}", expect=204)  # the other one lets them stay
    bench.call("DELETE", f"/rbac-policies/{everybody['id']}", by=bench.admin, expect=409)
    moved = {"rbac_policy": {"target_tenant": bench.stranger.project_id}}
    bench.call("PUT", f"/rbac-policies/{everybody['id']}", moved, by=bench.admin, expect=200)
    bench.remove("router", router["id"], by=bench.stranger)
    bench.call("DELETE", f"/rbac-policies/{everybody['id']}", by=bench.admin, expect=204)
    bench.make("router", **gateway, expect=404)
    assert bench.get(f"/networks/{network['id']}")["network"]["router:external"] is False


def test_who_is_granted_an_object_may_not_pass_it_on(bench: Any) -> None:
    network = bench.make("network", by=bench.admin)
    grant = {"object_type": "network", "object_id": network["id"], "action": "access_as_shared"}
    bench.make("rbac_policy", path="/rbac-policies", by=bench.stranger, target_tenant="x", expect=404, **grant)
    bench.make("rbac_policy", path="/rbac-policies", by=bench.admin, target_tenant=bench.stranger.project_id, **grant)
    bench.make("rbac_policy", path="/rbac-policies", by=bench.stranger, target_tenant="x", expect=400, **grant)
    assert bench.get(f"/networks/{network['id']}", by=bench.stranger)["network"]["shared"] is True
    assert bench.get(f"/networks/{network['id']}", by=bench.admin)["network"]["shared"] is False
    for flag in (True, False):
        found = bench.get(f"/networks?shared={flag}", by=bench.stranger)["networks"]
        assert all(n["shared"] is flag for n in found)
        assert (network["id"] in [n["id"] for n in found]) is flag


def test_grants_somebody_lives_on(bench: Any) -> None:
    """A group on a port, a pool with a subnet, a scope with a pool, an address group in a rule."""
    who, theirs = bench.stranger, bench.stranger.project_id
    network = bench.make("network", by=who)

    def grant(object_type: str, found: dict[str, Any], target: str = theirs, **more: Any) -> dict[str, Any]:
        values = {"object_type": object_type, "object_id": found["id"], "action": "access_as_shared"}
        return dict(bench.make("rbac_policy", path="/rbac-policies", target_tenant=target, **values, **more))

    group = bench.make("security_group", name="lent")
    scope = bench.make("address_scope", path="/address-scopes", name="s", ip_version=4)
    pool = bench.make("subnetpool", name="p", prefixes=["10.80.0.0/16"], default_prefixlen=24)
    scoped = bench.make("subnetpool", name="q", prefixes=["10.81.0.0/16"], address_scope_id=scope["id"])
    grant("subnetpool", scoped, expect=400)  # they may not use its scope
    addresses = bench.make("address_group", path="/address-groups", name="a", addresses=["10.0.0.7/24"])
    assert addresses["addresses"] == ["10.0.0.0/24"]
    lent = {
        kind: grant(kind, found)
        for kind, found in (("security_group", group), ("address_scope", scope), ("subnetpool", pool),
                            ("address_group", addresses))
    }  # fmt: skip
    used = [
        ("port", bench.make("port", by=who, network_id=network["id"], security_groups=[group["id"]])),
        ("subnet", bench.make("subnet", by=who, network_id=network["id"], ip_version=4, subnetpool_id=pool["id"])),
        ("subnetpool", bench.make("subnetpool", by=who, name="r", prefixes=["10.82.0.0/16"],
                                  address_scope_id=scope["id"])),
    ]  # fmt: skip
    own = bench.make("security_group", by=who, name="own")
    rule = {"security_group_id": own["id"], "direction": "ingress", "remote_address_group_id": addresses["id"]}
    bench.make("security_group_rule", path="/security-group-rules", by=who, **rule)
    for policy in lent.values():
        refused = bench.call("DELETE", f"/rbac-policies/{policy['id']}", expect=409).json["NeutronError"]
        assert refused["type"] == "RbacPolicyInUse"
    for noun, found in used:
        bench.remove(noun, found["id"], by=who)
    bench.call("DELETE", f"/security-groups/{own['id']}", by=who, expect=204)
    for policy in lent.values():
        bench.call("DELETE", f"/rbac-policies/{policy['id']}", expect=204)
    grant("address_scope", scope)  # goes with what it is for
    bench.remove("subnetpool", scoped["id"])
    bench.call("DELETE", f"/address-scopes/{scope['id']}", expect=204)


def test_a_first_group_is_counted_like_others(bench: Any) -> None:
    """The default group comes in the same transaction, and passes the limit; what was asked for does not."""
    for resource in ("security_group", "security_group_rule"):
        who = bench.person()
        bench.call("PUT", f"/quotas/{who.project_id}", {"quota": {resource: 0}}, by=bench.admin, expect=200)
        assert bench.make("security_group", by=who, expect=409)["type"] == "OverQuota"


def test_a_limit_below_the_usage(bench: Any) -> None:
    who = bench.person()
    for _ in range(2):
        bench.make("network", by=who)
    path = f"/quotas/{who.project_id}"
    bench.call("PUT", path, {"quota": {"network": 1, "check_limit": True}}, by=bench.admin, expect=400)
    bench.call("PUT", path, {"quota": {"network": -1, "check_limit": True}}, by=bench.admin, expect=200)
    bench.call("PUT", path, {"quota": {"network": 1}}, by=bench.admin, expect=200)


def test_usage_is_what_there_is(bench: Any) -> None:
    """After everything this module did: what is booked equals the rows."""
    with bench.svc.db.read() as conn:
        assert quotas.used(conn) == quotas.counted(conn)
