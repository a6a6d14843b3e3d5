# SPDX-License-Identifier: Apache-2.0
"""Quotas: what was set for a project, else what the configuration says. -1 means no limit."""

from __future__ import annotations

from aerie_common.db import Id, retried
from aerie_common.errors import BadRequest
from aerie_dns.container import Dns
from aerie_dns.db import nouns as db
from aerie_dns.db.rows import Connection

RESOURCES = ("api_export_size", "recordset_records", "zone_records", "zone_recordsets", "zones")


def limits(svc: Dns, conn: Connection, project_id: str | None) -> dict[str, int]:
    """Every limit of the project."""
    defaults = {name: int(svc.conf.dns[f"quota_{name}"]) for name in RESOURCES}
    return defaults if project_id is None else {**defaults, **db.quotas(conn, project_id)}


def show(svc: Dns, project_id: str | None) -> dict[str, int]:
    """Every limit of the project."""
    with svc.db.read() as conn:
        return limits(svc, conn, project_id)


@retried
def update(svc: Dns, project_id: str, values: dict[str, int]) -> dict[str, int]:
    """Set some limits; returns all."""
    if len(project_id) > (Id.length or 0):
        raise BadRequest(f"'{project_id[:40]}...' is not a project's id.")
    with svc.db.write() as conn:
        for resource, limit in values.items():
            db.set_quota(conn, project_id, resource, limit)
        return limits(svc, conn, project_id)


@retried
def reset(svc: Dns, project_id: str) -> None:
    """Forget what was set for the project."""
    with svc.db.write() as conn:
        db.reset_quotas(conn, project_id)
