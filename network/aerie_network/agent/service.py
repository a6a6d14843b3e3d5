# SPDX-License-Identifier: Apache-2.0
"""Starting the network agent from its configuration."""

from __future__ import annotations

import os

from oslo_config import cfg

from aerie_common.rpc import Rpc
from aerie_common.service import Stoppable
from aerie_network.agent.manager import NetworkAgent
from aerie_network.agent.messages import AGENT_TOPIC
from aerie_network.agent.metadata import MetadataProxy, Upstream
from aerie_network.agent.rpc import AgentEndpoint, NetworkServerClient
from aerie_network.drivers.base import ROLE_METADATA, ROLES, DriverSettings, NetworkDriver


def settings_from(conf: cfg.ConfigOpts) -> DriverSettings:
    """The driver's settings; raises SystemExit for a role that does not exist."""
    unknown = set(conf.agent.roles) - set(ROLES)
    if unknown:
        raise SystemExit(f"[agent] roles: unknown {', '.join(sorted(unknown))}; there are {', '.join(ROLES)}")
    return DriverSettings(
        host=conf.host,
        roles=tuple(role for role in ROLES if role in conf.agent.roles),
        state_path=os.path.join(conf.state_path, "network"),
        tunnel_ip=conf.vxlan.local_ip,
        vxlan_port=conf.vxlan.udp_dstport,
        bridge_mappings=dict(conf.linux_bridge.bridge_mappings),
        interface_mappings=dict(conf.linux_bridge.physical_interface_mappings),
        dns_forwarders=tuple(conf.dnsmasq_dns_servers),
        tap_owner=conf.agent.tap_owner,
    )


def make_driver(conf: cfg.ConfigOpts, settings: DriverSettings) -> NetworkDriver:
    """The driver that the option names."""
    if conf.agent.driver == "fake":
        from aerie_network.drivers.fake import FakeDriver

        return FakeDriver(settings, delay=conf.agent.fake_delay)
    from aerie_network.drivers.bridge.driver import BridgeDriver  # netlink is nothing for an all-in-one cloud

    return BridgeDriver(settings)


def start(conf: cfg.ConfigOpts) -> list[Stoppable]:
    """Starts the agent's threads; returns what to stop."""
    settings = settings_from(conf)
    rpc = Rpc(conf)
    server = NetworkServerClient(rpc)
    driver = make_driver(conf, settings)
    running: list[Stoppable] = [rpc]
    on_state = None
    if ROLE_METADATA in settings.roles:
        upstream = Upstream(conf.nova_metadata_host, conf.nova_metadata_port, conf.metadata_proxy_shared_secret)
        proxy = MetadataProxy(driver, server.resolve_metadata, upstream)
        proxy.start()
        running.append(proxy)
        on_state = proxy.update
    agent = NetworkAgent(
        settings,
        driver,
        server,
        report_interval=conf.agent.report_interval,
        resync_interval=conf.agent.resync_interval,
        stuck_after=conf.agent.stuck_after,
        availability_zone=conf.agent.availability_zone,
        on_state=on_state,
    )
    running.append(rpc.serve(AGENT_TOPIC, [AgentEndpoint(agent)], host=settings.host))
    agent.start()
    return [*running, agent]
