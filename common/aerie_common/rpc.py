# SPDX-License-Identifier: Apache-2.0
"""Messages between daemons, and notifications to whom it may concern: a thin layer over oslo.messaging.

Invariant: a message only wakes or asks. What has to happen is in SQL before anybody is told, so a lost message costs
time (until the next period), never work; therefore nobody waits long for a broker that is away, frozen or full: what
oslo.messaging does in its own time, it does in threads that are waited for up to a deadline. Arguments and results are
plain JSON; the context arrives as a `Context`, without its token.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import importlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from typing import Any

import oslo_messaging
from kombu.exceptions import OperationalError
from oslo_config import cfg
from oslo_messaging import server as messaging_server
from oslo_messaging import transport as messaging_transport
from oslo_messaging._drivers.amqpdriver import AMQPDriverBase
from oslo_messaging.rpc import client as messaging_client
from oslo_messaging.rpc import dispatcher as messaging_dispatcher
from oslo_messaging.rpc import server as messaging_rpc_server

from aerie_common.context import Context, set_current
from aerie_common.errors import AerieError
from aerie_common.loopback import LoopbackDriver

LOG = logging.getLogger(__name__)

NOTIFICATIONS = "notifications"
SEND_RETRIES = 1
AWAY = 2.0
SEND_SECONDS = 6.0
"""How long a message without answer may take to reach the broker."""
GRACE = 1.0
"""How much longer than its own time limit a call may take."""
START_SECONDS, STOP_SECONDS = 10.0, 10.0
STUCK_LIMIT = 32
"""Sends of a process that may hang at a time."""
PING_PERIOD, PING_TIMEOUT = 30.0, 10.0

# What suits many small daemons that shall be back a second after their broker. The configuration file overrides it.
RABBIT_DEFAULTS: dict[str, Any] = {
    "heartbeat_timeout_threshold": 20,
    "kombu_reconnect_delay": 0.2,
    "kombu_missing_consumer_retry_timeout": 5,
    "rabbit_interval_max": 3,
    "rabbit_transient_queues_ttl": 300,
    "rpc_conn_pool_size": 10,
    "conn_pool_min_size": 1,
    "conn_pool_ttl": 120,  # senders that hang make the others open more connections, each with a thread: not for long
}


def register_options(conf: cfg.ConfigOpts) -> None:
    """Register `transport_url`, `rpc_response_timeout` and their kin, so that they can be set before the first use."""
    for options in (messaging_transport._transport_opts, messaging_server._pool_opts, messaging_client._client_opts):
        conf.register_opts(options)
    # oslo.messaging reads these two groups from the object it is given, but registers them on oslo.config's global one.
    for name in ("metrics", "tracing"):
        with contextlib.suppress(ImportError):  # tracing came with release 18
            module = importlib.import_module(f"oslo_messaging._{name}.client")
            conf.register_opts(getattr(module, f"oslo_messaging_{name}"), group=f"oslo_messaging_{name}")


class ContextSerializer(oslo_messaging.Serializer):  # type: ignore[misc]
    """Context to dict and back. Arguments are plain JSON already."""

    def serialize_entity(self, ctxt: Any, entity: Any) -> Any:
        return entity

    def deserialize_entity(self, ctxt: Any, entity: Any) -> Any:
        return entity

    def serialize_context(self, ctxt: Context | Mapping[str, Any]) -> dict[str, Any]:
        return ctxt.to_dict() if isinstance(ctxt, Context) else dict(ctxt)

    def deserialize_context(self, ctxt: Mapping[str, Any]) -> Context:
        ctx = Context.from_dict(dict(ctxt))
        set_current(ctx)  # the thread that unpacks a message is the one that works for it
        return ctx


class _Sender:
    """Runs what may take longer than anybody wants to wait, in threads that end with the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.stuck = 0
        """Sends that nobody waits for any more."""

    def run(self, work: Callable[[], Any], seconds: float, what: str, error: type[Exception]) -> Any:
        """What `work` returns or raises; `error` when that takes longer than `seconds`."""
        if self.stuck >= STUCK_LIMIT:
            raise oslo_messaging.MessageDeliveryFailure(f"{what}: the broker does not answer {self.stuck} others")
        outcome: futures.Future[Any] = futures.Future()
        thread = threading.Thread(target=self._work, args=(work, outcome), name="rpc-send", daemon=True)
        thread.start()
        futures.wait([outcome], seconds)
        with self._lock:
            if not outcome.done():
                self.stuck += 1
                outcome.set_running_or_notify_cancel()  # tells _work that it has been given up
                raise error(f"{what}: not done within {seconds:.0f} s")
        return outcome.result()

    def _work(self, work: Callable[[], Any], outcome: futures.Future[Any]) -> None:
        result, failure = None, None
        try:
            result = work()
        except BaseException as e:  # it belongs to the thread that waits
            failure = e
        with self._lock:
            if outcome.running():
                self.stuck -= 1
            elif failure is not None:
                outcome.set_exception(failure)
            else:
                outcome.set_result(result)


