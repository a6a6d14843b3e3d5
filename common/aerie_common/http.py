# SPDX-License-Identifier: Apache-2.0
"""What a handler is given and what it may return."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import IO, Any
from urllib.parse import parse_qs, quote

import webob

from aerie_common import listing
from aerie_common.context import Context
from aerie_common.fields import NO_VERSION
from aerie_common.listing import Listing
from aerie_common.microversions import Version
from aerie_common.operations import Operation


class FileSlice:
    """A part of a file as a reply's body: the server lets the kernel send it; whoever else, reads it piece by piece."""

    PIECE = 1 << 20

    def __init__(self, file: IO[bytes], offset: int, length: int) -> None:
        """file: opened unbuffered; it is closed with the reply."""
        self.file, self.offset, self.length = file, offset, length

    def __iter__(self) -> Iterator[bytes]:
        with self.file:
            self.file.seek(self.offset)
            left = self.length
            while left > 0:
                piece = self.file.read(min(self.PIECE, left))
                if not piece:
                    raise OSError(f"{self.file.name} ends {left} bytes early")
                left -= len(piece)
                yield piece

    def close(self) -> None:
        """Close the file."""
        self.file.close()


@dataclass
class Reply:
    """A handler's answer where a plain value is not enough.

    value: JSON-able, sent as JSON when not None. body: raw bytes or an iterable of them (streams), sent with
    content_type. status: None means the operation's own.
    """

    value: Any = None
    status: int | None = None
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes | Iterable[bytes] | None = None
    content_type: str = "application/json"


class Request:
    """One call, already authenticated and validated when the handler sees it.

    svc: the service's container (its database, policy, rpc, clients). ctx: the caller. version: the microversion.
    body: the validated JSON body, None without one. http: the WebOb request, for headers and streams.
    """

    def __init__(self, environ: dict[str, Any], svc: Any, ctx: Context, prefix: str) -> None:
        self.environ = environ
        self.svc = svc
        self.ctx = ctx
        self.prefix = prefix
        self.version: Version = NO_VERSION
        self.body: Any = None
        self.op: Operation | None = None
        self.path = ""

    @cached_property
    def http(self) -> webob.Request:
        return webob.Request(self.environ)

    @cached_property
    def query(self) -> Mapping[str, list[str]]:
        """The query string: name -> values in order."""
        return parse_qs(self.environ.get("QUERY_STRING", ""), keep_blank_values=True)

    def header(self, name: str, default: str | None = None) -> str | None:
        key = name.upper().replace("-", "_")
        return self.environ.get(key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}", default)

    def query_one(self, name: str, default: str | None = None) -> str | None:
        """The last value of a query parameter."""
        values = self.query.get(name)
        return values[-1] if values else default

    @property
    def stream(self) -> IO[bytes]:
        """The request body, unread (operations with request="stream")."""
        return self.environ["wsgi.input"]  # type: ignore[no-any-return]

    @cached_property
    def base_url(self) -> str:
        """Scheme, host, port and prefix as the client addressed this API, or the configured public endpoint."""
        configured = self.svc.conf.api.public_endpoint
        return str(configured or self.http.application_url).rstrip("/") + self.prefix

    @property
    def url(self) -> str:
        """This request's address without its query."""
        return self.base_url + quote(self.path, safe="/%:@!$&'()*+,;=~")

    @cached_property
    def listing(self) -> Listing:
        """Filters, sorting and page of a list call."""
        if self.op is None:
            raise TypeError("only operations have listings")
        table = self.svc.table
        strict = table.strict_query_since is not None and self.version >= table.strict_query_since
        style = replace(table.style, unknown="refuse") if strict else table.style
        return listing.parse(self.query, self.op.filter_names, self.op.sort_names, style)

    def next_url(self, marker: str | None, **changes: str) -> str:
        """The address of the next page."""
        return listing.page_url(self.url, self.query, marker, **changes)

    def enforce(self, target: Mapping[str, Any] | None = None, rule: str | None = None) -> None:
        """Ask the policy about the object the handler found. Raises PolicyNotAuthorized."""
        name = rule or (self.op.policy if self.op else None)
        if name is None:
            raise TypeError("this operation has no policy")
        self.svc.policy.check(self.ctx, name, target)

    def allows(self, rule: str, target: Mapping[str, Any] | None = None) -> bool:
        return bool(self.svc.policy.allows(self.ctx, rule, target))
