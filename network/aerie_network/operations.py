# SPDX-License-Identifier: Apache-2.0
"""The operations of the Neutron v2.0 API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aerie_common import policy, schema
from aerie_common.fields import Resource
from aerie_common.listing import ListStyle
from aerie_common.operations import Handler, Match, Operation, Table
from aerie_network.api import (
    agents,
    floatingips,
    misc,
    networks,
    pools,
    port_forwardings,
    ports,
    routers,
    security_groups,
    subnets,
)
from aerie_network.db.query import TAG_FILTERS
from aerie_network.errors import dialect
from aerie_network.schemas.agents import AGENT
from aerie_network.schemas.common import ADMIN_FIELD, NETWORK_OWNER_FIELD, SERVICE_FIELD, body
from aerie_network.schemas.networks import NETWORK
from aerie_network.schemas.pools import ADDRESS_SCOPE, RBAC_POLICY, SUBNET_POOL
from aerie_network.schemas.ports import BINDING, PORT
from aerie_network.schemas.routers import FLOATING_IP, PORT_FORWARDING, ROUTER
from aerie_network.schemas.security_groups import ADDRESS_GROUP, DEFAULT_RULE, RULE, SECURITY_GROUP
from aerie_network.schemas.subnets import ROUTE, SUBNET

READ = f"{policy.ADMIN_OR_SERVICE} or (role:reader and project_id:%(project_id)s)"
WRITE = f"{policy.ADMIN_OR_SERVICE} or (role:member and project_id:%(project_id)s)"
NO_EXTRA: frozenset[str] = frozenset()


def _either(resource: Resource) -> schema.Schema:
    """A reply with one object or several."""
    one = resource.reply_schema()
    return schema.obj({resource.singular: one, resource.plural: schema.array(one)}, extra=True)


def _noun(
    resource: Resource,
    path: str,
    module: Any,
    *,
    id: str | None = None,
    write: str = WRITE,
    names: tuple[str, str, str, str, str] = ("list_", "show", "create", "update", "delete"),
    extra: frozenset[str] = TAG_FILTERS,
    bulk: bool = True,
) -> list[Operation]:
    """list, show, create, update, delete of a noun. Changes ask the policy about the owner of the object they have
    found; where the rule is not about owners it is asked beforehand."""
    check: Any = "handler" if write == WRITE else "framework"
    root, one = f"/v2.0/{path}", f"/v2.0/{path}/{{{id or resource.singular + '_id'}}}"
    word = resource.singular

    def handler(index: int) -> Handler | None:
        found: Callable[..., Any] | None = getattr(module, names[index], None) if names[index] else None
        return found

    rows: list[Operation] = []
    if h := handler(0):
        rows.append(
            Operation("GET", root, h, f"get_{word}", READ, filters=resource, extra_filters=extra, reply=resource)
        )
    if h := handler(1):
        rows.append(Operation("GET", one, h, f"get_{word}", READ, reply=resource))
    if h := handler(2):
        request = body(resource, "create") if bulk else resource
        verb: Any = None if bulk else "create"
        rows.append(
            Operation("POST", root, h, f"create_{word}", write, request=request, verb=verb,
                      reply=_either(resource), status=201)
        )  # fmt: skip
    if h := handler(3):
        rows.append(
            Operation("PUT", one, h, f"update_{word}", write, request=resource, verb="update", reply=resource,
                      check=check)
        )  # fmt: skip
    if h := handler(4):
        rows.append(Operation("DELETE", one, h, f"delete_{word}", write, status=204, check=check))
    return rows


_INTERFACE = schema.obj({"subnet_id": schema.uuid(), "port_id": schema.uuid()})
_ROUTES = schema.obj({"router": schema.obj({"routes": schema.array(ROUTE)}, ["routes"])}, ["router"])
_TAGS = schema.obj({"tags": schema.array(schema.string(min=1, max=255), unique=True)}, ["tags"])
_TAGS_REPLY = schema.obj({"tags": schema.array(schema.string())}, ["tags"])
_ADDRESSES = schema.obj({"addresses": schema.array(schema.string(max=64), min=1)}, ["addresses"])
_QUOTA_MANNERS = {name: schema.anything() for name in ("project_id", "tenant_id", "force", "check_limit")}
_QUOTA = schema.obj({"quota": schema.obj(_QUOTA_MANNERS, extra=schema.integer(-1, 0x7FFFFFFF, text=True))}, ["quota"])
_QUOTA_REPLY = schema.obj({"quota": schema.obj(extra=True)}, extra=True)
_POOLS = ("list_pools", "show_pool", "create_pool", "update_pool", "delete_pool")
_SCOPES = ("list_scopes", "show_scope", "create_scope", "update_scope", "delete_scope")
_GROUPS = ("list_groups", "show_group", "create_group", "update_group", "delete_group")
_GRANTS = ("list_grants", "show_grant", "create_grant", "update_grant", "delete_grant")
_RULES = ("list_rules", "show_rule", "create_rule", "", "delete_rule")
_DEFAULT_RULES = ("list_default_rules", "show_default_rule", "create_default_rule", "", "delete_default_rule")
_AVAILABILITY = frozenset({"network_id", "network_name", "tenant_id", "project_id", "ip_version"})
_ADDRESS_GROUP = "/v2.0/address-groups/{address_group_id}"


def _forwarding_rows() -> list[Operation]:
    root, word = "/v2.0/floatingips/{floatingip_id}/port_forwardings", "floatingip_port_forwarding"
    one = root + "/{port_forwarding_id}"
    noun, module = PORT_FORWARDING, port_forwardings
    return [
        Operation("GET", root, module.list_, f"get_{word}", READ, filters=noun, reply=noun),
        Operation("GET", one, module.show, f"get_{word}", READ, reply=noun),
        Operation("POST", root, module.create, f"create_{word}", WRITE, request=noun, verb="create", reply=noun,
                  status=201, check="handler"),
        Operation("PUT", one, module.update, f"update_{word}", WRITE, request=noun, verb="update", reply=noun,
                  check="handler"),
        Operation("DELETE", one, module.delete, f"delete_{word}", WRITE, status=204, check="handler"),
    ]  # fmt: skip


def _tagged(method: Any, tail: str, handler: Handler, rule: str, default: str, **kw: Any) -> Operation:
    return Operation(method, "/v2.0/{collection}/{resource_id}/tags" + tail, handler, rule, default, **kw)


OPERATIONS = [
    Operation("GET", "/", misc.versions, None),
    Operation("GET", "/v2.0", misc.resources, None),
    Operation("GET", "/v2.0/extensions", misc.extensions, "get_extension", policy.ANYONE, filters=frozenset()),
    Operation("GET", "/v2.0/extensions/{alias}", misc.extension, "get_extension", policy.ANYONE),
    *_noun(NETWORK, "networks", networks),
    *_noun(SUBNET, "subnets", subnets, extra=TAG_FILTERS | {"shared"}),
    *_noun(PORT, "ports", ports, extra=TAG_FILTERS | {"security_group_ids"}),
    *_noun(ROUTER, "routers", routers),
    Operation("PUT", "/v2.0/routers/{router_id}/add_router_interface", routers.add_interface,
              "add_router_interface", WRITE, request=_INTERFACE, check="handler"),
    Operation("PUT", "/v2.0/routers/{router_id}/remove_router_interface", routers.remove_interface,
              "remove_router_interface", WRITE, request=_INTERFACE, check="handler"),
    Operation("PUT", "/v2.0/routers/{router_id}/add_extraroutes", routers.add_routes, "add_extraroutes", WRITE,
              request=_ROUTES, reply=ROUTER, check="handler"),
    Operation("PUT", "/v2.0/routers/{router_id}/remove_extraroutes", routers.remove_routes, "remove_extraroutes", WRITE,
              request=_ROUTES, reply=ROUTER, check="handler"),
    *_noun(FLOATING_IP, "floatingips", floatingips, bulk=False),
    *_forwarding_rows(),
    *_noun(SECURITY_GROUP, "security-groups", security_groups),
    *_noun(RULE, "security-group-rules", security_groups, id="rule_id", names=_RULES,
           extra=TAG_FILTERS | {"belongs_to_default_sg"}),
    *_noun(DEFAULT_RULE, "default-security-group-rules", security_groups, id="rule_id", names=_DEFAULT_RULES,
           write=policy.ADMIN, extra=NO_EXTRA, bulk=False),
    *_noun(SUBNET_POOL, "subnetpools", pools, names=_POOLS, bulk=False),
    *_noun(ADDRESS_SCOPE, "address-scopes", pools, names=_SCOPES, extra=NO_EXTRA, bulk=False),
    *_noun(ADDRESS_GROUP, "address-groups", pools, names=_GROUPS, extra=NO_EXTRA, bulk=False),
    Operation("PUT", _ADDRESS_GROUP + "/add_addresses", pools.add_addresses, "update_address_group", WRITE,
              request=_ADDRESSES, reply=ADDRESS_GROUP, check="handler"),
    Operation("PUT", _ADDRESS_GROUP + "/remove_addresses", pools.remove_addresses, "update_address_group", WRITE,
              request=_ADDRESSES, reply=ADDRESS_GROUP, check="handler"),
    *_noun(RBAC_POLICY, "rbac-policies", pools, names=_GRANTS, extra=NO_EXTRA, bulk=False),
    # -- agents
    Operation("GET", "/v2.0/agents", agents.list_, "get_agents", policy.ANYONE, filters=AGENT,
              extra_filters=frozenset({"alive"}), reply=AGENT),
    Operation("GET", "/v2.0/agents/{agent_id}", agents.show, "get_agent", policy.ADMIN_OR_SERVICE, reply=AGENT),
    Operation("PUT", "/v2.0/agents/{agent_id}", agents.update, "update_agent", request=AGENT, verb="update",
              reply=AGENT),
    Operation("DELETE", "/v2.0/agents/{agent_id}", agents.delete, "delete_agent", status=204),
    Operation("GET", "/v2.0/availability_zones", agents.zones, "get_availability_zone", policy.ANYONE,
              filters=frozenset({"name", "resource", "state"})),
    Operation("GET", "/v2.0/networks/{network_id}/dhcp-agents", agents.network_hosts, "get_dhcp-agents"),
    Operation("GET", "/v2.0/agents/{agent_id}/dhcp-networks", agents.hosted_networks, "get_dhcp-networks"),
    Operation("POST", "/v2.0/agents/{agent_id}/dhcp-networks", agents.add_network, "create_dhcp-network",
              request=schema.obj({"network_id": schema.uuid()}, ["network_id"]), status=201),
    Operation("DELETE", "/v2.0/agents/{agent_id}/dhcp-networks/{network_id}", agents.remove_network,
              "delete_dhcp-network", status=204),
    Operation("GET", "/v2.0/routers/{router_id}/l3-agents", agents.router_hosts, "get_l3-agents"),
    Operation("GET", "/v2.0/agents/{agent_id}/l3-routers", agents.hosted_routers, "get_l3-routers"),
    Operation("POST", "/v2.0/agents/{agent_id}/l3-routers", agents.add_router, "create_l3-router",
              request=schema.obj({"router_id": schema.uuid()}, ["router_id"]), status=201),
    Operation("DELETE", "/v2.0/agents/{agent_id}/l3-routers/{router_id}", agents.remove_router, "delete_l3-router",
              status=204),
    # -- small things
    Operation("GET", "/v2.0/quotas", misc.list_quotas, "get_quota_list"),
    Operation("GET", "/v2.0/quotas/{project_id}", misc.show_quota, "get_quota", READ, reply=_QUOTA_REPLY,
              check="handler"),
    Operation("GET", "/v2.0/quotas/{project_id}/default", misc.default_quota, "get_quota", READ, reply=_QUOTA_REPLY,
              check="handler"),
    Operation("GET", "/v2.0/quotas/{project_id}/details", misc.quota_details, "get_quota", READ, reply=_QUOTA_REPLY,
              check="handler"),
    Operation("PUT", "/v2.0/quotas/{project_id}", misc.update_quota, "update_quota", request=_QUOTA,
              reply=_QUOTA_REPLY),
    Operation("DELETE", "/v2.0/quotas/{project_id}", misc.delete_quota, "delete_quota", status=204),
    _tagged("GET", "", misc.tags, "get_tags", READ, reply=_TAGS_REPLY),
    _tagged("PUT", "", misc.replace_tags, "update_tags", WRITE, request=_TAGS, reply=_TAGS_REPLY, check="handler"),
    _tagged("DELETE", "", misc.delete_tags, "update_tags", WRITE, status=204, check="handler"),
    _tagged("GET", "/{tag}", misc.has_tag, "get_tags", READ, status=204),
    _tagged("PUT", "/{tag}", misc.add_tag, "update_tags", WRITE, status=201, check="handler"),
    _tagged("DELETE", "/{tag}", misc.delete_tag, "update_tags", WRITE, status=204, check="handler"),
    Operation("GET", "/v2.0/network-ip-availabilities", misc.ip_availabilities, "get_network_ip_availability",
              filters=_AVAILABILITY),
    Operation("GET", "/v2.0/network-ip-availabilities/{network_id}", misc.ip_availability,
              "get_network_ip_availability"),
    Operation("GET", "/v2.0/service-providers", misc.service_providers, "get_service_provider", policy.ANYONE,
              filters=frozenset({"service_type", "name", "default"})),
    Operation("GET", "/v2.0/auto-allocated-topology/{project_id}", misc.topology, "get_auto_allocated_topology", WRITE,
              check="handler"),
    Operation("DELETE", "/v2.0/auto-allocated-topology/{project_id}", misc.delete_topology,
              "delete_auto_allocated_topology", WRITE, status=204, check="handler"),
]  # fmt: skip

# Attributes that only some may send.
RULES = [
    *((f.policy, ADMIN_FIELD, f"Set {f.name} of a network") for f in NETWORK.fields.values() if f.policy),
    *((f.policy, ADMIN_FIELD, f"Set {f.name} of a router") for f in ROUTER.fields.values() if f.policy),
    *((f.policy, ADMIN_FIELD, f"Set {f.name} of a subnet pool") for f in SUBNET_POOL.fields.values() if f.policy),
    *((f.policy, ADMIN_FIELD, f"Set {f.name} of an address scope") for f in ADDRESS_SCOPE.fields.values() if f.policy),
    *((f.policy, ADMIN_FIELD, f"Set {f.name} of an address group") for f in ADDRESS_GROUP.fields.values() if f.policy),
    ("create_floatingip:floating_ip_address", ADMIN_FIELD, "Choose the address of a floating IP"),
    *(
        (f.policy, SERVICE_FIELD if f.name in BINDING else NETWORK_OWNER_FIELD, f"Set {f.name} of a port")
        for f in PORT.fields.values()
        if f.policy
    ),
    ("create_port:fixed_ips:ip_address", NETWORK_OWNER_FIELD, "Choose an address on a network"),
    ("create_port:fixed_ips:subnet_id", NETWORK_OWNER_FIELD, "Choose a subnet of a network"),
    ("update_router:external_gateway_info:enable_snat", ADMIN_FIELD, "Switch SNAT of a router"),
    ("update_router:external_gateway_info:external_fixed_ips", ADMIN_FIELD, "Choose the address of a gateway"),
]


class NeutronTable(Table):
    """Paths as Neutron takes them: a suffix `.json` is ignored, and the list of collections is at `/v2.0/` only."""

    def find(self, method: str, path: str) -> tuple[Match | None, tuple[str, ...]]:
        if path == "/v2.0":
            return None, ()
        return super().find(method, path.removesuffix(".json"))


TABLE = NeutronTable(
    "network",
    OPERATIONS,
    dialect=dialect,
    style=ListStyle(unknown="refuse", max_limit=1_000_000_000),
    prefixes=("/networking", "/network"),
    rules=RULES,
)
