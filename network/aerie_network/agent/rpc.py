# SPDX-License-Identifier: Apache-2.0
"""The messages of `messages.py` on the bus: clients and endpoints of both directions.

Owns the turning of documents into JSON and back; nothing else. The server's side is any object that keeps the
`NetworkServer` protocol, the agent's any that can be woken.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import oslo_messaging

from aerie_common.context import Context
from aerie_common.rpc import Impatience, Rpc
from aerie_network.agent.messages import (
    AGENT_TOPIC,
    SERVER_TOPIC,
    VERSION,
    Heartbeat,
    HeartbeatAnswer,
    MetadataSource,
    NetworkServer,
    StateAnswer,
)
from aerie_network.drivers.base import Report

CALL_TIMEOUT = 10.0
HEARTBEAT_TIMEOUT = 4.0


class NetworkServerClient(NetworkServer):
    """The network server as an agent sees it. Every method may raise oslo.messaging's MessagingException."""

    def __init__(self, rpc: Rpc) -> None:
        self._client = rpc.client(SERVER_TOPIC, VERSION, timeout=CALL_TIMEOUT)
        self._impatience = Impatience(HEARTBEAT_TIMEOUT)

    def get_host_state(self, host: str, roles: Sequence[str], known_revision: int) -> StateAnswer:
        answer = self._client.call(
            Context(), "get_host_state", host=host, roles=list(roles), known_revision=known_revision
        )
        return StateAnswer.from_dict(answer)

    def report(self, host: str, report: Report) -> None:
        self._client.call(Context(), "report", host=host, report=report.to_dict())

    def heartbeat(self, beat: Heartbeat) -> HeartbeatAnswer:
        with self._impatience.asking() as seconds:
            answer = self._client.within(seconds).call(Context(), "heartbeat", beat=beat.to_dict())
        return HeartbeatAnswer.from_dict(answer)

    def resolve_metadata(self, network_id: str | None, router_id: str | None, address: str) -> MetadataSource | None:
        answer = self._client.call(
            Context(), "resolve_metadata", network_id=network_id, router_id=router_id, address=address
        )
        return None if answer is None else MetadataSource.from_dict(answer)


class NetworkServerEndpoint:
    """Takes the agents' messages on the server's side: `rpc.serve(SERVER_TOPIC, [NetworkServerEndpoint(server)])`."""

    target = oslo_messaging.Target(version=VERSION)

    def __init__(self, server: NetworkServer) -> None:
        self._server = server

    def get_host_state(self, ctx: Context, host: str, roles: list[str], known_revision: int) -> dict[str, Any]:
        return self._server.get_host_state(host, roles, known_revision).to_dict()

    def report(self, ctx: Context, host: str, report: dict[str, Any]) -> None:
        self._server.report(host, Report.from_dict(report))

    def heartbeat(self, ctx: Context, beat: dict[str, Any]) -> dict[str, Any]:
        return self._server.heartbeat(Heartbeat.from_dict(beat)).to_dict()

    def resolve_metadata(
        self, ctx: Context, network_id: str | None, router_id: str | None, address: str
    ) -> dict[str, Any] | None:
        source = self._server.resolve_metadata(network_id, router_id, address)
        return None if source is None else source.to_dict()


class AgentClient:
    """The agents as the network server sees them."""

    def __init__(self, rpc: Rpc) -> None:
        self._client = rpc.client(AGENT_TOPIC, VERSION)

    def wake(self, host: str, revision: int) -> bool:
        """Tells a host's agent that its state has reached `revision`. False when the broker is away: the agent
        notices with its next heartbeat."""
        return self._client.to(host).cast(Context(), "wake", revision=revision)


class Wakeable(Protocol):
    """An agent that can be told to look."""

    def wake(self, revision: int) -> None:
        """Look soon: the state has reached this revision. Returns at once."""


class AgentEndpoint:
    """Takes the server's messages on the agent's side."""

    target = oslo_messaging.Target(version=VERSION)

    def __init__(self, agent: Wakeable) -> None:
        self._agent = agent

    def wake(self, ctx: Context, revision: int) -> None:
        self._agent.wake(revision)
