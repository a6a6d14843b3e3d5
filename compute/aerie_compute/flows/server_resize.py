# SPDX-License-Identifier: Apache-2.0
"""A server gets another flavor on its host; its owner confirms that, or has it undone.

What the new flavor takes more is claimed under the migration's id until it is confirmed, so that going back always
finds room. What the project uses counts the greater of the two meanwhile.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import sqlalchemy as sa

from aerie_common.db import retried, utcnow
from aerie_common.flow import Fail, Fault, Flow, Run, Step
from aerie_compute import states
from aerie_compute.agent.rpc import Goal
from aerie_compute.db import actions, placement, records, servers
from aerie_compute.db.servers import Server
from aerie_compute.flows import agent
from aerie_compute.flows.server_create import fault_document
from aerie_compute.logic import guests
from aerie_compute.scheduler.select import DISK, MEMORY, VCPU

if TYPE_CHECKING:
    from aerie_compute.container import Compute

Resizing: TypeAlias = "Run[Compute]"
Amounts = dict[str, int]


def amounts(flavor: dict[str, Any]) -> Amounts:
    """What a flavor takes of a host."""
    disk = flavor["root_gb"] + flavor["ephemeral_gb"] + -(-flavor["swap"] // 1024)
    return {VCPU: flavor["vcpus"], MEMORY: flavor["memory_mb"], DISK: disk}


def more(new: dict[str, Any], old: dict[str, Any]) -> Amounts:
    """What `new` takes more than `old`, where it takes more."""
    a, b = amounts(new), amounts(old)
    return {name: max(0, a[name] - b[name]) for name in a}


def _server(run: Resizing) -> tuple[Server, str]:
    server = agent.present(run)
    if server.host is None:
        raise Fail("The server is on no host.", code="no_host")
    if not agent.host_is_up(run.services, server.host):
        raise Fail("The server's host does not answer.", code="host_down")
    return server, server.host


# -------------------------------------------------------------------------------------------------------------- resize


@retried
def claim(run: Resizing) -> None:
    """Claim what the new flavor takes more."""
    wanted = more(run.input["new_flavor"], run.input["old_flavor"])
    with run.services.api_db.write() as conn:
        held = placement.allocations(conn, consumer_id=run.subject_id)
        if not held:
            raise Fail("The server has no allocation.", code="no_allocation")
        if not placement.allocate(
            conn, run.input["migration_id"], held[0].provider_id, wanted,
            project_id=run.input["project_id"], user_id=run.input["user_id"],
        ):  # fmt: skip
            conn.rollback()
            lacking = ", ".join(f"{value} {name}" for name, value in wanted.items() if value)
            raise Fail(f"No valid host was found. The server's host lacks {lacking} more.", code="no_valid_host")


@retried
def unclaim(run: Resizing) -> None:
    """Give that back."""
    with run.services.api_db.write() as conn:
        placement.release(conn, run.input["migration_id"])


def stop(run: Resizing) -> None:
    """The guest has to be off while its disks change."""
    _, host = _server(run)
    agent.converge(run, host, Goal.STOPPED, name="stop", args={"timeout": run.services.conf.shutdown_timeout})


def start_again(run: Resizing) -> None:
    """With the old flavor, if it ran."""
    server, host = _server(run)
    if run.input["was_active"]:
        old = run.input["old_flavor"]
        agent.converge(
            run, host, Goal.RUNNING, name="stop.undo", again=100,
            spec=lambda: guests.spec_document(run.services, server.id, flavor=old),
        )  # fmt: skip


def resize_disks(run: Resizing) -> None:
    """Bring the disks to the new sizes, keeping the old ones."""
    server, host = _server(run)
    new = run.input["new_flavor"]
    agent.converge(
        run, host, Goal.RESIZED, name="disks", spec=lambda: guests.spec_document(run.services, server.id, flavor=new)
    )


def bring_disks_back(run: Resizing) -> None:
    _, host = _server(run)
    agent.converge(run, host, Goal.RESIZE_REVERTED, name="disks.undo", again=100)


def start(run: Resizing) -> dict[str, Any]:
    """Start it with the new flavor, if it ran."""
    began, (server, host) = utcnow(), _server(run)
    power = states.SHUTDOWN
    if run.input["was_active"]:
        new = run.input["new_flavor"]
        report = agent.converge(
            run, host, Goal.RUNNING, name="start",
            spec=lambda: guests.spec_document(run.services, server.id, flavor=new),
        )  # fmt: skip
        power = agent.power_of(report)
    return agent.timed(run, "start", began, power_state=power, host=host)


def stop_again(run: Resizing) -> None:
    _, host = _server(run)
    agent.converge(run, host, Goal.STOPPED, name="start.undo", args={"timeout": 0}, again=100)


def resized(conn: sa.Connection, run: Resizing) -> None:
    """The server waits for its owner's word."""
    _set_flavor(conn, run, run.input["new_flavor"], {"old_flavor": run.input["old_flavor"],
                "migration_id": run.input["migration_id"], "was_active": run.input["was_active"]})  # fmt: skip
    servers.settle(
        conn, run.subject_id, of=(states.VERBS["resize"].task_state,), vm_state=states.RESIZED,
        power_state=run.results["start"]["power_state"],
    )  # fmt: skip
    records.set_migration(conn, run.input["migration_id"], status="finished")
    _tell(conn, run, "compute_finish_resize", run.results["start"], None)


