# SPDX-License-Identifier: Apache-2.0
"""Fixtures all suites share: private real servers, started the first time a test asks and ended with the run.

Invariant: a run that asks for none starts none.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import aerie_common  # noqa: F401  (before any Oslo library, see there)
from postgres import INSTALLED, PostgreSQL
from servers import MariaDB, Memcached, PowerDNS, RabbitMQ, Swift
from stack import StackHost

SERVERS = "aerie-servers-"


@pytest.fixture(scope="session")
def servers_dir() -> Iterator[Path]:
    """Where servers keep data in this run: in memory where the machine offers it, else in the temporary directory."""
    shm = Path("/dev/shm")
    roomy = shm.is_dir() and os.access(shm, os.W_OK) and shutil.disk_usage(shm).free > 2 << 30
    where = shm if roomy else Path(tempfile.gettempdir())
    _sweep(where)
    directory = Path(tempfile.mkdtemp(prefix=SERVERS, dir=where))
    with (directory / "in-use").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield directory
    shutil.rmtree(directory)


def _sweep(where: Path) -> None:
    """Remove what runs that were killed have left: a directory in use is locked."""
    for directory in where.glob(f"{SERVERS}*"):
        try:
            with (directory / "in-use").open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(directory, ignore_errors=True)
        except OSError:  # in use, just being made, or another user's
            continue


@pytest.fixture(scope="session")
def mariadb(servers_dir: Path) -> Iterator[MariaDB]:
    server = MariaDB(servers_dir / "mariadb")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def rabbitmq(servers_dir: Path) -> Iterator[RabbitMQ]:
    server = RabbitMQ(servers_dir / "rabbitmq")
    server.start()
    yield server
    server.close()


@pytest.fixture(scope="session")
def memcached(servers_dir: Path) -> Iterator[Memcached]:
    server = Memcached(servers_dir / "memcached")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def powerdns(servers_dir: Path) -> Iterator[PowerDNS]:
    server = PowerDNS(servers_dir / "powerdns")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def swift(servers_dir: Path) -> Iterator[Swift]:
    server = Swift(servers_dir / "swift")
    server.start()
    yield server
    server.stop()


def _fresh(server: MariaDB) -> Iterator[str]:
    name = server.create_database()
    yield server.url(name)
    server.drop_database(name)


@pytest.fixture
def mariadb_url(mariadb: MariaDB) -> Iterator[str]:
    """SQLAlchemy URL of an empty MariaDB database, one for each test."""
    yield from _fresh(mariadb)


@pytest.fixture(scope="module")
def mariadb_module_url(mariadb: MariaDB) -> Iterator[str]:
    """SQLAlchemy URL of an empty MariaDB database, one for each test module."""
    yield from _fresh(mariadb)


@pytest.fixture(params=["sqlite", "mariadb"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database for each test: every test that uses it runs on SQLite and on MariaDB."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'test.sqlite'}"
    url: str = request.getfixturevalue("mariadb_url")
    return url


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    if not INSTALLED:
        pytest.skip("PostgreSQL is not installed")
    server = PostgreSQL()
    server.start()
    yield server
    server.close()


@pytest.fixture
def postgresql_url(postgresql: PostgreSQL) -> Iterator[str]:
    """SQLAlchemy URL of an empty PostgreSQL database, one for each test."""
    name = postgresql.create_database()
    yield postgresql.url(name)
    postgresql.drop_database(name)


@pytest.fixture(params=["sqlite", "mariadb", "postgresql"])
def any_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The same on PostgreSQL too: for what all services build upon."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'test.sqlite'}"
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture(scope="module", params=["sqlite", "mariadb"])
def database_module_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same, one for each test module."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path_factory.mktemp('db') / 'test.sqlite'}"
    url: str = request.getfixturevalue("mariadb_module_url")
    return url


@pytest.fixture
def transport_url(rabbitmq: RabbitMQ) -> Iterator[str]:
    """oslo.messaging URL of a virtual host of its own on the private RabbitMQ."""
    vhost = rabbitmq.create_vhost()
    yield rabbitmq.url(vhost)
    rabbitmq.control("delete_vhost", vhost)


@pytest.fixture(scope="session")
def stack() -> Iterator[StackHost]:
    """A whole cloud with real guests, made by devstack/stack.sh in a sandbox; e2e and fault tests share it."""
    if os.geteuid() != 0:
        pytest.fail("these tests make namespaces and guests: run them as root")
    host = StackHost(Path(os.environ.get("ARTIFACTS", "artifacts")).resolve() / "stack")
    try:
        host.start()
        yield host
    finally:
        host.stop()
