# SPDX-License-Identifier: Apache-2.0
"""The metadata proxy: answers at 169.254.169.254 inside every network and router namespace of this host.

Owns one listening socket per namespace, one thread that accepts and a few that forward. Invariants: whose metadata is
given follows from the namespace the request came in by and its source address, never from anything the guest wrote;
no header of the guest's about identity or origin is passed on; no guest holds more than AT_ONCE threads, nor any of
them longer than it takes to hear a request that comes without delay, so that it cannot silence the others.
"""

import hashlib
import hmac
import http.client
import http.server
import io
import itertools
import logging
import queue
import selectors
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import oslo_messaging

from aerie_network.agent.messages import MetadataSource
from aerie_network.drivers import base

LOG = logging.getLogger(__name__)
AT_ONCE = 2  # requests of one guest that are worked on at a time
WAITING = 32  # connections of one guest, those that wait for their turn included; further ones are closed
PATIENCE = 10.0  # seconds a guest has to send its request, and to take its answer
_PORT = 80
_THREADS = 16
_MOST = 512  # connections of all guests
_MAX_BODY = 65536
_REMEMBER = 2.0  # seconds; also forgotten with every new state of the host
_REMEMBER_COUNT = 1000
_TIMEOUT = 30.0  # seconds the metadata API has to answer
# Only these of the guest's headers are passed on.
_PASSED = ("accept", "accept-encoding", "content-type", "user-agent")
_PASSED_PREFIXES = ("x-aws-ec2-metadata-token", "x-metadata-token")
_RETURNED = ("content-type", "content-encoding", "etag", "last-modified", "retry-after", "location")

Resolver = Callable[[str | None, str | None, str], MetadataSource | None]


@dataclass(frozen=True)
class Origin:
    """A namespace that requests come in by: a network's, or a router's."""

    namespace: str
    network_id: str | None = None
    router_id: str | None = None


Guest = tuple[Origin, str]
"""Who asks: the way in and the source address."""


@dataclass(frozen=True)
class Upstream:
    """The compute metadata API and the secret shared with it."""

    host: str
    port: int
    secret: str


def sign(secret: str, instance_id: str) -> str:
    """What proves to the metadata API that the instance id is this proxy's finding."""
    return hmac.new(secret.encode(), instance_id.encode(), hashlib.sha256).hexdigest()


