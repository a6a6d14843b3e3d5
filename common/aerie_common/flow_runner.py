# SPDX-License-Identifier: Apache-2.0
"""Carries flows (see `flow`) to their end: takes them by lease, runs their steps, undoes what fails.

Invariants. A flow is moved only by a statement that names the lease's token, so a worker that lost its lease (frozen,
cut off, too slow) changes nothing any more. No exception ends a worker thread; trouble with the database makes the
worker let go, and the flow is taken over when the lease ends. An undo that fails is tried again, for ever, in growing
intervals, and is visible in the flow's `reason` meanwhile.
"""

from __future__ import annotations

import collections
import datetime
import heapq
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from oslo_db import exception as db_exc

from aerie_common import flow as F
from aerie_common.context import Context, set_current
from aerie_common.db import CommitUnknown, Database, publish, retried, utcnow
from aerie_common.flow import FLOWS, Cancelled, Fail, Fault, Flow, Pending, Retry, Run, Step
from aerie_common.lease import new_owner

LOG = logging.getLogger(__name__)

S = TypeVar("S")

BATCH = 50
MAX_TAKEOVERS = 3  # a step during which so many workers died is given up
MAX_BACKOFF = 60.0
BLOCKED_POLL = 1.0


class _Lost(Exception):
    """The lease is somebody else's now: stop, touch nothing."""


@dataclass(slots=True)
class _Held(Generic[S]):
    """A flow whose lease this worker has: its row as last written, and what steps see of it."""

    token: str
    flow: Flow
    run: Run[S]
    state: str
    step: int
    wakes: int
    attempts: int
    takeovers: int
    deadline_at: datetime.datetime
    step_started_at: datetime.datetime
    renewed: float = 0.0
    give_up: float = float("inf")
    """Monotonic time after which the heartbeat stops: the step hangs."""
    abandoned: bool = False
    thread: threading.Thread = field(default_factory=threading.current_thread)

    @property
    def current(self) -> Step:
        return self.flow.steps[self.step]


