# SPDX-License-Identifier: Apache-2.0
"""Everything an agent does to an existing server in one go: power, pause, suspend, rescue, rebuild.

The task state is set when the flow is started (`logic.actions.operate`) and left when it ends, so nothing hangs in one.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import sqlalchemy as sa

from aerie_common.db import utcnow
from aerie_common.flow import Fail, Fault, Flow, Run, Step
from aerie_compute import states
from aerie_compute.agent.rpc import Goal
from aerie_compute.db import actions, servers
from aerie_compute.flows import agent
from aerie_compute.flows.server_create import fault_document
from aerie_compute.logic import guests

if TYPE_CHECKING:
    from aerie_compute.container import Compute

Operating: TypeAlias = "Run[Compute]"


@dataclass(frozen=True)
class Work:
    """What the agent is asked for. needs_spec: the goal takes a GuestSpec. event: its name in the list of events."""

    goal: Goal
    event: str
    needs_spec: bool = False


WORK: dict[str, Work] = {
    "start": Work(Goal.RUNNING, "compute_start_instance", needs_spec=True),
    "stop": Work(Goal.STOPPED, "compute_stop_instance"),
    "reboot": Work(Goal.REBOOTED, "compute_reboot_instance", needs_spec=True),
    "hard_reboot": Work(Goal.REBOOTED, "compute_reboot_instance", needs_spec=True),
    "pause": Work(Goal.PAUSED, "compute_pause_instance"),
    "unpause": Work(Goal.UNPAUSED, "compute_unpause_instance"),
    "suspend": Work(Goal.SUSPENDED, "compute_suspend_instance"),
    "resume": Work(Goal.RESUMED, "compute_resume_instance", needs_spec=True),
    "rescue": Work(Goal.RESCUED, "compute_rescue_instance", needs_spec=True),
    "unrescue": Work(Goal.UNRESCUED, "compute_unrescue_instance", needs_spec=True),
    "rebuild": Work(Goal.REBUILT, "compute_rebuild_instance", needs_spec=True),
}
NOTIFIED = {
    "start": "power_on.end", "stop": "power_off.end", "reboot": "reboot.end", "hard_reboot": "reboot.end",
    "rebuild": "rebuild.end", "pause": "pause.end", "unpause": "unpause.end", "suspend": "suspend.end",
    "resume": "resume.end", "rescue": "rescue.end", "unrescue": "unrescue.end",
}  # fmt: skip


def operate(run: Operating) -> dict[str, Any]:
    """Have the agent do it."""
    svc, began = run.services, utcnow()
    server = agent.present(run)
    if server.host is None:
        raise Fail("The server is on no host.", code="no_host")
    if not agent.host_is_up(svc, server.host):
        raise Fail("The server's host does not answer.", code="host_down")
    work = WORK[run.input["verb"]]
    spec = (lambda: guests.spec_document(svc, server.id)) if work.needs_spec else None
    report = agent.converge(run, server.host, work.goal, name=run.input["verb"], spec=spec, args=run.input["args"])
    return agent.timed(run, "operate", began, power_state=agent.power_of(report), host=server.host)


def done(conn: sa.Connection, run: Operating) -> None:
    """The server is what it was asked to become."""
    verb = states.VERBS[run.input["verb"]]
    result = run.results["operate"]
    vm_state = run.input.get("vm_state") or verb.done
    settled = servers.settle(
        conn, run.subject_id, of=(verb.task_state,), vm_state=vm_state, power_state=result["power_state"], fault=None
    )
    if settled:
        server = servers.get(conn, run.subject_id)
        assert server is not None
        agent.notify(conn, NOTIFIED[verb.name], server, run.ctx)
    _tell(conn, run, None)


def failed(conn: sa.Connection, run: Operating, fault: Fault) -> None:
    """The server is as before, or ERROR where nobody can tell what became of it."""
    verb = states.VERBS[run.input["verb"]]
    values: dict[str, Any] = {"fault": fault_document(fault)} if verb.failed == states.ERROR else {}
    servers.settle(conn, run.subject_id, of=(verb.task_state,), vm_state=verb.failed, **values)
    _tell(conn, run, fault)


def _tell(conn: sa.Connection, run: Operating, fault: Fault | None) -> None:
    now = utcnow()
    event: dict[str, Any] = {"event": WORK[run.input["verb"]].event, "start_time": now, "finish_time": now}
    if fault is not None:
        shown = fault_document(fault)
        event |= {"result": "Error", "details": shown["full"][:1024], "internal": shown["details"]}
    else:
        result = run.results["operate"]
        event |= {
            "result": "Success", "host": result["host"],
            "start_time": datetime.datetime.fromisoformat(result["began"]),
            "finish_time": datetime.datetime.fromisoformat(result["ended"]),
        }  # fmt: skip
    actions.finish(conn, run.subject_id, run.ctx.request_id, [event])


SERVER_OPERATE = Flow(
    "server_operate",
    version=1,
    deadline=3600,
    steps=(Step("operate", do=operate, timeout=1800, retries=1),),
    on_done=done,
    on_failed=failed,
)
