# SPDX-License-Identifier: Apache-2.0
"""An image is made of a server's disk: the empty image exists when the flow starts, the agent fills it."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import sqlalchemy as sa

from aerie_common.clients import RemoteError
from aerie_common.db import utcnow
from aerie_common.errors import ServiceUnavailable
from aerie_common.flow import Fail, Fault, Flow, Run, Step
from aerie_compute import states
from aerie_compute.agent.rpc import Goal
from aerie_compute.db import actions, servers
from aerie_compute.flows import agent
from aerie_compute.flows.server_create import fault_document

if TYPE_CHECKING:
    from aerie_compute.container import Compute

Snapping: TypeAlias = "Run[Compute]"
VERB = states.VERBS["createImage"]


def upload(run: Snapping) -> dict[str, Any]:
    """Have the agent fill the image."""
    began = utcnow()
    server = agent.present(run)
    if server.host is None:
        raise Fail("The server is on no host.", code="no_host")
    agent.converge(run, server.host, Goal.SNAPSHOTTED, name="upload", args={"image_id": run.input["image_id"]})
    return agent.timed(run, "upload", began, host=server.host)


def discard(run: Snapping) -> None:
    """The half-made image goes."""
    try:
        run.services.images.delete(run.input["image_id"])
    except (RemoteError, ServiceUnavailable) as e:
        raise agent.patiently(e) from e


def done(conn: sa.Connection, run: Snapping) -> None:
    servers.settle(conn, run.subject_id, of=(VERB.task_state,))
    _tell(conn, run, None)


def failed(conn: sa.Connection, run: Snapping, fault: Fault) -> None:
    servers.settle(conn, run.subject_id, of=(VERB.task_state,))
    _tell(conn, run, fault)


def _tell(conn: sa.Connection, run: Snapping, fault: Fault | None) -> None:
    now = utcnow()
    event: dict[str, Any] = {"event": "compute_snapshot_instance", "start_time": now, "finish_time": now}
    if fault is None:
        result = run.results["upload"]
        began, ended = (datetime.datetime.fromisoformat(result[key]) for key in ("began", "ended"))
        event |= {"start_time": began, "finish_time": ended, "result": "Success", "host": result["host"]}
    else:
        shown = fault_document(fault)
        event |= {"result": "Error", "details": shown["full"][:1024], "internal": shown["details"]}
    actions.finish(conn, run.subject_id, run.ctx.request_id, [event])


SERVER_SNAPSHOT = Flow(
    "server_snapshot",
    version=1,
    deadline=7200,
    steps=(Step("upload", do=upload, undo=discard, timeout=3600, retries=1),),
    on_done=done,
    on_failed=failed,
)
