# SPDX-License-Identifier: Apache-2.0
"""Grants (RBAC policies): which other projects may use an object.

Invariant: an object's flags are its grants: `shared` is one of `access_as_shared` to everybody, a network's `external`
any of `access_as_external`. A grant that somebody's ports, routers or subnets live on is not taken away, unless another
grant lets them stay.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from oslo_db import exception as db_exc

from aerie_common.context import Context
from aerie_common.db import new_id, retried
from aerie_common.errors import PolicyNotAuthorized
from aerie_common.listing import Listing
from aerie_network.container import NetworkService
from aerie_network.db import grants as db
from aerie_network.db import networks as networks_db
from aerie_network.db import pools as pools_db
from aerie_network.db import security_groups as groups_db
from aerie_network.db import tables
from aerie_network.db.pools import RbacPolicy
from aerie_network.db.query import Page, Store
from aerie_network.errors import DuplicateRbacPolicy, InvalidInput, RbacPolicyInUse
from aerie_network.logic import guard
from aerie_network.logic.work import Work, change, owned, privileged

EVERYBODY = db.EVERYBODY
SHARED, EXTERNAL = "access_as_shared", "access_as_external"

_STORES: dict[str, Store[Any]] = {
    "network": networks_db.STORE,
    "security_group": groups_db.STORE,
    "subnetpool": pools_db.POOLS,
    "address_scope": pools_db.SCOPES,
    "address_group": groups_db.ADDRESS_GROUPS,
}


def page(svc: NetworkService, ctx: Context, listing: Listing) -> Page[RbacPolicy]:
    """Grants the caller has made."""
    with svc.db.read() as conn:
        return pools_db.RBAC.page(conn, listing, *owned(ctx, tables.rbac_policies.c.project_id))


def show(svc: NetworkService, ctx: Context, policy_id: str) -> RbacPolicy:
    """One grant."""
    with svc.db.read() as conn:
        return pools_db.RBAC.get(conn, policy_id, *owned(ctx, tables.rbac_policies.c.project_id))


def _lock(work: Work, ctx: Context, object_type: str, object_id: str) -> Any:
    """The object a grant is about. One that the caller may only use is not theirs to give."""
    store = _STORES[object_type]
    found = store.get(work.conn, object_id, lock=True)
    if found.project_id != ctx.project_id and not privileged(ctx):
        if db.may_use(work.conn, object_type, object_id, ctx.project_id):
            raise InvalidInput(error_message="Only admins can manipulate policies on objects they do not own")
        raise store.missing(id=object_id)
    return found


@retried
def create(svc: NetworkService, ctx: Context, values: dict[str, Any]) -> RbacPolicy:
    """Let another project (or "*": all) use an object. The right to give is the owner's; to all, an administrator's."""
    object_type, action = values["object_type"], values["action"]
    if action == EXTERNAL and object_type != "network":
        raise InvalidInput(error_message="access_as_external is for networks")
    with change(svc, ctx) as work:
        found = _lock(work, ctx, object_type, values["object_id"])
        if not privileged(ctx) and values["target_tenant"] == EVERYBODY:
            raise PolicyNotAuthorized(action="create_rbac_policy:target_tenant")
        if object_type == "subnetpool" and found.address_scope_id:
            _check_scope(work.conn, found.address_scope_id, values["target_tenant"])
        row = {"id": new_id(), **values}
        try:
            pools_db.RBAC.insert(work.conn, row)
        except db_exc.DBDuplicateEntry:
            raise DuplicateRbacPolicy() from None
        work.charge(values["project_id"], "rbac_policy")
        _flags(work.conn, object_type, found.id)
    return RbacPolicy(**row)


def _check_scope(conn: sa.Connection, scope_id: str, target: str) -> None:
    """Who may use a pool must be able to use its address scope."""
    scope = pools_db.SCOPES.get(conn, scope_id)
    if target != scope.project_id and not db.may_use(conn, "address_scope", scope_id, target):
        raise InvalidInput(
            error_message=f"Project {target} may not use the address scope {scope_id} of the subnet pool"
        )


def _flags(conn: sa.Connection, object_type: str, object_id: str) -> None:
    """The object's own columns say what its grants say; its revision goes up."""
    targets = db.targets(conn, object_type, object_id)
    store = _STORES[object_type]
    flags: dict[str, bool] = {}
    if "shared" in store.table.c:
        flags["shared"] = EVERYBODY in targets.get(SHARED, ())
    if object_type == "network":
        flags["external"] = bool(targets.get(EXTERNAL))
    store.update(conn, object_id, flags)


