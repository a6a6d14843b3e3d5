# SPDX-License-Identifier: Apache-2.0
"""What is done to existing servers: each verb enters its task state and starts its flow in one transaction."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from aerie_common import flow as F
from aerie_common.clients import RemoteError
from aerie_common.context import Context
from aerie_common.db import retried
from aerie_common.errors import AerieError, BadRequest, Conflict, NotImplementedHere
from aerie_compute import errors, states
from aerie_compute.agent.rpc import AgentRefused, AgentSilent
from aerie_compute.db import actions, keypairs, records, servers
from aerie_compute.db.servers import Server, Usage
from aerie_compute.drivers.base import ImageFacts
from aerie_compute.flows.server_operate import SERVER_OPERATE
from aerie_compute.flows.server_resize import SERVER_CONFIRM, SERVER_RESIZE, SERVER_REVERT, more
from aerie_compute.flows.server_snapshot import SERVER_SNAPSHOT
from aerie_compute.logic import guests, quotas
from aerie_compute.logic import servers as logic
from aerie_compute.scheduler.select import MEMORY, VCPU
from aerie_compute.states import Verb

if TYPE_CHECKING:
    from aerie_compute.container import Compute


def enter(conn: sa.Connection, ctx: Context, server: Server, verb: Verb, action: str, **values: Any) -> None:
    """Begin a verb: ServerLocked, or InvalidState naming what is in the way."""
    logic.check_unlocked(ctx, server)
    if not servers.begin(conn, server.id, verb, **values):
        now = logic.find(conn, ctx, server.id)
        attribute, state = ("vm_state", now.vm_state)
        if now.task_state not in verb.task_states:
            attribute, state = ("task_state", str(now.task_state))
        raise errors.InvalidState(action=action, server_id=server.id, attribute=attribute, state=state)
    actions.start(conn, [server.id], action, ctx)


@retried
def operate(
    svc: Compute,
    ctx: Context,
    server_id: str,
    verb_name: str,
    *,
    action: str | None = None,
    args: Mapping[str, Any] | None = None,
) -> None:
    """Start, stop, reboot, pause, ...: `verb_name` is a row of `states.VERBS` that an agent carries out."""
    verb = states.VERBS[verb_name]
    with svc.db.write() as conn:
        server = logic.find(conn, ctx, server_id)
        enter(conn, ctx, server, verb, action or verb_name)
        given = {"verb": verb_name, "args": dict(args or {})}
        F.start(conn, SERVER_OPERATE, server.id, given, ctx, project_id=server.project_id)


def reboot(svc: Compute, ctx: Context, server_id: str, kind: str) -> None:
    """SOFT asks the guest, HARD pulls the plug."""
    name = "hard_reboot" if kind == "HARD" else "reboot"
    args = {"kind": kind.lower(), "timeout": svc.conf.shutdown_timeout}
    operate(svc, ctx, server_id, name, action="reboot", args=args)


def stop(svc: Compute, ctx: Context, server_id: str) -> None:
    operate(svc, ctx, server_id, "stop", args={"timeout": svc.conf.shutdown_timeout})


def rescue(svc: Compute, ctx: Context, server_id: str, image_id: str | None) -> None:
    """Start from another image (its own unless one is named), with the server's disk beside it."""
    server = logic.show(svc, ctx, server_id)
    facts = svc.images.facts(ctx, image_id) if image_id else server.spec["image"]
    image = guests.image_facts(facts)
    args = {"image": {name: getattr(image, name) for name in ImageFacts.__slots__}}
    operate(svc, ctx, server_id, "rescue", args=args)


