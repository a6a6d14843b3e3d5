# SPDX-License-Identifier: Apache-2.0
"""The authorisation matrix of a service: every operation of its table, tried by every kind of caller.

What came out is compared with a file that is kept beside the test. A new operation, or a rule that became wider, shows
as a difference and has to be looked at; `AERIE_MATRIX=write` writes the file afresh.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aerie_common.operations import Operation, Table

REFUSALS = {401: "401", 403: "403", 404: "404"}
"""404 is a refusal too: other people's objects do not exist. Anything else got past authorisation."""


@dataclass(frozen=True)
class Attempt:
    """What to send for an operation: values for the path, query string, body, headers."""

    params: Mapping[str, str] = field(default_factory=dict)
    query: str = ""
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def path(self, op: Operation) -> str:
        return op.path.format(**self.params) + (f"?{self.query}" if self.query else "")


Call = Callable[[str, str, str, Attempt], int]
"""(persona, method, path, attempt) -> status."""


def name(op: Operation) -> str:
    """How the file calls an operation."""
    text = f"{op.method} {op.path}"
    if op.action:
        text += f" {op.action}"
    return text + (f" >={op.since}" if op.since else "")


def verdict(status: int) -> str:
    """`ok`, or the refusal. A 400 or a 500 tells nothing about authorisation, so it is shown as what it is."""
    if status in REFUSALS:
        return REFUSALS[status]
    return "ok" if status < 400 or status == 409 else f"!{status}"


def lines(table: Table, personas: Sequence[str], prepare: Callable[[Operation], Attempt], call: Call) -> Iterator[str]:
    """One line per operation. `prepare` makes objects to work on, afresh for each try of a row that changes them."""
    for op in table.operations:
        attempt: Attempt | None = None
        found: list[str] = []
        for persona in personas:
            if attempt is None or op.method != "GET":
                attempt = prepare(op)
            found.append(f"{persona}={verdict(call(persona, op.method, attempt.path(op), attempt))}")
        yield f"{name(op):<100} {' '.join(found)}".rstrip()


def check(path: Path, found: Sequence[str]) -> None:
    """Compare with the file. AssertionError shows what differs."""
    if os.environ.get("AERIE_MATRIX") == "write":
        path.write_text("\n".join(found) + "\n")
    kept = path.read_text().splitlines() if path.exists() else []
    gone, new = [x for x in kept if x not in found], [x for x in found if x not in kept]
    if gone or new:
        text = "\n".join([*(f"- {x}" for x in gone), *(f"+ {x}" for x in new)])
        raise AssertionError(f"{path.name} says otherwise (AERIE_MATRIX=write accepts what was found):\n{text}")
