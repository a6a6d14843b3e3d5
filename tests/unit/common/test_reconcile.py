# SPDX-License-Identifier: Apache-2.0
"""Leases have one holder; reconcilers run when woken and periodically, survive failures, and alone where they must."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

from aerie_common.db import Database, count_queries
from aerie_common.lease import LEASES, Lease, lease_table
from aerie_common.reconcile import Reconciler

METADATA = sa.MetaData()
lease_table(METADATA)


@pytest.fixture
def db(any_database_url: str) -> Iterator[Database]:
    db = Database(any_database_url)
    db.create_all(METADATA)
    yield db
    db.dispose()


def until(what: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "did not come true in time"
        time.sleep(0.005)


def test_lease_has_one_holder(db: Database) -> None:
    first, second = Lease(db, "x", seconds=30), Lease(db, "x", seconds=30)
    assert first.hold() and not second.hold()
    assert Lease(db, "y").hold()
    first.release()
    assert not second.hold(), "asks again only after a while"
    second._renew_at = 0.0
    assert second.hold()
    first.release()  # no longer its own
    second._renew_at = 0.0
    assert second.hold() and not first.hold()


def test_lease_of_a_dead_holder_ends(db: Database) -> None:
    dead, heir = Lease(db, "x", seconds=0.6), Lease(db, "x", seconds=30)
    assert dead.hold()
    until(heir.hold)
    assert not dead.hold()


def test_holding_costs_little(db: Database) -> None:
    lease = Lease(db, "x", seconds=30)
    with count_queries(db) as queries:
        assert all(lease.hold() for _ in range(100))
    assert queries.count <= 2


def test_racing_for_a_new_lease(db: Database) -> None:
    leases = [Lease(db, "x", seconds=30) for _ in range(8)]
    held: list[bool] = []
    threads = [threading.Thread(target=lambda lease=lease: held.append(lease.hold())) for lease in leases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(held) == [False] * 7 + [True]


def test_wakes_are_coalesced_and_none_is_lost() -> None:
    runs: list[float] = []
    entered, leave = threading.Event(), threading.Event()

    def converge() -> None:
        runs.append(time.monotonic())
        entered.set()
        leave.wait(60)

    reconciler = Reconciler("x", converge, period=1000)
    reconciler.start()
    assert entered.wait(60)
    for _ in range(5):
        reconciler.wake()
    leave.set()
    until(lambda: len(runs) == 2)
    time.sleep(0.1)
    assert len(runs) == 2
    reconciler.wake()
    until(lambda: len(runs) == 3)
    reconciler.stop()


def test_period() -> None:
    runs: list[int] = []
    reconciler = Reconciler("x", lambda: runs.append(1), period=0.05)
    reconciler.start()
    until(lambda: len(runs) >= 4)
    reconciler.stop()
    count = len(runs)
    time.sleep(0.15)
    assert len(runs) == count


def test_failures_are_shown_and_backed_off() -> None:
    runs: list[int] = []

    def converge() -> None:
        runs.append(1)
        if len(runs) == 1:
            raise OSError("the bridge is gone")

    reconciler = Reconciler("x", converge, period=1000)
    reconciler.start()
    until(lambda: reconciler.failures == 1)
    assert reconciler.last_error == "OSError: the bridge is gone"
    for _ in range(10):
        reconciler.wake()
    time.sleep(0.2)
    assert len(runs) == 1, "a failing run must not become a hot loop"
    until(lambda: len(runs) == 2)
    until(lambda: reconciler.failures == 0 and reconciler.last_error is None)
    reconciler.stop()


def test_stalled() -> None:
    reconciler = Reconciler("x", lambda: None, period=1)
    assert not reconciler.stalled()
    reconciler.progressed_at -= 64
    assert reconciler.stalled()
    assert reconciler.run_once() and not reconciler.stalled()


def test_singleton_works_in_one_process_and_moves(db: Database) -> None:
    runs: list[str] = []
    first = Reconciler("x", lambda: runs.append("first"), 0.05, singleton=db)
    second = Reconciler("x", lambda: runs.append("second"), 0.05, singleton=db)
    assert first.run_once()
    second.start()
    first.start()
    time.sleep(0.3)
    assert set(runs) == {"first"}
    with db.read() as conn:
        assert conn.execute(sa.select(sa.func.count()).select_from(LEASES)).scalar_one() == 1
    first.stop()
    assert second._lease is not None
    second._lease._renew_at = 0.0
    until(lambda: "second" in runs)
    second.stop()
