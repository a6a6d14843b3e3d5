# SPDX-License-Identifier: Apache-2.0
"""The table of HTTP operations: one row per operation, from which everything else follows.

Router, request validation, reply checking, policy defaults, OpenAPI and the authorisation matrix test are all made of
the rows in `<service>/operations.py`. A row names the handler; the handler is 10 to 30 lines, takes a Request and the
path's parameters by name, and returns what is to be sent (a JSON-able value, None, or a Reply).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from aerie_common import microversions, schema
from aerie_common.dialects import Dialect
from aerie_common.errors import AerieError
from aerie_common.fields import NO_VERSION, Resource
from aerie_common.listing import ListStyle
from aerie_common.microversions import Microversions, Version
from aerie_common.policy import ADMIN
from aerie_common.schema import Schema

Handler = Callable[..., Any]
Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]


@dataclass(frozen=True)
class Operation:
    """One operation.

    path: template such as `/v2.1/servers/{server_id}`. policy: the rule's name, `rule` its default check string; None
    for what needs no token. request: a Schema for the whole body, a Resource with `verb` telling which of its schemas,
    or "stream" for a body the handler reads itself; None refuses any. action: this row answers POSTs to the path
    whose body's only key is that word. filters: a Resource (or names) that a list may be filtered by; None for calls
    that are no list. reply: what is sent, for OpenAPI and for the check of replies in tests. status: on success.
    since/until: microversions. check="handler": the handler asks the policy itself, about the object it found.
    """

    method: Method
    path: str
    handler: Handler
    policy: str | None
    rule: str = ADMIN
    request: Schema | Resource | Literal["stream"] | None = None
    verb: Literal["create", "update"] | None = None
    action: str | None = None
    filters: Resource | frozenset[str] | None = None
    extra_filters: frozenset[str] = frozenset()
    reply: Schema | Resource | None = None
    status: int = 200
    errors: tuple[type[AerieError], ...] = ()
    since: str | None = None
    until: str | None = None
    check: Literal["framework", "handler"] = "framework"
    content_types: frozenset[str] = frozenset({"application/json"})

    @property
    def summary(self) -> str:
        """The handler's docstring, first line."""
        return (self.handler.__doc__ or "").strip().partition("\n")[0]

    @cached_property
    def version_range(self) -> tuple[Version, Version]:
        low = microversions.parse(self.since) if self.since else NO_VERSION
        return low, microversions.parse(self.until) if self.until else (999, 999)

    def offered_in(self, version: Version) -> bool:
        low, high = self.version_range
        return version == NO_VERSION or low <= version <= high

    @cached_property
    def filter_names(self) -> frozenset[str]:
        names = self.filters.filters if isinstance(self.filters, Resource) else self.filters or frozenset()
        return names | self.extra_filters

    @cached_property
    def sort_names(self) -> frozenset[str]:
        return self.filters.sort_keys if isinstance(self.filters, Resource) else frozenset()

    @cached_property
    def _validators(self) -> dict[Version, schema.Validator]:
        return {}

    def validator(self, version: Version) -> schema.Validator | None:
        """The check of the request body in this microversion."""
        if self.request is None or self.request == "stream":
            return None
        found = self._validators.get(version)
        if found is None:
            if isinstance(self.request, Resource):
                if self.verb is None:
                    raise ValueError(f"{self.method} {self.path}: a Resource as request needs verb=")
                body = self.request.body_schema(self.verb, version)
            else:
                body = self.request
            found = self._validators[version] = schema.compile_schema(body)
        return found

    @cached_property
    def _reply_validators(self) -> dict[Version, schema.Validator]:
        return {}

    def reply_validator(self, version: Version) -> schema.Validator | None:
        """The check of the reply's JSON in this microversion; None where the row says nothing about it."""
        if self.reply is None:
            return None
        found = self._reply_validators.get(version)
        if found is None:
            found = self._reply_validators[version] = schema.compile_schema(self.reply_body(version))
        return found

    def reply_body(self, version: Version = NO_VERSION) -> Schema:
        """The schema of the whole reply."""
        if not isinstance(self.reply, Resource):
            return self.reply or {}
        one = self.reply.reply_schema(version)
        if self.filters is not None:
            return schema.obj({self.reply.plural: schema.array(one)}, [self.reply.plural], extra=True)
        return schema.obj({self.reply.wrap: one}, [self.reply.wrap], extra=True) if self.reply.wrap else one


