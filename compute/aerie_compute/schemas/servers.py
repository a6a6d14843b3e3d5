# SPDX-License-Identifier: Apache-2.0
"""The fields of a server: what a request may say of it, and what is shown in which microversion.

Links are added by `api.servers`, as they depend on the address the client used.
"""

from __future__ import annotations

import functools
import hashlib
from typing import Any

from aerie_common import schema
from aerie_common.context import Context
from aerie_common.fields import NO_VERSION, Field, Resource
from aerie_common.microversions import Version, parse
from aerie_common.schema import Schema
from aerie_compute import network_info, states
from aerie_compute.db.servers import Server
from aerie_compute.fields import isoformat, isoformat_micros
from aerie_compute.logic.guests import guest_name

DISK_CONFIG = schema.enum("AUTO", "MANUAL")
NAME = schema.string(1, 255, pattern=r"^[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*$")
HOSTNAME = schema.string(
    1, 255, pattern=r"^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$"
)
METADATA = schema.obj(patterns={r"^[a-zA-Z0-9\-_:. ]{1,255}$": schema.string(0, 255)})
TAG = schema.string(1, 60, pattern=r"^[^,/]*$")
TAGS = schema.array(TAG, max=50)
IP = schema.string(0, 64, pattern=r"^[0-9A-Fa-f:.]*$", nullable=True)
ADDRESS = schema.string(1, 64, pattern=r"^[0-9A-Fa-f:.]+$")
USER_DATA = schema.string(0, 65535, pattern=r"^[A-Za-z0-9+/=\r\n]*$", nullable=True)
COUNT = schema.integer(1, 1000, text=True)
DEVICE_TAG = schema.string(1, 60, pattern=r"^[^,/]*$", nullable=True)


def _network(version: Version) -> Schema:
    """One network of a new server; tags of devices came with 2.32, went and came back with 2.42."""
    tagged = version in (NO_VERSION, parse("2.32")) or version >= parse("2.42")
    return schema.obj(
        {
            "uuid": schema.uuid(),
            "fixed_ip": schema.string(1, 64, pattern=r"^[0-9A-Fa-f:.]+$"),
            "port": schema.uuid(nullable=True),
            **({"tag": DEVICE_TAG} if tagged else {}),
        }
    )


def _bdm() -> Schema:
    return schema.array(
        schema.obj(
            {
                "boot_index": {}, "source_type": schema.enum("image", "blank", "volume", "snapshot"),
                "destination_type": schema.enum("local", "volume"), "uuid": {}, "volume_size": {},
                "delete_on_termination": {}, "device_name": {}, "guest_format": {}, "disk_bus": {}, "device_type": {},
                "no_device": {}, "tag": {}, "volume_type": {}, "image_id": {},
            }
        )
    )  # fmt: skip


HINTS = schema.obj(
    {
        "group": schema.uuid(), "same_host": schema.any_of(schema.uuid(), schema.array(schema.uuid())),
        "different_host": schema.any_of(schema.uuid(), schema.array(schema.uuid())),
    },
    extra=True,
)  # fmt: skip


class _NewServer(Resource):
    """POST /servers: hints stand beside the server, and networks differ by microversion."""

    def object_schema(self, verb: Any, version: Version = NO_VERSION) -> Schema:
        made = super().object_schema(verb, version)
        network = schema.array(_network(version))
        if version == NO_VERSION or version >= parse("2.37"):
            made["properties"]["networks"] = schema.any_of(network, schema.enum("none", "auto"))
            made["required"] = [*made["required"], "networks"]
        else:
            made["properties"]["networks"] = network
        return made

    def body_schema(self, verb: Any, version: Version = NO_VERSION) -> Schema:
        body = super().body_schema(verb, version)
        body["properties"]["os:scheduler_hints"] = HINTS
        body["properties"]["OS-SCH-HNT:scheduler_hints"] = HINTS
        return body


NEW_SERVER = _NewServer(
    "server",
    "servers",
    [
        Field("name", NAME, create="required"),
        Field("flavorRef", {"type": ["string", "integer"]}, create="required"),
        Field("imageRef", schema.string(max=255), create=True),
        Field("networks", create=True),
        Field("security_groups", schema.array(schema.obj({"name": schema.string(0, 255)})), create=True),
        Field("key_name", schema.string(0, 255), create=True),
        Field("user_data", USER_DATA, create=True),
        Field("metadata", METADATA, create=True),
        Field("adminPass", schema.string(), create=True),
        Field("availability_zone", schema.name(1, 255), create=True),
        Field("config_drive", schema.boolean(text=True, nullable=True), create=True),
        Field("accessIPv4", IP, create=True),
        Field("accessIPv6", IP, create=True),
        Field("OS-DCF:diskConfig", DISK_CONFIG, create=True),
        Field("min_count", COUNT, create=True),
        Field("max_count", COUNT, create=True),
        Field("return_reservation_id", schema.boolean(text=True), create=True),
        Field("block_device_mapping", schema.array(schema.obj(extra=True)), create=True),
        Field("block_device_mapping_v2", _bdm(), create=True),
        Field("personality", schema.array(schema.obj(extra=True)), create=True, until="2.56"),
        Field("description", schema.string(nullable=True), create=True, since="2.19"),
        Field("tags", TAGS, create=True, since="2.52"),
        Field("trusted_image_certificates", schema.array(schema.string(1), nullable=True), create=True, since="2.63"),
        Field("host", schema.name(1, 255), create=True, since="2.74"),
        Field("hypervisor_hostname", schema.name(1, 255), create=True, since="2.74"),
        Field("hostname", HOSTNAME, create=True, since="2.90"),
    ],
)

