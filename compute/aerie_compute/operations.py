# SPDX-License-Identifier: Apache-2.0
"""The operations of the compute API, v2.1 with microversions 2.1 to 2.104."""

from __future__ import annotations

from typing import Any, Literal

from aerie_common import dialects, policy, schema
from aerie_common.fields import Resource
from aerie_common.listing import ListStyle
from aerie_common.microversions import Microversions
from aerie_common.operations import Handler, Operation, Table
from aerie_common.schema import Schema
from aerie_compute import old_operations
from aerie_compute.api import actions, flavors, hosts, keypairs, quotas, security_groups, servers, versions
from aerie_compute.schemas import servers as bodies
from aerie_compute.schemas.flavors import ADD_ACCESS, EXTRA_SPEC, EXTRA_SPECS, FLAVOR, REMOVE_ACCESS
from aerie_compute.schemas.keypairs import KEYPAIR, KEYPAIR_292

READER, MEMBER, ADMIN = policy.PROJECT_READER, policy.PROJECT_MEMBER, policy.ADMIN
RULE = "os_compute_api:"


class _Sortable(Resource):
    """Filters and sort keys of a list whose wire names differ from its fields."""

    def __init__(self, singular: str, plural: str, filters: frozenset[str], sort_keys: frozenset[str]) -> None:
        super().__init__(singular, plural, ())
        self._filters, self._sort_keys = filters, sort_keys

    @property
    def filters(self) -> frozenset[str]:
        return self._filters

    @property
    def sort_keys(self) -> frozenset[str]:
        return self._sort_keys


_SERVERS = _Sortable("server", "servers", servers.FILTERS, servers.SORT_KEYS)
_FLAVORS = _Sortable("flavor", "flavors", flavors.FILTERS, flavors.SORT_KEYS)


def _list(plural: str) -> Schema:
    return schema.obj({plural: schema.array(schema.obj(extra=True))}, [plural], extra=True)


def _one(singular: str) -> Schema:
    return schema.obj({singular: schema.obj(extra=True)}, [singular], extra=True)


_SERVER_REPLY = schema.obj({"server": bodies.SERVER.reply_schema()}, ["server"])

# ------------------------------------------------------------------------------------------------------------- actions


def _action(
    name: str,
    handler: Handler,
    rule: str,
    *,
    request: Schema | Resource | None = None,
    verb: Literal["create"] | None = None,
    check: str = MEMBER,
    status: int = 202,
    since: str | None = None,
    until: str | None = None,
    reply: Schema | None = None,
) -> Operation:
    return Operation(
        "POST", "/v2.1/servers/{server_id}/action", handler, RULE + rule, check, request=request or bodies.action(name),
        verb=verb, action=name, status=status, since=since, until=until, reply=reply,
    )  # fmt: skip


_CONSOLE = schema.obj({"type": schema.string(1)}, ["type"])

