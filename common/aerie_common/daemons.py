# SPDX-License-Identifier: Apache-2.0
"""Running daemons: one alone, or a host's whole role under one forking parent.

The parent imports everything once, freezes the garbage collector's view of it and forks each daemon, so that a daemon
costs what it changes and not what it imports. It restarts what dies and passes signals on (cotyledon). Each child gives
up root unless its Daemon row keeps it.
"""

from __future__ import annotations

import gc
import importlib
import logging
import os
import pkgutil
import pwd
import signal
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import cotyledon
import cotyledon.types
import sdnotify
import setproctitle
import sqlalchemy as sa
from oslo_config import cfg

from aerie_common import config, log
from aerie_common.memory import Trimmer
from aerie_common.service import Daemon, ServiceSpec, Stoppable

LOG = logging.getLogger(__name__)
UNPRIVILEGED_USER = "aerie"
LATE_IMPORTS = ("kombu.transport.pyamqp", "oslo_messaging._drivers.impl_rabbit", "pymysql")
"""Libraries that others import by name at their first use, which would be once in each child."""
NOT_SHARED = ("cmd", "commands", "testing", "s3")
"""Modules of ours that no daemon needs, and those whose large library only some configurations need."""


def configuration_file(daemon: Daemon, config_dir: Path) -> Path:
    """Where a daemon's configuration stands."""
    return config_dir / f"{daemon.config}.conf"


def configure(spec: ServiceSpec, daemon: Daemon, config_dir: Path) -> cfg.ConfigOpts:
    """The daemon's configuration, from `<config_dir>/<daemon.config>.conf`."""
    path = configuration_file(daemon, config_dir)
    if not path.exists():
        raise SystemExit(f"{daemon.name}: {path} does not exist; `aerie config {spec.name}` shows what may be in it.")
    return config.load(spec.new_conf(), [path])


def drop_privileges() -> None:
    """Become the unprivileged user, where this process is root and that user exists."""
    if os.geteuid() != 0:
        return
    try:
        user = pwd.getpwnam(UNPRIVILEGED_USER)
    except KeyError:
        LOG.warning("the user %s does not exist: staying root", UNPRIVILEGED_USER)
        return
    os.initgroups(user.pw_name, user.pw_gid)
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
    os.environ["HOME"] = user.pw_dir


def begin(conf: cfg.ConfigOpts, daemon: Daemon) -> list[Stoppable]:
    """Everything a daemon does before it serves, and its start. Called in the daemon's own process."""
    if not daemon.root:
        drop_privileges()
    log.setup(conf, daemon.name)
    LOG.info("%s starts", daemon.name)
    trimmer = Trimmer()
    trimmer.start()
    return [trimmer, *daemon.start(conf)]


def end(running: list[Stoppable]) -> None:
    """Stop in the reverse order of starting."""
    for item in reversed(running):
        item.stop()


def run_one(spec: ServiceSpec, daemon: Daemon, config_dir: Path) -> None:
    """Run one daemon in this process until SIGTERM or SIGINT. SIGHUP ends it too: its supervisor starts it afresh."""
    conf = configure(spec, daemon, config_dir)
    if daemon.workers and conf.api.workers > 1:
        run_many([(spec, daemon)], config_dir)
        return
    done = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: done.set())
    setproctitle.setproctitle(daemon.name)
    running = begin(conf, daemon)
    sdnotify.SystemdNotifier().notify("READY=1")
    done.wait()
    sdnotify.SystemdNotifier().notify("STOPPING=1")
    end(running)


@dataclass(frozen=True)
class _Plan:
    """One daemon to fork, and its configuration as the parent read it: memory that all children share."""

    spec: ServiceSpec
    daemon: Daemon
    config_dir: Path
    conf: cfg.ConfigOpts
    read_at: int

    @classmethod
    def make(cls, spec: ServiceSpec, daemon: Daemon, config_dir: Path) -> _Plan:
        conf = configure(spec, daemon, config_dir)
        return cls(spec, daemon, config_dir, conf, configuration_file(daemon, config_dir).stat().st_mtime_ns)

    def current(self) -> cfg.ConfigOpts:
        """The configuration; read again when its file was changed since."""
        if configuration_file(self.daemon, self.config_dir).stat().st_mtime_ns == self.read_at:
            return self.conf
        return configure(self.spec, self.daemon, self.config_dir)

    @property
    def workers(self) -> int:
        return int(self.conf.api.workers) if self.daemon.workers else 1


