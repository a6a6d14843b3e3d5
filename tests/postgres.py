# SPDX-License-Identifier: Apache-2.0
"""A private PostgreSQL, the third database that has to work. It refuses to run as root, so root runs it as nobody."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import sqlalchemy as sa

from servers import START_SECONDS, Server, ServerError, free_port, tcp_open

INSTALLED = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))


class PostgreSQL(Server):
    """A PostgreSQL server which never waits for the disk."""

    name = "postgresql"

    def __init__(self) -> None:
        memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
        super().__init__(Path(tempfile.mkdtemp(prefix="aerie-pg-", dir=memory)))
        self.port = free_port()
        self._numbers = itertools.count(1)

    def prepare(self) -> None:
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self.directory, nobody.pw_uid, nobody.pw_gid)
        data = str(self.directory / "data")
        command = self._as_user("initdb", "-D", data, "-A", "trust", "-U", "aerie", "-E", "UTF8")
        done = subprocess.run(command, capture_output=True, text=True, timeout=START_SECONDS, cwd=self.directory)
        if done.returncode:
            raise ServerError(f"initdb failed: {done.stderr[-800:]}")

    def _as_user(self, program: str, *arguments: str) -> list[str]:
        command = [str(INSTALLED[-1].with_name(program)), *arguments]
        if os.geteuid() == 0:
            return ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--pdeathsig=KILL", *command]
        return command

    def command(self) -> list[str]:
        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return self._as_user("postgres", "-D", str(self.directory / "data"), "-p", str(self.port), *options)

    def ready(self) -> bool:
        if not tcp_open(self.port):
            return False
        try:
            self.execute("SELECT 1")
        except sa.exc.OperationalError:  # still starting up
            return False
        return True

    def url(self, database: str) -> str:
        return f"postgresql+psycopg2://aerie@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str) -> None:
        engine = sa.create_engine(self.url("postgres"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with engine.connect() as conn:
            conn.exec_driver_sql(statement)

    def create_database(self) -> str:
        """A new, empty database; returns its name."""
        name = f"t_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name}")
        return name

    def drop_database(self, name: str) -> None:
        self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.directory)
