# SPDX-License-Identifier: Apache-2.0
"""The message bus inside one process: the oslo.messaging driver behind `transport_url = fake://`.

All-in-one clouds and tests run on it. It delivers at once (oslo.messaging's own in-memory driver looks every 50 ms),
and is as strict as a broker: messages and errors really go through JSON. Each URL (`fake://`, `fake://name`) is a bus
of its own, shared by the whole process. Invariant: a message to a queue nobody listens to waits, at most BACKLOG of
them, the oldest are dropped.
"""

from __future__ import annotations

import collections
import queue
import threading
import time
from typing import Any

import oslo_messaging
from oslo_messaging._drivers import base
from oslo_messaging._drivers import common as driver_common
from oslo_serialization import jsonutils

BACKLOG = 1000

Key = tuple[str | None, ...]


class Bus:
    """Named queues, and who waits for them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queues: dict[Key, collections.deque[dict[str, Any]]] = {}
        self._listeners: dict[Key, list[Listener]] = {}

    def put(self, key: Key, message: dict[str, Any]) -> None:
        with self._lock:
            self._queue(key).append(message)
            listeners = list(self._listeners.get(key, ()))
        for listener in listeners:
            listener.arrived.set()

    def get(self, key: Key) -> dict[str, Any] | None:
        with self._lock:
            waiting = self._queue(key)
            return waiting.popleft() if waiting else None

    def keys(self, *prefix: str | None) -> list[Key]:
        """Every queue whose name begins so."""
        with self._lock:
            return [key for key in self._queues if key[: len(prefix)] == prefix]

    def join(self, listener: Listener) -> None:
        with self._lock:
            for key in listener.keys:
                self._queue(key)
                self._listeners.setdefault(key, []).append(listener)

    def leave(self, listener: Listener) -> None:
        with self._lock:
            for key in listener.keys:
                self._listeners[key].remove(listener)
                if not self._listeners[key] and key[0] == "server":
                    del self._listeners[key], self._queues[key]

    def _queue(self, key: Key) -> collections.deque[dict[str, Any]]:
        return self._queues.setdefault(key, collections.deque(maxlen=BACKLOG))


_buses: dict[str, Bus] = {}  # what makes one bus of a URL for the process, as a broker's address does for a network
_buses_lock = threading.Lock()


def bus(url: str) -> Bus:
    """The bus of this URL."""
    with _buses_lock:
        return _buses.setdefault(url.rstrip("/"), Bus())


class Incoming(base.RpcIncomingMessage):  # type: ignore[misc]
    """A message as the server sees it."""

    def __init__(self, owner: Bus, key: Key, item: dict[str, Any]) -> None:
        data = jsonutils.loads(item["text"])
        super().__init__(data["context"], data["message"])
        self._bus, self._key, self._item = owner, key, item

    def reply(self, reply: Any = None, failure: Any = None) -> None:
        answers: queue.SimpleQueue[str] | None = self._item["answers"]
        if answers is not None:
            remote = driver_common.serialize_remote_exception(failure) if failure else None
            answers.put(jsonutils.dumps({"result": reply, "failure": remote}))

    def requeue(self) -> None:
        self._bus.put(self._key, self._item)

    def heartbeat(self) -> None:
        """Nothing between caller and server can go away."""


class Listener(base.PollStyleListener):  # type: ignore[misc]
    """Waits for messages on several queues."""

    def __init__(self, owner: Bus, keys: list[Key]) -> None:
        super().__init__()
        self.keys, self.arrived = keys, threading.Event()
        self._bus, self._stopped = owner, False
        owner.join(self)

    def poll(
        self, timeout: float | None = None, batch_size: int = 1, batch_timeout: float | None = None
    ) -> list[Incoming]:
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            self.arrived.clear()
            found: list[Incoming] = []
            for key in self.keys:
                while len(found) < batch_size and (item := self._bus.get(key)) is not None:
                    found.append(Incoming(self._bus, key, item))
            if found or self._stopped:
                return found
            if not self.arrived.wait(None if end is None else max(0.0, end - time.monotonic())):
                return []

    def stop(self) -> None:
        self._stopped = True
        self.arrived.set()

    def cleanup(self) -> None:
        self._bus.leave(self)


class LoopbackDriver(base.BaseDriver):  # type: ignore[misc]
    """oslo.messaging's driver interface over a Bus."""

    def __init__(self, conf: Any, url: Any, default_exchange: str | None, allowed_remote_exmods: list[str]) -> None:
        super().__init__(conf, url, default_exchange, allowed_remote_exmods)
        self._bus = bus(str(url))

    def require_features(self, requeue: bool = False) -> None:
        """Everything is supported."""

    def send(
        self,
        target: Any,
        ctxt: dict[str, Any],
        message: dict[str, Any],
        wait_for_reply: bool | None = None,
        timeout: float | None = None,
        call_monitor_timeout: float | None = None,
        retry: int | None = None,
        transport_options: Any = None,
    ) -> Any:
        exchange = target.exchange or self._default_exchange
        answers: queue.SimpleQueue[str] | None = queue.SimpleQueue() if wait_for_reply else None
        item = {"text": jsonutils.dumps({"context": ctxt, "message": message}), "answers": answers}
        if target.fanout:
            for key in self._bus.keys("server", exchange, target.topic):
                self._bus.put(key, item)
        elif target.server:
            self._bus.put(("server", exchange, target.topic, target.server), item)
        else:
            self._bus.put(("topic", exchange, target.topic), item)
        if answers is None:
            return None
        try:
            answer = jsonutils.loads(answers.get(timeout=timeout))
        except queue.Empty:
            raise oslo_messaging.MessagingTimeout(f"No reply on topic {target.topic}") from None
        if answer["failure"] is not None:
            raise driver_common.deserialize_remote_exception(answer["failure"], self._allowed_remote_exmods)
        return answer["result"]

    def send_notification(
        self, target: Any, ctxt: dict[str, Any], message: dict[str, Any], version: float, retry: int | None = None
    ) -> None:
        exchange = target.exchange or self._default_exchange
        item = {"text": jsonutils.dumps({"context": ctxt, "message": message}), "answers": None}
        for key in {("pool", exchange, target.topic, None), *self._bus.keys("pool", exchange, target.topic)}:
            self._bus.put(key, item)

    def listen(self, target: Any, batch_size: int, batch_timeout: float | None) -> Any:
        exchange = target.exchange or self._default_exchange
        keys: list[Key] = [("server", exchange, target.topic, target.server), ("topic", exchange, target.topic)]
        return base.PollStyleListenerAdapter(Listener(self._bus, keys), batch_size, batch_timeout)

    def listen_for_notifications(
        self, targets_and_priorities: Any, pool: str | None, batch_size: int, batch_timeout: float | None
    ) -> Any:
        keys: list[Key] = [
            ("pool", target.exchange or self._default_exchange, f"{target.topic}.{priority}", pool)
            for target, priority in targets_and_priorities
        ]
        return base.PollStyleListenerAdapter(Listener(self._bus, keys), batch_size, batch_timeout)

    def cleanup(self) -> None:
        """The bus belongs to the process."""
