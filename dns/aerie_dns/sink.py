# SPDX-License-Identifier: Apache-2.0
"""Listens to what happens to servers, ports and floating IPs, and lets their records follow at once.

An event only says where to look (see `follow`): events that come twice, late or in another order do no harm, and those
that never come are made good by the reconciler. Invariant: an event is acknowledged only after the records are stored.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from typing import Any

from aerie_common.context import Context
from aerie_common.errors import AerieError
from aerie_dns.container import Dns
from aerie_dns.db import managed as db_managed
from aerie_dns.follow import FLOATING_IP, PORT, SERVER, Follower

LOG = logging.getLogger(__name__)
RETRY_SECONDS = 1.0
LOCKS = 64
Json = Mapping[str, Any]


class Sink:
    """The endpoint of notifications."""

    def __init__(self, svc: Dns) -> None:
        self._svc = svc
        self._follower = Follower(svc)
        # Two events of one server must not overtake each other between reading and storing.
        self._locks = [threading.Lock() for _ in range(LOCKS)]

    def info(self, ctx: Context, publisher_id: str, event_type: str, payload: Json, metadata: Json) -> None:
        """One notification."""
        try:
            places = self.places(event_type, payload)
        except (KeyError, TypeError, AttributeError):
            LOG.error("event %s of %s cannot be understood: %r", event_type, publisher_id, payload)
            return
        event_id = str(metadata.get("message_id") or "")
        for number, (source, source_id) in enumerate(places):
            with self._locks[hash(source_id) % LOCKS]:
                try:
                    self._follower.follow(ctx, source, source_id, f"{event_id}-{number}"[-64:] if event_id else None)
                except AerieError as error:
                    LOG.warning("event %s about %s %s is tried again: %s", event_type, source, source_id, error)
                    time.sleep(RETRY_SECONDS)
                    raise

    def places(self, event_type: str, payload: Json) -> list[tuple[str, str]]:
        """Where an event says to look."""
        if event_type in (
            "compute.instance.create.end",
            "compute.instance.delete.start",
            "compute.instance.delete.end",
        ):
            return [(SERVER, str(payload["instance_id"]))]
        noun, _, verb = event_type.partition(".")
        if noun == "port" and verb in ("update.end", "create.end", "delete.end"):
            return self._port(verb, payload.get("port") or {"id": payload["port_id"]})
        if noun == "floatingip" and verb in ("update.end", "create.end", "delete.end"):
            return self._floatingip(payload.get("floatingip") or {"id": payload["floatingip_id"]})
        return []

    def _port(self, verb: str, port: Json) -> list[tuple[str, str]]:
        if not str(port.get("device_owner", "")).startswith("compute:"):
            return (
                [(PORT, port["id"])]
                if port.get("dns_name") or verb != "create.end" and self._has(PORT, port["id"])
                else []
            )
        # Before the server is there its records wait for `compute.instance.create.end`.
        server_id = str(port["device_id"])
        return [(SERVER, server_id)] if self._has(SERVER, server_id) else []

    def _floatingip(self, floatingip: Json) -> list[tuple[str, str]]:
        """Whoever had the address, and whoever has it now."""
        found: dict[tuple[str, str], None] = {}
        address = floatingip.get("floating_ip_address")
        with self._svc.db.read() as conn:
            for row in db_managed.NOUN.all(conn, data=address) if address else ():
                if row.source in (SERVER, PORT):
                    found[row.source, row.source_id] = None
        if floatingip.get("port_id"):
            ports = self._svc.clients["network"].get(f"/ports?id={floatingip['port_id']}")["ports"]
            for port in ports:
                compute = str(port.get("device_owner", "")).startswith("compute:")
                found[(SERVER, port["device_id"]) if compute else (PORT, port["id"])] = None
        found[FLOATING_IP, floatingip["id"]] = None
        return list(found)

    def _has(self, source: str, source_id: str) -> bool:
        with self._svc.db.read() as conn:
            return bool(db_managed.NOUN.all(conn, source=source, source_id=source_id))
