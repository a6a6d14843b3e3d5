# SPDX-License-Identifier: Apache-2.0
"""What a guest reads about itself, in OpenStack's and in EC2's format: pure functions of ``InstanceFacts``.

Invariant: the metadata API and the config drive show the same, because both come from here.
"""

from __future__ import annotations

import base64
import ipaddress
import os
from pathlib import Path
from typing import Any

import orjson
from oslo_config import cfg

from aerie_compute.logic.metadata import InstanceFacts

OPENSTACK_VERSIONS = (
    "2012-08-10",
    "2013-04-04",
    "2013-10-17",
    "2015-10-15",
    "2016-06-30",
    "2016-10-06",
    "2017-02-22",
    "2018-08-27",
    "2020-10-14",
    "latest",
)
EC2_VERSIONS = (
    "1.0",
    "2007-01-19",
    "2007-03-01",
    "2007-08-29",
    "2007-10-10",
    "2007-12-15",
    "2008-02-01",
    "2008-09-01",
    "2009-04-04",
    "latest",
)
# File -> the first version that has it.
SINCE = {
    "meta_data.json": "2012-08-10",
    "user_data": "2012-08-10",
    "password": "2013-04-04",
    "vendor_data.json": "2013-10-17",
    "network_data.json": "2015-10-15",
    "vendor_data2.json": "2016-10-06",
}
SEED_BYTES = 512


def full_hostname(facts: InstanceFacts, domain: str) -> str:
    """The host name with the cloud's domain behind it, where there is one."""
    return f"{facts.hostname}.{domain}" if domain and "." not in facts.hostname else facts.hostname


def meta_data(facts: InstanceFacts, domain: str) -> dict[str, Any]:
    """``meta_data.json``."""
    document: dict[str, Any] = {
        "uuid": facts.server_id,
        "name": facts.name,
        "hostname": full_hostname(facts, domain),
        "project_id": facts.project_id,
        "availability_zone": facts.availability_zone,
        "launch_index": facts.launch_index,
        "reservation_id": facts.reservation_id,
        "random_seed": base64.b64encode(os.urandom(SEED_BYTES)).decode(),
        "devices": [],
        "dedicated_cpus": [],
    }
    if facts.metadata:
        document["meta"] = facts.metadata
    if facts.public_key and facts.key_name:
        document["public_keys"] = {facts.key_name: facts.public_key}
        document["keys"] = [{"name": facts.key_name, "type": facts.key_type or "ssh", "data": facts.public_key}]
    return document


def network_data(facts: InstanceFacts) -> dict[str, Any]:
    """``network_data.json``: cards, and their addresses with routes and resolvers."""
    links: list[dict[str, Any]] = []
    networks: list[dict[str, Any]] = []
    resolvers: dict[str, None] = {}
    for port in facts.network_info:
        link: dict[str, Any] = {
            "id": port["tap"],
            "vif_id": port["port_id"],
            "type": "bridge",
            "mtu": port["mtu"] or None,
            "ethernet_mac_address": port["mac"],
        }
        links.append(link)
        subnets = {subnet["id"]: subnet for subnet in port["subnets"]}
        for ip in port["fixed_ips"]:
            subnet = subnets.get(ip["subnet_id"])
            if subnet is None:
                continue
            resolvers.update(dict.fromkeys(subnet["dns"]))
            networks.append(_network(len(networks), port, ip, subnet))
    return {"links": links, "networks": networks, "services": _resolvers(resolvers)}


def _network(index: int, port: dict[str, Any], ip: dict[str, Any], subnet: dict[str, Any]) -> dict[str, Any]:
    net = ipaddress.ip_network(subnet["cidr"])
    routes = [_route(route["destination"], route["nexthop"], subnet["dns"]) for route in subnet["routes"]]
    if subnet["gateway"]:
        routes.insert(0, _route("0.0.0.0/0" if net.version == 4 else "::/0", subnet["gateway"], subnet["dns"]))
    return {
        "id": f"network{index}",
        "link": port["tap"],
        "network_id": port["network_id"],
        "type": f"ipv{net.version}",
        "ip_address": ip["address"],
        "netmask": str(net.netmask),
        "routes": routes,
        "services": _resolvers(subnet["dns"]),
    }


def _route(destination: str, gateway: str, dns: list[str]) -> dict[str, Any]:
    net = ipaddress.ip_network(destination, strict=False)
    route: dict[str, Any] = {"network": str(net.network_address), "netmask": str(net.netmask), "gateway": gateway}
    if net.prefixlen == 0:
        route["services"] = _resolvers(dns)
    return route


def _resolvers(addresses: Any) -> list[dict[str, str]]:
    return [{"type": "dns", "address": address} for address in addresses]


def vendor_data(path: str | None) -> Any:
    """``vendor_data.json``: the operator's file, or nothing."""
    return orjson.loads(Path(path).read_bytes()) if path else {}


def openstack_files(facts: InstanceFacts, conf: cfg.ConfigOpts, version: str) -> dict[str, bytes]:
    """All files of one version of the OpenStack format, but for ``password``: name -> content."""
    files = {
        "meta_data.json": orjson.dumps(meta_data(facts, conf.dhcp_domain)),
        "network_data.json": orjson.dumps(network_data(facts)),
        "vendor_data.json": orjson.dumps(vendor_data(conf.vendordata_jsonfile_path)),
        "vendor_data2.json": orjson.dumps({}),
    }
    if facts.user_data is not None:
        files["user_data"] = facts.user_data
    return {name: data for name, data in files.items() if version == "latest" or SINCE[name] <= version}


Tree = dict[str, "Tree | str"]


def ec2_meta_data(facts: InstanceFacts, domain: str) -> Tree:
    """The tree below ``meta-data/``: a dict is a directory, a text a file."""
    fixed = next((ip for ip in facts.fixed_ips if ":" not in ip), "")
    floating = next(iter(facts.floating_ips), "")
    hostname = full_hostname(facts, domain)
    tree: Tree = {
        "ami-id": f"ami-{(facts.image_id or '0' * 8)[:8]}",
        "ami-launch-index": str(facts.launch_index),
        "ami-manifest-path": "(unknown)",
        "block-device-mapping": {"ami": "vda", "root": "/dev/vda"},
        "hostname": hostname,
        "instance-action": "none",
        "instance-id": f"i-{facts.server_id[:8]}",
        "instance-type": str(facts.flavor.get("name", "")),
        "local-hostname": hostname,
        "local-ipv4": fixed,
        "placement": {"availability-zone": facts.availability_zone or ""},
        "public-hostname": hostname,
        "public-ipv4": floating,
        "reservation-id": facts.reservation_id,
        "security-groups": "\n".join(facts.security_groups),
    }
    if facts.public_key:
        tree["public-keys"] = {"0": {"openssh-key": facts.public_key, "_name": f"0={facts.key_name}"}}
    return tree


def ec2_json(facts: InstanceFacts, domain: str) -> bytes:
    """``ec2/latest/meta-data.json`` of a config drive."""
    tree = ec2_meta_data(facts, domain)
    if facts.public_key:
        tree["public-keys"] = {"0": {"openssh-key": facts.public_key}}
    return orjson.dumps(tree)


def config_drive_files(facts: InstanceFacts, conf: cfg.ConfigOpts) -> dict[str, bytes]:
    """Everything on a config drive: path -> content."""
    files = {f"openstack/latest/{name}": data for name, data in openstack_files(facts, conf, "latest").items()}
    files["ec2/latest/meta-data.json"] = ec2_json(facts, conf.dhcp_domain)
    if facts.user_data is not None:
        files["ec2/latest/user-data"] = facts.user_data
    return files
