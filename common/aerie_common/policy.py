# SPDX-License-Identifier: Apache-2.0
"""Who may do what: oslo.policy with the rules that the operation table declares.

`policy.yaml` of the service overrides any of them and is read again when it changes.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from oslo_config import cfg
from oslo_policy import policy as oslo

from aerie_common.context import Context
from aerie_common.errors import PolicyNotAuthorized

# The check strings that operations use. Roles imply one another: admin > manager > member > reader.
ANYONE = "@"
ADMIN = "rule:admin"
ADMIN_OR_SERVICE = "rule:admin or role:service"
PROJECT_READER = "rule:admin or (role:reader and project_id:%(project_id)s)"
PROJECT_MEMBER = "rule:admin or (role:member and project_id:%(project_id)s)"
PROJECT_MANAGER = "rule:admin or (role:manager and project_id:%(project_id)s)"
OWN_USER = "rule:admin or user_id:%(user_id)s"

BASE_RULES = (
    oslo.RuleDefault("admin", "role:admin or is_admin:True", "Administers the cloud."),
    oslo.RuleDefault("service", "role:service", "Another service of this cloud."),
)


RELOAD_SECONDS = 1.0
MEMORY = 20_000


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is None: a missing project must never equal another missing project."""
    return {name: value for name, value in values.items() if value is not None}


class Policy:
    """The rules of one service. A decision depends on nothing but rule, caller and target, so it is remembered."""

    def __init__(self, conf: cfg.ConfigOpts, rules: Iterable[tuple[str, str, str]]) -> None:
        """rules: (name, check string, description)."""
        self._enforcer = oslo.Enforcer(conf)
        self._enforcer.suppress_default_change_warnings = True
        self._enforcer.register_defaults(list(BASE_RULES))
        seen: dict[str, str] = {}
        for name, check, description in rules:
            if seen.setdefault(name, check) != check:
                raise ValueError(f"policy {name} has two defaults: {seen[name]!r} and {check!r}")
            if name not in self._enforcer.registered_rules:
                self._enforcer.register_default(oslo.RuleDefault(name, check, description))
        self._enforcer.load_rules()
        self._looked = time.monotonic()
        self._decisions: dict[Any, bool] = {}

    def _reload(self) -> None:
        """Read changed policy files; at most once a second."""
        now = time.monotonic()
        if now - self._looked < RELOAD_SECONDS:
            return
        self._looked = now
        before = self._enforcer.rules
        self._enforcer.load_rules()
        if self._enforcer.rules is not before:
            self._decisions = {}

    def allows(self, ctx: Context, name: str, target: Mapping[str, Any] | None = None) -> bool:
        """May this caller do `name` to the target (whose project_id, user_id, ... the rule looks at)?

        Without a target the rule is asked about the caller's own project and user."""
        self._reload()
        if target is None:
            target = {"project_id": ctx.project_id, "user_id": ctx.user_id, "domain_id": ctx.domain_id}
        caller = (ctx.user_id, ctx.project_id, ctx.domain_id, ctx.system_scope, ctx.user_domain_id, ctx.roles,
                  ctx.service_roles, ctx.is_admin, ctx.project_domain_id)  # fmt: skip
        key = (name, caller, repr(sorted(target.items(), key=lambda item: item[0])))
        decisions = self._decisions
        known = decisions.get(key)
        if known is None:
            known = bool(self._enforcer.enforce(name, _known(target), _known(ctx.credentials()), do_raise=False))
            if len(decisions) >= MEMORY:
                decisions.clear()
            decisions[key] = known
        return known

    def check(self, ctx: Context, name: str, target: Mapping[str, Any] | None = None) -> None:
        """Raise PolicyNotAuthorized unless allows()."""
        if not self.allows(ctx, name, target):
            raise PolicyNotAuthorized(action=name)

    def is_admin(self, ctx: Context) -> bool:
        """Does this caller administer the cloud?"""
        return self.allows(ctx, "admin", {})
