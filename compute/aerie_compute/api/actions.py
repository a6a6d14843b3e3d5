# SPDX-License-Identifier: Apache-2.0
"""Handlers of POST /servers/{id}/action, of interfaces, consoles, diagnostics and of the list of actions."""

from __future__ import annotations

from typing import Any

from aerie_common.errors import BadRequest, Gone
from aerie_common.http import Reply, Request
from aerie_compute.api import servers as views
from aerie_compute.api.links import links
from aerie_compute.db.actions import Action, Event
from aerie_compute.errors import ConsoleTypeUnavailable, ServerNotReady, ShareNotFound
from aerie_compute.fields import isoformat_micros, parse_time
from aerie_compute.logic import actions, consoles, interfaces, passwords, servers
from aerie_compute.schemas.servers import host_id


def start(req: Request, server_id: str) -> None:
    """Start a stopped server."""
    actions.operate(req.svc, req.ctx, server_id, "start")


def stop(req: Request, server_id: str) -> None:
    """Stop a server."""
    actions.stop(req.svc, req.ctx, server_id)


def reboot(req: Request, server_id: str) -> None:
    """Reboot a server."""
    actions.reboot(req.svc, req.ctx, server_id, req.body["reboot"]["type"].upper())


def pause(req: Request, server_id: str) -> None:
    """Freeze a server in memory."""
    actions.operate(req.svc, req.ctx, server_id, "pause")


def unpause(req: Request, server_id: str) -> None:
    """Let a paused server go on."""
    actions.operate(req.svc, req.ctx, server_id, "unpause")


def suspend(req: Request, server_id: str) -> None:
    """Write a server's memory to disk and stop it."""
    actions.operate(req.svc, req.ctx, server_id, "suspend")


def resume(req: Request, server_id: str) -> None:
    """Let a suspended server go on."""
    actions.operate(req.svc, req.ctx, server_id, "resume")


def rescue(req: Request, server_id: str) -> dict[str, Any]:
    """Start a server from a rescue image."""
    given = req.body["rescue"] or {}
    actions.rescue(req.svc, req.ctx, server_id, given.get("rescue_image_ref"))
    return {"adminPass": given.get("adminPass", "")}


def unrescue(req: Request, server_id: str) -> None:
    """Back from rescue."""
    actions.operate(req.svc, req.ctx, server_id, "unrescue")


def rebuild(req: Request, server_id: str) -> Reply:
    """Rebuild a server from an image."""
    given: dict[str, Any] = dict(req.body["rebuild"])
    image_id = given.pop("imageRef").rpartition("/")[2]
    password = given.pop("adminPass", None)
    names = {"accessIPv4": "access_ip_v4", "accessIPv6": "access_ip_v6", "OS-DCF:diskConfig": "disk_config"}
    for name in ("preserve_ephemeral", "personality", "trusted_image_certificates"):
        given.pop(name, None)
    if "user_data" in given:
        given["user_data"] = views.user_data(given["user_data"])
    changes = {str(names.get(name, name)): value for name, value in views.access_ips(given).items()}
    server = actions.rebuild(req.svc, req.ctx, server_id, image_id, changes)
    shown = views.show_changed(req, server)
    shown["adminPass"] = password or servers.new_password()
    if req.version >= (2, 54):
        shown["key_name"] = server.spec.get("key_name")
    if req.version >= (2, 57):
        shown["user_data"] = servers.user_data(req.svc, server)
    return Reply({"server": shown}, status=202, headers=[("Location", links(req, f"/servers/{server_id}")[0]["href"])])


def resize(req: Request, server_id: str) -> None:
    """Give a server another flavor."""
    given = req.body["resize"]
    flavor_id = str(given["flavorRef"]).rpartition("/")[2]
    actions.resize(req.svc, req.ctx, server_id, flavor_id, given.get("OS-DCF:diskConfig"))


def confirm_resize(req: Request, server_id: str) -> None:
    """Keep the new flavor."""
    actions.end_resize(req.svc, req.ctx, server_id, "confirmResize")


def revert_resize(req: Request, server_id: str) -> None:
    """Go back to the old flavor."""
    actions.end_resize(req.svc, req.ctx, server_id, "revertResize")


def create_image(req: Request, server_id: str) -> Reply:
    """Make an image of a server's disk."""
    given = req.body["createImage"]
    image_id = actions.create_image(req.svc, req.ctx, server_id, given["name"], given.get("metadata", {}))
    if req.version >= (2, 45):
        return Reply({"image_id": image_id}, status=202)
    return Reply(status=202, headers=[("Location", f"{req.base_url}/images/{image_id}")])


def lock(req: Request, server_id: str) -> None:
    """Lock a server."""
    given = req.body["lock"]
    servers.lock(req.svc, req.ctx, server_id, given.get("locked_reason") if isinstance(given, dict) else None)


