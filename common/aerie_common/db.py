# SPDX-License-Identifier: Apache-2.0
"""The way to SQL: one engine per URL, short transactions, retry of whole transactions, column types, paging.

Invariant: every statement runs inside `Database.read()` or `Database.write()`, each of which is exactly one
transaction that has ended (committed or rolled back) when the block is left. Nothing waits on a network peer other
than the database inside such a block. MariaDB, PostgreSQL and SQLite behave alike: READ COMMITTED or better, rows
matched (not rows changed) are counted, foreign keys hold, times are naive UTC with microseconds.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import logging
import os
import random
import select
import sqlite3
import tempfile
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

import orjson
import pymysql
import sqlalchemy as sa
from oslo_db import exception as db_exc
from oslo_db.sqlalchemy import exc_filters
from pymysql.constants import SERVER_STATUS
from sqlalchemy import event
from sqlalchemy.dialects import mysql

from aerie_common import mariadb

LOG = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")
Query = sa.Select[Any] | sa.CompoundSelect[Any]

SQLITE_BUSY_SECONDS = 15.0
SILENCE_SECONDS = 30
"""A server that does not answer a statement for so long is taken for lost (its host may be, without a word)."""
LOCK_SECONDS = 10
"""How long a statement of MariaDB waits for a row that another transaction has changed."""
RETRIES, RETRY_SECONDS, FIRST_PAUSE, LAST_PAUSE = 10, 15.0, 0.05, 1.0
_FULL = (1040, 1203, 1226)
"""MariaDB's errors when there are too many connections: at all, of a user, and by that user's limit."""
_COMMIT_CALLBACKS = "aerie_commit_callbacks"


class CommitUnknown(db_exc.DBError):  # type: ignore[misc]
    """The connection broke during COMMIT, so nobody knows whether the change took place. Never retried blindly."""


# --------------------------------------------------------------------------------------------------- values and types


def new_id() -> str:
    """A random UUID in its canonical text form, the id of every subject."""
    return str(uuid.uuid4())


def utcnow() -> datetime.datetime:
    """The present as naive UTC with microseconds, the only kind of time the database holds."""
    return datetime.datetime.now(datetime.UTC).replace(tzinfo=None)


Id = sa.String(64)
"""Ids: a UUID with or without dashes, or another system's id of at most 64 characters."""

DateTime = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
"""Naive UTC; MariaDB would drop the microseconds of a plain DATETIME."""

BigText = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")
"""Text of up to 16 MiB."""

BigSerial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""A 64 bit key that counts up by itself (SQLite does so only for INTEGER)."""


class Json(sa.types.TypeDecorator[Any]):
    """A JSON document kept as text, so that it is the same in every database. None is NULL."""

    impl = BigText
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> str | None:
        return None if value is None else orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> Any:
        return None if value is None else orjson.loads(value)


def timestamps() -> list[sa.Column[Any]]:
    """`created_at` (set on insert) and `updated_at` (set on every update), for a table's definition."""
    return [
        sa.Column("created_at", DateTime, nullable=False, default=utcnow),
        sa.Column("updated_at", DateTime, nullable=True, onupdate=utcnow),
    ]


# ----------------------------------------------------------------------------------------------------------- database


