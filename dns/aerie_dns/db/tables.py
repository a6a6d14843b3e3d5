# SPDX-License-Identifier: Apache-2.0
"""Tables of the database `dns`.

`zones.serial` counts every change of a zone; a record set remembers the serial of its last change. What the name
servers were seen to serve (`served_serial`) tells which changes are done.
"""

import sqlalchemy as sa

from aerie_common.db import BigText, DateTime, Id, Json, timestamps
from aerie_common.flow import flow_table
from aerie_common.lease import lease_table
from aerie_common.outbox import seen_events_table

METADATA = sa.MetaData()
FLOWS = flow_table(METADATA)
LEASES = lease_table(METADATA)

ZONES = sa.Table(
    "zones",
    METADATA,
    sa.Column("id", Id, primary_key=True),
    sa.Column("project_id", Id, nullable=False),
    sa.Column("pool_id", Id, nullable=False),
    sa.Column("name", sa.String(255), nullable=False, unique=True),
    # The name backwards: zones below another are found by a prefix.
    sa.Column("reverse_name", sa.String(255), nullable=False, index=True),
    sa.Column("type", sa.String(16), nullable=False),
    sa.Column("email", sa.String(255), nullable=False),
    sa.Column("description", sa.String(160), nullable=True),
    sa.Column("ttl", sa.Integer, nullable=False),
    sa.Column("refresh", sa.Integer, nullable=False),
    sa.Column("retry", sa.Integer, nullable=False),
    sa.Column("expire", sa.Integer, nullable=False),
    sa.Column("minimum", sa.Integer, nullable=False),
    sa.Column("serial", sa.BigInteger, nullable=False),
    sa.Column("served_serial", sa.BigInteger, nullable=True),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("action", sa.String(16), nullable=False),
    sa.Column("attributes", Json, nullable=False),
    sa.Column("masters", Json, nullable=False),
    sa.Column("parent_zone_id", Id, nullable=True),
    # Record sets and records that users made; quotas are claimed on them.
    sa.Column("recordset_count", sa.Integer, nullable=False, default=0),
    sa.Column("record_count", sa.Integer, nullable=False, default=0),
    sa.Column("version", sa.Integer, nullable=False, default=1),
    sa.Column("fault", BigText, nullable=True),
    sa.Column("transferred_at", DateTime, nullable=True),
    # SECONDARY: when the primary server is asked again; set to the past to ask at once.
    sa.Column("transfer_due_at", DateTime, nullable=True),
    *timestamps(),
    sa.Index("zones_project_id", "project_id", "created_at"),
    sa.Index("zones_status", "status"),
    sa.Index("zones_pool_id", "pool_id"),
)

