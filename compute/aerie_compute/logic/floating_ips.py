# SPDX-License-Identifier: Apache-2.0
"""Floating addresses as older microversions know them. They belong to the network service, which is asked as the caller
asks; only the wording is this API's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from aerie_common.clients import RemoteError, ServiceClient
from aerie_common.context import Context
from aerie_common.errors import BadRequest, Forbidden
from aerie_compute import errors
from aerie_compute.logic import servers

if TYPE_CHECKING:
    from aerie_compute.container import Compute

PATH = "/floatingips"


def _network(svc: Compute) -> ServiceClient:
    return svc.clients["network"]


def list_(svc: Compute, ctx: Context) -> list[dict[str, Any]]:
    """The addresses of the caller's project."""
    query = urlencode({"tenant_id": ctx.project_id or ""})
    return [_named(svc, ip) for ip in _network(svc).get(f"{PATH}?{query}", ctx, as_user=True)["floatingips"]]


def show(svc: Compute, ctx: Context, floating_ip_id: str) -> dict[str, Any]:
    """FloatingIpNotFound."""
    try:
        found = _network(svc).get(f"{PATH}/{quote(floating_ip_id, safe='')}", ctx, as_user=True)["floatingip"]
    except RemoteError as e:
        raise _refusal(e, floating_ip_id) from e
    return _named(svc, found)


def create(svc: Compute, ctx: Context, pool: str | None) -> dict[str, Any]:
    """An address of a pool, which is the name or the id of an external network. FloatingIpPoolNotFound, Forbidden."""
    body = {"floating_network_id": _pool(svc, ctx, pool)}
    try:
        made = _network(svc).post(PATH, {"floatingip": body}, ctx, as_user=True)["floatingip"]
    except RemoteError as e:
        if e.status == 409 and e.kind == "OverQuota":
            raise Forbidden(e.message) from e
        if e.status in (404, 409):
            raise errors.FloatingIpNotFound(e.message) from e
        raise
    return _named(svc, made)


def delete(svc: Compute, ctx: Context, floating_ip_id: str) -> None:
    """FloatingIpNotFound."""
    try:
        _network(svc).request("DELETE", f"{PATH}/{quote(floating_ip_id, safe='')}", ctx, as_user=True)
    except RemoteError as e:
        raise _refusal(e, floating_ip_id) from e


def pools(svc: Compute, ctx: Context) -> list[str]:
    """Names of the networks that addresses can be taken from."""
    return [network["name"] or network["id"] for network in _external(svc, ctx)]


def add(svc: Compute, ctx: Context, server_id: str, address: str, fixed_address: str | None) -> None:
    """Let an address lead to a server, wherever it led before. FloatingIpNotFound, BadRequest."""
    server = servers.show(svc, ctx, server_id)
    fixed = [(ip["address"], port["port_id"]) for port in server.network_info for ip in port["fixed_ips"]]
    if not fixed:
        raise BadRequest("No fixed IPs associated to instance")
    if fixed_address is not None:
        fixed = [pair for pair in fixed if pair[0] == fixed_address]
        if not fixed:
            raise BadRequest("Specified fixed address not assigned to instance")
    target = next((pair for pair in fixed if ":" not in pair[0]), None)
    if target is None:
        raise BadRequest(f"Instance {server_id} has no fixed IPv4 address that {address} could lead to.")
    found = _by_address(svc, ctx, address)
    _point(svc, ctx, found["id"], {"port_id": target[1], "fixed_ip_address": target[0]})


def remove(svc: Compute, ctx: Context, server_id: str, address: str) -> None:
    """Let an address lead nowhere. FloatingIpNotFound, FloatingIpElsewhere when it does not lead to this server."""
    found = _by_address(svc, ctx, address)
    server = servers.show(svc, ctx, server_id)
    if found["port_id"] is None or found["port_id"] not in {port["port_id"] for port in server.network_info}:
        raise errors.FloatingIpElsewhere(address=address, server_id=server_id)
    _point(svc, ctx, found["id"], {"port_id": None})


def _point(svc: Compute, ctx: Context, floating_ip_id: str, values: dict[str, Any]) -> None:
    try:
        _network(svc).put(f"{PATH}/{floating_ip_id}", {"floatingip": values}, ctx, as_user=True)
    except RemoteError as e:
        if e.status in (400, 404, 409):
            raise BadRequest(e.message) from e
        raise


def _by_address(svc: Compute, ctx: Context, address: str) -> dict[str, Any]:
    query = urlencode({"floating_ip_address": address})
    found = _network(svc).get(f"{PATH}?{query}", ctx, as_user=True)["floatingips"]
    if not found:
        raise errors.FloatingIpNotFound(f"Floating IP not found for address {address}.")
    return dict(found[0])


def _external(svc: Compute, ctx: Context) -> list[dict[str, Any]]:
    return list(_network(svc).get("/networks?router:external=True", ctx, as_user=True)["networks"])


def _pool(svc: Compute, ctx: Context, pool: str | None) -> str:
    networks = _external(svc, ctx)
    if pool is None:
        networks.sort(key=lambda network: not network.get("is_default"))
    else:
        networks = [network for network in networks if pool in (network["name"], network["id"])]
    if not networks:
        raise errors.FloatingIpPoolNotFound()
    return str(networks[0]["id"])


def _named(svc: Compute, ip: dict[str, Any]) -> dict[str, Any]:
    """The address with the name of its pool."""
    network = svc.networks.describe(ip["floating_network_id"])
    return {**ip, "pool": network.get("name") or network["id"]}


def _refusal(error: RemoteError, floating_ip_id: str) -> Exception:
    return errors.FloatingIpNotFound(floating_ip_id=floating_ip_id) if error.status == 404 else error