@dataclass(frozen=True)
class Match:
    """What the router found: the rows for this method and path, and the path's parameters."""

    rows: tuple[Operation, ...]
    params: dict[str, str]


@dataclass
class _Node:
    literal: dict[str, _Node] = field(default_factory=dict)
    variable: _Node | None = None
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    rows: dict[str, list[Operation]] = field(default_factory=dict)


class Table:
    """All operations of one API, and the manners that they share.

    prefixes: path prefixes under which the API also answers (`/compute`). dialect: how errors are worded.
    trailing_slash: may a path end with a slash; if not, `/v2/things/` is not `/v2/things` but a thing without a name.
    aliases: beginnings of paths that stand for another one (`/v2/` for `/v2.1/`). strict_query_since: the microversion
    from which on a list refuses what it cannot be filtered by.
    """

    def __init__(
        self,
        service: str,
        operations: Iterable[Operation],
        *,
        dialect: Dialect,
        versions: Microversions | None = None,
        style: ListStyle | None = None,
        prefixes: tuple[str, ...] = (),
        rules: Iterable[tuple[str, str, str]] = (),
        max_body: int = 1 << 20,
        trailing_slash: bool = True,
        aliases: Mapping[str, str] | None = None,
        strict_query_since: str | None = None,
    ) -> None:
        self.aliases = dict(aliases or {})
        self.strict_query_since = microversions.parse(strict_query_since) if strict_query_since else None
        self.service, self.dialect, self.versions = service, dialect, versions
        self.style = style or ListStyle()
        self.prefixes, self.max_body, self.trailing_slash = prefixes, max_body, trailing_slash
        self.operations = tuple(operations)
        self._extra_rules = tuple(rules)
        self._root = _Node()
        for op in self.operations:
            self._add(op)

    def _add(self, op: Operation) -> None:
        node, names = self._root, []
        for part in op.path.strip("/").split("/"):
            if part.startswith("{"):
                names.append(part[1:-1])
                node.variable = node.variable or _Node()
                node = node.variable
            else:
                node = node.literal.setdefault(part, _Node())
        known = node.names.setdefault(op.method, tuple(names))
        if known != tuple(names):
            raise ValueError(f"{op.method} {op.path}: parameters {names} are named {known} by another row")
        for other in node.rows.setdefault(op.method, []):
            a, b = other.version_range, op.version_range
            if other.action == op.action and a[0] <= b[1] and b[0] <= a[1]:
                raise ValueError(f"{op.method} {op.path} is declared twice for the same versions")
        node.rows[op.method].append(op)
        if isinstance(op.request, dict):
            schema.check_keywords(op.request, f"{op.method} {op.path}")

    def find(self, method: str, path: str) -> tuple[Match | None, tuple[str, ...]]:
        """The rows for a method and path, and the methods the path has at all (empty: no such path)."""
        if not self.trailing_slash and path.endswith("/") and path.count("/") > 2:
            return None, ()
        for alias, meant in self.aliases.items():
            if path.startswith(alias) and path != alias:
                path = meant + path[len(alias) :]
        node, values = self._walk(self._root, path.strip("/").split("/"), ())
        if node is None:
            return None, ()
        rows = node.rows.get(method)
        if rows is None and method == "HEAD":
            method, rows = "GET", node.rows.get("GET")
        if rows is None:
            return None, tuple(sorted(node.rows))
        return Match(tuple(rows), dict(zip(node.names[method], values, strict=True))), tuple(sorted(node.rows))

    def _walk(self, node: _Node, parts: list[str], values: tuple[str, ...]) -> tuple[_Node | None, tuple[str, ...]]:
        if not parts:
            return (node, values) if node.rows else (None, ())
        head, rest = parts[0], parts[1:]
        if (child := node.literal.get(head)) is not None:
            found, got = self._walk(child, rest, values)
            if found is not None:
                return found, got
        if node.variable is not None and head:
            return self._walk(node.variable, rest, (*values, head))
        return None, ()

    def policy_rules(self) -> Iterator[tuple[str, str, str]]:
        """(name, default, description) of every rule the table names."""
        for op in self.operations:
            if op.policy:
                yield op.policy, op.rule, op.summary or f"{op.method} {op.path}"
        yield from self._extra_rules
