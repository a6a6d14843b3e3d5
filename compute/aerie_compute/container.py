# SPDX-License-Identifier: Apache-2.0
"""The handles of the compute service in one process."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

from aerie_common.db import Database
from aerie_common.operations import Table
from aerie_common.service import Service
from aerie_compute.agent.rpc import AgentClient
from aerie_compute.cache import Cache
from aerie_compute.db.flavors import Flavor
from aerie_compute.db.servers import Known
from aerie_compute.remote import Images, Networks
from aerie_compute.rpc import ConductorClient, SchedulerClient


class Compute(Service):
    """`db` is the cell's database, `api_db` the one of the whole cloud (see `db.tables`)."""

    @cached_property
    def table(self) -> Table:  # type: ignore[override]
        from aerie_compute.operations import TABLE

        return TABLE

    @cached_property
    def api_db(self) -> Database:
        options = self.conf.api_database
        return Database(options.connection, pool_size=options.max_pool_size)

    @cached_property
    def conductor(self) -> ConductorClient:
        return ConductorClient(self.rpc.transport, self.rpc.serializer)

    @cached_property
    def scheduler(self) -> SchedulerClient:
        return SchedulerClient(self.rpc.transport, self.rpc.serializer)

    @cached_property
    def agents(self) -> AgentClient:
        return AgentClient(self.rpc.transport, self.rpc.serializer)

    @cached_property
    def images(self) -> Images:
        return Images(self.clients)

    @cached_property
    def networks(self) -> Networks:
        return Networks(self.clients)

    @cached_property
    def flavors(self) -> Cache[tuple[str | None, str], Flavor]:
        """Flavors as projects may use them, remembered shortly: every new server asks for one."""
        return Cache(2.0)

    @cached_property
    def limits(self) -> Cache[str, dict[str, int]]:
        """Limits of projects, remembered shortly; what is used is never remembered."""
        return Cache(1.0)

    @cached_property
    def known_servers(self) -> Known:
        """Servers as lists read them last."""
        return Known()

    @cached_property
    def threads(self) -> ThreadPoolExecutor:
        """For questions to other services that can be asked at the same time."""
        return ThreadPoolExecutor(8, thread_name_prefix="ask")


class Placement(Compute):
    """The same handles behind the placement API."""

    @cached_property
    def table(self) -> Table:  # type: ignore[override]
        from aerie_compute.placement.operations import TABLE

        return TABLE
