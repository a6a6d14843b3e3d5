# SPDX-License-Identifier: Apache-2.0
"""Tells the daemons that run flows, in other processes, that there may be work: sender and endpoint side by side.

Invariant: only time is saved. A runner finds every flow within its polling period, told or not.
"""

from __future__ import annotations

import threading
from typing import Any

import oslo_messaging

from aerie_common.context import Context, admin_context
from aerie_common.db import Database
from aerie_common.flow import COMMIT_TOPIC
from aerie_common.flow_runner import FlowRunner
from aerie_common.rpc import Rpc

VERSION = "1.0"


class FlowEndpoint:
    """What a daemon with a runner serves on its topic, beside its other endpoints."""

    target = oslo_messaging.Target(namespace="flows", version=VERSION)

    def __init__(self, runner: FlowRunner[Any]) -> None:
        self._runner = runner

    def wake(self, ctx: Context) -> None:
        """Flows have been started, woken or cancelled."""
        self._runner.wake()


class FlowWaker:
    """In a process that starts flows but runs none: tells all daemons of `topic` after each commit that concerns flows.

    It does so in a thread of its own: no request waits for the broker, and many commits at once are one message.
    """

    def __init__(self, db: Database, rpc: Rpc, topic: str) -> None:
        self._db = db
        self._client = rpc.client(topic, VERSION, namespace="flows")
        self._pending, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="flow-waker", daemon=True)

    def start(self) -> None:
        self._db.subscribe(COMMIT_TOPIC, self._committed)
        self._thread.start()

    def stop(self) -> None:
        self._db.unsubscribe(COMMIT_TOPIC, self._committed)
        self._stopping.set()
        self._pending.set()
        self._thread.join(10.0)

    def _committed(self, values: list[Any]) -> None:
        self._pending.set()

    def _run(self) -> None:
        while True:
            self._pending.wait()
            self._pending.clear()
            if self._stopping.is_set():
                return
            self._client.fanout(admin_context(), "wake")
