# SPDX-License-Identifier: Apache-2.0
"""JSON schemas written as small function calls, compiled once to validators.

A keyword this module does not know is an error when the schema is compiled, so a typing mistake cannot switch a
check off. Objects are closed: properties that are not declared are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import fastjsonschema

from aerie_common.errors import InvalidField

Schema = dict[str, Any]

_KEYWORDS = {
    "type", "enum", "const", "anyOf", "oneOf", "allOf", "not", "properties", "patternProperties", "required",
    "additionalProperties", "items", "minItems", "maxItems", "uniqueItems", "minLength", "maxLength", "pattern",
    "format", "minimum", "maximum", "minProperties", "maxProperties", "description", "default",
}  # fmt: skip

UUID_PATTERN = r"^[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}$"


def string(
    min: int = 0,
    max: int | None = 255,
    *,
    pattern: str | None = None,
    format: str | None = None,
    nullable: bool = False,
) -> Schema:
    """Text of min to max characters."""
    schema: Schema = {"type": ["string", "null"] if nullable else "string"}
    if min:
        schema["minLength"] = min
    if max is not None:
        schema["maxLength"] = max
    if pattern:
        schema["pattern"] = pattern
    if format:
        schema["format"] = format
    return schema


def name(min: int = 1, max: int = 255, *, nullable: bool = False) -> Schema:
    """A printable name: no control characters."""
    return string(min, max, pattern=r"^[^\x00-\x1f\x7f]*$", nullable=nullable)


def uuid(*, nullable: bool = False) -> Schema:
    return string(pattern=UUID_PATTERN, nullable=nullable)


LEAST, MOST = -(2**63), 2**63 - 1
"""What a database's largest integers hold; the limits of whole numbers that name none of their own."""
LARGEST = 1e15
"""The largest number with a fraction that is taken."""


def integer(min: int = LEAST, max: int = MOST, *, nullable: bool = False, text: bool = False) -> Schema:
    """A whole number; with text=True also one written as digits in a string."""
    types = ["integer"] + (["string"] if text else []) + (["null"] if nullable else [])
    schema: Schema = {"type": types if len(types) > 1 else types[0], "minimum": min, "maximum": max}
    if text:
        schema |= {"pattern": r"^-?[0-9]+$", "format": f"{_WITHIN}{min}..{max}"}
    return schema


def number(min: float = -LARGEST, *, text: bool = False) -> Schema:
    """A number; with text=True also one written as a string."""
    schema: Schema = {"type": ["number", "string"] if text else "number", "minimum": min, "maximum": LARGEST}
    if text:
        schema |= {"pattern": r"^-?[0-9]+(\.[0-9]+)?$", "format": f"{_WITHIN}{min}..{LARGEST}"}
    return schema


_WITHIN = "number within "
"""How the formats begin that bound numbers in strings, where JSON schema's own bounds say nothing."""


def _formats(schema: Any) -> dict[str, Callable[[str], bool]]:
    """The formats of that kind in a schema, with what checks them."""
    if isinstance(schema, list):
        return {name_: check for one in schema for name_, check in _formats(one).items()}
    if not isinstance(schema, dict):
        return {}
    found = _formats(list(schema.values()))
    name_ = schema.get("format")
    if isinstance(name_, str) and name_.startswith(_WITHIN):
        low, high = (float(bound) for bound in name_.removeprefix(_WITHIN).split(".."))
        found[name_] = lambda text: low <= float(text) <= high
    return found


TRUE_WORDS = frozenset({"true", "1", "yes", "on", "t", "y"})
FALSE_WORDS = frozenset({"false", "0", "no", "off", "f", "n"})


def boolean(*, nullable: bool = False, text: bool = False) -> Schema:
    """true or false; with text=True also the words OpenStack accepts (`to_bool` converts them)."""
    if not text:
        return {"type": ["boolean", "null"] if nullable else "boolean"}
    words = sorted(TRUE_WORDS | FALSE_WORDS)
    allowed: list[Any] = [True, False, 0, 1, *words, *(w.capitalize() for w in words), *(w.upper() for w in words)]
    return {"enum": list(dict.fromkeys(allowed)) + ([None] if nullable else [])}


def to_bool(value: Any) -> bool:
    """What boolean(text=True) accepted, as a bool. Raises ValueError on other text."""
    if isinstance(value, str):
        word = value.strip().lower()
        if word in TRUE_WORDS:
            return True
        if word in FALSE_WORDS:
            return False
        raise ValueError(f"{value!r} is not a boolean")
    return bool(value)


def enum(*values: Any) -> Schema:
    return {"enum": list(values)}


def array(
    items: Schema, min: int = 0, max: int | None = None, *, unique: bool = False, nullable: bool = False
) -> Schema:
    schema: Schema = {"type": ["array", "null"] if nullable else "array", "items": items}
    if min:
        schema["minItems"] = min
    if max is not None:
        schema["maxItems"] = max
    if unique:
        schema["uniqueItems"] = True
    return schema


def obj(
    properties: dict[str, Schema] | None = None,
    required: tuple[str, ...] | list[str] = (),
    *,
    extra: bool | Schema = False,
    patterns: dict[str, Schema] | None = None,
    nullable: bool = False,
) -> Schema:
    """A JSON object, closed unless `extra` says what else may stand in it."""
    schema: Schema = {
        "type": ["object", "null"] if nullable else "object",
        "properties": properties or {},
        "additionalProperties": extra,
    }
    if required:
        schema["required"] = list(required)
    if patterns:
        schema["patternProperties"] = patterns
    return schema


def any_of(*schemas: Schema) -> Schema:
    return {"anyOf": list(schemas)}


def anything() -> Schema:
    return {}


def check_keywords(schema: Any, where: str = "schema") -> None:
    """Raise ValueError for a keyword that validates nothing."""
    if not isinstance(schema, dict):
        raise ValueError(f"{where}: a schema is an object, not {schema!r}")
    for key, value in schema.items():
        if key not in _KEYWORDS:
            raise ValueError(f"{where}: unknown schema keyword {key!r}")
        if key in ("properties", "patternProperties"):
            for name_, sub in value.items():
                check_keywords(sub, f"{where}.{name_}")
        elif key in ("items", "not") or (key == "additionalProperties" and not isinstance(value, bool)):
            check_keywords(value, f"{where}.{key}")
        elif key in ("anyOf", "oneOf", "allOf"):
            for sub in value:
                check_keywords(sub, f"{where}.{key}")


Validator = Callable[[Any], None]


def compile_schema(schema: Schema) -> Validator:
    """A function that raises InvalidField naming the first value that does not fit."""
    check_keywords(schema)
    validate = fastjsonschema.compile(
        {"$schema": "http://json-schema.org/draft-07/schema#", **schema}, formats=_formats(schema), use_default=False
    )

    def check(value: Any) -> None:
        try:
            validate(value)
        except fastjsonschema.JsonSchemaValueException as e:
            path = ".".join(str(p) for p in e.path[1:]) or "the body"
            reason = e.message.removeprefix(e.name or "").strip()
            shown = repr(e.value)
            raise InvalidField(path, f"{shown if len(shown) <= 80 else shown[:77] + '...'} {reason}.") from None

    return check
