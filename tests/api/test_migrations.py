# SPDX-License-Identifier: Apache-2.0
"""Migrations make the tables that the code speaks of: in MariaDB, for every database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from aerie_common import service
from aerie_common.cmd import db
from aerie_common.cmd.all_in_one import AllInOne
from aerie_common.service import DatabaseSpec

DATABASES = [database for spec in service.services().values() for database in spec.databases]


def indexes(found: Any) -> dict[str, tuple[bool, tuple[str, ...]]]:
    """Unique ones and others, by name."""
    return {i["name"]: (bool(i["unique"]), tuple(i["column_names"])) for i in found}


@pytest.mark.parametrize("database", DATABASES, ids=lambda database: database.name)
def test_migrations_and_tables_agree(database: DatabaseSpec, mariadb: Any) -> None:
    migrated, created = mariadb.create_database(), mariadb.create_database()
    db.sync(database, mariadb.url(migrated))
    db.sync(database, mariadb.url(migrated))  # repeating it changes nothing
    one, two = sa.create_engine(mariadb.url(migrated)), sa.create_engine(mariadb.url(created))
    try:
        with one.connect() as conn:
            context = MigrationContext.configure(conn, opts={"compare_type": False})
            assert compare_metadata(context, database.tables()) == []
        database.tables().create_all(two)
        for table in database.tables().tables:
            seen = [_shape(sa.inspect(engine), table) for engine in (one, two)]
            assert seen[0] == seen[1], table
    finally:
        one.dispose()
        two.dispose()
        mariadb.drop_database(migrated)
        mariadb.drop_database(created)


def _shape(inspector: Any, table: str) -> dict[str, Any]:
    columns = inspector.get_columns(table)
    return {
        "columns": {c["name"]: (repr(c["type"]), c["nullable"]) for c in columns},
        "key": inspector.get_pk_constraint(table)["constrained_columns"],
        "indexes": indexes(inspector.get_indexes(table)),
        "foreign": sorted(
            (tuple(f["constrained_columns"]), f["referred_table"], tuple(f["options"].items()))
            for f in inspector.get_foreign_keys(table)
        ),
    }


def test_a_cloud_in_one_process_brings_older_databases_up_to_date(tmp_path: Path) -> None:
    """Its directory may be of an earlier version of the program."""
    state = tmp_path / "cloud"
    state.mkdir()
    for database in DATABASES:
        made = db.alembic_config(database, f"sqlite:///{state / database.name}.sqlite")
        command.upgrade(made, "0001")
    cloud = AllInOne(state, any_port=True)
    cloud.start()
    try:
        for database in DATABASES:
            engine = sa.create_engine(f"sqlite:///{state / database.name}.sqlite")
            assert set(database.tables().tables) <= set(sa.inspect(engine).get_table_names())
            engine.dispose()
    finally:
        cloud.stop()
