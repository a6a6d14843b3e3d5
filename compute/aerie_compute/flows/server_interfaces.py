# SPDX-License-Identifier: Apache-2.0
"""A card is plugged into a server, or taken out. The port exists, bound to the host, when the attaching flow starts."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import sqlalchemy as sa

from aerie_common.clients import RemoteError
from aerie_common.db import retried, utcnow
from aerie_common.errors import ServiceUnavailable
from aerie_common.flow import Fault, Flow, Pending, Run, Step
from aerie_compute.agent.rpc import Goal
from aerie_compute.db import actions, records, servers
from aerie_compute.drivers.base import Nic
from aerie_compute.flows import agent, ports
from aerie_compute.flows.server_create import fault_document
from aerie_compute.logic import guests

if TYPE_CHECKING:
    from aerie_compute.container import Compute

Plugging: TypeAlias = "Run[Compute]"


def _document(nic: Nic) -> dict[str, Any]:
    return {name: getattr(nic, name) for name in Nic.__slots__}


def await_wiring(run: Plugging) -> dict[str, Any] | None:
    """Wait until the port is wired on the host."""
    port_id = run.input["entry"]["port_id"]
    if ports.all_plugged(run.services, run.subject_id, [port_id]):
        return None
    asked = datetime.datetime.fromisoformat(run.input["asked_at"])
    late = (utcnow() - asked).total_seconds() > 2.5
    if late and ports.ask_if_active(run.services, run.ctx, run.subject_id, [port_id]):
        return None
    raise Pending(3.0, ports.wait_reason(run))


def give_back(run: Plugging) -> None:
    """The port goes, or is as it was; the server forgets it."""
    entry = run.input["entry"]
    try:
        if entry["created"]:
            run.services.networks.delete_port(entry["port_id"], run.ctx)
        else:
            run.services.networks.release_port(entry["port_id"], run.ctx)
    except (RemoteError, ServiceUnavailable) as e:
        raise agent.patiently(e) from e
    _forget(run, entry["port_id"])


@retried
def _forget(run: Plugging, port_id: str) -> None:
    with run.services.db.write() as conn:
        records.drop_events(conn, run.subject_id, [port_id])
        for _ in range(10):
            server = servers.get(conn, run.subject_id)
            if server is None:
                return
            left = [e for e in server.network_info if e["port_id"] != port_id]
            if left == server.network_info or servers.replace(conn, server, network_info=left):
                return


def attach(run: Plugging) -> dict[str, Any]:
    """Have the agent plug the card in."""
    began = utcnow()
    server = agent.present(run)
    nic = guests.nic(run.input["entry"], guests.card_model(server.spec["image"]))
    if server.host is not None:
        agent.converge(
            run, server.host, Goal.NIC_ATTACHED, name="attach", args={"nic": _document(nic)},
            spec=lambda: guests.spec_document(run.services, server.id),
        )  # fmt: skip
    return agent.timed(run, "attach", began, host=server.host)


def unplug(run: Plugging) -> None:
    """Have the agent take the card out."""
    server = agent.load(run.services, run.subject_id)
    if server is not None and server.host is not None and agent.host_is_up(run.services, server.host):
        entry = run.input["entry"]
        args = {"port_id": entry["port_id"], "mac": entry["mac"]}
        agent.converge(run, server.host, Goal.NIC_DETACHED, name="unplug", args=args, again=100)


def detach(run: Plugging) -> dict[str, Any]:
    """Have the agent take the card out, then let the port go."""
    began = utcnow()
    server = agent.present(run)
    entry = run.input["entry"]
    if server.host is not None:
        args = {"port_id": entry["port_id"], "mac": entry["mac"]}
        agent.converge(run, server.host, Goal.NIC_DETACHED, name="detach", args=args)
    return agent.timed(run, "detach", began, host=server.host)


def drop(run: Plugging) -> None:
    """The port goes."""
    give_back(run)


def _ended(event_name: str, step: str) -> Any:
    def done(conn: sa.Connection, run: Plugging) -> None:
        result = run.results[step]
        began, ended = (datetime.datetime.fromisoformat(result[key]) for key in ("began", "ended"))
        event = {
            "event": event_name,
            "start_time": began,
            "finish_time": ended,
            "result": "Success",
            "host": result["host"],
        }
        actions.finish(conn, run.subject_id, run.ctx.request_id, [event])
        server = servers.get(conn, run.subject_id)
        if server is not None:
            agent.notify(conn, "update", server, run.ctx)

    return done


def _broken(event_name: str) -> Any:
    def failed(conn: sa.Connection, run: Plugging, fault: Fault) -> None:
        now, shown = utcnow(), fault_document(fault)
        event = {"event": event_name, "start_time": now, "finish_time": now, "result": "Error",
                 "details": shown["full"][:1024], "internal": shown["details"]}  # fmt: skip
        actions.finish(conn, run.subject_id, run.ctx.request_id, [event])

    return failed


SERVER_ATTACH = Flow(
    "server_attach",
    version=1,
    deadline=900,
    steps=(
        Step("wire", do=await_wiring, undo=give_back, timeout=120),
        Step("attach", do=attach, undo=unplug, timeout=300, retries=1),
    ),
    on_done=_ended("compute_attach_interface", "attach"),
    on_failed=_broken("compute_attach_interface"),
)

SERVER_DETACH = Flow(
    "server_detach",
    version=1,
    deadline=86400,
    steps=(
        Step("detach", do=detach, timeout=300, retries=1),
        Step("drop", do=drop, timeout=3600, retries=5),
    ),
    on_done=_ended("compute_detach_interface", "detach"),
    on_failed=_broken("compute_detach_interface"),
)
