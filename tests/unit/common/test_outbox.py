# SPDX-License-Identifier: Apache-2.0
"""Events leave with their transaction, once, in order, by one relay, and wait for a broker that is away."""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from oslo_config import cfg

from aerie_common import config
from aerie_common.context import Context
from aerie_common.db import Database, new_id, utcnow
from aerie_common.lease import lease_table
from aerie_common.outbox import (
    OUTBOX,
    OutboxRelay,
    emit,
    outbox_table,
    prune_seen_events,
    seen_event,
    seen_events_table,
)
from aerie_common.rpc import Rpc

METADATA = sa.MetaData()
lease_table(METADATA)
outbox_table(METADATA)
seen_events_table(METADATA)
CTX = Context(user_id="u1", project_id="p1", token="secret")


class Consumer:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []
        self.refuse = 0

    def info(self, ctx: Context, publisher_id: str, event_type: str, payload: Any, metadata: dict[str, str]) -> None:
        if self.refuse:
            self.refuse -= 1
            raise OSError("not now")
        self.seen.append((ctx.user_id, ctx.token, publisher_id, event_type, payload, metadata["message_id"]))

    @property
    def numbers(self) -> list[int]:
        return [entry[4]["n"] for entry in self.seen]


def until(what: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "did not come true in time"
        time.sleep(0.005)


def conf(url: str) -> cfg.ConfigOpts:
    return config.load(config.new(), [], {(None, "transport_url"): url})


@pytest.fixture
def db(any_database_url: str) -> Iterator[Database]:
    db = Database(any_database_url)
    db.create_all(METADATA)
    yield db
    db.dispose()


@pytest.fixture
def rpc() -> Iterator[Rpc]:
    rpc = Rpc(conf(f"fake://{new_id()}"))
    yield rpc
    rpc.stop()


@pytest.fixture
def consumer(rpc: Rpc) -> Iterator[Consumer]:
    consumer = Consumer()
    listener = rpc.listen([consumer])
    yield consumer
    listener.stop()


def say(db: Database, *numbers: int) -> list[str]:
    with db.write() as conn:
        return [emit(conn, "thing.said", {"n": n}, CTX) for n in numbers]


def waiting(db: Database) -> int:
    with db.read() as conn:
        return int(conn.execute(sa.select(sa.func.count()).select_from(OUTBOX)).scalar_one())


def test_events_arrive_in_order_right_after_the_commit(db: Database, rpc: Rpc, consumer: Consumer) -> None:
    relay = OutboxRelay(db, rpc, "things.host1", period=1000)
    relay.start()
    time.sleep(0.1)
    ids = say(db, 1, 2)
    until(lambda: len(consumer.seen) == 2)
    by_id = sorted(consumer.seen, key=lambda entry: entry[4]["n"])
    assert by_id == [("u1", None, "things.host1", "thing.said", {"n": n}, ids[n - 1]) for n in (1, 2)]
    until(lambda: waiting(db) == 0)
    relay.stop()


def test_no_event_of_a_rolled_back_change(db: Database, rpc: Rpc, consumer: Consumer) -> None:
    relay = OutboxRelay(db, rpc, "x")
    with pytest.raises(ZeroDivisionError), db.write() as conn:
        emit(conn, "thing.said", {"n": 1}, CTX)
        raise ZeroDivisionError
    relay.relay()
    say(db, 2)
    relay.relay()
    until(lambda: consumer.numbers == [2])


def test_one_relay_publishes_at_a_time(db: Database, rpc: Rpc, consumer: Consumer) -> None:
    relays = [OutboxRelay(db, rpc, "x", period=0.02) for _ in range(3)]
    for relay in relays:
        relay.start()
    for n in range(0, 150, 3):
        say(db, n, n + 1, n + 2)
    until(lambda: len(consumer.seen) >= 150)
    for relay in relays:
        relay.stop()
    assert sorted(consumer.numbers) == list(range(150))


def test_consumer_that_fails_is_told_again_and_knows_repetitions(db: Database, rpc: Rpc, consumer: Consumer) -> None:
    consumer.refuse = 1
    [event_id] = say(db, 1)
    OutboxRelay(db, rpc, "x").relay()
    until(lambda: consumer.numbers == [1])
    with db.write() as conn:
        assert not seen_event(conn, event_id)
        assert seen_event(conn, event_id)
        assert prune_seen_events(conn) == 0
        assert prune_seen_events(conn, datetime.timedelta(0)) == 1
        assert not seen_event(conn, event_id)


def test_events_too_old_are_dropped_in_the_end(db: Database, rpc: Rpc) -> None:
    say(db, 1, 2)
    with db.write() as conn:
        old = utcnow() - datetime.timedelta(days=8)
        conn.execute(sa.update(OUTBOX).where(OUTBOX.c.seq == 1).values(created_at=old))
    assert OutboxRelay(db, rpc, "x").prune() == 1
    assert waiting(db) == 1


def test_broker_outage(mariadb_url: str, rabbitmq: Any, transport_url: str) -> None:
    """Events written while the broker is down are published, in order, once it is back."""
    db = Database(mariadb_url)
    db.create_all(METADATA)
    rpc = Rpc(conf(transport_url))
    consumer = Consumer()
    listener = rpc.listen([consumer])
    relay = OutboxRelay(db, rpc, "x", period=0.2)
    relay.start()
    try:
        say(db, 1, 2)
        until(lambda: sorted(consumer.numbers) == [1, 2])
        rabbitmq.stop()
        say(db, 3, 4)
        time.sleep(1.0)
        assert waiting(db) == 2
        starter = threading.Thread(target=lambda: say(db, 5))
        starter.start()
        rabbitmq.start()
        until(lambda: waiting(db) == 0)
        until(lambda: set(consumer.numbers) == {1, 2, 3, 4, 5})
    finally:
        relay.stop()
        listener.stop()
        rpc.stop()
