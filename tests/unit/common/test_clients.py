# SPDX-License-Identifier: Apache-2.0
"""Calls to other services, on a server that answers as one does whose caller's token has just been revoked."""

from __future__ import annotations

import http.server
import io
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from aerie_common import config
from aerie_common.clients import RemoteError, ServiceClients


class Clients(ServiceClients):
    """With a token of a new number each time the old one is thrown away, and without an identity service."""

    def __init__(self, root: str) -> None:
        super().__init__(config.load(config.new(), []))
        self.number = 1
        self._endpoints["image"] = root

    @property
    def session(self) -> Any:
        return self

    def invalidate(self) -> None:
        self.number += 1

    def token(self) -> str:
        return f"token-{self.number}"


@pytest.fixture
def seen() -> list[tuple[str, bytes]]:
    """Token and body of each request."""
    return []


@pytest.fixture
def clients(seen: list[tuple[str, bytes]]) -> Iterator[Clients]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            seen.append((self.headers["X-Auth-Token"], body))
            self.send_response(401 if len(seen) == 1 else 204)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Clients(f"http://127.0.0.1:{server.server_address[1]}")
        server.shutdown()


def test_a_file_is_sent_whole_with_the_second_token_too(clients: Clients, seen: list[tuple[str, bytes]]) -> None:
    file = io.BytesIO(b"header" + b"data" * 1000)
    file.seek(6)
    clients["image"].request("PUT", "/images/1/file", data=file)
    assert seen == [("token-1", b"data" * 1000), ("token-2", b"data" * 1000)]


def test_what_can_be_read_once_is_sent_once(clients: Clients, seen: list[tuple[str, bytes]]) -> None:
    with pytest.raises(RemoteError) as refusal:
        clients["image"].request("PUT", "/images/1/file", data=iter([b"data"]))
    assert refusal.value.status == 401
    assert len(seen) == 1
