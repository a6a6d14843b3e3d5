# SPDX-License-Identifier: Apache-2.0
"""`aerie`: everything an operator does to a host of this cloud, and the entry point of each daemon."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aerie_common import config, service
from aerie_common.service import Daemon, ServiceSpec

QUICK = ("run", "db", "status", "config", "policy", "all-in-one", "flow", "bus", "doctor")
"""Commands that need not wait for the import of all services."""


def find_daemons(names: list[str] | None = None, roles: set[str] | None = None) -> list[tuple[ServiceSpec, Daemon]]:
    """Daemons by name (with or without `aerie-`) or by role; all of them when neither is given."""
    found = [(spec, daemon) for spec in service.services().values() for daemon in spec.daemons]
    if names:
        wanted = {name if name.startswith("aerie-") else f"aerie-{name}" for name in names}
        unknown = wanted - {daemon.name for _, daemon in found}
        if unknown:
            known = ", ".join(sorted(d.name for _, d in found))
            raise SystemExit(f"There is no daemon {', '.join(sorted(unknown))}. Known: {known}.")
        found = [pair for pair in found if pair[1].name in wanted]
    if roles and "all" not in roles:
        found = [pair for pair in found if pair[1].role in roles]
    return found


def _run(args: argparse.Namespace) -> int:
    from aerie_common import daemons

    chosen = find_daemons(args.daemon, set(args.role.split(",")) if args.role else None)
    if args.without:
        dropped = {d.name for _, d in find_daemons(args.without.split(","))}
        chosen = [pair for pair in chosen if pair[1].name not in dropped]
    # A parent of one is needed only where nobody else starts that one again.
    if len(chosen) == 1 and (not args.role or "NOTIFY_SOCKET" in os.environ):
        daemons.run_one(*chosen[0], args.config_dir)
    elif args.role or args.daemon:
        daemons.run_many(chosen, args.config_dir)
    else:
        raise SystemExit("Say which daemon to run, or which role: --role controller|network|hypervisor|all.")
    return 0


def _db(args: argparse.Namespace) -> int:
    from aerie_common.cmd import db

    return db.run(args)


def _status(args: argparse.Namespace) -> int:
    from aerie_common.cmd import status

    return status.run(args)


def _all_in_one(args: argparse.Namespace) -> int:
    from aerie_common.cmd import all_in_one

    return all_in_one.run(args)


def _config(args: argparse.Namespace) -> int:
    from aerie_common.cmd import config as command

    return command.run(args)


def _policy(args: argparse.Namespace) -> int:
    from aerie_common.cmd import policy

    return policy.run(args)


def _flow(args: argparse.Namespace) -> int:
    from aerie_common.cmd import flows

    return flows.run(args)


def _bus(args: argparse.Namespace) -> int:
    from aerie_common.cmd import bus

    return bus.run(args)


def _doctor(args: argparse.Namespace) -> int:
    from aerie_common.cmd import doctor

    return doctor.run(args)


def _policies(commands: Any, shared: argparse.ArgumentParser) -> None:
    """`aerie policy`."""
    policy = commands.add_parser("policy", help="who may do what, and why; whether a policy file is right")
    actions = policy.add_subparsers(required=True, metavar="ACTION")
    for name, text in (("check", "check policy files; with a caller: what that one may do, and why"),
                       ("show", "the rules in force, or a sample file")):  # fmt: skip
        action = actions.add_parser(name, parents=[shared], help=text)
        action.add_argument("--service", action="append", help="one service only, e.g. identity (may be repeated)")
        action.add_argument("--rule", action="append", help="one rule only, e.g. identity:list_users")
        action.add_argument("--file", type=Path, help="this policy file instead of the one beside the configuration")
        action.add_argument("--json", action="store_true")
        action.set_defaults(call=_policy, action=name)
        if name == "show":
            action.add_argument("--sample", action="store_true", help="a file of all defaults, as comments")
            continue
        caller = action.add_argument_group("the caller")
        caller.add_argument("--role", action="append", default=[], help="a role, with those it implies")
        caller.add_argument("--user", default="the-caller", help="id of the caller")
        scope = caller.add_mutually_exclusive_group()
        scope.add_argument("--project", help="id of the token's project")
        scope.add_argument("--domain", help="id of the token's domain")
        scope.add_argument("--system", action="store_true", help="a token for the system")
        caller.add_argument("--token-file", type=Path, help="the body of a validated token, JSON, instead of these")
        action.add_argument("--target", action="append", default=[], metavar="NAME=VALUE",
                            help="an attribute of the object asked about (default: the caller's own)")  # fmt: skip


def _inspection(commands: Any, shared: argparse.ArgumentParser) -> None:
    """`aerie flow`, `aerie bus`, `aerie doctor`."""
    flows = commands.add_parser("flow", help="long work: where it stands, what it waits for; have it tried now")
    actions = flows.add_subparsers(required=True, metavar="ACTION")
    for name, text in (("list", "what is under way in all services"), ("show", "all there is to know about one"),
                       ("retry", "have one that waits look again at once")):  # fmt: skip
        action = actions.add_parser(name, parents=[shared], help=text)
        action.add_argument("--service", action="append", help="one service only, e.g. compute (may be repeated)")
        action.set_defaults(call=_flow, action=name)
        if name != "list":
            action.add_argument("id", help="the flow's id")
        if name != "retry":
            action.add_argument("--json", action="store_true")
        if name == "list":
            action.add_argument("--all", action="store_true", help="also those that have ended")
            action.add_argument("--failed", action="store_true", help="those that failed")
            action.add_argument("--subject", help="of one server, zone, image, ...")
            action.add_argument("--kind", action="append", help="of one kind, e.g. server_create")
            action.add_argument("--limit", type=int, default=100, help="at most so many of each database")

    bus = commands.add_parser("bus", help="messages that wait in the broker, and for whom")
    actions = bus.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", parents=[shared], help="queues: depth, consumers, age of the first message")
    listing.add_argument("--queue", action="append", default=[], help="look at this one too, e.g. compute.HOST")
    listing.add_argument("--all", action="store_true", help="every queue, by rabbitmqctl on the broker's host")
    peek = actions.add_parser("peek", parents=[shared], help="read the first messages of a queue; they stay there")
    peek.add_argument("name", help="the queue's name")
    peek.add_argument("-n", "--count", type=int, default=1)
    for name, action in (("list", listing), ("peek", peek)):
        action.add_argument("--json", action="store_true")
        action.set_defaults(call=_bus, action=name)

    doctor = commands.add_parser("doctor", parents=[shared], help="look this host over: what is wrong, why, what to do")
    doctor.add_argument("--role", default="all", help="what this host is: controller, network, hypervisor, all")
    doctor.add_argument("-v", "--verbose", action="store_true", help="also what is well")
    doctor.add_argument("--json", action="store_true")
    doctor.set_defaults(call=_doctor)


def _service_command(spec: ServiceSpec, command: str) -> Callable[[argparse.Namespace], int]:
    def call(args: argparse.Namespace) -> int:
        path = args.config_dir / f"{spec.name}.conf"
        if not path.exists():
            raise SystemExit(f"{path} does not exist. Say where the configuration is with --config-dir.")
        conf = config.load(spec.new_conf(), [path])
        rest = ["--config-dir", str(args.config_dir), *args.arguments] if command == "bootstrap" else args.arguments
        return spec.commands[command](conf, rest)

    return call


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(prog="aerie", description=__doc__)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--config-dir", type=Path, default=config.DEFAULT_DIR, help="folder of the configuration files")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", parents=[shared], help="run daemons in the foreground")
    run.add_argument("daemon", nargs="*", help="names, e.g. identity-api")
    run.add_argument(
        "--role", help="controller, network, hypervisor (comma-separated) or all: under one forking parent"
    )
    run.add_argument("--without", help="daemons to leave out (comma-separated)")
    run.set_defaults(call=_run)

    db = commands.add_parser("db", parents=[shared], help="create and change the databases' schemas")
    db.add_argument("action", choices=["sync", "version", "revision"])
    db.add_argument("database", nargs="?", help="one database only")
    db.add_argument("-m", "--message", default="", help="what a new revision does")
    db.set_defaults(call=_db)

    status = commands.add_parser("status", parents=[shared], help="each daemon, its port, health and memory")
    status.add_argument("--wait", type=float, default=0, metavar="SECONDS", help="wait until all are healthy")
    status.add_argument("--role", default="all")
    status.add_argument("--json", action="store_true")
    status.set_defaults(call=_status)

    options = commands.add_parser("config", help="every option of a service: its default and what it does")
    options.add_argument("name", metavar="SERVICE", help="e.g. compute; its agents' options are among them")
    options.set_defaults(call=_config)

    aio = commands.add_parser(
        "all-in-one", help="a whole cloud in this process: SQLite, fake hypervisor; no root, no servers"
    )
    aio.add_argument("--state-dir", type=Path, help="keep the cloud here (default: a temporary folder)")
    aio.add_argument("--host", default="127.0.0.1", help="address to listen on")
    aio.add_argument("--password", default="secret", help="password of the users admin and demo")
    aio.add_argument("--clouds-yaml", type=Path, help="also write the clouds.yaml here")
    aio.add_argument("--any-port", action="store_true", help="choose free ports instead of the usual ones")
    aio.set_defaults(call=_all_in_one)

    _policies(commands, shared)
    _inspection(commands, shared)
    if len(sys.argv) > 1 and sys.argv[1] in QUICK:
        return top  # the services' own commands need all services imported
    for spec in service.services().values():
        own = None
        for name in spec.commands:
            if spec.name == "identity" and name == "bootstrap":
                entry = commands.add_parser(
                    name, parents=[shared], help="first users, roles and catalog", add_help=False
                )
            else:
                if own is None:
                    group = commands.add_parser(spec.name, help=f"the {spec.name} service's own commands")
                    own = group.add_subparsers(required=True, metavar="COMMAND")
                entry = own.add_parser(name, parents=[shared], add_help=False)
            entry.set_defaults(call=_service_command(spec, name), arguments=[])
    return top


def main() -> None:
    """Entry point of `aerie`."""
    args, rest = parser().parse_known_args()
    if hasattr(args, "arguments"):
        args.arguments = rest
    elif rest:
        parser().error(f"unknown arguments: {' '.join(rest)}")
    sys.exit(args.call(args))


def daemon() -> None:
    """Entry point of `aerie-<daemon>`: the name it was called by says which."""
    from aerie_common import daemons

    reader = argparse.ArgumentParser()
    reader.add_argument("--config-dir", type=Path, default=config.DEFAULT_DIR)
    args = reader.parse_args()
    [(spec, found)] = find_daemons([Path(sys.argv[0]).name])
    daemons.run_one(spec, found, args.config_dir)


if __name__ == "__main__":
    main()