ACTIONS = [
    _action("os-start", actions.start, "servers:start"),
    _action("os-stop", actions.stop, "servers:stop"),
    _action("reboot", actions.reboot, "servers:reboot", request=bodies.REBOOT),
    _action("pause", actions.pause, "os-pause-server:pause"),
    _action("unpause", actions.unpause, "os-pause-server:unpause"),
    _action("suspend", actions.suspend, "os-suspend-server:suspend"),
    _action("resume", actions.resume, "os-suspend-server:resume"),
    _action("rescue", actions.rescue, "os-rescue", request=bodies.RESCUE, status=200),
    _action("unrescue", actions.unrescue, "os-unrescue"),
    _action("rebuild", actions.rebuild, "servers:rebuild", request=bodies.REBUILD, verb="create", reply=_one("server")),
    _action("resize", actions.resize, "servers:resize", request=bodies.RESIZE),
    _action("confirmResize", actions.confirm_resize, "servers:confirm_resize", status=204),
    _action("revertResize", actions.revert_resize, "servers:revert_resize"),
    _action("createImage", actions.create_image, "servers:create_image", request=bodies.CREATE_IMAGE),
    _action("lock", actions.lock, "os-lock-server:lock", request=bodies.LOCK_OLD, until="2.72"),
    _action("lock", actions.lock, "os-lock-server:lock", request=bodies.LOCK, since="2.73"),
    _action("unlock", actions.unlock, "os-lock-server:unlock"),
    _action("addSecurityGroup", actions.add_security_group, "os-security-groups:add",
            request=bodies.action("addSecurityGroup", bodies.GROUP)),
    _action("removeSecurityGroup", actions.remove_security_group, "os-security-groups:remove",
            request=bodies.action("removeSecurityGroup", bodies.GROUP)),
    _action("changePassword", actions.change_password, "os-admin-password", request=bodies.CHANGE_PASSWORD),
    _action("os-resetState", actions.reset_state, "os-admin-actions:reset_state", request=bodies.RESET_STATE,
            check=ADMIN),
    _action("resetNetwork", actions.reset_network, "os-admin-actions:reset_network", check=ADMIN),
    _action("injectNetworkInfo", actions.inject_network_info, "os-admin-actions:inject_network_info", check=ADMIN),
    _action("migrate", actions.migrate, "os-migrate-server:migrate", check=ADMIN),
    _action("restore", actions.restore, "os-deferred-delete:restore"),
    _action("forceDelete", actions.force_delete, "os-deferred-delete:force"),
    _action("trigger_crash_dump", actions.crash_dump, "servers:trigger_crash_dump", since="2.17"),
    _action("os-getConsoleOutput", actions.console_output, "os-console-output", request=bodies.CONSOLE_OUTPUT,
            status=200,
            reply=schema.obj({"output": schema.string(max=None)}, ["output"])),
    _action("os-getVNCConsole", actions.old_console, "os-remote-consoles", status=200, until="2.5",
            request=bodies.action("os-getVNCConsole", _CONSOLE)),
    _action("os-getSerialConsole", actions.old_console, "os-remote-consoles", status=200, until="2.5",
            request=bodies.action("os-getSerialConsole", _CONSOLE)),
]  # fmt: skip

# ------------------------------------------------------------------------------------------------------------- servers

_METADATA = schema.obj({"metadata": bodies.METADATA}, ["metadata"])
_META = schema.obj({"meta": bodies.METADATA}, ["meta"])
_TAGS = schema.obj({"tags": bodies.TAGS}, ["tags"])
_REMOTE_CONSOLE = schema.obj(
    {"remote_console": schema.obj(
        {"protocol": schema.enum("vnc", "spice", "rdp", "serial", "mks"),
         "type": schema.enum("novnc", "xvpvnc", "rdp-html5", "spice-html5", "serial", "webmks")},
        ["protocol", "type"])},
    ["remote_console"],
)  # fmt: skip
_SHARE = schema.obj({"share": schema.obj({"share_id": schema.uuid(), "tag": schema.string(1, 64)}, ["share_id"])},
                    ["share"])  # fmt: skip
_ATTACH = schema.obj(
    {"interfaceAttachment": schema.obj({
        "net_id": schema.uuid(), "port_id": schema.uuid(), "tag": bodies.DEVICE_TAG,
        "fixed_ips": schema.array(schema.obj({"ip_address": bodies.ADDRESS}, ["ip_address"]), 1, 1),
    })}
)  # fmt: skip

