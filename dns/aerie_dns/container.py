# SPDX-License-Identifier: Apache-2.0
"""The handles of the DNS service in one process."""

from __future__ import annotations

import threading
from functools import cached_property

from aerie_common.service import Service
from aerie_dns import pools
from aerie_dns.drivers import DRIVERS
from aerie_dns.drivers.base import Driver
from aerie_dns.pools import Pool


class Dns(Service):
    """Adds the pools of name servers and their drivers."""

    @cached_property
    def pools(self) -> dict[str, Pool]:
        """By id; the first one is the default."""
        return pools.load(self.conf)

    @property
    def default_pool(self) -> Pool:
        return next(iter(self.pools.values()))

    @cached_property
    def _drivers(self) -> dict[str, Driver]:
        return {}

    @cached_property
    def _drivers_lock(self) -> threading.Lock:
        return threading.Lock()

    def driver(self, pool_id: str) -> Driver:
        """The driver of a pool, one for the process. KeyError when the configuration has no such pool (any more)."""
        with self._drivers_lock:
            if pool_id not in self._drivers:
                pool = self.pools[pool_id]
                self._drivers[pool_id] = DRIVERS[pool.driver](pool.target)
            return self._drivers[pool_id]

    def close(self) -> None:
        for driver in self._drivers.values():
            driver.close()
