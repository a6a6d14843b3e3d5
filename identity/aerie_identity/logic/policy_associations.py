# SPDX-License-Identifier: Apache-2.0
"""OS-ENDPOINT-POLICY: which policy document an endpoint is to follow. The most special one counts: the endpoint's own,
else that of its service in its region or the nearest region above, else that of its service.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from aerie_common.context import Context
from aerie_common.db import retried
from aerie_common.errors import NotFound
from aerie_identity.db import policy_associations as db
from aerie_identity.db.models import ENDPOINTS, POLICIES, REGIONS, Endpoint, PolicyBlob
from aerie_identity.db.policy_associations import Place
from aerie_identity.errors import Missing
from aerie_identity.logic.catalog import load_endpoint, load_region, load_service

if TYPE_CHECKING:
    from aerie_identity.container import Identity


def _check(conn: sa.Connection, policy_id: str, place: Place) -> None:
    """Raise Missing unless all that is named exists."""
    POLICIES.need(conn, policy_id, lambda: Missing("policy", policy_id))
    for id, load in ((place.endpoint_id, load_endpoint), (place.service_id, load_service)):
        if id:
            load(conn, id)
    if place.region_id:
        load_region(conn, place.region_id)


@retried
def create(svc: Identity, ctx: Context, policy_id: str, place: Place) -> None:
    """The policy is the place's from now on, instead of a former one."""
    with svc.db.write() as conn:
        _check(conn, policy_id, place)
        db.put(conn, place, policy_id)


def check(svc: Identity, policy_id: str, place: Place) -> None:
    """Raise NotFound unless the policy is the place's."""
    with svc.db.read() as conn:
        _check(conn, policy_id, place)
        if db.get(conn, place) != policy_id:
            raise NotFound(f"Policy {policy_id} is not associated with that.")


@retried
def delete(svc: Identity, ctx: Context, policy_id: str, place: Place) -> None:
    with svc.db.write() as conn:
        _check(conn, policy_id, place)
        db.delete(conn, place, policy_id)


def policy_for(svc: Identity, endpoint_id: str) -> PolicyBlob:
    """The policy that counts for an endpoint. NotFound when there is none."""
    with svc.db.read() as conn:
        endpoint = load_endpoint(conn, endpoint_id)
        found = _effective(endpoint, db.all_(conn), _parents(conn))
        policy = POLICIES.get(conn, found) if found else None
    if policy is None:
        raise NotFound(f"No policy is associated with endpoint {endpoint_id}.")
    return policy


def endpoints_of(svc: Identity, policy_id: str) -> list[Endpoint]:
    """The endpoints for which the policy counts."""
    with svc.db.read() as conn:
        POLICIES.need(conn, policy_id, lambda: Missing("policy", policy_id))
        places, parents, endpoints = db.all_(conn), _parents(conn), ENDPOINTS.all(conn)
    return [e for e in endpoints if _effective(e, places, parents) == policy_id]


def _parents(conn: sa.Connection) -> dict[str, str | None]:
    return {region.id: region.parent_region_id for region in REGIONS.all(conn)}


def _effective(endpoint: Endpoint, places: dict[Place, str], parents: dict[str, str | None]) -> str | None:
    if found := places.get(Place(endpoint_id=endpoint.id)):
        return found
    region, seen = endpoint.region_id, set[str]()
    while region and region not in seen:
        if found := places.get(Place(service_id=endpoint.service_id, region_id=region)):
            return found
        seen.add(region)
        region = parents.get(region)
    return places.get(Place(service_id=endpoint.service_id))
