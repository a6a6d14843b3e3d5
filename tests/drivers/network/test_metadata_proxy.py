# SPDX-License-Identifier: Apache-2.0
"""The metadata proxy against guests that mean no good. Loopback addresses stand for guests."""

from __future__ import annotations

import http.server
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aerie_network.agent import metadata
from aerie_network.agent.messages import MetadataSource
from aerie_network.agent.metadata import MetadataProxy, Upstream
from aerie_network.drivers.base import DhcpNetwork, DriverSettings, HostState
from aerie_network.drivers.fake import FakeDriver

GOOD, BAD = "127.0.0.3", "127.0.0.2"
STATE = HostState("host-1", 1, dhcp={"net": DhcpNetwork("net", "port", "fa:16:3e:00:00:01")})


class Driver(FakeDriver):
    """Has one namespace: this one."""

    def __init__(self, path: Path) -> None:
        super().__init__(DriverSettings("host-1", ("dhcp", "metadata"), str(path)))
        self.port = 0

    def namespace_identity(self, namespace: str) -> int | None:
        return 1

    def listen(self, namespace: str, address: str, port: int) -> socket.socket | None:
        sock = socket.create_server(("0.0.0.0", 0), backlog=128)
        self.port = sock.getsockname()[1]
        return sock


class Compute(http.server.BaseHTTPRequestHandler):
    """Tells who is asked for."""

    def do_GET(self) -> None:
        body = self.headers["X-Instance-ID"].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """Where the proxy listens."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Compute) as compute:
        threading.Thread(target=compute.serve_forever, daemon=True).start()
        driver = Driver(tmp_path)
        upstream = Upstream("127.0.0.1", compute.server_address[1], "secret")
        proxy = MetadataProxy(driver, lambda network, router, address: MetadataSource(address, "project"), upstream)
        proxy.start()
        proxy.update(STATE)
        yield driver.port
        proxy.stop()
        compute.shutdown()


def connect(port: int, guest: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=60, source_address=(guest, 0))


def ask(port: int, guest: str) -> bytes:
    with connect(port, guest) as sock:
        sock.sendall(b"GET /latest/meta-data HTTP/1.0\r\n\r\n")
        return b"".join(iter(lambda: sock.recv(4096), b""))


def ended(sock: socket.socket) -> bool:
    """Has the proxy closed this connection, which got no answer?"""
    try:
        return sock.recv(4096) == b""
    except ConnectionError:
        return True


def test_a_guest_that_says_nothing_silences_nobody_else(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "PATIENCE", 600.0)
    held = [connect(port, BAD) for _ in range(metadata.WAITING + 8)]
    try:
        for sock in held[: metadata.WAITING]:
            sock.sendall(b"GET / HTTP/1.0\r\n")
        assert ask(port, GOOD).endswith(GOOD.encode())
        # Its own further connections are not kept: descriptors are all guests'.
        assert all(ended(sock) for sock in held[metadata.WAITING :])
        # The line moves on when its first leave it.
        held[5].sendall(b"\r\n")
        for sock in (*held[:5], *held[6 : metadata.WAITING]):
            sock.close()
        assert held[5].recv(4096).startswith(b"HTTP/1.0 200")
    finally:
        for sock in held:
            sock.close()


def test_a_request_in_drops_ends_when_its_time_is_up(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "PATIENCE", 1.0)
    with connect(port, BAD) as sock:
        sock.sendall(b"GET / HTTP/1.0\r\nX: ")
        sock.settimeout(0.1)
        end = time.monotonic() + 60
        while True:
            assert time.monotonic() < end, "the proxy listens for ever"
            try:
                sock.sendall(b"x")
                assert sock.recv(4096) == b""
                break
            except TimeoutError:
                continue
            except ConnectionError:
                break
    assert ask(port, GOOD).endswith(GOOD.encode())