SERVERS = [
    Operation("POST", "/v2.1/servers", servers.create, RULE + "servers:create", MEMBER, request=bodies.NEW_SERVER,
              verb="create", status=202),
    Operation("GET", "/v2.1/servers", servers.list_, RULE + "servers:index", READER, filters=_SERVERS,
              reply=_list("servers")),
    Operation("GET", "/v2.1/servers/detail", servers.detail, RULE + "servers:detail", READER, filters=_SERVERS,
              reply=_list("servers")),
    Operation("GET", "/v2.1/servers/{server_id}", servers.show, RULE + "servers:show", READER, reply=_SERVER_REPLY),
    Operation("PUT", "/v2.1/servers/{server_id}", servers.update, RULE + "servers:update", MEMBER,
              request=bodies.CHANGED_SERVER, verb="update", reply=_SERVER_REPLY),
    Operation("DELETE", "/v2.1/servers/{server_id}", servers.delete, RULE + "servers:delete", MEMBER, status=204),
    Operation("GET", "/v2.1/servers/{server_id}/metadata", servers.metadata_list, RULE + "server-metadata:index",
              READER,
              reply=_one("metadata")),
    Operation("POST", "/v2.1/servers/{server_id}/metadata", servers.metadata_update, RULE + "server-metadata:create",
              MEMBER, request=_METADATA, reply=_one("metadata")),
    Operation("PUT", "/v2.1/servers/{server_id}/metadata", servers.metadata_replace,
              RULE + "server-metadata:update_all",
              MEMBER, request=_METADATA, reply=_one("metadata")),
    Operation("GET", "/v2.1/servers/{server_id}/metadata/{key}", servers.metadata_show, RULE + "server-metadata:show",
              READER, reply=_one("meta")),
    Operation("PUT", "/v2.1/servers/{server_id}/metadata/{key}", servers.metadata_set, RULE + "server-metadata:update",
              MEMBER, request=_META, reply=_one("meta")),
    Operation("DELETE", "/v2.1/servers/{server_id}/metadata/{key}", servers.metadata_delete,
              RULE + "server-metadata:delete", MEMBER, status=204),
    Operation("GET", "/v2.1/servers/{server_id}/tags", servers.tags_list, RULE + "os-server-tags:index", READER,
              since="2.26", reply=schema.obj({"tags": schema.array(schema.string())}, ["tags"])),
    Operation("PUT", "/v2.1/servers/{server_id}/tags", servers.tags_replace, RULE + "os-server-tags:update_all", MEMBER,
              since="2.26", request=_TAGS, reply=schema.obj({"tags": schema.array(schema.string())}, ["tags"])),
    Operation("DELETE", "/v2.1/servers/{server_id}/tags", servers.tags_clear, RULE + "os-server-tags:delete_all",
              MEMBER,
              since="2.26", status=204),
    Operation("GET", "/v2.1/servers/{server_id}/tags/{tag}", servers.tags_show, RULE + "os-server-tags:show", READER,
              since="2.26", status=204),
    Operation("PUT", "/v2.1/servers/{server_id}/tags/{tag}", servers.tags_add, RULE + "os-server-tags:update", MEMBER,
              since="2.26", status=201),
    Operation("DELETE", "/v2.1/servers/{server_id}/tags/{tag}", servers.tags_delete, RULE + "os-server-tags:delete",
              MEMBER, since="2.26", status=204),
    Operation("GET", "/v2.1/servers/{server_id}/ips", servers.ips_list, RULE + "ips:index", READER,
              reply=_one("addresses")),
    Operation("GET", "/v2.1/servers/{server_id}/ips/{label}", servers.ips_show, RULE + "ips:show", READER),
    Operation("GET", "/v2.1/servers/{server_id}/diagnostics", actions.diagnostics, RULE + "os-server-diagnostics",
              ADMIN),
    Operation("POST", "/v2.1/servers/{server_id}/remote-consoles", actions.remote_console, RULE + "os-remote-consoles",
              MEMBER, request=_REMOTE_CONSOLE, since="2.6", reply=_one("remote_console")),
    Operation("GET", "/v2.1/os-console-auth-tokens/{token}", actions.console_token, RULE + "os-console-auth-tokens",
              ADMIN,
              reply=_one("console")),
    Operation("GET", "/v2.1/servers/{server_id}/os-volume_attachments", actions.volume_attachments,
              RULE + "os-volumes-attachments:index", READER, reply=_list("volumeAttachments")),
    Operation("GET", "/v2.1/servers/{server_id}/shares", actions.share_list, RULE + "os-server-shares:index", READER,
              since="2.97", reply=_list("shares")),
    Operation("POST", "/v2.1/servers/{server_id}/shares", actions.share_attach, RULE + "os-server-shares:create",
              MEMBER, since="2.97", request=_SHARE, status=201),
    Operation("GET", "/v2.1/servers/{server_id}/shares/{share_id}", actions.share_show, RULE + "os-server-shares:show",
              READER, since="2.97"),
    Operation("DELETE", "/v2.1/servers/{server_id}/shares/{share_id}", actions.share_detach,
              RULE + "os-server-shares:delete", MEMBER, since="2.97"),
    Operation("GET", "/v2.1/servers/{server_id}/os-server-password", actions.password_show,
              RULE + "os-server-password:show", READER,
              reply=schema.obj({"password": schema.string(max=None)}, ["password"])),
    Operation("DELETE", "/v2.1/servers/{server_id}/os-server-password", actions.password_clear,
              RULE + "os-server-password:clear", MEMBER, status=204),
    Operation("GET", "/v2.1/servers/{server_id}/os-security-groups", security_groups.of_server,
              RULE + "os-security-groups:list", READER, reply=_list("security_groups")),
    Operation("GET", "/v2.1/servers/{server_id}/os-interface", actions.interface_list,
              RULE + "os-attach-interfaces:list", READER, reply=_list("interfaceAttachments")),
    Operation("GET", "/v2.1/servers/{server_id}/os-interface/{port_id}", actions.interface_show,
              RULE + "os-attach-interfaces:show", READER, reply=_one("interfaceAttachment")),
    Operation("POST", "/v2.1/servers/{server_id}/os-interface", actions.interface_attach,
              RULE + "os-attach-interfaces:create", MEMBER, request=_ATTACH, reply=_one("interfaceAttachment")),
    Operation("DELETE", "/v2.1/servers/{server_id}/os-interface/{port_id}", actions.interface_detach,
              RULE + "os-attach-interfaces:delete", MEMBER, status=202),
    Operation("GET", "/v2.1/servers/{server_id}/os-instance-actions", actions.action_list,
              RULE + "os-instance-actions:list", READER, filters=frozenset({"changes-since", "changes-before"}),
              reply=_list("instanceActions")),
    Operation("GET", "/v2.1/servers/{server_id}/os-instance-actions/{request_id}", actions.action_show,
              RULE + "os-instance-actions:show", READER, reply=_one("instanceAction")),
    Operation("GET", "/v2.1/servers/{server_id}/migrations", hosts.server_migrations,
              RULE + "servers:migrations:index", ADMIN, since="2.23", reply=_list("migrations")),
]  # fmt: skip

