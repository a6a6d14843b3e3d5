# SPDX-License-Identifier: Apache-2.0
"""Servers: making, finding, changing and removing them. Long work is a flow that starts in the same transaction.

What a server was asked to be stands in its `spec`: `flavor` and `image` as they were then, `key_name`, `key_type`,
`public_key`, `config_drive`, `description`, `disk_config`, `zone`, `wanted_host`, `wanted_node`, `hints`, `group_id`,
`networks` (as requested), `security_groups` (names), `security_group_ids`, `has_user_data`, `access_ip_v4`,
`access_ip_v6`, `locked_reason`, `resize` (while one waits to be confirmed).
"""

from __future__ import annotations

import re
import secrets
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from aerie_common import flow as F
from aerie_common.context import Context
from aerie_common.db import new_id, retried, utcnow
from aerie_common.errors import BadRequest, Conflict, Forbidden
from aerie_compute import errors, states
from aerie_compute.db import actions, aggregates, groups, hosts, keypairs, servers
from aerie_compute.db import flavors as flavors_db
from aerie_compute.db.flavors import Flavor
from aerie_compute.db.servers import Filter, Server, Usage
from aerie_compute.fields import isoformat_micros
from aerie_compute.flows import agent
from aerie_compute.flows.server_create import SERVER_CREATE
from aerie_compute.flows.server_delete import SERVER_DELETE
from aerie_compute.logic import quotas

if TYPE_CHECKING:
    from aerie_compute.container import Compute

GIB = 1 << 30
_ALPHABET = string.ascii_letters + string.digits


@dataclass(frozen=True)
class NewServer:
    """What a caller may say about a new server."""

    name: str
    flavor_id: str
    image_id: str | None
    networks: str | Sequence[Mapping[str, Any]] | None = None
    """"auto", "none", a list of {"uuid", "port", "fixed_ip", "tag"}; None: whatever the project has."""
    security_groups: tuple[str, ...] = ()
    key_name: str | None = None
    user_data: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    zone: str | None = None
    host: str | None = None
    node: str | None = None
    hints: Mapping[str, Any] = field(default_factory=dict)
    config_drive: bool = False
    description: str | None = None
    hostname: str | None = None
    disk_config: str = "MANUAL"
    access_ip_v4: str | None = None
    access_ip_v6: str | None = None
    min_count: int = 1
    max_count: int = 1


@dataclass(frozen=True)
class Created:
    """What a create answers: the servers' ids, what they have in common."""

    server_ids: tuple[str, ...]
    reservation_id: str
    security_groups: tuple[str, ...]
    admin_pass: str


# ------------------------------------------------------------------------------------------------------------ creating


def create(svc: Compute, ctx: Context, wanted: NewServer) -> Created:
    """Check everything that can be checked at once, then write servers, quota and flows in one transaction.

    Raises what is wrong with the request (FlavorUnusable, ImageUnusable, NetworkUnusable, KeypairUnusable, ...), or
    ServerQuota.
    """
    flavor = usable_flavor(svc, ctx, wanted.flavor_id)
    limits = quotas.limits(svc, ctx.project_id or "")
    check_metadata(wanted.metadata, limits)
    asks: list[Callable[[], Any]] = [
        lambda: find_image(svc, ctx, wanted.image_id, flavor),
        lambda: find_networks(svc, ctx, wanted),
        lambda: [svc.networks.security_group(ctx, name) for name in wanted.security_groups if name != "default"],
    ]
    image, networks, found_groups = ask_all(svc, asks)
    if "default" in wanted.security_groups and found_groups:
        found_groups = [svc.networks.security_group(ctx, "default"), *found_groups]
    spec = {
        "flavor": flavor.document(),
        "image": image,
        "config_drive": wanted.config_drive,
        "description": wanted.description,
        "disk_config": wanted.disk_config,
        "zone": wanted.zone or svc.conf.default_schedule_zone,
        "wanted_host": wanted.host,
        "wanted_node": wanted.node,
        "hints": dict(wanted.hints),
        "networks": networks,
        "security_groups": [name for _, name in found_groups] or ["default"],
        "security_group_ids": [group_id for group_id, _ in found_groups],
        "has_user_data": wanted.user_data is not None,
        "access_ip_v4": wanted.access_ip_v4,
        "access_ip_v6": wanted.access_ip_v6,
        **_look_up(svc, ctx, wanted),
    }
    password = new_password()
    written = _write(svc, ctx, wanted, spec, limits)
    if spec.get("group_id"):
        _join_group(svc, spec["group_id"], list(written[0]))
    return Created(written[0], written[1], wanted.security_groups or ("default",), password)


