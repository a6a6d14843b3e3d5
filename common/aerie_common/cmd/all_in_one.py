# SPDX-License-Identifier: Apache-2.0
"""`aerie all-in-one`: every daemon in one process, on SQLite, the in-process message transport and fake drivers.

The same code as an installation otherwise: REST between services, RPC inside them, flows, reconcilers. What differs is
configuration, and it all stands here.
"""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import signal
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oslo_config import cfg

from aerie_common import config, log, service
from aerie_common.cmd import db
from aerie_common.daemons import end
from aerie_common.ports import free_port
from aerie_common.service import Daemon, ServiceSpec, Stoppable

LOG = logging.getLogger(__name__)
LEFT_OUT = frozenset({"aerie-dashboard"})


@dataclass
class AllInOne:
    """A cloud in this process. state_dir keeps its databases and images; ports: daemon name -> port."""

    state_dir: Path
    host: str = "127.0.0.1"
    password: str = "secret"
    any_port: bool = False
    ports: dict[str, int] = field(default_factory=dict)
    overrides: dict[str, dict[tuple[str | None, str], Any]] = field(default_factory=dict)
    """Further options: service name -> {(group, option): value}; "*" for all services."""
    _running: list[Stoppable] = field(default_factory=list)
    _confs: dict[str, cfg.ConfigOpts] = field(default_factory=dict)

    @property
    def auth_url(self) -> str:
        return f"http://{self.host}:{self.ports['aerie-identity-api']}/v3"

    def start(self) -> None:
        """Make what is missing and start every daemon. Takes a few seconds."""
        self.state_dir.mkdir(parents=True, exist_ok=True)
        specs = service.services()
        daemons = [(s, d) for s in specs.values() for d in s.daemons if d.name not in LEFT_OUT]
        for _, daemon in daemons:
            if daemon.port:
                self.ports.setdefault(daemon.name, free_port(self.host) if self.any_port else daemon.port)
        service_password = self._service_password()
        for spec in specs.values():
            for database in spec.databases:
                path = self.state_dir / f"{database.name}.sqlite"
                bring = db.sync if path.exists() else db.create
                bring(database, f"sqlite:///{path}")
        for spec, daemon in daemons:
            conf = self._conf(spec, daemon, service_password)
            began = time.monotonic()
            self._running += daemon.start(conf)
            LOG.info("%s started in %.0f ms", daemon.name, (time.monotonic() - began) * 1000)
            if daemon.name == "aerie-identity-api":
                self._bootstrap(spec, conf, service_password)

    def stop(self) -> None:
        """Stop every daemon."""
        end(self._running)
        self._running = []

    def conf(self, daemon_name: str) -> cfg.ConfigOpts:
        """The configuration a daemon was started with."""
        return self._confs[daemon_name]

    def _service_password(self) -> str:
        path = self.state_dir / "service-password"
        if not path.exists():
            _write_secret(path, secrets.token_hex(16))
        return path.read_text()

    def _conf(self, spec: ServiceSpec, daemon: Daemon, service_password: str) -> cfg.ConfigOpts:
        conf = config.load(spec.new_conf(), [])
        values: dict[tuple[str | None, str], Any] = {
            (None, "state_path"): str(self.state_dir),
            (None, "host"): "all-in-one",
            (None, "transport_url"): "fake://",
            (None, "hypervisor"): "fake",
            ("agent", "driver"): "fake",
            ("pool", "driver"): "fake",
            ("api", "listen"): self.host,
            ("api", "workers"): 1,
            ("keystone_authtoken", "auth_url"): self.auth_url,
            ("keystone_authtoken", "username"): spec.name,
            ("keystone_authtoken", "password"): service_password,
        }
        for database in spec.databases:
            values[(database.group, "connection")] = f"sqlite:///{self.state_dir / database.name}.sqlite"
        if daemon.port:
            values[daemon.port_option] = self.ports[daemon.name]
        values |= {k: str(self.state_dir / v) for k, v in spec.paths.items()}
        values |= {k: f"http://{self.host}:{self.ports[v]}" for k, v in spec.addresses.items()}
        values |= spec.all_in_one
        values |= self.overrides.get("*", {}) | self.overrides.get(spec.name, {})
        for (group, name), value in values.items():
            try:
                conf.set_override(name, value, group=group)
            except (cfg.NoSuchOptError, cfg.NoSuchGroupError):
                continue  # a service has only some of these options
        self._confs[daemon.name] = conf
        return conf

    def _bootstrap(self, spec: ServiceSpec, conf: cfg.ConfigOpts, service_password: str) -> None:
        endpoints = {
            "identity": f"http://{self.host}:{self.ports['aerie-identity-api']}/v3",
            "image": f"http://{self.host}:{self.ports['aerie-image-api']}",
            "compute": f"http://{self.host}:{self.ports['aerie-compute-api']}/v2.1",
            "placement": f"http://{self.host}:{self.ports['aerie-compute-placement']}",
            "network": f"http://{self.host}:{self.ports['aerie-network-api']}",
            "dns": f"http://{self.host}:{self.ports['aerie-dns-api']}",
        }
        arguments = [
            "--service-password",
            service_password,
            "--region",
            conf.region_name,
            "--demo-password",
            self.password,
        ]
        for name, url in endpoints.items():
            arguments += ["--endpoint", f"{name}={url}"]
        os.environ["AERIE_ADMIN_PASSWORD"] = self.password
        try:
            code = spec.commands["bootstrap"](conf, [*arguments, "--admin-password-env", "AERIE_ADMIN_PASSWORD"])
        finally:
            del os.environ["AERIE_ADMIN_PASSWORD"]
        if code:
            raise SystemExit("all-in-one: identity could not be bootstrapped")

    def clouds_yaml(self) -> str:
        """A clouds.yaml with the clouds `aerie` (user demo) and `aerie-admin`."""

        def cloud(name: str, user: str) -> str:
            return (
                f"  {name}:\n    region_name: RegionOne\n    auth:\n      auth_url: {self.auth_url}\n"
                f"      username: {user}\n      password: {self.password}\n      project_name: {user}\n"
                f"      user_domain_name: Default\n      project_domain_name: Default\n"
            )

        return "clouds:\n" + cloud("aerie", "demo") + cloud("aerie-admin", "admin")


