# SPDX-License-Identifier: Apache-2.0
"""Names of objects in object stores: `<image id>.<upload>`, another one for every upload.

So what a dead upload left can always be told from what an image refers to, and no late writer reaches another's data.
Objects of other names are somebody else's: never listed, never touched.
"""

from __future__ import annotations

import re
import secrets
from urllib.parse import unquote

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


def in_glance(location: str, scheme: str) -> tuple[str, str, str] | None:
    """(host and port, bucket or container, object) of a location as Glance writes it, None when it is no such one:
    `s3://key:secret@host/bucket/object`, `swift+https://user:key@host/v3/container/object`, with no host in
    `swift+config://reference/container/object`."""
    spelt, separator, rest = location.partition("://")
    kind, _, transport = spelt.partition("+")
    _, _, place = rest.rpartition("@")  # a secret may have slashes in it
    parts = place.split("/")
    if not separator or kind != scheme or transport not in ("", "http", "https", "config") or len(parts) < 3:
        return None
    return ("" if transport == "config" else parts[0]), unquote(parts[-2]), unquote(parts[-1])


def without_secrets(location: str) -> str:
    """The location for people to read: without the user and key that Glance writes into some."""
    spelt, separator, rest = location.partition("://")
    return spelt + separator + rest.rpartition("@")[2] if spelt.startswith(("s3", "swift")) else location
