# SPDX-License-Identifier: Apache-2.0
"""What is refused, with which status and in which words, and that a refusal leaves nothing."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from aerie_compute.db import placement

pytestmark = pytest.mark.parametrize("cloud", ["sqlite"], indirect=True, scope="module")  # one database is enough
NOBODY = "99999999-0000-4000-8000-000000000000"


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"flavorRef": "no-such"}, 400, "Flavor no-such could not be found."),
        ({"imageRef": NOBODY}, 400, "could not be found"),
        ({"imageRef": ""}, 400, "imageRef"),
        ({"networks": [{"uuid": NOBODY}]}, 400, f"Network {NOBODY} could not be found."),
        ({"networks": [{"port": NOBODY}]}, 400, f"Port {NOBODY} could not be found."),
        ({"networks": [{"uuid": "not-a-uuid"}]}, 400, "server.networks"),
        ({"networks": "some"}, 400, "networks"),
        ({"key_name": "no-such"}, 400, "Invalid key_name provided."),
        ({"security_groups": [{"name": "no-such"}]}, 400, "Security group no-such not found"),
        ({"name": 5}, 400, "server.name"),
        ({"name": ""}, 400, "server.name"),
        ({"name": "   "}, 400, "server.name"),
        ({"unheard": "of"}, 400, "server"),
        ({"metadata": {"a": 1}}, 400, "metadata"),
        ({"metadata": {str(i): "x" for i in range(129)}}, 403, "Maximum number of metadata items"),
        ({"min_count": 0}, 400, "min_count"),
        ({"min_count": 3, "max_count": 2}, 400, "min_count must be <= max_count"),
        ({"availability_zone": "moon"}, 400, "availability zone"),
        ({"availability_zone": "nova:all-in-one"}, 403, "Policy"),
        ({"user_data": "***"}, 400, "user_data"),
        ({"hostname": "-bad-"}, 400, "hostname"),
        ({"tags": ["a,b"]}, 400, "tags"),
        (
            {"block_device_mapping_v2": [{"source_type": "volume", "uuid": NOBODY, "boot_index": 0}]},
            400,
            "block storage",
        ),
        # A disk beside the root disk is not left out in silence.
        (
            {
                "block_device_mapping_v2": [
                    {"source_type": "image", "destination_type": "local", "uuid": NOBODY, "boot_index": 0},
                    {"source_type": "image", "destination_type": "volume", "uuid": NOBODY, "boot_index": 1},
                ]
            },
            400,
            "block storage",
        ),
        ({"min_count": 20, "max_count": 20}, 403, "Quota exceeded for instances"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_a_server_that_cannot_be(cloud: Any, owner: Any, body: dict[str, Any], status: int, words: str) -> None:
    reply = owner.boot(expect=status, **{"networks": "none", **body})
    [(kind, fault)] = reply.items()
    assert kind == {400: "badRequest", 403: "forbidden"}[status] and fault["code"] == status
    assert words in fault["message"]
    assert owner.get("/servers")["servers"] == []
    assert owner.get("/limits")["limits"]["absolute"]["totalInstancesUsed"] == 0


def test_an_image_that_does_not_fit(cloud: Any, owner: Any) -> None:
    queued = cloud.make_image("empty", None)
    assert "is not active" in owner.boot(expect=400, imageRef=queued["id"], networks="none")["badRequest"]["message"]
    hungry = cloud.make_image("hungry", b"x", min_ram=4096)
    assert "memory" in owner.boot(expect=400, imageRef=hungry["id"], networks="none")["badRequest"]["message"]
    wide = cloud.make_image("wide", b"x", min_disk=50)
    assert "disk" in owner.boot(expect=400, imageRef=wide["id"], networks="none")["badRequest"]["message"]


def test_a_flavor_that_fits_nowhere_is_explained(cloud: Any, owner: Any) -> None:
    huge = cloud.make_flavor("huge", ram=16_000_000)
    cloud.admin.call("PUT", f"/os-quota-sets/{owner.project_id}", {"quota_set": {"ram": -1}}, expect=200)
    made = owner.boot(flavorRef=huge["id"])
    failed = owner.wait(made["id"], "ERROR", seconds=10)
    fault = failed["fault"]
    assert fault["message"] == "No valid host was found. 1 host: 1 lack 16000000 MiB of memory."
    assert "details" not in fault and "all-in-one" not in str(fault), "owners learn nothing of hosts"
    told = cloud.admin.show(made["id"])["fault"]
    assert "[all-in-one: lack 16000000 MiB of memory]" in told["details"]
    assert owner.get(f"/ports?device_id={made['id']}", service="network")["ports"] == []
    [action] = owner.get(f"/servers/{made['id']}/os-instance-actions")["instanceActions"]
    assert action["message"] == "Error"
    events = owner.get(f"/servers/{made['id']}/os-instance-actions/{action['request_id']}")["instanceAction"]["events"]
    assert events[0]["result"] == "Error" and "No valid host" in events[0]["details"]
    owner.call("DELETE", f"/servers/{made['id']}", expect=204)
    owner.wait_gone(made["id"])


def test_network_without_addresses_ends_in_error_and_leaves_nothing(cloud: Any, owner: Any) -> None:
    network = owner.post("/networks", {"network": {"name": "tiny"}}, 201, service="network")["network"]
    subnet = {"network_id": network["id"], "cidr": "10.77.0.0/29", "ip_version": 4, "enable_dhcp": False,
              "allocation_pools": [{"start": "10.77.0.2", "end": "10.77.0.2"}]}  # fmt: skip
    owner.post("/subnets", {"subnet": subnet}, 201, service="network")
    first = owner.boot("first", networks=[{"uuid": network["id"]}])
    owner.wait(first["id"], "ACTIVE")
    second = owner.boot("second", networks=[{"uuid": network["id"]}])
    failed = owner.wait(second["id"], "ERROR")
    assert "network service refused a port" in failed["fault"]["message"]
    with cloud.svc.api_db.read() as conn:
        assert placement.allocations(conn, consumer_id=second["id"]) == []


def test_words_of_the_protocol(cloud: Any, owner: Any) -> None:
    cases = [
        ("GET", "/servers/not-there", None, {}, 404, "itemNotFound"),
        ("GET", "/no-such-thing", None, {}, 404, "itemNotFound"),
        ("DELETE", "/servers", None, {}, 405, "badMethod"),
        ("POST", "/servers", None, {}, 400, "badRequest"),
        ("GET", "/flavors/1.5", None, {}, 404, "itemNotFound"),
        ("GET", "/servers", None, {"OpenStack-API-Version": "compute 2.999"}, 406, "computeFault"),
        ("GET", "/servers", None, {"OpenStack-API-Version": "compute x.y"}, 400, "badRequest"),
    ]
    for method, path, body, headers, status, kind in cases:
        reply = owner.call(method, path, body, headers=headers, expect=status)
        assert reply.json()[kind]["code"] == status, (method, path, reply.text)
        assert reply.headers["X-Openstack-Request-Id"].startswith("req-")
        assert reply.headers["X-Compute-Request-Id"] == reply.headers["X-Openstack-Request-Id"]
    stranger = cloud.http.get(cloud.url("compute") + "/servers", timeout=60)
    assert stranger.status_code == 401 and stranger.headers["WWW-Authenticate"].startswith("Keystone uri=")
    broken = cloud.http.post(
        cloud.url("compute") + "/servers", data=b"{", timeout=60,
        headers={"X-Auth-Token": owner.token, "Content-Type": "application/json"},
    )  # fmt: skip
    assert broken.status_code == 400 and "JSON" in broken.json()["badRequest"]["message"]


def test_versions_need_no_token(cloud: Any) -> None:
    root = cloud.url("compute").removesuffix("/v2.1")
    listed = cloud.http.get(root + "/", timeout=60).json()["versions"]
    assert [(v["id"], v["status"], v["version"], v["min_version"]) for v in listed] == [
        ("v2.0", "SUPPORTED", "", ""),
        ("v2.1", "CURRENT", "2.104", "2.1"),
    ]
    for path in ("/v2.1", "/v2.1/", "/compute/v2.1/"):
        version = cloud.http.get(root + path, timeout=60).json()["version"]
        assert version["links"][0]["href"].startswith(root)
    reply = cloud.admin.call(
        "GET", "/flavors", headers={"X-OpenStack-Nova-API-Version": "2.40", "OpenStack-API-Version": ""}
    )
    assert reply.headers["X-OpenStack-Nova-API-Version"] == "2.40"
    assert reply.headers["Vary"] == "OpenStack-API-Version, X-OpenStack-Nova-API-Version"
    assert cloud.admin.call("GET", "/flavors", version="latest").headers["OpenStack-API-Version"] == "compute 2.104"


def test_networks_must_be_named_from_2_37_on(owner: Any) -> None:
    body = {"name": "s", "flavorRef": owner.cloud.flavor["id"], "imageRef": owner.cloud.image["id"]}
    owner.post("/servers", {"server": body}, 400, version="2.37")
    server = owner.post("/servers", {"server": body}, 202, version="2.36")["server"]
    assert owner.wait(server["id"], "ACTIVE")["addresses"] == {}
    for name in ("a", "b"):
        network = owner.post("/networks", {"network": {"name": name}}, 201, service="network")["network"]
        subnet = {"network_id": network["id"], "cidr": "10.9.0.0/24", "ip_version": 4}
        owner.post("/subnets", {"subnet": subnet}, 201, service="network")
    reply = owner.post("/servers", {"server": body}, 409, version="2.36")
    assert "Multiple possible networks" in reply["conflictingRequest"]["message"]


def test_external_events_are_for_services(cloud: Any, owner: Any) -> None:
    event = {"name": "network-vif-plugged", "server_uuid": str(uuid.uuid4()), "tag": "p", "status": "completed"}
    owner.post("/os-server-external-events", {"events": [event]}, 403)
    cloud.service_user.post("/os-server-external-events", {"events": [event]}, 404)
    server = owner.server(networks="none")
    both = {"events": [event, {**event, "server_uuid": server["id"]}]}
    reply = cloud.service_user.call("POST", "/os-server-external-events", both, expect=207)
    assert [e["code"] for e in reply.json()["events"]] == [404, 200]
    cloud.service_user.post("/os-server-external-events", {"events": [{**event, "name": "nonsense"}]}, 400)
