# SPDX-License-Identifier: Apache-2.0
"""Tables of the compute service's two databases.

`API` holds what is true of the whole cloud (flavors, key pairs, aggregates, limits, groups, who has promised what to
whom); `CELL` holds servers, what happened to them, the hosts and the work under way. Invariant: no statement touches
both, so that there may be several cells one day. What a project uses is counted in CELL, next to the servers.
"""

from __future__ import annotations

import sqlalchemy as sa

from aerie_common import flow, lease, outbox
from aerie_common.db import BigSerial, BigText, DateTime, Id, Json, timestamps

API = sa.MetaData()
CELL = sa.MetaData()

FLAVORS = sa.Table(
    "flavors", API,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("flavorid", sa.String(255), nullable=False),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("memory_mb", sa.Integer, nullable=False),
    sa.Column("vcpus", sa.Integer, nullable=False),
    sa.Column("root_gb", sa.Integer, nullable=False),
    sa.Column("ephemeral_gb", sa.Integer, nullable=False, default=0),
    sa.Column("swap", sa.Integer, nullable=False, default=0),
    sa.Column("rxtx_factor", sa.Float, nullable=False, default=1.0),
    sa.Column("disabled", sa.Boolean, nullable=False, default=False),
    sa.Column("is_public", sa.Boolean, nullable=False, default=True),
    sa.Column("description", BigText, nullable=True),
    sa.Column("extra_specs", Json, nullable=False),
    *timestamps(),
    sa.UniqueConstraint("flavorid", name="flavors_flavorid"),
    sa.UniqueConstraint("name", name="flavors_name"),
)  # fmt: skip