# ---------------------------------------------------------------------------------------------- flavors and key pairs

_EXTRA_SPECS = schema.obj({"extra_specs": schema.obj(extra=True)}, ["extra_specs"])

FLAVORS = [
    Operation("GET", "/v2.1/flavors", flavors.list_, RULE + "flavors", READER, filters=_FLAVORS,
              reply=_list("flavors")),
    Operation("GET", "/v2.1/flavors/detail", flavors.detail, RULE + "flavors", READER, filters=_FLAVORS,
              reply=_list("flavors")),
    Operation("POST", "/v2.1/flavors", flavors.create, RULE + "os-flavor-manage:create", ADMIN, request=FLAVOR,
              verb="create", reply=_one("flavor")),
    Operation("GET", "/v2.1/flavors/{flavor_id}", flavors.show, RULE + "flavors", READER, reply=_one("flavor")),
    Operation("PUT", "/v2.1/flavors/{flavor_id}", flavors.update, RULE + "os-flavor-manage:update", ADMIN, since="2.55",
              request=FLAVOR, verb="update", reply=_one("flavor")),
    Operation("DELETE", "/v2.1/flavors/{flavor_id}", flavors.delete, RULE + "os-flavor-manage:delete", ADMIN,
              status=202),
    Operation("GET", "/v2.1/flavors/{flavor_id}/os-extra_specs", flavors.specs_list,
              RULE + "os-flavor-extra-specs:index",
              READER, reply=_EXTRA_SPECS),
    Operation("POST", "/v2.1/flavors/{flavor_id}/os-extra_specs", flavors.specs_create,
              RULE + "os-flavor-extra-specs:create", ADMIN, request=EXTRA_SPECS, reply=_EXTRA_SPECS),
    Operation("GET", "/v2.1/flavors/{flavor_id}/os-extra_specs/{key}", flavors.specs_show,
              RULE + "os-flavor-extra-specs:show", READER),
    Operation("PUT", "/v2.1/flavors/{flavor_id}/os-extra_specs/{key}", flavors.specs_update,
              RULE + "os-flavor-extra-specs:update", ADMIN, request=EXTRA_SPEC),
    Operation("DELETE", "/v2.1/flavors/{flavor_id}/os-extra_specs/{key}", flavors.specs_delete,
              RULE + "os-flavor-extra-specs:delete", ADMIN),
    Operation("GET", "/v2.1/flavors/{flavor_id}/os-flavor-access", flavors.access_list, RULE + "os-flavor-access",
              ADMIN,
              reply=_list("flavor_access")),
    Operation("POST", "/v2.1/flavors/{flavor_id}/action", flavors.access_add,
              RULE + "os-flavor-access:add_tenant_access",
              ADMIN, request=ADD_ACCESS, action="addTenantAccess", reply=_list("flavor_access")),
    Operation("POST", "/v2.1/flavors/{flavor_id}/action", flavors.access_remove,
              RULE + "os-flavor-access:remove_tenant_access", ADMIN, request=REMOVE_ACCESS, action="removeTenantAccess",
              reply=_list("flavor_access")),
]  # fmt: skip

