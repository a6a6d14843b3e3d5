# SPDX-License-Identifier: Apache-2.0
"""The private servers do what the suites rely on: apart from the machine's own, and able to fail and come back."""

from __future__ import annotations

from pathlib import Path

import kombu
import pytest

from servers import MariaDB, Memcached, PowerDNS, RabbitMQ, ServerError, free_port, tcp_open


def test_databases_are_apart(mariadb: MariaDB, mariadb_url: str) -> None:
    other = mariadb.create_database()
    with mariadb.connect(mariadb_url.rsplit("/", 1)[1].split("?")[0]) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE t (a INT PRIMARY KEY)")
    with mariadb.connect(other) as connection, connection.cursor() as cursor:
        cursor.execute("SHOW TABLES")
        assert cursor.fetchall() == ()
    mariadb.drop_database(other)


def test_mariadb_keeps_rows_over_stop_and_start(servers_dir: Path) -> None:
    server = MariaDB(servers_dir / "mariadb-restart")
    server.start()
    try:
        name = server.create_database()
        server.execute(f"CREATE TABLE {name}.t (a INT PRIMARY KEY)", f"INSERT INTO {name}.t VALUES (7)")
        server.stop()
        assert not tcp_open(server.port)
        server.start()
        with server.connect(name) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT a FROM t")
            assert cursor.fetchall() == ((7,),)
    finally:
        server.stop()


def test_a_server_that_cannot_start_says_why(servers_dir: Path) -> None:
    server = Memcached(servers_dir / "memcached-broken")
    server.command = lambda: ["memcached", "-l", "127.0.0.1", "-p", "0x"]  # type: ignore[method-assign]
    with pytest.raises(ServerError, match="memcached"):
        server.start()


def test_memcached(memcached: Memcached) -> None:
    assert tcp_open(memcached.port)


def test_powerdns_serves_its_api(powerdns: PowerDNS) -> None:
    assert "nobodys.example." not in [zone["name"] for zone in powerdns.call("GET", "/zones")]
    powerdns.call("POST", "/zones", {"name": "nobodys.example.", "kind": "Native"})
    assert powerdns.call("GET", "/zones/nobodys.example.")["kind"] == "Native"
    powerdns.call("DELETE", "/zones/nobodys.example.")


def test_messages_outlive_a_killed_rabbitmq(rabbitmq: RabbitMQ, transport_url: str) -> None:
    url = transport_url.replace("rabbit://", "amqp://")
    with kombu.Connection(url, transport_options={"confirm_publish": True}) as connection:
        connection.SimpleQueue("kept").put({"text": "before"})
    rabbitmq.kill()
    assert not tcp_open(rabbitmq.port)
    rabbitmq.start()
    with kombu.Connection(url) as connection:
        message = connection.SimpleQueue("kept").get(timeout=60)
        assert message.payload == {"text": "before"}
        message.ack()


def test_ports_are_free() -> None:
    ports = {free_port() for _ in range(20)}
    assert not any(tcp_open(port) for port in ports)
