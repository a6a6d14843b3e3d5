# SPDX-License-Identifier: Apache-2.0
"""Handlers of servers, their metadata, tags and addresses."""

from __future__ import annotations

import ast
import base64
import binascii
import ipaddress
from typing import Any

from aerie_common import schema
from aerie_common.errors import BadRequest, Forbidden
from aerie_common.http import Reply, Request
from aerie_compute import network_info, states
from aerie_compute.api.links import bookmark, links, page
from aerie_compute.db.servers import Filter, Server
from aerie_compute.errors import MetadataItemNotFound, NetworkLabelNotFound, TagNotFound
from aerie_compute.fields import parse_time
from aerie_compute.logic import groups, hosts, servers
from aerie_compute.schemas.servers import view

FILTERS = frozenset(
    {
        "name", "status", "vm_state", "task_state", "power_state", "flavor", "image", "host", "node", "hostname",
        "all_tenants", "tenant_id", "project_id", "user_id", "changes-since", "changes-before", "deleted", "ip", "ip6",
        "tags", "tags-any", "not-tags", "not-tags-any", "availability_zone", "reservation_id", "uuid", "locked",
        "launch_index", "metadata", "created_at",
    }
)  # fmt: skip
SORT_KEYS = frozenset(
    {
        "uuid", "display_name", "created_at", "updated_at", "vm_state", "task_state", "power_state", "host", "node",
        "availability_zone", "image_ref", "instance_type_id", "project_id", "user_id", "hostname", "launched_at",
        "terminated_at", "launch_index", "locked_by",
    }
)  # fmt: skip


# ------------------------------------------------------------------------------------------------------------- showing


def render(req: Request, server: Server, host_status: dict[str, str] | None = None) -> dict[str, Any]:
    """The server as this caller sees it, with links."""
    version = req.version
    shown = view(server, req.ctx, version)
    if version < (2, 47):
        shown["flavor"] = {"id": server.flavor_id, "links": bookmark(req, f"/flavors/{server.flavor_id}")}
    image = server.image_id
    shown["image"] = {"id": image, "links": bookmark(req, f"/images/{image}")} if image else ""
    if image and version >= (2, 98):
        shown["image"]["properties"] = server.spec["image"]["properties"]
    shown["links"] = links(req, f"/servers/{server.id}")
    if host_status is not None:
        shown["host_status"] = host_status.get(server.host or "", "") if server.host else ""
    return shown


def _host_status(req: Request) -> dict[str, str] | None:
    """host -> UP, DOWN, MAINTENANCE or UNKNOWN, for administrators from 2.16 on."""
    if req.version < (2, 16) or not req.ctx.is_admin:
        return None
    found = hosts.agents(req.svc)
    down_after = req.svc.conf.service_down_time
    return {
        s.host: "DOWN" if s.forced_down else "MAINTENANCE" if s.disabled else "UP" if s.up(down_after) else "UNKNOWN"
        for s in found
    }


def show_one(req: Request, server: Server) -> dict[str, Any]:
    """The body of one server."""
    shown = render(req, server, _host_status(req))
    if req.version >= (2, 71):
        group = groups.of_server(req.svc, server.id)
        shown["server_groups"] = [group] if group else []
    return {"server": shown}


_ADDED = frozenset(
    {
        "OS-EXT-AZ:availability_zone", "OS-SRV-USG:launched_at", "OS-SRV-USG:terminated_at", "key_name", "config_drive",
        "security_groups", "OS-EXT-STS:task_state", "OS-EXT-STS:vm_state", "OS-EXT-STS:power_state",
        "os-extended-volumes:volumes_attached", "host_status",
    }
)  # fmt: skip


def show_changed(req: Request, server: Server) -> dict[str, Any]:
    """The server as update and rebuild answer with it: before 2.75 without what extensions had added to it."""
    shown: dict[str, Any] = show_one(req, server)["server"]
    if req.version >= (2, 75):
        return shown
    shown["addresses"] = _addresses(server)
    return {k: v for k, v in shown.items() if k not in _ADDED and not k.startswith("OS-EXT-SRV-ATTR:")}


def show(req: Request, server_id: str) -> dict[str, Any]:
    """Show a server."""
    return show_one(req, servers.show(req.svc, req.ctx, server_id))


def detail(req: Request) -> dict[str, Any]:
    """List servers with everything about them."""
    found = _list(req)
    status = _host_status(req) if found else None
    return page(req, "servers", [render(req, server, status) for server in found])