class _Patient(messaging_transport.RPCTransport):  # type: ignore[misc]
    """Tries a lost connection again once, where oslo.messaging's default is for ever, and holds nobody beyond a
    deadline. Whatever keeps a message from the broker is a MessageDeliveryFailure: a first connection that is refused
    comes up as kombu's own error."""

    def __init__(self, driver: Any) -> None:
        super().__init__(driver)
        self.sender = _Sender()

    def _send(self, target: Any, ctxt: Any, message: Any, **options: Any) -> Any:
        if isinstance(self._driver, LoopbackDriver):
            return super()._send(target, ctxt, message, **options)
        if options.get("retry") is None:
            options["retry"] = SEND_RETRIES
        what = f"{message.get('method')} to {target.topic}"
        work = functools.partial(self._deliver, target, ctxt, message, options)
        if not options.get("wait_for_reply"):
            return self.sender.run(work, SEND_SECONDS, what, oslo_messaging.MessageDeliveryFailure)
        limit = options.get("timeout") or self.conf.rpc_response_timeout
        return self.sender.run(work, limit + GRACE, what, oslo_messaging.MessagingTimeout)

    def _deliver(self, target: Any, ctxt: Any, message: Any, options: dict[str, Any]) -> Any:
        try:
            if options.get("wait_for_reply"):
                self._reach_broker(options["retry"])
            return super()._send(target, ctxt, message, **options)
        except (OperationalError, OSError) as error:
            raise oslo_messaging.MessageDeliveryFailure(f"The broker is not reachable: {error}") from error

    def _reach_broker(self, retry: int) -> None:
        """Before the first call. The driver makes the queue for answers on a connection it tries for ever, holding a
        lock that every other call waits for; so it may begin only once a connection for sending was to be had."""
        if isinstance(self._driver, AMQPDriverBase) and self._driver._reply_q is None:
            with self._driver._get_connection(retry=retry):
                pass


class _PatientNotifier(messaging_transport.NotificationTransport):  # type: ignore[misc]
    """The same for notifications."""

    def __init__(self, driver: Any) -> None:
        super().__init__(driver)
        self._sender = _Sender()

    def _send_notification(
        self, target: Any, ctxt: Any, message: Any, version: float, retry: int | None = None
    ) -> None:
        def deliver() -> None:
            try:
                self._driver.send_notification(target, ctxt, message, version, retry=retry)
            except (OperationalError, OSError) as error:
                raise oslo_messaging.MessageDeliveryFailure(f"The broker is not reachable: {error}") from error

        if isinstance(self._driver, LoopbackDriver):
            deliver()
        else:
            self._sender.run(deliver, SEND_SECONDS, target.topic, oslo_messaging.MessageDeliveryFailure)


def _within(seconds: float, work: Callable[[], Any], what: str) -> bool:
    """Do it in a thread of its own; False (and a warning) when that takes longer. For ends: the process goes anyway."""
    done = threading.Event()

    def run() -> None:
        try:
            work()
        except Exception:
            LOG.exception(what)
        done.set()

    threading.Thread(target=run, name="rpc-end", daemon=True).start()
    if not done.wait(seconds):
        LOG.warning("%s: not done within %.0f s", what, seconds)
    return done.is_set()


