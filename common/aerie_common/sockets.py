# SPDX-License-Identifier: Apache-2.0
"""The sockets of an HTTP server: listening, and a client's connection with TLS or without.

Invariant: reads of a connection wait a moment only and raise BlockingIOError when nothing came; writes wait for a
patient while and raise BlockingIOError or TimeoutError after it. Nothing of what was decrypted is held back.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from dataclasses import dataclass
from typing import IO, Any

BACKLOG = 512


@dataclass(frozen=True)
class Tls:
    """Certificate (with its chain) and private key, PEM."""

    cert_file: str
    key_file: str

    def context(self) -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        made.load_cert_chain(self.cert_file, self.key_file)
        made.set_alpn_protocols(["http/1.1"])
        return made


def listen(address: tuple[str, int], reuse_port: bool) -> socket.socket:
    """A socket that listens and does not block. An IPv6 address that means "any" takes IPv4 as well."""
    host, port = address
    [(family, kind, protocol, _, where), *_] = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    sock = socket.socket(family, kind, protocol)
    try:
        if port:  # a port that is chosen must not be another's a moment ago
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(where[0] != "::"))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # inherited by its connections
        sock.setblocking(False)
        sock.bind(where)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _timeval(seconds: float) -> bytes:
    return struct.pack("ll", int(seconds), int(seconds % 1 * 1_000_000))


class PlainSocket(socket.socket):
    """Its limits are the kernel's: Python's own would cost a poll() before each call."""

    def __init__(self, sock: socket.socket, moment: float, patience: float) -> None:
        """moment: seconds that a read waits. patience: seconds that a write waits."""
        super().__init__(sock.family, sock.type, sock.proto, sock.detach())
        self._patience = patience
        self.settimeout(None)
        self.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(moment))
        self.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(patience))

    def shake(self) -> bool:
        """There is no handshake to be done."""
        return True

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        self.settimeout(self._patience)  # it waits by itself, by this limit
        try:
            return super().sendfile(file, offset, count)
        finally:
            self.settimeout(None)


class TlsSocket:
    """The same over TLS."""

    def __init__(self, sock: socket.socket, moment: float, patience: float, context: ssl.SSLContext) -> None:
        self._moment, self._patience = moment, patience
        self._tls = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        self._tls.settimeout(0)

    def shake(self) -> bool:
        """Go on with the handshake, without waiting. False when the client has to say something first."""
        try:
            self._tls.do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        return True

    def recv(self, size: int) -> bytes:
        """Never leaves anything behind that has been decrypted: the watch would not see it."""
        self._tls.settimeout(self._moment)
        try:
            data = self._tls.recv(size)
        except TimeoutError:
            raise BlockingIOError from None
        while left := self._tls.pending():
            data += self._tls.recv(left)
        return data

    def sendall(self, data: bytes) -> None:
        self._tls.settimeout(self._patience)
        self._tls.sendall(data)

    def sendfile(self, file: IO[bytes], offset: int, count: int) -> int:
        self._tls.settimeout(self._patience)
        return self._tls.sendfile(file, offset, count)

    def fileno(self) -> int:
        return self._tls.fileno()

    def shutdown(self, how: int) -> None:
        """Say in TLS that there is no more, then in TCP."""
        self._tls.settimeout(0)
        with contextlib.suppress(OSError, ValueError):
            self._tls.unwrap()
        self._tls.shutdown(how)

    def close(self) -> None:
        self._tls.close()
