# SPDX-License-Identifier: Apache-2.0
"""Our connection to MariaDB returns what PyMySQL's own returns, and ends as it does when the server fails it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pymysql
import pytest
import sqlalchemy as sa

from aerie_common import mariadb as ours

VALUES = """
    SELECT 1 AS a, -2.5 AS b, 3e0 AS c, NULL AS d, '' AS e, 'Zürich 🌍' AS f, x'00ff' AS g,
    CAST('2026-01-31' AS DATE) AS h, CAST('2026-01-31 12:30:00.123456' AS DATETIME(6)) AS i,
    CAST('2026-01-31 12:30:00' AS DATETIME) AS j, CAST('25:01:02' AS TIME) AS k, b'101' AS l, '{"x": 1}' AS m,
    CAST(18446744073709551615 AS UNSIGNED) AS n, TRUE AS o, CAST('0000-00-00 00:00:00' AS DATETIME) AS p
"""
LENGTHS = (0, 1, 250, 251, 252, 65535, 65536, 70_000, 5_000_000)


@pytest.fixture(scope="module")
def address(mariadb_module_url: str) -> dict[str, Any]:
    url = sa.make_url(mariadb_module_url)
    return {**url.translate_connect_args(username="user"), "charset": "utf8mb4"}


@pytest.fixture
def connection(address: dict[str, Any]) -> Iterator[ours.Connection]:
    made = ours.Connection(**address, conv=ours.DECODERS, read_timeout=1)
    yield made
    if made.open:
        made.close()


@pytest.fixture
def model(address: dict[str, Any]) -> Iterator[pymysql.connections.Connection]:
    with pymysql.connect(**address) as made:
        yield made


def _all(connection: Any, statement: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.description, cursor.fetchall()


@pytest.mark.parametrize(
    "statement",
    [
        VALUES,
        "SELECT 1 WHERE FALSE",
        "SELECT NULL AS nothing, seq FROM seq_1_to_300",
        "SELECT seq, REPEAT('ä', seq % 300) FROM seq_1_to_3000",
        " UNION ALL ".join(f"SELECT REPEAT('x', {length}) AS a, {length} AS b" for length in LENGTHS),
        " UNION ALL ".join(f"SELECT {length} AS a, REPEAT('x', {length}) AS b" for length in LENGTHS),
        "DO 1",
    ],
)
def test_results_are_those_of_pymysql(
    connection: ours.Connection, model: pymysql.connections.Connection, statement: str
) -> None:
    """Also when the columns are known from before."""
    expected = _all(model, statement)
    for _ in range(3):
        assert _all(connection, statement) == expected
    assert repr(_all(connection, statement)) == repr(expected), "the types are the same, too"


def test_a_row_that_fills_more_than_one_packet(
    connection: ours.Connection, model: pymysql.connections.Connection
) -> None:
    statement = f"SELECT {', '.join(f'REPEAT({letter!r}, 9000000) AS {letter}' for letter in 'abcd')}, 1 AS e"
    expected = _all(model, statement)
    assert len(expected[1][0][3]) == 9_000_000
    assert _all(connection, statement) == expected


def test_an_unbuffered_cursor(connection: ours.Connection) -> None:
    with connection.cursor(pymysql.cursors.SSCursor) as cursor:
        for _ in range(2):
            cursor.execute("SELECT seq, 'x' FROM seq_1_to_100")
            assert cursor.fetchall() == [(number, "x") for number in range(1, 101)]


def test_an_error_leaves_the_connection_usable(connection: ours.Connection) -> None:
    for _ in range(2):
        with pytest.raises(pymysql.err.ProgrammingError, match="no_such_table"):
            _all(connection, "SELECT * FROM no_such_table")
        with pytest.raises(pymysql.err.OperationalError, match="more than 1 row"):
            _all(connection, "SELECT seq, IF(seq < 2000, 1, (SELECT 1 UNION SELECT 2)) FROM seq_1_to_3000")
        assert _all(connection, "SELECT 1")[1] == ((1,),)


def test_a_server_that_does_not_answer_is_taken_for_lost(connection: ours.Connection) -> None:
    with pytest.raises(pymysql.err.OperationalError) as caught:
        _all(connection, "SELECT SLEEP(30)")
    assert caught.value.args[0] == pymysql.constants.CR.CR_SERVER_LOST
    assert not connection.open


def test_a_server_that_hangs_up(connection: ours.Connection, model: pymysql.connections.Connection) -> None:
    assert _all(connection, "SELECT 1")[1] == ((1,),)
    _all(model, f"KILL {connection.thread_id()}")
    with pytest.raises(pymysql.err.OperationalError) as caught:
        _all(connection, "SELECT 1")
    assert caught.value.args[0] in (pymysql.constants.CR.CR_SERVER_LOST, pymysql.constants.CR.CR_SERVER_GONE_ERROR)
    assert not connection.open
