# SPDX-License-Identifier: Apache-2.0
"""What this API says about itself: its collections, and the extensions it honours. Nothing else is listed."""

from __future__ import annotations

from typing import Any

# alias -> (name, what it adds)
EXTENSIONS: dict[str, tuple[str, str]] = {
    "address-group": ("Address group", "Address groups that security group rules may name."),
    "address-scope": ("Address scope", "Address scopes of subnet pools."),
    "agent": ("agent", "Agents and their state."),
    "allowed-address-pairs": ("Allowed Address Pairs", "Further addresses that a port may use."),
    "auto-allocated-topology": ("Auto Allocated Topology Services", "A ready-made topology."),
    "availability_zone": ("Availability Zone", "Availability zones of agents."),
    "availability_zone_filter": ("Availability Zone Filter Extension", "Filters of availability zones."),
    "binding": ("Port Binding", "The host a port is on, and how it is plugged there."),
    "default-subnetpools": ("Default Subnetpools", "Subnet pools that are used when none is named."),
    "dhcp_agent_scheduler": ("DHCP Agent Scheduler", "Which DHCP agents serve which networks."),
    "dns-domain-ports": ("dns_domain for ports", "DNS domains of single ports."),
    "dns-integration": ("DNS Integration", "DNS names of ports, networks and floating IPs."),
    "ext-gw-mode": ("Neutron L3 Configurable external gateway mode", "Gateways with or without SNAT."),
    "external-net": ("Neutron external network", "External networks."),
    "extra_dhcp_opt": ("Neutron Extra DHCP options", "Extra DHCP options of ports."),
    "extraroute": ("Neutron Extra Route", "Extra routes of routers."),
    "extraroute-atomic": ("Atomically add/remove extra routes", "Adding and removing single extra routes."),
    "filter-validation": ("Filter parameters validation", "Unknown filters are refused."),
    "fip-port-details": ("Floating IP Port Details Extension", "Details of the port behind a floating IP."),
    "floating-ip-port-forwarding": ("Floating IP Port Forwarding", "Single ports of floating IPs."),
    "expose-port-forwarding-in-fip": ("Expose Port Forwarding in FIP", "port_forwardings of floating IPs."),
    "ip-substring-filtering": ("IP address substring filtering", "Ports by a part of an address."),
    "l3_agent_scheduler": ("L3 Agent Scheduler", "Which L3 agents host which routers."),
    "net-mtu": ("Network MTU", "The MTU of networks."),
    "net-mtu-writable": ("Network MTU (writable)", "Networks with an MTU of the caller's choice."),
    "network_availability_zone": ("Network Availability Zone", "Availability zones of networks."),
    "network-ip-availability": ("Network IP Availability", "Use of addresses by network."),
    "pagination": ("Pagination support", "Lists in pages."),
    "port-security": ("Port Security", "Ports without anti-spoofing and security groups."),
    "project-id": ("project_id field enabled", "The owner is named project_id too."),
    "provider": ("Provider Network", "How networks are realised."),
    "quotas": ("Quota management support", "Quotas of projects."),
    "quota_details": ("Quota details management support", "Use of quotas."),
    "rbac-address-group": ("Add address_group type to RBAC", "Grants for address groups."),
    "rbac-address-scope": ("Add address_scope type to RBAC", "Grants for address scopes."),
    "rbac-policies": ("RBAC Policies", "Grants for single projects."),
    "rbac-security-groups": ("Add security_group type to network RBAC", "Grants for security groups."),
    "rbac-subnetpool": ("Add subnetpool type to RBAC", "Grants for subnet pools."),
    "revision-if-match": ("If-Match constraints based on revision_number", "Changes of a known revision only."),
    "router": ("Neutron L3 Router", "Routers and floating IPs."),
    "router_availability_zone": ("Router Availability Zone", "Availability zones of routers."),
    "security-group": ("security-group", "Security groups."),
    "security-groups-default-rules": ("Default rules for security groups", "Templates of new groups' rules."),
    "security-groups-normalized-cidr": ("Normalized CIDR field for security group rules", "normalized_cidr."),
    "security-groups-remote-address-group": ("Remote address group id field", "Rules that name address groups."),
    "security-groups-rules-belongs-to-default-sg": ("Rules of default groups", "Filter belongs_to_default_sg."),
    "security-groups-shared-filtering": ("Security group filtering on the shared field", "Filter shared."),
    "service-type": ("Neutron Service Type Management", "Service providers."),
    "sorting": ("Sorting support", "Sorted lists."),
    "standard-attr-description": ("standard-attr-description", "Descriptions."),
    "standard-attr-revisions": ("Resource revision numbers", "Revision numbers."),
    "standard-attr-tag": ("Tag support for resources with standard attribute", "Tags."),
    "standard-attr-timestamp": ("Resource timestamps", "Times of creation and change."),
    "stateful-security-group": ("Stateful security group", "Stateless security groups."),
    "subnet_allocation": ("Subnet Allocation", "Subnet pools."),
    "subnet-dns-publish-fixed-ip": ("Subnet DNS publish fixed IP", "dns_publish_fixed_ip."),
    "subnet-external-network": ("Subnet belongs to an external network", "router:external of subnets."),
    "subnet-service-types": ("Subnet service types", "Subnets for certain kinds of ports."),
}
_UPDATED = "2026-11-20T00:00:00-00:00"

# path -> name of one
COLLECTIONS = {
    "networks": "network",
    "subnets": "subnet",
    "ports": "port",
    "routers": "router",
    "floatingips": "floatingip",
    "security-groups": "security_group",
    "security-group-rules": "security_group_rule",
    "default-security-group-rules": "default_security_group_rule",
    "address-groups": "address_group",
    "subnetpools": "subnetpool",
    "address-scopes": "address_scope",
    "rbac-policies": "rbac_policy",
    "agents": "agent",
    "availability_zones": "availability_zone",
    "network-ip-availabilities": "network_ip_availability",
    "quotas": "quota",
    "service-providers": "service_provider",
    "extensions": "extension",
}


def describe(alias: str) -> dict[str, Any]:
    """An extension as the API shows it."""
    name, text = EXTENSIONS[alias]
    return {"alias": alias, "name": name, "description": text, "updated": _UPDATED, "links": []}
