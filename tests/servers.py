# SPDX-License-Identifier: Apache-2.0
"""Private instances of the servers the cloud needs: MariaDB, RabbitMQ, memcached, PowerDNS, Swift.

Each one owns a directory and free loopback ports, so it works beside whatever the machine runs, as root or not.
Invariant: nothing outlives the object that started it. Every process is a child in its own process group, is ended by
its id, and dies with the test run (PR_SET_PDEATHSIG) even when that is killed.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import re
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

import pymysql

from aerie_common.ports import free_port

START_SECONDS = 120.0
STOP_SECONDS = 60.0
PR_SET_PDEATHSIG = 1
SANDBOX = Path(__file__).with_name("sandbox.sh")
LIBC = ctypes.CDLL(None, use_errno=True)


class ServerError(RuntimeError):
    """A server is not installed, did not start in time or died; the text ends with the tail of its log."""


def wait_for(what: str, ready: Callable[[], bool], seconds: float = START_SECONDS, pause: float = 0.05) -> None:
    """Poll until `ready()` is true; ServerError when that takes longer than `seconds`."""
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise ServerError(f"{what}: not ready after {seconds:.0f} s")
        time.sleep(pause)


def tcp_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def program(*names: str) -> str:
    """The full path of the first of `names` that is installed."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])
    for name in names:
        found = shutil.which(name, path=path)
        if found:
            return found
    raise ServerError(f"{' or '.join(names)} is not installed; tests/run.sh installs what the tests need")


def die_with_parent() -> None:
    """For `preexec_fn`: a session of its own, and SIGKILL when the test run ends without having ended it."""
    os.setsid()
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