class Database:
    """One database and its small connection pool. Cheap to make: nothing connects before the first transaction.

    Safe across fork: a child starts with an empty pool and leaves its parent's connections alone. A `sqlite://` URL
    without a path is a private file that goes away with the process (SQLite's true in-memory mode has one connection).
    """

    def __init__(
        self,
        url: str,
        *,
        echo: bool = False,
        pool_size: int = 5,
        max_overflow: int = 20,
        pool_timeout: float = 30.0,
        pool_recycle: int = 3600,
    ) -> None:
        parsed = sa.make_url(url)
        if parsed.drivername in ("mysql", "mariadb", "mariadb+pymysql"):
            parsed = parsed.set(drivername="mysql+pymysql")
        if parsed.get_backend_name() == "mysql" and "charset" not in parsed.query:
            parsed = parsed.update_query_dict({"charset": "utf8mb4"})
        if parsed.get_backend_name() == "sqlite" and not parsed.database:
            parsed = parsed.set(database=_private_file(self))
        self.url = parsed
        self.dialect = parsed.get_backend_name()
        self._arguments = {
            "echo": echo,
            "pool_size": pool_size,
            "max_overflow": max_overflow,
            "pool_timeout": pool_timeout,
            "pool_recycle": pool_recycle,
        }
        self._lock = threading.Lock()
        self._writers = _writers(parsed.database) if self.dialect == "sqlite" and parsed.database else None
        self._engine: sa.Engine | None = None
        self._subscribers: dict[str, list[Callable[[list[Any]], None]]] = {}
        _databases.add(self)

    @property
    def engine(self) -> sa.Engine:
        """The SQLAlchemy engine, made at first use. Only migrations and this module need it."""
        if self._engine is None:
            with self._lock:
                if self._engine is None:
                    self._engine = _make_engine(self.url, self._arguments)
        return self._engine

    @contextlib.contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A transaction for reading; it is rolled back at the end. On MariaDB each statement is a transaction of its
        own: under READ COMMITTED it would see no more and no less within a longer one, which costs a round trip."""
        with self.engine.connect() as conn:
            yield conn

    @contextlib.contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A transaction for writing; committed at the end, rolled back if the block raises.

        Callbacks asked for by `on_commit` and `publish` run right after the commit, outside the transaction. A thread
        has one such transaction at a time: a second one inside it could wait for the first for ever.
        """
        if self in _writing.databases:
            raise RuntimeError("write() inside write(): pass the connection on instead")
        with self._turn(), self.engine.connect() as conn:
            # The option reaches the "begin" event: SQLite takes its one write lock here rather than deadlock later.
            conn = conn.execution_options(aerie_write=True)
            info = conn.info
            info[_COMMIT_CALLBACKS] = None
            _writing.databases.append(self)
            try:
                yield conn
            finally:
                _writing.databases.remove(self)
            callbacks = info[_COMMIT_CALLBACKS]
            try:
                conn.commit()
            except db_exc.DBConnectionError as error:
                raise CommitUnknown(error) from error
        if callbacks:
            self._after_commit(callbacks)

    def subscribe(self, topic: str, callback: Callable[[list[Any]], None]) -> None:
        """Call `callback(values)` after each commit, in this process, in which somebody published on `topic`."""
        self._subscribers.setdefault(topic, []).append(callback)

    def unsubscribe(self, topic: str, callback: Callable[[list[Any]], None]) -> None:
        """The inverse of subscribe; may be repeated."""
        self._subscribers[topic] = [known for known in self._subscribers.get(topic, ()) if known != callback]

    def create_all(self, metadata: sa.MetaData) -> None:
        """Create the tables that do not exist. Tests and all-in-one use it; installations use migrations."""
        metadata.create_all(self.engine)

    def dispose(self) -> None:
        """Close every pooled connection; the database can be used again afterwards."""
        with self._lock:
            if self._engine is not None:
                self._engine.dispose()
                self._engine = None

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """SQLite's writers of this process queue here: its own waiting is a sleep of up to 100 ms, whoever came first.
        Those that wait in vain, and other processes, still meet in SQLite's lock."""
        if self._writers is None or not self._writers.acquire(timeout=SQLITE_BUSY_SECONDS):
            yield
            return
        try:
            yield
        finally:
            self._writers.release()

    def _after_commit(self, callbacks: list[tuple[str | None, Any]]) -> None:
        topics: dict[str, list[Any]] = {}
        for topic, value in callbacks:
            if topic is None:
                value()
            else:
                topics.setdefault(topic, []).append(value)
        for topic, values in topics.items():
            for subscriber in list(self._subscribers.get(topic, ())):
                try:
                    subscriber(values)
                except Exception:  # what is committed is done: its caller must not be told otherwise
                    LOG.exception("A subscriber of %s failed", topic)

    def _forget(self) -> None:
        """In a forked child: drop the inherited engine without closing the parent's sockets."""
        self._lock = threading.Lock()
        if self._writers is not None:
            self._writers = _writers(str(self.url.database))
        if self._engine is not None:
            self._engine.dispose(close=False)
            self._engine = None


