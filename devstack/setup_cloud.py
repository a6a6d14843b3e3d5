# SPDX-License-Identifier: Apache-2.0
"""Fills a fresh cloud: image, flavors, external network, and a demo project with everything a first server needs.

Only through the public APIs, as any client would. Each thing is looked up before it is made, so repeating it changes
nothing and mends what is missing.
"""

from __future__ import annotations

import argparse
import hashlib
import ipaddress
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keystoneauth1 import adapter, exceptions, session
from keystoneauth1.identity import v3

IMAGE = "aerie-guest"
# name: vCPUs, MiB of memory, GiB of disk
FLAVORS = {
    "std-tiny-1": (1, 128, 1),
    "std-small-1": (1, 512, 5),
    "std-medium-1": (2, 2048, 20),
    "std-large-1": (4, 4096, 40),
    "std-xlarge-1": (8, 8192, 80),
}
EXTERNAL = "public"
DEMO = "demo"
PRIVATE = "private"
PRIVATE_CIDR = "10.10.0.0/24"
ZONE = "demo.example."
HOST_SECONDS = 60.0
BOOT_SECONDS = 120.0


class SetupError(Exception):
    """The cloud did not do what was asked of it; the text says what and why."""


@dataclass(frozen=True)
class Cloud:
    """The APIs as one user of one project sees them."""

    session: session.Session
    region: str

    def api(self, service_type: str, version: str | None = None) -> adapter.Adapter:
        return adapter.Adapter(
            self.session, service_type=service_type, interface="public", region_name=self.region,
            default_microversion=version, raise_exc=True, connect_retries=3,
        )  # fmt: skip

    @property
    def identity(self) -> adapter.Adapter:
        return self.api("identity")

    @property
    def image(self) -> adapter.Adapter:
        return self.api("image")

    @property
    def compute(self) -> adapter.Adapter:
        return self.api("compute", "2.79")

    @property
    def network(self) -> adapter.Adapter:
        return self.api("network")

    @property
    def dns(self) -> adapter.Adapter:
        return self.api("dns")


def connect(auth_url: str, region: str, user: str, password: str, project: str) -> Cloud:
    """Log in with a password; the token is fetched at the first request."""
    auth = v3.Password(
        auth_url=auth_url, username=user, password=password, project_name=project,
        user_domain_name="Default", project_domain_name="Default",
    )  # fmt: skip
    return Cloud(session.Session(auth=auth, timeout=60), region)


def find(api: adapter.Adapter, path: str, **wanted: Any) -> list[dict[str, Any]]:
    """The objects of a collection with those attributes."""
    return list(api.get(path, params=wanted).json()[path.rsplit("/", 1)[-1].replace("-", "_")])


def ensure(api: adapter.Adapter, path: str, noun: str, body: dict[str, Any], **also: Any) -> dict[str, Any]:
    """The object of that name (and of those attributes), made when there is none."""
    matching = [o for o in find(api, path, name=body["name"], **also) if o["name"] == body["name"]]
    if matching:
        return matching[0]
    print(f"making {noun} {body['name']}", flush=True)
    return dict(api.post(path, json={noun: body}).json()[noun])


def read_blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            yield block


# -- for everybody: image, flavors, external network ------------------------------------------------------------------


def ensure_image(admin: Cloud, path: Path) -> dict[str, Any]:
    """The public guest image; an older one of that name goes out of sight."""
    digest = hashlib.sha512()
    for block in read_blocks(path):
        digest.update(block)
    for old in admin.image.get("/v2/images", params={"name": IMAGE}).json()["images"]:
        if old["status"] == "active" and old.get("os_hash_value") == digest.hexdigest():
            return dict(old)
        print(f"removing the image {old['id']}, which is not this one")
        admin.image.delete(f"/v2/images/{old['id']}")
    body = {
        "name": IMAGE, "disk_format": "qcow2", "container_format": "bare", "visibility": "public",
        "min_ram": 96, "min_disk": 1, "os_distro": "aerie-guest", "architecture": "x86_64",
    }  # fmt: skip
    image = admin.image.post("/v2/images", json=body).json()
    print(f"uploading {path.resolve()} as image {image['id']}", flush=True)
    admin.image.put(
        f"/v2/images/{image['id']}/file", data=read_blocks(path), headers={"Content-Type": "application/octet-stream"}
    )
    return dict(admin.image.get(f"/v2/images/{image['id']}").json())


