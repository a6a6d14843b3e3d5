# SPDX-License-Identifier: Apache-2.0
"""Handlers of agents, what they host, and availability zones."""

from __future__ import annotations

from typing import Any

from aerie_common.http import Reply, Request
from aerie_network.api import common
from aerie_network.logic import agents as logic
from aerie_network.schemas import networks, routers
from aerie_network.schemas.agents import AGENT

NOTHING = Reply(body=b"null")
"""Clients of these two read JSON, although there is nothing to tell."""


def _shower(req: Request) -> common.Show:
    only = common.fields(req)

    def show(agent: Any) -> dict[str, Any]:
        shown = AGENT.show(agent, req.ctx, only=only or None)
        if not only or "alive" in only:
            shown["alive"] = logic.alive(req.svc, agent)
        return shown

    return show


def list_(req: Request) -> dict[str, Any]:
    """List agents."""
    return common.listed(req, "agents", logic.page(req.svc, req.ctx, req.listing), _shower(req))


def show(req: Request, agent_id: str) -> dict[str, Any]:
    """Show an agent."""
    return {"agent": _shower(req)(logic.show(req.svc, req.ctx, agent_id))}


def update(req: Request, agent_id: str) -> dict[str, Any]:
    """Enable, disable or describe an agent."""
    values = AGENT.values(req.body["agent"])
    return {"agent": _shower(req)(logic.update(req.svc, req.ctx, agent_id, values))}


def delete(req: Request, agent_id: str) -> None:
    """Forget an agent."""
    logic.delete(req.svc, req.ctx, agent_id)


def zones(req: Request) -> dict[str, Any]:
    """List availability zones."""
    found = logic.zones(req.svc)
    for name, values in req.listing.filters.items():
        found = [zone for zone in found if zone[name] in values]
    return {"availability_zones": found}


def network_hosts(req: Request, network_id: str) -> dict[str, Any]:
    """List the DHCP agents that serve a network."""
    return {"agents": [_shower(req)(a) for a in logic.dhcp_hosts(req.svc, req.ctx, network_id)]}


def hosted_networks(req: Request, agent_id: str) -> dict[str, Any]:
    """List the networks that a DHCP agent serves."""
    return {"networks": [networks.show(n, req.ctx) for n in logic.networks_of(req.svc, req.ctx, agent_id)]}


def add_network(req: Request, agent_id: str) -> Reply:
    """Let a DHCP agent serve a network."""
    logic.add_network(req.svc, req.ctx, agent_id, req.body["network_id"])
    return NOTHING


def remove_network(req: Request, agent_id: str, network_id: str) -> None:
    """Let a DHCP agent serve a network no longer."""
    logic.remove_network(req.svc, req.ctx, agent_id, network_id)


def router_hosts(req: Request, router_id: str) -> dict[str, Any]:
    """List the L3 agents that host a router."""
    return {"agents": [_shower(req)(a) for a in logic.router_hosts(req.svc, req.ctx, router_id)]}


def hosted_routers(req: Request, agent_id: str) -> dict[str, Any]:
    """List the routers that an L3 agent hosts."""
    return {"routers": [routers.show(r, req.ctx) for r in logic.routers_of(req.svc, req.ctx, agent_id)]}


def add_router(req: Request, agent_id: str) -> Reply:
    """Put a router on an L3 agent's host."""
    logic.add_router(req.svc, req.ctx, agent_id, req.body["router_id"])
    return NOTHING


def remove_router(req: Request, agent_id: str, router_id: str) -> None:
    """Take a router off an L3 agent's host."""
    logic.remove_router(req.svc, req.ctx, agent_id, router_id)
