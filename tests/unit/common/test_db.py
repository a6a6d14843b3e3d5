# SPDX-License-Identifier: Apache-2.0
"""Database access behaves alike on every database, and survives forks, deadlocks and restarts of the server."""

from __future__ import annotations

import contextlib
import datetime
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import pymysql
import pytest
import sqlalchemy as sa
from oslo_db import exception as db_exc

from aerie_common import db as database
from aerie_common.db import (
    SQLITE_BUSY_SECONDS,
    BigSerial,
    CommitUnknown,
    Database,
    DateTime,
    Id,
    Json,
    compare_and_swap,
    count_queries,
    fetch,
    insert_if_absent,
    on_commit,
    paginate,
    publish,
    retried,
    timestamps,
    unavailable,
    utcnow,
)

METADATA = sa.MetaData()
ITEMS = sa.Table(
    "items",
    METADATA,
    sa.Column("id", Id, primary_key=True),
    sa.Column("name", sa.String(64), nullable=True),
    sa.Column("rank", sa.Integer, nullable=False, default=0),
    sa.Column("doc", Json),
    sa.Column("at", DateTime),
    *timestamps(),
)
PARTS = sa.Table(
    "parts",
    METADATA,
    sa.Column("seq", BigSerial, primary_key=True, autoincrement=True),
    sa.Column("item_id", Id, sa.ForeignKey("items.id"), nullable=False),
)


@pytest.fixture
def db(any_database_url: str) -> Iterator[Database]:
    db = Database(any_database_url)
    db.create_all(METADATA)
    yield db
    db.dispose()


def add(db: Database, *rows: dict[str, Any]) -> None:
    with db.write() as conn:
        conn.execute(sa.insert(ITEMS), [{"name": None, "rank": 0, **row} for row in rows])


def get(db: Database, item_id: str) -> Any:
    with db.read() as conn:
        return conn.execute(sa.select(ITEMS).where(ITEMS.c.id == item_id)).first()


def test_values_come_back_as_they_were(db: Database) -> None:
    at = datetime.datetime(2026, 3, 29, 2, 30, 0, 123456)
    add(db, {"id": "a", "name": "Zoë 🦉", "doc": {"list": [1, None, "ü"], "deep": {"x": 0.5}}, "at": at})
    row = get(db, "a")
    assert (row.name, row.doc, row.at) == ("Zoë 🦉", {"list": [1, None, "ü"], "deep": {"x": 0.5}}, at)
    assert row.updated_at is None
    with db.write() as conn:
        conn.execute(sa.update(ITEMS).values(rank=1))
    assert get(db, "a").updated_at >= row.created_at


def test_write_commits_or_rolls_back(db: Database) -> None:
    with pytest.raises(ZeroDivisionError), db.write() as conn:
        conn.execute(sa.insert(ITEMS).values(id="a"))
        raise ZeroDivisionError
    assert get(db, "a") is None
    add(db, {"id": "a"})
    assert get(db, "a").id == "a"


def test_read_leaves_nothing_behind(db: Database) -> None:
    """The same connection, taken again, sees what others committed meanwhile."""
    add(db, {"id": "a"})
    with db.read() as conn:
        assert conn.execute(sa.select(ITEMS.c.rank)).scalar_one() == 0
    other = Database(db.url.render_as_string(hide_password=False))
    with other.write() as conn:
        conn.execute(sa.update(ITEMS).values(rank=5))
    other.dispose()
    assert get(db, "a").rank == 5


def test_foreign_keys_hold(db: Database) -> None:
    with pytest.raises(db_exc.DBReferenceError), db.write() as conn:
        conn.execute(sa.insert(PARTS).values(item_id="nobody"))


def test_duplicates_are_told(db: Database) -> None:
    add(db, {"id": "a"})
    with pytest.raises(db_exc.DBDuplicateEntry):
        add(db, {"id": "a"})


def test_strict_values(db: Database) -> None:
    if db.dialect == "sqlite":
        pytest.skip("SQLite knows no lengths")
    with pytest.raises(db_exc.DBError):
        add(db, {"id": "a", "name": "x" * 65})


