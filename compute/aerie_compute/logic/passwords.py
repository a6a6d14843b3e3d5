# SPDX-License-Identifier: Apache-2.0
"""The password a guest made up for its administrator: encrypted inside the guest with its owner's public key, kept here
for the owner to fetch. Invariant: a guest writes it once; only clearing it by the owner lets the guest write again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aerie_common.db import retried
from aerie_compute.db import servers

if TYPE_CHECKING:
    from aerie_compute.container import Compute

MAX_LENGTH = 1020
"""Characters of the encrypted password: a key of 4096 bits gives 684."""


@retried
def load(svc: Compute, server_id: str) -> str:
    """The encrypted password; empty when there is none."""
    with svc.db.read() as conn:
        server = servers.get(conn, server_id)
        return "" if server is None else str(server.spec.get("admin_password", ""))


@retried
def store(svc: Compute, server_id: str, text: str) -> bool:
    """Keep the password of a server that has none; False when it has one already, or is gone, or was just changed."""
    with svc.db.write() as conn:
        server = servers.get(conn, server_id)
        if server is None or server.spec.get("admin_password"):
            return False
        return servers.replace(conn, server, spec={**server.spec, "admin_password": text})


@retried
def clear(svc: Compute, server_id: str) -> bool:
    """Forget the password; False when the server is gone or was just changed."""
    with svc.db.write() as conn:
        server = servers.get(conn, server_id)
        if server is None:
            return False
        if "admin_password" not in server.spec:
            return True
        spec = {key: value for key, value in server.spec.items() if key != "admin_password"}
        return servers.replace(conn, server, spec=spec)