class Server:
    """One server process with a data directory that survives stop(), kill() and start() again."""

    name = "server"

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.directory.mkdir(parents=True, exist_ok=True)
        self.log = directory / f"{self.name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    # What a subclass says about itself.
    def prepare(self) -> None:
        """Lay out the data directory; called once, before the first start."""

    def command(self) -> list[str]:
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        return {}

    def ready(self) -> bool:
        raise NotImplementedError

    # What a test calls.
    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        assert self.process is not None, f"{self.name} was not started"
        return self.process.pid

    def start(self) -> None:
        if self.running:
            return
        marker = self.directory / ".prepared"
        if not marker.exists():
            self.prepare()
            marker.touch()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env={**os.environ, **self.environment()},
                preexec_fn=die_with_parent,
            )
        try:
            wait_for(self.name, self._ready_or_dead)
        except ServerError as error:
            self.kill()
            raise ServerError(f"{error}\n{self.tail()}") from None

    def _ready_or_dead(self) -> bool:
        if not self.running:
            raise ServerError(f"{self.name} ended at its start")
        return self.ready()

    def tail(self, lines: int = 20) -> str:
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def stop(self) -> None:
        """End it in good order; its data stays."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut would; its data stays as it was at that moment."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """SIGSTOP the whole process group: connections stay open and nothing answers."""
        os.killpg(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.killpg(self.pid, signal.SIGCONT)

    def _end(self, first: signal.Signals) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        group = process.pid
        if process.poll() is None:
            os.killpg(group, signal.SIGCONT)
            process.send_signal(first)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(STOP_SECONDS)
        try:
            os.killpg(group, signal.SIGKILL)  # helpers it left behind
        except ProcessLookupError:
            pass


class MariaDB(Server):
    """A MariaDB server which never waits for the disk: quick, and durable enough for kill -9 of itself."""

    name = "mariadb"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.port = free_port()
        self.password = secrets.token_hex(12)
        self._numbers = itertools.count(1)

    def prepare(self) -> None:
        data = self.directory / "data"
        first = self.directory / "first.sql"
        first.write_text(
            "DELETE FROM mysql.global_priv WHERE User <> 'mariadb.sys';\n"
            "FLUSH PRIVILEGES;\n"
            f"CREATE USER aerie@'127.0.0.1' IDENTIFIED BY '{self.password}';\n"
            "GRANT ALL ON *.* TO aerie@'127.0.0.1' WITH GRANT OPTION;\n"
        )
        account = [] if os.geteuid() else ["--user=root"]
        install = [program("mariadb-install-db"), "--no-defaults", f"--datadir={data}", "--skip-test-db",
                   "--auth-root-authentication-method=normal", "--skip-name-resolve", *account]  # fmt: skip
        done = subprocess.run(install, capture_output=True, text=True, timeout=START_SECONDS, cwd=self.directory)
        if done.returncode:
            raise ServerError(f"mariadb-install-db failed: {done.stdout[-800:]} {done.stderr[-800:]}")

    def command(self) -> list[str]:
        first = self.directory / "first.sql"
        init = [f"--init-file={first}"] if self.process is None and not (self.directory / ".users").exists() else []
        account = [] if os.geteuid() else ["--user=root"]
        return [
            program("mariadbd"),
            "--no-defaults",
            *account,
            *init,
            f"--datadir={self.directory / 'data'}",
            f"--socket={self.directory / 'mariadb.sock'}",
            f"--pid-file={self.directory / 'mariadb.pid'}",
            "--bind-address=127.0.0.1",
            f"--port={self.port}",
            "--skip-name-resolve",
            "--skip-log-bin",
            "--character-set-server=utf8mb4",
            "--innodb-flush-method=nosync",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-log-file-size=32M",
            "--innodb-buffer-pool-size=128M",
            "--innodb-lock-wait-timeout=10",
            "--max-connections=500",
            "--performance-schema=OFF",
        ]

    def ready(self) -> bool:
        try:
            self.connect().close()
        except pymysql.err.OperationalError:
            return False
        (self.directory / ".users").touch()
        return True

    def connect(self, database: str | None = None) -> pymysql.connections.Connection:
        return pymysql.connect(
            host="127.0.0.1", port=self.port, user="aerie", password=self.password, database=database, autocommit=True
        )

    def execute(self, *statements: str) -> None:
        with self.connect() as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def url(self, database: str) -> str:
        return f"mysql+pymysql://aerie:{self.password}@127.0.0.1:{self.port}/{database}?charset=utf8mb4"

    def create_database(self, prefix: str = "t") -> str:
        """A new, empty database; returns its name."""
        name = f"{prefix}_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")
        return name

    def drop_database(self, name: str) -> None:
        self.execute(f"DROP DATABASE IF EXISTS `{name}`")


class Epmd(Server):
    """Erlang's port mapper on a port of its own, so that the node never meets the machine's."""

    name = "epmd"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.port = free_port()

    def command(self) -> list[str]:
        return [program("epmd"), "-port", str(self.port), "-address", "127.0.0.1"]

    def ready(self) -> bool:
        return tcp_open(self.port)


class RabbitMQ(Server):
    """A RabbitMQ node with its own name, cookie, data and port mapper."""

    name = "rabbitmq"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.epmd = Epmd(directory / "epmd")
        self.port = free_port()
        self.distribution_port = free_port()
        self.node = f"aerie-{secrets.token_hex(4)}@localhost"
        self.user = "aerie"
        self.password = secrets.token_hex(12)
        self._numbers = itertools.count(1)

    def prepare(self) -> None:
        (self.directory / "enabled_plugins").write_text("[].\n")
        (self.directory / "rabbitmq.conf").write_text(
            f"listeners.tcp.default = 127.0.0.1:{self.port}\n"
            f"default_user = {self.user}\n"
            f"default_pass = {self.password}\n"
            "loopback_users = none\n"
            "vm_memory_high_watermark.absolute = 512MiB\n"
            "disk_free_limit.absolute = 50MB\n"
        )
        cookie = self.directory / ".erlang.cookie"
        cookie.write_text(secrets.token_hex(16))
        cookie.chmod(0o400)

    def environment(self) -> Mapping[str, str]:
        here = self.directory
        return {
            "HOME": str(here),
            "RUNNING_UNDER_SYSTEMD": "true",  # the start script then becomes the node: signals reach it, not a shell
            "ERL_EPMD_PORT": str(self.epmd.port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_DIST_PORT": str(self.distribution_port),
            "RABBITMQ_MNESIA_BASE": str(here / "mnesia"),
            "RABBITMQ_LOG_BASE": str(here / "log"),
            "RABBITMQ_PID_FILE": str(here / "rabbitmq.pid"),
            "RABBITMQ_CONFIG_FILE": str(here / "rabbitmq.conf"),
            "RABBITMQ_CONFIG_FILES": str(here / "conf.d"),  # else /etc/rabbitmq/conf.d is read too
            "RABBITMQ_CONF_ENV_FILE": str(here / "rabbitmq-env.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(here / "enabled_plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none +sbwtdcpu none +sbwtdio none",
        }

    def command(self) -> list[str]:
        # Not the wrapper in /usr/sbin: that one changes to the account and the directories of the machine's own node.
        return [program("/usr/lib/rabbitmq/bin/rabbitmq-server")]

    def start(self) -> None:
        self.epmd.start()
        super().start()

    def ready(self) -> bool:
        """Answers an AMQP handshake: the port alone opens before the node takes connections."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
                connection.settimeout(2)
                connection.sendall(b"AMQP\x00\x00\x09\x01")
                return connection.recv(1) == b"\x01"
        except OSError:
            return False

    def close(self) -> None:
        self.stop()
        self.epmd.stop()

    def control(self, *arguments: str) -> str:
        """Run rabbitmqctl on this node (a second or two each) and return what it prints."""
        ctl = [program("/usr/lib/rabbitmq/bin/rabbitmqctl"), "--quiet", "--node", self.node, *arguments]
        env = {**os.environ, **self.environment()}
        done = subprocess.run(ctl, capture_output=True, text=True, timeout=START_SECONDS, env=env, cwd=self.directory)
        if done.returncode:
            raise ServerError(f"rabbitmqctl {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def create_vhost(self) -> str:
        """A new virtual host, in which nothing of another test exists; returns its name."""
        name = f"t{next(self._numbers)}"
        self.control("eval", f'rabbit_vhost:add(<<"{name}">>, <<"test">>), '
                     f'rabbit_auth_backend_internal:set_permissions(<<"{self.user}">>, <<"{name}">>, '
                     '<<".*">>, <<".*">>, <<".*">>, <<"test">>).')  # fmt: skip
        return name

    def url(self, vhost: str = "/") -> str:
        return f"rabbit://{self.user}:{self.password}@127.0.0.1:{self.port}/{'' if vhost == '/' else vhost}"


class Memcached(Server):
    name = "memcached"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.port = free_port()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        account = [] if os.geteuid() else ["-u", "root"]
        return [program("memcached"), "-l", "127.0.0.1", "-p", str(self.port), "-U", "0", "-m", "32", *account]

    def ready(self) -> bool:
        return tcp_open(self.port)


class PowerDNS(Server):
    """An authoritative server with the SQLite backend and the HTTP API; its caches are off."""

    name = "powerdns"
    server_id = "localhost"

    def __init__(self, directory: Path, *, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(directory)
        self.port = free_port()
        self.api_port = free_port()
        self.api_key = secrets.token_hex(16)
        self.settings = dict(settings or {})

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.api_port}"

    def prepare(self) -> None:
        database = self.directory / "pdns.sqlite3"
        schemas = (
            "/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql",
            "/usr/share/doc/pdns-backend-sqlite3/schema.sqlite3.sql",
        )
        schema = next((path for path in map(Path, schemas) if path.exists()), None)
        if schema is None:
            raise ServerError(f"pdns-backend-sqlite3 is not installed: none of {', '.join(schemas)} exists")
        with sqlite3.connect(database) as connection:
            connection.executescript(schema.read_text())
        connection.close()
        settings = {
            "launch": "gsqlite3",
            "gsqlite3-database": str(database),
            "gsqlite3-pragma-synchronous": "0",
            "local-address": "127.0.0.1",
            "local-port": str(self.port),
            "api": "yes",
            "api-key": self.api_key,
            "webserver": "yes",
            "webserver-address": "127.0.0.1",
            "webserver-port": str(self.api_port),
            "webserver-allow-from": "127.0.0.1",
            "socket-dir": str(self.directory),
            "cache-ttl": "0",
            "negquery-cache-ttl": "0",
            "query-cache-ttl": "0",
            "zone-cache-refresh-interval": "0",
            "secondary": "yes",
            "allow-notify-from": "127.0.0.0/8",
            "version-string": "anonymous",
            "guardian": "no",
            "daemon": "no",
            "write-pid": "no",
            **self.settings,
        }
        (self.directory / "pdns.conf").write_text("".join(f"{key}={value}\n" for key, value in settings.items()))

    def command(self) -> list[str]:
        return [program("pdns_server"), f"--config-dir={self.directory}"]

    def ready(self) -> bool:
        try:
            self.call("GET", "")
        except OSError:
            return False
        return True

    def call(self, method: str, path: str, body: object = None) -> object:
        """One request to its own HTTP API, past our driver: what a test checks the driver's work with."""
        request = urllib.request.Request(
            f"{self.api_url}/api/v1/servers/{self.server_id}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"X-API-Key": self.api_key, "Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=60) as reply:
            text = reply.read()
        return json.loads(text) if text else None


class Swift(Server):
    """OpenStack's object store with one copy of everything; it speaks S3 as well.

    `user` (project:user) with `password` owns an account; by S3 they are access key and secret. identity: (address,
    user, password) of an identity service whose tokens it takes instead, and that user of the project `service`.
    """

    name = "swift"
    user = "test:tester"
    region = "test-region"
    program = Path(__file__).with_name("swift_process.py")

    def __init__(self, directory: Path, identity: tuple[str, str, str] | None = None) -> None:
        super().__init__(directory)
        self.identity = identity
        self.port = free_port()
        self.password = secrets.token_hex(12)
        self.memcached = Memcached(directory / "memcached")  # where its tokens are
        self._login: tuple[str, str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def prepare(self) -> None:
        disks = self.directory / "disks"
        (disks / "disk").mkdir(parents=True)
        (self.directory / "swift.conf").write_text(f"[swift-hash]\nswift_hash_path_suffix = {secrets.token_hex(8)}\n")
        common = {"swift_dir": str(self.directory), "bind_ip": "127.0.0.1", "log_level": "WARNING"}
        common |= {"devices": str(disks), "mount_check": "false", "fallocate_reserve": "0", "disable_fallocate": "true"}
        for kind in ("account", "container", "object"):
            sections = {
                "DEFAULT": {**common, "bind_port": str(free_port())},
                "pipeline:main": {"pipeline": f"{kind}-server"},
                f"app:{kind}-server": {"use": f"egg:swift#{kind}"},
            }
            _write_ini(self.directory / f"{kind}-server.conf", sections)
        project, _, user = self.user.partition(":")
        auth = "s3api tempauth" if self.identity is None else "authtoken keystoneauth"
        pipeline = f"catch_errors gatekeeper cache listing_formats {auth} slo versioned_writes proxy-server"
        filters = {name: {"use": f"egg:swift#{name}"} for name in pipeline.split()[:-1]}
        filters["cache"] = {"use": "egg:swift#memcache", "memcache_servers": self.memcached.address}
        if self.identity is None:
            filters["s3api"] |= {"location": self.region, "min_segment_size": "1048576"}
            filters["tempauth"][f"user_{project}_{user}"] = f"{self.password} .admin"
        else:
            filters["keystoneauth"] |= {"operator_roles": "admin, member"}
            filters["authtoken"] = _authtoken(*self.identity)
        app = {"use": "egg:swift#proxy", "account_autocreate": "true", "allow_account_management": "true"}
        sections = {"DEFAULT": {**common, "bind_port": str(self.port)}, "pipeline:main": {"pipeline": pipeline}}
        sections |= {f"filter:{name}": settings for name, settings in filters.items()} | {"app:proxy-server": app}
        _write_ini(self.directory / "proxy-server.conf", sections)

    def command(self) -> list[str]:
        return ["/usr/bin/python3", str(self.program), str(self.directory)]

    def start(self) -> None:
        self.memcached.start()
        super().start()

    def stop(self) -> None:
        super().stop()
        self.memcached.stop()

    def ready(self) -> bool:
        """Not before the servers behind the proxy answer too."""
        kinds = ("account", "container", "object")
        ports = [re.search(r"bind_port = (\d+)", (self.directory / f"{k}-server.conf").read_text()) for k in kinds]
        return all(port is not None and tcp_open(int(port[1])) for port in ports) and tcp_open(self.port)

    def call(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """One request for the user's account (`/container/object`): what a test checks a store's work with."""
        if self._login is None:
            headers = {"X-Auth-User": self.user, "X-Auth-Key": self.password}
            with urllib.request.urlopen(
                urllib.request.Request(f"{self.url}/auth/v1.0", headers=headers), timeout=60
            ) as reply:
                self._login = reply.headers["X-Storage-Url"], reply.headers["X-Auth-Token"]
        account, token = self._login
        request = urllib.request.Request(account + path, data=body, headers={"X-Auth-Token": token}, method=method)
        with urllib.request.urlopen(request, timeout=60) as reply:
            text: bytes = reply.read()
        return text

    def objects(self, prefix: str = "") -> list[str]:
        """`container/object`, everything in the containers whose names begin so."""
        containers = [name for name in self.call("GET", "").decode().split() if name.startswith(prefix)]
        return [f"{one}/{name}" for one in containers for name in self.call("GET", f"/{one}").decode().split()]


def _authtoken(address: str, user: str, password: str) -> dict[str, str]:
    return {
        "paste.filter_factory": "keystonemiddleware.auth_token:filter_factory",
        "auth_type": "password",
        "auth_url": address,
        "www_authenticate_uri": address,
        "username": user,
        "password": password,
        "project_name": "service",
        "user_domain_name": "Default",
        "project_domain_name": "Default",
        "delay_auth_decision": "true",
        "cache": "swift.cache",
        "include_service_catalog": "false",
        "service_token_roles_required": "true",
    }


def _write_ini(path: Path, sections: Mapping[str, Mapping[str, str]]) -> None:
    lines = [f"[{name}]\n" + "".join(f"{k} = {v}\n" for k, v in section.items()) for name, section in sections.items()]
    path.write_text("\n".join(lines))
