# SPDX-License-Identifier: Apache-2.0
"""Flavors, key pairs, quotas, usage, hosts, aggregates and server groups."""

from __future__ import annotations

import re
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

pytestmark = pytest.mark.parametrize("cloud", ["sqlite"], indirect=True, scope="module")  # one database is enough
SSH_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIVYH1Kcw5tmEOhr962wJDBar/sz1i9Q6yLVg1yAxT46 me@here"
SSH_FINGERPRINT = "54:7a:9a:2d:9b:6e:69:d3:e0:03:23:cf:d9:73:93:b6"


def test_flavors(cloud: Any, owner: Any) -> None:
    admin = cloud.admin
    body = {
        "name": "f-one",
        "id": "one",
        "ram": "128",
        "vcpus": 2,
        "disk": 3,
        "OS-FLV-EXT-DATA:ephemeral": 1,
        "swap": 512,
    }
    made = admin.post("/flavors", {"flavor": body}, 200)["flavor"]
    assert (made["id"], made["ram"], made["vcpus"], made["disk"], made["swap"]) == ("one", 128, 2, 3, 512)
    assert made["links"][0]["href"].endswith("/v2.1/flavors/one") and made["extra_specs"] == {}
    assert admin.get("/flavors/one", version="2.1")["flavor"].keys() & {"description", "extra_specs"} == set()
    assert admin.get(f"/flavors/{cloud.flavor['id']}", version="2.74")["flavor"]["swap"] == ""
    assert admin.get(f"/flavors/{cloud.flavor['id']}", version="2.75")["flavor"]["swap"] == 0
    admin.post("/flavors", {"flavor": {**body, "name": "other"}}, 409)
    admin.post("/flavors", {"flavor": {**body, "id": "other"}}, 409)
    admin.post("/flavors", {"flavor": {**body, "id": "x", "name": "x", "ram": 0}}, 400)
    owner.post("/flavors", {"flavor": body}, 403)
    admin.call("PUT", "/flavors/one", {"flavor": {"description": "new"}}, expect=200)
    assert owner.get("/flavors/one")["flavor"]["description"] == "new"
    assert "one" in [f["id"] for f in owner.get("/flavors?minRam=100")["flavors"]]
    assert "one" not in [f["id"] for f in owner.get("/flavors/detail?minDisk=4")["flavors"]]
    page = owner.get("/flavors?limit=1")
    assert len(page["flavors"]) == 1 and "flavors_links" in page
    owner.call("GET", "/flavors?limit=x", expect=400)
    owner.call("GET", "/flavors?marker=nobody", expect=400)
    owner.call("GET", "/flavors?is_public=perhaps&limit=1", expect=400)
    admin.call("DELETE", "/flavors/one", expect=202)
    owner.call("GET", "/flavors/one", expect=404)


def test_extra_specs(cloud: Any, owner: Any) -> None:
    made = cloud.make_flavor("with-specs")
    root = f"/flavors/{made['id']}/os-extra_specs"
    cloud.admin.post(root, {"extra_specs": {"hw:a": "1", "b": "2"}}, 200)
    assert owner.get(root)["extra_specs"] == {"hw:a": "1", "b": "2"}
    cloud.admin.call("PUT", f"{root}/b", {"b": "3"}, expect=200)
    cloud.admin.call("PUT", f"{root}/b", {"c": "3"}, expect=400)
    assert owner.get(f"{root}/b") == {"b": "3"}
    owner.post(root, {"extra_specs": {"x": "1"}}, 403)
    cloud.admin.call("DELETE", f"{root}/b", expect=200)
    cloud.admin.call("DELETE", f"{root}/b", expect=404)


def test_private_flavors(cloud: Any, owner: Any) -> None:
    made = cloud.make_flavor("secret", **{"os-flavor-access:is_public": False})
    path = f"/flavors/{made['id']}"
    owner.call("GET", path, expect=404)
    owner.boot(expect=400, flavorRef=made["id"], networks="none")
    assert made["id"] not in [f["id"] for f in owner.get("/flavors?is_public=None")["flavors"]]
    assert made["id"] in [f["id"] for f in cloud.admin.get("/flavors?is_public=None")["flavors"]]
    cloud.admin.post(f"{path}/action", {"addTenantAccess": {"tenant": owner.project_id}}, 200)
    cloud.admin.post(f"{path}/action", {"addTenantAccess": {"tenant": owner.project_id}}, 409)
    assert owner.get(path)["flavor"]["name"] == "secret"
    listed = cloud.admin.get(f"{path}/os-flavor-access")["flavor_access"]
    assert listed == [{"flavor_id": made["id"], "tenant_id": owner.project_id}]
    cloud.admin.post(f"{path}/action", {"removeTenantAccess": {"tenant": owner.project_id}}, 200)
    cloud.admin.post(f"{path}/action", {"removeTenantAccess": {"tenant": owner.project_id}}, 404)
    owner.call("GET", path, expect=404)


