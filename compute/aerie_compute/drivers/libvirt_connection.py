# SPDX-License-Identifier: Apache-2.0
"""One connection to libvirtd that comes back after libvirtd does, with its events, and libvirt's errors in our terms.

Invariant: ``get`` returns a connection that was alive a moment ago, or raises HypervisorUnavailable. Events are handed
on from a
thread of this module, never from libvirt's event loop, in which calling libvirt again would be unwise.
"""

from __future__ import annotations

import functools
import logging
import queue
import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import libvirt

from aerie_compute.drivers.base import (
    DriverError,
    GuestNotFound,
    HostExhausted,
    HypervisorUnavailable,
    InvalidGuestState,
    PortNotWired,
)

LOG = logging.getLogger(__name__)
P = ParamSpec("P")
R = TypeVar("R")

KEEPALIVE_SECONDS = 5
KEEPALIVE_COUNT = 4
GONE = {libvirt.VIR_ERR_RPC, libvirt.VIR_ERR_NO_CONNECT, libvirt.VIR_ERR_INVALID_CONN, libvirt.VIR_ERR_SYSTEM_ERROR}

_loop_guard = threading.Lock()
_loop_started = False


def start_event_loop() -> None:
    """Run libvirt's event loop in a native thread of this process, once. Must come before the first connection."""
    global _loop_started
    with _loop_guard:
        if _loop_started:
            return
        libvirt.virEventRegisterDefaultImpl()
        libvirt.registerErrorHandler(lambda _ctx, _error: None, None)  # else libvirt prints to standard error
        threading.Thread(target=_run_loop, name="libvirt-events", daemon=True).start()
        _loop_started = True


def _run_loop() -> None:
    while True:
        try:
            libvirt.virEventRunDefaultImpl()
        except libvirt.libvirtError:
            LOG.exception("libvirt's event loop stumbled")


def translate(exc: libvirt.libvirtError) -> DriverError:
    """Our error for one of libvirt's."""
    code, text = exc.get_error_code(), str(exc)
    if code == libvirt.VIR_ERR_NO_DOMAIN:
        return GuestNotFound(text)
    if code == libvirt.VIR_ERR_OPERATION_INVALID:
        return InvalidGuestState(text)
    if code in GONE and exc.get_error_domain() in (libvirt.VIR_FROM_RPC, libvirt.VIR_FROM_REMOTE):
        return HypervisorUnavailable(text)
    if code in (libvirt.VIR_ERR_NO_CONNECT, libvirt.VIR_ERR_INVALID_CONN):
        return HypervisorUnavailable(text)
    if "Unable to open /dev/net/tun" in text or "Cannot find device" in text or "target managed='no' but" in text:
        return PortNotWired(text)
    if "No space left on device" in text or "Cannot allocate memory" in text:
        return HostExhausted(text)
    return DriverError(text)


def translated(function: Callable[P, R]) -> Callable[P, R]:
    """Decorator: libvirt's errors leave the function as ours."""

    @functools.wraps(function)
    def inner(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except libvirt.libvirtError as exc:
            raise translate(exc) from exc

    return inner


class Connection:
    """See the module.

    ``on_event(uuid, event, detail)`` gets libvirt's lifecycle events; uuid "" after a reconnection.
    """

    def __init__(self, uri: str, on_event: Callable[[str, int, int], None]) -> None:
        self.uri = uri
        self._on_event = on_event
        self._guard = threading.Lock()
        self._conn: Any = None
        self._ever = False
        self._closed = False
        self._events: queue.SimpleQueue[tuple[str, int, int] | None] = queue.SimpleQueue()
        self._pump: threading.Thread | None = None

    def get(self) -> Any:
        """A live virConnect, shared by all threads. Raises HypervisorUnavailable."""
        with self._guard:
            if self._closed:
                raise HypervisorUnavailable("the driver was closed")
            if self._conn is not None and not self._alive(self._conn):
                LOG.warning("the connection to %s is gone", self.uri)
                self._drop()
            if self._conn is None:
                self._conn = self._open()
                if self._ever:
                    self._events.put(("", 0, 0))
                self._ever = True
            return self._conn

    def close(self) -> None:
        """Let go of the connection, for good."""
        with self._guard:
            self._closed = True
            self._drop()
        if self._pump is not None:
            self._events.put(None)
            self._pump.join()

    def _open(self) -> Any:
        start_event_loop()
        if self._pump is None:
            self._pump = threading.Thread(target=self._hand_on, name="libvirt-lifecycle", daemon=True)
            self._pump.start()
        try:
            conn = libvirt.open(self.uri)
            conn.setKeepAlive(KEEPALIVE_SECONDS, KEEPALIVE_COUNT)
            conn.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._lifecycle, None)
        except libvirt.libvirtError as exc:
            raise HypervisorUnavailable(f"{self.uri}: {exc}") from exc
        LOG.info("connected to %s", self.uri)
        return conn

    def _drop(self) -> None:
        conn, self._conn = self._conn, None
        if conn is not None:
            try:
                conn.close()
            except libvirt.libvirtError as exc:
                LOG.debug("closing a dead connection: %s", exc)

    @staticmethod
    def _alive(conn: Any) -> bool:
        try:
            return bool(conn.isAlive()) and conn.getLibVersion() > 0
        except libvirt.libvirtError:
            return False

    def _lifecycle(self, _conn: Any, dom: Any, event: int, detail: int, _opaque: Any) -> None:
        self._events.put((dom.UUIDString(), event, detail))

    def _hand_on(self) -> None:
        while (item := self._events.get()) is not None:
            try:
                self._on_event(*item)
            except (DriverError, libvirt.libvirtError) as exc:
                LOG.warning("a lifecycle event of %s is lost: %s", item[0], exc)