def on_commit(conn: sa.Connection, callback: Callable[[], None]) -> None:
    """Run `callback()` right after this write transaction has been committed; never if it is not."""
    _callbacks(conn).append((None, callback))


def publish(conn: sa.Connection, topic: str, value: Any = None) -> None:
    """Tell this process's subscribers of `topic` after the commit of this write transaction."""
    _callbacks(conn).append((topic, value))


def _callbacks(conn: sa.Connection) -> list[tuple[str | None, Any]]:
    callbacks: list[tuple[str | None, Any]] | None = conn.info.get(_COMMIT_CALLBACKS)
    if callbacks is None:
        callbacks = conn.info[_COMMIT_CALLBACKS] = []
    return callbacks


class _Turns:
    """A lock that a WeakValueDictionary can hold."""

    __slots__ = ("__weakref__", "_lock", "acquire", "release")

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.acquire, self.release = self._lock.acquire, self._lock.release


_databases: weakref.WeakSet[Database] = weakref.WeakSet()


class _Writing(threading.local):
    """The databases to which this thread has an open write transaction."""

    def __init__(self) -> None:
        self.databases: list[Database] = []


_writing = _Writing()


_sqlite_writers: weakref.WeakValueDictionary[str, _Turns] = weakref.WeakValueDictionary()


def _writers(path: str) -> _Turns:
    """The queue of this process's writers of a SQLite file, whichever Database they use."""
    return _sqlite_writers.setdefault(os.path.realpath(path), _Turns())


def _forget_all() -> None:
    _sqlite_writers.clear()
    for database in list(_databases):
        database._forget()


os.register_at_fork(after_in_child=_forget_all)


def _private_file(owner: Database) -> str:
    folder = "/dev/shm" if os.path.isdir("/dev/shm") else None
    directory = tempfile.TemporaryDirectory(prefix="aerie-", dir=folder)
    weakref.finalize(owner, _remove_if_owner, directory, os.getpid())
    return os.path.join(directory.name, "private.sqlite")


def _remove_if_owner(directory: tempfile.TemporaryDirectory[str], pid: int) -> None:
    if os.getpid() == pid:
        directory.cleanup()
    else:
        directory._finalizer.detach()  # type: ignore[attr-defined]  # a forked child must not delete its parent's file


def _make_engine(url: sa.URL, arguments: dict[str, Any]) -> sa.Engine:
    backend = url.get_backend_name()
    options: dict[str, Any] = {"isolation_level": "READ COMMITTED"}
    if backend == "sqlite":
        options = {
            "connect_args": {"timeout": SQLITE_BUSY_SECONDS, "check_same_thread": False},
            "poolclass": sa.QueuePool,
        }
    elif backend == "mysql":
        del options["isolation_level"]  # see _mysql_connect
        options["connect_args"] = {
            "autocommit": True,
            "connect_timeout": 5,
            "read_timeout": SILENCE_SECONDS,
            "write_timeout": SILENCE_SECONDS,
            "init_command": f"SET sql_mode='TRADITIONAL', time_zone='+00:00', innodb_lock_wait_timeout={LOCK_SECONDS}",
        }
    elif backend == "postgresql":
        options["connect_args"] = {"connect_timeout": 5, "tcp_user_timeout": SILENCE_SECONDS * 1000}
    # read() and write() always end their transaction, so the pool's own ROLLBACK would be one more round trip.
    engine = sa.create_engine(url, pool_reset_on_return=None, **options, **arguments)
    exc_filters.register_engine(engine)
    if backend == "sqlite":
        event.listen(engine, "connect", _sqlite_connect)
        event.listen(engine, "begin", _sqlite_begin)
    else:
        if backend == "mysql":
            event.listen(engine, "do_connect", _mysql_open)
            event.listen(engine, "connect", _mysql_connect)
            event.listen(engine, "begin", _mysql_begin)
            engine.dialect.do_rollback = _mysql_rollback  # type: ignore[method-assign]
        event.listen(engine, "checkout", _refuse_dead_connection)
    return engine


