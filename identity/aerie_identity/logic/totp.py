# SPDX-License-Identifier: Apache-2.0
"""Time-based one-time passwords (RFC 6238: SHA-1, 30 seconds, 6 digits), with secrets kept as credentials of type totp.

A passcode is good once: the time step of the last one used is kept with the credential, and only later ones are taken.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct
import time
from typing import TYPE_CHECKING

from aerie_common.db import retried
from aerie_identity.db import credentials
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


@retried
def verify(svc: Identity, user_id: str, code: str) -> bool:
    """Is this a passcode of now (or of the windows before) that is newer than the last one used?"""
    with svc.db.read() as conn:
        found = CREDENTIALS.all(conn, t.credentials.c.user_id == user_id, t.credentials.c.type == "totp")
    now = int(time.time()) // STEP
    for credential in found:
        secret = decode(svc.credential_box.open(credential))
        for step in range(now, now - 1 - svc.conf.totp.included_previous_windows, -1):
            if secret and hmac.compare_digest(passcode(secret, step).encode(), code.encode()):
                with svc.db.write() as conn:
                    return credentials.use_step(conn, credential.id, step)
    return False
