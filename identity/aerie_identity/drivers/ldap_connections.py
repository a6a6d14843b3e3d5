# SPDX-License-Identifier: Apache-2.0
"""Connections to one LDAP directory: few, kept for reuse, each used by one thread at a time, and every wait bounded.

Invariants: referrals are not followed. At most `slots` threads of the process wait for this directory at a time, others
are refused after GATE_SECONDS, so a directory that hangs cannot take the threads that other domains need. After a wait
in vain all are refused at once for PAUSE_SECONDS.
"""

from __future__ import annotations

import logging
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import ldap
from ldap.controls.libldap import SimplePagedResultsControl

from aerie_identity.drivers.base import DirectoryDown, DirectoryFault
from aerie_identity.drivers.ldap_options import LdapOptions

LOG = logging.getLogger(__name__)

GATE_SECONDS = 1.0
PAUSE_SECONDS = 3.0
SLOW_SECONDS = 1.0
LIST_FACTOR = 3
"""A long list may take so many times the time-out of a short answer."""

Entry = tuple[str, dict[str, list[bytes]]]

_UNREACHABLE = (ldap.SERVER_DOWN, ldap.CONNECT_ERROR, ldap.TIMEOUT, ldap.UNAVAILABLE, ldap.BUSY, ldap.LOCAL_ERROR)
_WRONG_PASSWORD = (
    ldap.INVALID_CREDENTIALS, ldap.INAPPROPRIATE_AUTH, ldap.INSUFFICIENT_ACCESS, ldap.UNWILLING_TO_PERFORM,
    ldap.CONSTRAINT_VIOLATION, ldap.NO_SUCH_OBJECT, ldap.INVALID_DN_SYNTAX,
)  # fmt: skip
_TOO_LONG = (ldap.SIZELIMIT_EXCEEDED, ldap.ADMINLIMIT_EXCEEDED, ldap.TIMELIMIT_EXCEEDED)
_SCOPES = {"one": ldap.SCOPE_ONELEVEL, "sub": ldap.SCOPE_SUBTREE, "base": ldap.SCOPE_BASE}
_ALIASES = {
    "never": ldap.DEREF_NEVER,
    "searching": ldap.DEREF_SEARCHING,
    "always": ldap.DEREF_ALWAYS,
    "finding": ldap.DEREF_FINDING,
}
_CERTIFICATES = {
    "demand": ldap.OPT_X_TLS_DEMAND,
    "allow": ldap.OPT_X_TLS_ALLOW,
    "never": ldap.OPT_X_TLS_NEVER,
}