def _sqlite_connect(dbapi_connection: sqlite3.Connection, record: Any) -> None:
    dbapi_connection.isolation_level = None  # the driver begins nothing by itself: _sqlite_begin does
    for pragma in (
        "journal_mode=WAL",
        "synchronous=NORMAL",
        "foreign_keys=ON",
        f"busy_timeout={SQLITE_BUSY_SECONDS * 1000:.0f}",
    ):
        dbapi_connection.execute(f"PRAGMA {pragma}").close()


def _sqlite_begin(conn: sa.Connection) -> None:
    conn.exec_driver_sql("BEGIN IMMEDIATE" if conn.get_execution_options().get("aerie_write") else "BEGIN")


def _mysql_open(dialect: sa.Dialect, record: Any, arguments: Any, options: Any) -> Any:
    return mariadb.Connection(*arguments, conv=mariadb.DECODERS, **options)


def _mysql_connect(dbapi_connection: Any, record: Any) -> None:
    """Not SQLAlchemy's option: that one ends autocommit."""
    with dbapi_connection.cursor() as cursor:
        cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")


def _mysql_begin(conn: sa.Connection) -> None:
    if conn.get_execution_options().get("aerie_write"):
        conn.exec_driver_sql("BEGIN")


def _mysql_rollback(dbapi_connection: Any) -> None:
    """Nothing to do where nothing has begun: the server says with each answer whether a transaction is open."""
    if dbapi_connection.server_status & SERVER_STATUS.SERVER_STATUS_IN_TRANS:
        dbapi_connection.rollback()


def _refuse_dead_connection(dbapi_connection: Any, record: Any, proxy: Any) -> None:
    """An idle connection has nothing to read; if it has, the server hung up. Costs no round trip, unlike a ping."""
    sock = getattr(dbapi_connection, "_sock", dbapi_connection)
    if sock is None:
        raise sa.exc.DisconnectionError("the connection is closed")
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    if poll.poll(0):
        raise sa.exc.InvalidatePoolError("the server closed the connection")


# -------------------------------------------------------------------------------------------------------------- retry


def _sqlite_busy(error: BaseException) -> bool:
    return isinstance(error, db_exc.DBError) and "database is locked" in str(error)


def _full(error: BaseException) -> bool:
    """Does the server take no more connections?"""
    original = getattr(error, "inner_exception", None) or error
    original = getattr(original, "orig", None) or original
    return isinstance(original, pymysql.err.Error) and bool(original.args) and original.args[0] in _FULL


def unavailable(error: BaseException) -> bool:
    """Is it the database that does not answer, has no room or is too busy, rather than a mistake of ours? Nothing has
    been changed then. (After a CommitUnknown something may have been.)"""
    busy = (db_exc.DBConnectionError, db_exc.DBDeadlock, sa.exc.TimeoutError)
    return isinstance(error, busy) or _sqlite_busy(error) or _full(error)


