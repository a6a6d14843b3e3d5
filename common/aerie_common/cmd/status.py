# SPDX-License-Identifier: Apache-2.0
"""`aerie status`: each daemon of this host, its port, health and memory."""

from __future__ import annotations

import argparse
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import orjson
from oslo_config import cfg

from aerie_common import config, daemons
from aerie_common.service import Daemon, ServiceSpec


@dataclass(frozen=True)
class Row:
    """One daemon as it is now. pss_mib: memory it alone is charged for, in MiB."""

    name: str
    role: str
    port: int | None
    pids: tuple[int, ...]
    health: str
    pss_mib: float


def port_of(spec: ServiceSpec, daemon: Daemon, config_dir: Path) -> int | None:
    """The port a daemon is configured to listen on."""
    path = config_dir / f"{daemon.config}.conf"
    if daemon.port is None or not path.exists():
        return daemon.port
    conf = config.load(spec.new_conf(), [path])
    group, option = daemon.port_option
    try:
        return int((conf[group][option] if group else conf[option]) or daemon.port)
    except cfg.NoSuchOptError:
        return daemon.port


def probe(port: int) -> str:
    """Ask an HTTP daemon how it is: "ok" or what is wrong."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthcheck", timeout=5):
            return "ok"
    except urllib.error.HTTPError as e:
        return "ok" if e.code < 500 else f"answers {e.code}"
    except OSError as e:
        return f"port {port}: {getattr(e, 'reason', e)}"


def gather(chosen: list[tuple[ServiceSpec, Daemon]], config_dir: Path) -> list[Row]:
    """The state of every daemon that this host should run."""
    running = daemons.processes()
    rows = []
    for spec, daemon in chosen:
        found = running.get(daemon.name, [])
        port = port_of(spec, daemon, config_dir)
        health = "not running" if not found else probe(port) if port and daemon.name != "aerie-dns-mdns" else "ok"
        pids = tuple(p["pid"] for p in found)
        rows.append(Row(daemon.name, daemon.role, port, pids, health, round(sum(p["pss_mib"] for p in found), 1)))
    return rows


def run(args: argparse.Namespace) -> int:
    """Print the table; exit code 1 unless all are healthy."""
    from aerie_common.cmd.main import find_daemons

    chosen = find_daemons(roles=set(args.role.split(",")))
    end = time.monotonic() + args.wait
    while True:
        rows = gather(chosen, args.config_dir)
        sick = [row for row in rows if row.health != "ok"]
        if not sick or time.monotonic() >= end:
            break
        time.sleep(0.3)
    parent = sum(p["pss_mib"] for p in daemons.processes().get("aerie-parent", []))
    if args.json:
        text = orjson.dumps([row.__dict__ for row in rows]).decode()
    else:
        wide = max([14, *(len(r.health) + 1 for r in rows)])
        lines = [f"{'DAEMON':<28}{'PORT':>6} {'HEALTH':<{wide}}{'PSS MiB':>8}  PID"]
        lines += [
            f"{r.name:<28}{r.port or '-':>6} {r.health:<{wide}}{r.pss_mib:>8.1f}  {' '.join(map(str, r.pids)) or '-'}"
            for r in rows
        ]
        total = sum(r.pss_mib for r in rows) + parent
        lines.append(f"{'all, with the parent':<28}{'':>6} {'':<{wide}}{total:>8.1f}")
        text = "\n".join(lines)
    print(text)
    for row in sick:
        print(
            f"{row.name}: {row.health}. See its log (journalctl, or log_dir of {row.name}'s configuration).",
            file=sys.stderr,
        )
    return 1 if sick else 0
