# SPDX-License-Identifier: Apache-2.0
"""Fields of ports."""

from __future__ import annotations

from typing import Any

from aerie_common import schema
from aerie_common.context import Context
from aerie_common.fields import Field, Resource
from aerie_network.db.ports import Port
from aerie_network.drivers.base import bridge_name
from aerie_network.schemas import common

FIXED_IP = schema.obj({"subnet_id": schema.uuid(), "ip_address": common.ADDRESS})
FIXED_IP["minProperties"] = 1
PAIR = schema.obj({"ip_address": common.CIDR, "mac_address": common.MAC}, ["ip_address"])
DHCP_OPTION = schema.obj(
    {
        "opt_name": schema.string(min=1, max=64, pattern=r"^[A-Za-z0-9-]+$"),
        "opt_value": schema.string(max=255, pattern=common.PLAIN, nullable=True),
        "ip_version": schema.integer(4, 6, text=True),
    },
    ["opt_name"],
)
DNS_NAME = schema.string(
    max=253,
    pattern=r"^$|^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*\.?$",
)


def _fixed_ips(port: Port, ctx: Context) -> list[dict[str, str]]:
    return [{"subnet_id": subnet_id, "ip_address": address} for subnet_id, address in port.fixed_ips]


def _vif_details(port: Port, ctx: Context) -> dict[str, Any]:
    if not port.bound:
        return {}
    return {"port_filter": True, "connectivity": "l2", "bridge_name": bridge_name(port.network_id)}


def dns_assignment(port: Port, domain: str) -> list[dict[str, str]]:
    """The names under which the network's own DNS knows the port's addresses."""
    full = domain if domain.endswith(".") else domain + "."
    found = []
    for _, address in port.fixed_ips:
        host = port.dns_name or "host-" + address.replace(".", "-").replace(":", "-")
        name = host if host.endswith(".") else f"{host}.{full}"
        found.append({"ip_address": address, "hostname": host.partition(".")[0], "fqdn": name})
    return found


def _admin(name: str, type_: schema.Schema, read: Any, **kw: Any) -> Field:
    return Field(name, type_, read=read, create=True, update=True, policy=f"create_port:{name}", **kw)


PORT = Resource(
    "port",
    "ports",
    [
        *common.identity(),
        Field("network_id", schema.uuid(), create="required", filter=True, sort=True),
        Field(
            "mac_address",
            common.MAC,
            create=True,
            update=True,
            filter=True,
            sort=True,
            policy="create_port:mac_address",
            convert=lambda v: v.lower().replace("-", ":"),
        ),
        common.flag("admin_state_up", default=True),
        Field("status", schema.string(), filter=True, sort=True),
        Field(
            "device_id",
            schema.string(max=255, pattern=common.PLAIN),
            create=True,
            update=True,
            default="",
            filter=True,
            sort=True,
        ),
        Field(
            "device_owner",
            schema.string(max=255, pattern=common.PLAIN),
            create=True,
            update=True,
            default="",
            filter=True,
            sort=True,
        ),
        Field(
            "fixed_ips", schema.array(FIXED_IP, nullable=True), create=True, update=True, read=_fixed_ips, filter=True
        ),
        Field(
            "security_groups",
            {**schema.array(schema.uuid(), nullable=True), "uniqueItems": True},
            create=True,
            update=True,
            read=lambda row, ctx: list(row.security_groups),
            filter=True,
        ),
        Field(
            "allowed_address_pairs",
            schema.array(PAIR, nullable=True),
            create=True,
            update=True,
            default=list,
            policy="create_port:allowed_address_pairs",
        ),
        Field("extra_dhcp_opts", schema.array(DHCP_OPTION, nullable=True), create=True, update=True, default=list),
        common.flag("port_security_enabled", default=None, policy="create_port:port_security_enabled"),
        Field("dns_name", DNS_NAME, create=True, update=True, default="", filter=True, sort=True),
        Field("dns_domain", DNS_NAME, create=True, update=True, default="", filter=True, sort=True),
        Field(
            "dns_assignment",
            schema.array(schema.obj(extra=True)),
            read=lambda row, ctx: dns_assignment(row, "openstacklocal."),
        ),
        Field("ip_allocation", schema.string(), filter=True),
        Field("qos_policy_id", schema.string(nullable=True), read=lambda row, ctx: None),
        Field("qos_network_policy_id", schema.string(nullable=True), read=lambda row, ctx: None),
        Field("resource_request", schema.obj(nullable=True, extra=True), read=lambda row, ctx: None),
        _admin("binding:host_id", schema.string(max=255, pattern=common.PLAIN, nullable=True), "host", filter=True),
        _admin("binding:profile", schema.obj(extra=True, nullable=True), "profile"),
        Field(
            "binding:vnic_type",
            schema.enum(
                "normal",
                "direct",
                "macvtap",
                "baremetal",
                "direct-physical",
                "virtio-forwarder",
                "smart-nic",
                "remote-managed",
                "accelerator-direct",
                "accelerator-direct-physical",
                "vdpa",
            ),
            read="vnic_type",
            create=True,
            update=True,
            filter=True,
        ),
        Field("binding:vif_type", schema.string(), read="vif_type", filter=True),
        Field("binding:vif_details", schema.obj(extra=True), read=_vif_details),
        *common.standard(),
    ],
)
BINDING = frozenset(
    {"binding:host_id", "binding:profile", "binding:vif_type", "binding:vif_details", "resource_request"}
)
_EVERYBODY = frozenset(PORT.fields) - BINDING


def show(port: Port, ctx: Context, domain: str, only: frozenset[str] = frozenset()) -> dict[str, Any]:
    """A port as this caller may see it; `domain` is the service's default DNS domain."""
    allowed = only or None
    if not ctx.is_admin and "service" not in ctx.roles:
        allowed = _EVERYBODY & only if only else _EVERYBODY
    shown = PORT.show(port, ctx, only=allowed)
    if port.fixed_ips and "dns_assignment" in shown:
        shown["dns_assignment"] = dns_assignment(port, domain)
    return shown
