# SPDX-License-Identifier: Apache-2.0
"""Identity providers: who else may say who somebody is.

Invariants: each has a domain, where its users live, for ever; a remote id belongs to one of them; one that is disabled
or removed takes the tokens of its users with it in the same transaction.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from aerie_common.context import Context
from aerie_common.db import retried
from aerie_common.errors import BadRequest
from aerie_common.listing import Listing
from aerie_identity.db import identity_providers as db
from aerie_identity.db import tables as t
from aerie_identity.db.models import IDENTITY_PROVIDERS, PROJECTS, IdentityProvider, Project
from aerie_identity.db.store import Page
from aerie_identity.errors import Missing
from aerie_identity.logic.common import check_id, new_id, unique
from aerie_identity.logic.projects import load_domain

if TYPE_CHECKING:
    from aerie_identity.container import Identity


def load(conn: sa.Connection, id: str) -> IdentityProvider:
    found = db.get(conn, id)
    if found is None:
        raise Missing("identity provider", id)
    return found


def show(svc: Identity, id: str) -> IdentityProvider:
    with svc.db.read() as conn:
        return load(conn, id)


def list_(svc: Identity, listing: Listing) -> Page[IdentityProvider]:
    with svc.db.read() as conn:
        page = IDENTITY_PROVIDERS.page(conn, listing, limit=svc.conf.identity.list_limit)
        return dataclasses.replace(page, rows=db.fill(conn, page.rows))


@retried
def create(svc: Identity, ctx: Context, id: str, values: dict[str, Any]) -> IdentityProvider:
    """Store an identity provider; without a domain it gets one of its own."""
    check_id("identity provider", id)
    remote_ids = tuple(values.get("remote_ids") or ())
    with svc.db.write() as conn:
        if values.get("domain_id"):
            domain_id = load_domain(conn, values["domain_id"]).id
        else:
            domain_id = _new_domain(conn, id)
        row = IdentityProvider(
            id=id,
            domain_id=domain_id,
            enabled=values["enabled"],
            description=values.get("description"),
            authorization_ttl=values.get("authorization_ttl"),
            remote_ids=remote_ids,
        )
        with unique("identity provider", id, "ID"):
            IDENTITY_PROVIDERS.insert(conn, row)
        with unique("identity provider", ", ".join(remote_ids), "remote ID"):
            db.replace_remote_ids(conn, id, remote_ids)
        svc.epoch.bump(conn)
    return row


def _new_domain(conn: sa.Connection, idp_id: str) -> str:
    id = new_id()
    description = f"Users of the identity provider {idp_id}."
    PROJECTS.insert(conn, Project(id, t.ROOT, id, None, f"/{id}/", is_domain=True, description=description))
    return id


@retried
def update(svc: Identity, ctx: Context, id: str, values: dict[str, Any]) -> IdentityProvider:
    names = ("enabled", "description", "authorization_ttl")
    changes: dict[str, Any] = {name: values[name] for name in names if name in values}
    with svc.db.write() as conn:
        row = load(conn, id)
        if values.get("domain_id", row.domain_id) != row.domain_id:
            raise BadRequest("The domain of an identity provider cannot be changed.")
        IDENTITY_PROVIDERS.update(conn, id, **changes)
        if "remote_ids" in values:
            changes["remote_ids"] = tuple(values["remote_ids"] or ())
            with unique("identity provider", ", ".join(changes["remote_ids"]), "remote ID"):
                db.replace_remote_ids(conn, id, changes["remote_ids"])
        svc.epoch.bump(conn)
    return dataclasses.replace(row, **changes)


@retried
def delete(svc: Identity, ctx: Context, id: str) -> None:
    """Remove an identity provider with its protocols. Its users remain, but nobody can log in as them by it."""
    with svc.db.write() as conn:
        load(conn, id)
        IDENTITY_PROVIDERS.delete(conn, t.identity_providers.c.id == id)
        svc.epoch.bump(conn)
