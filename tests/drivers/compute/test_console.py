# SPDX-License-Identifier: Apache-2.0
"""The console proxy: real sockets, a real WebSocket client, the fake driver's screen and serial line behind it."""

from __future__ import annotations

import logging
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest

from aerie_compute.agent import relay
from aerie_compute.console.proxy import ConsoleProxy, Refused, Target
from aerie_compute.drivers.base import Endpoint
from aerie_compute.drivers.fake_console import HEIGHT, WIDTH, Console
from hosts import Host, spec
from servers import wait_for


class Tokens:
    """Tokens that are good once."""

    def __init__(self) -> None:
        self.known: dict[str, Target] = {}

    def __call__(self, token: str) -> Target:
        if token not in self.known:
            raise Refused(HTTPStatus.FORBIDDEN, "This address was used already.")
        return self.known.pop(token)


@pytest.fixture(scope="module")
def tokens() -> Tokens:
    return Tokens()


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, tokens: Tokens) -> Iterator[ConsoleProxy]:
    directory = tmp_path_factory.mktemp("console")
    web = directory / "web"
    (web / "core").mkdir(parents=True)
    (web / "vnc_lite.html").write_text("<html>")
    (web / "core" / "rfb.js").write_text("export default 1;")
    (directory / "secret").write_text("secret")
    made = ConsoleProxy(
        ("127.0.0.1", 0), web=web, open_console=tokens, allowed_origins=["https://cloud.example.org"], max_connections=4
    )
    made.start()
    yield made
    made.stop()


def get(proxy: ConsoleProxy, target: str) -> tuple[int, dict[str, str], bytes]:
    """One request with the path exactly as given."""
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=60) as sock:
        sock.sendall(f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while part := sock.recv(65536):
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    return int(lines[0].split()[1]), dict(line.split(": ", 1) for line in lines[1:]), body


def upgrade(proxy: ConsoleProxy, path: str, **headers: str) -> tuple[int, bytes]:
    """Ask for a WebSocket by hand: status and the rest of the answer."""
    extra = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=60) as sock:
        sock.sendall(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{proxy.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{extra}\r\n".encode()
        )
        answer = sock.recv(65536)
    return int(answer.split()[1]), answer


class Client:
    """A WebSocket client of a few lines: binary messages only, any number of frames."""

    def __init__(self, proxy: ConsoleProxy, path: str) -> None:
        self._sock = socket.create_connection(("127.0.0.1", proxy.port), timeout=60)
        self._stream = self._sock.makefile("rb")
        self._data = b""
        self._sock.sendall(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{proxy.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            "Sec-WebSocket-Protocol: binary\r\n\r\n".encode()
        )
        head = [line.strip() for line in iter(self._stream.readline, b"\r\n")]
        assert head[0].startswith(b"HTTP/1.1 101"), head[0]
        assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
        assert b"Sec-WebSocket-Protocol: binary" in head

    def send(self, data: bytes) -> None:
        assert len(data) < 126
        mask = b"\x11\x22\x33\x44"
        masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))
        self._sock.sendall(bytes([0x82, 0x80 | len(data)]) + mask + masked)

    def read(self, count: int) -> bytes:
        while len(self._data) < count:
            kind, length = self._stream.read(2)
            assert kind == 0x82, f"frame {kind:#x} instead of a binary message"
            if length >= 126:
                length = int.from_bytes(self._stream.read(2 if length == 126 else 8))
            self._data += self._stream.read(length)
        found, self._data = self._data[:count], self._data[count:]
        return found

    def close(self) -> None:
        self._stream.close()
        self._sock.close()


def test_files_are_served(proxy: ConsoleProxy) -> None:
    status, headers, body = get(proxy, "/vnc_lite.html?path=%3Ftoken%3Dx")
    assert (status, body) == (200, b"<html>")
    assert headers["Content-Type"] == "text/html"
    assert headers["Referrer-Policy"] == "no-referrer"
    status, headers, _ = get(proxy, "/core/rfb.js")
    assert (status, headers["Content-Type"]) == (200, "text/javascript")


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/core",
        "/core/",
        "//evil.example.org/%2e%2e",
        "//evil.example.org/..;/",
        "/%2f%2fevil.example.org/%2e%2e",
        "/../secret",
        "/%2e%2e/secret",
        "/core/..%2f..%2fsecret",
        "/core//rfb.js",
        "/./vnc_lite.html",
        "/vnc_lite.html%00.js",
        "http://evil.example.org/vnc_lite.html",
        "/nothing",
    ],
)
def test_nothing_else_is_served_and_nobody_is_sent_elsewhere(proxy: ConsoleProxy, target: str) -> None:
    status, headers, body = get(proxy, target)
    assert status == 404
    assert "Location" not in headers
    assert b"secret" not in body