def new_password() -> str:
    """A password for a guest's administrator."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(12))


def ask_all(svc: Compute, asks: Sequence[Callable[[], Any]]) -> list[Any]:
    """Ask other services at the same time; the first refusal in order is raised."""
    futures = [svc.threads.submit(ask) for ask in asks[1:]]
    try:
        first = asks[0]()
    finally:
        for future in futures:
            future.exception()
    return [first, *(future.result() for future in futures)]


def usable_flavor(svc: Compute, ctx: Context, flavor_id: str) -> Flavor:
    """A flavor the caller's project may use. FlavorUnusable."""

    @retried
    def find() -> Flavor:
        with svc.api_db.read() as conn:
            found = flavors_db.get(conn, flavor_id, visible_to=None if ctx.is_admin else ctx.project_id or "")
        if found is None or found.disabled:
            raise errors.FlavorUnusable(flavor_id=flavor_id)
        return found

    return svc.flavors.get((None if ctx.is_admin else ctx.project_id, flavor_id), find)


def find_image(svc: Compute, ctx: Context, image_id: str | None, flavor: Flavor) -> dict[str, Any]:
    """An image that fits the flavor. ImageUnusable, ImageNotActive, FlavorTooSmall."""
    if not image_id:
        raise BadRequest("Invalid imageRef provided: servers boot from an image here.")
    image = svc.images.facts(ctx, image_id)
    if flavor.memory_mb < image["min_ram"]:
        raise errors.FlavorTooSmall(what="memory", has=f"{flavor.memory_mb} MiB", needs=f"{image['min_ram']} MiB")
    if flavor.root_gb:
        if flavor.root_gb < image["min_disk"]:
            raise errors.FlavorTooSmall(what="disk", has=f"{flavor.root_gb} GiB", needs=f"{image['min_disk']} GiB")
        size = max(image["virtual_size"] or 0, image["size"])
        if size > flavor.root_gb * GIB:
            raise errors.FlavorTooSmall(what="disk", has=f"{flavor.root_gb * GIB} bytes", needs=f"{size} bytes")
    return image


def find_networks(svc: Compute, ctx: Context, wanted: NewServer) -> list[dict[str, Any]]:
    """The cards of the server as (network, port, address) each. NetworkUnusable, PortUnusable, NetworkAmbiguous, ..."""
    if wanted.networks == "none":
        return []
    if wanted.networks is None or isinstance(wanted.networks, str):
        available = svc.networks.available(ctx)
        if len(available) > 1:
            raise errors.NetworkAmbiguous()
        if available:
            return [{"network_id": available[0]["id"]}]
        return [{"network_id": svc.networks.auto_allocated(ctx)}] if wanted.networks == "auto" else []
    cards = []
    seen = set()
    for given in wanted.networks:
        card: dict[str, Any] = {"tag": given.get("tag")}
        if given.get("port"):
            if wanted.max_count > 1:
                raise BadRequest("Unable to launch multiple instances with a single configured port ID.")
            if given["port"] in seen:
                raise BadRequest(f"Port {given['port']} was given twice.")
            seen.add(given["port"])
            card |= {"port_id": given["port"], "network_id": svc.networks.port(ctx, given["port"])["network_id"]}
        elif given.get("uuid"):
            card |= {"network_id": svc.networks.network(ctx, given["uuid"])["id"], "fixed_ip": given.get("fixed_ip")}
            if given.get("fixed_ip") and wanted.max_count > 1:
                raise BadRequest("Invalid fixed_ip: several servers cannot have the same address.")
        else:
            raise BadRequest("A network needs a uuid or a port.")
        cards.append(card)
    return cards


def check_metadata(metadata: Mapping[str, str], limits: Mapping[str, int]) -> None:
    """MetadataQuota when there are too many items."""
    limit = limits["metadata_items"]
    if 0 <= limit < len(metadata):
        raise errors.MetadataQuota(limit=limit)


