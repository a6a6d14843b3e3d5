# SPDX-License-Identifier: Apache-2.0
"""What a guest may learn about itself: one read, for the metadata daemon and for config drives."""

from __future__ import annotations

import base64
import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from aerie_common.db import retried
from aerie_compute.db import servers
from aerie_compute.db.servers import Server

if TYPE_CHECKING:
    from aerie_compute.container import Compute


@dataclass(frozen=True)
class InstanceFacts:
    """Everything the metadata formats show. `network_info`: see module network_info. `user_data`: decoded."""

    server_id: str
    project_id: str
    user_id: str
    name: str
    hostname: str
    host: str | None
    availability_zone: str | None
    reservation_id: str
    launch_index: int
    created_at: datetime.datetime
    flavor: dict[str, Any]
    image_id: str | None
    image_properties: dict[str, str]
    key_name: str | None
    key_type: str | None
    public_key: str | None
    user_data: bytes | None
    metadata: dict[str, str]
    security_groups: tuple[str, ...]
    network_info: list[dict[str, Any]]

    @property
    def fixed_ips(self) -> list[str]:
        """All fixed addresses, in the order of the cards."""
        return [ip["address"] for port in self.network_info for ip in port["fixed_ips"]]

    @property
    def floating_ips(self) -> list[str]:
        """All floating addresses."""
        return [f["address"] for port in self.network_info for ip in port["fixed_ips"] for f in ip.get("floating", ())]


@retried
def load_instance(svc: Compute, server_id: str) -> InstanceFacts | None:
    """What is true of a server now; None when there is no such server."""
    with svc.db.read() as conn:
        server = servers.get(conn, server_id)
        return None if server is None else facts(conn, server)


def facts(conn: sa.Connection, server: Server) -> InstanceFacts:
    """The same for a server that was read already."""
    text = servers.user_data(conn, server.id) if server.spec.get("has_user_data") else None
    spec = server.spec
    return InstanceFacts(
        server_id=server.id,
        project_id=server.project_id,
        user_id=server.user_id,
        name=server.name,
        hostname=server.hostname,
        host=server.host,
        availability_zone=server.availability_zone,
        reservation_id=server.reservation_id,
        launch_index=server.launch_index,
        created_at=server.created_at,
        flavor=server.flavor,
        image_id=server.image_id,
        image_properties=(spec.get("image") or {}).get("properties", {}),
        key_name=spec.get("key_name"),
        key_type=spec.get("key_type"),
        public_key=spec.get("public_key"),
        user_data=None if text is None else base64.b64decode(text),
        metadata=server.metadata,
        security_groups=tuple(spec.get("security_groups", ())),
        network_info=server.network_info,
    )