def test_screen_through_the_proxy(proxy: ConsoleProxy, tokens: Tokens) -> None:
    screen = Console("vnc", "web-1")
    try:
        tokens.known["t1"] = Target("127.0.0.1", screen.port)
        client = Client(proxy, "/?token=t1")
        assert client.read(12) == b"RFB 003.008\n"
        client.send(b"RFB 003.008\n")
        assert client.read(2) == b"\x01\x01"
        client.send(b"\x01")
        assert client.read(4) == bytes(4)
        client.send(b"\x01")
        init = client.read(24 + 5)
        assert init[:4] == WIDTH.to_bytes(2) + HEIGHT.to_bytes(2)
        assert init.endswith(b"web-1")
        client.send(b"\x03\x00" + bytes(4) + WIDTH.to_bytes(2) + HEIGHT.to_bytes(2))
        assert len(client.read(16 + 4 * WIDTH * HEIGHT)) == 16 + 4 * WIDTH * HEIGHT
        client.close()
    finally:
        screen.close()


def test_serial_line_through_relay_and_proxy(proxy: ConsoleProxy, tokens: Tokens) -> None:
    line = Console("serial", "web-1")
    try:
        offer = relay.offer(Endpoint("127.0.0.1", line.port), "127.0.0.1")
        tokens.known["t2"] = Target(offer["host"], offer["port"], offer["secret"])
        client = Client(proxy, "/?token=t2")
        assert client.read(15) == b"\r\nweb-1 login: "
        client.send(b"root\r")
        assert b"root" in client.read(4)
        client.close()
    finally:
        line.close()


def test_relay_wants_its_secret_and_serves_once() -> None:
    line = Console("serial", "web-1")
    try:
        offer = relay.offer(Endpoint("127.0.0.1", line.port), "127.0.0.1")
        with socket.create_connection((offer["host"], offer["port"]), timeout=60) as stranger:
            stranger.sendall(b"x" * len(offer["secret"]))
            assert stranger.recv(100) == b""
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((offer["host"], offer["port"]), timeout=60)
    finally:
        line.close()


def test_token_is_good_once(proxy: ConsoleProxy, tokens: Tokens) -> None:
    screen = Console("vnc", "web-1")
    try:
        tokens.known["t3"] = Target("127.0.0.1", screen.port)
        assert upgrade(proxy, "/?token=t3")[0] == 101
        assert upgrade(proxy, "/?token=t3")[0] == 403
        assert upgrade(proxy, "/")[0] == 403
        assert upgrade(proxy, "/?token=a&token=b")[0] == 403
    finally:
        screen.close()


def test_pages_of_other_origins_open_nothing_and_spend_no_token(proxy: ConsoleProxy, tokens: Tokens) -> None:
    screen = Console("vnc", "web-1")
    try:
        target = Target("127.0.0.1", screen.port)
        for evil in (
            "https://evil.example.org",
            "null",
            "http://cloud.example.org",
            "https://cloud.example.org.evil.net",
        ):
            tokens.known["t4"] = target
            assert upgrade(proxy, "/?token=t4", Origin=evil)[0] == 403, evil
            assert "t4" in tokens.known
        for good in ("https://cloud.example.org", f"http://127.0.0.1:{proxy.port}"):
            tokens.known["t4"] = target
            assert upgrade(proxy, "/?token=t4", Origin=good)[0] == 101, good
    finally:
        screen.close()


def test_console_that_does_not_answer(proxy: ConsoleProxy, tokens: Tokens) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    tokens.known["t5"] = Target("127.0.0.1", port)
    assert upgrade(proxy, "/?token=t5")[0] == 502


def test_tokens_are_not_logged(proxy: ConsoleProxy, tokens: Tokens, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    screen = Console("vnc", "web-1")
    try:
        tokens.known["very-secret-token"] = Target("127.0.0.1", screen.port, server_id="s1")
        assert upgrade(proxy, "/?token=very-secret-token")[0] == 101
        get(proxy, "/vnc_lite.html?token=very-secret-token")
        wait_for("the end of the console", lambda: "s1 closed" in caplog.text)
        assert "very-secret-token" not in caplog.text
    finally:
        screen.close()


def test_connections_are_bounded(proxy: ConsoleProxy) -> None:
    held = [socket.create_connection(("127.0.0.1", proxy.port)) for _ in range(4)]
    wait_for("threads", lambda: len(proxy._sockets) == 4)
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=60) as extra:
        assert extra.recv(1) == b""
    for sock in held:
        sock.close()
    wait_for("room", lambda: len(proxy._sockets) == 0)
    assert get(proxy, "/vnc_lite.html")[0] == 200


def test_console_ends_with_the_guest(proxy: ConsoleProxy, tokens: Tokens, tmp_path: Path, guest_image: Path) -> None:
    host = Host(tmp_path / "host")
    guest = spec(host.images.add(guest_image, "qcow2"))
    host.driver.prepare(guest, host.images.fetch)
    host.driver.start(guest)
    endpoint = host.driver.vnc_endpoint(guest.server_id)
    tokens.known["t6"] = Target(endpoint.host, endpoint.port)
    client = Client(proxy, "/?token=t6")
    client.read(12)
    host.driver.destroy(guest.server_id)
    tokens.known["t7"] = Target(endpoint.host, endpoint.port)
    assert upgrade(proxy, "/?token=t7")[0] == 502
    client.close()
    host.close()


def test_health_of_a_plain_browser_request(proxy: ConsoleProxy) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{proxy.port}/vnc_lite.html", timeout=60) as reply:
        assert reply.read() == b"<html>"
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(f"http://127.0.0.1:{proxy.port}/none", timeout=60)
