# SPDX-License-Identifier: Apache-2.0
"""A ready-made topology for a project that has none: a network, a subnet of it, and a router to the outside.

It is what `openstack network auto allocated topology create` and servers with `--network auto` ask for. Asking again
gives the same; what belongs to it carries a tag, by which it is found.
"""

from __future__ import annotations

import sqlalchemy as sa

from aerie_common.context import Context
from aerie_common.db import insert_if_absent, retried
from aerie_common.errors import NotFound, ServiceUnavailable
from aerie_network.container import NetworkService
from aerie_network.db import networks as networks_db
from aerie_network.db import pools as pools_db
from aerie_network.db import tables
from aerie_network.errors import AutoAllocationFailure
from aerie_network.logic import networks, routers, subnets
from aerie_network.logic.work import Work, change
from aerie_network.schemas.networks import NETWORK
from aerie_network.schemas.routers import ROUTER
from aerie_network.schemas.subnets import SUBNET

NAME, ROUTER_NAME = "auto_allocated_network", "auto_allocated_router"
TAG = "auto-allocated-topology"
DEFAULT_CIDR = "10.0.0.0/24"


def find(svc: NetworkService, project_id: str) -> str | None:
    """The network of the project's topology."""
    n, t = tables.networks.c, tables.tags.c
    query = sa.select(n.id).join(tables.tags, t.resource_id == n.id).where(n.project_id == project_id, t.tag == TAG)
    with svc.db.read() as conn:
        return conn.execute(query.order_by(n.created_at, n.id).limit(1)).scalar()


def outside(svc: NetworkService) -> str:
    """The external network it leads to: the one marked as default. AutoAllocationFailure without one."""
    n = tables.networks.c
    with svc.db.read() as conn:
        query = sa.select(n.id).where(n.external.is_(sa.true()), n.is_default.is_(sa.true()))
        found = conn.execute(query).scalar()
    if found is None:
        raise AutoAllocationFailure(reason="No default router:external network")
    return str(found)


@retried
def provide(svc: NetworkService, ctx: Context, project_id: str) -> str:
    """The network of the project's topology, made now if there is none; all of it by one transaction."""
    if (found := find(svc, project_id)) is not None:
        return found
    external = outside(svc)
    with change(svc, ctx) as work:
        # The project's own tag is the claim: of several callers at once one makes the topology.
        if insert_if_absent(work.conn, tables.tags, {"resource_id": project_id, "tag": TAG}):
            return _make(work, ctx, project_id, external)
    made = find(svc, project_id)
    if made is None:
        raise ServiceUnavailable("The topology is being changed. Try again in a moment.")
    return made


def _make(work: Work, ctx: Context, project_id: str, external: str) -> str:
    own = {"project_id": project_id}
    network = networks.make(work, {**NETWORK.defaults(), **own, "name": NAME})
    subnet = subnets.make(work, ctx, {**SUBNET.defaults(), **own, **_range(work.conn), "network_id": network.id})
    gateway = {"external_gateway_info": {"network_id": external}}
    router = routers.make(work, ctx, {**ROUTER.defaults(), **own, **gateway, "name": ROUTER_NAME})
    routers.plug_subnet(work, ctx, routers.schedule(work, router), subnet.id)
    rows = [{"resource_id": resource_id, "tag": TAG} for resource_id in (network.id, router.id)]
    work.conn.execute(sa.insert(tables.tags), rows)
    return network.id


def _range(conn: sa.Connection) -> dict[str, object]:
    """Addresses of the default pool, where the cloud has one."""
    p = tables.subnetpools.c
    pool = pools_db.POOLS.all(conn, p.is_default.is_(sa.true()), p.ip_version == 4)
    common = {"name": "auto_allocated_subnet_v4", "ip_version": 4}
    return {**common, "subnetpool_id": pool[0].id} if pool else {**common, "cidr": DEFAULT_CIDR}


@retried
def remove(svc: NetworkService, ctx: Context, project_id: str) -> None:
    """Delete the project's topology. NotFound when it has none; refused while ports are on it."""
    network_id = find(svc, project_id)
    if network_id is None:
        raise NotFound(f"There is no auto allocated topology for tenant {project_id}.")
    r, t = tables.routers.c, tables.tags.c
    with svc.db.read() as conn:
        mine = list(
            conn.execute(
                sa.select(r.id).join(tables.tags, t.resource_id == r.id).where(r.project_id == project_id, t.tag == TAG)
            ).scalars()
        )
        network = networks_db.STORE.get(conn, network_id)
    for router_id in mine:
        for subnet_id in network.subnets:
            try:
                routers.remove_interface(svc, ctx, router_id, subnet_id, None)
            except NotFound:
                continue  # somebody has taken it off already
        routers.delete(svc, ctx, router_id)
    networks.delete(svc, ctx, network_id)
    with svc.db.write() as conn:
        conn.execute(sa.delete(tables.tags).where(t.resource_id == project_id, t.tag == TAG))
