# SPDX-License-Identifier: Apache-2.0
"""The ports of a server: made or adopted, bound to its host, and let go again.

Invariant: a port that this service made carries the server's id as device_id and is deleted with the server; one that
its owner brought is given back as it was. What is found of an earlier attempt is adopted, so nothing is made twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from aerie_common.clients import RemoteError
from aerie_common.context import Context
from aerie_common.db import retried
from aerie_common.errors import ServiceUnavailable
from aerie_common.flow import Fail, Run
from aerie_compute import network_info
from aerie_compute.db import records, servers
from aerie_compute.db.servers import Server
from aerie_compute.flows.agent import patiently

if TYPE_CHECKING:
    from aerie_compute.container import Compute

PLUGGED = "network-vif-plugged"


def owner_of(zone: str | None) -> str:
    """The device_owner of a server's ports."""
    return f"compute:{zone or 'nova'}"


def new_port(server: Server, wanted: dict[str, Any], host: str, zone: str | None) -> dict[str, Any]:
    """The body of a port for a card of the server."""
    body: dict[str, Any] = {
        "network_id": wanted["network_id"],
        "project_id": server.project_id,
        "device_id": server.id,
        "device_owner": owner_of(zone),
        "admin_state_up": True,
        "binding:host_id": host,
        "dns_name": server.hostname,
    }
    if wanted.get("fixed_ip"):
        body["fixed_ips"] = [{"ip_address": wanted["fixed_ip"]}]
    if server.spec.get("security_group_ids"):
        body["security_groups"] = list(server.spec["security_group_ids"])
    return body


def plug(
    svc: Compute, ctx: Context, server: Server, wanted: Sequence[dict[str, Any]], host: str, zone: str | None
) -> list[dict[str, Any]]:
    """Make or adopt the wanted ports and bind them to the host; the server's network information, in that order.

    Fail when the network service refuses, Retry when it does not answer."""
    try:
        return _plug(svc, ctx, server, wanted, host, zone)
    except RemoteError as e:
        if e.status >= 500:
            raise patiently(e) from e
        raise Fail(f"The network service refused a port: {e.message}", code=e.kind or "network_refused") from e
    except ServiceUnavailable as e:
        raise patiently(e) from e


def _plug(
    svc: Compute, ctx: Context, server: Server, wanted: Sequence[dict[str, Any]], host: str, zone: str | None
) -> list[dict[str, Any]]:
    api = svc.networks
    brought = {w["port_id"] for w in wanted if w.get("port_id")}
    own = api.ports_of(server.id, ctx, project_id=server.project_id) if wanted else []
    spare = [port for port in own if port["id"] not in brought]
    found: list[dict[str, Any] | None] = []
    missing = []
    for want in wanted:
        if want.get("port_id"):
            values = {"device_id": server.id, "device_owner": owner_of(zone), "binding:host_id": host}
            if server.hostname:
                values["dns_name"] = server.hostname
            found.append(api.update_port(want["port_id"], values, ctx))
            continue
        port = next((p for p in spare if p["network_id"] == want["network_id"]), None)
        if port is not None:
            spare.remove(port)
            if port.get("binding:host_id") != host:
                port = api.update_port(port["id"], {"binding:host_id": host, "device_owner": owner_of(zone)}, ctx)
        else:
            missing.append(new_port(server, want, host, zone))
        found.append(port)
    made = iter(api.create_ports(missing, ctx) if missing else ())
    info = []
    for want, port in zip(wanted, found, strict=True):
        port = port or next(made)
        network = api.describe(port["network_id"])
        subnets = api.subnets(port["network_id"])
        created = not want.get("port_id")
        info.append(network_info.entry(port, network, subnets, created=created, tag=want.get("tag")))
    return info


def plug_one(svc: Compute, ctx: Context, wanted: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    """One more card for a server that has a host; its entry. Raises as `plug`."""
    try:
        if wanted.get("port_id"):
            taken = {name: body[name] for name in ("device_id", "device_owner", "binding:host_id", "dns_name")}
            port = svc.networks.update_port(wanted["port_id"], taken, ctx)
        else:
            port = svc.networks.create_ports([body], ctx)[0]
        network, subnets = svc.networks.describe(port["network_id"]), svc.networks.subnets(port["network_id"])
    except RemoteError as e:
        if e.status >= 500:
            raise patiently(e) from e
        raise Fail(f"The network service refused a port: {e.message}", code=e.kind or "network_refused") from e
    except ServiceUnavailable as e:
        raise patiently(e) from e
    return network_info.entry(port, network, subnets, created=not wanted.get("port_id"), tag=wanted.get("tag"))


def unplug(svc: Compute, ctx: Context, server_id: str, brought: Sequence[str]) -> None:
    """Delete the ports made for a server, give back those that were brought. Retry when nobody answers."""
    try:
        for port in svc.networks.ports_of(server_id, ctx):
            if port["id"] in brought:
                svc.networks.release_port(port["id"], ctx)
            else:
                svc.networks.delete_port(port["id"], ctx)
    except (RemoteError, ServiceUnavailable) as e:
        raise patiently(e) from e


def brought_ports(server: Server) -> list[str]:
    """Ports of the server that its owner made."""
    return [entry["port_id"] for entry in server.network_info if not entry["created"]] + [
        want["port_id"] for want in server.spec.get("networks", ()) if want.get("port_id")
    ]


@retried
def all_plugged(svc: Compute, server_id: str, port_ids: Sequence[str]) -> bool:
    """Has the network service reported every one of these ports as wired? Fail when it reported a failure."""
    with svc.db.read() as conn:
        seen = records.events(conn, server_id, PLUGGED)
    if any(seen.get(port_id) == "failed" for port_id in port_ids):
        raise Fail("A network port could not be wired on the host.", code="port_failed", elsewhere=True)
    return all(port_id in seen for port_id in port_ids)


def ask_if_active(svc: Compute, ctx: Context, server_id: str, port_ids: Sequence[str]) -> bool:
    """The same, asked of the network service itself, in case an event got lost."""
    try:
        active = {port["id"] for port in svc.networks.ports_of(server_id, ctx) if port.get("status") == "ACTIVE"}
    except (RemoteError, ServiceUnavailable):
        return False
    return set(port_ids) <= active


@retried
def remember(svc: Compute, server_id: str, info: list[dict[str, Any]]) -> None:
    """Keep the server's network information."""
    with svc.db.write() as conn:
        servers.update(conn, server_id, network_info=info, network_stale=False)


@retried
def forget(svc: Compute, server_id: str) -> None:
    """The inverse of remember; events about its ports are of no use any more."""
    with svc.db.write() as conn:
        records.drop_events(conn, server_id)
        servers.update(conn, server_id, network_info=[])


def wait_reason(run: Run[Compute]) -> str:
    return f"waits for the network service to wire the ports of {run.subject_id}"