class Rpc:
    """A daemon's access to the bus that `transport_url` names. Nothing connects before the first use, so make it
    before or after a fork but use it after. `exmods` are modules whose exceptions callers get as such."""

    def __init__(self, conf: cfg.ConfigOpts, *, exmods: Sequence[str] = ()) -> None:
        register_options(conf)
        self.conf = conf
        self.serializer = ContextSerializer()
        self._exmods = ["aerie_common.errors", *exmods]
        self._lock = threading.Lock()
        self._transports: dict[str, Any] = {}
        self.away_until = 0.0
        """Monotonic time until which casts are not even tried, because one has just found the broker away."""

    @property
    def transport(self) -> messaging_transport.RPCTransport:
        """oslo.messaging's transport for calls and casts."""
        return self._transport("rpc", None, _Patient)

    @property
    def stuck(self) -> int:
        """Messages that hang on their way to the broker, given up by their senders."""
        return int(getattr(self.transport, "sender", _Sender()).stuck)

    @property
    def notification_transport(self) -> oslo_messaging.Transport:
        """oslo.messaging's transport for notifications: `[oslo_messaging_notifications] transport_url`, or the same."""
        try:
            url = self.conf.oslo_messaging_notifications.transport_url
        except (cfg.NoSuchOptError, cfg.NoSuchGroupError):
            url = None
        return self._transport("notifications", url, _PatientNotifier)

    def _transport(self, name: str, url: str | None, kind: Callable[..., Any]) -> Any:
        with self._lock:
            if name not in self._transports:
                self._transports[name] = self._make_transport(url, kind)
            return self._transports[name]

    def _make_transport(self, url: str | None, kind: Callable[..., Any]) -> Any:
        parsed = oslo_messaging.TransportURL.parse(self.conf, url)
        if parsed.transport == "fake":
            return kind(LoopbackDriver(self.conf, parsed, self.conf.control_exchange, self._exmods))
        if not parsed.transport.startswith(("rabbit", "kombu")):
            return messaging_transport._get_transport(self.conf, parsed, self._exmods, transport_cls=kind)
        self._tune_rabbit()
        transport = messaging_transport._get_transport(self.conf, parsed, self._exmods, transport_cls=kind)
        from aerie_common import rabbit

        transport._driver._connection_pool.connection_cls = rabbit.Connection
        return transport

    def _tune_rabbit(self) -> None:
        from oslo_messaging._drivers import impl_rabbit

        group = "oslo_messaging_rabbit"
        self.conf.register_opts(impl_rabbit.rabbit_opts, group=group)
        for name, value in RABBIT_DEFAULTS.items():
            self.conf.set_default(name, value, group=group)

    def client(
        self, topic: str, version: str = "1.0", *, timeout: float | None = None, namespace: str | None = None
    ) -> Client:
        """Sends to the daemons that serve `topic`, there to the endpoint of this version and namespace. `timeout` is
        for calls (default: `rpc_response_timeout`)."""
        return Client(self, topic, oslo_messaging.Target(topic=topic, version=version, namespace=namespace), timeout)

    def serve(self, topic: str, endpoints: Sequence[Any], *, host: str | None = None) -> RpcServer:
        """Start to answer messages to `topic`, and those to this `host` (default: the option `host`).

        Public methods of `endpoints` are called as `method(ctx, **arguments)`, each in a thread of a pool. An endpoint
        may carry `target = oslo_messaging.Target(version="1.2")`. Returns what to `stop()`.
        """
        server = RpcServer(self, topic, endpoints, host or self.conf.host)
        server.start()
        return server

    def notify(
        self,
        ctx: Mapping[str, Any],
        publisher_id: str,
        event_type: str,
        payload: Any,
        *,
        message_id: str,
        timestamp: datetime.datetime,
        priority: str = "INFO",
    ) -> None:
        """Publish one notification in oslo.messaging's format 2.0 under an id chosen by the caller, which consumers
        find as `metadata["message_id"]`. Raises MessageDeliveryFailure while the broker is away."""
        message = {
            "message_id": message_id,
            "publisher_id": publisher_id,
            "event_type": event_type,
            "priority": priority,
            "payload": payload,
            "timestamp": timestamp.isoformat(sep=" "),
        }
        target = oslo_messaging.Target(topic=f"{NOTIFICATIONS}.{priority.lower()}")
        transport = self.notification_transport
        transport._send_notification(target, dict(ctx), message, version=2.0, retry=SEND_RETRIES)

    def listen(self, endpoints: Sequence[Any], *, pool: str | None = None, topic: str = NOTIFICATIONS) -> Stopper:
        """Consume notifications: `endpoint.info(ctx, publisher_id, event_type, payload, metadata)` for each.

        A raised exception puts the notification back, so it comes again; listeners of different `pool`s each get
        every notification. Returns what to `stop()`.
        """
        listener = oslo_messaging.get_notification_listener(
            self.notification_transport,
            [oslo_messaging.Target(topic=topic)],
            list(endpoints),
            serializer=self.serializer,
            allow_requeue=True,
            pool=pool,
        )
        if isinstance(self.notification_transport._driver, LoopbackDriver):
            return Stopper(_start(listener))
        return _Starting(lambda: _start(listener), f"rpc-listen-{topic}")

    def stop(self) -> None:
        """Close the connections; they come back at the next use."""
        with self._lock:
            transports, self._transports = list(self._transports.values()), {}
        for transport in transports:
            _within(STOP_SECONDS, transport.cleanup, "closing the connections to the broker")