def rebuild(svc: Compute, ctx: Context, server_id: str, image_id: str, changes: Mapping[str, Any]) -> Server:
    """New disks from an image, same id, addresses and flavor. `changes`: what else shall be different afterwards
    (name, metadata, description, key_name, user_data, hostname, disk_config, access addresses)."""
    server = logic.show(svc, ctx, server_id)
    flavor = server.flavor
    image = svc.images.facts(ctx, image_id)
    _check_fits(flavor, image)
    if "metadata" in changes:
        logic.check_metadata(changes["metadata"], quotas.limits(svc, ctx.project_id or ""))
    spec = {**server.spec, "image": image}
    spec.pop("admin_password", None)  # the new guest makes up its own
    values: dict[str, Any] = {"image_id": image["id"]}
    for key, value in changes.items():
        if key in ("name", "hostname", "metadata"):
            values[key] = value
        elif key == "key_name":
            spec |= _key(svc, ctx, server.user_id, value)
        elif key == "user_data":
            spec["has_user_data"] = value is not None
        else:
            spec[key] = value
    values["spec"] = spec
    _begin_rebuild(svc, ctx, server, values, changes)
    return logic.show(svc, ctx, server_id)


@retried
def _begin_rebuild(
    svc: Compute, ctx: Context, server: Server, values: dict[str, Any], changes: Mapping[str, Any]
) -> None:
    with svc.db.write() as conn:
        logic.find(conn, ctx, server.id)
        enter(conn, ctx, server, states.VERBS["rebuild"], "rebuild", **values)
        if "user_data" in changes:
            servers.set_user_data(conn, server.id, changes["user_data"])
        stopped = server.vm_state == states.STOPPED
        given = {"verb": "rebuild", "args": {"power": "stopped" if stopped else "running"}}
        if stopped:
            given["vm_state"] = states.STOPPED
        F.start(conn, SERVER_OPERATE, server.id, given, ctx, project_id=server.project_id)


def _check_fits(flavor: Mapping[str, Any], image: Mapping[str, Any]) -> None:
    if flavor["memory_mb"] < image["min_ram"]:
        raise errors.FlavorTooSmall(what="memory", has=f"{flavor['memory_mb']} MiB", needs=f"{image['min_ram']} MiB")
    size = max(image["virtual_size"] or 0, image["size"], image["min_disk"] * logic.GIB)
    if flavor["root_gb"] and size > flavor["root_gb"] * logic.GIB:
        raise errors.FlavorTooSmall(what="disk", has=f"{flavor['root_gb']} GiB", needs=f"{-(-size // logic.GIB)} GiB")


@retried
def _key(svc: Compute, ctx: Context, user_id: str, name: str | None) -> dict[str, Any]:
    if name is None:
        return {"key_name": None, "key_type": None, "public_key": None}
    with svc.api_db.read() as conn:
        key = keypairs.get(conn, user_id, name)
    if key is None:
        raise errors.KeypairUnusable()
    return {"key_name": key.name, "key_type": key.type, "public_key": key.public_key}


# --------------------------------------------------------------------------------------------------------------- images


def create_image(svc: Compute, ctx: Context, server_id: str, name: str, properties: Mapping[str, str]) -> str:
    """Make an image of the server's disk; the id of the image, which becomes active later."""
    server = logic.show(svc, ctx, server_id)
    logic.check_unlocked(ctx, server)
    verb = states.VERBS["createImage"]
    if server.vm_state not in verb.vm_states or server.task_state is not None:
        late = server.vm_state in verb.vm_states
        attribute, state = ("task_state", server.task_state) if late else ("vm_state", server.vm_state)
        raise errors.InvalidState(action="createImage", server_id=server_id, attribute=attribute, state=state)
    body: dict[str, Any] = {
        "name": name, "disk_format": "qcow2", "container_format": "bare", "visibility": "private",
        "min_disk": server.flavor["root_gb"], "min_ram": 0,
        **{k: v for k, v in server.spec["image"]["properties"].items() if not k.startswith(("os_hash", "owner_"))},
        "image_type": "snapshot", "instance_uuid": server.id, "user_id": ctx.user_id or "",
        "base_image_ref": server.image_id or "", "image_location": "snapshot", "image_state": "available",
        **properties,
    }  # fmt: skip
    image_id = str(svc.images.create(ctx, body)["id"])
    try:
        _begin_snapshot(svc, ctx, server, image_id)
    except AerieError:
        svc.images.delete(image_id)
        raise
    return image_id


