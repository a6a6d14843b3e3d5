# SPDX-License-Identifier: Apache-2.0
"""Random requests, made of an operation table: mostly right, with something wrong here and there.

Invariant: the same seed makes the same choices, as long as the cloud gives the same answers.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

from aerie_common.listing import PAGING
from aerie_common.operations import Operation
from aerie_common.schema import Schema

NOBODY = "99999999-0000-4000-8000-000000000000"
TEXTS = (
    "",
    " ",
    "a",
    "a" * 64,
    "a" * 255,
    "a" * 256,
    "b" * 5000,
    "\x00",
    "a\x00b",
    "\n",
    "a\r\nSet-Cookie: x",
    "\x7f",
    "\u202e",
    "\ud7ff\uffff",
    "😀" * 64,
    "é",
    "ß",
    "İ",
    "%s%n",
    "%",
    "_",
    "' OR '1'='1",
    "\\",
    "../../etc/passwd",
    "..",
    ".",
    "/",
    "//",
    "<b>",
    "null",
    "None",
    "true",
    "-1",
    "0",
    "1",
    "1_000",
    "٣",
    "１",
    " 7 ",
    "1e9",
    "0x10",
    "NaN",
    "9" * 30,
    "-" + "9" * 30,
    NOBODY,
    NOBODY.replace("-", ""),
    "99999999-0000-4000-8000-00000000000g",
    "10.0.0.1",
    "10.0.0.0/8",
    "0.0.0.0/0",
    "10.0.0.1/33",
    "256.1.1.1",
    "::",
    "::1/129",
    "fe80::1%eth0",
    "2001:db8::/64",
    "fa:16:3e:00:00:01",
    "00:00:00:00:00:00",
    "example.org.",
    "*.example.org.",
    "xn--a.",
    "a" * 64 + ".org.",
    "mailto:a@b",
    "a@b.c",
    "http://[",
    "http://a:99999/",
    "2020-01-01T00:00:00Z",
    "2020-13-45T99:00:00Z",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59Z",
    "gt:2020",
    "in:",
    "in:a,b",
    "eq:",
    "lt:x",
    "e30=",
    "====",
    "{",
    "[]",
    "desc",
    "asc",
    "name:desc",
    "id:sideways",
    "ACTIVE",
)
NUMBERS = (
    0,
    1,
    2,
    -1,
    7,
    80,
    255,
    256,
    65535,
    65536,
    2**31 - 1,
    2**31,
    -(2**31) - 1,
    2**32,
    2**53 + 1,
    2**63 - 1,
    2**63,
    -(2**63),
    2**64,
    10**30,
    0.5,
    -0.0,
    1e308,
    1.0,
    2.0,
)
OTHERS = (None, True, False, [], {}, [[]], {"": {}}, [None], {"a": [1, {"b": None}]})


class Maker:
    """Makes requests for the operations of one API; learns ids from its answers."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.known: dict[str, list[str]] = defaultdict(list)
        """Ids that answers contained, by the last fixed part of the path they belong behind."""
        self.number = 0
        self.wrongness = 0.0

    # -- learning

    def learn(self, op: Operation, answer: Any) -> None:
        """Remember what a successful POST or PUT made."""
        kind = [part for part in op.path.split("/") if not part.startswith("{")][-1]
        for found in _objects(answer):
            name = found.get("id") or found.get("name")
            if isinstance(name, str) and name and len(self.known[kind]) < 50:
                self.known[kind].append(name)

    # -- whole requests

    def path(self, op: Operation) -> str:
        parts, kind = [], ""
        for part in op.path.split("/"):
            if part.startswith("{"):
                parts.append(quote(self._path_value(kind, op.method == "DELETE"), safe=":"))
            else:
                kind = part
                parts.append(part)
        return "/".join(parts)

    def _path_value(self, kind: str, rarely: bool) -> str:
        chance = self.random.random()
        if self.known[kind] and chance < (0.3 if rarely else 0.8):
            return self.random.choice(self.known[kind])
        if chance < 0.9:
            return NOBODY
        return self.random.choice(TEXTS) or "x"

    def query(self, op: Operation) -> str:
        names = sorted(PAGING | op.filter_names) if op.method == "GET" else ["force", "cascade", "x"]
        pairs = []
        for _ in range(self.random.choice((0, 0, 1, 1, 2, 4))):
            name = self.random.choice(names)
            if name in ("sort", "sort_key", "sort_dir", "fields") and self.random.random() < 0.6:
                value = self.random.choice(sorted(op.sort_names) or ["id"]) if name != "sort_dir" else "desc"
            else:
                value = self._text(name)
            pairs.append((name, value))
            if self.random.random() < 0.1:
                pairs.append((name, self._text(name)))
        if self.random.random() < 0.05:
            pairs.append((self.random.choice(TEXTS), self.random.choice(TEXTS)))
        return urlencode(pairs)

    def body(self, op: Operation, version: Any) -> Any:
        if op.request is None or op.request == "stream":
            return None
        schema = op.request if isinstance(op.request, dict) else op.request.body_schema(op.verb or "create", version)
        self.wrongness = self.random.choice((0.0, 0.0, 0.03, 0.1, 0.3))
        return self.value(schema, "")

    # -- values

    def value(self, schema: Schema, key: str, depth: int = 0) -> Any:
        """A value that fits the schema, or one that does not with the probability `wrongness`."""
        if self.random.random() < self.wrongness:
            return self.random.choice((self._hostile, self._hostile, lambda: self._text(key)))()
        for word in ("anyOf", "oneOf"):
            if word in schema:
                return self.value(self.random.choice(schema[word]), key, depth)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self.random.choice(schema["enum"])
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = self.random.choice(kind)
        if kind == "object" or (kind is None and "properties" in schema):
            return self._object(schema, depth)
        if kind == "array":
            most = min(schema.get("maxItems", 3), 3)
            count = self.random.randint(min(schema.get("minItems", 0), most), most)
            return [self.value(schema.get("items", {}), key, depth + 1) for _ in range(count)]
        if kind in ("integer", "number"):
            low, high = schema.get("minimum", 0), schema.get("maximum", schema.get("minimum", 0) + 100)
            return self.random.choice((low, high, self.random.randint(int(low), int(high))))
        if kind == "boolean":
            return self.random.random() < 0.5
        if kind == "null":
            return None
        if kind == "string":
            return self._fitting(schema, key)
        return self._hostile() if self.random.random() < 0.3 else self._text(key)

    def _object(self, schema: Schema, depth: int) -> dict[str, Any]:
        properties, required = schema.get("properties", {}), schema.get("required", [])
        made = {}
        for name, inner in properties.items():
            if name in required or self.random.random() < (0.35 if depth < 3 else 0.2):
                made[name] = self.value(inner, name, depth + 1)
        extra = schema.get("additionalProperties")
        if isinstance(extra, dict) or extra is True:
            for _ in range(self.random.randint(0, 2)):
                made[self._text("name")] = self.value(extra if isinstance(extra, dict) else {}, "", depth + 1)
        for inner in schema.get("patternProperties", {}).values():
            made[self._text("name")] = self.value(inner, "", depth + 1)
        if self.random.random() < self.wrongness:
            made[self.random.choice(TEXTS)] = self._hostile()
        return made

    def _hostile(self) -> Any:
        return self.random.choice((*self.random.choice((TEXTS, NUMBERS, OTHERS)),))

    def _fitting(self, schema: Schema, key: str) -> str:
        pattern = re.compile(schema["pattern"]) if "pattern" in schema else None
        for _ in range(30):
            text = self._text(key)
            if len(text) < schema.get("minLength", 0) or len(text) > schema.get("maxLength", 1 << 30):
                continue
            if pattern is None or pattern.search(text):
                return text
        return "x" * max(1, schema.get("minLength", 1))

    def _text(self, key: str) -> str:
        """A text such as might stand under that key."""
        self.number += 1
        likely = [f"n{self.number}"]
        for plural in (key.removesuffix("_id") + "s", key + "s", key.removesuffix("Ref") + "s", key):
            likely += self.known[plural][-5:] * 2
        number = self.random.randint(0, 255)
        if "ip" in key or "address" in key or "host" in key or "gateway" in key:
            likely += [f"10.{number}.0.{number}", f"2001:db8::{number:x}"]
        if "cidr" in key or "prefix" in key or "range" in key:
            likely += [f"10.{number}.0.0/24", f"192.168.{number}.0/25", "2001:db8:1::/64"]
        if "name" in key:
            likely += [f"z{self.number}.example.org."]
        if "date" in key or key.endswith("_at"):
            likely += ["2030-01-01T00:00:00.000000Z"]
        if "mail" in key:
            likely += ["a@example.org"]
        if "url" in key:
            likely += ["http://example.org/"]
        if key == "limit":
            likely += ["1", "2", "1000000"]
        return self.random.choice(likely) if self.random.random() < 0.65 else self.random.choice(TEXTS)


def _objects(answer: Any) -> Iterator[dict[str, Any]]:
    """The objects an answer is, or wraps."""
    if isinstance(answer, dict):
        if "id" in answer or "name" in answer:
            yield answer
        elif len(answer) == 1:
            yield from _objects(next(iter(answer.values())))
    elif isinstance(answer, list):
        for one in answer:
            yield from _objects(one)
