# SPDX-License-Identifier: Apache-2.0
"""Asking an agent for something from within a step, and what ports and notifications have in common.

Invariant: an operation's id is made of the flow, the step and the attempt, so a step that runs again asks for the same
operation, and its report is found however often it was asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import oslo_messaging
import sqlalchemy as sa

from aerie_common import outbox
from aerie_common.clients import RemoteError
from aerie_common.context import Context
from aerie_common.db import retried, utcnow
from aerie_common.errors import ServiceUnavailable
from aerie_common.flow import Fail, Pending, Retry, Run
from aerie_compute import network_info, states
from aerie_compute.agent.rpc import Goal, Outcome
from aerie_compute.db import hosts, records, servers
from aerie_compute.db.records import Report
from aerie_compute.db.servers import Server
from aerie_compute.fields import isoformat_micros

if TYPE_CHECKING:
    from aerie_compute.container import Compute

ASK_AGAIN = 10.0
"""Seconds after which an agent that has not reported is asked again."""


@retried
def host_is_up(svc: Compute, host: str) -> bool:
    """Does the agent of that host report?"""
    with svc.db.read() as conn:
        found = hosts.services(conn, host=host, binary=hosts.AGENT_BINARY)
    return any(agent.up(svc.conf.service_down_time) for agent in found)


@retried
def load(svc: Compute, server_id: str) -> Server | None:
    """The server as it is now."""
    with svc.db.read() as conn:
        return servers.get(conn, server_id)


def present(run: Run[Compute]) -> Server:
    """The server; Fail when it is gone, as there is nothing to do for it any more."""
    server = load(run.services, run.subject_id)
    if server is None:
        raise Fail("The server is gone.", code="server_gone")
    return server


def converge(
    run: Run[Compute],
    host: str,
    goal: Goal,
    *,
    name: str,
    spec: Callable[[], dict[str, Any]] | None = None,
    args: dict[str, Any] | None = None,
    again: int = 2,
) -> Report:
    """Have the agent make `goal` true; its report once that is done.

    Raises Pending until then, Retry when the agent says that it may work later (at most `again` times), Fail when it
    cannot, with `elsewhere` in the details. `spec` is called only when the agent has to be asked.
    """
    svc = run.services
    op_id = f"{run.flow_id}.{name}.{run.attempt}"
    found = _report(svc, op_id)
    if found is None:
        try:
            svc.agents.converge(
                run.ctx,
                host,
                op_id=op_id,
                server_id=run.subject_id,
                goal=goal,
                spec=spec() if spec else None,
                args=args,
            )
        except oslo_messaging.MessageDeliveryFailure as error:
            raise Pending(2.0, f"the agent of {host} cannot be told: {error}") from error
        raise Pending(ASK_AGAIN, f"waits for the agent of {host}: {goal}")
    if found.outcome == Outcome.DONE:
        return found
    fault = found.fault or {}
    public = fault.get("public") or "The hypervisor could not carry out the operation."
    if fault.get("again") and run.attempt < again:
        raise Retry(2.0 * (run.attempt + 1), str(fault.get("message", public)))
    raise Fail(
        public,
        code=fault.get("code", "agent_failed"),
        elsewhere=bool(fault.get("elsewhere")),
        host=host,
        internal=str(fault.get("message", "")),
    )


@retried
def _report(svc: Compute, op_id: str) -> Report | None:
    with svc.db.read() as conn:
        return records.report(conn, op_id)


def remove_guest(run: Run[Compute], host: str, *, name: str) -> None:
    """Have the host forget the server. A host that is down is not waited for: when it is back it is told by the answer
    to its first heartbeat which servers belong on it, and removes the rest."""
    if not host_is_up(run.services, host):
        return
    converge(run, host, Goal.ABSENT, name=name, again=1000)


def patiently(error: Exception) -> Exception:
    """What a step raises for a refusal or silence of another service: try again later, or give up."""
    if isinstance(error, ServiceUnavailable) or (isinstance(error, RemoteError) and error.status >= 500):
        return Retry(2.0, str(error))
    return error


# ------------------------------------------------------------------------------------------------------ notifications


def notify(conn: sa.Connection, event: str, server: Server, ctx: Context, **more: Any) -> None:
    """Tell the world of a server, in the words of Nova's unversioned notifications."""
    flavor = server.flavor
    payload = {
        "instance_id": server.id,
        "tenant_id": server.project_id,
        "user_id": server.user_id,
        "display_name": server.name,
        "hostname": server.hostname,
        "host": server.host,
        "node": server.node,
        "availability_zone": server.availability_zone,
        "state": server.vm_state,
        "state_description": server.task_state or "",
        "instance_type": flavor["name"],
        "instance_flavor_id": flavor["id"],
        "memory_mb": flavor["memory_mb"],
        "vcpus": flavor["vcpus"],
        "disk_gb": flavor["root_gb"] + flavor["ephemeral_gb"],
        "root_gb": flavor["root_gb"],
        "ephemeral_gb": flavor["ephemeral_gb"],
        "image_ref_url": server.image_id or "",
        "image_meta": {"id": server.image_id},
        "metadata": server.metadata,
        "created_at": isoformat_micros(server.created_at),
        "launched_at": isoformat_micros(server.launched_at),
        "deleted_at": isoformat_micros(server.terminated_at),
        "reservation_id": server.reservation_id,
        "fixed_ips": network_info.payload(server.network_info),
        "progress": "",
        **more,
    }
    outbox.emit(conn, f"compute.instance.{event}", payload, ctx)


def power_of(report: Report) -> int:
    """The API's number for the power state in a report."""
    return states.POWER.get(report.power_state or "", states.NOSTATE)


def timed(run: Run[Any], step: str, began: Any, **result: Any) -> dict[str, Any]:
    """A step's result with the times that the list of events shows."""
    return {**result, "began": isoformat_micros(began), "ended": isoformat_micros(utcnow())}
