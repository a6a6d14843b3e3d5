# SPDX-License-Identifier: Apache-2.0
"""The rules of a mapping: from what an identity provider asserts about somebody to a user, groups and projects here.

Pure functions of rules and assertion. A rule applies when all its remote conditions hold; a condition that only names
or filters an attribute yields its values as {0}, {1}, ... for the rule's local part, in order. All rules that apply
count; the first user that one of them names is the user.

Invariants: values of the assertion are data, never templates or lists in disguise; who a rule makes a user of is never
ambiguous.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from aerie_common.errors import BadRequest

Assertion = Mapping[str, Sequence[str]]
"""Attribute -> its values."""
Domain = dict[str, str]
"""{"id": ..} or {"name": ..}; empty: none was named."""
UserType = Literal["ephemeral", "local"]

_BLANK = re.compile(r"\{(\d+)\}")
_CONDITIONS = ("any_one_of", "not_any_of")


class Unmapped(Exception):
    """The assertion leads to no user; the text is for the log."""


@dataclass(frozen=True)
class MappedUser:
    """id and name: at least one is given."""

    id: str | None
    name: str | None
    email: str | None = None
    domain: Domain | None = None
    type: UserType = "ephemeral"


@dataclass(frozen=True)
class MappedGroup:
    """Named by id, or by name and domain."""

    id: str | None = None
    name: str | None = None
    domain: Domain | None = None


@dataclass(frozen=True)
class MappedProject:
    name: str
    roles: tuple[str, ...]
    domain: Domain | None = None


@dataclass(frozen=True)
class Mapped:
    user: MappedUser | None
    groups: tuple[MappedGroup, ...]
    projects: tuple[MappedProject, ...]


# -------------------------------------------------------------------------------------------------- checking a mapping


def check(rules: list[dict[str, Any]], version: str) -> None:
    """Raise BadRequest for rules of the right shape that still could never work."""
    for number, rule in enumerate(rules):
        yielded = sum(not any(name in part for name in _CONDITIONS) for part in rule["remote"])
        for part in rule["remote"]:
            if part.get("regex"):
                _compile(next(part[n] for n in (*_CONDITIONS, "blacklist", "whitelist") if n in part), number)
        for local in rule["local"]:
            for text in _texts(local):
                wrong = [n for n in _BLANK.findall(text) if int(n) >= yielded]
                if wrong:
                    raise BadRequest(f"Rule {number}: {{{wrong[0]}}} stands for nothing its remote part yields.")
            if version == "1.0" and "groups" in local and "domain" not in local:
                raise BadRequest(f"Rule {number}: groups need a domain beside them.")
            if version == "1.0" and any("domain" in project for project in local.get("projects", ())):
                raise BadRequest(f"Rule {number}: a project's domain needs schema_version 2.0.")


def _compile(patterns: list[str], number: int) -> None:
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as e:
            raise BadRequest(f"Rule {number}: {pattern!r} is no regular expression: {e}.") from None


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)


# -------------------------------------------------------------------------------------------------- applying a mapping


def apply(rules: list[dict[str, Any]], assertion: Assertion, version: str = "1.0") -> Mapped:
    """What the rules make of an assertion. Raises Unmapped when none applies."""
    users: list[MappedUser] = []
    groups: dict[MappedGroupKey, MappedGroup] = {}
    projects: list[MappedProject] = []
    applied = False
    for rule in rules:
        found = _match(rule["remote"], assertion)
        if found is None:
            continue
        applied = True
        for local in rule["local"]:
            local_domain = _domain(local.get("domain"), found)
            default = local_domain if version != "1.0" else None
            if "user" in local and not users:
                users.append(_user(local["user"], found, default))
            for group in _groups(local, found, local_domain):
                groups.setdefault(_key(group), group)
            for project in local.get("projects", ()):
                projects += _projects(project, found, default)
    if not applied:
        raise Unmapped("no rule of the mapping applies")
    return Mapped(users[0] if users else None, tuple(groups.values()), tuple(projects))


def named(mapped: Mapped, names: Sequence[str]) -> Mapped:
    """The same, with the name by which the identity provider itself calls a user whom no rule named."""
    user = mapped.user or MappedUser(None, None)
    return replace(mapped, user=replace(user, name=names[0] if names else None))


def _match(remote: list[dict[str, Any]], assertion: Assertion) -> list[list[str]] | None:
    """The values that {0}, {1}, ... stand for; None when a condition does not hold."""
    yielded: list[list[str]] = []
    for part in remote:
        values = list(assertion.get(part["type"], ()))
        if not values:
            return None
        regex = bool(part.get("regex"))
        if "any_one_of" in part:
            if not any(_fits(value, part["any_one_of"], regex) for value in values):
                return None
        elif "not_any_of" in part:
            if any(_fits(value, part["not_any_of"], regex) for value in values):
                return None
        elif "blacklist" in part:
            yielded.append([value for value in values if not _fits(value, part["blacklist"], regex)])
        elif "whitelist" in part:
            yielded.append([value for value in values if _fits(value, part["whitelist"], regex)])
        else:
            yielded.append(values)
    return yielded


def _fits(value: str, tests: list[str], regex: bool) -> bool:
    if regex:
        return any(re.search(test, value) for test in tests)
    return value in tests


def _fill(template: str, found: list[list[str]]) -> list[str]:
    """The template with its blanks filled: once for every value of what they stand for."""
    blanks = sorted({int(n) for n in _BLANK.findall(template)})
    if not blanks:
        return [template]
    filled = []
    for chosen in itertools.product(*(found[n] for n in blanks)):
        values = dict(zip(blanks, chosen, strict=True))
        filled.append(_BLANK.sub(lambda match: values[int(match[1])], template))  # noqa: B023
    return filled


def _one(what: str, template: str | None, found: list[list[str]]) -> str | None:
    """The only value. Raises Unmapped when there are several, or none although a template asks for one."""
    if template is None:
        return None
    values = _fill(template, found)
    if len(values) != 1 or not values[0].strip():
        raise Unmapped(f"{what} {template!r} has {len(values)} values")
    return values[0]


def _many(template: str, found: list[list[str]]) -> list[str]:
    """All values; a template without blanks may be written as a list: "['a', 'b']"."""
    if not _BLANK.search(template) and template.lstrip().startswith("["):
        try:
            listed = ast.literal_eval(template)
        except (ValueError, SyntaxError):
            return [template]
        return [str(each) for each in listed]
    return _fill(template, found)


def _domain(domain: dict[str, str] | None, found: list[list[str]]) -> Domain | None:
    if not domain:
        return None
    return {name: _one("a domain", text, found) or "" for name, text in domain.items()}


def _user(user: dict[str, Any], found: list[list[str]], default: Domain | None) -> MappedUser:
    emails = _fill(user["email"], found) if user.get("email") else []
    return MappedUser(
        id=_one("the user's id", user.get("id"), found),
        name=_one("the user's name", user.get("name"), found),
        email=emails[0] if emails else None,
        domain=_domain(user.get("domain"), found) or default,
        type=user.get("type", "ephemeral"),
    )


MappedGroupKey = tuple[str | None, str | None, tuple[tuple[str, str], ...]]


def _key(group: MappedGroup) -> MappedGroupKey:
    return group.id, group.name, tuple(sorted((group.domain or {}).items()))


def _groups(local: dict[str, Any], found: list[list[str]], domain: Domain | None) -> Iterator[MappedGroup]:
    group = local.get("group")
    if group is not None:
        home = _domain(group.get("domain"), found)
        if "id" in group:
            yield from (MappedGroup(id=id) for id in _fill(group["id"], found))
        else:
            yield from (MappedGroup(name=name, domain=home) for name in _fill(group["name"], found))
    if "groups" in local:
        yield from (MappedGroup(name=name, domain=domain) for name in _many(local["groups"], found))
    if "group_ids" in local:
        yield from (MappedGroup(id=id) for id in _many(local["group_ids"], found))


def _projects(project: dict[str, Any], found: list[list[str]], default: Domain | None) -> list[MappedProject]:
    roles = tuple(name for role in project["roles"] for name in _fill(role["name"], found))
    home = _domain(project.get("domain"), found) or default
    return [MappedProject(name, roles, home) for name in _fill(project["name"], found)]
