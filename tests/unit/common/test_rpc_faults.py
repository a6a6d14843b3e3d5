# SPDX-License-Identifier: Apache-2.0
"""A broker that dies, freezes, fills up or forgets, at the worst moment: nobody waits beyond a deadline, and all comes
back by itself."""

from __future__ import annotations

import collections
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import oslo_messaging
import pytest
from oslo_config import cfg

from aerie_common import config, rpc
from aerie_common.context import Context
from aerie_common.db import new_id
from aerie_common.ports import free_port
from aerie_common.rpc import Client, Impatience, Rpc, RpcServer
from relay import Relay
from servers import RabbitMQ

CTX = Context()
AWAY = (oslo_messaging.MessagingTimeout, oslo_messaging.MessageDeliveryFailure)
WORKERS = 4
THREADS = {
    "Rabbit-heartbeat": 4,  # two pools of connections: each keeps one in use and one idle (`conn_pool_min_size`)
    "ThreadPoolExecutor": WORKERS,
    "poll": 2,  # reads the answers, to the questions of the caller and to the pings of the server
    "_runner": 1,  # reads the questions
    "rpc-watchdog-desk": 1,
    "rpc-send": 2,  # a question and a ping, under way
}
"""The threads that a pair may have, and has however often it was cut off."""
CONNECTIONS = THREADS["Rabbit-heartbeat"] + THREADS["poll"] + THREADS["_runner"]
QUEUES = 3 + THREADS["poll"]
"""Those of the topic, of its host and of its fanout, and one for the answers of each who asks."""
ATTEMPTS = 10.0
"""How often a second a pair may try to log in."""
SLACK = 15.0
"""What a machine with better things to do adds to a deadline."""


class Desk:
    target = oslo_messaging.Target(version="1.0")

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def echo(self, ctx: Context, value: Any) -> Any:
        return value

    def hear(self, ctx: Context, value: Any) -> None:
        self.heard.append(value)


def conf(url: str) -> cfg.ConfigOpts:
    return config.load(config.new(), [], {(None, "transport_url"): url, (None, "host"): "h1"})


class Pair:
    """A daemon that serves, and one that calls."""

    def __init__(self, url: str) -> None:
        self.topic = f"desk-{new_id()}"
        self.desk, self.rpcs = Desk(), [Rpc(conf(url)), Rpc(conf(url))]
        self.rpcs[0].conf.set_override("executor_thread_pool_size", WORKERS)
        self.server: RpcServer = self.rpcs[0].serve(self.topic, [self.desk])
        self.client: Client = self.rpcs[1].client(self.topic, timeout=3)

    def answers(self) -> bool:
        try:
            return bool(self.client.call(CTX, "echo", value=1) == 1)
        except AWAY:
            return False

    def hears(self) -> bool:
        value = new_id()
        if not self.client.cast(CTX, "hear", value=value):
            return False
        return came_true(lambda: value in self.desk.heard, 3)

    def close(self) -> None:
        self.server.stop()
        for each in self.rpcs:
            each.stop()


def came_true(what: Callable[[], object], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def lasts(what: Callable[[], object]) -> float:
    began = time.monotonic()
    what()
    return time.monotonic() - began


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "SEND_SECONDS", 1.0)
    monkeypatch.setattr(rpc, "GRACE", 0.5)
    monkeypatch.setitem(rpc.RABBIT_DEFAULTS, "kombu_missing_consumer_retry_timeout", 1)
    monkeypatch.setattr(rpc, "AWAY", 0.2)
    monkeypatch.setattr(rpc, "PING_PERIOD", 1.0)
    monkeypatch.setattr(rpc, "PING_TIMEOUT", 2.0)


@pytest.fixture
def pair(rabbitmq: RabbitMQ) -> Iterator[Pair]:
    made = Pair(rabbitmq.url())
    yield made
    made.close()


def recovers(pair: Pair) -> None:
    assert came_true(pair.answers, 60), "calls do not come back"
    assert came_true(pair.hears, 60), "casts do not come back"
    assert came_true(lambda: pair.rpcs[1].stuck == 0, 60)


