# SPDX-License-Identifier: Apache-2.0
"""The operations of which only older microversions know, because the things belong to other services by now.

They are asked as the caller asks, so that what somebody may see and change is decided there too.
"""

from __future__ import annotations

from aerie_common import policy, schema
from aerie_common.operations import Operation
from aerie_compute.api import actions, extensions, floating_ips, images, networks, old_hosts, security_groups
from aerie_compute.schemas import servers as bodies

READER, MEMBER, ADMIN = policy.PROJECT_READER, policy.PROJECT_MEMBER, policy.ADMIN
RULE = "os_compute_api:"
PROXIED = "2.35"
"""The last microversion that speaks for other services."""

_GROUPS, _IPS, _IMAGES = RULE + "os-security-groups:", RULE + "os-floating-ips:", RULE + "images:"
_METADATA = schema.obj({"metadata": bodies.METADATA}, ["metadata"])
_META = schema.obj({"meta": bodies.METADATA}, ["meta"])

SECURITY_GROUPS = [
    Operation("GET", "/v2.1/os-security-groups", security_groups.list_, _GROUPS + "get", READER, until=PROXIED,
              filters=frozenset({"all_tenants", "offset"})),
    Operation("POST", "/v2.1/os-security-groups", security_groups.create, _GROUPS + "create", MEMBER, until=PROXIED,
              request=security_groups.GROUP),
    Operation("GET", "/v2.1/os-security-groups/{group_id}", security_groups.show, _GROUPS + "show", READER,
              until=PROXIED),
    Operation("PUT", "/v2.1/os-security-groups/{group_id}", security_groups.update, _GROUPS + "update", MEMBER,
              until=PROXIED, request=security_groups.GROUP),
    Operation("DELETE", "/v2.1/os-security-groups/{group_id}", security_groups.delete, _GROUPS + "delete", MEMBER,
              until=PROXIED, status=202),
    Operation("POST", "/v2.1/os-security-group-rules", security_groups.create_rule, _GROUPS + "rule:create", MEMBER,
              until=PROXIED, request=security_groups.RULE),
    Operation("DELETE", "/v2.1/os-security-group-rules/{rule_id}", security_groups.delete_rule, _GROUPS + "rule:delete",
              MEMBER, until=PROXIED, status=202),
]  # fmt: skip

FLOATING_IPS = [
    Operation("GET", "/v2.1/os-floating-ip-pools", floating_ips.pools, RULE + "os-floating-ip-pools", READER,
              until=PROXIED),
    Operation("GET", "/v2.1/os-floating-ips", floating_ips.list_, _IPS + "list", READER, until=PROXIED),
    Operation("POST", "/v2.1/os-floating-ips", floating_ips.create, _IPS + "create", MEMBER, until=PROXIED,
              request=floating_ips.NEW),
    Operation("GET", "/v2.1/os-floating-ips/{floating_ip_id}", floating_ips.show, _IPS + "show", READER, until=PROXIED),
    Operation("DELETE", "/v2.1/os-floating-ips/{floating_ip_id}", floating_ips.delete, _IPS + "delete", MEMBER,
              until=PROXIED, status=202),
    Operation("POST", "/v2.1/servers/{server_id}/action", floating_ips.add, _IPS + "add", MEMBER, until="2.43",
              request=bodies.ADD_FLOATING_IP, action="addFloatingIp", status=202),
    Operation("POST", "/v2.1/servers/{server_id}/action", floating_ips.remove, _IPS + "remove", MEMBER, until="2.43",
              request=bodies.REMOVE_FLOATING_IP, action="removeFloatingIp", status=202),
]  # fmt: skip

NETWORKS = [
    Operation("GET", "/v2.1/os-networks", networks.list_, RULE + "os-networks:list", READER, until=PROXIED),
    Operation("GET", "/v2.1/os-networks/{network_id}", networks.show, RULE + "os-networks:show", READER,
              until=PROXIED),
    Operation("GET", "/v2.1/os-tenant-networks", networks.project_list, RULE + "os-tenant-networks:list", READER,
              until=PROXIED),
    Operation("GET", "/v2.1/os-tenant-networks/{network_id}", networks.project_show, RULE + "os-tenant-networks:show",
              READER, until=PROXIED),
]  # fmt: skip

