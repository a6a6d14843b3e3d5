# SPDX-License-Identifier: Apache-2.0
"""Who may do what to whom in the identity service: the check strings that operations use.

A rule about an object is asked with `domain_id`, `user_id`, `project_id` of that object and, for policy files written
for Keystone, with the same under `target.<noun>.*`. Personas: cloud admin; system reader (reads everything); manager
and reader of a domain (a token scoped to it); the user; other services.
"""

from __future__ import annotations

from typing import Any

from aerie_common.policy import ADMIN

ANYBODY = "@"
SYSTEM_READER = "rule:admin or rule:system_reader"
SERVICE_OR_READER = "rule:admin or rule:system_reader or role:service"
DOMAIN_READER = "rule:admin or rule:system_reader or role:service or rule:domain_reader"
DOMAIN_MANAGER = "rule:admin or rule:domain_manager"
SELF_OR_ADMIN = "rule:admin or user_id:%(user_id)s"
SELF_OR_READER = "rule:admin or rule:system_reader or user_id:%(user_id)s"
SELF_OR_DOMAIN_READER = f"{DOMAIN_READER} or user_id:%(user_id)s"
SELF = "user_id:%(user_id)s"
OWN_PROJECT_OR_READER = f"{DOMAIN_READER} or project_id:%(project_id)s"
GRANT = "rule:admin or (rule:domain_manager and rule:domain_managed_actor and rule:domain_managed_role)"
LIST_GRANTS = f"{SYSTEM_READER} or (rule:domain_reader and domain_id:%(target.actor.domain_id)s)"
TOKEN = "rule:admin or role:service or rule:system_reader or rule:token_subject"
TOKEN_OWNER = "rule:admin or rule:token_subject"
TRUST_PARTY = "rule:admin or rule:system_reader or rule:trustor or rule:trustee"

EXTRA_RULES = (
    ("system_reader", "role:reader and system_scope:all", "Reads everything in the cloud."),
    ("domain_reader", "role:reader and domain_id:%(domain_id)s", "Reads what belongs to the token's domain."),
    ("domain_manager", "role:manager and domain_id:%(domain_id)s", "Manages what belongs to the token's domain."),
    ("domain_managed_actor", "domain_id:%(target.actor.domain_id)s", "A user or group of the token's domain."),
    (
        "domain_managed_role",
        "'manager':%(target.role.name)s or 'member':%(target.role.name)s or 'reader':%(target.role.name)s",
        "A role that a domain's manager may grant.",
    ),
    ("token_subject", "user_id:%(target.token.user_id)s", "The token is about the caller."),
    ("trustor", "user_id:%(target.trust.trustor_user_id)s", "Who gave the trust."),
    ("trustee", "user_id:%(target.trust.trustee_user_id)s", "Who was given the trust."),
    ("identity:list_all_credentials", SYSTEM_READER, "The list holds all users' credentials."),
    ("identity:read_all", SYSTEM_READER + " or role:service", "Lists are not narrowed to the token's domain."),
)

__all__ = ["ADMIN", "EXTRA_RULES", "target"]


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