def list_(req: Request) -> dict[str, Any]:
    """List servers by id and name."""
    return page(
        req, "servers",
        [{"id": s.id, "name": s.name, "links": links(req, f"/servers/{s.id}")} for s in _list(req)],
    )  # fmt: skip


def _list(req: Request) -> list[Server]:
    listing = req.listing
    wanted = _filter(req)
    if wanted is None:
        return []
    return servers.list_(req.svc, req.ctx, wanted, sort=listing.sort, limit=listing.limit, marker=listing.marker)


def _filter(req: Request) -> Filter | None:
    """What the query string asks for; None when nothing can fit."""
    ctx, one = req.ctx, req.listing.one
    everyone = False
    if (text := one("all_tenants")) is not None:
        everyone = text == "" or _flag("all_tenants", text)
        if everyone:
            req.enforce(rule="os_compute_api:servers:index:get_all_tenants")
    project = one("project_id") or one("tenant_id")
    project_id = project if everyone else ctx.project_id or ""  # without all_tenants the question is for one's own
    vm_states, task_states, fits = _states(req)
    if not fits:
        return None
    since, before = one("changes-since"), one("changes-before")
    deleted = one("deleted") is not None and ctx.is_admin and _flag("deleted", one("deleted") or "true")
    equal: dict[str, Any] = {}
    for name, column in (("flavor", "flavor_id"), ("image", "image_id"), ("availability_zone", "availability_zone"),
                         ("reservation_id", "reservation_id")):  # fmt: skip
        if (value := one(name)) is not None:
            equal[column] = value
    if ctx.is_admin:
        for name in ("host", "node"):
            if (value := one(name)) is not None:
                equal[name] = value
    for name in ("power_state", "launch_index"):
        if (value := one(name)) is not None:
            equal[name] = int(value) if value.isdigit() else -1
    tags = {name: tuple(t for t in (one(name) or "").split(",") if t) if req.version >= (2, 26) else ()
            for name in ("tags", "tags-any", "not-tags", "not-tags-any")}  # fmt: skip
    locked = one("locked") if req.version >= (2, 73) else None
    return Filter(
        project_id=project_id,
        user_id=one("user_id"),
        deleted=deleted,
        any_deleted=since is not None and one("deleted") is None,
        vm_states=vm_states,
        task_states=task_states,
        equal=equal,
        name=one("name"),
        hostname=one("hostname"),
        ip=one("ip") or one("ip6"),
        changed_since=parse_time(since, "changes-since") if since else None,
        changed_before=parse_time(before, "changes-before") if before and req.version >= (2, 66) else None,
        created_since=parse_time(t, "created_at") if (t := one("created_at")) else None,
        tags=tags["tags"],
        tags_any=tags["tags-any"],
        not_tags=tags["not-tags"],
        not_tags_any=tags["not-tags-any"],
        metadata=_metadata_filter(one("metadata")),
        locked=_flag("locked", locked) if locked is not None else None,
        ids=req.listing.filters.get("uuid"),
    )


def _flag(name: str, text: str) -> bool:
    try:
        return schema.to_bool(text)
    except ValueError:
        raise BadRequest(f"Invalid input for query parameters {name}: {text!r} is not a boolean.") from None


def _metadata_filter(text: str | None) -> dict[str, str] | None:
    if not text:
        return None
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        raise BadRequest("Invalid input for query parameters metadata: an object is expected.") from None
    if not isinstance(found, dict):
        raise BadRequest("Invalid input for query parameters metadata: an object is expected.")
    return {str(k): str(v) for k, v in found.items()}


def _states(req: Request) -> tuple[tuple[str, ...] | None, tuple[str | None, ...] | None, bool]:
    filters = req.listing.filters
    vm_states: tuple[str, ...] | None = filters.get("vm_state")
    task_states: tuple[str | None, ...] | None = filters.get("task_state")
    for word in filters.get("status", ()):
        if word.upper() == "DELETED":
            if not req.ctx.is_admin:
                raise Forbidden("Only administrators may list deleted servers")
        vm, tasks = states.states_of_status(word)
        if not vm:
            return None, None, False
        default = any(states.status(v, None) == word.upper() for v in vm)
        vm_states = (*(vm_states or ()), *vm)
        if not default:
            task_states = (*(task_states or ()), *tasks)
    return vm_states, task_states, True


# ------------------------------------------------------------------------------------------------------------ creating


