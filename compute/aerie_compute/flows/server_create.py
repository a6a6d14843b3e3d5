# SPDX-License-Identifier: Apache-2.0
"""A server is built: here, from the choice of a host to a running guest.

When a host cannot build it and another may, the flow undoes what it did and a new one begins that leaves the host out.
The server ends as ACTIVE or as ERROR with a fault that says why; of a server that ended as ERROR nothing is left but
its row.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import oslo_messaging
import sqlalchemy as sa

from aerie_common import flow as F
from aerie_common.db import retried, utcnow
from aerie_common.flow import Fail, Fault, Flow, Pending, Retry, Run, Step
from aerie_compute import states
from aerie_compute.agent.rpc import Goal
from aerie_compute.db import actions, groups, placement, records, servers
from aerie_compute.db.servers import Server
from aerie_compute.fields import isoformat_micros
from aerie_compute.flows import agent, ports
from aerie_compute.logic import guests
from aerie_compute.scheduler.select import Explanation, Request

if TYPE_CHECKING:
    from aerie_compute.container import Compute

Building: TypeAlias = "Run[Compute]"
_IN_BUILD = (states.SCHEDULING, states.NETWORKING, states.SPAWNING)


# -------------------------------------------------------------------------------------------------------------- place


def place(run: Building) -> dict[str, Any]:
    """Have the scheduler name hosts and claim room on the best that still has it."""
    svc, began = run.services, utcnow()
    server = agent.present(run)
    request = build_request(svc, server, run.input)
    chosen = _held(svc, server, request)
    if chosen is None:
        try:
            answer = svc.scheduler.select_hosts(run.ctx, request=request.to_document())
        except (oslo_messaging.MessagingTimeout, oslo_messaging.MessageDeliveryFailure) as error:
            raise Retry(2.0, "no scheduler answers") from error
        explanation = Explanation.from_document(answer["explanation"])
        for candidate in answer["hosts"]:
            if _claim(svc, server, request, explanation, candidate):
                chosen = candidate
                break
        if chosen is None:
            if answer["hosts"]:
                raise Retry(0.2, "others were faster on every candidate")
            _refused(svc, server, request, explanation)
            raise Fail(explanation.sentence(), code="no_valid_host", explanation=explanation.to_document())
    _settle_on(svc, server, chosen)
    return agent.timed(run, "place", began, **chosen)


def build_request(svc: Compute, server: Server, given: dict[str, Any]) -> Request:
    """What the scheduler is asked for a server."""
    flavor, image = server.flavor, server.spec["image"]
    hints = server.spec.get("hints", {})
    disk = flavor["root_gb"] + flavor["ephemeral_gb"] + -(-flavor["swap"] // 1024)
    policy, rules, group_hosts = _group(svc, server)
    return Request(
        vcpus=flavor["vcpus"],
        memory_mb=flavor["memory_mb"],
        disk_gb=disk,
        zone=server.spec.get("zone"),
        host=server.spec.get("wanted_host"),
        node=server.spec.get("wanted_node"),
        excluded=tuple(given.get("excluded", ())),
        extra_specs=flavor["extra_specs"],
        image_properties=image["properties"],
        group_policy=policy,
        group_rules=rules,
        group_hosts=group_hosts,
        same_host=_hosts_of(svc, hints.get("same_host")),
        different_host=_hosts_of(svc, hints.get("different_host")),
        project_id=server.project_id,
    )


@retried
def _group(svc: Compute, server: Server) -> tuple[str | None, dict[str, Any], dict[str, int]]:
    group_id = server.spec.get("group_id")
    if not group_id:
        return None, {}, {}
    with svc.api_db.read() as conn:
        group = groups.get(conn, group_id)
    if group is None:
        return None, {}, {}
    with svc.db.read() as conn:
        members = servers.get_many(conn, [m for m in group.members if m != server.id])
    counts: dict[str, int] = {}
    for member in members:
        if member.host:
            counts[member.host] = counts.get(member.host, 0) + 1
    return group.policy, group.rules, counts


@retried
def _hosts_of(svc: Compute, hint: Any) -> tuple[str, ...]:
    if not hint:
        return ()
    with svc.db.read() as conn:
        found = servers.get_many(conn, [hint] if isinstance(hint, str) else list(hint))
    return tuple(sorted({server.host for server in found if server.host}))


@retried
def _held(svc: Compute, server: Server, request: Request) -> dict[str, Any] | None:
    """The host that an earlier run of this step claimed."""
    with svc.api_db.read() as conn:
        held = placement.allocations(conn, consumer_id=server.id)
        decision = records.decision(conn, server.id) if held else None
    if not held or decision is None:
        return None
    return dict(decision["request"]["chosen"])


@retried
def _claim(svc: Compute, server: Server, request: Request, explanation: Explanation, host: dict[str, Any]) -> bool:
    with svc.api_db.write() as conn:
        done = placement.allocate(
            conn, server.id, host["provider_id"], request.amounts, project_id=server.project_id, user_id=server.user_id
        )
        if not done:
            conn.rollback()
            return False
        wanted = {**request.to_document(), "chosen": host}
        records.save_decision(conn, server.id, wanted, explanation.to_document(), host["host"])
    return True


@retried
def _refused(svc: Compute, server: Server, request: Request, explanation: Explanation) -> None:
    with svc.api_db.write() as conn:
        records.save_decision(conn, server.id, request.to_document(), explanation.to_document(), None)


@retried
def _settle_on(svc: Compute, server: Server, chosen: dict[str, Any]) -> None:
    with svc.db.write() as conn:
        servers.progress(
            conn, server.id, states.NETWORKING, of=_IN_BUILD,
            host=chosen["host"], node=chosen["node"], availability_zone=chosen["zone"],
        )  # fmt: skip


@retried
def leave(run: Building) -> None:
    """Give the room back; the server is on no host."""
    svc = run.services
    with svc.api_db.write() as conn:
        placement.release(conn, run.subject_id)
        if run.fault is None or run.fault.code != "no_valid_host":
            records.drop_decision(conn, run.subject_id)
    with svc.db.write() as conn:
        servers.update(conn, run.subject_id, host=None, node=None, availability_zone=None)


# -------------------------------------------------------------------------------------------------------------- ports


def make_ports(run: Building) -> dict[str, Any]:
    """Make or adopt the ports and bind them to the host."""
    svc, began = run.services, utcnow()
    server, place_ = agent.present(run), run.results["place"]
    info = ports.plug(svc, run.ctx, server, run.input["networks"], place_["host"], place_["zone"])
    run.check()
    ports.remember(svc, server.id, info)
    return agent.timed(run, "ports", began, ports=[entry["port_id"] for entry in info])


def drop_ports(run: Building) -> None:
    """Delete what was made, give back what was brought."""
    brought = [want["port_id"] for want in run.input["networks"] if want.get("port_id")]
    if run.input["networks"]:
        ports.unplug(run.services, run.ctx, run.subject_id, brought)
    ports.forget(run.services, run.subject_id)


def await_wiring(run: Building) -> dict[str, Any] | None:
    """Wait until the network service has wired every port on the host."""
    svc, wanted = run.services, run.results["ports"]["ports"]
    if not wanted or ports.all_plugged(svc, run.subject_id, wanted):
        return None
    bound_at = datetime.datetime.fromisoformat(run.results["ports"]["ended"])
    if (utcnow() - bound_at).total_seconds() > 2.5 and ports.ask_if_active(svc, run.ctx, run.subject_id, wanted):
        return None
    raise Pending(3.0, ports.wait_reason(run))


# -------------------------------------------------------------------------------------------------------------- guest


def start_guest(run: Building) -> dict[str, Any]:
    """Have the agent build the guest and start it."""
    svc, began, host = run.services, utcnow(), run.results["place"]["host"]
    _spawning(svc, run.subject_id)
    if not agent.host_is_up(svc, host):
        raise Fail("The chosen host does not answer.", code="host_down", elsewhere=True, host=host)
    report = agent.converge(run, host, Goal.BUILT, name="guest", spec=lambda: guests.spec_document(svc, run.subject_id))
    return agent.timed(run, "guest", began, power_state=agent.power_of(report))


@retried
def _spawning(svc: Compute, server_id: str) -> None:
    with svc.db.write() as conn:
        servers.progress(conn, server_id, states.SPAWNING, of=(states.NETWORKING,))


def remove_guest(run: Building) -> None:
    """Have the agent remove whatever there is of the guest."""
    agent.remove_guest(run, run.results["place"]["host"], name="guest.undo")


# ---------------------------------------------------------------------------------------------------------------- end


def built(conn: sa.Connection, run: Building) -> None:
    """The server is ACTIVE."""
    power, now = run.results["guest"]["power_state"], utcnow()
    settled = servers.settle(
        conn, run.subject_id, of=_IN_BUILD, from_vm_states=(states.BUILDING,), vm_state=states.ACTIVE,
        power_state=power, launched_at=now,
    )  # fmt: skip
    if not settled:  # it is being deleted: that flow cancels this one, and takes away what this one made
        raise Fail("The server changed while it was built.", code="superseded")
    server = servers.get(conn, run.subject_id)
    assert server is not None
    records.drop_events(conn, server.id)
    actions.finish(conn, server.id, run.ctx.request_id, story(run, None))
    agent.notify(conn, "create.end", server, run.ctx, message="Success")


def failed(conn: sa.Connection, run: Building, fault: Fault) -> None:
    """Another host is tried, or the server is ERROR."""
    server = servers.get(conn, run.subject_id)
    if server is None:
        return
    host = run.results.get("place", {}).get("host")
    attempt = run.input.get("attempt", 1)
    elsewhere = bool(fault.details.get("elsewhere")) or (fault.code == "timeout" and fault.step in ("wire", "guest"))
    actions.finish(conn, server.id, run.ctx.request_id, story(run, fault))
    if elsewhere and host and attempt < run.services.conf.build_attempts:
        again = {**run.input, "attempt": attempt + 1, "excluded": [*run.input.get("excluded", ()), host]}
        servers.progress(conn, server.id, states.SCHEDULING, of=_IN_BUILD)
        F.start(conn, SERVER_CREATE, server.id, again, run.ctx, project_id=server.project_id)
        return
    shown = fault_document(fault)
    if servers.settle(conn, server.id, of=_IN_BUILD, vm_state=states.ERROR, fault=shown):
        failed_server = servers.get(conn, server.id)
        assert failed_server is not None
        agent.notify(conn, "create.error", failed_server, run.ctx, message=shown["message"])


LATE = {
    "place": "No host was chosen in time.",
    "ports": "The network service did not give the server its ports in time.",
    "wire": "The server's network ports were not wired in time.",
    "guest": "The hypervisor did not build the server in time.",
}


def fault_document(fault: Fault) -> dict[str, Any]:
    """A fault as servers keep it: `message` for their owner, `details` for administrators."""
    message = fault.message
    if fault.internal:
        message = "The server could not do it. Give the request id to your operator."
    elif fault.code == "timeout":
        message = LATE.get(fault.step, "The operation took too long and was given up.")
    code = 500
    details = f"{fault.step}: {fault.message}"
    explanation = fault.details.get("explanation")
    if explanation:
        details = Explanation.from_document(explanation).details()
    elif fault.details.get("internal"):
        details += f" [{fault.details.get('host')}: {fault.details['internal']}]"
    return {
        "code": code,
        "message": message[:255],
        "full": message,
        "details": details,
        "created": isoformat_micros(utcnow()),
    }


EVENT_NAMES = {
    "place": "conductor_select_host",
    "ports": "network_allocate_for_instance",
    "wire": "network_wait_for_plug",
    "guest": "compute__do_build_and_run_instance",
}


def story(run: Run[Any], fault: Fault | None, names: dict[str, str] = EVENT_NAMES) -> list[dict[str, Any]]:
    """The steps of a flow as events of the server's action."""
    events = []
    host = run.results.get("place", {}).get("host")
    for step, name in names.items():
        result = run.results.get(step)
        if fault is not None and fault.step == step:
            now = utcnow()
            events.append(
                {
                    "event": name, "start_time": now, "finish_time": now, "result": "Error", "host": host,
                    "details": (fault_document(fault)["full"])[:1024], "internal": fault_document(fault)["details"],
                }
            )  # fmt: skip
        elif isinstance(result, dict) and "began" in result:
            began, ended = (datetime.datetime.fromisoformat(result[k]) for k in ("began", "ended"))
            events.append({"event": name, "start_time": began, "finish_time": ended, "result": "Success", "host": host})
    return events


SERVER_CREATE = Flow(
    "server_create",
    version=1,
    deadline=3600,
    steps=(
        Step("place", do=place, undo=leave, timeout=300, retries=3),
        Step("ports", do=make_ports, undo=drop_ports, timeout=300, retries=2),
        Step("wire", do=await_wiring, timeout=300),
        Step("guest", do=start_guest, undo=remove_guest, timeout=600, retries=1),
    ),
    on_done=built,
    on_failed=failed,
)