def wait_for_hosts(admin: Cloud) -> None:
    """Until there is a host to run servers and one to wire them: the agents report every few seconds."""
    end = time.monotonic() + HOST_SECONDS
    while True:
        services = admin.compute.get("/os-services", params={"binary": "nova-compute"}).json()["services"]
        agents = [a for a in find(admin.network, "/v2.0/agents") if a["alive"]]
        if agents and any(s["state"] == "up" for s in services):
            return
        if time.monotonic() > end:
            missing = "network" if services else "compute"
            raise SetupError(f"no {missing} agent reported within {HOST_SECONDS:.0f} s: read its log")
        time.sleep(0.2)


def ensure_flavors(admin: Cloud) -> dict[str, str]:
    """Flavor name -> id."""
    there = {f["name"]: f["id"] for f in admin.compute.get("/flavors", params={"is_public": "None"}).json()["flavors"]}
    for name, (vcpus, ram, disk) in FLAVORS.items():
        if name not in there:
            body = {"name": name, "vcpus": vcpus, "ram": ram, "disk": disk, "id": "auto"}
            there[name] = admin.compute.post("/flavors", json={"flavor": body}).json()["flavor"]["id"]
    return there


def ensure_external_network(admin: Cloud, host_side: ipaddress.IPv4Interface) -> dict[str, Any]:
    """The flat network whose gateway is this host, on its bridge."""
    network = ensure(admin.network, "/v2.0/networks", "network", {
        "name": EXTERNAL, "router:external": True, "shared": False, "is_default": True,
        "provider:network_type": "flat", "provider:physical_network": "public",
    })  # fmt: skip
    hosts = host_side.network
    ensure(admin.network, "/v2.0/subnets", "subnet", {
        "name": f"{EXTERNAL}-subnet", "network_id": network["id"], "ip_version": 4, "cidr": str(hosts),
        "gateway_ip": str(host_side.ip), "enable_dhcp": False,
        "allocation_pools": [{"start": str(hosts[10]), "end": str(hosts[-6])}],
    }, network_id=network["id"])  # fmt: skip
    return network


# -- the demo project -------------------------------------------------------------------------------------------------


def ensure_project(admin: Cloud, password: str) -> None:
    """Project and user `demo`, joined by the role `member`."""
    domain = {"domain_id": "default"}
    project = ensure(admin.identity, "/projects", "project", {"name": DEMO, **domain}, **domain)
    user = ensure(admin.identity, "/users", "user", {
        "name": DEMO, **domain, "password": password, "default_project_id": project["id"],
    }, **domain)  # fmt: skip
    [role] = admin.identity.get("/roles", params={"name": "member"}).json()["roles"]
    for who in (user["id"], admin.session.get_user_id()):
        admin.identity.put(f"/projects/{project['id']}/users/{who}/roles/{role['id']}")


def ensure_private_network(demo: Cloud, external: dict[str, Any]) -> dict[str, Any]:
    """Network, subnet and router of the project. Names of its servers go into the zone."""
    network = ensure(demo.network, "/v2.0/networks", "network", {"name": PRIVATE, "dns_domain": ZONE})
    subnet = ensure(demo.network, "/v2.0/subnets", "subnet", {
        "name": f"{PRIVATE}-subnet", "network_id": network["id"], "ip_version": 4, "cidr": PRIVATE_CIDR,
    }, network_id=network["id"])  # fmt: skip
    router = ensure(demo.network, "/v2.0/routers", "router", {
        "name": "router", "external_gateway_info": {"network_id": external["id"]},
    })  # fmt: skip
    if not find(demo.network, "/v2.0/ports", device_id=router["id"], network_id=network["id"]):
        demo.network.put(f"/v2.0/routers/{router['id']}/add_router_interface", json={"subnet_id": subnet["id"]})
    return network


