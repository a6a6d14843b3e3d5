# SPDX-License-Identifier: Apache-2.0
"""Who may do what: oslo.policy with the rules that the operation table declares.

`policy.yaml` (or `policy.json`) beside the service's configuration overrides any of them. It is read again when it
changes; a file that cannot be read changes nothing, and one that is gone leaves the defaults.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oslo_config import cfg
from oslo_policy import _checks as checks
from oslo_policy import policy as oslo

from aerie_common.context import Context
from aerie_common.errors import PolicyNotAuthorized

# The check strings that operations use. Roles imply one another: admin > manager > member > reader.
ANYONE = "@"
ADMIN = "rule:admin"
ADMIN_OR_SERVICE = "rule:admin or role:service"
PROJECT_READER = "rule:admin or (role:reader and project_id:%(project_id)s)"
PROJECT_MEMBER = "rule:admin or (role:member and project_id:%(project_id)s)"
OWN_USER = "rule:admin or user_id:%(user_id)s"

BASE_RULES = (
    oslo.RuleDefault("admin", "role:admin or is_admin:True", "Administers the cloud."),
    oslo.RuleDefault("service", "role:service", "Another service of this cloud."),
)


LOG = logging.getLogger(__name__)
RELOAD_SECONDS = 0.5
MEMORY = 20_000
FILES = ("policy.yaml", "policy.json")


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is None: a missing project must never equal another missing project."""
    return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class Decision:
    """What a rule says to a caller. source: "default", or the file that overrides it. why: the parts of the rule that
    decided, the rules they stand in before them."""

    rule: str
    allowed: bool
    check: str
    source: str
    why: str


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
        self._choose_file()
        self._enforcer.load_rules()
        self._looked = time.monotonic()
        self._decisions: dict[Any, bool] = {}

    @property
    def defaults(self) -> dict[str, oslo.RuleDefault]:
        """Every rule that the service asks for, as it is declared."""
        return self._enforcer.registered_rules

    @property
    def overrides(self) -> dict[str, oslo.RuleDefault]:
        """What the policy file says."""
        return self._enforcer.file_rules

    @property
    def file(self) -> Path | None:
        """The policy file in force."""
        return Path(self._enforcer.policy_path) if self._enforcer.policy_path else None

    def _choose_file(self) -> None:
        """Forget a file that is gone; where no file is configured and policy.yaml is missing, take policy.json."""
        enforcer = self._enforcer
        if enforcer.policy_path and not Path(enforcer.policy_path).exists():
            LOG.warning("the policy file %s is gone: defaults are in force", enforcer.policy_path)
            enforcer.set_rules({}, use_conf=True)
            enforcer._file_cache.clear()
            enforcer.policy_path, enforcer.file_rules = None, {}
        if not enforcer.policy_path and enforcer.policy_file in FILES:
            conf = enforcer.conf
            enforcer.policy_file = next((name for name in FILES if conf.find_file(name)), FILES[0])

    def _reload(self) -> None:
        """Read changed policy files; at most twice a second."""
        now = time.monotonic()
        if now - self._looked < RELOAD_SECONDS:
            return
        self._looked = now
        before = self._enforcer.rules
        try:
            self._choose_file()
            self._enforcer.load_rules()
        except (ValueError, cfg.Error) as e:
            LOG.error("the policy file %s was not read, the rules stay as they were: %s", self.file, e)
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

    # -- for people

    def decide(self, ctx: Context, name: str, target: Mapping[str, Any] | None = None) -> Decision:
        """What the rule says to this caller about the target, and why."""
        allowed = self.allows(ctx, name, target)
        if target is None:
            target = {"project_id": ctx.project_id, "user_id": ctx.user_id, "domain_id": ctx.domain_id}
        override = self.overrides.get(name)
        found = override or self.defaults[name]
        source = str(self.file) if override else "default"
        holds, why = self._explain(name, self._enforcer.rules[name], _known(target), _known(ctx.credentials()))
        assert holds == allowed, name
        return Decision(name, allowed, found.check_str, source, why)

    def _explain(
        self, name: str, check: checks.BaseCheck, target: dict[str, Any], caller: dict[str, Any]
    ) -> tuple[bool, str]:
        """Whether the check holds, and the parts that decide it."""
        if isinstance(check, checks.RuleCheck):
            inner = self._enforcer.rules.get(check.match)
            if inner is None:
                return False, f"rule:{check.match} (not defined)"
            holds, why = self._explain(check.match, inner, target, caller)
            return holds, f"{check.match}: {why}" if holds else f"{check.match} ({why})"
        if isinstance(check, checks.OrCheck | checks.AndCheck):
            parts = [self._explain(name, part, target, caller) for part in check.rules]
            any_of = isinstance(check, checks.OrCheck)
            deciding = [why for holds, why in parts if holds == any_of]
            if deciding:  # one that holds is enough for `or`; one that does not is enough against `and`
                return any_of, deciding[0]
            return not any_of, (" or " if any_of else " and ").join(why for _, why in parts)
        if isinstance(check, checks.NotCheck):
            holds, why = self._explain(name, check.rule, target, caller)
            return not holds, f"not {why}"
        return bool(checks._check(check, target, caller, self._enforcer, name)), str(check)