def unlock(req: Request, server_id: str) -> None:
    """Unlock a server."""
    servers.unlock(req.svc, req.ctx, server_id)


def add_security_group(req: Request, server_id: str) -> None:
    """Put a server into a security group."""
    actions.add_security_group(req.svc, req.ctx, server_id, req.body["addSecurityGroup"]["name"])


def remove_security_group(req: Request, server_id: str) -> None:
    """Take a server out of a security group."""
    actions.remove_security_group(req.svc, req.ctx, server_id, req.body["removeSecurityGroup"]["name"])


def change_password(req: Request, server_id: str) -> None:
    """Set the administrator's password inside the guest."""
    actions.change_password(req.svc, req.ctx, server_id, req.body["changePassword"]["adminPass"])


def reset_state(req: Request, server_id: str) -> None:
    """Set the state of a server by hand."""
    servers.reset_state(req.svc, req.ctx, server_id, req.body["os-resetState"]["state"])


def reset_network(req: Request, server_id: str) -> None:
    """Read the addresses of a server anew."""
    servers.show(req.svc, req.ctx, server_id)
    req.svc.conductor.network_changed(req.ctx, server_ids=[server_id])


def inject_network_info(req: Request, server_id: str) -> None:
    """Read the addresses of a server anew."""
    reset_network(req, server_id)


def migrate(req: Request, server_id: str) -> None:
    """Move a server that is off to another host."""
    actions.migrate(req.svc, req.ctx, server_id)


def restore(req: Request, server_id: str) -> None:
    """Bring back a server that waits for its removal."""
    actions.restore(req.svc, req.ctx, server_id)


def crash_dump(req: Request, server_id: str) -> None:
    """Send the guest a non-maskable interrupt."""
    actions.crash_dump(req.svc, req.ctx, server_id)


def force_delete(req: Request, server_id: str) -> None:
    """Delete a server at once."""
    servers.delete(req.svc, req.ctx, server_id)


def console_output(req: Request, server_id: str) -> dict[str, Any]:
    """Show the end of a server's console log."""
    length = (req.body["os-getConsoleOutput"] or {}).get("length")
    lines = int(length) if length is not None else None
    return {"output": actions.console_output(req.svc, req.ctx, server_id, lines)}


_OLD_CONSOLES = {"os-getVNCConsole": ("vnc", "novnc"), "os-getSerialConsole": ("serial", "serial")}


def old_console(req: Request, server_id: str) -> dict[str, Any]:
    """Get the address of a console (microversions before 2.6)."""
    name, given = next(iter(req.body.items()))
    protocol, only = _OLD_CONSOLES[name]
    if given["type"] != only:
        raise ConsoleTypeUnavailable(kind=given["type"])
    url = consoles.create(req.svc, req.ctx, server_id, protocol, only)
    return {"console": {"type": only, "url": url}}


def remote_console(req: Request, server_id: str) -> dict[str, Any]:
    """Get the address of a console."""
    given = req.body["remote_console"]
    url = consoles.create(req.svc, req.ctx, server_id, given["protocol"], given["type"])
    return {"remote_console": {"protocol": given["protocol"], "type": given["type"], "url": url}}


def console_token(req: Request, token: str) -> dict[str, Any]:
    """Show what a console token opens."""
    found = consoles.show(req.svc, req.ctx, token)
    console: dict[str, Any] = {
        "instance_uuid": found["server_id"],
        "host": found["host"],
        "port": 0,
        "internal_access_path": None,
    }
    if req.version >= (2, 99):
        console["tls_port"] = None
    return {"console": console}


def diagnostics(req: Request, server_id: str) -> dict[str, Any]:
    """Show counters of a running guest."""
    return actions.diagnostics(req.svc, req.ctx, server_id)


def password_show(req: Request, server_id: str) -> dict[str, Any]:
    """Show the password the guest made up, encrypted with its owner's public key."""
    return {"password": passwords.load(req.svc, servers.show(req.svc, req.ctx, server_id).id)}


def password_clear(req: Request, server_id: str) -> None:
    """Forget the password the guest made up."""
    if not passwords.clear(req.svc, servers.show(req.svc, req.ctx, server_id).id):
        raise ServerNotReady(server_id=server_id)


def share_list(req: Request, server_id: str) -> dict[str, Any]:
    """List attached shares: there are none without shared file systems."""
    servers.show(req.svc, req.ctx, server_id)
    return {"shares": []}


def share_show(req: Request, server_id: str, share_id: str) -> None:
    """Show an attached share."""
    servers.show(req.svc, req.ctx, server_id)
    raise ShareNotFound(share_id=share_id, server_id=server_id)