def ensure_rules(demo: Cloud) -> None:
    """ping and ssh into the project's default security group."""
    project = demo.session.get_project_id()
    [group] = find(demo.network, "/v2.0/security-groups", name="default", project_id=project)
    for wanted in (
        {"protocol": "icmp"},
        {"protocol": "tcp", "port_range_min": 22, "port_range_max": 22},
    ):
        rule = {"direction": "ingress", "ethertype": "IPv4", "remote_ip_prefix": "0.0.0.0/0", **wanted}
        there = [r for r in group["security_group_rules"] if all(r.get(key) == value for key, value in rule.items())]
        if not there:
            demo.network.post(
                "/v2.0/security-group-rules", json={"security_group_rule": {**rule, "security_group_id": group["id"]}}
            )


def ensure_keypair(demo: Cloud, state: Path) -> None:
    """The key pair `demo`, whose private half stays in the state folder."""
    private = state / "demo.key"
    if not private.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "demo", "-f", str(private)], check=True)
    public = private.with_suffix(".key.pub").read_text().strip()
    for item in demo.compute.get("/os-keypairs").json()["keypairs"]:
        if item["keypair"]["name"] == DEMO:
            if item["keypair"]["public_key"].strip() == public:
                return
            demo.compute.delete(f"/os-keypairs/{DEMO}")
    demo.compute.post("/os-keypairs", json={"keypair": {"name": DEMO, "public_key": public}})


def ensure_zone(demo: Cloud) -> None:
    """The zone that servers of the private network are named in."""
    if not demo.dns.get("/v2/zones", params={"name": ZONE}).json()["zones"]:
        demo.dns.post("/v2/zones", json={"name": ZONE, "email": f"admin@{ZONE.rstrip('.')}", "ttl": 60})


def ensure_server(demo: Cloud, image_id: str, flavor_id: str, network_id: str) -> dict[str, Any]:
    """The server `demo`, ACTIVE. One that ended in ERROR is replaced once."""
    for server in demo.compute.get("/servers/detail", params={"name": f"^{DEMO}$"}).json()["servers"]:
        if server["status"] == "SHUTOFF":  # this machine was switched off meanwhile
            demo.compute.post(f"/servers/{server['id']}/action", json={"os-start": None})
        if server["status"] != "ERROR":
            return wait_for_server(demo, server["id"])
        print(f"the server {server['id']} is in ERROR ({server.get('fault', {}).get('message')}): making another")
        demo.compute.delete(f"/servers/{server['id']}")
    body = {
        "name": DEMO, "imageRef": image_id, "flavorRef": flavor_id, "key_name": DEMO,
        "networks": [{"uuid": network_id}],
    }  # fmt: skip
    return wait_for_server(demo, demo.compute.post("/servers", json={"server": body}).json()["server"]["id"])


def wait_for_server(demo: Cloud, server_id: str) -> dict[str, Any]:
    end = time.monotonic() + BOOT_SECONDS
    while True:
        server = dict(demo.compute.get(f"/servers/{server_id}").json()["server"])
        if server["status"] in ("ACTIVE", "ERROR"):
            break
        if time.monotonic() > end:
            raise SetupError(f"the server {server_id} is still {server['status']} after {BOOT_SECONDS:.0f} s")
        time.sleep(0.2)
    if server["status"] == "ERROR":
        raise SetupError(f"the server {server_id} ended in ERROR: {server.get('fault', {}).get('message')}")
    print(f"the server {server_id} is {server['status']}")
    return server


