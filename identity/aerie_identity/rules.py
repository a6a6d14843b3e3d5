# SPDX-License-Identifier: Apache-2.0
"""Who may do what to whom in the identity service: the check strings that operations use.

A rule about an object is asked with `domain_id`, `user_id`, `project_id` of that object and, for policy files written
for Keystone, with the same under `target.<noun>.*`. Personas: cloud admin; system reader (reads everything); manager
and reader of a domain (a token scoped to it); the user; other services. A token of a domain, be it an administrator's,
does nothing to what belongs to no domain: domains themselves, roles, the catalog, limits, federation, policies.
"""

from __future__ import annotations

from typing import Any

ANYBODY = "@"
ADMIN = "rule:cloud_admin"
CLOUD_READER = "rule:cloud_admin or rule:system_reader"
SERVICE_OR_READER = f"{CLOUD_READER} or role:service"
SYSTEM_READER = "rule:admin or rule:system_reader"
DOMAIN_READER = "rule:admin or rule:system_reader or role:service or rule:domain_reader"
DOMAIN_MANAGER = "rule:admin or rule:domain_manager"
CREDENTIAL_OWNER = "rule:admin or user_id:%(user_id)s"
CREDENTIAL_READER = f"{SYSTEM_READER} or user_id:%(user_id)s"
SELF_OR_ADMIN = f"{ADMIN} or user_id:%(user_id)s"
SELF_OR_READER = f"{CLOUD_READER} or user_id:%(user_id)s"
SELF_OR_SYSTEM_ADMIN = "rule:system_admin or user_id:%(user_id)s"
SELF_OR_SYSTEM_READER = "rule:system_admin or rule:system_reader or user_id:%(user_id)s"
EC2_OWNER = f"{ADMIN} or (role:member and rule:ec2_user)"
EC2_READER = f"{CLOUD_READER} or rule:ec2_user"
SELF_OR_DOMAIN_READER = f"{DOMAIN_READER} or user_id:%(user_id)s"
SELF = "user_id:%(user_id)s"
OWN_PROJECT_OR_READER = f"{DOMAIN_READER} or project_id:%(project_id)s"
GRANT = "rule:admin or (rule:domain_manager and rule:domain_managed_actor and rule:domain_managed_role)"
LIST_GRANTS = f"{SYSTEM_READER} or (rule:domain_reader and rule:domain_managed_actor)"
CHECK_GRANT = f"{SYSTEM_READER} or (rule:domain_reader and rule:domain_managed_actor and rule:domain_seen_role)"
TOKEN = "rule:admin or role:service or rule:system_reader or rule:token_subject"
TOKEN_OWNER = "rule:admin or rule:token_subject"
TRUST_PARTY = f"{CLOUD_READER} or rule:trustor or rule:trustee"
LIST_ROLES = f"{SYSTEM_READER} or role:service or (role:manager and domain_scoped:True)"
GET_ROLE = f"{SYSTEM_READER} or role:service or (role:manager and rule:domain_managed_role)"
LIMIT_READER = f"{SYSTEM_READER} or role:service or project_id:%(project_id)s or domain_id:%(domain_id)s"

EXTRA_RULES = (
    ("cloud_admin", "rule:admin and not domain_scoped:True", "Administers what belongs to no domain."),
    ("system_admin", "role:admin and system_scope:all", "Administers by a token of the system."),
    ("system_reader", "role:reader and system_scope:all", "Reads everything in the cloud."),
    ("domain_reader", "role:reader and domain_id:%(domain_id)s", "Reads what belongs to the token's domain."),
    ("domain_manager", "role:manager and domain_id:%(domain_id)s", "Manages what belongs to the token's domain."),
    ("domain_managed_actor", "domain_id:%(target.actor.domain_id)s", "A user or group of the token's domain."),
    (
        "domain_managed_role",
        "'manager':%(target.role.name)s or 'member':%(target.role.name)s or 'reader':%(target.role.name)s",
        "A role that a domain's manager may grant.",
    ),
    (
        "domain_seen_role",
        "domain_id:%(target.role.domain_id)s or None:%(target.role.domain_id)s",
        "A role of the token's domain or of none.",
    ),
    ("ec2_user", "user_id:%(user_id)s and not domain_scoped:True", "The owner of an EC2 access key."),
    ("token_subject", "user_id:%(target.token.user_id)s", "The token is about the caller."),
    ("trustor", "user_id:%(target.trust.trustor_user_id)s", "Who gave the trust."),
    ("trustee", "user_id:%(target.trust.trustee_user_id)s", "Who was given the trust."),
    ("identity:create_domain_role", ADMIN, "The role is a domain's."),
    ("identity:update_domain_role", ADMIN, "The role is a domain's."),
    ("identity:delete_domain_role", ADMIN, "The role is a domain's."),
    ("identity:get_domain_role", CLOUD_READER, "The role is a domain's."),
    ("identity:list_domain_roles", CLOUD_READER, "The roles are a domain's."),
    ("identity:get_security_compliance_domain_config", ANYBODY, "What a domain says about passwords."),
    ("identity:list_role_assignments_for_tree", DOMAIN_READER, "Assignments of a project and those below it."),
    ("identity:list_all_credentials", SYSTEM_READER, "The list holds all users' credentials."),
    ("identity:read_all", SYSTEM_READER + " or role:service", "Lists are not narrowed to the token's domain."),
)


def target(noun: str, row: Any) -> dict[str, Any]:
    """What a rule may ask about a row."""
    found: dict[str, Any] = {}
    for name in ("id", "domain_id", "user_id", "project_id"):
        value = getattr(row, name, None)
        if value:
            found[f"target.{noun}.{name}"] = found[name] = value
    if noun == "user":
        found["user_id"] = row.id
    elif noun == "project":
        found["project_id"] = row.id
    elif noun == "domain":
        found["domain_id"] = row.id
    found.pop("id", None)
    return found
