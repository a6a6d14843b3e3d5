# SPDX-License-Identifier: Apache-2.0
"""Tables of the database `network`.

Invariants kept by keys: an address is given once in a subnet, a MAC once in a network, a segment once, a rule once in
its group, one default group per project, one floating IP per fixed address.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from aerie_common.db import BigSerial, BigText, DateTime, Id, Json, utcnow
from aerie_common.flow import flow_table
from aerie_common.lease import lease_table
from aerie_common.outbox import outbox_table

METADATA = sa.MetaData()
Address = sa.String(64)
Name = sa.String(255)


def _identity() -> list[sa.Column[Any]]:
    """What every API object with an owner and a name has."""
    return [
        sa.Column("id", Id, primary_key=True),
        sa.Column("project_id", Id, nullable=False),
        sa.Column("name", Name, nullable=False, default=""),
    ]


def _standard(*, description: bool = True) -> list[sa.Column[Any]]:
    """What every API object has."""
    columns: list[sa.Column[Any]] = [
        sa.Column("revision_number", sa.BigInteger, nullable=False, default=0),
        sa.Column("created_at", DateTime, nullable=False, default=utcnow),
        sa.Column("updated_at", DateTime, nullable=False, default=utcnow),
    ]
    if description:
        columns.insert(0, sa.Column("description", Name, nullable=False, default=""))
    return columns


def _flag(name: str, default: bool = False) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean, nullable=False, default=default)


networks = sa.Table(
    "networks",
    METADATA,
    *_identity(),
    _flag("admin_state_up", True),
    sa.Column("status", sa.String(16), nullable=False, default="ACTIVE"),
    sa.Column("mtu", sa.Integer, nullable=False),
    _flag("shared"),
    _flag("external"),
    _flag("is_default"),
    _flag("port_security_enabled", True),
    sa.Column("dns_domain", Name, nullable=False, default=""),
    sa.Column("network_type", sa.String(16), nullable=False),
    sa.Column("physical_network", sa.String(64), nullable=True),
    sa.Column("segmentation_id", sa.Integer, nullable=True),
    sa.Column("availability_zone_hints", Json, nullable=False, default=list),
    *_standard(),
    sa.Index("networks_project_id", "project_id"),
)

# A row per segment in use; the key is what makes an allocation exclusive.
segments = sa.Table(
    "segments",
    METADATA,
    sa.Column("network_type", sa.String(16), primary_key=True),
    sa.Column("physical_network", sa.String(64), primary_key=True),
    sa.Column("segmentation_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("network_id", Id, nullable=False),
    sa.Index("segments_network_id", "network_id"),
)

subnets = sa.Table(
    "subnets",
    METADATA,
    sa.Column("id", Id, primary_key=True),
    sa.Column("project_id", Id, nullable=False),
    sa.Column("network_id", Id, sa.ForeignKey("networks.id"), nullable=False),
    sa.Column("name", Name, nullable=False, default=""),
    sa.Column("ip_version", sa.Integer, nullable=False),
    sa.Column("cidr", Address, nullable=False),
    sa.Column("gateway_ip", Address, nullable=True),
    _flag("enable_dhcp", True),
    sa.Column("ipv6_ra_mode", sa.String(16), nullable=True),
    sa.Column("ipv6_address_mode", sa.String(16), nullable=True),
    sa.Column("dns_nameservers", Json, nullable=False, default=list),
    sa.Column("host_routes", Json, nullable=False, default=list),
    sa.Column("allocation_pools", Json, nullable=False, default=list),
    sa.Column("subnetpool_id", Id, nullable=True),
    sa.Column("service_types", Json, nullable=False, default=list),
    _flag("dns_publish_fixed_ip"),
    *_standard(),
    sa.Index("subnets_network_id", "network_id"),
    sa.Index("subnets_project_id", "project_id"),
    sa.Index("subnets_subnetpool_id", "subnetpool_id"),
)

ports = sa.Table(
    "ports",
    METADATA,
    sa.Column("id", Id, primary_key=True),
    sa.Column("project_id", Id, nullable=False),
    sa.Column("network_id", Id, sa.ForeignKey("networks.id"), nullable=False),
    sa.Column("name", Name, nullable=False, default=""),
    sa.Column("mac_address", sa.String(32), nullable=False),
    _flag("admin_state_up", True),
    sa.Column("status", sa.String(16), nullable=False, default="DOWN"),
    sa.Column("device_id", Name, nullable=False, default=""),
    sa.Column("device_owner", Name, nullable=False, default=""),
    sa.Column("host", Name, nullable=False, default=""),
    sa.Column("vnic_type", sa.String(32), nullable=False, default="normal"),
    sa.Column("vif_type", sa.String(32), nullable=False, default="unbound"),
    sa.Column("profile", Json, nullable=False, default=dict),
    _flag("port_security_enabled", True),
    sa.Column("allowed_address_pairs", Json, nullable=False, default=list),
    sa.Column("extra_dhcp_opts", Json, nullable=False, default=list),
    sa.Column("dns_name", Name, nullable=False, default=""),
    sa.Column("dns_domain", Name, nullable=False, default=""),
    sa.Column("ip_allocation", sa.String(16), nullable=False, default="immediate"),
    *_standard(),
    sa.UniqueConstraint("network_id", "mac_address", name="ports_network_mac"),
    sa.Index("ports_network_host", "network_id", "host", "device_owner"),
    sa.Index("ports_host", "host"),
    sa.Index("ports_project_id", "project_id"),
    sa.Index("ports_device_id", "device_id"),
    sa.Index("ports_mac_address", "mac_address"),
)

ip_allocations = sa.Table(
    "ip_allocations",
    METADATA,
    sa.Column("subnet_id", Id, sa.ForeignKey("subnets.id"), primary_key=True),
    sa.Column("ip_address", Address, primary_key=True),
    sa.Column("port_id", Id, sa.ForeignKey("ports.id", ondelete="CASCADE"), nullable=False),
    sa.Column("network_id", Id, nullable=False),
    sa.Column("position", sa.Integer, nullable=False, default=0),
    sa.Index("ip_allocations_port_id", "port_id"),
    sa.Index("ip_allocations_network_ip", "network_id", "ip_address"),
    sa.Index("ip_allocations_ip_address", "ip_address"),
)

# `host` repeats the port's, so that the hosts of a group are found by one index.
port_security_groups = sa.Table(
    "port_security_groups",
    METADATA,
    sa.Column("port_id", Id, sa.ForeignKey("ports.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("security_group_id", Id, sa.ForeignKey("security_groups.id"), primary_key=True),
    sa.Column("host", Name, nullable=False, default=""),
    sa.Index("port_security_groups_group", "security_group_id", "host"),
)

# One row per party that has to report before the port is ACTIVE, for reports about this or a later revision.
provisioning = sa.Table(
    "provisioning",
    METADATA,
    sa.Column("port_id", Id, sa.ForeignKey("ports.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("party", sa.String(16), primary_key=True),
    sa.Column("revision", sa.BigInteger, nullable=False),
)

security_groups = sa.Table(
    "security_groups",
    METADATA,
    *_identity(),
    _flag("stateful", True),
    *_standard(),
    sa.Index("security_groups_project_id", "project_id"),
)

default_security_groups = sa.Table(
    "default_security_groups",
    METADATA,
    sa.Column("project_id", Id, primary_key=True),
    sa.Column("security_group_id", Id, sa.ForeignKey("security_groups.id", ondelete="CASCADE"), nullable=False),
)

security_group_rules = sa.Table(
    "security_group_rules",
    METADATA,
    sa.Column("id", Id, primary_key=True),
    sa.Column("project_id", Id, nullable=False),
    sa.Column("security_group_id", Id, sa.ForeignKey("security_groups.id", ondelete="CASCADE"), nullable=False),
    sa.Column("direction", sa.String(16), nullable=False),
    sa.Column("ethertype", sa.String(8), nullable=False),
    sa.Column("protocol", sa.String(32), nullable=True),
    sa.Column("port_range_min", sa.Integer, nullable=True),
    sa.Column("port_range_max", sa.Integer, nullable=True),
    sa.Column("remote_group_id", Id, sa.ForeignKey("security_groups.id", ondelete="CASCADE"), nullable=True),
    sa.Column("remote_address_group_id", Id, sa.ForeignKey("address_groups.id"), nullable=True),
    sa.Column("remote_ip_prefix", Address, nullable=True),
    sa.Column("normalized_cidr", Address, nullable=True),
    # All that tells two rules apart, as one text, for the key below.
    sa.Column("digest", sa.String(255), nullable=False),
    *_standard(),
    sa.UniqueConstraint("security_group_id", "digest", name="security_group_rules_once"),
    sa.Index("security_group_rules_remote_group", "remote_group_id"),
    sa.Index("security_group_rules_remote_address_group", "remote_address_group_id"),
    sa.Index("security_group_rules_project_id", "project_id"),
)

# What every new group's rules are made of; the table starts with the two egress rules and the default group's ingress.
default_security_group_rules = sa.Table(
    "default_security_group_rules",
    METADATA,
    sa.Column("id", Id, primary_key=True),
    sa.Column("direction", sa.String(16), nullable=False),
    sa.Column("ethertype", sa.String(8), nullable=False),
    sa.Column("protocol", sa.String(32), nullable=True),
    sa.Column("port_range_min", sa.Integer, nullable=True),
    sa.Column("port_range_max", sa.Integer, nullable=True),
    sa.Column("remote_group_id", Id, nullable=True),  # "PARENT": the group the rule is made for
    sa.Column("remote_address_group_id", Id, nullable=True),
    sa.Column("remote_ip_prefix", Address, nullable=True),
    _flag("used_in_default_sg"),
    _flag("used_in_non_default_sg", True),
    *_standard(),
)

address_groups = sa.Table(
    "address_groups",
    METADATA,
    *_identity(),
    _flag("shared"),
    sa.Column("addresses", Json, nullable=False, default=list),
    *_standard(),
    sa.Index("address_groups_project_id", "project_id"),
)

routers = sa.Table(
    "routers",
    METADATA,
    *_identity(),
    _flag("admin_state_up", True),
    sa.Column("status", sa.String(16), nullable=False, default="ACTIVE"),
    sa.Column("gw_network_id", Id, sa.ForeignKey("networks.id"), nullable=True),
    sa.Column("gw_port_id", Id, nullable=True),
    _flag("enable_snat", True),
    sa.Column("host", Name, nullable=False, default=""),
    sa.Column("routes", Json, nullable=False, default=list),
    sa.Column("availability_zone_hints", Json, nullable=False, default=list),
    *_standard(),
    sa.Index("routers_project_id", "project_id"),
    sa.Index("routers_host", "host"),
    sa.Index("routers_gw_network_id", "gw_network_id"),
)

floatingips = sa.Table(
    "floatingips",
    METADATA,
    sa.Column("id", Id, primary_key=True),
    sa.Column("project_id", Id, nullable=False),
    sa.Column("floating_network_id", Id, sa.ForeignKey("networks.id"), nullable=False),
    sa.Column("floating_ip_address", Address, nullable=False),
    sa.Column("floating_port_id", Id, sa.ForeignKey("ports.id"), nullable=False),
    sa.Column("port_id", Id, sa.ForeignKey("ports.id"), nullable=True),
    sa.Column("fixed_ip_address", Address, nullable=True),
    sa.Column("router_id", Id, sa.ForeignKey("routers.id"), nullable=True),
    sa.Column("status", sa.String(16), nullable=False, default="DOWN"),
    sa.Column("dns_name", Name, nullable=False, default=""),
    sa.Column("dns_domain", Name, nullable=False, default=""),
    *_standard(),
    sa.UniqueConstraint("floating_network_id", "port_id", "fixed_ip_address", name="floatingips_once_per_fixed_ip"),
    sa.Index("floatingips_project_id", "project_id"),
    sa.Index("floatingips_floating_ip_address", "floating_ip_address"),
)

# A port of a floating IP that leads to a port of a fixed address.
port_forwardings = sa.Table(
    "port_forwardings",
    METADATA,
    sa.Column("id", Id, primary_key=True),
    sa.Column("floatingip_id", Id, sa.ForeignKey("floatingips.id", ondelete="CASCADE"), nullable=False),
    sa.Column("internal_port_id", Id, sa.ForeignKey("ports.id", ondelete="CASCADE"), nullable=False),
    sa.Column("internal_ip_address", Address, nullable=False),
    sa.Column("protocol", sa.String(8), nullable=False),
    sa.Column("internal_port", sa.Integer, nullable=False),
    sa.Column("external_port", sa.Integer, nullable=False),
    *_standard(),
    sa.UniqueConstraint("floatingip_id", "protocol", "external_port", name="port_forwardings_once_outside"),
    sa.UniqueConstraint(
        "floatingip_id", "protocol", "internal_port_id", "internal_ip_address", "internal_port",
        name="port_forwardings_once_inside",
    ),
    sa.Index("port_forwardings_internal_port_id", "internal_port_id"),
)  # fmt: skip

subnetpools = sa.Table(
    "subnetpools",
    METADATA,
    *_identity(),
    sa.Column("ip_version", sa.Integer, nullable=False),
    sa.Column("prefixes", Json, nullable=False, default=list),
    sa.Column("default_prefixlen", sa.Integer, nullable=False),
    sa.Column("min_prefixlen", sa.Integer, nullable=False),
    sa.Column("max_prefixlen", sa.Integer, nullable=False),
    sa.Column("default_quota", sa.Integer, nullable=True),
    sa.Column("address_scope_id", Id, sa.ForeignKey("address_scopes.id"), nullable=True),
    _flag("shared"),
    _flag("is_default"),
    *_standard(),
    sa.Index("subnetpools_project_id", "project_id"),
)

address_scopes = sa.Table(
    "address_scopes",
    METADATA,
    *_identity(),
    sa.Column("ip_version", sa.Integer, nullable=False),
    _flag("shared"),
    *_standard(description=False),
    sa.Index("address_scopes_project_id", "project_id"),
)

# Grants. Those to everybody ("*") stand in the object's own flags too: `shared`; `external` with any grant.
rbac_policies = sa.Table(
    "rbac_policies",
    METADATA,
    sa.Column("id", Id, primary_key=True),
    sa.Column("project_id", Id, nullable=False),
    sa.Column("object_type", sa.String(32), nullable=False),
    sa.Column("object_id", Id, nullable=False),
    sa.Column("action", sa.String(32), nullable=False),
    sa.Column("target_tenant", Id, nullable=False),
    sa.UniqueConstraint("object_type", "object_id", "action", "target_tenant", name="rbac_policies_once"),
    sa.Index("rbac_policies_target", "target_tenant", "object_type", "action"),
)

agents = sa.Table(
    "agents",
    METADATA,
    sa.Column("id", Id, primary_key=True),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("binary", Name, nullable=False),
    sa.Column("agent_type", Name, nullable=False),
    sa.Column("host", Name, nullable=False),
    sa.Column("availability_zone", Name, nullable=True),
    _flag("admin_state_up", True),
    sa.Column("configurations", Json, nullable=False, default=dict),
    sa.Column("tunnel_ip", Address, nullable=False, default=""),
    sa.Column("description", Name, nullable=True),
    sa.Column("created_at", DateTime, nullable=False, default=utcnow),
    sa.Column("started_at", DateTime, nullable=False),
    sa.Column("heartbeat_at", DateTime, nullable=False),
    sa.UniqueConstraint("host", "role", name="agents_once"),
)

quotas = sa.Table(
    "quotas",
    METADATA,
    sa.Column("project_id", Id, primary_key=True),
    sa.Column("resource", sa.String(64), primary_key=True),
    sa.Column("limit", sa.Integer, nullable=False),
)

quota_usages = sa.Table(
    "quota_usages",
    METADATA,
    sa.Column("project_id", Id, primary_key=True),
    sa.Column("resource", sa.String(64), primary_key=True),
    sa.Column("used", sa.Integer, nullable=False),
)

tags = sa.Table(
    "tags",
    METADATA,
    sa.Column("resource_id", Id, primary_key=True),
    sa.Column("tag", Name, primary_key=True),
)

# How often a host's desired state has changed, and what changed at each revision (for deltas; pruned).
host_states = sa.Table(
    "host_states",
    METADATA,
    sa.Column("host", Name, primary_key=True),
    sa.Column("revision", sa.BigInteger, nullable=False),
)

host_changes = sa.Table(
    "host_changes",
    METADATA,
    sa.Column("id", BigSerial, primary_key=True),
    sa.Column("host", Name, nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("section", sa.String(16), nullable=False),
    sa.Column("item_id", Id, nullable=False),
    sa.Index("host_changes_host_revision", "host", "revision"),
)

# What compute has yet to be told about the ports of its servers.
compute_events = sa.Table(
    "compute_events",
    METADATA,
    sa.Column("id", BigSerial, primary_key=True),
    sa.Column("name", sa.String(64), nullable=False),
    sa.Column("server_id", Id, nullable=False),
    sa.Column("tag", Id, nullable=True),
    sa.Column("status", sa.String(16), nullable=False, default="completed"),
    sa.Column("request_id", sa.String(64), nullable=True),
    sa.Column("created_at", DateTime, nullable=False, default=utcnow),
    sa.Column("due_at", DateTime, nullable=False, default=utcnow),
    sa.Column("reason", BigText, nullable=True),
    sa.Index("compute_events_due_at", "due_at"),
)

flow_table(METADATA)
lease_table(METADATA)
outbox_table(METADATA)
