# SPDX-License-Identifier: Apache-2.0
"""What a port's attributes may be, and what follows from them: addresses, address pairs, DHCP options.

Pure checks: they read what they are given and touch nothing.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

from aerie_network import states
from aerie_network.container import NetworkService
from aerie_network.db.networks import Network
from aerie_network.db.subnets import Subnet
from aerie_network.errors import InvalidInput, InvalidIpAddressPairs, InvalidIpForNetwork, InvalidIpForSubnet
from aerie_network.logic import ipam

Choice = tuple[tuple[Subnet, ...], str | None]
"""Subnets that an address may come from, and the exact address where there is no choice."""


def check_pairs(svc: NetworkService, pairs: list[dict[str, str]] | None, mac: str) -> list[dict[str, str]]:
    """Allowed address pairs as they are stored."""
    found: list[dict[str, str]] = []
    if len(pairs or ()) > svc.conf.max_allowed_address_pair:
        raise InvalidIpAddressPairs(
            reason=f"at most {svc.conf.max_allowed_address_pair} allowed address pairs are possible"
        )
    for pair in pairs or ():
        try:
            network = ipaddress.ip_network(pair["ip_address"], strict=False)
        except ValueError:
            raise InvalidIpAddressPairs(reason=f"'{pair['ip_address']}' is not an address or CIDR") from None
        single = "/" not in pair["ip_address"]
        text = str(network.network_address) if single else str(network)
        if "mac_address" in pair:
            mac_address = pair["mac_address"].lower().replace("-", ":")
        else:
            mac_address = mac
        entry = {"mac_address": mac_address, "ip_address": text}
        if entry in found:
            raise InvalidIpAddressPairs(reason=f"duplicate address pair {entry}")
        found.append(entry)
    return found


def dhcp_options(
    wanted: Sequence[Mapping[str, Any]] | None, present: Sequence[dict[str, Any]] | None = None
) -> list[dict[str, Any]]:
    """Extra DHCP options of a new port, or (with those it has) after a change: an option without value goes."""
    by_key = {(option["opt_name"], option["ip_version"]): option for option in present or ()}
    for option in wanted or ():
        version, value = int(option.get("ip_version", 4)), option.get("opt_value")
        key = (option["opt_name"], version)
        if value is None:
            by_key.pop(key, None)
        elif not value.strip():
            raise InvalidInput(error_message=f"extra DHCP option {option['opt_name']} has no value")
        else:
            by_key[key] = {"opt_name": option["opt_name"], "opt_value": value, "ip_version": version}
    return list(by_key.values())


def choose_addresses(
    svc: NetworkService,
    network: Network,
    subnets: Sequence[Subnet],
    wanted: list[dict[str, str]] | None,
    device_owner: str,
    mac: str,
) -> list[Choice]:
    """Which addresses a port shall have. `wanted` None: what such a port gets by itself."""
    if wanted is None:
        return ipam.choose(subnets, device_owner, mac)
    if len(wanted) > svc.conf.max_fixed_ips_per_port:
        raise InvalidInput(error_message=f"a port has at most {svc.conf.max_fixed_ips_per_port} fixed_ips")
    by_id = {s.id: s for s in subnets}
    choices: list[Choice] = []
    router_port = device_owner in states.ROUTER_PORTS
    for item in wanted:
        subnet, address = None, item.get("ip_address")
        if subnet_id := item.get("subnet_id"):
            subnet = by_id.get(subnet_id)
            if subnet is None:
                raise InvalidInput(
                    error_message=f"Failed to create port on network {network.id}, because fixed_ips included invalid "
                    f"subnet {subnet_id}"
                )
        if address is not None:
            try:
                number = ipaddress.ip_address(address)
            except ValueError:
                raise InvalidInput(error_message=f"'{address}' is not a valid IP address") from None
            if subnet is None:
                subnet = next((s for s in subnets if number in s.network), None)
                if subnet is None:
                    raise InvalidIpForNetwork(ip=address)
            _check_usable(subnet, number)
            if subnet.auto_address and not router_port and str(number) != ipam.eui64(subnet.cidr, mac):
                raise InvalidInput(
                    error_message=f"IPv6 address {address} cannot be directly assigned to a port on subnet {subnet.id} "
                    "as the subnet is configured for automatic addresses"
                )
            choices.append(((subnet,), str(number)))
        elif subnet is not None:
            auto = subnet.auto_address and not router_port
            choices.append(((subnet,), ipam.eui64(subnet.cidr, mac) if auto else None))
        else:
            choices.append((tuple(s for s in subnets if s.ip_version == 4) or tuple(subnets), None))
    named = {candidates[0].id for candidates, _ in choices if len(candidates) == 1}
    if not router_port and any("subnet_id" not in item for item in wanted):
        # Hosts make these addresses whether they were asked for or not.
        choices += [((s,), ipam.eui64(s.cidr, mac)) for s in subnets if s.auto_address and s.id not in named]
    exact = [address for _, address in choices if address]
    if len(set(exact)) < len(exact):
        raise InvalidInput(error_message="Duplicate IP address in fixed_ips")
    return choices


def _check_usable(subnet: Subnet, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """An address a host can have in the subnet."""
    network = subnet.network
    ends = (network.network_address, network.broadcast_address)
    plain = network.version == 4 and network.prefixlen < 31
    if address not in network or (plain and address in ends):
        raise InvalidIpForSubnet(ip=str(address))