def test_compare_and_swap(db: Database) -> None:
    add(db, {"id": "a", "name": "x", "rank": 1})
    with db.write() as conn:
        assert compare_and_swap(conn, ITEMS, {"id": "a", "name": ["x", None]}, {"name": None})
        assert not compare_and_swap(conn, ITEMS, {"id": "a", "name": "x"}, {"name": "y"})
        assert compare_and_swap(conn, ITEMS, {"id": "a", "name": None, "rank": 1}, {"rank": 1}), "matched, not changed"
        assert compare_and_swap(conn, ITEMS, {"id": "a", "name": ["z", None]}, {"name": "z"})
        assert not compare_and_swap(conn, ITEMS, {"id": "b"}, {"name": "z"})


def test_insert_if_absent(db: Database) -> None:
    now = utcnow()
    with db.write() as conn:
        assert insert_if_absent(conn, ITEMS, {"id": "a", "rank": 1, "created_at": now})
        assert not insert_if_absent(conn, ITEMS, {"id": "a", "rank": 2, "created_at": now})
    assert get(db, "a").rank == 1


def test_concurrent_swaps_have_one_winner(db: Database) -> None:
    add(db, {"id": "a", "rank": 0})
    wins: list[int] = []

    @retried
    def swap(n: int) -> None:
        with db.write() as conn:
            won = compare_and_swap(conn, ITEMS, {"id": "a", "rank": 0}, {"rank": n})
        if won:
            wins.append(n)

    threads = [threading.Thread(target=swap, args=(n,)) for n in range(1, 11)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wins == [get(db, "a").rank]


def test_concurrent_read_modify_write_loses_nothing(db: Database) -> None:
    add(db, {"id": "a"})

    @retried
    def increase() -> None:
        with db.write() as conn:
            rank = conn.execute(sa.select(ITEMS.c.rank).with_for_update()).scalar_one()
            conn.execute(sa.update(ITEMS).values(rank=rank + 1))

    threads = [threading.Thread(target=lambda: [increase() for _ in range(5)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert get(db, "a").rank == 40


def test_deadlock_is_retried(db: Database) -> None:
    add(db, {"id": "a"}, {"id": "b"})
    met = threading.Barrier(2, timeout=60)
    tries: list[str] = []

    @retried
    def both(first: str, second: str) -> None:
        tries.append(first)
        with db.write() as conn:
            conn.execute(sa.update(ITEMS).where(ITEMS.c.id == first).values(rank=ITEMS.c.rank + 1))
            if tries.count(first) == 1 and db.dialect != "sqlite":  # SQLite has one write lock: they cannot meet
                met.wait()
            conn.execute(sa.update(ITEMS).where(ITEMS.c.id == second).values(rank=ITEMS.c.rank + 1))

    threads = [threading.Thread(target=both, args=pair) for pair in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (get(db, "a").rank, get(db, "b").rank) == (2, 2)
    assert len(tries) == (2 if db.dialect == "sqlite" else 3)


def test_retry_leaves_inner_calls_alone(db: Database) -> None:
    """Only the outermost function can be repeated as a whole."""
    calls: list[str] = []

    @retried
    def inner() -> None:
        calls.append("inner")
        raise db_exc.DBDeadlock

    @retried
    def outer() -> None:
        calls.append("outer")
        with db.write():
            if calls.count("outer") < 3:
                inner()

    outer()
    assert calls == ["outer", "inner", "outer", "inner", "outer"]


def test_other_errors_are_not_retried(db: Database) -> None:
    calls: list[int] = []

    @retried
    def fails() -> None:
        calls.append(1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert len(calls) == 1


def test_callbacks_run_after_the_commit_only(db: Database) -> None:
    heard: list[Any] = []
    db.subscribe("news", heard.append)
    with db.write() as conn:
        conn.execute(sa.insert(ITEMS).values(id="a"))
        publish(conn, "news", 1)
        publish(conn, "news", 2)
        on_commit(conn, lambda: heard.append(get(db, "a").id))
        assert heard == []
    assert sorted(map(str, heard)) == ["[1, 2]", "a"]
    with pytest.raises(ZeroDivisionError), db.write() as conn:
        publish(conn, "news", 3)
        raise ZeroDivisionError
    with db.write() as conn:
        conn.execute(sa.select(ITEMS))
    assert len(heard) == 2
    db.unsubscribe("news", heard.append)
    with db.write() as conn:
        publish(conn, "news", 4)
    assert len(heard) == 2


def test_failing_subscriber_does_not_undo_a_commit(db: Database) -> None:
    heard: list[Any] = []

    def fails(values: list[Any]) -> None:
        raise ZeroDivisionError

    db.subscribe("news", fails)
    db.subscribe("news", heard.append)
    with db.write() as conn:
        conn.execute(sa.insert(ITEMS).values(id="a"))
        publish(conn, "news", 1)
    assert heard == [[1]] and get(db, "a").id == "a"


def test_write_inside_write_is_refused(db: Database) -> None:
    """It would wait for itself."""
    with db.write() as conn:
        conn.execute(sa.insert(ITEMS).values(id="a"))
        with pytest.raises(RuntimeError), db.write():
            pass
        assert get(db, "a") is None, "reading beside it is fine"
    assert get(db, "a").id == "a"


@pytest.mark.parametrize("direction", ["asc", "desc"])
@pytest.mark.parametrize("size", [1, 3, 50])
def test_paging(db: Database, direction: str, size: int) -> None:
    names = [None, "ant", "bee", None, "ant", "cow", "bee", "dog", None, "ant"]
    add(db, *({"id": f"i{n}", "name": name, "rank": n % 3} for n, name in enumerate(names)))
    sort = [(ITEMS.c.name, direction), (ITEMS.c.rank, "desc"), (ITEMS.c.id, "asc")]
    with db.read() as conn:
        whole = [row.id for row in conn.execute(paginate(sa.select(ITEMS), sort=sort))]
        pages: list[str] = []
        marker = None
        while rows := conn.execute(paginate(sa.select(ITEMS), sort=sort, marker=marker, limit=size)).all():
            assert len(rows) <= size
            pages += [row.id for row in rows]
            marker = rows[-1]
    assert pages == whole
    rows_by_id = {f"i{n}": (name or "", -(n % 3), f"i{n}") for n, name in enumerate(names)}
    by_name = sorted(rows_by_id, key=lambda i: rows_by_id[i][1:])
    assert whole == sorted(by_name, key=lambda i: rows_by_id[i][0], reverse=direction == "desc")


def test_paging_refuses_other_directions(db: Database) -> None:
    with pytest.raises(ValueError):
        paginate(sa.select(ITEMS), sort=[(ITEMS.c.id, "up")])


def test_query_counter(db: Database) -> None:
    with count_queries(db) as queries:
        get(db, "a")
        get(db, "b")
        with db.write() as conn:
            compare_and_swap(conn, ITEMS, {"id": "a"}, {"rank": 1})
    assert queries == 3
    get(db, "a")
    assert queries.count == 3


KEPT = sa.select(ITEMS).where(ITEMS.c.rank >= sa.bindparam("least")).order_by(ITEMS.c.id).limit(3)


def test_kept_queries_give_what_others_give(db: Database) -> None:
    at = datetime.datetime(2026, 3, 29, 2, 30, 0, 123456)
    add(db, *({"id": letter, "rank": n, "doc": {"n": [n]}, "at": at} for n, letter in enumerate("abcdef")))
    for least in (1, 4, 9):
        with db.read() as conn:
            expected = conn.execute(KEPT, {"least": least}).fetchall()
            assert [tuple(row) for row in fetch(conn, KEPT, {"least": least})] == [tuple(row) for row in expected]
    with db.write() as conn:
        conn.execute(sa.update(ITEMS).values(rank=9))
        assert len(fetch(conn, KEPT, {"least": 9})) == 3, "a transaction sees what it wrote"
    with count_queries(db) as seen, db.read() as conn:
        fetch(conn, KEPT, {"least": 0})
    assert seen == 1


def test_kept_queries_whose_text_depends_on_values(db: Database) -> None:
    add(db, {"id": "a"}, {"id": "b"}, {"id": "c"})
    query = sa.select(ITEMS.c.id).where(ITEMS.c.id.in_(sa.bindparam("ids", expanding=True))).order_by(ITEMS.c.id)
    for ids in (["a"], ["a", "c"], []):
        with db.read() as conn:
            assert [row[0] for row in fetch(conn, query, {"ids": ids})] == ids


def test_errors_of_kept_queries_are_those_of_others(db: Database) -> None:
    gone = sa.select(sa.Table("no_such_table", sa.MetaData(), sa.Column("id", Id)))
    with db.read() as conn, pytest.raises((db_exc.DBError, sa.exc.DBAPIError), match="no_such_table"):
        fetch(conn, gone, {})


def test_kept_queries_survive_a_restart_of_the_server(mariadb: Any, mariadb_url: str) -> None:
    db = Database(mariadb_url)
    db.create_all(METADATA)
    add(db, {"id": "a"})

    @retried
    def ask(between: Any = None) -> int:
        with db.read() as conn:
            fetch(conn, KEPT, {"least": 0})
            if between:
                between()
            return len(fetch(conn, KEPT, {"least": 0}))

    killed: list[int] = []

    def kill_once() -> None:
        if not killed:
            killed.append(1)
            mariadb.kill()
            mariadb.start()

    assert ask() == ask(kill_once) == ask() == 1
    assert killed


def test_child_leaves_its_parents_connections_alone(db: Database) -> None:
    add(db, {"id": "a"})
    reader, writer = os.pipe()
    with db.read() as conn:
        conn.execute(sa.select(ITEMS)).all()
        child = os.fork()
        if child == 0:
            try:
                for n in range(5):
                    add(db, {"id": f"child{n}"})
                db.dispose()
                os.write(writer, b"ok")
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert os.read(reader, 10) == b"ok"
        os.close(reader)
        os.close(writer)
        assert conn.execute(sa.select(ITEMS.c.id).where(ITEMS.c.id == "a")).scalar_one() == "a"
    assert get(db, "child4").id == "child4"


def test_private_sqlite_is_shared_by_threads_and_removed() -> None:
    db = Database("sqlite://")
    db.create_all(METADATA)
    path = str(db.url.database)
    threads = [threading.Thread(target=add, args=(db, {"id": f"i{n}"})) for n in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with db.read() as conn:
        assert conn.execute(sa.select(sa.func.count()).select_from(ITEMS)).scalar_one() == 10
    db.dispose()
    assert os.path.exists(path)
    del db, threads
    assert not os.path.exists(os.path.dirname(path))


def test_sqlite_reader_does_not_wait_for_a_writer(tmp_path: Any) -> None:
    db = Database(f"sqlite:///{tmp_path / 'x.sqlite'}")
    db.create_all(METADATA)
    with db.write() as conn:
        conn.execute(sa.insert(ITEMS).values(id="a"))
        began = time.monotonic()
        assert get(db, "a") is None
        assert time.monotonic() - began < SQLITE_BUSY_SECONDS / 2


# ----------------------------------------------------------------------------------------------- the server goes away


def _questions(conn: sa.Connection) -> int:
    return int(conn.exec_driver_sql("SHOW SESSION STATUS LIKE 'Questions'").one()[1])


def test_reading_costs_one_round_trip_a_statement(mariadb_url: str) -> None:
    """No BEGIN before it and no ROLLBACK after it; a write is one transaction nevertheless."""
    db = Database(mariadb_url, pool_size=1, max_overflow=0)
    db.create_all(METADATA)
    counts = []
    for _ in range(3):
        with db.read() as conn:
            counts.append(_questions(conn))
    assert counts[2] - counts[1] == counts[1] - counts[0] == 1
    with pytest.raises(ZeroDivisionError), db.write() as conn:
        conn.execute(sa.insert(ITEMS).values(id="a", rank=1))
        raise ZeroDivisionError
    with pytest.raises(db_exc.DBDuplicateEntry), db.write() as conn:
        conn.execute(sa.insert(ITEMS).values(id="b", rank=1))
        conn.execute(sa.insert(ITEMS).values(id="b", rank=1))
    with db.read() as conn:
        assert conn.execute(sa.select(ITEMS.c.id)).all() == []
        assert conn.exec_driver_sql("SELECT @@in_transaction, @@tx_isolation").one() == (0, "READ-COMMITTED")
    db.dispose()


@retried
def _rank(db: Database) -> int:
    with db.read() as conn:
        return int(conn.execute(sa.select(ITEMS.c.rank)).scalar_one())


def test_restart_of_the_server_is_not_noticed(mariadb: Any, mariadb_url: str) -> None:
    db = Database(mariadb_url)
    db.create_all(METADATA)
    add(db, {"id": "a"})
    held = [db.engine.connect() for _ in range(3)]
    for conn in held:
        conn.close()
    mariadb.kill()
    mariadb.start()
    with db.read() as conn:  # not even a retry: the pool sees that its connections are dead
        assert conn.execute(sa.select(ITEMS.c.rank)).scalar_one() == 0
    answers: list[int] = []
    mariadb.kill()
    asks = threading.Thread(target=lambda: answers.append(_rank(db)))
    asks.start()
    time.sleep(0.3)
    mariadb.start()
    asks.join(60)
    assert answers == [0]


def test_connection_lost_in_commit_is_not_retried(mariadb: Any, mariadb_url: str) -> None:
    """Nobody knows whether it took place, so doing it again might do it twice."""
    db = Database(mariadb_url)
    db.create_all(METADATA)
    calls: list[int] = []

    @retried
    def insert() -> None:
        calls.append(1)
        with db.write() as conn:
            conn.execute(sa.insert(ITEMS).values(id="a"))
            mariadb.kill()

    try:
        with pytest.raises(CommitUnknown):
            insert()
    finally:
        mariadb.start()
    assert len(calls) == 1
    assert get(db, "a") is None


def test_a_silent_database_is_waited_for_once(mariadb: Any, mariadb_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then its callers are told; and when it is back, so is everybody, on connections that work."""
    monkeypatch.setattr(database, "SILENCE_SECONDS", 1)
    monkeypatch.setattr(database, "RETRY_SECONDS", 0.5)
    db = Database(mariadb_url, pool_size=2, max_overflow=1, pool_timeout=1.0)
    db.create_all(METADATA)
    add(db, {"id": "a"})
    failures: list[BaseException] = []

    def ask() -> None:
        try:
            _rank(db)
        except Exception as e:
            failures.append(e)

    mariadb.freeze()
    try:
        askers = [threading.Thread(target=ask) for _ in range(6)]
        began = time.monotonic()
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join(30)
        assert len(failures) == 6 and all(map(unavailable, failures)), failures
        assert time.monotonic() - began < 30
        with pytest.raises(Exception) as failure:  # and nothing is written, or nobody can tell
            add(db, {"id": "b"})
        assert unavailable(failure.value)
    finally:
        mariadb.thaw()
    assert [_rank(db) for _ in range(10)] == [0] * 10
    with db.read() as conn:
        assert conn.execute(sa.select(ITEMS.c.id)).scalars().all() == ["a"]


def test_too_many_connections_are_waited_for(mariadb: Any, mariadb_url: str) -> None:
    db = Database(mariadb_url)
    db.create_all(METADATA)
    add(db, {"id": "a"})
    db.dispose()
    mariadb.execute("SET GLOBAL max_connections = 10")
    taken = []
    try:
        with contextlib.suppress(pymysql.err.OperationalError):
            while True:
                taken.append(mariadb.connect())
        with pytest.raises(Exception) as failure, db.read():
            pass
        assert unavailable(failure.value), repr(failure.value)
        threading.Timer(0.5, lambda: [each.close() for each in taken]).start()
        assert _rank(db) == 0
    finally:
        time.sleep(0.6)
        end = time.monotonic() + 20
        while True:
            try:
                mariadb.execute("SET GLOBAL max_connections = 500")
                break
            except pymysql.err.OperationalError:
                assert time.monotonic() < end


def test_a_lock_that_is_held_too_long(mariadb: Any, mariadb_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The statement that waits for it ends, and the whole is done again."""
    monkeypatch.setattr(database, "LOCK_SECONDS", 1)
    db = Database(mariadb_url)
    db.create_all(METADATA)
    add(db, {"id": "a"})
    tries: list[int] = []

    @retried
    def raise_rank() -> None:
        tries.append(1)
        with db.write() as conn:
            conn.execute(sa.update(ITEMS).values(rank=ITEMS.c.rank + 1))

    with db.engine.connect() as other:
        other.exec_driver_sql("BEGIN")
        other.execute(sa.update(ITEMS).values(rank=5))
        threading.Timer(1.5, other.commit).start()
        raise_rank()
        assert len(tries) >= 2 and _rank(db) == 6
