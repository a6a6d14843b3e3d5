# SPDX-License-Identifier: Apache-2.0
"""Key pairs: imported, or generated and handed out once. The private key is kept nowhere."""

from __future__ import annotations

import base64
import datetime
import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from oslo_db import exception as db_exc

from aerie_common.context import Context
from aerie_common.db import retried
from aerie_common.errors import BadRequest
from aerie_compute import errors
from aerie_compute.db import keypairs as db
from aerie_compute.db.keypairs import Keypair
from aerie_compute.logic import quotas

if TYPE_CHECKING:
    from aerie_compute.container import Compute


def fingerprint(public_key: str) -> str:
    """MD5 of an OpenSSH public key, as `ssh-keygen -E md5` shows it. InvalidKeypair when it is none."""
    try:
        serialization.load_ssh_public_key(public_key.encode())
        blob = base64.b64decode(public_key.split(None, 2)[1])
    except (ValueError, IndexError, UnsupportedAlgorithm) as e:
        raise errors.InvalidKeypair(reason="failed to generate fingerprint") from e
    return _colons(hashlib.md5(blob, usedforsecurity=False).hexdigest())


def certificate_fingerprint(pem: str) -> str:
    """SHA-1 of an X.509 certificate. InvalidKeypair when it is none."""
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
    except ValueError as e:
        raise errors.InvalidKeypair(reason="failed to generate X509 fingerprint") from e
    return _colons(certificate.fingerprint(hashes.SHA1()).hex())  # noqa: S303  # the API's format


def _colons(digest: str) -> str:
    return ":".join(digest[i : i + 2] for i in range(0, len(digest), 2))


def generate(comment: str) -> tuple[str, str]:
    """A new (private, public) key: Ed25519 in OpenSSH's formats."""
    key = ed25519.Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    ).decode()
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()
    return private, f"{public} {comment}"


_LIFETIME = datetime.timedelta(days=3650)
_UPN = x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")
"""The name by which Windows finds the account that a certificate is for."""


def generate_certificate(user_id: str) -> tuple[str, str]:
    """A new (private key, certificate) to log in to Windows with: RSA, signed by itself, for client authentication."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, user_id[:64])])
    account = f"{user_id}@localhost".encode()[:120]
    upn = x509.OtherName(_UPN, bytes((0x0C, len(account))) + account)  # DER of a UTF8String
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.SubjectAlternativeName([upn]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private.decode(), certificate.public_bytes(serialization.Encoding.PEM).decode()


@retried
def create(
    svc: Compute,
    ctx: Context,
    *,
    name: str,
    type: str = "ssh",
    public_key: str | None = None,
    user_id: str | None = None,
) -> Keypair:
    """Store a key pair, generated when no public key is given. KeypairExists, KeypairQuota, InvalidKeypair."""
    owner = user_id or ctx.user_id or ""
    private = None
    if public_key is None:
        made = generate_certificate(owner) if type == "x509" else generate("Generated-by-Aerie")
        private, public_key = made
    elif type == "ssh":
        public_key = public_key.strip()
    mark = certificate_fingerprint(public_key) if type == "x509" else fingerprint(public_key)
    limit = quotas.limits(svc, ctx.project_id or "")["key_pairs"]
    with svc.api_db.write() as conn:
        if db.get(conn, owner, name) is not None:
            raise errors.KeypairExists(name=name)
        if 0 <= limit <= db.count(conn, owner):
            raise errors.KeypairQuota()
        try:
            stored = db.insert(conn, user_id=owner, name=name, type=type, public_key=public_key, fingerprint=mark)
        except db_exc.DBDuplicateEntry as e:
            raise errors.KeypairExists(name=name) from e
    return replace(stored, private_key=private)


@retried
def show(svc: Compute, ctx: Context, name: str, user_id: str | None = None) -> Keypair:
    owner = user_id or ctx.user_id or ""
    with svc.api_db.read() as conn:
        found = db.get(conn, owner, name)
    if found is None:
        raise errors.KeypairNotFound(name=name, user_id=owner)
    return found


@retried
def list_(
    svc: Compute, ctx: Context, *, user_id: str | None = None, limit: int | None = None, marker: str | None = None
) -> list[Keypair]:
    owner = user_id or ctx.user_id or ""
    with svc.api_db.read() as conn:
        if marker is not None and db.get(conn, owner, marker) is None:
            raise BadRequest(f"marker [{marker}] not found")
        return db.list_(conn, owner, limit=limit, after=marker)


@retried
def delete(svc: Compute, ctx: Context, name: str, user_id: str | None = None) -> None:
    """Servers made with it keep the key they got."""
    owner = user_id or ctx.user_id or ""
    with svc.api_db.write() as conn:
        if not db.delete(conn, owner, name):
            raise errors.KeypairNotFound(name=name, user_id=owner)
