# SPDX-License-Identifier: Apache-2.0
"""Every HTTP operation of the DNS API (Designate v2).

Lookups are scoped by project in the logic; the policies say which roles a caller needs at all.
"""

from __future__ import annotations

from collections.abc import Iterator

from aerie_common import dialects
from aerie_common.fields import Resource
from aerie_common.operations import Operation, Table
from aerie_common.policy import ADMIN, ANYONE, PROJECT_MEMBER, PROJECT_READER
from aerie_dns.api import floatingips, nouns, quotas, recordsets, services, shares, tasks, transfers, versions, zones
from aerie_dns.api.nouns import Handlers
from aerie_dns.schemas.nouns import (
    BLACKLIST,
    EXPORT,
    FLOATING_IP,
    IMPORT,
    POOL,
    QUOTA,
    SERVICE_STATUS,
    SHARE,
    TLD,
    TRANSFER_ACCEPT,
    TRANSFER_REQUEST,
    TSIGKEY,
)
from aerie_dns.schemas.recordsets import RECORDSET
from aerie_dns.schemas.zones import ZONE

Op = Operation
ZONES, ONE_ZONE = "/v2/zones", "/v2/zones/{zone_id}"
TASKS = "/v2/zones/tasks"
SETS, ONE_SET = "/v2/zones/{zone_id}/recordsets", "/v2/zones/{zone_id}/recordsets/{recordset_id}"
SHARES = "/v2/zones/{zone_id}/shares"


def _operators_noun(resource: Resource, five: Handlers, rule: str) -> Iterator[Operation]:
    root, one = f"/v2/{resource.plural}", f"/v2/{resource.plural}/{{id}}"
    yield Op("GET", root, five.list_, f"find_{rule}s", filters=resource, reply=resource)
    yield Op("POST", root, five.create, f"create_{rule}", request=resource, verb="create", reply=resource, status=201)
    yield Op("GET", one, five.show, f"get_{rule}", reply=resource)
    yield Op("PATCH", one, five.update, f"update_{rule}", request=resource, verb="update", reply=resource)
    yield Op("DELETE", one, five.delete, f"delete_{rule}", status=204)


