# SPDX-License-Identifier: Apache-2.0
"""Data from web servers that somebody else chose: web-download and the store `http`.

Invariant: no byte is sent to an address that the rules refuse. Names are resolved once per hop, every address of a name
is judged, and the connection goes to an address that was judged (never to the name), so neither another spelling of an
address nor a name that changes its mind nor a redirect leads inside.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

MAX_REDIRECTS = 5
CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 60.0
_REDIRECTS = (301, 302, 303, 307, 308)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# What can only be somebody's inside: this host, its links, private networks, groups, and what routes to none.
INSIDE: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.168.0.0/16", "224.0.0.0/4", "240.0.0.0/4", "::/128", "::1/128", "100::/64", "fc00::/7", "fe80::/10",
        "fec0::/10", "ff00::/8",
    )
)  # fmt: skip
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_COMPATIBLE = ipaddress.IPv6Network("::/96")


class RefusedUrl(Exception):
    """The rules forbid it, or it is no URL. The message may be shown to whoever asked."""


class RemoteFailure(Exception):
    """The server could not be asked or did not give the data."""


@dataclass(frozen=True)
class Rules:
    """Which URLs may be fetched. Hosts are names or networks in CIDR form; allowed_networks opens inner networks."""

    schemes: frozenset[str] = frozenset({"http", "https"})
    allowed_hosts: frozenset[str] = frozenset()
    disallowed_hosts: frozenset[str] = frozenset()
    allowed_ports: frozenset[int] = frozenset()
    disallowed_ports: frozenset[int] = frozenset()
    allowed_networks: tuple[Network, ...] = ()
    _refused: tuple[Network, ...] = field(init=False, default=())

    def __post_init__(self) -> None:
        object.__setattr__(self, "_refused", tuple(n for h in self.disallowed_hosts if (n := _network(h))))

    def check_url(self, url: str) -> SplitResult:
        """The URL's parts; RefusedUrl when it is none or its scheme, host or port is not allowed."""
        if len(url) > 2048 or any(c <= " " or c == "\x7f" or c == "\\" for c in url):
            raise RefusedUrl("the URL is too long or has blanks or control characters")
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").rstrip(".").lower(), _port(parts)
        except ValueError as e:
            raise RefusedUrl(str(e)) from None
        if parts.scheme not in self.schemes:
            raise RefusedUrl(f"the scheme {parts.scheme!r} is not allowed")
        if not host or parts.username is not None or parts.password is not None:
            raise RefusedUrl("a URL needs a host and may have no user or password")
        if host in self.disallowed_hosts or (self.allowed_hosts and host not in self.allowed_hosts):
            raise RefusedUrl(f"the host {host} is not allowed")
        if port in self.disallowed_ports or (self.allowed_ports and port not in self.allowed_ports):
            raise RefusedUrl(f"the port {port} is not allowed")
        literal = _literal(host)
        if literal is not None:
            self.check_address(literal)
        return parts

    def check_address(self, address: Address) -> None:
        """RefusedUrl unless data may be fetched from this address."""
        for meant in _meanings(address):
            if any(meant in network for network in self.allowed_networks if network.version == meant.version):
                continue
            if any(meant in network for network in (*INSIDE, *self._refused) if network.version == meant.version):
                raise RefusedUrl(f"the address {address} is not allowed")


def _network(text: str) -> Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _literal(host: str) -> Address | None:
    """The address that a host is a spelling of (decimal, hexadecimal, octal, short), without asking anybody."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, UnicodeError):
        return None


def _meanings(address: Address) -> Iterable[Address]:
    """The address and every IPv4 address that hides in it."""
    yield address
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            yield address.ipv4_mapped
        if address.sixtofour:
            yield address.sixtofour
        if address.teredo:
            yield from address.teredo
        if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
            yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)


def resolve(rules: Rules, parts: SplitResult) -> list[tuple[int, Any]]:
    """(family, socket address) of the URL's host, all of them allowed."""
    host, port = parts.hostname or "", _port(parts)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as e:
        raise RemoteFailure(f"the host {host} is not known: {e}") from None
    for _, _, _, _, address in found:
        rules.check_address(ipaddress.ip_address(str(address[0]).partition("%")[0]))
    return [(family, address) for family, _, _, _, address in found]


class Source:
    """The body of a reply. length: its size where the server told."""

    def __init__(self, connection: http.client.HTTPConnection, reply: http.client.HTTPResponse) -> None:
        self._connection, self._reply = connection, reply
        self.status = reply.status
        announced = reply.headers.get("Content-Length", "")  # which http.client takes for 0 after HEAD
        self.length = int(announced) if announced.isdigit() else reply.length
        self._left = reply.length

    def read(self, size: int) -> bytes:
        """Up to so many bytes; none at the end. RemoteFailure when the data breaks off."""
        try:
            data = self._reply.read(size)
        except (OSError, http.client.HTTPException) as e:
            raise RemoteFailure(f"the data broke off: {e}") from e
        if self._left is not None:
            self._left -= len(data)
            if not data and self._left > 0:
                raise RemoteFailure(f"the data ended {self._left} bytes early")
        return data

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reply.close()
        self._connection.close()


def open_url(url: str, rules: Rules, *, method: str = "GET", headers: Mapping[str, str] | None = None) -> Source:
    """Ask for the URL, following redirects that the rules allow too. RefusedUrl, or RemoteFailure."""
    for _ in range(MAX_REDIRECTS + 1):
        parts = rules.check_url(url)
        connection = _connect(rules, parts)
        try:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request(method, target, headers={"User-Agent": "Aerie", "Accept": "*/*", **(headers or {})})
            reply = connection.getresponse()
        except (OSError, http.client.HTTPException, ValueError) as e:
            connection.close()
            raise RemoteFailure(f"{parts.hostname} does not answer: {e}") from e
        if reply.status in (200, 206):
            return Source(connection, reply)
        connection.close()
        location = reply.headers.get("Location")
        if reply.status not in _REDIRECTS or not location:
            raise RemoteFailure(f"{parts.hostname} answered {reply.status}")
        url = urljoin(url, location)
    raise RemoteFailure(f"there were more than {MAX_REDIRECTS} redirects")


def _connect(rules: Rules, parts: SplitResult) -> http.client.HTTPConnection:
    """A connection to one of the host's addresses, with the host's name for TLS and the Host header."""
    host, port = parts.hostname or "", _port(parts)
    error: OSError | None = None
    for family, address in resolve(rules, parts):
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.settimeout(CONNECT_SECONDS)
        try:
            sock.connect(address)
            if parts.scheme == "https":
                sock = ssl.create_default_context().wrap_socket(sock, server_hostname=host)
        except OSError as e:
            sock.close()
            error = e
            continue
        sock.settimeout(SILENCE_SECONDS)
        connection = http.client.HTTPConnection(host, port)
        connection.sock = sock
        if parts.scheme == "https":
            connection.default_port = 443
        return connection
    raise RemoteFailure(f"{host} cannot be reached: {error}")
