# SPDX-License-Identifier: Apache-2.0
"""A service as the rest of the program sees it: its container of handles, its daemons, its databases, its commands.

`common` knows no service by name: each registers a ServiceSpec under the entry point group `aerie.services`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from importlib import metadata
from typing import TYPE_CHECKING, Any, Literal, Protocol

from oslo_config import cfg

from aerie_common import config
from aerie_common.auth import TokenCache, TokenSource
from aerie_common.clients import RemoteTokens, ServiceClients
from aerie_common.db import Database
from aerie_common.operations import Table
from aerie_common.policy import Policy

if TYPE_CHECKING:
    import sqlalchemy as sa

    from aerie_common.rpc import Rpc

Role = Literal["controller", "network", "hypervisor"]


class Stoppable(Protocol):
    """Something that runs in threads of this process until it is stopped."""

    def stop(self) -> None: ...


class Service:
    """The handles of one service in one process. Subclasses add what is theirs; all are made on first use, so that an
    agent without a database URL never touches one and nothing is opened before a fork."""

    table: Table

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self.conf = conf

    @property
    def auth_uri(self) -> str:
        """The identity API's address as told to callers without a token."""
        options = self.conf.keystone_authtoken
        return str(options.www_authenticate_uri or options.auth_url)

    @cached_property
    def db(self) -> Database:
        return Database(self.conf.database.connection, pool_size=self.conf.database.max_pool_size)

    @cached_property
    def policy(self) -> Policy:
        return Policy(self.conf, self.table.policy_rules())

    @cached_property
    def rpc(self) -> Rpc:
        from aerie_common.rpc import Rpc  # half a second to import: not for those who send nothing

        return Rpc(self.conf)

    @cached_property
    def clients(self) -> ServiceClients:
        return ServiceClients(self.conf)

    @cached_property
    def token_source(self) -> TokenSource:
        return RemoteTokens(self.clients)

    @cached_property
    def token_cache(self) -> TokenCache:
        return TokenCache(self.token_source)


@dataclass(frozen=True)
class Daemon:
    """One daemon. name: console script, unit and log name. start: called in the daemon's own process (after the fork),
    starts threads and returns what to stop, in order of starting. role: the kind of host it runs on. root: keeps root
    (others drop to the user `aerie`). workers: may run in `[api] workers` processes at once. port: its usual port.
    config: stem of its configuration file."""

    name: str
    start: Callable[[cfg.ConfigOpts], list[Stoppable]]
    role: Role
    config: str
    port: int | None = None
    port_option: tuple[str | None, str] = ("api", "port")
    root: bool = False
    workers: bool = False


@dataclass(frozen=True)
class DatabaseSpec:
    """One schema. name: of the migrations folder; group: of the option `connection`; tables: its metadata."""

    name: str
    group: str
    tables: Callable[[], sa.MetaData]


@dataclass(frozen=True)
class ServiceSpec:
    """All there is to know to run a service.

    commands: `aerie <name> <command> ...`: function(conf, arguments) -> exit code. paths: options that are folders or
    files, with their place below the state folder of an all-in-one cloud; addresses: options that are the base URL of
    another daemon; all_in_one: further options such a cloud sets. Keys are (group, option). topics: what its daemons
    take messages for.
    """

    name: str
    daemons: tuple[Daemon, ...]
    options: tuple[tuple[str | None, list[cfg.Opt]], ...] = ()
    databases: tuple[DatabaseSpec, ...] = ()
    table: Callable[[], Table] | None = None
    commands: dict[str, Callable[[cfg.ConfigOpts, list[str]], int]] = field(default_factory=dict)
    paths: dict[tuple[str | None, str], str] = field(default_factory=dict)
    addresses: dict[tuple[str | None, str], str] = field(default_factory=dict)
    all_in_one: dict[tuple[str | None, str], Any] = field(default_factory=dict)
    topics: tuple[str, ...] = ()

    def new_conf(self) -> cfg.ConfigOpts:
        """Empty configuration with this service's options."""
        return config.new(self.options)


def services() -> dict[str, ServiceSpec]:
    """Every installed service, in the order they are to be started."""
    order = ("identity", "image", "network", "compute", "dns", "dashboard")
    found: dict[str, Any] = {e.name: e.load() for e in metadata.entry_points(group="aerie.services")}
    return {name: found[name] for name in sorted(found, key=lambda n: (order.index(n) if n in order else 99, n))}
