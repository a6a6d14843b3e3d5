# SPDX-License-Identifier: Apache-2.0
"""Image data as objects of a container of OpenStack Swift.

Data streams into the store as it comes. What is known to be small becomes one object; everything else becomes segments
(`<name>/<number>`) and, when all are there, a static large object `<name>` made of them, so nothing is to be seen
before. Locations (`swift://container/name`) hold no secrets.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import hashlib
import http.client
import itertools
import logging
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol
from urllib.parse import quote, unquote, urlsplit

import orjson
import requests
import urllib3.exceptions
from keystoneauth1 import exceptions as ka
from keystoneauth1.identity import v3
from keystoneauth1.session import Session
from oslo_config import cfg

from aerie_image.stores import naming
from aerie_image.stores.base import Body, Store, StoreDenied, StoreGone, StoreUnavailable, pieces

LOG = logging.getLogger(__name__)
MIB = 1 << 20
MAX_SEGMENTS = 1000
PAGE = 1000
CONNECT_SECONDS, SILENCE_SECONDS = 10.0, 60.0


class Auth(Protocol):
    """Who we are to the object store."""

    def get(self) -> tuple[str, str]:
        """(URL of the account, token)"""

    def renew(self) -> None:
        """The token was refused: the next get() asks for another one."""


class AuthV1:
    """Swift's own way: user and key in headers."""

    def __init__(self, options: cfg.ConfigOpts.GroupAttr, web: requests.Session) -> None:
        self._options, self._web = options, web
        self._lock = threading.Lock()
        self._known: tuple[str, str] | None = None

    def get(self) -> tuple[str, str]:
        with self._lock:
            if self._known is None:
                headers = {"X-Auth-User": self._options.swift_store_user, "X-Auth-Key": self._options.swift_store_key}
                url, limits = self._options.swift_store_auth_address, (CONNECT_SECONDS, SILENCE_SECONDS)
                try:
                    reply = self._web.get(url, headers=headers, timeout=limits, allow_redirects=False)
                except requests.RequestException as e:
                    raise StoreUnavailable(f"the object store's authentication does not answer: {e}") from e
                _check(reply.status_code, "authentication")
                account = self._options.swift_store_endpoint or reply.headers.get("X-Storage-Url", "")
                self._known = account.rstrip("/"), reply.headers.get("X-Auth-Token", "")
            return self._known

    def renew(self) -> None:
        with self._lock:
            self._known = None


class AuthV3:
    """By the identity service; the account is in its catalog."""

    def __init__(self, options: cfg.ConfigOpts.GroupAttr, web: requests.Session) -> None:
        self._options = options
        project, _, user = options.swift_store_user.partition(":")
        auth = v3.Password(
            auth_url=options.swift_store_auth_address,
            username=user,
            password=options.swift_store_key,
            project_name=project,
            user_domain_name=options.swift_store_user_domain_name,
            project_domain_name=options.swift_store_project_domain_name,
        )
        self._session = Session(auth=auth, session=web, user_agent="aerie", verify=web.verify, timeout=SILENCE_SECONDS)

    def get(self) -> tuple[str, str]:
        options = self._options
        try:
            token = self._session.get_token()
            account = options.swift_store_endpoint or self._session.get_endpoint(
                service_type=options.swift_store_service_type,
                interface=options.swift_store_endpoint_type.removesuffix("URL"),
                region_name=options.swift_store_region or None,
                skip_discovery=True,
            )
        except (ka.Unauthorized, ka.Forbidden) as e:
            raise StoreDenied(f"the identity service refuses {options.swift_store_user}: {e}") from e
        except ka.ClientException as e:
            raise StoreUnavailable(f"no token for the object store: {e}") from e
        if not token or not account:
            raise StoreUnavailable("the catalog has no object store")
        return str(account).rstrip("/"), str(token)

    def renew(self) -> None:
        self._session.invalidate()


