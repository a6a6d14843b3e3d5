# SPDX-License-Identifier: Apache-2.0
"""Reconcilers: functions without input that read desired and actual state and make them equal, run now and again.

Invariant: nothing depends on any one run, wake or message. A wake that comes while `converge` runs leads to one more
run; many wakes lead to one; a failure is logged and tried again in growing intervals, and the period goes on.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable

from oslo_db.exception import DBConnectionError
from oslo_messaging import MessageDeliveryFailure

from aerie_common.context import admin_context, set_current
from aerie_common.db import Database
from aerie_common.errors import ServiceUnavailable
from aerie_common.lease import Lease

LOG = logging.getLogger(__name__)

FIRST_RETRY = 1.0


class Reconciler:
    """Runs `converge()` in a thread of its own: at the start, when woken, and `period` seconds after the last run.

    With `singleton=db`, of all processes that run a reconciler of this name only the holder of its lease in that
    database works; another takes over when the holder stops or is gone. `wake` then matters only in the holder.
    """

    def __init__(
        self,
        name: str,
        converge: Callable[[], None],
        period: float,
        *,
        singleton: Database | None = None,
        max_retry: float = 60.0,
    ) -> None:
        self.name, self.period = name, period
        self._converge, self._max_retry = converge, max_retry
        self._lease = None if singleton is None else Lease(singleton, name, seconds=max(15.0, period))
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.progressed_at = time.monotonic()
        """Monotonic time of the end of the last run that did not fail (or found that another process works)."""
        self.failures = 0
        """Failed runs since the last good one."""
        self.last_error: str | None = None

    def start(self) -> None:
        self._stopping.clear()
        self._thread = threading.Thread(target=self._loop, name=f"reconcile-{self.name}", daemon=True)
        self._thread.start()

    def stop(self, timeout: float = 10.0) -> None:
        """Let the present run finish, waiting at most `timeout` seconds, and give the lease back."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout)
        if self._lease is not None:
            self._lease.release()

    def wake(self) -> None:
        """Something may have changed: run soon."""
        self._wake.set()

    def run_once(self) -> bool:
        """Run in the calling thread, if this process may; False if it failed."""
        ctx = admin_context()
        set_current(ctx)
        try:
            if self._lease is None or self._lease.hold():
                self._converge()
        except Exception as error:
            self.failures += 1
            self.last_error = f"{type(error).__name__}: {error}"
            # The text of these says it all.
            expected = isinstance(error, (DBConnectionError, MessageDeliveryFailure, ServiceUnavailable))
            text = "Reconciler %s failed (%d in a row): %s"
            LOG.error(text, self.name, self.failures, self.last_error, exc_info=not expected)
            return False
        finally:
            set_current(None)
        self.failures, self.last_error, self.progressed_at = 0, None, time.monotonic()
        return True

    def stalled(self) -> bool:
        """Whether it has not come through for three periods and a minute; for health checks."""
        return time.monotonic() - self.progressed_at > 3 * self.period + 60.0

    def _loop(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            if self.run_once():
                # A little unevenness keeps the daemons of a cloud from working in step.
                self._wake.wait(self.period * random.uniform(0.95, 1.05))
            else:  # a wake does not shorten this pause: what fails must not fail in a hot loop
                self._stopping.wait(min(self._max_retry, FIRST_RETRY * 2.0 ** min(self.failures - 1, 10)))
