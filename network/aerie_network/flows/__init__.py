# SPDX-License-Identifier: Apache-2.0
"""Long work of the network service."""

from aerie_network.flows.router_gateway import ROUTER_GATEWAY

FLOWS = (ROUTER_GATEWAY,)
