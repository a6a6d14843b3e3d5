# SPDX-License-Identifier: Apache-2.0
"""Long work as an ordered list of do/undo pairs whose progress is kept in SQL: declaration, start, cancel, inspection.

A service declares a flow in `flows/<noun>_<verb>.py`, readable at a glance:

    SERVER_BUILD = Flow(
        "server_build",
        version=1,
        deadline=1800,
        steps=(
            Step("pick_host", do=pick_host, undo=release_host),
            Step("plug_ports", do=plug_ports, undo=unplug_ports, timeout=300),
            Step("start_guest", do=start_guest, undo=destroy_guest, timeout=900, retries=2),
        ),
        on_done=built, on_failed=failed,
    )

and starts it in the transaction that writes its subject: `start(conn, SERVER_BUILD, server_id, {...}, ctx)`.
`flow_runner.FlowRunner` carries it out.

Invariants. A step's result is recorded before the next step begins. `do` and `undo` may run more than once and must
converge: do after a half done do finishes it, undo after no do at all finds nothing to do. When a step fails, its own
undo runs and then those of all steps before it, backwards. A flow ends exactly once, and its last callback
(`on_done`, `on_failed` or `on_cancelled`) commits together with that end. Only the holder of the lease moves a flow;
others may only start, wake and cancel it.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import sqlalchemy as sa

from aerie_common.context import Context
from aerie_common.db import BigText, DateTime, Id, Json, new_id, publish, timestamps, utcnow

S = TypeVar("S")

COMMIT_TOPIC = "flows"
"""What `Database.subscribe` takes to hear of flows started, woken or cancelled by this process (values: flow ids or
subject ids). A runner subscribes by itself; an API daemon subscribes a cast to the daemon that runs the flows."""

PENDING, RUNNING, UNDOING = "pending", "running", "undoing"
DONE, FAILED, CANCELLED = "done", "failed", "cancelled"
ACTIVE = (PENDING, RUNNING, UNDOING)

# New work is due "a minute ago": the hosts' clocks may differ by that much without making anything wait.
_AT_ONCE = datetime.timedelta(minutes=1)


# ------------------------------------------------------------------------------------------------- what a step raises


class Pending(Exception):
    """The step waits for something outside. The flow parks; `do` runs again when the subject is woken, or after
    `poll` seconds, until the step's timeout."""

    def __init__(self, poll: float, reason: str = "") -> None:
        super().__init__(reason or f"waits, looks again in {poll:g} s")
        self.after = poll


class Retry(Exception):
    """Passing trouble: run the step again in `after` seconds, until the step's timeout."""

    def __init__(self, after: float, reason: str = "") -> None:
        super().__init__(reason or f"tries again in {after:g} s")
        self.after = after


class Fail(Exception):
    """The step cannot succeed: undo everything now, whatever retries are left. `message` may be shown to the user."""

    def __init__(self, message: str, *, code: str = "failed", **details: Any) -> None:
        super().__init__(message)
        self.message, self.code, self.details = message, code, details


class Cancelled(Exception):
    """Raised by `Run.check()` in a long step whose flow has been cancelled: return to the runner, which undoes."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a flow failed. `code` is a Fail's code, or an error's own stable code, or its class name; `internal` says
    that `message` is an unexpected exception's text, meant for operators only."""

    message: str
    code: str
    step: str
    details: Mapping[str, Any] = field(default_factory=dict)
    internal: bool = False

    @classmethod
    def of(cls, error: BaseException, step: str) -> Fault:
        code = getattr(error, "code", None)
        expected = isinstance(error, Fail) or hasattr(error, "status")
        return cls(
            # An error that came by RPC has its traceback in str(), and its words in `message`.
            message=str(getattr(error, "message", None) or error) or type(error).__name__,
            code=str(code) if expected and code else type(error).__name__,
            step=step,
            details={k: _plain(v) for k, v in (getattr(error, "details", None) or {}).items()} if expected else {},
            internal=not expected,
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "message": self.message,
            "code": self.code,
            "step": self.step,
            "details": dict(self.details),
            "internal": self.internal,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Fault:
        return cls(**data)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(v) for v in value]
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)


# -------------------------------------------------------------------------------------------------------- declaration


@dataclass(slots=True)
class Run(Generic[S]):
    """What a step, an undo and the last callbacks are given. Everything but `services` is the flow's row."""

    flow_id: str
    kind: str
    subject_id: str
    project_id: str | None
    input: dict[str, Any]
    results: dict[str, Any]
    """Result of each step done so far, by step name (as JSON gives it back)."""
    ctx: Context
    services: S
    attempt: int = 0
    """How often this step (or undo) has been tried before."""
    fault: Fault | None = None
    """In undos and on_failed: why. None when the flow was cancelled without a fault of its own."""
    cancelled: bool = False
    """The flow shall stop; set at the latest a third of a lease after the cancel."""

    def check(self) -> None:
        """For long steps, between their parts: raise Cancelled when the flow shall stop."""
        if self.cancelled:
            raise Cancelled(self.flow_id)


