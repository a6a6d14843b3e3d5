# SPDX-License-Identifier: Apache-2.0
"""Names of objects in object stores: `<image id>.<upload>`, another one for every upload.

So what a dead upload left can always be told from what an image refers to, and no late writer reaches another's data.
Objects of other names are somebody else's: never listed, never touched.
"""

from __future__ import annotations

import re
import secrets

_NAME = re.compile(r"^([0-9a-fA-F-]{36})\.[0-9a-f]{16}$")


def new(image_id: str) -> str:
    """A name for an upload of this image's data."""
    return f"{image_id}.{secrets.token_hex(8)}"


def prefix(image_id: str) -> str:
    """What all names of this image begin with."""
    return f"{image_id}."


def image_of(name: str) -> str | None:
    """The image an object is of; None when the name is none of ours."""
    match = _NAME.match(name)
    return match[1] if match else None