def _check(status: int, what: str) -> None:
    """Raise what a refusal means."""
    if status < 300:
        return
    text = f"{what}: the object store answered {status}"
    if status in (401, 403):
        raise StoreDenied(text)
    if status == 404:
        raise FileNotFoundError(text)
    if status in (413, 507):
        raise OSError(errno.ENOSPC, text)
    raise StoreUnavailable(text)


class Container:
    """One container, by HTTP."""

    def __init__(self, options: cfg.ConfigOpts.GroupAttr) -> None:
        self.name: str = options.swift_store_container
        self._insecure, self._cacert = options.swift_store_auth_insecure, options.swift_store_cacert
        self._web = requests.Session()
        self._web.trust_env = False
        self._web.verify = False if self._insecure else self._cacert or True
        for scheme in ("http://", "https://"):
            self._web.mount(scheme, requests.adapters.HTTPAdapter(pool_connections=2, pool_maxsize=32))
        kinds: dict[str, Callable[[cfg.ConfigOpts.GroupAttr, requests.Session], Auth]] = {"1": AuthV1, "3": AuthV3}
        self._auth = kinds[options.swift_store_auth_version](options, self._web)

    def ask(
        self,
        method: str,
        name: str | None = None,
        query: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        stream: bool = False,
    ) -> requests.Response:
        """A successful reply about an object, or about the container itself."""
        path, what = self._path(name), f"{self.name}/{name}" if name is not None else self.name
        for attempt in (0, 1):
            account, token = self._auth.get()
            try:
                reply = self._web.request(
                    method,
                    f"{account}{path}{query}",
                    headers={"X-Auth-Token": token, **(headers or {})},
                    data=body,
                    stream=stream,
                    timeout=(CONNECT_SECONDS, SILENCE_SECONDS),
                    allow_redirects=False,
                )
            except requests.RequestException as e:
                raise StoreUnavailable(f"{what}: the object store does not answer: {e}") from e
            if reply.status_code == 401 and not attempt:
                reply.close()
                self._auth.renew()
                continue
            break
        if reply.status_code >= 300:
            reply.close()
        _check(reply.status_code, what)
        return reply

    def _path(self, name: str | None) -> str:
        return f"/{quote(self.name, safe='')}" + ("" if name is None else f"/{quote(name)}")

    def need(self, create: bool) -> None:
        """Make sure that the container is there: refuse at once what could only fail at the end."""
        try:
            self.ask("HEAD")
        except FileNotFoundError as e:
            if not create:
                raise StoreGone(f"the container {self.name} does not exist") from e
            self.ask("PUT")

    def list_(self, prefix: str) -> Iterator[dict[str, Any]]:
        """Everything whose name begins so, in the order of the names."""
        marker = ""
        while True:
            query = f"?format=json&limit={PAGE}&prefix={quote(prefix, safe='')}&marker={quote(marker, safe='')}"
            try:
                reply = self.ask("GET", None, query)
            except FileNotFoundError:
                return
            page: list[dict[str, Any]] = orjson.loads(reply.content) if reply.content else []
            yield from page
            if len(page) < PAGE:
                return
            marker = page[-1]["name"]

    def open_put(self, name: str) -> http.client.HTTPConnection:
        """A connection that waits for the chunks of a new object."""
        self.need(False)  # and so know that the token is good
        account, token = self._auth.get()
        parts = urlsplit(account)
        host, port = parts.hostname or "", parts.port
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            tls = ssl.create_default_context(cafile=self._cacert or None)
            if self._insecure:
                tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
            connection = http.client.HTTPSConnection(host, port, timeout=SILENCE_SECONDS, context=tls)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=SILENCE_SECONDS)
        try:
            connection.putrequest("PUT", parts.path + self._path(name))
            for header, value in (("X-Auth-Token", token), ("Content-Type", "application/octet-stream"),
                                  ("Transfer-Encoding", "chunked")):  # fmt: skip
                connection.putheader(header, value)
            connection.endheaders()
        except (OSError, http.client.HTTPException) as e:
            connection.close()
            raise StoreUnavailable(f"{name}: the object store does not answer: {e}") from e
        return connection


