# SPDX-License-Identifier: Apache-2.0
"""The whole cloud in one process, with real networks: from the API to a guest's packets.

Hypervisor and DNS servers are fake; the guest is a namespace behind the port's device. Run by test_bridge.py.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from guests import eventually, sh

from aerie_common.cmd.all_in_one import AllInOne
from aerie_network.drivers.base import FixedIp, Port
from conftest import Host

SECRET = "shared-secret"


class Client:
    """One user's requests, as JSON."""

    def __init__(self, cloud: AllInOne, user: str) -> None:
        self._ports, host = cloud.ports, cloud.host
        self._base = {
            name: f"http://{host}:{cloud.ports[f'aerie-{name}-api']}" for name in ("network", "compute", "image")
        }
        who = {"name": user, "domain": {"name": "Default"}, "password": cloud.password}
        scope = {"project": {"name": user, "domain": {"name": "Default"}}}
        identity = {"methods": ["password"], "password": {"user": who}}
        answer = requests.post(
            cloud.auth_url + "/auth/tokens", json={"auth": {"identity": identity, "scope": scope}}, timeout=60
        )
        self._headers = {"X-Auth-Token": answer.headers["X-Subject-Token"]}

    def __call__(self, method: str, service: str, path: str, **body: Any) -> Any:
        answer = requests.request(
            method, self._base[service] + path, headers=self._headers, json=body or None, timeout=60
        )
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def put_bytes(self, service: str, path: str, data: bytes) -> None:
        headers = {**self._headers, "Content-Type": "application/octet-stream"}
        assert requests.put(self._base[service] + path, data=data, headers=headers, timeout=60).ok


@pytest.fixture
def cloud(host: Host) -> Iterator[AllInOne]:
    sh("ip addr add 192.0.2.1/32 dev lo")
    cloud = AllInOne(
        Path(host.settings.state_path),
        any_port=True,
        ports={"aerie-compute-metadata": 8775},
        overrides={
            "*": {(None, "metadata_proxy_shared_secret"): SECRET},
            "network": {
                ("agent", "driver"): "bridge",
                ("linux_bridge", "bridge_mappings"): {"public": "br-ex"},
                ("vxlan", "local_ip"): "192.0.2.1",
            },
        },
    )
    cloud.start()
    yield cloud
    cloud.stop()
    sh("ip addr del 192.0.2.1/32 dev lo")


def test_from_the_api_to_the_wire(host: Host, cloud: AllInOne, tmp_path: Path) -> None:
    admin, user = Client(cloud, "admin"), Client(cloud, "demo")
    external = admin("POST", "network", "/v2.0/networks", network={
        "name": "public", "router:external": True, "provider:network_type": "flat",
        "provider:physical_network": "public"})["network"]  # fmt: skip
    admin("POST", "network", "/v2.0/subnets", subnet={
        "network_id": external["id"], "ip_version": 4, "cidr": "203.0.113.0/24", "gateway_ip": "203.0.113.254",
        "enable_dhcp": False, "allocation_pools": [{"start": "203.0.113.10", "end": "203.0.113.99"}]})  # fmt: skip
    network = user("POST", "network", "/v2.0/networks", network={"name": "private"})["network"]
    subnet = user("POST", "network", "/v2.0/subnets", subnet={
        "network_id": network["id"], "ip_version": 4, "cidr": "10.7.0.0/24"})["subnet"]  # fmt: skip
    router = user("POST", "network", "/v2.0/routers", router={
        "name": "router", "external_gateway_info": {"network_id": external["id"]}})["router"]  # fmt: skip
    user("PUT", "network", f"/v2.0/routers/{router['id']}/add_router_interface", subnet_id=subnet["id"])

    made = user("POST", "network", "/v2.0/ports", port={"network_id": network["id"]})["port"]
    port = Port(made["id"], network["id"], made["mac_address"],
                fixed_ips=tuple(FixedIp(f["subnet_id"], f["ip_address"], 24) for f in made["fixed_ips"]))  # fmt: skip
    guest = host.guest(port)
    flavor = admin("POST", "compute", "/v2.1/flavors", flavor={"name": "f", "ram": 64, "vcpus": 1, "disk": 1})
    image = admin(
        "POST", "image", "/v2/images", name="i", disk_format="raw", container_format="bare", visibility="public"
    )
    admin.put_bytes("image", f"/v2/images/{image['id']}/file", b"x" * 1024)
    server = user("POST", "compute", "/v2.1/servers", server={
        "name": "web", "flavorRef": flavor["flavor"]["id"], "imageRef": image["id"],
        "networks": [{"port": port.id}]})["server"]  # fmt: skip

    def status() -> str:
        return str(user("GET", "compute", f"/v2.1/servers/{server['id']}")["server"]["status"])

    eventually("the server to be built", lambda: status() != "BUILD")
    assert status() == "ACTIVE"
    # The guest may ask at once: address, way out, name, metadata.
    lease = guest.lease(tmp_path)
    assert lease["ip"] == port.fixed_ips[0].ip_address and lease["hostname"] == "web"
    eventually("the way out", lambda: guest.pings("203.0.113.254", 1))
    resolver = lease["dns"].split()[0]
    assert guest.sh(f"dig +short +time=2 web.openstacklocal @{resolver}") == lease["ip"]
    metadata = guest.sh("curl -sSf --max-time 10 http://169.254.169.254/openstack/latest/meta_data.json")
    assert json.loads(metadata)["uuid"] == server["id"]

    # A floating address, first without and then with a rule that lets a ping in.
    floating = user("POST", "network", "/v2.0/floatingips", floatingip={
        "floating_network_id": external["id"], "port_id": port.id})["floatingip"]  # fmt: skip
    address = floating["floating_ip_address"]
    look = f"/v2.0/floatingips/{floating['id']}"
    eventually("the floating IP", lambda: user("GET", "network", look)["floatingip"]["status"] == "ACTIVE")
    assert "1 received" not in sh(f"ping -c 1 -W 1 {address}", check=False)
    group = user("GET", "network", "/v2.0/security-groups?name=default")["security_groups"][0]
    user("POST", "network", "/v2.0/security-group-rules", security_group_rule={
        "security_group_id": group["id"], "direction": "ingress", "ethertype": "IPv4", "protocol": "icmp"})  # fmt: skip
    eventually("the ping", lambda: "1 received" in sh(f"ping -c 1 -W 1 {address}", check=False))

    # Wiring on its own, as compute's agent waits for it.
    took = []
    for number in range(5):
        wired = admin("POST", "network", "/v2.0/ports", port={
            "network_id": network["id"], "binding:host_id": "all-in-one", "device_owner": "compute:nova",
            "device_id": f"s{number}"})["port"]  # fmt: skip
        began = time.monotonic()
        path = f"/v2.0/ports/{wired['id']}?fields=status"
        eventually("the port", lambda path=path: admin("GET", "network", path)["port"]["status"] == "ACTIVE")
        took.append(time.monotonic() - began)
    print("ports ACTIVE in ms:", [round(1000 * seconds) for seconds in took])

    user("DELETE", "compute", f"/v2.1/servers/{server['id']}")
    eventually("the device to go", lambda: not Path(f"/sys/class/net/{port.device}").exists())
