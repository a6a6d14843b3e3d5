# SPDX-License-Identifier: Apache-2.0
"""The compute agent's work: operations on guests, one at a time for each server.

Invariants: the agent keeps no truth (a new process reads the hypervisor and goes on); a cast returns at once; the
operations of one server never overlap, those of different servers do; an ``op_id`` that is done is only reported again,
one under way is not begun twice; ABSENT wins over whatever is queued or waits.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from aerie_common.context import set_current
from aerie_compute.agent import relay
from aerie_compute.agent.images import ImageFiles
from aerie_compute.agent.rpc import Goal, Outcome
from aerie_compute.drivers.base import (
    Driver,
    DriverError,
    FetchImage,
    GuestNotFound,
    GuestSpec,
    ImageFacts,
    Interrupted,
    Nic,
    PowerState,
    RebootKind,
)

LOG = logging.getLogger(__name__)
REMEMBERED = 2000
INTERNAL = {"code": "internal", "public": "The hypervisor's agent failed.", "elsewhere": True, "again": False}


class Conductor(Protocol):
    """What the agent says to the conductor (``aerie_compute.rpc.ConductorClient`` is one)."""

    def report(
        self,
        ctx: Any,
        *,
        host: str,
        server_id: str,
        op_id: str,
        outcome: str,
        power_state: str | None = None,
        fault: dict[str, Any] | None = None,
        result: dict[str, Any] | None = None,
    ) -> None:
        """Cast: operation ``op_id`` ended as ``outcome`` (``rpc.Outcome``).

        ``power_state`` is that of ``drivers.base.PowerState`` now, None when there is no guest. ``fault`` is None, or
        ``{"code", "message", "public", "elsewhere", "again"}``. ``result`` depends on the goal (SNAPSHOTTED:
        ``{"disk_format", "size", "virtual_size"}``).
        """

    def power_changed(self, ctx: Any, *, host: str, server_id: str, power_state: str | None) -> None:
        """Cast: a guest changed by itself (None: it is gone)."""

    def heartbeat(
        self,
        ctx: Any,
        *,
        host: str,
        resources: dict[str, Any],
        guests: dict[str, str],
        version: str,
        boot_id: str = "",
    ) -> dict[str, Any]:
        """Call: this host lives, has these resources and these guests (server id to power state).

        ``resources`` is ``drivers.base.HostResources.to_document()``. ``boot_id`` changes when the machine boots: what
        should run then is for the conductor to start again. The answer is ``{"servers": [ids that belong on this
        host]}``, in which a server being built here or leaving here is contained.
        """

    def confirm_orphan(self, ctx: Any, *, host: str, server_id: str) -> bool:
        """Call: is it certain that no server of that id belongs on this host? Asked before a guest is destroyed."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing to be made true of one server."""

    ctx: Any
    op_id: str
    server_id: str
    goal: Goal
    spec: GuestSpec | None
    args: dict[str, Any]


@dataclass(slots=True)
class Lane:
    """The operations of one server: ``current`` under way, ``queue`` behind it."""

    queue: deque[Operation] = field(default_factory=deque)
    current: Operation | None = None
    cancel: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, slots=True)
class Report:
    """How an operation ended, as the conductor is told."""

    server_id: str
    op_id: str
    outcome: Outcome
    power_state: PowerState | None
    fault: dict[str, Any] | None
    result: dict[str, Any]