def retried(function: Callable[P, R]) -> Callable[P, R]:
    """Run the whole function again (at most RETRIES times, within about 7 s) after a deadlock, a lost connection, one
    that was refused for lack of room, or a busy SQLite. For functions that open their own transactions and have no
    other effect: every public logic function. Not after RETRY_SECONDS: a server that is silent is not waited for twice.

    Called from within an open write transaction it does nothing: only the outermost call can repeat the whole.
    """

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        if _writing.databases:
            return function(*args, **kwargs)
        began, pause = time.monotonic(), FIRST_PAUSE
        for _ in range(RETRIES):
            try:
                return function(*args, **kwargs)
            except Exception as error:  # only what passes by itself is not raised again
                if not unavailable(error) or time.monotonic() - began > RETRY_SECONDS:
                    raise
                LOG.debug("%s is done again: %s", function.__qualname__, error)
            time.sleep(pause * random.uniform(0.5, 1.0))  # two that met need not meet again
            pause = min(pause * 2, LAST_PAUSE)
        return function(*args, **kwargs)

    return wrapper


# --------------------------------------------------------------------------------------------------------- statements


def condition(column: sa.ColumnElement[Any], value: Any) -> sa.ColumnElement[bool]:
    """`column = value`; a list, tuple, set or frozenset means any of them, None means NULL."""
    if isinstance(value, (list, tuple, set, frozenset)):
        plain = [v for v in value if v is not None]
        test = column.in_(plain)
        return test if len(plain) == len(value) else sa.or_(test, column.is_(None))
    if value is None:
        return column.is_(None)
    equal: sa.ColumnElement[bool] = column == value
    return equal


@dataclass(frozen=True)
class _Prepared:
    """A query as the driver takes it, and what makes our values of the driver's."""

    text: str
    parameters: Mapping[str, Any]
    bind: Mapping[str, Callable[[Any], Any]]
    convert: Sequence[tuple[int, Callable[[Any], Any]]]


@functools.lru_cache(512)
def _prepared(query: Query, dialect: sa.Dialect) -> _Prepared | None:
    """None where the text depends on the parameters."""
    compiled = query.compile(dialect=dialect)
    if compiled.positional or compiled.post_compile_params or compiled.literal_execute_params:
        return None
    bind, convert = {}, []
    for name, parameter in compiled.binds.items():
        to_driver = parameter.type.dialect_impl(dialect).bind_processor(dialect)
        if to_driver is not None:
            bind[name] = to_driver
    for number, column in enumerate(query.selected_columns):
        from_driver = column.type.dialect_impl(dialect).result_processor(dialect, None)
        if from_driver is not None:
            convert.append((number, from_driver))
    return _Prepared(str(compiled), compiled.params, bind, convert)


