# SPDX-License-Identifier: Apache-2.0
"""TLS in front of a server that has none: every connection is passed on to it."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import select
import socket
import ssl
import threading
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def certificate(folder: Path) -> Path:
    """A certificate of 127.0.0.1 that nobody but itself vouches for, with its key in `server.key`."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    plain, encoding = serialization.NoEncryption(), serialization.Encoding.PEM
    (folder / "server.key").write_bytes(key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain))
    (folder / "server.pem").write_bytes(made.public_bytes(encoding))
    return folder / "server.pem"


class TlsFront:
    """Listens on `port` of 127.0.0.1 until stop()."""

    def __init__(self, folder: Path, to_port: int) -> None:
        self.certificate = certificate(folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, folder / "server.key")
        self._context, self._to = context, to_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.connections = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client, self._context.wrap_socket(client, server_side=True) as inside:
            self.connections += 1
            with socket.create_connection(("127.0.0.1", self._to)) as behind:
                # By one thread: two may not use a TLS connection at a time.
                while True:
                    ready = [inside] if inside.pending() else select.select([inside, behind], [], [], 60)[0]
                    if not ready:
                        return
                    for source in ready:
                        data = source.recv(1 << 16)
                        if not data:
                            return
                        (behind if source is inside else inside).sendall(data)