def test_keypairs(cloud: Any, owner: Any) -> None:
    body = {"keypair": {"name": "mine", "public_key": SSH_KEY}}
    made = owner.post("/os-keypairs", body, 201)["keypair"]
    assert made["fingerprint"] == SSH_FINGERPRINT and "private_key" not in made and made["type"] == "ssh"
    owner.post("/os-keypairs", body, 409)
    owner.post("/os-keypairs", {"keypair": {"name": "bad", "public_key": "ssh-ed25519 nonsense"}}, 400)
    generated = owner.post("/os-keypairs", {"keypair": {"name": "made"}}, 201, version="2.91")["keypair"]
    assert generated["private_key"].startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    owner.post("/os-keypairs", {"keypair": {"name": "made2"}}, 400, version="2.92")
    old = owner.post("/os-keypairs", {"keypair": {"name": "old"}}, 200, version="2.1")["keypair"]
    assert "type" not in old
    assert [k["keypair"]["name"] for k in owner.get("/os-keypairs")["keypairs"]] == ["made", "mine", "old"]
    page = owner.get("/os-keypairs?limit=1&marker=made")
    assert [k["keypair"]["name"] for k in page["keypairs"]] == ["mine"] and "keypairs_links" in page
    assert owner.get("/os-keypairs/mine")["keypair"]["user_id"] == owner.user_id
    other = cloud.person("member", owner.project_id)
    other.call("GET", "/os-keypairs/mine", expect=404)
    other.call("GET", f"/os-keypairs/mine?user_id={owner.user_id}", expect=403)
    assert cloud.admin.get(f"/os-keypairs/mine?user_id={owner.user_id}")["keypair"]["name"] == "mine"
    server = owner.server(key_name="mine", networks="none")
    assert server["key_name"] == "mine"
    owner.call("DELETE", "/os-keypairs/mine", expect=204)
    owner.call("DELETE", "/os-keypairs/mine", expect=404)
    assert owner.show(server["id"])["key_name"] == "mine"


def test_quotas(cloud: Any, owner: Any) -> None:
    path = f"/os-quota-sets/{owner.project_id}"
    shown = owner.get(path)["quota_set"]
    assert (shown["instances"], shown["cores"], shown["ram"], shown["key_pairs"]) == (10, 20, 51200, 100)
    assert "fixed_ips" not in shown and "floating_ips" in owner.get(path, version="2.35")["quota_set"]
    owner.call("PUT", path, {"quota_set": {"instances": 100}}, expect=403)
    cloud.admin.call("PUT", path, {"quota_set": {"instances": 1}}, expect=200)
    server = owner.server(networks="none")
    assert owner.get(f"{path}/detail")["quota_set"]["instances"] == {"limit": 1, "in_use": 1, "reserved": 0}
    reply = owner.boot(expect=403, networks="none")
    assert reply["forbidden"]["message"] == (
        "Quota exceeded for instances: Requested 1, but already used 1 of 1 instances"
    )
    cloud.admin.call("PUT", path, {"quota_set": {"instances": 0}}, expect=400)
    cloud.admin.call("PUT", path, {"quota_set": {"instances": 0, "force": True}}, expect=200)
    cloud.admin.call("PUT", path, {"quota_set": {"nonsense": 1}}, expect=400)
    cloud.admin.call("DELETE", path, expect=202)
    assert owner.get(path)["quota_set"]["instances"] == 10
    assert owner.get(f"{path}/defaults")["quota_set"]["instances"] == 10
    owner.call("GET", f"/os-quota-sets/{cloud.admin.project_id}", expect=403)
    absolute = owner.get("/limits")["limits"]["absolute"]
    assert (absolute["maxTotalInstances"], absolute["totalInstancesUsed"]) == (10, 1)
    owner.call("GET", f"/limits?tenant_id={cloud.admin.project_id}", expect=403)
    owner.call("DELETE", f"/servers/{server['id']}", expect=204)