CHANGED_SERVER = Resource(
    "server",
    "servers",
    [
        Field("name", NAME, update=True),
        Field("accessIPv4", IP, update=True),
        Field("accessIPv6", IP, update=True),
        Field("OS-DCF:diskConfig", DISK_CONFIG, update=True),
        Field("description", schema.string(nullable=True), update=True, since="2.19"),
        Field("hostname", HOSTNAME, update=True, since="2.90"),
        Field("pinned_availability_zone", schema.name(1, 255, nullable=True), update=True, since="2.104"),
    ],
)

# ------------------------------------------------------------------------------------------------------------- showing


@functools.lru_cache(maxsize=4096)
def host_id(project_id: str, host: str) -> str:
    """A name for the host that tells the project nothing but whether two servers share it."""
    return hashlib.sha224((project_id + host).encode()).hexdigest()


_WITH_PROGRESS = frozenset({"ACTIVE", "BUILD", "REBUILD", "RESIZE", "VERIFY_RESIZE", "MIGRATING"})


def _groups(row: Server, ctx: Context) -> list[dict[str, str]]:
    return [{"name": name} for name in row.spec.get("security_groups") or ()]


def _flavor(row: Server, ctx: Context) -> dict[str, Any]:
    f = row.flavor
    return {
        "vcpus": f["vcpus"], "ram": f["memory_mb"], "disk": f["root_gb"], "ephemeral": f["ephemeral_gb"],
        "swap": f["swap"], "original_name": f["name"], "extra_specs": f["extra_specs"],
    }  # fmt: skip


def _spec(key: str, default: Any = None) -> Any:
    return lambda row, ctx: row.spec.get(key, default)


SERVER = Resource(
    "server",
    "servers",
    [
        Field("id", schema.uuid()),
        Field("name", schema.string()),
        Field("status", schema.string()),
        Field("tenant_id", read="project_id"),
        Field("user_id"),
        Field("metadata"),
        Field("hostId", read=lambda s, ctx: host_id(s.project_id, s.host) if s.host else ""),
        Field("image", read="image_id"),
        Field("flavor", since="2.47", read=_flavor),
        Field("created", read=lambda s, ctx: isoformat(s.created_at)),
        Field("updated", read=lambda s, ctx: isoformat(s.changed_at)),
        Field("addresses", read=lambda s, ctx: network_info.addresses(s.network_info)),
        Field("accessIPv4", read=lambda s, ctx: s.spec.get("access_ip_v4") or ""),
        Field("accessIPv6", read=lambda s, ctx: s.spec.get("access_ip_v6") or ""),
        Field("OS-DCF:diskConfig", read=_spec("disk_config", "MANUAL")),
        Field("OS-EXT-AZ:availability_zone", read=lambda s, ctx: s.availability_zone or s.spec.get("zone") or ""),
        Field("config_drive", read=lambda s, ctx: "True" if s.spec.get("config_drive") else ""),
        Field("key_name", read=_spec("key_name")),
        Field("OS-SRV-USG:launched_at", read=lambda s, ctx: isoformat_micros(s.launched_at)),
        Field("OS-SRV-USG:terminated_at", read=lambda s, ctx: isoformat_micros(s.terminated_at)),
        Field("security_groups", read=_groups),
        Field("OS-EXT-STS:task_state", read="task_state"),
        Field("OS-EXT-STS:vm_state", read="vm_state"),
        Field("OS-EXT-STS:power_state", read="power_state"),
        Field("os-extended-volumes:volumes_attached", read=lambda s, ctx: []),
        Field("locked", since="2.9", read=lambda s, ctx: s.locked_by is not None),
        Field("description", since="2.19", read=_spec("description")),
        Field("tags", since="2.26"),
        Field("trusted_image_certificates", since="2.63", read=lambda s, ctx: None),
        Field("locked_reason", since="2.73", read=_spec("locked_reason")),
        Field("pinned_availability_zone", since="2.96", read=_spec("zone")),
        Field("scheduler_hints", since="2.100", read=_spec("hints", {})),
    ],
)

