# SPDX-License-Identifier: Apache-2.0
"""What network server and network agents say to each other.

Owns the vocabulary: topics, method names, the shape of each call and answer. Invariant: a message only wakes or
carries a complete document; losing or repeating any of them does no harm.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from aerie_network.drivers.base import Document, HostDelta, HostState, Report

SERVER_TOPIC = "network-server"
AGENT_TOPIC = "network-agent"
VERSION = "1.0"

# Role -> (binary, agent type) as the API's agent list shows them.
AGENT_TYPES = {
    "l2": ("aerie-network-agent-l2", "Linux bridge agent"),
    "dhcp": ("aerie-network-agent-dhcp", "DHCP agent"),
    "l3": ("aerie-network-agent-l3", "L3 agent"),
    "metadata": ("aerie-network-agent-metadata", "Metadata agent"),
}


@dataclass(frozen=True)
class AgentInfo(Document):
    """One role of an agent process, shown as an agent of its own by the API."""

    role: str
    binary: str
    agent_type: str
    tunnel_ip: str = ""
    bridge_mappings: tuple[tuple[str, ...], ...] = ()  # (physical network, bridge) pairs
    availability_zone: str = "nova"
    started_at: str = ""  # ISO 8601, UTC


@dataclass(frozen=True)
class StateAnswer(Document):
    """Answer to get_host_state: a whole state, a delta on the known revision, or neither (nothing changed)."""

    state: HostState | None = None
    delta: HostDelta | None = None


@dataclass(frozen=True)
class HeartbeatAnswer(Document):
    """`revision` is the newest one of the host's state; an agent that has another one fetches it."""

    revision: int


@dataclass(frozen=True)
class MetadataSource(Document):
    """Who asked for metadata: the server behind a port, and its project."""

    instance_id: str
    project_id: str
    port_id: str = ""


@dataclass(frozen=True)
class Heartbeat(Document):
    """Sign of life of all roles of one agent process."""

    host: str
    agents: tuple[AgentInfo, ...] = field(default=())


class NetworkServer(Protocol):
    """What an agent asks of the network server (topic `network-server`); the server's endpoint implements it.

    On the wire each argument and answer is the `to_dict()` form of the document (plain values stay as they are).
    """

    def get_host_state(self, host: str, roles: Sequence[str], known_revision: int) -> StateAnswer:
        """The desired state of `host` for these roles; `known_revision` is 0 when the agent knows none."""

    def report(self, host: str, report: Report) -> None:
        """Takes what became of the state. May come twice, and late: revisions in it tell what it is about."""

    def heartbeat(self, beat: Heartbeat) -> HeartbeatAnswer:
        """Keeps the host's agents alive in the agent list."""

    def resolve_metadata(self, network_id: str | None, router_id: str | None, address: str) -> MetadataSource | None:
        """The server whose port has `address` on that network, or on a network attached to that router."""
