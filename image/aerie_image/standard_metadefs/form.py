# SPDX-License-Identifier: Apache-2.0
"""How a standard namespace is written down, and short words for the kinds of properties there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

IMAGE, VOLUME, FLAVOR = "OS::Glance::Image", "OS::Cinder::Volume", "OS::Nova::Flavor"
AGGREGATE, SERVER = "OS::Nova::Aggregate", "OS::Nova::Server"
Property = dict[str, Any]


@dataclass(frozen=True)
class At:
    """At a resource type: what names begin with there, and which of its several sets of properties is meant."""

    prefix: str | None = None
    target: str | None = None

    def body(self) -> dict[str, Any]:
        """As it is stored and shown."""
        found = {"prefix": self.prefix, "properties_target": self.target}
        return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True)
class Standard:
    """One namespace. types: resource type -> how it is there. objects: name -> (description, properties)."""

    name: str
    title: str
    text: str
    types: Mapping[str, At]
    properties: dict[str, Property] = field(default_factory=dict)
    objects: Mapping[str, tuple[str, dict[str, Property]]] = field(default_factory=dict)

    def associations(self) -> dict[str, dict[str, Any]]:
        """Resource type -> association, as they are stored."""
        return {name: at.body() for name, at in self.types.items()}

    def object_bodies(self) -> dict[str, dict[str, Any]]:
        """Object -> body, as they are stored."""
        return {
            name: {"description": text, "required": [], "properties": properties}
            for name, (text, properties) in self.objects.items()
        }


PLAIN = At()
HARDWARE = {IMAGE: At("hw_"), VOLUME: At("hw_", "image"), FLAVOR: At("hw:")}
"""What can be asked for by image, by the image data of a volume, and by flavor."""
SOFTWARE = {IMAGE: PLAIN, VOLUME: At(target="image"), SERVER: At(target="metadata")}


def text(title: str, about: str, **more: Any) -> Property:
    """Any text."""
    return {"title": title, "description": about, "type": "string", **more}


def choice(title: str, about: str, *values: str, **more: Any) -> Property:
    """One of these."""
    return text(title, about, enum=list(values), **more)


def some_of(title: str, about: str, *values: str) -> Property:
    """Several of these, any of them or all."""
    items = {"type": "string", "enum": list(values)}
    return {"title": title, "description": about, "type": "array", "items": items, "operators": ["<or>", "<all-in>"]}


def flag(title: str, about: str) -> Property:
    """True or false."""
    return {"title": title, "description": about, "type": "boolean"}


def number(title: str, about: str, least: int = 0, **more: Any) -> Property:
    """A whole number."""
    return {"title": title, "description": about, "type": "integer", "minimum": least, **more}


def port(number_: int, title: str = "Port", about: str = "Port that it listens on.") -> Property:
    """A TCP port with its usual number."""
    return number(title, about, 1, maximum=65535, default=number_)