@dataclass(frozen=True, slots=True)
class Step:
    """One do/undo pair. `do` returns what later steps and the undo need (JSON), or None.

    `timeout` bounds the step in seconds, with its waiting and its retries. `retries` is how often an unexpected
    exception is tried again, with growing pauses, before the flow fails.
    """

    name: str
    do: Callable[[Run[Any]], Any]
    undo: Callable[[Run[Any]], None] | None = None
    timeout: float = 60.0
    retries: int = 0


@dataclass(frozen=True, slots=True)
class Flow:
    """A kind of work. Changing its list of steps means raising `version`, so that flows begun before the change are
    carried to their end by a runner that still knows the old list. `deadline` bounds the whole, in seconds."""

    kind: str
    version: int
    steps: tuple[Step, ...]
    deadline: float = 3600.0
    on_done: Callable[[sa.Connection, Run[Any]], None] | None = None
    on_failed: Callable[[sa.Connection, Run[Any], Fault], None] | None = None
    on_cancelled: Callable[[sa.Connection, Run[Any]], None] | None = None

    def __post_init__(self) -> None:
        names = [step.name for step in self.steps]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"flow {self.kind}: needs steps with distinct names")


# --------------------------------------------------------------------------------------------------------------- table

FLOWS = sa.Table(
    "flows",
    sa.MetaData(),
    sa.Column("id", Id, primary_key=True),
    sa.Column("kind", sa.String(64), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("subject_id", Id, nullable=False),
    sa.Column("project_id", Id, nullable=True),
    sa.Column("state", sa.String(16), nullable=False),
    # Index of the step that runs or, while undoing, of the next one to undo; -1 before the first and after the last.
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("cancel", sa.Boolean, nullable=False, default=False),
    sa.Column("input", Json, nullable=False),
    sa.Column("results", Json, nullable=False),
    sa.Column("context", Json, nullable=False),
    sa.Column("fault", Json, nullable=True),
    sa.Column("after", Json, nullable=True),  # ids of flows that must have ended before this one begins
    sa.Column("lease_owner", sa.String(128), nullable=True),
    # When somebody has to look: end of the lease while leased, else the time to go on; NULL once the flow has ended.
    sa.Column("due_at", DateTime, nullable=True),
    sa.Column("wakes", sa.Integer, nullable=False, default=0),  # counts wakes and cancels, so that none gets lost
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("takeovers", sa.Integer, nullable=False, default=0),  # workers lost in the present step
    sa.Column("reason", BigText, nullable=True),  # why it waits or is tried again
    sa.Column("deadline_at", DateTime, nullable=True),
    sa.Column("step_started_at", DateTime, nullable=True),
    sa.Column("finished_at", DateTime, nullable=True),
    *timestamps(),
    sa.Index("flows_due_at", "due_at"),
    sa.Index("flows_subject_id", "subject_id", "state"),
    sa.Index("flows_finished_at", "finished_at"),
)


def flow_table(metadata: sa.MetaData) -> sa.Table:
    """Add the table `flows` to a service's metadata (once per database)."""
    return FLOWS.to_metadata(metadata)


# ---------------------------------------------------------------------------------------------- start, cancel and wake


def start(
    conn: sa.Connection,
    flow: Flow,
    subject_id: str,
    input: Mapping[str, Any],
    ctx: Context,
    *,
    after: Sequence[str] = (),
    project_id: str | None = None,
    delay: float = 0.0,
) -> str:
    """Write a flow within the caller's transaction; return its id. It begins after the commit, once all the flows
    `after` have ended (see `cancel`) and `delay` seconds have passed. `project_id` is the caller's unless given."""
    row = _new_row(flow, subject_id, input, ctx, after, project_id, delay)
    conn.execute(sa.insert(FLOWS).values(row))
    publish(conn, COMMIT_TOPIC, row["id"])
    return str(row["id"])


def start_many(
    conn: sa.Connection, flow: Flow, subjects: Sequence[tuple[str, Mapping[str, Any]]], ctx: Context
) -> list[str]:
    """Write one flow for each (subject id, input) in one statement; return their ids."""
    rows = [_new_row(flow, subject_id, input, ctx, (), None, 0.0) for subject_id, input in subjects]
    if rows:
        conn.execute(sa.insert(FLOWS), rows)
        publish(conn, COMMIT_TOPIC, rows[0]["id"])
    return [row["id"] for row in rows]


def _new_row(
    flow: Flow,
    subject_id: str,
    input: Mapping[str, Any],
    ctx: Context,
    after: Sequence[str],
    project_id: str | None,
    delay: float,
) -> dict[str, Any]:
    now = utcnow()
    return {
        "id": new_id(),
        "kind": flow.kind,
        "version": flow.version,
        "subject_id": subject_id,
        "project_id": project_id or ctx.project_id,
        "state": PENDING,
        "step": -1,
        "input": dict(input),
        "results": {},
        "context": ctx.to_dict(),
        "after": list(after) or None,
        "due_at": now + datetime.timedelta(seconds=delay) if delay else now - _AT_ONCE,
        "created_at": now,
    }


def cancel(conn: sa.Connection, subject_id: str, kinds: Iterable[str] | None = None) -> list[str]:
    """Delete wins: make every active flow of the subject (of these kinds) stop and undo itself.

    Returns the ids of the flows that have yet to end; give them to `start(..., after=...)` of the flow that deletes.
    A flow whose end has been committed before is not touched, one whose end comes later ends as cancelled: both sides
    update the same row.
    """
    mine = [FLOWS.c.subject_id == subject_id, FLOWS.c.state.in_(ACTIVE)]
    if kinds is not None:
        mine.append(FLOWS.c.kind.in_(list(kinds)))
    ids = [row.id for row in conn.execute(sa.select(FLOWS.c.id).where(*mine).order_by(FLOWS.c.id).with_for_update())]
    if ids:
        values = {"state": UNDOING, "cancel": True, **_woken()}
        conn.execute(sa.update(FLOWS).where(FLOWS.c.id.in_(ids), FLOWS.c.state.in_(ACTIVE)).values(values))
        publish(conn, COMMIT_TOPIC, subject_id)
    return ids


def wake(conn: sa.Connection, subject_id: str) -> None:
    """Something happened to the subject: let its waiting flows look again at once. Never lost: a step that is just
    about to wait is run again instead."""
    _wake(conn, FLOWS.c.subject_id == subject_id, subject_id)


def wake_flow(conn: sa.Connection, flow_id: str) -> None:
    """The same for one flow; for operators who want a backed-off undo tried now."""
    _wake(conn, FLOWS.c.id == flow_id, flow_id)


def _wake(conn: sa.Connection, which: sa.ColumnElement[bool], value: str) -> None:
    conn.execute(sa.update(FLOWS).where(which, FLOWS.c.state.in_(ACTIVE)).values(_woken()))
    publish(conn, COMMIT_TOPIC, value)


def _woken() -> dict[str, Any]:
    at_once = sa.case((FLOWS.c.lease_owner.is_(None), sa.literal(utcnow() - _AT_ONCE, DateTime)), else_=FLOWS.c.due_at)
    return {"due_at": at_once, "wakes": FLOWS.c.wakes + 1}


# ---------------------------------------------------------------------------------------------------------- inspection


@dataclass(frozen=True, slots=True)
class FlowRecord:
    """A flow as operators and `doctor` see it."""

    id: str
    kind: str
    version: int
    subject_id: str
    project_id: str | None
    state: str
    step: int
    cancel: bool
    input: dict[str, Any]
    results: dict[str, Any]
    context: dict[str, Any]
    fault: Fault | None
    after: tuple[str, ...]
    lease_owner: str | None
    due_at: datetime.datetime | None
    wakes: int
    attempts: int
    takeovers: int
    reason: str | None
    deadline_at: datetime.datetime | None
    step_started_at: datetime.datetime | None
    finished_at: datetime.datetime | None
    created_at: datetime.datetime
    updated_at: datetime.datetime | None

    @property
    def active(self) -> bool:
        return self.state in ACTIVE

    @classmethod
    def of(cls, row: Any) -> FlowRecord:
        values = dict(row._mapping)
        values["fault"] = Fault.from_dict(values["fault"]) if values["fault"] else None
        values["after"] = tuple(values["after"] or ())
        return cls(**values)


def show(conn: sa.Connection, flow_id: str) -> FlowRecord | None:
    """One flow, or None."""
    row = conn.execute(sa.select(FLOWS).where(FLOWS.c.id == flow_id)).first()
    return None if row is None else FlowRecord.of(row)


def list_flows(
    conn: sa.Connection,
    *,
    states: Iterable[str] | None = None,
    subject_id: str | None = None,
    kinds: Iterable[str] | None = None,
    limit: int = 100,
) -> list[FlowRecord]:
    """The newest flows first."""
    query = sa.select(FLOWS).order_by(FLOWS.c.created_at.desc(), FLOWS.c.id).limit(limit)
    if states is not None:
        query = query.where(FLOWS.c.state.in_(list(states)))
    if subject_id is not None:
        query = query.where(FLOWS.c.subject_id == subject_id)
    if kinds is not None:
        query = query.where(FLOWS.c.kind.in_(list(kinds)))
    return [FlowRecord.of(row) for row in conn.execute(query)]


def overdue(conn: sa.Connection, seconds: float = 120.0) -> list[FlowRecord]:
    """Active flows nobody has looked at for so long after they were due: no runner runs, or none knows the kind."""
    late = utcnow() - _AT_ONCE - datetime.timedelta(seconds=seconds)
    return [FlowRecord.of(row) for row in conn.execute(sa.select(FLOWS).where(FLOWS.c.due_at < late))]


def prune(conn: sa.Connection, older_than: datetime.timedelta) -> int:
    """Remove flows that ended so long ago; how many."""
    return int(conn.execute(sa.delete(FLOWS).where(FLOWS.c.finished_at < utcnow() - older_than)).rowcount)
