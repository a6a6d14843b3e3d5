# SPDX-License-Identifier: Apache-2.0
"""`aerie doctor`: looks this host over and says of each trouble what it is, why, and what to do. Changes nothing.

Exit status: 0 nothing is broken (there may be advice), 1 something is.
"""

from __future__ import annotations

import argparse
import datetime
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import orjson
import requests
import sqlalchemy as sa
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from keystoneauth1.exceptions import ClientException
from kombu.exceptions import OperationalError
from oslo_config import cfg
from oslo_db import exception as db_exc
from sqlalchemy import exc as sa_exc

from aerie_common import config, flow, outbox
from aerie_common.clients import ServiceClients
from aerie_common.cmd import bus, reach, status
from aerie_common.cmd.db import alembic_config
from aerie_common.cmd.main import find_daemons
from aerie_common.daemons import configuration_file
from aerie_common.db import utcnow
from aerie_common.errors import AerieError
from aerie_common.log import mask
from aerie_common.service import Daemon, ServiceSpec

Level = Literal["ok", "advice", "broken"]
SKEW_ADVICE, SKEW_BROKEN = 1.0, 30.0
DISK_ADVICE, DISK_BROKEN = 0.10, 0.02
STUCK_SECONDS = 120.0
MARKS = {"ok": "ok    ", "advice": "advice", "broken": "BROKEN"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. why, todo: empty where all is well."""

    level: Level
    what: str
    why: str = ""
    todo: str = ""


@dataclass(frozen=True)
class Host:
    """What is looked over: the daemons this host should run, and the configuration of its services."""

    config_dir: Path
    daemons: list[tuple[ServiceSpec, Daemon]]
    confs: dict[str, tuple[ServiceSpec, cfg.ConfigOpts]]

    def conf_of(self, daemon_name: str) -> cfg.ConfigOpts | None:
        """The configuration of a daemon that this host should run and that can be read."""
        for spec, daemon in self.daemons:
            path = configuration_file(daemon, self.config_dir)
            if daemon.name == daemon_name and os.access(path, os.R_OK):
                return config.load(spec.new_conf(), [path])
        return None


def _configuration(host: Host) -> Iterator[Finding]:
    for path in sorted({configuration_file(daemon, host.config_dir) for _, daemon in host.daemons}):
        if not path.exists():
            todo = f"Make it; aerie config {path.stem.removesuffix('-agent')} shows every option."
            yield Finding("broken", f"configuration {path}", "it does not exist", todo)
        elif not os.access(path, os.R_OK):
            yield Finding(
                "broken", f"configuration {path}", "it cannot be read", "Run this as root, or see its rights."
            )
        elif path.stat().st_mode & 0o007:
            yield Finding("advice", f"configuration {path}", "everybody may read its passwords", f"chmod o= {path}")
        else:
            yield Finding("ok", f"configuration {path}")


def _databases(host: Host) -> Iterator[Finding]:
    for store in reach.stores(host.config_dir):
        what = f"database {store.spec.name}"
        with store.open() as database:
            try:
                with database.read() as conn:
                    at = set(MigrationContext.configure(conn).get_current_heads())
                    there = _clock(conn, database.dialect)
            except (db_exc.DBError, sa_exc.SQLAlchemyError, OSError) as e:
                yield Finding(
                    "broken", what, mask(str(e).splitlines()[0]), "Start the server; see [database] connection."
                )
                continue
        head = set(ScriptDirectory.from_config(alembic_config(store.spec, store.url)).get_heads())
        if at != head:
            why = f"it is at revision {', '.join(sorted(at)) or 'none'}, this program wants {', '.join(sorted(head))}"
            yield Finding("broken", what, why, f"aerie db sync {store.spec.name}")
        else:
            yield Finding("ok", f"{what}, at revision {', '.join(sorted(head))}")
        skew = abs(there)
        if skew > SKEW_ADVICE:
            level: Level = "broken" if skew > SKEW_BROKEN else "advice"
            why = f"its clock and this host's are {skew:.0f} s apart: leases and tokens end at the wrong time"
            yield Finding(level, f"clock of {what}", why, "Run chrony or systemd-timesyncd on both hosts.")


def _clock(conn: sa.Connection, dialect: str) -> float:
    """How many seconds the database server's clock is ahead of ours."""
    text = {"mysql": "SELECT UTC_TIMESTAMP(6)", "postgresql": "SELECT timezone('utc', clock_timestamp())"}.get(dialect)
    if text is None:
        return 0.0
    began = utcnow()
    there: datetime.datetime = conn.exec_driver_sql(text).scalar_one()
    return (there - began).total_seconds()


def _broker(host: Host) -> Iterator[Finding]:
    try:
        found = bus.urls(argparse.Namespace(config_dir=host.config_dir))
    except SystemExit:
        return
    for url in found:
        try:
            with bus.connect(url) as connection:
                lonely = [q for q in bus.look(connection, found[url]) if q.depth and not q.consumers]
        except (OperationalError, OSError) as e:
            yield Finding("broken", f"broker {mask(url)}", mask(str(e)), "Start RabbitMQ; see transport_url.")
            continue
        yield Finding("ok", f"broker {mask(url)}")
        for queue in lonely:
            why = f"{queue.depth} messages wait and nobody consumes them"
            yield Finding("advice", f"queue {queue.name}", why, f"aerie bus peek {queue.name}; does its daemon run?")


def _daemons(host: Host) -> Iterator[Finding]:
    for row in status.gather(host.daemons, host.config_dir):
        if row.health == "ok":
            yield Finding("ok", row.name)
        else:
            todo = f"See its log, then: systemctl restart {row.name}, or the parent that runs it."
            yield Finding("broken", row.name, row.health, todo)


def _disk(host: Host) -> Iterator[Finding]:
    paths = {"/"} | {str(p) for _, c in host.confs.values() for p in (c.state_path, c.log_dir) if p}
    seen = set()
    for path in sorted(p for p in paths if Path(p).exists()):
        device = os.stat(path).st_dev
        if device in seen:
            continue
        seen.add(device)
        usage, inodes = shutil.disk_usage(path), os.statvfs(path)
        free = usage.free / usage.total
        if inodes.f_files:
            free = min(free, inodes.f_favail / inodes.f_files)
        if free < DISK_ADVICE:
            level: Level = "broken" if free < DISK_BROKEN else "advice"
            why = f"{free:.0%} is free ({usage.free >> 30} GiB; {inodes.f_favail} files)"
            yield Finding(level, f"disk of {path}", why, "Remove old images and logs, or give it more room.")
        else:
            yield Finding("ok", f"disk of {path}, {free:.0%} free")


def _credentials(host: Host) -> Iterator[Finding]:
    """Does each service's own user get a token?"""
    for name, (_, conf) in host.confs.items():
        options = conf.keystone_authtoken
        if not (options.username and options.password):
            continue
        try:
            ServiceClients(conf).token()
        except (AerieError, ClientException, requests.RequestException) as e:
            todo = "See [keystone_authtoken] auth_url, username and password, and whether the identity API runs."
            yield Finding("broken", f"user {options.username} of {name}", mask(str(e)), todo)
        else:
            yield Finding("ok", f"user {options.username} of {name}")


def _catalog(host: Host) -> Iterator[Finding]:
    clients = _clients(host)
    if clients is None:
        return
    asked: dict[str, str] = {}
    for entry in clients["identity"].get("/auth/catalog")["catalog"]:
        for endpoint in entry["endpoints"]:
            url = endpoint["url"]
            if url not in asked:
                asked[url] = _answers(url)
            if asked[url]:
                what = f"{entry['type']}'s {endpoint['interface']} endpoint {url}"
                todo = f"Start its API, or correct it: openstack endpoint set --url URL {endpoint['id']}"
                yield Finding("broken", what, asked[url], todo)
    well = sum(1 for trouble in asked.values() if not trouble)
    if well:
        yield Finding("ok", f"catalog, {well} addresses answer")


def _clients(host: Host) -> ServiceClients | None:
    """The other services, as the first of this host's services that gets a token; None without one, told already."""
    for _, conf in host.confs.values():
        if conf.keystone_authtoken.username and conf.keystone_authtoken.password:
            clients = ServiceClients(conf)
            try:
                clients.token()
            except (AerieError, ClientException, requests.RequestException):
                continue
            return clients
    return None


def _answers(url: str) -> str:
    """What is wrong with an endpoint; empty when nothing."""
    try:
        reply = requests.get(url.partition("%(")[0].partition("$(")[0], timeout=5, allow_redirects=False)
    except requests.RequestException as e:
        return f"it does not answer: {type(e).__name__}"
    return f"it answers {reply.status_code}" if reply.status_code >= 500 else ""


def _libvirt(host: Host) -> Iterator[Finding]:
    conf = host.conf_of("aerie-compute-agent")
    if conf is None or conf.agent.driver == "fake":
        return
    uri = conf.libvirt.connection_uri
    try:
        import libvirt
    except ImportError:
        yield Finding("broken", "libvirt", "its Python binding is missing", "apt-get install python3-libvirt")
        return
    libvirt.registerErrorHandler(lambda *_: None, None)  # else it writes to stderr what it also raises
    try:
        connection = libvirt.openReadOnly(uri)
        kind = connection.getType()
        connection.close()
    except libvirt.libvirtError as e:
        todo = "Start libvirtd; may this user use its socket?"
        yield Finding("broken", f"libvirt at {uri}", str(e), todo)
    else:
        yield Finding("ok", f"libvirt at {uri} ({kind})")
        if kind == "QEMU" and not os.access("/dev/kvm", os.R_OK | os.W_OK):
            todo = "Turn on virtualization in the firmware; in a guest, nested virtualization."
            yield Finding("advice", "KVM", "/dev/kvm is not there: guests run in software, slowly", todo)


def _namespaces(host: Host) -> Iterator[Finding]:
    conf = host.conf_of("aerie-network-agent")
    if conf is None or conf.agent.driver == "fake":
        return
    from pyroute2 import netns

    name = f"doctor-{os.getpid()}"
    try:
        netns.create(name)
        netns.remove(name)
    except OSError as e:
        todo = "Run this as root; in a container, give it CAP_SYS_ADMIN and CAP_NET_ADMIN."
        yield Finding("broken", "network namespaces", f"none can be made: {e.strerror}", todo)
    else:
        yield Finding("ok", "network namespaces")
    for program in ("dnsmasq", "nft", "ip"):
        if shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") is None:
            yield Finding("broken", program, "it is not installed", f"apt-get install {_PACKAGES[program]}")


_PACKAGES = {"dnsmasq": "dnsmasq-base", "nft": "nftables", "ip": "iproute2"}


def _work(host: Host) -> Iterator[Finding]:
    """Work that nobody does: flows that are due, events that are not published."""
    well = True
    for store in reach.stores(host.config_dir):
        with store.open() as database:
            try:
                with database.read() as conn:
                    late = flow.overdue(conn, STUCK_SECONDS) if store.has("flows") else []
                    waiting = _unpublished(conn) if store.has("outbox") else 0
            except (db_exc.DBError, sa_exc.SQLAlchemyError, OSError):
                continue  # told already
        for record in late[:10]:
            well = False
            why = f"{record.kind} of {record.subject_id} is due and nobody takes it"
            todo = f"aerie flow show {record.id}; does the daemon run that carries {store.service}'s flows?"
            yield Finding("broken", f"flow {record.id}", why, todo)
        if waiting:
            well = False
            why = f"{waiting} events have not been published for {STUCK_SECONDS:.0f} s"
            yield Finding(
                "broken", f"outbox of {store.spec.name}", why, "Is the broker up, and the daemon that relays?"
            )
    if well:
        yield Finding("ok", "no work is left lying")


def _unpublished(conn: sa.Connection) -> int:
    table = outbox.OUTBOX
    old = utcnow() - datetime.timedelta(seconds=STUCK_SECONDS)
    return int(conn.execute(sa.select(sa.func.count()).select_from(table).where(table.c.created_at < old)).scalar_one())


def _orphans(host: Host) -> Iterator[Finding]:
    """Ports of servers that are no more, as the public APIs tell: nothing else knows both."""
    clients = _clients(host)
    if clients is None:
        return
    try:
        ports = [p for p in clients["network"].pages("/ports", "ports") if p["device_owner"].startswith("compute:")]
        # Ports first: the server of one that is made meanwhile is known then.
        servers = {s["id"] for s in clients["compute"].pages("/servers?all_tenants=1", "servers")}
    except (AerieError, ClientException, requests.RequestException, KeyError):
        return  # whatever does not answer was told before
    lost = [port for port in ports if port["device_id"] and port["device_id"] not in servers]
    for port in lost[:20]:
        why = f"it belongs to server {port['device_id']}, which does not exist"
        yield Finding("advice", f"port {port['id']}", why, f"openstack port delete {port['id']}")
    if not lost:
        yield Finding("ok", f"each of {len(ports)} servers' ports has its server")


CHECKS: tuple[Callable[[Host], Iterable[Finding]], ...] = (
    _configuration, _databases, _broker, _daemons, _disk, _credentials, _catalog, _libvirt, _namespaces, _work,
    _orphans,
)  # fmt: skip


def examine(host: Host) -> Iterator[Finding]:
    """Every check, one after the other."""
    for check in CHECKS:
        yield from check(host)


def run(args: argparse.Namespace) -> int:
    """Print what was found; exit code 1 when something is broken."""
    chosen = find_daemons(roles=set(args.role.split(",")))
    host = Host(args.config_dir, chosen, _readable(args.config_dir))
    began, found = time.monotonic(), []
    for finding in examine(host):
        found.append(finding)
        if not args.json and (args.verbose or finding.level != "ok"):
            print(f"{MARKS[finding.level]}  {finding.what}" + (f": {finding.why}" if finding.why else ""), flush=True)
            if finding.todo:
                print(f"        {finding.todo}", flush=True)
    broken = sum(1 for f in found if f.level == "broken")
    if args.json:
        print(orjson.dumps([asdict(f) for f in found]).decode())
    else:
        advice = sum(1 for f in found if f.level == "advice")
        seconds = time.monotonic() - began
        print(f"{socket.gethostname()}: {broken} broken, {advice} to improve, {len(found)} looked at, {seconds:.1f} s")
    return 1 if broken else 0


def _readable(config_dir: Path) -> dict[str, tuple[ServiceSpec, Any]]:
    try:
        return reach.configurations(config_dir)
    except (SystemExit, cfg.ConfigFilesPermissionDeniedError):
        return {}
