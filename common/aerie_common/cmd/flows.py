# SPDX-License-Identifier: Apache-2.0
"""`aerie flow`: the long work of all services, where it stands and what it waits for. Exit status of `show` and
`retry`: 1 when there is no such flow, or none that can be tried again."""

from __future__ import annotations

import argparse
import datetime
import sys
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import orjson

from aerie_common import flow
from aerie_common.cmd import reach
from aerie_common.cmd.reach import Store
from aerie_common.db import Database, utcnow
from aerie_common.flow import Flow, FlowRecord

T = TypeVar("T")
LATE = datetime.timedelta(minutes=3)


def _stores(args: argparse.Namespace) -> Iterator[tuple[Store, Database]]:
    for store in reach.stores(args.config_dir):
        if store.has("flows") and (not args.service or store.service in args.service):
            with store.open() as database:
                yield store, database


def step_name(record: FlowRecord, kinds: dict[tuple[str, int], Flow]) -> str:
    """`3/5 plug_ports`; without its name where this program does not know the kind."""
    declared = kinds.get((record.kind, record.version))
    if record.state == flow.DONE:
        return "-"
    number = max(record.step, 0)
    if declared is None or number >= len(declared.steps):
        return str(number + 1)
    return f"{number + 1}/{len(declared.steps)} {declared.steps[number].name}"


def waits_for(record: FlowRecord, now: datetime.datetime) -> str:
    """Why a flow is where it is, in words."""
    if not record.active:
        return f"{record.fault.code}: {record.fault.message}" if record.fault else "ended"
    if record.lease_owner:
        return f"{record.lease_owner} works on it"
    if record.state == flow.PENDING and record.after:
        return f"begins after {', '.join(record.after)}"
    if record.due_at is not None and now - record.due_at > LATE:
        late = ago(record.due_at, now)
        return f"due for {late}, nobody takes it: does the daemon that runs {record.kind} run?"
    text = record.reason or "a runner"
    if record.attempts:
        text += f" (tried {record.attempts} times)"
    if record.due_at is not None and record.due_at > now:
        text += f"; again in {ago(now, record.due_at)}"
    return text


def ago(then: datetime.datetime | None, now: datetime.datetime) -> str:
    """`42s`, `7m`, `3h`, `2d` between two times."""
    if then is None:
        return "-"
    seconds = max((now - then).total_seconds(), 0)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{int(seconds)}s"


def describe(store: Store, record: FlowRecord, kinds: dict[tuple[str, int], Flow]) -> dict[str, Any]:
    """A flow as both commands tell of it."""
    now = utcnow()
    since = record.finished_at or record.step_started_at or record.created_at
    return {
        "service": store.service,
        "id": record.id,
        "kind": record.kind,
        "subject": record.subject_id,
        "state": "cancelling" if record.cancel and record.active else record.state,
        "step": step_name(record, kinds),
        "since": ago(since, now),
        "waits_for": waits_for(record, now),
    }


def list_(args: argparse.Namespace) -> int:
    """Print the flows that are not done; with --all those that ended too."""
    states = (flow.FAILED,) if args.failed else None if args.all else flow.ACTIVE
    rows = []
    for store, database in _stores(args):
        kinds = reach.flow_kinds(store.service)
        with database.read() as conn:
            found = flow.list_flows(
                conn, states=states, subject_id=args.subject, kinds=args.kind or None, limit=args.limit
            )
        rows += [describe(store, record, kinds) for record in found]
    if args.json:
        print(orjson.dumps(rows).decode())
        return 0
    names = ["service", "id", "kind", "subject", "state", "step", "since"]
    widths = [max([len(n), *(len(row[n]) for row in rows)]) for n in names]
    print("  ".join([*(n.upper().ljust(w) for n, w in zip(names, widths, strict=True)), "WAITS FOR"]))
    for row in rows:
        print("  ".join([*(row[n].ljust(w) for n, w in zip(names, widths, strict=True)), row["waits_for"]]))
    return 0


def _find(args: argparse.Namespace, use: Callable[[Store, Database, FlowRecord], T]) -> T | None:
    """Do something with the flow of that id while its database is open. None and words on stderr without one."""
    for store, database in _stores(args):
        with database.read() as conn:
            record = flow.show(conn, args.id)
        if record is not None:
            return use(store, database, record)
    print(f"No database holds a flow {args.id}. Flows that ended are forgotten after some days.", file=sys.stderr)
    return None


def show(args: argparse.Namespace) -> int:
    """Print all there is to know about one flow."""

    def tell(store: Store, database: Database, record: FlowRecord) -> int:
        kinds = reach.flow_kinds(store.service)
        told = describe(store, record, kinds)
        declared = kinds.get((record.kind, record.version))
        told |= {
            "project": record.project_id,
            "version": record.version,
            "created": f"{record.created_at:%Y-%m-%d %H:%M:%S} UTC",
            "deadline": f"{record.deadline_at:%Y-%m-%d %H:%M:%S} UTC" if record.deadline_at else None,
            "request": record.context.get("request_id"),
            "workers lost": record.takeovers,
            "fault": record.fault.to_dict() if record.fault else None,
            "input": record.input,
            "results": record.results,
            "steps": [s.name for s in declared.steps] if declared else None,
        }
        if args.json:
            print(orjson.dumps(told).decode())
            return 0
        for name, value in told.items():
            text = orjson.dumps(value).decode() if isinstance(value, (dict, list)) else "-" if value is None else value
            print(f"{name.replace('_', ' '):<14}{text}")
        return 0

    return 1 if _find(args, tell) is None else 0


def retry(args: argparse.Namespace) -> int:
    """Have a flow that waits look again at once."""

    def wake(store: Store, database: Database, record: FlowRecord) -> int:
        if not record.active:
            print(
                f"The flow has ended ({record.state}) and what it did was "
                f"{'kept' if record.state == flow.DONE else 'undone'}. Ask its service for the same again.",
                file=sys.stderr,
            )
            return 1
        with database.write() as conn:
            flow.wake_flow(conn, record.id)
        print(f"{record.id}: its runner looks at it within a second or two.")
        return 0

    status = _find(args, wake)
    return 1 if status is None else status


def run(args: argparse.Namespace) -> int:
    """Do what the command line asks for."""
    return {"list": list_, "show": show, "retry": retry}[args.action](args)