class MetadataProxy:
    """Listens in the namespaces of the host's state; `resolve(network_id, router_id, address)` says who is there."""

    def __init__(self, driver: base.NetworkDriver, resolve: Resolver, upstream: Upstream) -> None:
        self._driver = driver
        self._resolve = resolve
        self.upstream = upstream
        self._sockets: dict[Origin, tuple[int, socket.socket]] = {}
        self._known: dict[Guest, tuple[float, MetadataSource | None]] = {}
        self._lock = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self._waker, self._wakee = socket.socketpair()
        self._selector.register(self._wakee, selectors.EVENT_READ, None)
        self._lines: dict[Guest, list[socket.socket]] = {}  # open connections, the first AT_ONCE are worked on
        self._connections: queue.SimpleQueue[tuple[Guest, socket.socket] | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Starts accepting."""
        targets = [self._accept, *[self._forward] * _THREADS]
        self._threads = [threading.Thread(target=target, name="metadata", daemon=True) for target in targets]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stops accepting and closes all sockets; requests under way are answered, but not waited for long."""
        self._stopping.set()
        self._waker.send(b"x")
        for _ in range(_THREADS):
            self._connections.put(None)
        end = time.monotonic() + 5
        for thread in self._threads:
            thread.join(max(end - time.monotonic(), 0))
        with self._lock:
            for sock in [*(sock for _, sock in self._sockets.values()), *itertools.chain(*self._lines.values())]:
                sock.close()
            self._sockets.clear()
            self._lines.clear()

    # ---------------------------------------------------------------------------------------------- listening

    def update(self, state: base.HostState) -> None:
        """Listens in exactly the namespaces of this state that serve metadata."""
        wanted = [
            Origin(base.dhcp_namespace(doc.network_id), network_id=doc.network_id)
            for doc in state.dhcp.values()
            if doc.metadata
        ]
        wanted += [
            Origin(base.router_namespace(router.id), router_id=router.id)
            for router in state.routers.values()
            if router.metadata and router.admin_state_up
        ]
        identities = {origin: self._driver.namespace_identity(origin.namespace) for origin in wanted}
        with self._lock:
            self._known.clear()
            for origin in list(self._sockets):
                listened, sock = self._sockets[origin]
                if identities.get(origin) != listened:
                    self._selector.unregister(sock)
                    sock.close()
                    del self._sockets[origin]
            for origin, identity in identities.items():
                if identity is not None and origin not in self._sockets:
                    self._open(origin, identity)
        self._waker.send(b"x")

    def _open(self, origin: Origin, identity: int) -> None:
        try:
            sock = self._driver.listen(origin.namespace, base.METADATA_ADDRESS, _PORT)
        except Exception:
            # One namespace that cannot be listened in must not keep the others silent; the next state tries again.
            LOG.exception("cannot serve metadata in %s", origin.namespace)
            return
        if sock is not None:
            sock.setblocking(False)
            self._sockets[origin] = (identity, sock)
            self._selector.register(sock, selectors.EVENT_READ, origin)

    def _accept(self) -> None:
        while not self._stopping.is_set():
            for key, _ in self._selector.select():
                if key.data is None:
                    self._wakee.recv(4096)
                    continue
                listener = key.fileobj
                if not isinstance(listener, socket.socket):
                    continue
                try:
                    connection, peer = listener.accept()
                except OSError:
                    continue  # gone again, or its namespace is
                self._admit((key.data, peer[0]), connection)

    def _admit(self, guest: Guest, connection: socket.socket) -> None:
        """Lets a connection join its guest's line, or closes it when that is too long."""
        with self._lock:
            line = self._lines.get(guest, [])
            if len(line) < WAITING and sum(map(len, self._lines.values())) < _MOST:
                self._lines[guest] = [*line, connection]
                if len(line) < AT_ONCE:
                    self._connections.put((guest, connection))
                return
        LOG.info("%s in %s has too many metadata requests open: one is closed", guest[1], guest[0].namespace)
        connection.close()

    def _leave(self, guest: Guest, connection: socket.socket) -> None:
        """Closes a connection and lets the next of its line be worked on."""
        with self._lock:
            connection.close()
            line = [other for other in self._lines.pop(guest, []) if other is not connection]
            if line:
                self._lines[guest] = line
            if len(line) >= AT_ONCE:
                self._connections.put((guest, line[AT_ONCE - 1]))

    # --------------------------------------------------------------------------------------------- forwarding

    def _forward(self) -> None:
        while True:
            item = self._connections.get()
            if item is None:
                return
            guest, connection = item
            origin, address = guest
            try:
                connection.settimeout(PATIENCE)
                _Handler(connection, (address, 0), self, origin)
            except OSError as error:
                LOG.info("metadata request from %s in %s broke off: %s", address, origin.namespace, error)
            except Exception:
                LOG.exception("metadata request from %s in %s failed", address, origin.namespace)
            finally:
                self._leave(guest, connection)

    def who(self, origin: Origin, address: str) -> MetadataSource | None:
        """The server behind an address in a namespace; raises MessagingException when that cannot be found out."""
        key = (origin, address)
        known = self._known.get(key)
        if known is not None and time.monotonic() - known[0] < _REMEMBER:
            return known[1]
        source = self._resolve(origin.network_id, origin.router_id, address)
        if len(self._known) >= _REMEMBER_COUNT:
            self._known.clear()
        self._known[key] = (time.monotonic(), source)
        return source


class _Timely(io.RawIOBase):
    """What a guest sends, all of it within PATIENCE, however small the pieces. Raises TimeoutError."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._end = time.monotonic() + PATIENCE

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the request takes too long")
        self._connection.settimeout(left)
        try:
            return self._connection.recv_into(buffer)
        finally:
            self._connection.settimeout(PATIENCE)


class _Handler(http.server.BaseHTTPRequestHandler):
    """One guest's connection. One request each: a guest that keeps it open must not hold a thread."""

    protocol_version = "HTTP/1.0"
    server_version = "aerie"
    sys_version = ""

    def __init__(self, connection: socket.socket, peer: tuple[str, int], proxy: MetadataProxy, origin: Origin) -> None:
        self._proxy, self._origin = proxy, origin
        super().__init__(connection, peer, None)  # type: ignore[arg-type]

    def setup(self) -> None:
        super().setup()
        self.rfile = io.BufferedReader(_Timely(self.connection))

    def log_message(self, format: str, *args: object) -> None:
        LOG.debug("metadata %s in %s: " + format, self.client_address[0], self._origin.namespace, *args)

    def do_GET(self) -> None:
        self._pass_on()

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815  (names fixed by the base class)

    def _pass_on(self) -> None:
        body = self._body()
        if body is None:
            return
        address = self.client_address[0]
        try:
            source = self._proxy.who(self._origin, address)
        except oslo_messaging.MessagingException as error:
            LOG.warning("cannot find out who %s in %s is: %s", address, self._origin.namespace, error)
            self.send_error(503, "The metadata service is not reachable just now")
            return
        if source is None:
            self.send_error(404)
            return
        self._exchange(source, address, body)

    def _body(self) -> bytes | None:
        if self.headers.get("Transfer-Encoding"):
            self.send_error(411)
            return None
        text = self.headers.get("Content-Length", "0")
        if not (text.isascii() and text.isdigit()):
            self.send_error(400)
            return None
        if int(text) > _MAX_BODY:
            self.send_error(413)
            return None
        return self.rfile.read(int(text))

    def _exchange(self, source: MetadataSource, address: str, body: bytes) -> None:
        upstream = self._proxy.upstream
        headers = {
            name: value
            for name, value in self.headers.items()
            if name.lower() in _PASSED or name.lower().startswith(_PASSED_PREFIXES)
        }
        headers |= {
            "X-Instance-ID": source.instance_id,
            "X-Tenant-ID": source.project_id,
            "X-Instance-ID-Signature": sign(upstream.secret, source.instance_id),
            "X-Forwarded-For": address,
        }
        connection = http.client.HTTPConnection(upstream.host, upstream.port, timeout=_TIMEOUT)
        try:
            connection.request(self.command, self.path, body or None, headers)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException, ValueError) as error:
            LOG.warning("metadata API at %s:%s: %s", upstream.host, upstream.port, error)
            self.send_error(503, "The metadata service is not reachable just now")
            return
        finally:
            connection.close()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() in _RETURNED:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