@pytest.mark.timeout(200)
@pytest.mark.parametrize("fault", ["kill", "freeze"])
def test_the_broker_goes_in_the_middle_of_a_first_call(
    rabbitmq: RabbitMQ, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """Just after it was found alive: the queue for answers is made on a connection that is tried for ever."""
    caller = Rpc(conf(rabbitmq.url()))
    client = caller.client("nobody", timeout=2)
    probe, strike = rpc._Patient._reach_broker, threading.Lock()

    def probe_and_strike(self: Any, retry: int) -> None:
        probe(self, retry)
        # Once: a probe that hangs comes through when the broker is back, and must not strike it then.
        if threading.current_thread().name == "rpc-send" and strike.acquire(blocking=False):
            getattr(rabbitmq, fault)()

    monkeypatch.setattr(rpc._Patient, "_reach_broker", probe_and_strike)
    failures: list[BaseException] = []

    def call() -> None:
        try:
            client.call(CTX, "echo", value=1)
        except AWAY as e:
            failures.append(e)

    try:
        threads = [threading.Thread(target=call, daemon=True) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(2 + rpc.GRACE + SLACK)
        assert len(failures) == 5, "a call does not end"
        assert lasts(lambda: client.cast(CTX, "hear", value=1)) < rpc.SEND_SECONDS + SLACK
    finally:
        monkeypatch.setattr(rpc._Patient, "_reach_broker", probe)
        rabbitmq.start() if fault == "kill" else rabbitmq.thaw()
    desk = Desk()
    server = caller.serve("nobody", [desk])
    try:
        end = time.monotonic() + 60
        while True:
            try:
                assert client.within(3).call(CTX, "echo", value=2) == 2
                break
            except AWAY:
                assert time.monotonic() < end, "calls do not come back"
    finally:
        server.stop()
        caller.stop()


@pytest.mark.timeout(200)
def test_a_frozen_broker(rabbitmq: RabbitMQ, pair: Pair) -> None:
    recovers(pair)
    rabbitmq.freeze()
    try:
        assert lasts(lambda: pair.client.cast(CTX, "hear", value="x")) < rpc.SEND_SECONDS + SLACK
        assert pair.client.cast(CTX, "hear", value="x") is False
        quick = lasts(lambda: [pair.client.cast(CTX, "hear", value="x") for _ in range(1000)])
        assert quick < 5.0, "while one message hangs, others do not wait"
        with pytest.raises(AWAY):
            pair.client.within(0.5).call(CTX, "echo", value=1)
        with pytest.raises(oslo_messaging.MessageDeliveryFailure):
            pair.rpcs[1].notify({}, "p", "e", {}, message_id=new_id(), timestamp=rpc.datetime.datetime(2026, 1, 1))
    finally:
        rabbitmq.thaw()
    recovers(pair)


@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    ("fill", "empty"),
    [
        (("set_vm_memory_high_watermark", "absolute", "1"), ("set_vm_memory_high_watermark", "absolute", "512MiB")),
        (("set_disk_free_limit", "900000GB"), ("set_disk_free_limit", "50MB")),
    ],
    ids=["memory", "disk"],
)
def test_a_full_broker(rabbitmq: RabbitMQ, pair: Pair, fill: tuple[str, ...], empty: tuple[str, ...]) -> None:
    """It takes no more from those who send, without a word."""
    assert pair.answers()
    rabbitmq.control(*fill)
    try:
        assert came_true(lambda: not pair.client.cast(CTX, "hear", value="x"), 20)
        for _ in range(3):
            assert lasts(lambda: pair.client.cast(CTX, "hear", value="x")) < rpc.SEND_SECONDS + SLACK
        with pytest.raises(AWAY):
            pair.client.within(0.5).call(CTX, "echo", value=1)
    finally:
        rabbitmq.control(*empty)
    recovers(pair)


@pytest.mark.timeout(200)
def test_queues_and_exchanges_are_deleted(rabbitmq: RabbitMQ, transport_url: str) -> None:
    pair = Pair(transport_url)
    vhost = transport_url.rpartition("/")[2]
    try:
        assert pair.answers()
        rabbitmq.control(
            "eval",
            f'[rabbit_queue_type:delete(Q, false, false, <<"t">>) || Q <- rabbit_amqqueue:list(<<"{vhost}">>)].',
        )
        recovers(pair)
        rabbitmq.control(
            "eval",
            f'[rabbit_exchange:delete(element(2, X), false, <<"t">>) || X <- rabbit_exchange:list(<<"{vhost}">>), '
            'not lists:prefix("amq.", binary_to_list(element(4, element(2, X)))), '
            'element(4, element(2, X)) =/= <<"">>].',
        )
        recovers(pair)
    finally:
        pair.close()


@pytest.mark.timeout(200)
def test_the_password_changes_and_changes_back(
    rabbitmq: RabbitMQ, pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    recovers(pair)
    rabbitmq.control("change_password", rabbitmq.user, "another")
    try:
        rabbitmq.control("close_all_connections", "test")
        for _ in range(2):
            with pytest.raises(AWAY):
                pair.client.within(0.5).call(CTX, "echo", value=1)
            assert lasts(lambda: pair.client.cast(CTX, "hear", value="x")) < rpc.SEND_SECONDS + SLACK
        caplog.clear()
        used, began = time.process_time(), time.monotonic()
        time.sleep(2)
        lasted, used = time.monotonic() - began, time.process_time() - used
        refused = sum(record.message.startswith("Unable to connect") for record in caplog.get_records("call"))
        assert 0 < refused < ATTEMPTS * lasted, "it tries again and again without a pause"
        assert used < 0.5 * lasted
    finally:
        rabbitmq.control("change_password", rabbitmq.user, rabbitmq.password)
    recovers(pair)


def census(rabbitmq: RabbitMQ, vhost: str) -> tuple[int, int, int]:
    """Connections, channels and queues of a virtual host (which connections have, is one number for all)."""
    text = rabbitmq.control(
        "eval",
        'io:format("~w ~w ~w ", [length(rabbit_networking:connections()), length(rabbit_channel:list()), '
        f'length(rabbit_amqqueue:list(<<"{vhost}">>))]).',
    )
    numbers = [int(word) for word in text.split()[:3] if word.isdigit()]
    assert len(numbers) == 3, text
    return numbers[0], numbers[1], numbers[2]


def kind(thread: threading.Thread) -> str:
    """What a thread is for, after its name."""
    name = thread.name.partition("(")[2].rstrip(")") or thread.name
    return next((known for known in THREADS if name.startswith(known)), name)


@pytest.mark.timeout(200)
def test_nothing_leaks_over_many_breaks(
    rabbitmq: RabbitMQ, transport_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five times cut off, five times more, twice not heard from for a while: no more threads, connections, channels and
    queues than a pair has that was never disturbed, once the connections opened while others hung have expired."""
    monkeypatch.setitem(rpc.RABBIT_DEFAULTS, "conn_pool_ttl", 1)
    strangers, vhost = set(threading.enumerate()), transport_url.rpartition("/")[2]
    others = census(rabbitmq, vhost)
    relay = Relay(rabbitmq.port)
    pair = Pair(transport_url.replace(f":{rabbitmq.port}/", f":{relay.port}/"))

    def too_many() -> dict[str, tuple[int, int]]:
        """What there is more of than may be, and how many of it there may be."""
        assert pair.answers()  # connections expire when one is used
        own = [each for each in threading.enumerate() if each not in strangers and not each.name.startswith("relay")]
        found = {name: (count, THREADS.get(name, 0)) for name, count in collections.Counter(map(kind, own)).items()}
        connections, channels, queues = census(rabbitmq, vhost)
        found["connections"] = (connections, others[0] + CONNECTIONS)
        found["channels"] = (channels, others[1] + 2 * CONNECTIONS)  # that it came with, and that it was revived with
        found["queues"] = (queues, QUEUES)
        return {name: (count, limit) for name, (count, limit) in found.items() if count > limit}

    try:
        recovers(pair)
        for _ in range(2):
            for number in range(5):
                assert relay.cut()
                assert came_true(pair.answers, 60), f"no answer after break {number}"
            recovers(pair)
            assert came_true(lambda: not too_many(), 30), too_many()
        for _ in range(2):
            relay.freeze()
            with pytest.raises(AWAY):
                pair.client.within(0.5).call(CTX, "echo", value=1)
            pair.client.cast(CTX, "hear", value="x")
            relay.thaw()
            recovers(pair)
        assert came_true(lambda: not too_many(), 30), too_many()
    finally:
        pair.close()
        relay.close()


WITHOUT_BROKER = """
import aerie_common
from aerie_common import config, rpc
rpc.START_SECONDS, rpc.STOP_SECONDS = 0.5, 1.0
nowhere = rpc.Rpc(config.load(config.new(), [], {{(None, "transport_url"): "{url}"}}))
running = [nowhere, nowhere.serve("nowhere", []), nowhere.listen([])]
for each in reversed(running):
    each.stop()
print("ended")
"""


@pytest.mark.timeout(100)
def test_a_daemon_starts_and_ends_without_its_broker(rabbitmq: RabbitMQ, monkeypatch: pytest.MonkeyPatch) -> None:
    """It serves as soon as there is one."""
    monkeypatch.setattr(rpc, "START_SECONDS", 0.5)
    program = WITHOUT_BROKER.format(url=f"rabbit://a:b@127.0.0.1:{free_port()}/")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=80)
    assert (done.returncode, done.stdout) == (0, "ended\n"), done.stderr[-3000:]
    relay = Relay(rabbitmq.port)
    relay.freeze()
    pair = Pair(rabbitmq.url().replace(f":{rabbitmq.port}/", f":{relay.port}/"))
    try:
        assert not pair.answers()
        relay.thaw()
        recovers(pair)
    finally:
        pair.close()
        relay.close()


def test_the_first_questions_are_short() -> None:
    impatience, limits = Impatience(4.0), []
    for _ in range(5):
        with pytest.raises(oslo_messaging.MessagingTimeout), impatience.asking() as seconds:
            limits.append(seconds)
            raise oslo_messaging.MessagingTimeout
    assert limits == [0.5, 1.0, 2.0, 4.0, 4.0]
    impatience = Impatience(4.0)
    with impatience.asking():
        pass
    with impatience.asking() as seconds:
        assert seconds == 4.0  # whoever has answered is there: give it time
