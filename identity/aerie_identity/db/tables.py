# SPDX-License-Identifier: Apache-2.0
"""The tables of the database `identity`.

A domain is a row of `projects` with `is_domain`, whose id is the domain's id and whose own `domain_id` is "" (ROOT);
a role that belongs to no domain has `domain_id` "" too, so that names are unique by (domain_id, name) everywhere.
`projects.path` is "/<domain>/<parent>/.../<id>/": never changes, and makes "everything below" one prefix search.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from aerie_common.db import BigSerial, BigText, DateTime, Id, Json, utcnow
from aerie_common.lease import lease_table

ROOT = ""

metadata = sa.MetaData()


def _text(length: int) -> sa.String:
    """Text that is compared exactly, upper and lower case told apart, in every database."""
    return sa.String(length).with_variant(mysql.VARCHAR(length, collation="utf8mb4_bin"), "mysql", "mariadb")


def _id(
    name: str, target: str | None = None, *, key: bool = False, null: bool = False, index: bool = False
) -> sa.Column[str]:
    """A column that holds an id; with a target the row goes with the row it points to."""
    references = [sa.ForeignKey(target, ondelete="CASCADE")] if target else []
    return sa.Column(name, Id, *references, primary_key=key, nullable=null and not key, index=index or None)


def _name(length: int = 255) -> sa.Column[str]:
    return sa.Column("name", _text(length), nullable=False)


def _description(*, null: bool = True) -> sa.Column[str]:
    """null: may be absent; else it is empty."""
    return sa.Column("description", sa.Text, nullable=null, default=None if null else "")


def _enabled() -> sa.Column[bool]:
    return sa.Column("enabled", sa.Boolean, nullable=False, default=True)


def _created() -> sa.Column[Any]:
    return sa.Column("created_at", DateTime, nullable=False, default=utcnow)


def _extra() -> sa.Column[Any]:
    return sa.Column("extra", Json, nullable=False, default=dict)


def _options() -> sa.Column[Any]:
    return sa.Column("options", Json, nullable=False, default=dict)


# ------------------------------------------------------------------------------------------------ projects and people

projects = sa.Table(
    "projects",
    metadata,
    _id("id", key=True),
    _id("domain_id"),
    _id("parent_id", null=True, index=True),
    sa.Column("path", sa.String(700), nullable=False),
    sa.Column("is_domain", sa.Boolean, nullable=False, default=False),
    _name(64),
    _description(null=False),
    _enabled(),
    sa.Column("tokens_since", DateTime, nullable=True),
    _options(),
    _extra(),
    _created(),
    sa.UniqueConstraint("domain_id", "name", name="uq_projects_name"),
    sa.Index("ix_projects_name", "name"),
    sa.Index("ix_projects_path", "path", mysql_length=255),
)

project_tags = sa.Table(
    "project_tags",
    metadata,
    _id("project_id", "projects.id", key=True),
    sa.Column("name", _text(255), primary_key=True, index=True),
)

users = sa.Table(
    "users",
    metadata,
    _id("id", key=True),
    _id("domain_id", "projects.id"),
    _name(),
    _enabled(),
    _id("default_project_id", null=True, index=True),
    sa.Column("tokens_since", DateTime, nullable=True),
    sa.Column("failed_logins", sa.Integer, nullable=False, default=0),
    sa.Column("failed_login_at", DateTime, nullable=True),
    sa.Column("last_active_at", sa.Date, nullable=True),
    _options(),
    _extra(),
    _created(),
    sa.UniqueConstraint("domain_id", "name", name="uq_users_name"),
    sa.Index("ix_users_name", "name"),
)

passwords = sa.Table(
    "passwords",
    metadata,
    sa.Column("id", BigSerial, primary_key=True, autoincrement=True),
    _id("user_id", "users.id", index=True),
    sa.Column("hash", sa.String(255), nullable=False),
    sa.Column("self_service", sa.Boolean, nullable=False, default=False),
    sa.Column("expires_at", DateTime, nullable=True),
    _created(),
)

groups = sa.Table(
    "groups",
    metadata,
    _id("id", key=True),
    _id("domain_id", "projects.id"),
    _name(64),
    _description(null=False),
    _extra(),
    sa.UniqueConstraint("domain_id", "name", name="uq_groups_name"),
    sa.Index("ix_groups_name", "name"),
)

memberships = sa.Table(
    "memberships",
    metadata,
    _id("user_id", "users.id", key=True),
    _id("group_id", "groups.id", key=True, index=True),
)

# ------------------------------------------------------------------------------------------------------------- rights

roles = sa.Table(
    "roles",
    metadata,
    _id("id", key=True),
    sa.Column("domain_id", Id, nullable=False, default=ROOT),
    _name(),
    _description(),
    _options(),
    _extra(),
    sa.UniqueConstraint("domain_id", "name", name="uq_roles_name"),
)

implied_roles = sa.Table(
    "implied_roles",
    metadata,
    _id("prior_role_id", "roles.id", key=True),
    _id("implied_role_id", "roles.id", key=True, index=True),
)

assignments = sa.Table(
    "assignments",
    metadata,
    sa.Column("actor_type", sa.String(8), primary_key=True),  # user, group
    _id("actor_id", key=True),
    sa.Column("target_type", sa.String(8), primary_key=True),  # project, domain, system, global
    _id("target_id", key=True),
    _id("role_id", "roles.id", key=True),
    sa.Column("inherited", sa.Boolean, primary_key=True, default=False),
    sa.Index("ix_assignments_target", "target_type", "target_id"),
    sa.Index("ix_assignments_actor", "actor_id"),
    sa.Index("ix_assignments_role", "role_id"),
)

# ------------------------------------------------------------------------------------------------------------ catalog

regions = sa.Table(
    "regions",
    metadata,
    sa.Column("id", _text(255), primary_key=True),
    sa.Column("parent_region_id", _text(255), nullable=True),
    _description(null=False),
    _extra(),
)

services = sa.Table(
    "services",
    metadata,
    _id("id", key=True),
    sa.Column("type", _text(255), nullable=False, index=True),
    sa.Column("name", _text(255), nullable=True),
    _description(),
    _enabled(),
    _extra(),
)

endpoints = sa.Table(
    "endpoints",
    metadata,
    _id("id", key=True),
    _id("service_id", "services.id", index=True),
    sa.Column("region_id", _text(255), sa.ForeignKey("regions.id"), nullable=True, index=True),
    sa.Column("interface", sa.String(8), nullable=False),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("name", sa.String(255), nullable=True),
    _description(),
    _enabled(),
    _extra(),
)

endpoint_groups = sa.Table(
    "endpoint_groups",
    metadata,
    _id("id", key=True),
    _name(),
    _description(),
    sa.Column("filters", Json, nullable=False),
)

project_endpoints = sa.Table(
    "project_endpoints",
    metadata,
    _id("endpoint_id", "endpoints.id", key=True),
    _id("project_id", "projects.id", key=True, index=True),
)

project_endpoint_groups = sa.Table(
    "project_endpoint_groups",
    metadata,
    _id("endpoint_group_id", "endpoint_groups.id", key=True),
    _id("project_id", "projects.id", key=True, index=True),
)

policies = sa.Table(
    "policies",
    metadata,
    _id("id", key=True),
    sa.Column("type", sa.String(255), nullable=False),
    sa.Column("blob", Json, nullable=False),
    _extra(),
)

# -------------------------------------------------------------------------------------------------------- credentials

credentials = sa.Table(
    "credentials",
    metadata,
    _id("id", key=True),
    _id("user_id", index=True),
    _id("project_id", null=True, index=True),
    sa.Column("type", sa.String(255), nullable=False),
    sa.Column("access_hash", sa.String(64), nullable=True, unique=True),
    sa.Column("encrypted_blob", BigText, nullable=False),
    sa.Column("last_step", sa.BigInteger, nullable=True),
    _extra(),
)

application_credentials = sa.Table(
    "application_credentials",
    metadata,
    _id("id", key=True),
    _id("user_id", "users.id"),
    _id("project_id", null=True, index=True),
    sa.Column("system", sa.String(8), nullable=True),
    _name(),
    _description(),
    sa.Column("secret_hash", sa.String(255), nullable=False),
    sa.Column("expires_at", DateTime, nullable=True),
    sa.Column("unrestricted", sa.Boolean, nullable=False, default=False),
    _created(),
    sa.UniqueConstraint("user_id", "name", name="uq_application_credentials_name"),
)

application_credential_roles = sa.Table(
    "application_credential_roles",
    metadata,
    _id("application_credential_id", "application_credentials.id", key=True),
    _id("role_id", "roles.id", key=True, index=True),
)

access_rules = sa.Table(
    "access_rules",
    metadata,
    _id("id", key=True),
    _id("user_id", "users.id"),
    sa.Column("service", sa.String(64), nullable=False),
    sa.Column("method", sa.String(16), nullable=False),
    sa.Column("path", sa.String(255), nullable=False),
    sa.Index("ix_access_rules_user", "user_id", "service"),
)

application_credential_access_rules = sa.Table(
    "application_credential_access_rules",
    metadata,
    _id("application_credential_id", "application_credentials.id", key=True),
    _id("access_rule_id", "access_rules.id", key=True, index=True),
)

trusts = sa.Table(
    "trusts",
    metadata,
    _id("id", key=True),
    _id("trustor_user_id", "users.id", index=True),
    _id("trustee_user_id", "users.id", index=True),
    _id("project_id", null=True, index=True),
    sa.Column("impersonation", sa.Boolean, nullable=False),
    sa.Column("expires_at", DateTime, nullable=True),
    sa.Column("remaining_uses", sa.Integer, nullable=True),
    _id("redelegated_trust_id", null=True, index=True),
    sa.Column("redelegation_count", sa.Integer, nullable=False, default=0),
    _extra(),
    _created(),
)

trust_roles = sa.Table(
    "trust_roles",
    metadata,
    _id("trust_id", "trusts.id", key=True),
    _id("role_id", "roles.id", key=True, index=True),
)

consumers = sa.Table(
    "consumers",
    metadata,
    _id("id", key=True),
    sa.Column("secret", sa.String(64), nullable=False),
    _description(),
    _extra(),
)

# ------------------------------------------------------------------------------------------------------------- limits

registered_limits = sa.Table(
    "registered_limits",
    metadata,
    _id("id", key=True),
    sa.Column("service_id", Id, sa.ForeignKey("services.id"), nullable=False),
    sa.Column("region_id", _text(255), nullable=False, default=""),
    sa.Column("resource_name", _text(255), nullable=False),
    sa.Column("default_limit", sa.Integer, nullable=False),
    _description(),
    sa.UniqueConstraint("service_id", "region_id", "resource_name", name="uq_registered_limits"),
)

limits = sa.Table(
    "limits",
    metadata,
    _id("id", key=True),
    sa.Column("registered_limit_id", Id, sa.ForeignKey("registered_limits.id"), nullable=False, index=True),
    _id("project_id", "projects.id"),
    _id("service_id"),
    sa.Column("region_id", _text(255), nullable=False, default=""),
    sa.Column("resource_name", _text(255), nullable=False),
    sa.Column("resource_limit", sa.Integer, nullable=False),
    _description(),
    sa.UniqueConstraint("project_id", "registered_limit_id", name="uq_limits"),
)

# --------------------------------------------------------------------------------------------------------- federation

identity_providers = sa.Table(
    "identity_providers",
    metadata,
    sa.Column("id", _text(64), primary_key=True),
    _id("domain_id", "projects.id", index=True),
    sa.Column("enabled", sa.Boolean, nullable=False, default=False),
    _description(),
    sa.Column("authorization_ttl", sa.Integer, nullable=True),  # minutes
)

remote_ids = sa.Table(
    "remote_ids",
    metadata,
    sa.Column("remote_id", _text(255), primary_key=True),
    sa.Column(
        "idp_id", _text(64), sa.ForeignKey("identity_providers.id", ondelete="CASCADE"), nullable=False, index=True
    ),
)

mappings = sa.Table(
    "mappings",
    metadata,
    sa.Column("id", _text(64), primary_key=True),
    sa.Column("rules", Json, nullable=False),
    sa.Column("schema_version", sa.String(8), nullable=False, default="1.0"),
)

protocols = sa.Table(
    "protocols",
    metadata,
    sa.Column("idp_id", _text(64), sa.ForeignKey("identity_providers.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("id", _text(64), primary_key=True),
    sa.Column("mapping_id", _text(64), nullable=False, index=True),
    sa.Column("remote_id_attribute", sa.String(64), nullable=True),
)

service_providers = sa.Table(
    "service_providers",
    metadata,
    sa.Column("id", _text(64), primary_key=True),
    sa.Column("auth_url", sa.String(256), nullable=False),
    sa.Column("sp_url", sa.String(256), nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False, default=False),
    _description(),
    sa.Column("relay_state_prefix", sa.String(256), nullable=False),
)

federated_users = sa.Table(  # who a user is to an identity provider
    "federated_users",
    metadata,
    sa.Column("idp_id", _text(64), primary_key=True),
    sa.Column("protocol_id", _text(64), primary_key=True),
    sa.Column("unique_id", _text(255), primary_key=True),
    _id("user_id", "users.id", index=True),
    sa.Column("display_name", sa.String(255), nullable=True),
    sa.ForeignKeyConstraint(["idp_id", "protocol_id"], ["protocols.idp_id", "protocols.id"], ondelete="CASCADE"),
)

expiring_memberships = sa.Table(  # groups that a login at an identity provider brought
    "expiring_memberships",
    metadata,
    _id("user_id", "users.id", key=True),
    _id("group_id", "groups.id", key=True, index=True),
    sa.Column(
        "idp_id", _text(64), sa.ForeignKey("identity_providers.id", ondelete="CASCADE"), primary_key=True, index=True
    ),
    sa.Column("expires_at", DateTime, nullable=False),
)

# -------------------------------------------------------------------------------------------------------------- other

policy_associations = sa.Table(  # of an endpoint, of a service, or of a service in a region; "" where not named
    "policy_associations",
    metadata,
    sa.Column("endpoint_id", Id, primary_key=True, default=""),
    sa.Column("service_id", Id, primary_key=True, default=""),
    sa.Column("region_id", _text(255), primary_key=True, default=""),
    _id("policy_id", "policies.id", index=True),
)

domain_options = sa.Table(
    "domain_options",
    metadata,
    _id("domain_id", "projects.id", key=True),
    sa.Column("group", sa.String(255), primary_key=True),
    sa.Column("option", sa.String(255), primary_key=True),
    sa.Column("value", Json, nullable=False),
)

# Users and groups that live in a domain's directory (LDAP); their rows in `users` and `groups` are copies of it.
directory_entries = sa.Table(
    "directory_entries",
    metadata,
    _id("public_id", key=True),
    _id("domain_id", "projects.id"),
    sa.Column("kind", sa.String(8), nullable=False),  # user, group
    sa.Column("local_id", _text(255), nullable=False),
    sa.Column("login_at", DateTime, nullable=True),
    sa.UniqueConstraint("domain_id", "kind", "local_id", name="uq_directory_entries"),
)

leases = lease_table(metadata)

epoch = sa.Table(
    "epoch",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("value", sa.BigInteger, nullable=False),
)

revocations = sa.Table(
    "revocations",
    metadata,
    sa.Column("id", BigSerial, primary_key=True, autoincrement=True),
    sa.Column("audit_id", sa.String(32), nullable=True, index=True),
    _id("user_id", null=True),
    _id("project_id", null=True),
    _id("domain_id", null=True),
    _id("trust_id", null=True),
    _id("role_id", null=True),
    sa.Column("issued_before", DateTime, nullable=False),
    sa.Column("revoked_at", DateTime, nullable=False, index=True),
)