FLAVOR_PROJECTS = sa.Table(
    "flavor_projects", API,
    sa.Column("flavor_id", sa.Integer, sa.ForeignKey("flavors.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("project_id", sa.String(255), primary_key=True),
)  # fmt: skip

KEYPAIRS = sa.Table(
    "key_pairs", API,
    sa.Column("id", BigSerial, primary_key=True, autoincrement=True),
    sa.Column("user_id", Id, nullable=False),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("type", sa.String(8), nullable=False),
    sa.Column("public_key", BigText, nullable=False),
    sa.Column("fingerprint", sa.String(255), nullable=False),
    *timestamps(),
    sa.UniqueConstraint("user_id", "name", name="key_pairs_user_id_name"),
)  # fmt: skip

AGGREGATES = sa.Table(
    "aggregates", API,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("uuid", Id, nullable=False, unique=True),
    sa.Column("name", sa.String(255), nullable=False, unique=True),
    sa.Column("metadata", Json, nullable=False),
    *timestamps(),
)  # fmt: skip

AGGREGATE_HOSTS = sa.Table(
    "aggregate_hosts", API,
    sa.Column("aggregate_id", sa.Integer, sa.ForeignKey("aggregates.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("host", sa.String(255), primary_key=True),
)  # fmt: skip

QUOTAS = sa.Table(
    "quotas", API,
    sa.Column("project_id", sa.String(255), primary_key=True),
    sa.Column("resource", sa.String(64), primary_key=True),
    sa.Column("hard_limit", sa.Integer, nullable=False),
)  # fmt: skip

QUOTA_CLASSES = sa.Table(
    "quota_classes", API,
    sa.Column("class_name", sa.String(255), primary_key=True),
    sa.Column("resource", sa.String(64), primary_key=True),
    sa.Column("hard_limit", sa.Integer, nullable=False),
)  # fmt: skip

SERVER_GROUPS = sa.Table(
    "instance_groups", API,
    sa.Column("id", Id, primary_key=True),
    sa.Column("project_id", sa.String(255), nullable=False),
    sa.Column("user_id", Id, nullable=False),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("policy", sa.String(32), nullable=False),
    sa.Column("rules", Json, nullable=False),
    *timestamps(),
    sa.Index("instance_groups_project_id", "project_id"),
)  # fmt: skip

SERVER_GROUP_MEMBERS = sa.Table(
    "instance_group_members", API,
    sa.Column("group_id", Id, sa.ForeignKey("instance_groups.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("server_id", Id, primary_key=True),
    sa.Index("instance_group_members_server_id", "server_id"),
)  # fmt: skip

REQUEST_SPECS = sa.Table(
    "request_specs", API,
    sa.Column("server_id", Id, primary_key=True),
    sa.Column("request", Json, nullable=False),
    sa.Column("explanation", Json, nullable=False),
    sa.Column("host", sa.String(255), nullable=True),
    *timestamps(),
)  # fmt: skip
"""What the scheduler was asked for each server, and why it chose or refused as it did."""

PROVIDERS = sa.Table(
    "resource_providers", API,
    sa.Column("id", Id, primary_key=True),
    sa.Column("name", sa.String(200), nullable=False, unique=True),
    sa.Column("generation", sa.Integer, nullable=False, default=0),
    sa.Column("root_id", Id, nullable=False),
    sa.Column("parent_id", Id, nullable=True),
    *timestamps(),
    sa.Index("resource_providers_root_id", "root_id"),
    sa.Index("resource_providers_parent_id", "parent_id"),
)  # fmt: skip

INVENTORIES = sa.Table(
    "inventories", API,
    sa.Column("provider_id", Id, sa.ForeignKey("resource_providers.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("resource_class", sa.String(255), primary_key=True),
    sa.Column("total", sa.Integer, nullable=False),
    sa.Column("reserved", sa.Integer, nullable=False, default=0),
    sa.Column("min_unit", sa.Integer, nullable=False, default=1),
    sa.Column("max_unit", sa.Integer, nullable=False, default=2147483647),
    sa.Column("step_size", sa.Integer, nullable=False, default=1),
    sa.Column("allocation_ratio", sa.Float, nullable=False, default=1.0),
    # What can be promised in all, and how much of it is: a claim is one UPDATE that compares the two.
    sa.Column("capacity", sa.BigInteger, nullable=False),
    sa.Column("used", sa.BigInteger, nullable=False, default=0),
)  # fmt: skip

ALLOCATIONS = sa.Table(
    "allocations", API,
    sa.Column("consumer_id", Id, sa.ForeignKey("consumers.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("provider_id", Id, sa.ForeignKey("resource_providers.id"), primary_key=True),
    sa.Column("resource_class", sa.String(255), primary_key=True),
    sa.Column("used", sa.Integer, nullable=False),
    *timestamps(),
    sa.Index("allocations_provider_id", "provider_id"),
)  # fmt: skip

CONSUMERS = sa.Table(
    "consumers", API,
    sa.Column("id", Id, primary_key=True),
    sa.Column("project_id", sa.String(255), nullable=False),
    sa.Column("user_id", sa.String(255), nullable=False),
    sa.Column("type", sa.String(255), nullable=False, default="INSTANCE"),
    sa.Column("generation", sa.Integer, nullable=False, default=0),
    *timestamps(),
    sa.Index("consumers_project_id", "project_id"),
)  # fmt: skip

PROVIDER_AGGREGATES = sa.Table(
    "resource_provider_aggregates", API,
    sa.Column("provider_id", Id, sa.ForeignKey("resource_providers.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("aggregate_id", Id, primary_key=True),
)  # fmt: skip

TRAITS = sa.Table("traits", API, sa.Column("name", sa.String(255), primary_key=True), *timestamps())
"""Traits somebody named CUSTOM_...; the standard ones are constants."""

PROVIDER_TRAITS = sa.Table(
    "resource_provider_traits", API,
    sa.Column("provider_id", Id, sa.ForeignKey("resource_providers.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("trait", sa.String(255), primary_key=True),
)  # fmt: skip

RESOURCE_CLASSES = sa.Table("resource_classes", API, sa.Column("name", sa.String(255), primary_key=True), *timestamps())
"""Resource classes somebody named CUSTOM_...; the standard ones are constants."""

# -------------------------------------------------------------------------------------------------------------- CELL

SERVERS = sa.Table(
    "instances", CELL,
    sa.Column("id", Id, primary_key=True),
    sa.Column("project_id", sa.String(255), nullable=False),
    sa.Column("user_id", Id, nullable=False),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("hostname", sa.String(255), nullable=False),
    sa.Column("vm_state", sa.String(32), nullable=False),
    sa.Column("task_state", sa.String(32), nullable=True),
    sa.Column("power_state", sa.Integer, nullable=False, default=0),
    sa.Column("host", sa.String(255), nullable=True),
    sa.Column("node", sa.String(255), nullable=True),
    sa.Column("availability_zone", sa.String(255), nullable=True),
    sa.Column("flavor_id", sa.String(255), nullable=False),
    sa.Column("image_id", sa.String(64), nullable=True),
    sa.Column("reservation_id", sa.String(64), nullable=False),
    sa.Column("launch_index", sa.Integer, nullable=False, default=0),
    sa.Column("locked_by", sa.String(16), nullable=True),
    sa.Column("launched_at", DateTime, nullable=True),
    sa.Column("terminated_at", DateTime, nullable=True),
    # Deleted servers stay, for usage reports and for lists of changes.
    sa.Column("deleted", sa.Boolean, nullable=False, default=False),
    # What was asked for and does not change by itself: flavor, image, key, zone wish, ... (`db.servers.Spec`).
    sa.Column("spec", Json, nullable=False),
    sa.Column("metadata", Json, nullable=False),
    sa.Column("tags", Json, nullable=False),
    # What the network service said last about the server's ports; `network_stale` says it is to be asked again.
    sa.Column("network_info", Json, nullable=False),
    sa.Column("network_stale", sa.Boolean, nullable=False, default=False),
    sa.Column("fault", Json, nullable=True),
    sa.Column("generation", sa.Integer, nullable=False, default=0),
    *timestamps(),
    sa.Index("instances_project_id", "project_id", "deleted", "created_at", "id"),
    sa.Index("instances_deleted", "deleted", "created_at", "id"),
    sa.Index("instances_host", "host", "deleted"),
    sa.Index("instances_updated_at", "updated_at"),
    sa.Index("instances_network_stale", "network_stale"),
)  # fmt: skip

USER_DATA = sa.Table(
    "instance_user_data", CELL,
    sa.Column("server_id", Id, primary_key=True),
    sa.Column("user_data", BigText, nullable=False),
)  # fmt: skip
"""User data is up to 64 KiB of base64: kept beside the servers, so that lists do not carry it."""

USAGE = sa.Table(
    "project_usage", CELL,
    sa.Column("project_id", sa.String(255), primary_key=True),
    sa.Column("instances", sa.Integer, nullable=False, default=0),
    sa.Column("cores", sa.Integer, nullable=False, default=0),
    sa.Column("ram", sa.Integer, nullable=False, default=0),
)  # fmt: skip

ACTIONS = sa.Table(
    "instance_actions", CELL,
    sa.Column("id", BigSerial, primary_key=True, autoincrement=True),
    sa.Column("server_id", Id, nullable=False),
    sa.Column("action", sa.String(64), nullable=False),
    sa.Column("request_id", sa.String(64), nullable=False),
    sa.Column("user_id", sa.String(64), nullable=True),
    sa.Column("project_id", sa.String(255), nullable=True),
    sa.Column("start_time", DateTime, nullable=False),
    sa.Column("updated_at", DateTime, nullable=False),
    sa.Column("message", sa.String(255), nullable=True),
    sa.Index("instance_actions_server_id", "server_id", "request_id"),
)  # fmt: skip

EVENTS = sa.Table(
    "instance_actions_events", CELL,
    sa.Column("id", BigSerial, primary_key=True, autoincrement=True),
    sa.Column("server_id", Id, nullable=False),
    sa.Column("request_id", sa.String(64), nullable=False),
    sa.Column("event", sa.String(64), nullable=False),
    sa.Column("start_time", DateTime, nullable=False),
    sa.Column("finish_time", DateTime, nullable=True),
    sa.Column("result", sa.String(16), nullable=True),
    sa.Column("details", sa.String(1024), nullable=True),
    sa.Column("internal", BigText, nullable=True),
    sa.Column("host", sa.String(255), nullable=True),
    sa.Index("instance_actions_events_server_id", "server_id", "request_id"),
)  # fmt: skip

EXTERNAL_EVENTS = sa.Table(
    "external_events", CELL,
    sa.Column("server_id", Id, primary_key=True),
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("tag", sa.String(64), primary_key=True),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("created_at", DateTime, nullable=False),
)  # fmt: skip
"""What other services reported about a server (network-vif-plugged of a port) and nobody has used up yet."""

AGENT_REPORTS = sa.Table(
    "agent_reports", CELL,
    sa.Column("op_id", sa.String(128), primary_key=True),
    sa.Column("server_id", Id, nullable=False),
    sa.Column("outcome", sa.String(16), nullable=False),
    sa.Column("power_state", sa.String(16), nullable=True),
    sa.Column("fault", Json, nullable=True),
    sa.Column("result", Json, nullable=False),
    sa.Column("created_at", DateTime, nullable=False),
    sa.Index("agent_reports_created_at", "created_at"),
)  # fmt: skip
"""How operations of agents ended, until the flow that asked has read it."""

SERVICES = sa.Table(
    "services", CELL,
    sa.Column("id", Id, primary_key=True),
    sa.Column("host", sa.String(255), nullable=False),
    sa.Column("binary", sa.String(64), nullable=False),
    sa.Column("disabled", sa.Boolean, nullable=False, default=False),
    sa.Column("disabled_reason", sa.String(255), nullable=True),
    sa.Column("forced_down", sa.Boolean, nullable=False, default=False),
    sa.Column("last_seen_up", DateTime, nullable=True),
    sa.Column("version", sa.String(64), nullable=False, default=""),
    *timestamps(),
    sa.UniqueConstraint("host", "binary", name="services_host_binary"),
)  # fmt: skip

NODES = sa.Table(
    "compute_nodes", CELL,
    sa.Column("id", Id, primary_key=True),
    sa.Column("host", sa.String(255), nullable=False, unique=True),
    sa.Column("hypervisor_hostname", sa.String(255), nullable=False),
    sa.Column("hypervisor_type", sa.String(64), nullable=False),
    sa.Column("hypervisor_version", sa.Integer, nullable=False),
    sa.Column("host_ip", sa.String(64), nullable=False, default=""),
    sa.Column("vcpus", sa.Integer, nullable=False),
    sa.Column("memory_mb", sa.Integer, nullable=False),
    sa.Column("disk_gb", sa.Integer, nullable=False),
    sa.Column("disk_available_least_gb", sa.Integer, nullable=False),
    sa.Column("resources", Json, nullable=False),
    sa.Column("boot_id", sa.String(64), nullable=False, default=""),
    *timestamps(),
)  # fmt: skip

CONSOLE_TOKENS = sa.Table(
    "console_auth_tokens", CELL,
    sa.Column("token_hash", sa.String(64), primary_key=True),
    sa.Column("server_id", Id, nullable=False),
    sa.Column("host", sa.String(255), nullable=False),
    sa.Column("protocol", sa.String(16), nullable=False),
    sa.Column("type", sa.String(16), nullable=False),
    sa.Column("expires_at", DateTime, nullable=False),
    sa.Index("console_auth_tokens_expires_at", "expires_at"),
    sa.Index("console_auth_tokens_server_id", "server_id"),
)  # fmt: skip

MIGRATIONS = sa.Table(
    "migrations", CELL,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("uuid", Id, nullable=False, unique=True),
    sa.Column("server_id", Id, nullable=False),
    sa.Column("project_id", sa.String(255), nullable=False),
    sa.Column("user_id", Id, nullable=False),
    sa.Column("type", sa.String(16), nullable=False),
    sa.Column("status", sa.String(32), nullable=False),
    sa.Column("source_host", sa.String(255), nullable=True),
    sa.Column("dest_host", sa.String(255), nullable=True),
    sa.Column("old_flavor", Json, nullable=True),
    sa.Column("new_flavor", Json, nullable=True),
    *timestamps(),
    sa.Index("migrations_server_id", "server_id"),
)  # fmt: skip

FLOWS = flow.flow_table(CELL)
LEASES = lease.lease_table(CELL)
OUTBOX = outbox.outbox_table(CELL)
