# SPDX-License-Identifier: Apache-2.0
"""One network service for the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from network_bench import Bench, make_bench


@pytest.fixture(scope="module")
def bench(database_module_url: str) -> Iterator[Bench]:
    """One service for a module; tests keep to people of their own where they would meet."""
    made = make_bench(database_module_url, quotas__quota_network=-1, quotas__quota_subnet=-1, quotas__quota_port=-1)
    yield made
    made.svc.db.dispose()