@retried
def _look_up(svc: Compute, ctx: Context, wanted: NewServer) -> dict[str, Any]:
    """Key, zone, host and group of a new server. KeypairUnusable, ZoneUnusable, HostUnusable, ServerGroupUnusable."""
    found: dict[str, Any] = {}
    with svc.api_db.read() as conn:
        if wanted.key_name is not None:
            key = keypairs.get(conn, ctx.user_id or "", wanted.key_name)
            if key is None:
                raise errors.KeypairUnusable()
            found |= {"key_name": key.name, "key_type": key.type, "public_key": key.public_key}
        group_id = wanted.hints.get("group")
        if group_id:
            group = groups.get(conn, group_id, None if ctx.is_admin else ctx.project_id)
            if group is None:
                raise errors.ServerGroupUnusable(group_id=group_id)
            found["group_id"] = group.id
        zones = set(aggregates.zones(conn).values()) if wanted.zone else set()
    if wanted.zone and wanted.zone not in zones | {svc.conf.default_availability_zone}:
        raise errors.ZoneUnusable()
    if wanted.host:
        with svc.db.read() as conn:
            if not hosts.nodes(conn, host=wanted.host):
                raise errors.HostUnusable(host=wanted.host)
    return found


@retried
def _join_group(svc: Compute, group_id: str, server_ids: list[str]) -> None:
    with svc.api_db.write() as conn:
        groups.add_members(conn, group_id, server_ids)


@retried
def _write(
    svc: Compute, ctx: Context, wanted: NewServer, spec: dict[str, Any], limits: Mapping[str, int]
) -> tuple[tuple[str, ...], str]:
    flavor = spec["flavor"]
    with svc.db.write() as conn:
        count = _claim(conn, ctx.project_id or "", wanted, flavor, limits)
        ids = [new_id() for _ in range(count)]
        reservation = "r-" + "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(8))
        several = wanted.max_count > 1
        rows = []
        for i, server_id in enumerate(ids):
            name = f"{wanted.name}-{i + 1}" if several else wanted.name
            host_name = wanted.hostname or sanitize(name, server_id)
            rows.append(
                {
                    "id": server_id, "project_id": ctx.project_id, "user_id": ctx.user_id, "name": name,
                    "hostname": f"{host_name}-{i + 1}" if several and wanted.hostname else host_name,
                    "vm_state": states.BUILDING, "task_state": states.SCHEDULING, "power_state": states.NOSTATE,
                    "flavor_id": flavor["id"], "image_id": spec["image"]["id"], "reservation_id": reservation,
                    "launch_index": i, "spec": spec, "metadata": dict(wanted.metadata), "tags": list(wanted.tags),
                    "network_info": [], "fault": None, "created_at": utcnow(),
                }
            )  # fmt: skip
        servers.insert_many(conn, rows, wanted.user_data)
        actions.start(conn, ids, "create", ctx)
        F.start_many(conn, SERVER_CREATE, [(i, {"networks": spec["networks"], "attempt": 1}) for i in ids], ctx)
    return tuple(ids), reservation


def _claim(conn: Any, project_id: str, wanted: NewServer, flavor: dict[str, Any], limits: Mapping[str, int]) -> int:
    """Claim quota for as many servers as there is room for, at least min_count; how many. ServerQuota."""
    most = Usage(limits["instances"], limits["cores"], limits["ram"])

    def take(count: int) -> bool:
        usage = Usage(count, count * flavor["vcpus"], count * flavor["memory_mb"])
        return servers.claim_usage(conn, project_id, usage, most)

    if take(wanted.max_count):
        return wanted.max_count
    used = servers.usage(conn, project_id)
    rooms = [
        (limit - taken) // each
        for limit, taken, each in (
            (most.instances, used.instances, 1),
            (most.cores, used.cores, flavor["vcpus"]),
            (most.ram, used.ram, flavor["memory_mb"]),
        )
        if limit >= 0 and each
    ]
    room = min(rooms, default=0)
    if wanted.min_count <= room < wanted.max_count and take(room):
        return room
    raise over_quota(wanted.min_count, flavor, used, most)