class _Put:
    """One object on its way. Nothing of it stays unless end() returns."""

    def __init__(self, container: Container, name: str) -> None:
        self.name, self.size = name, 0
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._connection = container.open_put(name)

    def write(self, data: memoryview) -> None:
        if not data:
            return
        try:
            self._connection.send(b"%x\r\n" % len(data))
            self._connection.send(data)
            self._connection.send(b"\r\n")
        except OSError as e:
            self._refused(e)
        self._md5.update(data)
        self.size += len(data)

    def end(self) -> str:
        """The store has it all; returns its tag."""
        try:
            self._connection.send(b"0\r\n\r\n")
            reply = self._connection.getresponse()
            reply.read()
        except (OSError, http.client.HTTPException) as e:
            self._refused(e)
        finally:
            self._connection.close()
        _check(reply.status, self.name)
        tag = (reply.headers.get("ETag") or "").strip('"')
        if tag != self._md5.hexdigest():
            raise StoreUnavailable(f"{self.name}: the object store got other data than was sent")
        return tag

    def _refused(self, error: Exception) -> None:
        """The store does not read on: what does it say?"""
        try:
            status = self._connection.getresponse().status
        except (OSError, http.client.HTTPException):
            raise StoreUnavailable(f"{self.name}: the connection broke: {error}") from error
        finally:
            self._connection.close()
        _check(status, self.name)
        raise StoreUnavailable(f"{self.name}: the connection broke: {error}") from error

    def break_off(self) -> None:
        """Without the last chunk the store forgets what it got."""
        self._connection.close()


