# SPDX-License-Identifier: Apache-2.0
"""The fields of a key pair."""

from __future__ import annotations

from aerie_common import schema
from aerie_common.fields import Field, Resource
from aerie_compute.db.keypairs import Keypair
from aerie_compute.fields import isoformat_micros

_NAME = schema.string(1, 255, pattern=r"^[^\x00-\x1f\x7f/]*[^\x00-\x20\x7f/][^\x00-\x1f\x7f/]*$")

KEYPAIR = Resource(
    "keypair",
    "keypairs",
    [
        Field("name", _NAME, create="required"),
        Field("type", schema.enum("ssh", "x509"), create=True, since="2.2", default="ssh"),
        Field("public_key", schema.string(0, 16384), create=True, until="2.91"),
        Field("user_id", schema.string(1, 255), create=True, since="2.10", show=False),
        Field("fingerprint", schema.string()),
    ],
)

KEYPAIR_292 = Resource(
    "keypair",
    "keypairs",
    [
        Field(
            "name",
            schema.string(1, 255, pattern=r"^[a-zA-Z0-9@. _-]*[a-zA-Z0-9@._-][a-zA-Z0-9@. _-]*$"),
            create="required",
        ),
        Field("type", schema.enum("ssh", "x509"), create=True, default="ssh"),
        Field("public_key", schema.string(1, 16384), create="required"),
        Field("user_id", schema.string(1, 255), create=True),
    ],
)
"""From 2.92 on keys are imported only, and names are plain."""


def short(keypair: Keypair, version: tuple[int, int]) -> dict[str, object]:
    """As lists and creates show it."""
    shown: dict[str, object] = {
        "name": keypair.name,
        "public_key": keypair.public_key,
        "fingerprint": keypair.fingerprint,
    }
    return {**shown, "type": keypair.type} if version >= (2, 2) else shown


def full(keypair: Keypair, version: tuple[int, int]) -> dict[str, object]:
    """As one key pair is shown."""
    return {
        **short(keypair, version),
        "user_id": keypair.user_id,
        "id": keypair.id,
        "created_at": isoformat_micros(keypair.created_at),
        "updated_at": isoformat_micros(keypair.updated_at),
        "deleted": False,
        "deleted_at": None,
    }
