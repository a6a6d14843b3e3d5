# SPDX-License-Identifier: Apache-2.0
"""What the compute and network APIs would say, for tests of what the DNS service makes of it. That the real ones say it
is shown where all services run (tests/clients)."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from aerie_common.clients import RemoteError
from aerie_common.errors import ServiceUnavailable


class Cloud:
    """What the compute and network APIs would say: their lists, with the filters that are used."""

    def __init__(self) -> None:
        self.lists: dict[str, list[dict[str, Any]]] = {n: [] for n in ("servers", "ports", "networks", "floatingips")}
        self.away = False

    def __getitem__(self, service: str) -> Cloud:
        return self

    def _find(self, path: str) -> tuple[str, list[dict[str, Any]]]:
        if self.away:
            raise ServiceUnavailable()
        url = urlsplit(path)
        noun = url.path.strip("/").split("/")[0]
        wanted: dict[str, set[str]] = {}
        for key, value in parse_qsl(url.query):
            if key not in ("all_tenants", "limit"):
                wanted.setdefault(key, set()).add(value)
        return noun, [r for r in self.lists[noun] if all(r.get(k) in v for k, v in wanted.items())]

    def pages(self, path: str, collection: str, ctx: Any = None, **more: Any) -> Iterator[dict[str, Any]]:
        return iter(self._find(path)[1])

    def get(self, path: str, ctx: Any = None, **more: Any) -> dict[str, Any]:
        noun, found = self._find(path)
        parts = path.strip("/").split("/")
        if len(parts) == 1:
            return {noun: found}
        for row in self.lists[noun]:
            if row["id"] == parts[1]:
                return {noun[:-1]: row}
        raise RemoteError("x", 404, "NotFound", "not found")

    def boot(self, project: str, name: str, address: str, **network: Any) -> dict[str, Any]:
        server = {"id": str(uuid.uuid4()), "name": name, "tenant_id": project, "status": "ACTIVE"}
        net = {"id": str(uuid.uuid4()), "project_id": project, **network}
        port = {"id": str(uuid.uuid4()), "network_id": net["id"], "device_id": server["id"], "project_id": project,
                "device_owner": "compute:nova", "fixed_ips": [{"ip_address": address}]}  # fmt: skip
        for noun, row in (("servers", server), ("networks", net), ("ports", port)):
            self.lists[noun].append(row)
        return server

    def port_of(self, server: dict[str, Any]) -> dict[str, Any]:
        return next(port for port in self.lists["ports"] if port["device_id"] == server["id"])

    def float(self, server: dict[str, Any], address: str) -> dict[str, Any]:
        row = {"id": str(uuid.uuid4()), "floating_ip_address": address, "port_id": self.port_of(server)["id"],
               "project_id": server["tenant_id"]}  # fmt: skip
        self.lists["floatingips"].append(row)
        return row

    def remove(self, server: dict[str, Any]) -> None:
        port = self.port_of(server)
        self.lists["servers"].remove(server)
        self.lists["ports"].remove(port)
        for row in self.lists["floatingips"]:
            if row["port_id"] == port["id"]:
                row["port_id"] = None