_KEYS = RULE + "os-keypairs:"

KEYPAIRS = [
    Operation("GET", "/v2.1/os-keypairs", keypairs.list_, _KEYS + "index", policy.OWN_USER, check="handler",
              filters=keypairs.FILTERS, reply=_list("keypairs")),
    Operation("POST", "/v2.1/os-keypairs", keypairs.create, _KEYS + "create", policy.OWN_USER, check="handler",
              request=KEYPAIR, verb="create", until="2.91", reply=_one("keypair")),
    Operation("POST", "/v2.1/os-keypairs", keypairs.create, _KEYS + "create", policy.OWN_USER, check="handler",
              request=KEYPAIR_292, verb="create", since="2.92", reply=_one("keypair")),
    Operation("GET", "/v2.1/os-keypairs/{name}", keypairs.show, _KEYS + "show", policy.OWN_USER, check="handler",
              reply=_one("keypair")),
    Operation("DELETE", "/v2.1/os-keypairs/{name}", keypairs.delete, _KEYS + "delete", policy.OWN_USER,
              check="handler"),
]  # fmt: skip

# -------------------------------------------------------------------------------------------------------------- quotas

_USAGE = RULE + "os-simple-tenant-usage:"
_QUOTA = RULE + "os-quota-sets:"

QUOTAS = [
    Operation("GET", "/v2.1/limits", quotas.limits, RULE + "limits", policy.ANYONE, reply=_one("limits")),
    Operation("GET", "/v2.1/os-quota-sets/{project_id}", quotas.quota_show, _QUOTA + "show", READER, check="handler",
              reply=_one("quota_set")),
    Operation("GET", "/v2.1/os-quota-sets/{project_id}/detail", quotas.quota_detail, _QUOTA + "detail", READER,
              check="handler", reply=_one("quota_set")),
    Operation("GET", "/v2.1/os-quota-sets/{project_id}/defaults", quotas.quota_defaults, _QUOTA + "defaults",
              policy.ANYONE, reply=_one("quota_set")),
    Operation("PUT", "/v2.1/os-quota-sets/{project_id}", quotas.quota_update, _QUOTA + "update", ADMIN,
              request=quotas.QUOTA_SET, reply=_one("quota_set")),
    Operation("DELETE", "/v2.1/os-quota-sets/{project_id}", quotas.quota_delete, _QUOTA + "delete", ADMIN, status=202),
    Operation("GET", "/v2.1/os-quota-class-sets/{class_name}", quotas.class_show, RULE + "os-quota-class-sets:show",
              ADMIN,
              reply=_one("quota_class_set")),
    Operation("PUT", "/v2.1/os-quota-class-sets/{class_name}", quotas.class_update, RULE + "os-quota-class-sets:update",
              ADMIN, request=quotas.QUOTA_CLASS, reply=_one("quota_class_set")),
    Operation("GET", "/v2.1/os-simple-tenant-usage", quotas.usage_list, _USAGE + "list", ADMIN,
              filters=quotas.USAGE_FILTERS, reply=_list("tenant_usages")),
    Operation("GET", "/v2.1/os-simple-tenant-usage/{project_id}", quotas.usage_show, _USAGE + "show", READER,
              check="handler", filters=quotas.USAGE_FILTERS, reply=_one("tenant_usage")),
]  # fmt: skip

