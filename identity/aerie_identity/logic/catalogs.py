# SPDX-License-Identifier: Apache-2.0
"""The catalog that tokens carry: enabled services and endpoints, with URLs filled in for the token's project.

Held for one epoch. While no URL has a blank to fill and no project has endpoints of its own, all tokens share one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import orjson
import sqlalchemy as sa

from aerie_identity.db import tables as t
from aerie_identity.db.models import ENDPOINT_GROUPS, ENDPOINTS, SERVICES, Endpoint, Service

_BLANK = re.compile(r"[%$]\((\w+)\)s")
CatalogJson = tuple[list[dict[str, Any]], orjson.Fragment]
BLANKS = frozenset({"project_id", "tenant_id", "user_id"})


def blanks(url: str) -> set[str]:
    """Names of the blanks in a URL template."""
    return set(_BLANK.findall(url))


@dataclass
class Catalog:
    """chosen: project id -> endpoints it was given (OS-EP-FILTER); groups likewise by filters."""

    services: dict[str, Service]
    endpoints: list[Endpoint]
    chosen: dict[str, set[str]] = field(default_factory=dict)
    _shared: CatalogJson | None = None
    _templated: bool = False

    @classmethod
    def load(cls, conn: sa.Connection) -> Catalog:
        services = {s.id: s for s in SERVICES.all(conn, t.services.c.enabled.is_(True))}
        endpoints = [e for e in ENDPOINTS.all(conn, t.endpoints.c.enabled.is_(True)) if e.service_id in services]
        chosen: dict[str, set[str]] = {}
        for endpoint_id, project_id in conn.execute(sa.select(t.project_endpoints)):
            chosen.setdefault(project_id, set()).add(endpoint_id)
        groups = {g.id: g for g in ENDPOINT_GROUPS.all(conn)}
        for group_id, project_id in conn.execute(sa.select(t.project_endpoint_groups)):
            filters = groups[group_id].filters
            chosen.setdefault(project_id, set()).update(e.id for e in endpoints if fits(e, filters))
        made = cls(services, endpoints, chosen)
        made._templated = any(blanks(e.url) for e in endpoints)
        return made

    def for_scope(self, user_id: str, project_id: str | None) -> CatalogJson:
        """The catalog as the API shows it, and the same as JSON."""
        if self._templated or project_id in self.chosen:
            made = self._make(user_id, project_id)
            return made, orjson.Fragment(orjson.dumps(made))
        shared = self._shared
        if shared is None:
            made = self._make(user_id, project_id)
            shared = self._shared = (made, orjson.Fragment(orjson.dumps(made)))
        return shared

    def _make(self, user_id: str, project_id: str | None) -> list[dict[str, Any]]:
        only = self.chosen.get(project_id or "")
        values = {"user_id": user_id}
        if project_id:
            values |= {"project_id": project_id, "tenant_id": project_id}
        entries: dict[str, dict[str, Any]] = {
            s.id: {"endpoints": [], "id": s.id, "type": s.type, "name": s.name or ""} for s in self.services.values()
        }
        for e in self.endpoints:
            if (only is not None and e.id not in only) or not blanks(e.url) <= values.keys():
                continue
            url = _BLANK.sub(lambda match: values[match[1]], e.url)
            entries[e.service_id]["endpoints"].append(
                {"id": e.id, "interface": e.interface, "region_id": e.region_id, "url": url, "region": e.region_id}
            )
        return [entry for entry in entries.values() if only is None or entry["endpoints"]]


def fits(endpoint: Endpoint, filters: dict[str, Any]) -> bool:
    """Does the endpoint belong to a group with these filters?"""
    return all(getattr(endpoint, name, None) == value for name, value in filters.items())
