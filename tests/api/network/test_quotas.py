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


def test_usage_is_what_there_is(bench: Any) -> None:
    """After everything this module did: what is booked equals the rows."""
    with bench.svc.db.read() as conn:
        assert quotas.used(conn) == quotas.counted(conn)