class Client:
    """Calls and casts to one topic, or (after `to`) to one host of it."""

    def __init__(self, rpc: Rpc, topic: str, target: Any, timeout: float | None) -> None:
        self._rpc, self._topic, self._target, self._timeout = rpc, topic, target, timeout
        self._client: Any = None

    def to(self, host: str) -> Client:
        """The same for messages to one host."""
        return Client(self._rpc, self._topic, self._target(server=host), self._timeout)

    def within(self, seconds: float) -> Client:
        """The same with another time limit for calls."""
        return Client(self._rpc, self._topic, self._target, seconds)

    def call(self, ctx: Context, method: str, **arguments: Any) -> Any:
        """Ask and wait. MessagingTimeout if nobody answers, MessageDeliveryFailure if the broker is away, else what
        the method returned or raised (RemoteError for exceptions of modules not in `exmods`)."""
        return self._prepared().call(ctx, method, **arguments)

    def cast(self, ctx: Context, method: str, **arguments: Any) -> bool:
        """Tell one daemon, or the host. Not waiting for anything; False (and a warning) if the broker is away."""
        return self._tell(self._prepared(), ctx, method, arguments)

    def fanout(self, ctx: Context, method: str, **arguments: Any) -> bool:
        """Tell every daemon of the topic, as cast."""
        return self._tell(self._prepared().prepare(fanout=True), ctx, method, arguments)

    def _tell(self, client: Any, ctx: Context, method: str, arguments: dict[str, Any]) -> bool:
        if time.monotonic() < self._rpc.away_until or self._rpc.stuck:
            return False
        try:
            client.cast(ctx, method, **arguments)
        except oslo_messaging.MessageDeliveryFailure as error:
            LOG.warning("Message %s to %s could not be sent: %s", method, self._topic, error)
            self._rpc.away_until = time.monotonic() + AWAY
            return False
        return True

    def _prepared(self) -> Any:
        transport = self._rpc.transport
        if self._client is None or self._client.transport is not transport:
            self._client = oslo_messaging.get_rpc_client(
                transport, self._target, timeout=self._timeout, serializer=self._rpc.serializer
            )
        return self._client


class Impatience:
    """The time limit of a question that is asked again and again. Until the first answer it is short: a host that
    starts together with its server asks before anybody listens, and that message is lost."""

    FIRST = 0.5

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._seconds = min(self.FIRST, limit)

    @contextlib.contextmanager
    def asking(self) -> Iterator[float]:
        """Gives the seconds this question may take."""
        try:
            yield self._seconds
        except oslo_messaging.MessagingTimeout:
            self._seconds = min(self._seconds * 2, self._limit)
            raise
        self._seconds = self._limit


def _start(server: Any) -> Any:
    """Start an oslo.messaging server on the standard library's threads: those of its own pool wake every second."""
    server._executor_cls = futures.ThreadPoolExecutor
    server.start()
    return server


class Stopper:
    """A started oslo.messaging server, to be stopped."""

    def __init__(self, server: Any) -> None:
        self._server = server

    def stop(self) -> None:
        """Take no more messages, finish those being worked on."""
        self._server.stop()
        self._server.wait()


class _Starting(Stopper):
    """A server that needs the broker to start, which may be away: it is waited for, then starts when it can."""

    def __init__(self, start: Callable[[], Any], name: str) -> None:
        self._start, self._name = start, name
        self._lock = threading.Lock()
        self._stopped = False
        self._started = threading.Event()
        threading.Thread(target=self._run, name=name, daemon=True).start()
        if not self._started.wait(START_SECONDS):
            LOG.warning("%s: the broker does not answer; it starts later", name)

    def _run(self) -> None:
        while not self._stopped:
            try:
                server = self._start()
                break
            except Exception as error:
                LOG.warning("%s does not start: %s", self._name, error)
                time.sleep(AWAY)
        else:
            return
        with self._lock:
            self._server = server
            self._started.set()
        if self._stopped:
            super().stop()

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
        if self._started.is_set():
            _within(STOP_SECONDS, super().stop, self._name)


