# SPDX-License-Identifier: Apache-2.0
"""Messages inside the compute service (those to an agent stand in `agent/rpc.py`): version, client and endpoint.

Topics `conductor` and `scheduler`, taken by any daemon of that kind. Invariant: a lost message loses nothing: a cast
only wakes work that is a row in SQL, a call only asks. Every argument is plain JSON data.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import oslo_messaging

if TYPE_CHECKING:
    from aerie_compute.conductor import Conductor
    from aerie_compute.scheduler.manager import SchedulerManager

LOG = logging.getLogger(__name__)
CONDUCTOR_TOPIC = "conductor"
CONDUCTOR_VERSION = "1.0"
SCHEDULER_TOPIC = "scheduler"
SCHEDULER_VERSION = "1.0"
CALL_TIMEOUT = 10
HEARTBEAT_TIMEOUT = 4


class ConductorClient:
    """Sends messages to a conductor. Calls raise oslo_messaging.MessagingTimeout when none answers; casts never wait
    for a broker that is away: they are lost, and the receiver's next look at its tables makes up for it."""

    def __init__(self, transport: Any, serializer: Any = None) -> None:
        target = oslo_messaging.Target(topic=CONDUCTOR_TOPIC, version=CONDUCTOR_VERSION)
        self._client = oslo_messaging.get_rpc_client(transport, target, serializer=serializer, timeout=CALL_TIMEOUT)
        from aerie_common.rpc import Impatience  # whoever has a transport has it imported already

        self._impatience = Impatience(HEARTBEAT_TIMEOUT)

    # -- from compute agents

    def report(
        self,
        ctx: Any,
        *,
        host: str,
        server_id: str,
        op_id: str,
        outcome: str,
        power_state: str | None = None,
        fault: dict[str, Any] | None = None,
        result: dict[str, Any] | None = None,
    ) -> None:
        """Cast: operation `op_id` of a server ended; see `agent.manager.Conductor.report`."""
        self._cast(
            ctx, "report", host=host, server_id=server_id, op_id=op_id, outcome=outcome, power_state=power_state,
            fault=fault, result=result or {},
        )  # fmt: skip

    def power_changed(self, ctx: Any, *, host: str, server_id: str, power_state: str | None) -> None:
        """Cast: a guest changed by itself (None: it is gone)."""
        self._cast(ctx, "power_changed", host=host, server_id=server_id, power_state=power_state)

    def heartbeat(
        self,
        ctx: Any,
        *,
        host: str,
        resources: dict[str, Any],
        guests: dict[str, str],
        version: str,
        boot_id: str = "",
    ) -> dict[str, Any]:
        """Call: a host lives. `{"servers": [ids that belong on it]}`; see `agent.manager.Conductor.heartbeat`."""
        arguments = {"resources": resources, "guests": guests, "version": version, "boot_id": boot_id}
        with self._impatience.asking() as seconds:
            answer = self._client.prepare(timeout=seconds).call(ctx, "heartbeat", host=host, **arguments)
        return dict(answer)

    def confirm_orphan(self, ctx: Any, *, host: str, server_id: str) -> bool:
        """Call: is it certain that no server of that id belongs on this host?"""
        return bool(self._client.call(ctx, "confirm_orphan", host=host, server_id=server_id))

    # -- from the console proxy

    def validate_console(self, ctx: Any, *, token: str) -> dict[str, Any] | None:
        """Call: what a console token opens: `{"server_id", "host", "protocol", "type"}`; None for an unknown or expired
        one. Every token is good for one answer only."""
        answer = self._client.call(ctx, "validate_console", token=token)
        return None if answer is None else dict(answer)

    # -- from the API

    def network_changed(self, ctx: Any, *, server_ids: list[str]) -> None:
        """Cast: addresses of these servers are to be read anew."""
        self._cast(ctx, "network_changed", server_ids=server_ids)

    def _cast(self, ctx: Any, method: str, **arguments: Any) -> None:
        try:
            self._client.cast(ctx, method, **arguments)
        except oslo_messaging.MessageDeliveryFailure as error:
            LOG.warning("Message %s to the conductor could not be sent: %s", method, error)


class ConductorEndpoint:
    """Takes the messages on the conductor's side."""

    target = oslo_messaging.Target(version=CONDUCTOR_VERSION)

    def __init__(self, conductor: Conductor) -> None:
        self._conductor = conductor

    def report(
        self,
        ctx: Any,
        host: str,
        server_id: str,
        op_id: str,
        outcome: str,
        power_state: str | None,
        fault: dict[str, Any] | None,
        result: dict[str, Any],
    ) -> None:
        """See `ConductorClient.report`."""
        self._conductor.report(host, server_id, op_id, outcome, power_state, fault, result)

    def power_changed(self, ctx: Any, host: str, server_id: str, power_state: str | None) -> None:
        """See `ConductorClient.power_changed`."""
        self._conductor.power_changed(host, server_id, power_state)

    def heartbeat(
        self, ctx: Any, host: str, resources: dict[str, Any], guests: dict[str, str], version: str, boot_id: str
    ) -> dict[str, Any]:
        """See `ConductorClient.heartbeat`."""
        return self._conductor.heartbeat(host, resources, guests, version, boot_id)

    def confirm_orphan(self, ctx: Any, host: str, server_id: str) -> bool:
        """See `ConductorClient.confirm_orphan`."""
        return self._conductor.confirm_orphan(host, server_id)

    def validate_console(self, ctx: Any, token: str) -> dict[str, Any] | None:
        """See `ConductorClient.validate_console`."""
        return self._conductor.validate_console(token)

    def network_changed(self, ctx: Any, server_ids: list[str]) -> None:
        """See `ConductorClient.network_changed`."""
        self._conductor.network_changed(server_ids)


class SchedulerClient:
    """Asks a scheduler. Raises oslo_messaging.MessagingTimeout when none answers."""

    def __init__(self, transport: Any, serializer: Any = None) -> None:
        target = oslo_messaging.Target(topic=SCHEDULER_TOPIC, version=SCHEDULER_VERSION)
        self._client = oslo_messaging.get_rpc_client(transport, target, serializer=serializer, timeout=CALL_TIMEOUT)

    def select_hosts(self, ctx: Any, *, request: dict[str, Any]) -> dict[str, Any]:
        """Call: `{"hosts": [{"host", "node", "provider_id", "zone"}, ...] best first, "explanation": {...}}`.

        `request` is a document of `scheduler.select.Request`."""
        return dict(self._client.call(ctx, "select_hosts", request=request))


class SchedulerEndpoint:
    """Takes the messages on the scheduler's side."""

    target = oslo_messaging.Target(version=SCHEDULER_VERSION)

    def __init__(self, manager: SchedulerManager) -> None:
        self._manager = manager

    def select_hosts(self, ctx: Any, request: dict[str, Any]) -> dict[str, Any]:
        """See `SchedulerClient.select_hosts`."""
        return self._manager.select_hosts(request)