# --------------------------------------------------------------------------------------------------------------- hosts

_SERVICE = RULE + "os-services:"
_HYPERVISOR = RULE + "os-hypervisors:"
_AGGREGATE = RULE + "os-aggregates:"
_GROUP = RULE + "os-server-groups:"


def _aggregate_action(name: str, handler: Handler, rule: str, request: Schema) -> Operation:
    return Operation("POST", "/v2.1/os-aggregates/{aggregate_id}/action", handler, _AGGREGATE + rule, ADMIN,
                     request=request, action=name, reply=_one("aggregate"))  # fmt: skip


HOSTS = [
    Operation("GET", "/v2.1/os-services", hosts.service_list, _SERVICE + "list", ADMIN, filters=hosts.SERVICE_FILTERS,
              reply=_list("services")),
    Operation("PUT", "/v2.1/os-services/{service_id}", hosts.service_update, _SERVICE + "update", ADMIN, since="2.53",
              request=hosts.SERVICE_UPDATE, reply=_one("service")),
    Operation("PUT", "/v2.1/os-services/{service_id}", hosts.service_action, _SERVICE + "update", ADMIN,
              until="2.52", request=hosts.SERVICE_OLD, reply=_one("service")),
    Operation("DELETE", "/v2.1/os-services/{service_id}", hosts.service_delete, _SERVICE + "delete", ADMIN, status=204),
    Operation("GET", "/v2.1/os-hypervisors", hosts.hypervisor_list, _HYPERVISOR + "list", ADMIN,
              filters=hosts.HYPERVISOR_FILTERS, reply=_list("hypervisors")),
    Operation("GET", "/v2.1/os-hypervisors/detail", hosts.hypervisor_detail, _HYPERVISOR + "list-detail", ADMIN,
              filters=hosts.HYPERVISOR_FILTERS, reply=_list("hypervisors")),
    Operation("GET", "/v2.1/os-hypervisors/statistics", hosts.hypervisor_statistics, _HYPERVISOR + "statistics", ADMIN,
              until="2.87", reply=_one("hypervisor_statistics")),
    Operation("GET", "/v2.1/os-hypervisors/{hypervisor_id}", hosts.hypervisor_show, _HYPERVISOR + "show", ADMIN,
              reply=_one("hypervisor")),
    Operation("GET", "/v2.1/os-hypervisors/{hypervisor_id}/uptime", hosts.hypervisor_uptime, _HYPERVISOR + "uptime",
              ADMIN,
              until="2.87", reply=_one("hypervisor")),
    Operation("GET", "/v2.1/os-hypervisors/{hypervisor_id}/search", hosts.hypervisor_search, _HYPERVISOR + "search",
              ADMIN,
              until="2.52", reply=_list("hypervisors")),
    Operation("GET", "/v2.1/os-hypervisors/{hypervisor_id}/servers", hosts.hypervisor_servers, _HYPERVISOR + "servers",
              ADMIN, until="2.52", reply=_list("hypervisors")),
    Operation("GET", "/v2.1/os-aggregates", hosts.aggregate_list, _AGGREGATE + "index", ADMIN,
              reply=_list("aggregates")),
    Operation("POST", "/v2.1/os-aggregates", hosts.aggregate_create, _AGGREGATE + "create", ADMIN,
              request=hosts.AGGREGATE_CREATE, reply=_one("aggregate")),
    Operation("GET", "/v2.1/os-aggregates/{aggregate_id}", hosts.aggregate_show, _AGGREGATE + "show", ADMIN,
              reply=_one("aggregate")),
    Operation("PUT", "/v2.1/os-aggregates/{aggregate_id}", hosts.aggregate_update, _AGGREGATE + "update", ADMIN,
              request=hosts.AGGREGATE_UPDATE, reply=_one("aggregate")),
    Operation("DELETE", "/v2.1/os-aggregates/{aggregate_id}", hosts.aggregate_delete, _AGGREGATE + "delete", ADMIN),
    _aggregate_action("add_host", hosts.aggregate_add_host, "add_host", hosts.ADD_HOST),
    _aggregate_action("remove_host", hosts.aggregate_remove_host, "remove_host", hosts.REMOVE_HOST),
    _aggregate_action("set_metadata", hosts.aggregate_metadata, "set_metadata", hosts.SET_METADATA),
    Operation("GET", "/v2.1/os-availability-zone", hosts.zone_list, RULE + "os-availability-zone:list", policy.ANYONE,
              reply=_list("availabilityZoneInfo")),
    Operation("GET", "/v2.1/os-availability-zone/detail", hosts.zone_detail, RULE + "os-availability-zone:detail",
              ADMIN,
              reply=_list("availabilityZoneInfo")),
    Operation("GET", "/v2.1/os-server-groups", hosts.group_list, _GROUP + "index", READER,
              filters=frozenset({"all_projects", "offset"}), reply=_list("server_groups")),
    Operation("POST", "/v2.1/os-server-groups", hosts.group_create, _GROUP + "create", MEMBER, until="2.63",
              request=hosts.GROUP_CREATE, reply=_one("server_group")),
    Operation("POST", "/v2.1/os-server-groups", hosts.group_create, _GROUP + "create", MEMBER, since="2.64",
              request=hosts.GROUP_CREATE_264, reply=_one("server_group")),
    Operation("GET", "/v2.1/os-server-groups/{group_id}", hosts.group_show, _GROUP + "show", READER,
              reply=_one("server_group")),
    Operation("DELETE", "/v2.1/os-server-groups/{group_id}", hosts.group_delete, _GROUP + "delete", MEMBER, status=204),
    Operation("GET", "/v2.1/os-migrations", hosts.migration_list, RULE + "os-migrations:index", ADMIN,
              filters=hosts.MIGRATION_FILTERS, reply=_list("migrations")),
    Operation("POST", "/v2.1/os-server-external-events", hosts.external_events,
              RULE + "os-server-external-events:create",
              policy.ADMIN_OR_SERVICE, request=hosts.EXTERNAL_EVENTS, reply=_list("events")),
]  # fmt: skip

