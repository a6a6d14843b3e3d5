# SPDX-License-Identifier: Apache-2.0
"""The fields of a noun: one row per attribute says all there is to know about it.

From the rows of a Resource come the request schemas of create and update for any microversion, the body that is
shown, the filters and the sort keys. `schemas/<noun>.py` of each service holds one Resource.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Literal

from aerie_common import microversions, schema
from aerie_common.context import Context
from aerie_common.schema import Schema

Version = microversions.Version
NO_VERSION: Version = (0, 0)
_MISSING = object()


def isoformat(value: datetime.datetime | None) -> str | None:
    """`2026-11-20T10:00:00Z`: the form of Nova, Neutron and Glance."""
    return f"{value.replace(tzinfo=None).isoformat(timespec='seconds')}Z" if value is not None else None


def isoformat_micros(value: datetime.datetime | None) -> str | None:
    """`2026-11-20T10:00:00.123456Z`: the form of Keystone's tokens."""
    return f"{value.replace(tzinfo=None).isoformat(timespec='microseconds')}Z" if value is not None else None


def isoformat_plain_micros(value: datetime.datetime | None) -> str | None:
    """`2026-11-20T10:00:00.000000` without zone: the form of Designate and of Nova's older bodies."""
    return value.replace(tzinfo=None).isoformat(timespec="microseconds") if value is not None else None


@dataclass(frozen=True)
class Field:
    """One attribute.

    create/update: may the caller send it (create="required": must). default: what a create without it stores (a
    callable is called). since/until: the first and last microversion that knows it. show: is it in replies. read:
    where the value comes from: an attribute path of the row, or a function of (row, context); the field's name when
    None. convert: applied to a value the caller sent. filter/sort: may lists be filtered and sorted by it. policy:
    name of a further rule the caller must pass to send it.
    """

    name: str
    type: Schema = field(default_factory=dict)
    create: bool | Literal["required"] = False
    update: bool | Literal["required"] = False
    default: Any = _MISSING
    since: str | None = None
    until: str | None = None
    show: bool = True
    read: str | Callable[[Any, Context], Any] | None = None
    convert: Callable[[Any], Any] | None = None
    filter: bool = False
    sort: bool = False
    policy: str | None = None
    doc: str = ""

    def visible_in(self, version: Version) -> bool:
        """Does this microversion know the field? NO_VERSION (an API without microversions) knows all."""
        if version == NO_VERSION:
            return True
        if self.since and version < microversions.parse(self.since):
            return False
        return not (self.until and version > microversions.parse(self.until))

    def getter(self) -> Callable[[Any, Context], Any]:
        if callable(self.read):
            return self.read
        get = attrgetter(self.read or self.name)
        if self.type.get("format") == "date-time":
            return lambda row, ctx: isoformat(get(row))
        return lambda row, ctx: get(row)


class Resource:
    """A noun: its name, its plural, its fields.

    `wrap` is the key that surrounds one object in bodies (Keystone, Nova, Neutron); None where objects stand bare
    (Glance, Designate). `extra` says what undeclared properties create and update accept (False: none).
    """

    def __init__(
        self,
        singular: str,
        plural: str,
        fields: Iterable[Field],
        *,
        wrap: bool = True,
        extra: bool | Schema = False,
    ) -> None:
        self.singular, self.plural = singular, plural
        self.fields = {f.name: f for f in fields}
        self.wrap = singular if wrap else None
        self.extra = extra
        self._views: dict[Version, list[tuple[str, Callable[[Any, Context], Any]]]] = {}

    def __getitem__(self, name: str) -> Field:
        return self.fields[name]

    @property
    def filters(self) -> frozenset[str]:
        return frozenset(f.name for f in self.fields.values() if f.filter)

    @property
    def sort_keys(self) -> frozenset[str]:
        return frozenset(f.name for f in self.fields.values() if f.sort)

    def _properties(self, verb: str, version: Version) -> tuple[dict[str, Schema], list[str]]:
        properties, required = {}, []
        for f in self.fields.values():
            allowed = getattr(f, verb)
            if allowed and f.visible_in(version):
                properties[f.name] = f.type
                if allowed == "required":
                    required.append(f.name)
        return properties, required

    def object_schema(self, verb: Literal["create", "update"], version: Version = NO_VERSION) -> Schema:
        """The schema of the object itself, without its wrapper."""
        properties, required = self._properties(verb, version)
        return schema.obj(properties, required, extra=self.extra)

    def body_schema(self, verb: Literal["create", "update"], version: Version = NO_VERSION) -> Schema:
        """The schema of a whole request body."""
        inner = self.object_schema(verb, version)
        return schema.obj({self.wrap: inner}, [self.wrap]) if self.wrap else inner

    def reply_schema(self, version: Version = NO_VERSION) -> Schema:
        """The schema of the object as it is shown."""
        properties = {f.name: f.type for f in self.fields.values() if f.show and f.visible_in(version)}
        return schema.obj(properties, extra=True)

    def defaults(self, version: Version = NO_VERSION) -> dict[str, Any]:
        """What a create stores for fields that were not sent."""
        return {
            f.name: f.default() if callable(f.default) else f.default
            for f in self.fields.values()
            if f.default is not _MISSING
        }

    def values(self, sent: dict[str, Any], *, with_defaults: bool = False) -> dict[str, Any]:
        """The values of a validated object, converted; with defaults for a create."""
        result = self.defaults() if with_defaults else {}
        for name, value in sent.items():
            f = self.fields.get(name)
            result[name] = f.convert(value) if f and f.convert and value is not None else value
        return result

    def policies(self, sent: dict[str, Any]) -> list[str]:
        """The further rules the caller must pass for what was sent."""
        return [p for name in sent if name in self.fields and (p := self.fields[name].policy)]

    def show(
        self, row: Any, ctx: Context, version: Version = NO_VERSION, only: frozenset[str] | None = None
    ) -> dict[str, Any]:
        """The row as the API shows it in this microversion; `only` restricts it to some fields."""
        view = self._views.get(version)
        if view is None:
            view = [(f.name, f.getter()) for f in self.fields.values() if f.show and f.visible_in(version)]
            self._views[version] = view
        if only:
            return {name: get(row, ctx) for name, get in view if name in only}
        return {name: get(row, ctx) for name, get in view}
