# SPDX-License-Identifier: Apache-2.0
"""What operators' commands look at: each service's configuration and databases, its kinds of flows, its queues."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oslo_config import cfg

from aerie_common import config, service
from aerie_common.db import Database
from aerie_common.flow import Flow
from aerie_common.service import DatabaseSpec, ServiceSpec


@dataclass(frozen=True)
class Store:
    """One database of one service."""

    service: str
    spec: DatabaseSpec
    url: str

    def has(self, table: str) -> bool:
        return table in self.spec.tables().tables

    @contextmanager
    def open(self) -> Iterator[Database]:
        """The database, for a moment."""
        database = Database(self.url, pool_size=1)
        try:
            yield database
        finally:
            database.dispose()


def configuration(spec: ServiceSpec, config_dir: Path) -> cfg.ConfigOpts | None:
    """A service's configuration; None where this host has none."""
    path = config_dir / f"{spec.name}.conf"
    return config.load(spec.new_conf(), [path]) if path.exists() else None


def configurations(config_dir: Path) -> dict[str, tuple[ServiceSpec, cfg.ConfigOpts]]:
    """The services this host has a configuration of. SystemExit when there is none at all."""
    found = {name: (spec, configuration(spec, config_dir)) for name, spec in service.services().items()}
    known = {name: (spec, conf) for name, (spec, conf) in found.items() if conf is not None}
    if not known:
        raise SystemExit(f"{config_dir} holds no service's configuration. Say where it is with --config-dir.")
    return known


def stores(config_dir: Path) -> list[Store]:
    """Every database that is configured."""
    return [
        Store(name, database, str(conf[database.group].connection))
        for name, (spec, conf) in configurations(config_dir).items()
        for database in spec.databases
        if conf[database.group].connection
    ]


def flow_kinds(service_name: str) -> dict[tuple[str, int], Flow]:
    """The flows a service declares, by kind and version."""
    found: dict[tuple[str, int], Flow] = {}
    try:
        package = importlib.import_module(f"aerie_{service_name}.flows")
    except ModuleNotFoundError:
        return found
    for module in [package, *_modules(package)]:
        for value in vars(module).values():
            for one in value if isinstance(value, (list, tuple)) else (value,):
                if isinstance(one, Flow):
                    found[one.kind, one.version] = one
    return found


def _modules(package: Any) -> list[Any]:
    return [importlib.import_module(m.name) for m in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")]
