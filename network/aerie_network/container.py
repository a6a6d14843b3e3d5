# SPDX-License-Identifier: Apache-2.0
"""The handles of the network service in one process."""

from __future__ import annotations

from functools import cached_property

from aerie_common.operations import Table
from aerie_common.service import Service
from aerie_network.db.ports import Port
from aerie_network.db.query import RowCache
from aerie_network.errors import InvalidInput
from aerie_network.options import QUOTAS


class NetworkService(Service):
    """Configuration, database, policy, messages and peers of the network service."""

    @cached_property
    def table(self) -> Table:  # type: ignore[override]
        from aerie_network.operations import TABLE

        return TABLE

    @cached_property
    def port_cache(self) -> RowCache[Port]:
        """Ports as this process read them last, for lists."""
        return RowCache()

    def quota_default(self, resource: str) -> int:
        """The limit of projects without one of their own."""
        return int(self.conf.quotas[f"quota_{resource}"])

    @cached_property
    def quota_defaults(self) -> dict[str, int]:
        return {name: self.quota_default(name) for name in QUOTAS}

    @cached_property
    def vni_ranges(self) -> list[tuple[int, int]]:
        """(first, last) of the VXLAN identifiers for users' networks."""
        return [_span(text, text) for text in self.conf.ml2.vni_ranges]

    @cached_property
    def vlan_ranges(self) -> list[tuple[str, int, int]]:
        """(physical network, first, last) of the VLAN identifiers for users' networks."""
        found = []
        for text in self.conf.ml2.network_vlan_ranges:
            physical, _, span = text.partition(":")
            if span:
                found.append((physical, *_span(span, text)))
        return found


def _span(span: str, text: str) -> tuple[int, int]:
    first, _, last = span.partition(":")
    if not (first.isdigit() and last.isdigit() and 1 <= int(first) <= int(last)):
        raise InvalidInput(error_message=f"'{text}' is not a range FIRST:LAST")
    return int(first), int(last)