def over_quota(count: int, flavor: Mapping[str, Any], used: Usage, most: Usage) -> errors.ServerQuota:
    """The refusal, naming what is too much."""
    wants = Usage(count, count * flavor["vcpus"], count * flavor["memory_mb"])
    over = [
        name
        for name in quotas.COUNTED
        if getattr(most, name) >= 0 and getattr(used, name) + getattr(wants, name) > getattr(most, name)
    ] or ["instances"]
    return errors.ServerQuota(
        overs=", ".join(over),
        requested=", ".join(str(getattr(wants, name)) for name in over),
        used=", ".join(str(getattr(used, name)) for name in over),
        limit=", ".join(str(getattr(most, name)) for name in over),
    )


_NOT_IN_HOSTNAME = re.compile(r"[^a-z0-9-]+")


def sanitize(name: str, server_id: str) -> str:
    """A host name made of a display name."""
    text = _NOT_IN_HOSTNAME.sub("-", name.strip().lower().replace("_", "-").replace(" ", "-").replace(".", "-"))
    text = re.sub(r"-{2,}", "-", text).strip("-")[:63].strip("-")
    return text or f"server-{server_id}"


# ------------------------------------------------------------------------------------------------------------- finding


@retried
def show(svc: Compute, ctx: Context, server_id: str) -> Server:
    """ServerNotFound for a server that is not there or not for this caller."""
    with svc.db.read() as conn:
        return find(conn, ctx, server_id)


def find(conn: Any, ctx: Context, server_id: str) -> Server:
    """The same within a transaction."""
    found = servers.get(conn, server_id, None if ctx.is_admin else ctx.project_id or "")
    if found is None:
        raise errors.ServerNotFound(server_id=server_id)
    return found


@retried
def list_(
    svc: Compute,
    ctx: Context,
    wanted: Filter,
    *,
    sort: Sequence[tuple[str, str]] = (),
    limit: int | None = None,
    marker: str | None = None,
) -> list[Server]:
    """Servers. BadRequest for a marker that is none."""
    with svc.db.read() as conn:
        after = None
        if marker is not None:
            after = servers.get(conn, marker, wanted.project_id, deleted=True)
            if after is None:
                raise BadRequest(f"marker [{marker}] not found")
        return servers.list_(conn, wanted, sort=sort, limit=limit, marker=after, known=svc.known_servers)


@retried
def user_data(svc: Compute, server: Server) -> str | None:
    """What a server was given to configure itself with, as it was sent."""
    if not server.spec.get("has_user_data"):
        return None
    with svc.db.read() as conn:
        return servers.user_data(conn, server.id)


# ------------------------------------------------------------------------------------------------------------ changing


def change(
    svc: Compute, ctx: Context, server_id: str, make: Callable[[Server], dict[str, Any]], notify: bool = True
) -> Server:
    """Read a server, have `make` say which columns become what, write that if nobody changed it meanwhile."""

    @retried
    def once() -> Server:
        with svc.db.write() as conn:
            for _ in range(20):
                server = find(conn, ctx, server_id)
                values = make(server)
                if not values:
                    return server
                if servers.replace(conn, server, **values):
                    changed = find(conn, ctx, server_id)
                    if notify:
                        agent.notify(conn, "update", changed, ctx, old_display_name=server.name)
                    return changed
        raise errors.ServerNotReady(server_id=server_id)

    return once()


def update(svc: Compute, ctx: Context, server_id: str, values: Mapping[str, Any]) -> Server:
    """Change name, description, access addresses, disk config or host name."""

    def make(server: Server) -> dict[str, Any]:
        spec = dict(server.spec)
        columns: dict[str, Any] = {}
        for key, value in values.items():
            if key == "name":
                columns["name"] = value.strip() or value
            elif key == "hostname":
                columns["hostname"] = value
            elif key == "zone":
                _check_pin(server, value)
                spec["zone"] = value
            else:
                spec[key] = value
        if spec != server.spec:
            columns["spec"] = spec
        return columns

    return change(svc, ctx, server_id, make)


def _check_pin(server: Server, zone: str | None) -> None:
    """A server may be let go of its zone, and be held in the one it is in. Conflict otherwise."""
    held = server.spec.get("zone")
    if zone in (None, held):
        return
    if held is not None:
        raise Conflict(f"Instance {server.id} is pinned to zone {held}: unpin it first.")
    if zone != server.availability_zone:
        raise Conflict(f"Instance {server.id} is in zone {server.availability_zone}: it cannot be pinned to {zone}.")