class AgentManager:
    """See the module. ``snapshots`` is a private directory on a disk with room; ``serial_address`` is where serial
    consoles are offered."""

    def __init__(
        self,
        *,
        host: str,
        driver: Driver,
        conductor: Conductor,
        images: ImageFiles,
        snapshots: Path,
        serial_address: str = "127.0.0.1",
        threads: int = 16,
    ) -> None:
        self.host = host
        self.driver = driver
        self._conductor = conductor
        self._images = images
        self._snapshots = snapshots
        self._serial_address = serial_address
        self._lock = threading.Lock()
        self._lanes: dict[str, Lane] = {}
        self._done: OrderedDict[str, Report] = OrderedDict()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="guest")
        self._stopping = False

    # -- taking work ---------------------------------------------------------------------------------------------------

    def submit(
        self, ctx: Any, *, op_id: str, server_id: str, goal: Goal, spec: dict[str, Any] | None, args: dict[str, Any]
    ) -> None:
        """Queue an operation, unless it is known already."""
        operation = Operation(ctx, op_id, server_id, goal, GuestSpec.from_document(spec) if spec else None, args)
        dropped: list[Operation] = []
        with self._lock:
            known = self._done.get(op_id)
            if known is None:
                dropped = self._enqueue(operation)
        if known is not None:
            self._tell(ctx, known)
        for old in dropped:
            self._finish(old, Outcome.SUPERSEDED, None, {})

    def _enqueue(self, operation: Operation) -> list[Operation]:
        """Add to the server's lane; returns what an ABSENT pushed out of it. The caller holds the lock."""
        lane = self._lanes.get(operation.server_id)
        if lane is None:
            lane = self._lanes[operation.server_id] = Lane(deque([operation]))
            self._pool.submit(self._work, operation.server_id, lane)
            return []
        waiting = [lane.current, *lane.queue]
        if any(other is not None and other.op_id == operation.op_id for other in waiting):
            return []
        dropped: list[Operation] = []
        if operation.goal is Goal.ABSENT:
            dropped = [other for other in lane.queue if other.goal is not Goal.ABSENT]
            lane.queue = deque(other for other in lane.queue if other.goal is Goal.ABSENT)
            if lane.current is not None and lane.current.goal is not Goal.ABSENT:
                lane.cancel.set()
        lane.queue.append(operation)
        return dropped

    def busy(self, server_id: str) -> bool:
        """Is an operation of this server queued or under way?"""
        with self._lock:
            return server_id in self._lanes

    def stop(self) -> None:
        """Take back what waits, finish what is short, forget the rest: the conductor will ask for it again."""
        with self._lock:
            self._stopping = True
            for lane in self._lanes.values():
                lane.queue.clear()
                lane.cancel.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    # -- doing it ------------------------------------------------------------------------------------------------------

    def _work(self, server_id: str, lane: Lane) -> None:
        """Run a server's operations one after the other until none is left."""
        while True:
            with self._lock:
                if not lane.queue or self._stopping:
                    del self._lanes[server_id]
                    return
                lane.current = lane.queue.popleft()
                lane.cancel.clear()
            self._run(lane.current, lane.cancel)
            with self._lock:
                lane.current = None

    def _run(self, operation: Operation, cancel: threading.Event) -> None:
        set_current(operation.ctx)
        LOG.info("server %s: %s begins (%s)", operation.server_id, operation.goal, operation.op_id)
        try:
            result = self._converge(operation, cancel)
        except Interrupted:
            if self._stopping:
                return  # not ended: it will be asked for again
            self._finish(operation, Outcome.SUPERSEDED, None, {})
        except DriverError as exc:
            LOG.warning("server %s: %s failed: %s", operation.server_id, operation.goal, exc)
            fault = {name: getattr(exc, name) for name in ("code", "public", "elsewhere", "again")}
            self._finish(operation, Outcome.FAILED, {**fault, "message": str(exc)}, {})
        except Exception as exc:  # this is a runner: whatever went wrong must be reported, or the server hangs
            LOG.exception("server %s: %s failed", operation.server_id, operation.goal)
            self._finish(operation, Outcome.FAILED, {**INTERNAL, "message": f"{type(exc).__name__}: {exc}"}, {})
        else:
            self._finish(operation, Outcome.DONE, None, result)
        finally:
            set_current(None)

    def _finish(
        self, operation: Operation, outcome: Outcome, fault: dict[str, Any] | None, result: dict[str, Any]
    ) -> None:
        report = Report(operation.server_id, operation.op_id, outcome, self._power(operation.server_id), fault, result)
        LOG.info("server %s: %s is %s (%s)", operation.server_id, operation.goal, outcome, operation.op_id)
        # A failure that may pass is not remembered: asked again under the same id, the operation is tried again.
        if outcome is Outcome.DONE:
            with self._lock:
                self._done[operation.op_id] = report
                while len(self._done) > REMEMBERED:
                    self._done.popitem(last=False)
        self._tell(operation.ctx, report)

    def _power(self, server_id: str) -> PowerState | None:
        try:
            return self.driver.power_state(server_id)
        except GuestNotFound:
            return None
        except DriverError as exc:
            LOG.warning("server %s: its power state is unknown: %s", server_id, exc)
            return None

    def _tell(self, ctx: Any, report: Report) -> None:
        self._conductor.report(
            ctx,
            host=self.host,
            server_id=report.server_id,
            op_id=report.op_id,
            outcome=str(report.outcome),
            power_state=None if report.power_state is None else str(report.power_state),
            fault=report.fault,
            result=report.result,
        )

    def _converge(self, op: Operation, cancel: threading.Event) -> dict[str, Any]:
        """Make the goal true. Returns the report's result."""
        driver, server_id, args = self.driver, op.server_id, op.args
        timeout = float(args.get("timeout", 0))

        def fetch(image_id: str, destination: Path) -> None:
            self._images.download(op.ctx, image_id, destination, cancel)

        match op.goal:
            case Goal.PREPARED:
                driver.prepare(_spec(op), fetch)
            case Goal.BUILT:
                driver.prepare(_spec(op), fetch)
                driver.start(_spec(op))
            case Goal.RUNNING:
                driver.start(_spec(op))
            case Goal.STOPPED:
                driver.stop(server_id, timeout, cancel)
            case Goal.REBOOTED:
                driver.reboot(_spec(op), RebootKind(args.get("kind", "soft")), timeout, cancel)
            case Goal.PAUSED:
                driver.pause(server_id)
            case Goal.UNPAUSED:
                driver.unpause(server_id)
            case Goal.SUSPENDED:
                driver.suspend(server_id)
            case Goal.RESUMED:
                driver.resume(_spec(op))
            case Goal.REBUILT:
                self._rebuild(op, fetch, timeout, cancel)
            case Goal.RESIZED:
                driver.resize(_spec(op))
            case Goal.RESIZE_CONFIRMED:
                driver.confirm_resize(server_id)
            case Goal.RESIZE_REVERTED:
                driver.revert_resize(server_id)
            case Goal.RESCUED:
                driver.rescue(_spec(op), ImageFacts(**args["image"]), fetch)
            case Goal.UNRESCUED:
                driver.unrescue(_spec(op))
            case Goal.NIC_ATTACHED:
                driver.attach_nic(_spec(op), Nic(**args["nic"]))
            case Goal.NIC_DETACHED:
                driver.detach_nic(server_id, args["port_id"], args["mac"])
            case Goal.SNAPSHOTTED:
                return self._snapshot(op)
            case Goal.ABSENT:
                driver.destroy(server_id)
        return {}

    def _rebuild(self, op: Operation, fetch: FetchImage, timeout: float, cancel: threading.Event) -> None:
        """New disks for an old server. Repeated after a crash it may throw away new disks nobody has used yet."""
        spec = _spec(op)
        try:
            self.driver.stop(op.server_id, timeout, cancel)
        except GuestNotFound:
            LOG.info("server %s: nothing to stop before the rebuild", op.server_id)
        self.driver.destroy(op.server_id)
        self.driver.prepare(spec, fetch)
        if op.args.get("power", "running") == "running":
            self.driver.start(spec)

    def _snapshot(self, op: Operation) -> dict[str, Any]:
        image_id = op.args["image_id"]
        self._snapshots.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._snapshots / f"{image_id}.partial"
        try:
            facts = self.driver.snapshot(op.server_id, path)
            self._images.upload(op.ctx, image_id, facts)
        finally:
            path.unlink(missing_ok=True)
        return {"disk_format": facts.disk_format, "size": facts.size, "virtual_size": facts.virtual_size}

    # -- answering -----------------------------------------------------------------------------------------------------

    def answer(self, question: Callable[..., Any], *args: Any) -> dict[str, Any]:
        """What a call returns: ``{"result": ...}``, or ``{"error": {"code", "message", "public"}}``."""
        try:
            return {"result": question(*args)}
        except DriverError as exc:
            LOG.info("refused: %s", exc)
            return {"error": {"code": exc.code, "message": str(exc), "public": exc.public}}

    def console_log(self, server_id: str, tail_bytes: int) -> str:
        """The end of the serial console's log; bytes that are no text are shown as U+FFFD."""
        return self.driver.console_log(server_id, tail_bytes).decode(errors="replace")

    def vnc_endpoint(self, server_id: str) -> dict[str, Any]:
        """``{"host", "port"}``."""
        endpoint = self.driver.vnc_endpoint(server_id)
        return {"host": endpoint.host, "port": endpoint.port}

    def serial_endpoint(self, server_id: str) -> dict[str, Any]:
        """``{"host", "port", "secret"}``; see ``relay``."""
        return relay.offer(self.driver.serial_endpoint(server_id), self._serial_address)


def _spec(op: Operation) -> GuestSpec:
    if op.spec is None:
        raise DriverError(f"{op.goal} without a spec")
    return op.spec
