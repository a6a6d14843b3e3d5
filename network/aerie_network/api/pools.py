# SPDX-License-Identifier: Apache-2.0
"""Handlers of subnet pools, address scopes, address groups and grants."""

from __future__ import annotations

from typing import Any

from aerie_common.http import Request
from aerie_network.api import common
from aerie_network.logic import grants, misc, pools
from aerie_network.schemas.pools import ADDRESS_SCOPE, RBAC_POLICY, SUBNET_POOL
from aerie_network.schemas.security_groups import ADDRESS_GROUP


def list_pools(req: Request) -> dict[str, Any]:
    """List subnet pools."""
    return common.listed(req, "subnetpools", pools.page(req.svc, req.ctx, req.listing), common.shower(req, SUBNET_POOL))


def show_pool(req: Request, subnetpool_id: str) -> dict[str, Any]:
    """Show a subnet pool."""
    return {"subnetpool": common.shower(req, SUBNET_POOL)(pools.show(req.svc, req.ctx, subnetpool_id))}


def create_pool(req: Request) -> dict[str, Any]:
    """Create a subnet pool."""
    [values], _ = common.wanted(req, SUBNET_POOL)
    return {"subnetpool": common.shower(req, SUBNET_POOL)(pools.create(req.svc, req.ctx, values))}


def update_pool(req: Request, subnetpool_id: str) -> dict[str, Any]:
    """Change a subnet pool."""
    values, revision = common.changes(req, SUBNET_POOL)
    found = pools.update(req.svc, req.ctx, subnetpool_id, values, revision)
    return {"subnetpool": common.shower(req, SUBNET_POOL)(found)}


def delete_pool(req: Request, subnetpool_id: str) -> None:
    """Delete a subnet pool."""
    pools.delete(req.svc, req.ctx, subnetpool_id)


def list_scopes(req: Request) -> dict[str, Any]:
    """List address scopes."""
    page = pools.scopes_page(req.svc, req.ctx, req.listing)
    return common.listed(req, "address_scopes", page, common.shower(req, ADDRESS_SCOPE))


def show_scope(req: Request, address_scope_id: str) -> dict[str, Any]:
    """Show an address scope."""
    return {"address_scope": common.shower(req, ADDRESS_SCOPE)(pools.show_scope(req.svc, req.ctx, address_scope_id))}


def create_scope(req: Request) -> dict[str, Any]:
    """Create an address scope."""
    [values], _ = common.wanted(req, ADDRESS_SCOPE)
    return {"address_scope": common.shower(req, ADDRESS_SCOPE)(pools.create_scope(req.svc, req.ctx, values))}


def update_scope(req: Request, address_scope_id: str) -> dict[str, Any]:
    """Change an address scope."""
    values, _ = common.changes(req, ADDRESS_SCOPE)
    found = pools.update_scope(req.svc, req.ctx, address_scope_id, values)
    return {"address_scope": common.shower(req, ADDRESS_SCOPE)(found)}


def delete_scope(req: Request, address_scope_id: str) -> None:
    """Delete an address scope."""
    pools.delete_scope(req.svc, req.ctx, address_scope_id)


def list_groups(req: Request) -> dict[str, Any]:
    """List address groups."""
    page = misc.address_groups(req.svc, req.ctx, req.listing)
    return common.listed(req, "address_groups", page, common.shower(req, ADDRESS_GROUP))


def show_group(req: Request, address_group_id: str) -> dict[str, Any]:
    """Show an address group."""
    return {"address_group": common.shower(req, ADDRESS_GROUP)(misc.address_group(req.svc, req.ctx, address_group_id))}


def create_group(req: Request) -> dict[str, Any]:
    """Create an address group."""
    [values], _ = common.wanted(req, ADDRESS_GROUP)
    return {"address_group": common.shower(req, ADDRESS_GROUP)(misc.create_address_group(req.svc, req.ctx, values))}


def update_group(req: Request, address_group_id: str) -> dict[str, Any]:
    """Rename or describe an address group."""
    values, _ = common.changes(req, ADDRESS_GROUP)
    found = misc.update_address_group(req.svc, req.ctx, address_group_id, values)
    return {"address_group": common.shower(req, ADDRESS_GROUP)(found)}


def add_addresses(req: Request, address_group_id: str) -> dict[str, Any]:
    """Add addresses to an address group."""
    found = misc.update_address_group(req.svc, req.ctx, address_group_id, {}, add=req.body["addresses"])
    return {"address_group": common.shower(req, ADDRESS_GROUP)(found)}


def remove_addresses(req: Request, address_group_id: str) -> dict[str, Any]:
    """Remove addresses from an address group."""
    found = misc.update_address_group(req.svc, req.ctx, address_group_id, {}, remove=req.body["addresses"])
    return {"address_group": common.shower(req, ADDRESS_GROUP)(found)}


def delete_group(req: Request, address_group_id: str) -> None:
    """Delete an address group."""
    misc.delete_address_group(req.svc, req.ctx, address_group_id)


def list_grants(req: Request) -> dict[str, Any]:
    """List RBAC policies."""
    return common.listed(
        req, "rbac_policies", grants.page(req.svc, req.ctx, req.listing), common.shower(req, RBAC_POLICY)
    )


def show_grant(req: Request, rbac_policy_id: str) -> dict[str, Any]:
    """Show an RBAC policy."""
    return {"rbac_policy": common.shower(req, RBAC_POLICY)(grants.show(req.svc, req.ctx, rbac_policy_id))}


def create_grant(req: Request) -> dict[str, Any]:
    """Let another project use an object."""
    [values], _ = common.wanted(req, RBAC_POLICY)
    return {"rbac_policy": common.shower(req, RBAC_POLICY)(grants.create(req.svc, req.ctx, values))}


def update_grant(req: Request, rbac_policy_id: str) -> dict[str, Any]:
    """Move an RBAC policy to another project."""
    target = req.body["rbac_policy"]["target_tenant"]
    found = grants.update(req.svc, req.ctx, rbac_policy_id, target)
    return {"rbac_policy": common.shower(req, RBAC_POLICY)(found)}


def delete_grant(req: Request, rbac_policy_id: str) -> None:
    """Take an RBAC policy back."""
    grants.delete(req.svc, req.ctx, rbac_policy_id)
