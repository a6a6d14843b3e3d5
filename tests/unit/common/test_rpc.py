# SPDX-License-Identifier: Apache-2.0
"""Messages, over RabbitMQ and over the in-process bus alike; and what happens to them when the broker goes away."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import oslo_messaging
import pytest
from oslo_config import cfg

from aerie_common import config
from aerie_common.context import Context, current
from aerie_common.db import new_id
from aerie_common.errors import Conflict, NotFound
from aerie_common.flow import Fault
from aerie_common.ports import free_port
from aerie_common.rpc import Client, Rpc

CTX = Context(user_id="u1", project_id="p1", roles=("member",), token="secret", global_request_id="req-global")


class Desk:
    """An endpoint."""

    target = oslo_messaging.Target(version="1.2")

    def __init__(self, name: str) -> None:
        self.name = name
        self.heard: list[Any] = []
        self.contexts: list[Context] = []
        self.decided = threading.Event()

    def echo(self, ctx: Context, value: Any) -> Any:
        self.contexts.append(ctx)
        working_for = current()
        assert working_for is not None and working_for.request_id == ctx.request_id
        return value

    def who(self, ctx: Context) -> str:
        return self.name

    def hear(self, ctx: Context, value: Any) -> None:
        self.heard.append(value)

    def refuse(self, ctx: Context, status: int) -> None:
        raise (NotFound if status == 404 else Conflict)("The desk is taken.")

    def stumble(self, ctx: Context) -> None:
        raise ZeroDivisionError("oops")

    def ponder(self, ctx: Context) -> str:
        assert self.decided.wait(60)
        return "decided"

    def _secret(self, ctx: Context) -> str:
        return "secret"


def until(what: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "did not come true in time"
        time.sleep(0.005)


def conf(url: str, host: str) -> cfg.ConfigOpts:
    return config.load(config.new(), [], {(None, "transport_url"): url, (None, "host"): host})


class Office:
    """Two daemons that serve the topic `desk` on hosts h1 and h2, and a caller."""

    def __init__(self, url: str) -> None:
        self.topic = f"desk-{new_id()}"  # so that tests may share a broker
        self.desks = {name: Desk(name) for name in ("h1", "h2")}
        self.rpcs = [Rpc(conf(url, name)) for name in self.desks]
        servers = zip(self.rpcs, self.desks.values(), strict=True)
        self.servers = [rpc.serve(self.topic, [desk]) for rpc, desk in servers]
        self.caller = Rpc(conf(url, "caller"))
        self.client: Client = self.caller.client(self.topic, "1.1", timeout=60)

    def decide(self) -> None:
        """Those who ponder answer."""
        for desk in self.desks.values():
            desk.decided.set()

    def close(self) -> None:
        self.decide()
        for server in self.servers:
            server.stop()
        for rpc in (*self.rpcs, self.caller):
            rpc.stop()


@pytest.fixture(params=["loopback", "rabbitmq"])
def office(request: pytest.FixtureRequest) -> Iterator[Office]:
    url = f"fake://{new_id()}" if request.param == "loopback" else request.getfixturevalue("rabbitmq").url()
    office = Office(url)
    yield office
    office.close()


def test_call(office: Office) -> None:
    value = {"text": "ü", "list": [1, 2.5, None, True], "deep": {"a": {}}}
    assert office.client.call(CTX, "echo", value=value) == value
    [ctx] = [c for desk in office.desks.values() for c in desk.contexts]
    assert (ctx.user_id, ctx.roles, ctx.global_request_id) == ("u1", ("member",), "req-global")
    assert ctx.request_id == CTX.request_id
    assert ctx.token is None


def test_arguments_do_not_share_memory(office: Office) -> None:
    value = [1]
    office.client.to("h1").call(CTX, "hear", value=value)
    assert office.desks["h1"].heard == [[1]]
    assert office.desks["h1"].heard[0] is not value


def test_host_and_fanout(office: Office) -> None:
    for name in ("h1", "h2", "h1"):
        assert office.client.to(name).call(CTX, "who") == name
    assert {office.client.call(CTX, "who") for _ in range(30)} <= {"h1", "h2"}
    assert office.client.fanout(CTX, "hear", value="all")
    until(lambda: all("all" in desk.heard for desk in office.desks.values()))
    assert office.client.to("h2").cast(CTX, "hear", value="you")
    until(lambda: "you" in office.desks["h2"].heard)
    assert office.desks["h1"].heard == ["all"]


def test_refusals_keep_their_class(office: Office) -> None:
    with pytest.raises(NotFound) as refusal:
        office.client.call(CTX, "refuse", status=404)
    assert (refusal.value.status, refusal.value.message) == (404, "The desk is taken.")
    with pytest.raises(Conflict):
        office.client.call(CTX, "refuse", status=409)
    fault = Fault.of(refusal.value, "ask")
    assert (fault.message, fault.code, fault.internal) == ("The desk is taken.", "not_found", False)


def test_unexpected_errors_come_as_remote_errors(office: Office) -> None:
    with pytest.raises(ZeroDivisionError, match="oops"):  # built-in exceptions are always known
        office.client.call(CTX, "stumble")


@pytest.mark.parametrize("method", ["_secret", "nothing"])
def test_unknown_and_private_methods(office: Office, method: str) -> None:
    with pytest.raises(oslo_messaging.RemoteError):
        office.client.call(CTX, method)


def test_newer_version_is_refused(office: Office) -> None:
    with pytest.raises(oslo_messaging.RemoteError, match="Unsupported"):
        office.caller.client(office.topic, "1.3", timeout=60).call(CTX, "who")
    with pytest.raises(oslo_messaging.RemoteError, match="Unsupported"):
        office.caller.client(office.topic, "2.0", timeout=60).call(CTX, "who")


def test_timeouts(office: Office) -> None:
    began = time.monotonic()
    with pytest.raises(oslo_messaging.MessagingTimeout):
        office.caller.client(office.topic, timeout=0.5).call(CTX, "ponder")
    with pytest.raises(oslo_messaging.MessagingTimeout):
        office.caller.client("nobody", timeout=0.5).call(CTX, "who")
    assert time.monotonic() - began < 30, "a call of the usual patience waits a minute"
    office.decide()


def test_slow_calls_do_not_hold_up_others(office: Office) -> None:
    slow = [threading.Thread(target=office.client.call, args=(CTX, "ponder")) for _ in range(5)]
    for thread in slow:
        thread.start()
    for _ in range(5):
        office.client.to("h1").call(CTX, "who")
    assert all(thread.is_alive() for thread in slow)
    office.decide()
    for thread in slow:
        thread.join()


def test_round_trips_are_quick(office: Office) -> None:
    office.client.call(CTX, "who")
    times = []
    for _ in range(50):
        began = time.perf_counter()
        office.client.call(CTX, "who")
        times.append(time.perf_counter() - began)
    # A pause somewhere on the way would delay all of them; other work of the machine delays some.
    assert statistics.quantiles(times, n=10)[0] < 0.03


def test_server_proves_its_life(office: Office) -> None:
    server = office.servers[0]
    server.progressed_at = 0.0
    assert server.check()
    assert server.progressed_at > 0


def test_replaced_server_answers(office: Office) -> None:
    office.servers[0].replace()
    for _ in range(5):
        assert office.client.to("h1").call(CTX, "who") == "h1"
    assert office.servers[0].restarts == 1


def test_message_to_a_daemon_that_is_yet_to_start() -> None:
    """All daemons of an all-in-one start in one process, one after another: what is told early is not lost."""
    url = f"fake://{new_id()}"
    rpc = Rpc(conf(url, "h1"))
    rpc.client("desk").cast(CTX, "hear", value="early")
    desk = Desk("h1")
    server = rpc.serve("desk", [desk])
    until(lambda: desk.heard == ["early"])
    server.stop()


# ----------------------------------------------------------------------------------------------- the broker goes away


def test_broker_restart(rabbitmq: Any) -> None:
    office = Office(rabbitmq.url())
    try:
        assert office.client.call(CTX, "who") in ("h1", "h2")
        rabbitmq.stop()
        began = time.monotonic()
        assert office.client.cast(CTX, "hear", value="lost") is False
        with pytest.raises(oslo_messaging.MessageDeliveryFailure):
            office.client.call(CTX, "who")
        assert time.monotonic() - began < 20.0, "nobody waits long for a broker that is away"
        office.client.cast(CTX, "hear", value="lost")
        began = time.monotonic()
        assert not any(office.client.cast(CTX, "hear", value="lost") for _ in range(20))
        assert time.monotonic() - began < 10.0, "and few wait at all"
        rabbitmq.start()

        def answers(host: str) -> bool:
            try:
                return bool(office.caller.client(office.topic, timeout=2).to(host).call(CTX, "who") == host)
            except (oslo_messaging.MessagingTimeout, oslo_messaging.MessageDeliveryFailure):
                return False

        until(lambda: answers("h1") and answers("h2"))
        assert office.client.cast(CTX, "hear", value="found") is True
        until(lambda: any("found" in desk.heard for desk in office.desks.values()))
    finally:
        office.close()


def test_deaf_server_is_replaced(rabbitmq: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its consumer is gone though the broker is there, as seen after failovers."""
    from aerie_common import rpc

    monkeypatch.setattr(rpc, "PING_PERIOD", 0.3)
    monkeypatch.setattr(rpc, "PING_TIMEOUT", 0.5)
    office = Office(rabbitmq.url())
    try:
        server = office.servers[0]
        server._server.listener.on_incoming_callback = lambda messages: None
        until(lambda: server.restarts >= 1)
        until(lambda: not any(thread.name.startswith("rpc-old") for thread in threading.enumerate()))
        assert [office.client.to("h1").call(CTX, "who") for _ in range(4)] == ["h1"] * 4
    finally:
        office.close()