@retried
def _begin_snapshot(svc: Compute, ctx: Context, server: Server, image_id: str) -> None:
    with svc.db.write() as conn:
        logic.find(conn, ctx, server.id)
        enter(conn, ctx, server, states.VERBS["createImage"], "createImage")
        F.start(conn, SERVER_SNAPSHOT, server.id, {"image_id": image_id}, ctx, project_id=server.project_id)


# --------------------------------------------------------------------------------------------------------------- resize


def resize(svc: Compute, ctx: Context, server_id: str, flavor_id: str, disk_config: str | None = None) -> None:
    """Another flavor, on the same host. ServerQuota, FlavorUnusable, BadRequest when it is the same one."""
    server = logic.show(svc, ctx, server_id)
    flavor = logic.usable_flavor(svc, ctx, flavor_id).document()
    if flavor["id"] == server.flavor["id"]:
        raise BadRequest("When resizing, instances must change flavor!")
    if flavor["root_gb"] < server.flavor["root_gb"]:
        raise BadRequest("Resize to zero disk flavor is not allowed." if not flavor["root_gb"] else
                         "The new flavor's disk is smaller than the server's: a disk cannot shrink.")  # fmt: skip
    values = {"spec": {**server.spec, "disk_config": disk_config}} if disk_config else {}
    _begin_resize(svc, ctx, server, flavor, quotas.limits(svc, server.project_id), values)


@retried
def _begin_resize(
    svc: Compute,
    ctx: Context,
    server: Server,
    flavor: dict[str, Any],
    limits: Mapping[str, int],
    values: Mapping[str, Any],
) -> None:
    surplus = more(flavor, server.flavor)
    most = Usage(limits["instances"], limits["cores"], limits["ram"])
    with svc.db.write() as conn:
        logic.find(conn, ctx, server.id)
        enter(conn, ctx, server, states.VERBS["resize"], "resize", **values)
        if not servers.claim_usage(conn, server.project_id, Usage(0, surplus[VCPU], surplus[MEMORY]), most):
            extra = {"vcpus": surplus[VCPU], "memory_mb": surplus[MEMORY]}
            raise logic.over_quota(0, extra, servers.usage(conn, server.project_id), most)
        migration_id = records.add_migration(
            conn, server_id=server.id, project_id=server.project_id, user_id=ctx.user_id or "", type="resize",
            status="migrating", source_host=server.host, dest_host=server.host,
            old_flavor=server.flavor, new_flavor=flavor,
        )  # fmt: skip
        given = _resize_input(server, migration_id, server.flavor, flavor, server.vm_state == states.ACTIVE)
        F.start(conn, SERVER_RESIZE, server.id, given, ctx, project_id=server.project_id)


def _resize_input(
    server: Server, migration_id: str, old: dict[str, Any], new: dict[str, Any], was_active: bool
) -> dict[str, Any]:
    return {
        "migration_id": migration_id, "old_flavor": old, "new_flavor": new, "was_active": was_active,
        "project_id": server.project_id, "user_id": server.user_id,
    }  # fmt: skip


@retried
def end_resize(svc: Compute, ctx: Context, server_id: str, verb_name: str) -> None:
    """confirmResize or revertResize."""
    chosen = SERVER_CONFIRM if verb_name == "confirmResize" else SERVER_REVERT
    with svc.db.write() as conn:
        server = logic.find(conn, ctx, server_id)
        enter(conn, ctx, server, states.VERBS[verb_name], verb_name)
        past = server.spec["resize"]
        given = _resize_input(server, past["migration_id"], past["old_flavor"], server.flavor, past["was_active"])
        F.start(conn, chosen, server.id, given, ctx, project_id=server.project_id)


