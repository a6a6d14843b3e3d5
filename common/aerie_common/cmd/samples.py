# SPDX-License-Identifier: Apache-2.0
"""What a fresh all-in-one cloud has, so that a first server can be made at once: flavors, an image, networks.

Only through the public APIs, and only what is missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aerie_common.clients import ServiceClients

if TYPE_CHECKING:
    from aerie_common.cmd.all_in_one import AllInOne

FLAVORS = (
    # name, vcpus, MiB of memory, GiB of disk
    ("std-tiny-1", 1, 128, 1),
    ("std-small-1", 1, 512, 5),
    ("std-medium-1", 2, 2048, 20),
    ("std-large-1", 4, 8192, 40),
)
IMAGE = "aerie-guest"
EXTERNAL_CIDR = "172.24.4.0/24"
PRIVATE_CIDR = "10.10.0.0/24"


def make(cloud: AllInOne) -> None:
    """Make the samples in a running cloud."""
    clients = ServiceClients(cloud.conf("aerie-compute-api"))
    _flavors(clients)
    _image(clients)
    _networks(clients)


def _named(items: list[dict[str, Any]], name: str) -> dict[str, Any] | None:
    return next((item for item in items if item["name"] == name), None)


def _flavors(clients: ServiceClients) -> None:
    compute = clients["compute"]
    known = compute.get("/flavors")["flavors"]
    for name, vcpus, ram, disk in FLAVORS:
        if not _named(known, name):
            compute.post("/flavors", {"flavor": {"name": name, "vcpus": vcpus, "ram": ram, "disk": disk}})


def _image(clients: ServiceClients) -> None:
    image = clients["image"]
    if _named(image.get(f"/images?name={IMAGE}")["images"], IMAGE):
        return
    body = {"name": IMAGE, "disk_format": "raw", "container_format": "bare", "visibility": "public"}
    made = image.post("/images", body)
    headers = {"Content-Type": "application/octet-stream"}
    image.request("PUT", f"/images/{made['id']}/file", data=bytes(1 << 20), headers=headers)


def _networks(clients: ServiceClients) -> None:
    network = clients["network"]
    known = network.get("/networks")["networks"]
    public = _named(known, "public")
    if public is None:
        body = {"name": "public", "router:external": True, "is_default": True, "provider:network_type": "flat",
                "provider:physical_network": "public"}  # fmt: skip
        public = network.post("/networks", {"network": body})["network"]
        subnet = {
            "network_id": public["id"],
            "name": "public",
            "cidr": EXTERNAL_CIDR,
            "ip_version": 4,
            "enable_dhcp": False,
        }
        network.post("/subnets", {"subnet": subnet})
    if _named(known, "private"):
        return
    projects = clients["identity"].get("/projects?name=demo")["projects"]
    owner = {"project_id": projects[0]["id"]}
    private = network.post("/networks", {"network": {"name": "private", **owner}})["network"]
    subnet = {"network_id": private["id"], "name": "private", "cidr": PRIVATE_CIDR, "ip_version": 4, **owner}
    made = network.post("/subnets", {"subnet": subnet})["subnet"]
    gateway = {"external_gateway_info": {"network_id": public["id"]}}
    router = network.post("/routers", {"router": {"name": "router", **gateway, **owner}})["router"]
    network.put(f"/routers/{router['id']}/add_router_interface", {"subnet_id": made["id"]})