class SwiftWriter:
    """One image being written."""

    path: str | None = None

    def __init__(self, store: SwiftStore, image_id: str, size: int | None) -> None:
        self._store, self._container = store, store.container
        self._name = naming.new(image_id)
        self._whole = size is not None and size <= store.single_size
        self._segment_size = max(store.segment_size, -(-(size or 0) // MAX_SEGMENTS))
        self._put: _Put | None = None
        self._segments: list[dict[str, Any]] = []
        self._over = False

    def write(self, chunk: bytes | memoryview) -> None:
        view = memoryview(chunk)
        while view:
            if self._put is None:
                self._put = _Put(self._container, self._next_name())
            count = len(view) if self._whole else min(len(view), self._segment_size - self._put.size)
            self._put.write(view[:count])
            view = view[count:]
            if not self._whole and self._put.size == self._segment_size:
                self._end_segment()

    def _next_name(self) -> str:
        if self._whole:
            return self._name
        if len(self._segments) == MAX_SEGMENTS:
            raise OSError(errno.ENOSPC, f"{self._name} would have more than {MAX_SEGMENTS} segments")
        return f"{self._name}/{len(self._segments) + 1:08d}"

    def _end_segment(self) -> None:
        assert self._put is not None
        put, tag = self._put, self._put.end()
        self._put = None
        self._segments.append({"path": f"/{self._container.name}/{put.name}", "etag": tag, "size_bytes": put.size})

    def commit(self) -> str:
        if self._whole or (self._put is None and not self._segments):
            self._whole = True
            put = self._put or _Put(self._container, self._name)
            put.end()
            self._put = None
        else:
            if self._put is not None:
                self._end_segment()
            self._container.ask("PUT", self._name, "?multipart-manifest=put", body=orjson.dumps(self._segments),
                                headers={"Content-Type": "application/octet-stream"})  # fmt: skip
        self._over = True
        return self._store.location(self._name)

    def abort(self) -> None:
        if self._put is not None:
            self._put.break_off()
        if self._over or not self._segments:
            return
        self._over = True
        try:
            for segment in self._segments:
                self._store.remove(segment["path"].partition(f"/{self._container.name}/")[2])
        except OSError as e:
            LOG.warning("segments of %s stay until the reconciler finds them: %s", self._name, e)


class _Body:
    def __init__(self, reply: requests.Response, name: str) -> None:
        self._reply, self._name = reply, name

    def read(self, size: int) -> bytes:
        try:
            data: bytes = self._reply.raw.read(size)
            return data
        except (OSError, urllib3.exceptions.HTTPError) as e:
            raise StoreUnavailable(f"{self._name}: the data broke off: {e}") from e

    def close(self) -> None:
        self._reply.close()


class SwiftStore(Store):
    """All images in one container."""

    kind = "swift"

    def __init__(self, name: str, options: cfg.ConfigOpts.GroupAttr) -> None:
        for needed in ("swift_store_auth_address", "swift_store_user", "swift_store_key"):
            if not getattr(options, needed):
                raise ValueError(f"[{name}] {needed} has to be set")
        self.name, self._options = name, options
        self.single_size: int = options.swift_store_large_object_size * MIB
        self.segment_size: int = options.swift_store_large_object_chunk_size * MIB
        self._lock = threading.Lock()
        self._container: Container | None = None

    @property
    def container(self) -> Container:
        """Made on first use: by then the process has forked for the last time."""
        with self._lock:
            if self._container is None:
                self._container = Container(self._options)
            return self._container

    def properties(self) -> dict[str, Any]:
        names = ("container", "large_object_size", "large_object_chunk_size")
        return {name: getattr(self._options, f"swift_store_{name}") for name in names}

    def location(self, name: str) -> str:
        """Where an object is."""
        return f"swift://{quote(self._options.swift_store_container)}/{quote(name)}"

    def _name(self, location: str) -> str:
        elsewhere = naming.in_glance(location, "swift")
        if elsewhere is not None:
            host, container, name = elsewhere
            ours = urlsplit(self._options.swift_store_auth_address).netloc
            if host not in ("", ours) or container != self._options.swift_store_container:
                raise FileNotFoundError(f"{naming.without_secrets(location)} is not of this store")
            return name
        parts = urlsplit(location)
        if parts.scheme != "swift" or unquote(parts.netloc) != self._options.swift_store_container:
            raise FileNotFoundError(f"{naming.without_secrets(location)} is not of this store")
        return unquote(parts.path.lstrip("/"))

    def create(self, image_id: str, size: int | None = None) -> SwiftWriter:
        self.container.need(self._options.swift_store_create_container_on_put)
        return SwiftWriter(self, image_id, size)

    def read(self, location: str, offset: int, length: int) -> Iterator[bytes]:
        name, container = self._name(location), self.container

        def open_(first: int, count: int) -> Body:
            span = {"Range": f"bytes={first}-{first + count - 1}", "Accept-Encoding": "identity"}
            return _Body(container.ask("GET", name, headers=span, stream=True), name)

        return pieces(open_, offset, length)

    def size(self, location: str) -> int:
        return int(self.container.ask("HEAD", self._name(location)).headers["Content-Length"])

    def remove(self, name: str) -> None:
        """Remove one object, and only that; one that is gone is fine."""
        with contextlib.suppress(FileNotFoundError):
            self.container.ask("DELETE", name)

    def delete(self, location: str) -> None:
        name = self._name(location)
        self.remove(name)
        for item in self.container.list_(f"{name}/"):
            self.remove(item["name"])

    def discard(self, image_id: str) -> None:
        for item in self.container.list_(naming.prefix(image_id)):
            if naming.image_of(item["name"].partition("/")[0]) == image_id:
                self.remove(item["name"])

    def list_(self) -> Iterator[tuple[str, str, float]]:
        # An object and its segments are one thing, as old as the youngest of them.
        now = datetime.datetime.now(datetime.UTC)
        for name, items in itertools.groupby(self.container.list_(""), lambda item: item["name"].partition("/")[0]):
            image_id = naming.image_of(name)
            if image_id is None:
                continue
            times = [datetime.datetime.fromisoformat(i["last_modified"]).replace(tzinfo=datetime.UTC) for i in items]
            yield image_id, self.location(name), (now - max(times)).total_seconds()