OPERATIONS = [
    Op("GET", "/", versions.list_, None),
    Op("GET", "/v2", versions.show, None),
    # zones
    Op("GET", ZONES, zones.list_, "find_zones", PROJECT_READER, filters=ZONE, reply=ZONE),
    Op("POST", ZONES, zones.create, "create_zone", PROJECT_MEMBER, request=ZONE, verb="create", reply=ZONE, status=202),
    Op("GET", ONE_ZONE, zones.show, "get_zone", PROJECT_READER, reply=ZONE),
    Op("PATCH", ONE_ZONE, zones.update, "update_zone", PROJECT_MEMBER, request=ZONE, verb="update", reply=ZONE,
       status=202),
    Op("DELETE", ONE_ZONE, zones.delete, "delete_zone", PROJECT_MEMBER, reply=ZONE, status=202),
    Op("GET", ONE_ZONE + "/nameservers", zones.nameservers, "get_zone_ns_records", PROJECT_READER),
    Op("POST", ONE_ZONE + "/tasks/abandon", zones.abandon, "abandon_zone", ADMIN, status=204),
    Op("POST", ONE_ZONE + "/tasks/xfr", zones.transfer, "xfr_zone", PROJECT_MEMBER, status=202),
    # record sets
    Op("GET", SETS, recordsets.list_, "find_recordsets", PROJECT_READER, filters=RECORDSET, reply=RECORDSET),
    Op("POST", SETS, recordsets.create, "create_recordset", PROJECT_MEMBER, request=RECORDSET, verb="create",
       reply=RECORDSET, status=202),
    Op("GET", ONE_SET, recordsets.show, "get_recordset", PROJECT_READER, reply=RECORDSET),
    Op("PUT", ONE_SET, recordsets.update, "update_recordset", PROJECT_MEMBER, request=RECORDSET, verb="update",
       reply=RECORDSET, status=202),
    Op("DELETE", ONE_SET, recordsets.delete, "delete_recordset", PROJECT_MEMBER, reply=RECORDSET, status=202),
    Op("GET", "/v2/recordsets", recordsets.list_all, "find_recordsets", PROJECT_READER, filters=RECORDSET,
       reply=RECORDSET),
    Op("GET", "/v2/recordsets/{recordset_id}", recordsets.show_anywhere, "get_recordset", PROJECT_READER, status=301),
    # shares
    Op("GET", SHARES, shares.list_, "find_zone_shares", PROJECT_READER, filters=SHARE, reply=SHARE),
    Op("POST", SHARES, shares.create, "share_zone", PROJECT_MEMBER, request=SHARE, verb="create", reply=SHARE,
       status=201),
    Op("GET", SHARES + "/{share_id}", shares.show, "get_zone_share", PROJECT_READER, reply=SHARE),
    Op("DELETE", SHARES + "/{share_id}", shares.delete, "unshare_zone", PROJECT_MEMBER, status=204),
    # transfers between projects
    Op("POST", ONE_ZONE + "/tasks/transfer_requests", transfers.create_request, "create_zone_transfer_request",
       PROJECT_MEMBER, request="stream", reply=TRANSFER_REQUEST, status=201),
    Op("GET", TASKS + "/transfer_requests", transfers.list_requests, "find_zone_transfer_requests", ANYONE,
       filters=TRANSFER_REQUEST, reply=TRANSFER_REQUEST),
    Op("GET", TASKS + "/transfer_requests/{request_id}", transfers.show_request, "get_zone_transfer_request", ANYONE,
       reply=TRANSFER_REQUEST),
    Op("PATCH", TASKS + "/transfer_requests/{request_id}", transfers.update_request, "update_zone_transfer_request",
       PROJECT_MEMBER, request=TRANSFER_REQUEST, verb="update", reply=TRANSFER_REQUEST),
    Op("DELETE", TASKS + "/transfer_requests/{request_id}", transfers.delete_request, "delete_zone_transfer_request",
       PROJECT_MEMBER, status=204),
    Op("POST", TASKS + "/transfer_accepts", transfers.accept, "create_zone_transfer_accept", PROJECT_MEMBER,
       request=TRANSFER_ACCEPT, verb="create", reply=TRANSFER_ACCEPT, status=201),
    Op("GET", TASKS + "/transfer_accepts", transfers.list_accepts, "find_zone_transfer_accepts", PROJECT_READER,
       filters=TRANSFER_ACCEPT, reply=TRANSFER_ACCEPT),
    Op("GET", TASKS + "/transfer_accepts/{accept_id}", transfers.show_accept, "get_zone_transfer_accept",
       PROJECT_READER, reply=TRANSFER_ACCEPT),
    # zone files
    Op("POST", TASKS + "/imports", tasks.import_, "create_zone_import", PROJECT_MEMBER, request="stream", reply=IMPORT,
       status=202),
    Op("GET", TASKS + "/imports", tasks.list_imports, "find_zone_imports", PROJECT_READER, filters=IMPORT,
       reply=IMPORT),
    Op("GET", TASKS + "/imports/{import_id}", tasks.show_import, "get_zone_import", PROJECT_READER, reply=IMPORT),
    Op("DELETE", TASKS + "/imports/{import_id}", tasks.delete_import, "delete_zone_import", PROJECT_MEMBER, status=204),
    Op("POST", ONE_ZONE + "/tasks/export", tasks.export, "create_zone_export", PROJECT_MEMBER, reply=EXPORT,
       status=202),
    Op("GET", TASKS + "/exports", tasks.list_exports, "find_zone_exports", PROJECT_READER, filters=EXPORT,
       reply=EXPORT),
    Op("GET", TASKS + "/exports/{export_id}", tasks.show_export, "get_zone_export", PROJECT_READER, reply=EXPORT),
    Op("DELETE", TASKS + "/exports/{export_id}", tasks.delete_export, "delete_zone_export", PROJECT_MEMBER, status=204),
    Op("GET", TASKS + "/exports/{export_id}/export", tasks.zone_file, "zone_export", PROJECT_MEMBER),
    # PTR records of floating IPs
    Op("GET", "/v2/reverse/floatingips", floatingips.list_, "find_floatingips", PROJECT_READER, reply=None),
    Op("GET", "/v2/reverse/floatingips/{key}", floatingips.show, "get_floatingip", PROJECT_READER, reply=FLOATING_IP),
    Op("PATCH", "/v2/reverse/floatingips/{key}", floatingips.update, "update_floatingip", PROJECT_MEMBER,
       request=FLOATING_IP, verb="update", status=202),
    # quotas
    Op("GET", "/v2/quotas", quotas.show_own, "get_quotas", PROJECT_READER, reply=QUOTA),
    Op("GET", "/v2/quotas/{project_id}", quotas.show, "get_quotas", PROJECT_READER, reply=QUOTA),
    Op("PATCH", "/v2/quotas/{project_id}", quotas.update, "set_quota", ADMIN, request=QUOTA, reply=QUOTA),
    Op("DELETE", "/v2/quotas/{project_id}", quotas.reset, "reset_quotas", ADMIN, status=204),
    Op("GET", "/v2/limits", quotas.limits, "get_limits", ANYONE),
    # for operators
    *_operators_noun(TLD, nouns.tlds, "tld"),
    *_operators_noun(BLACKLIST, nouns.blacklists, "blacklist"),
    *_operators_noun(TSIGKEY, nouns.tsigkeys, "tsigkey"),
    Op("GET", "/v2/pools", services.list_pools, "find_pools", ADMIN),
    Op("GET", "/v2/pools/{pool_id}", services.show_pool, "get_pool", ADMIN, reply=POOL),
    Op("GET", "/v2/service_statuses", services.list_statuses, "find_service_statuses", ADMIN, filters=SERVICE_STATUS,
       reply=SERVICE_STATUS),
    Op("GET", "/v2/service_statuses/{service_id}", services.show_status, "find_service_status", ADMIN,
       reply=SERVICE_STATUS),
]  # fmt: skip

TABLE = Table(
    "dns",
    OPERATIONS,
    dialect=dialects.designate,
    prefixes=("/dns",),
    rules=[
        ("all_tenants", ADMIN, "See and change what belongs to other projects (X-Auth-All-Projects)."),
        ("use_sudo", ADMIN, "Act in another project's name (X-Auth-Sudo-Project-ID)."),
        ("edit_managed_records", ADMIN, "Change records that follow servers (X-Designate-Edit-Managed-Records)."),
        ("hard_delete", ADMIN, "Forget a zone even if its servers do not answer (X-Designate-Hard-Delete)."),
        ("use_low_ttl", ADMIN, "Choose a TTL below the configured minimum."),
        ("use_blacklisted_zone", ADMIN, "Create zones with blacklisted names."),
        ("zone_create_forced_pool", ADMIN, "Choose the pool of a new zone."),
    ],
)
