# SPDX-License-Identifier: Apache-2.0
"""Messages of the DNS service: only "there may be work", to the daemons that run flows."""

from __future__ import annotations

import threading
from typing import Any

import oslo_messaging

from aerie_common import flow
from aerie_common.context import Context, admin_context
from aerie_common.flow_runner import FlowRunner
from aerie_dns.container import Dns

TOPIC, VERSION = "dns-worker", "1.0"


class WorkerEndpoint:
    """What workers answer to."""

    target = oslo_messaging.Target(version=VERSION)

    def __init__(self, runner: FlowRunner[Dns]) -> None:
        self._runner = runner

    def wake(self, ctx: Context) -> None:
        """Flows have been started or woken."""
        self._runner.wake()


class Waker:
    """Tells the workers of the flows that this process starts, from a thread of its own: a request never waits for the
    broker, and a hundred commits at once are one message."""

    def __init__(self, svc: Dns) -> None:
        self._svc = svc
        self._client = svc.rpc.client(TOPIC, VERSION)
        self._pending, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="dns-waker", daemon=True)

    def start(self) -> None:
        self._svc.db.subscribe(flow.COMMIT_TOPIC, self._committed)
        self._thread.start()

    def stop(self) -> None:
        self._svc.db.unsubscribe(flow.COMMIT_TOPIC, self._committed)
        self._stopping.set()
        self._pending.set()
        self._thread.join(10)

    def _committed(self, values: list[Any]) -> None:
        self._pending.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._pending.wait()
            self._pending.clear()
            if not self._stopping.is_set():
                self._client.cast(admin_context(), "wake")
