# SPDX-License-Identifier: Apache-2.0
"""A web server on the loopback that tests download from, and that can be slow, silent or wrong."""

from __future__ import annotations

import http.server
import re
import threading
from typing import Any


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has read enough is none."""


class Site:
    """Files by path. asked: (method, path, range) of every request; hold: bytes after which it waits for go."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.asked: list[tuple[str, str, str | None]] = []
        self.hold: int | None = None
        self.break_off: int | None = None
        self.go = threading.Event()
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.answer(False)

            def do_GET(self) -> None:
                self.answer(True)

            def answer(self, body: bool) -> None:
                site.asked.append((self.command, self.path, self.headers.get("Range")))
                if self.path in site.redirects:
                    self.send_response(302)
                    self.send_header("Location", site.redirects[self.path])
                    self.end_headers()
                    return
                data = site.files.get(self.path)
                if data is None:
                    self.send_error(404)
                    return
                span = re.match(r"bytes=(\d+)-(\d+)$", self.headers.get("Range") or "")
                self.send_response(206 if span else 200)
                data = data[int(span[1]) : int(span[2]) + 1] if span else data
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if body:
                    self.send(data)

            def send(self, data: bytes) -> None:
                if site.break_off is not None:
                    self.wfile.write(data[: site.break_off])
                    self.close_connection = True
                elif site.hold is not None:
                    self.wfile.write(data[: site.hold])
                    self.wfile.flush()
                    assert site.go.wait(30)
                    self.wfile.write(data[site.hold :])
                else:
                    self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:
                return

        self._server = _Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def put(self, path: str, data: bytes) -> str:
        """A file; its URL."""
        self.files[path] = data
        return self.url + path

    def gets(self, path: str) -> int:
        """How many times a file was asked for."""
        return sum(1 for method, asked, _ in self.asked if method == "GET" and asked == path)

    def stop(self) -> None:
        self.go.set()
        self._server.shutdown()
        self._server.server_close()