def test_usage(cloud: Any, owner: Any) -> None:
    server = owner.server(networks="none")
    query = "start=2020-01-01T00:00:00&end=2120-01-01T00:00:00"
    shown = owner.get(f"/os-simple-tenant-usage/{owner.project_id}?{query}")["tenant_usage"]
    assert shown["total_hours"] > 0 and shown["server_usages"][0]["instance_id"] == server["id"]
    owner.call("GET", "/os-simple-tenant-usage", expect=403)
    found = cloud.admin.get(f"/os-simple-tenant-usage?{query}&detailed=1")["tenant_usages"]
    assert owner.project_id in [u["tenant_id"] for u in found]
    owner.call("GET", f"/os-simple-tenant-usage/{cloud.admin.project_id}", expect=403)
    owner.call("GET", f"/os-simple-tenant-usage/{owner.project_id}?start=2021-01-01&end=2020-01-01", expect=400)


def test_hosts(cloud: Any, owner: Any) -> None:
    admin = cloud.admin
    services = {s["binary"]: s for s in admin.get("/os-services")["services"]}
    assert {"nova-compute", "nova-conductor", "nova-scheduler"} <= set(services)
    assert {s["state"] for s in services.values()} == {"up"}
    agent = services["nova-compute"]
    assert agent["zone"] == "nova" and services["nova-scheduler"]["zone"] == "internal"
    owner.call("GET", "/os-services", expect=403)
    path = f"/os-services/{agent['id']}"
    admin.call("PUT", path, {"status": "disabled", "disabled_reason": "test"}, expect=200)
    try:
        failed = owner.wait(owner.boot(networks="none")["id"], "ERROR")
        assert failed["fault"]["message"] == "No valid host was found. 1 host: 1 disabled."
    finally:
        admin.call("PUT", path, {"status": "enabled"}, expect=200)
    admin.call("PUT", path, {"disabled_reason": "why"}, expect=400)
    old = {"host": "all-in-one", "binary": "nova-compute"}
    assert (
        admin.call("PUT", "/os-services/disable", old, expect=200, version="2.10").json()["service"]["status"]
        == "disabled"
    )
    admin.call("PUT", "/os-services/enable", old, expect=200, version="2.10")
    [shown] = admin.get("/os-hypervisors/detail")["hypervisors"]
    assert shown["hypervisor_hostname"] == "all-in-one" and shown["state"] == "up" and "vcpus" not in shown
    [old_shown] = admin.get("/os-hypervisors/detail", version="2.87")["hypervisors"]
    assert old_shown["vcpus"] > 0 and isinstance(old_shown["cpu_info"], dict)
    [oldest] = admin.get("/os-hypervisors/detail", version="2.1")["hypervisors"]
    assert isinstance(oldest["id"], int) and isinstance(oldest["cpu_info"], str)
    assert admin.get(f"/os-hypervisors/{oldest['id']}", version="2.1")["hypervisor"]["id"] == oldest["id"]
    server = owner.server(networks="none")
    with_servers = admin.get("/os-hypervisors?hypervisor_hostname_pattern=all-in&with_servers=true")["hypervisors"]
    assert server["id"] in [s["uuid"] for s in with_servers[0]["servers"]]
    admin.call("GET", "/os-hypervisors?hypervisor_hostname_pattern=nobody", expect=404)
    assert admin.get("/os-hypervisors/statistics", version="2.87")["hypervisor_statistics"]["count"] == 1
    admin.call("GET", "/os-hypervisors/statistics", expect=404)
    admin.call("DELETE", path, expect=409)


def test_aggregates_and_zones(cloud: Any, owner: Any) -> None:
    admin = cloud.admin
    made = admin.post("/os-aggregates", {"aggregate": {"name": "rack", "availability_zone": "east"}}, 200)["aggregate"]
    path = f"/os-aggregates/{made['id']}"
    admin.post("/os-aggregates", {"aggregate": {"name": "rack"}}, 409)
    admin.post(f"{path}/action", {"add_host": {"host": "nobody"}}, 404)
    admin.post(f"{path}/action", {"add_host": {"host": "all-in-one"}}, 200)
    admin.post(f"{path}/action", {"add_host": {"host": "all-in-one"}}, 409)
    try:
        zones = {
            z["zoneName"]: z["zoneState"]["available"]
            for z in owner.get("/os-availability-zone")["availabilityZoneInfo"]
        }
        assert zones["east"] is True
        server = owner.wait(owner.boot(networks="none", availability_zone="east")["id"], "ACTIVE")
        assert server["OS-EXT-AZ:availability_zone"] == "east" and server["pinned_availability_zone"] == "east"
        failed = owner.wait(owner.boot(networks="none", availability_zone="nova")["id"], "ERROR")
        assert "not in zone nova" in failed["fault"]["message"]
        other = admin.post("/os-aggregates", {"aggregate": {"name": "o", "availability_zone": "west"}}, 200)[
            "aggregate"
        ]
        admin.post(f"/os-aggregates/{other['id']}/action", {"add_host": {"host": "all-in-one"}}, 409)
        admin.post(f"{path}/action", {"set_metadata": {"metadata": {"k": "v"}}}, 200)
        assert admin.get(path)["aggregate"]["metadata"] == {"availability_zone": "east", "k": "v"}
        admin.call("DELETE", path, expect=400)
    finally:
        admin.post(f"{path}/action", {"remove_host": {"host": "all-in-one"}}, 200)
    admin.call("DELETE", path, expect=200)
    admin.call("GET", path, expect=404)
    admin.call("GET", "/os-aggregates/x", expect=404)
    owner.call("GET", "/os-aggregates", expect=403)


