# SPDX-License-Identifier: Apache-2.0
"""The compute agent's work: operations on guests, one at a time for each server.

Invariants: the agent keeps no truth (a new process reads the hypervisor and goes on); a cast returns at once; the
operations of
one server never overlap; an ``op_id`` that is done is only reported again, one under way is not begun twice; ABSENT
wins.
"""

from __future__ import annotations

from typing import Any, Protocol


class Conductor(Protocol):
    """What the agent says to the conductor (``aerie_compute.rpc.ConductorClient`` is one)."""

    def report(
        self,
        ctx: Any,
        *,
        host: str,
        server_id: str,
        op_id: str,
        outcome: str,
        power_state: str | None,
        fault: dict[str, Any] | None,
        result: dict[str, Any],
    ) -> None:
        """Cast: operation ``op_id`` ended as ``outcome`` (``rpc.Outcome``).

        ``power_state`` is that of ``drivers.base.PowerState`` now, None when there is no guest. ``fault`` is None, or
        ``{"code", "message", "public", "elsewhere", "again", "details"}``. ``result`` depends on the goal (SNAPSHOTTED:
        ``{"disk_format", "size", "virtual_size"}``).
        """

    def heartbeat(
        self,
        ctx: Any,
        *,
        host: str,
        resources: dict[str, Any],
        guests: dict[str, str],
        version: str,
        boot_id: str,
    ) -> dict[str, Any]:
        """Call: this host lives, has these resources and these guests (server id to power state).

        ``resources`` is ``drivers.base.HostResources.to_document()``. ``boot_id`` changes when the machine boots: what
        should
        run then is for the conductor to start again. The answer is ``{"servers": [ids that belong on this host]}``,
        in which a server being built here or leaving here is contained.
        """

    def confirm_orphan(self, ctx: Any, *, host: str, server_id: str) -> bool:
        """Call: is it certain that no server of that id belongs on this host? Asked before a guest is destroyed."""