IMAGES = [
    Operation("GET", "/v2.1/images", images.list_, _IMAGES + "index", READER, until=PROXIED, filters=images.FILTERS),
    Operation("GET", "/v2.1/images/detail", images.detail, _IMAGES + "detail", READER, until=PROXIED,
              filters=images.FILTERS),
    Operation("GET", "/v2.1/images/{image_id}", images.show, _IMAGES + "show", READER, until=PROXIED),
    Operation("DELETE", "/v2.1/images/{image_id}", images.delete, _IMAGES + "delete", MEMBER, until=PROXIED,
              status=204),
    Operation("GET", "/v2.1/images/{image_id}/metadata", images.metadata_list, _IMAGES + "metadata:index", READER,
              until="2.38"),
    Operation("POST", "/v2.1/images/{image_id}/metadata", images.metadata_update, _IMAGES + "metadata:create", MEMBER,
              until="2.38", request=_METADATA),
    Operation("PUT", "/v2.1/images/{image_id}/metadata", images.metadata_replace, _IMAGES + "metadata:update_all",
              MEMBER, until="2.38", request=_METADATA),
    Operation("GET", "/v2.1/images/{image_id}/metadata/{key}", images.metadata_show, _IMAGES + "metadata:show", READER,
              until="2.38"),
    Operation("PUT", "/v2.1/images/{image_id}/metadata/{key}", images.metadata_set, _IMAGES + "metadata:update",
              MEMBER, until="2.38", request=_META),
    Operation("DELETE", "/v2.1/images/{image_id}/metadata/{key}", images.metadata_delete, _IMAGES + "metadata:delete",
              MEMBER, until="2.38", status=204),
]  # fmt: skip

_HOSTS, _AUDIT = RULE + "os-hosts:", RULE + "os-instance-usage-audit-log:"

HOSTS = [
    Operation("GET", "/v2.1/os-hosts", old_hosts.list_, _HOSTS + "list", ADMIN, until="2.42",
              filters=old_hosts.FILTERS),
    Operation("GET", "/v2.1/os-hosts/{host}", old_hosts.show, _HOSTS + "show", ADMIN, until="2.42"),
    Operation("PUT", "/v2.1/os-hosts/{host}", old_hosts.update, _HOSTS + "update", ADMIN, until="2.42",
              request=old_hosts.UPDATE),
    *(Operation("GET", f"/v2.1/os-hosts/{{host}}/{action}", old_hosts.power, _HOSTS + rule, ADMIN, until="2.42")
      for action, rule in (("startup", "start"), ("shutdown", "shutdown"), ("reboot", "reboot"))),
    Operation("GET", "/v2.1/os-instance_usage_audit_log", old_hosts.audit_list, _AUDIT + "list", ADMIN),
    Operation("GET", "/v2.1/os-instance_usage_audit_log/{before}", old_hosts.audit_show, _AUDIT + "show", ADMIN),
]  # fmt: skip

_GONE = ("os-fixed-ips", "os-floating-ips-bulk", "os-floating-ip-dns", "os-cells", "os-cloudpipe",
         "os-networks-associate", "os-fping", "os-virtual-interfaces")  # fmt: skip

OTHERS = [
    Operation("GET", "/v2.1/extensions", extensions.list_, RULE + "extensions", policy.ANYONE),
    Operation("GET", "/v2.1/extensions/{alias}", extensions.show, RULE + "extensions", policy.ANYONE),
    *(Operation("GET", f"/v2.1/{name}", actions.gone, RULE + "gone", policy.ANYONE) for name in _GONE),
]

OPERATIONS = (*SECURITY_GROUPS, *FLOATING_IPS, *NETWORKS, *IMAGES, *HOSTS, *OTHERS)
