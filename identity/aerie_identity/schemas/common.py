# SPDX-License-Identifier: Apache-2.0
"""Attribute types that several nouns share."""

from __future__ import annotations

from aerie_common import schema
from aerie_common.schema import Schema

ID: Schema = schema.string(1, 64, pattern=r"^[a-zA-Z0-9_.-]+$")
ID_OR_NULL: Schema = schema.string(0, 64, pattern=r"^[a-zA-Z0-9_.-]*$", nullable=True)
TEXT: Schema = schema.string(0, 60000, nullable=True)
TAG: Schema = schema.string(1, 255, pattern=r"^[^,/]*$")
TAGS: Schema = schema.array(TAG, max=80, unique=True)
DATE: Schema = schema.string(format="date-time", nullable=True)


def by(*names: str) -> Schema:
    """An object of which one of these names must be present; others are ignored."""
    return {"type": "object", "anyOf": [{"required": [name]} for name in names]}
