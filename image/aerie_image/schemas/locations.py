# SPDX-License-Identifier: Apache-2.0
"""The body that makes data which lies elsewhere the data of an image."""

from __future__ import annotations

from aerie_common import schema

DIGITS = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128}
"""Hexadecimal digits of each hash that a caller may tell."""

LOCATION = schema.obj(
    {
        "url": schema.string(1, 2048),
        "validation_data": schema.obj(
            {
                "os_hash_algo": schema.enum(*DIGITS),
                "os_hash_value": schema.string(32, 128, pattern=r"^[0-9a-fA-F]*$"),
            },
            nullable=True,
        ),
    },
    ["url"],
    extra=True,
)
