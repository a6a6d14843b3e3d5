# SPDX-License-Identifier: Apache-2.0
"""Messages to a compute agent: what there is, the client that sends them, the endpoint that takes them.

Topic ``compute``, server = the agent's host. ``converge`` is a cast: it says what should be true of one server, is
answered by ``report`` to the conductor (see ``manager.Conductor``), and may be sent again with the same ``op_id`` at
any time. The others are calls which only look. Every argument is plain JSON data.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

import oslo_messaging

if TYPE_CHECKING:
    from aerie_compute.agent.manager import AgentManager

TOPIC = "compute"
VERSION = "1.0"
CALL_TIMEOUT = 30


class Goal(StrEnum):
    """What ``converge`` can ask for; in brackets what goes into ``args``.

    All but ABSENT, STOPPED, PAUSED, UNPAUSED, SUSPENDED, RESIZE_CONFIRMED, RESIZE_REVERTED, NIC_DETACHED and
    SNAPSHOTTED need
    ``spec`` (``drivers.base.GuestSpec.to_document()``).
    """

    PREPARED = "prepared"  # disks and config drive exist
    BUILT = "built"  # prepared, defined and running
    RUNNING = "running"  # defined anew from the spec and running
    STOPPED = "stopped"  # [timeout: seconds before the plug is pulled]
    REBOOTED = "rebooted"  # [kind: soft or hard, timeout]
    PAUSED = "paused"
    UNPAUSED = "unpaused"
    SUSPENDED = "suspended"
    RESUMED = "resumed"
    REBUILT = "rebuilt"  # new disks from spec.image; [power: running or stopped afterwards]
    RESIZED = "resized"  # disks of the stopped guest as in the spec, old ones kept
    RESIZE_CONFIRMED = "resize_confirmed"
    RESIZE_REVERTED = "resize_reverted"
    RESCUED = "rescued"  # [image: document of ImageFacts]
    UNRESCUED = "unrescued"
    NIC_ATTACHED = "nic_attached"  # [nic: document of Nic]
    NIC_DETACHED = "nic_detached"  # [port_id, mac]
    SNAPSHOTTED = "snapshotted"  # [image_id: a queued image, which the agent fills]
    ABSENT = "absent"  # always wins over what is queued or under way for the server


class Outcome(StrEnum):
    """How an operation ended, in ``report``."""

    DONE = "done"
    FAILED = "failed"
    SUPERSEDED = "superseded"  # given up, because the server is to go


class AgentClient:
    """Sends messages to agents."""

    def __init__(self, transport: Any, serializer: Any = None) -> None:
        target = oslo_messaging.Target(topic=TOPIC, version=VERSION)
        self._client = oslo_messaging.get_rpc_client(transport, target, serializer=serializer, timeout=CALL_TIMEOUT)

    def converge(
        self,
        ctx: Any,
        host: str,
        *,
        op_id: str,
        server_id: str,
        goal: Goal,
        spec: dict[str, Any] | None = None,
        args: dict[str, Any] | None = None,
    ) -> None:
        """Cast: make ``goal`` true for the server. The agent answers by ``report`` with the same ``op_id``."""
        self._client.prepare(server=host).cast(
            ctx, "converge", op_id=op_id, server_id=server_id, goal=str(goal), spec=spec, args=args or {}
        )

    def console_log(self, ctx: Any, host: str, *, server_id: str, tail_bytes: int) -> str:
        """Call: the end of the serial console's log, as text."""
        return str(self._call(ctx, host, "console_log", server_id=server_id, tail_bytes=tail_bytes))

    def vnc_endpoint(self, ctx: Any, host: str, *, server_id: str) -> dict[str, Any]:
        """Call: ``{"host": ..., "port": ...}`` to which a console proxy may connect."""
        return dict(self._call(ctx, host, "vnc_endpoint", server_id=server_id))

    def serial_endpoint(self, ctx: Any, host: str, *, server_id: str) -> dict[str, Any]:
        """Call: as ``vnc_endpoint``, good for one connection made within a minute."""
        return dict(self._call(ctx, host, "serial_endpoint", server_id=server_id))

    def diagnostics(self, ctx: Any, host: str, *, server_id: str) -> dict[str, Any]:
        """Call: the keys of the compute API's diagnostics at microversion 2.48."""
        return dict(self._call(ctx, host, "diagnostics", server_id=server_id))

    def set_password(self, ctx: Any, host: str, *, server_id: str, user: str, password: str) -> None:
        """Call: set a password inside the guest."""
        self._call(ctx, host, "set_password", server_id=server_id, user=user, password=password)

    def inject_nmi(self, ctx: Any, host: str, *, server_id: str) -> None:
        """Call: send a non-maskable interrupt to the guest."""
        self._call(ctx, host, "inject_nmi", server_id=server_id)

    def _call(self, ctx: Any, host: str, method: str, **kwargs: Any) -> Any:
        """Raises AgentRefused when the agent says no, AgentSilent when it says nothing."""
        try:
            answer = self._client.prepare(server=host).call(ctx, method, **kwargs)
        except (
            oslo_messaging.MessagingTimeout,
            oslo_messaging.MessageDeliveryFailure,
            oslo_messaging.MessageUndeliverable,
        ) as exc:
            raise AgentSilent(f"the compute agent on {host} does not answer {method}") from exc
        if error := answer.get("error"):
            raise AgentRefused(error["code"], error["message"], error["public"])
        return answer["result"]