def share_attach(req: Request, server_id: str) -> None:
    """Attach a share: there are none without shared file systems."""
    servers.show(req.svc, req.ctx, server_id)
    raise BadRequest("There are no shared file systems in this cloud.")


def share_detach(req: Request, server_id: str, share_id: str) -> None:
    """Detach a share."""
    share_show(req, server_id, share_id)


def volume_attachments(req: Request, server_id: str) -> dict[str, Any]:
    """List attached volumes: there are none without block storage."""
    servers.show(req.svc, req.ctx, server_id)
    return {"volumeAttachments": []}


def gone(req: Request, **params: str) -> None:
    """An interface that left the API."""
    raise Gone("This API has been removed. Ask the service that owns the resource.")


# ----------------------------------------------------------------------------------------------------------- interfaces


def _interface(entry: dict[str, Any], version: tuple[int, int]) -> dict[str, Any]:
    shown = {
        "port_id": entry["port_id"],
        "net_id": entry["network_id"],
        "mac_addr": entry["mac"],
        "port_state": "ACTIVE",
        "fixed_ips": [{"subnet_id": ip["subnet_id"], "ip_address": ip["address"]} for ip in entry["fixed_ips"]],
    }
    return {**shown, "tag": entry.get("tag")} if version >= (2, 70) else shown


def interface_list(req: Request, server_id: str) -> dict[str, Any]:
    """List the cards of a server."""
    found = interfaces.list_(req.svc, req.ctx, server_id)
    return {"interfaceAttachments": [_interface(entry, req.version) for entry in found]}


def interface_show(req: Request, server_id: str, port_id: str) -> dict[str, Any]:
    """Show a card of a server."""
    return {"interfaceAttachment": _interface(interfaces.show(req.svc, req.ctx, server_id, port_id), req.version)}


def interface_attach(req: Request, server_id: str) -> dict[str, Any]:
    """Plug a card into a server."""
    given = (req.body or {}).get("interfaceAttachment") or {}
    fixed = given.get("fixed_ips") or [{}]
    entry = interfaces.attach(
        req.svc, req.ctx, server_id, port_id=given.get("port_id"), network_id=given.get("net_id"),
        fixed_ip=fixed[0].get("ip_address"), tag=given.get("tag"),
    )  # fmt: skip
    return {"interfaceAttachment": _interface(entry, req.version)}


def interface_detach(req: Request, server_id: str, port_id: str) -> None:
    """Take a card out of a server."""
    interfaces.detach(req.svc, req.ctx, server_id, port_id)


# -------------------------------------------------------------------------------------------------------------- history


def _action(action: Action, version: tuple[int, int]) -> dict[str, Any]:
    shown = {
        "action": action.action,
        "instance_uuid": action.server_id,
        "request_id": action.request_id,
        "user_id": action.user_id,
        "project_id": action.project_id,
        "start_time": isoformat_micros(action.start_time),
        "message": action.message,
    }
    if version >= (2, 58):
        shown["updated_at"] = isoformat_micros(action.updated_at)
    return shown


def _event(event: Event, req: Request, project_id: str) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "event": event.event,
        "start_time": isoformat_micros(event.start_time),
        "finish_time": isoformat_micros(event.finish_time),
        "result": event.result,
        "traceback": None,
    }
    if req.ctx.is_admin:
        shown["traceback"] = event.internal
    if req.version >= (2, 62):
        shown["hostId"] = host_id(project_id, event.host) if event.host else ""
        if req.ctx.is_admin:
            shown["host"] = event.host
    if req.version >= (2, 84):
        shown["details"] = event.details
    return shown


def action_list(req: Request, server_id: str) -> dict[str, Any]:
    """List what was asked of a server."""
    one = req.listing.one
    since = one("changes-since") if req.version >= (2, 58) else None
    before = one("changes-before") if req.version >= (2, 66) else None
    paged = req.version >= (2, 58)
    found = actions.history(
        req.svc, req.ctx, server_id,
        since=parse_time(since, "changes-since") if since else None,
        before=parse_time(before, "changes-before") if before else None,
        limit=req.listing.limit if paged else None,
        marker=req.listing.marker if paged else None,
    )  # fmt: skip
    body: dict[str, Any] = {"instanceActions": [_action(a, req.version) for a in found]}
    if paged and req.listing.limit is not None and found and len(found) >= req.listing.limit:
        body["links"] = [{"rel": "next", "href": req.next_url(found[-1].request_id)}]
    return body


def action_show(req: Request, server_id: str, request_id: str) -> dict[str, Any]:
    """Show one of them with its parts."""
    action, events = actions.event(req.svc, req.ctx, server_id, request_id)
    shown = _action(action, req.version)
    if req.version >= (2, 51) or req.ctx.is_admin:
        shown["events"] = [_event(e, req, action.project_id or "") for e in events]
    return {"instanceAction": shown}