@pytest.mark.parametrize("version", ["2.1", "2.13", "2.64"])
def test_server_groups(cloud: Any, owner: Any, version: str) -> None:
    new = version == "2.64"
    body = {"name": "g", "policy": "affinity"} if new else {"name": "g", "policies": ["affinity"]}
    made = owner.post("/os-server-groups", {"server_group": body}, 200, version=version)["server_group"]
    assert ("policy" in made, "policies" in made, "project_id" in made) == (new, not new, version != "2.1")
    assert owner.get("/os-server-groups", version=version)["server_groups"] == [made]
    cloud.person().call("GET", f"/os-server-groups/{made['id']}", expect=404)
    owner.call("DELETE", f"/os-server-groups/{made['id']}", expect=204)
    owner.call("DELETE", f"/os-server-groups/{made['id']}", expect=404)


def test_a_certificate_is_made_for_windows(owner: Any) -> None:
    body = {"keypair": {"name": "windows", "type": "x509"}}
    made = owner.post("/os-keypairs", body, 201, version="2.2")["keypair"]
    certificate = x509.load_pem_x509_certificate(made["public_key"].encode())
    key = serialization.load_pem_private_key(made["private_key"].encode(), None)
    assert certificate.public_key() == key.public_key()
    assert made["fingerprint"].replace(":", "") == certificate.fingerprint(hashes.SHA1()).hex()
    [name] = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert name.value.endswith(f"{owner.user_id}@localhost".encode())


def test_limits_that_have_no_effect_are_remembered(cloud: Any, owner: Any) -> None:
    old = {"version": "2.35"}
    before = cloud.admin.get("/os-quota-class-sets/default", **old)["quota_class_set"]
    before.pop("id")
    changed = {**before, "injected_files": 105, "floating_ips": 99}
    path = "/os-quota-class-sets/default"
    try:
        reply = cloud.admin.call("PUT", path, {"quota_class_set": changed}, expect=200, **old)
        assert reply.json()["quota_class_set"] == changed
        shown = owner.get(f"/os-quota-sets/{owner.project_id}", **old)["quota_set"]
        assert (shown["injected_files"], shown["floating_ips"]) == (105, 99)
    finally:
        cloud.admin.call("PUT", path, {"quota_class_set": before}, expect=200, **old)


def test_how_long_a_host_is_up(cloud: Any) -> None:
    [host] = cloud.admin.get("/os-hypervisors/detail")["hypervisors"]
    assert re.fullmatch(r"up \d+ days, [ \d]?\d:\d\d", host["uptime"])
    [old] = cloud.admin.get("/os-hypervisors", version="2.87")["hypervisors"]
    assert cloud.admin.get(f"/os-hypervisors/{old['id']}/uptime", version="2.87")["hypervisor"]["uptime"]


def test_flavors_of_2_102_have_fewer_fields_and_names_to_look_for(cloud: Any, owner: Any) -> None:
    gone = {"rxtx_factor", "OS-FLV-DISABLED:disabled"}
    assert gone <= set(owner.get("/flavors/detail", version="2.101")["flavors"][0])
    assert not gone & set(owner.get("/flavors/detail", version="2.102")["flavors"][0])
    cloud.make_flavor("named-apart")
    assert [f["name"] for f in owner.get("/flavors?name=^named-", version="2.102")["flavors"]] == ["named-apart"]
    assert len(owner.get("/flavors?name=^named-", version="2.101")["flavors"]) > 1
