# SPDX-License-Identifier: Apache-2.0
"""Handlers of pools and of the service's own daemons."""

from __future__ import annotations

from typing import Any

from aerie_common.http import Request
from aerie_dns import errors, logic
from aerie_dns.api.common import check_ids, listing, page
from aerie_dns.api.common import show as shown
from aerie_dns.logic.services import Shown
from aerie_dns.pools import Pool
from aerie_dns.schemas.nouns import POOL, SERVICE_STATUS


def pool_body(req: Request, pool: Pool) -> dict[str, Any]:
    return shown(req, POOL, pool, f"/v2/pools/{pool.id}")


def list_pools(req: Request) -> dict[str, Any]:
    """List pools of name servers."""
    name = req.query_one("name")
    found = [pool for pool in req.svc.pools.values() if name in (None, pool.name)]
    return listing(req, POOL, ((pool_body(req, pool) for pool in found), len(found)))


def show_pool(req: Request, pool_id: str) -> dict[str, Any]:
    """Show a pool of name servers."""
    check_ids(pool_id=pool_id)
    if pool_id not in req.svc.pools:
        raise errors.PoolNotFound()
    return pool_body(req, req.svc.pools[pool_id])


def status_body(req: Request, service: Shown) -> dict[str, Any]:
    return shown(req, SERVICE_STATUS, service, f"/v2/service_statuses/{service.id}")


def list_statuses(req: Request) -> dict[str, Any]:
    """List the daemons of the DNS service."""
    asked = page(req, SERVICE_STATUS)
    found, total = logic.services.list_(req.svc, asked)
    return listing(req, SERVICE_STATUS, ((status_body(req, service) for service in found), total), asked.limit)


def show_status(req: Request, service_id: str) -> dict[str, Any]:
    """Show a daemon of the DNS service."""
    check_ids(service_id=service_id)
    return status_body(req, logic.services.show(req.svc, service_id))