RECORDSETS = sa.Table(
    "recordsets",
    METADATA,
    sa.Column("id", Id, primary_key=True),
    sa.Column("zone_id", Id, sa.ForeignKey("zones.id", ondelete="CASCADE"), nullable=False),
    sa.Column("project_id", Id, nullable=False),
    sa.Column("name", sa.String(255), nullable=False, index=True),
    sa.Column("type", sa.String(16), nullable=False),
    sa.Column("ttl", sa.Integer, nullable=True),
    sa.Column("description", sa.String(160), nullable=True),
    sa.Column("records", Json, nullable=False),
    sa.Column("managed", sa.Boolean, nullable=False, default=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("action", sa.String(16), nullable=False),
    sa.Column("serial", sa.BigInteger, nullable=False),
    sa.Column("version", sa.Integer, nullable=False, default=1),
    *timestamps(),
    sa.UniqueConstraint("zone_id", "name", "type", name="recordsets_zone_name_type"),
    sa.Index("recordsets_zone_status", "zone_id", "status"),
    sa.Index("recordsets_project_id", "project_id", "created_at"),
)

# What a server, port or floating IP is called. The record set at that name is made of all rows for it.
MANAGED = sa.Table(
    "managed_records",
    METADATA,
    sa.Column("id", Id, primary_key=True),
    sa.Column("zone_id", Id, sa.ForeignKey("zones.id", ondelete="CASCADE"), nullable=False),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("type", sa.String(16), nullable=False),
    sa.Column("data", sa.String(255), nullable=False),
    sa.Column("ttl", sa.Integer, nullable=True),
    sa.Column("source", sa.String(16), nullable=False),  # server, port, floatingip, user (a PTR somebody set)
    sa.Column("source_id", Id, nullable=False),
    sa.Column("project_id", Id, nullable=False),
    sa.Column("description", sa.String(160), nullable=True),
    *timestamps(),
    sa.Index("managed_records_source", "source", "source_id"),
    sa.Index("managed_records_name", "zone_id", "name", "type"),
)

SEEN_EVENTS = seen_events_table(METADATA)

# Zones a project has, so that the quota is claimed by one conditional statement.
USAGES = sa.Table(
    "usages",
    METADATA,
    sa.Column("project_id", Id, primary_key=True),
    sa.Column("zones", sa.Integer, nullable=False),
)

QUOTAS = sa.Table(
    "quotas",
    METADATA,
    sa.Column("project_id", Id, primary_key=True),
    sa.Column("resource", sa.String(32), primary_key=True),
    sa.Column("hard_limit", sa.Integer, nullable=False),
)

SHARES = sa.Table(
    "zone_shares",
    METADATA,
    sa.Column("id", Id, primary_key=True),
    sa.Column("zone_id", Id, sa.ForeignKey("zones.id", ondelete="CASCADE"), nullable=False),
    sa.Column("project_id", Id, nullable=False),
    sa.Column("target_project_id", Id, nullable=False, index=True),
    *timestamps(),
    sa.UniqueConstraint("zone_id", "target_project_id", name="zone_shares_zone_target"),
)

TRANSFER_REQUESTS = sa.Table(
    "transfer_requests",
    METADATA,
    sa.Column("id", Id, primary_key=True),
    sa.Column("zone_id", Id, sa.ForeignKey("zones.id", ondelete="CASCADE"), nullable=False),
    sa.Column("project_id", Id, nullable=False, index=True),
    sa.Column("target_project_id", Id, nullable=True, index=True),
    sa.Column("key", sa.String(64), nullable=False),
    sa.Column("description", sa.String(160), nullable=True),
    sa.Column("status", sa.String(16), nullable=False),
    # The zone's id while the request is open, so that there is one at a time.
    sa.Column("open_zone_id", Id, nullable=True, unique=True),
    *timestamps(),
)

TRANSFER_ACCEPTS = sa.Table(
    "transfer_accepts",
    METADATA,
    sa.Column("id", Id, primary_key=True),
    sa.Column("zone_transfer_request_id", Id, nullable=False),
    sa.Column("zone_id", Id, nullable=False),
    sa.Column("project_id", Id, nullable=False, index=True),
    sa.Column("key", sa.String(64), nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    *timestamps(),
)

TSIGKEYS = sa.Table(
    "tsigkeys",
    METADATA,
    sa.Column("id", Id, primary_key=True),
    sa.Column("name", sa.String(160), nullable=False, unique=True),
    sa.Column("algorithm", sa.String(32), nullable=False),
    sa.Column("secret", sa.String(255), nullable=False),
    sa.Column("scope", sa.String(16), nullable=False),
    sa.Column("resource_id", Id, nullable=False),
    *timestamps(),
)

TLDS = sa.Table(
    "tlds",
    METADATA,
    sa.Column("id", Id, primary_key=True),
    sa.Column("name", sa.String(255), nullable=False, unique=True),
    sa.Column("description", sa.String(160), nullable=True),
    *timestamps(),
)

BLACKLISTS = sa.Table(
    "blacklists",
    METADATA,
    sa.Column("id", Id, primary_key=True),
    sa.Column("pattern", sa.String(255), nullable=False, unique=True),
    sa.Column("description", sa.String(160), nullable=True),
    *timestamps(),
)

# Imports and exports of zone files.
TASKS = sa.Table(
    "zone_tasks",
    METADATA,
    sa.Column("id", Id, primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("project_id", Id, nullable=False, index=True),
    sa.Column("zone_id", Id, nullable=True),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("message", sa.String(160), nullable=True),
    sa.Column("location", sa.String(255), nullable=True),
    sa.Column("version", sa.Integer, nullable=False, default=1),
    *timestamps(),
)

SERVICES = sa.Table(
    "service_statuses",
    METADATA,
    sa.Column("id", Id, primary_key=True),
    sa.Column("hostname", sa.String(255), nullable=False),
    sa.Column("service_name", sa.String(64), nullable=False),
    sa.Column("stats", Json, nullable=False),
    sa.Column("capabilities", Json, nullable=False),
    sa.Column("heartbeated_at", DateTime, nullable=False),
    *timestamps(),
    sa.UniqueConstraint("hostname", "service_name", name="service_statuses_host_name"),
)

# The serial of each pool's catalog zone: raised whenever a zone joins or leaves the pool.
CATALOGS = sa.Table(
    "catalogs",
    METADATA,
    sa.Column("pool_id", Id, primary_key=True),
    sa.Column("serial", sa.BigInteger, nullable=False),
)
