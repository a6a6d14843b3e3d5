# SPDX-License-Identifier: Apache-2.0
"""Options of the network service, under the names Neutron's operators know. The agent's own are with the agent."""

from __future__ import annotations

from oslo_config import cfg

OPTS: list[cfg.Opt] = [
    cfg.StrOpt("base_mac", default="fa:16:3e:00:00:00", help="First three octets of generated MAC addresses."),
    cfg.StrOpt(
        "dns_domain", default="openstacklocal.", help="Domain of ports' names inside networks without their own."
    ),
    cfg.IntOpt(
        "global_physnet_mtu", default=1500, min=576, help="MTU of the physical network that carries everything."
    ),
    cfg.IntOpt(
        "agent_down_time", default=75, min=5, help="Seconds without a heartbeat after which an agent counts as dead."
    ),
    cfg.IntOpt("dhcp_agents_per_network", default=1, min=1, help="How many hosts serve DHCP for a network."),
    cfg.IntOpt("dhcp_lease_duration", default=86400, help="Seconds a guest may keep its address without asking again."),
    cfg.IntOpt("max_dns_nameservers", default=5, help="Name servers a subnet may have."),
    cfg.IntOpt("max_subnet_host_routes", default=20, help="Host routes a subnet may have."),
    cfg.IntOpt("max_routes", default=30, help="Extra routes a router may have."),
    cfg.IntOpt("max_fixed_ips_per_port", default=5, help="Addresses a port may have."),
    cfg.IntOpt("max_allowed_address_pair", default=10, help="Allowed address pairs a port may have."),
    cfg.BoolOpt("notify_nova_on_port_status_changes", default=True, help="Tell compute when its ports are wired."),
]

ML2_OPTS: list[cfg.Opt] = [
    cfg.ListOpt(
        "tenant_network_types",
        default=["vxlan"],
        help="Types tried in order for networks of users: vxlan, vlan, local.",
    ),
    cfg.ListOpt("vni_ranges", default=["1:65535"], help="VXLAN network identifiers for users' networks, FIRST:LAST."),
    cfg.ListOpt(
        "network_vlan_ranges", default=[], help="PHYSICAL_NETWORK:FIRST:LAST for users' networks of type vlan."
    ),
    cfg.ListOpt("flat_networks", default=["*"], help="Physical networks that may carry flat networks; * means any."),
]

_DEFAULTS = {
    "network": 100, "subnet": 100, "port": 500, "router": 10, "floatingip": 50, "security_group": 10,
    "security_group_rule": 100, "rbac_policy": 10, "subnetpool": -1, "trunk": -1,
}  # fmt: skip
QUOTAS = tuple(_DEFAULTS)
QUOTA_OPTS: list[cfg.Opt] = [
    cfg.IntOpt(f"quota_{name}", default=value, help=f"How many of '{name}' a project may have; -1: no limit.")
    for name, value in _DEFAULTS.items()
]

NOVA_OPTS: list[cfg.Opt] = [
    cfg.IntOpt("batch", default=100, min=1, help="Events sent to compute in one call at most."),
    cfg.IntOpt("keep_seconds", default=3600, help="How long an event that compute does not take is offered again."),
]

OPTIONS: tuple[tuple[str | None, list[cfg.Opt]], ...] = (
    (None, OPTS),
    ("ml2", ML2_OPTS),
    ("quotas", QUOTA_OPTS),
    ("nova", NOVA_OPTS),
)
