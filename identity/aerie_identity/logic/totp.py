# SPDX-License-Identifier: Apache-2.0
"""Time-based one-time passwords (RFC 6238: SHA-1, 30 seconds, 6 digits), with secrets kept as credentials of type totp.

A passcode is good once: its time step is remembered with the user until it is too old to be accepted anyway.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct
import time
from typing import TYPE_CHECKING

from aerie_identity.db import tables as t
from aerie_identity.db.models import CREDENTIALS

if TYPE_CHECKING:
    from aerie_identity.container import Identity

STEP = 30


def passcode(secret: bytes, step: int) -> str:
    """The six digits of one time step."""
    digest = hmac.digest(secret, struct.pack(">Q", step), hashlib.sha1)
    offset = digest[-1] & 15
    return f"{(struct.unpack_from('>I', digest, offset)[0] & 0x7FFFFFFF) % 1_000_000:06d}"


def decode(secret: str) -> bytes | None:
    """Base32 as authenticator apps show it."""
    try:
        text = secret.strip().upper().rstrip("=")
        return base64.b32decode(text + "=" * (-len(text) % 8))
    except binascii.Error:
        return None


def verify(svc: Identity, user_id: str, code: str) -> bool:
    """Is this a passcode of now (or of the windows before) that was not used yet?"""
    with svc.db.read() as conn:
        found = CREDENTIALS.all(conn, t.credentials.c.user_id == user_id, t.credentials.c.type == "totp")
    now = int(time.time()) // STEP
    for credential in found:
        secret = decode(svc.credential_box.open(credential))
        for step in range(now, now - 1 - svc.conf.totp.included_previous_windows, -1):
            if secret and hmac.compare_digest(passcode(secret, step), code):
                return svc.used_passcodes.first_use(credential.id, step)
    return False


class UsedPasscodes:
    """Time steps whose passcode was used, in this process."""

    def __init__(self) -> None:
        self._used: dict[tuple[str, int], float] = {}

    def first_use(self, credential_id: str, step: int) -> bool:
        now = time.time()
        self._used = {k: until for k, until in self._used.items() if until > now}
        key = (credential_id, step)
        return self._used.setdefault(key, (marker := now + STEP * 12)) is marker