def ensure_floating_ip(demo: Cloud, server_id: str, external_id: str) -> str:
    """The address at which the server answers from this host."""
    [port, *_] = find(demo.network, "/v2.0/ports", device_id=server_id)
    there = find(demo.network, "/v2.0/floatingips", port_id=port["id"])
    if there:
        return str(there[0]["floating_ip_address"])
    body = {"floating_network_id": external_id, "port_id": port["id"]}
    made = demo.network.post("/v2.0/floatingips", json={"floatingip": body}).json()["floatingip"]
    return str(made["floating_ip_address"])


def ssh_command(address: str, key: Path) -> list[str]:
    options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"]
    return ["ssh", "-i", str(key), *(part for option in options for part in ("-o", option)), f"root@{address}"]


def lift_quotas(admin: Cloud) -> None:
    """The administrator's own project has no quotas: benchmarks fill it with thousands of things."""
    project = admin.session.get_project_id()
    compute = {"instances": -1, "cores": -1, "ram": -1, "key_pairs": -1, "server_groups": -1}
    names = ("network", "subnet", "port", "router", "floatingip", "security_group", "security_group_rule")
    dns = {n: 1_000_000 for n in ("zones", "zone_recordsets", "zone_records", "recordset_records")}
    admin.compute.put(f"/os-quota-sets/{project}", json={"quota_set": compute})
    admin.network.put(f"/v2.0/quotas/{project}", json={"quota": dict.fromkeys(names, -1)})
    admin.dns.patch(f"/v2/quotas/{project}", json=dns)


def run(args: argparse.Namespace) -> str:
    """Do all of it; returns what to tell the user."""
    host_side = ipaddress.IPv4Interface(args.public_address)
    admin = connect(args.auth_url, args.region, "admin", os.environ["AERIE_ADMIN_PASSWORD"], "admin")
    flavors = ensure_flavors(admin)
    external = ensure_external_network(admin, host_side)
    image = ensure_image(admin, args.image)
    if args.lift_quotas:
        lift_quotas(admin)
    if args.no_demo:
        return f"  a first server  openstack server create --image {IMAGE} --flavor std-tiny-1 --network NETWORK NAME\n"
    wait_for_hosts(admin)
    demo_password = os.environ["AERIE_DEMO_PASSWORD"]
    ensure_project(admin, demo_password)
    demo = connect(args.auth_url, args.region, DEMO, demo_password, DEMO)
    ensure_zone(demo)
    network = ensure_private_network(demo, external)
    ensure_rules(demo)
    ensure_keypair(demo, args.state)
    server = ensure_server(demo, image["id"], flavors["std-tiny-1"], network["id"])
    address = ensure_floating_ip(demo, server["id"], external["id"])
    if args.fake:
        return f"  server demo     at {address}, if it were real\n"
    (args.state / "ssh-demo").write_text(f"exec {' '.join(ssh_command(address, args.state / 'demo.key'))} \"$@\"\n")
    return f"  server demo     {' '.join(ssh_command(address, args.state / 'demo.key'))}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--auth-url", required=True)
    parser.add_argument("--region", required=True)
    parser.add_argument("--image", type=Path, required=True, help="the guest image, qcow2")
    parser.add_argument("--state", type=Path, required=True, help="folder for the private key and the summary")
    parser.add_argument("--public-address", required=True, help="this host's address in the external network")
    parser.add_argument("--no-demo", action="store_true")
    parser.add_argument("--lift-quotas", action="store_true", help="no quotas for the administrator's project")
    parser.add_argument("--fake", action="store_true", help="the hypervisor is the fake one: no guest will answer")
    args = parser.parse_args()
    try:
        summary = run(args)
    except SetupError as e:
        raise SystemExit(str(e)) from None
    except exceptions.HttpError as e:
        text = e.response.text if e.response is not None else ""
        raise SystemExit(f"{e.method} {e.url}: {e}\n{text[:1000]}") from None
    (args.state / "summary").write_text(summary)


if __name__ == "__main__":
    main()
