# SPDX-License-Identifier: Apache-2.0
"""Tokens on the wire: a small payload, encrypted (Fernet) or signed (JWS). Nothing about a token is stored.

Fernet: msgpack of the payload, encrypted with the primary key of a KeyRepository; about 200 characters.
JWS: ES256, with one private key per host and the public keys of all hosts; longer, and readable by anybody.
"""

from __future__ import annotations

import base64
import datetime
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import jwt
import msgpack
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from aerie_identity.logic.files import give_to_service, private_folder
from aerie_identity.logic.keys import KeyRepository, NoKeys

Scope = Literal["unscoped", "project", "domain", "system"]
_SCOPES: tuple[Scope, ...] = ("unscoped", "project", "domain", "system")
_METHODS = ("password", "token", "application_credential", "totp", "external", "mapped", "ec2credential", "oauth2",
            "openid", "saml2")  # fmt: skip
_EPOCH = datetime.datetime(1970, 1, 1)
_TOKEN, _RECEIPT = 1, 2


@dataclass(frozen=True)
class Payload:
    """All a token says. audit_ids: its own, then that of the first token of its chain."""

    user_id: str
    methods: tuple[str, ...]
    issued_at: datetime.datetime
    expires_at: datetime.datetime
    audit_ids: tuple[str, ...]
    scope: Scope = "unscoped"
    scope_id: str | None = None
    trust_id: str | None = None
    application_credential_id: str | None = None
    federation: tuple[str, str] | None = None
    """Identity provider and protocol by which an ephemeral user came."""
    receipt: bool = False
    """True for a receipt: some but not all factors of a login. Never accepted as a token."""


def method_of(protocol: str) -> str:
    """How tokens call a login by this protocol."""
    return protocol if protocol in _METHODS[-2:] else "mapped"


class TokenFormat(Protocol):
    def pack(self, payload: Payload) -> str: ...

    def unpack(self, token: str) -> Payload | None:
        """None when it is not a token of ours."""


def _short(id: str | None) -> Any:
    """Ids are mostly hex UUIDs: 16 bytes instead of 32 characters."""
    if id is not None and len(id) == 32:
        try:
            made = uuid.UUID(hex=id)
        except ValueError:
            return id
        if made.hex == id:
            return made.bytes
    return id


def _long(value: Any) -> str | None:
    return uuid.UUID(bytes=value).hex if isinstance(value, bytes) else value


def _micros(when: datetime.datetime) -> int:
    return (when - _EPOCH) // datetime.timedelta(microseconds=1)


def _when(micros: int) -> datetime.datetime:
    return _EPOCH + datetime.timedelta(microseconds=micros)


def to_list(p: Payload) -> list[Any]:
    methods = sum(1 << _METHODS.index(name) for name in p.methods)
    audit = [base64.urlsafe_b64decode(a + "==") for a in p.audit_ids]
    return [
        _RECEIPT if p.receipt else _TOKEN, methods, _short(p.user_id), _micros(p.issued_at), _micros(p.expires_at),
        audit, _SCOPES.index(p.scope), _short(p.scope_id), _short(p.trust_id), _short(p.application_credential_id),
        *(p.federation or ()),
    ]  # fmt: skip


def from_list(data: list[Any]) -> Payload:
    kind, methods, user, issued, expires, audit, scope, scope_id, trust, credential, *federation = data
    return Payload(
        user_id=_long(user) or "",
        methods=tuple(name for i, name in enumerate(_METHODS) if methods & 1 << i),
        issued_at=_when(issued),
        expires_at=_when(expires),
        audit_ids=tuple(base64.urlsafe_b64encode(a).rstrip(b"=").decode() for a in audit),
        scope=_SCOPES[scope],
        scope_id=_long(scope_id),
        trust_id=_long(trust),
        application_credential_id=_long(credential),
        federation=(federation[0], federation[1]) if federation else None,
        receipt=kind == _RECEIPT,
    )


class FernetFormat:
    def __init__(self, keys: KeyRepository) -> None:
        self._keys = keys

    def pack(self, payload: Payload) -> str:
        return self._keys.encrypt(msgpack.packb(to_list(payload))).rstrip(b"=").decode()

    def unpack(self, token: str) -> Payload | None:
        if not 100 <= len(token) <= 1000 or not token.isascii():
            return None
        data = self._keys.decrypt((token + "=" * (-len(token) % 4)).encode())
        if data is None or data.startswith(b"{"):  # what else these keys seal is a JSON object
            return None
        return from_list(msgpack.unpackb(data))


class JwsFormat:
    """private: folder with `private.pem`, which signs; public: folder with `*.pem`, any of which is believed: those of
    this host (`public-<n>.pem`) and those copied from other hosts that issue tokens."""

    def __init__(self, private: Path, public: Path) -> None:
        self.private, self.public = private, public

    def setup(self) -> bool:
        """Make a key pair; False when there is one."""
        if (self.private / "private.pem").exists():
            return False
        self._make()
        return True

    def rotate(self, lifetime: int) -> str:
        """Sign with a new key from now on; the name of its public half. The former ones are believed as long as tokens
        signed with them live, `lifetime` seconds, and go when keys are rotated after that."""
        made = self._make()
        own = self._own()
        for old, successor in zip(own, own[1:], strict=False):
            if successor.stat().st_mtime < time.time() - lifetime:
                old.unlink()
        return made.name

    def _own(self) -> list[Path]:
        """Public keys of this host, oldest first."""
        return sorted(self.public.glob("public-*.pem"), key=lambda path: int(path.stem.partition("-")[2]))

    def _make(self) -> Path:
        private_folder(self.private)
        private_folder(self.public)
        own = self._own()
        number = int(own[-1].stem.partition("-")[2]) + 1 if own else 1
        key = ec.generate_private_key(ec.SECP256R1())
        shown = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        public = self.public / f"public-{number}.pem"
        _put(public, shown)  # first, so that nothing is signed that nobody can check
        _put(self.private / "private.pem", secret)
        return public

    def pack(self, payload: Payload) -> str:
        try:
            key = (self.private / "private.pem").read_bytes()
        except FileNotFoundError:
            raise NoKeys(f"{self.private} holds no key: run `aerie identity fernet setup`") from None
        claims = {
            "sub": payload.user_id,
            "iat": _micros(payload.issued_at) // 1_000_000,
            "exp": _micros(payload.expires_at) // 1_000_000,
            "aerie": base64.urlsafe_b64encode(msgpack.packb(to_list(payload))).decode(),
        }
        return jwt.encode(claims, key, algorithm="ES256")

    def unpack(self, token: str) -> Payload | None:
        for path in sorted(self.public.glob("*.pem")):
            try:
                claims = jwt.decode(token, path.read_bytes(), algorithms=["ES256"], options={"verify_exp": False})
            except (jwt.InvalidTokenError, FileNotFoundError):
                continue
            return from_list(msgpack.unpackb(base64.urlsafe_b64decode(claims["aerie"])))
        return None


def _put(path: Path, content: bytes) -> None:
    """Write a private file whole or not at all."""
    temporary = path.with_suffix(".new")
    temporary.touch(mode=0o600)
    temporary.write_bytes(content)
    give_to_service(temporary)
    temporary.rename(path)