def create(req: Request) -> Reply:
    """Create servers."""
    body = req.body["server"]
    hints = req.body.get("os:scheduler_hints") or req.body.get("OS-SCH-HNT:scheduler_hints") or {}
    zone, host, node = _zone(req, body)
    minimum = int(body.get("min_count", 1))
    maximum = int(body.get("max_count", minimum))
    if minimum > maximum:
        raise BadRequest("min_count must be <= max_count")
    created = servers.create(
        req.svc,
        req.ctx,
        servers.NewServer(
            name=body["name"].strip(),
            flavor_id=str(body["flavorRef"]).rpartition("/")[2],
            image_id=_image(body),
            networks=body.get("networks"),
            security_groups=tuple(dict.fromkeys(g.get("name") or "default" for g in body.get("security_groups", ()))),
            key_name=body.get("key_name") or None,
            user_data=user_data(body.get("user_data")),
            metadata=body.get("metadata", {}),
            tags=tuple(sorted(set(body.get("tags", ())))),
            zone=zone,
            host=host,
            node=node,
            hints=hints,
            config_drive=schema.to_bool(body.get("config_drive") or False),
            description=body.get("description"),
            hostname=body.get("hostname"),
            disk_config=body.get("OS-DCF:diskConfig", "MANUAL"),
            access_ip_v4=access_ip(4, body.get("accessIPv4")),
            access_ip_v6=access_ip(6, body.get("accessIPv6")),
            min_count=minimum,
            max_count=maximum,
        ),
    )
    if schema.to_bool(body.get("return_reservation_id", False)):
        return Reply({"reservation_id": created.reservation_id}, status=202)
    server_id = created.server_ids[0]
    found = links(req, f"/servers/{server_id}")
    shown = {
        "id": server_id,
        "links": found,
        "OS-DCF:diskConfig": body.get("OS-DCF:diskConfig", "MANUAL"),
        "security_groups": [{"name": name} for name in created.security_groups],
        "adminPass": body.get("adminPass") or created.admin_pass,
    }
    return Reply({"server": shown}, status=202, headers=[("Location", found[0]["href"])])


def _image(body: dict[str, Any]) -> str | None:
    """The image to boot from, named directly or as a block device that becomes the local root disk."""
    devices = body.get("block_device_mapping_v2", ())
    roots = [device for device in devices if _is_local_root(device)]
    if len(roots) < len(devices) or len(roots) > 1 or body.get("block_device_mapping"):
        raise BadRequest("There is no block storage in this cloud: servers boot from an image on the host's own disk.")
    if roots:
        return str(roots[0].get("uuid"))
    image = body.get("imageRef")
    return str(image).rpartition("/")[2] if image else None


def _is_local_root(device: dict[str, Any]) -> bool:
    place = device.get("source_type"), device.get("destination_type", "local"), str(device.get("boot_index", 0))
    return place == ("image", "local", "0")


def _zone(req: Request, body: dict[str, Any]) -> tuple[str | None, str | None, str | None]:
    """Zone, host and node asked for. Administrators may write zone:host:node."""
    zone = body.get("availability_zone")
    host, node = body.get("host"), body.get("hypervisor_hostname")
    if host or node:
        req.enforce(rule="compute:servers:create:requested_destination")
    if zone and ":" in zone:
        parts = zone.split(":")
        if len(parts) > 3:
            raise BadRequest("Unable to parse availability_zone")
        req.enforce(rule="os_compute_api:servers:create:forced_host")
        zone, host, node = (part or None for part in [*parts, "", ""][:3])
    return zone, host, node


def user_data(text: str | None) -> str | None:
    """User data as it was sent. BadRequest when it is not base64."""
    if not text:
        return None
    try:
        base64.b64decode(text, validate=False)
    except binascii.Error:
        raise BadRequest("user_data must be valid base64.") from None
    return text


_COLUMNS = {
    "accessIPv4": "access_ip_v4", "accessIPv6": "access_ip_v6", "OS-DCF:diskConfig": "disk_config",
    "name": "name", "description": "description", "hostname": "hostname", "pinned_availability_zone": "zone",
}  # fmt: skip


def access_ip(version: int, text: str | None) -> str | None:
    """An access address in the usual spelling. BadRequest when it is none of that IP version."""
    if not text:
        return text
    try:
        return str(ipaddress.IPv4Address(text) if version == 4 else ipaddress.IPv6Address(text))
    except ValueError:
        raise BadRequest(f"Invalid accessIPv{version}: {text!r} is no IPv{version} address.") from None


