# SPDX-License-Identifier: Apache-2.0
"""A WSGI application that does all that a server has to cope with, and remembers what it was asked."""

from __future__ import annotations

import builtins
import tempfile
import time
from collections.abc import Callable, Iterable
from typing import Any

from aerie_common.http import FileSlice

seen: list[dict[str, Any]] = []


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    seen.append(environ)
    path = environ["PATH_INFO"]
    if path == "/echo":
        body = environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]
    if path == "/lines":
        start_response("200 OK", [])
        return list(environ["wsgi.input"])
    if path == "/pieces":
        start_response("200 OK", [("X-Kind", "pieces")])
        return iter([b"a" * 10, b"", b"b" * 100_000])
    if path == "/none":
        start_response("204 No Content", [])
        return []
    if path == "/unchanged":
        start_response("304 Not Modified", [])
        return []
    if path.startswith("/raises/"):
        raise getattr(builtins, path.removeprefix("/raises/"))("far away")
    if path == "/breaks":
        raise RuntimeError("a mistake of the application")
    if path == "/injects":
        start_response("200 OK", [("X-Name", "a\r\nSet-Cookie: b")])
        return [b""]
    if path == "/short":
        start_response("200 OK", [("Content-Length", "10")])
        return [b"12345"]
    if path.startswith("/file/"):
        size = int(path.removeprefix("/file/"))
        file = tempfile.TemporaryFile(buffering=0)
        file.write(b"0123456789")
        start_response("200 OK", [("Content-Length", str(size))])
        return FileSlice(file, 2, size)
    if path == "/slow":
        time.sleep(0.3)
    start_response("200 OK", [("Content-Length", "2")])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [b"ok"]