class _Child(cotyledon.Service):
    """One forked daemon (or one of its workers)."""

    graceful_shutdown_timeout = 15

    def __init__(self, worker_id: cotyledon.types.WorkerId, plan: _Plan, ready: int) -> None:
        super().__init__(worker_id)
        self._title = plan.daemon.name
        setproctitle.setproctitle(self._title)
        self._running = begin(plan.current(), plan.daemon)
        os.write(ready, b".")

    def run(self) -> None:
        """Called when cotyledon has named the process in its own way: by its name `aerie status` finds it."""
        setproctitle.setproctitle(self._title)

    def terminate(self) -> None:
        end(self._running)

    def reload(self) -> None:
        """A changed configuration takes a fresh process: end, and let the parent start it again."""
        os.kill(os.getpid(), signal.SIGTERM)


def _modules(package: ModuleType) -> Iterator[str]:
    """The names of all modules below a package that a daemon may need."""
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        if module.name.rpartition(".")[2] in NOT_SHARED:
            continue
        yield module.name
        if module.ispkg:
            yield from _modules(importlib.import_module(module.name))


def preload(names: Iterable[str]) -> None:
    """Import every module of these packages, so that children forked afterwards share the memory of all of them."""
    for library in LATE_IMPORTS:
        importlib.import_module(library)
    for name in names:
        package = importlib.import_module(name)
        for module in _modules(package):
            try:
                importlib.import_module(module)
            except ImportError as e:
                LOG.debug("%s is not preloaded: %s", module, e)  # its library is an extra that is not installed


def rehearse(title: str) -> None:
    """Do once, before the fork, what every child would do first: what libraries remember of it (compiled patterns,
    answers of abstract classes, levels of loggers) is then shared, where it would be pages copied in each child."""
    log.set_levels()
    LOG.info("%s starts", title)
    sa.make_url("mysql+pymysql://user:password@host/name?charset=utf8mb4").get_dialect()


def run_many(chosen: list[tuple[ServiceSpec, Daemon]], config_dir: Path, title: str = "aerie") -> None:
    """Run daemons as children of this process until SIGTERM."""
    manager = cotyledon.ServiceManager(graceful_shutdown_timeout=20)
    setproctitle.setproctitle(f"{title}-parent")
    ready_read, ready_write = os.pipe()
    preload(["aerie_common", *sorted({f"aerie_{spec.name}" for spec, _ in chosen})])
    plans = [_Plan.make(spec, daemon, config_dir) for spec, daemon in chosen]
    for plan in plans:
        manager.add(_Child, workers=plan.workers, args=(plan, ready_write))
    children = sum(plan.workers for plan in plans)
    systemd = sdnotify.SystemdNotifier()
    # Ours alone to tell: cotyledon would say READY when it has forked, before any child serves.
    os.environ.pop("NOTIFY_SOCKET", None)
    watcher = threading.Thread(target=_announce, args=(systemd, ready_read, children), daemon=True)
    watcher.start()
    rehearse(title)
    gc.collect()
    gc.freeze()
    manager.run()


def _announce(systemd: sdnotify.SystemdNotifier, ready: int, children: int) -> None:
    """Tell systemd that the unit is ready once every child has started."""
    seen = 0
    while seen < children:
        seen += len(os.read(ready, 4096))
    systemd.notify("READY=1")


def processes() -> dict[str, list[dict[str, Any]]]:
    """Running daemons of this host by name: pid, PSS in MiB, seconds since start."""
    found: dict[str, list[dict[str, Any]]] = {}
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    ticks = os.sysconf("SC_CLK_TCK")
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            title = (entry / "cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
            if not title.startswith("aerie-"):
                continue
            started = float((entry / "stat").read_text().rpartition(")")[2].split()[19]) / ticks
            pss = next(
                (line for line in (entry / "smaps_rollup").read_text().splitlines() if line.startswith("Pss:")),
                "Pss: 0 kB",
            )
        except (OSError, ValueError):
            continue  # it ended while we looked
        found.setdefault(title.split()[0], []).append(
            {"pid": int(entry.name), "pss_mib": int(pss.split()[1]) / 1024, "seconds": uptime - started}
        )
    return found
