# SPDX-License-Identifier: Apache-2.0
"""Hashing and checking of secrets (passwords, secrets of application credentials).

Invariants: a refusal takes as long as a check of a stored hash, whatever the reason; a verified secret is remembered
only as a digest keyed by this process and by the stored hash, for a short time, so a changed password is refused at
once.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import threading
import time

import argon2
import bcrypt
from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from oslo_config import cfg

_CACHE_SIZE = 5000


def _digest(secret: str) -> bytes:
    """44 characters for a secret of any length: bcrypt looks at 72 bytes only and stops at a zero byte."""
    return base64.b64encode(hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest())


class Hasher:
    """Hashes secrets as configured; checks any hash it ever made, and plain bcrypt hashes of an imported cloud."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        options = conf.identity
        self._algorithm: str = options.password_hash_algorithm
        self._rounds: int = options.password_hash_rounds
        self._log2_n: int = options.scrypt_log2_n
        self._seconds: int = options.secret_cache_seconds
        self._argon = argon2.PasswordHasher()
        self._key = os.urandom(32)
        self._known: dict[bytes, float] = {}
        self._lock = threading.Lock()
        self._nobody: str | None = None

    def hash(self, secret: str) -> str:
        if self._algorithm == "argon2":
            return self._argon.hash(_digest(secret))
        if self._algorithm == "scrypt":
            salt = os.urandom(16)
            key = self._scrypt(salt, self._log2_n).derive(_digest(secret))
            parts = ("scrypt", str(self._log2_n), base64.b64encode(salt).decode(), base64.b64encode(key).decode())
            return "$".join(parts)
        return "sha256" + bcrypt.hashpw(_digest(secret), bcrypt.gensalt(self._rounds)).decode()

    def verify(self, secret: str, stored: str | None, *, remembered: bool = True) -> bool:
        """Is this the secret? Without a stored hash the answer is no, after the same time. remembered: may the answer
        be quick when this secret was right before? Not where the caller is refused in any case."""
        if stored is None:
            if self._nobody is None:
                self._nobody = self.hash(secrets.token_hex())
            self._check(secret, self._nobody)
            return False
        key = hmac.digest(self._key, stored.encode() + b"\0" + _digest(secret), "sha256")
        until = self._known.get(key)
        if remembered and until is not None and until > time.monotonic():
            return True
        if not self._check(secret, stored):
            return False
        if self._seconds and remembered:
            self._remember(key)
        return True

    def _remember(self, key: bytes) -> None:
        now = time.monotonic()
        with self._lock:
            if len(self._known) >= _CACHE_SIZE:
                self._known = {k: until for k, until in self._known.items() if until > now}
                if len(self._known) >= _CACHE_SIZE:
                    self._known.clear()
            self._known[key] = now + self._seconds

    def _check(self, secret: str, stored: str) -> bool:
        if stored.startswith("sha256$2"):
            return bcrypt.checkpw(_digest(secret), stored.removeprefix("sha256").encode())
        if stored.startswith("$2"):
            return bcrypt.checkpw(secret.encode()[:72], stored.encode())
        if stored.startswith("$argon2"):
            try:
                return self._argon.verify(stored, _digest(secret))
            except argon2.exceptions.VerificationError:
                return False
        if stored.startswith("scrypt$"):
            _, log2_n, salt, key = stored.split("$")
            try:
                self._scrypt(base64.b64decode(salt), int(log2_n)).verify(_digest(secret), base64.b64decode(key))
            except InvalidKey:
                return False
            return True
        raise ValueError("a stored password hash is of an unknown kind")

    @staticmethod
    def _scrypt(salt: bytes, log2_n: int) -> Scrypt:
        return Scrypt(salt=salt, length=32, n=1 << log2_n, r=8, p=1)