def test_a_cast_to_a_broker_that_was_never_there_is_not_delivered() -> None:
    client = Rpc(conf(absent_broker(), "h1")).client("nowhere", "1.0")
    assert client.cast(CTX, "hear", value="lost") is False


def absent_broker() -> str:
    return f"rabbit://guest:guest@127.0.0.1:{free_port()}/"


def test_calls_to_a_broker_that_was_never_there_end() -> None:
    """All of them: none waits for the queue of answers that another one is trying to make."""
    client = Rpc(conf(absent_broker(), "h1")).client("nowhere", "1.0")
    began = time.monotonic()

    def call(number: int) -> str:
        with pytest.raises(oslo_messaging.MessageDeliveryFailure, match="broker is not reachable") as failure:
            client.call(CTX, "who")
        return str(failure.value)

    with ThreadPoolExecutor(4) as pool:
        assert len(list(pool.map(call, range(8)))) == 8
    assert time.monotonic() - began < 50.0, "the usual patience is a minute"


def test_calls_find_the_broker_that_comes_late(rabbitmq: Any) -> None:
    url = rabbitmq.url()
    rabbitmq.stop()
    rpc = Rpc(conf(url, "h1"))
    client = rpc.client("late", "1.0", timeout=2)
    with pytest.raises(oslo_messaging.MessageDeliveryFailure):
        client.call(CTX, "who")
    rabbitmq.start()
    server = rpc.serve("late", [Desk("h1")])
    assert client.call(CTX, "who") == "h1"
    server.stop()
    rpc.stop()