def migrate(svc: Compute, ctx: Context, server_id: str) -> None:
    """Refused: disks stay on the host they were made on. InvalidState, ServerLocked before that."""
    server = logic.show(svc, ctx, server_id)
    logic.check_unlocked(ctx, server)
    if server.vm_state not in (states.ACTIVE, states.STOPPED) or server.task_state is not None:
        raise errors.InvalidState(action="migrate", server_id=server_id, attribute="vm_state", state=server.vm_state)
    raise NotImplementedHere("Servers keep to their host in this cloud: they are not migrated.")


def restore(svc: Compute, ctx: Context, server_id: str) -> None:
    """InvalidState always: deleted servers are removed at once, none waits to be brought back."""
    server = logic.show(svc, ctx, server_id)
    raise errors.InvalidState(action="restore", server_id=server_id, attribute="vm_state", state=server.vm_state)


# ---------------------------------------------------------------------------------------------------------- looking in


def console_output(svc: Compute, ctx: Context, server_id: str, lines: int | None) -> str:
    """The end of the guest's serial console. ServerNotReady before it has a guest, AgentUnavailable."""
    server = logic.show(svc, ctx, server_id)
    if server.host is None or server.vm_state == states.BUILDING:
        raise errors.ServerNotReady(server_id=server_id)
    try:
        text = svc.agents.console_log(ctx, server.host, server_id=server.id, tail_bytes=svc.conf.max_console_log)
    except AgentSilent as e:
        raise errors.AgentUnavailable(server_id=server_id) from e
    except AgentRefused as e:
        raise errors.ServerNotReady(server_id=server_id) from e
    if lines is None or lines < 0:
        return text
    return "\n".join(text.splitlines()[-lines:]) if lines else ""


def diagnostics(svc: Compute, ctx: Context, server_id: str) -> dict[str, Any]:
    """Counters of a running guest."""
    server = logic.show(svc, ctx, server_id)
    if server.host is None or server.vm_state not in (states.ACTIVE, states.PAUSED, states.RESCUED):
        raise errors.InvalidState(
            action="get_diagnostics", server_id=server_id, attribute="vm_state", state=server.vm_state
        )
    try:
        return svc.agents.diagnostics(ctx, server.host, server_id=server.id)
    except AgentSilent as e:
        raise errors.AgentUnavailable(server_id=server_id) from e
    except AgentRefused as e:
        raise errors.ServerNotReady(server_id=server_id) from e


def change_password(svc: Compute, ctx: Context, server_id: str, password: str) -> None:
    """Set the administrator's password inside the guest, where the hypervisor can."""
    server = logic.show(svc, ctx, server_id)
    logic.check_unlocked(ctx, server)
    if server.host is None or server.vm_state != states.ACTIVE:
        raise errors.InvalidState(
            action="changePassword", server_id=server_id, attribute="vm_state", state=server.vm_state
        )
    user = str(server.spec["image"]["properties"].get("os_admin_user", "root"))
    _ask(svc, ctx, server, "changePassword", lambda: svc.agents.set_password(
        ctx, str(server.host), server_id=server.id, user=user, password=password))  # fmt: skip


def crash_dump(svc: Compute, ctx: Context, server_id: str) -> None:
    """Send the guest a non-maskable interrupt."""
    server = logic.show(svc, ctx, server_id)
    logic.check_unlocked(ctx, server)
    if server.host is None or server.vm_state not in (states.ACTIVE, states.PAUSED, states.RESCUED, states.ERROR):
        raise errors.InvalidState(
            action="trigger_crash_dump", server_id=server_id, attribute="vm_state", state=server.vm_state
        )
    _ask(svc, ctx, server, "trigger_crash_dump", lambda: svc.agents.inject_nmi(
        ctx, str(server.host), server_id=server.id))  # fmt: skip