def _check_unused(conn: sa.Connection, policy: RbacPolicy, instead: str | None = None) -> None:
    """Nobody lives on the grant; instead: the project which it is going to be for. RbacPolicyInUse."""
    found = _STORES[policy.object_type].get(conn, policy.object_id)
    if policy.action == EXTERNAL and policy.target_tenant == EVERYBODY and found.is_default:
        raise RbacPolicyInUse(object=policy.object_id)
    others = db.targets(conn, policy.object_type, policy.object_id, without=policy.id).get(policy.action, set())
    staying = {*others, found.project_id, "", *([instead] if instead else ())}
    if EVERYBODY in staying:
        return
    users = db.users(conn, policy.object_type, policy.object_id, policy.action)
    living = users if policy.target_tenant == EVERYBODY else users & {policy.target_tenant}
    if living - staying:
        raise RbacPolicyInUse(object=policy.object_id)


@retried
def update(svc: NetworkService, ctx: Context, policy_id: str, target: str) -> RbacPolicy:
    """Move a grant to another project."""
    with change(svc, ctx) as work:
        conn = work.conn
        before = pools_db.RBAC.get(conn, policy_id, *owned(ctx, tables.rbac_policies.c.project_id), lock=True)
        guard.check_owner(svc, ctx, "update_rbac_policy", before)
        if target == EVERYBODY and not privileged(ctx):
            raise PolicyNotAuthorized(action="update_rbac_policy:target_tenant")
        if target != before.target_tenant:
            _STORES[before.object_type].get(conn, before.object_id, lock=True)
            _check_unused(conn, before, instead=target)
            t = tables.rbac_policies
            try:
                conn.execute(sa.update(t).where(t.c.id == policy_id).values(target_tenant=target))
            except db_exc.DBDuplicateEntry:
                raise DuplicateRbacPolicy() from None
            _flags(conn, before.object_type, before.object_id)
        return pools_db.RBAC.get(conn, policy_id)


@retried
def delete(svc: NetworkService, ctx: Context, policy_id: str) -> None:
    """Take a grant back. RbacPolicyInUse while somebody uses it."""
    with change(svc, ctx) as work:
        conn = work.conn
        found = pools_db.RBAC.get(conn, policy_id, *owned(ctx, tables.rbac_policies.c.project_id), lock=True)
        guard.check_owner(svc, ctx, "delete_rbac_policy", found)
        _STORES[found.object_type].get(conn, found.object_id, lock=True)
        _check_unused(conn, found)
        pools_db.RBAC.delete(conn, policy_id)
        _flags(conn, found.object_type, found.object_id)
        work.charge(found.project_id, "rbac_policy", -1)


# ------------------------------------------------------------------------------------- grants that come by a flag


def to_everybody(work: Work, project_id: str, object_type: str, object_id: str, action: str) -> None:
    """The grant behind a flag that has been set; no quota keeps it from being made."""
    if EVERYBODY in db.targets(work.conn, object_type, object_id).get(action, ()):
        return
    row = {
        "id": new_id(), "project_id": project_id, "object_type": object_type, "object_id": object_id,
        "action": action, "target_tenant": EVERYBODY,
    }  # fmt: skip
    pools_db.RBAC.insert(work.conn, row)
    work.charge(project_id, "rbac_policy", force=True)


def forget(work: Work, object_id: str, action: str | None = None, target: str | None = None) -> None:
    """The grants of an object that goes (or those of one action, to one target) go with it."""
    for project_id, count in db.drop(work.conn, object_id, action, target).items():
        work.charge(project_id, "rbac_policy", -count)
