# SPDX-License-Identifier: Apache-2.0
"""Options of the network agent, under the names Neutron's operators know where there are such."""

from __future__ import annotations

from oslo_config import cfg

from aerie_network.drivers.base import ROLES

DEFAULT_OPTS: list[cfg.Opt] = [
    cfg.StrOpt("nova_metadata_host", default="127.0.0.1", help="Where the compute metadata API answers."),
    cfg.PortOpt("nova_metadata_port", default=8775, help="Its port."),
    cfg.StrOpt(
        "metadata_proxy_shared_secret",
        default="",
        secret=True,
        help="Signs whose metadata is asked for; as in compute.",
    ),
    cfg.ListOpt("dnsmasq_dns_servers", default=[], help="Resolvers that guests' DNS servers ask for foreign names."),
]
AGENT_OPTS: list[cfg.Opt] = [
    cfg.ListOpt("roles", default=list(ROLES), help="What this host does: l2, dhcp, l3, metadata."),
    cfg.StrOpt("driver", default="bridge", choices=["bridge", "fake"], help="How networks are made."),
    cfg.StrOpt("availability_zone", default="nova", help="Zone in which the agent is listed."),
    cfg.FloatOpt("report_interval", default=10.0, min=0.5, help="Seconds between signs of life."),
    cfg.FloatOpt("resync_interval", default=300.0, min=1.0, help="Seconds between looks at the whole host."),
    cfg.FloatOpt("stuck_after", default=300.0, help="Seconds without progress after which it ends itself; 0: never."),
    cfg.StrOpt("tap_owner", default="", help="User who may open guests' taps, if it is not root who starts them."),
    cfg.FloatOpt("fake_delay", default=0.0, help="Seconds the fake driver takes for a change."),
]
BRIDGE_OPTS: list[cfg.Opt] = [
    cfg.DictOpt(
        "bridge_mappings", default={}, help="PHYSICAL_NETWORK:BRIDGE of flat networks. The bridges must exist."
    ),
    cfg.DictOpt("physical_interface_mappings", default={}, help="PHYSICAL_NETWORK:INTERFACE that carry VLANs."),
]
VXLAN_OPTS: list[cfg.Opt] = [
    cfg.StrOpt("local_ip", default="", help="This host's address for tunnels; none: no VXLAN networks here."),
    cfg.PortOpt("udp_dstport", default=4789, help="UDP port of VXLAN."),
]

OPTIONS: tuple[tuple[str | None, list[cfg.Opt]], ...] = (
    (None, DEFAULT_OPTS),
    ("agent", AGENT_OPTS),
    ("linux_bridge", BRIDGE_OPTS),
    ("vxlan", VXLAN_OPTS),
)