class _Dispatcher(messaging_dispatcher.RPCDispatcher):  # type: ignore[misc]
    """Passes refusals on to the caller without logging them as accidents."""

    def dispatch(self, incoming: Any) -> Any:
        try:
            return super().dispatch(incoming)
        except AerieError as error:
            LOG.info("Refused %s: %s", incoming.message.get("method"), error.message)
            raise messaging_dispatcher.ExpectedException from error
        finally:
            set_current(None)


class _Ping:
    """Answers the server's question to itself."""

    target = oslo_messaging.Target(namespace="aerie", version="1.0")

    def ping(self, ctx: Context) -> str:
        return "pong"


class RpcServer:
    """Serves a topic until stopped, and watches itself: a server which the broker reaches but which does not answer its
    own ping twice in a row is replaced by a new one."""

    def __init__(self, rpc: Rpc, topic: str, endpoints: Sequence[Any], host: str) -> None:
        self.topic, self.host = topic, host
        self._rpc, self._endpoints = rpc, [*endpoints, _Ping()]
        self._server: Any = None
        self._lock = threading.Lock()
        self._serving, self._stopping = threading.Event(), threading.Event()
        self._watchdog: threading.Thread | None = None
        self.progressed_at = time.monotonic()
        """Monotonic time of the last proof of life."""
        self.restarts = 0

    def start(self) -> None:
        """Returns when messages are taken; when the broker is away, after a moment (it goes on trying)."""
        if isinstance(self._rpc.transport._driver, LoopbackDriver):
            self._server = self._new_server()
            return
        self._watchdog = threading.Thread(target=self._run, name=f"rpc-watchdog-{self.topic}", daemon=True)
        self._watchdog.start()
        if not self._serving.wait(START_SECONDS):
            LOG.warning("RPC server of %s: the broker does not answer; it starts later", self.topic)

    def stop(self) -> None:
        """Take no more messages, finish those being worked on."""
        self._stopping.set()
        with self._lock:
            server = self._server
        if server is not None:
            _within(STOP_SECONDS, Stopper(server).stop, f"stopping the RPC server of {self.topic}")

    def check(self) -> bool:
        """Ask itself through the broker; False if no answer came although the question went out."""
        target = oslo_messaging.Target(topic=self.topic, server=self.host, namespace="aerie", version="1.0")
        client = oslo_messaging.get_rpc_client(
            self._rpc.transport, target, timeout=PING_TIMEOUT, serializer=self._rpc.serializer
        )
        try:
            client.call(Context(), "ping")
        except oslo_messaging.MessagingTimeout:
            return self._rpc.stuck > 0  # then the question did not even get away
        except oslo_messaging.MessageDeliveryFailure as error:
            LOG.warning("Broker not reachable: %s", error)
            return True
        self.progressed_at = time.monotonic()
        return True

    def replace(self) -> None:
        """Put a new server beside the old one, then let the old one go, however long that takes."""
        new = self._new_server()
        with self._lock:
            old, self._server = self._server, new
        self.restarts += 1
        threading.Thread(target=self._dismiss, args=(old,), name=f"rpc-old-{self.topic}", daemon=True).start()

    def _dismiss(self, server: Any) -> None:
        try:
            Stopper(server).stop()
        except Exception:
            LOG.exception("RPC server of %s: the old one does not stop; closing its connection", self.topic)
            server.listener.cleanup()

    def _new_server(self) -> Any:
        target = oslo_messaging.Target(topic=self.topic, server=self.host)
        policy = oslo_messaging.DefaultRPCAccessPolicy  # no method that begins with an underscore
        dispatcher = _Dispatcher(self._endpoints, self._rpc.serializer, policy)
        server = _start(messaging_rpc_server.RPCServer(self._rpc.transport, target, dispatcher))
        return server

    def _run(self) -> None:
        while self._server is None and not self._stopping.is_set():
            try:
                server = self._new_server()
            except Exception as error:
                LOG.warning("RPC server of %s does not start: %s", self.topic, error)
                self._stopping.wait(AWAY)
                continue
            with self._lock:
                self._server = server
            self._serving.set()
            if self._stopping.is_set():
                Stopper(server).stop()
        self._watch()

    def _watch(self) -> None:
        misses = 0
        while not self._stopping.wait(PING_PERIOD if misses == 0 else 1.0):
            try:
                misses = 0 if self.check() else misses + 1
                if misses >= 2 and not self._stopping.is_set():
                    LOG.error("RPC server of %s does not answer itself: replacing it", self.topic)
                    self.replace()
                    misses = 0
            except Exception:
                LOG.exception("RPC watchdog of %s", self.topic)