def _ask(svc: Compute, ctx: Context, server: Server, action: str, ask: Any) -> None:
    try:
        ask()
    except AgentSilent as e:
        raise errors.AgentUnavailable(server_id=server.id) from e
    except AgentRefused as e:
        if e.code == "not_supported":
            raise NotImplementedHere(e.public) from e
        raise Conflict(e.public) from e
    _note(svc, ctx, server, action)


@retried
def _note(svc: Compute, ctx: Context, server: Server, action: str) -> None:
    with svc.db.write() as conn:
        actions.start(conn, [server.id], action, ctx)


# ------------------------------------------------------------------------------------------------------ security groups


def add_security_group(svc: Compute, ctx: Context, server_id: str, name: str) -> None:
    """Put all ports of the server into a group."""
    _change_groups(svc, ctx, server_id, name, add=True)


def remove_security_group(svc: Compute, ctx: Context, server_id: str, name: str) -> None:
    """Take all ports of the server out of a group."""
    _change_groups(svc, ctx, server_id, name, add=False)


def _change_groups(svc: Compute, ctx: Context, server_id: str, name: str, *, add: bool) -> None:
    server = logic.show(svc, ctx, server_id)
    logic.check_unlocked(ctx, server)
    try:
        group_id, group_name = svc.networks.security_group(ctx, name)
    except errors.SecurityGroupUnusable as e:
        raise errors.SecurityGroupNotFound(group=name, project_id=ctx.project_id) from e
    touched = False
    try:
        for port in svc.networks.ports_of(server.id, ctx, project_id=server.project_id):
            held = list(port.get("security_groups", ()))
            if add and group_id not in held:
                svc.networks.set_port_groups(port["id"], [*held, group_id])
                touched = True
            elif not add and group_id in held:
                svc.networks.set_port_groups(port["id"], [g for g in held if g != group_id])
                touched = True
    except RemoteError as e:
        raise BadRequest(e.message) from e
    if not add and not touched:
        raise errors.SecurityGroupNotFound(f"Security group {name} not associated with the instance {server_id}")

    def make(now: Server) -> dict[str, Any]:
        names = [n for n in now.spec.get("security_groups", ()) if n != group_name]
        return {"spec": {**now.spec, "security_groups": [*names, group_name] if add else names}}

    logic.change(svc, ctx, server_id, make)
    _note(svc, ctx, server, "addSecurityGroup" if add else "removeSecurityGroup")


# ------------------------------------------------------------------------------------------------------------- history


@retried
def history(
    svc: Compute,
    ctx: Context,
    server_id: str,
    *,
    since: datetime.datetime | None = None,
    before: datetime.datetime | None = None,
    limit: int | None = None,
    marker: str | None = None,
) -> list[actions.Action]:
    """What was asked of a server, newest first; also of one that is gone."""
    with svc.db.read() as conn:
        server = _any(conn, ctx, server_id)
        after = None
        if marker is not None:
            after = actions.get(conn, server.id, marker)
            if after is None:
                raise BadRequest(f"marker [{marker}] not found")
        return actions.list_(conn, server.id, since=since, before=before, limit=limit, marker=after)


@retried
def event(svc: Compute, ctx: Context, server_id: str, request_id: str) -> tuple[actions.Action, list[actions.Event]]:
    """One action and its parts. ActionNotFound."""
    with svc.db.read() as conn:
        server = _any(conn, ctx, server_id)
        found = actions.get(conn, server.id, request_id)
        if found is None:
            raise errors.ActionNotFound(request_id=request_id)
        return found, actions.events(conn, server.id, request_id)


@retried
def migrations(svc: Compute, **wanted: Any) -> list[records.Migration]:
    """Resizes and moves, newest first; `wanted` as for `db.records.migrations`."""
    with svc.db.read() as conn:
        return records.migrations(conn, **wanted)


def _any(conn: sa.Connection, ctx: Context, server_id: str) -> Server:
    found = servers.get(conn, server_id, None if ctx.is_admin else ctx.project_id or "", deleted=True)
    if found is None:
        raise errors.ServerNotFound(server_id=server_id)
    return found
