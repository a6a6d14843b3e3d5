# SPDX-License-Identifier: Apache-2.0
"""`aerie db`: the schemas of all databases, by alembic. Each database has its own revisions in `aerie_migrations`."""

from __future__ import annotations

import argparse
from importlib import resources
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from oslo_config import cfg

from aerie_common import config, service
from aerie_common.service import DatabaseSpec, ServiceSpec


def alembic_config(database: DatabaseSpec, url: str) -> Config:
    """Alembic's configuration for one database."""
    script = Path(str(resources.files("aerie_migrations")))
    made = Config()
    made.set_main_option("script_location", str(script))
    made.set_main_option("version_locations", str(script / database.name / "versions"))
    made.attributes["url"] = url
    made.attributes["metadata"] = database.tables()
    return made


def sync(database: DatabaseSpec, url: str) -> None:
    """Bring one database to the newest revision. Repeating it changes nothing."""
    command.upgrade(alembic_config(database, url), "head")


def create(database: DatabaseSpec, url: str) -> None:
    """Make all tables of an empty SQLite database at once and mark it as being at the newest revision."""
    engine = sa.create_engine(url)
    database.tables().create_all(engine)
    script = ScriptDirectory.from_config(alembic_config(database, url))
    with engine.begin() as conn:
        MigrationContext.configure(conn).stamp(script, "head")
    engine.dispose()


def connection(conf: cfg.ConfigOpts, database: DatabaseSpec) -> str:
    """The database's URL; SystemExit names the option when it is missing."""
    url = conf[database.group].connection
    if not url:
        raise SystemExit(f"[{database.group}] connection is not set.")
    return str(url)


def chosen(only: str | None) -> list[tuple[ServiceSpec, DatabaseSpec]]:
    """The databases to work on."""
    found = [(spec, db) for spec in service.services().values() for db in spec.databases]
    if only is not None:
        found = [pair for pair in found if pair[1].name == only]
        if not found:
            raise SystemExit(f"There is no database {only}.")
    return found


def run(args: argparse.Namespace) -> int:
    """Run `aerie db ACTION [DATABASE]`."""
    if args.action == "revision" and not args.database:
        raise SystemExit("aerie db revision needs the database's name.")
    for spec, database in chosen(args.database):
        if args.action == "revision":
            _revision(database, args.message)
            continue
        conf = config.load(spec.new_conf(), [args.config_dir / f"{spec.name}.conf"])
        url = connection(conf, database)
        if args.action == "sync":
            sync(database, url)
            print(f"{database.name}: up to date")
        else:
            command.current(alembic_config(database, url), verbose=True)
    return 0


def _revision(database: DatabaseSpec, message: str) -> None:
    """Write a revision holding the difference between the newest one and the tables."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        made = alembic_config(database, f"sqlite:///{folder}/scratch.sqlite")
        versions = Path(made.get_main_option("version_locations") or "")
        versions.mkdir(parents=True, exist_ok=True)
        count = len(list(versions.glob("*.py")))
        command.upgrade(made, "head")
        command.revision(
            made, message=message or "initial", autogenerate=True, rev_id=f"{count + 1:04d}", version_path=str(versions)
        )
