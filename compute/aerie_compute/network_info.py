# SPDX-License-Identifier: Apache-2.0
"""What a server remembers of its ports, so that showing it needs no question to the network service.

One entry a port, in the order of the server's cards: `{"port_id", "network_id", "label", "mac", "mtu", "tap",
"created" (this service made the port), "tag", "fixed_ips": [{"address", "version", "subnet_id", "floating":
[{"address"}]}], "subnets": [{"id", "cidr", "version", "gateway", "dns", "routes"}]}`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Entry = dict[str, Any]


def tap_name(port_id: str) -> str:
    """The device the network agent makes for a port."""
    return f"tap{port_id[:11]}"


def version_of(address: str) -> int:
    return 6 if ":" in address else 4


def entry(
    port: Mapping[str, Any],
    network: Mapping[str, Any],
    subnets: Sequence[Mapping[str, Any]],
    *,
    created: bool,
    floating: Sequence[Mapping[str, str]] = (),
    tag: str | None = None,
) -> Entry:
    """One entry, of what the network service says."""
    used = {ip["subnet_id"] for ip in port["fixed_ips"]}
    return {
        "port_id": port["id"],
        "network_id": port["network_id"],
        "label": network.get("name") or port["network_id"],
        "mac": port["mac_address"],
        "mtu": network.get("mtu") or 0,
        "tap": tap_name(port["id"]),
        "created": created,
        "tag": tag,
        "fixed_ips": [
            {
                "address": ip["ip_address"],
                "version": version_of(ip["ip_address"]),
                "subnet_id": ip["subnet_id"],
                "floating": [{"address": f["floating"]} for f in floating if f["fixed"] == ip["ip_address"]],
            }
            for ip in port["fixed_ips"]
        ],
        "subnets": [
            {
                "id": s["id"],
                "cidr": s["cidr"],
                "version": s["ip_version"],
                "gateway": s.get("gateway_ip"),
                "dns": list(s.get("dns_nameservers") or ()),
                "routes": list(s.get("host_routes") or ()),
            }
            for s in subnets
            if s["id"] in used
        ],
    }


def addresses(info: Sequence[Entry]) -> dict[str, list[dict[str, Any]]]:
    """As servers show them: label -> addresses, fixed ones before the floating ones that lead to them."""
    found: dict[str, list[dict[str, Any]]] = {}
    for port in info:
        shown = found.setdefault(port["label"], [])
        mac = port["mac"]
        for ip in port["fixed_ips"]:
            shown.append(_address(ip["address"], ip["version"], "fixed", mac))
        for ip in port["fixed_ips"]:
            for floating in ip["floating"]:
                shown.append(_address(floating["address"], version_of(floating["address"]), "floating", mac))
    return found


def _address(address: str, version: int, kind: str, mac: str) -> dict[str, Any]:
    return {"version": version, "addr": address, "OS-EXT-IPS:type": kind, "OS-EXT-IPS-MAC:mac_addr": mac}


def payload(info: Sequence[Entry]) -> list[dict[str, Any]]:
    """As notifications show them."""
    return [
        {
            "address": ip["address"],
            "version": ip["version"],
            "label": port["label"],
            "port_id": port["port_id"],
            "network_id": port["network_id"],
            "vif_mac": port["mac"],
            "floating_ips": [f["address"] for f in ip["floating"]],
        }
        for port in info
        for ip in port["fixed_ips"]
    ]
