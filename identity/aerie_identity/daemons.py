# SPDX-License-Identifier: Apache-2.0
"""The identity service's daemon, database and commands."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa
from oslo_config import cfg

from aerie_common.operations import Table
from aerie_common.service import Daemon, DatabaseSpec, ServiceSpec, Stoppable
from aerie_identity.options import OPTIONS

PORT = 5000


def start_api(conf: cfg.ConfigOpts) -> list[Stoppable]:
    """Serve the API."""
    from aerie_common import pipeline
    from aerie_common.reconcile import Reconciler
    from aerie_identity.container import Identity
    from aerie_identity.logic import directories

    svc = Identity(conf)
    period = conf.identity.directory_refresh_interval
    copies = Reconciler(
        "directories", lambda: directories.refresh(svc), period, singleton=svc.db, max_retry=float(period)
    )
    copies.start()
    return [copies, pipeline.serve(svc, PORT)]


def _tables() -> sa.MetaData:
    from aerie_identity.db.tables import metadata

    return metadata


def _table() -> Table:
    from aerie_identity.operations import TABLE

    return TABLE


def _command(name: str) -> Callable[[cfg.ConfigOpts, list[str]], int]:
    def run(conf: cfg.ConfigOpts, arguments: list[str]) -> int:
        from aerie_identity import commands

        result: int = getattr(commands, name)(conf, arguments)
        return result

    return run


SPEC = ServiceSpec(
    name="identity",
    daemons=(Daemon("aerie-identity-api", start_api, role="controller", config="identity", port=PORT, workers=True),),
    options=OPTIONS,
    databases=(DatabaseSpec("identity", "database", _tables),),
    table=_table,
    commands={
        "bootstrap": _command("run_bootstrap"),
        "fernet": _command("run_fernet"),
        "credential": _command("run_credential"),
        "grant-global": _command("run_grant"),
    },
    all_in_one={("identity", "password_hash_rounds"): 4},
)