def access_ips(body: dict[str, Any]) -> dict[str, Any]:
    """What a request says, its access addresses in the usual spelling."""
    found = {name: access_ip(version, body[name]) for name, version in (("accessIPv4", 4), ("accessIPv6", 6))
             if name in body}  # fmt: skip
    return {**body, **found}


def update(req: Request, server_id: str) -> dict[str, Any]:
    """Change a server's name, description, access addresses or host name."""
    changes = {_COLUMNS[name]: value for name, value in access_ips(req.body["server"]).items()}
    server = servers.update(req.svc, req.ctx, server_id, changes)
    return {"server": show_changed(req, server)}


def delete(req: Request, server_id: str) -> None:
    """Delete a server."""
    servers.delete(req.svc, req.ctx, server_id)


# ------------------------------------------------------------------------------------------------------------ metadata


def metadata_list(req: Request, server_id: str) -> dict[str, Any]:
    """Show a server's metadata."""
    return {"metadata": servers.show(req.svc, req.ctx, server_id).metadata}


def metadata_update(req: Request, server_id: str) -> dict[str, Any]:
    """Add or change metadata items."""
    return {"metadata": servers.set_metadata(req.svc, req.ctx, server_id, req.body["metadata"], replace_all=False)}


def metadata_replace(req: Request, server_id: str) -> dict[str, Any]:
    """Replace all metadata."""
    return {"metadata": servers.set_metadata(req.svc, req.ctx, server_id, req.body["metadata"], replace_all=True)}


def metadata_show(req: Request, server_id: str, key: str) -> dict[str, Any]:
    """Show one metadata item."""
    found = servers.show(req.svc, req.ctx, server_id).metadata
    if key not in found:
        raise MetadataItemNotFound()
    return {"meta": {key: found[key]}}


def metadata_set(req: Request, server_id: str, key: str) -> dict[str, Any]:
    """Set one metadata item."""
    items = req.body["meta"]
    if set(items) != {key}:
        raise BadRequest("Request body and URI mismatch")
    servers.set_metadata(req.svc, req.ctx, server_id, items, replace_all=False)
    return {"meta": items}


def metadata_delete(req: Request, server_id: str, key: str) -> None:
    """Delete one metadata item."""
    servers.delete_metadata_item(req.svc, req.ctx, server_id, key)


# ---------------------------------------------------------------------------------------------------------------- tags


def tags_list(req: Request, server_id: str) -> dict[str, Any]:
    """List a server's tags."""
    return {"tags": servers.show(req.svc, req.ctx, server_id).tags}


def tags_replace(req: Request, server_id: str) -> dict[str, Any]:
    """Replace all tags."""
    return {"tags": servers.set_tags(req.svc, req.ctx, server_id, req.body["tags"])}


def tags_clear(req: Request, server_id: str) -> None:
    """Delete all tags."""
    servers.set_tags(req.svc, req.ctx, server_id, [])


def tags_show(req: Request, server_id: str, tag: str) -> None:
    """Check that a server has a tag."""
    if tag not in servers.show(req.svc, req.ctx, server_id).tags:
        raise TagNotFound(server_id=server_id, tag=tag)


def tags_add(req: Request, server_id: str, tag: str) -> Reply:
    """Add a tag."""
    if not 1 <= len(tag) <= 60 or "," in tag:
        raise BadRequest("A tag has 1 to 60 characters and no comma.")
    new = servers.add_tag(req.svc, req.ctx, server_id, tag)
    location = f"{req.base_url}/v2.1/servers/{server_id}/tags/{tag}"
    return Reply(status=201 if new else 204, headers=[("Location", location)])


def tags_delete(req: Request, server_id: str, tag: str) -> None:
    """Delete a tag."""
    servers.delete_tag(req.svc, req.ctx, server_id, tag)


# ----------------------------------------------------------------------------------------------------------- addresses


def _addresses(server: Server) -> dict[str, Any]:
    found = network_info.addresses(server.network_info)
    return {label: [{"version": a["version"], "addr": a["addr"]} for a in items] for label, items in found.items()}


def ips_list(req: Request, server_id: str) -> dict[str, Any]:
    """List a server's addresses."""
    return {"addresses": _addresses(servers.show(req.svc, req.ctx, server_id))}


def ips_show(req: Request, server_id: str, label: str) -> dict[str, Any]:
    """List a server's addresses in one network."""
    found = _addresses(servers.show(req.svc, req.ctx, server_id))
    if label not in found:
        raise NetworkLabelNotFound(label=label)
    return {label: found[label]}