# ------------------------------------------------------------------------------------------------------------- the rest

OTHERS = [
    Operation("GET", "/", versions.list_, None),
    Operation("GET", "/v2.1", versions.show, None),
    Operation("GET", "/v2", versions.show_old, None),
]

RULES: tuple[tuple[str, str, str], ...] = (
    (RULE + "servers:index:get_all_tenants", ADMIN, "List servers of all projects."),
    (RULE + "servers:create:forced_host", ADMIN, "Create a server on a host of one's choice."),
    ("compute:servers:create:requested_destination", ADMIN, "Create a server on a host of one's choice."),
    (RULE + "os-used-limits", ADMIN, "See limits and usage of another project."),
)


def _table(**more: Any) -> Table:
    return Table(
        "compute",
        [*OTHERS, *old_operations.OPERATIONS, *SERVERS, *ACTIONS, *FLAVORS, *KEYPAIRS, *QUOTAS, *HOSTS],
        dialect=dialects.nova,
        versions=Microversions("compute", versions.MINIMUM, versions.MAXIMUM, "X-OpenStack-Nova-API-Version"),
        style=ListStyle(max_limit=1000),
        prefixes=("/compute",),
        aliases={"/v2/": "/v2.1/"},
        trailing_slash=False,
        strict_query_since="2.102",
        rules=RULES,
        **more,
    )


TABLE = _table()
