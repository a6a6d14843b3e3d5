# SPDX-License-Identifier: Apache-2.0
"""The limits that the identity service keeps for this service's projects (registered ones, and others instead).

Invariant: what identity says now holds; while it does not answer, what it said last.
"""

from __future__ import annotations

import logging
from urllib.parse import quote

from aerie_common.clients import RemoteError, ServiceClients
from aerie_common.errors import ServiceUnavailable

LOG = logging.getLogger(__name__)
MEMORY = 10_000


class IdentityLimits:
    """Limits of one region, by project and resource."""

    def __init__(self, clients: ServiceClients, region: str, service_type: str = "image") -> None:
        self._clients, self._region, self._type = clients, region, service_type
        self._service_id: str | None = None
        self._known: dict[str, dict[str, int]] = {}

    def of(self, project_id: str) -> dict[str, int]:
        """resource -> limit, for every resource that has one. ServiceUnavailable while nobody can tell."""
        try:
            found = self._ask(project_id)
        except ServiceUnavailable:
            if project_id not in self._known:
                raise
            return self._known[project_id]
        except RemoteError as e:
            LOG.error("the identity service does not tell limits: %s", e)
            raise ServiceUnavailable("The limits of the project cannot be looked up. Try again in a moment.") from e
        if len(self._known) >= MEMORY:
            self._known.clear()
        self._known[project_id] = found
        return found

    def _ask(self, project_id: str) -> dict[str, int]:
        identity = self._clients["identity"]
        if self._service_id is None:
            services = identity.get(f"/services?type={self._type}")["services"]
            if not services:
                return {}
            self._service_id = services[0]["id"]
        of_service = f"service_id={self._service_id}"
        registered = identity.get(f"/registered_limits?{of_service}")["registered_limits"]
        # Those of this region come later, and so win over those of every region.
        rows = [row for row in registered if row["region_id"] in (None, self._region)]
        rows.sort(key=lambda row: row["region_id"] or "")
        chosen = {row["resource_name"]: row for row in rows}
        found = {name: int(row["default_limit"]) for name, row in chosen.items()}
        for limit in identity.get(f"/limits?{of_service}&project_id={quote(project_id)}")["limits"]:
            name = limit["resource_name"]
            if name in chosen and limit["region_id"] == chosen[name]["region_id"]:
                found[name] = int(limit["resource_limit"])
        return found