def _set_flavor(conn: sa.Connection, run: Resizing, flavor: dict[str, Any], resize: dict[str, Any] | None) -> None:
    server = servers.get(conn, run.subject_id)
    if server is None:
        raise Fail("The server is gone.", code="server_gone")
    spec = {**server.spec, "flavor": flavor, "resize": resize}
    servers.update(conn, server.id, spec=spec, flavor_id=flavor["id"])


def not_resized(conn: sa.Connection, run: Resizing, fault: Fault) -> None:
    """The server is as before."""
    _give_back(conn, run, more(run.input["new_flavor"], run.input["old_flavor"]))
    servers.settle(conn, run.subject_id, of=(states.VERBS["resize"].task_state,), fault=fault_document(fault))
    records.set_migration(conn, run.input["migration_id"], status="error")
    _tell(conn, run, "compute_prep_resize", None, fault)


def cancelled(conn: sa.Connection, run: Resizing) -> None:
    """The server goes: it gives back what it counts by its flavor, this what the new one would have taken more."""
    _give_back(conn, run, more(run.input["new_flavor"], run.input["old_flavor"]))
    records.set_migration(conn, run.input["migration_id"], status="cancelled")


def _give_back(conn: sa.Connection, run: Resizing, surplus: Amounts) -> None:
    servers.release_usage(conn, run.input["project_id"], 0, surplus[VCPU], surplus[MEMORY])


def _tell(conn: sa.Connection, run: Resizing, name: str, result: dict[str, Any] | None, fault: Fault | None) -> None:
    now = utcnow()
    event: dict[str, Any] = {"event": name, "start_time": now, "finish_time": now, "result": "Success"}
    if result is not None:
        began, ended = (datetime.datetime.fromisoformat(result[key]) for key in ("began", "ended"))
        event |= {"start_time": began, "finish_time": ended, "host": result.get("host")}
    if fault is not None:
        shown = fault_document(fault)
        event |= {"result": "Error", "details": shown["full"][:1024], "internal": shown["details"]}
    actions.finish(conn, run.subject_id, run.ctx.request_id, [event])


SERVER_RESIZE = Flow(
    "server_resize",
    version=1,
    deadline=3600,
    steps=(
        Step("claim", do=claim, undo=unclaim, timeout=60, retries=3),
        Step("stop", do=stop, undo=start_again, timeout=300),
        Step("disks", do=resize_disks, undo=bring_disks_back, timeout=1200),
        Step("start", do=start, undo=stop_again, timeout=300),
    ),
    on_done=resized,
    on_failed=not_resized,
    on_cancelled=cancelled,
)


# ------------------------------------------------------------------------------------------------------------- confirm


def forget_old_disks(run: Resizing) -> dict[str, Any]:
    began, (_, host) = utcnow(), _server(run)
    agent.converge(run, host, Goal.RESIZE_CONFIRMED, name="forget")
    return agent.timed(run, "forget", began, host=host)