def _write_secret(path: Path, text: str) -> None:
    """A file that nobody else may read; whoever waits for it finds it whole."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_text(text)
    draft.replace(path)


def run(args: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT."""
    began = time.monotonic()
    state = args.state_dir or Path(tempfile.mkdtemp(prefix="aerie-"))
    base = config.load(config.new(), [])
    base.set_override("log_file", str(state / "all-in-one.log"))
    state.mkdir(parents=True, exist_ok=True)
    log.setup(base, "aerie-all-in-one")
    done = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: done.set())
    cloud = AllInOne(state, args.host, args.password, args.any_port)
    try:
        _start(cloud, args, began)
        done.wait()
    except OSError as e:
        raise SystemExit(
            f"all-in-one: {e}. Is a port taken? --any-port chooses free ones. The log is in {state}."
        ) from e
    finally:
        cloud.stop()  # also what has started of a cloud that did not: its threads would keep the process
    return 0


def _start(cloud: AllInOne, args: argparse.Namespace, began: float) -> None:
    """Start the cloud, fill it, and tell how to reach it."""
    from aerie_common.cmd import samples

    cloud.start()
    samples.make(cloud)
    text = cloud.clouds_yaml()
    for path in filter(None, (cloud.state_dir / "clouds.yaml", args.clouds_yaml)):
        _write_secret(path, text)
    where = f"its files and log are in {cloud.state_dir}"
    print(f"# The cloud is up after {time.monotonic() - began:.1f} s; {where}. Ctrl-C stops it.")
    print(f"# Save this as clouds.yaml, then: openstack --os-cloud aerie server list\n{text}", flush=True)
