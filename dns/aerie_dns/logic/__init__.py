# SPDX-License-Identifier: Apache-2.0
"""The rules of the DNS service, one noun a module; each public function is one transaction."""

from aerie_dns.logic import (
    floatingips,
    managed,
    nouns,
    quotas,
    recordsets,
    services,
    shares,
    tasks,
    transfers,
    zones,
)

__all__ = [
    "floatingips",
    "managed",
    "nouns",
    "quotas",
    "recordsets",
    "services",
    "shares",
    "tasks",
    "transfers",
    "zones",
]
