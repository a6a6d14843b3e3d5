# SPDX-License-Identifier: Apache-2.0
"""The list of extensions, from the time before microversions. Nothing can be switched off any more: what the API has,
it has always."""

from __future__ import annotations

from typing import Any

from aerie_common.http import Request
from aerie_compute.errors import ExtensionNotFound

_EXTENSIONS = {
    "OS-DCF": ("DiskConfig", "Whether a server's disk fills its flavor."),
    "OS-EXT-AZ": ("ExtendedAvailabilityZone", "The zone a server is in."),
    "OS-EXT-IMG-SIZE": ("ImageSize", "The size of images."),
    "OS-EXT-IPS": ("ExtendedIps", "The kind of a server's addresses."),
    "OS-EXT-IPS-MAC": ("ExtendedIpsMac", "The cards that a server's addresses are on."),
    "OS-EXT-SRV-ATTR": ("ExtendedServerAttributes", "Where a server is, for administrators."),
    "OS-EXT-STS": ("ExtendedStatus", "The states of a server in detail."),
    "OS-FLV-DISABLED": ("FlavorDisabled", "Flavors that are not offered any more."),
    "OS-FLV-EXT-DATA": ("FlavorExtraData", "Flavors with a second disk."),
    "OS-SCH-HNT": ("SchedulerHints", "Hints for the choice of a host."),
    "OS-SRV-USG": ("ServerUsage", "When a server began and ended."),
    "os-access-ips": ("AccessIPs", "The addresses to reach a server at."),
    "os-admin-actions": ("AdminActions", "Actions for administrators."),
    "os-admin-password": ("AdminPassword", "Passwords set in guests."),
    "os-aggregates": ("Aggregates", "Groups of hosts."),
    "os-attach-interfaces": ("AttachInterfaces", "Cards plugged into servers."),
    "os-availability-zone": ("AvailabilityZone", "Zones, listed and chosen."),
    "os-config-drive": ("ConfigDrive", "Drives that configure servers."),
    "os-console-auth-tokens": ("ConsoleAuthTokens", "What a console's token opens."),
    "os-console-output": ("ConsoleOutput", "What servers wrote to their consoles."),
    "os-consoles": ("Consoles", "Consoles in a browser."),
    "os-deferred-delete": ("DeferredDelete", "Servers removed at once."),
    "os-extended-volumes": ("ExtendedVolumes", "The volumes of a server."),
    "os-flavor-access": ("FlavorAccess", "Flavors for some projects only."),
    "os-flavor-extra-specs": ("FlavorExtraSpecs", "What flavors ask of hosts."),
    "os-flavor-manage": ("FlavorManage", "Flavors made and deleted."),
    "os-flavor-rxtx": ("FlavorRxtx", "The network factor of flavors."),
    "os-flavor-swap": ("FlavorSwap", "Flavors with swap."),
    "os-floating-ip-pools": ("FloatingIpPools", "Where floating addresses come from."),
    "os-floating-ips": ("FloatingIps", "Floating addresses."),
    "os-hosts": ("Hosts", "Hosts and what runs on them."),
    "os-hypervisors": ("Hypervisors", "Hypervisors and their servers."),
    "os-instance-actions": ("InstanceActions", "What was asked of a server."),
    "os-instance_usage_audit_log": ("OSInstanceUsageAuditLog", "Audits of usage."),
    "os-keypairs": ("Keypairs", "Keys to log in with."),
    "os-lock-server": ("LockServer", "Servers locked against changes."),
    "os-migrations": ("Migrations", "Moves and resizes."),
    "os-multiple-create": ("MultipleCreate", "Several servers at once."),
    "os-networks": ("Networks", "Networks."),
    "os-pause-server": ("PauseServer", "Servers paused."),
    "os-quota-class-sets": ("QuotaClasses", "Limits of classes of projects."),
    "os-quota-sets": ("Quotas", "Limits of projects."),
    "os-rescue": ("Rescue", "Servers started from another image."),
    "os-security-groups": ("SecurityGroups", "Security groups."),
    "os-server-diagnostics": ("ServerDiagnostics", "Counters of a server."),
    "os-server-external-events": ("ServerExternalEvents", "What other services report of servers."),
    "os-server-groups": ("ServerGroups", "Servers that keep together or apart."),
    "os-server-password": ("ServerPassword", "Passwords that guests made up."),
    "os-server-sort-keys": ("ServerSortKeys", "Lists of servers in order."),
    "os-server-start-stop": ("ServerStartStop", "Servers started and stopped."),
    "os-services": ("Services", "The daemons of the cloud."),
    "os-simple-tenant-usage": ("SimpleTenantUsage", "What projects used."),
    "os-suspend-server": ("SuspendServer", "Servers suspended."),
    "os-tenant-networks": ("OSTenantNetworks", "Networks of a project."),
    "os-used-limits": ("UsedLimits", "How much of its limits a project uses."),
    "os-user-data": ("UserData", "What servers configure themselves with."),
}


def _shown(alias: str) -> dict[str, Any]:
    name, description = _EXTENSIONS[alias]
    return {
        "alias": alias, "name": name, "description": description, "links": [],
        "namespace": "http://docs.openstack.org/compute/ext/fake_xml", "updated": "2014-12-03T00:00:00Z",
    }  # fmt: skip


def list_(req: Request) -> dict[str, Any]:
    """List extensions."""
    return {"extensions": [_shown(alias) for alias in _EXTENSIONS]}


def show(req: Request, alias: str) -> dict[str, Any]:
    """Show an extension."""
    if alias not in _EXTENSIONS:
        raise ExtensionNotFound(alias=alias)
    return {"extension": _shown(alias)}
