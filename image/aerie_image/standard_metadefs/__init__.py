# SPDX-License-Identifier: Apache-2.0
"""The metadata definitions that forms of a fresh cloud offer, under the names that every OpenStack cloud has for them.

Invariant: loading adds whole namespaces that are missing and changes none that is there, so what an administrator made
of one stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa
from oslo_db import exception as db_exception

from aerie_image import db
from aerie_image.standard_metadefs.compute import COMPUTE
from aerie_image.standard_metadefs.contents import CONTENTS
from aerie_image.standard_metadefs.form import Standard

if TYPE_CHECKING:
    from aerie_image.container import ImageService

OWNER = "admin"
STANDARD = {namespace.name: namespace for namespace in (*COMPUTE, *CONTENTS)}


def load(svc: ImageService) -> None:
    """Fill a database that has no namespace at all: what administrators removed from another stays removed."""
    with svc.db.read() as conn:
        if db.metadefs.any_namespace(conn):
            return
    add_missing(svc)


def add_missing(svc: ImageService) -> list[str]:
    """Add the namespaces that are not there, all of them or none; returns their names."""
    try:
        with svc.db.write() as conn:
            missing = [name for name in STANDARD if db.metadefs.get(conn, name) is None]
            for name in missing:
                _add(conn, STANDARD[name])
            return missing
    except db_exception.DBDuplicateEntry:
        return []  # another process was first


def _add(conn: sa.Connection, namespace: Standard) -> None:
    values = {"namespace": namespace.name, "display_name": namespace.title, "description": namespace.text}
    made = db.metadefs.insert(conn, {**values, "visibility": "public", "protected": True, "owner": OWNER})
    db.metadefs.define(conn, made.id, "resource_type", namespace.associations())
    db.metadefs.define(conn, made.id, "property", namespace.properties)
    db.metadefs.define(conn, made.id, "object", namespace.object_bodies())