class AgentSilent(Exception):
    """The agent of that host did not answer in time."""


class AgentRefused(Exception):
    """The agent answered with a refusal: ``code`` as in ``drivers.base``, ``public`` fit for the server's owner."""

    def __init__(self, code: str, message: str, public: str) -> None:
        super().__init__(message)
        self.code = code
        self.public = public


class AgentEndpoint:
    """Takes the messages on the agent's side; hands them to the manager and never blocks on a guest in a cast."""

    target = oslo_messaging.Target(version=VERSION)

    def __init__(self, manager: AgentManager) -> None:
        self._manager = manager

    def converge(
        self, ctx: Any, op_id: str, server_id: str, goal: str, spec: dict[str, Any] | None, args: dict[str, Any]
    ) -> None:
        """Queue the work; see ``AgentClient.converge``."""
        self._manager.submit(ctx, op_id=op_id, server_id=server_id, goal=Goal(goal), spec=spec, args=args)

    def console_log(self, ctx: Any, server_id: str, tail_bytes: int) -> dict[str, Any]:
        """See ``AgentClient.console_log``."""
        return self._manager.answer(self._manager.console_log, server_id, tail_bytes)

    def vnc_endpoint(self, ctx: Any, server_id: str) -> dict[str, Any]:
        """See ``AgentClient.vnc_endpoint``."""
        return self._manager.answer(self._manager.vnc_endpoint, server_id)

    def serial_endpoint(self, ctx: Any, server_id: str) -> dict[str, Any]:
        """See ``AgentClient.serial_endpoint``."""
        return self._manager.answer(self._manager.serial_endpoint, server_id)

    def diagnostics(self, ctx: Any, server_id: str) -> dict[str, Any]:
        """See ``AgentClient.diagnostics``."""
        return self._manager.answer(self._manager.driver.diagnostics, server_id)

    def set_password(self, ctx: Any, server_id: str, user: str, password: str) -> dict[str, Any]:
        """See ``AgentClient.set_password``."""
        return self._manager.answer(self._manager.driver.set_password, server_id, user, password)

    def inject_nmi(self, ctx: Any, server_id: str) -> dict[str, Any]:
        """See ``AgentClient.inject_nmi``."""
        return self._manager.answer(self._manager.driver.inject_nmi, server_id)