def fetch(conn: sa.Connection, query: Query, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
    """The rows of a query that is built once, kept and asked often: what `conn.execute(query, parameters)` gives, for a
    third of its cost on MariaDB. `conn` comes from read()."""
    if (
        conn.dialect.name == "mysql"
        and not conn.get_execution_options().get("aerie_write")
        and not conn.engine.dispatch.before_cursor_execute  # somebody wants to see each statement
        and (prepared := _prepared(query, conn.dialect)) is not None
    ):
        values = {**prepared.parameters, **parameters}
        for name, to_driver in prepared.bind.items():
            values[name] = to_driver(values[name])
        try:
            with contextlib.closing(conn.connection.cursor()) as cursor:
                cursor.execute(prepared.text, values)
                found = cursor.fetchall()
        except pymysql.Error:
            LOG.debug("a query failed; asked again, it fails in SQLAlchemy's words or does not", exc_info=True)
        else:
            return _converted(found, prepared.convert) if prepared.convert else found
    return conn.execute(query, parameters).fetchall()


def _converted(
    rows: Sequence[Sequence[Any]], convert: Sequence[tuple[int, Callable[[Any], Any]]]
) -> Sequence[Sequence[Any]]:
    changed = [list(row) for row in rows]
    for row in changed:
        for number, from_driver in convert:
            row[number] = from_driver(row[number])
    return changed


def compare_and_swap(conn: sa.Connection, table: sa.Table, where: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    """Update the one row that matches `where` (values as for `condition`); False if it has changed or is gone."""
    statement = sa.update(table).where(*(condition(table.c[name], value) for name, value in where.items()))
    return bool(conn.execute(statement.values(dict(values))).rowcount == 1)


def insert_if_absent(conn: sa.Connection, table: sa.Table, values: Mapping[str, Any]) -> bool:
    """Insert a row unless its key exists; True if this call inserted it. Never breaks the transaction."""
    if conn.dialect.name in ("mysql", "mariadb"):
        return bool(conn.execute(sa.insert(table).prefix_with("IGNORE").values(dict(values))).rowcount == 1)
    from sqlalchemy.dialects import postgresql, sqlite

    insert = sqlite.insert if conn.dialect.name == "sqlite" else postgresql.insert
    return bool(conn.execute(insert(table).values(dict(values)).on_conflict_do_nothing()).rowcount == 1)


def paginate(
    query: sa.Select[Any],
    *,
    sort: Sequence[tuple[sa.ColumnElement[Any], str]],
    marker: Any = None,
    limit: int | None = None,
) -> sa.Select[Any]:
    """Order `query`, start it after the row `marker` and bound it: keyset paging, so page 1000 costs what page 1 does.

    `sort` is a list of (column, "asc" | "desc"); the last column must be unique. `marker` is the last row of the
    page before: a mapping, a row or an object with the columns' names. NULLs come first when ascending, everywhere.
    """
    keys: list[tuple[sa.ColumnElement[Any], bool, Any]] = []
    for column, direction in sort:
        if direction not in ("asc", "desc"):
            raise ValueError(f"sort direction {direction!r}")
        down = direction == "desc"
        value = None if marker is None else _marker_value(marker, column)
        if getattr(column, "nullable", True):
            present = sa.case((column.is_(None), 0), else_=1)
            keys.append((present, down, None if marker is None else int(value is not None)))
        if value is not None or marker is None:
            keys.append((column, down, value))
        else:
            keys.append((column, down, _SAME))
    if marker is not None:
        alternatives: list[sa.ColumnElement[bool]] = []
        equal: list[sa.ColumnElement[bool]] = []
        for column, down, value in keys:
            if value is _SAME:  # both NULL, told apart by the keys that follow
                continue
            alternatives.append(sa.and_(*equal, column < value if down else column > value))
            equal.append(column == value)
        query = query.where(sa.or_(*alternatives))
    query = query.order_by(*(column.desc() if down else column.asc() for column, down, _ in keys))
    return query if limit is None else query.limit(limit)


_SAME = object()


def _marker_value(marker: Any, column: sa.ColumnElement[Any]) -> Any:
    name: str = column.key or ""
    if isinstance(marker, sa.Row):
        return marker._mapping[name]
    return marker[name] if isinstance(marker, Mapping) else getattr(marker, name)


# ------------------------------------------------------------------------------------------------------------- tests


class QueryCount:
    """Statements seen so far; compares and prints as a number."""

    def __init__(self) -> None:
        self.statements: list[str] = []

    @property
    def count(self) -> int:
        return len(self.statements)

    def __int__(self) -> int:
        return len(self.statements)

    def __eq__(self, other: object) -> bool:
        return len(self.statements) == other

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "\n".join([f"{len(self.statements)} statements", *self.statements])


@contextlib.contextmanager
def count_queries(db: Database) -> Iterator[QueryCount]:
    """Count the statements that reach the database in this block, for tests that a list has a fixed number."""
    counter = QueryCount()

    def seen(conn: Any, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool) -> None:
        if not statement.startswith(("BEGIN", "SAVEPOINT", "RELEASE")):
            counter.statements.append(statement)

    event.listen(db.engine, "before_cursor_execute", seen)
    try:
        yield counter
    finally:
        event.remove(db.engine, "before_cursor_execute", seen)