ADMIN = Resource(
    "server",
    "servers",
    [
        Field("OS-EXT-SRV-ATTR:host", read="host"),
        Field("OS-EXT-SRV-ATTR:hypervisor_hostname", read="node"),
        Field("OS-EXT-SRV-ATTR:instance_name", read=lambda s, ctx: guest_name("instance-{short_id}", s.id)),
        Field("OS-EXT-SRV-ATTR:reservation_id", since="2.3", read="reservation_id"),
        Field("OS-EXT-SRV-ATTR:launch_index", since="2.3", read="launch_index"),
        Field("OS-EXT-SRV-ATTR:hostname", since="2.3", read="hostname"),
        Field(
            "OS-EXT-SRV-ATTR:kernel_id",
            since="2.3",
            read=lambda s, ctx: s.spec["image"]["properties"].get("kernel_id", ""),
        ),
        Field(
            "OS-EXT-SRV-ATTR:ramdisk_id",
            since="2.3",
            read=lambda s, ctx: s.spec["image"]["properties"].get("ramdisk_id", ""),
        ),
        Field("OS-EXT-SRV-ATTR:root_device_name", since="2.3", read=lambda s, ctx: "/dev/vda"),
    ],
)
"""What only administrators are shown (from 2.90 on everybody is shown the host name)."""


def fault(server: Server, details: bool) -> dict[str, Any] | None:
    """The fault of a server that has one; `details` for administrators."""
    f = server.fault
    if f is None:
        return None
    shown = {"code": f["code"], "created": f["created"].partition(".")[0] + "Z", "message": f.get("full", f["message"])}
    return {**shown, "details": f["details"]} if details else shown


def view(server: Server, ctx: Context, version: Version) -> dict[str, Any]:
    """The server without links, as this caller may see it."""
    shown = SERVER.show(server, ctx, version)
    if not shown["security_groups"]:
        del shown["security_groups"]  # a server without cards or groups has none to show
    status = shown["status"]
    if status in _WITH_PROGRESS:
        shown["progress"] = 100 if server.vm_state == states.ACTIVE else 0
    elif status in ("ERROR", "DELETED"):
        found = fault(server, ctx.is_admin)
        if found:
            shown["fault"] = found
    if ctx.is_admin:
        shown.update(ADMIN.show(server, ctx, version))
    elif version >= (2, 90):
        shown["OS-EXT-SRV-ATTR:hostname"] = server.hostname
    return shown


# ------------------------------------------------------------------------------------------------------------- actions


def action(name: str, inner: Schema | None = None) -> Schema:
    """A body whose only key is the action's name; its value is anything unless `inner` says what."""
    return schema.obj({name: inner if inner is not None else schema.anything()}, [name])


REBOOT = action("reboot", schema.obj({"type": {"enum": ["HARD", "Hard", "hard", "SOFT", "Soft", "soft"]}}, ["type"]))
RESIZE = action(
    "resize",
    schema.obj({"flavorRef": {"type": ["string", "integer"]}, "OS-DCF:diskConfig": DISK_CONFIG}, ["flavorRef"]),
)
CREATE_IMAGE = action("createImage", schema.obj({"name": NAME, "metadata": METADATA}, ["name"]))
CONSOLE_OUTPUT = action(
    "os-getConsoleOutput", schema.obj({"length": schema.any_of(schema.integer(-1, text=True), {"type": "null"})})
)
CHANGE_PASSWORD = action("changePassword", schema.obj({"adminPass": schema.string(max=None)}, ["adminPass"]))
RESET_STATE = action("os-resetState", schema.obj({"state": schema.enum("active", "error")}, ["state"]))
GROUP = schema.obj({"name": schema.string(1, 255)}, ["name"])
ADD_FLOATING_IP = action("addFloatingIp", schema.obj({"address": ADDRESS, "fixed_address": ADDRESS}, ["address"]))
REMOVE_FLOATING_IP = action("removeFloatingIp", schema.obj({"address": ADDRESS}, ["address"]))
RESCUE = action("rescue", schema.obj({"adminPass": schema.string(), "rescue_image_ref": schema.uuid()}, nullable=True))
LOCK = action("lock", schema.any_of({"type": "null"}, schema.obj({"locked_reason": schema.string(1, 255)})))
LOCK_OLD = action("lock")


class _Rebuild(Resource):
    """The body of the action rebuild."""

    def body_schema(self, verb: Any, version: Version = NO_VERSION) -> Schema:
        return schema.obj({"rebuild": self.object_schema(verb, version)}, ["rebuild"])


REBUILD = _Rebuild(
    "rebuild",
    "rebuild",
    [
        Field("imageRef", schema.string(1), create="required"),
        Field("name", NAME, create=True),
        Field("adminPass", schema.string(), create=True),
        Field("metadata", METADATA, create=True),
        Field("preserve_ephemeral", schema.boolean(text=True), create=True),
        Field("accessIPv4", IP, create=True),
        Field("accessIPv6", IP, create=True),
        Field("OS-DCF:diskConfig", DISK_CONFIG, create=True),
        Field("personality", schema.array(schema.obj(extra=True)), create=True, until="2.56"),
        Field("description", schema.string(nullable=True), create=True, since="2.19"),
        Field("key_name", schema.string(1, 255, nullable=True), create=True, since="2.54"),
        Field("user_data", USER_DATA, create=True, since="2.57"),
        Field("trusted_image_certificates", schema.array(schema.string(1), nullable=True), create=True, since="2.63"),
        Field("hostname", HOSTNAME, create=True, since="2.90"),
    ],
)
