# SPDX-License-Identifier: Apache-2.0
"""`aerie policy`: who may do what and why, whether a policy file is right, and a sample of one.

Decides by the very rules and code that the services decide by. Exit status of `check`: 0 all is well (with one --rule:
the caller is allowed), 1 the caller is refused, 2 a policy file is wrong.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import yaml
from oslo_config import cfg
from oslo_policy import _checks as checks
from oslo_policy import _parser, opts

from aerie_common import auth, config, service
from aerie_common.context import Context
from aerie_common.operations import Table
from aerie_common.policy import FILES, Decision, Policy
from aerie_common.service import ServiceSpec

IMPLIED = {"admin": ("manager", "member", "reader"), "manager": ("member", "reader"), "member": ("reader",)}
RIGHT, REFUSED, WRONG = 0, 1, 2


def run(args: argparse.Namespace) -> int:
    """Do what the command line asks for."""
    known = {name: spec for name, spec in service.services().items() if spec.table is not None}
    for name in args.service or ():
        if name not in known:
            print(f"There is no service {name}. Known: {', '.join(known)}.", file=sys.stderr)
            return WRONG
    chosen = {name: known[name] for name in args.service or known}
    if args.action == "check":
        problems = list(_problems(known, chosen, args))
        for problem in problems:
            print(problem, file=sys.stderr)
        if problems:
            return WRONG
    policies = {name: policy_of(spec, args.config_dir, args.file) for name, spec in chosen.items()}
    unknown = [rule for rule in args.rule or () if not any(rule in policy.defaults for policy in policies.values())]
    if unknown:
        print("\n".join(_unknown(rule, policies.values()) for rule in unknown), file=sys.stderr)
        return WRONG
    if args.action == "show":
        return _show(chosen, policies, args)
    return _check(policies, args)


def policy_of(spec: ServiceSpec, config_dir: Path, file: Path | None) -> Policy:
    """The rules of a service as its daemon has them, or as they are with another policy file."""
    conf = _conf(spec, config_dir)
    if file is not None:
        conf.set_override("policy_file", str(file.resolve()), group="oslo_policy")
    return Policy(conf, _table(spec).policy_rules())


def _conf(spec: ServiceSpec, config_dir: Path) -> cfg.ConfigOpts:
    path = config_dir / f"{spec.name}.conf"
    conf = spec.new_conf()
    opts._register(conf)
    config.load(conf, [path] if path.exists() else [])
    return conf


def _table(spec: ServiceSpec) -> Table:
    assert spec.table is not None
    return spec.table()


# --------------------------------------------------------------------------------------------------------- policy files


def _problems(known: dict[str, ServiceSpec], chosen: dict[str, ServiceSpec], args: argparse.Namespace) -> Iterator[str]:
    """What is wrong with the policy files of the chosen services. Services may share one file."""
    files: dict[Path, list[str]] = {}
    for name, spec in chosen.items():
        path = args.file or _file(_conf(spec, args.config_dir))
        if path is not None:
            files.setdefault(path, []).append(name)
    if files:
        every = {name: Policy(config.load(spec.new_conf(), []), _table(spec).policy_rules())
                 for name, spec in known.items()}  # fmt: skip
        for path in files:
            yield from (f"{path}: {problem}" for problem in problems_of(path, every))


def _file(conf: cfg.ConfigOpts) -> Path | None:
    """The policy file that a service with this configuration reads."""
    name = conf.oslo_policy.policy_file
    found = next((path for n in (FILES if name in FILES else (name,)) if (path := conf.find_file(n))), None)
    return Path(found) if found else None


def problems_of(path: Path, policies: dict[str, Policy]) -> Iterator[str]:
    """What is wrong with one file: its form, unused names, rules unreadable, undefined or in a circle."""
    try:
        sent = yaml.safe_load(path.read_text())  # JSON is YAML too
    except (OSError, yaml.YAMLError) as e:
        yield str(e).replace("\n", " ")
        return
    if sent is None:
        return
    if not isinstance(sent, dict):
        yield "it must be a mapping of rule names to rules"
        return
    rules: dict[str, checks.BaseCheck] = {}
    for name, text in sent.items():
        if not isinstance(name, str) or not isinstance(text, str):
            yield f"{name}: a rule is text, not {type(text).__name__}"
            continue
        rules[name] = _parser.parse_rule(text)
        if any(isinstance(part, checks.FalseCheck) for part in _parts(rules[name])) and "!" not in text.split():
            yield f"{name}: this cannot be read: {text!r}"
    declared = {name: default.check for policy in policies.values() for name, default in policy.defaults.items()}
    everything = {**declared, **rules}
    used = {part.match for check in rules.values() for part in _parts(check) if isinstance(part, checks.RuleCheck)}
    for name, check in rules.items():
        if name not in declared and name not in used:
            yield _unknown(name, policies.values())
        for part in _parts(check):
            if isinstance(part, checks.RuleCheck) and part.match not in everything:
                yield f"{name}: the rule {part.match!r} that it names is not defined"
        circle = _circle(name, everything, ())
        if circle:
            yield f"{name}: the rules go in a circle: {' -> '.join(circle)}"


def _parts(check: checks.BaseCheck) -> Iterator[checks.BaseCheck]:
    """All checks within a check."""
    yield check
    for part in getattr(check, "rules", ()):
        yield from _parts(part)
    if isinstance(check, checks.NotCheck):
        yield from _parts(check.rule)


def _circle(name: str, rules: dict[str, checks.BaseCheck], path: tuple[str, ...]) -> tuple[str, ...]:
    """The way from a rule back to itself, if there is one."""
    if name in path:
        return (*path, name) if path[0] == name else ()
    for part in _parts(rules[name]):
        if isinstance(part, checks.RuleCheck) and part.match in rules:
            found = _circle(part.match, rules, (*path, name))
            if found:
                return found
    return ()


def _unknown(name: str, policies: Any) -> str:
    names = [rule for policy in policies for rule in policy.defaults]
    close = difflib.get_close_matches(name, names, 1)
    return f"{name}: no service asks for this rule" + (f"; is {close[0]} meant?" if close else "")


# ------------------------------------------------------------------------------------------------------------ decisions


def _caller(args: argparse.Namespace) -> Context | None:
    """The caller the command line describes; None when it names nobody."""
    ctx = Context()
    if args.token_file is not None:
        body = orjson.loads(args.token_file.read_bytes())
        auth.fill(ctx, "", body.get("token", body))
        return ctx
    if not (args.role or args.project or args.domain or args.system):
        return None
    ctx.user_id, ctx.project_id, ctx.domain_id = args.user, args.project, args.domain
    ctx.system_scope = "all" if args.system else None
    ctx.roles = tuple(dict.fromkeys(r for role in args.role for r in (role, *IMPLIED.get(role, ()))))
    return ctx


def _check(policies: dict[str, Policy], args: argparse.Namespace) -> int:
    ctx = _caller(args)
    if ctx is None:
        for name, policy in policies.items():
            text = f"{policy.file}: {len(policy.overrides)} rules" if policy.file else "no policy file: defaults hold"
            print(f"{name:<10} {text}")
        return RIGHT
    target = {"project_id": ctx.project_id, "user_id": ctx.user_id, "domain_id": ctx.domain_id}
    for text in args.target:
        name, equals, value = text.partition("=")
        if not equals:
            print(f"--target wants NAME=VALUE, not {text!r}", file=sys.stderr)
            return WRONG
        target[name] = value
    found = list(_decisions(policies, ctx, target, args.rule))
    if args.json:
        print(orjson.dumps([decision.__dict__ for decision in found]).decode())
    else:
        width = max(len(decision.rule) for decision in found)
        for d in found:
            verdict = "allowed  by" if d.allowed else "refused  wants"
            print(f"{d.rule:<{width}}  {verdict} {d.why}  [{d.source}]")
    return REFUSED if args.rule and not all(decision.allowed for decision in found) else RIGHT


def _decisions(
    policies: dict[str, Policy], ctx: Context, target: dict[str, Any], only: list[str] | None
) -> Iterator[Decision]:
    done: set[str] = set()
    for policy in policies.values():
        ctx.is_admin = policy.is_admin(ctx)
        for name in policy.defaults:
            if name not in done and (not only or name in only):
                done.add(name)
                yield policy.decide(ctx, name, target)


# ------------------------------------------------------------------------------------------------------------- showing


def _show(specs: dict[str, ServiceSpec], policies: dict[str, Policy], args: argparse.Namespace) -> int:
    """The rules in force, or a policy file that changes nothing until its lines lose their comment sign."""
    shown: dict[str, Any] = {}
    for name, policy in policies.items():
        calls: dict[str, list[str]] = {}
        for op in _table(specs[name]).operations:
            calls.setdefault(op.policy or "", []).append(f"{op.method} {op.path}" + (f" {op.action or ''}".rstrip()))
        for rule, default in policy.defaults.items():
            if rule in shown or (args.rule and rule not in args.rule):
                continue
            override = policy.overrides.get(rule)
            check = default.check_str if args.sample or not override else override.check_str
            shown[rule] = {"check": check, "source": str(policy.file) if override else "default"}
            if not args.json:
                lines = [f"# {default.description}", *(f"# {call}" for call in dict.fromkeys(calls.get(rule, ())))]
                if override and not args.sample:
                    lines.append(f"# from {policy.file}")
                print("\n".join(lines))
                print(f"{'#' if args.sample else ''}{orjson.dumps(rule).decode()}: {orjson.dumps(check).decode()}\n")
    if args.json:
        print(orjson.dumps(shown).decode())
    return RIGHT
