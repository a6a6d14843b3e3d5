# SPDX-License-Identifier: Apache-2.0
"""Server groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aerie_common.context import Context
from aerie_common.db import retried
from aerie_compute import errors
from aerie_compute.db import groups, servers
from aerie_compute.db.groups import ServerGroup
from aerie_compute.logic import quotas

if TYPE_CHECKING:
    from aerie_compute.container import Compute


@retried
def create(svc: Compute, ctx: Context, name: str, policy: str, rules: dict[str, Any]) -> ServerGroup:
    """ServerGroupQuota."""
    project_id = ctx.project_id or ""
    limit = quotas.limits(svc, project_id)["server_groups"]
    with svc.api_db.write() as conn:
        if 0 <= limit <= groups.count(conn, project_id):
            raise errors.ServerGroupQuota()
        return groups.insert(
            conn, project_id=project_id, user_id=ctx.user_id or "", name=name, policy=policy, rules=rules
        )


@retried
def show(svc: Compute, ctx: Context, group_id: str) -> ServerGroup:
    """ServerGroupNotFound."""
    with svc.api_db.read() as conn:
        found = groups.get(conn, group_id, None if ctx.is_admin else ctx.project_id or "")
    if found is None:
        raise errors.ServerGroupNotFound(group_id=group_id)
    return found


@retried
def list_(svc: Compute, ctx: Context, *, everyone: bool, limit: int | None, offset: int) -> list[ServerGroup]:
    with svc.api_db.read() as conn:
        found = groups.list_(conn, None if everyone else ctx.project_id or "", limit=limit or 1000, offset=offset)
    return found


@retried
def delete(svc: Compute, ctx: Context, group_id: str) -> None:
    """Its members stay where they are."""
    show(svc, ctx, group_id)
    with svc.api_db.write() as conn:
        groups.delete(conn, group_id)


@retried
def existing(svc: Compute, found: list[ServerGroup]) -> dict[str, tuple[str, ...]]:
    """group id -> those members that still exist."""
    wanted = sorted({member for group in found for member in group.members})
    with svc.db.read() as conn:
        alive = {server.id for server in servers.get_many(conn, wanted)}
    return {group.id: tuple(m for m in group.members if m in alive) for group in found}


@retried
def of_server(svc: Compute, server_id: str) -> str | None:
    with svc.api_db.read() as conn:
        return groups.of_server(conn, server_id)
