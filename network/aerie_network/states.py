# SPDX-License-Identifier: Apache-2.0
"""Status words and the state machine of ports.

A port's `status` says whether its traffic flows: DOWN until every party that has to act for it has reported (one row
in `provisioning` for each), then ACTIVE. Floating IPs are ACTIVE when their router's host has realised them.
"""

from __future__ import annotations

from aerie_common.states import StateMachine

ACTIVE = "ACTIVE"
DOWN = "DOWN"
BUILD = "BUILD"
ERROR = "ERROR"

PORT = StateMachine(
    "port",
    "status",
    initial=DOWN,
    transitions=[
        ("provisioned", (DOWN, BUILD, ERROR), ACTIVE),
        ("unbound", (DOWN, BUILD, ACTIVE, ERROR), DOWN),
        ("rebound", (DOWN, BUILD, ACTIVE, ERROR), BUILD),
        ("failed", (DOWN, BUILD, ACTIVE), ERROR),
        ("lost", (ACTIVE, BUILD), DOWN),
    ],
)

FLOATING_IP = StateMachine(
    "floating IP",
    "status",
    initial=DOWN,
    transitions=[
        ("realised", (DOWN, ERROR, ACTIVE), ACTIVE),
        ("failed", (DOWN, ACTIVE, ERROR), ERROR),
        ("disassociated", (DOWN, ACTIVE, ERROR), DOWN),
    ],
)

# Device owners the service itself gives to ports; no tenant may use words beginning like these.
OWNER_PREFIX = "network:"
DHCP = "network:dhcp"
ROUTER_INTERFACE = "network:router_interface"
ROUTER_GATEWAY = "network:router_gateway"
FLOATING = "network:floatingip"
ROUTER_PORTS = (ROUTER_INTERFACE, ROUTER_GATEWAY)
COMPUTE_PREFIX = "compute:"

# Parties that have to report before a port is ACTIVE.
L2 = "l2"
DHCP_PARTY = "dhcp"