@retried
def move_claim(run: Resizing) -> None:
    """The server holds what its new flavor takes, the migration nothing."""
    with run.services.api_db.write() as conn:
        held = placement.allocations(conn, consumer_id=run.subject_id)
        placement.release(conn, run.input["migration_id"])
        if held:
            placement.release(conn, run.subject_id)
            placement.allocate(
                conn, run.subject_id, held[0].provider_id, amounts(run.input["new_flavor"]),
                project_id=run.input["project_id"], user_id=run.input["user_id"],
            )  # fmt: skip


def confirmed(conn: sa.Connection, run: Resizing) -> None:
    new, old = run.input["new_flavor"], run.input["old_flavor"]
    _give_back(conn, run, more(old, new))
    _set_flavor(conn, run, new, None)
    vm_state = states.ACTIVE if run.input["was_active"] else states.STOPPED
    servers.settle(conn, run.subject_id, of=(states.VERBS["confirmResize"].task_state,), vm_state=vm_state)
    records.set_migration(conn, run.input["migration_id"], status="confirmed")
    _tell(conn, run, "compute_confirm_resize", run.results["forget"], None)


def not_confirmed(conn: sa.Connection, run: Resizing, fault: Fault) -> None:
    servers.settle(conn, run.subject_id, of=(states.VERBS["confirmResize"].task_state,))
    _tell(conn, run, "compute_confirm_resize", None, fault)


SERVER_CONFIRM = Flow(
    "server_confirm_resize",
    version=1,
    deadline=3600,
    steps=(
        Step("forget", do=forget_old_disks, timeout=300, retries=1),
        Step("claim", do=move_claim, timeout=60, retries=5),
    ),
    on_done=confirmed,
    on_failed=not_confirmed,
)


# -------------------------------------------------------------------------------------------------------------- revert


def switch_off(run: Resizing) -> None:
    _, host = _server(run)
    agent.converge(run, host, Goal.STOPPED, name="off", args={"timeout": run.services.conf.shutdown_timeout})


def revert_disks(run: Resizing) -> None:
    _, host = _server(run)
    agent.converge(run, host, Goal.RESIZE_REVERTED, name="disks")


def start_old(run: Resizing) -> dict[str, Any]:
    began, (server, host) = utcnow(), _server(run)
    power = states.SHUTDOWN
    if run.input["was_active"]:
        old = run.input["old_flavor"]
        report = agent.converge(
            run, host, Goal.RUNNING, name="start",
            spec=lambda: guests.spec_document(run.services, server.id, flavor=old),
        )  # fmt: skip
        power = agent.power_of(report)
    return agent.timed(run, "start", began, power_state=power, host=host)


def reverted(conn: sa.Connection, run: Resizing) -> None:
    new, old = run.input["new_flavor"], run.input["old_flavor"]
    _give_back(conn, run, more(new, old))
    _set_flavor(conn, run, old, None)
    vm_state = states.ACTIVE if run.input["was_active"] else states.STOPPED
    servers.settle(
        conn, run.subject_id, of=(states.VERBS["revertResize"].task_state,), vm_state=vm_state,
        power_state=run.results["start"]["power_state"],
    )  # fmt: skip
    records.set_migration(conn, run.input["migration_id"], status="reverted")
    _tell(conn, run, "compute_finish_revert_resize", run.results["start"], None)


def not_reverted(conn: sa.Connection, run: Resizing, fault: Fault) -> None:
    verb = states.VERBS["revertResize"]
    servers.settle(conn, run.subject_id, of=(verb.task_state,), vm_state=verb.failed, fault=fault_document(fault))
    _tell(conn, run, "compute_revert_resize", None, fault)


SERVER_REVERT = Flow(
    "server_revert_resize",
    version=1,
    deadline=3600,
    steps=(
        Step("off", do=switch_off, timeout=300, retries=1),
        Step("disks", do=revert_disks, timeout=300, retries=1),
        Step("start", do=start_old, timeout=300, retries=1),
        Step("claim", do=unclaim, timeout=60, retries=5),
    ),
    on_done=reverted,
    on_failed=not_reverted,
)