def set_metadata(
    svc: Compute, ctx: Context, server_id: str, items: Mapping[str, str], *, replace_all: bool
) -> dict[str, str]:
    """Add or replace metadata items; all there are then. MetadataQuota."""
    limits = quotas.limits(svc, ctx.project_id or "")

    def make(server: Server) -> dict[str, Any]:
        _check_unlocked(ctx, server)
        merged = dict(items) if replace_all else {**server.metadata, **items}
        check_metadata(merged, limits)
        return {"metadata": merged}

    return change(svc, ctx, server_id, make).metadata


def delete_metadata_item(svc: Compute, ctx: Context, server_id: str, key: str) -> None:
    """MetadataItemNotFound when there is none of that key."""

    def make(server: Server) -> dict[str, Any]:
        _check_unlocked(ctx, server)
        if key not in server.metadata:
            raise errors.MetadataItemNotFound()
        return {"metadata": {k: v for k, v in server.metadata.items() if k != key}}

    change(svc, ctx, server_id, make)


MAX_TAGS = 50


def set_tags(svc: Compute, ctx: Context, server_id: str, tags: Sequence[str]) -> list[str]:
    """Replace all tags."""
    unique = sorted(set(tags))
    if len(unique) > MAX_TAGS:
        raise BadRequest(f"The number of tags exceeded the per-server limit {MAX_TAGS}")
    return change(svc, ctx, server_id, lambda server: {"tags": unique}).tags


def add_tag(svc: Compute, ctx: Context, server_id: str, tag: str) -> bool:
    """True when the server did not have it yet."""
    before = show(svc, ctx, server_id)
    set_tags(svc, ctx, server_id, [*before.tags, tag])
    return tag not in before.tags


def delete_tag(svc: Compute, ctx: Context, server_id: str, tag: str) -> None:
    """TagNotFound when the server has none of that name."""

    def make(server: Server) -> dict[str, Any]:
        if tag not in server.tags:
            raise errors.TagNotFound(server_id=server_id, tag=tag)
        return {"tags": [t for t in server.tags if t != tag]}

    change(svc, ctx, server_id, make)


def lock(svc: Compute, ctx: Context, server_id: str, reason: str | None = None) -> None:
    """From now on only administrators change the server."""
    by = "admin" if ctx.is_admin else "owner"
    change(svc, ctx, server_id, lambda s: {"locked_by": by, "spec": {**s.spec, "locked_reason": reason}})


def unlock(svc: Compute, ctx: Context, server_id: str) -> None:
    """The inverse of lock. Forbidden for owners when an administrator locked it."""

    def make(server: Server) -> dict[str, Any]:
        if server.locked_by == "admin" and not ctx.is_admin:
            raise Forbidden("The server was locked by an administrator.")
        return {"locked_by": None, "spec": {**server.spec, "locked_reason": None}}

    change(svc, ctx, server_id, make)


def _check_unlocked(ctx: Context, server: Server) -> None:
    if server.locked_by is not None and not ctx.is_admin:
        raise errors.ServerLocked(server_id=server.id)


check_unlocked = _check_unlocked


@retried
def reset_state(svc: Compute, ctx: Context, server_id: str, vm_state: str) -> None:
    """An administrator says what the server is. Work under way is given up."""
    with svc.db.write() as conn:
        server = find(conn, ctx, server_id)
        F.cancel(conn, server.id)
        actions.start(conn, [server.id], "os-resetState", ctx)
        servers.settle(conn, server.id, of=(server.task_state, None), vm_state=vm_state)


# ------------------------------------------------------------------------------------------------------------ removing


@retried
def delete(svc: Compute, ctx: Context, server_id: str) -> None:
    """Start to remove a server, whatever is being done to it. Once more is fine."""
    with svc.db.write() as conn:
        server = find(conn, ctx, server_id)
        _check_unlocked(ctx, server)
        if not servers.begin_delete(conn, server.id):
            return
        waits_for = F.cancel(conn, server.id)
        actions.start(conn, [server.id], "delete", ctx)
        asked = {"asked_at": isoformat_micros(utcnow())}
        F.start(conn, SERVER_DELETE, server.id, asked, ctx, after=waits_for, project_id=server.project_id)
        agent.notify(conn, "delete.start", replace(server, task_state=states.DELETING), ctx)