class Connections:
    def __init__(self, options: LdapOptions, slots: int) -> None:
        self._options = options
        self._slots = threading.BoundedSemaphore(max(1, min(slots, options.pool_size)))
        self._lock = threading.Lock()
        self._idle: list[tuple[float, Any]] = []
        self._closed = False
        self._down_until = float("-inf")

    # ------------------------------------------------------------------------------------------------------ questions

    def search(
        self, base: str, scope: str, filter: str, attributes: Sequence[str], *, long: bool = False
    ) -> list[Entry]:
        """All entries found, page by page where pages are configured. None where the base does not exist."""
        with self._gate():
            try:
                return self._search(self._take(), base, scope, filter, attributes, long)
            except ldap.SERVER_DOWN:
                # Idle connections end when the server restarts: one fresh attempt.
                self._drop_idle()
                return self._search(self._open(), base, scope, filter, attributes, long)

    def _search(
        self, conn: Any, base: str, scope: str, filter: str, attributes: Sequence[str], long: bool
    ) -> list[Entry]:
        found: list[Entry] = []
        size = self._options.page_size
        page = SimplePagedResultsControl(criticality=True, size=size, cookie="") if size else None
        seconds = self._options.seconds * (LIST_FACTOR if long else 1)
        end = time.monotonic() + seconds
        healthy = False
        try:
            while True:
                left = max(0.1, end - time.monotonic())
                controls = [page] if page else None
                asked = conn.search_ext(base, _SCOPES[scope], filter, list(attributes), serverctrls=controls)
                _, rows, _, answered = conn.result3(asked, timeout=left)
                found += [(dn, values) for dn, values in rows if dn is not None]  # without DN: a referral
                cookie = next((c.cookie for c in answered if c.controlType == ldap.CONTROL_PAGEDRESULTS), None)
                if page is None or not cookie:
                    break
                page.cookie = cookie
            healthy = True
        except ldap.NO_SUCH_OBJECT:
            healthy = True
            return []
        finally:
            self._give_back(conn, healthy)
        return found

    def bind(self, dn: str, password: str) -> bool:
        """Does the directory take this password for this DN? Neither may be empty: that would be an anonymous bind."""
        if not dn or not password:
            return False
        with self._gate():
            try:
                conn = self._connect()
                try:
                    conn.simple_bind_s(dn, password)
                    return True
                finally:
                    self._unbind(conn)
            except _WRONG_PASSWORD as e:
                LOG.info("the directory refuses a login: %s", type(e).__name__)
                return False

    # ---------------------------------------------------------------------------------------------------- connections

    @contextmanager
    def _gate(self) -> Iterator[None]:
        """Bound how many wait, and say in our words what went wrong."""
        if time.monotonic() < self._down_until or not self._slots.acquire(timeout=GATE_SECONDS):
            raise DirectoryDown()
        began = time.monotonic()
        try:
            yield
        except _UNREACHABLE as e:
            now = time.monotonic()
            if now - began > SLOW_SECONDS:
                self._down_until = now + PAUSE_SECONDS
            self._drop_idle()
            LOG.warning("no answer from the directory %s: %s", self._options.url, _describe(e))
            raise DirectoryDown() from None
        except _TOO_LONG as e:
            LOG.warning("the directory %s cuts its answer short: %s", self._options.url, _describe(e))
            raise DirectoryFault(reason="a limit of the directory was exceeded; page_size may help") from None
        except ldap.FILTER_ERROR as e:
            LOG.error("a filter for the directory %s is malformed: %s", self._options.url, _describe(e))
            raise DirectoryFault(reason="a configured filter is malformed") from None
        except ldap.LDAPError as e:
            LOG.error("the directory %s answers with an error: %s", self._options.url, _describe(e))
            raise DirectoryFault(reason=type(e).__name__.replace("_", " ").lower()) from None
        finally:
            self._slots.release()

    def _take(self) -> Any:
        """A connection bound as the service."""
        now = time.monotonic()
        while True:
            with self._lock:
                if not self._idle:
                    break
                opened, conn = self._idle.pop()
            if now - opened < self._options.pool_connection_lifetime:
                conn.aerie_opened = opened
                return conn
            self._unbind(conn)
        return self._open()

    def _open(self) -> Any:
        conn = self._connect()
        try:
            if self._options.user:
                conn.simple_bind_s(self._options.user, self._options.password)
        except ldap.LDAPError:
            self._unbind(conn)
            raise
        conn.aerie_opened = time.monotonic()
        return conn

    def _connect(self) -> Any:
        options = self._options
        conn = ldap.initialize(_awake(options.url, options.seconds), bytes_mode=False)
        conn.set_option(ldap.OPT_PROTOCOL_VERSION, ldap.VERSION3)
        conn.set_option(ldap.OPT_REFERRALS, ldap.OPT_OFF)
        conn.set_option(ldap.OPT_NETWORK_TIMEOUT, options.seconds)
        conn.set_option(ldap.OPT_TIMEOUT, options.seconds)
        conn.timeout = options.seconds
        if options.alias_dereferencing in _ALIASES:
            conn.set_option(ldap.OPT_DEREF, _ALIASES[options.alias_dereferencing])
        if options.use_tls or "ldaps://" in options.url.lower():
            self._secure(conn)
        if options.use_tls:
            conn.start_tls_s()
        return conn

    def _secure(self, conn: Any) -> None:
        options = self._options
        conn.set_option(ldap.OPT_X_TLS_REQUIRE_CERT, _CERTIFICATES[options.tls_req_cert])
        try:
            if options.tls_cacertfile:
                conn.set_option(ldap.OPT_X_TLS_CACERTFILE, options.tls_cacertfile)
            if options.tls_cacertdir:
                conn.set_option(ldap.OPT_X_TLS_CACERTDIR, options.tls_cacertdir)
            conn.set_option(ldap.OPT_X_TLS_NEWCTX, 0)
        except ValueError as e:
            raise ldap.CONNECT_ERROR({"desc": f"the certificates of the directory cannot be used: {e}"}) from None

    def _give_back(self, conn: Any, healthy: bool) -> None:
        with self._lock:
            keep = healthy and self._options.use_pool and not self._closed and len(self._idle) < self._options.pool_size
            if keep:
                self._idle.append((conn.aerie_opened, conn))
        if not keep:
            self._unbind(conn)

    def _drop_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for _, conn in idle:
            self._unbind(conn)

    @staticmethod
    def _unbind(conn: Any) -> None:
        try:
            conn.unbind_ext_s()
        except ldap.LDAPError:
            pass  # it is gone already, which is what is wanted

    def close(self) -> None:
        self._closed = True
        self._drop_idle()


def _awake(urls: str, seconds: float) -> str:
    """Without the servers that take a connection for TLS and then say nothing: libldap would wait for their handshake
    without end, whatever time-out it is given."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE  # nothing is sent; libldap verifies in its own handshake

    def answers(url: str) -> bool:
        parts = urlsplit(url)
        if parts.scheme.lower() != "ldaps":
            return True
        try:
            with socket.create_connection((parts.hostname or "localhost", parts.port or 636), seconds) as plain:
                tls.wrap_socket(plain).close()
        except TimeoutError:
            return False
        except OSError:
            pass  # an answer of a kind: libldap will say of what kind
        return True

    found = [url for url in urls.split() if answers(url)]
    if not found:
        raise ldap.TIMEOUT({"desc": "no TLS handshake"})
    return " ".join(found)


def _describe(error: ldap.LDAPError) -> str:
    """What the library says, without what was sent."""
    told = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
    parts = [type(error).__name__, *(str(told[key]) for key in ("desc", "info") if told.get(key))]
    return ": ".join(parts)