class FlowRunner(Generic[S]):
    """Runs flows of the given kinds that it finds in `db`, in `workers` threads. `services` is what steps need; they
    get it as `run.services`. Any number of runners may share a database.

    `start()`, `stop()` and `wake()` serve daemons; `drain()` runs everything in the calling thread, for tests.
    """

    def __init__(
        self,
        db: Database,
        flows: Iterable[Flow],
        services: S,
        *,
        workers: int = 4,
        owner: str | None = None,
        lease: float = 15.0,
        poll: float = 1.0,
        keep: datetime.timedelta = datetime.timedelta(days=14),
    ) -> None:
        self._db, self._services = db, services
        self._flows = {(flow.kind, flow.version): flow for flow in flows}
        if not self._flows:
            raise ValueError("a runner needs flows")
        self._workers, self._lease, self._period, self._keep = workers, lease, poll, keep
        self.owner = owner or new_owner()
        self._cond = threading.Condition()
        self._ready: collections.deque[Any] = collections.deque()
        self._held: dict[str, _Held[S]] = {}
        self._threads: list[threading.Thread] = []
        self._polling = False
        self._next_poll = 0.0
        self._alarms: list[float] = []  # a heap of the monotonic times at which flows parked by this runner are due
        self._next_prune = time.monotonic() + 60.0
        self._stopping = threading.Event()
        self.progressed_at = time.monotonic()
        """Monotonic time of the last look at the table; a watchdog's food."""

    # ------------------------------------------------------------------------------------------------------ lifecycle

    def start(self) -> None:
        """Start the threads; returns at once."""
        self._stopping.clear()
        self._db.subscribe(F.COMMIT_TOPIC, self._committed)
        for _ in range(self._workers):
            self._spawn(self._work)
        self._spawn(self._heartbeat)

    def stop(self, timeout: float = 10.0) -> None:
        """Finish the steps that run now, wait for them at most `timeout` seconds, and let go of their flows."""
        self._stopping.set()
        with self._cond:
            self._cond.notify_all()
        end = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        self._db.unsubscribe(F.COMMIT_TOPIC, self._committed)

    def wake(self, flow_id: str | None = None) -> None:
        """Look for work now. Which flow makes no difference: whatever is due is taken."""
        with self._cond:
            self._next_poll = 0.0
            self._cond.notify_all()

    def busy(self) -> int:
        """How many flows are being worked on by this runner."""
        return len(self._held)

    def _committed(self, values: list[Any]) -> None:
        self.wake()

    def _spawn(self, target: Callable[[], None]) -> None:
        name = f"flow-{target.__name__.strip('_')}-{len(self._threads)}"
        thread = threading.Thread(target=target, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    # --------------------------------------------------------------------------------------------------- finding work

    def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                row = self._next()
                held = None if row is None else self._claim(row)
                if held is not None:
                    self._carry(held)
                    if held.abandoned:  # another thread took this one's place while it hung
                        return
                    self.wake()
            except db_exc.DBConnectionError as error:
                LOG.warning("Flow worker: no database, looks again in a second: %s", error)
                self._stopping.wait(1.0)
            except Exception:
                LOG.exception("Flow worker: goes on in a second")
                self._stopping.wait(1.0)

    def _next(self) -> Any:
        """A row that was due a moment ago, or None after a poll that found nothing. One idle worker waits for the
        next poll, the others wait for that one."""
        with self._cond:
            while not self._stopping.is_set():
                if self._ready:
                    return self._ready.popleft()
                if self._polling:
                    self._cond.wait()
                    continue
                pause = self._next_poll - time.monotonic()
                if pause <= 0:
                    self._polling = True
                    self._next_poll = self._after_this_poll()
                    break
                self._polling = True
                self._cond.wait(pause)
                self._polling = False
            else:
                return None
        rows: list[Any] = []
        try:
            rows = self._due()
            self._prune_sometimes()
        finally:
            with self._cond:
                self._polling = False
                self._ready.extend(rows[1:])
                if len(rows) == BATCH:
                    self._next_poll = 0.0
                self._cond.notify(max(1, len(rows)))
        return rows[0] if rows else None

    def _after_this_poll(self) -> float:
        now = time.monotonic()
        while self._alarms and self._alarms[0] <= now:
            heapq.heappop(self._alarms)
        return min([now + self._period, *self._alarms[:1]])

    def _mine(self) -> sa.ColumnElement[bool]:
        return sa.tuple_(FLOWS.c.kind, FLOWS.c.version).in_(list(self._flows))

    def _due(self) -> list[Any]:
        query = sa.select(FLOWS).where(FLOWS.c.due_at <= utcnow(), self._mine()).order_by(FLOWS.c.due_at).limit(BATCH)
        with self._db.read() as conn:
            rows = list(conn.execute(query))
        self.progressed_at = time.monotonic()
        return rows

    def _prune_sometimes(self) -> None:
        if time.monotonic() >= self._next_prune:
            self._next_prune = time.monotonic() + 3600.0
            with self._db.write() as conn:
                F.prune(conn, self._keep)

    @retried
    def _claim(self, row: Any) -> _Held[S] | None:
        """Take the lease of a flow as it was read, or None if it has changed since or has to wait for others."""
        now = utcnow()
        seen = (FLOWS.c.id == row.id, FLOWS.c.due_at == row.due_at, FLOWS.c.wakes == row.wakes)
        first = row.state == F.PENDING
        flow = self._flows[row.kind, row.version]
        with self._db.write() as conn:
            if first and row.after and self._blocked(conn, row.after):
                later = now + datetime.timedelta(seconds=BLOCKED_POLL)
                conn.execute(sa.update(FLOWS).where(*seen).values(due_at=later, reason="waits for other flows"))
                self._poll_at(BLOCKED_POLL)
                return None
            token = f"{self.owner}/{uuid.uuid4().hex[:12]}"
            values: dict[str, Any] = {"lease_owner": token, "due_at": self._lease_end(now), "reason": None}
            if first:
                values |= {"state": F.RUNNING, "step": 0, "step_started_at": now}
                values["deadline_at"] = now + datetime.timedelta(seconds=flow.deadline)
            elif row.lease_owner is not None:
                values["takeovers"] = row.takeovers + 1
                values["reason"] = f"taken over from {row.lease_owner}, whose lease ended"
                LOG.warning("Flow %s %s: %s", row.kind, row.id, values["reason"])
            if conn.execute(sa.update(FLOWS).where(*seen).values(values)).rowcount != 1:
                return None
        run = Run(
            flow_id=row.id,
            kind=row.kind,
            subject_id=row.subject_id,
            project_id=row.project_id,
            input=row.input,
            results=row.results,
            ctx=Context.from_dict(row.context),
            services=self._services,
            fault=Fault.from_dict(row.fault) if row.fault else None,
            cancelled=bool(row.cancel),
        )
        held = _Held(
            token=token,
            flow=flow,
            run=run,
            state=values.get("state", row.state),
            step=values.get("step", row.step),
            wakes=row.wakes,
            attempts=row.attempts,
            takeovers=values.get("takeovers", row.takeovers),
            deadline_at=values.get("deadline_at", row.deadline_at) or now,
            step_started_at=values.get("step_started_at", row.step_started_at) or now,
            renewed=time.monotonic(),
        )
        return held

    def _blocked(self, conn: sa.Connection, after: list[str]) -> bool:
        waits_for = sa.select(FLOWS.c.id).where(FLOWS.c.id.in_(after), FLOWS.c.state.in_(F.ACTIVE)).limit(1)
        return conn.execute(waits_for).first() is not None

    def _lease_end(self, now: datetime.datetime) -> datetime.datetime:
        return now + datetime.timedelta(seconds=self._lease)

    def _poll_at(self, seconds: float) -> None:
        """Have a poll in `seconds`; the usual period finds what is due later by itself."""
        if seconds < 2 * self._period:
            with self._cond:
                heapq.heappush(self._alarms, time.monotonic() + seconds)
                self._next_poll = min(self._next_poll, self._alarms[0])
                self._cond.notify_all()

    # ------------------------------------------------------------------------------------------------ carrying a flow

    def _carry(self, held: _Held[S]) -> None:
        """Move the flow as far as it goes now: to its end, or until it waits."""
        set_current(held.run.ctx)
        self._held[held.token] = held
        try:
            while held.state == F.RUNNING and self._do(held):
                if self._stopping.is_set() and held.state == F.RUNNING:
                    self._park(held, 0.0, None)
                    return
            while held.state == F.UNDOING and self._undo(held):
                pass
        except _Lost:
            LOG.warning("Flow %s %s: the lease was lost, another worker goes on", held.run.kind, held.run.flow_id)
        except db_exc.DBError as error:
            text = "Flow %s %s: the database failed, another worker goes on after the lease: %s"
            LOG.error(text, held.run.kind, held.run.flow_id, error)
        finally:
            del self._held[held.token]
            set_current(None)

    def _do(self, held: _Held[S]) -> bool:
        """Run the current step and record what came of it. False when there is nothing more to do now."""
        step, run = held.current, held.run
        # A late step is tried once all the same: what it waited for may have come while no runner looked.
        step_end = min(held.step_started_at + datetime.timedelta(seconds=step.timeout), held.deadline_at)
        if held.takeovers > MAX_TAKEOVERS:
            return self._fail(held, Fail(f"gave up after {held.takeovers} workers died or hung in it", code="hangs"))
        held.give_up = time.monotonic() + step.timeout + self._lease
        run.attempt = held.attempts
        LOG.debug("Flow %s %s: %s begins", run.kind, run.flow_id, step.name)
        began = time.monotonic()
        try:
            result = step.do(run)
        except (Pending, Retry) as waits:
            if utcnow() + datetime.timedelta(seconds=waits.after if isinstance(waits, Retry) else 0) >= step_end:
                cause = waits.__cause__ or waits
                return self._fail(held, Fail(f"{step.name}: no success within its time: {cause}", code="timeout"))
            if isinstance(waits, Retry):
                held.attempts += 1
                LOG.info("Flow %s %s: %s: %s", run.kind, run.flow_id, step.name, waits)
            left = (step_end - utcnow()).total_seconds()
            return self._park(held, min(waits.after, max(left, 0.0)), str(waits))
        except Cancelled:
            return self._reload(held)
        except (db_exc.DBConnectionError, CommitUnknown):
            raise
        except Exception as error:
            fatal = isinstance(error, Fail) or held.attempts >= step.retries
            if fatal or utcnow() >= step_end:
                return self._fail(held, error)
            held.attempts += 1
            LOG.warning("Flow %s %s: %s failed, tries again", run.kind, run.flow_id, step.name, exc_info=True)
            return self._park(held, _backoff(held.attempts), f"{type(error).__name__}: {error}")
        held.give_up = float("inf")
        LOG.info("Flow %s %s: %s done in %.3f s", run.kind, run.flow_id, step.name, time.monotonic() - began)
        results = {**run.results, step.name: result} if result is not None else run.results
        last = held.step == len(held.flow.steps) - 1
        return self._finish(held, results) if last else self._advance(held, results)

    @retried
    def _advance(self, held: _Held[S], results: dict[str, Any]) -> bool:
        now = utcnow()
        values = {
            "step": held.step + 1,
            "results": results,
            "due_at": self._lease_end(now),
            "step_started_at": now,
            "attempts": 0,
            "takeovers": 0,
            "reason": None,
        }
        with self._db.write() as conn:
            moved = self._update(conn, held, values, FLOWS.c.state == F.RUNNING)
        held.run.results = results
        if not moved:
            return self._reload(held, results)
        held.step, held.step_started_at, held.renewed = held.step + 1, now, time.monotonic()
        held.attempts = held.takeovers = 0
        return True

    def _finish(self, held: _Held[S], results: dict[str, Any]) -> bool:
        held.run.results = results
        try:
            done = self._end_done(held, results)
        except (db_exc.DBConnectionError, CommitUnknown):
            raise
        except Exception as error:
            LOG.exception("Flow %s %s: its on_done refused", held.run.kind, held.run.flow_id)
            return self._fail(held, error)
        if not done:
            return self._reload(held, results)
        held.state = F.DONE
        LOG.info("Flow %s %s: done", held.run.kind, held.run.flow_id)
        return False

    @retried
    def _end_done(self, held: _Held[S], results: dict[str, Any]) -> bool:
        with self._db.write() as conn:
            values = {"state": F.DONE, "results": results, **_ENDED, "finished_at": utcnow()}
            if not self._update(conn, held, values, FLOWS.c.state == F.RUNNING):
                return False
            if held.flow.on_done is not None:
                held.flow.on_done(conn, held.run)
            self._release_followers(conn, held)
        return True

    def _fail(self, held: _Held[S], error: BaseException) -> bool:
        """From here on the flow goes backwards, beginning with the undo of the current step."""
        fault = Fault.of(error, held.current.name)
        level = logging.ERROR if fault.internal else logging.WARNING
        text = "Flow %s %s: %s failed: %s"
        LOG.log(level, text, held.run.kind, held.run.flow_id, fault.step, fault.message, exc_info=fault.internal)
        self._begin_undo(held, fault)
        return True

    @retried
    def _begin_undo(self, held: _Held[S], fault: Fault) -> None:
        values = {
            "state": F.UNDOING,
            "fault": fault.to_dict(),
            "due_at": self._lease_end(utcnow()),
            "attempts": 0,
            "results": held.run.results,
            "reason": None,
        }
        with self._db.write() as conn:
            if not self._update(conn, held, values):
                raise _Lost
        held.state, held.run.fault, held.attempts, held.renewed = F.UNDOING, fault, 0, time.monotonic()

    def _undo(self, held: _Held[S]) -> bool:
        """Undo one step, or end the flow after the last. False when there is nothing more to do now."""
        run = held.run
        while held.step >= 0 and held.current.undo is None:
            held.step -= 1
        name, began = "the end", time.monotonic()
        held.give_up = began + (held.current.timeout if held.step >= 0 else 60.0) + self._lease
        run.attempt = held.attempts
        try:
            if held.step < 0:
                return self._end_undone(held)
            name = f"undo of {held.current.name}"
            undo = held.current.undo
            assert undo is not None
            undo(run)
        except (_Lost, db_exc.DBConnectionError, CommitUnknown):
            raise
        except (Pending, Retry) as waits:
            return self._park(held, waits.after, f"{name}: {waits}")
        except Exception as error:
            held.attempts += 1
            pause = _backoff(held.attempts)
            LOG.exception("Flow %s %s: %s failed, tries again in %.0f s", run.kind, run.flow_id, name, pause)
            return self._park(held, pause, f"{name}: {type(error).__name__}: {error}")
        LOG.info("Flow %s %s: %s done in %.3f s", run.kind, run.flow_id, name, time.monotonic() - began)
        held.step, held.attempts = held.step - 1, 0
        if any(step.undo is not None for step in held.flow.steps[: held.step + 1]):
            self._record_undone(held)
        return True

    @retried
    def _record_undone(self, held: _Held[S]) -> None:
        values = {"step": held.step, "attempts": 0, "reason": None, "due_at": self._lease_end(utcnow())}
        with self._db.write() as conn:
            if not self._update(conn, held, values):
                raise _Lost
        held.renewed = time.monotonic()

    @retried
    def _end_undone(self, held: _Held[S]) -> bool:
        ended = sa.case((FLOWS.c.cancel.is_(sa.true()), F.CANCELLED), else_=F.FAILED)
        values = {"state": ended, "step": -1, **_ENDED, "finished_at": utcnow()}
        with self._db.write() as conn:
            if not self._update(conn, held, values, FLOWS.c.state == F.UNDOING):
                raise _Lost
            state = conn.execute(sa.select(FLOWS.c.state).where(FLOWS.c.id == held.run.flow_id)).scalar_one()
            if state == F.CANCELLED:
                if held.flow.on_cancelled is not None:
                    held.flow.on_cancelled(conn, held.run)
            elif held.flow.on_failed is not None:
                fault = held.run.fault or Fault("cancelled", "cancelled", "")
                held.flow.on_failed(conn, held.run, fault)
            self._release_followers(conn, held)
        held.state = state
        LOG.info("Flow %s %s: undone, %s", held.run.kind, held.run.flow_id, state)
        return False

    @retried
    def _park(self, held: _Held[S], seconds: float, reason: str | None) -> bool:
        """Give the lease back and look again in `seconds`, unless something has happened to the flow meanwhile."""
        values = {
            "lease_owner": None,
            "due_at": utcnow() + datetime.timedelta(seconds=seconds),
            "attempts": held.attempts,
            "step": held.step,
            "reason": reason,
        }
        with self._db.write() as conn:
            unchanged = (FLOWS.c.state == held.state, FLOWS.c.wakes == held.wakes)
            parked = self._update(conn, held, values, *unchanged)
        if not parked:
            return self._reload(held)
        self._poll_at(seconds)
        return False

    @retried
    def _reload(self, held: _Held[S], results: dict[str, Any] | None = None) -> bool:
        """Somebody woke or cancelled the flow while its step ran: see what it shall do now. _Lost if it is not ours."""
        with self._db.write() as conn:
            values: dict[str, Any] = {"due_at": self._lease_end(utcnow())}
            if results is not None:
                values["results"] = results  # the undo needs them
            if not self._update(conn, held, values):
                raise _Lost
            row = conn.execute(sa.select(FLOWS).where(FLOWS.c.id == held.run.flow_id)).one()
        held.renewed = time.monotonic()
        held.state, held.wakes, held.run.cancelled = row.state, row.wakes, bool(row.cancel)
        return True

    def _update(
        self, conn: sa.Connection, held: _Held[S], values: dict[str, Any], *more: sa.ColumnElement[bool]
    ) -> bool:
        mine = (FLOWS.c.id == held.run.flow_id, FLOWS.c.lease_owner == held.token)
        return conn.execute(sa.update(FLOWS).where(*mine, *more).values(values)).rowcount == 1

    def _release_followers(self, conn: sa.Connection, held: _Held[S]) -> None:
        """Let flows that were started `after` this one look at once. One that this misses looks within a second."""
        followers = (FLOWS.c.subject_id == held.run.subject_id, FLOWS.c.state == F.PENDING)
        now = utcnow()
        waiting = (FLOWS.c.reason.is_not(None), FLOWS.c.lease_owner.is_(None), FLOWS.c.due_at > now)
        if conn.execute(sa.update(FLOWS).where(*followers, *waiting).values(due_at=now)).rowcount:
            publish(conn, F.COMMIT_TOPIC, held.run.subject_id)

    # ------------------------------------------------------------------------------------------------------ heartbeat

    def _heartbeat(self) -> None:
        """Renew the leases of steps that take long; steps that do not take a third of a lease never get here."""
        while not self._stopping.wait(self._lease / 6):
            for held in list(self._held.values()):
                try:
                    self._renew(held)
                except db_exc.DBConnectionError as error:
                    LOG.warning("Flow %s %s: cannot renew its lease: %s", held.run.kind, held.run.flow_id, error)
                except Exception:
                    LOG.exception("Flow %s %s: cannot renew its lease", held.run.kind, held.run.flow_id)

    def _renew(self, held: _Held[S]) -> None:
        now = time.monotonic()
        if held.abandoned or now - held.renewed < self._lease / 3:
            return
        if now > held.give_up:
            held.abandoned = True
            LOG.error("Flow %s %s: %s hangs; its lease is given up and its thread replaced",
                      held.run.kind, held.run.flow_id, held.current.name if held.step >= 0 else "its end")  # fmt: skip
            self._spawn(self._work)
            return
        with self._db.write() as conn:
            mine = (FLOWS.c.id == held.run.flow_id, FLOWS.c.lease_owner == held.token)
            cancel = conn.execute(sa.select(FLOWS.c.cancel).where(*mine)).scalar_one_or_none()
            if cancel is None:  # ended or taken over: the worker finds out at its next write
                return
            conn.execute(sa.update(FLOWS).where(*mine).values(due_at=self._lease_end(utcnow())))
        held.run.cancelled = bool(cancel)
        held.renewed = now

    # ---------------------------------------------------------------------------------------------------------- tests

    def drain(self, timeout: float = 30.0) -> None:
        """Run every active flow of these kinds to its end in the calling thread, without waiting for due times.

        TimeoutError, naming what is left and why it waits, when that takes longer than `timeout` seconds.
        """
        query = sa.select(FLOWS).where(FLOWS.c.state.in_(F.ACTIVE), self._mine())
        query = query.order_by(FLOWS.c.created_at, FLOWS.c.id)
        end = time.monotonic() + timeout
        pause = 0.0
        while True:
            with self._db.read() as conn:
                rows = list(conn.execute(query))
            if not rows:
                return
            if time.monotonic() > end:
                left = "; ".join(f"{row.kind} {row.id} {row.state} at {row.step}: {row.reason}" for row in rows)
                raise TimeoutError(f"flows do not end: {left}")
            time.sleep(pause)
            pause = min(0.05, pause + 0.005)
            for row in rows:
                held = self._claim(row)
                if held is not None:
                    self._carry(held)


_ENDED = {"lease_owner": None, "due_at": None, "reason": None}


def _backoff(attempts: int) -> float:
    """1, 2, 4, ... seconds, at most a minute."""
    return min(MAX_BACKOFF, 2.0 ** min(attempts - 1, 10))
